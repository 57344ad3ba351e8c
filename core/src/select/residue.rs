//! The residue: dependence between workers that the classes do not explain.
//!
//! `Σ_k π_k · Σ_(i ≠ j) I_k(i, j) / (m·(m − 1))`, with `I_k` the information of two workers' answers
//! among the tasks of class `k`. Without classes it is the *raw* residue, with a fit's posterior the
//! *fitted* one; a good model brings it down to what chance leaves (see [`null`](super::null)).

use super::{Estimator, Pairs};
use crate::em::{EmError, check_length};

/// Sums of pair information, from which residues are read off. Sums add: over workers, threads and hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Residue {
    /// `Σ π_k · I_k(i, j)` over ordered pairs of all workers.
    pub all: f64,
    /// The same over pairs within the selection.
    pub within: f64,
}

impl Residue {
    /// What one worker adds. `masses` `[classes]` are the tasks per class ([`Pairs::class_masses`]),
    /// `selected` `[workers]` the selection; `scratch` is as in [`Pairs::for_each_partner`].
    pub fn of_worker(
        pairs: &Pairs<'_>,
        worker: usize,
        masses: &[f64],
        selected: Option<&[bool]>,
        scratch: &mut [f64],
    ) -> Result<Self, EmError> {
        check_length("class masses", masses.len(), pairs.classes())?;
        let labels = pairs.answers().labels();
        let total = masses.iter().sum::<f64>();
        let is_selected = |worker: usize| selected.is_none_or(|selected| selected.get(worker) == Some(&true));
        let mut residue = Self::default();
        pairs.for_each_partner(worker, scratch, |partner, tables| {
            let mut information = 0.0;
            for (counts, mass) in tables.chunks_exact(labels * labels).zip(masses) {
                information += mass / total * Estimator::Plain.estimate(counts, labels, *mass);
            }
            residue.all += information;
            if is_selected(worker) && is_selected(partner) {
                residue.within += information;
            }
        })?;
        Ok(residue)
    }

    /// The mean over all ordered pairs of `workers` workers; 0 where there is no pair.
    pub fn mean_of_all(&self, workers: usize) -> f64 {
        mean(self.all, workers)
    }

    /// The mean over all ordered pairs of `selected` selected workers; 0 where there is no pair.
    pub fn mean_within(&self, selected: usize) -> f64 {
        mean(self.within, selected)
    }
}

impl core::ops::AddAssign for Residue {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.within += other.within;
    }
}

fn mean(sum: f64, workers: usize) -> f64 {
    let pairs = workers as f64 * (workers as f64 - 1.0);
    if pairs > 0.0 { sum / pairs } else { 0.0 }
}
