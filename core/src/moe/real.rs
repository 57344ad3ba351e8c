//! The numbers a router computes with: `f32` in the network, `f64` where a test wants the formulas alone.

use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::numeric::{exp_slice, ln_slice};

/// A floating-point number. The two implementations are all there are.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The nearest number.
    fn of(value: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// `eˣ` without a branch, so that loops of it become vector code; 0 below −87 (`f32`) or −708 (`f64`).
    fn exp(self) -> Self;
    /// The natural logarithm of a normal number, without a branch; −∞ for 0 and below.
    fn ln(self) -> Self;
    /// The error function `2/√π · ∫₀ˣ e^(−t²) dt`.
    fn erf(self) -> Self;
    /// An integer with the order of the numbers, in the high bits; both zeros have the same.
    fn key(self) -> u64;
}

/// `ln 2` in two parts: the first has 15 trailing zero bits, so that small integer multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounds to the nearest, as it says")]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    /// `x = n·ln 2 + r`, `|r| ≤ ln 2 / 2`, and `eʳ` by its series: the first term left out is below 5e-9.
    #[inline(always)]
    fn exp(self) -> Self {
        // 1.5 · 2²³: adding it rounds to an integer, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let shifted = self * core::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (self - n * LN2_HIGH) - n * LN2_LOW;
        let mut series = 1.0 / 5_040.0;
        for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            series = series * r + inverse_factorial;
        }
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        if self < -87.0 { 0.0 } else { series * power }
    }

    /// `x = 2ⁿ·m`, `m` in `[√½, √2)`, and `ln m = 2·artanh((m − 1)/(m + 1))` by its series.
    #[inline(always)]
    #[allow(clippy::cast_possible_wrap, reason = "the exponent is a signed number")]
    fn ln(self) -> Self {
        const SQRT_HALF: u32 = core::f32::consts::FRAC_1_SQRT_2.to_bits();
        let above = self.to_bits().wrapping_sub(SQRT_HALF);
        let n = (above as i32 >> 23) as f32;
        let m = f32::from_bits((above & 0x007f_ffff) + SQRT_HALF);
        let s = (m - 1.0) / (m + 1.0);
        let square = s * s;
        let mut series = 2.0 / 9.0;
        for odd in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
            series = series * square + odd;
        }
        let ln = n * LN2_HIGH + (2.0 * s + (s * square * series + n * LN2_LOW));
        if self > 0.0 { ln } else { f32::NEG_INFINITY }
    }

    #[inline(always)]
    fn erf(self) -> Self {
        libm::erff(self)
    }

    #[inline(always)]
    fn key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        u64::from(ordered) << 32
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let mut value = [self];
        exp_slice(&mut value);
        let [value] = value;
        value
    }

    #[inline(always)]
    fn ln(self) -> Self {
        let mut value = [self];
        ln_slice(&mut value);
        let [value] = value;
        if self > 0.0 { value } else { f64::NEG_INFINITY }
    }

    #[inline(always)]
    fn erf(self) -> Self {
        libm::erf(self)
    }

    #[inline(always)]
    fn key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
    }
}

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
    let mut parts = [R::of(f64::NEG_INFINITY); LANES];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, &value)| *part = larger(*part, value));
    }
    let [a, b, c, d, e, f, g, h] = parts;
    let halves = [larger(a, e), larger(b, f), larger(c, g), larger(d, h)];
    halves.iter().chain(rest).fold(R::of(f64::NEG_INFINITY), |a, &b| larger(a, b))
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
    row.iter_mut().for_each(|value| *value = *value * scale);
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
    fn exponentials_agree_with_libm_to_two_units_in_the_last_place() {
        let mut x = -87.0_f32;
        while x < 88.0 {
            let expected = libm::exp(f64::from(x));
            let found = f64::from(Real::exp(x));
            let bound = 2.0 * f64::from(f32::EPSILON) * expected;
            assert!((found - expected).abs() <= bound, "exp({x}): {found} {expected}");
            x += 0.0137;
        }
        assert_eq!(Real::exp(-1e30_f32), 0.0);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn logarithms_agree_with_libm() {
        let mut x = 1.2e-38_f32;
        while x < 1e38 {
            let expected = libm::log(f64::from(x));
            let bound = 2.0 * f64::from(f32::EPSILON) * expected.abs().max(1e-3);
            assert!((f64::from(Real::ln(x)) - expected).abs() <= bound, "ln({x})");
            x *= 1.0173;
        }
        assert_eq!((Real::ln(0.0_f32), Real::ln(0.0_f64)), (f32::NEG_INFINITY, f64::NEG_INFINITY));
        assert_eq!(Real::ln(1.0_f32), 0.0);
    }

    #[test]
    fn keys_have_the_order_of_the_numbers() {
        let numbers = [f32::NEG_INFINITY, -2.0, -1e-30, 0.0, 1e-40, 1.5, 3.0, f32::INFINITY];
        for pair in numbers.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
            assert!(f64::from(pair[0]).key() < f64::from(pair[1]).key(), "{pair:?}");
        }
        assert_eq!(((-0.0_f32).key(), (-0.0_f64).key()), (0.0_f32.key(), 0.0_f64.key()));
    }

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
