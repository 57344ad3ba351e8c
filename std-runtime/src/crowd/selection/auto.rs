//! The number of workers, chosen without gold: by how well the labels predict answers they have not seen.
//!
//! ```text
//!   fit of all answers ─► order of workers by relevance, ranks of tasks by doubt ─► 10 folds of answers
//!   for every candidate number N: fit the first N workers' answers outside a fold, predict the fold
//!   ─► core's rule (`select::count`): the best number, if it leads everybody; otherwise everybody
//! ```
//!
//! *Why here and not in core:* the rule is arithmetic over scores; what makes the scores is many fits, each with memory
//! and threads of its own.
//!
//! * *Relevance* of worker `i`: `n_i / n · I(x_i; y)` under the fit of all answers. What they say about the
//!   class, times how often they say it. (The order by summed pair information suits equally active workers.)
//! * A task with fewer than three answers of selected
//!   workers keeps its best other ones, up to three: fewer views do not identify a latent class.
//! * A fold holds the answers with `(rank of the worker + rank of the task) mod 10 = fold`, so it is spread
//!   over all workers and tasks, and, ties apart, renaming them moves no answer to another fold.
//! * Held-out answers are scored with the logarithm of their probability, weighted by the worker's
//!   relevance: to predict those who know nothing is no merit.
//! * A fit whose class names are lost cannot tell workers apart, and selects everybody.

use mixlet_core::em::dawid_skene::DawidSkeneShape;
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::start::vote_shares;
use mixlet_core::em::{FitSettings, RowFacts};
use mixlet_core::numeric::dot;
use mixlet_core::observations::Answers;
use mixlet_core::select::count::{candidate_counts, choose, standard_errors};
use mixlet_core::select::order_by_information;
use rayon::prelude::*;

use super::{Choice, Selection, Subset};
use crate::crowd::ask_next::entropy;
use crate::crowd::fit::everybody::expected_counts;
use crate::crowd::fit::{self, CrowdFit, FitOptions, Method, PooledPrior, Pseudocount, Start};
use crate::error::Result;

/// Answers that every task keeps, if it has them.
pub const LEAST_ANSWERS: usize = 3;
/// Parts that the answers are held out in.
pub const FOLDS: usize = 10;
/// Rounds of the fits that only compare candidates.
const ROUNDS: u32 = 30;
/// The search goes from everybody downwards and ends after three candidates in a row that are worse than
/// the best by so many standard errors.
const HOPELESS: f64 = 4.0;

pub(super) fn selection(
    answers: Answers<'_>,
    options: &FitOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Selection> {
    let options =
        FitOptions { method: Method::DawidSkene, pseudocount: Pseudocount::Pooled, ..options.clone() };
    let base = fit::fit(answers, &options, &mut |_| ())?;
    let relevances = relevances(answers, &base);
    let mut order = vec![0; answers.workers()];
    order_by_information(&relevances, &mut order);
    let (Some(pooled), None) = (base.pooled.clone(), base.collapse) else {
        let everybody = Selection::new(answers, order, answers.workers(), LEAST_ANSWERS);
        return Ok(Selection { choice: Choice::Open, measure: relevances, ..everybody });
    };
    let comparison = Comparison {
        folds: Folds::new(answers, &order, &base),
        candidate: candidate_options(options, &base),
        pooled,
        relevances,
        order,
    };
    let count = comparison.choose(progress)?;
    let Comparison { order, relevances: measure, pooled, .. } = comparison;
    let selection = Selection::new(answers, order, count, LEAST_ANSWERS);
    Ok(Selection { choice: Choice::HeldOut, measure, pooled: Some(pooled), ..selection })
}

/// `n_i / n · Σ_k π_k Σ_a C[i, a, k] · ln(C[i, a, k] / Σ_l π_l C[i, a, l])` for every worker `i`.
fn relevances(answers: Answers<'_>, base: &CrowdFit) -> Vec<f64> {
    let labels = answers.labels();
    let mut counts = vec![0.0; answers.workers()];
    answers.cells().iter().for_each(|&cell| counts[answers.worker(cell)] += 1.0);
    let of_row = |row: &[f64]| {
        let marginal: f64 = row.iter().zip(&base.class_shares).map(|(c, share)| c * share).sum();
        let term =
            |(c, share): (&f64, &f64)| if *share > 0.0 { share * c * (c / marginal).ln() } else { 0.0 };
        row.iter().zip(&base.class_shares).map(term).sum::<f64>()
    };
    let tables = base.conditionals.chunks_exact(labels * labels).zip(counts);
    tables
        .map(|(table, count)| {
            let information: f64 = table.chunks_exact(labels).map(of_row).sum();
            (information * count / answers.tasks() as f64).max(0.0)
        })
        .collect()
}

/// Short fits. Each fold votes anew; another start cannot be made anew for every fold, so it is the fit of
/// all answers, which has seen the held-out ones.
fn candidate_options(options: FitOptions, base: &CrowdFit) -> FitOptions {
    let start = match options.start {
        Start::Vote => Start::Vote,
        _ => Start::Given(base.posteriors.clone()),
    };
    let settings = FitSettings { rounds: ROUNDS, tolerance: options.settings.tolerance };
    FitOptions { start, settings, pooled: base.pooled.clone(), ..options }
}

/// Which answers are held out together.
struct Folds<'a> {
    answers: Answers<'a>,
    worker_ranks: Vec<u32>,
    task_ranks: Vec<u32>,
}

