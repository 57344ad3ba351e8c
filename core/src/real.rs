//! The numbers that layers and routers compute in: `f32` in the network, `f64` where a test wants the formulas alone.

use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// `f32` or `f64`. Settings are `f64` and rounded once per call.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Minus infinity.
    const NEG_INFINITY: Self;
    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// `eˣ` for `x` up to 88; in `f32` without a branch, so that loops of it become vector code, and 0 below −87.
    fn exp(self) -> Self;
    /// The natural logarithm of a normal number, in `f32` without a branch; −∞ for 0 and below.
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
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "to round is what is asked for")]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    /// `x = n·ln 2 + r`, `|r| ≤ ln 2 / 2`, and `eʳ` by its series: the first term left out is below 5e-9.
    #[inline(always)]
    fn exp(self) -> Self {
        /// `1.5 · 2²³`: adding it rounds to an integer, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let shifted = self * core::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (self - n * LN2_HIGH) - n * LN2_LOW;
        let mut series = 1.0 / 5040.0;
        for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            series = series * r + inverse_factorial;
        }
        let power = Self::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
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
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        libm::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        if self > 0.0 { libm::log(self) } else { Self::NEG_INFINITY }
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

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exponentials_are_good_to_two_units_in_the_last_place() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (found, expected) = (Real::exp(x), libm::exp(f64::from(x)));
            let error = (f64::from(found) - expected).abs() / expected;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is {found}, expected {expected}");
            x += 0.00173;
        }
    }

    #[test]
    fn exponentials_of_what_is_no_number() {
        assert_eq!([f32::NEG_INFINITY, -1e30, -88.0, 0.0].map(Real::exp), [0.0, 0.0, 0.0, 1.0]);
        assert!(Real::exp(f32::NAN).is_nan());
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
}
