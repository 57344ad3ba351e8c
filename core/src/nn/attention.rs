//! Softmax attention over projected queries, keys and values.
//!
//! One call is one sequence (or one pack of sequences). Slices are as a projection leaves them, token by token:
//! `q` `[queries, heads, head_dim]`, `k` `[keys, kv_heads, head_dim]`, `v` `[keys, kv_heads, value_dim]`; `heads /
//! kv_heads` neighbouring heads share keys and values.
//!
//! *Memory:* no scores are kept. The forward pass leaves one logarithm per query and head, the backward pass computes
//! the scores again; scratch is a few rows of `keys` values. *Threads* share the forward pass by sequences or by runs of
//! queries ([`Span::first_query`] says where a run begins; the bits do not depend on it), the backward pass by sequences.

mod backward;
mod forward;
mod heads;
mod panels;
mod visibility;

pub use backward::{AttentionGrads, attention_backward, attention_backward_scratch_len};
pub use forward::{attention_forward, attention_forward_scratch_len};
pub use panels::{attention_forward_by, attention_forward_by_scratch_len};
pub use visibility::{Pattern, Segments, Visibility};

use core::ops::Range;

use super::error::check_length;
use super::{Dropout, NnError, Real};
use crate::lanes::LANES;
use heads::{HeadKeys, HeadShape, Products, Row, Rows};

/// Rows of scores made at once, so that a key is read once for all of them: queries times heads of a group.
const TILE: usize = 4;

/// How queries lie against keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Tokens that ask.
    pub queries: usize,
    /// Tokens that are asked.
    pub keys: usize,
    /// The key position of query 0: 0 in training, the number of tokens already seen with a key–value cache.
    pub first_query: usize,
}

impl Span {
    /// Distances (key position minus query position) that occur.
    pub fn distances(&self) -> usize {
        (self.queries + self.keys).saturating_sub(1)
    }
}

/// The lengths of everything attention reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Queries and keys.
    pub span: Span,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head's queries and keys.
    pub head_dim: usize,
    /// Width of a head's values: `head_dim` except in DeepSeek-V3.
    pub value_dim: usize,
}

impl AttentionShape {
    /// Values of the queries.
    pub fn q_len(&self) -> usize {
        self.span.queries * self.heads * self.head_dim
    }

    /// Values of the keys.
    pub fn k_len(&self) -> usize {
        self.span.keys * self.kv_heads * self.head_dim
    }

    /// Values of the values.
    pub fn v_len(&self) -> usize {
        self.span.keys * self.kv_heads * self.value_dim
    }

    /// Values of the output.
    pub fn out_len(&self) -> usize {
        self.span.queries * self.heads * self.value_dim
    }

    /// Values of the cache: one per query and head.
    pub fn log_sums_len(&self) -> usize {
        self.span.queries * self.heads
    }

