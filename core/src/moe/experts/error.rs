//! What can be wrong with a call of the experts.

use core::fmt;

use crate::matrix::ShapeError;

/// What can be wrong with a call of the experts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ExpertsError {
    /// A length does not fit.
    Shape(ShapeError),
    /// A gate matrix where the kind has none, or none where it has one.
    Gate {
        /// Whether the kind has one.
        expected: bool,
    },
    /// Expert offsets do not rise from 0 to the number of rows.
    Offsets {
        /// The number of rows.
        rows: usize,
    },
    /// A rate of dropout outside `0..1`.
    DropoutRate(f32),
}

impl fmt::Display for ExpertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Gate { expected: true } => {
                write!(f, "no gate matrix, expected one for this kind of network")
            }
            Self::Gate { expected: false } => {
                write!(f, "a gate matrix, expected none for this kind of network")
            }
            Self::Offsets { rows } => {
                write!(f, "expert offsets are wrong, expected them to rise from 0 to {rows}")
            }
            Self::DropoutRate(rate) => write!(f, "dropout rate is {rate}, expected a number of 0..1"),
        }
    }
}

impl core::error::Error for ExpertsError {}

impl From<ShapeError> for ExpertsError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}
