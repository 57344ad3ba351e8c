//! Lengths and prior of a mixture of binary columns.

use super::tables::entries;
use crate::em::criteria::free_parameters;
use crate::em::lanes::{ALIGNMENT_SLACK, padded};
use crate::em::{ActiveColumns, EmError, check_number};
use crate::observations::PackedRows;

/// The lengths of a mixture of binary columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BernoulliShape {
    /// Binary columns.
    pub columns: usize,
    /// Latent classes.
    pub classes: usize,
    /// Whether values may be missing.
    pub missing: bool,
}

impl BernoulliShape {
    /// The shape for a set of rows; at least one class.
    pub fn of(rows: PackedRows<'_>, classes: usize) -> Self {
        Self { columns: rows.columns(), classes: classes.max(1), missing: rows.present().is_some() }
    }

    /// Values the model keeps: `classes + columns · classes`.
    pub fn parameters_len(&self) -> usize {
        self.classes + self.columns * self.classes
    }

    /// Numbers that a fit estimates.
    pub fn free_parameters(&self) -> usize {
        free_parameters(self.classes, self.columns)
    }

    /// Expected sufficient statistics: as many as parameters, and once more `columns · classes` where values may be missing.
    pub fn statistics_len(&self) -> usize {
        self.parameters_len() + if self.missing { self.columns * self.classes } else { 0 }
    }

    /// Values of the tables that the expectation adds up.
    pub fn tables_len(&self) -> usize {
        self.entries() * padded(self.classes) + ALIGNMENT_SLACK
    }

    /// Entries of one block of lanes: of the values and, where they may be missing, of what is absent.
    pub(super) fn entries(&self) -> usize {
        entries(self.columns) * if self.missing { 2 } else { 1 }
    }
}

/// Pseudocounts and floor of a mixture of binary columns: Beta priors, whose mode is found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BernoulliPrior {
    /// Added to the mass of every class.
    pub class_pseudocount: f64,
    /// Added to the expected ones of every column and class.
    pub ones: f64,
    /// Added to the expected zeros of every column and class.
    pub zeros: f64,
    /// Probabilities stay within `[floor, 1 − floor]`; at most one half.
    pub floor: f64,
}

impl Default for BernoulliPrior {
    /// Maximum likelihood, with a floor that only keeps logarithms finite.
    fn default() -> Self {
        Self { class_pseudocount: 0.0, ones: 0.0, zeros: 0.0, floor: 1e-10 }
    }
}

impl BernoulliPrior {
    pub(super) fn check(&self) -> Result<(), EmError> {
        check_number("class pseudocount", self.class_pseudocount)?;
        check_number("pseudocount of ones", self.ones)?;
        check_number("pseudocount of zeros", self.zeros)?;
        if self.floor > 0.0 && self.floor <= 0.5 {
            Ok(())
        } else {
            Err(EmError::Floor { value: self.floor, most: 0.5 })
        }
    }

    /// A probability held to the floor.
    #[inline(always)]
    pub(super) fn within_floor(&self, probability: f64) -> f64 {
        // Not `clamp`: it panics where the floor is no number.
        probability.max(self.floor).min(1.0 - self.floor)
    }

    /// The probabilities of one column, from expected ones and values present by class.
    #[inline(always)]
    pub(super) fn estimate(&self, ones: &[f64], present: &[f64], probabilities: &mut [f64]) {
        for ((probability, ones), present) in probabilities.iter_mut().zip(ones).zip(present) {
            let total = present + self.ones + self.zeros;
            if total > 0.0 {
                *probability = self.within_floor((ones + self.ones) / total);
            }
        }
    }

    /// `Σ c · ln π + Σ (a · ln p + b · ln(1 − p))` over the active columns.
    pub(super) fn log_density(
        &self,
        shares: &[f64],
        probabilities: &[f64],
        active: ActiveColumns<'_>,
    ) -> f64 {
        let mut total = 0.0;
        if self.class_pseudocount > 0.0 {
            total += self.class_pseudocount * shares.iter().map(|&share| libm::log(share)).sum::<f64>();
        }
        if self.ones > 0.0 || self.zeros > 0.0 {
            let columns = probabilities.chunks_exact(shares.len().max(1)).enumerate();
            for (_, probabilities) in columns.filter(|&(column, _)| active.contains(column)) {
                let density = |&p: &f64| self.ones * libm::log(p) + self.zeros * libm::log(1.0 - p);
                total += probabilities.iter().map(density).sum::<f64>();
            }
        }
        total
    }
}
