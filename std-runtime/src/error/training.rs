//! Problems of language models that learn.

use std::fmt;

use super::Error;

/// Why a language model cannot learn as it was asked to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TrainingProblem {
    /// A batch says nothing of what is to be predicted.
    NoLabels,
    /// Routers' losses are to be counted by a softmax of gates, which has no gradient here.
    LossOfGates,
}

impl fmt::Display for TrainingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLabels => write!(f, "the batch has no labels; give the ids that are to be predicted"),
            Self::LossOfGates => write!(
                f,
                "the losses of these routers are counted by a softmax of gates, which cannot be learned from; count \
                 them as transformers-5"
            ),
        }
    }
}

impl From<TrainingProblem> for Error {
    fn from(problem: TrainingProblem) -> Self {
        Self::Training(problem)
    }
}
