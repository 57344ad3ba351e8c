//! Problems inside a table file.

use std::fmt;
use std::path::PathBuf;

use super::shown::Source;
use super::{Quoted, RowsProblem, Shown, Typed, ValueProblem};

/// What can be wrong with a table file, or with one of its rows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TableProblem {
    /// The header lacks a column.
    MissingColumn {
        /// What the column is for, the key of `--columns`.
        role: &'static str,
        /// The name looked for.
        name: String,
        /// The names there are.
        header: Vec<String>,
        /// A column that stands for nothing yet and may be the one.
        candidate: Option<String>,
    },
    /// A column that is read comes twice.
    RepeatedColumn {
        /// Its name.
        name: String,
    },
    /// One column is to stand for two things.
    SharedColumn {
        /// Its name.
        name: String,
    },
    /// The file holds nothing but blank lines.
    EmptyFile,
    /// There is a header and no row.
    HeaderOnly,
    /// A row is shorter or longer than the header.
    FieldCount {
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// Bytes that are not UTF-8.
    NotUtf8 {
        /// The first of them, counted from 1 in its line.
        byte: usize,
    },
    /// An id or a label is the empty text.
    EmptyField {
        /// Its column.
        column: String,
    },
    /// A row is longer than readers accept.
    RowTooLong {
        /// The longest accepted row, in bytes.
        limit: usize,
    },
    /// A quoted field is not closed before the file ends or the longest accepted row does.
    UnterminatedQuote,
    /// There are more answers than 32-bit offsets can address.
    TooManyAnswers,
    /// `workers · labels` does not fit into 32 bits.
    TooManyCells {
        /// Number of workers.
        workers: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A worker answers a task again, and the rule is that nobody does.
    RepeatedPair {
        /// The task.
        task: String,
        /// The worker.
        worker: String,
        /// The line of the first answer.
        first_line: u64,
    },
    /// A label for a task without answers.
    UnknownTask {
        /// The task.
        task: String,
    },
    /// Two labels for one task.
    ConflictingLabels {
        /// The task.
        task: String,
        /// The label of this line.
        label: String,
        /// The label it had before.
        first: String,
        /// Where it had that label.
        first_line: u64,
    },
    /// A label outside a fixed set of labels.
    UnknownLabel {
        /// The label.
        label: String,
        /// Some of the labels there are.
        known: Vec<String>,
    },
    /// Labels for tasks of which none has an answer.
    NoSharedTask {
        /// The file of the answers, if they came from a file.
        answers: Option<PathBuf>,
    },
    /// Only the tasks in gold are wanted, and the gold file has no rows.
    NoGold,
    /// All answers, and all gold labels, say the same.
    OneClass {
        /// What they say.
        label: String,
    },
    /// Two sets of probabilities for one task.
    ConflictingProbabilities {
        /// The task.
        task: String,
        /// Where it was first.
        first_line: u64,
    },
    /// A file of workers lacks a column.
    NotWrittenHere {
        /// The column that is missing or out of place.
        name: String,
    },
    /// A worker comes twice in a file of workers.
    RepeatedWorker {
        /// The worker.
        worker: String,
        /// The line of the first row.
        first_line: u64,
    },
    /// A share and a number of answers whose product is more than there can be.
    TooManyEarlier {
        /// The columns of both.
        columns: [String; 2],
    },
    /// A field should hold a number that is not negative.
    NotANumber {
        /// Its column.
        column: String,
        /// What it holds.
        field: String,
    },
    /// The probabilities of a row are all zero.
    NoProbability,
    /// A column that was named is not there.
    NoColumn {
        /// Its name.
        name: String,
        /// The names there are.
        header: Vec<String>,
    },
    /// Every column is taken for something else than values.
    NoValueColumns,
    /// Columns without names, and not as many as a model has.
    OtherColumns {
        /// Columns of the file.
        found: usize,
        /// Columns of the model.
        expected: usize,
    },
    /// Something about a value.
    Value(ValueProblem),
    /// Something about rows of many columns, or what is known beside them.
    Rows(RowsProblem),
}

impl From<ValueProblem> for TableProblem {
    fn from(problem: ValueProblem) -> Self {
        Self::Value(problem)
    }
}

impl From<RowsProblem> for TableProblem {
    fn from(problem: RowsProblem) -> Self {
        Self::Rows(problem)
    }
}

impl fmt::Display for TableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingColumn { .. }
            | Self::RepeatedColumn { .. }
            | Self::SharedColumn { .. }
            | Self::NoColumn { .. }
            | Self::NoValueColumns
            | Self::OtherColumns { .. }
            | Self::EmptyFile
            | Self::HeaderOnly => self.fmt_header(f),
            Self::FieldCount { .. }
            | Self::NotUtf8 { .. }
            | Self::EmptyField { .. }
            | Self::RowTooLong { .. }
            | Self::UnterminatedQuote => self.fmt_row(f),
            Self::NotWrittenHere { .. }
            | Self::RepeatedWorker { .. }
            | Self::TooManyEarlier { .. }
            | Self::ConflictingProbabilities { .. }
            | Self::NotANumber { .. }
            | Self::NoProbability => self.fmt_numbers(f),
            Self::Value(problem) => write!(f, "{problem}"),
            Self::Rows(problem) => write!(f, "{problem}"),
            _ => self.fmt_crowd(f),
        }
    }
}

