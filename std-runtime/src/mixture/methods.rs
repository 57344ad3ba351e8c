//! One face for all methods: how each finds classes and the columns that speak for them.

use mixlet_core::em::{ActiveColumns, Round, Stop};
use mixlet_core::select::null::null_information;
use mixlet_core::select::{Estimator, order_by_information};

use super::fit::{self, FitOptions, MixtureFit, Restart, Start, Task};
use super::model::mask;
use super::pairs::ColumnPairs;
use super::stagewise::{StagewiseFit, StagewiseOptions, StagewiseRound, stagewise};
use super::{Method, RowsView, Select};
use crate::error::{Error, MixtureProblem, Result};

/// A column that is independent of all others is selected once in a hundred data sets.
const CHANCE: f64 = 0.01;

/// What a method found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Parameters of all columns, and how the fit went.
    pub fit: MixtureFit,
    /// The columns that speak for the classes, in the order they were selected; none: all.
    pub selected: Option<Vec<u32>>,
    /// Whether only they speak in the end.
    pub is_fitted_by_selected: bool,
    /// How classes and columns were found one after the other.
    pub steps: Vec<Step>,
    /// `[rows, classes]`: classes by the selected columns alone, where the fit is of all.
    pub by_selected: Option<Vec<f64>>,
}

/// A round in which classes or columns may have been added.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// The round, from 1.
    pub round: u32,
    /// The columns that depended most on each other.
    pub pair: Option<[u32; 2]>,
    /// Classes after it.
    pub classes: usize,
    /// Selected columns after it.
    pub columns: usize,
    /// Log-likelihood after it, in nats.
    pub log_likelihood: f64,
    /// The largest information of two columns that the classes leave unexplained, in nats.
    pub information: f64,
}

/// What a method is told.
#[derive(Clone, Copy, Debug)]
pub struct MethodOptions<'a> {
    /// The method.
    pub method: Method,
    /// How many columns speak.
    pub select: Select,
    /// How EM goes.
    pub fit: &'a FitOptions,
}

/// Finds so many classes.
pub fn find(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    match options.method {
        Method::Em => find_by_em(rows, weights, classes, options, observe),
        Method::Stagewise => find_by_stages(rows, weights, classes, observe),
    }
}

/// EM with all columns, or with those that the others tell most about.
fn find_by_em(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let selected = select_by_information(rows, weights, options.select)?;
    let words = selected.as_ref().map(|selected| mask(selected, rows.columns()));
    let active = ActiveColumns { mask: words.as_deref(), partial: false };
    let mut fit = fit::fit(Task { rows, weights, active }, classes, options.fit, observe)?;
    if matches!(options.fit.start, Start::Random) {
        fit.parameters.sort_classes();
    }
    let is_fitted_by_selected = selected.is_some();
    Ok(Found { fit, selected, is_fitted_by_selected, steps: Vec::new(), by_selected: None })
}

/// The columns that all others tell most about, best first; none: all columns.
fn select_by_information(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    select: Select,
) -> Result<Option<Vec<u32>>> {
    if select == Select::All {
        return Ok(None);
    }
    let pairs = ColumnPairs::new(rows)?;
    let information = pairs.information(&pairs.whole(weights)?, Estimator::Plain)?;
    let mut order = vec![0; rows.columns()];
    order_by_information(&information, &mut order);
    let count = match select {
        Select::First(asked) if asked > rows.columns() => {
            return Err(Error::Mixture(MixtureProblem::Select { asked, columns: rows.columns() }));
        }
        Select::First(count) => count,
        _ => {
            let freedom = |column: usize| rows.levels(column).saturating_sub(1) as f64;
            let all: f64 = (0..rows.columns()).map(freedom).sum();
            let mass = weights.map_or(rows.rows() as f64, |weights| weights.iter().sum());
            let level = 1.0 - CHANCE / rows.columns() as f64;
            let tells = |&&column: &&u32| {
                let own = freedom(column as usize);
                information[column as usize] > null_information(level, own * (all - own), mass)
            };
            order.iter().take_while(tells).count()
        }
    };
    if count == 0 {
        return Err(Error::Mixture(MixtureProblem::NothingDepends { columns: rows.columns() }));
    }
    order.truncate(count);
    Ok(Some(order))
}

/// Stagewise EM, refined with all columns.
fn find_by_stages(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let options = StagewiseOptions { classes, ..StagewiseOptions::default() };
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
        pair: stage.pair.map(|pair| pair.columns),
        classes: stage.classes,
        columns: stage.active,
        log_likelihood: stage.log_likelihood,
        information: stage.most_information,
    };
    Ok(Found {
        fit,
        selected: Some(active),
        is_fitted_by_selected: false,
        steps: rounds.iter().map(step).collect(),
        by_selected: Some(responsibilities),
    })
}
