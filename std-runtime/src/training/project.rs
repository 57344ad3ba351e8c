//! From tokens to queries, keys and values, plainly or through low ranks, and back.

use mixlet_core::nn::{LatentShape, Rotary, unfold_latent, unfold_latent_backward};

use super::kernels::RotaryBackward;
use super::linear;
use super::norm::{NormTape, Scale};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::models::config::{Attention, Latent, Norm, Positions};
use crate::models::forward::attention::LATENT_EPSILON;
use crate::models::forward::kernels::RotaryForward;
use crate::models::tensor::Linear;
use crate::models::weights::{AttentionWeights, LatentQuery, LatentWeights, Projection};
use crate::simd::wide;

/// The projections of a block of attention.
#[derive(Clone, Copy)]
pub(super) struct Projections<'a> {
    pub config: &'a ModelConfig,
    pub attention: &'a Attention,
    pub weights: &'a AttentionWeights,
    /// `[tokens, width]`; empty where nothing is turned.
    pub turns: &'a [f32],
}

/// What the gradients of a projection need.
pub(super) enum ProjectionTape {
    /// One matrix; with a norm of what it gives, if there is one.
    Plain(Option<NormTape>),
    /// Two matrices: what lies between them, after its norm.
    Low { normed: Vec<f32>, norm: NormTape },
}

/// A matrix down, a norm, and a matrix up.
struct LowRank<'a> {
    norm: Scale<'a>,
    up: &'a Linear,
}

/// The gradients of all but the first matrix.
struct LowRankGrads<'g> {
    norm: &'g mut Vec<f32>,
    up: &'g mut Linear,
}

impl LowRank<'_> {
    fn forward(&self, low: Vec<f32>) -> Result<(Vec<f32>, ProjectionTape)> {
        let (normed, norm) = self.norm.forward(low)?;
        Ok((linear::forward(self.up, &normed)?, ProjectionTape::Low { normed, norm }))
    }

    /// The gradient of what comes down.
    fn backward(
        &self,
        (normed, norm): (&[f32], &NormTape),
        grad_out: &[f32],
        grads: LowRankGrads<'_>,
    ) -> Result<Vec<f32>> {
        let grad = linear::backward(self.up, normed, grad_out, grads.up)?;
        Ok(self.norm.backward(norm, &grad, (grads.norm, &mut []))?)
    }
}

