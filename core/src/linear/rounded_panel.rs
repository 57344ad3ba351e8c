//! Products of many rows with narrow weights: rows rounded, and laid side by side in panels.
//!
//! A panel holds up to [`PANEL`] rows, four bytes of each in turn. Sums are kept transposed, one output's rows
//! together, while the inputs are walked in stretches whose panel stays in a first-level cache.

use core::ops::Range;

use half::bf16;

use super::rounded::{STEP, round_rows, round_rows_to_bf16};
use super::{Arith, LinearShape, PANEL, Scratch, ScratchLen, TILE};
use crate::arch::{DEPTH_BF16, DEPTH_INT8, LANES, RoundedPanel, RoundedWeights4, Sums};
use crate::matrix::{MatMut, MatRef};
use crate::weights::{GROUP, Int4, Int8, Weights};

/// Outputs whose sums are kept together.
const OUTPUTS: usize = 256;

/// The memory [`forward`] works in.
pub(super) fn scratch_len(shape: LinearShape) -> ScratchLen {
    if shape.rows < 2 {
        return ScratchLen::default();
    }
    let (rows, padded) = (shape.rows.min(PANEL), shape.inputs.next_multiple_of(STEP));
    let side_by_side = rows.next_multiple_of(LANES);
    let floats = side_by_side * (2 * padded / GROUP + OUTPUTS.min(shape.outputs.next_multiple_of(LANES)));
    let elements = (rows + side_by_side) * padded;
    ScratchLen { floats, halves: elements, bytes: elements }
}

