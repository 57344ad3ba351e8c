//! From logits to slots: which experts each token goes to, and with what gates.
//!
//! Everything random is drawn first, into a slice; a routing is then a function of its inputs, the same on
//! every backend, and can be repeated.

use rand_core::Rng;

use super::config::{Phase, Router};
use super::error::{RouterError, check_length};
use super::policies::{Policy, Recipe, Scores};
use super::rows::blocks_of_mut;
use super::slices::is_finite;
use super::{capped, expert_choice, token_choice};
use crate::real::Real;

/// Marks a slot that asks for no expert: of a padding token, or a choice that the policy did not send.
pub const UNSENT: u32 = u32::MAX;

/// Slots: token–expert pairs, ordered by token. With `T` tokens and `S` slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing<'a, R = f32> {
    /// `[T + 1]`: token `t` owns slots `token_offsets[t]..token_offsets[t + 1]`, its first choice first.
    pub token_offsets: &'a [u32],
    /// `[S]`: the expert of each slot, or [`UNSENT`].
    pub experts: &'a [u32],
    /// `[S]`: the weight its output gets.
    pub gates: &'a [R],
}

impl<'a, R: Copy> Routing<'a, R> {
    /// Tokens there are.
    pub fn tokens(&self) -> usize {
        self.token_offsets.len().saturating_sub(1)
    }

    /// The range of slots of each token, in order.
    #[inline(always)]
    pub fn slots(&self) -> impl Iterator<Item = core::ops::Range<usize>> + use<'a, R> {
        let ends = self.token_offsets.get(1..).unwrap_or(&[]);
        self.token_offsets.iter().zip(ends).map(|(&start, &end)| start as usize..end as usize)
    }

    /// An error unless offsets rise from 0 to the number of slots and every expert exists.
    pub fn check(&self, experts: usize) -> Result<(), RouterError> {
        check_length("gates", self.gates.len(), self.experts.len())?;
        let mut last = 0;
        for (token, &offset) in self.token_offsets.iter().enumerate() {
            if offset < last || offset as usize > self.experts.len() || (token == 0 && offset != 0) {
                return Err(RouterError::Offset { token });
            }
            last = offset;
        }
        check_length("experts of slots", self.experts.len(), last as usize)?;
        let missing = |&expert: &u32| expert != UNSENT && expert as usize >= experts;
        match self.experts.iter().enumerate().find(|(_, expert)| missing(expert)) {
            Some((slot, &expert)) => Err(RouterError::Expert { slot, expert, experts }),
            None => Ok(()),
        }
    }
}

/// Every length of a routing; [`Router::shape`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingShape {
    /// Tokens `T`.
    pub tokens: usize,
    /// Experts `E`.
    pub experts: usize,
    /// Experts each token chooses; `None` where experts choose.
    pub top_k: Option<usize>,
    /// Slots `S`; where experts choose, at most so many.
    pub slots: usize,
    /// Tokens of a group.
    pub group_tokens: usize,
    /// Rows an expert may take from a group (expert choice: takes); `None` without limit.
    pub capacity: Option<u32>,
    /// Real numbers that the choice needs besides its results.
    pub scratch: usize,
}

impl RoutingShape {
    /// Logits and probabilities: `T · E`.
    pub fn logits_len(&self) -> usize {
        self.tokens.saturating_mul(self.experts)
    }

    /// Groups of tokens.
    pub fn groups(&self) -> usize {
        self.tokens / self.group_tokens.max(1)
    }

    /// Real numbers of [`RoutingStorage`]: probabilities, gates, scratch.
    pub fn reals_len(&self) -> usize {
        self.logits_len().saturating_add(self.slots).saturating_add(self.scratch)
    }

    /// Integers of [`RoutingStorage`]: offsets, chosen, experts, and a count per expert.
    pub fn integers_len(&self) -> usize {
        (self.tokens + 1).saturating_add(self.slots.saturating_mul(2)).saturating_add(self.experts)
    }
}

/// What a router sees of its tokens. Slices that the policy has no use for must be empty.
#[derive(Clone, Copy, Debug)]
pub struct RouterInput<'a, R = f32> {
    /// `[T, E]`; empty for a hash.
    pub logits: &'a [R],
    /// `[T]`: false for padding, which gets no expert and takes no place. `None`: there is none.
    pub real: Option<&'a [bool]>,
    /// `[E]`, DeepSeek-V3: added to scores for the choice alone.
    pub bias: &'a [R],
    /// `[T, E]`, noisy top-k with learned noise: `tokens · W_noise`.
    pub noise_logits: &'a [R],
    /// [`draws_len`](Router::draws_len) random numbers, from [`draw`].
    pub draws: &'a [R],
    /// `[T]`, hash: each token's expert, from [`look_up`](super::hash::look_up).
    pub hashed: &'a [u32],
}