impl Projections<'_> {
    /// Queries, normed and turned.
    pub fn queries(&self, x: &[f32]) -> Result<(Vec<f32>, ProjectionTape)> {
        let plain = match &self.weights.projection {
            Projection::Plain(plain) => &plain[0],
            Projection::Latent(latent) => match &latent.query {
                LatentQuery::Plain(plain) => plain,
                LatentQuery::Low { down, norm, up } => {
                    let low = LowRank { norm: Scale::rms(LATENT_EPSILON, norm), up };
                    let (mut q, tape) = low.forward(linear::forward(down, x)?)?;
                    self.turn(self.attention.heads, &mut q)?;
                    return Ok((q, tape));
                }
            },
        };
        let (mut q, norm) = self.normed(0, linear::forward(plain, x)?)?;
        self.turn(self.attention.heads, &mut q)?;
        Ok((q, ProjectionTape::Plain(norm)))
    }

    /// The gradient of the tokens that queries come from.
    pub fn queries_backward(
        &self,
        tape: ProjectionTape,
        x: &[f32],
        mut grad: Vec<f32>,
        grads: &mut AttentionWeights,
    ) -> Result<Vec<f32>> {
        self.turn_back(self.attention.heads, &mut grad)?;
        let AttentionWeights { projection, qk_norms, .. } = grads;
        Ok(match (tape, &self.weights.projection, projection) {
            (ProjectionTape::Plain(norm), Projection::Plain(to), Projection::Plain(grads)) => {
                let grad = self.normed_backward(0, norm, grad, qk_norms)?;
                linear::backward(&to[0], x, &grad, &mut grads[0])?
            }
            (tape, Projection::Latent(to), Projection::Latent(grads)) => {
                query_backward(tape, (&to.query, x), &grad, &mut grads.query)?
            }
            // Gradients are built as the weights are.
            _ => Vec::new(),
        })
    }

    /// Keys and values, keys normed and turned.
    pub fn keys(&self, source: &[f32]) -> Result<([Vec<f32>; 2], ProjectionTape)> {
        let [_, to_k, to_v] = match &self.weights.projection {
            Projection::Plain(plain) => &**plain,
            Projection::Latent(latent) => return self.unfold(latent, source),
        };
        let (mut k, norm) = self.normed(1, linear::forward(to_k, source)?)?;
        self.turn(self.attention.kv_heads, &mut k)?;
        Ok(([k, linear::forward(to_v, source)?], ProjectionTape::Plain(norm)))
    }

    /// The gradient of the tokens that keys and values come from.
    pub fn keys_backward(
        &self,
        tape: ProjectionTape,
        source: &[f32],
        [mut grad_k, grad_v]: [Vec<f32>; 2],
        grads: &mut AttentionWeights,
    ) -> Result<Vec<f32>> {
        let AttentionWeights { projection, qk_norms, .. } = grads;
        Ok(match (tape, &self.weights.projection, projection) {
            (ProjectionTape::Plain(norm), Projection::Plain(to), Projection::Plain(grads)) => {
                self.turn_back(self.attention.kv_heads, &mut grad_k)?;
                let grad_k = self.normed_backward(1, norm, grad_k, qk_norms)?;
                let [_, of_k, of_v] = &mut **grads;
                let mut grad = linear::backward(&to[1], source, &grad_k, of_k)?;
                let through_values = linear::backward(&to[2], source, &grad_v, of_v)?;
                grad.iter_mut().zip(through_values).for_each(|(sum, grad)| *sum += grad);
                grad
            }
            (ProjectionTape::Low { normed, norm }, Projection::Latent(to), Projection::Latent(grads)) => {
                self.fold((to, &normed, &norm), source, [&grad_k, &grad_v], grads)?
            }
            // Gradients are built as the weights are.
            _ => Vec::new(),
        })
    }

    /// Keys and values through a low rank: what tells positions is split off, the rest normed and unfolded.
    fn unfold(&self, weights: &LatentWeights, source: &[f32]) -> Result<([Vec<f32>; 2], ProjectionTape)> {
        let (kv_rank, rotary_dim) = self.ranks();
        let down = linear::forward(&weights.down, source)?;
        let rows = down.chunks_exact((kv_rank + rotary_dim).max(1));
        let low = rows.clone().flat_map(|row| &row[..kv_rank]).copied().collect();
        let mut positions: Vec<f32> = rows.clone().flat_map(|row| &row[kv_rank..]).copied().collect();
        let tokens = rows.len();
        if let Some(rotary) = self.rotary_of_positions() {
            wide(RotaryForward { rotary, table: self.turns, values: &mut positions })?;
        }
        let rank = LowRank { norm: Scale::rms(LATENT_EPSILON, &weights.norm), up: &weights.up };
        let (folded, tape) = rank.forward(low)?;
        let mut k = vec![0.0; tokens * self.attention.k_width()];
        let mut v = vec![0.0; tokens * self.attention.v_width()];
        unfold_latent(self.latent_shape(tokens), &folded, &positions, &mut k, &mut v)?;
        Ok(([k, v], tape))
    }

    /// The gradient of [`unfold`](Self::unfold).
    fn fold(
        &self,
        (weights, normed, norm): (&LatentWeights, &[f32], &NormTape),
        source: &[f32],
        [grad_k, grad_v]: [&[f32]; 2],
        grads: &mut LatentWeights,
    ) -> Result<Vec<f32>> {
        let (kv_rank, rotary_dim) = self.ranks();
        let tokens = normed.len() / kv_rank.max(1);
        let mut folded = vec![0.0; tokens * weights.up.matrix.outputs()];
        let mut positions = vec![0.0; tokens * rotary_dim];
        unfold_latent_backward(self.latent_shape(tokens), grad_k, grad_v, &mut folded, &mut positions)?;
        if let Some(rotary) = self.rotary_of_positions() {
            wide(RotaryBackward { rotary, table: self.turns, grad: &mut positions })?;
        }
        let rank = LowRank { norm: Scale::rms(LATENT_EPSILON, &weights.norm), up: &weights.up };
        let of_rank = LowRankGrads { norm: &mut grads.norm, up: &mut grads.up };
        let low = rank.backward((normed, norm), &folded, of_rank)?;
        let rows = low.chunks_exact(kv_rank.max(1)).zip(positions.chunks_exact(rotary_dim.max(1)));
        let down: Vec<f32> = rows.flat_map(|(low, position)| low.iter().chain(position)).copied().collect();
        Ok(linear::backward(&weights.down, source, &down, &mut grads.down)?)
    }

    /// Queries (0) or keys (1) after their norm, if they have one.
    fn normed(&self, which: usize, values: Vec<f32>) -> Result<(Vec<f32>, Option<NormTape>)> {
        let Some(norms) = &self.weights.qk_norms else { return Ok((values, None)) };
        let (values, tape) = Scale::rms(self.epsilon(), &norms[which]).forward(values)?;
        Ok((values, Some(tape)))
    }

    fn normed_backward(
        &self,
        which: usize,
        tape: Option<NormTape>,
        grad: Vec<f32>,
        grads: &mut Option<[Vec<f32>; 2]>,
    ) -> Result<Vec<f32>> {
        let (Some(norms), Some(tape), Some(grads)) = (&self.weights.qk_norms, tape, grads) else {
            return Ok(grad);
        };
        let scale = Scale::rms(self.epsilon(), &norms[which]);
        Ok(scale.backward(&tape, &grad, (&mut grads[which], &mut []))?)
    }

    fn turn(&self, heads: usize, values: &mut [f32]) -> Result<()> {
        if let Some(rotary) = self.rotary(heads) {
            wide(RotaryForward { rotary, table: self.turns, values })?;
        }
        Ok(())
    }

    fn turn_back(&self, heads: usize, grad: &mut [f32]) -> Result<()> {
        if let Some(rotary) = self.rotary(heads) {
            wide(RotaryBackward { rotary, table: self.turns, grad })?;
        }
        Ok(())
    }

    /// How queries or keys are turned.
    fn rotary(&self, heads: usize) -> Option<Rotary> {
        let Positions::Rotary(rotary) = self.config.positions else { return None };
        let (head_dim, start, width) = (self.attention.head_dim, rotary.start, rotary.width);
        (!self.turns.is_empty()).then_some(Rotary { heads, head_dim, start, width, pairing: rotary.pairing })
    }

    /// How the part of keys is turned that all heads share.
    fn rotary_of_positions(&self) -> Option<Rotary> {
        let (_, width) = self.ranks();
        self.rotary(1).map(|rotary| Rotary { head_dim: width, start: 0, width, ..rotary })
    }

    /// The rank of keys and values, and how many numbers of a key tell its position.
    fn ranks(&self) -> (usize, usize) {
        self.attention.latent.map_or((0, 0), |Latent { kv_rank, rotary_dim, .. }| (kv_rank, rotary_dim))
    }

    fn latent_shape(&self, tokens: usize) -> LatentShape {
        let Attention { heads, head_dim, value_dim, .. } = *self.attention;
        LatentShape { tokens, heads, head_dim, rotary_dim: self.ranks().1, value_dim }
    }

    fn epsilon(&self) -> f64 {
        match self.config.norm {
            Norm::Rms { epsilon } | Norm::Layer { epsilon } => epsilon,
        }
    }
}

/// The gradient of the tokens that queries come from in latent attention.
fn query_backward(
    tape: ProjectionTape,
    (to, x): (&LatentQuery, &[f32]),
    grad: &[f32],
    grads: &mut LatentQuery,
) -> Result<Vec<f32>> {
    Ok(match (tape, to, grads) {
        (_, LatentQuery::Plain(to), LatentQuery::Plain(grads)) => linear::backward(to, x, grad, grads)?,
        (
            ProjectionTape::Low { normed, norm: tape },
            LatentQuery::Low { down, norm, up },
            LatentQuery::Low { down: of_down, norm: of_norm, up: of_up },
        ) => {
            let rank = LowRank { norm: Scale::rms(LATENT_EPSILON, norm), up };
            let low = rank.backward((&normed, &tape), grad, LowRankGrads { norm: of_norm, up: of_up })?;
            linear::backward(down, x, &low, of_down)?
        }
        // Gradients are built as the weights are.
        _ => Vec::new(),
    })
}
