//! One row against int4: what each step needs of the row is made once and read for every output.

use core::arch::x86_64::*;

use half::f16;

use super::{
    AHEAD_ALONE, BYTES_INT4, SCALES_INT4, added, load, load_halves, nth_scales, padded, prefetch, spread,
};
use crate::arch::{LANES, RoundedRow, STEP_INT4, block_scale};
use crate::linear::{Streams, TILE};
use crate::weights::{GROUP, Int4, SHIFT};

/// What a step needs: its values in the order of the nibbles, where its sums start, its scales.
type Prepared = [[i8; 64]; 4];
/// Scales of a weight row that are widened together, and the steps they are for.
const WIDENED: usize = 16;
const STEPS: usize = WIDENED / SCALES_INT4;

/// `out[o] += ` [`int4_dots`](super::int4_dots) of one row and each row of the weights.
///
/// `memory` holds at least 256 bytes for each 128 inputs; a row of weights must be a multiple of 128.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw`, `avx512vl`, `avx512vnni` and `f16c`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub fn int4_row(x: RoundedRow<'_>, weights: Int4<'_>, memory: &mut [i8], out: &mut [f32]) {
    let (steps, _) = memory.as_chunks_mut::<64>();
    let (steps, _) = steps.as_chunks_mut::<4>();
    let count = weights.nibbles().columns() / BYTES_INT4;
    let steps = steps.get_mut(..count).unwrap_or_default();
    prepare(x, steps);
    let streams = Streams::new(weights.scales().rows());
    for place in streams.steps() {
        let nibbles = streams.rows(weights.nibbles(), place);
        let scales = streams.rows(weights.scales(), place);
        streams.add(place, tile(steps, nibbles, scales), out);
    }
}

/// [`round_block`](crate::arch::round_block) in two registers.
///
/// *Why by hand:* where plain code lands inside a large function, the compiler rounds value by value.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn round_block(block: &[f32; GROUP], out: &mut [i8; GROUP]) -> (f32, f32) {
    // SAFETY: the array is 128 bytes long; the loads need no alignment.
    let values = unsafe { [_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block.as_ptr().add(LANES))] };
    let magnitudes = values.map(|values| _mm512_castps_si512(_mm512_abs_ps(values)));
    let most = _mm512_reduce_max_epu32(_mm512_max_epu32(magnitudes[0], magnitudes[1]));
    let (scale, inverse) = block_scale(most);
    let mut total = _mm512_setzero_ps();
    for (values, out) in values.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
        let shifted = _mm512_add_ps(_mm512_mul_ps(values, _mm512_set1_ps(inverse)), _mm512_set1_ps(SHIFT));
        total = _mm512_add_ps(total, _mm512_sub_ps(shifted, _mm512_set1_ps(SHIFT)));
        // SAFETY: sixteen bytes are stored where there is place for sixteen.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(shifted)))
        };
    }
    (scale, _mm512_reduce_add_ps(total))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn prepare(x: RoundedRow<'_>, steps: &mut [Prepared]) {
    let eights = _mm512_set1_epi8(8);
    let whole = (x.values.len() / STEP_INT4).min(x.scales.len() / SCALES_INT4);
    for (step, prepared) in steps.iter_mut().enumerate() {
        let mut halves = [_mm512_setzero_si512(); 2];
        // SAFETY: `whole` is at most what the row has of values and of scales.
        unsafe { load_halves(&mut halves, x.values, step, whole) };
        let low = _mm512_shuffle_i32x4::<0b10_00_10_00>(halves[0], halves[1]);
        let high = _mm512_shuffle_i32x4::<0b11_01_11_01>(halves[0], halves[1]);
        let offsets = _mm512_dpbusd_epi32(_mm512_setzero_si512(), eights, low);
        let offsets = _mm512_dpbusd_epi32(offsets, eights, high);
        let start = _mm512_sub_epi32(_mm512_setzero_si512(), offsets);
        // SAFETY: as above.
        let [a, b, c, d] = unsafe { nth_scales::<SCALES_INT4>(&x, step, whole) };
        let scale = _mm512_castps_si512(spread(_mm_setr_ps(a, b, c, d)));
        for (out, values) in prepared.iter_mut().zip([low, high, start, scale]) {
            // SAFETY: the array is 64 bytes long; the store needs no alignment.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), values) };
        }
    }
}

/// `[n]`: the prepared row against four rows of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn tile(steps: &[Prepared], nibbles: [&[u8]; TILE], scales: [&[f16]; TILE]) -> [f32; TILE] {
    let ones = _mm512_set1_epi8(15);
    let first = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    let mut sums = [[_mm512_setzero_ps(); TILE]];
    for (block, steps) in steps.chunks(STEPS).enumerate() {
        let mut widened = [_mm512_setzero_ps(); TILE];
        for (widened, scales) in widened.iter_mut().zip(&scales) {
            *widened = widen(scales, block, steps.len());
        }
        let mut lanes = first;
        for (nth, [x_low, x_high, start, x_scale]) in steps.iter().enumerate() {
            let [x_low, x_high, start] = [load(x_low), load(x_high), load(start)];
            let x_scale = _mm512_castsi512_ps(load(x_scale));
            let place = (block * STEPS + nth) * BYTES_INT4;
            for ((sum, nibbles), widened) in sums.as_flattened_mut().iter_mut().zip(&nibbles).zip(&widened) {
                prefetch::<AHEAD_ALONE, _>(nibbles.as_ptr().wrapping_add(place));
                // SAFETY: a row of the matrix has as many steps as are prepared; the load needs no alignment.
                let nibbles = unsafe { _mm512_loadu_si512(nibbles.as_ptr().add(place).cast()) };
                let low = _mm512_and_si512(nibbles, ones);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), ones);
                let products = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, low, x_low), high, x_high);
                let scale = _mm512_mul_ps(x_scale, _mm512_permutexvar_ps(lanes, *widened));
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
            }
            lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(4));
        }
    }
    let [sums] = added(&sums);
    sums
}

/// The scales of a block of steps, as far as there are any.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(scales: &[f16], block: usize, steps: usize) -> __m512 {
    if steps == STEPS {
        // SAFETY: each step that is prepared has its four scales; the load needs no alignment.
        return _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().add(block * WIDENED).cast()) });
    }
    let rest = padded::<f16, WIDENED>(scales, block * WIDENED);
    // SAFETY: the array is 32 bytes long; the load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(rest.as_ptr().cast()) })
}
