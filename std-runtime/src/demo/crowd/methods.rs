//! The methods, each on the same answers, timed and scored against the truth.

use std::time::Instant;

use mixlet_core::observations::Answers;
use serde::Serialize;

use crate::crowd::fit::{CrowdFit, FitOptions, Method, fit};
use crate::crowd::score::Score;
use crate::crowd::selection::{Select, Selection, select};
use crate::error::Result;

/// How a method did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodOutcome {
    /// What it is called.
    pub method: &'static str,
    /// Wrong labels; ties count in part.
    pub errors: f64,
    /// Wrong labels as a fraction of one.
    pub error_rate: f64,
    /// How long it took, selection included.
    pub seconds: f64,
    /// What it assumes or did.
    pub note: String,
}

/// A method's outcome, and what it is about.
#[derive(Debug)]
pub struct Attempt {
    pub outcome: MethodOutcome,
    pub fit: CrowdFit,
    pub selection: Option<Selection>,
    pub score: Score,
}

/// Vote, one coin, Dawid–Skene, Dawid–Skene with selection.
pub fn run_all(answers: Answers<'_>, truth: &[u32], seed: u64) -> Result<[Attempt; 4]> {
    let run = |name, method, choice| {
        let options = FitOptions { method, seed, ..FitOptions::default() };
        attempt(name, &options, choice, answers, truth)
    };
    Ok([
        run("Majority vote", Method::MajorityVote, Select::All)?,
        run("One coin", Method::OneCoin, Select::All)?,
        run("Dawid–Skene", Method::DawidSkene, Select::All)?,
        run("Dawid–Skene, selected", Method::DawidSkene, Select::Auto)?,
    ])
}

fn attempt(
    name: &'static str,
    options: &FitOptions,
    choice: Select,
    answers: Answers<'_>,
    truth: &[u32],
) -> Result<Attempt> {
    let start = Instant::now();
    let selection = select(answers, options, choice, &[], &mut |_, _| ())?;
    let speaking = speaking(selection.as_ref(), answers)?;
    let fit = fit(speaking, options, &mut |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let score = match options.method {
        Method::MajorityVote => Score::of_vote(speaking, truth),
        _ => Score::of_posteriors(&fit.posteriors, answers.labels(), truth, |task| {
            !speaking.task(task).is_empty()
        }),
    };
    let note = match &selection {
        Some(selection) => format!("{} of {} workers selected", selection.count, answers.workers()),
        None if fit.collapse.is_some() => format!("{}; the fit collapsed", assumption(options.method)),
        None => assumption(options.method).to_owned(),
    };
    let (errors, error_rate) = (score.errors, score.error_rate());
    let outcome = MethodOutcome { method: name, errors, error_rate, seconds, note };
    Ok(Attempt { outcome, fit, selection, score })
}

/// The answers that a fit used.
pub fn speaking<'a>(selection: Option<&'a Selection>, answers: Answers<'a>) -> Result<Answers<'a>> {
    selection.map_or(Ok(answers), |selection| selection.answers(answers))
}

fn assumption(method: Method) -> &'static str {
    match method {
        Method::MajorityVote => "every answer counts the same",
        Method::OneCoin => "one accuracy per worker",
        Method::DawidSkene => "a confusion matrix per worker",
    }
}
