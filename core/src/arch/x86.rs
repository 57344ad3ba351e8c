//! AVX-512: dot products of f32 and f16, where plain code stays behind the registers; of bf16 (`avx512bf16`) and of bytes (`avx512vnni`).
//!
//! *Why loops and no `map`:* a closure that is not inlined where `map` is compiled keeps each register in memory.

use core::arch::x86_64::*;

use half::f16;

use super::{RoundedRow, RoundedWeights4, STEP_INT4, STEP_INT8};
use crate::linear::TILE;
use crate::weights::GROUP;

mod dots;
mod exact;
mod panels;
mod row;

pub use dots::{bf16_dots, f32_dots};
pub use exact::{exact_bf16_dots, exact_int8_dots, f16_dots};
pub use panels::{bf16_panel, int4_panel, int8_panel, transpose};
pub use row::{int4_row, round_block};

/// Block scales that one step of int8 takes.
const SCALES_INT8: usize = STEP_INT8 / GROUP;
/// Group scales, and block scales, that one step of int4 takes.
const SCALES_INT4: usize = STEP_INT4 / GROUP;
/// Bytes of weights that one step of int4 takes.
const BYTES_INT4: usize = STEP_INT4 / 2;
/// Bytes ahead that a stream asks for where there is more to do than to read: measured from 256 to 4096.
const AHEAD: usize = 1024;
/// The same for a row of int4 that is alone: of 256 to 2048 the nearest was the best, most of all in mapped files.
const AHEAD_ALONE: usize = 256;

/// [`super::int8_dots`] by `vpdpbusd`.
///
/// The instruction takes one operand without sign: it gets `w + 128`, and the sum starts at `−128 · Σ x`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512vnni`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn int8_dots<const M: usize>(x: [RoundedRow<'_>; M], w: [&[i8]; TILE]) -> [[f32; TILE]; M] {
    let offset = _mm512_set1_epi8(-128);
    let mut sums = [[_mm512_setzero_ps(); TILE]; M];
    let whole = whole_steps(&x, STEP_INT8).min(shortest(&w) / STEP_INT8);
    let rest = w.iter().any(|w| w.len() > whole * STEP_INT8);
    for step in 0..whole + usize::from(rest) {
        let mut weights = [_mm512_setzero_si512(); TILE];
        // SAFETY: `whole` is at most what the shortest row has.
        unsafe { load_all::<i8, STEP_INT8, TILE>(&mut weights, &w, step, whole) };
        for weights in &mut weights {
            *weights = _mm512_xor_si512(*weights, offset);
        }
        for (sums, x) in sums.iter_mut().zip(&x) {
            let mut values = [_mm512_setzero_si512()];
            // SAFETY: as above.
            unsafe { load_all::<i8, STEP_INT8, 1>(&mut values, &[x.values], step, whole) };
            // SAFETY: as above.
            let [low, high] = unsafe { nth_scales::<SCALES_INT8>(x, step, whole) };
            let scale = _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(low), _mm512_set1_ps(high));
            let offsets = _mm512_dpbusd_epi32(_mm512_setzero_si512(), offset, values[0]);
            let start = _mm512_sub_epi32(_mm512_setzero_si512(), offsets);
            for (sum, w) in sums.iter_mut().zip(&weights) {
                let products = _mm512_dpbusd_epi32(start, *w, values[0]);
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
            }
        }
    }
    added(&sums)
}