/// `out += round(x) · weightsᵀ`; inputs are a multiple of two, and of 32 where there is a scale for each 32.
#[inline(always)]
pub(super) fn forward<A: Arith>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    mut scratch: Scratch<'_>,
) {
    for start in (0..x.rows()).step_by(PANEL) {
        let rows = start..x.rows().min(start + PANEL);
        let (Ok(x), Ok(out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        match x.rows().div_ceil(LANES) {
            1 => panel::<A, 1>(weights, x, out, scratch.lend()),
            2 => panel::<A, 2>(weights, x, out, scratch.lend()),
            3 => panel::<A, 3>(weights, x, out, scratch.lend()),
            _ => panel::<A, 4>(weights, x, out, scratch.lend()),
        }
    }
}

#[inline(always)]
fn panel<A: Arith, const W: usize>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    out: MatMut<'_>,
    scratch: Scratch<'_>,
) {
    match weights {
        Weights::Bf16(weights) => bf16_panel::<A, W>(weights, x, out, (scratch.halves, scratch.floats)),
        Weights::Int8(weights) => int8_panel::<A, W>(weights, x, out, (scratch.bytes, scratch.floats)),
        Weights::Int4(weights) => int4_panel::<A, W>(weights, x, out, (scratch.bytes, scratch.floats)),
        Weights::F32(_) | Weights::F16(_) => {}
    }
}

#[inline(always)]
fn bf16_panel<A: Arith, const W: usize>(
    weights: MatRef<'_, bf16>,
    x: MatRef<'_>,
    out: MatMut<'_>,
    (halves, floats): (&mut [bf16], &mut [f32]),
) {
    let padded = x.columns().next_multiple_of(STEP);
    let (rows, panel) = halves.split_at_mut((x.rows() * padded).min(halves.len()));
    round_rows_to_bf16(x, rows);
    pack::<A, _, W>(rows, x.rows(), panel);
    let product = |inputs: Range<usize>, outputs: [usize; TILE], sums: &mut Sums<W>| {
        let x = panel.get(inputs.start * W * LANES..inputs.end * W * LANES).unwrap_or_default();
        let row = |output| weights.row(output).and_then(|row| row.get(inputs.clone())).unwrap_or_default();
        next(outputs).for_each(|output| A::prefetch(row(output)));
        A::bf16_panel::<W>(x, outputs.map(row), sums);
    };
    walk::<A, W>((x.columns(), DEPTH_BF16), floats, out, product, |_| 1.0);
}

#[inline(always)]
fn int8_panel<A: Arith, const W: usize>(
    weights: Int8<'_>,
    x: MatRef<'_>,
    out: MatMut<'_>,
    (bytes, floats): (&mut [i8], &mut [f32]),
) {
    let (rounded, floats) = round_and_pack::<A, W>(x, bytes, floats);
    let product = |inputs: Range<usize>, outputs: [usize; TILE], sums: &mut Sums<W>| {
        let row =
            |output| weights.values().row(output).and_then(|row| row.get(inputs.clone())).unwrap_or_default();
        next(outputs).for_each(|output| A::prefetch(row(output)));
        A::int8_panel::<W>(blocks(rounded, inputs.clone()), outputs.map(row), sums);
    };
    let scale = |output| weights.scales().get(output).copied().unwrap_or(0.0);
    walk::<A, W>((x.columns(), DEPTH_INT8), floats, out, product, scale);
}

#[inline(always)]
fn int4_panel<A: Arith, const W: usize>(
    weights: Int4<'_>,
    x: MatRef<'_>,
    out: MatMut<'_>,
    (bytes, floats): (&mut [i8], &mut [f32]),
) {
    let (rounded, floats) = round_and_pack::<A, W>(x, bytes, floats);
    let product = |inputs: Range<usize>, outputs: [usize; TILE], sums: &mut Sums<W>| {
        let nibbles = inputs.start / 2..inputs.end / 2;
        let groups = inputs.start / GROUP..inputs.end / GROUP;
        let row = |output| RoundedWeights4 {
            nibbles: weights
                .nibbles()
                .row(output)
                .and_then(|row| row.get(nibbles.clone()))
                .unwrap_or_default(),
            scales: weights.scales().row(output).and_then(|row| row.get(groups.clone())).unwrap_or_default(),
        };
        next(outputs).for_each(|output| A::prefetch(row(output).nibbles));
        A::int4_panel::<W>(blocks(rounded, inputs.clone()), outputs.map(row), sums);
    };
    walk::<A, W>((x.columns(), DEPTH_INT8), floats, out, product, |_| 1.0);
}

/// The outputs of the next tile: their weights are asked for while those of this one are worked on, as the machine does not see
/// by itself that each row goes on a row later.
#[inline(always)]
fn next(outputs: [usize; TILE]) -> impl Iterator<Item = usize> {
    outputs.into_iter().map(|output| output + TILE)
}

/// The panel of some rows in int8, and the memory that is left.
#[inline(always)]
fn round_and_pack<'s, A: Arith, const W: usize>(
    x: MatRef<'_>,
    bytes: &'s mut [i8],
    floats: &'s mut [f32],
) -> (RoundedPanel<'s, W>, &'s mut [f32]) {
    let padded = x.columns().next_multiple_of(STEP);
    let (rows, panel) = bytes.split_at_mut((x.rows() * padded).min(bytes.len()));
    let len = (padded / GROUP * W * LANES).min(floats.len() / 2);
    let (scales, floats) = floats.split_at_mut(len);
    let (totals, floats) = floats.split_at_mut(len);
    scales.fill(0.0);
    totals.fill(0.0);
    round_rows::<A>(x, rows, |row, block, scale, total| {
        let place = block * W * LANES + row;
        if let (Some(to_scale), Some(to_total)) = (scales.get_mut(place), totals.get_mut(place)) {
            (*to_scale, *to_total) = (scale, total);
        }
    });
    pack::<A, _, W>(rows, x.rows(), panel);
    let (steps, _) = panel.as_chunks::<{ 4 * LANES }>().0.as_chunks::<W>();
    let values = steps.as_chunks::<{ GROUP / 4 }>().0;
    let (scales, totals) = (scales.as_chunks::<LANES>().0, totals.as_chunks::<LANES>().0);
    (RoundedPanel { values, scales: scales.as_chunks::<W>().0, totals: totals.as_chunks::<W>().0 }, floats)
}

