//! How experts were used: loads, drops, idle places. Cheap, and made from the plan that runs anyway.

use super::dispatch::{DROPPED, DispatchPlan};
use super::error::RouterError;
use super::routing::{Routing, RoutingShape, UNSENT, is_real};
use crate::real::Real;

/// Figures of one plan.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Usage {
    /// Slots that asked for an expert: the sum of all loads.
    pub slots: u64,
    /// Slots that got a row.
    pub dispatched: u64,
    /// Slots that did not: `slots − dispatched`.
    pub dropped: u64,
    /// Share of tokens without a row: only the residual carries them.
    pub left_behind: f64,
    /// Mean over experts of rows taken over rows they may take; `None` without a capacity. 1 for expert choice that finds enough tokens.
    pub utilisation: Option<f64>,
    /// Standard deviation of loads over their mean.
    pub load_variation: f64,
    /// The largest load as a share of all.
    pub largest_share: f64,
    /// Entropy of the shares of loads over `ln E`: 1 for even loads, 0 for one expert with everything. 1 with a single expert.
    pub load_entropy: f64,
    /// Experts nobody asked for.
    pub dead_experts: u32,
    /// Mean gate of the slots that got a row.
    pub confidence: f64,
}

/// Figures of a plan; `real` `[T]` is false for padding, which is not left behind. Without slots all shares are 0.
///
/// ```
/// # use mixlet_core::moe::*;
/// // Both tokens ask for expert 0 of 2, which takes one.
/// let config = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 },
///     capacity: CapacityRule::Fixed(ByPhase::both(1)), ..RouterConfig::default() };
/// let shape = config.check().unwrap().shape(Phase::Eval, 2).unwrap();
/// let routing = Routing { token_offsets: &[0, 1, 2], experts: &[0, 0], gates: &[0.75, 0.5] };
/// let mut memory = [0; PlanStorage::len(2, 2)];
/// let storage = PlanStorage::new(2, 2, &mut memory).unwrap();
/// let plan = plan(&routing, Admission::new(shape, Order::Ranks), storage).unwrap();
/// let usage = usage(shape, &plan, &routing, None).unwrap();
/// assert_eq!((usage.slots, usage.dropped, usage.dead_experts), (2, 1, 1));
/// assert_eq!((usage.left_behind, usage.utilisation, usage.confidence), (0.5, Some(0.5), 0.75));
/// ```
pub fn usage<R: Real>(
    shape: RoutingShape,
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    real: Option<&[bool]>,
) -> Result<Usage, RouterError> {
    plan.check(routing)?;
    let loads = plan.expert_load.iter().map(|&load| u64::from(load));
    let slots: u64 = loads.clone().sum();
    let dispatched = plan.rows() as u64;
    let kept = routing.gates.iter().zip(plan.slot_rows).filter(|(_, row)| **row != DROPPED);
    let gates: f64 = kept.map(|(gate, _)| gate.to_f64()).sum();
    let most = plan.expert_load.iter().copied().max().unwrap_or(0);
    Ok(Usage {
        slots,
        dispatched,
        dropped: slots.saturating_sub(dispatched),
        left_behind: left_behind(plan, routing, real),
        utilisation: shape.capacity.map(|capacity| utilisation(shape, plan, capacity)),
        load_variation: load_variation(loads.clone()),
        largest_share: share(f64::from(most), slots as f64),
        load_entropy: load_entropy(loads.clone()),
        dead_experts: u32::try_from(plan.expert_load.iter().filter(|load| **load == 0).count())
            .unwrap_or(u32::MAX),
        confidence: share(gates, dispatched as f64),
    })
}

/// A part of a whole; nothing of nothing is 0.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn left_behind<R: Real>(plan: &DispatchPlan<'_>, routing: &Routing<'_, R>, real: Option<&[bool]>) -> f64 {
    let (mut tokens, mut left) = (0.0, 0.0);
    for (_, slots) in routing.slots().enumerate().filter(|(token, _)| is_real(real, *token)) {
        let rows = plan.slot_rows.get(slots).unwrap_or(&[]);
        tokens += 1.0;
        left += f64::from(u8::from(rows.iter().all(|&row| row == DROPPED)));
    }
    share(left, tokens)
}

fn utilisation(shape: RoutingShape, plan: &DispatchPlan<'_>, capacity: u32) -> f64 {
    let places = f64::from(capacity) * shape.groups() as f64;
    share(plan.runs().map(|run| share(run.len() as f64, places)).sum(), plan.expert_load.len() as f64)
}

/// Standard deviation of loads over their mean; 0 for even loads, and for none.
///
/// ```
/// # use mixlet_core::moe::usage::load_variation;
/// assert_eq!(load_variation([3, 1].into_iter()), 0.5);
/// ```
pub fn load_variation(loads: impl Iterator<Item = u64> + Clone) -> f64 {
    let experts = loads.clone().count() as f64;
    let mean = share(loads.clone().sum::<u64>() as f64, experts);
    let squares: f64 = loads.map(|load| (load as f64 - mean) * (load as f64 - mean)).sum();
    share(libm::sqrt(share(squares, experts)), mean)
}

/// Entropy of the shares of loads over `ln E`: 1 for even loads and for a single expert, 0 without any load.
///
/// ```
/// # use mixlet_core::moe::usage::load_entropy;
/// assert!((load_entropy([5, 0, 5, 0].into_iter()) - 0.5).abs() < 1e-15);
/// ```
pub fn load_entropy(loads: impl Iterator<Item = u64> + Clone) -> f64 {
    let (experts, slots) = (loads.clone().count(), loads.clone().sum::<u64>());
    if experts < 2 || slots == 0 {
        return if slots == 0 { 0.0 } else { 1.0 };
    }
    let shares = loads.filter(|load| *load > 0).map(|load| load as f64 / slots as f64);
    shares.map(|share| -share * libm::log(share)).sum::<f64>() / libm::log(experts as f64)
}

/// Share of the choices after the first that a policy did not send.
///
/// ```
/// # use mixlet_core::moe::{UNSENT, usage::unsent_share};
/// assert_eq!(unsent_share(&[1, UNSENT, 2, 0], &[1, 3, 2, 0]), 0.25);
/// ```
pub fn unsent_share(experts: &[u32], chosen: &[u32]) -> f64 {
    let real = experts.iter().zip(chosen).filter(|(_, chosen)| **chosen != UNSENT);
    let (mut all, mut unsent) = (0.0, 0.0);
    for (&expert, _) in real {
        all += 1.0;
        unsent += f64::from(u8::from(expert == UNSENT));
    }
    share(unsent, all)
}
