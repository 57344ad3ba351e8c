//! Problems of a file that should hold a saved model.

use std::fmt;

use super::Quoted;

/// What can be wrong with a saved model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelProblem {
    /// The file is something else.
    NotAModel {
        /// The command whose `fit --save` writes such a file.
        command: &'static str,
    },
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
    /// Two columns have one name.
    RepeatedColumn {
        /// The name.
        name: String,
    },
    /// The order of the workers does not name every worker once.
    Order,
}

impl fmt::Display for ModelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAModel { command } => {
                return write!(f, "not a model, expected a file written with `mixlet {command} fit --save`");
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
            Self::RepeatedColumn { name } => write!(f, "two columns of the model are named {}", Quoted(name)),
            Self::Order => write!(f, "the model's order of workers does not name every worker once"),
        }?;
        write!(f, "; save it again")
    }
}

impl ModelProblem {
    /// Checks that all values are probabilities and that every `step`-th of them sums to 1; the first is value `start`.
    pub(crate) fn check_sums(
        what: &'static str,
        values: &[f64],
        start: usize,
        step: usize,
    ) -> Result<(), Self> {
        if let Some(place) = values.iter().position(|value| !(0.0..=1.0 + 1e-9).contains(value)) {
            return Err(Self::NotAProbability { what, place: start + place, found: values[place] });
        }
        for first in 0..step {
            let found: f64 = values.iter().skip(first).step_by(step).sum();
            if (found - 1.0).abs() > 1e-6 {
                return Err(Self::Sum { what, place: start + first, found });
            }
        }
        Ok(())
    }
}
