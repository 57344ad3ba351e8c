//! The numbers that layers compute in: `f32`, and `f64` for checking gradients.

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
    /// Minus infinity.
    const NEG_INFINITY: Self;
    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// `eˣ` for `x` up to 88, without a branch: below −87 it is 0.
    fn exp(self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
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

    #[inline(always)]
    fn exp(self) -> Self {
        /// `1.5 · 2²³`: adding it rounds to an integer, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        /// `ln 2` in two parts: small multiples of the first are exact.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
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
}

impl Real for f64 {
    const ZERO: Self = 0.0;
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
}
