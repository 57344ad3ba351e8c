//! Answers of a crowd in memory: who there is, who said what, and what is known to be right.
//!
//! ```text
//!   tasks, workers, labels   names, sorted; everything else speaks of their places
//!   task_offsets, cells      answers grouped by task, as core reads them (cell = worker · labels + label)
//!   gold                     a label per task, or NO_LABEL
//! ```

use std::fmt;

use mixlet_core::observations::{Answers, AnswersError, group_by_task};

use crate::crowd::ids::Ids;
use crate::error::{Error, Result};

/// Marks a task without a known label.
pub const NO_LABEL: u32 = u32::MAX;

/// The answers of a crowd.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The tasks.
    pub tasks: Ids,
    /// The workers.
    pub workers: Ids,
    /// The labels a worker may give, which are also the classes a task may have.
    pub labels: Ids,
    /// `[tasks + 1]`: where each task's answers start.
    pub task_offsets: Vec<u32>,
    /// `[answers]`: `worker · labels + label`; answers of a task keep the order they were given in, but where
    /// repeats count a task with repeats has them by worker.
    pub cells: Vec<u32>,
    /// `[tasks]`: the known label of each task, or [`NO_LABEL`]; `None` if nothing is known.
    pub gold: Option<Vec<u32>>,
    /// What was done about workers who answered a task more than once.
    pub repeats: RepeatSummary,
}

/// Which answers count when a worker answers a task more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Repeats {
    /// The first one: what most published results on such data keep.
    #[default]
    First,
    /// The last one.
    Last,
    /// All of them, each as an answer of its own.
    Count,
    /// None: repeats are an error.
    Error,
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Count => "count",
            Self::Error => "error",
        })
    }
}

/// How many repeats there were, and which rule was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepeatSummary {
    /// The rule.
    pub rule: Repeats,
    /// (task, worker) pairs with more than one answer.
    pub pairs: u64,
    /// Answers beyond the first of their pair.
    pub extra_answers: u64,
}

impl Crowd {
    /// The answers as kernels read them. An error means that the public fields were changed inconsistently.
    pub fn answers(&self) -> Result<Answers<'_>> {
        // A crowd that was read has fewer than 2³² of each; core rejects what is cut here.
        let (workers, labels) = (self.workers.len() as u32, self.labels.len() as u32);
        Ok(Answers::new(workers, labels, &self.task_offsets, &self.cells)?)
    }

    /// A crowd from one value per answer in each array; names are the numbers below the largest value.
    ///
    /// ```
    /// # use mixlet_runtime::crowd::answers::{Crowd, Repeats};
    /// let crowd = Crowd::from_arrays(&[1, 0, 0], &[1, 0, 2], &[0, 1, 1], Repeats::First).unwrap();
    /// assert_eq!(crowd.answers().unwrap().task(0), [1, 5]);
    /// assert_eq!(crowd.workers.get(2), "2");
    /// ```
    pub fn from_arrays(tasks: &[u32], workers: &[u32], labels: &[u32], rule: Repeats) -> Result<Self> {
        let task_count = count_of("task", tasks)?;
        let (worker_count, label_count) = (count_of("worker", workers)?, count_of("label", labels)?);
        let mut grouped =
            Grouped { task_offsets: vec![0; task_count as usize + 1], cells: vec![0; tasks.len()] };
        let (offsets, cells) = (&mut grouped.task_offsets, &mut grouped.cells);
        group_by_task((worker_count, label_count), tasks, workers, labels, offsets, cells)?;
        let repeats = grouped
            .settle_repeats(rule, worker_count as usize, label_count)
            .map_err(|Repeat { task, worker }| Error::RepeatedAnswer { task, worker })?;
        Ok(Self {
            tasks: Ids::numbers(task_count),
            workers: Ids::numbers(worker_count),
            labels: Ids::numbers(label_count),
            task_offsets: grouped.task_offsets,
            cells: grouped.cells,
            gold: None,
            repeats,
        })
    }
}

/// One more than the largest value.
fn count_of(what: &'static str, values: &[u32]) -> Result<u32, AnswersError> {
    let largest = values.iter().enumerate().max_by_key(|&(_, value)| value);
    largest.map_or(Ok(0), |(answer, &found)| {
        let count = u32::MAX;
        found.checked_add(1).ok_or(AnswersError::OutOfRange { what, answer, found, count })
    })
}

/// Answers grouped by task, before repeats are settled.
#[derive(Debug)]
pub(super) struct Grouped {
    pub task_offsets: Vec<u32>,
    pub cells: Vec<u32>,
}

/// The first worker found to answer a task again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub task: u32,
    pub worker: u32,
}

