//! Products for few rows: each output's weights are read once, in the order they lie in memory.

use super::panel::weight_tile;
use super::{Arith, DEPTH, TILE};
use crate::matrix::{MatMut, MatRef};
use crate::weights::{Element, Weights};

/// Sums kept side by side.
const LANES: usize = 64;
/// Rows that share a tile.
const ROWS: usize = 6;
/// Values between the copies of two rows.
const APART: usize = 16;

/// Values that [`forward`] works in beside a tile of weights.
pub(super) fn copies_len(rows: usize, inputs: usize) -> usize {
    if rows > 1 { rows * (inputs + APART) } else { 0 }
}

/// `out += x · weightsᵀ`.
#[inline(always)]
pub(super) fn forward<A: Arith>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    floats: &mut [f32],
) {
    if x.rows() != 1 {
        return forward_rows::<A>(weights, x, out, floats);
    }
    match weights {
        Weights::F32(matrix) => forward_row::<A, _>(matrix, x.values(), out.values()),
        Weights::F16(matrix) => forward_row::<A, _>(matrix, x.values(), out.values()),
        Weights::Bf16(matrix) => forward_row::<A, _>(matrix, x.values(), out.values()),
        Weights::Int8(_) | Weights::Int4(_) => forward_rows::<A>(weights, x, out, floats),
    }
}

/// One row: the weights are read in order and widened in registers.
#[inline(always)]
fn forward_row<A: Arith, E: Element + Default>(weights: MatRef<'_, E>, x: &[f32], out: &mut [f32]) {
    for (out, weights) in out.iter_mut().zip(weights.each_row()) {
        *out += dot::<A, E>(x, weights);
    }
}

/// Several rows: a tile of weights is widened once for all of them.
///
/// Rows are copied apart first: at a distance of whole pages they would drive each other out of the cache.
#[inline(always)]
fn forward_rows<A: Arith>(weights: Weights<'_>, x: MatRef<'_>, mut out: MatMut<'_>, floats: &mut [f32]) {
    let stride = x.columns() + APART;
    let (copies, floats) = floats.split_at_mut((x.rows() * stride).min(floats.len()));
    for (copy, row) in copies.chunks_exact_mut(stride.max(1)).zip(x.each_row()) {
        copy.iter_mut().zip(row).for_each(|(copy, value)| *copy = *value);
    }
    let Ok(x) = MatRef::new(copies, x.rows(), stride) else { return };
    for output in (0..weights.outputs()).step_by(TILE) {
        for first in (0..weights.inputs()).step_by(DEPTH) {
            let depth = (weights.inputs() - first).min(DEPTH);
            let tile = weight_tile(weights, output, (first, depth), floats);
            for start in (0..x.rows()).step_by(ROWS) {
                let at = (start, first, output);
                match (x.rows() - start).min(ROWS) {
                    6 => add_tile::<A, 6>(tile, x, at, out.as_mut()),
                    5 => add_tile::<A, 5>(tile, x, at, out.as_mut()),
                    4 => add_tile::<A, 4>(tile, x, at, out.as_mut()),
                    3 => add_tile::<A, 3>(tile, x, at, out.as_mut()),
                    2 => add_tile::<A, 2>(tile, x, at, out.as_mut()),
                    _ => add_tile::<A, 1>(tile, x, at, out.as_mut()),
                }
            }
        }
    }
}

#[inline(always)]
fn add_tile<A: Arith, const M: usize>(
    tile: [&[f32]; TILE],
    x: MatRef<'_>,
    (start, first, output): (usize, usize, usize),
    mut out: MatMut<'_>,
) {
    let depth = tile[0].len();
    let row = |m| x.row(start + m).and_then(|row| row.get(first..first + depth)).unwrap_or_default();
    let sums = A::f32_dots::<M>(core::array::from_fn(row), tile);
    let columns = out.columns().max(1);
    for (out, sums) in out.values().chunks_exact_mut(columns).skip(start).zip(sums) {
        out.iter_mut().skip(output).zip(sums).for_each(|(out, sum)| *out += sum);
    }
}

/// `[m][n]`: `Σ x[m] · w[n]`.
#[inline(always)]
pub(super) fn f32_dots<A: Arith + ?Sized, const M: usize>(
    x: [&[f32]; M],
    w: [&[f32]; TILE],
) -> [[f32; TILE]; M] {
    x.map(|x| w.map(|w| dot::<A, f32>(x, w)))
}

#[inline(always)]
fn dot<A: Arith + ?Sized, E: Element + Default>(x: &[f32], weights: &[E]) -> f32 {
    let (x_steps, x_rest) = x.as_chunks::<LANES>();
    let (steps, rest) = weights.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, weights) in x_steps.iter().zip(steps) {
        add_products::<A, E>(x, weights, &mut sums);
    }
    if !rest.is_empty() {
        add_products::<A, E>(&padded(x_rest), &padded(rest), &mut sums);
    }
    sum(sums)
}

#[inline(always)]
fn add_products<A: Arith + ?Sized, E: Element>(
    x: &[f32; LANES],
    weights: &[E; LANES],
    sums: &mut [f32; LANES],
) {
    for ((sum, x), weight) in sums.iter_mut().zip(x).zip(weights) {
        *sum = A::fma(*x, weight.to_f32_lanes(), *sum);
    }
}

#[inline(always)]
fn padded<E: Copy + Default>(values: &[E]) -> [E; LANES] {
    let mut padded = [E::default(); LANES];
    padded.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
    padded
}

/// Adds halves until one is left.
#[inline(always)]
fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        width /= 2;
    }
    lanes[0]
}
