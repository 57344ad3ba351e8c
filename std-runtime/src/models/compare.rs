//! How close a model is to the one it was made from: what both predict, and where their routers send the same tokens.

use std::collections::BTreeSet;

use mixlet_core::nn::IGNORED;
use rayon::prelude::*;
use serde::Serialize;

use super::Model;
use super::batch::Batch;
use super::config::ModelConfig;
use super::forward::{MixtureSeen, Side, Watch};
use super::losses::{cross_entropy, predicted};
use crate::error::{LmProblem, Result};

/// A model beside the one it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Labels that were predicted.
    pub labels: u64,
    /// `exp` of the mean cross entropy of the original.
    pub original_perplexity: f64,
    /// The same of the other model.
    pub perplexity: f64,
    /// By how much it is larger, as a fraction of the original's.
    pub change: f64,
    /// Mean over labels of `Σ p · ln(p / q)`, in nats: `p` are the original's probabilities, `q` the other model's.
    pub divergence: f64,
    /// The share of labels for which both find the same id likeliest.
    pub same_best: f64,
    /// Where routers send tokens; `None` for models without.
    pub routing: Option<RoutingAgreement>,
}

/// How often the routers of two models choose alike; before any capacity, and not counting padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RoutingAgreement {
    /// Tokens times layers with routers.
    pub choices: u64,
    /// The share of them for which both models choose the same experts.
    pub equal: f64,
    /// The mean share of a choice's experts that both models choose.
    pub overlap: f64,
}

/// Compares two models that differ in their weights alone.
///
/// A decoder predicts its own ids where a batch has no labels. Sums run over all batches, so that each label and each choice
/// counts the same.
pub fn compare(original: &Model, other: &Model, batches: &[Batch]) -> Result<Comparison> {
    if original.config != other.config {
        return Err(LmProblem::OtherModel.into());
    }
    let mut count = 0.0;
    let (mut losses, mut agreement) = ([0.0; 2], Agreement::default());
    let mut distance = Distance::default();
    for batch in batches {
        let targets = labels(&original.config, batch)?;
        let mut seen = [Choices::default(), Choices::default()];
        let mut both = [const { Vec::new() }; 2];
        for (((model, seen), sum), kept) in
            [original, other].into_iter().zip(&mut seen).zip(&mut losses).zip(&mut both)
        {
            let logits = model.logits(batch, seen)?;
            let loss = cross_entropy(&model.config, &targets, batch.sequences, &logits)?;
            *sum += loss.cross_entropy * loss.weight;
            count += loss.weight / 2.0;
            *kept = logits;
        }
        distance.add(&original.config, &predicted(&original.config, &targets, batch.sequences), &both);
        agreement.add(original, (batch, &targets), &seen);
    }
    if count == 0.0 {
        return Err(LmProblem::NoLabels.into());
    }
    let [original_perplexity, perplexity] = losses.map(|sum| f64::exp(sum / count));
    Ok(Comparison {
        labels: count as u64,
        original_perplexity,
        perplexity,
        change: perplexity / original_perplexity - 1.0,
        divergence: distance.nats / count,
        same_best: distance.same as f64 / count,
        routing: agreement.shares(),
    })
}

/// What a batch is to predict.
pub fn labels(config: &ModelConfig, batch: &Batch) -> Result<Vec<u32>, LmProblem> {
    match (&batch.labels, &config.encoder) {
        (Some(labels), _) => Ok(labels.clone()),
        (None, Some(_)) => Err(LmProblem::NoLabels),
        (None, None) => {
            let label = |(place, id): (usize, &u32)| if is_real(batch, place) { *id } else { IGNORED };
            Ok(batch.ids.iter().enumerate().map(label).collect())
        }
    }
}

/// Whether a token is none of padding.
fn is_real(batch: &Batch, token: usize) -> bool {
    batch.real.as_ref().and_then(|real| real.get(token)).is_none_or(|real| *real)
}

/// How far apart two models' probabilities are, summed over labels.
#[derive(Default)]
struct Distance {
    nats: f64,
    same: u64,
}

impl Distance {
    fn add(&mut self, config: &ModelConfig, labels: &[u32], [original, other]: &[Vec<f32>; 2]) {
        let rows = original.par_chunks_exact(config.vocab).zip(other.par_chunks_exact(config.vocab));
        let wanted = rows.zip(labels).filter(|(_, label)| **label != IGNORED);
        let each: Vec<(f64, bool)> = wanted.map(|(rows, _)| distance(rows)).collect();
        self.nats += each.iter().map(|(nats, _)| nats).sum::<f64>();
        self.same += each.iter().filter(|(_, same)| *same).count() as u64;
    }
}

/// `Σ p · ln(p / q)` of the softmax of two rows, and whether their largest values stand at the same place.
fn distance((original, other): (&[f32], &[f32])) -> (f64, bool) {
    let [(most, log_sum), (other_most, other_log_sum)] = [original, other].map(|row| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
        (most, f64::from(most) + sum.ln())
    });
    let part = |(p, q): (&f32, &f32)| {
        let [p, q] = [f64::from(*p) - log_sum, f64::from(*q) - other_log_sum];
        p.exp() * (p - q)
    };
    let nats = original.iter().zip(other).map(part).sum();
    let place = |row: &[f32], most: f32| row.iter().position(|logit| *logit == most);
    (nats, place(original, most) == place(other, other_most))
}

/// The experts of every token, mixture by mixture.
#[derive(Default)]
struct Choices {
    mixtures: Vec<(Side, Vec<BTreeSet<u32>>)>,
}

impl Watch for Choices {
    fn mixture(&mut self, side: Side, _: usize, seen: &MixtureSeen<'_>) {
        let experts = |slots| seen.routed.cache.chosen.get(slots).unwrap_or_default();
        let tokens = seen.routed.routing.slots().map(|slots| experts(slots).iter().copied().collect());
        self.mixtures.push((side, tokens.collect()));
    }
}

/// Sums over tokens and mixtures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreement {
    choices: u64,
    equal: u64,
    overlap: f64,
}

impl Agreement {
    fn add(&mut self, model: &Model, (batch, labels): (&Batch, &[u32]), seen: &[Choices; 2]) {
        let [original, other] = seen;
        for ((side, original), (_, other)) in original.mixtures.iter().zip(&other.mixtures) {
            let counts = |token: usize| match (side, &model.config.encoder) {
                (Side::Decoder, Some(_)) => labels[token] != IGNORED,
                _ => is_real(batch, token),
            };
            let pairs = original.iter().zip(other).enumerate().filter(|(token, _)| counts(*token));
            pairs.for_each(|(_, (original, other))| self.add_choice(original, other));
        }
    }

    /// Counts the experts that two routers choose for a token.
    pub fn add_choice(&mut self, original: &BTreeSet<u32>, other: &BTreeSet<u32>) {
        let most = original.len().max(other.len());
        let shared = original.intersection(other).count();
        self.choices += 1;
        self.equal += u64::from(original == other);
        self.overlap += if most == 0 { 1.0 } else { shared as f64 / most as f64 };
    }

    /// What the sums come to; nothing without choices.
    pub fn shares(&self) -> Option<RoutingAgreement> {
        let choices = self.choices as f64;
        let (equal, overlap) = (self.equal as f64 / choices, self.overlap / choices);
        (self.choices > 0).then_some(RoutingAgreement { choices: self.choices, equal, overlap })
    }
}
