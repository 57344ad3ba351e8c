//! The spectral start: class shares and confusion tables from moments, without a vote and without a first guess.
//!
//! ```text
//!   answers ── scores ──► cells [cells, K] ── moments ──► class_shares [K], duals [K, K]
//!      └──────────────────────┴──────────── tables ◄──────────────┘
//!                                              └─► order ─► conditionals [cells, K]
//! ```
//!
//! *Why not three groups of workers?* Zhang, Chen, Zhou and Jordan (*Spectral methods meet EM*, 2014; JMLR 17, 2016)
//! split the workers at random in three and take the mean one-hot answer of each group as its view. Thirds of a
//! sparse crowd are noisy, the result depends on the split, and the mean answer says little where workers' symbols
//! are permuted. Here every answer is a view of its own: its cell has a score (`scores`), learnt from which cells
//! occur together, and second and third moments (`moments`) run over all pairs and triples of answers to a task.
//! The rest is theirs: whitening, robust tensor power iteration, and tables from the covariance of a worker's answers
//! with the other answers to the task. One method serves crowds with aligned and with permuted symbols.
//!
//! *What it assumes.* Who answers a task does not depend on its class: then means over the tasks that have three
//! answers need no correction for the missing ones. A task's answers are taken for draws from one pool of workers,
//! and scores are learnt from the answers they are then used on; both errors fall as workers and their answers
//! grow in number, and EM removes what is left.
//!
//! *Where it breaks down.* Permuted symbols, accuracies 0.6 to 0.9, error after 50 rounds of EM against EM from the
//! truth: 2,000 tasks, 400 workers, 10 answers per task (50 per worker), 4 classes 0.8 % and 0.1 %; 1,000 workers and
//! 5 answers per task (10 per worker), 2 classes 19 % and 12 %, 4 classes 32 % and 3 %. At these accuracies 50 answers
//! per worker are enough and 10 are not; workers nearer to chance need more. Aligned symbols survive sparse crowds
//! better, because iteration begins at them; still, on large crowds of confusable classes (`relevance`, `adult`) EM
//! from the vote ends 2 points lower in error and higher in likelihood.
//!
//! Cost: `O(answers · K + cells · K²)` for each of 30 rounds, then `O(answers · K³)` once. The seed draws noise and directions
//! only; errors differ between seeds by little.

mod moments;
mod scores;
mod tensor;

use crate::numeric::{copy, dot};
use crate::observations::Answers;
use crate::small::{Column, add_scaled, assign, at};
use core::fmt;
use core::ops::Range;
use rand_core::Rng;

/// Labels from which on third moments cost more than they tell.
pub const MAX_LABELS: usize = 32;

/// Answers of a worker that weigh as much as the worker's label shares, taken for every class.
const TABLE_STRENGTH: f64 = 10.0;

/// Smallest class share and smallest conditional, before both are normalised.
const FLOOR: f64 = 1e-6;

/// Why a crowd has no spectral start; the majority vote still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpectralError {
    /// There are more than [`MAX_LABELS`] labels.
    TooManyLabels(usize),
    /// Fewer than three workers of the selection answered anything.
    TooFewWorkers(usize),
    /// No task has three answers of the selection.
    NoTriples,
    /// Answers of different workers do not depend on each other: there is nothing to split into classes.
    NoDependence,
    /// A slice's length is not what the answers imply.
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
}

impl fmt::Display for SpectralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooManyLabels(found) => {
                write!(f, "there are {found} labels, expected at most {MAX_LABELS} for a spectral start")
            }
            Self::TooFewWorkers(found) => {
                write!(f, "{found} workers answered, expected at least 3 for a spectral start")
            }
            Self::NoTriples => write!(f, "no task has 3 answers, expected some for a spectral start"),
            Self::NoDependence => {
                write!(f, "workers' answers are independent, expected shared classes for a spectral start")
            }
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
        }
    }
}

impl core::error::Error for SpectralError {}

/// `f64` values of scratch [`start`] needs.
pub fn start_scratch_len(answers: Answers<'_>) -> usize {
    let (cells, classes) = (answers.cell_count(), answers.labels().min(MAX_LABELS));
    cells * (1 + classes) + square(classes) + classes + moments::decompose_scratch_len(classes)
}

