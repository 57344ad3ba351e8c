//! Products with weight matrices, from values that lie one row after the other.

use mixlet_core::linear::{Linear, Operands};
use mixlet_core::matrix::{MatRef, ShapeError};

use crate::linear::linears_forward;

/// `out = x · weightsᵀ + bias`; `x` is `[rows, inputs]`, `out` `[rows, outputs]`.
pub(crate) fn linear(
    linear: Linear<'_>,
    operands: Operands,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    linears(operands, x, [(linear, out)])
}

/// The same with several matrices of as many inputs.
pub(super) fn linears<const N: usize>(
    operands: Operands,
    x: &[f32],
    products: [(Linear<'_>, &mut [f32]); N],
) -> Result<(), ShapeError> {
    let inputs = products.first().map_or(0, |(linear, _)| linear.weights().inputs());
    linears_forward(operands, MatRef::new(x, x.len() / inputs.max(1), inputs)?, products)
}
