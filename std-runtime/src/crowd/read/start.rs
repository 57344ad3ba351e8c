//! A start from labels that were found before.

use std::path::Path;

use mixlet_core::em::start::vote_shares;
use mixlet_core::em::{RowFacts, most_likely_class};

use super::task_labels::unknown_label;
use super::{Crowd, ReadOptions, check_has_rows};
use crate::error::{Result, TableProblem};
use crate::table::{Row, Table};

/// Posteriors to start a fit from.
#[derive(Clone, Debug)]
pub struct GivenStart {
    /// `[tasks, labels]`: the file's where it has the task, else the shares of the votes.
    pub posteriors: Vec<f64>,
    /// Tasks of the file that the crowd does not have; they are left out.
    pub unknown_tasks: usize,
    /// Tasks of the crowd that the file does not have.
    pub missing_tasks: usize,
}

/// What a row says about a task.
enum Claim {
    /// Columns that hold probabilities, and the label each is for.
    Probabilities(Vec<(usize, usize)>),
    /// The column that names the label.
    Label(usize),
}

/// Reads the labels that `--labels` wrote, or any table with a task and a label column.
///
/// A label that the crowd does not have is an error. Known labels count more than the file's.
pub fn read_start(
    path: &Path,
    crowd: &Crowd,
    known: Option<&[u32]>,
    options: &ReadOptions,
) -> Result<GivenStart> {
    let answers = crowd.answers()?;
    let labels = crowd.labels.len();
    let mut posteriors = vec![0.0; crowd.tasks.len() * labels];
    let facts = RowFacts { known_classes: known, weights: None };
    vote_shares(answers, facts, 0..crowd.tasks.len(), &mut posteriors);

    let mut ignore = |_, _| {};
    let mut table = Table::open_wide(path, options.delimiter, &mut ignore)?;
    let (task_column, claim) = columns(&table, crowd, options)?;
    let (mut rows, mut unknown_tasks) = (0, 0);
    // Where each task was given; 0 for nowhere.
    let mut lines = vec![0; crowd.tasks.len()];
    let mut posterior = vec![0.0; labels];
    while let Some(row) = table.next_row()? {
        rows += 1;
        let Some(task) = crowd.tasks.find(row.text(task_column)?) else {
            unknown_tasks += 1;
            continue;
        };
        let task = task as usize;
        let first_line = lines[task];
        if first_line == 0 {
            lines[task] = row.line();
        }
        if known.is_none_or(|known| known[task] as usize >= labels) {
            fill(&row, &claim, crowd, &mut posterior)?;
            let given = &mut posteriors[task * labels..][..labels];
            if first_line > 0 && *given != posterior {
                return Err(row.problem(conflict(crowd, task, &claim, [&posterior, given], first_line)));
            }
            given.copy_from_slice(&posterior);
        }
    }
    check_has_rows(&table, rows)?;
    let missing_tasks = lines.iter().filter(|&&line| line == 0).count();
    Ok(GivenStart { posteriors, unknown_tasks, missing_tasks })
}

/// The task column, and the columns that make the claim.
fn columns(table: &Table<'_>, crowd: &Crowd, options: &ReadOptions) -> Result<(usize, Claim)> {
    let usual_or = |usual: &'static str, renamed: &str| match table.header().iter().any(|name| name == usual)
    {
        true => usual.to_owned(),
        false => renamed.to_owned(),
    };
    let task_name = usual_or("task", &options.columns.task);
    let [task] = table.columns([("task", &task_name)])?;
    let mut probabilities = Vec::new();
    for (column, name) in table.header().iter().enumerate() {
        let Some(label) = name.strip_prefix("p_") else { continue };
        let Some(place) = crowd.labels.find(label) else {
            let problem = unknown_label(label, crowd.labels.iter());
            return Err(table.problem(Some(table.header_line()), problem));
        };
        probabilities.push((column, place as usize));
    }
    if !probabilities.is_empty() {
        return Ok((task, Claim::Probabilities(probabilities)));
    }
    let label_name = usual_or("label", &options.columns.label);
    let [_, label] = table.columns([("task", &task_name), ("label", &label_name)])?;
    Ok((task, Claim::Label(label)))
}

/// The problem of a task that was given otherwise before.
fn conflict(
    crowd: &Crowd,
    task: usize,
    claim: &Claim,
    [here, before]: [&[f64]; 2],
    first_line: u64,
) -> TableProblem {
    let task = crowd.tasks.get(task).to_owned();
    let label = |posterior| crowd.labels.get(most_likely_class(posterior)).to_owned();
    match (claim, label(here), label(before)) {
        (Claim::Probabilities(_), label, first) if label == first => {
            TableProblem::ConflictingProbabilities { task, first_line }
        }
        (_, label, first) => TableProblem::ConflictingLabels { task, label, first, first_line },
    }
}

/// Writes a row's claim.
fn fill(row: &Row<'_>, claim: &Claim, crowd: &Crowd, posterior: &mut [f64]) -> Result<()> {
    posterior.fill(0.0);
    match claim {
        Claim::Label(column) => {
            let label = row.text(*column)?;
            let Some(place) = crowd.labels.find(label) else {
                return Err(row.problem(unknown_label(label, crowd.labels.iter())));
            };
            posterior[place as usize] = 1.0;
        }
        Claim::Probabilities(columns) => {
            for &(column, place) in columns {
                posterior[place] += row.number(column)?;
            }
            let total: f64 = posterior.iter().sum();
            if total <= 0.0 {
                return Err(row.problem(TableProblem::NoProbability));
            }
            posterior.iter_mut().for_each(|probability| *probability /= total);
        }
    }
    Ok(())
}
