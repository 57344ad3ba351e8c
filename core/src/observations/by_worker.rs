//! The other direction of the answers.

use super::{Answers, AnswersError, count_and_scan, place, shift_back};

/// Which tasks each worker answered: the other direction of [`Answers`].
///
/// A task that a worker answered several times is listed as often, in adjacent places.
#[derive(Clone, Copy, Debug)]
pub struct WorkerTasks<'a> {
    offsets: &'a [u32],
    tasks: &'a [u32],
}

impl<'a> WorkerTasks<'a> {
    /// Builds the index in memory of the caller: `offsets` `[workers + 1]`, `tasks` `[answers]`.
    ///
    /// ```
    /// # use mixlet_core::observations::{Answers, WorkerTasks};
    /// let answers = Answers::new(3, 2, &[0, 2, 3], &[1, 5, 0]).unwrap();
    /// let (mut offsets, mut tasks) = ([0; 4], [0; 3]);
    /// let by_worker = WorkerTasks::fill(answers, &mut offsets, &mut tasks).unwrap();
    /// assert_eq!(by_worker.worker(0), [0, 1]);
    /// assert!(by_worker.worker(1).is_empty());
    /// ```
    pub fn fill(
        answers: Answers<'_>,
        offsets: &'a mut [u32],
        tasks: &'a mut [u32],
    ) -> Result<Self, AnswersError> {
        for (what, found, expected) in [
            ("worker offsets", offsets.len(), answers.workers() + 1),
            ("worker tasks", tasks.len(), answers.cells.len()),
        ] {
            if found != expected {
                return Err(AnswersError::Length { what, found, expected });
            }
        }
        count_and_scan(answers.cells.iter().map(|&cell| answers.worker(cell)), offsets);
        for (task, cells) in (0..).zip(answers.rows(0..answers.tasks())) {
            for &cell in cells {
                place(offsets, answers.worker(cell), tasks, task);
            }
        }
        shift_back(offsets);
        Ok(Self { offsets, tasks })
    }

    /// The tasks a worker answered, ascending; none if there is no such worker.
    pub fn worker(&self, worker: usize) -> &'a [u32] {
        match (self.offsets.get(worker), self.offsets.get(worker + 1)) {
            (Some(&start), Some(&end)) => self.tasks.get(start as usize..end as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}
