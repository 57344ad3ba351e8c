//! What can be wrong with answers.

use core::fmt;

/// What can be wrong with answers handed to [`Answers::new`](super::Answers::new), [`group_by_task`](super::group_by_task()) or
/// [`WorkerTasks::fill`](super::WorkerTasks::fill).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswersError {
    /// There are no labels.
    NoLabels,
    /// `workers · labels` does not fit into 32 bits.
    TooManyCells {
        /// Number of workers.
        workers: u32,
        /// Number of labels.
        labels: u32,
    },
    /// More answers than 32-bit offsets can address.
    TooManyAnswers(usize),
    /// An array's length is not what the others imply.
    Length {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// An offset is smaller than the one before it or larger than the number of answers, or the first is not 0.
    Offset {
        /// The task it belongs to.
        task: usize,
    },
    /// A task, worker, label or cell is out of range.
    OutOfRange {
        /// Which of them.
        what: &'static str,
        /// The position of the answer.
        answer: usize,
        /// The rejected value.
        found: u32,
        /// The number of values there are.
        count: u32,
    },
}

impl fmt::Display for AnswersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoLabels => write!(f, "there are no labels, expected at least one"),
            Self::TooManyCells { workers, labels } => {
                write!(f, "{workers} workers times {labels} labels, expected a product below 2^32")
            }
            Self::TooManyAnswers(found) => write!(f, "there are {found} answers, expected fewer than 2^32"),
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::Offset { task } => {
                write!(
                    f,
                    "offset of task {task} is out of order, expected offsets that rise from 0 to the number of answers"
                )
            }
            Self::OutOfRange { what, answer, found, count } => {
                write!(f, "{what} of answer {answer} is {found}, expected a value below {count}")
            }
        }
    }
}

impl core::error::Error for AnswersError {}

/// What can be wrong with rows handed to [`PackedRows`](super::PackedRows) or [`Codes`](super::Codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowsError {
    /// More values than memory can address.
    TooLarge {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        columns: usize,
    },
    /// An array's length is not what the others imply.
    Length {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A bit is set beyond the last column.
    BitBeyondColumns {
        /// Which array.
        what: &'static str,
        /// The row.
        row: usize,
    },
    /// A bit is set where the value is missing.
    ValueWhereMissing {
        /// The row.
        row: usize,
    },
    /// There are no level offsets, or the first is not 0.
    FirstOffset,
    /// A column has no codes.
    NoLevels {
        /// The column.
        column: usize,
    },
    /// A code is out of range.
    Code {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The rejected code.
        code: u16,
        /// The number of codes of the column.
        levels: u32,
    },
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { rows, columns } => {
                write!(f, "{rows} rows of {columns} columns, expected what memory can address")
            }
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::BitBeyondColumns { what, row } => {
                write!(f, "row {row} of {what} has a bit set beyond the last column, expected zeros there")
            }
            Self::ValueWhereMissing { row } => {
                write!(f, "row {row} has a bit set where the value is missing, expected zeros there")
            }
            Self::FirstOffset => write!(f, "the level offsets do not start at 0"),
            Self::NoLevels { column } => write!(f, "column {column} has no codes, expected at least one"),
            Self::Code { row, column, code, levels } => {
                write!(f, "row {row}, column {column} holds code {code}, expected a code below {levels}")
            }
        }
    }
}

impl core::error::Error for RowsError {}