/// [`super::int4_dots`] by `vpdpbusd`: nibbles are without sign, the sum starts at `−8 · Σ x`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw`, `avx512vl`, `avx512vnni` and `f16c`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub fn int4_dots<const M: usize>(x: [RoundedRow<'_>; M], w: [RoundedWeights4<'_>; TILE]) -> [[f32; TILE]; M] {
    let (ones, eights) = (_mm512_set1_epi8(15), _mm512_set1_epi8(8));
    let mut sums = [[_mm512_setzero_ps(); TILE]; M];
    let mut whole = whole_steps(&x, STEP_INT4);
    for w in &w {
        whole = whole.min(w.nibbles.len() / BYTES_INT4).min(w.scales.len() / SCALES_INT4);
    }
    let rest = w.iter().any(|w| w.nibbles.len() > whole * BYTES_INT4);
    let ends = if rest { Int4Ends::behind(whole, &x, &w) } else { Int4Ends::default() };
    for step in 0..whole + usize::from(rest) {
        let (mut low, mut high) = ([_mm512_setzero_si512(); TILE], [_mm512_setzero_si512(); TILE]);
        let mut w_scales = [_mm512_setzero_ps(); TILE];
        let weights = low.iter_mut().zip(&mut high).zip(&mut w_scales).zip(w.iter().zip(&ends.weights));
        for (((low, high), w_scale), (w, end)) in weights {
            // SAFETY: `whole` is at most what the shortest row has.
            let nibbles = load(unsafe { nth(w.nibbles, &end.0, step, whole) });
            if M == 1 {
                prefetch::<AHEAD, _>(w.nibbles.as_ptr().wrapping_add(step * BYTES_INT4));
            }
            *low = _mm512_and_si512(nibbles, ones);
            *high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), ones);
            // SAFETY: as above.
            let scales = unsafe { nth(w.scales, &end.1, step, whole) };
            // SAFETY: the array is 8 bytes long; the load needs no alignment.
            *w_scale = spread(_mm_cvtph_ps(unsafe { _mm_loadl_epi64(scales.as_ptr().cast()) }));
        }
        for ((sums, x), end) in sums.iter_mut().zip(&x).zip(&ends.rows) {
            // SAFETY: as above.
            let values: &[i8; STEP_INT4] = unsafe { nth(x.values, &end.0, step, whole) };
            let [first, second] = halves(values);
            // The first 16 values of each group, and the last 16.
            let x_low = _mm512_shuffle_i32x4::<0b10_00_10_00>(first, second);
            let x_high = _mm512_shuffle_i32x4::<0b11_01_11_01>(first, second);
            let offsets = _mm512_dpbusd_epi32(_mm512_setzero_si512(), eights, x_low);
            let offsets = _mm512_dpbusd_epi32(offsets, eights, x_high);
            let start = _mm512_sub_epi32(_mm512_setzero_si512(), offsets);
            // SAFETY: as above.
            let [a, b, c, d] = *unsafe { nth(x.scales, &end.1, step, whole) };
            let x_scale = spread(_mm_setr_ps(a, b, c, d));
            for (((sum, low), high), w_scale) in sums.iter_mut().zip(&low).zip(&high).zip(&w_scales) {
                let products = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, *low, x_low), *high, x_high);
                let scale = _mm512_mul_ps(x_scale, *w_scale);
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
            }
        }
    }
    added(&sums)
}

/// What rows of int4 products hold behind their whole steps, and zeros.
///
/// *Why beside the loop:* with branches in its middle the compiler leaves the loops over rows, and keeps sums in memory.
struct Int4Ends<const M: usize> {
    rows: [([i8; STEP_INT4], [f32; SCALES_INT4]); M],
    weights: [([u8; BYTES_INT4], [f16; SCALES_INT4]); TILE],
}

impl<const M: usize> Default for Int4Ends<M> {
    #[inline(always)]
    fn default() -> Self {
        Self {
            rows: [([0; STEP_INT4], [0.0; SCALES_INT4]); M],
            weights: [([0; BYTES_INT4], [f16::ZERO; SCALES_INT4]); TILE],
        }
    }
}

impl<const M: usize> Int4Ends<M> {
    #[cold]
    #[inline(never)]
    fn behind(whole: usize, x: &[RoundedRow<'_>; M], w: &[RoundedWeights4<'_>; TILE]) -> Self {
        let mut ends = Self::default();
        for ((values, scales), x) in ends.rows.iter_mut().zip(x) {
            *values = padded(x.values, whole * STEP_INT4);
            *scales = padded(x.scales, whole * SCALES_INT4);
        }
        for ((nibbles, scales), w) in ends.weights.iter_mut().zip(w) {
            *nibbles = padded(w.nibbles, whole * BYTES_INT4);
            *scales = padded(w.scales, whole * SCALES_INT4);
        }
        ends
    }
}

/// The nth step of a row, or its end.
///
/// # Safety
/// The row must have at least `whole` steps.
#[inline(always)]
unsafe fn nth<'a, T, const L: usize>(row: &'a [T], end: &'a [T; L], step: usize, whole: usize) -> &'a [T; L] {
    if step < whole {
        // SAFETY: `step` is below the number of whole steps.
        unsafe { &*row.as_ptr().add(step * L).cast() }
    } else {
        end
    }
}

/// Two registers of a step.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(values: &[i8; STEP_INT4]) -> [__m512i; 2] {
    // SAFETY: the array is 128 bytes long; the loads need no alignment.
    unsafe {
        [
            _mm512_loadu_si512(values.as_ptr().cast()),
            _mm512_loadu_si512(values.as_ptr().add(STEP_INT8).cast()),
        ]
    }
}

