//! Fitting a mixture: EM from several starts, the best of which is kept.

use mixlet_core::em::{ActiveColumns, EmError, FitSettings, Round, Stop};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use rayon::prelude::*;

use super::engine::{Engine, Expected};
use super::{Parameters, RowsView};
use crate::error::Result;

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
    pub rows: RowsView<'a>,
    /// `[rows]`: how often each counts.
    pub weights: Option<&'a [f64]>,
    /// The columns that speak for the classes.
    pub active: ActiveColumns<'a>,
}

impl<'a> Task<'a> {
    /// All columns of rows that count once.
    pub fn of(rows: RowsView<'a>) -> Self {
        Self { rows, weights: None, active: ActiveColumns::default() }
    }

    fn engine(&self, pseudocount: f64) -> Engine<'a> {
        Engine { rows: self.rows, weights: self.weights, pseudocount }
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
    let one = |start: usize| one_start(task, classes, options, start, observe);
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
    let Expected { responsibilities, log_likelihood } =
        task.engine(0.0).expectation(parameters, task.active)?;
    Ok((responsibilities, log_likelihood))
}

/// The parameters of `classes` classes that responsibilities `[rows, classes]` imply.
pub(super) fn parameters_of(
    task: Task<'_>,
    responsibilities: &[f64],
    classes: usize,
    pseudocount: f64,
) -> Result<Parameters> {
    let engine = task.engine(pseudocount);
    let even = engine.random_start(classes, &mut Pcg64::seed_from_u64(0));
    engine.maximized(&even, task.active, responsibilities)
}

fn one_start(
    task: Task<'_>,
    classes: usize,
    options: &FitOptions,
    start: usize,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<MixtureFit> {
    let engine = task.engine(options.pseudocount);
    // Starts are far apart, so that neighbouring seeds share none.
    let seed = options.seed.wrapping_add((start as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = || engine.random_start(classes, &mut Pcg64::seed_from_u64(seed));
    let first = match &options.start {
        Start::Random => random(),
        Start::Parameters(parameters) => parameters.clone(),
        Start::Given(given) => {
            let (what, found, expected) = ("given responsibilities", given.len(), task.rows.rows() * classes);
            if found != expected {
                return Err(EmError::Length { what, found, expected }.into());
            }
            parameters_of(task, given, classes, options.pseudocount)?
        }
    };
    let mut rounds = Vec::new();
    let (parameters, fit) = engine.fit(&first, task.active, options.settings, &mut |round| {
        rounds.push(round);
        observe(start, round);
    })?;
    let Round { log_likelihood, objective, round } = fit.last;
    let restart = Restart { log_likelihood, objective, rounds: round, stop: fit.stop };
    Ok(MixtureFit { parameters, rounds, stop: fit.stop, restarts: vec![restart] })
}
