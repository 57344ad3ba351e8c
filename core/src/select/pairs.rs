//! Tables of answer pairs, one worker at a time.

use super::Estimator;
use crate::em::{EmError, check_length};
use crate::observations::{Answers, WorkerTasks};
use crate::sort::sort_by;

/// Where the pairs of answers come from: all tasks alike, or each task by its posterior.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    answers: Answers<'a>,
    by_worker: WorkerTasks<'a>,
    /// `[tasks, classes]`, and the number of classes; none: one class that holds every task.
    responsibilities: Option<(&'a [f64], usize)>,
}

impl<'a> Pairs<'a> {
    /// Pairs over all tasks, unconditionally.
    pub fn new(answers: Answers<'a>, by_worker: WorkerTasks<'a>) -> Self {
        Self { answers, by_worker, responsibilities: None }
    }

    /// Pairs within each class: task `t` counts `responsibilities[t, k]` in class `k`.
    pub fn within_classes(self, responsibilities: &'a [f64], classes: usize) -> Result<Self, EmError> {
        check_length("responsibilities", responsibilities.len(), self.answers.tasks() * classes)?;
        Ok(Self { responsibilities: Some((responsibilities, classes)), ..self })
    }

    /// The answers.
    pub fn answers(&self) -> Answers<'a> {
        self.answers
    }

    /// Number of tables per pair of workers.
    pub fn classes(&self) -> usize {
        self.responsibilities.map_or(1, |(_, classes)| classes)
    }

    /// Tasks in each class: `masses` is `[classes]`.
    pub fn class_masses(&self, masses: &mut [f64]) {
        let Some((responsibilities, classes)) = self.responsibilities else {
            return masses.fill(self.answers.tasks() as f64);
        };
        masses.fill(0.0);
        for posterior in responsibilities.chunks_exact(classes.max(1)) {
            masses.iter_mut().zip(posterior).for_each(|(mass, value)| *mass += value);
        }
    }

    /// Values of scratch that [`for_each_partner`](Self::for_each_partner) needs; they must be zero, and are again after it.
    pub fn scratch_len(&self) -> usize {
        self.answers.cell_count() * self.answers.labels() * self.classes()
    }

    /// Calls `visit(partner, tables)` once for every worker who shares a task with `worker`.
    ///
    /// `tables` is `[classes, partner's label, worker's label]`: how often the two answered so.
    /// Several answers of one worker to a task pair with each of the other's.
    pub fn for_each_partner(
        &self,
        worker: usize,
        scratch: &mut [f64],
        mut visit: impl FnMut(usize, &[f64]),
    ) -> Result<(), EmError> {
        check_length("scratch", scratch.len(), self.scratch_len())?;
        let table_len = self.answers.labels() * self.answers.labels() * self.classes();
        let mut previous = None;
        for &task in self.by_worker.worker(worker) {
            if previous.replace(task) != Some(task) {
                self.count_task(worker, task as usize, scratch);
            }
        }
        for &task in self.by_worker.worker(worker) {
            for &cell in self.answers.task(task as usize) {
                let partner = self.answers.worker(cell);
                let start = partner * table_len;
                let Some(tables) = scratch.get_mut(start..start + table_len) else {
                    continue;
                };
                // A table already visited, and the worker's own, are all zero.
                if tables.iter().any(|&count| count != 0.0) {
                    visit(partner, tables);
                    tables.fill(0.0);
                }
            }
        }
        Ok(())
    }

    /// Adds one task to the tables of everyone else who answered it.
    fn count_task(&self, worker: usize, task: usize, scratch: &mut [f64]) {
        let (labels, classes) = (self.answers.labels(), self.classes());
        let cells = self.answers.task(task);
        let posterior = self.responsibilities.map(|(all, _)| all.get(task * classes..).unwrap_or(&[]));
        for own in cells.iter().filter(|&&cell| self.answers.worker(cell) == worker) {
            let own_label = self.answers.label(*own);
            for &other in cells.iter().filter(|&&cell| self.answers.worker(cell) != worker) {
                let partner = self.answers.worker(other);
                for class in 0..classes {
                    let mass = posterior.map_or(1.0, |values| values.get(class).copied().unwrap_or(0.0));
                    let row = (partner * classes + class) * labels + self.answers.label(other);
                    if let Some(count) = scratch.get_mut(row * labels + own_label) {
                        *count += mass;
                    }
                }
            }
        }
    }
}

