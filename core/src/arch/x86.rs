//! AVX-512: dot products of f32, where plain code stays behind the registers; of bf16 (`avx512bf16`) and of bytes (`avx512vnni`).

use core::arch::x86_64::*;
use core::mem::transmute;

use half::{bf16, f16};

use super::{LANES, RoundedRow, RoundedWeights4, STEP_BF16, STEP_INT4, STEP_INT8};
use crate::weights::GROUP;

/// Block scales that one step of int8 takes.
const SCALES_INT8: usize = STEP_INT8 / GROUP;
/// Group scales, and block scales, that one step of int4 takes.
const SCALES_INT4: usize = STEP_INT4 / GROUP;
/// Bytes of weights that one step of int4 takes.
const BYTES_INT4: usize = STEP_INT4 / 2;

/// `[m][n]`: `Σ x[m] · w[n]`, sixteen sums side by side.
///
/// # Safety
/// The CPU must have `avx512f`.
#[target_feature(enable = "avx512f")]
pub fn f32_dots<const M: usize, const N: usize>(x: [&[f32]; M], w: [&[f32]; N]) -> [[f32; N]; M] {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let steps = w.map(|w| w.as_chunks::<LANES>().0);
    let x_steps = x.map(|x| x.as_chunks::<LANES>().0);
    let whole = steps.iter().chain(&x_steps).map(|steps| steps.len()).min().unwrap_or(0);
    let rest = w.iter().any(|w| w.len() > whole * LANES);
    for step in 0..whole + usize::from(rest) {
        let (x, w) = if step < whole {
            // SAFETY: `step` is below the length of each.
            unsafe { (load_all(x_steps, step), load_all(steps, step)) }
        } else {
            let x = x.map(|x| load(&padded::<f32, LANES>(x, whole * LANES)));
            (x, w.map(|w| load(&padded::<f32, LANES>(w, whole * LANES))))
        };
        add_f32(&mut sums, x, w);
    }
    sums.map(|sums| sums.map(|sum| _mm512_reduce_add_ps(sum)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_f32<const M: usize, const N: usize>(sums: &mut [[__m512; N]; M], x: [__m512i; M], w: [__m512i; N]) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), *sum);
        }
    }
}

/// [`super::bf16_dots`] by `vdpbf16ps`; subnormal numbers count as zero.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512bf16`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn bf16_dots<const M: usize, const N: usize>(x: [&[bf16]; M], w: [&[bf16]; N]) -> [[f32; N]; M] {
    if M == 1 {
        // One after the other, in the order they lie in memory.
        return x.map(|x| w.map(|w| bf16_tile([x], [w]).as_flattened().iter().sum()));
    }
    bf16_tile(x, w)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn bf16_tile<const M: usize, const N: usize>(x: [&[bf16]; M], w: [&[bf16]; N]) -> [[f32; N]; M] {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let steps = w.map(|w| w.as_chunks::<STEP_BF16>().0);
    let x_steps = x.map(|x| x.as_chunks::<STEP_BF16>().0);
    let whole = steps.iter().chain(&x_steps).map(|steps| steps.len()).min().unwrap_or(0);
    let rest = w.iter().any(|w| w.len() > whole * STEP_BF16);
    for step in 0..whole + usize::from(rest) {
        let (x, w) = if step < whole {
            // SAFETY: `step` is below the length of each.
            unsafe { (load_all(x_steps, step), load_all(steps, step)) }
        } else {
            let x = x.map(|x| load(&padded::<bf16, STEP_BF16>(x, whole * STEP_BF16)));
            (x, w.map(|w| load(&padded::<bf16, STEP_BF16>(w, whole * STEP_BF16))))
        };
        add_bf16(&mut sums, x, w);
    }
    sums.map(|sums| sums.map(|sum| _mm512_reduce_add_ps(sum)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn add_bf16<const M: usize, const N: usize>(sums: &mut [[__m512; N]; M], x: [__m512i; M], w: [__m512i; N]) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(w) {
            // SAFETY: both types are 64 bytes without invalid values.
            let (x, w) = unsafe { (transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w)) };
            *sum = _mm512_dpbf16_ps(*sum, x, w);
        }
    }
}

