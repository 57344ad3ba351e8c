//! Gradients of a product: of its input (overwritten), of its weights and bias (added to).

use core::ops::Range;

use super::panel::tile_of_panel;
use super::{Arith, DEPTH, LinearShape, PANEL, Scratch, ScratchLen, TILE};
use crate::matrix::{MatMut, MatRef, ShapeError, check_length};
use crate::weights::Weights;

/// Rows whose gradients are transposed together.
const ROWS: usize = 128;
/// Outputs whose gradients are transposed together.
const OUTPUTS: usize = 512;

/// What becomes of an output's former content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is lost.
    Overwrite,
    /// It is added to.
    Add,
}

/// The memory [`linear_backward_input`] works in.
pub fn linear_backward_input_scratch_len(shape: LinearShape) -> ScratchLen {
    ScratchLen { floats: shape.outputs.min(DEPTH) * PANEL, ..ScratchLen::default() }
}

/// `grad_x[r, i] = Σ_o grad_out[r, o] · weights[o, i]`.
///
/// ```
/// # use mixlet_core::{linear::*, matrix::*, weights::Weights};
/// let weights = Weights::F32(MatRef::new(&[3.0, 5.0], 2, 1)?);
/// let (mut grad_x, mut floats) = ([f32::NAN], [0.0; 128]);
/// let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
/// let (grad_out, out) = (MatRef::new(&[1.0, 2.0], 1, 2)?, MatMut::new(&mut grad_x, 1, 1)?);
/// linear_backward_input::<Plain>(weights, grad_out, out, Write::Overwrite, scratch)?;
/// assert_eq!(grad_x, [1.0 * 3.0 + 2.0 * 5.0]);
/// # Ok::<(), ShapeError>(())
/// ```
#[inline(always)]
pub fn linear_backward_input<A: Arith>(
    weights: Weights<'_>,
    grad_out: MatRef<'_>,
    mut grad_x: MatMut<'_>,
    write: Write,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let shape = LinearShape { rows: grad_out.rows(), inputs: weights.inputs(), outputs: weights.outputs() };
    check_length("an output gradient's row", grad_out.columns(), shape.outputs)?;
    check_length("the input gradient, in rows,", grad_x.rows(), shape.rows)?;
    check_length("an input gradient's row", grad_x.columns(), shape.inputs)?;
    scratch.check(linear_backward_input_scratch_len(shape))?;
    if write == Write::Overwrite {
        grad_x.values().fill(0.0);
    }
    let (panel, _) = scratch.floats.as_chunks_mut::<PANEL>();
    for input in (0..shape.inputs).step_by(PANEL) {
        for first in (0..shape.outputs).step_by(DEPTH) {
            let depth = (shape.outputs - first).min(DEPTH);
            let Some(panel) = panel.get_mut(..depth) else { continue };
            for (output, row) in panel.iter_mut().enumerate() {
                weights.widen(first + output, input, row);
            }
            for start in (0..shape.rows).step_by(TILE) {
                let row =
                    |r: usize| grad_out.row((start + r).min(shape.rows - 1)).and_then(|row| row.get(first..));
                let rows = core::array::from_fn(|r| row(r).unwrap_or_default());
                add_tile(&tile_of_panel::<A>(rows, panel), (start, input), grad_x.as_mut());
            }
        }
    }
    Ok(())
}

/// The memory [`linear_backward_weights`] works in.
pub fn linear_backward_weights_scratch_len(shape: LinearShape) -> ScratchLen {
    let rows = shape.rows.min(ROWS);
    ScratchLen { floats: rows * (PANEL + shape.outputs.min(OUTPUTS)), ..ScratchLen::default() }
}

/// `grad_weights[o, i] += Σ_r grad_out[r, o] · x[r, i]`.
///
/// ```
/// # use mixlet_core::{linear::*, matrix::*};
/// let (mut grad_weights, mut floats) = ([1.0, 1.0], [0.0; 65]);
/// let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
/// let (grad_out, x) = (MatRef::new(&[2.0], 1, 1)?, MatRef::new(&[3.0, 4.0], 1, 2)?);
/// linear_backward_weights::<Plain>(grad_out, x, MatMut::new(&mut grad_weights, 1, 2)?, scratch)?;
/// assert_eq!(grad_weights, [7.0, 9.0]);
/// # Ok::<(), ShapeError>(())
/// ```
#[inline(always)]
pub fn linear_backward_weights<A: Arith>(
    grad_out: MatRef<'_>,
    x: MatRef<'_>,
    grad_weights: MatMut<'_>,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    linear_backward_some_weights::<A>(grad_out, x, 0..grad_out.columns(), grad_weights, scratch)
}

