//! Which columns make the classes: added one by one, or taken away one by one.
//!
//! ```text
//!   forward    the most dependent pair ─► EM ─► the column that the classes explain least, or that gains most ─► EM ─► …
//!   backward   EM with all columns ─► without the least relevant one ─► EM ─► …
//! ```

mod backward;
mod forward;

use std::ops::Range;

use mixlet_core::em::{ActiveColumns, Fit, FitSettings};
use mixlet_core::select::relevance::Evidence;

use super::engine::Engine;
use super::{Parameters, RowsView};
use crate::error::Result;

pub use backward::backward;
pub use forward::forward;

/// When columns are no longer added, or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Until {
    /// So many columns are active.
    Columns(usize),
    /// No candidate exceeds chance at this level, over all candidates together. Forward tests the dependence with active
    /// columns that the classes do not explain, so what they explain already is not added; backward tests the relevance.
    Level(f64),
    /// No candidate's dependence on the classes pays for its parameters by BIC (Dean & Raftery 2010), with the
    /// price of searching many columns (Chen & Chen 2008).
    #[default]
    Bic,
}

/// How columns are selected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepwiseOptions {
    /// Classes of the mixture.
    pub classes: usize,
    /// When to stop.
    pub until: Until,
    /// Rounds of EM after each step.
    pub rounds: u32,
    /// How the last fit, with the selected columns, ends.
    pub settings: FitSettings,
    /// No probability is below this when a class is split.
    pub floor: f64,
    /// How far a split moves a class's copies apart.
    pub step: f64,
}

impl Default for StepwiseOptions {
    fn default() -> Self {
        let (floor, step) = (0.002, 0.05);
        Self { classes: 2, until: Until::Bic, rounds: 10, settings: FitSettings::default(), floor, step }
    }
}

/// A step of a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct StepwiseStep {
    /// The column added or taken away; the first step of forward selection adds two.
    pub columns: Vec<u32>,
    /// Forward: what the candidate says about active columns beyond the classes, `g(i)` (of the first pair `I(i, j)`).
    /// Backward: the relevance of the column taken away. In nats.
    pub information: f64,
    /// What the criterion compares with 0: BIC's gain, or `2·n·information` less the chi-square quantile; 0 without one.
    pub excess: f64,
    /// Number of active columns after the step.
    pub active: usize,
    /// Log-likelihood of the active columns after it.
    pub log_likelihood: f64,
}

/// A mixture and the columns that make it.
#[derive(Clone, Debug)]
pub struct StepwiseFit {
    /// The active columns: in the order of their addition, or by falling relevance.
    pub active: Vec<u32>,
    /// Every step.
    pub steps: Vec<StepwiseStep>,
    /// Parameters of all columns; one class where no columns depend on each other.
    pub parameters: Parameters,
    /// `[rows, classes]`: by the active columns.
    pub responsibilities: Vec<f64>,
    /// Log-likelihood of the active columns.
    pub log_likelihood: f64,
    /// How the last fit ended.
    pub fit: Fit,
}

impl Engine<'_> {
    /// The last fit of a selection: EM with the active columns, then probabilities of all.
    fn finish(
        &self,
        parameters: &Parameters,
        active: (Vec<u32>, ActiveColumns<'_>),
        steps: Vec<StepwiseStep>,
        settings: FitSettings,
    ) -> Result<StepwiseFit> {
        let (order, mask) = active;
        let (fitted, fit) = self.fit(parameters, mask, settings, &mut |_| ())?;
        let expected = self.expectation(&fitted, mask)?;
        let all = ActiveColumns { partial: false, ..mask };
        let parameters = self.maximized(&fitted, all, &expected.responsibilities)?;
        let (responsibilities, log_likelihood) = (expected.responsibilities, expected.log_likelihood);
        Ok(StepwiseFit { active: order, steps, parameters, responsibilities, log_likelihood, fit })
    }

    /// Weight of all rows.
    fn mass(&self) -> f64 {
        self.weights.map_or(self.rows.rows() as f64, |weights| weights.iter().sum())
    }

    /// What a column gains by depending on classes whose responsibilities do not use it.
    fn evidence(&self, column: u32, responsibilities: &[f64], parameters: &Parameters) -> Result<Evidence> {
        let place = column as usize;
        let Range { start, end } = self.rows.cells(place);
        let classes = parameters.classes();
        let probabilities = &parameters.probabilities[start * classes..end * classes];
        let codes = (0..self.rows.rows()).map(|row| match self.rows {
            RowsView::Bits(bits) => bits.value(row, place).map(usize::from),
            RowsView::Codes(codes) => codes.cell(row, place).map(|cell| cell as usize - start),
        });
        let mut counts = vec![0.0; end - start];
        Ok(Evidence::of_column(codes, self.weights, responsibilities, probabilities, &mut counts)?)
    }
}
