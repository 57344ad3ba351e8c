//! Everything that is shown of a mixture: the fit, the numbers of classes tried, columns, scores, what to beware of.

mod checks;
mod columns;
mod held_out;

use std::ops::RangeInclusive;
use std::time::Instant;

use mixlet_core::em::Round;
use serde::Serialize;

use super::criteria::{Candidate, Judged, best_by_bic, class_entropy};
use super::fit::{self, FitOptions, MixtureFit, Start, Task};
use super::truth::{TruthScore, label_shares};
use super::view;
use crate::error::{Error, MixtureProblem, Result};
use crate::rows::{Labels, Rows};
use columns::free_parameters;
use held_out::HeldOutRows;

pub use columns::ColumnFacts;

/// What is asked of an analysis.
#[derive(Clone, Debug)]
pub struct AnalysisOptions {
    /// Numbers of classes to try.
    pub classes: RangeInclusive<usize>,
    /// How each is fitted.
    pub fit: FitOptions,
    /// The share of rows that take no part in the fit and test it.
    pub held_out: Option<f64>,
    /// `[rows]`: how often each row counts.
    pub weights: Option<Vec<f64>>,
    /// Known classes that score the fit and take no part in it.
    pub truth: Option<Labels>,
}

impl AnalysisOptions {
    /// A fit of so many classes and nothing more.
    pub fn of_classes(classes: usize) -> Self {
        Self {
            classes: classes..=classes,
            fit: FitOptions::default(),
            held_out: None,
            weights: None,
            truth: None,
        }
    }
}

/// Told how far an analysis is.
pub trait Progress: Sync {
    /// A round of one of several fits that run at once.
    fn round(&self, classes: usize, start: usize, round: Round);
}

/// Nobody is told.
impl Progress for () {
    fn round(&self, _: usize, _: usize, _: Round) {}
}

/// How long each part took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Reading.
    pub read: f64,
    /// Fitting.
    pub fit: f64,
}

/// How the fit does on rows that took no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Their number.
    pub rows: usize,
    /// Log-likelihood of all of them, in nats.
    pub log_likelihood: f64,
    /// The share of them whose label is not the most likely one by class shares of the fitted rows.
    pub error_rate: Option<f64>,
}

/// Known classes beside those found.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What they are called.
    pub names: Vec<String>,
    /// `[classes, labels]`: what the labels of each class's rows say.
    pub label_shares: Vec<f64>,
    /// The score of the rows that were fitted.
    pub score: TruthScore,
}

/// A fitted mixture and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// All numbers of classes that were tried, in order.
    pub candidates: Vec<Candidate>,
    /// Which of them was chosen.
    pub chosen: usize,
    /// One class, where several numbers were tried: what they have to beat.
    pub baseline: Option<Candidate>,
    /// The chosen fit; classes by their share, the largest first.
    pub fit: MixtureFit,
    /// `[rows, classes]`.
    pub posteriors: Vec<f64>,
    /// What each column tells.
    pub columns: Vec<ColumnFacts>,
    /// The columns that speak for the classes, in the order they were selected; all by number without selection.
    pub selected: Vec<u32>,
    /// Against known classes.
    pub truth: Option<Truth>,
    /// On rows that took no part.
    pub held_out: Option<HeldOut>,
    /// What the user must know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub seconds: Seconds,
}

/// One number of classes, fitted and judged.
struct Tried {
    candidate: Candidate,
    fit: MixtureFit,
    posteriors: Vec<f64>,
}

impl Analysis {
    /// Fits every number of classes and keeps the one with the best BIC.
    pub fn run(rows: &Rows, options: &AnalysisOptions, progress: &dyn Progress) -> Result<Self> {
        let clock = Instant::now();
        check(rows, options)?;
        let held_out = options.held_out.map(|share| HeldOutRows::draw(rows.len(), share, options));
        let mut tried: Option<(usize, Tried)> = None;
        let mut candidates: Vec<Candidate> = Vec::new();
        for classes in options.classes.clone() {
            let next = Tried::run(rows, classes, options, held_out.as_ref(), progress)?;
            candidates.push(next.candidate.clone());
            let place = candidates.len() - 1;
            // Only the best so far is kept: posteriors are large.
            if best_by_bic(&candidates) == Some(place) {
                tried = Some((place, next));
            }
        }
        // The range is not empty.
        let Some((chosen, best)) = tried else {
            return Err(Error::Options { problem: "no number of classes" });
        };
        let is_range = options.classes.start() < options.classes.end();
        let baseline = match candidates.iter().find(|candidate| candidate.classes == 1) {
            None if is_range => Some(Tried::run(rows, 1, options, held_out.as_ref(), &())?.candidate),
            one => one.cloned(),
        };
        let fit_seconds = clock.elapsed().as_secs_f64();
        let mut analysis = Self::describe(rows, options, held_out, (candidates, chosen, best))?;
        analysis.baseline = baseline;
        analysis.seconds.fit = fit_seconds;
        analysis.warnings = checks::warnings(rows, options, &analysis);
        Ok(analysis)
    }

