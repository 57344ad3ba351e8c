//! Experts over several threads, with the same bits on any number of them: cut as [`linear`] cuts products.

mod backward;

pub use backward::experts_backward;

use mixlet_core::linear::{Linear, Operands};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    Experts, ExpertsError, Ffn, FfnCache, FfnShape, GroupedRows, ffn_scratch_len,
};
use mixlet_core::moe::router::RouterShape;
use mixlet_core::weights::Weights;
use rayon::prelude::*;

use crate::linear::memory::with_memory;
use crate::linear::{self, BLOCK_ROWS, in_pieces, is_shared};
use crate::simd::{HiddenForward, LinearForward, multiply};

/// A network and some of its rows.
struct Block<'a> {
    ffn: Ffn<'a>,
    x: MatRef<'a>,
    out: MatMut<'a>,
}

/// Every expert over its run of rows, into `out` `[R, model_dim]`, which is written whole.
///
/// ```
/// # use mixlet_core::{activation::Activation, linear::{Linear, Operands}, moe::experts::*, weights::Weights};
/// # use mixlet_core::matrix::{MatMut, MatRef};
/// // Two experts of one hidden value: the first doubles, the second negates.
/// let up = Linear::new(Weights::F32(MatRef::new(&[1.0, 1.0], 2, 1)?));
/// let down = Linear::new(Weights::F32(MatRef::new(&[2.0, -1.0], 2, 1)?));
/// let experts = Experts::new(2, FfnKind::Plain(Activation::Relu), None, up, down)?;
/// let rows = GroupedRows::new(MatRef::new(&[1.0, 2.0, 3.0], 3, 1)?, &[0, 2, 3])?;
/// let mut out = [f32::NAN; 3];
/// mixlet_runtime::moe::experts_forward(experts, Operands::Exact, rows, MatMut::new(&mut out, 3, 1)?)?;
/// assert_eq!(out, [2.0, 4.0, -3.0]);
/// # Ok::<(), ExpertsError>(())
/// ```
pub fn experts_forward(
    experts: Experts<'_>,
    operands: Operands,
    rows: GroupedRows<'_>,
    out: MatMut<'_>,
) -> Result<(), ExpertsError> {
    let mut blocks = blocks(experts, rows, out)?;
    if is_shared(blocks.len()) {
        share_outputs(experts.shape(0), operands, &mut blocks)?;
    } else {
        blocks.par_iter_mut().with_max_len(1).try_for_each(|block| forward(experts, operands, block))?;
    }
    Ok(())
}

/// [`router_forward`](mixlet_core::moe::router::router_forward) over threads, as a [`linear_forward`](crate::linear::linear_forward).
///
/// Other than there, the last bits of a logit may depend on how many tokens there are.
///
/// ```
/// # use mixlet_core::moe::router::RouterShape;
/// let shape = RouterShape { tokens: 1, model_dim: 2, experts: 3 };
/// let mut logits = [f32::NAN; 3];
/// mixlet_runtime::moe::router_forward(shape, &[1.0, 2.0], &[1.0, 0.0, 0.0, 1.0, 3.0, -1.0], &mut logits)?;
/// assert_eq!(logits, [1.0, 2.0, 1.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn router_forward(
    shape: RouterShape,
    tokens: &[f32],
    weights: &[f32],
    logits: &mut [f32],
) -> Result<(), ShapeError> {
    let RouterShape { tokens: count, model_dim, experts } = shape;
    let linear = Linear::new(Weights::F32(MatRef::new(weights, experts, model_dim)?));
    let (tokens, logits) = (MatRef::new(tokens, count, model_dim)?, MatMut::new(logits, count, experts)?);
    linear::linear_forward(linear, Operands::Exact, tokens, logits)
}

/// The runs in blocks, each with its part of the output.
fn blocks<'a>(
    experts: Experts<'a>,
    rows: GroupedRows<'a>,
    out: MatMut<'a>,
) -> Result<Vec<Block<'a>>, ExpertsError> {
    let (x, model_dim) = (rows.rows(), experts.model_dim());
    rows.check(&experts)?;
    let mut left = MatMut::new(out.into_values(), x.rows(), model_dim)?.into_values();
    let mut blocks = Vec::new();
    for (expert, run) in rows.runs().enumerate() {
        for start in run.clone().step_by(BLOCK_ROWS) {
            let block = start..run.end.min(start + BLOCK_ROWS);
            let (own, others) = std::mem::take(&mut left).split_at_mut(block.len() * model_dim);
            left = others;
            let out = MatMut::new(own, block.len(), model_dim)?;
            blocks.push(Block { ffn: experts.expert(expert)?, x: x.row_range(block)?, out });
        }
    }
    Ok(blocks)
}

/// A block on this thread.
fn forward(experts: Experts<'_>, operands: Operands, block: &mut Block<'_>) -> Result<(), ShapeError> {
    let shape = experts.shape(block.x.rows());
    let Block { ffn: Ffn { inner, down }, x, out } = block;
    with_memory(shape.cache_len(), ffn_scratch_len(shape), |cache, mut scratch| {
        let mut cache = FfnCache::new(shape, cache)?;
        let (lent, own) = (cache.row_range(0..shape.rows)?, scratch.lend());
        multiply(HiddenForward { inner: *inner, operands, x: *x, cache: lent, scratch: own })?;
        multiply(LinearForward {
            linear: *down,
            operands,
            x: cache.hidden.as_ref(),
            out: out.as_mut(),
            scratch,
        })
    })
}

/// All blocks on all threads: hidden values in pieces, then outputs in pieces.
fn share_outputs(shape: FfnShape, operands: Operands, blocks: &mut [Block<'_>]) -> Result<(), ShapeError> {
    let Some(first) = blocks.first() else { return Ok(()) };
    let bytes = first.ffn.down.weights().bytes();
    let matrices = if shape.gated { 2 } else { 1 };

    // Hidden values.
    let jobs: Vec<_> = blocks.iter().map(|block| (block.ffn.inner, block.x)).collect();
    let hidden = in_pieces(&jobs, shape.ffn_dim, matrices * bytes, |inner, x, range, mut out| {
        let shape = FfnShape { rows: x.rows(), ffn_dim: range.len(), ..shape };
        with_memory(shape.cache_len(), ffn_scratch_len(shape), |cache, scratch| {
            let mut cache = FfnCache::new(shape, cache)?;
            let lent = cache.row_range(0..shape.rows)?;
            multiply(HiddenForward { inner: inner.hidden_range(range)?, operands, x, cache: lent, scratch })?;
            out.values().copy_from_slice(cache.hidden.values());
            Ok(())
        })
    })?;

    // Outputs.
    let mut left = hidden.as_slice();
    let mut jobs = Vec::new();
    for block in blocks.iter() {
        let own = left.split_off(..block.x.rows() * shape.ffn_dim).unwrap_or_default();
        jobs.push((block.ffn.down, MatRef::new(own, block.x.rows(), shape.ffn_dim)?));
    }
    let values = in_pieces(&jobs, shape.model_dim, bytes, |down, x, range, out| {
        linear::forward(down.output_range(range)?, operands, x, out)
    })?;
    let mut left = values.as_slice();
    for block in blocks {
        let own = left.split_off(..block.x.rows() * shape.model_dim).unwrap_or_default();
        block.out.values().copy_from_slice(own);
    }
    Ok(())
}
