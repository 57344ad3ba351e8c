//! The router's product: tokens times one weight row per expert, and noise on its input.
//!
//! Logits are `f32` whatever format the experts' weights have: in `bf16` a logit of 128.5 is 128, which moves a
//! softmax by a third (ST-MoE, footnote 7).

use rand_core::Rng;

use super::config::InputNoise;
use super::error::{RouterError, check_length};
use super::real::Real;
use super::routing::unit;

/// Tokens of a tile.
const TILE_TOKENS: usize = 4;
/// Experts of a tile.
const TILE_EXPERTS: usize = 2;
/// Partial sums of a logit: a fixed order of addition, whatever tile a logit falls into.
const LANES: usize = 16;

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
        self.tokens * self.model_dim
    }

    /// `E · model_dim`.
    pub fn weights_len(&self) -> usize {
        self.experts * self.model_dim
    }

    /// `T · E`.
    pub fn logits_len(&self) -> usize {
        self.tokens * self.experts
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
    let blocks = tokens.chunks(TILE_TOKENS * dim).zip(logits.chunks_mut(TILE_TOKENS * experts));
    for (tokens, logits) in blocks {
        for (block, weights) in weights.chunks(TILE_EXPERTS * dim).enumerate() {
            let sums = tile(tokens, weights, dim);
            for (row, sums) in logits.chunks_exact_mut(experts).zip(sums) {
                let places = row.get_mut(block * TILE_EXPERTS..).unwrap_or(&mut []);
                places.iter_mut().zip(sums).for_each(|(logit, sum)| *logit = sum);
            }
        }
    }
    Ok(())
}

/// Products of up to four tokens with up to two experts; what is missing gives 0.
#[inline(always)]
fn tile<R: Real>(tokens: &[R], weights: &[R], dim: usize) -> [[R; TILE_EXPERTS]; TILE_TOKENS] {
    let row = |values: &'_ [R], nth: usize| -> core::ops::Range<usize> {
        let start = nth * dim;
        if start + dim <= values.len() { start..start + dim } else { 0..0 }
    };
    let tokens: [&[R]; TILE_TOKENS] = core::array::from_fn(|nth| tokens.get(row(tokens, nth)).unwrap_or(&[]));
    let weights: [&[R]; TILE_EXPERTS] =
        core::array::from_fn(|nth| weights.get(row(weights, nth)).unwrap_or(&[]));
    if tokens.iter().chain(&weights).all(|row| row.len() == dim) {
        return full_tile(tokens, weights);
    }
    tokens.map(|token| weights.map(|weights| lane_dot(token, weights)))
}

/// The products of a full tile, each in the order of [`lane_dot`].
#[inline(always)]
fn full_tile<R: Real>(
    tokens: [&[R]; TILE_TOKENS],
    weights: [&[R]; TILE_EXPERTS],
) -> [[R; TILE_EXPERTS]; TILE_TOKENS] {
    let mut parts = [[[R::ZERO; LANES]; TILE_EXPERTS]; TILE_TOKENS];
    let [t0, t1, t2, t3] = tokens.map(|row| row.as_chunks::<LANES>().0);
    let [w0, w1] = weights.map(|row| row.as_chunks::<LANES>().0);
    for ((((t0, t1), (t2, t3)), w0), w1) in t0.iter().zip(t1).zip(t2.iter().zip(t3)).zip(w0).zip(w1) {
        for (parts, token) in parts.iter_mut().zip([t0, t1, t2, t3]) {
            for (parts, weights) in parts.iter_mut().zip([w0, w1]) {
                for ((part, &x), &w) in parts.iter_mut().zip(token).zip(weights) {
                    *part += x * w;
                }
            }
        }
    }
    let mut sums = [[R::ZERO; TILE_EXPERTS]; TILE_TOKENS];
    for ((sums, parts), token) in sums.iter_mut().zip(&parts).zip(tokens) {
        for ((sum, parts), weights) in sums.iter_mut().zip(parts).zip(weights) {
            *sum = add_up(parts, token, weights);
        }
    }
    sums
}

/// `Σ a·b` in the order of a tile.
#[inline(always)]
fn lane_dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut parts = [R::ZERO; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        parts.iter_mut().zip(a.iter().zip(b)).for_each(|(part, (&a, &b))| *part += a * b);
    }
    add_up(&parts, a, b)
}

/// The partial sums and the products beyond the last whole chunk.
#[inline(always)]
fn add_up<R: Real>(parts: &[R; LANES], a: &[R], b: &[R]) -> R {
    let rest = a.as_chunks::<LANES>().1.iter().zip(b.as_chunks::<LANES>().1);
    let whole = parts.iter().fold(R::ZERO, |sum, &part| sum + part);
    rest.fold(whole, |sum, (&a, &b)| sum + a * b)
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
    // A block of tokens stays in the cache while all experts pass over it.
    let blocks = tokens.chunks(8 * dim).zip(grad_logits.chunks(8 * experts));
    for (tokens, grad_logits) in blocks {
        for (expert, out) in grad_weights.chunks_exact_mut(dim).enumerate() {
            for (token, grads) in tokens.chunks_exact(dim).zip(grad_logits.chunks_exact(experts)) {
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
    for (out, grads) in grad_tokens.chunks_exact_mut(dim).zip(grad_logits.chunks_exact(experts)) {
        out.fill(R::ZERO);
        for (weights, &grad) in weights.chunks_exact(dim).zip(grads) {
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
            factors.iter_mut().for_each(|factor| *factor = R::of(1.0 + most * (2.0 * unit(random) - 1.0)));
        }
        InputNoise::Dropout(rate) => {
            let kept = 1.0 / (1.0 - rate);
            let mut draw = || if unit(random) < rate { 0.0 } else { kept };
            factors.iter_mut().for_each(|factor| *factor = R::of(draw()));
        }
    }
}

/// `out = factors · values`: forward for tokens, backward for their gradients.
#[inline(always)]
pub fn multiply<R: Real>(factors: &[R], values: &[R], out: &mut [R]) -> Result<(), RouterError> {
    check_length("factors", factors.len(), values.len())?;
    check_length("products", out.len(), values.len())?;
    out.iter_mut().zip(factors.iter().zip(values)).for_each(|(out, (&factor, &value))| *out = factor * value);
    Ok(())
}