impl Grouped {
    /// Groups cells by the task of each; with cells that are grouped already, they are kept as they are.
    pub fn new(task_count: usize, answer_tasks: &[u32], cells: Vec<u32>) -> Self {
        // Count and scan: where each task's answers start.
        let mut task_offsets = vec![0; task_count + 1];
        answer_tasks.iter().for_each(|&task| task_offsets[task as usize] += 1);
        let mut total = 0;
        for offset in &mut task_offsets {
            total += std::mem::replace(offset, total);
        }
        if answer_tasks.is_sorted() {
            return Self { task_offsets, cells };
        }
        // Fill: each offset walks to the start of the next task, then all move back by one.
        let mut grouped = vec![0; cells.len()];
        for (&task, &cell) in answer_tasks.iter().zip(&cells) {
            let next = &mut task_offsets[task as usize];
            grouped[*next as usize] = cell;
            *next += 1;
        }
        task_offsets.copy_within(0..task_count, 1);
        task_offsets[0] = 0;
        Self { task_offsets, cells: grouped }
    }

    /// Applies the rule for repeats; linear in answers, whatever a task's share of them is.
    pub fn settle_repeats(
        &mut self,
        rule: Repeats,
        workers: usize,
        labels: u32,
    ) -> Result<RepeatSummary, Repeat> {
        let (mut pairs, mut extra_answers) = (0, 0);
        // The last task, counted from 1, that a worker answered, and answered again.
        let mut answered = vec![[0, 0]; workers];
        let (mut start, mut kept) = (0, 0);
        for (task, next) in (0..).zip(1..self.task_offsets.len()) {
            let end = self.task_offsets[next] as usize;
            let (kept_start, extra_before) = (kept, extra_answers);
            if rule == Repeats::Last {
                self.cells[start..end].reverse();
            }
            for at in start..end {
                let worker = self.cells[at] / labels;
                let [once, again] = &mut answered[worker as usize];
                if std::mem::replace(once, task + 1) == task + 1 {
                    extra_answers += 1;
                    pairs += u64::from(std::mem::replace(again, task + 1) != task + 1);
                    match rule {
                        Repeats::Error => return Err(Repeat { task, worker }),
                        Repeats::First | Repeats::Last => continue,
                        Repeats::Count => {}
                    }
                }
                self.cells[kept] = self.cells[at];
                kept += 1;
            }
            match rule {
                Repeats::Last => self.cells[kept_start..kept].reverse(),
                // What a worker said about a task stands together: kernels can then leave it out as a whole.
                Repeats::Count if extra_answers > extra_before => {
                    self.cells[kept_start..kept].sort_unstable()
                }
                _ => {}
            }
            start = end;
            self.task_offsets[next] = kept as u32;
        }
        self.cells.truncate(kept);
        Ok(RepeatSummary { rule, pairs, extra_answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_decides_which_repeats_are_kept() {
        // Task 1: worker 0 says 0, worker 1 says 1, worker 0 says 1, worker 0 says 0. Task 2: worker 0 says 1.
        let (tasks, workers, labels) = ([1, 1, 2, 1, 1], [0, 1, 0, 0, 0], [0, 1, 1, 1, 0]);
        let cases: [(Repeats, &[u32], &[u32]); 3] = [
            (Repeats::First, &[0, 0, 2, 3], &[0, 3, 1]),
            (Repeats::Last, &[0, 0, 2, 3], &[3, 0, 1]),
            (Repeats::Count, &[0, 0, 4, 5], &[0, 0, 1, 3, 1]),
        ];
        for (rule, offsets, cells) in cases {
            let crowd = Crowd::from_arrays(&tasks, &workers, &labels, rule).unwrap();
            assert_eq!((&crowd.task_offsets[..], &crowd.cells[..]), (offsets, cells), "{rule}");
            assert_eq!(crowd.repeats, RepeatSummary { rule, pairs: 1, extra_answers: 2 }, "{rule}");
        }
        let error = Crowd::from_arrays(&tasks, &workers, &labels, Repeats::Error).unwrap_err();
        assert!(matches!(error, Error::RepeatedAnswer { task: 1, worker: 0 }), "{error}");
    }

    #[test]
    fn arrays_that_do_not_fit_together_are_errors() {
        for (tasks, workers, labels, message) in [
            (&[0][..], &[][..], &[0][..], "workers holds 0 values, expected 1"),
            (&[], &[], &[], "there are no labels, expected at least one"),
            (&[0], &[0], &[u32::MAX], "label of answer 0 is 4294967295, expected a value below 4294967295"),
            (
                &[0],
                &[1 << 20],
                &[1 << 20],
                "1048577 workers times 1048577 labels, expected a product below 2^32",
            ),
        ] {
            let error = Crowd::from_arrays(tasks, workers, labels, Repeats::First).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
