//! The forward pass for many queries: panels of transposed queries, against which keys and values are broadcast.
//!
//! A register's lanes are queries, so that nothing is summed across one. Keys come in blocks, each block's scores take no
//! more memory than a cache has, and what was summed before is scaled down where a block has a higher score
//! (FlashAttention, arXiv:2205.14135, section 3.1; online softmax, arXiv:1805.02867).

use core::ops::Range;

use super::forward::{attention_forward_scratch_len, forward};
use super::heads::{DotsBy, HeadShape};
use super::{Attention, AttentionShape};
use crate::linear::{Arith, PANEL, TILE, tile_of_panel};
use crate::nn::error::check_length;
use crate::nn::{NnError, Real};

/// Keys whose scores are kept at once: 32 KB of them.
const KEYS: usize = 128;
/// Queries from which on a panel is worth its empty places.
const FEW: usize = 24;
/// Half a panel: with two rows, what sixteen registers of 32 bytes hold.
const HALF: usize = PANEL / 2;

/// A value of each query of a panel.
type Lanes = [f32; PANEL];

/// Values of scratch that [`attention_forward_by`] needs.
pub fn attention_forward_by_scratch_len(shape: AttentionShape) -> usize {
    let widths = shape.head_dim + shape.value_dim.next_multiple_of(TILE);
    let panel = (widths + KEYS + 2) * PANEL + KEYS * TILE;
    attention_forward_scratch_len(shape).max(panel)
}

/// [`attention_forward`](super::attention_forward) with the products of `A`: several times as fast.
///
/// Few queries are multiplied one by one, as all are where there is dropout; many in panels. A query's bits depend on its place
/// in the run, and on how many there are; all else is as there.
///
/// ```
/// # use mixlet_core::linear::Plain;
/// # use mixlet_core::nn::*;
/// // 32 queries that see all keys before them: the mean of 0, 1, 2, … so far.
/// let span = Span { queries: 32, keys: 32, first_query: 0 };
/// let shape = AttentionShape { span, heads: 1, kv_heads: 1, head_dim: 1, value_dim: 1 };
/// let visibility = Visibility { pattern: Pattern::Causal, ..Visibility::default() };
/// let (zeros, v): (_, Vec<f32>) = ([0.0; 32], (0..32).map(|key| key as f32).collect());
/// let (q, k) = (&zeros[..], &zeros[..]);
/// let attention =
///     Attention { shape, scale: 1.0, visibility, q, k, v: &v, distance_bias: None, sinks: None, dropout: None };
/// let (mut out, mut log_sums) = ([f32::NAN; 32], [f32::NAN; 32]);
/// let mut scratch = vec![0.0; attention_forward_by_scratch_len(shape)];
/// attention_forward_by::<Plain>(&attention, &mut out, &mut log_sums, &mut scratch)?;
/// assert!((out[31] - 15.5).abs() < 1e-5 && (log_sums[31] - 32f32.ln()).abs() < 1e-6);
/// # Ok::<(), NnError>(())
/// ```
#[inline(always)]
pub fn attention_forward_by<A: Arith>(
    attention: &Attention<'_, f32>,
    out: &mut [f32],
    log_sums: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), NnError> {
    let shape = attention.shape;
    check_length("scratch", scratch.len(), attention_forward_by_scratch_len(shape))?;
    if shape.span.queries < FEW || attention.dropout.is_some() {
        return forward::<f32, DotsBy<A>>(attention, out, log_sums, scratch);
    }
    attention.check_forward(out, log_sums)?;
    for head in 0..shape.heads {
        for first in (0..shape.span.queries).step_by(PANEL) {
            let panel = Panel { attention, head, queries: first..shape.span.queries.min(first + PANEL) };
            panel.forward::<A>(out, log_sums, scratch);
        }
    }
    Ok(())
}

/// Queries of one head.
struct Panel<'p, 'a> {
    attention: &'p Attention<'a, f32>,
    head: usize,
    queries: Range<usize>,
}

