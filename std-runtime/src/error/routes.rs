//! Problems of recorded routes.

use std::fmt;

/// Why recorded routes cannot be taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoutesProblem {
    /// The file holds something else.
    NotRoutes,
    /// They were recorded with a model of other sizes.
    OtherModel,
    /// They were recorded with the same kind of model, whose routers had other weights.
    OtherRouters,
    /// They are of another number of sequences.
    Sequences {
        /// The number.
        found: usize,
        /// Sequences to be run.
        expected: usize,
    },
    /// They are of sequences of another length.
    Tokens {
        /// The stack.
        stack: &'static str,
        /// Tokens of a recorded sequence.
        found: usize,
        /// Tokens of a sequence to be run.
        expected: usize,
    },
}

impl fmt::Display for RoutesProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoutes => write!(f, "no record of routes, expected a file written with --record"),
            Self::OtherModel => {
                write!(f, "routes of another model, expected those of a model of these sizes")
            }
            Self::OtherRouters => {
                write!(f, "routes of routers with other weights; take them all the same, with --any-routers")
            }
            Self::Sequences { found, expected } => {
                write!(f, "routes of {found} sequences, expected {expected}; record them with the same input")
            }
            Self::Tokens { stack, found, expected } => write!(
                f,
                "routes of {found} tokens of a sequence in the {stack}, expected {expected}; record them with the same input"
            ),
        }
    }
}
