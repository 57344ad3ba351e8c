//! Numbers of classes that were tried, and the best of them.

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
}
