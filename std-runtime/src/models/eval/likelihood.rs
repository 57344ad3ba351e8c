//! How likely a model finds some tokens after others.

use mixlet_core::nn::IGNORED;
use rayon::prelude::*;

use crate::error::Result;
use crate::models::Reading;
use crate::models::forward::Watch;
use crate::models::{Batch, Model};

/// A run whose last tokens are predicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// What an encoder reads; empty for a decoder alone.
    pub input: Vec<u32>,
    /// What is predicted, and for a decoder alone what goes before.
    pub output: Vec<u32>,
    /// The first token of the output that is predicted.
    pub from: usize,
}

/// What a model says of a predicted token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// The logarithm of its probability.
    pub log: f64,
    /// Whether no other token is likelier.
    pub best: bool,
}

impl Scored {
    /// Tokens that are predicted.
    pub fn tokens(&self) -> usize {
        self.output.len() - self.from
    }

    /// Tokens that are read.
    pub fn read(&self) -> usize {
        self.input.len() + self.output.len()
    }

    /// How much a model reads of it.
    pub fn reading(&self) -> Reading {
        Reading { sequences: 1, encoder: self.input.len(), decoder: Some(self.output.len()) }
    }

    /// The run as a batch of one sequence.
    pub fn batch(&self) -> Batch {
        let label = |(place, id): (usize, &u32)| if place < self.from { IGNORED } else { *id };
        let labels = Some(self.output.iter().enumerate().map(label).collect());
        let ids = if self.input.is_empty() { self.output.clone() } else { self.input.clone() };
        Batch { sequences: 1, ids, labels, ..Batch::default() }
    }

    /// What the model says of every predicted token.
    pub fn likelihoods(&self, model: &Model, watch: &mut impl Watch) -> Result<Vec<Likelihood>> {
        let logits = model.logits(&self.batch(), watch)?;
        // A decoder alone predicts a token from those before it; another one reads its labels one place later.
        let first = if model.config.encoder.is_some() { self.from } else { self.from - 1 };
        let rows = logits.par_chunks_exact(model.config.vocab).skip(first);
        Ok(rows.zip(&self.output[self.from..]).map(|(row, id)| of_row(row, *id)).collect())
    }
}

/// `logit − ln Σ exp(logit)`, in `f64`.
fn of_row(logits: &[f32], id: u32) -> Likelihood {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let own = logits[id as usize];
    Likelihood { log: f64::from(own) - f64::from(most) - sum.ln(), best: own == most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_a_row_sum_to_one() {
        let logits = [1.0, -2.0, 80.0, 79.0];
        let all: Vec<Likelihood> = (0..4).map(|id| of_row(&logits, id)).collect();
        assert!((all.iter().map(|it| it.log.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(all.iter().map(|it| it.best).collect::<Vec<_>>(), [false, false, true, false]);
        assert!((all[2].log - all[3].log - 1.0).abs() < 1e-12);
    }

    #[test]
    fn tokens_that_are_not_predicted_are_ignored() {
        let scored = Scored { input: vec![], output: vec![5, 6, 7], from: 2 };
        assert_eq!((scored.tokens(), scored.batch().labels), (1, Some(vec![IGNORED, IGNORED, 7])));
        let scored = Scored { input: vec![1], output: vec![5], from: 0 };
        assert_eq!((scored.batch().ids, scored.batch().labels), (vec![1], Some(vec![5])));
    }
}
