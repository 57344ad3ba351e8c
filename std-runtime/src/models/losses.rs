//! Losses: cross entropy, and what routers add to it.
//!
//! Routers' losses are counted as transformers does: the layers of a stack are joined first. Switch takes shares by sequence,
//! padding included; Mixtral's family over all tokens but padding. What of a choice counts is a setting of the
//! configuration, [`LossCounting`]: version 5, the default, counts choices before any is dropped.

mod gradients;

use std::borrow::Cow;

use mixlet_core::moe::balance::{Calibration, LoadBalance};
use mixlet_core::moe::logit_losses::{TokenLogits, z_loss_forward};
use mixlet_core::moe::{Policy, RoutingCache, RoutingShape};
use mixlet_core::nn::{CrossEntropy, IGNORED, Loss, Targets, cross_entropy_forward};

use super::batch::Batch;
use super::config::{Block, Experts, LossCounting, LossScope, ModelConfig, RouterLosses, Stack};
use super::forward::{Side, Trace, TracedMixture};
use crate::error::Result;
pub(crate) use gradients::router_gradients;

/// The losses of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// The mean over labels, in nats.
    pub cross_entropy: f64,
    /// What each stack's routers add, before coefficients.
    pub routers: Vec<RouterLoss>,
    /// Cross entropy and routers, as the configuration weighs them.
    pub total: f64,
}

/// What the routers of a stack add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterLoss {
    /// The stack.
    pub side: Side,
    /// Load balance.
    pub balance: f64,
    /// The mean square of the logits' log-sum.
    pub z: f64,
}

/// The losses of a batch's logits, and of what was traced on the way to them.
///
/// `None` where the batch has no labels.
pub fn losses(config: &ModelConfig, batch: &Batch, logits: &[f32], trace: &Trace) -> Result<Option<Losses>> {
    let Some(labels) = &batch.labels else { return Ok(None) };
    let cross_entropy = cross_entropy(config, labels, batch.sequences, logits)?.cross_entropy;
    let stacks = stacks(config, batch, trace);
    let routers = stacks.iter().map(StackRouters::loss).collect::<Result<Vec<_>>>()?;
    let total = cross_entropy + config.router_losses.weighted(&routers);
    Ok(Some(Losses { cross_entropy, routers, total }))
}

impl RouterLosses {
    /// What all routers add.
    pub(crate) fn weighted(&self, routers: &[RouterLoss]) -> f64 {
        routers.iter().map(|loss| self.balance * loss.balance + self.z * loss.z).sum()
    }
}

/// The routers of a stack whose losses count.
struct StackRouters<'a> {
    side: Side,
    experts: &'a Experts,
    joined: Joined,
}

/// The stacks with such routers.
fn stacks<'a>(config: &'a ModelConfig, batch: &Batch, trace: &Trace) -> Vec<StackRouters<'a>> {
    let stacks = config.encoder.iter().map(|stack| (Side::Encoder, stack));
    let counting =
        stacks.chain([(Side::Decoder, &config.decoder)]).filter(|(_, stack)| counts(config, stack));
    let routers = counting.filter_map(|(side, stack)| {
        let experts = experts(stack)?;
        let of_stack = trace.mixtures.iter().filter(|mixture| mixture.side == side);
        let mixtures: Vec<_> = of_stack.map(|mixture| counted(config, experts, mixture)).collect();
        let joined = Joined::new(config.router_losses.over, batch, experts, &mixtures);
        Some(StackRouters { side, experts, joined })
    });
    routers.collect()
}

/// The mean cross entropy of the labels.
pub(super) fn cross_entropy(
    config: &ModelConfig,
    labels: &[u32],
    sequences: usize,
    logits: &[f32],
) -> Result<Loss> {
    let labels = predicted(config, labels, sequences);
    let targets = Targets { labels: &labels, loss_mask: None };
    Ok(cross_entropy_forward(CrossEntropy::plain(config.vocab), targets, logits)?)
}

/// The label that each row of logits predicts: a decoder alone predicts each from the tokens before it.
pub(crate) fn predicted(config: &ModelConfig, labels: &[u32], sequences: usize) -> Vec<u32> {
    let len = (labels.len() / sequences.max(1)).max(1);
    let next = labels.chunks(len).flat_map(|row| row[1..].iter().copied().chain([IGNORED]));
    if config.encoder.is_none() { next.collect() } else { labels.to_vec() }
}

/// The mixtures of a stack, which are alike.
fn experts(stack: &Stack) -> Option<&Experts> {
    stack.layers.iter().flat_map(|layer| &layer.blocks).find_map(|block| match block {
        Block::Experts(experts) => Some(experts),
        _ => None,
    })
}

/// Whether a stack's routers count: in transformers Switch has no loss where every layer is sparse.
fn counts(config: &ModelConfig, stack: &Stack) -> bool {
    let is_mixture = |block: &Block| matches!(block, Block::Experts(_));
    match config.router_losses.over {
        LossScope::None => false,
        LossScope::Tokens => true,
        LossScope::Sequences => !stack.layers.iter().all(|layer| layer.blocks.iter().any(is_mixture)),
    }
}

/// What counts of a mixture.
struct Counted<'a> {
    logits: &'a [f32],
    probabilities: Cow<'a, [f32]>,
    chosen: Cow<'a, [u32]>,
}

