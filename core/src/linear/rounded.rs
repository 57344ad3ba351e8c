//! Products whose activations are rounded to the kind of the weights.
//!
//! Each sum goes over the inputs in the same order whichever rows share a tile: a row's result does not
//! depend on the others.

use super::{Arith, TILE};
use crate::arch::{RoundedRow, RoundedWeights4};
use crate::matrix::{MatMut, MatRef};
use crate::weights::{GROUP, Int4, Int8, round_small, round_to_bf16};

/// Rows that are rounded together.
pub(super) const ROWS: usize = 128;
/// Rounded rows are zero-padded to a multiple of this.
pub(super) const STEP: usize = 128;

/// A format: how a row of it is reached, and how tiles of it are summed.
trait Format<'a>: Copy {
    /// A rounded row of activations.
    type Row: Copy;
    /// Rows that share a tile at most.
    const ROWS: usize;

    /// `[m][n]`: rows `m` against outputs `output + n`; the last one repeats where there are fewer.
    fn dots<A: Arith, const M: usize>(self, rows: [Self::Row; M], output: usize) -> [[f32; TILE]; M];

    /// What the sums of an output are multiplied by.
    fn scale(self, output: usize) -> f32;
}

impl<'a> Format<'a> for MatRef<'a, half::bf16> {
    type Row = &'a [half::bf16];
    const ROWS: usize = 6;

    #[inline(always)]
    fn dots<A: Arith, const M: usize>(self, rows: [Self::Row; M], output: usize) -> [[f32; TILE]; M] {
        let last = self.rows().saturating_sub(1);
        let row = |n: usize| self.row((output + n).min(last)).unwrap_or_default();
        A::bf16_dots::<M>(rows, core::array::from_fn(row))
    }

    #[inline(always)]
    fn scale(self, _output: usize) -> f32 {
        1.0
    }
}

impl<'a> Format<'a> for Int8<'a> {
    type Row = RoundedRow<'a>;
    const ROWS: usize = 4;

    #[inline(always)]
    fn dots<A: Arith, const M: usize>(self, rows: [Self::Row; M], output: usize) -> [[f32; TILE]; M] {
        let last = self.scales().len().saturating_sub(1);
        let row = |n: usize| self.values().row((output + n).min(last)).unwrap_or_default();
        A::int8_dots::<M>(rows, core::array::from_fn(row))
    }

    #[inline(always)]
    fn scale(self, output: usize) -> f32 {
        self.scales().get(output).copied().unwrap_or(0.0)
    }
}

impl<'a> Format<'a> for Int4<'a> {
    type Row = RoundedRow<'a>;
    const ROWS: usize = 4;

    #[inline(always)]
    fn dots<A: Arith, const M: usize>(self, rows: [Self::Row; M], output: usize) -> [[f32; TILE]; M] {
        let last = self.scales().rows().saturating_sub(1);
        let row = |n: usize| RoundedWeights4 {
            nibbles: self.nibbles().row(n).unwrap_or_default(),
            scales: self.scales().row(n).unwrap_or_default(),
        };
        A::int4_dots::<M>(rows, core::array::from_fn(|n| row((output + n).min(last))))
    }

    #[inline(always)]
    fn scale(self, _output: usize) -> f32 {
        1.0
    }
}

/// `out += round(x) · weightsᵀ`.
#[inline(always)]
pub(super) fn bf16<A: Arith>(
    weights: MatRef<'_, half::bf16>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    halves: &mut [half::bf16],
) {
    let padded = x.columns().next_multiple_of(STEP);
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        for (row, rounded) in x.each_row().zip(halves.chunks_exact_mut(padded.max(1))) {
            rounded.fill(half::bf16::ZERO);
            rounded.iter_mut().zip(row).for_each(|(out, value)| *out = round_to_bf16(*value));
        }
        let row = |r: usize| halves.get(r * padded..(r + 1) * padded).unwrap_or_default();
        add_products::<A, _>(weights, weights.rows(), row, out);
    }
}

