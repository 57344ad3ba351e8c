//! From gradients of gates to gradients of logits, with the chosen set held fixed; and gates after dropping.

use super::config::{Phase, Router};
use super::dispatch::{DROPPED, DispatchPlan};
use super::error::{RouterError, check_length};
use super::policies::{NoiseScale, Policy, Recipe, Scores, SoftmaxOver};
use super::routing::{RouterInput, Routing, RoutingCache};
use super::rows::{blocks_of, blocks_of_mut, nth_row, rows_of_mut};
use super::slices::{sigmoid, sum};
use crate::real::Real;

/// Gradient of [`route`](super::route) by the logits, overwritten `[T, E]`; of a hash, which has none, empty.
///
/// The chosen set is held fixed: this is the gradient wherever a small change of the logits does not change it.
/// Gates of the form `p / Σ p` give logits that were not chosen no gradient at all, raw `p` gives all of them some.
///
/// ```
/// # use mixlet_core::moe::*;
/// let config = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 }, ..RouterConfig::default() };
/// let router = config.check().unwrap();
/// let shape = router.shape(Phase::Train, 1).unwrap();
/// let (mut reals, mut integers) = ([0.0_f64; 3], [0; 6]);
/// let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
/// let input = RouterInput::of_logits(&[0.0, 0.0]);
/// let Routed { routing, cache, .. } = route(&router, Phase::Train, &input, storage).unwrap();
/// let mut grad_logits = [f64::NAN; 2];
/// route_backward(&router, Phase::Train, &routing, &cache, &[1.0], &mut grad_logits).unwrap();
/// assert_eq!(grad_logits, [0.25, -0.25]); // p·(1 − p)
/// ```
#[inline(always)]
pub fn route_backward<R: Real>(
    router: &Router,
    phase: Phase,
    routing: &Routing<'_, R>,
    cache: &RoutingCache<'_, R>,
    grad_gates: &[R],
    grad_logits: &mut [R],
) -> Result<(), RouterError> {
    let shape = cache.shape;
    check_length("gradients of gates", grad_gates.len(), routing.gates.len())?;
    check_length("chosen experts", cache.chosen.len(), routing.gates.len())?;
    check_length("probabilities", cache.probabilities.len(), shape.logits_len())?;
    let is_hash = router.config().policy == Policy::Hash;
    check_length("gradients of logits", grad_logits.len(), if is_hash { 0 } else { shape.logits_len() })?;
    if router.config().policy == (Policy::ExpertChoice { softmax: SoftmaxOver::Tokens }) {
        scatter_shares(routing, cache, grad_gates, grad_logits);
        through_columns(shape.experts, shape.group_tokens, cache.probabilities, grad_logits);
        return Ok(());
    }
    let recipe = router.config().policy.recipe(phase);
    let rows = rows_of_mut(grad_logits, shape.experts).zip(routing.slots());
    for (token, (out, slots)) in rows.enumerate() {
        let row = nth_row(cache.probabilities, token, shape.experts);
        let token = TokenGates {
            chosen: cache.chosen.get(slots.clone()).unwrap_or(&[]),
            gates: routing.gates.get(slots.clone()).unwrap_or(&[]),
            grads: grad_gates.get(slots).unwrap_or(&[]),
        };
        out.fill(R::ZERO);
        match recipe {
            Some(recipe) => recipe.backward(row, &token, out),
            None => token.raw_backward(row, R::ONE, R::ZERO, out),
        }
    }
    Ok(())
}

/// One token's slots.
struct TokenGates<'a, R> {
    chosen: &'a [u32],
    gates: &'a [R],
    grads: &'a [R],
}

impl<R: Real> TokenGates<'_, R> {
    /// `Σ grad · gate`.
    #[inline(always)]
    fn inner(&self) -> R {
        self.grads.iter().zip(self.gates).fold(R::ZERO, |sum, (&grad, &gate)| sum + grad * gate)
    }

    /// Probabilities of the chosen, and the gradients of their gates.
    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = (usize, R)> {
        self.chosen.iter().zip(self.grads).map(|(&expert, &grad)| (expert as usize, grad))
    }

    /// Softmax backward of `∂/∂p = factor · grad − shift` at the chosen, 0 elsewhere.
    #[inline(always)]
    fn raw_backward(&self, row: &[R], factor: R, shift: R, out: &mut [R]) {
        let of = |expert: usize| row.get(expert).copied().unwrap_or(R::ZERO);
        let inner =
            self.each().fold(R::ZERO, |sum, (expert, grad)| sum + (factor * grad - shift) * of(expert));
        out.iter_mut().zip(row).for_each(|(out, &p)| *out = -(p * inner));
        for (expert, grad) in self.each() {
            if let Some(out) = out.get_mut(expert) {
                *out += of(expert) * (factor * grad - shift);
            }
        }
    }
}

