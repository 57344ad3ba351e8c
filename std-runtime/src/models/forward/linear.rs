//! Products with weight matrices over several threads, with the same bits on any number of them.
//!
//! Many rows are shared in blocks, few rows by ranges of outputs: then each weight is read by one thread, once.

use mixlet_core::linear::{Linear, LinearShape, Operands, PANEL, TILE, linear_scratch_len};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use rayon::prelude::*;

use crate::models::memory::with_memory;
use crate::simd::{LinearForward, multiply};

/// Rows of a block, for which weights are read once.
const BLOCK_ROWS: usize = 2 * PANEL;
/// Bytes of weights that are worth a piece of their own.
const LEAST_BYTES: usize = 1 << 18;
/// Pieces for each thread: more than one, as threads do not start together.
const PIECES: usize = 4;

/// `out = x · weightsᵀ + bias`; `x` is `[rows, inputs]`, `out` `[rows, outputs]`.
pub(super) fn linear(
    linear: Linear<'_>,
    operands: Operands,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (inputs, outputs) = (linear.weights().inputs().max(1), linear.weights().outputs().max(1));
    let rows = x.len() / inputs;
    let threads = rayon::current_num_threads();
    if rows == 0 {
        return Ok(());
    }
    if rows >= BLOCK_ROWS * threads || threads == 1 {
        let blocks = x.par_chunks(BLOCK_ROWS * inputs).zip(out.par_chunks_mut(BLOCK_ROWS * outputs));
        return blocks.with_max_len(1).try_for_each(|(x, out)| product(linear, operands, x, out));
    }
    let pieces = (linear.weights().bytes() / LEAST_BYTES).clamp(1, PIECES * threads);
    let width = outputs.div_ceil(pieces).next_multiple_of(TILE);
    let piece = |nth: usize| linear.output_range(nth * width..outputs.min((nth + 1) * width));
    if pieces == 1 {
        return product(linear, operands, x, out);
    }
    if rows == 1 {
        let pieces = out.par_chunks_mut(width).enumerate();
        return pieces.try_for_each(|(nth, out)| product(piece(nth)?, operands, x, out));
    }
    let mut parts = vec![0.0; out.len()];
    let pieces = parts.par_chunks_mut(rows * width).enumerate();
    pieces.try_for_each(|(nth, part)| product(piece(nth)?, operands, x, part))?;
    for (nth, part) in parts.chunks(rows * width).enumerate() {
        for (out, part) in out.chunks_exact_mut(outputs).zip(part.chunks_exact(part.len() / rows)) {
            out[nth * width..][..part.len()].copy_from_slice(part);
        }
    }
    Ok(())
}

/// On this thread.
fn product(linear: Linear<'_>, operands: Operands, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    let (inputs, outputs) = (linear.weights().inputs(), linear.weights().outputs());
    let rows = x.len() / inputs.max(1);
    let shape = LinearShape { rows, inputs, outputs };
    with_memory(0, linear_scratch_len(shape), |_, scratch| {
        let (x, out) = (MatRef::new(x, rows, inputs)?, MatMut::new(out, rows, outputs)?);
        multiply(LinearForward { linear, operands, x, out, scratch })
    })
}

#[cfg(test)]
mod tests {
    use mixlet_core::weights::Weights;

    use super::*;

    #[test]
    fn pieces_and_blocks_give_the_bits_of_one_call() {
        let (inputs, outputs) = (300, 1030);
        let numbers = |len: usize| (0..len).map(|nth| ((nth * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
        let weights: Vec<f32> = numbers(inputs * outputs);
        let bias: Vec<f32> = numbers(outputs);
        let weights = Weights::F32(MatRef::new(&weights, outputs, inputs).unwrap());
        let whole = Linear::with_bias(weights, &bias).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for rows in [0, 1, 3, 70, 257] {
            let x: Vec<f32> = numbers(rows * inputs);
            let (mut expected, mut found) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            product(whole, Operands::Exact, &x, &mut expected).unwrap();
            pool.install(|| linear(whole, Operands::Exact, &x, &mut found)).unwrap();
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{rows} rows");
        }
    }
}
