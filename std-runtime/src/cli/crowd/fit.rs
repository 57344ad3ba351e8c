//! `mixlet crowd fit`: read, analyse, write, say.

use std::path::Path;
use std::time::Instant;

use super::options::{FitOptions, Shares, StartOption};
use super::{json, summary};
use crate::cli::output::{command_line, log, print, print_aside, print_json, title};
use crate::cli::progress::Progress;
use crate::crowd::analysis::{Analysis, AnalysisOptions};
use crate::crowd::fit::{self, Start};
use crate::crowd::model::CrowdModel;
use crate::crowd::read::{ReadOptions, read_crowd, read_known_workers, read_start, read_task_labels};
use crate::crowd::selection::Select;
use crate::crowd::{Crowd, page, write};
use crate::error::Result;
use crate::output::write_file;
use crate::report::number::things;

/// Runs the command.
pub(super) fn run(options: &FitOptions) -> Result<()> {
    options.check()?;
    options.common.start()?;
    let mut progress = Progress::new();
    let clock = Instant::now();
    let read_options = options.gold.read_options(&options.format);
    let gold = options.gold.gold.as_deref();
    let crowd =
        read_crowd(&options.answers, gold, &read_options, &mut |read, total| progress.bytes(read, total))?;
    let analysis_options = AnalysisOptions {
        fit: fit_options(options, &crowd, &read_options)?,
        select: options.model.select,
        // The page shows it where no selection brings an order of its own.
        information: options.outputs.workers.is_some()
            || options.outputs.report.is_some() && options.model.select == Select::All,
        residue: options.model.residue,
    };
    let read = clock.elapsed().as_secs_f64();
    let mut analysis = Analysis::run(&crowd, &analysis_options, &mut progress)?;
    analysis.seconds.read = read;
    // Gold without rows is read as no gold.
    if let (Some(path), None) = (gold, &crowd.gold) {
        let nothing = "has no rows below its header: nothing was scored";
        analysis.warnings.push(format!("{} {nothing}", path.display()));
    }
    progress.finish();

    analysis.warnings.iter().for_each(|warning| log("warning", warning));
    write_outputs(options, &crowd, &analysis)?;
    if options.common.json {
        return print_json(&json::fit(&crowd, &analysis_options, &analysis)?);
    }
    let text = summary::fit(&crowd, &analysis, &options.outputs)?;
    match options.outputs.take_standard_output() {
        true => print_aside(&text),
        false => print(&text)?,
    }
    Ok(())
}

/// Reads what else the fit needs.
fn fit_options(options: &FitOptions, crowd: &Crowd, read: &ReadOptions) -> Result<fit::FitOptions> {
    let known_labels = options.knowledge.known_labels.as_deref();
    let known_labels = known_labels.map(|path| read_task_labels(path, crowd, read)).transpose()?;
    let start = match &options.model.start {
        None | Some(StartOption::Vote) => Start::Vote,
        Some(StartOption::Spectral) => Start::Spectral,
        Some(StartOption::Random) => Start::Random,
        Some(StartOption::File(path)) => given_start(path, crowd, known_labels.as_deref(), read)?,
    };
    let known_workers = options.knowledge.known_workers.as_deref();
    Ok(fit::FitOptions {
        method: options.model.method,
        uniform_shares: options.model.prior == Some(Shares::Uniform),
        start,
        settings: options.settings(),
        pseudocount: options.model.pseudocount.unwrap_or_default(),
        known_labels,
        earlier: known_workers.map(|path| earlier_counts(path, crowd, read)).transpose()?,
        pooled: None,
        seed: options.common.seed,
    })
}

fn given_start(path: &Path, crowd: &Crowd, known: Option<&[u32]>, read: &ReadOptions) -> Result<Start> {
    let start = read_start(path, crowd, known, read)?;
    note(path, start.unknown_tasks, "task", "without answers: left out");
    note(path, start.missing_tasks, "task", "with answers missing: started from the vote");
    Ok(Start::Given(start.posteriors))
}

fn earlier_counts(path: &Path, crowd: &Crowd, read: &ReadOptions) -> Result<Vec<f64>> {
    let known = read_known_workers(path, crowd, read)?;
    note(path, known.unknown_workers, "worker", "without answers now: left out");
    note(path, known.unknown_labels, "label", "without answers now: left out");
    Ok(known.counts)
}

/// Says how much of a file was of no use.
fn note(path: &Path, number: usize, noun: &str, what: &str) {
    if number > 0 {
        log("note", &format!("{}: {} {what}", path.display(), things(number, noun)));
    }
}

/// Writes every file that was asked for.
fn write_outputs(options: &FitOptions, crowd: &Crowd, analysis: &Analysis) -> Result<()> {
    let outputs = &options.outputs;
    if let Some(path) = &outputs.labels {
        write_file(path, |out| write::labels(out, crowd, &analysis.fit.posteriors))?;
    }
    if let Some(path) = &outputs.workers {
        write_file(path, |out| write::workers(out, crowd, analysis))?;
    }
    if let Some(path) = &outputs.ask_next {
        write_file(path, |out| write::ask_next(out, crowd, analysis))?;
    }
    if let Some(path) = &outputs.save {
        write_file(path, |out| CrowdModel::new(crowd, analysis).write(out))?;
    }
    if let Some(path) = &outputs.report {
        let title = title(&options.answers);
        let html = page::page(crowd, analysis, &title, &command_line())?;
        write_file(path, |out| out.write_all(html.as_bytes()))?;
    }
    Ok(())
}