impl Panel<'_, '_> {
    #[inline(always)]
    fn forward<A: Arith>(&self, out: &mut [f32], log_sums: &mut [f32], scratch: &mut [f32]) {
        let AttentionShape { heads, head_dim, value_dim, .. } = self.attention.shape;
        let (values, lines) = scratch.split_at_mut((KEYS * TILE).min(scratch.len()));
        let values = values.as_chunks_mut::<TILE>().0;
        let lines = lines.as_chunks_mut::<PANEL>().0;
        let Some(([highest, sums], lines)) = lines.split_first_chunk_mut() else { return };
        let (queries, lines) = lines.split_at_mut(head_dim.min(lines.len()));
        let (scores, outs) = lines.split_at_mut(KEYS.min(lines.len()));
        self.transpose(queries);
        outs.as_flattened_mut().fill(0.0);
        let sink = self.attention.sinks.and_then(|sinks| sinks.get(self.head)).copied();
        *highest = [sink.unwrap_or(f32::NEG_INFINITY); PANEL];
        *sums = [if highest[0] > f32::NEG_INFINITY { 1.0 } else { 0.0 }; PANEL];
        let all = self.keys();
        for start in all.clone().step_by(KEYS) {
            let keys = start..all.end.min(start + KEYS);
            let scores = scores.get_mut(..keys.len()).unwrap_or_default();
            self.scores::<A>(keys.clone(), queries, scores);
            let factors = probabilities(scores, highest, sums);
            self.add_values::<A>(keys, scores, &factors, values, outs);
        }
        let shares = sums.map(|sum| if sum == 0.0 { 0.0 } else { 1.0 / sum });
        let shape = HeadShape { heads, width: value_dim };
        for (nth, query) in self.queries.clone().enumerate() {
            let share = shares.get(nth).copied().unwrap_or(0.0);
            let lane = |line: &Lanes| line.get(nth).copied().unwrap_or(0.0);
            let row = shape.row_mut(out, query, self.head);
            row.iter_mut().zip(&*outs).for_each(|(out, line)| *out = lane(line) * share);
            if let Some(log_sum) = log_sums.get_mut(query * heads + self.head) {
                *log_sum = lane(highest) + f32::from_f64(libm::log(f64::from(lane(sums))));
            }
        }
    }

    /// The head whose keys and values are looked at.
    #[inline(always)]
    fn kv_head(&self) -> usize {
        let AttentionShape { heads, kv_heads, .. } = self.attention.shape;
        self.head / (heads / kv_heads.max(1)).max(1)
    }

    /// The keys that any query may see by position.
    #[inline(always)]
    fn keys(&self) -> Range<usize> {
        let range = |query| self.attention.visibility.range(self.attention.shape.span, query);
        let (first, last) = (range(self.queries.start), range(self.queries.end.saturating_sub(1)));
        first.start..last.end.max(first.start)
    }

    /// `lines[i][r]`: value `i` of query `r`; zeros where there is no query.
    #[inline(always)]
    fn transpose(&self, lines: &mut [Lanes]) {
        let AttentionShape { heads, head_dim, .. } = self.attention.shape;
        let shape = HeadShape { heads, width: head_dim };
        lines.as_flattened_mut().fill(0.0);
        for (nth, query) in self.queries.clone().enumerate() {
            let row = shape.row(self.attention.q, query, self.head);
            for (line, value) in lines.iter_mut().zip(row) {
                line.get_mut(nth).into_iter().for_each(|out| *out = *value);
            }
        }
    }

    /// `scores[j][r]` of key `j` of the block and query `r`, −∞ where it is not seen.
    #[inline(always)]
    fn scores<A: Arith>(&self, keys: Range<usize>, queries: &[Lanes], scores: &mut [Lanes]) {
        let AttentionShape { kv_heads, head_dim, .. } = self.attention.shape;
        let (shape, kv_head) = (HeadShape { heads: kv_heads, width: head_dim }, self.kv_head());
        let scale = f32::from_f64(self.attention.scale);
        for (nth, scores) in scores.chunks_mut(TILE).enumerate() {
            let key = |n: usize| (keys.start + nth * TILE + n).min(keys.end.saturating_sub(1));
            let rows: [&[f32]; TILE] = core::array::from_fn(|n| shape.row(self.attention.k, key(n), kv_head));
            let sums = tile_of_panel::<A>(rows, queries);
            for (scores, sums) in scores.iter_mut().zip(&sums) {
                scores.iter_mut().zip(sums).for_each(|(score, sum)| *score = sum * scale);
            }
        }
        for (key, scores) in keys.zip(scores) {
            self.add_bias(key, scores);
            self.hide(key, scores);
        }
    }

    #[inline(always)]
    fn add_bias(&self, key: usize, scores: &mut Lanes) {
        let span = self.attention.shape.span;
        let Some(biases) = self.attention.distance_bias else { return };
        // The distance falls from query to query.
        let last = self.head * span.distances() + span.queries + key - self.queries.end;
        let biases = biases.get(last..last + self.queries.len()).unwrap_or_default();
        scores.iter_mut().zip(biases.iter().rev()).for_each(|(score, bias)| *score += *bias);
    }