impl<'a, R: Real> RouterInput<'a, R> {
    /// Logits and nothing else.
    pub const fn of_logits(logits: &'a [R]) -> Self {
        Self { logits, real: None, bias: &[], noise_logits: &[], draws: &[], hashed: &[] }
    }

    /// Whether a token is not padding.
    #[inline(always)]
    pub fn is_real(&self, token: usize) -> bool {
        is_real(self.real, token)
    }

    pub(super) fn check(
        &self,
        router: &Router,
        phase: Phase,
        shape: RoutingShape,
    ) -> Result<(), RouterError> {
        let policy = router.config().policy;
        let recipe = policy.recipe(phase);
        let of = |len, wanted| if wanted { len } else { 0 };
        let is_hash = policy == Policy::Hash;
        let has_bias = matches!(policy, Policy::DeepSeekV3 { .. });
        check_length("logits", self.logits.len(), of(shape.logits_len(), !is_hash))?;
        check_length("hashed experts", self.hashed.len(), of(shape.tokens, is_hash))?;
        check_length("bias", self.bias.len(), of(shape.experts, has_bias))?;
        if let Some(bias) = self.bias.iter().find(|bias| !is_finite(**bias)) {
            let expected = "a finite number";
            return Err(RouterError::Number { what: "bias of an expert", value: bias.to_f64(), expected });
        }
        let learned = recipe.is_some_and(|recipe| recipe.has_learned_noise());
        check_length("noise logits", self.noise_logits.len(), of(shape.logits_len(), learned))?;
        check_length("draws", self.draws.len(), router.draws_len(phase, shape.tokens))?;
        self.real.map_or(Ok(()), |real| check_length("real tokens", real.len(), shape.tokens))
    }
}

/// Whether a mask, if there is one, says that a token is not padding.
#[inline(always)]
pub(super) fn is_real(real: Option<&[bool]>, token: usize) -> bool {
    real.is_none_or(|real| real.get(token).copied().unwrap_or(false))
}

/// Memory of a routing.
#[derive(Debug)]
pub struct RoutingStorage<'a, R = f32> {
    pub(super) probabilities: &'a mut [R],
    pub(super) gates: &'a mut [R],
    pub(super) scratch: &'a mut [R],
    pub(super) token_offsets: &'a mut [u32],
    pub(super) chosen: &'a mut [u32],
    pub(super) experts: &'a mut [u32],
    pub(super) counts: &'a mut [u32],
}

impl<'a, R> RoutingStorage<'a, R> {
    /// Cuts [`reals_len`](RoutingShape::reals_len) and [`integers_len`](RoutingShape::integers_len) values into parts.
    pub fn new(
        shape: RoutingShape,
        reals: &'a mut [R],
        integers: &'a mut [u32],
    ) -> Result<Self, RouterError> {
        let (found, expected) = (reals.len(), shape.reals_len());
        let wrong = RouterError::Length { what: "reals of the routing", found, expected };
        check_length("reals of the routing", found, expected)?;
        check_length("integers of the routing", integers.len(), shape.integers_len())?;
        let (probabilities, reals) = reals.split_at_mut_checked(shape.logits_len()).ok_or(wrong)?;
        let (gates, scratch) = reals.split_at_mut_checked(shape.slots).ok_or(wrong)?;
        let (token_offsets, integers) = integers.split_at_mut_checked(shape.tokens + 1).ok_or(wrong)?;
        let (chosen, integers) = integers.split_at_mut_checked(shape.slots).ok_or(wrong)?;
        let (experts, counts) = integers.split_at_mut_checked(shape.slots).ok_or(wrong)?;
        Ok(Self { probabilities, gates, scratch, token_offsets, chosen, experts, counts })
    }
}

/// A routing and what its backward and its losses need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routed<'a, R = f32> {
    /// The slots.
    pub routing: Routing<'a, R>,
    /// What backward needs.
    pub cache: RoutingCache<'a, R>,
    /// How the program of capped expert choice ended.
    pub program: Option<capped::Program>,
}

/// What the backward of a routing needs, and the losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoutingCache<'a, R = f32> {
    /// The lengths.
    pub shape: RoutingShape,
    /// `[T, E]`: softmax (DeepSeek-V3: sigmoid) of the logits; 0 for padding. Of the noisy ones in noisy top-k; a 1 per row for a hash.
    pub probabilities: &'a [R],
    /// `[S]`: the chosen experts, also of slots that were not sent; [`UNSENT`] for padding.
    pub chosen: &'a [u32],
}

