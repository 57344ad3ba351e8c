//! Sums over slices in [`LANES`] interleaved parts: a fixed order that vectors can follow.
//!
//! A value's part is its place modulo [`LANES`], so zeros behind it, or whole chunks of zeros before it, change nothing.

use crate::real::Real;

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

/// `out += Σ_n weights[n] · rows[n]`, term after term; four rows take one pass over `out`.
#[inline(always)]
pub(crate) fn add_weighted<const N: usize, R: Real>(out: &mut [R], weights: [R; N], rows: [&[R]; N]) {
    if let ([w0, w1, w2, w3], [r0, r1, r2, r3]) = (weights.as_slice(), rows.as_slice()) {
        for ((((out, a), b), c), d) in out.iter_mut().zip(*r0).zip(*r1).zip(*r2).zip(*r3) {
            *out = *out + *w0 * *a + *w1 * *b + *w2 * *c + *w3 * *d;
        }
    } else {
        for (weight, row) in weights.into_iter().zip(rows) {
            out.iter_mut().zip(row).for_each(|(out, value)| *out += weight * *value);
        }
    }
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
