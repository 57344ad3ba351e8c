//! Columns taken away one by one.

use mixlet_core::em::{ActiveColumns, FitSettings};
use mixlet_core::select::null::chi_square_quantile;
use mixlet_core::select::relevance::{level_of_each, relevance};
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::{StepwiseFit, StepwiseOptions, StepwiseStep, Until};
use crate::error::Result;
use crate::mixture::engine::Engine;
use crate::mixture::stages::Active;
use crate::mixture::stagewise::{StagewiseOptions, stagewise};
use crate::mixture::{Parameters, RowsView};

/// Selects columns by taking the least relevant away, and fits the mixture of those left.
///
/// The fit of all columns that it begins with is the likeliest of [`stagewise`] EM's, refined, and of some random starts.
/// `observe` sees every step.
pub fn backward(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &StepwiseOptions,
    observe: &mut dyn FnMut(&StepwiseStep),
) -> Result<StepwiseFit> {
    let engine = Engine { rows, weights, pseudocount: 0.0 };
    let start = first_fit(engine, options)?;
    let mut search =
        Search { engine, options: *options, active: Active::all(rows.columns()), parameters: start };
    let mut steps = Vec::new();
    while let Some(without) = search.candidate()? {
        observe(&without.step);
        search.active.remove(without.column);
        search.parameters = without.parameters;
        steps.push(without.step);
    }
    let order = search.by_relevance();
    let mask = search.active.columns(true);
    engine.finish(&search.parameters, (order, mask), steps, options.settings)
}

/// The likeliest fit of all columns.
fn first_fit(engine: Engine<'_>, options: &StepwiseOptions) -> Result<Parameters> {
    let StepwiseOptions { classes, floor, step, .. } = *options;
    let staged = StagewiseOptions { classes, floor, step, ..StagewiseOptions::default() };
    let refined = stagewise(engine.rows, engine.weights, &staged, &mut |_| ())?.refined;
    let settings = FitSettings { rounds: staged.refinement_rounds + staged.rounds, tolerance: 0.0 };
    let mut random = Pcg64Mcg::seed_from_u64(options.seed);
    let mut best = (refined.log_likelihood, refined.parameters);
    for _ in 0..options.restarts {
        let start = engine.random_start(classes, &mut random);
        let (parameters, fit) = engine.fit(&start, ActiveColumns::default(), settings, &mut |_| ())?;
        if fit.last.log_likelihood > best.0 {
            best = (fit.last.log_likelihood, parameters);
        }
    }
    Ok(best.1)
}

struct Search<'a> {
    engine: Engine<'a>,
    options: StepwiseOptions,
    active: Active,
    parameters: Parameters,
}

impl Search<'_> {
    /// The mixture without the least relevant column; none where that is to stay.
    fn candidate(&self) -> Result<Option<Without>> {
        let Some(&column) = self.by_relevance().last() else { return Ok(None) };
        let (information, count) = (self.relevance(column), self.active.order.len());
        if matches!(self.options.until, Until::Columns(columns) if count <= columns) {
            return Ok(None);
        }
        let mut others = self.active.clone();
        others.remove(column);
        let settings = FitSettings { rounds: self.options.rounds, tolerance: 0.0 };
        let (parameters, fit) =
            self.engine.fit(&self.parameters, others.columns(true), settings, &mut |_| ())?;
        let excess = match self.options.until {
            Until::Columns(_) => 0.0,
            Until::Level(level) => {
                let each = level_of_each(level, self.engine.rows.columns() as f64);
                2.0 * self.engine.mass() * information - chi_square_quantile(each, self.freedom(column))
            }
            Until::Bic => self.bic(column, &parameters, &others)?,
        };
        let (columns, active, log_likelihood) = (vec![column], count - 1, fit.last.log_likelihood);
        let step = StepwiseStep { columns, information, excess, active, log_likelihood };
        Ok((excess <= 0.0).then_some(Without { column, parameters, step }))
    }

    /// The active columns by falling relevance; ties go to the lower column.
    fn by_relevance(&self) -> Vec<u32> {
        let mut order: Vec<(u32, f64)> =
            self.active.order.iter().map(|&column| (column, self.relevance(column))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.into_iter().map(|(column, _)| column).collect()
    }

    fn relevance(&self, column: u32) -> f64 {
        let range = self.engine.rows.cells(column as usize);
        let classes = self.parameters.classes();
        let probabilities = &self.parameters.probabilities[range.start * classes..range.end * classes];
        relevance(&self.parameters.shares, probabilities)
    }

    fn freedom(&self, column: u32) -> f64 {
        let levels = self.engine.rows.levels(column as usize) as f64;
        (self.parameters.classes() as f64 - 1.0) * (levels - 1.0)
    }

    /// What a column gains by depending on the classes of the others, less its price.
    fn bic(&self, column: u32, parameters: &Parameters, others: &Active) -> Result<f64> {
        let expected = self.engine.expectation(parameters, others.columns(true))?;
        let only = Active::only(self.engine.rows.columns(), column);
        let dependent = self.engine.maximized(parameters, only.columns(true), &expected.responsibilities)?;
        let evidence = self.engine.evidence(column, &expected.responsibilities, &dependent)?;
        Ok(evidence.bic(self.freedom(column), self.engine.rows.columns() as f64))
    }
}

/// The mixture without a column.
struct Without {
    column: u32,
    parameters: Parameters,
    step: StepwiseStep,
}