impl TableProblem {
    /// Problems of the header.
    fn fmt_header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingColumn { role, name, header, candidate } => {
                let candidate = Shown(candidate.as_deref().unwrap_or("NAME"), 80);
                let mapping = format!("{role}={candidate}");
                let header = header.join(",");
                write!(f, "no column {} among {}; ", Quoted(name), Quoted(&header))?;
                write!(f, "name it with --columns {}", Typed(&mapping))
            }
            Self::RepeatedColumn { name } => {
                write!(f, "two columns are named {}, expected one; rename the other", Quoted(name))
            }
            Self::SharedColumn { name } => {
                let name = Quoted(name);
                write!(f, "column {name} is to stand for two things; give each its own with --columns")
            }
            Self::NoColumn { name, header } => {
                let header = header.join(",");
                write!(f, "no column {} among {}; check the name", Quoted(name), Quoted(&header))
            }
            Self::NoValueColumns => write!(f, "no column is left to fit; leave fewer out"),
            Self::OtherColumns { found, expected } => {
                write!(
                    f,
                    "{found} columns, expected {expected} as in the model; check that both come from the same source"
                )
            }
            Self::EmptyFile => {
                write!(f, "the file is empty, expected a line of column names and rows below it")
            }
            _ => write!(f, "nothing but column names, expected rows below them; check how the file was made"),
        }
    }

    /// Problems of a row's form.
    fn fmt_row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldCount { found, expected } => {
                let (noun, remedy) = (if *found == 1 { "field" } else { "fields" }, found < expected);
                let remedy =
                    if remedy { "complete the row" } else { "quote fields that contain the delimiter" };
                write!(f, "{found} {noun}, expected {expected} as in the header; {remedy}")
            }
            Self::NotUtf8 { byte } => write!(f, "byte {byte} is not UTF-8; save the file as UTF-8"),
            Self::EmptyField { column } => {
                write!(f, "column {} is empty; fill it in or remove the row", Quoted(column))
            }
            Self::RowTooLong { limit } => {
                write!(f, "a row longer than {limit} bytes; check the line ends and quotes of the file")
            }
            _ => write!(
                f,
                "a quote opens in this row and does not close; close it, or double it where it is text"
            ),
        }
    }

    /// Problems of numbers that an earlier fit wrote.
    fn fmt_numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWrittenHere { name } => {
                let name = Quoted(name);
                write!(f, "no column {name} in its place, expected those that --workers writes: `worker`, ")?;
                write!(f, "`c_<true>_<answered>` for every two labels, `n_<true>` for every label")
            }
            Self::RepeatedWorker { worker, first_line } => {
                let worker = Quoted(worker);
                write!(f, "worker {worker} comes again, first on line {first_line}; keep one row")
            }
            Self::TooManyEarlier { columns: [share, total] } => {
                let (share, total) = (Quoted(share), Quoted(total));
                write!(f, "{share} times {total} makes more than 1e15 answers; correct the row or remove it")
            }
            Self::ConflictingProbabilities { task, first_line } => {
                let task = Quoted(task);
                write!(f, "task {task} has other probabilities here than on line {first_line}; keep one row")
            }
            Self::NotANumber { column, field } => {
                let (column, field) = (Quoted(column), Quoted(field));
                write!(f, "column {column} holds {field}, expected a number that is not negative")
            }
            _ => write!(
                f,
                "all probabilities are 0, expected one above; remove the row to start from the vote"
            ),
        }
    }

    /// Problems of what the rows say.
    fn fmt_crowd(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyAnswers => write!(f, "more than {} answers; split the file by task", u32::MAX),
            Self::TooManyCells { workers, labels } => write!(
                f,
                "{workers} workers times {labels} labels, expected a product below 2^32; \
                 check that the label column holds classes"
            ),
            Self::RepeatedPair { task, worker, first_line } => {
                let (task, worker) = (Quoted(task), Quoted(worker));
                write!(f, "worker {worker} answers task {task} again, first on line {first_line}; ")?;
                write!(f, "keep one row, or pass --repeats first, last or count")
            }
            Self::UnknownTask { task } => {
                let task = Quoted(task);
                write!(f, "task {task} has no answers; remove the row or pass --skip-unknown-gold")
            }
            Self::ConflictingLabels { task, label, first, first_line } => {
                let (task, label, first) = (Quoted(task), Quoted(label), Quoted(first));
                write!(f, "task {task} is {label} here and {first} on line {first_line}; keep one row")
            }
            Self::UnknownLabel { label, known } => {
                let known: Vec<String> = known.iter().map(|name| Quoted(name).to_string()).collect();
                let (label, known) = (Quoted(label), known.join(", "));
                write!(f, "unknown label {label}, expected one of {known}; correct it or remove the row")
            }
            Self::NoSharedTask { answers } => {
                let answers = answers.as_ref().map_or("the answers".into(), |path| Source(path).to_string());
                write!(f, "none of its tasks is among those of {answers}; check that both use the same ids")
            }
            Self::NoGold => write!(
                f,
                "nothing but column names, and --tasks gold reads only tasks in gold; \
                 add rows, or leave out --tasks gold"
            ),
            Self::OneClass { label } => write!(
                f,
                "every label is {}, expected at least two different ones; check the label column",
                Quoted(label)
            ),
            _ => Ok(()),
        }
    }
}
