//! What `--json` prints. Numbers that are not known are null.

use mixlet_core::em::Stop;
use serde::Serialize;

use crate::mixture::Method;
use crate::mixture::analysis::{Analysis, HeldOut, Seconds};
use crate::mixture::candidates::Candidate;
use crate::mixture::fit::Restart;
use crate::mixture::methods::Step;
use crate::rows::{Family, Rows};

/// The object of `mixture fit`.
#[derive(Serialize)]
pub(super) struct FitJson<'a> {
    rows: usize,
    columns: usize,
    incomplete_rows: usize,
    header: Option<bool>,
    family: Family,
    classes: usize,
    method: Method,
    rounds: usize,
    stop: Stop,
    log_likelihood: f64,
    objective: Option<f64>,
    free_parameters: usize,
    bic: f64,
    icl: f64,
    entropy: f64,
    separation: Option<f64>,
    shares: &'a [f64],
    sizes: Vec<usize>,
    selected: &'a [u32],
    depth: Option<u32>,
    refined: Option<u32>,
    restarts: &'a [Restart],
    candidates: Vec<&'a Candidate>,
    steps: &'a [Step],
    error_rate: Option<f64>,
    share_error_rate: Option<f64>,
    selected_error_rate: Option<f64>,
    truth: Option<TruthJson<'a>>,
    held_out: Option<HeldOut>,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
struct TruthJson<'a> {
    rows: usize,
    labels: &'a [String],
    /// The label that the best one-to-one match gives each class.
    matched: Vec<Option<&'a str>>,
}

/// Puts an analysis into words for programs.
pub(super) fn fit<'a>(rows: &Rows, analysis: &'a Analysis) -> FitJson<'a> {
    let chosen = analysis.chosen();
    let truth = analysis.truth.as_ref();
    FitJson {
        rows: rows.len(),
        columns: rows.columns.len(),
        incomplete_rows: rows.incomplete(),
        header: rows.has_header,
        family: rows.family(),
        classes: analysis.classes(),
        method: analysis.method,
        rounds: chosen.rounds,
        stop: chosen.stop,
        log_likelihood: chosen.log_likelihood,
        objective: analysis.fit.last().map(|round| round.objective),
        free_parameters: chosen.free_parameters,
        bic: chosen.bic,
        icl: chosen.icl,
        entropy: chosen.entropy,
        separation: chosen.separation,
        shares: &analysis.fit.parameters.shares,
        sizes: analysis.sizes(),
        selected: &analysis.selected,
        depth: analysis.depth(),
        refined: analysis.refined,
        restarts: &chosen.restarts,
        candidates: analysis.table(),
        steps: &analysis.steps,
        error_rate: analysis.error_rate(),
        share_error_rate: truth.map(|truth| truth.score.share_error),
        selected_error_rate: analysis.selected_error_rate(),
        truth: truth.map(|truth| TruthJson {
            rows: truth.score.rows,
            labels: &truth.names,
            matched: truth.score.matched.iter().map(|label| Some(truth.names[(*label)?].as_str())).collect(),
        }),
        held_out: analysis.held_out,
        warnings: &analysis.warnings,
        seconds: analysis.seconds,
    }
}