impl Recipe {
    /// Adds one token's gradient to zeros.
    #[inline(always)]
    fn backward<R: Real>(&self, row: &[R], token: &TokenGates<'_, R>, out: &mut [R]) {
        let of = |expert: &u32| row.get(*expert as usize).copied().unwrap_or(R::ZERO);
        // gate = scale · p / (Σ p + least): ∂/∂p = (scale · grad − Σ grad · gate) / (Σ p + least).
        let (factor, shift) = match self.gates.normalise {
            None => (R::from_f64(self.gates.scale), R::ZERO),
            Some(least) => {
                let total = token.chosen.iter().map(of).fold(R::from_f64(least), |sum, p| sum + p);
                let inverse = if total > R::ZERO { R::ONE / total } else { R::ZERO };
                (R::from_f64(self.gates.scale) * inverse, token.inner() * inverse)
            }
        };
        if let Scores::Sigmoid { .. } = self.scores {
            for (expert, grad) in token.each() {
                if let (Some(out), Some(&s)) = (out.get_mut(expert), row.get(expert)) {
                    *out = (factor * grad - shift) * s * (R::ONE - s);
                }
            }
        } else if self.gates.normalise == Some(0.0) {
            // A softmax over the chosen: nothing reaches the others, not even rounding.
            let inner = token.inner();
            for ((expert, grad), &gate) in token.each().zip(token.gates) {
                if let Some(out) = out.get_mut(expert) {
                    *out = gate * (grad - inner);
                }
            }
        } else {
            token.raw_backward(row, factor, shift, out);
        }
    }
}

/// `∂/∂q` of gates `q / n` of tokens with `n` experts.
#[inline(always)]
fn scatter_shares<R: Real>(
    routing: &Routing<'_, R>,
    cache: &RoutingCache<'_, R>,
    grad_gates: &[R],
    out: &mut [R],
) {
    out.fill(R::ZERO);
    for (row, slots) in rows_of_mut(out, cache.shape.experts).zip(routing.slots()) {
        let number = R::from_f64(slots.len() as f64);
        let chosen = cache.chosen.get(slots.clone()).unwrap_or(&[]);
        for (&expert, &grad) in chosen.iter().zip(grad_gates.get(slots).unwrap_or(&[])) {
            if let Some(out) = row.get_mut(expert as usize) {
                *out = grad / number;
            }
        }
    }
}

/// Backward of a softmax over the tokens of each group: `out ← q · (out − Σ_t q · out)`.
#[inline(always)]
pub(super) fn through_columns<R: Real>(experts: usize, group_tokens: usize, values: &[R], grads: &mut [R]) {
    let (experts, group_len) = (experts.max(1), experts.saturating_mul(group_tokens).max(1));
    for (values, grads) in blocks_of(values, group_len).zip(blocks_of_mut(grads, group_len)) {
        for expert in 0..experts {
            let of_expert = values.get(expert..).unwrap_or(&[]).iter().step_by(experts);
            let grads = grads.get_mut(expert..).unwrap_or(&mut []);
            let pairs = of_expert.clone().zip(grads.iter().step_by(experts));
            let inner = pairs.fold(R::ZERO, |sum, (&q, &grad)| sum + q * grad);
            for (&q, grad) in of_expert.zip(grads.iter_mut().step_by(experts)) {
                *grad = q * (*grad - inner);
            }
        }
    }
}

/// Gradient of the noise logits of noisy top-k, overwritten: `grad_scores · noise · sigmoid(noise logit)`.
///
/// `grad_scores` `[T, E]` is what [`route_backward`] wrote: noise is added to logits, so both have the same gradient.
/// Learned noise in training only; other routers have no noise logits, and an empty gradient.
///
/// ```
/// # use mixlet_core::moe::{*, noise_backward};
/// let policy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Learned { least: 0.0 } };
/// let router = RouterConfig { experts: 2, policy, ..RouterConfig::default() }.check().unwrap();
/// let input = RouterInput { noise_logits: &[0.0, 0.0], draws: &[2.0, -1.0], ..RouterInput::of_logits(&[0.5_f64, 0.1]) };
/// let mut grad_noise_logits = [f64::NAN; 2];
/// noise_backward(&router, Phase::Train, &input, &[1.0, 3.0], &mut grad_noise_logits).unwrap();
/// assert_eq!(grad_noise_logits, [1.0, -1.5]); // sigmoid(0) = 1/2
/// ```
#[inline(always)]
pub fn noise_backward<R: Real>(
    router: &Router,
    phase: Phase,
    input: &RouterInput<'_, R>,
    grad_scores: &[R],
    grad_noise_logits: &mut [R],
) -> Result<(), RouterError> {
    let learned = matches!(
        router.config().policy.recipe(phase).map(|recipe| recipe.scores),
        Some(Scores::Noisy(NoiseScale::Learned { .. }))
    );
    let expected = if learned { grad_scores.len() } else { 0 };
    check_length("noise logits", input.noise_logits.len(), expected)?;
    check_length("gradients of noise logits", grad_noise_logits.len(), expected)?;
    check_length("draws", input.draws.len(), if learned { expected } else { input.draws.len() })?;
    let factors = input.draws.iter().zip(input.noise_logits);
    for ((out, &grad), (&noise, &noise_logit)) in grad_noise_logits.iter_mut().zip(grad_scores).zip(factors) {
        *out = grad * noise * sigmoid(noise_logit);
    }
    Ok(())
}

