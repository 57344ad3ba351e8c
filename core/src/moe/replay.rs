//! Recording who went where, and doing it again.
//!
//! A recording holds decisions, not numbers: offsets, chosen experts, and whether each slot was kept. Replayed, gates
//! are those of the present logits at the recorded experts, so a replay trains; and the plan is the
//! recorded one, drops included. (Between two implementations one flipped choice changes everything after it; with a replay only
//! rounding is left.)
//!
//! One `u32` per slot and per token, after three of lengths:
//!
//! ```text
//! tokens, experts, slots, token_offsets [T + 1], slots [S]: chosen expert + state · 2³⁰ (0 kept, 1 dropped, 2 unsent, 3 padding)
//! ```

use super::config::{Phase, Router};
use super::dispatch::{DROPPED, DispatchPlan, PlanStorage};
use super::error::{RouterError, check_length, count};
use super::expert_choice::{softmax_over_experts, softmax_over_tokens, write_logits};
use super::policies::{Policy, SoftmaxOver};
use super::routing::{Routed, RouterInput, Routing, RoutingCache, RoutingStorage, UNSENT};
use super::rows::rows_of;
use super::token_choice;
use crate::real::Real;

const STATE_SHIFT: u32 = 30;
const EXPERT_MASK: u32 = (1 << STATE_SHIFT) - 1;
const KEPT: u32 = 0;
const FULL: u32 = 1;
const NOT_SENT: u32 = 2;
const PADDING: u32 = 3;

/// Integers of a recording.
pub const fn recording_len(tokens: usize, slots: usize) -> usize {
    tokens.saturating_add(slots).saturating_add(4)
}

/// Writes a recording of [`recording_len`] integers.
pub fn record<R: Real>(
    routing: &Routing<'_, R>,
    cache: &RoutingCache<'_, R>,
    plan: &DispatchPlan<'_>,
    out: &mut [u32],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    let (tokens, slots, experts) = (routing.tokens(), routing.experts.len(), cache.shape.experts);
    check_length("chosen experts", cache.chosen.len(), slots)?;
    check_length("recording", out.len(), recording_len(tokens, slots))?;
    if experts > EXPERT_MASK as usize {
        return Err(RouterError::TooMany { what: "experts for a recording" });
    }
    let lengths = [count("tokens", tokens)?, count("experts", experts)?, count("slots", slots)?];
    let decisions = routing.experts.iter().zip(cache.chosen).zip(plan.slot_rows);
    let words = decisions.map(|((&expert, &chosen), &row)| match (chosen, expert, row) {
        (UNSENT, _, _) => PADDING << STATE_SHIFT,
        (chosen, UNSENT, _) => chosen | NOT_SENT << STATE_SHIFT,
        (chosen, _, DROPPED) => chosen | FULL << STATE_SHIFT,
        (chosen, _, _) => chosen | KEPT << STATE_SHIFT,
    });
    let all = lengths.into_iter().chain(routing.token_offsets.iter().copied()).chain(words);
    out.iter_mut().zip(all).for_each(|(out, word)| *out = word);
    Ok(())
}

/// A recording, read in place.
///
/// ```
/// # use mixlet_core::moe::{*, replay::*};
/// let router = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 }, ..RouterConfig::default() }.check().unwrap();
/// // One token, sent to expert 1 although expert 0 is the better one now.
/// let recording = Recording::parse(&[1, 2, 1, 0, 1, 1]).unwrap();
/// let shape = router.shape(Phase::Eval, 1).unwrap();
/// let (mut reals, mut integers) = ([0.0_f64; 3], [0; 6]);
/// let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
/// let logits = [3.0_f64.ln(), 0.0];
/// let input = RouterInput::of_logits(&logits);
/// let routed = recording.route(&router, Phase::Eval, &input, storage).unwrap();
/// assert_eq!(routed.routing.experts, [1]);
/// assert!((routed.routing.gates[0] - 0.25).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording<'a> {
    experts: u32,
    token_offsets: &'a [u32],
    slots: &'a [u32],
}

impl<'a> Recording<'a> {
    /// Checks every length, offset and expert.
    pub fn parse(words: &'a [u32]) -> Result<Self, RouterError> {
        let short =
            RouterError::Length { what: "recording", found: words.len(), expected: recording_len(0, 0) };
        let (&[tokens, experts, slots], rest) = words.split_first_chunk().ok_or(short)?;
        let expected = recording_len(tokens as usize, slots as usize);
        check_length("recording", words.len(), expected)?;
        let wrong = RouterError::Length { what: "recording", found: words.len(), expected };
        let (token_offsets, slots) = rest.split_at_checked(tokens as usize + 1).ok_or(wrong)?;
        // Offsets rise to the number of slots: the routing's own check, on slots without experts.
        let mut last = 0;
        for (token, &offset) in token_offsets.iter().enumerate() {
            if offset < last || offset as usize > slots.len() || (token == 0 && offset != 0) {
                return Err(RouterError::Offset { token });
            }
            last = offset;
        }
        check_length("slots of the recording", slots.len(), last as usize)?;
        let recording = Self { experts, token_offsets, slots };
        let missing = |slot: usize| recording.chosen(slot).is_some_and(|expert| expert >= experts);
        match (0..slots.len()).find(|&slot| missing(slot)) {
            Some(slot) => {
                let expert = recording.chosen(slot).unwrap_or(UNSENT);
                Err(RouterError::Expert { slot, expert, experts: experts as usize })
            }
            None => Ok(recording),
        }
    }

