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
use crate::linear::{self, BLOCK_ROWS, Job, in_pieces, is_shared};
use crate::simd::{HiddenForward, LinearForward, multiply};

/// A network and the rows it is applied to.
#[derive(Debug)]
pub struct NetworkRows<'a> {
    /// The network.
    pub ffn: Ffn<'a>,
    /// `[rows, model_dim]`.
    pub x: MatRef<'a>,
    /// `[rows, model_dim]`.
    pub out: MatMut<'a>,
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
    let (x, model_dim) = (rows.rows(), experts.model_dim());
    rows.check(&experts)?;
    let mut left = MatMut::new(out.into_values(), x.rows(), model_dim)?.into_values();
    let mut networks = Vec::with_capacity(experts.count().min(x.rows()));
    for (expert, run) in rows.runs().enumerate().filter(|(_, run)| !run.is_empty()) {
        let own = left.split_off_mut(..run.len() * model_dim).unwrap_or_default();
        let out = MatMut::new(own, run.len(), model_dim)?;
        networks.push(NetworkRows { ffn: experts.expert(expert)?, x: x.row_range(run)?, out });
    }
    networks_forward(operands, networks)
}

/// Networks of one shape, wherever their weights lie, each over its own rows.
///
/// Their work is shared as one: two networks of a row each keep more than two threads busy.
///
/// ```
/// # use mixlet_core::{activation::Activation, linear::{Linear, Operands}, moe::experts::*, weights::Weights};
/// # use mixlet_core::matrix::{MatMut, MatRef};
/// # use mixlet_runtime::moe::{NetworkRows, networks_forward};
/// let one = Linear::new(Weights::F32(MatRef::new(&[1.0], 1, 1)?));
/// let [double, negate] = [[2.0], [-1.0]];
/// let (mut doubled, mut negated) = ([f32::NAN], [f32::NAN]);
/// let mut networks = Vec::new();
/// for (down, x, out) in [(&double, &[3.0], &mut doubled), (&negate, &[5.0], &mut negated)] {
///     let down = Linear::new(Weights::F32(MatRef::new(down, 1, 1)?));
///     let single = Experts::new(1, FfnKind::Plain(Activation::Relu), None, one, down)?;
///     networks.push(NetworkRows { ffn: single.expert(0)?, x: MatRef::new(x, 1, 1)?, out: MatMut::new(out, 1, 1)? });
/// }
/// networks_forward(Operands::Exact, networks)?;
/// assert_eq!((doubled, negated), ([6.0], [-5.0]));
/// # Ok::<(), ExpertsError>(())
/// ```
pub fn networks_forward(operands: Operands, networks: Vec<NetworkRows<'_>>) -> Result<(), ExpertsError> {
    let Some(shape) = networks.first().map(|first| first.ffn.shape(0)) else { return Ok(()) };
    let mut blocks = Vec::with_capacity(networks.len());
    for network in networks {
        check(shape, network.ffn.shape(0))?;
        cut(network, &mut blocks)?;
    }
    if is_shared(blocks.len()) {
        share_outputs(shape, operands, &mut blocks)?;
    } else {
        blocks.par_iter_mut().with_max_len(1).try_for_each(|block| forward(operands, block))?;
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

/// Whether a network has the shape of the first.
fn check(first: FfnShape, other: FfnShape) -> Result<(), ExpertsError> {
    let length = |what, found, expected| ShapeError::Length { what, found, expected };
    if other.gated != first.gated {
        return Err(ExpertsError::Gate { expected: first.gated });
    }
    if other.model_dim != first.model_dim {
        return Err(length("a network's row", other.model_dim, first.model_dim).into());
    }
    if other.ffn_dim != first.ffn_dim {
        return Err(length("a network's hidden values", other.ffn_dim, first.ffn_dim).into());
    }
    Ok(())
}

/// A network's rows in blocks.
fn cut<'a>(network: NetworkRows<'a>, blocks: &mut Vec<NetworkRows<'a>>) -> Result<(), ShapeError> {
    let NetworkRows { ffn, x, out } = network;
    let model_dim = ffn.down.weights().outputs();
    let out = MatMut::new(out.into_values(), x.rows(), model_dim)?.into_values();
    for (nth, out) in out.chunks_mut((BLOCK_ROWS * model_dim).max(1)).enumerate() {
        let rows = nth * BLOCK_ROWS..x.rows().min((nth + 1) * BLOCK_ROWS);
        let x = x.row_range(rows)?;
        blocks.push(NetworkRows { ffn, x, out: MatMut::new(out, x.rows(), model_dim)? });
    }
    Ok(())
}

/// A block on this thread.
fn forward(operands: Operands, block: &mut NetworkRows<'_>) -> Result<(), ShapeError> {
    let NetworkRows { ffn, x, out } = block;
    let (shape, Ffn { inner, down }) = (ffn.shape(x.rows()), *ffn);
    with_memory(shape.cache_len(), ffn_scratch_len(shape), |cache, mut scratch| {
        let mut cache = FfnCache::new(shape, cache)?;
        let (lent, own) = (cache.row_range(0..shape.rows)?, scratch.lend());
        multiply(HiddenForward { inner, operands, x: *x, cache: lent, scratch: own })?;
        multiply(LinearForward {
            linear: down,
            operands,
            x: cache.hidden.as_ref(),
            out: out.as_mut(),
            scratch,
        })
    })
}

/// All blocks on all threads: hidden values in pieces, then outputs in pieces.
fn share_outputs(
    shape: FfnShape,
    operands: Operands,
    blocks: &mut [NetworkRows<'_>],
) -> Result<(), ShapeError> {
    // Hidden values.
    let matrices = if shape.gated { 2 } else { 1 };
    let mut jobs = Vec::with_capacity(blocks.len());
    for NetworkRows { ffn: Ffn { inner, down }, x, .. } in blocks.iter() {
        let bytes = matrices * down.weights().bytes();
        jobs.push(Job { what: *inner, x: *x, columns: shape.ffn_dim, bytes });
    }
    let hidden = in_pieces(&jobs, |inner, x, range, mut out| {
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
    let mut jobs = Vec::with_capacity(blocks.len());
    for block in blocks.iter() {
        let own = left.split_off(..block.x.rows() * shape.ffn_dim).unwrap_or_default();
        let (down, x) = (block.ffn.down, MatRef::new(own, block.x.rows(), shape.ffn_dim)?);
        jobs.push(Job { what: down, x, columns: shape.model_dim, bytes: down.weights().bytes() });
    }
    let values =
        in_pieces(&jobs, |down, x, range, out| linear::forward(down.output_range(range)?, operands, x, out))?;
    let mut left = values.as_slice();
    for block in blocks {
        let own = left.split_off(..block.x.rows() * shape.model_dim).unwrap_or_default();
        block.out.values().copy_from_slice(own);
    }
    Ok(())
}