/// DeepSpeed's normalisation after dropping: each token's kept gates divided by their sum; dropped ones become 0.
///
/// ```
/// # use mixlet_core::moe::*;
/// let gates = [0.6, 0.2];
/// let routing = Routing { token_offsets: &[0, 2], experts: &[0, 1], gates: &gates };
/// let plan = DispatchPlan {
///     expert_load: &[1, 1], expert_offsets: &[0, 1, 1], row_slots: &[0], row_tokens: &[0], slot_rows: &[0, DROPPED],
/// };
/// let mut out = [f32::NAN; 2];
/// normalise_kept(&plan, &routing, &mut out).unwrap();
/// assert_eq!(out, [1.0, 0.0]);
/// ```
#[inline(always)]
pub fn normalise_kept<R: Real>(
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    out: &mut [R],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    check_length("normalised gates", out.len(), routing.gates.len())?;
    for slots in routing.slots() {
        let out = out.get_mut(slots.clone()).unwrap_or(&mut []);
        let rows = plan.slot_rows.get(slots.clone()).unwrap_or(&[]);
        let gates = routing.gates.get(slots).unwrap_or(&[]);
        for ((out, &row), &gate) in out.iter_mut().zip(rows).zip(gates) {
            *out = if row == DROPPED { R::ZERO } else { gate };
        }
        let total = sum(out);
        if total > R::ZERO {
            out.iter_mut().for_each(|gate| *gate = *gate / total);
        }
    }
    Ok(())
}

/// Gradient of [`normalise_kept`] by the gates it was given, overwritten: `(grad − Σ grad · out) / Σ kept`, 0 for dropped slots.
///
/// ```
/// # use mixlet_core::moe::*;
/// let gates = [0.25, 0.25];
/// let routing = Routing { token_offsets: &[0, 2], experts: &[0, 1], gates: &gates };
/// let plan = DispatchPlan {
///     expert_load: &[1, 1], expert_offsets: &[0, 1, 2], row_slots: &[0, 1], row_tokens: &[0, 0], slot_rows: &[0, 1],
/// };
/// let mut grad_gates = [f64::NAN; 2];
/// normalise_kept_backward(&plan, &routing, &[0.5, 0.5], &[1.0, 0.0], &mut grad_gates).unwrap();
/// assert_eq!(grad_gates, [1.0, -1.0]); // (grad − 1/2) / (1/4 + 1/4)
/// ```
#[inline(always)]
pub fn normalise_kept_backward<R: Real>(
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    normalised: &[R],
    grad_normalised: &[R],
    grad_gates: &mut [R],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    check_length("normalised gates", normalised.len(), routing.gates.len())?;
    check_length("gradients of normalised gates", grad_normalised.len(), routing.gates.len())?;
    check_length("gradients of gates", grad_gates.len(), routing.gates.len())?;
    for slots in routing.slots() {
        let rows = plan.slot_rows.get(slots.clone()).unwrap_or(&[]);
        let gates = routing.gates.get(slots.clone()).unwrap_or(&[]);
        let kept = rows.iter().zip(gates).filter(|(row, _)| **row != DROPPED);
        let total = kept.fold(R::ZERO, |sum, (_, &gate)| sum + gate);
        let grads = grad_normalised.get(slots.clone()).unwrap_or(&[]);
        let outs = normalised.get(slots.clone()).unwrap_or(&[]);
        let inner = grads.iter().zip(outs).fold(R::ZERO, |sum, (&grad, &out)| sum + grad * out);
        let places = grad_gates.get_mut(slots).unwrap_or(&mut []);
        for ((place, &row), &grad) in places.iter_mut().zip(rows).zip(grads) {
            *place = if row == DROPPED || total == R::ZERO { R::ZERO } else { (grad - inner) / total };
        }
    }
    Ok(())
}