/// Each register's sixteen sums, by halves: those of four registers at once.
#[inline]
#[target_feature(enable = "avx512f")]
fn added<const M: usize>(sums: &[[__m512; TILE]; M]) -> [[f32; TILE]; M] {
    let mut out = [[0.0; TILE]; M];
    for (out, [a, b, c, d]) in out.iter_mut().zip(sums) {
        // Eight sums of each, then four.
        let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(*a, *b), _mm512_shuffle_f32x4::<0xee>(*a, *b));
        let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(*c, *d), _mm512_shuffle_f32x4::<0xee>(*c, *d));
        let fours = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
        // Two of each, then one, at the start of each quarter.
        let twos = _mm512_add_ps(fours, _mm512_permute_ps::<0b01_00_11_10>(fours));
        let ones = _mm512_add_ps(twos, _mm512_permute_ps::<0b10_11_00_01>(twos));
        let firsts =
            _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), ones);
        // SAFETY: four values are stored where there is place for four.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(firsts)) };
    }
    out
}

#[inline(always)]
fn shortest<T>(rows: &[&[T]]) -> usize {
    rows.iter().fold(usize::MAX, |least, row| least.min(row.len()))
}

/// Steps for which every row has values and scales.
#[inline(always)]
fn whole_steps(rows: &[RoundedRow<'_>], step: usize) -> usize {
    let whole = |row: &RoundedRow<'_>| (row.values.len() / step).min(row.scales.len() / (step / GROUP));
    rows.iter().fold(usize::MAX, |least, row| least.min(whole(row)))
}

/// Asks for all values, line by line.
#[inline(always)]
pub fn prefetch_all<T>(values: &[T]) {
    for line in (0..size_of_val(values)).step_by(64) {
        let place = values.as_ptr().cast::<i8>().wrapping_add(line);
        #[allow(unused_unsafe, reason = "safe since Rust 1.90 or so")]
        // SAFETY: a prefetch reads nothing, wherever it points.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place)
        };
    }
}

/// Asks for what comes so many bytes later, in the same row or behind it.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<const BYTES: usize, T>(place: *const T) {
    let ahead = place.cast::<u8>().wrapping_add(BYTES);
    #[allow(unused_unsafe, reason = "safe since Rust 1.90 or so")]
    // SAFETY: a prefetch reads nothing, wherever it points.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast())
    };
}

/// Each of four scales in four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn spread(scales: __m128) -> __m512 {
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(scales))
}

/// The scales of the nth step; zeros behind the row's end.
///
/// # Safety
/// The row must have the scales of at least `whole` steps.
#[inline(always)]
unsafe fn nth_scales<const S: usize>(row: &RoundedRow<'_>, step: usize, whole: usize) -> [f32; S] {
    if step < whole {
        // SAFETY: `step` is below the number of whole steps.
        return unsafe { *row.scales.as_ptr().add(step * S).cast() };
    }
    padded(row.scales, step * S)
}

/// The nth two registers of a row; zeros behind its end.
///
/// # Safety
/// The row must have at least `whole` pairs of registers.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_halves(out: &mut [__m512i; 2], row: &[i8], step: usize, whole: usize) {
    if step < whole {
        for (half, out) in out.iter_mut().enumerate() {
            // SAFETY: `step` is below the number of whole steps; the load needs no alignment.
            *out = unsafe { _mm512_loadu_si512(row.as_ptr().add((2 * step + half) * STEP_INT8).cast()) };
        }
    } else {
        for (half, out) in out.iter_mut().enumerate() {
            *out = load(&padded::<i8, STEP_INT8>(row, (2 * step + half) * STEP_INT8));
        }
    }
}

/// The nth step of each row; zeros behind a row's end.
///
/// # Safety
/// Every row must have at least `whole` steps.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_all<T: Copy + Default, const L: usize, const N: usize>(
    out: &mut [__m512i; N],
    rows: &[&[T]; N],
    step: usize,
    whole: usize,
) {
    const { assert!(size_of::<[T; L]>() == 64) };
    for (out, row) in out.iter_mut().zip(rows) {
        *out = if step < whole {
            // SAFETY: `step` is below the number of whole steps; the load needs no alignment.
            unsafe { _mm512_loadu_si512(row.as_ptr().add(step * L).cast()) }
        } else {
            load(&padded::<T, L>(row, step * L))
        };
    }
}

/// 64 bytes of plain numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T, const L: usize>(values: &[T; L]) -> __m512i {
    const { assert!(size_of::<[T; L]>() == 64) };
    // SAFETY: the array is 64 bytes long; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// What a row holds from `start` on, and zeros.
#[cold]
#[inline(never)]
fn padded<T: Copy + Default, const L: usize>(row: &[T], start: usize) -> [T; L] {
    let mut padded = [T::default(); L];
    padded.iter_mut().zip(row.iter().skip(start)).for_each(|(out, value)| *out = *value);
    padded
}
