//! What was observed: sparse crowd answers, grouped by task and by worker; dense rows of bits or codes.
//!
//! An answer is one `u32`, its *cell*: `worker · labels + label`. A table with one row per cell
//! (a confusion matrix, a count) is then read and written without any further arithmetic.
//! Rows are checked once, when the view is made; kernels rely on it.
//!
//! ```text
//!   task_offsets  0       2   3           6          task t owns cells[task_offsets[t]..task_offsets[t + 1]]
//!   cells         4   9   1   4   6   9              cell = worker · labels + label
//! ```

mod by_worker;
mod codes;
mod error;
mod packed;

use core::num::NonZeroU32;
use core::ops::Range;

pub use by_worker::WorkerTasks;
pub use codes::{Codes, MISSING};
pub use error::{AnswersError, RowsError};
pub use packed::{PackedRows, WORD_BITS, row_words};

/// Answers of a crowd, grouped by task.
///
/// The same worker may answer a task several times (replicates count each time).
///
/// ```
/// # use mixlet_core::observations::Answers;
/// // Two tasks, three workers, labels 0 and 1. Task 0: worker 0 says 1, worker 2 says 1. Task 1: worker 1 says 0.
/// let answers = Answers::new(3, 2, &[0, 2, 3], &[1, 5, 2]).unwrap();
/// assert_eq!(answers.tasks(), 2);
/// assert_eq!(answers.task(0), [1, 5]);
/// assert_eq!((answers.worker(5), answers.label(5)), (2, 1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    workers: u32,
    labels: NonZeroU32,
    task_offsets: &'a [u32],
    cells: &'a [u32],
}

impl<'a> Answers<'a> {
    /// Checks every offset and cell; nothing after this looks at them again.
    ///
    /// `task_offsets` holds one more value than there are tasks, starting at 0 and ending at `cells.len()`.
    pub fn new(
        workers: u32,
        labels: u32,
        task_offsets: &'a [u32],
        cells: &'a [u32],
    ) -> Result<Self, AnswersError> {
        let count = cell_count(workers, labels)?;
        let (Some(&start), Some(&end)) = (task_offsets.first(), task_offsets.last()) else {
            return Err(AnswersError::Length { what: "task offsets", found: 0, expected: 1 });
        };
        if start != 0 {
            return Err(AnswersError::Offset { task: 0 });
        }
        if end as usize != cells.len() {
            return Err(AnswersError::Length { what: "cells", found: cells.len(), expected: end as usize });
        }
        if let Some(task) = task_offsets.windows(2).position(|pair| pair.first() > pair.last()) {
            return Err(AnswersError::Offset { task });
        }
        if let Some(answer) = cells.iter().position(|&cell| cell >= count) {
            let found = cells.get(answer).copied().unwrap_or(0);
            return Err(AnswersError::OutOfRange { what: "cell", answer, found, count });
        }
        let labels = NonZeroU32::new(labels).ok_or(AnswersError::NoLabels)?;
        Ok(Self { workers, labels, task_offsets, cells })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.task_offsets.len().saturating_sub(1)
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.workers as usize
    }

    /// Number of labels a worker may give.
    pub fn labels(&self) -> usize {
        self.labels.get() as usize
    }

    /// `workers · labels`: one more than the largest cell.
    pub fn cell_count(&self) -> usize {
        self.workers() * self.labels()
    }

    /// The cells of all answers, task after task.
    pub fn cells(&self) -> &'a [u32] {
        self.cells
    }

    /// `[tasks + 1]`: where each task's answers start.
    pub fn task_offsets(&self) -> &'a [u32] {
        self.task_offsets
    }

    /// The cells of one task's answers, in the order they were given; none if there is no such task.
    #[inline(always)]
    pub fn task(&self, task: usize) -> &'a [u32] {
        match (self.task_offsets.get(task), self.task_offsets.get(task + 1)) {
            (Some(&start), Some(&end)) => self.cells.get(start as usize..end as usize).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// The cells of each task of a range, in order.
    #[inline(always)]
    pub fn rows(&self, tasks: Range<usize>) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let cells = self.cells;
        let offsets = self.task_offsets.get(tasks.start..tasks.end.saturating_add(1)).unwrap_or(&[]);
        offsets.windows(2).map(move |pair| match *pair {
            [start, end] => cells.get(start as usize..end as usize).unwrap_or(&[]),
            _ => &[],
        })
    }

    /// The number of answers of every task of a range, and all their cells, if the tasks have equally many.
    #[inline(always)]
    pub fn rows_of_one_length(&self, tasks: Range<usize>) -> Option<(u32, &'a [u32])> {
        let offsets = self.task_offsets.get(tasks.start..tasks.end.saturating_add(1))?;
        let (&[first, second, ..], &[.., last]) = (offsets, offsets) else {
            return None;
        };
        let (starts, ends) = (offsets.iter(), offsets.iter().skip(1));
        let differ = starts.zip(ends).filter(|(start, end)| *end - *start != second - first).count();
        if differ > 0 { None } else { Some((second - first, self.cells.get(first as usize..last as usize)?)) }
    }

    /// The worker a cell belongs to.
    #[inline(always)]
    pub fn worker(&self, cell: u32) -> usize {
        (cell / self.labels) as usize
    }

    /// The label a cell stands for.
    #[inline(always)]
    pub fn label(&self, cell: u32) -> usize {
        (cell % self.labels) as usize
    }
}

