//! Attention as a block: projections, norms, turns, every sequence, and the projection back; then all of it in reverse.

use mixlet_core::nn::{Pattern, Span};

use super::attend::Attend;
use super::linear;
use super::project::{ProjectionTape, Projections};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::models::config::Attention;
use crate::models::weights::AttentionWeights;

/// A block of attention and what surrounds it in a pass.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub config: &'a ModelConfig,
    pub attention: &'a Attention,
    pub weights: &'a AttentionWeights,
    pub span: Span,
    pub pattern: Pattern,
    /// `[sequences, keys]`: false for padding.
    pub mask: Option<&'a [bool]>,
    /// `[sequences, tokens, width]`; empty where nothing is turned.
    pub turns: &'a [f32],
    /// `[heads, distances]`.
    pub biases: Option<&'a [f32]>,
}

/// What the gradients of attention need.
pub(super) struct AttentionTape {
    queries: ProjectionTape,
    keys: ProjectionTape,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    log_sums: Vec<f32>,
    /// Before the projection back.
    attended: Vec<f32>,
}

/// The gradients of what attention reads.
pub(super) struct AttentionGrads {
    /// Of the tokens that ask.
    pub x: Vec<f32>,
    /// Of the tokens that are asked: where these are the same, both add up.
    pub source: Vec<f32>,
    /// `[heads, distances]`; empty where there are no biases.
    pub biases: Vec<f32>,
}

impl<'a> Site<'a> {
    fn projections(&self) -> Projections<'a> {
        let Self { config, attention, weights, turns, .. } = *self;
        Projections { config, attention, weights, turns }
    }

    fn attend<'b>(&'b self, q: &'b [f32], k: &'b [f32], v: &'b [f32]) -> Attend<'b> {
        let Self { attention, span, pattern, mask, biases, .. } = *self;
        Attend { attention, span, pattern, mask, q, k, v, biases, sinks: self.weights.sinks.as_deref() }
    }

    /// What attention of the tokens `x` to the tokens `source` adds to `x`.
    pub fn forward(&self, x: &[f32], source: &[f32]) -> Result<(Vec<f32>, AttentionTape)> {
        let (q, queries) = self.projections().queries(x)?;
        let ([k, v], keys) = self.projections().keys(source)?;
        let (attended, log_sums) = self.attend(&q, &k, &v).forward()?;
        let out = linear::forward(&self.weights.out, &attended)?;
        Ok((out, AttentionTape { queries, keys, q, k, v, log_sums, attended }))
    }

    /// The gradients of [`forward`](Self::forward) from that of its output; those of weights are added unless frozen.
    pub fn backward(
        &self,
        tape: AttentionTape,
        (x, source): (&[f32], &[f32]),
        grad_out: &[f32],
        grads: &mut AttentionWeights,
    ) -> Result<AttentionGrads> {
        let AttentionTape { queries, keys, q, k, v, log_sums, attended } = tape;
        let grad = linear::backward(&self.weights.out, &attended, grad_out, &mut grads.out)?;
        let inner = self.attend(&q, &k, &v).backward(&log_sums, &grad)?;
        if let Some(sinks) = &mut grads.sinks {
            sinks.iter_mut().zip(&inner.sinks).for_each(|(sum, grad)| *sum += grad);
        }
        let projections = self.projections();
        let x = projections.queries_backward(queries, x, inner.q, grads)?;
        let source = projections.keys_backward(keys, source, [inner.k, inner.v], grads)?;
        Ok(AttentionGrads { x, source, biases: inner.biases })
    }
}
