//! `mixlet mixture fit`: read, analyse, write, say.

use std::path::Path;
use std::time::Instant;

use super::options::{FitOptions, Side, StartOption};
use super::{json, summary};
use crate::cli::output::{command_line, log, print, print_aside, print_json, title};
use crate::cli::progress::Progress;
use crate::error::{Error, MixtureProblem, Result};
use crate::mixture::analysis::{Analysis, AnalysisOptions};
use crate::mixture::fit::Start;
use crate::mixture::model::MixtureModel;
use crate::mixture::{page, write};
use crate::output::write_file;
use crate::rows::{Labels, Rows, read_labels, read_responsibilities, read_rows, read_weights};

/// Runs the command.
pub(super) fn run(options: &FitOptions) -> Result<()> {
    options.check()?;
    options.common.start()?;
    let mut progress = Progress::new();
    let clock = Instant::now();
    let reading = options.input.read_options();
    let rows = read_rows(&options.data, &reading, &mut |read, total| progress.bytes(read, total))?;
    picture(options, &rows)?;
    let analysis_options = analysis_options(options, &rows)?;
    let read = clock.elapsed().as_secs_f64();
    if let Some(note) = options.model.note(rows.columns.len()) {
        log("note", &note);
    }
    let shared = progress.shared();
    let mut analysis = Analysis::run(&rows, &analysis_options, &shared)?;
    analysis.seconds.read = read;
    shared.finish();

    analysis.warnings.iter().for_each(|warning| log("warning", warning));
    write_outputs(options, &rows, &analysis)?;
    if options.common.json {
        return print_json(&json::fit(&rows, &analysis));
    }
    let text = summary::fit(&rows, &analysis, options);
    match options.outputs.take_standard_output() {
        true => print_aside(&text),
        false => print(&text)?,
    }
    Ok(())
}

/// Reads what else the fit needs.
fn analysis_options(options: &FitOptions, rows: &Rows) -> Result<AnalysisOptions> {
    let model = &options.model;
    let start = match &model.start {
        Some(StartOption::File(path)) => {
            Start::Given(read_responsibilities(path, rows.len(), *model.range().start())?)
        }
        _ => Start::Random,
    };
    let default = AnalysisOptions::of_classes(1);
    Ok(AnalysisOptions {
        classes: model.range(),
        method: model.method,
        select: model.select(),
        depth: model.depth.unwrap_or(default.depth),
        refine: model.refine_options(),
        fit: model.fit_options(start, options.common.seed),
        held_out: options.input.held_out,
        weights: match options.input.weights() {
            Side::File(path) => Some(read_weights(path, rows.len())?),
            _ => rows.weights.clone(),
        },
        truth: truth(options, rows)?,
    })
}

fn truth(options: &FitOptions, rows: &Rows) -> Result<Option<Labels>> {
    match options.input.truth() {
        Side::File(path) => read_labels(path, rows.len()).map(Some),
        _ => Ok(rows.truth.clone()),
    }
}

/// Writes every file that was asked for.
fn write_outputs(options: &FitOptions, rows: &Rows, analysis: &Analysis) -> Result<()> {
    let outputs = &options.outputs;
    let write_to = |path: &Option<std::path::PathBuf>,
                    write: &dyn Fn(&mut dyn std::io::Write) -> std::io::Result<()>| {
        path.as_deref().map_or(Ok(()), |path: &Path| write_file(path, |out| write(out)))
    };
    write_to(&outputs.labels, &|out| write::labels(out, &analysis.posteriors, analysis.classes(), None))?;
    write_to(&outputs.columns, &|out| {
        write::columns(out, rows, &analysis.columns, &analysis.fit.parameters)
    })?;
    let reading = options.input.read_options();
    write_to(&outputs.save, &|out| MixtureModel::new(rows, &reading, analysis).write(out))?;
    if let Some(path) = &outputs.report {
        let picture = picture(options, rows)?;
        let html = page::page(rows, analysis, picture, &title(&options.data), &command_line())?;
        write_file(path, |out| out.write_all(html.as_bytes()))?;
    }
    Ok(())
}

/// The sides of a row that is a picture.
fn picture(options: &FitOptions, rows: &Rows) -> Result<Option<(usize, usize)>> {
    match options.outputs.image {
        Some((height, width)) if height.saturating_mul(width) != rows.columns.len() => {
            let columns = rows.columns.len();
            Err(Error::Mixture(MixtureProblem::Picture { height, width, columns }))
        }
        Some(sides) => Ok(Some(sides)),
        None => Ok(rows.picture),
    }
}
