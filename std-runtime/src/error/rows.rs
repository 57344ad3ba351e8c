//! Problems of files that hold rows of many columns, and of their values.

use std::fmt;

use super::Quoted;
use super::array::fmt_no_number;

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
    /// A number that cannot say how often a row counts.
    NotAWeight {
        /// The column.
        column: String,
        /// The number.
        value: f64,
    },
    /// A value is not text.
    NotUtf8,
    /// A value with a NUL byte, which no text has.
    Nul {
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
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
            Self::NotAWeight { column, value } => {
                let column = Quoted(column);
                write!(f, "column {column} holds {value}, expected a number that is not negative")
            }
            Self::NotUtf8 => write!(f, "a value is not UTF-8; save the file as UTF-8"),
            Self::Nul { column, value } => {
                let (column, value) = (Quoted(column), Quoted(value));
                write!(f, "column {column} holds {value}, which has a NUL byte and is no text; ")?;
                write!(f, "save the file as UTF-8, or make it again")
            }
        }
    }
}

/// What can be wrong with a table of rows, or with one of what is known beside them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowsProblem {
    /// A column that stands for classes or weights is not there, nor a file of its name.
    NeitherFileNorColumn {
        /// Its name.
        name: String,
        /// The names there are.
        header: Vec<String>,
    },
    /// Columns without names are called by numbers, and this is none of them.
    NoNumber {
        /// What was asked for.
        name: String,
        /// Number of columns.
        width: usize,
    },
    /// A number that is the name of another column.
    NameOrNumber {
        /// The name.
        name: String,
    },
    /// No column of the model is there.
    NoNames {
        /// The first of them.
        name: String,
        /// The names there are.
        header: Vec<String>,
    },
    /// A line is about no row.
    NoRow {
        /// What it says.
        found: String,
        /// Number of rows.
        rows: usize,
    },
    /// Two lines are about one row.
    RepeatedRow {
        /// The row.
        row: usize,
        /// The line of the first.
        first_line: u64,
    },
    /// All shares of a row that EM is to start from are zero.
    NoShare {
        /// Number of classes.
        classes: usize,
    },
    /// Shares to start from of another number of classes than are asked for.
    OtherClasses {
        /// How many there are.
        found: usize,
        /// How many are asked for.
        expected: usize,
    },
}

impl fmt::Display for RowsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeitherFileNorColumn { name, header } => {
                let (name, header) = (Quoted(name), header.join(","));
                write!(f, "no column {name} among {}, and no file of that name; ", Quoted(&header))?;
                write!(f, "check the spelling")
            }
            Self::NoNumber { name, width } => fmt_no_number(f, name, *width),
            Self::NameOrNumber { name } => {
                let name = Quoted(name);
                write!(f, "{name} is the name of one column and the number of another; ")?;
                write!(f, "pass --header yes to go by names, or --header no if there are none")
            }
            Self::NoNames { name, header } => {
                let (name, header) = (Quoted(name), header.join(","));
                write!(f, "none of the model's columns, such as {name}, is among {}; ", Quoted(&header))?;
                write!(f, "name the columns in the first line")
            }
            Self::NoRow { found, rows } => {
                let (found, last) = (Quoted(found), rows.saturating_sub(1));
                write!(f, "column `row` holds {found}, expected a number from 0 to {last}; ")?;
                write!(f, "rename the column if the lines are in the order of the rows")
            }
            Self::RepeatedRow { row, first_line } => {
                write!(f, "row {row} comes again, first on line {first_line}; keep one line")
            }
            Self::NoShare { classes } => {
                let last = classes.saturating_sub(1);
                write!(f, "all of `p_0` to `p_{last}` are 0, expected one above; ")?;
                write!(f, "write equal shares for a row without a class")
            }
            Self::OtherClasses { found, expected } => {
                let columns = if *found == 1 { "column" } else { "columns" };
                write!(
                    f,
                    "{found} {columns} of shares, from `p_0` on, expected {expected} as in --classes; "
                )?;
                write!(f, "pass --classes {found}, or another file")
            }
        }
    }
}