/// Fills `draws` with the random numbers that a routing needs: as many as [`draws_len`](Router::draws_len) says.
///
/// Normal ones come from the Box–Muller transform, in pairs; uniform ones have 24 bits, the same in both precisions.
pub fn draw<R: Real>(router: &Router, phase: Phase, random: &mut impl Rng, draws: &mut [R]) {
    let noisy = matches!(router.config().policy.recipe(phase), Some(Recipe { scores: Scores::Noisy(_), .. }));
    if !noisy {
        draws.iter_mut().for_each(|draw| *draw = R::from_f64(unit(random)));
        return;
    }
    for pair in blocks_of_mut(draws, 2) {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit(random)));
        let (sin, cos) = libm::sincos(core::f64::consts::TAU * unit(random));
        pair.iter_mut()
            .zip([radius * cos, radius * sin])
            .for_each(|(draw, value)| *draw = R::from_f64(value));
    }
}

/// A number of `[0, 1)` with 24 bits: the same in `f32` and `f64`.
pub(super) fn unit(random: &mut impl Rng) -> f64 {
    f64::from(random.next_u32() >> 8) / f64::from(1_u32 << 24)
}

/// Routes tokens: writes probabilities, chosen experts and gates.
///
/// Ties go to the lower expert, and in expert choice to the lower token. No tokens give no slots. NaN or infinite logits of a token that is
/// not padding are an error that names it.
///
/// ```
/// # use mixlet_core::moe::{Phase, RouterConfig, RouterInput, RoutingStorage, route};
/// let router = RouterConfig { experts: 3, ..RouterConfig::default() }.check().unwrap(); // Mixtral, two experts
/// let shape = router.shape(Phase::Eval, 1).unwrap();
/// let (mut reals, mut integers) = ([0.0_f32; 5], [0; 9]);
/// let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
/// let logits = [0.0, 3.0_f32.ln(), 0.0]; // probabilities 1/5, 3/5, 1/5
/// let routed = route(&router, Phase::Eval, &RouterInput::of_logits(&logits), storage).unwrap();
/// assert_eq!(routed.routing.experts, [1, 0]);
/// assert!((routed.routing.gates[0] - 0.75).abs() < 1e-6);
/// ```
#[inline(always)]
pub fn route<'a, R: Real>(
    router: &Router,
    phase: Phase,
    input: &RouterInput<'_, R>,
    storage: RoutingStorage<'a, R>,
) -> Result<Routed<'a, R>, RouterError> {
    let shape = storage.shape(router, phase)?;
    input.check(router, phase, shape)?;
    let mut storage = storage;
    let program = match router.config().policy {
        Policy::Hash => {
            token_choice::take_hashed(shape, input, &mut storage)?;
            None
        }
        Policy::ExpertChoice { softmax } => {
            expert_choice::choose(softmax, shape, input, &mut storage)?;
            None
        }
        Policy::CappedExpertChoice { cap, temperature, rounds } => {
            let settings = capped::Settings { cap, temperature, rounds };
            Some(capped::choose(settings, shape, input, &mut storage)?)
        }
        _ => {
            if let Some(recipe) = router.config().policy.recipe(phase) {
                token_choice::choose(&recipe, shape, input, &mut storage)?;
            }
            None
        }
    };
    Ok(storage.finish(shape, program))
}

impl<'a, R: Real> RoutingStorage<'a, R> {
    /// The shape that the storage was cut for, if it is this router's.
    pub(super) fn shape(&self, router: &Router, phase: Phase) -> Result<RoutingShape, RouterError> {
        let shape = router.shape(phase, self.token_offsets.len().saturating_sub(1))?;
        check_length("probabilities", self.probabilities.len(), shape.logits_len())?;
        check_length("slots", self.chosen.len(), shape.slots)?;
        check_length("scratch of the routing", self.scratch.len(), shape.scratch)?;
        Ok(shape)
    }

    /// Offsets of `k` slots per token.
    pub(super) fn write_even_offsets(&mut self, top_k: usize) {
        let offsets = (0_u32..).step_by(top_k.max(1));
        self.token_offsets.iter_mut().zip(offsets).for_each(|(offset, start)| *offset = start);
    }

    /// The results, cut to the slots there are.
    pub(super) fn finish(self, shape: RoutingShape, program: Option<capped::Program>) -> Routed<'a, R> {
        let Self { probabilities, gates, token_offsets, chosen, experts, .. } = self;
        let slots = token_offsets.last().map_or(0, |&slots| slots as usize);
        let routing = Routing {
            token_offsets,
            experts: experts.get(..slots).unwrap_or(&[]),
            gates: gates.get(..slots).unwrap_or(&[]),
        };
        let chosen = chosen.get(..slots).unwrap_or(&[]);
        Routed { routing, cache: RoutingCache { shape, probabilities, chosen }, program }
    }
}
