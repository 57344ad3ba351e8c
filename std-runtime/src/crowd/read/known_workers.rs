//! What workers answered in an earlier crowd, as `--workers` wrote it.

use std::path::Path;

use super::{Crowd, ReadOptions, check_has_rows};
use crate::error::{Result, TableProblem};
use crate::table::Table;

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
    let mut table = Table::open(path, options.delimiter, &mut ignore)?;
    let layout = Layout::of(&table, crowd)?;
    let labels = crowd.labels.len();
    let unknown_labels = layout.totals.iter().filter(|(_, place)| place.is_none()).count();
    let counts = vec![0.0; crowd.workers.len() * labels * labels];
    let mut known = KnownWorkers { counts, workers: 0, unknown_workers: 0, unknown_labels };
    let mut rows = 0;
    while let Some(row) = table.next_row()? {
        rows += 1;
        let Some(worker) = crowd.workers.find(row.text(layout.worker)?) else {
            known.unknown_workers += 1;
            continue;
        };
        known.workers += 1;
        for (nth, &(column, class)) in layout.totals.iter().enumerate() {
            let total = row.number(column)?;
            for (given, &(_, label)) in layout.totals.iter().enumerate() {
                let share = row.number(layout.confusion + nth * layout.totals.len() + given)?;
                if let (Some(class), Some(label)) = (class, label) {
                    let cell = worker as usize * labels + label as usize;
                    known.counts[cell * labels + class as usize] = total * share;
                }
            }
        }
    }
    check_has_rows(&table, rows)?;
    Ok(known)
}

impl Layout {
    /// Labels may hold underscores, so names alone do not tell `c_<true>_<given>` apart: places do.
    fn of(table: &Table<'_>, crowd: &Crowd) -> Result<Self> {
        let header = table.header();
        let missing = |name: &str| {
            let problem = TableProblem::NotWrittenHere { name: name.to_owned(), option: "--workers" };
            table.problem(Some(table.header_line()), problem)
        };
        let worker = header.iter().position(|name| name == "worker").ok_or_else(|| missing("worker"))?;
        let labels =
            || header.iter().enumerate().filter_map(|(at, name)| Some((at, name.strip_prefix("n_")?)));
        let totals: Vec<_> = labels().map(|(column, label)| (column, crowd.labels.find(label))).collect();
        if totals.is_empty() {
            return Err(missing("n_<label>"));
        }
        let mut expected =
            labels().flat_map(|(_, class)| labels().map(move |(_, given)| format!("c_{class}_{given}")));
        let confusion = header.iter().position(|name| name.starts_with("c_")).unwrap_or(header.len());
        let found = header.iter().skip(confusion).map(Some).chain(std::iter::repeat(None));
        match expected.by_ref().zip(found).find(|(name, found)| Some(name) != *found) {
            Some((name, _)) => Err(missing(&name)),
            None => Ok(Self { worker, totals, confusion }),
        }
    }
}
