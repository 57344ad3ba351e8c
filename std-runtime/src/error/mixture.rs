//! Problems of rows that a mixture is to be fitted to.

use std::fmt;

use crate::report::number::things;

/// Why rows cannot be fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MixtureProblem {
    /// More classes than rows.
    Classes {
        /// How many were asked for.
        asked: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// No column holds two values.
    AllConstant {
        /// Number of columns.
        columns: usize,
    },
}

impl fmt::Display for MixtureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Classes { asked, rows } => {
                let rows = things(rows, "row");
                write!(f, "{asked} classes of {rows}, expected no more classes than rows; lower --classes")
            }
            Self::AllConstant { columns } => {
                let columns = things(columns, "column");
                write!(
                    f,
                    "nothing in {columns} tells rows apart: each holds one value only; check the file"
                )?;
                write!(f, ", or compare numbers with --threshold")
            }
        }
    }
}
