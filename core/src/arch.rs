//! Sums over narrow weights: portable, and with the instructions that exist for them.
//!
//! The only unsafe code of core lies in the folder below. Core detects no CPU: a runtime that has found
//! the instructions calls them from its [`Arith`]. Both versions add in the same order,
//! sixteen sums side by side that are then added by halves, and so agree.

use half::{bf16, f16};

use crate::linear::{Arith, TILE};
use crate::weights::{Element, GROUP, round_to_i8};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "loads through pointers, each with its reason")]
pub mod x86;

/// Sums kept side by side: those of a register of 64 bytes.
pub(crate) const LANES: usize = 16;
/// Inputs that a call of [`int8_panel`] or [`int4_panel`] takes at most: their panel stays in a first-level cache.
pub(crate) const DEPTH_INT8: usize = 256;
/// Inputs that a call of [`bf16_panel`] is given: 128 would keep the panel in a first-level cache, but move sums twice as often.
pub(crate) const DEPTH_BF16: usize = 256;
/// Values of bf16 in a register, two for each sum.
const STEP_BF16: usize = 2 * LANES;
/// Values of int8 in a register, four for each sum.
const STEP_INT8: usize = 4 * LANES;
/// Values of int4 in a register, eight for each sum.
const STEP_INT4: usize = 8 * LANES;

/// A row of activations in int8, zero-padded to a multiple of 128 values.
#[derive(Clone, Copy, Debug)]
pub struct RoundedRow<'a> {
    /// The values.
    pub values: &'a [i8],
    /// One for each 32 values.
    pub scales: &'a [f32],
}

/// A row of int4 weights.
#[derive(Clone, Copy, Debug)]
pub struct RoundedWeights4<'a> {
    /// 16 bytes for each 32 weights: `i` in the low half of byte `i`, `i + 16` in the high one.
    pub nibbles: &'a [u8],
    /// One for each 32 weights.
    pub scales: &'a [f16],
}

/// Rows of activations in int8 side by side: `W` times sixteen of them.
#[derive(Clone, Copy, Debug)]
pub struct RoundedPanel<'a, const W: usize> {
    /// Of each block of 32 inputs eight steps: four values of each row.
    pub values: &'a [[[[i8; 4 * LANES]; W]; GROUP / 4]],
    /// Of each block and row.
    pub scales: &'a [[[f32; LANES]; W]],
    /// Of each block and row the sum of its values.
    pub totals: &'a [[[f32; LANES]; W]],
}

/// Sums of four outputs, each over `W` times sixteen rows.
pub type Sums<const W: usize> = [[[f32; LANES]; W]; TILE];

/// `[m][n]`: `Σ x[m] · w[n]`; in each sum the second of two neighbours is added before the first.
#[inline(always)]
pub fn bf16_dots<A: Arith + ?Sized, const M: usize, const N: usize>(
    x: [&[bf16]; M],
    w: [&[bf16]; N],
) -> [[f32; N]; M] {
    x.map(|x| w.map(|w| bf16_dot::<A>(x, w)))
}

#[inline(always)]
fn bf16_dot<A: Arith + ?Sized>(x: &[bf16], w: &[bf16]) -> f32 {
    let mut sums = [0.0; LANES];
    for (x, w) in x.chunks(STEP_BF16).zip(w.chunks(STEP_BF16)) {
        for (index, sum) in sums.iter_mut().enumerate() {
            for place in [2 * index + 1, 2 * index] {
                let (Some(x), Some(w)) = (x.get(place), w.get(place)) else { continue };
                *sum = A::fma(x.to_f32_lanes(), w.to_f32_lanes(), *sum);
            }
        }
    }
    add_lanes(sums)
}

