//! The options of `mixlet mixture fit`, and what a fit takes of them.

mod values;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::Args;
use mixlet_core::em::FitSettings;

use crate::cli::output::check_paths;
use crate::cli::{Common, usage};
use crate::error::{Error, Result};
use crate::mixture::fit::{self, Start};
use crate::mixture::pairs::pair_count;
use crate::mixture::tree::{RefineOptions, TreeOptions};
use crate::mixture::{Method, Select};
use crate::output::is_standard_output;
use crate::report::number::{count, things};
use crate::rows::{Family, Header, ReadOptions};
use values::{classes, depth, picture, restarts, rounds, select};

pub(in crate::cli) use values::{Side, StartOption};

/// Everything `mixlet mixture fit` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct FitOptions {
    /// Rows of columns: CSV or TSV, .npy, or pictures in idx (all also gzip)
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    #[command(flatten)]
    pub input: Input,
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub outputs: Outputs,
    #[command(flatten)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet mixture fit survey.csv --classes 2..8 --restarts 10 --report report.html
  mixlet mixture fit survey.csv --classes 4 --ignore id --truth kind --labels labels.csv
  mixlet mixture fit images-idx3-ubyte.gz --classes 10 --truth labels-idx1-ubyte.gz --report report.html
  mixlet mixture fit array.npy --classes 5 --threshold 0.5 --save model.json
  mixlet mixture fit clicks.csv --classes 2 --method stagewise --columns columns.csv
  mixlet mixture fit clicks.csv --classes 2 --method forward --select auto
  mixlet mixture fit images-idx3-ubyte.gz --method tree --depth 10 --refine 3 --truth labels-idx1-ubyte.gz

Columns hold two values each, or any number with --family categorical. An empty field is a missing value, as is an
empty line where there is one column. Rows, classes and columns without names are counted from 0; the latter are called
by their numbers. Files of --truth, --weights and --start have a line per row, in the order of the rows or, with a column
`row`, in any. An output that is called - goes to standard output.";

/// How files are read.
#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(in crate::cli) struct Input {
    /// What values are taken for [default: bernoulli if no column has more than two values]
    #[arg(long, value_enum)]
    pub family: Option<Family>,
    /// Numbers above X are 1, all others 0; for idx X is a share of the range [default for idx: 0.5]
    #[arg(long, value_name = "X", value_parser = usage::number, allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Whether the first row of a table names its columns
    #[arg(long, value_enum, default_value_t = Header::Auto)]
    pub header: Header,
    /// What stands for a missing value in a table, beside an empty field
    #[arg(long, value_name = "TEXT")]
    pub missing: Option<String>,
    /// Columns to pass over, for instance an id: by name, or by number from 0 where they have no names
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Known classes that score the fit and take no part in it: a file with one per row, or a column of DATA
    #[arg(long, value_name = "FILE|COLUMN")]
    pub truth: Option<PathBuf>,
    /// How often each row counts: a file with one number per row, or a column of DATA
    #[arg(long, value_name = "FILE|COLUMN")]
    pub weights: Option<PathBuf>,
    /// The share of rows that take no part in the fit and test it
    #[arg(long, value_name = "SHARE", value_parser = usage::share, allow_negative_numbers = true)]
    pub held_out: Option<f64>,
}

