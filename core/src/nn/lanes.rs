//! Sums over slices in [`LANES`] interleaved parts: a fixed order that vectors can follow.
//!
//! A value's part is its place modulo [`LANES`], so zeros behind it, or whole chunks of zeros before it, change nothing.

use super::Real;

/// Parts of a sum: one register of 512 bits, two of 256, four of 128.
pub(crate) const LANES: usize = 16;

/// The sum of the parts, by halves.
#[inline(always)]
pub(crate) fn fold<R: Real>(mut parts: [R; LANES]) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = parts.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        width /= 2;
    }
    let [sum, ..] = parts;
    sum
}

/// `Σ term(x)`.
#[inline(always)]
pub(crate) fn sum_of<R: Real>(values: &[R], term: impl Fn(R) -> R) -> R {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [R::ZERO; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part += term(*value));
    }
    parts.iter_mut().zip(rest).for_each(|(part, value)| *part += term(*value));
    fold(parts)
}

/// `Σ term(a, b)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum_of_pairs<R: Real>(a: &[R], b: &[R], term: impl Fn(R, R) -> R) -> R {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut parts = [R::ZERO; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        parts.iter_mut().zip(a).zip(b).for_each(|((part, a), b)| *part += term(*a, *b));
    }
    parts.iter_mut().zip(a_rest).zip(b_rest).for_each(|((part, a), b)| *part += term(*a, *b));
    fold(parts)
}

/// `Σ a·b` over two slices of one length.
#[inline(always)]
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    sum_of_pairs(a, b, |a, b| a * b)
}

/// `Σ a·b` for several `a`.
#[inline(always)]
pub(crate) fn dots<const N: usize, R: Real>(rows: [&[R]; N], b: &[R]) -> [R; N] {
    let (chunks, rest) = b.as_chunks::<LANES>();
    let mut parts = [[R::ZERO; LANES]; N];
    let split = rows.map(|row| row.as_chunks::<LANES>());
    for (nth, b) in chunks.iter().enumerate() {
        for (parts, (a, _)) in parts.iter_mut().zip(split) {
            let Some(a) = a.get(nth) else { continue };
            parts.iter_mut().zip(a).zip(b).for_each(|((part, a), b)| *part += *a * *b);
        }
    }
    for (parts, (_, a)) in parts.iter_mut().zip(split) {
        parts.iter_mut().zip(a).zip(rest).for_each(|((part, a), b)| *part += *a * *b);
    }
    parts.map(fold)
}

/// The largest value; −∞ for none. A NaN may or may not be passed over.
#[inline(always)]
pub(crate) fn largest<R: Real>(values: &[R]) -> R {
    let larger = |a: R, b: R| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [R::NEG_INFINITY; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part = larger(*part, *value));
    }
    parts.iter().chain(rest).fold(R::NEG_INFINITY, |a, b| larger(a, *b))
}
