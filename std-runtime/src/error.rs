//! The one error of the runtime: what it was, in which file and line, what was expected, what to do.
//!
//! Variants hold values, never finished sentences; [`Display`](fmt::Display) alone knows the words.
//! Problems inside a table file have their own enum, [`TableProblem`], so that a reader names only
//! the problem and the place is added once.

mod array;
mod eval;
mod lm;
mod mixture;
mod model;
mod routes;
mod rows;
mod shown;
mod table;
mod text;
mod training;

use std::fmt;
use std::io;
use std::path::PathBuf;

use mixlet_core::em::EmError;
use mixlet_core::em::spectral::SpectralError;
use mixlet_core::observations::{AnswersError, RowsError};

use crate::crowd::generate::CrowdSpecError;
use crate::report::PictureError;

pub use array::ArrayProblem;
pub use eval::EvalProblem;
pub use lm::{ConfigProblem, LmProblem, TensorProblem};
pub use mixture::MixtureProblem;
pub use model::ModelProblem;
pub use routes::RoutesProblem;
pub use rows::{RowsProblem, ValueProblem};
use shown::Source;
pub use shown::{Quoted, Shown, Typed};
pub use table::TableProblem;
pub use text::{PromptPlace, TextProblem};
pub use training::TrainingProblem;

/// The result of everything in the runtime that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the runtime.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to work on a file.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb: "open", "read", "write".
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A gzip file is cut short or damaged.
    DamagedGz {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: io::Error,
    },
    /// A table file does not hold what was expected.
    Table {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; `None` if the whole file is meant.
        line: Option<u64>,
        /// What is wrong there.
        problem: Box<TableProblem>,
    },
    /// A file does not hold the array that was expected.
    Array {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ArrayProblem,
    },
    /// A part of `--columns` is not `KEY=NAME` with one of the four keys, or comes twice.
    ColumnMapping {
        /// The rejected part.
        given: String,
    },
    /// Only the tasks in gold were asked for, without gold.
    GoldNeeded,
    /// The same worker answers a task twice in arrays that may not hold repeats.
    RepeatedAnswer {
        /// The task.
        task: u32,
        /// The worker.
        worker: u32,
    },
    /// Something would take more memory than it is allowed to.
    Memory {
        /// What need the memory, in the plural.
        what: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes it may take.
        limit: u64,
        /// What makes it smaller.
        remedy: &'static str,
    },
    /// Core rejected the rows.
    Rows(RowsError),
    /// Core rejected the answers.
    Answers(AnswersError),
    /// A fit was asked for with settings or input it cannot use.
    Em(EmError),
    /// More workers were to be selected than there are, or none.
    Select {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        workers: usize,
    },
    /// Rows that no mixture can be fitted to.
    Mixture(MixtureProblem),
    /// The spectral start found nothing to start from.
    Spectral(SpectralError),
    /// Options that do not go together.
    Options {
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// An output would replace an input or another output.
    Overwrites {
        /// The output.
        path: PathBuf,
        /// What it would replace: "an input" or "another output".
        what: &'static str,
    },
    /// A file does not hold a model that can be used.
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ModelProblem,
    },
    /// The configuration of a language model cannot be used.
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ConfigProblem,
    },
    /// A file of tensors, or a folder of them, does not hold what was expected.
    Tensor {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// A file does not hold what a language model could be evaluated on.
    Eval {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; `None` if the whole file is meant.
        line: Option<usize>,
        /// What is wrong there.
        problem: EvalProblem,
    },
    /// There is no folder and no known model of a name.
    Preset {
        /// The name.
        found: String,
    },
    /// A language model was asked for something it cannot do.
    Lm(LmProblem),
    /// Text cannot go to a language model, or come from it.
    Text {
        /// The file or folder of its tokenizer.
        path: PathBuf,
        /// What is wrong.
        problem: TextProblem,
    },
    /// A prompt or a chat cannot be written on from.
    Prompt {
        /// Which one.
        place: PromptPlace,
        /// Why.
        problem: Box<Error>,
    },
    /// A language model cannot learn as it was asked to.
    Training(TrainingProblem),
    /// The system gave no threads.
    Threads {
        /// How many were asked for; 0 stands for one per core.
        asked: usize,
        /// Its reason.
        reason: String,
    },
    /// A synthetic crowd was asked for that cannot be.
    CrowdSpec(CrowdSpecError),
    /// A picture of a report could not be drawn.
    Picture(PictureError),
}

