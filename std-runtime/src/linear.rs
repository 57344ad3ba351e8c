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
/// Bytes of weights that are worth a piece of their own: they take some microseconds to read.
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
    linears_forward(operands, x, [(linear, out.into_values())])
}

/// The products of the same rows with several matrices, each into its `[rows, outputs]`; threads share them as one.
///
/// ```
/// # use mixlet_core::{linear::{Linear, Operands}, matrix::MatRef, weights::Weights};
/// let sum = Linear::new(Weights::F32(MatRef::new(&[1.0, 1.0], 1, 2)?));
/// let both = Linear::new(Weights::F32(MatRef::new(&[1.0, 0.0, 0.0, -1.0], 2, 2)?));
/// let x = MatRef::new(&[3.0, 4.0], 1, 2)?;
/// let (mut of_sum, mut of_both) = ([f32::NAN], [f32::NAN; 2]);
/// let products = [(sum, &mut of_sum[..]), (both, &mut of_both[..])];
/// mixlet_runtime::linear::linears_forward(Operands::Exact, x, products)?;
/// assert_eq!((of_sum, of_both), ([7.0], [3.0, -4.0]));
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn linears_forward<const N: usize>(
    operands: Operands,
    x: MatRef<'_>,
    products: [(Linear<'_>, &mut [f32]); N],
) -> Result<(), ShapeError> {
    let rows = x.rows();
    if is_shared(rows.div_ceil(BLOCK_ROWS)) {
        return share_outputs(operands, x, products);
    }
    for (linear, out) in products {
        let outputs = linear.weights().outputs();
        let out = MatMut::new(out, rows, outputs)?.into_values();
        let blocks = out.par_chunks_mut((BLOCK_ROWS * outputs).max(1)).enumerate();
        blocks.with_max_len(1).try_for_each(|(block, out)| {
            let start = block * BLOCK_ROWS;
            let x = x.row_range(start..rows.min(start + BLOCK_ROWS))?;
            forward(linear, operands, x, MatMut::new(out, x.rows(), outputs)?)
        })?;
    }
    Ok(())
}

fn share_outputs<'a, const N: usize>(
    operands: Operands,
    x: MatRef<'a>,
    products: [(Linear<'a>, &mut [f32]); N],
) -> Result<(), ShapeError> {
    let jobs = products.each_ref().map(|(linear, _)| {
        let weights = linear.weights();
        Job { what: *linear, x, columns: weights.outputs(), bytes: weights.bytes() }
    });
    let values =
        in_pieces(&jobs, |linear, x, range, out| forward(linear.output_range(range)?, operands, x, out))?;
    let mut left = values.as_slice();
    for ((_, out), job) in products.into_iter().zip(&jobs) {
        let own = left.split_off(..job.len()).unwrap_or_default();
        MatMut::new(out, x.rows(), job.columns)?.values().copy_from_slice(own);
    }
    Ok(())
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

/// What a matrix, or two of one shape, make of their own rows.
pub(crate) struct Job<'a, W> {
    /// The matrix.
    pub what: W,
    /// `[rows, inputs]`.
    pub x: MatRef<'a>,
    /// Outputs.
    pub columns: usize,
    /// Bytes of weights that are read.
    pub bytes: usize,
}

/// Some columns of a job.
struct Piece<'j, 'o, W> {
    job: &'j Job<'j, W>,
    columns: Range<usize>,
    out: &'o mut [f32],
}

impl<W> Job<'_, W> {
    fn len(&self) -> usize {
        self.x.rows() * self.columns
    }

    /// The columns of a piece of so many bytes.
    fn width(&self, bytes: usize) -> usize {
        let pieces = self.bytes.div_ceil(bytes).max(1);
        self.columns.div_ceil(pieces).next_multiple_of(TILE)
    }
}

/// All jobs, whose outputs threads share in pieces: `work` fills a range of one job's columns. The result holds each job's
/// `[rows, columns]`, one behind the other.
pub(crate) fn in_pieces<W: Copy + Send + Sync>(
    jobs: &[Job<'_, W>],
    work: impl Fn(W, MatRef<'_>, Range<usize>, MatMut<'_>) -> Result<(), ShapeError> + Sync,
) -> Result<Vec<f32>, ShapeError> {
    let bytes: usize = jobs.iter().map(|job| job.bytes).sum();
    let bytes = bytes.div_ceil(PIECES * rayon::current_num_threads()).max(LEAST_BYTES);
    let mut values = vec![0.0; jobs.iter().map(Job::len).sum()];

    // Each piece of a job's columns as a matrix of its own.
    let mut pieces = Vec::new();
    let mut left = values.as_mut_slice();
    for job in jobs {
        let (width, own) = (job.width(bytes), left.split_off_mut(..job.len()).unwrap_or_default());
        for (nth, out) in own.chunks_mut((job.x.rows() * width).max(1)).enumerate() {
            let columns = nth * width..job.columns.min((nth + 1) * width);
            pieces.push(Piece { job, columns, out });
        }
    }
    pieces.into_par_iter().with_max_len(1).try_for_each(|Piece { job, columns, out }| {
        let out = MatMut::new(out, job.x.rows(), columns.len())?;
        work(job.what, job.x, columns, out)
    })?;

    // Pieces of single rows lie as they should.
    let mut left = values.as_mut_slice();
    for job in jobs {
        let (width, own) = (job.width(bytes), left.split_off_mut(..job.len()).unwrap_or_default());
        if job.x.rows() > 1 && width < job.columns {
            side_by_side(own, job.columns, (job.x.rows(), width));
        }
    }
    Ok(values)
}

/// Matrices `[rows, width]`, one behind the other, become one `[rows, columns]`.
fn side_by_side(values: &mut [f32], columns: usize, (rows, width): (usize, usize)) {
    let pieces = values.to_vec();
    for (nth, piece) in pieces.chunks(rows * width).enumerate() {
        let range = nth * width..columns.min((nth + 1) * width);
        for (row, piece) in values.chunks_mut(columns).zip(piece.chunks(range.len())) {
            row[range.clone()].copy_from_slice(piece);
        }
    }
}