/// Estimates class shares `[K]` and conditionals `[cells, K]`, `conditionals[cell · K + class] = P(label | class)`.
///
/// There are as many classes as labels. With `t_c` the mean, over worker `i`'s answers with cell `c`, of the mean score of
/// the task's other answers, and `d_k` the dual vector of class `k`, `P(c | k) ≈ ⟨d_k, t_c⟩ · n_c / n_i`; tables are
/// shrunk toward the worker's label shares with the weight of 10 answers, floored at 1e-6 and normalised.
/// Classes are numbered so that the crowd's summed tables have the largest possible diagonal: where symbols mean
/// classes, class `k` is label `k`; where they do not, the order is arbitrary.
///
/// Workers without answers get uniform tables, a class that answers show no trace of gets share 1e-6 and every worker's label shares.
/// Repeated answers of one worker to a task count as independent ones, as they do in EM. One seed, one result.
/// On an error the outputs are unspecified.
///
/// Zhang, Chen, Zhou, Jordan, *Spectral methods meet EM*, JMLR 17 (2016), algorithm 1, with every answer a view.
///
/// ```
/// # use mixlet_core::{em::spectral::{start, start_scratch_len}, observations::Answers, rand_core};
/// # struct Seed(u64);
/// # impl rand_core::TryRng for Seed {
/// #     type Error = core::convert::Infallible;
/// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok((self.try_next_u64()? >> 32) as u32) }
/// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
/// #         self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); Ok(self.0)
/// #     }
/// #     fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// // 40 tasks, 4 workers; worker 3 always says the opposite.
/// let task_offsets: [u32; 41] = core::array::from_fn(|task| 4 * task as u32);
/// let cells: [u32; 160] = core::array::from_fn(|answer| {
///     let (task, worker) = (answer as u32 / 4, answer as u32 % 4);
///     2 * worker + if worker == 3 { 1 - task % 2 } else { task % 2 }
/// });
/// let answers = Answers::new(4, 2, &task_offsets, &cells).unwrap();
/// let (mut class_shares, mut conditionals) = ([0.0; 2], [0.0; 16]);
/// let mut scratch = vec![0.0; start_scratch_len(answers)];
/// start(answers, &mut Seed(1), &mut class_shares, &mut conditionals, &mut scratch).unwrap();
/// assert!((class_shares[0] - 0.5).abs() < 0.01);
/// assert!(conditionals[0] > 0.85); // worker 0, label 0, class 0
/// assert!(conditionals[12] < 0.15); // worker 3, label 0, class 0
/// ```
pub fn start(
    answers: Answers<'_>,
    random: &mut impl Rng,
    class_shares: &mut [f64],
    conditionals: &mut [f64],
    mut scratch: &mut [f64],
) -> Result<(), SpectralError> {
    let (cells, classes) = (answers.cell_count(), answers.labels().max(1));
    if classes > MAX_LABELS {
        return Err(SpectralError::TooManyLabels(classes));
    }
    for (what, found, expected) in [
        ("class_shares", class_shares.len(), classes),
        ("conditionals", conditionals.len(), cells * classes),
        ("scratch", scratch.len(), start_scratch_len(answers)),
    ] {
        if found != expected {
            return Err(SpectralError::Length { what, found, expected });
        }
    }
    let panel = Panel { answers };
    let counts = take(&mut scratch, cells);
    let scores = take(&mut scratch, cells * classes);
    let duals = take(&mut scratch, square(classes));
    let sum = take(&mut scratch, classes);

    panel.count(counts);
    let workers =
        counts.chunks_exact(classes).filter(|counts| counts.iter().any(|&count| count > 0.0)).count();
    if workers < 3 {
        return Err(SpectralError::TooFewWorkers(workers));
    }
    scores::fit(panel, counts, random, scores, conditionals, sum);
    moments::decompose(panel, scores, random, class_shares, duals, scratch)?;
    normalize(class_shares, 1);
    tables(panel, scores, duals, conditionals, sum);
    order(counts, class_shares, conditionals, duals, sum);
    Ok(())
}

/// Answers, each a view of its task.
#[derive(Clone, Copy)]
struct Panel<'a> {
    answers: Answers<'a>,
}

