//! The number of workers, chosen without gold: by how well the labels predict answers they have not seen.
//!
//! ```text
//!   fit of all answers ─► order of workers by relevance, ranks of tasks by doubt ─► 10 folds of answers
//!   for every candidate number N: fit the first N workers' answers outside a fold, predict the fold
//!   ─► largest N within one standard error of the best
//! ```
//!
//! * *Relevance* of worker `i`: `n_i / n · I(x_i; y)` under the fit of all answers. What they say about the
//!   class, times how often they say it. (The order by summed pair information suits equally active workers.)
//! * Candidates are `2^(k/2)`, `k ≥ 3`, and everybody. A task with fewer than three answers of selected
//!   workers keeps its best other ones, up to three: fewer views do not identify a latent class.
//! * A fold holds the answers with `(rank of the worker + rank of the task) mod 10 = fold`, so it is spread
//!   over all workers and tasks, and, ties apart, renaming them moves no answer to another fold.
//! * Held-out answers are scored with the logarithm of their probability, weighted by the worker's
//!   relevance: to predict those who know nothing is no merit.
//! * *One standard error* (Breiman et al. 1984): the difference to the best candidate is summed by task; a
//!   smaller selection must earn its keep. A fit whose class names are lost cannot tell workers apart, and
//!   selects everybody.

use mixlet_core::em::dawid_skene::DawidSkeneShape;
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::start::vote_shares;
use mixlet_core::em::{FitSettings, RowFacts};
use mixlet_core::observations::Answers;
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

pub(super) fn choose(
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

impl Comparison<'_> {
    fn choose(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<usize> {
        let workers = self.folds.answers.workers();
        let smaller = (3..).map(|k| 2f64.powf(f64::from(k) / 2.0).round() as usize);
        let mut candidates: Vec<usize> = smaller.take_while(|&count| count < workers).collect();
        candidates.push(workers);
        candidates.reverse();

        let mut scored: Vec<(usize, Vec<f64>)> = Vec::new();
        let (mut best, mut hopeless) = (0, 0);
        for (nth, &count) in candidates.iter().enumerate() {
            progress(nth, candidates.len());
            scored.push((count, self.scores(count)?));
            let lead = standard_errors(&scored[best].1, &scored[nth].1);
            // Ties go to the smaller selection.
            best = if lead <= 0.0 { nth } else { best };
            hopeless = if lead > HOPELESS { hopeless + 1 } else { 0 };
            if hopeless == 3 {
                break;
            }
        }
        let close = scored.iter().find(|(_, scores)| standard_errors(&scored[best].1, scores) <= 1.0);
        Ok(close.map_or(workers, |(count, _)| *count))
    }

    /// The held-out score of every task, over all folds.
    fn scores(&self, count: usize) -> Result<Vec<f64>> {
        let folds: Result<Vec<_>> =
            (0..FOLDS).into_par_iter().map(|fold| self.fold_scores(fold, count)).collect();
        let mut scores = vec![0.0; self.folds.answers.tasks()];
        for fold in folds? {
            scores.iter_mut().zip(fold).for_each(|(sum, score)| *sum += score);
        }
        Ok(scores)
    }

    fn fold_scores(&self, fold: usize, count: usize) -> Result<Vec<f64>> {
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
        let posteriors = fit::fit_unguarded(selection.answers(rest)?, &options)?.posteriors;
        let predicted = self.predictions(rest, &posteriors);

        let mut scores = vec![0.0; all.tasks()];
        for (task, posterior) in posteriors.chunks_exact(labels).enumerate() {
            for &cell in all.task(task).iter().filter(|&&cell| self.folds.holds(fold, task, cell)) {
                let row = &predicted[cell as usize * labels..][..labels];
                let probability: f64 = row.iter().zip(posterior).map(|(c, q)| c * q).sum();
                scores[task] += self.relevances[all.worker(cell)] * probability.max(f64::MIN_POSITIVE).ln();
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

/// By how many standard errors the first scores are higher in sum; tasks are the unit.
fn standard_errors(first: &[f64], second: &[f64]) -> f64 {
    let lead: f64 = first.iter().zip(second).map(|(a, b)| a - b).sum();
    let mean = lead / first.len() as f64;
    let spread: f64 = first.iter().zip(second).map(|(a, b)| (a - b - mean) * (a - b - mean)).sum();
    if lead == 0.0 { 0.0 } else { lead / spread.sqrt() }
}