    #[inline(always)]
    fn hide(&self, key: usize, scores: &mut Lanes) {
        let (span, visibility) = (self.attention.shape.span, &self.attention.visibility);
        if visibility.key_mask.is_some_and(|mask| mask.get(key) == Some(&false)) {
            scores.fill(f32::NEG_INFINITY);
        }
        let seen = visibility.queries(span, key);
        let at = |query: usize| query.saturating_sub(self.queries.start).min(scores.len());
        let (before, after) = (at(seen.start), at(seen.end));
        if before > 0 || self.queries.end > seen.end {
            scores.get_mut(..before).unwrap_or_default().fill(f32::NEG_INFINITY);
            scores.get_mut(after..).unwrap_or_default().fill(f32::NEG_INFINITY);
        }
        if let Some(segments) = visibility.segments {
            let own = segments.queries.get(self.queries.clone()).unwrap_or_default();
            for (score, own) in scores.iter_mut().zip(own) {
                *score = if segments.keys.get(key) == Some(own) { *score } else { f32::NEG_INFINITY };
            }
        }
    }

    /// `outs[d][r] = outs[d][r] · factors[r] + Σ_j v[j][d] · scores[j][r]`.
    #[inline(always)]
    fn add_values<A: Arith>(
        &self,
        keys: Range<usize>,
        scores: &[Lanes],
        factors: &Lanes,
        values: &mut [[f32; TILE]],
        outs: &mut [Lanes],
    ) {
        let AttentionShape { kv_heads, value_dim, .. } = self.attention.shape;
        let (shape, kv_head) = (HeadShape { heads: kv_heads, width: value_dim }, self.kv_head());
        for (nth, outs) in outs.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
            for (key, values) in keys.clone().zip(&mut *values) {
                let row = shape.row(self.attention.v, key, kv_head).get(nth * TILE..).unwrap_or_default();
                match row.first_chunk() {
                    Some(row) => *values = *row,
                    None => values.iter_mut().enumerate().for_each(|(n, out)| {
                        *out = row.get(n).copied().unwrap_or(0.0);
                    }),
                }
            }
            for outs in &mut *outs {
                outs.iter_mut().zip(factors).for_each(|(out, factor)| *out *= factor);
            }
            add_products::<A>(values, scores, outs);
        }
    }
}

/// Turns scores into `exp(score − highest)` of the highest so far; what was summed before is to be multiplied by what is
/// returned.
#[inline(always)]
fn probabilities(scores: &mut [Lanes], highest: &mut Lanes, sums: &mut Lanes) -> Lanes {
    let before = *highest;
    for scores in &*scores {
        highest
            .iter_mut()
            .zip(scores)
            .for_each(|(most, score)| *most = if *score > *most { *score } else { *most });
    }
    // Where nothing is seen yet, anything but −∞, from which −∞ cannot be taken.
    let base = highest.map(|most| if most == f32::NEG_INFINITY { 0.0 } else { most });
    let mut factors = before;
    factors.iter_mut().zip(&base).for_each(|(factor, base)| *factor = (*factor - base).exp());
    sums.iter_mut().zip(&factors).for_each(|(sum, factor)| *sum *= factor);
    for scores in scores {
        for ((score, base), sum) in scores.iter_mut().zip(&base).zip(&mut *sums) {
            *score = (*score - base).exp();
            *sum += *score;
        }
    }
    factors
}

/// `sums[n][r] += Σ_j values[j][n] · lines[j][r]`.
#[inline(always)]
fn add_products<A: Arith>(values: &[[f32; TILE]], lines: &[Lanes], sums: &mut [Lanes; TILE]) {
    if A::WIDE {
        let mut local = *sums;
        for (values, line) in values.iter().zip(lines) {
            for (sums, value) in local.iter_mut().zip(values) {
                sums.iter_mut().zip(line).for_each(|(sum, lane)| *sum = A::fma(*value, *lane, *sum));
            }
        }
        *sums = local;
        return;
    }
    for (pair, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        for half in 0..PANEL / HALF {
            let part = |line: &Lanes| line.as_chunks::<HALF>().0.get(half).copied().unwrap_or([0.0; HALF]);
            let mut local = [part(&sums[0]), part(&sums[1])];
            for (values, line) in values.iter().zip(lines) {
                let Some(values) = values.as_chunks::<2>().0.get(pair) else { continue };
                let Some(line) = line.as_chunks::<HALF>().0.get(half) else { continue };
                for (sums, value) in local.iter_mut().zip(values) {
                    sums.iter_mut().zip(line).for_each(|(sum, lane)| *sum = A::fma(*value, *lane, *sum));
                }
            }
            for (sums, local) in sums.iter_mut().zip(local) {
                sums.as_chunks_mut::<HALF>().0.get_mut(half).into_iter().for_each(|out| *out = local);
            }
        }
    }
}
