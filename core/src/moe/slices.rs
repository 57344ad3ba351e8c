//! Sums, maxima and softmax of a token's row, in a fixed order that vectors can follow.

use crate::real::Real;

/// Parts that sums and maxima are cut into: an order of addition that is fixed and that vectors can follow.
pub(super) const LANES: usize = 8;

/// The sum of the parts: halves are added, then quarters, as vectors do it.
#[inline(always)]
pub(super) fn add_lanes<R: Real>([a, b, c, d, e, f, g, h]: [R; LANES]) -> R {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// `Σ x`, in a fixed order.
#[inline(always)]
pub(super) fn sum<R: Real>(values: &[R]) -> R {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [R::ZERO; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, &value)| *part += value);
    }
    rest.iter().fold(add_lanes(parts), |sum, &value| sum + value)
}

/// `Σ a·b` over the shorter of two slices, in a fixed order.
#[inline(always)]
pub(super) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let len = a.len().min(b.len());
    let (a, b) = (a.get(..len).unwrap_or(&[]), b.get(..len).unwrap_or(&[]));
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut parts = [R::ZERO; LANES];
    for (a, b) in a.iter().zip(b) {
        parts.iter_mut().zip(a.iter().zip(b)).for_each(|(part, (&a, &b))| *part += a * b);
    }
    a_rest.iter().zip(b_rest).fold(add_lanes(parts), |sum, (&a, &b)| sum + a * b)
}

/// The larger of two numbers; the first where one is NaN.
#[inline(always)]
pub(super) fn larger<R: Real>(a: R, b: R) -> R {
    if b > a { b } else { a }
}

/// The largest value; −∞ for an empty slice.
#[inline(always)]
pub(super) fn largest<R: Real>(values: &[R]) -> R {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [R::NEG_INFINITY; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, &value)| *part = larger(*part, value));
    }
    let [a, b, c, d, e, f, g, h] = parts;
    let halves = [larger(a, e), larger(b, f), larger(c, g), larger(d, h)];
    halves.iter().chain(rest).fold(R::NEG_INFINITY, |a, &b| larger(a, b))
}

/// Whether a value is neither NaN nor infinite.
#[inline(always)]
pub(super) fn is_finite<R: Real>(value: R) -> bool {
    R::ZERO * value == R::ZERO
}

/// Whether no value is NaN or infinite.
#[inline(always)]
pub(super) fn all_finite<R: Real>(values: &[R]) -> bool {
    let (chunks, rest) = values.as_chunks::<LANES>();
    // `0 · x` is 0 for a number and NaN for the rest, and NaN stays.
    let mut parts = [R::ZERO; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, &value)| *part += R::ZERO * value);
    }
    rest.iter().fold(add_lanes(parts), |sum, &value| sum + R::ZERO * value) == R::ZERO
}

/// `row ← softmax(row)`.
#[inline(always)]
pub(super) fn softmax<R: Real>(row: &mut [R]) {
    let most = largest(row);
    row.iter_mut().for_each(|value| *value = (*value - most).exp());
    let scale = R::ONE / sum(row);
    row.iter_mut().for_each(|value| *value *= scale);
}

/// `ln Σ eˣ`; −∞ for an empty slice.
#[inline(always)]
pub(super) fn log_sum_exp<R: Real>(row: &[R]) -> R {
    let most = largest(row);
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut parts = [R::ZERO; LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, &value)| *part += (value - most).exp());
    }
    most + rest.iter().fold(add_lanes(parts), |sum, &value| sum + (value - most).exp()).ln()
}

/// `|x|`.
#[inline(always)]
pub(super) fn magnitude<R: Real>(x: R) -> R {
    if x < R::ZERO { -x } else { x }
}

/// `1 / (1 + e⁻ˣ)`, without overflow.
#[inline(always)]
pub(super) fn sigmoid<R: Real>(x: R) -> R {
    let small = (-magnitude(x)).exp();
    let numerator = if x < R::ZERO { small } else { R::ONE };
    numerator / (R::ONE + small)
}

/// `ln(1 + eˣ)`, without overflow.
#[inline(always)]
pub(super) fn softplus<R: Real>(x: R) -> R {
    larger(x, R::ZERO) + (R::ONE + (-magnitude(x)).exp()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length_hold_every_value_once() {
        let values: [f64; 50] = core::array::from_fn(|nth| nth as f64);
        for len in 0..=50 {
            let values = &values[..len];
            let last = len as f64 - 1.0;
            assert_eq!(sum(values), (0..len).sum::<usize>() as f64, "{len}");
            assert_eq!(dot(values, &[2.0; 50]), 2.0 * sum(values), "{len}");
            assert_eq!(largest(values), if len == 0 { f64::NEG_INFINITY } else { last }, "{len}");
            let expected = values.iter().map(|x| (x - last).exp()).sum::<f64>().ln() + last;
            assert!(len == 0 || (log_sum_exp(values) - expected).abs() < 1e-12, "{len}");
        }
    }

    #[test]
    fn one_value_that_is_no_number_is_found() {
        for (len, place) in [(1, 0), (16, 15), (40, 3), (40, 39)] {
            let mut values = [1.0_f32; 40];
            assert!(all_finite(&values[..len]));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                values[place] = bad;
                assert!(!all_finite(&values[..len]), "{bad} at {place}");
            }
        }
    }

    #[test]
    fn large_arguments_do_not_overflow() {
        assert_eq!((sigmoid(-1e4_f32), sigmoid(1e4_f32), sigmoid(0.0_f32)), (0.0, 1.0, 0.5));
        assert_eq!((softplus(-1e4_f32), softplus(1e4_f32)), (0.0, 1e4));
        assert!((softplus(0.0_f64) - core::f64::consts::LN_2).abs() < 1e-15);
    }
}
