//! The pooled prior: workers share what is typical of the crowd, as far as the crowd is alike.
//!
//! `C[i, ·, k] ~ Dirichlet(s · P[·, k])`: `P` is the whole crowd's confusion, `s` how many answers it is
//! worth to each worker. Both come from the counts of a plain fit and are then frozen, so that the
//! objective of the fit with the prior never falls.
//!
//! *Why cavity counts:* a worker's own answer pulls the posterior toward itself, so plain expected counts
//! make everybody look right, most so where tasks have few answers. The *cavity* posterior of a task
//! leaves the worker's own answers out, as leave-one-out validation does.

use core::ops::Range;

use super::dawid_skene::{DawidSkene, DawidSkeneShape};
use crate::numeric::{copy, exp_slice};
use crate::observations::Answers;

/// Strengths are searched between these.
const STRENGTHS: (f64, f64) = (1e-2, 1e6);
/// Points of the grid that precedes the golden-section search.
const GRID: u32 = 13;
/// Steps of the golden-section search: the strength is known to a thousandth.
const STEPS: u32 = 18;

impl DawidSkene<'_> {
    /// `1 / C[i, a, k]` `[cells, classes]`, which [`accumulate_cavity`](Self::accumulate_cavity) reads.
    pub fn reciprocals(&self, out: &mut [f64]) {
        out.iter_mut().zip(self.log_table()).for_each(|(value, log)| *value = -log);
        exp_slice(out);
    }

    /// Adds expected counts to `statistics` as `accumulate` does, but a worker's counts use the posterior
    /// without the worker's own answers: `q[t, k] / C[i, a, k]`, normalised. Tasks with one worker say nothing.
    /// Several answers of one worker to a task count as the worker's own where they are adjacent.
    ///
    /// `responsibilities` are the model's own for these rows; `scratch` holds one value per class.
    pub fn accumulate_cavity(
        &self,
        rows: Range<usize>,
        responsibilities: &[f64],
        reciprocals: &[f64],
        statistics: &mut [f64],
        scratch: &mut [f64],
    ) {
        let (answers, classes) = (self.answers(), scratch.len().max(1));
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else {
            return;
        };
        let weights = self.facts().weights_of(rows.clone());
        for (nth, (cells, posterior)) in
            answers.rows(rows).zip(responsibilities.chunks_exact(classes)).enumerate()
        {
            let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
            masses.iter_mut().zip(posterior).for_each(|(mass, value)| *mass += weight * value);
            if by_worker(answers, cells).nth(1).is_none() {
                continue;
            }
            for own_cells in by_worker(answers, cells) {
                copy(posterior, scratch);
                for &own in own_cells {
                    let row = reciprocals.get(own as usize * classes..).unwrap_or(&[]);
                    scratch.iter_mut().zip(row).for_each(|(value, reciprocal)| *value *= reciprocal);
                }
                let scale = weight / scratch.iter().sum::<f64>();
                for &own in own_cells {
                    let row = counts.get_mut(own as usize * classes..).unwrap_or(&mut []);
                    row.iter_mut().zip(scratch.iter()).for_each(|(count, value)| *count += value * scale);
                }
            }
        }
    }
}

/// Runs of a task's cells with one worker.
fn by_worker<'a>(answers: Answers<'a>, cells: &'a [u32]) -> impl Iterator<Item = &'a [u32]> {
    let mut rest = cells;
    core::iter::from_fn(move || {
        let worker = answers.worker(*rest.first()?);
        let len = rest.iter().take_while(|&&cell| answers.worker(cell) == worker).count();
        let (own, others) = rest.split_at_checked(len)?;
        rest = others;
        Some(own)
    })
}

/// The crowd's confusion `P` `[labels, classes]` from everybody's counts.
///
/// Every class gets as many more answers as there are labels, of somebody half-way between guessing and
/// knowing: right with probability `(1 + 1 / labels) / 2`. Without any evidence a label then still means its class.
///
/// ```
/// # use mixlet_core::em::{dawid_skene::DawidSkeneShape, pooled::pooled_confusion};
/// let shape = DawidSkeneShape { workers: 2, labels: 2, classes: 2 };
/// let statistics = [0.0, 0.0, 5.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 3.0]; // class masses, then two workers
/// let mut pooled = [f64::NAN; 4];
/// pooled_confusion(shape, &statistics, &mut pooled);
/// assert_eq!(pooled, [0.85, 0.1875, 0.15, 0.8125]);
/// ```
pub fn pooled_confusion(shape: DawidSkeneShape, statistics: &[f64], pooled: &mut [f64]) {
    let labels = shape.labels as f64;
    let right = 0.5 * (labels + 1.0);
    let wrong = (labels - right) / (labels - 1.0).max(1.0);
    for (label, row) in pooled.chunks_exact_mut(shape.classes.max(1)).enumerate() {
        for (class, value) in row.iter_mut().enumerate() {
            *value = if shape.classes != shape.labels {
                1.0
            } else if label == class {
                right
            } else {
                wrong
            };
        }
    }
    let counts = statistics.get(shape.classes..).unwrap_or(&[]);
    for worker in counts.chunks_exact((shape.labels * shape.classes).max(1)) {
        pooled.iter_mut().zip(worker).for_each(|(sum, count)| *sum += count);
    }
    for class in 0..shape.classes {
        let total = pooled.iter().skip(class).step_by(shape.classes).sum::<f64>();
        pooled.iter_mut().skip(class).step_by(shape.classes).for_each(|value| *value /= total);
    }
}

