//! What can go wrong in a fit.

use core::fmt;

/// What can go wrong in a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum EmError {
    /// A row has probability zero under every class.
    ImpossibleRow {
        /// The row.
        row: usize,
    },
    /// The objective is infinite or not a number: pseudocounts or counts are too large.
    NotFinite {
        /// The round.
        round: u32,
    },
    /// A slice's length is not what the shape says.
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A known class is out of range.
    KnownClass {
        /// The row.
        row: usize,
        /// The rejected class.
        class: u32,
        /// The number of classes.
        classes: usize,
    },
    /// The floor of probabilities is no positive number, or too large to keep.
    Floor {
        /// The rejected value.
        value: f64,
        /// The largest allowed value.
        most: f64,
    },
    /// The exponent of a step size is not above one half and at most one.
    StepExponent(f64),
    /// A pseudocount, weight or tolerance is negative or not a number.
    NotANonNegativeNumber {
        /// Which setting.
        what: &'static str,
        /// The rejected value.
        value: f64,
    },
}

impl fmt::Display for EmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ImpossibleRow { row } => {
                write!(f, "row {row} has probability zero under every class, expected a possible class")
            }
            Self::NotFinite { round } => {
                write!(
                    f,
                    "the objective of round {round} is not finite, expected smaller pseudocounts or counts"
                )
            }
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::KnownClass { row, class, classes } => {
                write!(f, "known class of row {row} is {class}, expected a value below {classes}")
            }
            Self::Floor { value, most } => {
                write!(f, "floor is {value}, expected a number above 0 and at most {most}")
            }
            Self::StepExponent(value) => {
                write!(f, "exponent of the step size is {value}, expected a number above 0.5 and at most 1")
            }
            Self::NotANonNegativeNumber { what, value } => {
                write!(f, "{what} is {value}, expected a number that is not negative")
            }
        }
    }
}

impl core::error::Error for EmError {}

pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), EmError> {
    if found == expected { Ok(()) } else { Err(EmError::Length { what, found, expected }) }
}

pub(crate) fn check_number(what: &'static str, value: f64) -> Result<(), EmError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(EmError::NotANonNegativeNumber { what, value })
    }
}