impl<'a> Folds<'a> {
    fn new(answers: Answers<'a>, order: &[u32], base: &CrowdFit) -> Self {
        let posteriors = base.posteriors.chunks_exact(answers.labels());
        let doubts: Vec<f64> = posteriors.map(|posterior| entropy(posterior.iter().copied())).collect();
        let mut by_doubt = vec![0; answers.tasks()];
        order_by_information(&doubts, &mut by_doubt);
        Self { answers, worker_ranks: super::ranks(order), task_ranks: super::ranks(&by_doubt) }
    }

    fn holds(&self, fold: usize, task: usize, cell: u32) -> bool {
        let worker = self.worker_ranks[self.answers.worker(cell)] as usize;
        (worker + self.task_ranks[task] as usize) % FOLDS == fold
    }

    /// The answers outside a fold.
    fn rest(&self, fold: usize) -> Subset {
        Subset::new(self.answers, |task, cells, out| {
            out.extend(cells.iter().filter(|&&cell| !self.holds(fold, task, cell)));
        })
    }
}

/// What candidates are compared with.
struct Comparison<'a> {
    folds: Folds<'a>,
    candidate: FitOptions,
    pooled: PooledPrior,
    relevances: Vec<f64>,
    order: Vec<u32>,
}

/// `[tasks]`: the log-probability of held-out answers, weighted by the workers' relevance.
struct Scores {
    /// Given the labels.
    of_labels: Vec<f64>,
    /// Given the shares of the classes alone.
    without_labels: Vec<f64>,
}

impl Comparison<'_> {
    fn choose(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<usize> {
        let candidates: Vec<usize> = candidate_counts(self.folds.answers.workers()).collect();
        let mut scored: Vec<Scores> = Vec::new();
        let (mut best, mut hopeless) = (0, 0);
        for (nth, &count) in candidates.iter().enumerate() {
            progress(nth, candidates.len());
            scored.push(self.scores(count)?);
            let lead = standard_errors(&scored[best].of_labels, &scored[nth].of_labels);
            best = if lead < 0.0 { nth } else { best };
            hopeless = if lead > HOPELESS { hopeless + 1 } else { 0 };
            if hopeless == 3 {
                break;
            }
        }
        let chosen = choose(scored.iter().map(|scores| &scores.of_labels[..]), &scored[0].without_labels);
        Ok(candidates[chosen])
    }

    /// The held-out scores of every task, over all folds.
    fn scores(&self, count: usize) -> Result<Scores> {
        let folds: Result<Vec<_>> =
            (0..FOLDS).into_par_iter().map(|fold| self.fold_scores(fold, count)).collect();
        let none = || vec![0.0; self.folds.answers.tasks()];
        let mut scores = Scores { of_labels: none(), without_labels: none() };
        for fold in folds? {
            scores.of_labels.iter_mut().zip(fold.of_labels).for_each(|(sum, score)| *sum += score);
            scores.without_labels.iter_mut().zip(fold.without_labels).for_each(|(sum, score)| *sum += score);
        }
        Ok(scores)
    }

    fn fold_scores(&self, fold: usize, count: usize) -> Result<Scores> {
        let all = self.folds.answers;
        let labels = all.labels();
        let rest = self.folds.rest(fold);
        let rest = rest.answers(all)?;
        let selection = Selection::new(rest, self.order.clone(), count, LEAST_ANSWERS);
        let start = match &self.candidate.start {
            Start::Vote => Start::Given(all_vote_shares(rest, &self.candidate)),
            start => start.clone(),
        };
        let options = FitOptions { start, ..self.candidate.clone() };
        let fitted = fit::fit_unguarded(selection.answers(rest)?, &options)?;
        let predicted = self.predictions(rest, &fitted.posteriors);

        let none = || vec![0.0; all.tasks()];
        let mut scores = Scores { of_labels: none(), without_labels: none() };
        for (task, posterior) in fitted.posteriors.chunks_exact(labels).enumerate() {
            for &cell in all.task(task).iter().filter(|&&cell| self.folds.holds(fold, task, cell)) {
                let row = &predicted[cell as usize * labels..][..labels];
                let weight = self.relevances[all.worker(cell)];
                let log =
                    |probabilities: &[f64]| weight * dot(row, probabilities).max(f64::MIN_POSITIVE).ln();
                scores.of_labels[task] += log(posterior);
                scores.without_labels[task] += log(&fitted.class_shares);
            }
        }
        Ok(scores)
    }

    /// Everybody's confusion matrices from posteriors, with a prior pooled from the same counts.
    fn predictions(&self, answers: Answers<'_>, posteriors: &[f64]) -> Vec<f64> {
        let shape = DawidSkeneShape::of(answers);
        let labels = shape.labels;
        // The masses of the classes, which come first, have no part in it.
        let mut statistics = vec![0.0; labels];
        statistics.extend(expected_counts(answers, posteriors));
        let mut confusion = vec![0.0; labels * labels];
        pooled_confusion(shape, &statistics, &mut confusion);
        let strength = pooled_strength(shape, &statistics, &confusion);
        let mut tables = statistics.split_off(labels);
        for table in tables.chunks_exact_mut(labels * labels) {
            for class in 0..labels {
                let total: f64 = table.iter().skip(class).step_by(labels).sum();
                let cells = table.iter_mut().zip(&confusion).skip(class).step_by(labels);
                cells.for_each(|(count, share)| *count = (*count + strength * share) / (total + strength));
            }
        }
        tables
    }
}

/// The shares of the votes of all tasks; 1 for a known label.
pub(super) fn all_vote_shares(answers: Answers<'_>, options: &FitOptions) -> Vec<f64> {
    let facts = RowFacts { known_classes: options.known_labels.as_deref(), weights: None };
    let mut shares = vec![0.0; answers.tasks() * answers.labels()];
    vote_shares(answers, facts, 0..answers.tasks(), &mut shares);
    shares
}
