//! Who is placed first where an expert has less room than slots.

use rand_core::Rng;

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
    /// As `Ranks`, but tokens come in an order drawn for each group (DeepSpeed's random token selection, `use_rts`): drops
    /// do not fall on the end of sequences. A later token may take an earlier one's place. [`random_order`] draws it.
    Random,
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
        Priority::Batch | Priority::Random => shape.tokens,
        Priority::Gates => shape.slots,
    }
}

/// The order that the router's priority gives to a routing; ties go to the lower token or slot.
///
/// `memory` holds [`order_len`] values. Batch priority sorts: time grows with `T · ln T`. A random priority is an error:
/// it needs a generator, and [`random_order`].
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
        Priority::Random => Err(RouterError::NeedsGenerator),
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

/// The order of [`Priority::Random`]: the tokens of each group shuffled. `memory` holds [`order_len`] values.
///
/// Record and replay need no generator: a recording holds the drops.
///
/// ```
/// # use mixlet_core::{moe::*, rand_core};
/// # struct Always(u32);
/// # impl rand_core::TryRng for Always {
/// #     type Error = core::convert::Infallible;
/// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok(self.0) }
/// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { Ok(self.0.into()) }
/// #     fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// let (policy, priority) = (Policy::Flaxformer { top_k: 1 }, Priority::Random);
/// let router = RouterConfig { experts: 2, policy, priority, ..RouterConfig::default() }.check().unwrap();
/// let shape = router.shape(Phase::Train, 3).unwrap();
/// let mut memory = [0; 3];
/// // A generator that always draws the lowest number: each token changes places with the first.
/// let order = random_order(&router, shape, &mut Always(0), &mut memory).unwrap();
/// assert_eq!(order, Order::RanksOf(&[1, 2, 0]));
/// ```
pub fn random_order<'a>(
    router: &Router,
    shape: RoutingShape,
    random: &mut impl Rng,
    memory: &'a mut [u32],
) -> Result<Order<'a>, RouterError> {
    if shape.top_k.is_none() {
        return Ok(Order::Slots);
    }
    if router.config().priority != Priority::Random {
        return Err(RouterError::NotRandom);
    }
    check_length("order", memory.len(), shape.tokens)?;
    (0..).zip(memory.iter_mut()).for_each(|(nth, number)| *number = nth);
    for group in blocks_of_mut(memory, shape.group_tokens) {
        shuffle(random, group);
    }
    Ok(Order::RanksOf(memory))
}

/// Every order with the same chance, but for what 32 bits do not divide by: Fisher and Yates.
fn shuffle(random: &mut impl Rng, values: &mut [u32]) {
    for last in (1..values.len()).rev() {
        // The high half of a product: a number of 0..=last.
        let drawn = (u64::from(random.next_u32()) * (last as u64 + 1)) >> 32;
        if let Ok([a, b]) = values.get_disjoint_mut([usize::try_from(drawn).unwrap_or(last), last]) {
            core::mem::swap(a, b);
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
