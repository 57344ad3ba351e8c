//! Problems of a file that should hold a saved model.

use std::fmt;

use super::Quoted;

/// What can be wrong with a saved model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelProblem {
    /// The file is something else.
    NotAModel,
    /// The model was written by another version.
    Version {
        /// Its version.
        found: u64,
        /// The version that can be read.
        expected: u64,
    },
    /// Parts are missing or of the wrong kind.
    Damaged {
        /// What the parser found.
        reason: String,
    },
    /// A part has the wrong length.
    Length {
        /// Which part.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A number is no probability.
    NotAProbability {
        /// Which part.
        what: &'static str,
        /// Its place, from 0.
        place: usize,
        /// The number.
        found: f64,
    },
    /// Probabilities do not sum to 1.
    Sum {
        /// Which part.
        what: &'static str,
        /// The place of the first of them, from 0.
        place: usize,
        /// Their sum.
        found: f64,
    },
    /// The order of the workers does not name every worker once.
    Order,
}

impl fmt::Display for ModelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAModel => {
                return write!(f, "not a model, expected a file written with `mixlet crowd fit --save`");
            }
            Self::Version { found, expected } => {
                let remedy = "save it again with this mixlet";
                return write!(f, "version {found} of the model file, expected {expected}; {remedy}");
            }
            Self::Damaged { reason } => write!(f, "damaged model ({})", Quoted(reason)),
            Self::Length { what, found, expected } => {
                write!(f, "{what} of the model holds {found} values, expected {expected}")
            }
            Self::NotAProbability { what, place, found } => {
                write!(f, "value {place} of {what} is {found}, expected a probability")
            }
            Self::Sum { what, place, found } => {
                write!(f, "the probabilities from value {place} of {what} sum to {found}, expected 1")
            }
            Self::Order => write!(f, "the model's order of workers does not name every worker once"),
        }?;
        write!(f, "; save it again")
    }
}