impl Error {
    /// Whether the command line, and no file or system, is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Options { .. } | Self::GoldNeeded | Self::ColumnMapping { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, what, source } => {
                let remedy = io_remedy(what, source.kind());
                match *what {
                    "read" => write!(f, "{}: cannot read: {source}{remedy}", Source(path)),
                    _ => write!(f, "{}: cannot {what}: {source}{remedy}", path.display()),
                }
            }
            Self::DamagedGz { path, source } => {
                write!(f, "{}: damaged gzip data ({source}); copy or compress the file again", Source(path))
            }
            Self::Table { path, line: Some(line), problem } => {
                write!(f, "{}:{line}: {problem}", Source(path))
            }
            Self::Table { path, line: None, problem } => write!(f, "{}: {problem}", Source(path)),
            Self::Array { path, problem } => write!(f, "{}: {problem}", Source(path)),
            Self::ColumnMapping { given } => write!(
                f,
                "--columns has {}, expected task=NAME, worker=NAME, label=NAME and gold=NAME, each at most \
                 once, separated by commas",
                Quoted(given)
            ),
            Self::GoldNeeded => write!(f, "--tasks gold needs gold labels; name their file with --gold"),
            Self::RepeatedAnswer { task, worker } => write!(
                f,
                "worker {worker} answers task {task} more than once; keep one answer, or choose the rule \
                 `first`, `last` or `count`"
            ),
            Self::Memory { what, needed, limit, remedy } => {
                let gib = |bytes: &u64| *bytes as f64 / f64::from(1 << 30);
                let (needed, limit) = (gib(needed), gib(limit));
                write!(f, "{what} need {needed:.1} GiB of memory, expected at most {limit:.1} GiB; {remedy}")
            }
            Self::Answers(error) => write!(f, "{error}"),
            Self::Rows(error) => write!(f, "{error}"),
            Self::Em(error) => write!(f, "{error}"),
            Self::Select { asked, workers } => {
                write!(f, "--select asks for {asked} workers, expected 1 to {workers}, `auto` or `all`")
            }
            Self::Spectral(error) => {
                write!(f, "no spectral start: {error}; start from the vote, with --start vote")
            }
            _ => self.fmt_command(f),
        }
    }
}

impl Error {
    /// What can go wrong around a command.
    fn fmt_command(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options { problem } => write!(f, "{problem}"),
            Self::Overwrites { path, what } => {
                write!(f, "{}: the output would replace {what}; name another path", path.display())
            }
            Self::Model { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::Config { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::Tensor { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::Eval { path, line: Some(line), problem } => write!(f, "{}:{line}: {problem}", Source(path)),
            Self::Eval { path, line: None, problem } => write!(f, "{}: {problem}", Source(path)),
            Self::Preset { found } => write!(
                f,
                "there is no folder {}, nor a model of that name; `mixlet lm info presets` lists the names",
                Quoted(found)
            ),
            Self::Lm(problem) => write!(f, "{problem}"),
            Self::Text { path, problem } => match problem.line() {
                Some(line) => write!(f, "{}:{line}: {problem}", Source(path)),
                None => write!(f, "{}: {problem}", path.display()),
            },
            Self::Prompt { place, problem } => write!(f, "{place}: {problem}"),
            Self::Training(problem) => write!(f, "{problem}"),
            Self::Threads { asked, reason } => {
                write!(f, "cannot start {asked} threads: {reason}; ask for fewer with --threads")
            }
            Self::Mixture(problem) => write!(f, "{problem}"),
            Self::CrowdSpec(error) => write!(f, "{error}"),
            Self::Picture(error) => write!(f, "{error}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::DamagedGz { source, .. } => Some(source),
            Self::Answers(error) => Some(error),
            Self::Rows(error) => Some(error),
            Self::Em(error) => Some(error),
            Self::Spectral(error) => Some(error),
            Self::CrowdSpec(error) => Some(error),
            Self::Picture(error) => Some(error),
            Self::Prompt { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

impl From<AnswersError> for Error {
    fn from(error: AnswersError) -> Self {
        Self::Answers(error)
    }
}

impl From<RowsError> for Error {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

impl From<EmError> for Error {
    fn from(error: EmError) -> Self {
        Self::Em(error)
    }
}

impl From<CrowdSpecError> for Error {
    fn from(error: CrowdSpecError) -> Self {
        Self::CrowdSpec(error)
    }
}

impl From<PictureError> for Error {
    fn from(error: PictureError) -> Self {
        Self::Picture(error)
    }
}

impl From<SpectralError> for Error {
    fn from(error: SpectralError) -> Self {
        Self::Spectral(error)
    }
}

/// What to do about a refusal of the system; empty where its own words say it all.
fn io_remedy(what: &str, kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound if what == "open" => "; check the path",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; create its directory first",
        io::ErrorKind::PermissionDenied => "; change its permissions or name another path",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space or name another path",
        io::ErrorKind::ReadOnlyFilesystem => "; name a path that can be written",
        io::ErrorKind::IsADirectory => "; name a file in it",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_it_was_and_the_remedy() {
        let io = |what, kind: io::ErrorKind| Error::Io { path: "a.csv".into(), what, source: kind.into() };
        let cases = [
            (io("open", io::ErrorKind::NotFound), "a.csv: cannot open: entity not found; check the path"),
            (
                io("write", io::ErrorKind::StorageFull),
                "a.csv: cannot write: no storage space; free some space or name another path",
            ),
            (
                Error::Memory { what: "the pair tables", needed: 3 << 30, limit: 1 << 30, remedy: "select" },
                "the pair tables need 3.0 GiB of memory, expected at most 1.0 GiB; select",
            ),
            (AnswersError::NoLabels.into(), "there are no labels, expected at least one"),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
        }
    }
}
