//! Problems of language models that learn.

use std::fmt;

use mixlet_core::optim::OptimError;

use super::Error;

/// Why a language model cannot learn as it was asked to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TrainingProblem {
    /// A batch says nothing of what is to be predicted.
    NoLabels,
    /// Routers' losses are to be counted by a softmax of gates, which has no gradient here.
    LossOfGates,
    /// Core rejected what an optimiser was given.
    Optimizer(OptimError),
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
            Self::Optimizer(error) => write!(f, "{error}"),
        }
    }
}

impl From<TrainingProblem> for Error {
    fn from(problem: TrainingProblem) -> Self {
        Self::Training(problem)
    }
}