/// How classes are found.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub(in crate::cli) struct Model {
    /// How many classes: a number, or a range of which the best by BIC is kept; a tree finds out by itself
    #[arg(long, value_name = "K|A..B", value_parser = classes, allow_negative_numbers = true)]
    pub classes: Option<RangeInclusive<usize>>,
    /// How they are found
    #[arg(long, value_enum, default_value_t = Method::Em)]
    pub method: Method,
    /// Nodes on a path of a tree at most: up to 2^N classes [default: 8]
    #[arg(long, value_name = "N", value_parser = depth, allow_negative_numbers = true)]
    pub depth: Option<u32>,
    /// Rounds of EM with all columns that refine the leaves of a tree into one mixture, of which rows have a likelihood
    #[arg(long, value_name = "N", value_parser = rounds, allow_negative_numbers = true)]
    pub refine: Option<u32>,
    /// Which columns speak: all, those that tell more than chance, or the first N by information; in every node of a
    /// tree, there auto stands for 50, its default. Stagewise: all splits as published, auto by what is beyond chance.
    /// Comparing columns may take up to 8 GiB
    #[arg(long, value_name = "all|auto|N", value_parser = select, allow_negative_numbers = true)]
    pub select: Option<Select>,
    /// Where EM starts: random, or a file of classes as --labels writes it
    #[arg(long, value_name = "random|FILE")]
    pub start: Option<StartOption>,
    /// Random starts, of which the best is kept [default: 1; in every node of a tree 3]
    #[arg(long, value_name = "N", value_parser = restarts, allow_negative_numbers = true)]
    pub restarts: Option<usize>,
    /// Rounds at most [default: 500; in every node of a tree 10]
    #[arg(long, value_name = "N", value_parser = rounds, allow_negative_numbers = true)]
    pub rounds: Option<u32>,
    /// Stop when the objective gains less than this share of its size; 0 does all rounds [default: 1e-7]
    #[arg(long, value_name = "X", value_parser = usage::not_negative, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Added to the count of every value of every column and class; 0 is maximum likelihood [default: 0.5, of a tree 0.1]
    #[arg(long, value_name = "S", value_parser = usage::not_negative, allow_negative_numbers = true)]
    pub pseudocount: Option<f64>,
}

/// Files to write.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Outputs {
    /// Write the class of every row, with the probability of every class
    #[arg(long, value_name = "OUT.csv")]
    pub labels: Option<PathBuf>,
    /// Write what every column tells, with its probabilities in every class
    #[arg(long, value_name = "OUT.csv")]
    pub columns: Option<PathBuf>,
    /// Save what was learned, for `mixlet mixture predict`
    #[arg(long, value_name = "MODEL")]
    pub save: Option<PathBuf>,
    /// Write one HTML page with pictures of all of it
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
    /// Height and width of a row that is a picture, for the report [default for idx: as in the file]
    #[arg(long, value_name = "HxW", value_parser = picture, allow_negative_numbers = true)]
    pub image: Option<(usize, usize)>,
}

/// Pairs of columns that take seconds to compare.
const MANY_PAIRS: u64 = 100_000_000;

impl Input {
    pub fn truth(&self) -> Side<'_> {
        Side::of(&self.truth)
    }

    pub fn weights(&self) -> Side<'_> {
        Side::of(&self.weights)
    }

    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            family: self.family,
            header: self.header,
            threshold: self.threshold,
            missing: self.missing.clone(),
            ignore: self.ignore.clone(),
            truth: self.truth().column(),
            weights: self.weights().column(),
        }
    }
}

impl Model {
    /// The numbers of classes to try; a tree has two per node.
    pub fn range(&self) -> RangeInclusive<usize> {
        self.classes.clone().unwrap_or(2..=2)
    }

    fn is_range(&self) -> bool {
        self.range().start() != self.range().end()
    }

    /// Whether EM starts from classes in a file.
    pub fn is_given_start(&self) -> bool {
        matches!(self.start, Some(StartOption::File(_)))
    }

    /// Options that the method does not look at are a mistake.
    fn check(&self) -> Result<()> {
        let has_own_way = self.pseudocount.is_some() || self.rounds.is_some() || self.tolerance.is_some();
        let has_start = self.start.is_some() || self.restarts.is_some();
        let problem = match self.method {
            method if method != Method::Tree && self.classes.is_none() => {
                "--classes says how many classes to find: a number, or a range such as 2..12"
            }
            method if method != Method::Tree && self.depth.is_some() => {
                "--depth is that of a tree; leave it out, or pass --method tree"
            }
            method if method != Method::Tree && self.refine.is_some() => {
                "--refine is for the leaves of a tree; leave it out, or pass --method tree"
            }
            Method::Tree if self.classes.is_some() => {
                "a tree finds out how many classes there are; leave out --classes, or limit it by --depth"
            }
            method if method != Method::Em && self.is_range() => {
                "a range of --classes needs --method em; name one number"
            }
            Method::Em if self.is_given_start() && self.restarts.is_some() => {
                "--restarts needs random starts; leave it out, or leave out --start FILE"
            }
            Method::Em if self.is_given_start() && self.is_range() => {
                "a start of given classes has their number; name one number of --classes"
            }
            Method::Stagewise if has_start => {
                "--method stagewise starts from one class; leave out --start and --restarts"
            }
            Method::Stagewise if matches!(self.select, Some(Select::First(_))) => {
                "--method stagewise counts columns itself; pass --select auto or all, or leave it out"
            }
            Method::Stagewise if has_own_way => {
                "--method stagewise goes its own way; leave out --pseudocount, --rounds and --tolerance"
            }
            Method::Forward | Method::Backward => return self.check_stepwise(has_start, has_own_way),
            Method::Tree if self.is_given_start() => {
                "the nodes of a tree start at random; leave out --start FILE"
            }
            Method::Tree if self.tolerance.is_some() => {
                "every node of a tree has all its rounds; leave out --tolerance"
            }
            _ => return Ok(()),
        };
        Err(Error::Options { problem })
    }