/// `[m][n]`: `Σ_block x.scale · Σ x.value · w`.
#[inline(always)]
pub fn int8_dots<A: Arith + ?Sized, const M: usize, const N: usize>(
    x: [RoundedRow<'_>; M],
    w: [&[i8]; N],
) -> [[f32; N]; M] {
    x.map(|x| w.map(|w| int8_dot::<A>(x, w)))
}

#[inline(always)]
fn int8_dot<A: Arith + ?Sized>(x: RoundedRow<'_>, w: &[i8]) -> f32 {
    let mut sums = [0.0; LANES];
    let blocks = x.values.chunks(STEP_INT8).zip(x.scales.chunks(STEP_INT8 / GROUP));
    for ((values, scales), w) in blocks.zip(w.chunks(STEP_INT8)) {
        let scales = scales.iter().flat_map(|scale| [*scale; GROUP / 4]);
        for (((sum, x), w), scale) in sums.iter_mut().zip(values.chunks(4)).zip(w.chunks(4)).zip(scales) {
            let products = x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w));
            *sum = A::fma(small(products.sum()), scale, *sum);
        }
    }
    add_lanes(sums)
}

/// `[m][n]`: `Σ_group x.scale · w.scale · Σ x.value · (w.nibble − 8)`.
#[inline(always)]
pub fn int4_dots<A: Arith + ?Sized, const M: usize, const N: usize>(
    x: [RoundedRow<'_>; M],
    w: [RoundedWeights4<'_>; N],
) -> [[f32; N]; M] {
    x.map(|x| w.map(|w| int4_dot::<A>(x, w)))
}

#[inline(always)]
fn int4_dot<A: Arith + ?Sized>(x: RoundedRow<'_>, w: RoundedWeights4<'_>) -> f32 {
    let mut sums = [0.0; LANES];
    let groups = x.values.chunks(GROUP).zip(x.scales).zip(w.nibbles.chunks(GROUP / 2)).zip(w.scales);
    for (index, (((x, x_scale), w), w_scale)) in groups.enumerate() {
        let (low, high) = x.split_at(x.len() / 2);
        let scale = x_scale * w_scale.to_f32_lanes();
        // Four sums to a group, four groups to a step.
        let sums = sums.iter_mut().skip(index % (STEP_INT4 / GROUP) * 4);
        for (((sum, low), high), w) in sums.zip(low.chunks(4)).zip(high.chunks(4)).zip(w.chunks(4)) {
            let lows = low.iter().zip(w).map(|(&x, &w)| i32::from(x) * (i32::from(w & 15) - 8));
            let highs = high.iter().zip(w).map(|(&x, &w)| i32::from(x) * (i32::from(w >> 4) - 8));
            *sum = A::fma(small(lows.chain(highs).sum()), scale, *sum);
        }
    }
    add_lanes(sums)
}

/// `sums[n][r] += Σ x[r] · w[n]`, the second of two neighbours before the first. Of `x` each step of two inputs holds
/// both values of every row in turn.
#[inline(always)]
pub fn bf16_panel<A: Arith + ?Sized, const W: usize>(x: &[bf16], w: [&[bf16]; TILE], sums: &mut Sums<W>) {
    let (steps, _) = x.as_chunks::<2>();
    for (sums, w) in sums.iter_mut().zip(w) {
        for (rows, w) in steps.chunks_exact((W * LANES).max(1)).zip(w.as_chunks::<2>().0) {
            for (sum, row) in sums.as_flattened_mut().iter_mut().zip(rows) {
                *sum = A::fma(row[1].to_f32_lanes(), w[1].to_f32_lanes(), *sum);
                *sum = A::fma(row[0].to_f32_lanes(), w[0].to_f32_lanes(), *sum);
            }
        }
    }
}

/// `sums[n][r] += Σ_block x[r].scale · Σ x[r].value · w[n]`.
#[inline(always)]
pub fn int8_panel<A: Arith + ?Sized, const W: usize>(
    x: RoundedPanel<'_, W>,
    w: [&[i8]; TILE],
    sums: &mut Sums<W>,
) {
    for (sums, w) in sums.iter_mut().zip(w) {
        let blocks = w.as_chunks::<GROUP>().0.iter();
        for ((values, scales), w) in x.values.iter().zip(x.scales).zip(blocks) {
            add_block::<A, W>((values, scales), &w.map(i32::from), 1.0, sums);
        }
    }
}

/// `sums[n][r] += Σ_group x[r].scale · w[n].scale · Σ x[r].value · (w[n].nibble − 8)`.
#[inline(always)]
pub fn int4_panel<A: Arith + ?Sized, const W: usize>(
    x: RoundedPanel<'_, W>,
    w: [RoundedWeights4<'_>; TILE],
    sums: &mut Sums<W>,
) {
    for (sums, w) in sums.iter_mut().zip(w) {
        let groups = w.nibbles.as_chunks::<{ GROUP / 2 }>().0.iter().zip(w.scales);
        for ((values, scales), (bytes, w_scale)) in x.values.iter().zip(x.scales).zip(groups) {
            let mut w = [0; GROUP];
            let (low, high) = w.split_at_mut(GROUP / 2);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                (*low, *high) = (i32::from(byte & 15) - 8, i32::from(byte >> 4) - 8);
            }
            add_block::<A, W>((values, scales), &w, w_scale.to_f32_lanes(), sums);
        }
    }
}

/// A block of rows against one of weights.
#[inline(always)]
fn add_block<A: Arith + ?Sized, const W: usize>(
    (values, scales): (&[[[i8; 4 * LANES]; W]; GROUP / 4], &[[f32; LANES]; W]),
    w: &[i32; GROUP],
    w_scale: f32,
    sums: &mut [[f32; LANES]; W],
) {
    let mut products = [[0; LANES]; W];
    for (values, w) in values.iter().zip(w.as_chunks::<4>().0) {
        let fours = values.as_flattened().as_chunks::<4>().0;
        for (product, x) in products.as_flattened_mut().iter_mut().zip(fours) {
            *product += x.iter().zip(w).map(|(&x, w)| i32::from(x) * w).sum::<i32>();
        }
    }
    let products = products.as_flattened().iter().zip(scales.as_flattened());
    for (sum, (product, scale)) in sums.as_flattened_mut().iter_mut().zip(products) {
        *sum = A::fma(small(*product), scale * w_scale, *sum);
    }
}

/// Columns of four bytes become rows: `to[c][r] = from[r][c]`, sixteen of each.
#[inline(always)]
pub fn transpose<T: Copy>(from: [&[T]; LANES], to: [&mut [T]; LANES]) {
    let each = (4 / size_of::<T>().clamp(1, 4)).max(1);
    for (column, to) in to.into_iter().enumerate() {
        for (to, from) in to.chunks_exact_mut(each).zip(from) {
            let values = from.iter().skip(column * each);
            to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        }
    }
}

/// Writes a block as integers within ±127; returns `max |x| / 127`, and the sum of the integers.
#[inline(always)]
pub fn round_block(block: &[f32; GROUP], out: &mut [i8; GROUP]) -> (f32, f32) {
    let (low, high) = block.split_at(LANES);
    let mut most = [0_u32; LANES];
    for ((most, low), high) in most.iter_mut().zip(low).zip(high) {
        // The order of bits is that of magnitudes, with infinity and NaN behind all numbers.
        *most = (low.to_bits() & 0x7fff_ffff).max(high.to_bits() & 0x7fff_ffff);
    }
    let (scale, inverse) = block_scale(fold(most, u32::max));
    let mut totals = [0.0; LANES];
    for (values, outs) in block.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        for ((value, out), total) in values.iter().zip(outs).zip(&mut totals) {
            let (rounded, byte) = round_to_i8(value * inverse);
            *total += rounded;
            *out = byte;
        }
    }
    (scale, fold(totals, |a, b| a + b))
}

/// A block's scale and what its values are multiplied by, from the bits of the largest magnitude.
///
/// What is no number, or infinite, reaches results through the scale.
#[inline(always)]
fn block_scale(most: u32) -> (f32, f32) {
    let magnitude = f32::from_bits(most);
    let inverse = if magnitude > 0.0 { 127.0 / magnitude } else { 0.0 };
    (magnitude / 127.0 + magnitude * 0.0, inverse)
}

/// An integer below 2²⁴: `f32` holds it.
#[allow(clippy::cast_precision_loss, reason = "sums of 32 products of bytes at most")]
#[inline(always)]
fn small(integer: i32) -> f32 {
    integer as f32
}

#[inline(always)]
fn add_lanes(lanes: [f32; LANES]) -> f32 {
    fold(lanes, |a, b| a + b)
}

/// Folds halves until one is left.
#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], both: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low = both(*low, *high));
        width /= 2;
    }
    lanes[0]
}
