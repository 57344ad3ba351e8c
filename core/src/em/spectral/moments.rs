//! Moments of the scores of several answers to one task, and the classes that explain them.

use super::tensor::components;
use super::{Panel, SpectralError, cell_row, count_of, square, take};
use crate::numeric::dot;
use crate::small::{add_scaled, at, eigen};
use rand_core::Rng;

/// Second moments along directions with a smaller eigenvalue are taken for noise.
const RANK_TOLERANCE: f64 = 1e-5;

/// Keeps the dual vector of a class without share finite.
const RIDGE: f64 = 1e-6;

/// `f64` values of scratch [`decompose`] needs.
pub(super) const fn decompose_scratch_len(classes: usize) -> usize {
    2 * classes * square(classes) + 3 * square(classes) + 3 * classes
}

/// Class shares `[K]` and dual vectors `[K, K]` from the second and third moments of `scores` `[cells, K]`.
///
/// Two answers of different workers are independent given the class `y`. With `μ_k` the mean score in class `k`
/// (coordinate 0 is the constant 1):
///
/// ```text
///   M2 = E[z ⊗ z′]       = Σ_k π_k μ_k ⊗ μ_k            z, z′, z″: scores of different answers to one task
///   M3 = E[z ⊗ z′ ⊗ z″]  = Σ_k π_k μ_k ⊗ μ_k ⊗ μ_k      M2 = M3(·, ·, e_0)
///   W M2 Wᵀ = I          M3(W, W, W) = Σ_k π_k^(−1/2) v_k ⊗ v_k ⊗ v_k,  v_k = √π_k W μ_k orthonormal
/// ```
/// As `μ_k[0] = 1`, `√π_k = ⟨W M2 e_0, v_k⟩`: shares need no eigenvalue of the tensor. Row `k` of `duals` is
/// `Wᵀ v_k / √π_k`, for which `⟨duals_k, Σ_l π_l w_l μ_l⟩ = w_k` whatever the weights `w`.
/// Where the rank is below `K`, the last classes get share 0 and dual 0.
pub(super) fn decompose(
    panel: Panel<'_>,
    scores: &[f64],
    random: &mut impl Rng,
    class_shares: &mut [f64],
    duals: &mut [f64],
    mut scratch: &mut [f64],
) -> Result<(), SpectralError> {
    let classes = count_of(class_shares.len());
    let [tensor, spare] = [(); 2].map(|()| take(&mut scratch, classes * square(classes)));
    let [second, vectors, whitening] = [(); 3].map(|()| take(&mut scratch, square(classes)));
    let constant = take(&mut scratch, classes);

    third_moment(panel, scores, tensor, second, constant)?;
    second.iter_mut().zip(&*tensor).for_each(|(out, moment)| *out = *moment);
    eigen(second, classes, vectors);
    let rank = whiten(second, vectors, whitening, constant);
    if rank < classes.min(2) {
        return Err(SpectralError::NoDependence);
    }
    let whitening = whitening.get(..rank * classes).unwrap_or(&[]);

    // Three contractions turn the indices once around.
    let (first, second) = (square(classes) * rank, classes * square(rank));
    contract(tensor, whitening, rank, spare);
    contract(spare.get(..first).unwrap_or(&[]), whitening, rank, tensor);
    contract(tensor.get(..second).unwrap_or(&[]), whitening, rank, spare);
    components(spare.get_mut(..rank * square(rank)).unwrap_or(&mut []), rank, random, vectors, scratch);

    class_shares.fill(0.0);
    duals.fill(0.0);
    for ((share, dual), v) in class_shares
        .iter_mut()
        .zip(duals.chunks_exact_mut(classes))
        .zip(vectors.chunks_exact(rank.max(1)))
        .take(rank)
    {
        let root = dot(constant, v);
        *share = root * root;
        for (row, x) in whitening.chunks_exact(classes).zip(v) {
            add_scaled(dual, x * root / (root * root + RIDGE), row);
        }
    }
    Ok(())
}

