//! Products whose activations are rounded to the kind of the weights.
//!
//! Each sum goes over the inputs in the same order whichever rows share a tile: a row's result does not
//! depend on the others.

use super::{Arith, LinearShape, PANEL, Scratch, ScratchLen, Streams, TILE};
use crate::arch::{RoundedRow, RoundedWeights4};
use crate::matrix::{MatMut, MatRef};
use crate::weights::{GROUP, Int4, Int8, Weights, round_to_bf16};

/// Rows that are rounded together.
pub(super) const ROWS: usize = PANEL;
/// Rounded rows are zero-padded to a multiple of this.
pub(super) const STEP: usize = 128;
/// Bytes for each input of a single row, beside its rounded values.
const PREPARED: usize = 2;

/// The memory [`forward`] works in.
pub(super) fn scratch_len(shape: LinearShape) -> ScratchLen {
    let padded = shape.inputs.next_multiple_of(STEP);
    let rounded = shape.rows.min(ROWS) * padded;
    let prepared = if shape.rows > 0 { PREPARED * padded } else { 0 };
    ScratchLen { floats: rounded / GROUP, halves: rounded, bytes: rounded + prepared }
}

/// `out += round(x) · weightsᵀ`.
#[inline(always)]
pub(super) fn forward<A: Arith>(weights: Weights<'_>, x: MatRef<'_>, out: MatMut<'_>, scratch: Scratch<'_>) {
    match weights {
        Weights::Bf16(weights) => bf16::<A>(weights, x, out, scratch.halves),
        Weights::Int8(weights) => int8::<A>(weights, x, out, (scratch.bytes, scratch.floats)),
        Weights::Int4(weights) => int4::<A>(weights, x, out, (scratch.bytes, scratch.floats)),
        Weights::F32(_) | Weights::F16(_) => {}
    }
}

/// A format: how a row of it is reached, and how tiles of it are summed.
trait Format<'a>: Copy {
    /// A rounded row of activations.
    type Row: Copy;
    /// Rows that share a tile at most.
    const ROWS: usize;

    /// `[m][n]`: rows `m` against the outputs.
    fn dots<A: Arith, const M: usize>(self, rows: [Self::Row; M], outputs: [usize; TILE])
    -> [[f32; TILE]; M];

    /// What the sums of an output are multiplied by.
    fn scale(self, output: usize) -> f32;
}

impl<'a> Format<'a> for MatRef<'a, half::bf16> {
    type Row = &'a [half::bf16];
    const ROWS: usize = 6;

    #[inline(always)]
    fn dots<A: Arith, const M: usize>(
        self,
        rows: [Self::Row; M],
        outputs: [usize; TILE],
    ) -> [[f32; TILE]; M] {
        A::bf16_dots::<M>(rows, outputs.map(|output| self.row(output).unwrap_or_default()))
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
    fn dots<A: Arith, const M: usize>(
        self,
        rows: [Self::Row; M],
        outputs: [usize; TILE],
    ) -> [[f32; TILE]; M] {
        A::int8_dots::<M>(rows, outputs.map(|output| self.values().row(output).unwrap_or_default()))
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
    fn dots<A: Arith, const M: usize>(
        self,
        rows: [Self::Row; M],
        outputs: [usize; TILE],
    ) -> [[f32; TILE]; M] {
        let row = |output: usize| RoundedWeights4 {
            nibbles: self.nibbles().row(output).unwrap_or_default(),
            scales: self.scales().row(output).unwrap_or_default(),
        };
        A::int4_dots::<M>(rows, outputs.map(row))
    }

    #[inline(always)]
    fn scale(self, _output: usize) -> f32 {
        1.0
    }
}

#[inline(always)]
fn bf16<A: Arith>(
    weights: MatRef<'_, half::bf16>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    halves: &mut [half::bf16],
) {
    let padded = x.columns().next_multiple_of(STEP);
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        round_rows_to_bf16(x, halves);
        let row = |r: usize| halves.get(r * padded..(r + 1) * padded).unwrap_or_default();
        add_products::<A, _>(weights, weights.rows(), row, out);
    }
}

#[inline(always)]
fn int8<A: Arith>(
    weights: Int8<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    (bytes, scales): (&mut [i8], &mut [f32]),
) {
    let blocks = x.columns().next_multiple_of(STEP) / GROUP;
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        round_rows::<A>(x, bytes, |row, block, scale, _| set(scales, row * blocks + block, scale));
        let row = |r| rounded_row(x.columns(), bytes, scales, r);
        add_products::<A, _>(weights, weights.values().rows(), row, out);
    }
}

#[inline(always)]
fn int4<A: Arith>(
    weights: Int4<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    (bytes, scales): (&mut [i8], &mut [f32]),
) {
    let blocks = x.columns().next_multiple_of(STEP) / GROUP;
    if x.rows() == 1 && x.columns().is_multiple_of(STEP) {
        let (bytes, memory) = bytes.split_at_mut(x.columns().min(bytes.len()));
        round_rows::<A>(x, bytes, |row, block, scale, _| set(scales, row * blocks + block, scale));
        A::int4_row(rounded_row(x.columns(), bytes, scales, 0), weights, memory, out.values());
        return;
    }
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        round_rows::<A>(x, bytes, |row, block, scale, _| set(scales, row * blocks + block, scale));
        let row = |r| rounded_row(x.columns(), bytes, scales, r);
        add_products::<A, _>(weights, weights.scales().rows(), row, out);
    }
}

