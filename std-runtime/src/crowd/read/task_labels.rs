//! Known labels of tasks, as a file has them.

use std::path::{Path, PathBuf};

use super::answer_tasks::AnswerTasks;
use super::{ReadOptions, intern_field};
use crate::crowd::answers::{Crowd, NO_LABEL};
use crate::crowd::ids::Interner;
use crate::error::{Error, Result, TableProblem};
use crate::table::Table;

/// A label for each of some tasks.
pub(super) struct TaskLabels {
    path: PathBuf,
    header_line: u64,
    pub tasks: Interner,
    labels: Interner,
    /// For each task: its label and the line that says so.
    rows: Vec<(u32, u64)>,
}

impl TaskLabels {
    /// Reads a file with a task and a label column; the same label twice is no conflict.
    ///
    /// Columns renamed for the answers may have their usual names here.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self> {
        let mut ignore = |_, _| {};
        let mut table = Table::open(path, options.delimiter, &mut ignore)?;
        let renamed_or = |renamed, usual| match table.header().contains(renamed) {
            true => renamed.as_str(),
            false if table.header().iter().any(|name| name == usual) => usual,
            false => renamed,
        };
        let task = renamed_or(&options.columns.task, "task");
        let label = match &options.columns.gold {
            Some(name) => name,
            None => renamed_or(&options.columns.label, "label"),
        };
        let [task_column, label_column] = table.columns([("task", task), ("gold", label)])?;

        let (mut tasks, mut labels, mut rows) = (Interner::new(), Interner::new(), Vec::new());
        while let Some(row) = table.next_row()? {
            let task = intern_field(&row, task_column, &mut tasks)?;
            let label = intern_field(&row, label_column, &mut labels)?;
            match rows.get(task as usize) {
                None => rows.push((label, row.line())),
                Some(&(first, _)) if first == label => {}
                Some(&(first, first_line)) => {
                    return Err(row.problem(TableProblem::ConflictingLabels {
                        task: tasks.get(task).to_owned(),
                        label: labels.get(label).to_owned(),
                        first: labels.get(first).to_owned(),
                        first_line,
                    }));
                }
            }
        }
        Ok(Self { path: path.to_owned(), header_line: table.header_line(), tasks, labels, rows })
    }

    /// Whether the file has a header and nothing below it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The problem of such a file where tasks are chosen by it.
    pub fn no_gold(&self) -> Error {
        self.problem(Some(self.header_line), TableProblem::NoGold)
    }

    /// `(task, label)` in the numbers of a draft, whose labels are added to.
    pub fn pairs(
        &self,
        tasks: &AnswerTasks,
        labels: &mut Interner,
        options: &ReadOptions,
        answers: &Path,
    ) -> Result<Vec<(u32, u32)>> {
        let mut pairs = Vec::with_capacity(self.rows.len());
        let mut unknown = None;
        for (number, &(label, line)) in (0..).zip(&self.rows) {
            match tasks.find(self.tasks.get(number).as_bytes()) {
                Some(task) => {
                    let label = labels.intern(self.labels.get(label).as_bytes());
                    pairs.push((task, label.unwrap_or(NO_LABEL)));
                }
                None => unknown = unknown.or(Some((number, line))),
            }
        }
        self.check(pairs.is_empty(), unknown, options, Some(answers))?;
        Ok(pairs)
    }

    /// `(task, label)` in the places of a crowd.
    pub fn places(&self, crowd: &Crowd, options: &ReadOptions) -> Result<Vec<(u32, u32)>> {
        let mut pairs = Vec::with_capacity(self.rows.len());
        let mut unknown = None;
        for (number, &(label, line)) in (0..).zip(&self.rows) {
            let Some(task) = crowd.tasks.find(self.tasks.get(number)) else {
                unknown = unknown.or(Some((number, line)));
                continue;
            };
            let label = self.labels.get(label);
            let Some(label) = crowd.labels.find(label) else {
                let problem = unknown_label(label, crowd.labels.iter());
                return Err(self.problem(Some(line), problem));
            };
            pairs.push((task, label));
        }
        self.check(pairs.is_empty(), unknown, options, None)?;
        Ok(pairs)
    }

    /// No shared task is worse than one unknown task, and said first.
    fn check(
        &self,
        is_empty: bool,
        unknown: Option<(u32, u64)>,
        options: &ReadOptions,
        answers: Option<&Path>,
    ) -> Result<()> {
        match unknown {
            _ if is_empty => {
                let answers = answers.map(Path::to_owned);
                Err(self.problem(None, TableProblem::NoSharedTask { answers }))
            }
            Some((task, line)) if !options.skip_unknown_gold => {
                let task = self.tasks.get(task).to_owned();
                Err(self.problem(Some(line), TableProblem::UnknownTask { task }))
            }
            _ => Ok(()),
        }
    }

    fn problem(&self, line: Option<u64>, problem: TableProblem) -> Error {
        Error::Table { path: self.path.clone(), line, problem: Box::new(problem) }
    }
}

/// The problem of a label outside a fixed set.
pub(super) fn unknown_label<'a>(label: &str, known: impl Iterator<Item = &'a str>) -> TableProblem {
    let known = known.take(10).map(Into::into).collect();
    TableProblem::UnknownLabel { label: label.to_owned(), known }
}
