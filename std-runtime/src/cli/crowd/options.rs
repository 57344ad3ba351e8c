//! The options of `mixlet crowd fit`, and what a fit takes of them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixlet_core::em::FitSettings;

use super::{Format, Gold, given};
use crate::cli::output::check_paths;
use crate::cli::{Common, usage};
use crate::crowd::fit::{Method, Pseudocount};
use crate::crowd::selection::Select;
use crate::error::{Error, Result};
use crate::output::is_standard_output;

/// Everything `mixlet crowd fit` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct FitOptions {
    /// Who said what: CSV or TSV, also gzip, with columns task, worker and label in any order;
    /// - is standard input
    #[arg(value_name = "ANSWERS")]
    pub answers: PathBuf,
    #[command(flatten)]
    pub gold: Gold,
    #[command(flatten)]
    pub format: Format,
    #[command(flatten)]
    pub knowledge: Knowledge,
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub outputs: Outputs,
    #[command(flatten)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet crowd fit answers.csv --labels labels.csv --workers workers.csv
  mixlet crowd fit answers.csv --gold gold.csv --select auto --report report.html
  mixlet crowd fit answers.tsv --columns task=item,worker=who,label=answer --ask-next next.csv
  mixlet crowd fit answers.csv --save crowd.json
  mixlet crowd fit answers.csv --pseudocount 0 --rounds 50     plain Dawid-Skene

An output that is called - goes to standard output.";

/// What is known before the answers are seen.
#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(in crate::cli) struct Knowledge {
    /// Labels that are known to be right (columns task and label): they take part in the fit
    #[arg(long, value_name = "FILE")]
    pub known_labels: Option<PathBuf>,
    /// What workers did before, as an earlier --workers wrote it
    #[arg(long, value_name = "FILE")]
    pub known_workers: Option<PathBuf>,
}

/// How labels are found.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub(in crate::cli) struct Model {
    /// How labels are found
    #[arg(long, value_enum, default_value_t = Method::DawidSkene)]
    pub method: Method,
    /// What is assumed about the shares of the classes [default: free]
    #[arg(long, value_enum)]
    pub prior: Option<Shares>,
    /// Where the fit starts: vote, spectral, random, or a file of labels as --labels writes it [default: vote]
    #[arg(long, value_name = "vote|spectral|random|FILE")]
    pub start: Option<StartOption>,
    /// Rounds at most [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Stop when the objective gains less than this share of its size; 0 does all rounds [default: 1e-7]
    #[arg(long, value_name = "X", value_parser = usage::not_negative, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// What workers are assumed to have answered before: like the crowd, or so many answers of each kind
    /// [default: pooled]
    #[arg(long, value_name = "pooled|S", value_parser = pseudocount, allow_negative_numbers = true)]
    pub pseudocount: Option<Pseudocount>,
    /// Whose answers speak: everybody's, as many as the answers justify, or the first N by information
    #[arg(long, value_name = "all|auto|N", default_value = "all", value_parser = select, allow_negative_numbers = true)]
    pub select: Select,
    /// Also compute how much dependence between workers the labels leave unexplained
    #[arg(long)]
    pub residue: bool,
}

/// Files to write.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Outputs {
    /// Write the label of every task, with the probability of every class
    #[arg(long, value_name = "OUT.csv")]
    pub labels: Option<PathBuf>,
    /// Write accuracy, information and confusion matrix of every worker
    #[arg(long, value_name = "OUT.csv")]
    pub workers: Option<PathBuf>,
    /// Write which tasks to ask again first
    #[arg(long, value_name = "OUT.csv")]
    pub ask_next: Option<PathBuf>,
    /// Save what was learned about the workers, for `mixlet crowd predict`
    #[arg(long, value_name = "MODEL")]
    pub save: Option<PathBuf>,
    /// Write one HTML page with pictures of all of it
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
}

/// Whether class shares are estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Shares {
    /// Estimated from the answers
    Free,
    /// Equal, whatever the answers say
    Uniform,
}

/// Where a fit starts, before files are read.
#[derive(Clone, Debug)]
pub(in crate::cli) enum StartOption {
    Vote,
    Spectral,
    Random,
    File(PathBuf),
}

impl std::str::FromStr for StartOption {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "vote" => Self::Vote,
            "spectral" => Self::Spectral,
            "random" => Self::Random,
            file => Self::File(file.into()),
        })
    }
}

fn pseudocount(text: &str) -> Result<Pseudocount, String> {
    match text {
        "pooled" => Ok(Pseudocount::Pooled),
        number => usage::not_negative(number)
            .map(Pseudocount::Constant)
            .map_err(|_| "expected `pooled` or a number that is not negative".to_owned()),
    }
}

fn select(text: &str) -> Result<Select, String> {
    match text {
        "all" => Ok(Select::All),
        "auto" => Ok(Select::Auto),
        number => usage::whole(number, u32::MAX as usize)
            .map(Select::First)
            .map_err(|_| "expected `all`, `auto` or a number of workers from 1 on".to_owned()),
    }
}

impl Model {
    /// Options that the method does not look at are a mistake.
    fn check(&self) -> Result<()> {
        let problem = match self.select {
            _ if self.method != Method::MajorityVote => return Ok(()),
            _ if self.pseudocount.is_some() => {
                "--method majority-vote assumes nothing about workers; leave out --pseudocount"
            }
            // Looking for the number of workers compares fits, whatever the method is.
            Select::Auto => return Ok(()),
            _ if self.prior.is_some() => {
                "--method majority-vote assumes nothing about classes; leave out --prior"
            }
            _ if self.start.is_some() => "--method majority-vote starts nowhere; leave out --start",
            _ if self.rounds.is_some() => "--method majority-vote has no rounds; leave out --rounds",
            _ if self.tolerance.is_some() => "--method majority-vote has no rounds; leave out --tolerance",
            _ => return Ok(()),
        };
        Err(Error::Options { problem })
    }
}

impl FitOptions {
    /// Makes sure that the options go together and that no file is lost.
    pub fn check(&self) -> Result<()> {
        self.gold.check()?;
        self.model.check()?;
        if self.knowledge.known_workers.is_some() && self.model.method != Method::DawidSkene {
            return Err(Error::Options {
                problem: "--known-workers needs --method dawid-skene: the other methods have no confusion matrices",
            });
        }
        let start = match &self.model.start {
            Some(StartOption::File(path)) => Some(path.clone()),
            _ => None,
        };
        let files = [&self.gold.gold, &self.knowledge.known_labels, &self.knowledge.known_workers, &start];
        let inputs: Vec<&Path> = given(files).chain([self.answers.as_path()]).collect();
        check_paths(&inputs, &self.outputs.paths(), self.common.json)
    }

    /// When the fit ends.
    pub fn settings(&self) -> FitSettings {
        let default = FitSettings::default();
        FitSettings {
            rounds: self.model.rounds.unwrap_or(default.rounds),
            tolerance: self.model.tolerance.unwrap_or(default.tolerance),
        }
    }
}

impl Outputs {
    /// The files that are to be written.
    pub fn paths(&self) -> Vec<&Path> {
        given([&self.labels, &self.workers, &self.ask_next, &self.save, &self.report]).collect()
    }

    /// Whether standard output is taken by one of them.
    pub fn take_standard_output(&self) -> bool {
        self.paths().into_iter().any(is_standard_output)
    }
}
