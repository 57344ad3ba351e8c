//! One row of `f32` against narrow weights, which are widened on the way.
//!
//! *Why by hand:* where plain code for bf16 lands inside a large function, the compiler keeps it scalar: a seventh of the speed.

use core::arch::x86_64::*;

use half::{bf16, f16};

use super::{added, load_all, padded, shortest};
use crate::arch::LANES;
use crate::linear::TILE;

/// Numbers of which sixteen become a register of `f32`.
trait Widen: Copy + Default {
    /// Those from `place` on.
    ///
    /// # Safety
    /// Sixteen of them must lie there, and the CPU must have `avx512f`.
    unsafe fn widen(place: *const Self) -> __m512;
}

impl Widen for f16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn widen(place: *const Self) -> __m512 {
        // SAFETY: the caller's 32 bytes; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(place.cast()) })
    }
}

impl Widen for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn widen(place: *const Self) -> __m512 {
        // SAFETY: the caller's 32 bytes; the load needs no alignment.
        let halves = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(place.cast()) });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }
}

impl Widen for i8 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn widen(place: *const Self) -> __m512 {
        // SAFETY: the caller's 16 bytes; the load needs no alignment.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(place.cast()) }))
    }
}

/// `[n]`: `Σ x · w[n]`, sixteen sums side by side.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub fn f16_dots(x: &[f32], w: [&[f16]; TILE]) -> [f32; TILE] {
    // SAFETY: the caller's.
    unsafe { dots(x, w) }
}

/// [`f16_dots`] with bf16.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub fn exact_bf16_dots(x: &[f32], w: [&[bf16]; TILE]) -> [f32; TILE] {
    // SAFETY: the caller's.
    unsafe { dots(x, w) }
}

/// [`f16_dots`] with the values of int8.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub fn exact_int8_dots(x: &[f32], w: [&[i8]; TILE]) -> [f32; TILE] {
    // SAFETY: the caller's.
    unsafe { dots(x, w) }
}

/// *Why it names no instructions:* only so may it be told to be inlined.
///
/// # Safety
/// The CPU must have `avx512f`, and the caller must say so.
#[inline(always)]
unsafe fn dots<E: Widen>(x: &[f32], w: [&[E]; TILE]) -> [f32; TILE] {
    let whole = shortest(&w).min(x.len()) / LANES;
    // SAFETY: the caller's; a row has each of its whole steps, and what is padded has sixteen values.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); TILE]];
        for step in 0..x.len().div_ceil(LANES) {
            let mut values = [_mm512_setzero_si512()];
            load_all::<f32, LANES, 1>(&mut values, &[x], step, whole);
            for (sum, w) in sums.as_flattened_mut().iter_mut().zip(&w) {
                let weights = if step < whole {
                    E::widen(w.as_ptr().add(step * LANES))
                } else {
                    E::widen(padded::<E, LANES>(w, step * LANES).as_ptr())
                };
                *sum = _mm512_fmadd_ps(_mm512_castsi512_ps(values[0]), weights, *sum);
            }
        }
        let [sums] = added(&sums);
        sums
    }
}
