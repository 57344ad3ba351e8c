//! Stagewise EM, refined with all columns.

use mixlet_core::em::{Round, Stop};

use super::{Found, MethodOptions, Step};
use crate::error::Result;
use crate::mixture::fit::{MixtureFit, Restart};
use crate::mixture::stagewise::{LEVEL, StagewiseFit, StagewiseOptions, StagewiseRound, stagewise};
use crate::mixture::{RowsView, Select};

/// Finds so many classes: as published or, with [`Select::Auto`], by what is beyond chance.
pub(super) fn find(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let level = (options.select == Select::Auto).then_some(LEVEL);
    let options = StagewiseOptions { classes, level, ..StagewiseOptions::default() };
    let round = |round: &StagewiseRound| Round {
        round: round.round,
        log_likelihood: round.log_likelihood,
        objective: round.log_likelihood,
    };
    let StagewiseFit { active, rounds, converged, responsibilities, refined, .. } =
        stagewise(rows, weights, &options, &mut |stage| observe(0, round(stage)))?;
    let stop = if converged { Stop::Converged } else { Stop::IterationLimit };
    let log_likelihood = refined.log_likelihood;
    let restart = Restart { log_likelihood, objective: log_likelihood, rounds: rounds.len() as u32, stop };
    let fit = MixtureFit {
        parameters: refined.parameters,
        rounds: rounds.iter().map(round).collect(),
        stop,
        restarts: vec![restart],
    };
    let step = |stage: &StagewiseRound| Step {
        round: stage.round,
        joined: stage.pair.map_or(Vec::new(), |pair| pair.columns.to_vec()),
        classes: Some(stage.classes),
        columns: stage.active,
        log_likelihood: stage.log_likelihood,
        information: stage.most_information,
    };
    Ok(Found {
        selected: Some(active),
        steps: rounds.iter().map(step).collect(),
        by_selected: Some(responsibilities),
        ..Found::of(fit)
    })
}
