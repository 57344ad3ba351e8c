//! Scores: each cell (a worker's answer symbol) as a point of `K` coordinates, such that cells that go together are near.
//!
//! They replace a projection on the leading singular vectors of the moments between workers, `[cells, cells]`, which
//! are never formed. One round is *reciprocal averaging*: a task takes the mean score of its answers, a cell the mean
//! of the tasks it occurs in. That is orthogonal iteration on the normalised table of tasks and cells (correspondence
//! analysis; Nishisato 1980), and costs `O(answers · K)`.
//!
//! Three things keep the result about classes, not about who answered what:
//! * scores of a worker have mean 0 over the worker's own answers, so blocks of workers who share tasks carry nothing;
//! * a cell's sum is divided by its count plus [`STRENGTH`], so rare cells stay near 0;
//! * iteration begins at "symbol `s` means class `s`" plus noise, so that where symbols mean classes, a sparse crowd
//!   stays there, and where they do not, the noise reaches every direction.

use super::tensor::symmetric_unit;
use super::{Panel, cell_row, count_of};
use crate::small::{add_scaled, at};
use rand_core::Rng;

/// Rounds of reciprocal averaging. 20 to 40 give the same errors; 100 lets single blocks of sparse crowds take over.
const ROUNDS: usize = 30;

/// Answers a cell needs before its score counts half.
const STRENGTH: f64 = 20.0;

/// Size of the noise in the first scores.
const NOISE: f64 = 0.1;

/// Variance below which a coordinate is empty.
const EMPTY: f64 = 1e-12;

/// Fits `scores` `[cells, K]`; coordinate 0 is always 1, the others are centred and uncorrelated with variance 1.
///
/// `counts` `[cells]` are the answers the panel uses, `next` `[cells, K]` and `sum` `[K]` are scratch.
pub(super) fn fit(
    panel: Panel<'_>,
    counts: &[f64],
    random: &mut impl Rng,
    scores: &mut [f64],
    next: &mut [f64],
    sum: &mut [f64],
) {
    let classes = count_of(sum.len());
    for (cell, row) in scores.chunks_exact_mut(classes).enumerate() {
        for (class, score) in row.iter_mut().enumerate() {
            *score = f64::from(u8::from(cell % classes == class)) + NOISE * symmetric_unit(random);
        }
    }
    standardize(counts, scores, sum);
    for _ in 0..ROUNDS {
        average(panel, scores, next, sum);
        for ((row, sums), count) in
            scores.chunks_exact_mut(classes).zip(next.chunks_exact(classes)).zip(counts)
        {
            row.iter_mut().zip(sums).for_each(|(score, sum)| *score = sum / (count + STRENGTH));
        }
        standardize(counts, scores, sum);
    }
}

/// `next[c] = Σ_{tasks with c} (mean score of the task's answers)`.
fn average(panel: Panel<'_>, scores: &[f64], next: &mut [f64], sum: &mut [f64]) {
    let classes = count_of(sum.len());
    next.fill(0.0);
    for cells in panel.tasks() {
        let answers = panel.sum_scores(cells, scores, sum);
        for &cell in cells {
            if let Some(out) = next.get_mut(cell_row(cell, classes)) {
                add_scaled(out, 1.0 / answers, sum);
            }
        }
    }
}

/// Centres every worker, makes coordinates uncorrelated (Gram–Schmidt, in order), sets coordinate 0 to 1.
fn standardize(counts: &[f64], scores: &mut [f64], mean: &mut [f64]) {
    let classes = count_of(mean.len());
    for (table, counts) in scores.chunks_exact_mut(classes * classes).zip(counts.chunks_exact(classes)) {
        center(counts, table, mean);
    }
    let answers: f64 = counts.iter().sum();
    for j in 1..classes {
        for i in 1..j {
            let along = product(counts, scores, i, j) / answers;
            for row in scores.chunks_exact_mut(classes) {
                let other = at(row, i);
                row.iter_mut().skip(j).take(1).for_each(|score| *score -= along * other);
            }
        }
        let variance = product(counts, scores, j, j) / answers;
        let factor = if variance > EMPTY { 1.0 / libm::sqrt(variance) } else { 0.0 };
        scores.iter_mut().skip(j).step_by(classes).for_each(|score| *score *= factor);
    }
    scores.iter_mut().step_by(classes).for_each(|score| *score = 1.0);
}

/// Takes the mean over a worker's answers off the worker's scores `[K, K]`; symbols never used score 0.
fn center(counts: &[f64], table: &mut [f64], mean: &mut [f64]) {
    let classes = count_of(mean.len());
    let answers: f64 = counts.iter().sum();
    mean.fill(0.0);
    for (row, count) in table.chunks_exact(classes).zip(counts).filter(|(_, count)| **count > 0.0) {
        add_scaled(mean, count / answers, row);
    }
    for (row, &count) in table.chunks_exact_mut(classes).zip(counts) {
        if count > 0.0 {
            add_scaled(row, -1.0, mean);
        } else {
            row.fill(0.0);
        }
    }
}

/// `Σ_c counts[c] · scores[c, i] · scores[c, j]`.
fn product(counts: &[f64], scores: &[f64], i: usize, j: usize) -> f64 {
    let classes = (scores.len() / counts.len().max(1)).max(1);
    scores.chunks_exact(classes).zip(counts).map(|(row, count)| count * at(row, i) * at(row, j)).sum()
}
