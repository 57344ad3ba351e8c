//! Products with weights, as kernels.

use mixlet_core::linear::{self, Arith, Linear, Operands, Scratch};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    self, Experts, ExpertsError, ExpertsGrads, FfnBackward, FfnCache, GroupedRows, Inner,
};

use super::Product;

/// [`linear::linear_forward`].
pub struct LinearForward<'a> {
    /// The matrix and its bias.
    pub linear: Linear<'a>,
    /// How activations meet it.
    pub operands: Operands,
    /// `[rows, inputs]`.
    pub x: MatRef<'a>,
    /// `[rows, outputs]`.
    pub out: MatMut<'a>,
    /// Memory.
    pub scratch: Scratch<'a>,
}

impl Product for LinearForward<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        linear::linear_forward::<A>(self.linear, self.operands, self.x, self.out, self.scratch)
    }
}

/// [`experts::hidden_forward`].
pub struct HiddenForward<'a> {
    /// To the hidden values.
    pub inner: Inner<'a>,
    /// How activations meet the weights.
    pub operands: Operands,
    /// `[rows, model_dim]`.
    pub x: MatRef<'a>,
    /// `[rows, ffn_dim]`.
    pub cache: FfnCache<'a>,
    /// Memory.
    pub scratch: Scratch<'a>,
}

impl Product for HiddenForward<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        experts::hidden_forward::<A>(self.inner, self.operands, self.x, self.cache, self.scratch)
    }
}

/// [`experts::experts_backward`].
pub struct ExpertsBackward<'a> {
    /// The weights.
    pub experts: Experts<'a>,
    /// Rows in runs.
    pub rows: GroupedRows<'a>,
    /// What it starts from.
    pub given: FfnBackward<'a>,
    /// None if all are frozen.
    pub grads: Option<ExpertsGrads<'a>>,
    /// `[R, model_dim]`.
    pub grad_x: MatMut<'a>,
    /// Memory.
    pub scratch: Scratch<'a>,
}

impl Product for ExpertsBackward<'_> {
    type Output = Result<(), ExpertsError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        let Self { experts, rows, given, grads, grad_x, scratch } = self;
        experts::experts_backward::<A>(experts, rows, given, grads, grad_x, scratch)
    }
}
