//! What workers answered in an earlier crowd, as `--workers` wrote it.

use std::path::Path;

use super::{Crowd, ReadOptions, check_has_rows, intern_field};
use crate::crowd::ids::Interner;
use crate::error::{Result, TableProblem};
use crate::table::{Row, Table};

/// More earlier answers than this, of all workers together, cannot be; sums of fewer are exact enough.
const MOST_ANSWERS: f64 = 1e15;

/// Counts of an earlier fit, in the places of a new crowd.
#[derive(Clone, Debug)]
pub struct KnownWorkers {
    /// `[cells, labels]`: expected answers by true label.
    pub counts: Vec<f64>,
    /// Workers of the file who are in the crowd.
    pub workers: usize,
    /// Workers of the file who are not; they are left out.
    pub unknown_workers: usize,
    /// Labels of the file that the crowd does not have; they are left out.
    pub unknown_labels: usize,
}

/// The columns of a file that `--workers` wrote.
struct Layout {
    worker: usize,
    /// `(column of n_<true>, place of the label)`.
    totals: Vec<(usize, Option<u32>)>,
    /// The first column of `c_<true>_<given>`, true labels slowest.
    confusion: usize,
}

/// Reads earlier counts: `n_<true> · c_<true>_<given>` of each worker.
pub fn read_known_workers(path: &Path, crowd: &Crowd, options: &ReadOptions) -> Result<KnownWorkers> {
    let mut ignore = |_, _| {};
    let mut table = Table::open_wide(path, options.delimiter, &mut ignore)?;
    let layout = Layout::of(&table, crowd)?;
    let labels = crowd.labels.len();
    let unknown_labels = layout.totals.iter().filter(|(_, place)| place.is_none()).count();
    let counts = vec![0.0; crowd.workers.len() * labels * labels];
    let mut known = KnownWorkers { counts, workers: 0, unknown_workers: 0, unknown_labels };
    let (mut names, mut lines, mut answers) = (Interner::new(), Vec::new(), 0.0);
    while let Some(row) = table.next_row()? {
        let nth = intern_field(&row, layout.worker, &mut names)?;
        if let Some(&first_line) = lines.get(nth as usize) {
            let worker = names.get(nth).to_owned();
            return Err(row.problem(TableProblem::RepeatedWorker { worker, first_line }));
        }
        lines.push(row.line());
        match crowd.workers.find(names.get(nth)) {
            Some(worker) => {
                known.workers += 1;
                let counts = &mut known.counts[worker as usize * labels * labels..][..labels * labels];
                layout.fill(&row, counts, &mut answers)?;
            }
            None => known.unknown_workers += 1,
        }
    }
    check_has_rows(&table, lines.len() as u64)?;
    Ok(known)
}

impl Layout {
    /// Labels may hold underscores, so names alone do not tell `c_<true>_<given>` apart: places do.
    fn of(table: &Table<'_>, crowd: &Crowd) -> Result<Self> {
        let header = table.header();
        let missing = |name: String| {
            let problem = TableProblem::NotWrittenHere { name };
            table.problem(Some(table.header_line()), problem)
        };
        let Some(worker) = header.iter().position(|name| name == "worker") else {
            return Err(missing("worker".into()));
        };
        let named: Vec<(usize, &str)> =
            header.iter().enumerate().filter_map(|(at, name)| Some((at, name.strip_prefix("n_")?))).collect();
        let labels: Vec<&str> = named.iter().map(|&(_, label)| label).collect();
        let confusion = header.iter().position(|name| name.starts_with("c_")).unwrap_or(header.len());
        let cells = header.get(confusion..).unwrap_or(&[]);
        if let Some(label) = labels_of(cells).into_iter().find(|label| !labels.contains(label)) {
            return Err(missing(format!("n_{label}")));
        }
        if labels.is_empty() {
            return Err(missing(format!("n_{}", crowd.labels.get(0))));
        }
        match first_difference(&labels, cells) {
            Some(name) => Err(missing(name)),
            None => {
                let totals = named.iter().map(|&(column, label)| (column, crowd.labels.find(label)));
                Ok(Self { worker, totals: totals.collect(), confusion })
            }
        }
    }

    /// Writes a worker's counts, and adds them to all.
    fn fill(&self, row: &Row<'_>, counts: &mut [f64], all: &mut f64) -> Result<()> {
        let labels = counts.len().isqrt();
        for (nth, &(column, class)) in self.totals.iter().enumerate() {
            let total = row.number(column)?;
            for (given, &(_, label)) in self.totals.iter().enumerate() {
                let cell = self.confusion + nth * self.totals.len() + given;
                let count = total * row.number(cell)?;
                *all += count;
                if *all > MOST_ANSWERS {
                    let columns = [cell, column].map(|column| row.column(column).to_owned());
                    return Err(row.problem(TableProblem::TooManyEarlier { columns }));
                }
                if let (Some(class), Some(label)) = (class, label) {
                    counts[label as usize * labels + class as usize] = count;
                }
            }
        }
        Ok(())
    }
}

/// The name of the first cell that is not in its place.
fn first_difference(labels: &[&str], cells: &[String]) -> Option<String> {
    let mut found = cells.iter();
    for class in labels {
        for given in labels {
            let name = format!("c_{class}_{given}");
            if found.next() != Some(&name) {
                return Some(name);
            }
        }
    }
    None
}

/// The labels of the cells that a header goes on with, if these are a whole table: its diagonal names them.
fn labels_of(cells: &[String]) -> Vec<&str> {
    let len = cells.iter().take_while(|name| name.starts_with("c_")).count();
    let labels = len.isqrt();
    if labels * labels != len {
        return Vec::new();
    }
    // `c_<label>_<label>`
    let twice = |name: &str| name.len().checked_sub(3).map(|len| 2 + len / 2);
    let diagonal = cells.iter().take(len).step_by(labels + 1);
    let names: Vec<&str> =
        diagonal.filter_map(|name| name.get(2..twice(name)?).filter(|label| !label.is_empty())).collect();
    match first_difference(&names, cells) {
        None => names,
        Some(_) => Vec::new(),
    }
}
