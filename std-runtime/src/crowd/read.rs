//! Reading answers and known labels from files.
//!
//! ```text
//!   answers.csv → Table (rows) → Draft (numbers in file order) → names sorted → grouped by task → Crowd
//!   gold.csv    → Table (rows) → TaskLabels ────────────────────────────────────────────────────↗
//! ```
//!
//! An answer takes 9 bytes while it is read (labels below 256 are bytes), 12 while it is grouped,
//! and 4 in the end; names come on top.

mod answer_tasks;
mod columns;
mod draft;
mod known_workers;
mod start;
mod task_labels;

use std::path::Path;

use crate::crowd::answers::NO_LABEL;
use crate::crowd::ids::{Ids, NameError};
use crate::error::{Error, Result, TableProblem};
use crate::table::{Progress, Row, Table};
use draft::{Draft, Filter};
use task_labels::TaskLabels;

pub use crate::crowd::answers::{Crowd, RepeatSummary, Repeats};
pub use columns::Columns;
pub use known_workers::{KnownWorkers, read_known_workers};
pub use start::{GivenStart, read_start};

/// How files of answers and of known labels are read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The names of the columns.
    pub columns: Columns,
    /// Which answers count when a worker answers a task more than once.
    pub repeats: Repeats,
    /// Which tasks are read.
    pub tasks: TaskFilter,
    /// Pass over known labels of tasks without answers; otherwise they are an error.
    pub skip_unknown_gold: bool,
    /// What separates fields; `None` is decided by the file's name, then by its header.
    pub delimiter: Option<u8>,
}

/// Which tasks are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TaskFilter {
    /// All tasks: answers help to judge workers even where gold is missing.
    #[default]
    All,
    /// Only tasks in gold: answers to others are dropped before tasks and labels are counted.
    Gold,
}

/// Answers read against the workers and labels of a crowd that was fitted before.
#[derive(Clone, Debug)]
pub struct NewAnswers {
    /// The new tasks with the old workers and labels. Tasks answered by strangers only have no answers.
    pub crowd: Crowd,
    /// Workers who were not in the old crowd.
    pub unknown_workers: usize,
    /// Their answers, which are left out.
    pub unknown_answers: u64,
}

/// Reads answers, and gold labels if there are any.
///
/// Classes are the labels found in answers and gold together. A gold file without a row below its header is no gold.
pub fn read_crowd(
    answers: &Path,
    gold: Option<&Path>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Crowd> {
    let gold = gold.map(|path| TaskLabels::read(path, options)).transpose()?;
    let tasks = match (options.tasks, &gold) {
        (TaskFilter::All, _) => None,
        (TaskFilter::Gold, None) => return Err(Error::GoldNeeded),
        (TaskFilter::Gold, Some(gold)) if gold.is_empty() => return Err(gold.no_gold()),
        (TaskFilter::Gold, Some(gold)) => Some(&gold.tasks),
    };
    let mut draft = Draft::new(options);
    draft.read(answers, options, Filter { tasks, ..Filter::default() }, progress)?;
    let gold_pairs = match &gold {
        Some(gold) if !gold.is_empty() => {
            Some(gold.pairs(&draft.tasks, &mut draft.labels, options, answers)?)
        }
        _ => None,
    };
    drop(gold);
    if draft.labels.len() < 2 {
        let label = draft.labels.get(0).to_owned();
        return Err(file_problem(answers, TableProblem::OneClass { label }));
    }
    draft.finish(answers, options.repeats, gold_pairs)
}

/// Reads answers to new tasks from the workers and with the labels of an earlier crowd.
///
/// A label that the earlier crowd did not have is an error, an unknown worker is counted and left out.
pub fn read_new_answers(
    answers: &Path,
    workers: &Ids,
    labels: &Ids,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<NewAnswers> {
    let mut draft = Draft::from_known(workers, labels, options);
    let filter = Filter { tasks: None, workers: workers.len(), labels: labels.len() };
    draft.read(answers, options, filter, progress)?;
    let unknown_workers = draft.workers.len() - workers.len();
    let unknown_answers = draft.unknown_answers;
    let crowd = draft.finish_known(answers, options.repeats, workers, labels)?;
    Ok(NewAnswers { crowd, unknown_workers, unknown_answers })
}

/// Reads known labels for the tasks of a crowd: a label per task, or [`NO_LABEL`].
///
/// A label that the crowd does not have is an error; so is a task, unless `skip_unknown_gold` is set.
pub fn read_task_labels(path: &Path, crowd: &Crowd, options: &ReadOptions) -> Result<Vec<u32>> {
    let mut labels = vec![NO_LABEL; crowd.tasks.len()];
    for (task, label) in TaskLabels::read(path, options)?.places(crowd, options)? {
        labels[task as usize] = label;
    }
    Ok(labels)
}

/// The number of the name in a field.
#[inline]
fn intern_field(row: &Row<'_>, column: usize, names: &mut crate::crowd::ids::Interner) -> Result<u32> {
    let field = row.field(column);
    if field.is_empty() {
        return Err(row.empty_field(column));
    }
    names.intern(field).map_err(|error| match error {
        NameError::NotUtf8 => row.not_utf8(),
        NameError::TooMany => row.problem(TableProblem::TooManyAnswers),
    })
}

/// Makes sure that there was a row below the header.
fn check_has_rows(table: &Table<'_>, rows: u64) -> Result<()> {
    match rows {
        0 => Err(table.problem(Some(table.header_line()), TableProblem::HeaderOnly)),
        _ => Ok(()),
    }
}

fn file_problem(path: &Path, problem: TableProblem) -> Error {
    Error::Table { path: path.to_owned(), line: None, problem: Box::new(problem) }
}
