//! `mixlet crowd rank`: workers by how much their answers tell, without a fit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixlet_core::select::{Estimator, order_by_information};
use serde::Serialize;

use super::{Format, Gold, given};
use crate::cli::Common;
use crate::cli::output::{check_paths, print, print_json};
use crate::cli::progress::Progress;
use crate::crowd::Crowd;
use crate::crowd::analysis::information;
use crate::crowd::read::read_crowd;
use crate::error::{Result, Shown};
use crate::report::number::{count, significant};

/// Everything `mixlet crowd rank` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct RankOptions {
    /// Who said what: CSV or TSV, also gzip, with columns task, worker and label in any order;
    /// - is standard input
    #[arg(value_name = "ANSWERS")]
    answers: PathBuf,
    #[command(flatten)]
    gold: Gold,
    #[command(flatten)]
    format: Format,
    /// How the information of two workers is estimated
    #[arg(long, value_enum, default_value_t = EstimatorName::Plain, help_heading = "Method")]
    estimator: EstimatorName,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet crowd rank answers.csv
  mixlet crowd rank answers.csv --estimator miller-madow --json

A worker's information is the sum, over all others, of the mutual information of their answers. Who
guesses has none; who is always wrong has as much as who is always right. Gold plays no part, but
for --tasks gold.";

/// What to do where there are too many workers and labels.
const REMEDY: &str = "check that the label column holds classes, or merge rare labels";

/// How the information of two workers is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EstimatorName {
    /// From the answers as they are; too high for two who share few tasks
    Plain,
    /// Times the share of all tasks that both answered
    Weighted,
    /// Less what chance adds on average
    MillerMadow,
    /// Only where a test at 5 % sees a dependence
    GTest,
}

impl From<EstimatorName> for Estimator {
    fn from(name: EstimatorName) -> Self {
        match name {
            EstimatorName::Plain => Self::Plain,
            EstimatorName::Weighted => Self::Weighted,
            EstimatorName::MillerMadow => Self::MillerMadow,
            EstimatorName::GTest => Self::G_TEST,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct RankJson<'a> {
    workers: Vec<RankedWorker<'a>>,
}

#[derive(Serialize)]
struct RankedWorker<'a> {
    worker: &'a str,
    information: f64,
    answers: u64,
}

/// Runs the command.
pub(super) fn run(options: &RankOptions) -> Result<()> {
    options.gold.check()?;
    let inputs: Vec<&Path> = given([&options.gold.gold]).chain([options.answers.as_path()]).collect();
    check_paths(&inputs, &[], options.common.json)?;
    options.common.start()?;
    let mut progress = Progress::new();
    let read_options = options.gold.read_options(&options.format);
    let gold: Option<&Path> = options.gold.gold.as_deref();
    let crowd =
        read_crowd(&options.answers, gold, &read_options, &mut |read, total| progress.bytes(read, total))?;
    progress.finish();
    let information = information(crowd.answers()?, options.estimator.into(), REMEDY)?;
    let workers = ranked(&crowd, &information)?;
    match options.common.json {
        true => print_json(&RankJson { workers }),
        false => print(&table(&workers)),
    }
}

/// Workers, the most informative first.
fn ranked<'a>(crowd: &'a Crowd, information: &[f64]) -> Result<Vec<RankedWorker<'a>>> {
    let answers = crowd.answers()?;
    let mut given = vec![0; answers.workers()];
    answers.cells().iter().for_each(|&cell| given[answers.worker(cell)] += 1);
    let mut order = vec![0; answers.workers()];
    order_by_information(information, &mut order);
    let worker = |worker: u32| {
        let place = worker as usize;
        RankedWorker {
            worker: crowd.workers.get(place),
            information: information[place],
            answers: given[place],
        }
    };
    Ok(order.into_iter().map(worker).collect())
}

/// A line per worker.
fn table(workers: &[RankedWorker<'_>]) -> String {
    let mut text = format!("{:>6}  {:>11}  {:>9}  worker\n", "rank", "information", "answers");
    for (rank, worker) in (1..).zip(workers) {
        let name = Shown(worker.worker, 80);
        let (information, answers) = (significant(worker.information), count(worker.answers));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{rank:>6}  {information:>11}  {answers:>9}  {name}");
    }
    text
}
