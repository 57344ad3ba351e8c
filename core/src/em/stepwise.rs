//! Stepwise EM: rows in small batches, statistics that forget.
//!
//! After batch `n` the statistics are `s ← (1 − γ) · s + γ · s̄`, `γ = (n + d)^−κ`, with `s̄` those of the batch, on
//! the scale of all rows; then the model is maximised (Cappé & Moulines 2009; Liang & Klein 2009). Many small
//! steps a pass reach a good fit in fewer passes than whole rounds do, and rows need not all be there at once.

use core::ops::Range;

use super::{EmError, LatentClassModel, ModelShape, check_length, sweep};

/// How fast a stepwise fit forgets.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StepSize {
    /// `κ`: above one half and at most one; the smaller, the faster old rows are forgotten.
    pub exponent: f64,
    /// `d`: at least one; the larger, the less the first batches overwrite the start.
    pub delay: f64,
}

impl Default for StepSize {
    /// Liang & Klein's middle, for batches of a hundred rows or so: slower and faster forgetting both cost passes.
    fn default() -> Self {
        Self { exponent: 0.7, delay: 2.0 }
    }
}

impl StepSize {
    /// For batches of one row: a single row is no estimate, so the first hundreds move the start only a little.
    pub fn of_single_rows() -> Self {
        Self { exponent: 0.9, delay: 200.0 }
    }

    /// `(n + d)^−κ`.
    ///
    /// ```
    /// # use mixlet_core::em::stepwise::StepSize;
    /// assert_eq!(StepSize { exponent: 1.0, delay: 2.0 }.of_step(0), 0.5);
    /// assert!((StepSize { exponent: 0.5, delay: 2.0 }.of_step(7) - 1.0 / 3.0).abs() < 1e-15);
    /// ```
    pub fn of_step(&self, step: u32) -> f64 {
        libm::pow(f64::from(step) + self.delay, -self.exponent)
    }

    /// Exponents outside `(½, 1]` do not converge; a delay below one makes steps above one.
    pub fn check(&self) -> Result<(), EmError> {
        if !(self.exponent > 0.5 && self.exponent <= 1.0) {
            return Err(EmError::StepExponent(self.exponent));
        }
        if self.delay >= 1.0 && self.delay.is_finite() { Ok(()) } else { Err(EmError::StepDelay(self.delay)) }
    }
}

/// Values of scratch that [`step`] needs: statistics of the batch, and what a sweep works in.
pub fn step_scratch_len(shape: ModelShape) -> usize {
    shape.statistics + shape.sweep_scratch_len()
}

/// One step: expectation of a batch of rows, statistics moved toward it, maximisation.
///
/// Returns the batch's log-likelihood before the step. `statistics` are those of a start (all zero before the
/// first step, if the first batch is to be believed), on the scale of all of the model's rows.
pub fn step<M: LatentClassModel>(
    model: &mut M,
    batch: Range<usize>,
    (step, size): (u32, StepSize),
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    let shape = model.shape();
    size.check()?;
    check_length("statistics", statistics.len(), shape.statistics)?;
    check_length("scratch", scratch.len(), step_scratch_len(shape))?;
    let share = batch.len() as f64 / shape.rows as f64;
    let (of_batch, scratch) = scratch.split_at_mut_checked(shape.statistics).unwrap_or_default();
    of_batch.fill(0.0);
    let log_likelihood = sweep(model, batch, of_batch, scratch)?;
    if share > 0.0 {
        let gamma = size.of_step(step);
        for (sum, value) in statistics.iter_mut().zip(of_batch.iter()) {
            *sum += gamma * (*value / share - *sum);
        }
        model.maximize(statistics);
    }
    Ok(log_likelihood)
}
