//! Whether a column matters to the classes: its relevance, and the evidence that it depends on them at all.

use crate::em::{EmError, check_length};

/// Relevance of a column: the mutual information of its code and the class under the model, in nats.
///
/// `R = Σ_k π_k Σ_a C[a, k] · ln( C[a, k] / Σ_l π_l C[a, l] )`, with `0 · ln 0 = 0`; `probabilities` is `[levels, K]`.
/// For a column without any, `2·n·R` is about chi-square with `(levels − 1)·(K − 1)` degrees of freedom.
///
/// ```
/// # use mixlet_core::select::relevance::relevance;
/// // The code is the class: as much as there is to know about two equal classes.
/// assert!((relevance(&[0.5, 0.5], &[1.0, 0.0, 0.0, 1.0]) - core::f64::consts::LN_2).abs() < 1e-15);
/// assert_eq!(relevance(&[0.5, 0.5], &[0.3, 0.3, 0.7, 0.7]), 0.0);
/// ```
pub fn relevance(shares: &[f64], probabilities: &[f64]) -> f64 {
    let mut total = 0.0;
    for of_code in probabilities.chunks_exact(shares.len().max(1)) {
        let margin: f64 = shares.iter().zip(of_code).map(|(share, probability)| share * probability).sum();
        for (share, &probability) in shares.iter().zip(of_code) {
            if share * probability > 0.0 {
                total += share * probability * libm::log(probability / margin);
            }
        }
    }
    total.max(0.0)
}

/// Log-likelihood that a column gains by depending on the classes, and the rows that say so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// `Σ_n w_n · ln( Σ_k q[n, k]·C[x_n, k] ) − Σ_a n_a · ln(n_a / n)`, in nats.
    pub log_likelihood: f64,
    /// Weight of the rows in which the column is not missing.
    pub rows: f64,
}

impl Evidence {
    /// The evidence for a column of codes `codes` `[rows]` (none: missing), from responsibilities `[rows, K]` that do not
    /// use it and its probabilities `[levels, K]`. `counts` `[levels]` is memory.
    ///
    /// This is the difference between the mixture with the column and the mixture beside an independent column
    /// (Dean & Raftery 2010), at the given parameters: no more than what refitting would gain.
    pub fn of_column(
        codes: impl Iterator<Item = Option<usize>>,
        weights: Option<&[f64]>,
        responsibilities: &[f64],
        probabilities: &[f64],
        counts: &mut [f64],
    ) -> Result<Self, EmError> {
        let classes = probabilities.len() / counts.len().max(1);
        check_length("probabilities", probabilities.len(), classes * counts.len())?;
        counts.fill(0.0);
        let mut log_likelihood = 0.0;
        for (row, (code, posterior)) in codes.zip(responsibilities.chunks_exact(classes.max(1))).enumerate() {
            let weight = weights.map_or(1.0, |weights| weights.get(row).copied().unwrap_or(0.0));
            let Some(code) = code.filter(|_| weight > 0.0) else { continue };
            let of_code = probabilities.get(code * classes..(code + 1) * classes).unwrap_or(&[]);
            let probability: f64 = posterior.iter().zip(of_code).map(|(q, c)| q * c).sum();
            log_likelihood += weight * libm::log(probability.max(f64::MIN_POSITIVE));
            if let Some(count) = counts.get_mut(code) {
                *count += weight;
            }
        }
        let rows: f64 = counts.iter().sum();
        let shown = counts.iter().filter(|&&count| count > 0.0);
        log_likelihood -= shown.map(|count| count * libm::log(count / rows)).sum::<f64>();
        Ok(Self { log_likelihood, rows })
    }

    /// Twice the gain less its price by BIC, `freedom · ln n`, and `2 · ln(candidates)` for having looked at so many
    /// columns (Chen & Chen 2008). Positive: the column belongs to the mixture.
    ///
    /// ```
    /// # use mixlet_core::select::relevance::Evidence;
    /// let evidence = Evidence { log_likelihood: 10.0, rows: 1000.0 };
    /// assert!((evidence.bic(1.0, 50.0) - (20.0 - 1000f64.ln() - 2.0 * 50f64.ln())).abs() < 1e-12);
    /// ```
    pub fn bic(&self, freedom: f64, candidates: f64) -> f64 {
        2.0 * self.log_likelihood
            - freedom * libm::log(self.rows.max(1.0))
            - 2.0 * libm::log(candidates.max(1.0))
    }
}

/// The level at which each of several candidates is tested so that all of them together are tested at `level`.
///
/// ```
/// # use mixlet_core::select::relevance::level_of_each;
/// assert!((level_of_each(0.95, 50.0) - 0.999).abs() < 1e-12);
/// ```
pub fn level_of_each(level: f64, candidates: f64) -> f64 {
    1.0 - (1.0 - level) / candidates.max(1.0)
}