/// Groups answers given in any order by task: writes `task_offsets` `[tasks + 1]` and `cells` `[answers]`.
///
/// Count, scan, stable fill: answers of a task keep their order.
///
/// ```
/// # use mixlet_core::observations::group_by_task;
/// let (mut task_offsets, mut cells) = ([0; 3], [0; 3]);
/// group_by_task((3, 2), &[1, 0, 0], &[1, 0, 2], &[0, 1, 1], &mut task_offsets, &mut cells).unwrap();
/// assert_eq!((task_offsets, cells), ([0, 2, 3], [1, 5, 2]));
/// ```
pub fn group_by_task(
    (workers, labels): (u32, u32),
    answer_tasks: &[u32],
    answer_workers: &[u32],
    answer_labels: &[u32],
    task_offsets: &mut [u32],
    cells: &mut [u32],
) -> Result<(), AnswersError> {
    cell_count(workers, labels)?;
    let answers = answer_tasks.len();
    if u32::try_from(answers).is_err() {
        return Err(AnswersError::TooManyAnswers(answers));
    }
    for (what, found) in
        [("workers", answer_workers.len()), ("labels", answer_labels.len()), ("cells", cells.len())]
    {
        if found != answers {
            return Err(AnswersError::Length { what, found, expected: answers });
        }
    }
    let Some(tasks) = task_offsets.len().checked_sub(1) else {
        return Err(AnswersError::Length { what: "task offsets", found: 0, expected: 1 });
    };
    for (what, values, count) in [
        ("task", answer_tasks, u32::try_from(tasks).unwrap_or(u32::MAX)),
        ("worker", answer_workers, workers),
        ("label", answer_labels, labels),
    ] {
        if let Some((answer, &found)) = values.iter().enumerate().find(|&(_, &value)| value >= count) {
            return Err(AnswersError::OutOfRange { what, answer, found, count });
        }
    }

    count_and_scan(answer_tasks.iter().map(|&task| task as usize), task_offsets);
    // Fill: each offset walks to the start of the next task, then all move back by one.
    for ((&task, &worker), &label) in answer_tasks.iter().zip(answer_workers).zip(answer_labels) {
        place(task_offsets, task as usize, cells, worker * labels + label);
    }
    shift_back(task_offsets);
    Ok(())
}

fn cell_count(workers: u32, labels: u32) -> Result<u32, AnswersError> {
    if labels == 0 {
        return Err(AnswersError::NoLabels);
    }
    workers.checked_mul(labels).ok_or(AnswersError::TooManyCells { workers, labels })
}

/// Counts keys into `offsets[key]`, then turns the counts into starts; the last value is the total.
fn count_and_scan(keys: impl Iterator<Item = usize>, offsets: &mut [u32]) {
    offsets.fill(0);
    for key in keys {
        if let Some(count) = offsets.get_mut(key) {
            *count += 1;
        }
    }
    let mut total = 0;
    for offset in offsets {
        total += core::mem::replace(offset, total);
    }
}

/// Writes `value` at the key's next free place.
#[inline(always)]
fn place(offsets: &mut [u32], key: usize, values: &mut [u32], value: u32) {
    if let Some(next) = offsets.get_mut(key) {
        if let Some(slot) = values.get_mut(*next as usize) {
            *slot = value;
        }
        *next += 1;
    }
}

