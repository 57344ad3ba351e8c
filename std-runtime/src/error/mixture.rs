//! Problems of rows that a mixture is to be fitted to.

use std::fmt;

use crate::report::number::things;

/// Why rows cannot be fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MixtureProblem {
    /// More classes than rows.
    Classes {
        /// How many were asked for.
        asked: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// More columns than there are.
    Select {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        columns: usize,
    },
    /// No column depends on the others beyond chance.
    NothingDepends {
        /// Number of columns.
        columns: usize,
    },
    /// Sides of a picture that the columns do not fill.
    Picture {
        /// Its height.
        height: usize,
        /// Its width.
        width: usize,
        /// Number of columns.
        columns: usize,
    },
    /// All weights are zero.
    NoWeight {
        /// How many rows there are.
        rows: usize,
    },
    /// The weights sum to more than can be counted in.
    TooMuchWeight {
        /// Their sum.
        total: f64,
        /// The largest that is accepted.
        most: f64,
    },
    /// No column holds two values.
    AllConstant {
        /// Number of columns.
        columns: usize,
        /// What numbers were compared with; for idx a share of the range.
        threshold: Option<f64>,
    },
}

impl fmt::Display for MixtureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Classes { asked, rows } => {
                let rows = things(rows, "row");
                write!(f, "{asked} classes of {rows}, expected no more classes than rows; lower --classes")
            }
            Self::Select { asked, columns } => {
                write!(f, "--select asks for {asked} columns, expected 1 to {columns}, or `auto`")
            }
            Self::NothingDepends { columns } => {
                let columns = things(columns, "column");
                write!(
                    f,
                    "none of {columns} depends on the others beyond chance, so there are no classes to find; "
                )?;
                write!(f, "leave out --select to look for them all the same")
            }
            Self::Picture { height, width, columns } => {
                let columns = things(columns, "column");
                write!(
                    f,
                    "--image {height}x{width} does not fit {columns}, expected sides whose product that is"
                )
            }
            Self::NoWeight { rows } => {
                let rows = things(rows, "row");
                write!(
                    f,
                    "--weights gives every one of {rows} a weight of 0, expected some above; check the weights"
                )
            }
            Self::TooMuchWeight { total, most } => {
                write!(f, "the weights add up to {total:e}, expected at most {most:e}; ")?;
                write!(f, "divide all of them by the same number")
            }
            Self::AllConstant { columns, threshold } => {
                let columns = things(columns, "column");
                write!(f, "nothing in {columns} tells rows apart: ")?;
                match threshold {
                    Some(threshold) => {
                        write!(f, "all numbers of each lie on one side of {threshold}; ")?;
                        write!(f, "pass another --threshold")
                    }
                    None => write!(f, "none holds two different values; check the file"),
                }
            }
        }
    }
}
