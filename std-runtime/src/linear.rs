//! Products with weights over several threads, with the same bits on any number of them.
//!
//! Many rows are cut into blocks of 128, and threads take blocks. Where there are fewer blocks than threads
//! could share, as when single tokens are decoded, threads share the outputs instead. Neither changes a
//! sum: core adds up each output of a row in one order, wherever the cut is.

pub(crate) mod memory;

use std::ops::Range;

use mixlet_core::linear::{Linear, LinearShape, Operands, TILE, linear_scratch_len};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use rayon::prelude::*;

use crate::simd::{LinearForward, multiply};
use memory::with_memory;

/// Rows of a block: a multiple of core's panels. Weights are read once per block.
pub(crate) const BLOCK_ROWS: usize = 128;
/// Bytes of weights that are worth a piece of their own.
const LEAST_BYTES: usize = 1 << 16;
/// Pieces of outputs for each thread: more than one, as threads do not start together.
const PIECES: usize = 4;

/// `out[r, o] = bias[o] + Σ_i x[r, i] · weights[o, i]`: [`linear_forward`](mixlet_core::linear::linear_forward) over threads.
///
/// ```
/// # use mixlet_core::{linear::{Linear, Operands}, matrix::{MatMut, MatRef}, weights::Weights};
/// let linear = Linear::new(Weights::F32(MatRef::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?));
/// let (x, mut out) = (MatRef::new(&[1.0, -1.0], 1, 2)?, [f32::NAN; 2]);
/// mixlet_runtime::linear::linear_forward(linear, Operands::Exact, x, MatMut::new(&mut out, 1, 2)?)?;
/// assert_eq!(out, [-1.0, -1.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn linear_forward(
    linear: Linear<'_>,
    operands: Operands,
    x: MatRef<'_>,
    out: MatMut<'_>,
) -> Result<(), ShapeError> {
    let (rows, outputs) = (x.rows(), linear.weights().outputs());
    let mut out = MatMut::new(out.into_values(), rows, outputs)?;
    if is_shared(rows.div_ceil(BLOCK_ROWS)) {
        let values =
            in_pieces(&[(linear, x)], outputs, linear.weights().bytes(), |linear, x, range, out| {
                forward(linear.output_range(range)?, operands, x, out)
            })?;
        out.values().copy_from_slice(&values);
        return Ok(());
    }
    let blocks = out.into_values().par_chunks_mut((BLOCK_ROWS * outputs).max(1)).enumerate();
    blocks.with_max_len(1).try_for_each(|(block, out)| {
        let start = block * BLOCK_ROWS;
        let x = x.row_range(start..rows.min(start + BLOCK_ROWS))?;
        forward(linear, operands, x, MatMut::new(out, x.rows(), outputs)?)
    })
}

/// A product on this thread.
pub(crate) fn forward(
    linear: Linear<'_>,
    operands: Operands,
    x: MatRef<'_>,
    out: MatMut<'_>,
) -> Result<(), ShapeError> {
    let shape = LinearShape { rows: x.rows(), inputs: x.columns(), outputs: out.columns() };
    with_memory(0, linear_scratch_len(shape), |_, scratch| {
        multiply(LinearForward { linear, operands, x, out, scratch })
    })
}

/// Whether so many blocks leave threads without work that they could share.
pub(crate) fn is_shared(blocks: usize) -> bool {
    let threads = rayon::current_num_threads();
    threads > 1 && blocks < 2 * threads
}

/// The products of several matrices, each with its own rows, `columns` wide: threads share their outputs in pieces.
///
/// `work` fills a range of one job's columns; `bytes` is what all of a job reads. The result holds each job's
/// `[rows, columns]`, one behind the other.
pub(crate) fn in_pieces<W: Copy + Send + Sync>(
    jobs: &[(W, MatRef<'_>)],
    columns: usize,
    bytes: usize,
    work: impl Fn(W, MatRef<'_>, Range<usize>, MatMut<'_>) -> Result<(), ShapeError> + Sync,
) -> Result<Vec<f32>, ShapeError> {
    let all = (bytes * jobs.len() / LEAST_BYTES).clamp(1, PIECES * rayon::current_num_threads());
    let width = columns.div_ceil(all.div_ceil(jobs.len().max(1))).next_multiple_of(TILE);
    let rows: usize = jobs.iter().map(|(_, x)| x.rows()).sum();
    let mut values = vec![0.0; rows * columns];

    // Each piece of a job's columns as a matrix of its own.
    let mut pieces = Vec::new();
    let mut left = values.as_mut_slice();
    for &(what, x) in jobs {
        let own = left.split_off_mut(..x.rows() * columns).unwrap_or_default();
        let parts = own.chunks_mut((x.rows() * width).max(1)).enumerate();
        pieces.extend(parts.map(|(nth, part)| (what, x, nth * width, part)));
    }
    pieces.into_par_iter().with_max_len(1).try_for_each(|(what, x, start, part)| {
        let range = start..columns.min(start + width);
        work(what, x, range.clone(), MatMut::new(part, x.rows(), range.len())?)
    })?;

    // Pieces of single rows lie as they should.
    if rows == jobs.len() || width >= columns {
        return Ok(values);
    }
    let mut out = vec![0.0; rows * columns];
    let (mut from, mut to) = (values.as_slice(), out.as_mut_slice());
    for (_, x) in jobs {
        let own = from.split_off(..x.rows() * columns).unwrap_or_default();
        let to = to.split_off_mut(..x.rows() * columns).unwrap_or_default();
        for (nth, part) in own.chunks((x.rows() * width).max(1)).enumerate() {
            let range = nth * width..columns.min((nth + 1) * width);
            for (row, part) in to.chunks_mut(columns).zip(part.chunks(range.len())) {
                row[range.clone()].copy_from_slice(part);
            }
        }
    }
    Ok(out)
}
