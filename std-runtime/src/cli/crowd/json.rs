//! What `--json` prints. Numbers that are not known are null.

use std::collections::BTreeMap;

use mixlet_core::em::Stop;
use serde::Serialize;

use crate::crowd::Crowd;
use crate::crowd::analysis::{Analysis, AnalysisOptions, GoldScores, Residues, Seconds};
use crate::crowd::fit::{Method, PooledPrior, Pseudocount};
use crate::error::Result;

/// The object of `crowd fit`.
#[derive(Serialize)]
pub(super) struct FitJson<'a> {
    tasks: usize,
    workers: usize,
    classes: usize,
    answers: usize,
    method: Method,
    rounds: usize,
    stop: Option<Stop>,
    log_likelihood: Option<f64>,
    objective: Option<f64>,
    pseudocount: Option<PseudocountJson>,
    selected: Vec<&'a str>,
    residue: Option<Residues>,
    alpha: Option<f64>,
    warnings: &'a [String],
    gold: Option<GoldJson<'a>>,
    seconds: Seconds,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PseudocountJson {
    /// The same for every cell.
    Constant(f64),
    /// `confusion[true][answered]`, worth `strength` answers.
    Pooled { confusion: Vec<Vec<f64>>, strength: f64 },
}

#[derive(Serialize)]
struct GoldJson<'a> {
    tasks: usize,
    errors: f64,
    error_rate: f64,
    f1: BTreeMap<&'a str, Option<f64>>,
    vote_error_rate: f64,
}

/// Puts an analysis into words for programs.
pub(super) fn fit<'a>(
    crowd: &'a Crowd,
    options: &AnalysisOptions,
    analysis: &'a Analysis,
) -> Result<FitJson<'a>> {
    let last = analysis.fit.last();
    let selected = analysis.selected();
    Ok(FitJson {
        tasks: crowd.tasks.len(),
        workers: crowd.workers.len(),
        classes: crowd.labels.len(),
        answers: crowd.answers()?.cells().len(),
        method: analysis.fit.method,
        rounds: analysis.fit.rounds.len(),
        stop: last.map(|_| analysis.fit.stop),
        log_likelihood: last.map(|round| round.log_likelihood),
        objective: last.map(|round| round.objective),
        pseudocount: last.and_then(|_| pseudocount(options, analysis)),
        selected: selected.into_iter().map(|worker| crowd.workers.get(worker as usize)).collect(),
        residue: analysis.residue,
        alpha: analysis.alpha,
        warnings: &analysis.warnings,
        gold: analysis.gold.as_ref().map(|scores| gold(crowd, scores)),
        seconds: analysis.seconds,
    })
}

/// What workers were assumed to have answered before.
fn pseudocount(options: &AnalysisOptions, analysis: &Analysis) -> Option<PseudocountJson> {
    let pooled = |pooled: &PooledPrior| {
        let labels = analysis.label_count();
        let row = |class| pooled.confusion.iter().skip(class).step_by(labels).copied().collect();
        PseudocountJson::Pooled { confusion: (0..labels).map(row).collect(), strength: pooled.strength }
    };
    match options.fit.pseudocount {
        Pseudocount::Constant(number) => Some(PseudocountJson::Constant(number)),
        Pseudocount::Pooled => analysis.fit.pooled.as_ref().map(pooled),
    }
}

fn gold<'a>(crowd: &'a Crowd, GoldScores { labels, vote }: &GoldScores) -> GoldJson<'a> {
    GoldJson {
        tasks: labels.tasks,
        errors: labels.errors,
        error_rate: labels.error_rate(),
        f1: crowd.labels.iter().zip(labels.f1.iter().copied()).collect(),
        vote_error_rate: vote.error_rate(),
    }
}
