//! What a number of classes is judged by: BIC, ICL, separation, held-out likelihood.

use mixlet_core::em::Stop;
use serde::Serialize;

use super::fit::Restart;

/// A number of classes and how well it fits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Number of classes.
    pub classes: usize,
    /// Log-likelihood of the rows that were fitted, in nats.
    pub log_likelihood: f64,
    /// Parameters that can be chosen freely; columns with one value have none.
    pub free_parameters: usize,
    /// `−2 · log-likelihood + parameters · ln rows`: the smaller, the better.
    pub bic: f64,
    /// BIC + twice the entropy of the classes of all rows.
    pub icl: f64,
    /// Entropy of the classes of all rows, in nats: 0 where every row is sure of its class.
    pub entropy: f64,
    /// `1 − entropy / (rows · ln classes)`: 1 where every row is sure of its class; none for one class.
    pub separation: Option<f64>,
    /// Log-likelihood of a row that took no part, in nats; none where there are none.
    pub held_out: Option<f64>,
    /// Rounds of the best start.
    pub rounds: usize,
    /// Why it ended.
    pub stop: Stop,
    /// How all starts ended.
    pub restarts: Vec<Restart>,
}

/// What a candidate is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// Number of classes.
    pub classes: usize,
    /// Log-likelihood of the rows that were fitted.
    pub log_likelihood: f64,
    /// Entropy of their classes.
    pub entropy: f64,
    /// How many rows they count as.
    pub rows: f64,
    /// Free parameters.
    pub free_parameters: usize,
}

impl Judged {
    /// Bayesian information criterion (Schwarz 1978).
    ///
    /// ```
    /// # use mixlet_runtime::mixture::criteria::Judged;
    /// let judged = Judged { classes: 2, log_likelihood: -100.0, entropy: 3.0, rows: 50.0, free_parameters: 5 };
    /// assert!((judged.bic() - (200.0 + 5.0 * 50f64.ln())).abs() < 1e-12);
    /// assert!((judged.icl() - judged.bic() - 6.0).abs() < 1e-12);
    /// ```
    pub fn bic(&self) -> f64 {
        -2.0 * self.log_likelihood + self.free_parameters as f64 * self.rows.ln()
    }

    /// Integrated completed likelihood (Biernacki, Celeux, Govaert 2000), in its BIC form.
    pub fn icl(&self) -> f64 {
        self.bic() + 2.0 * self.entropy
    }

    /// How sure rows are of their classes.
    pub fn separation(&self) -> Option<f64> {
        (self.classes > 1).then(|| 1.0 - self.entropy / (self.rows * (self.classes as f64).ln()))
    }
}

/// `−Σ w · q · ln q` over posteriors `[rows, classes]`.
pub fn class_entropy(posteriors: &[f64], classes: usize, weights: Option<&[f64]>) -> f64 {
    let row_entropy = |row: &[f64]| -row.iter().filter(|&&q| q > 0.0).map(|q| q * q.ln()).sum::<f64>();
    let rows = posteriors.chunks_exact(classes.max(1)).map(row_entropy);
    match weights {
        None => rows.sum(),
        Some(weights) => rows.zip(weights).map(|(entropy, weight)| entropy * weight).sum(),
    }
}

/// The candidate with the smallest BIC among those that converged, or among all where none did; the first of equals.
pub fn best_by_bic(candidates: &[Candidate]) -> Option<usize> {
    let any_converged = candidates.iter().any(|candidate| candidate.stop == Stop::Converged);
    let counts = |candidate: &Candidate| !any_converged || candidate.stop == Stop::Converged;
    let eligible = candidates.iter().enumerate().filter(|(_, candidate)| counts(candidate));
    eligible.min_by(|(_, a), (_, b)| a.bic.total_cmp(&b.bic)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_that_did_not_converge_are_no_choice() {
        let candidate = |classes, bic, stop| Candidate {
            classes,
            log_likelihood: 0.0,
            free_parameters: 0,
            bic,
            icl: bic,
            entropy: 0.0,
            separation: None,
            held_out: None,
            rounds: 1,
            stop,
            restarts: Vec::new(),
        };
        let limit = Stop::IterationLimit;
        let mut candidates = vec![
            candidate(1, 9.0, Stop::Converged),
            candidate(2, 7.0, Stop::Converged),
            candidate(3, 5.0, limit),
        ];
        assert_eq!(best_by_bic(&candidates), Some(1));
        candidates.iter_mut().for_each(|candidate| candidate.stop = limit);
        assert_eq!(best_by_bic(&candidates), Some(2));
        assert_eq!(best_by_bic(&[]), None);
    }

    #[test]
    fn entropy_counts_rows_by_their_weight() {
        let posteriors = [0.5, 0.5, 1.0, 0.0];
        let ln2 = std::f64::consts::LN_2;
        assert!((class_entropy(&posteriors, 2, None) - ln2).abs() < 1e-15);
        assert!((class_entropy(&posteriors, 2, Some(&[3.0, 1.0])) - 3.0 * ln2).abs() < 1e-15);
    }
}
