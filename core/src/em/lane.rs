//! The numbers that tables of logarithms hold: one per class, side by side.

use core::fmt::Debug;
use core::ops::{AddAssign, SubAssign};

/// A number in a table: `f32` is fast, `f64` exact to the last digits. Sums over rows are `f64` with either.
pub trait Lane: sealed::Sealed + Copy + Default + Debug + AddAssign + SubAssign + Send + Sync {
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
}

impl Lane for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

impl Lane for f32 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is what single precision is")]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
