//! From the products with gate and up to the hidden values, and back.
//!
//! Each activation is named where its loop begins: a loop that chose inside would not vectorise.

use super::FfnKind;
use crate::activation::{Activation, sigmoid};

/// `hidden = f(gate, up)`; `gate` is not looked at where the kind has none.
#[inline(always)]
pub(super) fn forward(kind: FfnKind, gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    use Activation::{GeluErf, GeluTanh, Relu, Silu};
    match kind {
        FfnKind::Plain(Relu) => plain(Relu, up, hidden),
        FfnKind::Plain(Silu) => plain(Silu, up, hidden),
        FfnKind::Plain(GeluTanh) => plain(GeluTanh, up, hidden),
        FfnKind::Plain(GeluErf) => plain(GeluErf, up, hidden),
        FfnKind::Gated(Relu) => gated(Relu, gate, up, hidden),
        FfnKind::Gated(Silu) => gated(Silu, gate, up, hidden),
        FfnKind::Gated(GeluTanh) => gated(GeluTanh, gate, up, hidden),
        FfnKind::Gated(GeluErf) => gated(GeluErf, gate, up, hidden),
        FfnKind::ClampedSwiglu { alpha, limit } => {
            for ((hidden, gate), up) in hidden.iter_mut().zip(gate).zip(up) {
                *hidden = clamped_swiglu(alpha, limit, *gate, *up).0;
            }
        }
    }
}

#[inline(always)]
fn plain(activation: Activation, up: &[f32], hidden: &mut [f32]) {
    hidden.iter_mut().zip(up).for_each(|(hidden, up)| *hidden = activation.value(*up));
}

#[inline(always)]
fn gated(activation: Activation, gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    for ((hidden, gate), up) in hidden.iter_mut().zip(gate).zip(up) {
        *hidden = activation.value(*gate) * up;
    }
}

/// The gradient of hidden becomes that of up, in place; the gradient of gate is written.
#[inline(always)]
pub(super) fn backward(kind: FfnKind, gate: &[f32], up: &[f32], grad_gate: &mut [f32], grad: &mut [f32]) {
    use Activation::{GeluErf, GeluTanh, Relu, Silu};
    match kind {
        FfnKind::Plain(Relu) => plain_backward(Relu, up, grad),
        FfnKind::Plain(Silu) => plain_backward(Silu, up, grad),
        FfnKind::Plain(GeluTanh) => plain_backward(GeluTanh, up, grad),
        FfnKind::Plain(GeluErf) => plain_backward(GeluErf, up, grad),
        FfnKind::Gated(Relu) => gated_backward(Relu, gate, up, grad_gate, grad),
        FfnKind::Gated(Silu) => gated_backward(Silu, gate, up, grad_gate, grad),
        FfnKind::Gated(GeluTanh) => gated_backward(GeluTanh, gate, up, grad_gate, grad),
        FfnKind::Gated(GeluErf) => gated_backward(GeluErf, gate, up, grad_gate, grad),
        FfnKind::ClampedSwiglu { alpha, limit } => {
            for (((grad, grad_gate), gate), up) in grad.iter_mut().zip(grad_gate).zip(gate).zip(up) {
                let (_, gate_slope, up_slope) = clamped_swiglu(alpha, limit, *gate, *up);
                *grad_gate = *grad * gate_slope;
                *grad *= up_slope;
            }
        }
    }
}

#[inline(always)]
fn plain_backward(activation: Activation, up: &[f32], grad: &mut [f32]) {
    grad.iter_mut().zip(up).for_each(|(grad, up)| *grad *= activation.value_and_slope(*up).1);
}

#[inline(always)]
fn gated_backward(activation: Activation, gate: &[f32], up: &[f32], grad_gate: &mut [f32], grad: &mut [f32]) {
    for (((grad, grad_gate), gate), up) in grad.iter_mut().zip(grad_gate).zip(gate).zip(up) {
        let (value, slope) = activation.value_and_slope(*gate);
        *grad_gate = *grad * slope * up;
        *grad *= value;
    }
}

/// The value, and its derivatives by gate and by up: zero beyond the limits.
#[inline(always)]
fn clamped_swiglu(alpha: f32, limit: f32, gate: f32, up: f32) -> (f32, f32, f32) {
    let g = if gate > limit { limit } else { gate };
    let u = if up > limit { limit } else { up };
    let u = if u < -limit { -limit } else { u };
    let s = sigmoid(alpha * g);
    let gate_slope = (u + 1.0) * s * (1.0 + alpha * g * (1.0 - s));
    let up_slope = g * s;
    let inside = if up > limit || up < -limit { 0.0 } else { 1.0 };
    ((u + 1.0) * up_slope, if gate > limit { 0.0 } else { gate_slope }, up_slope * inside)
}