/// How many answers the pooled confusion is worth: the `s` under which the counts are likeliest.
///
/// Maximises the Dirichlet-multinomial likelihood `Σ_i Σ_k [ln Γ(s) − ln Γ(s + n_ik) + Σ_a ln Γ(s·P_ak + n_iak)
/// − ln Γ(s·P_ak)]` over `ln s`, by a grid and golden-section search within `[0.01, 10⁶]`; ties go to the larger `s`.
pub fn pooled_strength(shape: DawidSkeneShape, statistics: &[f64], pooled: &[f64]) -> f64 {
    let counts = statistics.get(shape.classes..).unwrap_or(&[]);
    let objective = |log_strength: f64| log_evidence(shape, counts, pooled, libm::exp(log_strength));
    let (low, high) = (libm::log(STRENGTHS.0), libm::log(STRENGTHS.1));
    let step = (high - low) / f64::from(GRID - 1);
    let (mut best, mut largest) = (high, objective(high));
    for nth in (0..GRID - 1).rev() {
        let point = low + step * f64::from(nth);
        let value = objective(point);
        if value > largest {
            (best, largest) = (point, value);
        }
    }
    libm::exp(golden_section(objective, (best - step).max(low), (best + step).min(high)))
}

/// The argument between `low` and `high` at which a function with one peak is largest.
fn golden_section(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    const RATIO: f64 = 0.618_033_988_749_894_8;
    let (mut left, mut right) = (high - RATIO * (high - low), low + RATIO * (high - low));
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..STEPS {
        if at_left > at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - RATIO * (high - low);
            at_left = f(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + RATIO * (high - low);
            at_right = f(right);
        }
    }
    0.5 * (low + high)
}

/// The Dirichlet-multinomial log-likelihood of all workers' counts, up to a constant.
fn log_evidence(shape: DawidSkeneShape, counts: &[f64], pooled: &[f64], strength: f64) -> f64 {
    let classes = shape.classes;
    let at_zero = libm::lgamma(strength);
    let mut total = 0.0;
    for worker in counts.chunks_exact((shape.labels * classes).max(1)) {
        for class in 0..classes {
            let answers = worker.iter().skip(class).step_by(classes).sum::<f64>();
            if answers > 0.0 {
                total += at_zero - libm::lgamma(strength + answers);
            }
        }
    }
    for (nth, share) in pooled.iter().enumerate() {
        let expected = strength * share;
        let at_zero = libm::lgamma(expected);
        for count in counts.iter().skip(nth).step_by(pooled.len().max(1)).filter(|&&count| count > 0.0) {
            total += libm::lgamma(expected + count) - at_zero;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_says_how_alike_workers_are() {
        let shape = DawidSkeneShape { workers: 4, labels: 2, classes: 1 };
        let pooled = [0.5, 0.5];
        struct Case {
            name: &'static str,
            counts: [f64; 8],
            expected: (f64, f64),
        }
        let cases = [
            Case {
                name: "alike",
                counts: [50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0],
                expected: (1e5, 1e6),
            },
            Case {
                name: "opposite",
                counts: [99.0, 1.0, 1.0, 99.0, 99.0, 1.0, 1.0, 99.0],
                expected: (0.01, 2.0),
            },
            Case {
                name: "spread",
                counts: [60.0, 40.0, 40.0, 60.0, 70.0, 30.0, 30.0, 70.0],
                expected: (5.0, 50.0),
            },
            Case { name: "nothing", counts: [0.0; 8], expected: (9e5, 1e6) },
        ];
        for Case { name, counts, expected: (low, high) } in cases {
            let mut statistics = [0.0; 9];
            statistics[1..].copy_from_slice(&counts);
            let strength = pooled_strength(shape, &statistics, &pooled);
            assert!((low..=high).contains(&strength), "{name}: {strength}");
        }
    }

    #[test]
    fn cavity_counts_leave_the_workers_own_answers_out() {
        use crate::em::dawid_skene::Prior;
        use crate::em::{LatentClassModel, RowFacts};
        use crate::observations::Answers;
        // Task 0: workers 0 and 1 say 0 and 1. Task 1: worker 0 alone, so it tells nothing. Task 2: worker 1 says 0
        // twice, worker 0 says 1. Worker 0 is right with 0.8, worker 1 with 0.6; shares are 0.5.
        let (offsets, cells) = ([0, 2, 3, 6], [0, 3, 0, 2, 2, 1]);
        let answers = Answers::new(2, 2, &offsets, &cells).unwrap();
        let mut memory = [0.0; 10];
        let mut model =
            DawidSkene::new(answers, 2, RowFacts::default(), Prior::default(), &mut memory).unwrap();
        let table = [0.8, 0.2, 0.2, 0.8, 0.6, 0.4, 0.4, 0.6];
        model.set_probabilities(&[0.5; 2], &table).unwrap();
        let mut posteriors = [f64::NAN; 6];
        model.expectation(0..3, &mut posteriors).unwrap();
        let mut reciprocals = [f64::NAN; 8];
        model.reciprocals(&mut reciprocals);
        let (mut statistics, mut scratch) = ([0.0; 10], [f64::NAN; 2]);
        model.accumulate_cavity(0..3, &posteriors, &reciprocals, &mut statistics, &mut scratch);

        // What is known of the class without worker 0, then without worker 1.
        let (twice, once) = (0.36 / (0.36 + 0.16), 0.6);
        let masses = [0, 1].map(|class| posteriors.iter().skip(class).step_by(2).sum::<f64>());
        let expected = [
            [masses[0], masses[1]],
            // Worker 0 says 0 to task 0 and 1 to task 2.
            [1.0 - once, once],
            [twice, 1.0 - twice],
            // Worker 1 says 0 to task 2, twice, and 1 to task 0.
            [2.0 * 0.2, 2.0 * 0.8],
            [0.8, 0.2],
        ];
        for (found, expected) in statistics.iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-12, "{statistics:?}, expected {expected:?}");
        }
    }
}
