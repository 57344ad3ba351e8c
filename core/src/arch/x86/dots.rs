//! Dots of several rows with four rows of weights of the same kind.

use core::arch::x86_64::*;
use core::mem::transmute;

use half::bf16;

use super::{AHEAD, added, load, padded, prefetch, shortest};
use crate::arch::{LANES, STEP_BF16};
use crate::linear::TILE;

/// Sixteen sums for each row and each row of weights.
type Registers<const M: usize> = [[__m512; TILE]; M];

/// Numbers that a register of 64 bytes holds.
trait Multiply: Copy + Default {
    /// `sum + x · w`.
    ///
    /// # Safety
    /// The CPU must have the instruction.
    unsafe fn add(sum: __m512, x: __m512i, w: __m512i) -> __m512;

    /// The same bits, for a row that is alone: it waits for its weights, not for what is done with them.
    ///
    /// # Safety
    /// The CPU must have `avx512f`.
    #[inline(always)]
    unsafe fn add_alone(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: the caller's.
        unsafe { Self::add(sum, x, w) }
    }
}

impl Multiply for f32 {
    #[inline(always)]
    unsafe fn add(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sum) }
    }
}

impl Multiply for bf16 {
    #[inline(always)]
    unsafe fn add(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: the caller's; both types are 64 bytes without invalid values.
        unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w)) }
    }

    /// *Why not by the instruction:* it does less in a cycle, and weights came in a few percent slower.
    #[inline(always)]
    unsafe fn add_alone(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            let high = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            let second = |pairs| _mm512_castsi512_ps(_mm512_and_si512(pairs, high));
            let first = |pairs| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
            _mm512_fmadd_ps(first(x), first(w), _mm512_fmadd_ps(second(x), second(w), sum))
        }
    }
}

/// `[m][n]`: `Σ x[m] · w[n]`, sixteen sums side by side.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
    // SAFETY: the caller's.
    unsafe { dots::<f32, LANES, M>(x, w) }
}

/// [`bf16_dots`](crate::arch::bf16_dots) by `vdpbf16ps`; with several rows subnormal numbers count as zero.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512bf16`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn bf16_dots<const M: usize>(x: [&[bf16]; M], w: [&[bf16]; TILE]) -> [[f32; TILE]; M] {
    // SAFETY: the caller's.
    unsafe { dots::<bf16, STEP_BF16, M>(x, w) }
}

/// *Why it names no instructions:* only so may it be told to be inlined, and what is not inlined keeps sums in memory.
///
/// # Safety
/// The CPU must have `avx512f` and what [`Multiply`] needs, and the caller must say so.
#[inline(always)]
unsafe fn dots<T: Multiply, const L: usize, const M: usize>(
    x: [&[T]; M],
    w: [&[T]; TILE],
) -> [[f32; TILE]; M] {
    let whole = shortest(&x).min(shortest(&w)) / L;
    // SAFETY: the caller's; every row has each of the whole steps.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); TILE]; M];
        for step in 0..whole {
            add::<T, L, M>(&mut sums, x.map(|x| nth(x, step)), w.map(|w| nth(w, step)));
        }
        if w.iter().any(|w| w.len() > whole * L) {
            sums = add_rest::<T, L, M>(sums, (&x, &w), whole * L);
        }
        added(&sums)
    }
}

/// A step: the weights stay in registers, rows follow each other.
///
/// # Safety
/// As [`dots`].
#[inline(always)]
unsafe fn add<T: Multiply, const L: usize, const M: usize>(
    sums: &mut Registers<M>,
    x: [&[T; L]; M],
    w: [&[T; L]; TILE],
) {
    // SAFETY: the caller's.
    unsafe {
        if M > 1 {
            w.iter().for_each(|w| prefetch::<AHEAD, _>(w.as_ptr()));
        }
        let [a, b, c, d] = w;
        let weights = [load(a), load(b), load(c), load(d)];
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = load(x);
            for (sum, w) in sums.iter_mut().zip(&weights) {
                *sum = if M > 1 { T::add(*sum, x, *w) } else { T::add_alone(*sum, x, *w) };
            }
        }
    }
}

/// What the rows hold behind their whole steps.
///
/// # Safety
/// As [`dots`].
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn add_rest<T: Multiply, const L: usize, const M: usize>(
    mut sums: Registers<M>,
    (x, w): (&[&[T]; M], &[&[T]; TILE]),
    start: usize,
) -> Registers<M> {
    let (x, w) = (x.map(|x| padded::<T, L>(x, start)), w.map(|w| padded::<T, L>(w, start)));
    // SAFETY: the caller's.
    unsafe { add::<T, L, M>(&mut sums, x.each_ref(), w.each_ref()) };
    sums
}

/// The nth step of a row.
///
/// # Safety
/// The row must have it.
#[inline(always)]
unsafe fn nth<T, const L: usize>(row: &[T], step: usize) -> &[T; L] {
    // SAFETY: the caller's.
    unsafe { &*row.as_ptr().add(step * L).cast() }
}
