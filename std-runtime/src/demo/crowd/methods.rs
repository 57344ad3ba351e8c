//! The methods, each on the same answers, timed and scored against the truth.

use serde::Serialize;

use crate::crowd::Crowd;
use crate::crowd::analysis::{Analysis, AnalysisOptions};
use crate::crowd::fit::{FitOptions, Method};
use crate::crowd::score::Score;
use crate::crowd::selection::Select;
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
    pub analysis: Analysis,
}

/// Vote, one coin, Dawid–Skene, Dawid–Skene with selection.
pub fn run_all(crowd: &Crowd, seed: u64) -> Result<[Attempt; 4]> {
    let run = |name, method, select| {
        let fit = FitOptions { method, seed, ..FitOptions::default() };
        attempt(name, crowd, &AnalysisOptions { fit, select, ..AnalysisOptions::default() })
    };
    Ok([
        run("Majority vote", Method::MajorityVote, Select::All)?,
        run("One coin", Method::OneCoin, Select::All)?,
        run("Dawid–Skene", Method::DawidSkene, Select::All)?,
        run("Dawid–Skene, selected", Method::DawidSkene, Select::Auto)?,
    ])
}

fn attempt(name: &'static str, crowd: &Crowd, options: &AnalysisOptions) -> Result<Attempt> {
    let analysis = Analysis::run(crowd, options, &mut ())?;
    let assumption = assumption(options.fit.method);
    let note = match &analysis.selection {
        Some(selection) => format!("{} of {} workers selected", selection.count, crowd.workers.len()),
        None if analysis.fit.collapse.is_some() => format!("{assumption}; the fit collapsed"),
        None => assumption.to_owned(),
    };
    let score = analysis.gold.as_ref().map(|gold| &gold.labels);
    let outcome = MethodOutcome {
        method: name,
        errors: score.map_or(f64::NAN, |score| score.errors),
        error_rate: score.map_or(f64::NAN, Score::error_rate),
        seconds: analysis.seconds.total(),
        note,
    };
    Ok(Attempt { outcome, analysis })
}

fn assumption(method: Method) -> &'static str {
    match method {
        Method::MajorityVote => "every answer counts the same",
        Method::OneCoin => "one accuracy per worker",
        Method::DawidSkene => "a confusion matrix per worker",
    }
}
