//! What can be wrong with an optimiser's settings or input.

use core::fmt;

/// What can be wrong with an optimiser's settings or input.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimError {
    /// A slice's length is not what the shape says.
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A setting is out of its range.
    Setting {
        /// Which setting.
        what: &'static str,
        /// The rejected value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A gradient is NaN or infinite.
    NonFinite {
        /// The tensor, in the order given.
        tensor: usize,
        /// The value's place in it.
        index: usize,
        /// The value.
        value: f32,
    },
}

impl fmt::Display for OptimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::Setting { what, value, expected } => write!(f, "{what} is {value}, expected {expected}"),
            Self::NonFinite { tensor, index, value } => {
                write!(f, "gradient {index} of tensor {tensor} is {value}, expected a finite number")
            }
        }
    }
}

impl core::error::Error for OptimError {}

pub(super) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), OptimError> {
    if found == expected { Ok(()) } else { Err(OptimError::Length { what, found, expected }) }
}

pub(super) fn check_setting(
    what: &'static str,
    value: f64,
    good: bool,
    expected: &'static str,
) -> Result<(), OptimError> {
    if good { Ok(()) } else { Err(OptimError::Setting { what, value, expected }) }
}

/// A number of `[0, 1)`.
pub(super) fn check_rate(what: &'static str, value: f64) -> Result<(), OptimError> {
    check_setting(what, value, (0.0..1.0).contains(&value), "a number of [0, 1)")
}

/// A finite number that is not negative.
pub(super) fn check_size(what: &'static str, value: f64) -> Result<(), OptimError> {
    check_setting(what, value, value >= 0.0 && value.is_finite(), "a number that is not negative")
}