/// [`super::int8_dots`] by `vpdpbusd`.
///
/// The instruction takes one operand without sign: it gets `w + 128`, and the sum starts at `−128 · Σ x`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512vnni`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn int8_dots<const M: usize, const N: usize>(x: [RoundedRow<'_>; M], w: [&[i8]; N]) -> [[f32; N]; M] {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let steps = w.map(|w| w.as_chunks::<STEP_INT8>().0);
    let x_steps = x.map(|x| x.values.as_chunks::<STEP_INT8>().0);
    let scales = x.map(|x| x.scales.as_chunks::<SCALES_INT8>().0);
    let x_len = x_steps.iter().map(|steps| steps.len()).chain(scales.iter().map(|scales| scales.len())).min();
    let whole = steps.iter().map(|steps| steps.len()).chain(x_len).min().unwrap_or(0);
    let rest = w.iter().any(|w| w.len() > whole * STEP_INT8);
    for step in 0..whole + usize::from(rest) {
        let (x, scales, w) = if step < whole {
            prefetch::<M, _, N>(steps, step);
            // SAFETY: `step` is below the length of each.
            unsafe { (load_all(x_steps, step), at(scales, step), load_all(steps, step)) }
        } else {
            let scales = x.map(|x| padded(x.scales, whole * SCALES_INT8));
            let x = x.map(|x| load(&padded::<i8, STEP_INT8>(x.values, whole * STEP_INT8)));
            (x, scales, w.map(|w| load(&padded::<i8, STEP_INT8>(w, whole * STEP_INT8))))
        };
        add_int8(&mut sums, x, scales, w);
    }
    sums.map(|sums| sums.map(|sum| _mm512_reduce_add_ps(sum)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_int8<const M: usize, const N: usize>(
    sums: &mut [[__m512; N]; M],
    x: [__m512i; M],
    scales: [[f32; SCALES_INT8]; M],
    w: [__m512i; N],
) {
    let offset = _mm512_set1_epi8(-128);
    let w = w.map(|w| _mm512_xor_si512(w, offset));
    for ((sums, x), [low, high]) in sums.iter_mut().zip(x).zip(scales) {
        let offsets = _mm512_dpbusd_epi32(_mm512_setzero_si512(), offset, x);
        let start = _mm512_sub_epi32(_mm512_setzero_si512(), offsets);
        let scale = _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(low), _mm512_set1_ps(high));
        for (sum, w) in sums.iter_mut().zip(w) {
            let products = _mm512_dpbusd_epi32(start, w, x);
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
        }
    }
}

/// [`super::int4_dots`] by `vpdpbusd`: nibbles are without sign, the sum starts at `−8 · Σ x`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw`, `avx512vl`, `avx512vnni` and `f16c`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub fn int4_dots<const M: usize, const N: usize>(
    x: [RoundedRow<'_>; M],
    w: [RoundedWeights4<'_>; N],
) -> [[f32; N]; M] {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let steps = w.map(|w| w.nibbles.as_chunks::<BYTES_INT4>().0);
    let w_scales = w.map(|w| w.scales.as_chunks::<SCALES_INT4>().0);
    let x_steps = x.map(|x| x.values.as_chunks::<STEP_INT4>().0);
    let x_scales = x.map(|x| x.scales.as_chunks::<SCALES_INT4>().0);
    let x_len = x_steps.iter().map(|steps| steps.len()).chain(x_scales.iter().map(|scales| scales.len()));
    let w_len = steps.iter().map(|steps| steps.len()).chain(w_scales.iter().map(|scales| scales.len()));
    let whole = x_len.chain(w_len).min().unwrap_or(0);
    let rest = w.iter().any(|w| w.nibbles.len() > whole * BYTES_INT4);
    for step in 0..whole + usize::from(rest) {
        let (x, x_scales, w) = if step < whole {
            prefetch::<M, _, N>(steps, step);
            // SAFETY: `step` is below the length of each.
            unsafe {
                let w = (load_all(steps, step), at(w_scales, step));
                (at(x_steps, step), at(x_scales, step), w)
            }
        } else {
            let nibbles = w.map(|w| load(&padded::<u8, BYTES_INT4>(w.nibbles, whole * BYTES_INT4)));
            let w = (nibbles, w.map(|w| padded(w.scales, whole * SCALES_INT4)));
            let x_scales = x.map(|x| padded(x.scales, whole * SCALES_INT4));
            (x.map(|x| padded(x.values, whole * STEP_INT4)), x_scales, w)
        };
        add_int4(&mut sums, x, x_scales, w);
    }
    sums.map(|sums| sums.map(|sum| _mm512_reduce_add_ps(sum)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn add_int4<const M: usize, const N: usize>(
    sums: &mut [[__m512; N]; M],
    x: [[i8; STEP_INT4]; M],
    x_scales: [[f32; SCALES_INT4]; M],
    (nibbles, w_scales): ([__m512i; N], [[f16; SCALES_INT4]; N]),
) {
    let (ones, eights) = (_mm512_set1_epi8(15), _mm512_set1_epi8(8));
    let low = nibbles.map(|bytes| _mm512_and_si512(bytes, ones));
    let high = nibbles.map(|bytes| _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), ones));
    let w_scales = w_scales.map(|scales| {
        let bits = u64::from_le_bytes(bytes_of(scales));
        spread(_mm_cvtph_ps(_mm_cvtsi64_si128(bits.cast_signed())))
    });
    for ((sums, x), x_scales) in sums.iter_mut().zip(x).zip(x_scales) {
        let (halves, _) = x.as_chunks::<STEP_INT8>();
        let [first, second] =
            [halves.first(), halves.last()].map(|half| half.map_or(ones, |half| load(half)));
        // The first 16 values of each group, and the last 16.
        let x_low = _mm512_shuffle_i32x4::<0b10_00_10_00>(first, second);
        let x_high = _mm512_shuffle_i32x4::<0b11_01_11_01>(first, second);
        let offsets = _mm512_dpbusd_epi32(_mm512_setzero_si512(), eights, x_low);
        let offsets = _mm512_dpbusd_epi32(offsets, eights, x_high);
        let start = _mm512_sub_epi32(_mm512_setzero_si512(), offsets);
        let [a, b, c, d] = x_scales;
        let x_scale = spread(_mm_setr_ps(a, b, c, d));
        for (((sum, low), high), w_scale) in sums.iter_mut().zip(low).zip(high).zip(w_scales) {
            let products = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, low, x_low), high, x_high);
            let scale = _mm512_mul_ps(x_scale, w_scale);
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
        }
    }
}

/// Asks for the same step of the next tile of weights, where a single row has nothing else to wait for.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<const M: usize, T, const N: usize>(rows: [&[T]; N], step: usize) {
    if M > 1 {
        return;
    }
    for row in rows {
        let next = row.as_ptr().wrapping_add(N * row.len() + step);
        #[allow(unused_unsafe, reason = "safe since Rust 1.90 or so")]
        // SAFETY: a prefetch reads nothing, wherever it points.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(next.cast())
        };
    }
}

/// Each of four scales in four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn spread(scales: __m128) -> __m512 {
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(scales))
}

fn bytes_of(scales: [f16; SCALES_INT4]) -> [u8; 8] {
    let [a, b, c, d] = scales.map(|scale| scale.to_bits().to_le_bytes());
    [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
}

/// The nth step of each row.
///
/// # Safety
/// `step` must be below the length of every row.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_all<T, const L: usize, const N: usize>(rows: [&[[T; L]]; N], step: usize) -> [__m512i; N] {
    // SAFETY: the caller's promise.
    rows.map(|row| load(unsafe { row.get_unchecked(step) }))
}

/// The nth element of each row.
///
/// # Safety
/// `step` must be below the length of every row.
#[inline]
unsafe fn at<T: Copy, const N: usize>(rows: [&[T]; N], step: usize) -> [T; N] {
    // SAFETY: the caller's promise.
    rows.map(|row| unsafe { *row.get_unchecked(step) })
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
fn padded<T: Copy + Default, const L: usize>(row: &[T], start: usize) -> [T; L] {
    let mut padded = [T::default(); L];
    padded.iter_mut().zip(row.iter().skip(start)).for_each(|(out, value)| *out = *value);
    padded
}