    fn describe(
        rows: &Rows,
        options: &AnalysisOptions,
        held_out: Option<HeldOutRows>,
        (candidates, chosen, best): (Vec<Candidate>, usize, Tried),
    ) -> Result<Self> {
        let Tried { fit, posteriors, .. } = best;
        let classes = fit.parameters.shares.len();
        let is_fitted = |row: usize| held_out.as_ref().is_none_or(|held_out| !held_out.contains(row));
        let truth = options.truth.as_ref().and_then(|truth| {
            let shares = label_shares(&posteriors, classes, truth, is_fitted);
            let score = TruthScore::new(&posteriors, classes, truth, &shares, is_fitted)?;
            let names = truth.names.iter().map(str::to_owned).collect();
            Some(Truth { names, label_shares: shares, score })
        });
        let held_out =
            held_out.map(|held_out| held_out.score(rows, &fit, &posteriors, options, truth.as_ref()));
        let columns = columns::facts(&view(rows)?.level_offsets(), &fit.parameters);
        Ok(Self {
            baseline: None,
            selected: (0..columns.len() as u32).collect(),
            candidates,
            chosen,
            fit,
            posteriors,
            columns,
            truth,
            held_out: held_out.transpose()?,
            warnings: Vec::new(),
            seconds: Seconds::default(),
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.fit.parameters.shares.len()
    }

    /// How the chosen number of classes was judged.
    pub fn chosen(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// `[classes]`: rows whose most likely class it is.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes()];
        for posterior in self.posteriors.chunks_exact(self.classes()) {
            sizes[mixlet_core::em::most_likely_class(posterior)] += 1;
        }
        sizes
    }
}

impl Tried {
    fn run(
        rows: &Rows,
        classes: usize,
        options: &AnalysisOptions,
        held_out: Option<&HeldOutRows>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let weights = held_out.map_or(options.weights.as_deref(), |held_out| Some(&held_out.fit_weights));
        let task = Task { weights, ..Task::of(view(rows)?) };
        let mut fit =
            fit::fit(task, classes, &options.fit, &|start, round| progress.round(classes, start, round))?;
        if matches!(options.fit.start, Start::Random) {
            fit.parameters.sort_classes();
        }
        let (posteriors, log_likelihood) = fit::posteriors(task, &fit.parameters)?;
        let judged = Judged {
            classes,
            log_likelihood,
            entropy: class_entropy(&posteriors, classes, weights),
            rows: weights.map_or(rows.len() as f64, |weights| weights.iter().sum()),
            free_parameters: free_parameters(rows, classes),
        };
        let held_out_log_likelihood =
            held_out.map(|held_out| held_out.log_likelihood(rows, &fit.parameters)).transpose()?;
        let candidate = Candidate {
            classes,
            log_likelihood,
            free_parameters: judged.free_parameters,
            bic: judged.bic(),
            icl: judged.icl(),
            entropy: judged.entropy,
            separation: judged.separation(),
            held_out: held_out.zip(held_out_log_likelihood).map(|(rows, all)| all / rows.mass()),
            rounds: fit.rounds.len(),
            stop: fit.stop,
            restarts: fit.restarts.clone(),
        };
        Ok(Self { candidate, fit, posteriors })
    }
}

/// Whether there is anything to fit.
fn check(rows: &Rows, options: &AnalysisOptions) -> Result<()> {
    let (asked, count) = (*options.classes.end(), rows.len());
    if asked > count {
        return Err(Error::Mixture(MixtureProblem::Classes { asked, rows: count }));
    }
    if columns::varying(rows).all(|varies| !varies) {
        return Err(Error::Mixture(MixtureProblem::AllConstant { columns: rows.columns.len() }));
    }
    Ok(())
}
