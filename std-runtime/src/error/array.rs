//! Problems of files that hold an array: `.npy` or idx.

use std::fmt;

use super::{Quoted, ValueProblem};
use crate::report::number::things;

/// What can be wrong with a file that holds an array: `.npy` or idx.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ArrayProblem {
    /// The first bytes are not those of the format that the name promises.
    WrongMagic {
        /// The format.
        format: &'static str,
        /// The first bytes.
        head: Vec<u8>,
    },
    /// Values of a type that is not read.
    ElementType {
        /// As the file writes it.
        found: String,
        /// Those that are read.
        expected: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// An array with another number of dimensions.
    Dimensions {
        /// Its number.
        found: usize,
        /// What is read.
        expected: &'static str,
    },
    /// An array without rows, or without columns.
    Empty {
        /// Its lengths.
        shape: Vec<usize>,
    },
    /// Columns lie together, not rows.
    FortranOrder,
    /// A version of the format that is not read.
    Version {
        /// Its number.
        found: [u8; 2],
    },
    /// The header cannot be understood.
    Header {
        /// The header, or its start.
        found: String,
    },
    /// The file ends before its array does.
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The file goes on behind its array.
    TooLong {
        /// Bytes there should be.
        expected: u64,
    },
    /// More values than memory can address.
    TooLarge {
        /// The lengths.
        shape: Vec<usize>,
    },
    /// Something about a value.
    Value {
        /// Its row, from 0.
        row: usize,
        /// What is wrong.
        problem: ValueProblem,
    },
    /// Another number of columns than the model has.
    Columns {
        /// Columns of the file.
        found: usize,
        /// Columns of the model.
        expected: usize,
    },
    /// A threshold for pixels that is no share of their range.
    Threshold {
        /// The threshold.
        found: f64,
    },
    /// Columns without names are called by numbers, and this is none of them.
    NoNumber {
        /// What was asked for.
        name: String,
        /// Number of columns.
        width: usize,
    },
    /// Every column is taken for something else than values.
    NoValueColumns {
        /// Number of columns.
        width: usize,
    },
    /// A file of starts has another number of classes than are asked for.
    Classes {
        /// How many.
        found: usize,
        /// How many are asked for.
        expected: usize,
    },
    /// A side file has not one value per row.
    Rows {
        /// What it holds.
        what: &'static str,
        /// Its values.
        found: usize,
        /// The rows.
        expected: usize,
        /// The first line, where it was taken for the name of the column and might be a value.
        below: Option<String>,
    },
    /// A side file that says which row its lines are about lacks one.
    MissingRow {
        /// What it holds.
        what: &'static str,
        /// The first row that lacks.
        row: usize,
        /// Number of rows.
        rows: usize,
    },
}

impl fmt::Display for ArrayProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongMagic { format, head } => {
                let head: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(
                    f,
                    "begins with {}, which is not {format}; rename the file after what it is",
                    head.join(" ")
                )
            }
            Self::ElementType { found, expected, remedy } => {
                write!(f, "holds values of type {}, expected {expected}; {remedy}", Quoted(found))
            }
            Self::Dimensions { found, expected } => {
                let noun = if *found == 1 { "dimension" } else { "dimensions" };
                write!(f, "an array of {found} {noun}, expected {expected}; reshape it, rows first")
            }
            Self::Empty { shape } => {
                write!(f, "an array of shape {shape:?} holds no values; check how it was made")
            }
            Self::FortranOrder => write!(
                f,
                "the array is stored column by column (Fortran order), expected row by row; \
                 save numpy.ascontiguousarray(array)"
            ),
            Self::Version { found: [major, minor] } => {
                write!(
                    f,
                    "version {major}.{minor} of the .npy format, expected 1.0, 2.0 or 3.0; save it with numpy.save"
                )
            }
            Self::Header { found } => {
                write!(
                    f,
                    "the header {} cannot be read, expected that of numpy.save; save the array again",
                    Quoted(found)
                )
            }
            _ => self.fmt_lengths(f),
        }
    }
}

impl ArrayProblem {
    /// Problems of lengths.
    fn fmt_lengths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { found, expected } => {
                write!(f, "the file ends after {found} bytes, expected {expected}; copy or make it again")
            }
            Self::TooLong { expected } => {
                write!(f, "the file goes on behind its array of {expected} bytes; copy or make it again")
            }
            Self::TooLarge { shape } => {
                write!(f, "an array of shape {shape:?} is more than memory can address; split it")
            }
            Self::Value { row, problem } => write!(f, "row {row}: {problem}"),
            Self::Columns { found, expected } => {
                write!(
                    f,
                    "{found} columns, expected {expected} as in the model; check that both come from the same source"
                )
            }
            Self::Threshold { found } => {
                write!(f, "--threshold {found} is no share of the range of pixels, expected 0 to below 1; ")?;
                write!(f, "divide a shade by 255")
            }
            Self::NoNumber { name, width } => fmt_no_number(f, name, *width),
            Self::NoValueColumns { width } => {
                write!(f, "none of {} is left to fit; leave fewer out", things(*width, "column"))
            }
            Self::Classes { found, expected } => {
                write!(
                    f,
                    "{found} different classes, expected {expected} as in --classes; name another file or number"
                )
            }
            Self::Rows { what, found, expected, below } => {
                let found = things(*found, "row");
                let below = below.as_ref().map(|name| format!(" below its name {}", Quoted(name)));
                let below = below.unwrap_or_default();
                write!(f, "holds {what} of {found}{below}, expected {expected}; ")?;
                write!(f, "check that both files belong together")
            }
            Self::MissingRow { what, row, rows } => {
                write!(f, "holds {what} of other rows, but not of row {row}, expected all of {rows}; ")?;
                write!(f, "add a line for it")
            }
            _ => Ok(()),
        }
    }
}

/// A column that is not there, where columns have no names.
pub(super) fn fmt_no_number(f: &mut fmt::Formatter<'_>, name: &str, width: usize) -> fmt::Result {
    let (name, last) = (Quoted(name), width.saturating_sub(1));
    write!(f, "no column {name}: its columns have no names, and numbers from 0 to {last}; ")?;
    write!(f, "name one of these, or check the path")
}
