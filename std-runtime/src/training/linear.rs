//! Products with weight matrices, and their gradients over several threads.
//!
//! Gradients of inputs are cut into blocks of rows, those of weights into stretches of outputs. No sum is cut, so the bits
//! are those of one thread.

use std::ops::Range;

use mixlet_core::linear::{
    LinearShape, Operands, Write, linear_backward_input_scratch_len, linear_backward_weights_scratch_len,
};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::weights::Weights;
use rayon::prelude::*;

use super::kernels::LinearBackwardInput;
use crate::linear::BLOCK_ROWS;
use crate::linear::memory::with_memory;
use crate::models::forward::linear::linear;
use crate::models::tensor::{Linear, Matrix};
use crate::simd::{LinearBackwardWeights, multiply};

/// Outputs of a stretch of weights.
const STRETCH: usize = 128;

/// `x · weightsᵀ + bias`, `[rows, outputs]`.
pub(super) fn forward(to: &Linear, x: &[f32]) -> Result<Vec<f32>, ShapeError> {
    let rows = x.len() / to.matrix.inputs().max(1);
    let mut out = vec![0.0; rows * to.matrix.outputs()];
    linear(to.get()?, Operands::Exact, x, &mut out)?;
    Ok(out)
}

/// The gradients of [`forward`]: those of weight and bias are added to `grads` unless frozen; the input's is the result.
pub(super) fn backward(
    to: &Linear,
    x: &[f32],
    grad_out: &[f32],
    grads: &mut Linear,
) -> Result<Vec<f32>, ShapeError> {
    let mut grad_x = vec![0.0; x.len()];
    input(to.matrix.weights()?, grad_out, &mut grad_x, Write::Overwrite)?;
    parameters(grad_out, x, grads)?;
    Ok(grad_x)
}

/// The gradient of a product's input, `[rows, inputs]`.
pub(super) fn input(
    weights: Weights<'_>,
    grad_out: &[f32],
    grad_x: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let blocks = grad_out.par_chunks((BLOCK_ROWS * outputs).max(1));
    let blocks = blocks.zip(grad_x.par_chunks_mut((BLOCK_ROWS * inputs).max(1)));
    blocks.with_max_len(1).try_for_each(|(grad_out, grad_x)| {
        let rows = grad_out.len() / outputs.max(1);
        let grad_out = MatRef::new(grad_out, rows, outputs)?;
        let grad_x = MatMut::new(grad_x, rows, inputs)?;
        let shape = LinearShape { rows, inputs, outputs };
        with_memory(0, linear_backward_input_scratch_len(shape), |_, scratch| {
            multiply(LinearBackwardInput { weights, grad_out, grad_x, write, scratch })
        })
    })
}

/// Adds the gradients of a matrix and its bias.
pub(super) fn parameters(grad_out: &[f32], x: &[f32], grads: &mut Linear) -> Result<(), ShapeError> {
    let mut stretches = Vec::new();
    cut(grad_out, x, (&mut grads.matrix, grads.bias.as_deref_mut()), &mut stretches)?;
    add(stretches)
}

/// Adds the gradients of a matrix without bias.
pub(super) fn matrix(grad_out: &[f32], x: &[f32], grads: &mut Matrix) -> Result<(), ShapeError> {
    let mut stretches = Vec::new();
    cut(grad_out, x, (grads, None), &mut stretches)?;
    add(stretches)
}

/// Some outputs of a matrix, and the rows whose gradients are added.
pub(super) struct Stretch<'a> {
    grad_out: MatRef<'a>,
    x: MatRef<'a>,
    outputs: Range<usize>,
    /// Empty if the matrix is frozen.
    weights: &'a mut [f32],
    /// Empty if there is no bias, or if it is frozen.
    bias: &'a mut [f32],
}

/// The stretches of a matrix; none if all of it is frozen.
pub(super) fn cut<'a>(
    grad_out: &'a [f32],
    x: &'a [f32],
    (matrix, bias): (&'a mut Matrix, Option<&'a mut [f32]>),
    stretches: &mut Vec<Stretch<'a>>,
) -> Result<(), ShapeError> {
    let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
    let rows = x.len() / inputs.max(1);
    let (grad_out, x) = (MatRef::new(grad_out, rows, outputs)?, MatRef::new(x, rows, inputs)?);
    let mut weights = matrix.values_mut();
    let mut bias = bias.unwrap_or_default();
    if rows == 0 || weights.is_empty() && bias.is_empty() {
        return Ok(());
    }
    for start in (0..outputs).step_by(STRETCH) {
        let outputs = start..outputs.min(start + STRETCH);
        let weights = weights.split_off_mut(..outputs.len() * inputs).unwrap_or_default();
        let bias = bias.split_off_mut(..outputs.len()).unwrap_or_default();
        stretches.push(Stretch { grad_out, x, outputs, weights, bias });
    }
    Ok(())
}

/// Adds the gradients of all stretches.
pub(super) fn add(stretches: Vec<Stretch<'_>>) -> Result<(), ShapeError> {
    stretches.into_par_iter().with_max_len(1).try_for_each(|stretch| {
        let Stretch { grad_out, x, outputs, weights, bias } = stretch;
        // Nothing where there is no bias.
        for row in grad_out.each_row() {
            bias.iter_mut().zip(&row[outputs.clone()]).for_each(|(sum, grad)| *sum += grad);
        }
        if weights.is_empty() {
            return Ok(());
        }
        let shape = LinearShape { rows: x.rows(), inputs: x.columns(), outputs: outputs.len() };
        let grad_weights = MatMut::new(weights, outputs.len(), x.columns())?;
        with_memory(0, linear_backward_weights_scratch_len(shape), |_, scratch| {
            multiply(LinearBackwardWeights { grad_out, x, outputs, grad_weights, scratch })
        })
    })
}
