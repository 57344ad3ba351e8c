//! `mixlet mixture predict`: classes of new rows, by a saved fit.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use mixlet_core::em::{UNKNOWN, most_likely_class};
use serde::Serialize;

use super::super::output::{Lines, check_paths, log, print, print_json};
use super::summary::first_sizes;
use crate::cli::Common;
use crate::cli::progress::Progress;
use crate::error::{Quoted, Result, Shown};
use crate::mixture::model::{ClassLabels, MixtureModel};
use crate::mixture::truth::{TruthScore, label_shares, likely_label};
use crate::mixture::write;
use crate::output::{is_standard_output, write_file};
use crate::report::number::{decimal, percent, things};
use crate::rows::{Labels, Rows, read_labels, read_more_rows};

/// Everything `mixlet mixture predict` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct PredictOptions {
    /// A model that `mixlet mixture fit --save` wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// New rows with the columns of the model
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Known classes that score the result: a file with one per row
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    truth: Option<PathBuf>,
    /// Write the class of every row, with the probability of every class
    #[arg(long, value_name = "OUT.csv", help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet mixture fit survey.csv --classes 4 --save model.json
  mixlet mixture predict model.json more.csv --out classes.csv

Columns of a table are found by their names, in any order. Where the model was fitted beside known
classes (--truth), rows get the label that their classes make most likely.";

/// Only a tree gives none: its nodes say how probable a class is given a row, each by columns of its own, and nothing says
/// how probable the row is.
const NO_LIKELIHOOD: &str =
    "a tree gives rows classes and no likelihood; --refine 3 in the fit makes a mixture that gives both";

/// What `--json` prints.
#[derive(Serialize)]
struct PredictJson<'a> {
    rows: usize,
    columns: usize,
    classes: usize,
    log_likelihood: Option<f64>,
    /// Why there is none.
    no_log_likelihood: Option<&'static str>,
    sizes: Vec<usize>,
    error_rate: Option<f64>,
    /// What it is by: the labels of the fit, or the best match on these rows.
    error_by: Option<&'static str>,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    read: f64,
    predict: f64,
}

/// Runs the command.
pub(super) fn run(options: &PredictOptions) -> Result<()> {
    let inputs: Vec<&Path> =
        [&options.model, &options.data].into_iter().chain(&options.truth).map(PathBuf::as_path).collect();
    let outputs: Vec<&Path> = options.out.iter().map(PathBuf::as_path).collect();
    check_paths(&inputs, &outputs, options.common.json)?;
    options.common.start()?;
    let mut progress = Progress::new();
    let clock = Instant::now();
    let model = MixtureModel::read(&options.model)?;
    let mut read = |read, total| progress.bytes(read, total);
    let rows = read_more_rows(&options.data, &model.columns, &model.read_options(), &mut read)?;
    let truth = options.truth.as_deref().map(|path| read_labels(path, rows.len())).transpose()?;
    progress.finish();
    let read = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let (posteriors, log_likelihood) = model.predict(&rows)?;
    let seconds = Seconds { read, predict: clock.elapsed().as_secs_f64() };

    let warnings = warnings(&rows);
    warnings.iter().for_each(|warning| log("warning", warning));
    if let Some(path) = &options.out {
        let name = model.labels.as_ref().map(|labels| |posterior: &[f64]| label(labels, posterior));
        let name = name.as_ref().map(|name| name as write::Namer<'_>);
        write_file(path, |out| write::labels(out, &posteriors, model.classes(), name))?;
    }
    let error = truth.as_ref().and_then(|truth| error_rate(&model, truth, &posteriors));
    let sizes = sizes(&posteriors, model.classes());
    let result = PredictJson {
        rows: rows.len(),
        columns: rows.columns.len(),
        classes: model.classes(),
        log_likelihood,
        no_log_likelihood: log_likelihood.is_none().then_some(NO_LIKELIHOOD),
        sizes,
        error_rate: error.map(|(rate, _)| rate),
        error_by: error.map(|(_, by)| by),
        warnings: &warnings,
        seconds,
    };
    match options.out.as_deref() {
        _ if options.common.json => print_json(&result),
        Some(path) if is_standard_output(path) => Ok(()),
        path => print(&summary(&result, path)),
    }
}

/// The label that a row's classes make most likely.
fn label(labels: &ClassLabels, posterior: &[f64]) -> String {
    labels.names[likely_label(posterior, &labels.shares, labels.names.len())].clone()
}

/// Columns that the model does not know.
fn warnings(rows: &Rows) -> Vec<String> {
    let first = rows.extra_columns.first();
    let warning = first.map(|first| {
        let columns = things(rows.extra_columns.len(), "column");
        format!("the model does not know {columns}, first {}: left out", Quoted(first))
    });
    warning.into_iter().collect()
}

/// The share of wrong rows: by the labels that the fit saw, or after the best match on these rows.
fn error_rate(model: &MixtureModel, truth: &Labels, posteriors: &[f64]) -> Option<(f64, &'static str)> {
    let classes = model.classes();
    let Some(labels) = &model.labels else {
        let shares = label_shares(posteriors, classes, truth, |_| true);
        let score = TruthScore::new(posteriors, classes, truth, &shares, |_| true)?;
        return Some((score.aligned_error, "best match"));
    };
    let known = posteriors.chunks_exact(classes).zip(&truth.of_rows).filter(|(_, label)| **label != UNKNOWN);
    let (mut all, mut wrong) = (0u32, 0u32);
    for (posterior, &known) in known {
        all += 1;
        wrong += u32::from(label(labels, posterior) != truth.names.get(known as usize));
    }
    (all > 0).then(|| (f64::from(wrong) / f64::from(all), "labels of the fit"))
}

fn sizes(posteriors: &[f64], classes: usize) -> Vec<usize> {
    let mut sizes = vec![0; classes];
    posteriors.chunks_exact(classes).for_each(|posterior| sizes[most_likely_class(posterior)] += 1);
    sizes
}

fn summary(result: &PredictJson<'_>, out: Option<&Path>) -> String {
    let mut lines = Lines::default();
    let per_row = |all: f64| format!(", log-likelihood {} each", decimal(all / result.rows as f64, 4));
    let likelihood = result.log_likelihood.map(per_row).unwrap_or_default();
    lines.add("Data", &(things(result.rows, "row") + &likelihood));
    if let Some(reason) = result.no_log_likelihood {
        lines.add("Likelihood", &format!("none: {reason}"));
    }
    lines.add("Sizes", &first_sizes(&result.sizes));
    if let (Some(rate), Some(by)) = (result.error_rate, result.error_by) {
        lines.add("Truth", &format!("{} wrong, by the {by}", percent(rate, 2)));
    }
    match out {
        Some(path) => lines.add("Wrote", &Shown(&path.to_string_lossy(), usize::MAX).to_string()),
        None => lines.add("Next", "--out classes.csv writes the classes"),
    }
    lines.text
}
