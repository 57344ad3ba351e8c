//! Products for few rows: each output's weights are read once, in the order they lie in memory.

use super::panel::widen_tile;
use super::{Arith, DEPTH, Streams, TILE};
use crate::matrix::{MatMut, MatRef};
use crate::weights::{Element, Weights};

/// Sums kept side by side.
const LANES: usize = 16;
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
    let (streams, x_row) = (Streams::new(weights.outputs()), x.values());
    match weights {
        Weights::F32(matrix) => {
            for step in streams.steps() {
                let [sums] = A::f32_dots::<1>([x_row], streams.rows(matrix, step));
                streams.add(step, sums, out.values());
            }
        }
        Weights::F16(matrix) => {
            for step in streams.steps() {
                streams.add(step, A::f16_dots(x_row, streams.rows(matrix, step)), out.values());
            }
        }
        Weights::Bf16(matrix) => {
            for step in streams.steps() {
                let sums = A::exact_bf16_dots(x_row, streams.rows(matrix, step));
                streams.add(step, sums, out.values());
            }
        }
        Weights::Int8(matrix) => {
            for step in streams.steps() {
                let mut sums = A::exact_int8_dots(x_row, streams.rows(matrix.values(), step));
                for (sum, output) in sums.iter_mut().zip(streams.outputs(step)) {
                    *sum *= matrix.scales().get(output).copied().unwrap_or(0.0);
                }
                streams.add(step, sums, out.values());
            }
        }
        Weights::Int4(_) => forward_rows::<A>(weights, x, out, floats),
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
    let streams = Streams::new(weights.outputs());
    for step in streams.steps() {
        for first in (0..weights.inputs()).step_by(DEPTH) {
            let depth = (weights.inputs() - first).min(DEPTH);
            let tile = widen_tile(weights, streams.outputs(step), (first, depth), floats);
            for start in (0..x.rows()).step_by(ROWS) {
                let (at, to) = ((start, first), (streams, step));
                match (x.rows() - start).min(ROWS) {
                    6 => add_tile::<A, 6>(tile, x, at, to, out.as_mut()),
                    5 => add_tile::<A, 5>(tile, x, at, to, out.as_mut()),
                    4 => add_tile::<A, 4>(tile, x, at, to, out.as_mut()),
                    3 => add_tile::<A, 3>(tile, x, at, to, out.as_mut()),
                    2 => add_tile::<A, 2>(tile, x, at, to, out.as_mut()),
                    _ => add_tile::<A, 1>(tile, x, at, to, out.as_mut()),
                }
            }
        }
    }
}

#[inline(always)]
fn add_tile<A: Arith, const M: usize>(
    tile: [&[f32]; TILE],
    x: MatRef<'_>,
    (start, first): (usize, usize),
    (streams, step): (Streams, usize),
    mut out: MatMut<'_>,
) {
    let depth = tile[0].len();
    let row = |m| x.row(start + m).and_then(|row| row.get(first..first + depth)).unwrap_or_default();
    let sums = A::f32_dots::<M>(core::array::from_fn(row), tile);
    let columns = out.columns().max(1);
    for (out, sums) in out.values().chunks_exact_mut(columns).skip(start).zip(sums) {
        streams.add(step, sums, out);
    }
}

/// `[m][n]`: `Σ x[m] · w[n]`.
#[inline(always)]
pub(super) fn f32_dots<A: Arith + ?Sized, const M: usize>(
    x: [&[f32]; M],
    w: [&[f32]; TILE],
) -> [[f32; TILE]; M] {
    x.map(|x| element_dots::<A, f32>(x, w))
}

/// `[n]`: `Σ x · w[n]`, the outputs side by side.
#[inline(always)]
pub(super) fn element_dots<A: Arith + ?Sized, E: Element + Default>(
    x: &[f32],
    [w0, w1, w2, w3]: [&[E]; TILE],
) -> [f32; TILE] {
    let (x_steps, x_rest) = x.as_chunks::<LANES>();
    let mut sums = [[0.0; LANES]; TILE];
    let [(w0, rest0), (w1, rest1), (w2, rest2), (w3, rest3)] =
        [w0, w1, w2, w3].map(|w| w.as_chunks::<LANES>());
    for ((((x, w0), w1), w2), w3) in x_steps.iter().zip(w0).zip(w1).zip(w2).zip(w3) {
        add_products::<A, E>(x, [w0, w1, w2, w3], &mut sums);
    }
    if !x_rest.is_empty() {
        let rest = [rest0, rest1, rest2, rest3].map(padded);
        add_products::<A, E>(&padded(x_rest), rest.each_ref(), &mut sums);
    }
    sums.map(sum)
}

#[inline(always)]
fn add_products<A: Arith + ?Sized, E: Element>(
    x: &[f32; LANES],
    weights: [&[E; LANES]; TILE],
    sums: &mut [[f32; LANES]; TILE],
) {
    for (sums, weights) in sums.iter_mut().zip(weights) {
        for ((sum, x), weight) in sums.iter_mut().zip(x).zip(weights) {
            *sum = A::fma(*x, weight.to_f32_lanes(), *sum);
        }
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