/// `out += round(x) · weightsᵀ`.
#[inline(always)]
pub(super) fn int8<A: Arith>(
    weights: Int8<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    (bytes, scales): (&mut [i8], &mut [f32]),
) {
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        round_rows(x, bytes, scales);
        let row = |r| rounded_row(x.columns(), bytes, scales, r);
        add_products::<A, _>(weights, weights.values().rows(), row, out);
    }
}

/// `out += round(x) · weightsᵀ`.
#[inline(always)]
pub(super) fn int4<A: Arith>(
    weights: Int4<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    (bytes, scales): (&mut [i8], &mut [f32]),
) {
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        round_rows(x, bytes, scales);
        let row = |r| rounded_row(x.columns(), bytes, scales, r);
        add_products::<A, _>(weights, weights.scales().rows(), row, out);
    }
}

fn rounded_row<'a>(columns: usize, bytes: &'a [i8], scales: &'a [f32], row: usize) -> RoundedRow<'a> {
    let padded = columns.next_multiple_of(STEP);
    let blocks = padded / GROUP;
    RoundedRow {
        values: bytes.get(row * padded..(row + 1) * padded).unwrap_or_default(),
        scales: scales.get(row * blocks..(row + 1) * blocks).unwrap_or_default(),
    }
}

/// Per block of 32: `scale = max |x| / 127`, `value = round(x / scale)`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "rounded values lie within ±127")]
fn round_rows(x: MatRef<'_>, bytes: &mut [i8], scales: &mut [f32]) {
    let padded = x.columns().next_multiple_of(STEP).max(STEP);
    let rows = bytes.chunks_exact_mut(padded).zip(scales.chunks_exact_mut(padded / GROUP));
    for (row, (bytes, scales)) in x.each_row().zip(rows) {
        bytes.fill(0);
        scales.fill(0.0);
        for ((block, out), scale) in row.chunks(GROUP).zip(bytes.chunks_mut(GROUP)).zip(scales) {
            let magnitude = block.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            let inverse = if magnitude > 0.0 { 127.0 / magnitude } else { 0.0 };
            out.iter_mut().zip(block).for_each(|(out, value)| *out = round_small(value * inverse) as i8);
            // A NaN, which `max` passes over, and an infinity reach the result through the scale.
            let sum: f32 = block.iter().map(|value| value * 0.0).sum();
            *scale = magnitude / 127.0 + sum;
        }
    }
}

/// Walks the outputs, and for each tile of them the rows.
#[inline(always)]
fn add_products<'a, A: Arith, F: Format<'a>>(
    format: F,
    outputs: usize,
    row: impl Fn(usize) -> F::Row,
    mut out: MatMut<'_>,
) {
    let rows = out.rows();
    for output in (0..outputs).step_by(TILE) {
        for start in (0..rows).step_by(F::ROWS) {
            let out = out.as_mut();
            match (rows - start).min(F::ROWS) {
                6 if F::ROWS >= 6 => add_tile::<A, F, 6>(format, &row, (start, output), out),
                5 if F::ROWS >= 5 => add_tile::<A, F, 5>(format, &row, (start, output), out),
                4 => add_tile::<A, F, 4>(format, &row, (start, output), out),
                3 => add_tile::<A, F, 3>(format, &row, (start, output), out),
                2 => add_tile::<A, F, 2>(format, &row, (start, output), out),
                _ => add_tile::<A, F, 1>(format, &row, (start, output), out),
            }
        }
    }
}

#[inline(always)]
fn add_tile<'a, A: Arith, F: Format<'a>, const M: usize>(
    format: F,
    row: &impl Fn(usize) -> F::Row,
    (start, output): (usize, usize),
    mut out: MatMut<'_>,
) {
    let sums = format.dots::<A, M>(core::array::from_fn(|m| row(start + m)), output);
    let columns = out.columns().max(1);
    for (out, sums) in out.values().chunks_exact_mut(columns).skip(start).zip(sums) {
        for ((n, out), sum) in out.iter_mut().enumerate().skip(output).zip(sums) {
            *out += sum * format.scale(n);
        }
    }
}
