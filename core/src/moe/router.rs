//! The router's product: tokens times one weight row per expert, and noise on its input.
//!
//! Logits are `f32` whatever format the experts' weights have: in `bf16` a logit of 128.5 is 128, which moves a
//! softmax by a third (ST-MoE, footnote 7).

use rand_core::Rng;

use super::config::InputNoise;
use super::error::{RouterError, check_length};
use super::routing::unit;
use super::rows::{blocks_of, blocks_of_mut, rows_of, rows_of_mut};
use super::slices::sum;
use crate::real::Real;

/// Tokens that stay in the first-level cache while all experts pass over them.
const BLOCK_TOKENS: usize = 4;
/// Partial sums of a logit. So many that they stay a loop over memory, which becomes wide vectors: a few of them
/// would be unrolled into scalars, and put together again two at a time.
const LANES: usize = 128;

/// The lengths of a router's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterShape {
    /// Tokens `T`.
    pub tokens: usize,
    /// Width of a token.
    pub model_dim: usize,
    /// Experts `E`.
    pub experts: usize,
}

impl RouterShape {
    /// `T · model_dim`.
    pub fn tokens_len(&self) -> usize {
        self.tokens.saturating_mul(self.model_dim)
    }

    /// `E · model_dim`.
    pub fn weights_len(&self) -> usize {
        self.experts.saturating_mul(self.model_dim)
    }

    /// `T · E`.
    pub fn logits_len(&self) -> usize {
        self.tokens.saturating_mul(self.experts)
    }

    fn check<R>(&self, tokens: &[R], weights: &[R], logits: &[R]) -> Result<(), RouterError> {
        check_length("tokens", tokens.len(), self.tokens_len())?;
        check_length("router weights", weights.len(), self.weights_len())?;
        check_length("logits", logits.len(), self.logits_len())
    }
}

/// `logits[t, e] = Σ_i tokens[t, i] · weights[e, i]`; `weights` is `[E, model_dim]`. A logit's bits depend on its token and
/// expert alone, not on how many others there are.
///
/// ```
/// # use mixlet_core::moe::router::{RouterShape, router_forward};
/// let shape = RouterShape { tokens: 1, model_dim: 2, experts: 3 };
/// let mut logits = [f32::NAN; 3];
/// router_forward(shape, &[1.0, 2.0], &[1.0, 0.0, 0.0, 1.0, 3.0, -1.0], &mut logits).unwrap();
/// assert_eq!(logits, [1.0, 2.0, 1.0]);
/// ```
#[inline(always)]
pub fn router_forward<R: Real>(
    shape: RouterShape,
    tokens: &[R],
    weights: &[R],
    logits: &mut [R],
) -> Result<(), RouterError> {
    shape.check(tokens, weights, logits)?;
    let (dim, experts) = (shape.model_dim.max(1), shape.experts.max(1));
    if shape.model_dim == 0 {
        logits.fill(R::ZERO);
        return Ok(());
    }
    let blocks = blocks_of(tokens, dim.saturating_mul(BLOCK_TOKENS))
        .zip(blocks_of_mut(logits, experts.saturating_mul(BLOCK_TOKENS)));
    for (tokens, logits) in blocks {
        for (expert, weights) in rows_of(weights, dim).enumerate() {
            for (token, row) in rows_of(tokens, dim).zip(rows_of_mut(logits, experts)) {
                if let Some(logit) = row.get_mut(expert) {
                    *logit = lane_dot(token, weights);
                }
            }
        }
    }
    Ok(())
}

/// `Σ a·b`, in interleaved parts and then the parts: a fixed order.
#[inline(always)]
fn lane_dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut parts = [R::ZERO; LANES];
    for (a, b) in blocks_of(a, LANES).zip(blocks_of(b, LANES)) {
        parts.iter_mut().zip(a.iter().zip(b)).for_each(|(part, (&a, &b))| *part += a * b);
    }
    sum(&parts)
}