/// [`linear_backward_weights`] for some of the outputs: `grad_weights` holds their rows alone. The bits are those of all.
#[inline(always)]
pub fn linear_backward_some_weights<A: Arith>(
    grad_out: MatRef<'_>,
    x: MatRef<'_>,
    outputs: Range<usize>,
    mut grad_weights: MatMut<'_>,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let shape = LinearShape { rows: x.rows(), inputs: x.columns(), outputs: outputs.len() };
    check_length("the output gradient, in rows,", grad_out.rows(), shape.rows)?;
    if outputs.end > grad_out.columns() {
        return Err(ShapeError::Rows { end: outputs.end, rows: grad_out.columns() });
    }
    check_length("the weight gradient, in rows,", grad_weights.rows(), shape.outputs)?;
    check_length("a weight gradient's row", grad_weights.columns(), shape.inputs)?;
    scratch.check(linear_backward_weights_scratch_len(shape))?;
    for start in (0..shape.rows).step_by(ROWS) {
        let rows = start..shape.rows.min(start + ROWS);
        let (grad_out, x) = (grad_out.row_range(rows.clone())?, x.row_range(rows.clone())?);
        let (panel, transposed) = scratch.floats.split_at_mut((rows.len() * PANEL).min(scratch.floats.len()));
        for first in (0..shape.outputs).step_by(OUTPUTS) {
            transpose(grad_out, outputs.start + first, transposed);
            let grad_weights = grad_weights.row_range(first..shape.outputs.min(first + OUTPUTS))?;
            add_outer::<A>(transposed, x, grad_weights, panel);
        }
    }
    Ok(())
}

/// `grad_bias[o] += Σ_r grad_out[r, o]`.
///
/// ```
/// # use mixlet_core::{linear::linear_backward_bias, matrix::MatRef};
/// let mut grad_bias = [10.0];
/// linear_backward_bias(MatRef::new(&[1.0, 2.0], 2, 1)?, &mut grad_bias)?;
/// assert_eq!(grad_bias, [13.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
#[inline(always)]
pub fn linear_backward_bias(grad_out: MatRef<'_>, grad_bias: &mut [f32]) -> Result<(), ShapeError> {
    check_length("the bias gradient", grad_bias.len(), grad_out.columns())?;
    for row in grad_out.each_row() {
        grad_bias.iter_mut().zip(row).for_each(|(sum, grad)| *sum += grad);
    }
    Ok(())
}

/// `out[o][r] = grad[r, first + o]` for as many outputs as fit.
#[inline(always)]
fn transpose(grad: MatRef<'_>, first: usize, out: &mut [f32]) {
    let rows = grad.rows();
    for (r, row) in grad.each_row().enumerate() {
        let column = out.iter_mut().skip(r).step_by(rows.max(1));
        column.zip(row.iter().skip(first)).for_each(|(out, grad)| *out = *grad);
    }
}

/// `grad_weights[o, i] += Σ_r transposed[o][r] · x[r, i]`.
#[inline(always)]
fn add_outer<A: Arith>(transposed: &[f32], x: MatRef<'_>, mut grad_weights: MatMut<'_>, panel: &mut [f32]) {
    let (panel, _) = panel.as_chunks_mut::<PANEL>();
    let (rows, outputs) = (x.rows(), grad_weights.rows());
    for input in (0..x.columns()).step_by(PANEL) {
        for (out, row) in panel.iter_mut().zip(x.each_row()) {
            let values = row.get(input..).unwrap_or_default();
            out.fill(0.0);
            out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
        }
        for output in (0..outputs).step_by(TILE) {
            let row = |n: usize| transposed.get(n * rows..(n + 1) * rows).unwrap_or_default();
            let grads = core::array::from_fn(|n| row((output + n).min(outputs - 1)));
            add_tile(&tile_of_panel::<A>(grads, panel), (output, input), grad_weights.as_mut());
        }
    }
}

/// `out[row + t, column + c] += sums[t][c]` as far as there are rows and columns.
#[inline(always)]
fn add_tile(sums: &[[f32; PANEL]; TILE], (row, column): (usize, usize), mut out: MatMut<'_>) {
    let columns = out.columns().max(1);
    for (out, sums) in out.values().chunks_exact_mut(columns).skip(row).zip(sums) {
        out.iter_mut().skip(column).zip(sums).for_each(|(out, sum)| *out += sum);
    }
}