/// The blocks of some inputs.
#[inline(always)]
fn blocks<const W: usize>(panel: RoundedPanel<'_, W>, inputs: Range<usize>) -> RoundedPanel<'_, W> {
    let blocks = inputs.start / GROUP..inputs.end / GROUP;
    RoundedPanel {
        values: panel.values.get(blocks.clone()).unwrap_or_default(),
        scales: panel.scales.get(blocks.clone()).unwrap_or_default(),
        totals: panel.totals.get(blocks).unwrap_or_default(),
    }
}

/// Rows that are padded to [`STEP`] become a panel of `W` times sixteen; rows that are not there are zero.
#[inline(always)]
fn pack<A: Arith, T: Copy + Default, const W: usize>(rows: &[T], count: usize, panel: &mut [T]) {
    let padded = rows.len() / count.max(1);
    // Elements of 64 bytes, and those of a step of the panel.
    let (each, step) = (4 * LANES / size_of::<T>().max(1), 4 * LANES * W / size_of::<T>().max(1));
    let zeros = [T::default(); 4 * LANES];
    for (start, stretch) in panel.chunks_exact_mut((step * LANES).max(1)).enumerate() {
        let first = start * each;
        if first >= padded {
            return;
        }
        for group in 0..W {
            let row = |r: usize| {
                let start = (group * LANES + r) * padded + first;
                rows.get(start..start + each).unwrap_or(zeros.get(..each).unwrap_or_default())
            };
            let mut steps = stretch.chunks_exact_mut(step.max(1));
            let to = core::array::from_fn(|_| {
                let step = steps.next().unwrap_or_default();
                step.get_mut(group * each..(group + 1) * each).unwrap_or_default()
            });
            A::transpose(core::array::from_fn(row), to);
        }
    }
}

/// Walks the outputs, and for some of them the inputs: `product(inputs, outputs, sums)` adds to sums that are then multiplied
/// by each output's scale and added to `out`.
#[inline(always)]
fn walk<A: Arith, const W: usize>(
    (inputs, depth): (usize, usize),
    floats: &mut [f32],
    mut out: MatMut<'_>,
    product: impl Fn(Range<usize>, [usize; TILE], &mut Sums<W>),
    scale: impl Fn(usize) -> f32,
) {
    let outputs = out.columns();
    let (sums, _) = floats.as_chunks_mut::<LANES>().0.as_chunks_mut::<W>();
    for chunk in (0..outputs).step_by(OUTPUTS) {
        let count = (outputs - chunk).min(OUTPUTS);
        let Some(sums) = sums.get_mut(..count.next_multiple_of(LANES)) else { continue };
        sums.as_flattened_mut().as_flattened_mut().fill(0.0);
        for first in (0..inputs).step_by(depth) {
            let tiles = sums.as_chunks_mut::<TILE>().0.iter_mut().take(count.div_ceil(TILE));
            for (tile, sums) in tiles.enumerate() {
                let nth = core::array::from_fn(|n| (chunk + tile * TILE + n).min(outputs - 1));
                product(first..inputs.min(first + depth), nth, sums);
            }
        }
        for (tile, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
            add_transposed::<A, W>(sums, chunk + tile * LANES, out.as_mut(), &scale);
        }
    }
}

/// `out[r, first + n] += scale · sums[n][r]`.
#[inline(always)]
fn add_transposed<A: Arith, const W: usize>(
    sums: &[[[f32; LANES]; W]; LANES],
    first: usize,
    mut out: MatMut<'_>,
    scale: &impl Fn(usize) -> f32,
) {
    let columns = out.columns().max(1);
    let scales: [f32; LANES] = core::array::from_fn(|n| scale(first + n));
    for (group, rows) in out.values().chunks_mut(columns * LANES).enumerate().take(W) {
        let from = core::array::from_fn(|n| {
            sums.get(n).and_then(|sums| sums.get(group)).map_or(&[][..], |sums| sums)
        });
        let mut turned = [[0.0; LANES]; LANES];
        let mut to = turned.iter_mut();
        A::transpose(from, core::array::from_fn(|_| to.next().map_or(&mut [][..], |row| row)));
        for (row, turned) in rows.chunks_exact_mut(columns).zip(&turned) {
            let out = row.get_mut(first..columns.min(first + LANES)).unwrap_or_default();
            out.iter_mut().zip(turned).zip(&scales).for_each(|((out, sum), scale)| *out += sum * scale);
        }
    }
}