    /// Values of the biases by distance.
    pub fn distance_bias_len(&self) -> usize {
        self.heads * self.span.distances()
    }
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, R> {
    /// The lengths.
    pub shape: AttentionShape,
    /// What scores are multiplied by: 1 in T5, `1 / √head_dim` in most others.
    pub scale: f64,
    /// Which queries see which keys.
    pub visibility: Visibility<'a>,
    /// `[queries, heads, head_dim]`.
    pub q: &'a [R],
    /// `[keys, kv_heads, head_dim]`.
    pub k: &'a [R],
    /// `[keys, kv_heads, value_dim]`.
    pub v: &'a [R],
    /// `[heads, queries + keys − 1]`, added to the scores by distance, the lowest first: T5's bias from
    /// [`position_bias_forward`](super::position_bias_forward), or slopes (ALiBi).
    pub distance_bias: Option<&'a [R]>,
    /// `[heads]`: the score of a place that holds no value, which takes its share of the softmax (GPT-OSS).
    pub sinks: Option<&'a [R]>,
    /// Drops probabilities in training (T5); one draw for the forward and the backward pass.
    pub dropout: Option<Dropout>,
}

impl<R: Real> Attention<'_, R> {
    fn check(&self) -> Result<(), NnError> {
        let AttentionShape { span, heads, kv_heads, .. } = self.shape;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(NnError::Heads { heads, kv_heads });
        }
        check_length("queries", self.q.len(), self.shape.q_len())?;
        check_length("keys", self.k.len(), self.shape.k_len())?;
        check_length("values", self.v.len(), self.shape.v_len())?;
        if let Some(bias) = self.distance_bias {
            check_length("distance bias", bias.len(), self.shape.distance_bias_len())?;
        }
        if let Some(sinks) = self.sinks {
            check_length("sinks", sinks.len(), heads)?;
        }
        self.visibility.check(span)
    }

    /// [`check`](Self::check), and the lengths of what the forward pass writes.
    fn check_forward(&self, out: &[R], log_sums: &[R]) -> Result<(), NnError> {
        self.check()?;
        check_length("attention output", out.len(), self.shape.out_len())?;
        check_length("attention log-sums", log_sums.len(), self.shape.log_sums_len())
    }

    /// The rows of one key head: every query with every head of the group.
    #[inline(always)]
    fn rows(&self, kv_head: usize) -> Rows {
        let group = self.shape.heads / self.shape.kv_heads.max(1);
        Rows { queries: self.shape.span.queries, group, kv_head }
    }

    /// The keys that any row of a tile may see by position.
    ///
    /// From a multiple of [`LANES`] on: then a row's sums have the same parts whatever else is in its tile.
    #[inline(always)]
    fn keys<const N: usize>(&self, tile: [Row; N]) -> Range<usize> {
        let ranges = tile.map(|row| self.visibility.range(self.shape.span, row.query));
        let start = ranges.iter().map(|keys| keys.start).min().unwrap_or(0);
        let end = ranges.iter().map(|keys| keys.end).max().unwrap_or(0);
        start / LANES * LANES..end.max(start)
    }

    /// Memory for a tile's scores: a line per row, as long as the tile has keys.
    #[inline(always)]
    fn lines<'s, const N: usize>(&self, tile: [Row; N], scratch: &'s mut [R]) -> [&'s mut [R]; N] {
        let keys = self.keys(tile).len();
        let mut lines = scratch.chunks_exact_mut(self.shape.span.keys.max(1));
        tile.map(|_| lines.next().and_then(|line| line.get_mut(..keys)).unwrap_or_default())
    }

    /// Drops what a row has for a run of keys. A pair's place is that of query position and head, then the key's, so
    /// that runs of queries drop what the whole does.
    #[inline(always)]
    fn drop_out(&self, row: Row, first_key: usize, values: &mut [R]) {
        if let Some(dropout) = self.dropout {
            let place = (self.shape.span.first_query + row.query) * self.shape.heads + row.head;
            dropout.apply(((place as u64) << 32) + first_key as u64, values);
        }
    }

    /// Where the biases of a row against a run of keys lie in `[heads, distances]`.
    #[inline(always)]
    fn biases_at(&self, row: Row, keys: Range<usize>) -> Range<usize> {
        let span = self.shape.span;
        let start = row.head * span.distances() + span.queries - 1 - row.query;
        start + keys.start..start + keys.end
    }

    /// The scores of a tile against its keys, −∞ where a key is not seen.
    #[inline(always)]
    fn scores<const N: usize, P: Products<R>>(
        &self,
        kv_head: usize,
        tile: [Row; N],
        scores: &mut [&mut [R]; N],
    ) {
        let AttentionShape { span, heads, kv_heads, head_dim, .. } = self.shape;
        let shape = HeadShape { heads: kv_heads, width: head_dim };
        let keys = HeadKeys { shape, head: kv_head, keys: self.keys(tile) };
        let queries = HeadShape { heads, width: head_dim };
        let rows = tile.map(|row| queries.row(self.q, row.query, row.head));
        P::products(&keys, rows, self.k, scores);
        let scale = R::from_f64(self.scale);
        for (row, scores) in tile.into_iter().zip(scores) {
            scores.iter_mut().for_each(|score| *score *= scale);
            if let Some(bias) =
                self.distance_bias.and_then(|line| line.get(self.biases_at(row, keys.keys.clone())))
            {
                scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += *bias);
            }
            self.visibility.hide(span, row.query, keys.keys.clone(), scores);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_length_is_its_own_error() {
        let good = Attention {
            shape: AttentionShape {
                span: Span { queries: 2, keys: 3, first_query: 0 },
                heads: 4,
                kv_heads: 2,
                head_dim: 1,
                value_dim: 2,
            },
            scale: 1.0,
            visibility: Visibility {
                pattern: Pattern::Full,
                key_mask: Some(&[true; 3]),
                segments: Some(Segments { queries: &[1; 2], keys: &[1; 3] }),
            },
            q: &[1.0; 8],
            k: &[1.0; 6],
            v: &[1.0; 12],
            distance_bias: Some(&[0.0; 16]),
            sinks: Some(&[0.0; 4]),
            dropout: None,
        };
        let length = |what, found, expected| Err(NnError::Length { what, found, expected });
        type Change = fn(&mut Attention<'_, f64>);
        let cases: [(Change, Result<(), NnError>); 11] = [
            (|_| (), Ok(())),
            (|it| it.shape.kv_heads = 3, Err(NnError::Heads { heads: 4, kv_heads: 3 })),
            (|it| it.shape.kv_heads = 0, Err(NnError::Heads { heads: 4, kv_heads: 0 })),
            (|it| it.q = &[1.0; 9], length("queries", 9, 8)),
            (|it| it.k = &[1.0; 5], length("keys", 5, 6)),
            (|it| it.v = &[], length("values", 0, 12)),
            (|it| it.distance_bias = Some(&[]), length("distance bias", 0, 16)),
            (|it| it.sinks = Some(&[0.0; 2]), length("sinks", 2, 4)),
            (|it| it.visibility.key_mask = Some(&[true]), length("key mask", 1, 3)),
            (
                |it| it.visibility.segments = Some(Segments { queries: &[1], keys: &[1; 3] }),
                length("segments of the queries", 1, 2),
            ),
            (
                |it| it.visibility.segments = Some(Segments { queries: &[1; 2], keys: &[1] }),
                length("segments of the keys", 1, 3),
            ),
        ];
        for (change, expected) in cases {
            let mut attention = good;
            change(&mut attention);
            let (mut out, mut log_sums, mut scratch) = ([0.0; 16], [0.0; 8], [0.0; 24]);
            let forward_scratch = scratch.get_mut(..12).unwrap_or_default();
            let forward = attention_forward(&attention, &mut out, &mut log_sums, forward_scratch);
            assert_eq!(forward, expected, "{attention:?}");
            let (mut q, mut k, mut v) = ([0.0; 8], [0.0; 6], [0.0; 12]);
            let grads = AttentionGrads { q: &mut q, k: &mut k, v: &mut v, distance_bias: None, sinks: None };
            let backward = attention_backward(&attention, &log_sums, &out, grads, &mut scratch);
            assert_eq!(backward, expected, "{attention:?}");
        }
    }
}