impl<'a> Panel<'a> {
    /// The cells of each task.
    #[inline(always)]
    fn tasks(self) -> impl Iterator<Item = &'a [u32]> {
        self.answers.rows(0..self.answers.tasks())
    }

    /// Adds the scores of a task's views into `sum` `[K]` and returns their number.
    #[inline(always)]
    fn sum_scores(self, cells: &'a [u32], scores: &[f64], sum: &mut [f64]) -> f64 {
        sum.fill(0.0);
        for &cell in cells {
            if let Some(score) = scores.get(cell_row(cell, sum.len())) {
                add_scaled(sum, 1.0, score);
            }
        }
        // Coordinate 0 of every score is 1.
        at(sum, 0)
    }

    fn count(self, counts: &mut [f64]) {
        counts.fill(0.0);
        for &cell in self.answers.cells() {
            counts.iter_mut().skip(cell as usize).take(1).for_each(|count| *count += 1.0);
        }
    }
}

/// Confusion tables from the dual vectors of the classes; `sum` `[K]` is scratch.
fn tables(panel: Panel<'_>, scores: &[f64], duals: &[f64], conditionals: &mut [f64], sum: &mut [f64]) {
    let classes = count_of(sum.len());
    conditionals.fill(0.0);
    for cells in panel.tasks() {
        let views = panel.sum_scores(cells, scores, sum);
        for &cell in cells {
            let others = views - 1.0;
            let row = cell_row(cell, classes);
            if let (Some(out), Some(score)) = (conditionals.get_mut(row.clone()), scores.get(row))
                && others > 0.0
            {
                add_scaled(out, 1.0 / others, sum);
                add_scaled(out, -1.0 / others, score);
            }
        }
    }
    for table in conditionals.chunks_exact_mut(square(classes)) {
        let answers: f64 = table.iter().step_by(classes).sum();
        for row in table.chunks_exact_mut(classes) {
            copy(row, sum);
            let share = if answers > 0.0 { at(sum, 0) / answers } else { 1.0 / sum.len() as f64 };
            for (value, dual) in row.iter_mut().zip(duals.chunks_exact(classes)) {
                *value = (dot(sum, dual) + TABLE_STRENGTH * share) / (answers + TABLE_STRENGTH);
            }
        }
        normalize(table, classes);
    }
}

/// Raises every value to [`FLOOR`] and scales each of the `columns` of a table to sum 1.
fn normalize(table: &mut [f64], columns: usize) {
    table.iter_mut().for_each(|value| *value = value.max(FLOOR));
    for column in 0..columns {
        let total: f64 = table.iter().skip(column).step_by(columns).sum();
        table.iter_mut().skip(column).step_by(columns).for_each(|value| *value /= total);
    }
}

/// Renumbers classes: maximises `Σ_{i, k} n_i · P_i(label k | class k)`. `pooled` `[K, K]` and `old` `[K]` are scratch.
fn order(
    counts: &[f64],
    class_shares: &mut [f64],
    conditionals: &mut [f64],
    pooled: &mut [f64],
    old: &mut [f64],
) {
    let classes = count_of(class_shares.len());
    pooled.fill(0.0);
    for (table, counts) in conditionals.chunks_exact(square(classes)).zip(counts.chunks_exact(classes)) {
        add_scaled(pooled, counts.iter().sum(), table);
    }
    let mut columns = [Column::default(); MAX_LABELS];
    let columns = columns.get_mut(..classes).unwrap_or(&mut []);
    assign(pooled, columns);
    for row in conditionals.chunks_exact_mut(classes).chain([class_shares]) {
        copy(row, old);
        for (column, &value) in columns.iter().zip(&*old) {
            row.iter_mut().skip(column.row.unwrap_or(0)).take(1).for_each(|new| *new = value);
        }
    }
}

/// Where a cell's row of a `[cells, K]` table stands.
#[inline(always)]
fn cell_row(cell: u32, classes: usize) -> Range<usize> {
    cell as usize * classes..(cell as usize + 1) * classes
}

const fn square(n: usize) -> usize {
    n * n
}

/// The classes that a slice has a value for. [`start`] lets 1 to [`MAX_LABELS`] pass; here the compiler sees it too.
#[allow(clippy::manual_clamp, reason = "of `clamp` it does not see that nothing is 0")]
#[inline(always)]
fn count_of(len: usize) -> usize {
    len.min(MAX_LABELS).max(1)
}

/// Takes the first `len` values off a slice; nothing if it is shorter, which [`start`] has excluded.
fn take<'a>(values: &mut &'a mut [f64], len: usize) -> &'a mut [f64] {
    let (head, rest) = core::mem::take(values).split_at_mut_checked(len).unwrap_or_default();
    *values = rest;
    head
}