/// Mean over tasks of the mean of `z ⊗ z′ ⊗ z″` over the task's ordered triples of different answers.
///
/// With `S1 = Σ z`, `S2 = Σ z ⊗ z`, `S3 = Σ z ⊗ z ⊗ z` over a task's answers, its triples sum to
/// `S1 ⊗ S1 ⊗ S1 − (S1 ⊗ S2 in its three orders) + 2 S3`. Tasks with fewer than three answers have none.
fn third_moment(
    panel: Panel<'_>,
    scores: &[f64],
    tensor: &mut [f64],
    pairs: &mut [f64],
    sum: &mut [f64],
) -> Result<(), SpectralError> {
    let classes = count_of(sum.len());
    tensor.fill(0.0);
    let mut tasks = 0.0;
    for cells in panel.tasks() {
        let answers = panel.sum_scores(cells, scores, sum);
        if answers < 3.0 {
            continue;
        }
        tasks += 1.0;
        let weight = 1.0 / (answers * (answers - 1.0) * (answers - 2.0));
        pairs.fill(0.0);
        for &cell in cells {
            let z = scores.get(cell_row(cell, classes)).unwrap_or(&[]);
            add_outer(pairs, 1.0, z, z);
            for (plane, x) in tensor.chunks_exact_mut(square(classes)).zip(z) {
                add_outer(plane, 2.0 * weight * x, z, z);
            }
        }
        let planes = tensor.chunks_exact_mut(square(classes)).zip(pairs.chunks_exact(classes));
        for ((plane, pair), &x) in planes.zip(&*sum) {
            add_outer(plane, weight * x, sum, sum);
            add_scaled(plane, -weight * x, pairs);
            add_outer(plane, -weight, pair, sum);
            add_outer(plane, -weight, sum, pair);
        }
    }
    tensor.iter_mut().for_each(|value| *value /= tasks);
    if tasks > 0.0 { Ok(()) } else { Err(SpectralError::NoTriples) }
}

/// `out += factor · x ⊗ y`.
#[inline(always)]
fn add_outer(out: &mut [f64], factor: f64, x: &[f64], y: &[f64]) {
    out.chunks_exact_mut(y.len().max(1)).zip(x).for_each(|(row, x)| add_scaled(row, factor * x, y));
}

/// Rows `u / √e` of the eigenpairs `(e, u)` that are not noise, and `constant = W M2 e_0`; returns their number.
fn whiten(values: &[f64], vectors: &[f64], whitening: &mut [f64], constant: &mut [f64]) -> usize {
    let classes = count_of(constant.len());
    let pairs = values.iter().step_by(classes + 1).zip(vectors.chunks_exact(classes));
    let kept = pairs.filter(|(value, _)| **value > RANK_TOLERANCE);
    let mut rank = 0;
    for (((&value, vector), row), along) in
        kept.zip(whitening.chunks_exact_mut(classes)).zip(constant.iter_mut())
    {
        let root = libm::sqrt(value);
        row.iter_mut().zip(vector).for_each(|(out, x)| *out = x / root);
        *along = root * at(vector, 0);
        rank += 1;
    }
    rank
}

/// `out[j, h] = Σ_i matrix[h, i] · tensor[i, j]`, where `j` stands for all indices but the first.
fn contract(tensor: &[f64], matrix: &[f64], rows: usize, out: &mut [f64]) {
    let rows = rows.max(1);
    let columns = (matrix.len() / rows).max(1);
    out.fill(0.0);
    for (i, plane) in tensor.chunks_exact((tensor.len() / columns).max(1)).enumerate() {
        for (out, value) in out.chunks_exact_mut(rows).zip(plane) {
            let column = matrix.iter().skip(i).step_by(columns);
            out.iter_mut().zip(column).for_each(|(sum, weight)| *sum += weight * value);
        }
    }
}
