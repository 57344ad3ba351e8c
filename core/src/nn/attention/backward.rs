//! The backward pass of attention: scores are computed again, probabilities follow from the kept log-sums.

use core::ops::Range;

use super::heads::{Dots, HeadKeys, HeadShape, Products, Row};
use super::{Attention, AttentionShape, TILE};
use crate::lanes::dot;
use crate::nn::error::check_length;
use crate::nn::{NnError, Real};

/// The gradients of attention.
#[derive(Debug)]
pub struct AttentionGrads<'a, R> {
    /// `[queries, heads, head_dim]`: overwritten.
    pub q: &'a mut [R],
    /// `[keys, kv_heads, head_dim]`: overwritten.
    pub k: &'a mut [R],
    /// `[keys, kv_heads, value_dim]`: overwritten.
    pub v: &'a mut [R],
    /// `[heads, queries + keys − 1]`: added to, since layers share the bias; absent where there is none or it is frozen.
    pub distance_bias: Option<&'a mut [R]>,
    /// `[heads]`: added to; absent where there are none or they are frozen.
    pub sinks: Option<&'a mut [R]>,
}

impl<R> AttentionGrads<'_, R> {
    fn check(&self, shape: AttentionShape) -> Result<(), NnError> {
        check_length("gradient of the queries", self.q.len(), shape.q_len())?;
        check_length("gradient of the keys", self.k.len(), shape.k_len())?;
        check_length("gradient of the values", self.v.len(), shape.v_len())?;
        if let Some(bias) = &self.distance_bias {
            check_length("gradient of the distance bias", bias.len(), shape.distance_bias_len())?;
        }
        match &self.sinks {
            Some(sinks) => check_length("gradient of the sinks", sinks.len(), shape.heads),
            None => Ok(()),
        }
    }
}

/// Values of scratch that [`attention_backward`] needs.
pub fn attention_backward_scratch_len(shape: AttentionShape) -> usize {
    2 * TILE * shape.span.keys
}

/// The gradients of [`attention_forward`](super::attention_forward), from its `log_sums` and the gradient of its output.
///
/// With `dp_ij = grad_out_i · v_j`, `ds_ij = p_ij · (dp_ij − Σ_j p_ij · dp_ij)`: `grad_q_i = scale · Σ_j ds_ij · k_j`,
/// `grad_k_j = scale · Σ_i ds_ij · q_i`, `grad_v_j = Σ_i p_ij · grad_out_i`; the bias of a distance gets `Σ ds_ij` over
/// its pairs, a sink with probability `p` gets `−p · Σ_j p_ij · dp_ij`. A query that sees no key gives nothing.
///
/// ```
/// # use mixlet_core::nn::*;
/// # let span = Span { queries: 2, keys: 2, first_query: 0 };
/// # let attention = Attention {
/// #     shape: AttentionShape { span, heads: 1, kv_heads: 1, head_dim: 1, value_dim: 1 },
/// #     scale: 1.0,
/// #     visibility: Visibility { pattern: Pattern::Causal, ..Visibility::default() },
/// #     q: &[1.0, 1.0],
/// #     k: &[0.0, 3f64.ln()],
/// #     v: &[10.0, 50.0],
/// #     distance_bias: None,
/// #     sinks: None,
/// #     dropout: None,
/// # };
/// // As in forward's example: the second query weighs values 10 and 50 by 1/4 and 3/4.
/// let (mut q, mut k, mut v, mut scratch) = ([f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 16]);
/// let grads = AttentionGrads { q: &mut q, k: &mut k, v: &mut v, distance_bias: None, sinks: None };
/// attention_backward(&attention, &[0.0, 4f64.ln()], &[0.0, 1.0], grads, &mut scratch)?;
/// assert!((v[0] - 0.25).abs() < 1e-12 && (v[1] - 0.75).abs() < 1e-12);
/// assert!((k[0] + 7.5).abs() < 1e-12 && (k[1] - 7.5).abs() < 1e-12); // 1/4 · (10 − 40), 3/4 · (50 − 40)
/// assert!((q[1] - 7.5 * 3f64.ln()).abs() < 1e-12);
/// # Ok::<(), NnError>(())
/// ```
#[inline(always)]
pub fn attention_backward<R: Real>(
    attention: &Attention<'_, R>,
    log_sums: &[R],
    grad_out: &[R],
    mut grads: AttentionGrads<'_, R>,
    scratch: &mut [R],
) -> Result<(), NnError> {
    let shape = attention.shape;
    attention.check()?;
    check_length("attention log-sums", log_sums.len(), shape.log_sums_len())?;
    check_length("gradient of the attention output", grad_out.len(), shape.out_len())?;
    check_length("scratch", scratch.len(), attention_backward_scratch_len(shape))?;
    grads.check(shape)?;
    grads.k.fill(R::ZERO);
    grads.v.fill(R::ZERO);
    let cache = Cache { attention, log_sums, grad_out };
    for kv_head in 0..shape.kv_heads {
        let rows = attention.rows(kv_head);
        let (tiles, left_over) = rows.tiles();
        for first in tiles {
            cache.backward_tile(kv_head, rows.tile::<TILE>(first), &mut grads, scratch);
        }
        for first in left_over {
            cache.backward_tile(kv_head, rows.tile::<1>(first), &mut grads, scratch);
        }
    }
    Ok(())
}