fn counted<'a>(config: &ModelConfig, experts: &Experts, mixture: &'a TracedMixture) -> Counted<'a> {
    let TracedMixture { logits, probabilities, chosen, gates, .. } = mixture;
    let mut counted =
        Counted { logits, probabilities: Cow::Borrowed(probabilities), chosen: Cow::Borrowed(chosen) };
    if config.router_losses.counting == LossCounting::Transformers4 {
        if config.router_losses.over == LossScope::Sequences {
            let kept = |(expert, gate): (&u32, &f32)| if *gate == 0.0 { 0 } else { *expert };
            counted.chosen = chosen.iter().zip(gates).map(kept).collect();
        }
        if matches!(experts.router.policy, Policy::SoftmaxAfterTopK { .. }) {
            counted.probabilities = softmax_of_gates(mixture).into();
        }
    }
    counted
}

/// `[tokens, experts]`: the softmax of each token's gates, 0 where an expert was not chosen.
fn softmax_of_gates(mixture: &TracedMixture) -> Vec<f32> {
    let mut out = vec![0.0; mixture.logits.len()];
    let top_k = mixture.chosen.len() * mixture.experts / mixture.logits.len().max(1);
    let tokens = mixture.chosen.chunks(top_k.max(1)).zip(mixture.gates.chunks(top_k.max(1)));
    for (row, (chosen, gates)) in out.chunks_mut(mixture.experts).zip(tokens) {
        chosen.iter().zip(gates).for_each(|(expert, gate)| row[*expert as usize] = *gate);
        row.iter_mut().for_each(|gate| *gate = gate.exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|gate| *gate /= sum);
    }
    out
}

/// The tokens of all layers of a stack as one run of tokens.
struct Joined {
    shape: RoutingShape,
    logits: Vec<f32>,
    probabilities: Vec<f32>,
    chosen: Vec<u32>,
    real: Option<Vec<bool>>,
}

impl Joined {
    fn new(over: LossScope, batch: &Batch, experts: &Experts, mixtures: &[Counted<'_>]) -> Self {
        let count = experts.router.experts as usize;
        let tokens = mixtures.first().map_or(0, |mixture| mixture.logits.len() / count);
        // By sequence, then by layer; or by layer alone.
        let (runs, group_tokens) = match over {
            LossScope::Sequences => (batch.sequences, tokens / batch.sequences.max(1) * mixtures.len()),
            _ => (1, tokens * mixtures.len()),
        };
        let top_k = mixtures.first().map_or(0, |mixture| mixture.chosen.len() / tokens.max(1));
        let real = batch.real.as_ref().filter(|_| over == LossScope::Tokens);
        let shape = RoutingShape {
            tokens: tokens * mixtures.len(),
            experts: count,
            top_k: Some(top_k),
            slots: tokens * mixtures.len() * top_k,
            group_tokens,
            capacity: None,
            scratch: 0,
        };
        Self {
            shape,
            logits: interleaved(runs, mixtures, |mixture| mixture.logits),
            probabilities: interleaved(runs, mixtures, |mixture| &mixture.probabilities),
            chosen: interleaved(runs, mixtures, |mixture| &mixture.chosen),
            real: real.map(|real| real.repeat(mixtures.len())),
        }
    }

    /// The load balance; none where experts choose: there it is perfect.
    fn balance(&self, experts: &Experts) -> Result<Option<LoadBalance<'_>>> {
        if experts.router.policy.top_k().is_none() {
            return Ok(None);
        }
        let Self { shape, probabilities, chosen, real, .. } = self;
        let cache = RoutingCache { shape: *shape, probabilities, chosen };
        let router = experts.router.check()?;
        let mut balance = LoadBalance::new(&router, Calibration::Flaxformer, cache, real.as_deref())?;
        balance.group_tokens = shape.group_tokens;
        Ok(Some(balance))
    }

    fn logits(&self) -> TokenLogits<'_> {
        TokenLogits { logits: &self.logits, experts: self.shape.experts, real: self.real.as_deref() }
    }
}

impl StackRouters<'_> {
    fn loss(&self) -> Result<RouterLoss> {
        let mut log_sums = vec![0.0; self.joined.shape.tokens];
        let balance = match self.joined.balance(self.experts)? {
            Some(balance) => f64::from(balance.forward(&mut vec![0.0; balance.fractions_len()])?),
            None => 0.0,
        };
        let z = f64::from(z_loss_forward(&self.joined.logits(), &mut log_sums)?);
        Ok(RouterLoss { side: self.side, balance, z })
    }
}

/// The first of so many runs of every layer, then the second of every layer, and so on.
fn interleaved<T: Copy>(
    runs: usize,
    mixtures: &[Counted<'_>],
    part: impl for<'a> Fn(&'a Counted<'_>) -> &'a [T],
) -> Vec<T> {
    let run = |nth: usize| {
        mixtures
            .iter()
            .flat_map(|mixture| {
                let values = part(mixture);
                let len = values.len() / runs.max(1);
                values[nth * len..(nth + 1) * len].iter().copied()
            })
            .collect::<Vec<T>>()
    };
    (0..runs).flat_map(run).collect()
}
