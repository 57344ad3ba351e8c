//! Softmax attention of some sequences over several threads: by sequences, and by runs of queries.

use mixlet_core::linear::ScratchLen;
use mixlet_core::nn::{
    Attention as CoreAttention, AttentionShape, NnError, Pattern, Span, Visibility,
    attention_forward_by_scratch_len,
};
use rayon::prelude::*;

use super::super::cache::{Encoded, Lines};
use super::super::kernels::AttentionForward;
use crate::linear::memory::with_memory;
use crate::models::config::Attention;
use crate::simd::multiply;

/// Queries of a run that a thread takes at once.
const QUERIES: usize = 64;

/// Attention of every sequence, each to its own keys.
#[derive(Clone, Copy)]
pub(super) struct Attend<'a> {
    pub attention: &'a Attention,
    /// Of a sequence.
    pub span: Span,
    pub pattern: Pattern,
    /// `[sequences, queries, heads, head_dim]`.
    pub q: &'a [f32],
    /// `[sequences, stride, kv_heads, head_dim]`: the first keys of each are looked at.
    pub keys: &'a [f32],
    /// `[sequences, stride, kv_heads, value_dim]`.
    pub values: &'a [f32],
    pub stride: usize,
    /// `[sequences, keys]`: false for padding.
    pub mask: Option<&'a [bool]>,
    /// Whose keys, values and mask a sequence looks at; its own where there is no list.
    pub inputs: Option<&'a [usize]>,
    /// `[heads, distances]`.
    pub biases: Option<&'a [f32]>,
    /// `[heads]`.
    pub sinks: Option<&'a [f32]>,
}

impl<'a> Attend<'a> {
    /// The same queries to what the encoder made of their inputs.
    pub fn to_encoded(self, lines: &'a Lines, encoded: &'a Encoded) -> Self {
        Self {
            span: Span { keys: encoded.tokens, first_query: 0, ..self.span },
            pattern: Pattern::Full,
            keys: &lines.keys,
            values: &lines.values,
            stride: encoded.tokens,
            mask: Some(&encoded.mask[..]).filter(|mask| !mask.is_empty()),
            inputs: Some(&encoded.inputs),
            ..self
        }
    }

    /// Into `out` `[sequences, queries, heads, value_dim]`.
    pub fn run(&self, out: &mut [f32]) -> Result<(), NnError> {
        let width = self.attention.out_width();
        let sequences = out.par_chunks_mut((self.span.queries * width).max(1)).enumerate();
        sequences.try_for_each(|(sequence, out)| {
            let runs = out.par_chunks_mut(QUERIES * width).enumerate();
            runs.try_for_each(|(nth, out)| self.queries(sequence, nth * QUERIES, out))
        })
    }

    /// A run of queries of a sequence, from `first` on.
    fn queries(&self, sequence: usize, first: usize, out: &mut [f32]) -> Result<(), NnError> {
        let Attention { heads, kv_heads, head_dim, value_dim, scale, .. } = *self.attention;
        let queries = out.len() / (heads * value_dim).max(1);
        let span = Span { queries, first_query: self.span.first_query + first, ..self.span };
        let shape = AttentionShape { span, heads, kv_heads, head_dim, value_dim };
        let input = self.inputs.map_or(sequence, |inputs| inputs[sequence]);
        let lines = |width: usize| input * self.stride * width..(input * self.stride + span.keys) * width;
        let bias_len = self.biases.map_or(0, |_| shape.distance_bias_len());
        let floats = bias_len + shape.log_sums_len() + attention_forward_by_scratch_len(shape);
        with_memory(floats, ScratchLen::default(), |floats, _| {
            let (biases, floats) = floats.split_at_mut(bias_len);
            let (log_sums, scratch) = floats.split_at_mut(shape.log_sums_len());
            self.copy_biases(first, span, biases);
            let q_width = self.attention.q_width();
            let q = &self.q[(sequence * self.span.queries + first) * q_width..][..queries * q_width];
            let attention = CoreAttention {
                shape,
                scale,
                visibility: Visibility {
                    pattern: self.pattern,
                    key_mask: self.mask.map(|mask| &mask[input * span.keys..][..span.keys]),
                    segments: None,
                },
                q,
                k: &self.keys[lines(self.attention.k_width())],
                v: &self.values[lines(self.attention.v_width())],
                distance_bias: self.biases.map(|_| &*biases),
                sinks: self.sinks,
                dropout: None,
            };
            multiply(AttentionForward { attention, out, log_sums, scratch })
        })
    }

    /// The biases of the distances that a run of queries has, of all those that the sequence has.
    fn copy_biases(&self, first: usize, run: Span, out: &mut [f32]) {
        let Some(biases) = self.biases else { return };
        let (all, some) = (self.span.distances(), run.distances());
        // Distances rise from that of the last query to the first key.
        let skipped = self.span.queries - first - run.queries;
        for (out, biases) in out.chunks_exact_mut(some.max(1)).zip(biases.chunks_exact(all.max(1))) {
            out.copy_from_slice(&biases[skipped..][..some]);
        }
    }
}