    /// The same of the methods that add columns or take them away.
    fn check_stepwise(&self, has_start: bool, has_own_way: bool) -> Result<()> {
        let problem = match self.select {
            _ if has_start => {
                "forward and backward selection have starts of their own; leave out --start and --restarts"
            }
            _ if has_own_way => {
                "forward and backward selection go their own way; leave out --pseudocount, --rounds and --tolerance"
            }
            Some(Select::All) => {
                "forward and backward selection choose columns; pass --select auto or a number"
            }
            _ => return Ok(()),
        };
        Err(Error::Options { problem })
    }

    /// How EM goes, with the method's own defaults.
    pub fn fit_options(&self, start: Start, seed: u64) -> fit::FitOptions {
        let mut default = fit::FitOptions::default();
        if self.method == Method::Tree {
            let tree = TreeOptions::default();
            default.restarts = tree.restarts as usize;
            default.settings.rounds = tree.rounds;
            default.pseudocount = tree.pseudocount;
        }
        let settings = FitSettings {
            rounds: self.rounds.unwrap_or(default.settings.rounds),
            tolerance: self.tolerance.unwrap_or(default.settings.tolerance),
        };
        fit::FitOptions {
            start,
            restarts: self.restarts.unwrap_or(default.restarts),
            settings,
            pseudocount: self.pseudocount.unwrap_or(default.pseudocount),
            seed,
        }
    }

    /// What a method does with so many columns that nobody expects it.
    pub fn note(&self, columns: usize) -> Option<String> {
        let often = match self.method {
            Method::Em => return None,
            Method::Forward => "at first",
            Method::Stagewise | Method::Backward => "in every round",
            Method::Tree => "in every node",
        };
        let pairs = pair_count(columns);
        (pairs >= MANY_PAIRS).then(|| {
            let (pairs, columns) = (count(pairs), things(columns, "column"));
            format!("{columns} are {pairs} pairs, which are compared {often}; --ignore leaves columns out")
        })
    }

    /// How the leaves of a tree are refined.
    pub fn refine_options(&self) -> Option<RefineOptions> {
        let default = RefineOptions::default();
        let pseudocount = self.pseudocount.unwrap_or(default.pseudocount);
        self.refine.map(|rounds| RefineOptions { rounds, pseudocount })
    }

    /// The columns that speak, by the method's own default.
    pub fn select(&self) -> Select {
        let own =
            if matches!(self.method, Method::Em | Method::Stagewise) { Select::All } else { Select::Auto };
        self.select.unwrap_or(own)
    }
}

impl FitOptions {
    /// Makes sure that the options go together and that no file is lost.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        if self.outputs.image.is_some() && self.outputs.report.is_none() {
            return Err(Error::Options { problem: "--image shapes the pictures of --report; name its file" });
        }
        let mut inputs: Vec<&Path> = vec![&self.data];
        for side in [self.input.truth(), self.input.weights()] {
            if let Side::File(path) = side {
                inputs.push(path);
            }
        }
        if let Some(StartOption::File(path)) = &self.model.start {
            inputs.push(path);
        }
        check_paths(&inputs, &self.outputs.paths(), self.common.json)
    }
}

impl Outputs {
    /// The files that are to be written.
    pub fn paths(&self) -> Vec<&Path> {
        let paths = [&self.labels, &self.columns, &self.save, &self.report];
        paths.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// Whether standard output is taken by one of them.
    pub fn take_standard_output(&self) -> bool {
        self.paths().into_iter().any(is_standard_output)
    }
}
