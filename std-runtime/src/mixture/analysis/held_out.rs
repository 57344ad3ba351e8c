//! Rows that take no part in a fit and test it.

use mixlet_core::em::{ActiveColumns, UNKNOWN};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{AnalysisOptions, HeldOut, Truth};
use crate::error::Result;
use crate::mixture::fit::{self, MixtureFit, Task};
use crate::mixture::truth::likely_label;
use crate::mixture::view;
use crate::rows::Rows;

/// Which rows are held out, as weights of either part.
pub(super) struct HeldOutRows {
    /// `[rows]`: what each row counts in the fit.
    pub fit_weights: Vec<f64>,
    /// `[rows]`: what it counts in the test.
    pub test_weights: Vec<f64>,
    is_held_out: Vec<bool>,
}

impl HeldOutRows {
    /// Draws a share of the rows, at least one and not all of them.
    pub fn draw(rows: usize, share: f64, options: &AnalysisOptions) -> Self {
        let count = ((rows as f64 * share).round() as usize).clamp(1, rows.saturating_sub(1).max(1));
        let mut order: Vec<usize> = (0..rows).collect();
        let mut random = Pcg64Mcg::seed_from_u64(options.fit.seed);
        // The first places of a shuffle.
        for place in 0..count {
            let rest = (rows - place) as u128;
            order.swap(place, place + ((u128::from(random.next_u64()) * rest) >> 64) as usize);
        }
        let mut is_held_out = vec![false; rows];
        order.iter().take(count).for_each(|&row| is_held_out[row] = true);
        let weight = |row: usize| options.weights.as_ref().map_or(1.0, |weights| weights[row]);
        let weights = |wanted: bool| {
            is_held_out
                .iter()
                .enumerate()
                .map(|(row, &held)| if held == wanted { weight(row) } else { 0.0 })
                .collect()
        };
        Self { fit_weights: weights(false), test_weights: weights(true), is_held_out }
    }

    /// Whether a row is held out.
    pub fn contains(&self, row: usize) -> bool {
        self.is_held_out.get(row).copied().unwrap_or(false)
    }

    /// What the rows count as together.
    pub fn mass(&self) -> f64 {
        self.test_weights.iter().sum()
    }

    /// Log-likelihood of the rows under a fit, by the active columns.
    pub fn log_likelihood(&self, rows: &Rows, fit: &MixtureFit, active: Option<&[u64]>) -> Result<f64> {
        let active = ActiveColumns { mask: active, partial: false };
        let task = Task { rows: view(rows)?, weights: Some(&self.test_weights), active };
        fit::posteriors(task, &fit.parameters).map(|(_, log_likelihood)| log_likelihood)
    }

    /// How a fit does on the rows.
    pub fn score(
        &self,
        rows: &Rows,
        fit: &MixtureFit,
        active: Option<&[u64]>,
        posteriors: &[f64],
        options: &AnalysisOptions,
        truth: Option<&Truth>,
    ) -> Result<HeldOut> {
        let classes = fit.parameters.shares.len();
        let error_rate = options.truth.as_ref().zip(truth).and_then(|(labels, truth)| {
            let known = (0..rows.len()).filter(|&row| self.contains(row) && labels.of_rows[row] != UNKNOWN);
            let (mut all, mut wrong) = (0u32, 0u32);
            for row in known {
                let posterior = &posteriors[row * classes..][..classes];
                let found = likely_label(posterior, &truth.label_shares, truth.names.len());
                all += 1;
                wrong += u32::from(found != labels.of_rows[row] as usize);
            }
            (all > 0).then(|| f64::from(wrong) / f64::from(all))
        });
        let log_likelihood = self.log_likelihood(rows, fit, active)?;
        let rows = self.is_held_out.iter().filter(|held| **held).count();
        Ok(HeldOut { rows, weight: self.mass(), log_likelihood, error_rate })
    }
}
