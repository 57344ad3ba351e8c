//! Problems of files that hold rows of many columns: of their values, and of arrays.

use std::fmt;

use super::Quoted;

/// What can be wrong with one value of a row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ValueProblem {
    /// A third value in a column that is to hold two.
    NotBinary {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// The two there are.
        known: Vec<String>,
    },
    /// A column has more different values than codes can number.
    TooManyCodes {
        /// The column.
        column: String,
        /// The largest number.
        most: usize,
    },
    /// A value that the model has never seen.
    UnknownCode {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// Some of those it knows.
        known: Vec<String>,
    },
    /// A value that should be a number.
    NotANumber {
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
    /// A number that is not whole, where no threshold makes it 0 or 1.
    NotWhole {
        /// The column.
        column: String,
        /// The number.
        value: f64,
    },
    /// A value is not text.
    NotUtf8,
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |known: &[String]| {
            known.iter().map(|name| Quoted(name).to_string()).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::NotBinary { column, value, known } => {
                let (column, value, known) = (Quoted(column), Quoted(value), listed(known));
                write!(f, "column {column} holds {value} beside {known}, expected two values; ")?;
                write!(f, "pass --family categorical, or --threshold X to compare numbers with X")
            }
            Self::TooManyCodes { column, most } => {
                let column = Quoted(column);
                write!(
                    f,
                    "column {column} holds more than {most} different values; leave it out with --ignore"
                )
            }
            Self::UnknownCode { column, value, known } => {
                let (column, value, known) = (Quoted(column), Quoted(value), listed(known));
                write!(
                    f,
                    "column {column} holds {value}, which the model has not seen, expected one of {known}; "
                )?;
                write!(f, "correct the value or leave it empty")
            }
            Self::NotANumber { column, value } => {
                let (column, value) = (Quoted(column), Quoted(value));
                write!(f, "column {column} holds {value}, expected a number; correct it or leave it empty")
            }
            Self::NotWhole { column, value } => {
                let column = Quoted(column);
                write!(
                    f,
                    "column {column} holds {value}, expected a whole number; pass --threshold X to compare with X"
                )
            }
            Self::NotUtf8 => write!(f, "a value is not UTF-8; save the file as UTF-8"),
        }
    }
}

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
    /// A column is named in a file that has no names.
    NoNames {
        /// The name.
        name: String,
    },
    /// A file of starts has more classes than are asked for.
    Classes {
        /// What it has.
        what: &'static str,
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
            Self::NoNames { name } => {
                write!(f, "its columns have no names, and there is no file {}; check the path", Quoted(name))
            }
            Self::Classes { what, found, expected } => {
                write!(
                    f,
                    "{found} {what}, expected at most {expected} as in --classes; name another file or number"
                )
            }
            Self::Rows { what, found, expected } => {
                write!(
                    f,
                    "{found} {what}, expected {expected}, one per row; check that both files belong together"
                )
            }
            _ => Ok(()),
        }
    }
}
