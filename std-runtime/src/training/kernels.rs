//! Core's backward passes as kernels, to be compiled for the CPU at hand.

use mixlet_core::linear::{Arith, Scratch, Write, linear_backward_input};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::{DispatchPlan, RouterError, Routing, combine_backward, gather_backward};
use mixlet_core::nn::{
    Attention, AttentionGrads, CrossEntropy, LayerNorm, LayerNormCache, LayerNormGrads, Loss, NnError,
    NormShape, RmsNorm, RmsNormCache, Rotary, Targets, attention_backward, cross_entropy_backward,
    layer_norm_backward, rms_norm_backward, rotary_backward,
};
use mixlet_core::weights::Weights;

use crate::simd::{Kernel, Product};

/// [`linear_backward_input`].
pub(super) struct LinearBackwardInput<'a> {
    pub weights: Weights<'a>,
    pub grad_out: MatRef<'a>,
    pub grad_x: MatMut<'a>,
    pub write: Write,
    pub scratch: Scratch<'a>,
}

impl Product for LinearBackwardInput<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        linear_backward_input::<A>(self.weights, self.grad_out, self.grad_x, self.write, self.scratch)
    }
}

/// [`attention_backward`].
pub(super) struct AttentionBackward<'a> {
    pub attention: Attention<'a, f32>,
    pub log_sums: &'a [f32],
    pub grad_out: &'a [f32],
    pub grads: AttentionGrads<'a, f32>,
    pub scratch: &'a mut [f32],
}

impl Kernel for AttentionBackward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        attention_backward(&self.attention, self.log_sums, self.grad_out, self.grads, self.scratch)
    }
}

/// [`rms_norm_backward`].
pub(super) struct RmsNormBackward<'a> {
    pub norm: RmsNorm,
    pub shape: NormShape,
    pub cache: RmsNormCache<'a, f32>,
    pub grad_out: &'a [f32],
    pub grad_x: &'a mut [f32],
    pub grad_weight: &'a mut [f32],
}

impl Kernel for RmsNormBackward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { norm, shape, cache, grad_out, grad_x, grad_weight } = self;
        rms_norm_backward(norm, shape, cache, grad_out, grad_x, grad_weight)
    }
}

/// [`layer_norm_backward`].
pub(super) struct LayerNormBackward<'a> {
    pub norm: LayerNorm<'a, f32>,
    pub shape: NormShape,
    pub cache: LayerNormCache<'a, f32>,
    pub grad_out: &'a [f32],
    pub grads: LayerNormGrads<'a, f32>,
}

impl Kernel for LayerNormBackward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        layer_norm_backward(self.norm, self.shape, self.cache, self.grad_out, self.grads)
    }
}

/// [`rotary_backward`].
pub(super) struct RotaryBackward<'a> {
    pub rotary: Rotary,
    pub table: &'a [f32],
    pub grad: &'a mut [f32],
}

impl Kernel for RotaryBackward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        rotary_backward(self.rotary, self.table, self.grad)
    }
}

/// [`combine_backward`].
pub(super) struct CombineBackward<'a> {
    pub plan: &'a DispatchPlan<'a>,
    pub routing: &'a Routing<'a>,
    pub rows: &'a [f32],
    pub grad_out: &'a [f32],
    pub grad_rows: &'a mut [f32],
    pub grad_gates: &'a mut [f32],
}

impl Kernel for CombineBackward<'_> {
    type Output = Result<(), RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { plan, routing, rows, grad_out, grad_rows, grad_gates } = self;
        combine_backward(plan, routing, rows, grad_out, grad_rows, grad_gates)
    }
}

/// [`gather_backward`].
pub(super) struct GatherBackward<'a> {
    pub plan: &'a DispatchPlan<'a>,
    pub routing: &'a Routing<'a>,
    pub grad_rows: &'a [f32],
    pub model_dim: usize,
    pub grad_tokens: &'a mut [f32],
}

impl Kernel for GatherBackward<'_> {
    type Output = Result<(), RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        gather_backward(self.plan, self.routing, self.grad_rows, self.model_dim, self.grad_tokens)
    }
}

/// [`cross_entropy_backward`].
pub(super) struct CrossEntropyBackward<'a> {
    pub settings: CrossEntropy,
    pub targets: Targets<'a>,
    pub logits: &'a mut [f32],
}

impl Kernel for CrossEntropyBackward<'_> {
    type Output = Result<Loss, NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        cross_entropy_backward(self.settings, self.targets, self.logits)
    }
}
