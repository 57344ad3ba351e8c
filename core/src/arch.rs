//! Sums over narrow weights: portable, and with the instructions that exist for them.
//!
//! The only unsafe code of core lies in the folder below. Core detects no CPU: a runtime that has found
//! the instructions calls them from its [`Arith`]. Both versions add in the same order,
//! sixteen sums side by side that are then added by halves, and so agree.

use half::{bf16, f16};

use crate::linear::Arith;
use crate::weights::{Element, GROUP};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "loads through pointers, each with its reason")]
pub mod x86;

/// Sums kept side by side: those of a register of 64 bytes.
const LANES: usize = 16;
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

/// An integer below 2²⁴: `f32` holds it.
#[allow(clippy::cast_precision_loss, reason = "sums of eight products of bytes")]
#[inline(always)]
fn small(integer: i32) -> f32 {
    integer as f32
}

#[inline(always)]
fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        width /= 2;
    }
    lanes[0]
}