/// `out += x · weightsᵀ` for a row that is rounded already.
#[inline(always)]
pub(super) fn int4_row<A: Arith + ?Sized>(x: RoundedRow<'_>, weights: Int4<'_>, out: &mut [f32]) {
    let streams = Streams::new(weights.scales().rows());
    for step in streams.steps() {
        let (nibbles, scales) = (streams.rows(weights.nibbles(), step), streams.rows(weights.scales(), step));
        let mut rows = [RoundedWeights4 { nibbles: &[], scales: &[] }; TILE];
        for ((row, nibbles), scales) in rows.iter_mut().zip(nibbles).zip(scales) {
            *row = RoundedWeights4 { nibbles, scales };
        }
        let [sums] = A::int4_dots::<1>([x], rows);
        streams.add(step, sums, out);
    }
}

#[inline(always)]
fn set(values: &mut [f32], place: usize, value: f32) {
    if let Some(out) = values.get_mut(place) {
        *out = value;
    }
}

#[inline(always)]
fn rounded_row<'a>(columns: usize, bytes: &'a [i8], scales: &'a [f32], row: usize) -> RoundedRow<'a> {
    let padded = columns.next_multiple_of(STEP);
    let blocks = padded / GROUP;
    RoundedRow {
        values: bytes.get(row * padded..(row + 1) * padded).unwrap_or_default(),
        scales: scales.get(row * blocks..(row + 1) * blocks).unwrap_or_default(),
    }
}

/// Rows of `x` as bf16, each zero-padded to a multiple of [`STEP`].
#[inline(always)]
pub(super) fn round_rows_to_bf16(x: MatRef<'_>, halves: &mut [half::bf16]) {
    let padded = x.columns().next_multiple_of(STEP).max(STEP);
    for (row, rounded) in x.each_row().zip(halves.chunks_exact_mut(padded)) {
        let (values, rest) = rounded.split_at_mut(row.len().min(padded));
        values.iter_mut().zip(row).for_each(|(out, value)| *out = round_to_bf16(*value));
        rest.fill(half::bf16::ZERO);
    }
}

/// Rows of `x` in int8, each zero-padded to a multiple of [`STEP`]; `set(row, block, scale, total)` gets each block's scale and
/// the sum of its values.
///
/// Per block of 32: `scale = max |x| / 127`, `value = round(x / scale)`.
#[inline(always)]
pub(super) fn round_rows<A: Arith + ?Sized>(
    x: MatRef<'_>,
    bytes: &mut [i8],
    mut set: impl FnMut(usize, usize, f32, f32),
) {
    let padded = x.columns().next_multiple_of(STEP).max(STEP);
    for (row, (values, bytes)) in x.each_row().zip(bytes.chunks_exact_mut(padded)).enumerate() {
        let (blocks, rest) = values.as_chunks::<GROUP>();
        let mut last = [0.0; GROUP];
        last.iter_mut().zip(rest).for_each(|(out, value)| *out = *value);
        let padding = core::iter::once(&last).chain(core::iter::repeat(&[0.0; GROUP]));
        let outs = bytes.as_chunks_mut::<GROUP>().0.iter_mut();
        for (block, (values, out)) in blocks.iter().chain(padding).zip(outs).enumerate() {
            let (scale, total) = A::round_block(values, out);
            set(row, block, scale, total);
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
    let (rows, streams) = (out.rows(), Streams::new(outputs));
    for step in streams.steps() {
        for start in (0..rows).step_by(F::ROWS) {
            let (to, out) = ((streams, step), out.as_mut());
            match (rows - start).min(F::ROWS) {
                6 if F::ROWS >= 6 => add_tile::<A, F, 6>(format, &row, start, to, out),
                5 if F::ROWS >= 5 => add_tile::<A, F, 5>(format, &row, start, to, out),
                4 => add_tile::<A, F, 4>(format, &row, start, to, out),
                3 => add_tile::<A, F, 3>(format, &row, start, to, out),
                2 => add_tile::<A, F, 2>(format, &row, start, to, out),
                _ => add_tile::<A, F, 1>(format, &row, start, to, out),
            }
        }
    }
}

#[inline(always)]
fn add_tile<'a, A: Arith, F: Format<'a>, const M: usize>(
    format: F,
    row: &impl Fn(usize) -> F::Row,
    start: usize,
    (streams, step): (Streams, usize),
    mut out: MatMut<'_>,
) {
    let outputs = streams.outputs(step);
    let scales = outputs.map(|output| format.scale(output));
    let sums = format.dots::<A, M>(core::array::from_fn(|m| row(start + m)), outputs);
    let columns = out.columns().max(1);
    for (out, mut sums) in out.values().chunks_exact_mut(columns).skip(start).zip(sums) {
        sums.iter_mut().zip(scales).for_each(|(sum, scale)| *sum *= scale);
        streams.add(step, sums, out);
    }
}
