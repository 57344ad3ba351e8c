//! Products with weights, as kernels.

use std::ops::Range;

use mixlet_core::linear::{self, Arith, Linear, Operands, Scratch};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    self, Experts, ExpertsError, ExpertsGrads, Ffn, FfnBackward, FfnCache, GroupedRows, HiddenGrads, Inner,
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

/// [`experts::ffn_backward_rows`].
pub struct FfnBackwardRows<'a> {
    /// The network.
    pub ffn: Ffn<'a>,
    /// What forward left.
    pub cache: FfnCache<'a>,
    /// `[rows, model_dim]`.
    pub grad_out: MatRef<'a>,
    /// `[rows, ffn_dim]`.
    pub hidden: HiddenGrads<'a>,
    /// `[rows, model_dim]`.
    pub grad_x: MatMut<'a>,
    /// Memory.
    pub scratch: Scratch<'a>,
}

impl Product for FfnBackwardRows<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        let Self { ffn, cache, grad_out, hidden, grad_x, scratch } = self;
        experts::ffn_backward_rows::<A>(ffn, cache, grad_out, hidden, grad_x, scratch)
    }
}

/// [`linear::linear_backward_some_weights`].
pub struct LinearBackwardWeights<'a> {
    /// `[rows, outputs]`.
    pub grad_out: MatRef<'a>,
    /// `[rows, inputs]`.
    pub x: MatRef<'a>,
    /// Some outputs.
    pub outputs: Range<usize>,
    /// `[outputs, inputs]` of these.
    pub grad_weights: MatMut<'a>,
    /// Memory.
    pub scratch: Scratch<'a>,
}

impl Product for LinearBackwardWeights<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        let Self { grad_out, x, outputs, grad_weights, scratch } = self;
        linear::linear_backward_some_weights::<A>(grad_out, x, outputs, grad_weights, scratch)
    }
}