    fn state(&self, slot: usize) -> u32 {
        self.slots.get(slot).map_or(PADDING, |word| word >> STATE_SHIFT)
    }

    /// The chosen expert; none of padding.
    fn chosen(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot).filter(|_| self.state(slot) != PADDING).map(|word| word & EXPERT_MASK)
    }

    /// [`route`](super::route) with the recorded experts. Draws are still needed where noise enters scores, others are not looked at.
    #[inline(always)]
    pub fn route<'s, R: Real>(
        &self,
        router: &Router,
        phase: Phase,
        input: &RouterInput<'_, R>,
        storage: RoutingStorage<'s, R>,
    ) -> Result<Routed<'s, R>, RouterError> {
        let shape = storage.shape(router, phase)?;
        input.check(router, phase, shape)?;
        let same = |what, found: usize, expected: usize| match (count(what, found)?, count(what, expected)?) {
            (found, expected) if found == expected => Ok(()),
            (found, expected) => Err(RouterError::Recording { what, found, expected }),
        };
        same("number of tokens", self.token_offsets.len() - 1, shape.tokens)?;
        same("number of experts", self.experts as usize, shape.experts)?;
        if shape.top_k.is_some() || self.slots.len() > shape.slots {
            same("number of slots", self.slots.len(), shape.slots)?;
        }
        let mut storage = storage;
        storage.token_offsets.iter_mut().zip(self.token_offsets).for_each(|(out, &offset)| *out = offset);
        let places = storage.chosen.iter_mut().zip(storage.experts.iter_mut());
        for (slot, (chosen, expert)) in (0..self.slots.len()).zip(places) {
            *chosen = self.chosen(slot).unwrap_or(UNSENT);
            *expert = if self.state(slot) == NOT_SENT { UNSENT } else { *chosen };
        }
        self.write_gates(router, phase, input, &mut storage)?;
        Ok(storage.finish(shape, None))
    }

    /// Probabilities of the present logits, and the gates they give the recorded experts.
    #[inline(always)]
    fn write_gates<R: Real>(
        &self,
        router: &Router,
        phase: Phase,
        input: &RouterInput<'_, R>,
        storage: &mut RoutingStorage<'_, R>,
    ) -> Result<(), RouterError> {
        let shape = storage.shape(router, phase)?;
        if let Some(recipe) = router.config().policy.recipe(phase) {
            return token_choice::gates_of_chosen(&recipe, shape, input, storage);
        }
        let over = match router.config().policy {
            Policy::Hash => return token_choice::take_hashed(shape, input, storage),
            Policy::ExpertChoice { softmax } => softmax,
            _ => SoftmaxOver::Experts,
        };
        write_logits(input, shape.experts, storage.probabilities)?;
        match over {
            SoftmaxOver::Experts => softmax_over_experts(input, shape.experts, storage.probabilities),
            SoftmaxOver::Tokens => softmax_over_tokens(shape, input, storage.probabilities, storage.scratch),
        }
        let rows = rows_of(storage.probabilities, shape.experts);
        let ends = self.token_offsets.get(1..).unwrap_or(&[]);
        for ((row, &start), &end) in rows.zip(self.token_offsets).zip(ends) {
            let slots = start as usize..end as usize;
            let number = R::from_f64(if over == SoftmaxOver::Tokens { slots.len() as f64 } else { 1.0 });
            let gates = storage.gates.get_mut(slots.clone()).unwrap_or(&mut []);
            for (gate, &expert) in gates.iter_mut().zip(storage.chosen.get(slots).unwrap_or(&[])) {
                *gate = row.get(expert as usize).copied().unwrap_or(R::ZERO) / number;
            }
        }
        Ok(())
    }

    /// The recorded plan of a routing made by [`route`](Self::route).
    pub fn plan<'s, R: Copy>(
        &self,
        routing: &Routing<'_, R>,
        storage: PlanStorage<'s>,
    ) -> Result<DispatchPlan<'s>, RouterError> {
        check_length("slots", routing.experts.len(), self.slots.len())?;
        storage.plan_of(routing, |slot| self.state(slot) == KEPT)
    }
}
