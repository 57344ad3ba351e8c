//! The forward pass of attention.

use super::heads::{Dots, HeadKeys, HeadShape, Products, Row};
use super::{Attention, AttentionShape, TILE};
use crate::lanes::{largest, sum_of};
use crate::nn::error::check_length;
use crate::nn::{NnError, Real};

/// Values of scratch that [`attention_forward`] needs.
pub fn attention_forward_scratch_len(shape: AttentionShape) -> usize {
    TILE * shape.span.keys
}

/// `out[i, h] = Σ_j p_ij · v[j, h / group]`, `p_i = softmax_j(scale · q[i, h] · k[j, h / group] + bias)` over the keys seen.
///
/// `out` is `[queries, heads, value_dim]`; `log_sums` `[queries, heads]` is kept for the backward pass: the logarithm of
/// each softmax's denominator, −∞ where a query sees no key. Such a query gets zeros; NaN stays NaN. Keys and values that
/// are not seen count for nothing, but must be finite: they may be multiplied by zero.
///
/// ```
/// # use mixlet_core::nn::{attention_forward, Attention, AttentionShape, Pattern, Span, Visibility};
/// let span = Span { queries: 2, keys: 2, first_query: 0 };
/// let attention = Attention {
///     shape: AttentionShape { span, heads: 1, kv_heads: 1, head_dim: 1, value_dim: 1 },
///     scale: 1.0,
///     visibility: Visibility { pattern: Pattern::Causal, ..Visibility::default() },
///     q: &[1.0, 1.0],
///     k: &[0.0, 3f64.ln()], // the second key weighs three times as much
///     v: &[10.0, 50.0],
///     distance_bias: None,
///     sinks: None,
///     dropout: None,
/// };
/// let (mut out, mut log_sums, mut scratch) = ([f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 8]);
/// attention_forward(&attention, &mut out, &mut log_sums, &mut scratch)?;
/// assert!((out[0] - 10.0).abs() < 1e-12 && (out[1] - 40.0).abs() < 1e-12);
/// assert!((log_sums[1] - 4f64.ln()).abs() < 1e-12);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn attention_forward<R: Real>(
    attention: &Attention<'_, R>,
    out: &mut [R],
    log_sums: &mut [R],
    scratch: &mut [R],
) -> Result<(), NnError> {
    check_length("scratch", scratch.len(), attention_forward_scratch_len(attention.shape))?;
    forward::<R, Dots>(attention, out, log_sums, scratch)
}

#[inline(always)]
pub(super) fn forward<R: Real, P: Products<R>>(
    attention: &Attention<'_, R>,
    out: &mut [R],
    log_sums: &mut [R],
    scratch: &mut [R],
) -> Result<(), NnError> {
    let shape = attention.shape;
    attention.check_forward(out, log_sums)?;
    for kv_head in 0..shape.kv_heads {
        let rows = attention.rows(kv_head);
        let (tiles, left_over) = rows.tiles();
        for first in tiles {
            let tile = rows.tile::<TILE>(first);
            forward_tile::<TILE, R, P>(attention, kv_head, tile, out, log_sums, scratch);
        }
        for first in left_over {
            forward_tile::<1, R, P>(attention, kv_head, rows.tile(first), out, log_sums, scratch);
        }
    }
    Ok(())
}

#[inline(always)]
fn forward_tile<const N: usize, R: Real, P: Products<R>>(
    attention: &Attention<'_, R>,
    kv_head: usize,
    tile: [Row; N],
    out: &mut [R],
    log_sums: &mut [R],
    scratch: &mut [R],
) {
    let AttentionShape { heads, kv_heads, value_dim, .. } = attention.shape;
    let mut scores = attention.lines(tile, scratch);
    attention.scores::<N, P>(kv_head, tile, &mut scores);
    let keys = attention.keys(tile);
    for (row, scores) in tile.into_iter().zip(&mut scores) {
        let sink = attention.sinks.and_then(|sinks| sinks.get(row.head)).copied();
        if let Some(log_sum) = log_sums.get_mut(row.query * heads + row.head) {
            *log_sum = softmax(scores, sink);
        }
        attention.drop_out(row, keys.start, scores);
    }
    let values = HeadKeys { shape: HeadShape { heads: kv_heads, width: value_dim }, head: kv_head, keys };
    let starts = tile.map(|Row { query, head }| HeadShape { heads, width: value_dim }.at(query, head).start);
    values.weighted_sums(scores.map(|scores| &*scores), attention.v, starts, out);
}

/// Turns scores into probabilities and returns the logarithm of the denominator.
#[inline(always)]
fn softmax<R: Real>(scores: &mut [R], sink: Option<R>) -> R {
    let sink = sink.unwrap_or(R::NEG_INFINITY);
    let highest = largest(scores);
    let highest = if sink > highest { sink } else { highest };
    // Not where all scores are NaN: those go on.
    if highest == R::NEG_INFINITY && scores.iter().all(|score| *score == R::NEG_INFINITY) {
        scores.fill(R::ZERO);
        return R::NEG_INFINITY;
    }
    scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
    let sum = sum_of(scores, |value| value) + (sink - highest).exp();
    let share = R::from_f64(1.0 / sum.to_f64());
    scores.iter_mut().for_each(|score| *score *= share);
    highest + R::from_f64(libm::log(sum.to_f64()))
}
