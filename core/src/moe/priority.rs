//! Who is placed first where an expert has less room than slots.

use super::config::Router;
use super::error::{RouterError, check_length};
use super::routing::{RoutingCache, RoutingShape};
use super::rows::blocks_of_mut;
use crate::real::Real;
use crate::sort::sort_by;

/// Which slots are placed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Priority {
    /// All first choices in token order, then all second choices, and so on: every source's default.
    Ranks,
    /// Token by token, each with all its choices: the causal order for more than one expert per token.
    Slots,
    /// As `Ranks`, but tokens come by falling probability of their first choice (batch prioritised routing, V-MoE,
    /// arXiv:2106.05974). Looks at the whole batch: for encoders only.
    Batch,
    /// Slots by falling gate, whatever their rank: each expert keeps the highest gates among those who chose it
    /// (mesh's Switch-max, DeepSpeed's drop policy `probs`). Looks at the whole batch too.
    Gates,
}

/// The order in which slots are placed; a group's part of a slice holds that group's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// All first choices in token order, then all second ones, ….
    Ranks,
    /// Token by token.
    Slots,
    /// As `Ranks`, with the tokens in this order `[T]`.
    RanksOf(&'a [u32]),
    /// Slots in this order `[S]`: one of your own, too (DeepSpeed's random token selection, say).
    SlotsOf(&'a [u32]),
}

/// Integers that [`order`] needs.
pub fn order_len(router: &Router, shape: RoutingShape) -> usize {
    match router.config().priority {
        _ if shape.top_k.is_none() => 0,
        Priority::Ranks | Priority::Slots => 0,
        Priority::Batch => shape.tokens,
        Priority::Gates => shape.slots,
    }
}

/// The order that the router's priority gives to a routing; ties go to the lower token or slot.
///
/// `memory` holds [`order_len`] values. Batch priority sorts: time grows with `T · ln T`.
///
/// ```
/// # use mixlet_core::moe::*;
/// let config = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 }, priority: Priority::Batch, ..RouterConfig::default() };
/// let router = config.check().unwrap();
/// let shape = router.shape(Phase::Eval, 3).unwrap();
/// let (mut reals, mut integers, mut memory) = ([0.0_f32; 9], [0; 12], [0; 3]);
/// let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
/// let logits = [0.1, 0.0, 0.0, 0.9, 0.2, 0.0];
/// let routed = route(&router, Phase::Eval, &RouterInput::of_logits(&logits), storage).unwrap();
/// assert_eq!(order(&router, &routed.cache, routed.routing.gates, &mut memory), Ok(Order::RanksOf(&[1, 2, 0])));
/// ```
pub fn order<'a, R: Real>(
    router: &Router,
    cache: &RoutingCache<'_, R>,
    gates: &[R],
    memory: &'a mut [u32],
) -> Result<Order<'a>, RouterError> {
    let shape = cache.shape;
    check_length("order", memory.len(), order_len(router, shape))?;
    let Some(top_k) = shape.top_k else {
        return Ok(Order::Slots);
    };
    (0..).zip(memory.iter_mut()).for_each(|(nth, number)| *number = nth);
    let low = R::from_f64(f64::NEG_INFINITY);
    match router.config().priority {
        Priority::Ranks => Ok(Order::Ranks),
        Priority::Slots => Ok(Order::Slots),
        Priority::Batch => {
            let of = |token: u32| first_probability(cache, token as usize, top_k).unwrap_or(low);
            for group in blocks_of_mut(memory, shape.group_tokens) {
                sort_by(group, |a, b| of(a) > of(b));
            }
            Ok(Order::RanksOf(memory))
        }
        Priority::Gates => {
            let of = |slot: u32| gates.get(slot as usize).copied().unwrap_or(low);
            for group in blocks_of_mut(memory, shape.group_tokens.saturating_mul(top_k)) {
                sort_by(group, |a, b| of(a) > of(b));
            }
            Ok(Order::SlotsOf(memory))
        }
    }
}

fn first_probability<R: Real>(cache: &RoutingCache<'_, R>, token: usize, top_k: usize) -> Option<R> {
    let expert = *cache.chosen.get(token * top_k)? as usize;
    cache
        .probabilities
        .get(token * cache.shape.experts + expert)
        .filter(|_| expert < cache.shape.experts)
        .copied()
}
