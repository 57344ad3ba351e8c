//! Products with weight matrices, from values that lie one row after the other.

use mixlet_core::linear::{Linear, Operands};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};

use crate::linear::linear_forward;

/// `out = x · weightsᵀ + bias`; `x` is `[rows, inputs]`, `out` `[rows, outputs]`.
pub(super) fn linear(
    linear: Linear<'_>,
    operands: Operands,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (inputs, outputs) = (linear.weights().inputs(), linear.weights().outputs());
    let rows = x.len() / inputs.max(1);
    linear_forward(linear, operands, MatRef::new(x, rows, inputs)?, MatMut::new(out, rows, outputs)?)
}
