//! A tree of two-class mixtures, each with columns of its own.
//!
//! ```text
//!   row ─► root: P(left), P(right) ─► nodes ─► … ─► leaves: the product along the path
//! ```
//!
//! Given its parameters a node is a logistic classifier on a few columns: one number per code, added up. Leaves know
//! nothing of labels; a labelled sample gives each leaf the shares of the labels that reach it.

use crate::em::{EmError, check_length};
use crate::observations::{Codes, MISSING, PackedRows};

/// A two-class mixture of some columns, as one number per code.
#[derive(Clone, Copy, Debug)]
pub struct TwoClasses<'a> {
    /// The columns it looks at.
    pub columns: &'a [u32],
    /// `[columns + 1]`: where each column's codes start in [`log_odds`](Self::log_odds).
    pub offsets: &'a [u32],
    /// `ln P(code | second class) − ln P(code | first class)`.
    pub log_odds: &'a [f64],
    /// `ln` of the second class's share over the first's.
    pub share_log_odds: f64,
}

impl TwoClasses<'_> {
    /// Writes the number per code, from `probabilities` `[cells, 2]`.
    ///
    /// ```
    /// # use mixlet_core::select::tree::TwoClasses;
    /// let mut log_odds = [f64::NAN; 2];
    /// TwoClasses::fill_log_odds(&[0.8, 0.2, 0.2, 0.8], &mut log_odds).unwrap();
    /// assert!((log_odds[1] - 4.0f64.ln()).abs() < 1e-12 && log_odds[0] == -log_odds[1]);
    /// ```
    pub fn fill_log_odds(probabilities: &[f64], log_odds: &mut [f64]) -> Result<(), EmError> {
        check_length("probabilities", probabilities.len(), 2 * log_odds.len())?;
        for (out, [first, second]) in log_odds.iter_mut().zip(probabilities.as_chunks::<2>().0) {
            *out = libm::log(*second) - libm::log(*first);
        }
        Ok(())
    }

    /// The probability of the second class given a row of bits; a missing value says nothing.
    pub fn second_of_bits(&self, rows: PackedRows<'_>, row: usize) -> f64 {
        self.second(|column| rows.value(row, column).map(usize::from))
    }

    /// The probability of the second class given a row of codes; a missing value says nothing.
    pub fn second_of_codes(&self, rows: Codes<'_>, row: usize) -> f64 {
        let values = rows.row(row);
        self.second(|column| {
            values.get(column).filter(|&&code| code != MISSING).map(|&code| usize::from(code))
        })
    }

    #[inline(always)]
    fn second(&self, code: impl Fn(usize) -> Option<usize>) -> f64 {
        let mut sum = self.share_log_odds;
        for (&column, &offset) in self.columns.iter().zip(self.offsets) {
            if let Some(code) = code(column as usize) {
                sum += self.log_odds.get(offset as usize + code).copied().unwrap_or(0.0);
            }
        }
        1.0 / (1.0 + libm::exp(-sum))
    }
}

/// The share of each label in each leaf: `shares[l, c] = (Σ_n p[n, l]·[label of n is c] + s·c̄) / (Σ_n p[n, l] + s)`, with
/// `c̄` the label's share of all labelled rows; `s` is `pseudocount`, so that a leaf nobody reaches says what all say.
///
/// `leaves` is `[rows, L]`; rows whose label is not below the number of labels `C` are passed over. `shares` is `[L, C]`.
pub fn leaf_label_shares(
    leaves: &[f64],
    labels: &[u32],
    pseudocount: f64,
    label_count: usize,
    shares: &mut [f64],
) -> Result<(), EmError> {
    let leaf_count = shares.len() / label_count.max(1);
    check_length("leaf posteriors", leaves.len(), labels.len() * leaf_count)?;
    check_length("label shares", shares.len(), leaf_count * label_count)?;
    shares.fill(0.0);
    let known = || labels.iter().filter(|&&label| (label as usize) < label_count);
    let total = known().count() as f64;
    for (posterior, &label) in leaves.chunks_exact(leaf_count.max(1)).zip(labels) {
        if (label as usize) < label_count {
            let sums = shares.iter_mut().skip(label as usize).step_by(label_count);
            sums.zip(posterior).for_each(|(sum, value)| *sum += value);
        }
    }
    for shares in shares.chunks_exact_mut(label_count.max(1)) {
        let mass = shares.iter().sum::<f64>() + pseudocount;
        for (label, share) in (0..).zip(shares) {
            let of_all = known().filter(|&&known| known == label).count() as f64 / total;
            let prior = if total > 0.0 { pseudocount * of_all } else { 0.0 };
            *share = if mass > 0.0 { (*share + prior) / mass } else { of_all };
        }
    }
    Ok(())
}

/// `out[c] = Σ_l p[l] · shares[l, c]`: the probability of each label for one row's leaf posterior.
///
/// ```
/// # use mixlet_core::select::tree::label_probabilities;
/// let mut out = [f64::NAN; 2];
/// label_probabilities(&[0.75, 0.25], &[1.0, 0.0, 0.2, 0.8], &mut out);
/// assert_eq!(out, [0.8, 0.2]);
/// ```
pub fn label_probabilities(posterior: &[f64], shares: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (value, shares) in posterior.iter().zip(shares.chunks_exact(out.len().max(1))) {
        out.iter_mut().zip(shares).for_each(|(out, share)| *out += value * share);
    }
}
