//! What routers' losses add to the gradients of logits.

use mixlet_core::moe::Policy;
use mixlet_core::moe::logit_losses::{z_loss_backward, z_loss_forward};

use super::{LossCounting, LossScope, RouterLoss, StackRouters, stacks};
use crate::error::{Result, TrainingProblem};
use crate::models::batch::Batch;
use crate::models::config::{ModelConfig, RouterLosses};
use crate::models::forward::{Side, Trace};

/// The losses of routers, and for every mixture of the trace the gradient by its logits `[tokens, experts]` of these losses as the
/// configuration weighs them, times `share`; none where nothing counts.
pub(crate) fn router_gradients(
    config: &ModelConfig,
    batch: &Batch,
    trace: &Trace,
    share: f64,
) -> Result<(Vec<RouterLoss>, Vec<Vec<f32>>)> {
    let weights = config.router_losses;
    let mut gradients = vec![Vec::new(); trace.mixtures.len()];
    let mut losses = Vec::new();
    for routers in stacks(config, batch, trace) {
        losses.push(routers.loss()?);
        if weights.balance == 0.0 && weights.z == 0.0 {
            continue;
        }
        routers.check_counting(weights.counting)?;
        let of_stack = |(nth, side): (usize, Side)| (side == routers.side).then_some(nth);
        let sides = trace.mixtures.iter().map(|mixture| mixture.side).enumerate();
        let places: Vec<usize> = sides.filter_map(of_stack).collect();
        let runs = if weights.over == LossScope::Sequences { batch.sequences } else { 1 };
        let joined = routers.gradient(weights, share)?;
        for (nth, place) in places.iter().enumerate() {
            gradients[*place] = of_mixture(&joined, runs, (nth, places.len()));
        }
    }
    Ok((losses, gradients))
}

impl StackRouters<'_> {
    /// The probabilities that version 4 makes of gates are no softmax of the logits.
    fn check_counting(&self, counting: LossCounting) -> Result<()> {
        let of_gates = matches!(self.experts.router.policy, Policy::SoftmaxAfterTopK { .. });
        match counting {
            LossCounting::Transformers4 if of_gates => Err(TrainingProblem::LossOfGates.into()),
            _ => Ok(()),
        }
    }

    /// By the logits of all layers, joined as they are.
    fn gradient(&self, weights: RouterLosses, share: f64) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.joined.logits.len()];
        if let Some(balance) = self.joined.balance(self.experts)? {
            let mut fractions = vec![0.0; balance.fractions_len()];
            balance.forward(&mut fractions)?;
            balance.backward(&fractions, (weights.balance * share) as f32, &mut out)?;
        }
        let (logits, mut log_sums) = (self.joined.logits(), vec![0.0; self.joined.shape.tokens]);
        z_loss_forward(&logits, &mut log_sums)?;
        z_loss_backward(&logits, &log_sums, (weights.z * share) as f32, &mut out)?;
        Ok(out)
    }
}

/// The part of the `nth` of so many mixtures, of which each has so many runs.
fn of_mixture(joined: &[f32], runs: usize, (nth, mixtures): (usize, usize)) -> Vec<f32> {
    let len = joined.len() / (runs * mixtures).max(1);
    joined.chunks(len.max(1)).skip(nth).step_by(mixtures).flatten().copied().collect()
}
