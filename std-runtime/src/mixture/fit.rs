//! Fitting a mixture: EM from several starts, the best of which is kept.

use mixlet_core::em::{EmError, FitSettings, Round, Stop};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use rayon::prelude::*;

use super::Parameters;
use super::models::{Mixture, Setting, Work, with_model};
use crate::error::Result;
use crate::rows::Data;
use crate::threads::{self, Shards};

/// Where a fit starts.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// Random parameters: another seed for every start.
    #[default]
    Random,
    /// Given responsibilities `[rows, classes]`.
    Given(Vec<f64>),
    /// Given parameters.
    Parameters(Parameters),
}

/// How a mixture is fitted.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Where it starts.
    pub start: Start,
    /// Random starts, of which the best is kept.
    pub restarts: usize,
    /// When a fit ends.
    pub settings: FitSettings,
    /// Added to every expected count.
    pub pseudocount: f64,
    /// Seed of the first random start.
    pub seed: u64,
}

impl Default for FitOptions {
    /// One random start; half a count per value and class keeps a probability from being certain after few rows.
    fn default() -> Self {
        Self {
            start: Start::Random,
            restarts: 1,
            settings: FitSettings::default(),
            pseudocount: 0.5,
            seed: 0,
        }
    }
}

/// How one start ended.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Restart {
    /// Log-likelihood of the rows, in nats.
    pub log_likelihood: f64,
    /// Log-likelihood + log-prior.
    pub objective: f64,
    /// Rounds it took.
    pub rounds: u32,
    /// Why it ended.
    pub stop: Stop,
}

/// A fitted mixture.
#[derive(Clone, Debug)]
pub struct MixtureFit {
    /// What was learned.
    pub parameters: Parameters,
    /// Every round of the best start.
    pub rounds: Vec<Round>,
    /// Why it ended.
    pub stop: Stop,
    /// How all starts ended, in order.
    pub restarts: Vec<Restart>,
}

impl MixtureFit {
    /// The last round.
    pub fn last(&self) -> Option<Round> {
        self.rounds.last().copied()
    }
}

/// What is fitted: rows, how often each counts, and the columns that speak.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The rows.
    pub data: Data<'a>,
    /// `[rows]`: how often each counts.
    pub weights: Option<&'a [f64]>,
    /// `[row_words(columns)]`: the columns that speak for the classes; none: all.
    pub active: Option<&'a [u64]>,
}

impl<'a> Task<'a> {
    /// All columns of rows that count once.
    pub fn of(data: Data<'a>) -> Self {
        Self { data, weights: None, active: None }
    }

    fn setting(&self, classes: usize, pseudocount: f64) -> Setting<'a> {
        Setting { classes, pseudocount, weights: self.weights, active: self.active }
    }
}

/// Fits `classes` classes; `observe(start, round)` sees every round of every start.
///
/// Starts run in parallel. The best has the largest objective, the first of equals; it does not depend on the
/// number of threads.
pub fn fit(
    task: Task<'_>,
    classes: usize,
    options: &FitOptions,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<MixtureFit> {
    let starts = match options.start {
        Start::Random => options.restarts.max(1),
        _ => 1,
    };
    let one = |start: usize| {
        let setting = task.setting(classes, options.pseudocount);
        let work = OneStart { columns: task.data.columns(), options, start, observe };
        with_model(task.data, setting, work)
    };
    let fits: Vec<MixtureFit> = (0..starts).into_par_iter().map(one).collect::<Result<_>>()?;
    let restarts: Vec<Restart> = fits.iter().flat_map(|fit| fit.restarts.iter().copied()).collect();
    let objective = |fit: &MixtureFit| fit.last().map_or(f64::NEG_INFINITY, |round| round.objective);
    let better = |best: MixtureFit, fit| if objective(&fit) > objective(&best) { fit } else { best };
    // There is at least one start.
    let best = fits.into_iter().reduce(better).ok_or(EmError::NotFinite { round: 0 })?;
    Ok(MixtureFit { restarts, ..best })
}

/// The posterior of every row `[rows, classes]`, and the log-likelihood of those that count.
pub fn posteriors(task: Task<'_>, parameters: &Parameters) -> Result<(Vec<f64>, f64)> {
    with_model(task.data, task.setting(parameters.shares.len(), 0.0), Judge { parameters })
}

/// One start and its rounds.
struct OneStart<'a> {
    columns: usize,
    options: &'a FitOptions,
    start: usize,
    observe: &'a (dyn Fn(usize, Round) + Sync),
}

impl Work for OneStart<'_> {
    type Output = MixtureFit;

    fn run<M: Mixture>(self, model: &mut M) -> Result<MixtureFit> {
        let Self { columns, options, start, observe } = self;
        let shape = model.shape();
        let mut shards = Shards::of_rows(columns, shape);
        let mut statistics = vec![0.0; shape.statistics];
        match &options.start {
            Start::Random => {
                // Starts are far apart, so that neighbouring seeds share none.
                let seed = options.seed.wrapping_add((start as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                model.set_random(&mut Pcg64::seed_from_u64(seed));
            }
            Start::Parameters(parameters) => model.set(parameters)?,
            Start::Given(given) => {
                let (what, found, expected) =
                    ("given responsibilities", given.len(), shape.rows * shape.classes);
                if found != expected {
                    return Err(EmError::Length { what, found, expected }.into());
                }
                shards.start(model, &mut statistics, |rows, out| {
                    out.copy_from_slice(&given[rows.start * shape.classes..rows.end * shape.classes]);
                })?;
            }
        }
        let mut rounds = Vec::new();
        let fit = shards.fit(model, options.settings, &mut statistics, |round| {
            rounds.push(round);
            observe(start, round);
        })?;
        let Round { log_likelihood, objective, round } = fit.last;
        let restart = Restart { log_likelihood, objective, rounds: round, stop: fit.stop };
        Ok(MixtureFit { parameters: model.get(), rounds, stop: fit.stop, restarts: vec![restart] })
    }
}

/// Posteriors under given parameters.
struct Judge<'a> {
    parameters: &'a Parameters,
}

impl Work for Judge<'_> {
    type Output = (Vec<f64>, f64);

    fn run<M: Mixture>(self, model: &mut M) -> Result<(Vec<f64>, f64)> {
        model.set(self.parameters)?;
        threads::posteriors_and_log_likelihood(model).map_err(Into::into)
    }
}
