//! Softmax attention of some sequences, each on its own: the one place that knows how core takes keys and values.

use mixlet_core::linear::ScratchLen;
use mixlet_core::nn::{
    Attention as CoreAttention, AttentionGrads, AttentionShape, NnError, Pattern, Span, Visibility,
    attention_backward_scratch_len, attention_forward_by_scratch_len,
};
use rayon::prelude::*;

use super::kernels::AttentionBackward;
use crate::linear::memory::with_memory;
use crate::models::config::Attention;
use crate::models::forward::kernels::AttentionForward;
use crate::simd::{multiply, wide};

/// Attention of every sequence to its own keys.
#[derive(Clone, Copy)]
pub(super) struct Attend<'a> {
    pub attention: &'a Attention,
    /// Of a sequence.
    pub span: Span,
    pub pattern: Pattern,
    /// `[sequences, keys]`: false for padding.
    pub mask: Option<&'a [bool]>,
    /// `[sequences, queries, heads, head_dim]`.
    pub q: &'a [f32],
    /// `[sequences, keys, kv_heads, head_dim]`.
    pub k: &'a [f32],
    /// `[sequences, keys, kv_heads, value_dim]`.
    pub v: &'a [f32],
    /// `[heads, distances]`.
    pub biases: Option<&'a [f32]>,
    /// `[heads]`.
    pub sinks: Option<&'a [f32]>,
}

/// The gradients of [`Attend`].
pub(super) struct AttendGrads {
    /// As `q`.
    pub q: Vec<f32>,
    /// As `k`.
    pub k: Vec<f32>,
    /// As `v`.
    pub v: Vec<f32>,
    /// `[heads, distances]`; empty where there are no biases.
    pub biases: Vec<f32>,
    /// `[heads]`; empty where there are no sinks.
    pub sinks: Vec<f32>,
}

impl Attend<'_> {
    fn shape(&self) -> AttentionShape {
        let Attention { heads, kv_heads, head_dim, value_dim, .. } = *self.attention;
        AttentionShape { span: self.span, heads, kv_heads, head_dim, value_dim }
    }

    fn sequence(&self, nth: usize) -> CoreAttention<'_, f32> {
        let shape = self.shape();
        let of = |len: usize| nth * len..(nth + 1) * len;
        CoreAttention {
            shape,
            scale: self.attention.scale,
            visibility: Visibility {
                pattern: self.pattern,
                key_mask: self.mask.map(|mask| &mask[of(self.span.keys)]),
                segments: None,
            },
            q: &self.q[of(shape.q_len())],
            k: &self.k[of(shape.k_len())],
            v: &self.v[of(shape.v_len())],
            distance_bias: self.biases,
            sinks: self.sinks,
            dropout: None,
        }
    }

    /// `[sequences, queries, heads, value_dim]`, and the log-sums that [`backward`](Self::backward) takes.
    pub fn forward(&self) -> Result<(Vec<f32>, Vec<f32>), NnError> {
        let shape = self.shape();
        let sequences = self.q.len() / shape.q_len().max(1);
        let mut out = vec![0.0; sequences * shape.out_len()];
        let mut log_sums = vec![0.0; sequences * shape.log_sums_len()];
        let outputs = out.par_chunks_mut(shape.out_len().max(1));
        let outputs = outputs.zip(log_sums.par_chunks_mut(shape.log_sums_len().max(1)));
        outputs.enumerate().try_for_each(|(nth, (out, log_sums))| {
            let scratch = attention_forward_by_scratch_len(shape);
            with_memory(scratch, ScratchLen::default(), |scratch, _| {
                multiply(AttentionForward { attention: self.sequence(nth), out, log_sums, scratch })
            })
        })?;
        Ok((out, log_sums))
    }

    /// All gradients. Biases and sinks add up over sequences in order.
    pub fn backward(&self, log_sums: &[f32], grad_out: &[f32]) -> Result<AttendGrads, NnError> {
        let shape = self.shape();
        let bias_len = self.biases.map_or(0, |_| shape.distance_bias_len());
        let sinks_len = self.sinks.map_or(0, <[f32]>::len);
        let [mut q, mut k, mut v] = [self.q, self.k, self.v].map(|values| vec![0.0; values.len()]);
        let queries = q.par_chunks_mut(shape.q_len().max(1));
        let keys = k.par_chunks_mut(shape.k_len().max(1)).zip(v.par_chunks_mut(shape.v_len().max(1)));
        let added = queries.zip(keys).enumerate().map(|(nth, (q, (k, v)))| {
            let (mut biases, mut sinks) = (vec![0.0; bias_len], vec![0.0; sinks_len]);
            let grads = AttentionGrads {
                q,
                k,
                v,
                distance_bias: self.biases.map(|_| &mut biases[..]),
                sinks: self.sinks.map(|_| &mut sinks[..]),
            };
            let [log_sums, grad_out] = [(log_sums, shape.log_sums_len()), (grad_out, shape.out_len())]
                .map(|(values, len)| &values[nth * len..(nth + 1) * len]);
            let attention = self.sequence(nth);
            with_memory(attention_backward_scratch_len(shape), ScratchLen::default(), |scratch, _| {
                wide(AttentionBackward { attention, log_sums, grad_out, grads, scratch })
            })?;
            Ok((biases, sinks))
        });
        let added: Vec<_> = added.collect::<Result<_, NnError>>()?;
        let (mut biases, mut sinks) = (vec![0.0; bias_len], vec![0.0; sinks_len]);
        for (of_biases, of_sinks) in added {
            biases.iter_mut().zip(of_biases).for_each(|(sum, grad)| *sum += grad);
            sinks.iter_mut().zip(of_sinks).for_each(|(sum, grad)| *sum += grad);
        }
        Ok(AttendGrads { q, k, v, biases, sinks })
    }
}