/// After a fill every offset stands at the next key's start: move all by one place.
fn shift_back(offsets: &mut [u32]) {
    if let Some(last) = offsets.len().checked_sub(1) {
        offsets.copy_within(0..last, 1);
        if let Some(first) = offsets.first_mut() {
            *first = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inconsistency_of_a_view_is_its_own_error() {
        struct Case<'a> {
            workers: u32,
            labels: u32,
            offsets: &'a [u32],
            cells: &'a [u32],
            expected: AnswersError,
        }
        let length = |found, expected| AnswersError::Length { what: "cells", found, expected };
        let cell = |answer, found| AnswersError::OutOfRange { what: "cell", answer, found, count: 6 };
        let cases = [
            Case { workers: 3, labels: 0, offsets: &[0], cells: &[], expected: AnswersError::NoLabels },
            Case {
                workers: 1 << 16,
                labels: 1 << 16,
                offsets: &[0],
                cells: &[],
                expected: AnswersError::TooManyCells { workers: 1 << 16, labels: 1 << 16 },
            },
            Case {
                workers: 3,
                labels: 2,
                offsets: &[],
                cells: &[],
                expected: AnswersError::Length { what: "task offsets", found: 0, expected: 1 },
            },
            Case {
                workers: 3,
                labels: 2,
                offsets: &[1, 2],
                cells: &[0, 0],
                expected: AnswersError::Offset { task: 0 },
            },
            Case { workers: 3, labels: 2, offsets: &[0, 1], cells: &[0, 0], expected: length(2, 1) },
            Case {
                workers: 3,
                labels: 2,
                offsets: &[0, 2, 1, 2],
                cells: &[0, 0],
                expected: AnswersError::Offset { task: 1 },
            },
            Case {
                workers: 3,
                labels: 2,
                offsets: &[0, 3, 2],
                cells: &[0, 0],
                expected: AnswersError::Offset { task: 1 },
            },
            Case { workers: 3, labels: 2, offsets: &[0, 2], cells: &[5, 6], expected: cell(1, 6) },
            Case { workers: 3, labels: 2, offsets: &[0, 1], cells: &[u32::MAX], expected: cell(0, u32::MAX) },
        ];
        for Case { workers, labels, offsets, cells, expected } in cases {
            let error = Answers::new(workers, labels, offsets, cells).unwrap_err();
            assert_eq!(error, expected, "{workers} {labels} {offsets:?} {cells:?}");
        }
    }

    #[test]
    fn every_inconsistency_of_a_list_is_its_own_error() {
        struct Case<'a> {
            labels: u32,
            tasks: &'a [u32],
            by: &'a [u32],
            given: &'a [u32],
            /// Lengths of the outputs.
            offsets: usize,
            cells: usize,
            expected: AnswersError,
        }
        let good = Case {
            labels: 2,
            tasks: &[1, 0],
            by: &[2, 0],
            given: &[1, 1],
            offsets: 3,
            cells: 2,
            expected: AnswersError::NoLabels,
        };
        let length = |what, found, expected| AnswersError::Length { what, found, expected };
        let range = |what, found, count| AnswersError::OutOfRange { what, answer: 1, found, count };
        let cases = [
            Case { labels: 0, ..good },
            Case {
                labels: u32::MAX,
                expected: AnswersError::TooManyCells { workers: 3, labels: u32::MAX },
                ..good
            },
            Case { by: &[2], expected: length("workers", 1, 2), ..good },
            Case { given: &[1; 3], expected: length("labels", 3, 2), ..good },
            Case { cells: 1, expected: length("cells", 1, 2), ..good },
            Case { offsets: 0, expected: length("task offsets", 0, 1), ..good },
            Case { tasks: &[1, 2], expected: range("task", 2, 2), ..good },
            Case { by: &[2, 3], expected: range("worker", 3, 3), ..good },
            Case { given: &[1, 2], expected: range("label", 2, 2), ..good },
        ];
        for Case { labels, tasks, by, given, offsets, cells, expected } in cases {
            let (mut offset_memory, mut cell_memory) = ([0; 3], [0; 2]);
            let offsets = offset_memory.get_mut(..offsets).unwrap();
            let cells = cell_memory.get_mut(..cells).unwrap();
            assert_eq!(group_by_task((3, labels), tasks, by, given, offsets, cells), Err(expected));
        }
    }

    #[test]
    fn an_index_of_the_wrong_length_is_an_error() {
        let answers = Answers::new(3, 2, &[0, 2, 3], &[1, 5, 0]).unwrap();
        let error = WorkerTasks::fill(answers, &mut [0; 3], &mut [0; 3]).unwrap_err();
        assert_eq!(error, AnswersError::Length { what: "worker offsets", found: 3, expected: 4 });
        let error = WorkerTasks::fill(answers, &mut [0; 4], &mut [0; 2]).unwrap_err();
        assert_eq!(error, AnswersError::Length { what: "worker tasks", found: 2, expected: 3 });
    }

    #[test]
    fn nothing_is_what_absent_tasks_and_workers_hold() {
        let answers = Answers::new(3, 2, &[0, 2, 2, 3], &[1, 1, 4]).unwrap();
        assert_eq!([0, 1, 2, 3, usize::MAX - 1].map(|task| answers.task(task).len()), [2, 0, 1, 0, 0]);
        assert_eq!(answers.rows(1..3).map(<[u32]>::len).sum::<usize>(), 1);
        assert_eq!(answers.rows(2..9).count(), 0);
        let (mut offsets, mut tasks) = ([0; 4], [0; 3]);
        let by_worker = WorkerTasks::fill(answers, &mut offsets, &mut tasks).unwrap();
        // Worker 0 answered task 0 twice.
        assert_eq!([0, 1, 2, 3].map(|worker| by_worker.worker(worker)), [&[0, 0][..], &[], &[2], &[]]);

        let empty = Answers::new(0, 1, &[0], &[]).unwrap();
        assert_eq!((empty.tasks(), empty.workers(), empty.cell_count()), (0, 0, 0));
    }
}
