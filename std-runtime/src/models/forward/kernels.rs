//! Core's layers as kernels, to be compiled for the CPU at hand.

use mixlet_core::linear::Arith;
use mixlet_core::moe::{DispatchPlan, RouterError, Routing, combine, gather};
use mixlet_core::nn::{
    Attention, LayerNorm, NnError, NormShape, RmsNorm, Rotary, attention_forward_by, layer_norm_forward,
    rms_norm_forward, rotary_forward,
};

use crate::simd::{Kernel, Product};

/// [`attention_forward_by`].
pub(crate) struct AttentionForward<'a> {
    pub attention: Attention<'a, f32>,
    pub out: &'a mut [f32],
    pub log_sums: &'a mut [f32],
    pub scratch: &'a mut [f32],
}

impl Product for AttentionForward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        attention_forward_by::<A>(&self.attention, self.out, self.log_sums, self.scratch)
    }
}

/// [`rms_norm_forward`].
pub(crate) struct RmsNormForward<'a> {
    pub norm: RmsNorm,
    pub shape: NormShape,
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub out: &'a mut [f32],
    pub inverse_rms: &'a mut [f32],
}

impl Kernel for RmsNormForward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        rms_norm_forward(self.norm, self.shape, self.x, self.weight, self.out, self.inverse_rms)
    }
}

/// [`layer_norm_forward`].
pub(crate) struct LayerNormForward<'a> {
    pub norm: LayerNorm<'a, f32>,
    pub shape: NormShape,
    pub x: &'a [f32],
    pub out: &'a mut [f32],
    pub mean: &'a mut [f32],
    pub inverse_deviation: &'a mut [f32],
}

impl Kernel for LayerNormForward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        layer_norm_forward(self.norm, self.shape, self.x, self.out, self.mean, self.inverse_deviation)
    }
}

/// [`rotary_forward`].
pub(crate) struct RotaryForward<'a> {
    pub rotary: Rotary,
    pub table: &'a [f32],
    pub values: &'a mut [f32],
}

impl Kernel for RotaryForward<'_> {
    type Output = Result<(), NnError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        rotary_forward(self.rotary, self.table, self.values)
    }
}

/// [`gather`].
pub(crate) struct Gather<'a> {
    pub plan: &'a DispatchPlan<'a>,
    pub tokens: &'a [f32],
    pub model_dim: usize,
    pub out: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = Result<(), RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        gather(self.plan, self.tokens, self.model_dim, self.out)
    }
}

/// [`combine`].
pub(crate) struct Combine<'a> {
    pub plan: &'a DispatchPlan<'a>,
    pub routing: &'a Routing<'a>,
    pub rows: &'a [f32],
    pub model_dim: usize,
    pub out: &'a mut [f32],
}

impl Kernel for Combine<'_> {
    type Output = Result<(), RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        combine(self.plan, self.routing, self.rows, self.model_dim, self.out)
    }
}
