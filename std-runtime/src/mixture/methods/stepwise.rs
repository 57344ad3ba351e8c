//! Columns added, or taken away, one by one.

use mixlet_core::em::Round;

use super::{Found, MethodOptions, Step};
use crate::error::{Error, MixtureProblem, Result};
use crate::mixture::fit::{MixtureFit, Restart};
use crate::mixture::stepwise::{StepwiseFit, StepwiseOptions, StepwiseStep, Until, backward, forward};
use crate::mixture::{Method, RowsView, Select};

/// Finds columns and so many classes; the columns that are left speak alone.
pub(super) fn find(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let until = match options.select {
        Select::First(asked) if asked > rows.columns() => {
            return Err(Error::Mixture(MixtureProblem::Select { asked, columns: rows.columns() }));
        }
        Select::First(columns) => Until::Columns(columns),
        Select::All | Select::Auto => Until::Bic,
    };
    let settings = StepwiseOptions { classes, until, ..StepwiseOptions::default() };
    let search = if options.method == Method::Forward { forward } else { backward };
    let mut done = 0;
    let StepwiseFit { active, steps, parameters, fit, .. } =
        search(rows, weights, &settings, &mut |step: &StepwiseStep| {
            done += 1;
            let StepwiseStep { log_likelihood, .. } = *step;
            observe(0, Round { round: done, log_likelihood, objective: log_likelihood });
        })?;
    let Round { log_likelihood, objective, round } = fit.last;
    let restart = Restart { log_likelihood, objective, rounds: round, stop: fit.stop };
    let fit = MixtureFit { parameters, rounds: vec![fit.last], stop: fit.stop, restarts: vec![restart] };
    Ok(Found {
        selected: Some(active),
        is_fitted_by_selected: true,
        steps: (1..).zip(steps).map(|(round, step)| step_of(round, step)).collect(),
        ..Found::of(fit)
    })
}

fn step_of(round: u32, step: StepwiseStep) -> Step {
    let StepwiseStep { columns, information, active, log_likelihood, .. } = step;
    Step { round, joined: columns, classes: None, columns: active, log_likelihood, information }
}
