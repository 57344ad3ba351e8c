//! Stagewise EM: classes split, and columns become active, where the model explains the data least.

use mixlet_core::em::{ActiveColumns, FitSettings};

use super::engine::Engine;
use super::pairs::Dependence;
use super::stages::{Splits, Stages};
use super::{Parameters, RowsView};
use crate::error::Result;

/// The usual [`StagewiseOptions::level`]: one set of noise in a thousand has a pair that passes.
pub const LEVEL: f64 = 0.999;

/// How stagewise EM goes; the default is that of arXiv:1506.02975.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StagewiseOptions {
    /// Classes to arrive at.
    pub classes: usize,
    /// Rounds at most.
    pub rounds: u32,
    /// What ends the rounds before.
    pub stop: StagewiseStop,
    /// Least gain of [`stop`](Self::stop), in nats.
    pub tolerance: f64,
    /// No probability is below this when a round's expectation starts.
    pub floor: f64,
    /// How far a split moves a class's copies apart.
    pub step: f64,
    /// Only pairs that a G test tells from chance are split along and become active, at this level over all pairs and
    /// classes together, active pairs again while classes are missing; none without such pairs. As published, without a
    /// level: then columns of nothing but noise join in the end.
    pub level: Option<f64>,
    /// A round updates the active columns only.
    pub partial: bool,
    /// Rounds of EM with all columns at the end.
    pub refinement_rounds: u32,
}

impl Default for StagewiseOptions {
    fn default() -> Self {
        Self {
            classes: 2,
            rounds: 30,
            stop: StagewiseStop::Likelihood,
            tolerance: 1e-3,
            floor: 0.002,
            step: 0.05,
            level: None,
            partial: false,
            refinement_rounds: 20,
        }
    }
}

/// What ends the rounds of stagewise EM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StagewiseStop {
    /// The log-likelihood gained less than the tolerance, and all classes exist.
    #[default]
    Likelihood,
    /// The largest unexplained information fell by less than the tolerance, and all classes exist.
    Information,
    /// All classes exist.
    Classes,
    /// All rounds are done.
    Rounds,
}

/// A round of stagewise EM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StagewiseRound {
    /// The round, from 1.
    pub round: u32,
    /// The most dependent pair the round began with; none where no two columns depend on each other beyond chance.
    pub pair: Option<Dependence>,
    /// Number of classes after it.
    pub classes: usize,
    /// Number of active columns after it.
    pub active: usize,
    /// Log-likelihood of all columns after it, each at the probabilities that a full maximisation gives it.
    pub log_likelihood: f64,
    /// `max_(i, j) Σ_k π_k · I_k(i, j)` after it: what the classes leave unexplained, with a level beyond chance.
    pub most_information: f64,
}

/// A mixture found stage by stage.
#[derive(Clone, Debug)]
pub struct StagewiseFit {
    /// The active columns, in the order in which they became so.
    pub active: Vec<u32>,
    /// Every round.
    pub rounds: Vec<StagewiseRound>,
    /// Whether the rounds ended before all were done.
    pub converged: bool,
    /// Parameters of all columns after the last round.
    pub parameters: Parameters,
    /// `[rows, classes]`: responsibilities by the active columns.
    pub responsibilities: Vec<f64>,
    /// The fit after the refinement.
    pub refined: Refined,
}

/// A mixture of all columns.
#[derive(Clone, Debug)]
pub struct Refined {
    /// Its parameters.
    pub parameters: Parameters,
    /// `[rows, classes]`.
    pub responsibilities: Vec<f64>,
    /// Log-likelihood of all columns.
    pub log_likelihood: f64,
}

/// Fits a mixture by stagewise EM; `weights` `[rows]` say how often each row counts, `observe` sees every round.
pub fn stagewise(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &StagewiseOptions,
    observe: &mut dyn FnMut(&StagewiseRound),
) -> Result<StagewiseFit> {
    let engine = Engine { rows, weights, pseudocount: 0.0 };
    let splits = Splits { floor: options.floor, step: options.step, level: options.level };
    let mut stages = Stages::new(engine, splits)?;
    let mut rounds: Vec<StagewiseRound> = Vec::new();
    let mut converged = false;
    while !converged && (rounds.len() as u32) < options.rounds.max(1) {
        let round = options.advance(&mut stages, rounds.len() as u32 + 1)?;
        converged = options.is_reached(rounds.last(), &round);
        observe(&round);
        rounds.push(round);
    }
    let refined = options.refine(&stages)?;
    let Stages { active, parameters, responsibilities, .. } = stages;
    Ok(StagewiseFit { active: active.order, rounds, converged, parameters, responsibilities, refined })
}

impl StagewiseOptions {
    /// Splits along the most dependent pair, if it is not yet active, then one step of EM.
    fn advance(&self, stages: &mut Stages<'_>, round: u32) -> Result<StagewiseRound> {
        let pair = stages.unexplained.most_dependent;
        if let Some(pair) = pair {
            let added = pair.columns.map(|column| stages.active.add(column));
            // As published, a pair splits a class once. Beyond chance it is evidence as often as it shows.
            let splits = added.contains(&true) || self.level.is_some();
            if splits && stages.parameters.classes() < self.classes {
                stages.split(pair)?;
            }
        }
        stages.floor();
        let (engine, all) = (stages.engine, ActiveColumns::default());
        let expected = engine.expectation(&stages.parameters, stages.active.columns(false))?;
        let full = engine.maximized(&stages.parameters, all, &expected.responsibilities)?;
        let log_likelihood = engine.expectation(&full, all)?.log_likelihood;
        let parameters = match self.partial {
            true => {
                let active = stages.active.columns(true);
                engine.maximized(&stages.parameters, active, &expected.responsibilities)?
            }
            false => full,
        };
        stages.set(parameters)?;
        stages.look()?;
        let (classes, active) = (stages.parameters.classes(), stages.active.order.len());
        let most_information = stages.unexplained.most_information;
        Ok(StagewiseRound { round, pair, classes, active, log_likelihood, most_information })
    }

    /// EM with all columns.
    fn refine(&self, stages: &Stages<'_>) -> Result<Refined> {
        let (engine, all) = (stages.engine, ActiveColumns::default());
        let start = engine.maximized(&stages.parameters, all, &stages.responsibilities)?;
        let settings = FitSettings { rounds: self.refinement_rounds, tolerance: 0.0 };
        let (parameters, _) = engine.fit(&start, all, settings, &mut |_| ())?;
        let expected = engine.expectation(&parameters, all)?;
        let (responsibilities, log_likelihood) = (expected.responsibilities, expected.log_likelihood);
        Ok(Refined { parameters, responsibilities, log_likelihood })
    }

    fn is_reached(&self, before: Option<&StagewiseRound>, round: &StagewiseRound) -> bool {
        let is_below =
            |gain: &dyn Fn(&StagewiseRound) -> f64| before.is_some_and(|b| gain(b) < self.tolerance);
        (round.classes >= self.classes || round.pair.is_none())
            && match self.stop {
                StagewiseStop::Likelihood => is_below(&|before| round.log_likelihood - before.log_likelihood),
                StagewiseStop::Information => {
                    is_below(&|before| before.most_information - round.most_information)
                }
                StagewiseStop::Classes => true,
                StagewiseStop::Rounds => false,
            }
    }
}