/// A worker's information: `σ_i = Σ_(j ≠ i) I(i, j)`, in nats. `scratch` is as in [`Pairs::for_each_partner`].
pub fn worker_information(
    pairs: &Pairs<'_>,
    worker: usize,
    estimator: Estimator,
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    let labels = pairs.answers().labels();
    let tasks = pairs.answers().tasks() as f64;
    let mut information = 0.0;
    pairs.for_each_partner(worker, scratch, |_, counts| {
        information += estimator.estimate(counts, labels, tasks)
    })?;
    Ok(information)
}

/// Sorts worker numbers by falling information; ties go to the lower number, NaN comes last.
///
/// ```
/// # use mixlet_core::select::order_by_information;
/// let mut order = [0; 4];
/// order_by_information(&[0.1, 0.3, 0.3, 0.7], &mut order);
/// assert_eq!(order, [3, 1, 2, 0]);
/// ```
pub fn order_by_information(information: &[f64], order: &mut [u32]) {
    for (nth, worker) in (0..).zip(order.iter_mut()) {
        *worker = nth;
    }
    let known = |worker: u32| information.get(worker as usize).copied().filter(|value| !value.is_nan());
    let of = |worker: u32| known(worker).unwrap_or(f64::NEG_INFINITY);
    sort_by(order, |a, b| of(a) > of(b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_numbers_have_an_order() {
        const NAN: f64 = f64::NAN;
        struct Case<'a> {
            information: &'a [f64],
            expected: &'a [u32],
        }
        let cases = [
            Case { information: &[], expected: &[] },
            Case { information: &[0.0, -0.0, 0.0], expected: &[0, 1, 2] },
            Case { information: &[NAN, 0.1, NAN, f64::INFINITY], expected: &[3, 1, 0, 2] },
            // More workers than numbers: those without come last.
            Case { information: &[0.1, 0.2], expected: &[1, 0, 2] },
        ];
        for Case { information, expected } in cases {
            let mut order = [u32::MAX; 4];
            let order = order.get_mut(..expected.len()).unwrap();
            order_by_information(information, order);
            assert_eq!(order, expected, "{information:?}");
        }
        // Long enough for a sort that notices an order that is none.
        let information: [f64; 100] =
            core::array::from_fn(|nth| if nth % 3 == 0 { NAN } else { (nth * 37 % 100) as f64 });
        order_by_information(&information, &mut [0; 100]);
    }

    /// Tables of worker 0 of a crowd of three, with labels `{0, 1}`.
    #[test]
    fn tables_count_every_pair_of_answers_once() {
        // Task 0: workers 0, 1, 2 say 0, 1, 1. Task 1: worker 0 says 0 and 1, worker 2 says 0. Task 2: workers 1, 2.
        let (offsets, cells) = ([0, 3, 6, 8], [0, 3, 5, 0, 1, 4, 2, 4]);
        let answers = Answers::new(3, 2, &offsets, &cells).unwrap();
        let (mut worker_offsets, mut tasks) = ([0; 4], [0; 8]);
        let by_worker = WorkerTasks::fill(answers, &mut worker_offsets, &mut tasks).unwrap();
        // [partner's label, own label]
        let expected = [(1, [0.0, 0.0, 1.0, 0.0]), (2, [1.0, 1.0, 1.0, 0.0])];
        let mut nth = 0;
        let visit = |partner: usize, table: &[f64]| {
            assert_eq!(
                expected.get(nth).map(|(worker, counts)| (*worker, &counts[..])),
                Some((partner, table))
            );
            nth += 1;
        };
        Pairs::new(answers, by_worker).for_each_partner(0, &mut [0.0; 12], visit).unwrap();
        assert_eq!(nth, 2);
    }
}
