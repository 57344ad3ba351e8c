//! Columns taken away one by one.

use mixlet_core::em::{ActiveColumns, FitSettings};
use mixlet_core::select::null::chi_square_quantile;
use mixlet_core::select::relevance::{level_of_each, relevance};

use super::{StepwiseFit, StepwiseOptions, StepwiseStep, Until};
use crate::error::Result;
use crate::mixture::engine::Engine;
use crate::mixture::stages::Active;
use crate::mixture::stagewise::{StagewiseOptions, StagewiseStop, stagewise};
use crate::mixture::{Parameters, RowsView};

/// Selects columns by taking the least relevant away, and fits the mixture of those left.
///
/// The fit of all columns that it begins with is that of [`stagewise`] EM, refined. `observe` sees every step.
pub fn backward(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &StepwiseOptions,
    observe: &mut dyn FnMut(&StepwiseStep),
) -> Result<StepwiseFit> {
    let StepwiseOptions { classes, floor, step, .. } = *options;
    let start =
        StagewiseOptions { classes, floor, step, stop: StagewiseStop::Likelihood, ..Default::default() };
    let start = stagewise(rows, weights, &start, &mut |_| ())?.refined.parameters;
    let engine = Engine { rows, weights, pseudocount: 0.0 };
    let mut search =
        Search { engine, options: *options, active: Active::all(rows.columns()), parameters: start };
    let mut steps = Vec::new();
    while let Some((column, information, excess)) = search.candidate()? {
        let step = search.remove(column, information, excess)?;
        observe(&step);
        steps.push(step);
    }
    let order = search.by_relevance();
    let mask = search.active.columns(true);
    engine.finish(&search.parameters, (order, mask), steps, options.settings)
}

struct Search<'a> {
    engine: Engine<'a>,
    options: StepwiseOptions,
    active: Active,
    parameters: Parameters,
}

impl Search<'_> {
    /// The least relevant column, its relevance, and how much speaks for it; none where it is to stay.
    fn candidate(&self) -> Result<Option<(u32, f64, f64)>> {
        let Some(&column) = self.by_relevance().last() else { return Ok(None) };
        let information = self.relevance(column);
        let count = self.active.order.len();
        let (excess, goes) = match self.options.until {
            Until::Columns(columns) => (0.0, count > columns),
            Until::Level(level) => {
                let each = level_of_each(level, count as f64);
                let quantile = chi_square_quantile(each, self.freedom(column));
                let excess = 2.0 * self.engine.mass() * information - quantile;
                (excess, excess <= 0.0)
            }
            Until::Bic => {
                let excess = self.bic(column)?;
                (excess, excess <= 0.0)
            }
        };
        Ok(goes.then_some((column, information, excess)))
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

    /// What the column gains by depending on the classes of the others, less its price.
    fn bic(&self, column: u32) -> Result<f64> {
        let mut others = self.active.clone();
        others.remove(column);
        let expected = self.engine.expectation(&self.parameters, others.columns(true))?;
        let only = Active::only(self.engine.rows.columns(), column);
        let refitted =
            self.engine.maximized(&self.parameters, only.columns(true), &expected.responsibilities)?;
        let evidence = self.engine.evidence(column, &expected.responsibilities, &refitted)?;
        Ok(evidence.bic(self.freedom(column), self.engine.rows.columns() as f64))
    }

    /// Takes a column away and fits the others.
    fn remove(&mut self, column: u32, information: f64, excess: f64) -> Result<StepwiseStep> {
        self.active.remove(column);
        let settings = FitSettings { rounds: self.options.rounds, tolerance: 0.0 };
        let active: ActiveColumns<'_> = self.active.columns(true);
        let (parameters, fit) = self.engine.fit(&self.parameters, active, settings, &mut |_| ())?;
        self.parameters = parameters;
        let (columns, active) = (vec![column], self.active.order.len());
        let log_likelihood = fit.last.log_likelihood;
        Ok(StepwiseStep { columns, information, excess, active, log_likelihood })
    }
}