/// Adds the gradient of [`router_forward`] by its weights: `grad_weights[e] += Σ_t grad_logits[t, e] · tokens[t]`.
///
/// A frozen router is one for which this is not called.
///
/// ```
/// # use mixlet_core::moe::router::{RouterShape, router_backward_weights};
/// let shape = RouterShape { tokens: 2, model_dim: 1, experts: 1 };
/// let mut grad_weights = [1.0_f32];
/// router_backward_weights(shape, &[2.0, 3.0], &[10.0, 100.0], &mut grad_weights).unwrap();
/// assert_eq!(grad_weights, [1.0 + 20.0 + 300.0]);
/// ```
#[inline(always)]
pub fn router_backward_weights<R: Real>(
    shape: RouterShape,
    tokens: &[R],
    grad_logits: &[R],
    grad_weights: &mut [R],
) -> Result<(), RouterError> {
    shape.check(tokens, grad_weights, grad_logits)?;
    let (dim, experts) = (shape.model_dim.max(1), shape.experts.max(1));
    let blocks = blocks_of(tokens, dim.saturating_mul(BLOCK_TOKENS))
        .zip(blocks_of(grad_logits, experts.saturating_mul(BLOCK_TOKENS)));
    for (tokens, grad_logits) in blocks {
        for (expert, out) in rows_of_mut(grad_weights, dim).enumerate() {
            for (token, grads) in rows_of(tokens, dim).zip(rows_of(grad_logits, experts)) {
                if let Some(&grad) = grads.get(expert) {
                    out.iter_mut().zip(token).for_each(|(out, &x)| *out += grad * x);
                }
            }
        }
    }
    Ok(())
}

/// The gradient of [`router_forward`] by its tokens, overwritten: `grad_tokens[t] = Σ_e grad_logits[t, e] · weights[e]`.
///
/// ```
/// # use mixlet_core::moe::router::{RouterShape, router_backward_tokens};
/// let shape = RouterShape { tokens: 1, model_dim: 1, experts: 2 };
/// let mut grad_tokens = [f32::NAN];
/// router_backward_tokens(shape, &[5.0, 7.0], &[1.0, 10.0], &mut grad_tokens).unwrap();
/// assert_eq!(grad_tokens, [75.0]);
/// ```
#[inline(always)]
pub fn router_backward_tokens<R: Real>(
    shape: RouterShape,
    weights: &[R],
    grad_logits: &[R],
    grad_tokens: &mut [R],
) -> Result<(), RouterError> {
    shape.check(grad_tokens, weights, grad_logits)?;
    let (dim, experts) = (shape.model_dim.max(1), shape.experts.max(1));
    for (out, grads) in rows_of_mut(grad_tokens, dim).zip(rows_of(grad_logits, experts)) {
        out.fill(R::ZERO);
        for (weights, &grad) in rows_of(weights, dim).zip(grads) {
            out.iter_mut().zip(weights).for_each(|(out, &weight)| *out += grad * weight);
        }
    }
    Ok(())
}

/// Draws the factors that noise puts on the router's input; [`multiply`] applies them, and takes gradients back through.
pub fn input_noise<R: Real>(noise: InputNoise, random: &mut impl Rng, factors: &mut [R]) {
    match noise {
        InputNoise::None => factors.fill(R::ONE),
        InputNoise::Jitter(most) => {
            factors
                .iter_mut()
                .for_each(|factor| *factor = R::from_f64(1.0 + most * (2.0 * unit(random) - 1.0)));
        }
        InputNoise::Dropout(rate) => {
            let kept = 1.0 / (1.0 - rate);
            let mut draw = || if unit(random) < rate { 0.0 } else { kept };
            factors.iter_mut().for_each(|factor| *factor = R::from_f64(draw()));
        }
    }
}

/// `out = factors · values`: forward for tokens, backward for their gradients.
///
/// ```
/// # use mixlet_core::moe::router::multiply;
/// let mut out = [f32::NAN; 2];
/// multiply(&[0.0, 1.25], &[3.0, 4.0], &mut out).unwrap();
/// assert_eq!(out, [0.0, 5.0]);
/// ```
#[inline(always)]
pub fn multiply<R: Real>(factors: &[R], values: &[R], out: &mut [R]) -> Result<(), RouterError> {
    check_length("factors", factors.len(), values.len())?;
    check_length("products", out.len(), values.len())?;
    out.iter_mut().zip(factors.iter().zip(values)).for_each(|(out, (&factor, &value))| *out = factor * value);
    Ok(())
}
