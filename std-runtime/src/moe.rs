//! Experts over several threads, with the same bits on any number of them.
//!
//! Runs of rows are cut into blocks of 128, and threads take blocks. Where there are fewer blocks than
//! threads could share, as when single tokens are decoded, threads share the outputs of each block instead.
//! Neither changes a sum: core adds up each output of a row in one order, wherever the cut is.

mod memory;

use std::ops::Range;

use mixlet_core::linear::{LinearShape, Operands, linear_scratch_len};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    Experts, ExpertsError, Ffn, FfnCache, FfnShape, GroupedRows, ffn_scratch_len,
};
use rayon::prelude::*;

use crate::simd::{HiddenForward, LinearForward, multiply};
use memory::with_memory;

/// Rows of a block: a multiple of core's panels. Weights are read once per block.
const BLOCK_ROWS: usize = 128;
/// Bytes of weights that are worth a piece of their own.
const LEAST_BYTES: usize = 1 << 18;
/// Pieces of outputs for each thread: more than one, as threads do not start together.
const PIECES: usize = 4;

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
    let threads = rayon::current_num_threads();
    if threads > 1 && blocks.len() < 2 * threads {
        let shape = |block: &Block| experts.shape(block.x.rows());
        blocks.into_iter().try_for_each(|block| share_outputs(shape(&block), operands, block))?;
    } else {
        blocks.par_iter_mut().with_max_len(1).try_for_each(|block| forward(experts, operands, block))?;
    }
    Ok(())
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

/// A block on all threads: hidden values in pieces, then outputs in pieces.
fn share_outputs(shape: FfnShape, operands: Operands, mut block: Block<'_>) -> Result<(), ShapeError> {
    let Block { ffn, x, .. } = block;
    let bytes = ffn.down.weights().bytes();
    let mut hidden = vec![0.0; shape.rows * shape.ffn_dim];
    in_pieces(MatMut::new(&mut hidden, shape.rows, shape.ffn_dim)?, bytes, |range, mut out| {
        let shape = FfnShape { ffn_dim: range.len(), ..shape };
        with_memory(shape.cache_len(), ffn_scratch_len(shape), |cache, scratch| {
            let mut cache = FfnCache::new(shape, cache)?;
            let inner = ffn.inner.hidden_range(range)?;
            let lent = cache.row_range(0..shape.rows)?;
            multiply(HiddenForward { inner, operands, x, cache: lent, scratch })?;
            out.values().copy_from_slice(cache.hidden.values());
            Ok(())
        })
    })?;
    let hidden = MatRef::new(&hidden, shape.rows, shape.ffn_dim)?;
    in_pieces(block.out.as_mut(), bytes, |range, out| {
        let shape = LinearShape { rows: shape.rows, inputs: shape.ffn_dim, outputs: range.len() };
        let linear = ffn.down.output_range(range)?;
        with_memory(0, linear_scratch_len(shape), |_, scratch| {
            multiply(LinearForward { linear, operands, x: hidden, out, scratch })
        })
    })
}

/// Fills `out` by ranges of its columns, each as a matrix of its own; `bytes` is what filling it all reads.
fn in_pieces(
    mut out: MatMut<'_>,
    bytes: usize,
    work: impl Fn(Range<usize>, MatMut<'_>) -> Result<(), ShapeError> + Sync,
) -> Result<(), ShapeError> {
    let (rows, columns) = (out.rows(), out.columns());
    let count = (bytes / LEAST_BYTES).clamp(1, PIECES * rayon::current_num_threads());
    if count == 1 {
        return work(0..columns, out);
    }
    let width = columns.div_ceil(count).next_multiple_of(mixlet_core::linear::TILE);
    let range = |index: usize| index * width..columns.min((index + 1) * width);
    if rows == 1 {
        let pieces = out.values().par_chunks_mut(width).enumerate();
        return pieces.try_for_each(|(index, piece)| {
            let columns = piece.len();
            work(range(index), MatMut::new(piece, 1, columns)?)
        });
    }
    let mut values = vec![0.0; rows * columns];
    values.par_chunks_mut(rows * width).enumerate().try_for_each(|(index, piece)| {
        let columns = piece.len() / rows;
        work(range(index), MatMut::new(piece, rows, columns)?)
    })?;
    for (index, piece) in values.chunks(rows * width).enumerate() {
        let range = range(index);
        let pieces = piece.chunks(range.len());
        for (row, piece) in out.values().chunks_mut(columns).zip(pieces) {
            row[range.clone()].copy_from_slice(piece);
        }
    }
    Ok(())
}