/// What every tile reads.
struct Cache<'a, R> {
    attention: &'a Attention<'a, R>,
    log_sums: &'a [R],
    grad_out: &'a [R],
}

impl<R: Real> Cache<'_, R> {
    #[inline(always)]
    fn backward_tile<const N: usize>(
        &self,
        kv_head: usize,
        tile: [Row; N],
        grads: &mut AttentionGrads<'_, R>,
        scratch: &mut [R],
    ) {
        let attention = self.attention;
        let AttentionShape { span, heads, kv_heads, head_dim, value_dim } = attention.shape;
        let Some((first, second)) = scratch.split_at_mut_checked(TILE * span.keys) else { return };
        let mut probabilities = attention.lines(tile, first);
        let mut score_grads = attention.lines(tile, second);
        let of_kv = |width| HeadKeys {
            shape: HeadShape { heads: kv_heads, width },
            head: kv_head,
            keys: attention.keys(tile),
        };
        let (keys, values) = (of_kv(head_dim), of_kv(value_dim));
        let grad_outs =
            tile.map(|row| HeadShape { heads, width: value_dim }.row(self.grad_out, row.query, row.head));

        // Probabilities, their gradients, and what the softmax makes of them.
        attention.scores::<N, Dots>(kv_head, tile, &mut probabilities);
        Dots::products(&values, grad_outs, attention.v, &mut score_grads);
        let first_key = values.keys.start;
        for (row, (p, ds)) in tile.into_iter().zip(probabilities.iter_mut().zip(&mut score_grads)) {
            attention.drop_out(row, first_key, ds);
            self.softmax_backward(row, attention.biases_at(row, values.keys.clone()), [p, ds], grads);
            attention.drop_out(row, first_key, p);
        }
        // Values, then keys and queries.
        values.add_outer(probabilities.map(|p| &*p), grad_outs, grads.v);
        let queries = HeadShape { heads, width: head_dim };
        let starts = tile.map(|Row { query, head }| queries.at(query, head).start);
        let scale = R::from_f64(attention.scale);
        score_grads.iter_mut().for_each(|ds| ds.iter_mut().for_each(|ds| *ds *= scale));
        let score_grads = score_grads.map(|ds| &*ds);
        keys.weighted_sums(score_grads, attention.k, starts, grads.q);
        let rows = tile.map(|Row { query, head }| queries.row(attention.q, query, head));
        keys.add_outer(score_grads, rows, grads.k);
    }

    /// Turns scores into probabilities `p`, and their gradients into those of the scores; adds to bias and sink.
    #[inline(always)]
    fn softmax_backward(
        &self,
        row: Row,
        biases_at: Range<usize>,
        [p, ds]: [&mut [R]; 2],
        grads: &mut AttentionGrads<'_, R>,
    ) {
        let Row { query, head } = row;
        let heads = self.attention.shape.heads;
        let log_sum = self.log_sums.get(query * heads + head).copied().unwrap_or(R::NEG_INFINITY);
        if log_sum == R::NEG_INFINITY {
            p.fill(R::ZERO);
            ds.fill(R::ZERO);
            return;
        }
        p.iter_mut().for_each(|p| *p = (*p - log_sum).exp());
        let mean = dot(p, ds);
        ds.iter_mut().zip(&*p).for_each(|(ds, p)| *ds = *p * (*ds - mean));
        if let Some(grad) = grads.distance_bias.as_mut().and_then(|grads| grads.get_mut(biases_at)) {
            grad.iter_mut().zip(&*ds).for_each(|(grad, ds)| *grad += *ds);
        }
        let sink = self.attention.sinks.and_then(|sinks| sinks.get(head));
        if let (Some(sink), Some(grads)) = (sink, &mut grads.sinks)
            && let Some(grad) = grads.get_mut(head)
        {
            *grad += -(*sink - log_sum).exp() * mean;
        }
    }
}
