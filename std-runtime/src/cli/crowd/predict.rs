//! `mixlet crowd predict`: labels for new tasks from the workers of a saved fit.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::{Format, given};
use crate::cli::Common;
use crate::cli::output::{check_paths, log, print, print_json};
use crate::cli::progress::Progress;
use crate::crowd::model::CrowdModel;
use crate::crowd::read::{NewAnswers, read_new_answers};
use crate::crowd::write;
use crate::error::{Result, Shown};
use crate::output::{is_standard_output, write_file};
use crate::report::number::things;

/// Everything `mixlet crowd predict` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct PredictOptions {
    /// A model that `mixlet crowd fit --save` wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// New answers of the same workers, with the same labels; - is standard input
    #[arg(value_name = "ANSWERS")]
    answers: PathBuf,
    #[command(flatten)]
    format: Format,
    /// Write the label of every task, with the probability of every class
    #[arg(long, value_name = "OUT.csv", help_heading = "Output")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet crowd fit answers.csv --save crowd.json
  mixlet crowd predict crowd.json new-answers.csv --labels new-labels.csv

Workers whom the model does not know are counted and left out.";

/// What `--json` prints.
#[derive(Serialize)]
struct PredictJson<'a> {
    tasks: usize,
    workers: usize,
    classes: usize,
    answers: usize,
    unknown_workers: usize,
    unknown_answers: u64,
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
    let outputs: Vec<&Path> = given([&options.labels]).collect();
    check_paths(&[&options.model, &options.answers], &outputs, options.common.json)?;
    options.common.start()?;
    let mut progress = Progress::new();
    let clock = Instant::now();
    let model = CrowdModel::read(&options.model)?;
    let read_options = options.format.read_options();
    let mut read = |read, total| progress.bytes(read, total);
    let new = read_new_answers(&options.answers, &model.workers, &model.labels, &read_options, &mut read)?;
    progress.finish();
    let read = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let posteriors = model.predict(&new.crowd)?;
    let seconds = Seconds { read, predict: clock.elapsed().as_secs_f64() };

    let warnings = warnings(&new)?;
    warnings.iter().for_each(|warning| log("warning", warning));
    if let Some(path) = &options.labels {
        write_file(path, |out| write::labels(out, &new.crowd, &posteriors))?;
    }
    if options.common.json {
        return print_json(&json(&new, &warnings, seconds)?);
    }
    match options.labels.as_deref().is_some_and(is_standard_output) {
        true => Ok(()),
        false => print(&summary(&new, options.labels.as_deref())?),
    }
}

/// What the user must know about answers that a model was not made for.
fn warnings(new: &NewAnswers) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if new.unknown_workers > 0 {
        let [workers, answers] = [(new.unknown_workers, "worker"), (new.unknown_answers as usize, "answer")]
            .map(|(n, what)| things(n, what));
        warnings.push(format!("the model does not know {workers}; left out with {answers}"));
    }
    let answers = new.crowd.answers()?;
    let empty = answers.rows(0..answers.tasks()).filter(|cells| cells.is_empty()).count();
    if empty > 0 {
        let tasks = things(empty, "task");
        warnings
            .push(format!("{tasks} without an answer of a known worker: the label is the commonest class"));
    }
    Ok(warnings)
}

fn json<'a>(new: &NewAnswers, warnings: &'a [String], seconds: Seconds) -> Result<PredictJson<'a>> {
    Ok(PredictJson {
        tasks: new.crowd.tasks.len(),
        workers: new.crowd.workers.len(),
        classes: new.crowd.labels.len(),
        answers: new.crowd.answers()?.cells().len(),
        unknown_workers: new.unknown_workers,
        unknown_answers: new.unknown_answers,
        warnings,
        seconds,
    })
}

fn summary(new: &NewAnswers, labels: Option<&Path>) -> Result<String> {
    let [tasks, answers] = [(new.crowd.tasks.len(), "task"), (new.crowd.answers()?.cells().len(), "answer")]
        .map(|(number, what)| things(number, what));
    let next = match labels {
        Some(path) => format!("{:<11}{}", "Wrote", Shown(&path.to_string_lossy(), usize::MAX)),
        None => format!("{:<11}{}", "Next", "--labels labels.csv writes the labels"),
    };
    Ok(format!("{:<11}{tasks} labelled from {answers}\n{next}\n", "Labels"))
}
