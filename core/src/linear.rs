//! Products with weight matrices: `out = x · Wᵀ + bias`, and both gradients.
//!
//! Three loops do all of it. Many rows go through *panels* (rows transposed 64 at a time, weights
//! broadcast against them), few rows through *dots* (each output's weights read once, in order), and
//! narrow weights through *rounded* dots (the activations rounded to the weights' kind).
//!
//! Rows are cut at multiples of [`PANEL`] and each row's sums depend on its place in the run alone: a
//! caller that splits a run there gets the same bits, on any number of threads.

mod backward;
mod dots;
mod panel;
mod rounded;

pub use backward::{
    Write, linear_backward_bias, linear_backward_input, linear_backward_input_scratch_len,
    linear_backward_weights, linear_backward_weights_scratch_len,
};

use half::bf16;

use crate::arch::{self, RoundedRow, RoundedWeights4};
use crate::matrix::{MatMut, MatRef, ShapeError, check_length};
use crate::weights::{GROUP, Weights};

/// Rows that share a panel; runs of rows may be split at its multiples.
pub const PANEL: usize = 64;
/// Inputs whose panels are worked on together: 128 KB a panel, four of them stay in a second-level cache.
const DEPTH: usize = 512;
/// Outputs worked on together.
pub const TILE: usize = 4;

/// How a CPU multiplies and adds. Core has [`Plain`]; a runtime that has found wide registers brings its own.
///
/// The sums of narrow weights default to portable code that gives what the instructions give.
pub trait Arith {
    /// 32 vector registers of 64 bytes: tiles are sized for them.
    const WIDE: bool = false;

    /// Rows at the end of a run that are better served by dots than by a panel that is mostly empty.
    const FEW: usize = 12;

    /// `a · b + c`.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// `[m][n]`: `Σ x[m] · w[n]`.
    #[inline(always)]
    fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
        dots::f32_dots::<Self, M>(x, w)
    }

    /// `[m][n]`: `Σ x[m] · w[n]`; a row of `x` is zero-padded to a multiple of 32.
    #[inline(always)]
    fn bf16_dots<const M: usize>(x: [&[bf16]; M], w: [&[bf16]; TILE]) -> [[f32; TILE]; M] {
        arch::bf16_dots::<Self, M, TILE>(x, w)
    }

    /// `[m][n]`: `Σ_block scale · Σ x[m] · w[n]`, the inner sum in integers.
    #[inline(always)]
    fn int8_dots<const M: usize>(x: [RoundedRow<'_>; M], w: [&[i8]; TILE]) -> [[f32; TILE]; M] {
        arch::int8_dots::<Self, M, TILE>(x, w)
    }

    /// As [`Arith::int8_dots`], each block's scale multiplied by the group's.
    #[inline(always)]
    fn int4_dots<const M: usize>(x: [RoundedRow<'_>; M], w: [RoundedWeights4<'_>; TILE]) -> [[f32; TILE]; M] {
        arch::int4_dots::<Self, M, TILE>(x, w)
    }
}

/// Multiplication and addition rounded one after the other: what `no_std` has on every target.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Arith for Plain {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// How activations meet narrow weights; `f32` and `f16` weights make no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Operands {
    /// Activations stay `f32`, weights are widened: the products are those of the stored weights.
    #[default]
    Exact,
    /// Activations are rounded to the weights' kind, for the instructions that multiply those.
    ///
    /// With bf16 weights to bf16 (relative error of each at most 2⁻⁹), with int8 and int4 weights to int8 with
    /// a scale per block of 32: each is off by at most 1/254 of the largest magnitude in its block.
    Rounded,
}

/// A weight matrix `[outputs, inputs]` and what is added to its products.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    weights: Weights<'a>,
    bias: Option<&'a [f32]>,
}

impl<'a> Linear<'a> {
    /// Without bias.
    pub fn new(weights: Weights<'a>) -> Self {
        Self { weights, bias: None }
    }

    /// With a bias `[outputs]`.
    pub fn with_bias(weights: Weights<'a>, bias: &'a [f32]) -> Result<Self, ShapeError> {
        check_length("bias", bias.len(), weights.outputs())?;
        Ok(Self { weights, bias: Some(bias) })
    }

    /// The matrix.
    pub fn weights(&self) -> Weights<'a> {
        self.weights
    }

    /// The bias `[outputs]`, if there is one.
    pub fn bias(&self) -> Option<&'a [f32]> {
        self.bias
    }

    /// Some of the outputs.
    pub fn output_range(&self, range: core::ops::Range<usize>) -> Result<Self, ShapeError> {
        let weights = self.weights.output_range(range.clone())?;
        Ok(Self { weights, bias: self.bias.and_then(|bias| bias.get(range)) })
    }
}

/// The lengths of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of activations.
    pub rows: usize,
    /// Columns of the matrix.
    pub inputs: usize,
    /// Rows of the matrix.
    pub outputs: usize,
}

/// How much memory of each kind a call works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchLen {
    /// Values of `f32`.
    pub floats: usize,
    /// Values of `bf16`.
    pub halves: usize,
    /// Values of `i8`.
    pub bytes: usize,
}

impl ScratchLen {
    /// Enough for either.
    pub fn max(self, other: Self) -> Self {
        Self {
            floats: self.floats.max(other.floats),
            halves: self.halves.max(other.halves),
            bytes: self.bytes.max(other.bytes),
        }
    }
}

/// Memory that a call works in; what it holds before and after is nobody's concern.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// At least [`ScratchLen::floats`].
    pub floats: &'a mut [f32],
    /// At least [`ScratchLen::halves`].
    pub halves: &'a mut [bf16],
    /// At least [`ScratchLen::bytes`].
    pub bytes: &'a mut [i8],
}

impl Scratch<'_> {
    /// The same memory, lent for a call.
    #[inline(always)]
    pub fn lend(&mut self) -> Scratch<'_> {
        Scratch { floats: self.floats, halves: self.halves, bytes: self.bytes }
    }

    #[inline(always)]
    pub(crate) fn check(&self, least: ScratchLen) -> Result<(), ShapeError> {
        let enough = |what, found: usize, least| check_length(what, found.min(least), least);
        enough("scratch floats", self.floats.len(), least.floats)?;
        enough("scratch halves", self.halves.len(), least.halves)?;
        enough("scratch bytes", self.bytes.len(), least.bytes)
    }
}

/// The memory [`linear_forward`] works in, with either kind of operands.
pub fn linear_scratch_len(shape: LinearShape) -> ScratchLen {
    let depth = shape.inputs.min(DEPTH);
    let panels = shape.rows.min(panel::ROWS).next_multiple_of(PANEL);
    let rounded = shape.rows.min(rounded::ROWS) * shape.inputs.next_multiple_of(rounded::STEP);
    let copies = dots::copies_len(shape.rows.min(PANEL), shape.inputs);
    let floats = (panels * depth).max(rounded / GROUP).max(copies) + TILE * depth;
    ScratchLen { floats, halves: rounded, bytes: rounded }
}

/// `out[r, o] = bias[o] + Σ_i x[r, i] · weights[o, i]`.
///
/// ```
/// # use mixlet_core::{linear::*, matrix::{MatMut, MatRef}, weights::Weights};
/// let weights = Weights::F32(MatRef::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?);
/// let (shape, mut out) = (LinearShape { rows: 1, inputs: 2, outputs: 2 }, [f32::NAN; 2]);
/// let mut floats = vec![0.0; linear_scratch_len(shape).floats];
/// let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
/// let (linear, x) = (Linear::with_bias(weights, &[0.5, 0.0])?, MatRef::new(&[1.0, -1.0], 1, 2)?);
/// linear_forward::<Plain>(linear, Operands::Exact, x, MatMut::new(&mut out, 1, 2)?, scratch)?;
/// assert_eq!(out, [-0.5, -1.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
///
/// Memory for halves and bytes is needed only with [`Operands::Rounded`].
#[inline(always)]
pub fn linear_forward<A: Arith>(
    linear: Linear<'_>,
    operands: Operands,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let weights = linear.weights;
    let shape = LinearShape { rows: x.rows(), inputs: weights.inputs(), outputs: weights.outputs() };
    check_length("an input row", x.columns(), shape.inputs)?;
    check_length("the output, in rows,", out.rows(), shape.rows)?;
    check_length("an output row", out.columns(), shape.outputs)?;
    start(linear.bias, out.as_mut());
    let mut least = linear_scratch_len(shape);
    match (operands, weights) {
        (Operands::Rounded, Weights::Bf16(weights)) => {
            (least.floats, least.bytes) = (0, 0);
            scratch.check(least)?;
            rounded::bf16::<A>(weights, x, out, scratch.halves);
        }
        (Operands::Rounded, Weights::Int8(weights)) => {
            least.halves = 0;
            scratch.check(least)?;
            rounded::int8::<A>(weights, x, out, (scratch.bytes, scratch.floats));
        }
        (Operands::Rounded, Weights::Int4(weights)) => {
            least.halves = 0;
            scratch.check(least)?;
            rounded::int4::<A>(weights, x, out, (scratch.bytes, scratch.floats));
        }
        _ => {
            scratch.check(ScratchLen { floats: least.floats, ..ScratchLen::default() })?;
            exact::<A>(weights, x, out, scratch.floats)?;
        }
    }
    Ok(())
}

/// Every output starts as its bias.
#[inline(always)]
fn start(bias: Option<&[f32]>, mut out: MatMut<'_>) {
    let outputs = out.columns().max(1);
    match bias {
        Some(bias) => {
            for row in out.values().chunks_exact_mut(outputs) {
                row.iter_mut().zip(bias).for_each(|(out, bias)| *out = *bias);
            }
        }
        None => out.values().fill(0.0),
    }
}

#[inline(always)]
fn exact<A: Arith>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    floats: &mut [f32],
) -> Result<(), ShapeError> {
    let tail = x.rows() % PANEL;
    let panelled = if tail <= A::FEW { x.rows() - tail } else { x.rows() };
    panel::forward::<A>(weights, x.row_range(0..panelled)?, out.row_range(0..panelled)?, floats);
    let (x, out) = (x.row_range(panelled..x.rows())?, out.row_range(panelled..x.rows())?);
    dots::forward::<A>(weights, x, out, floats);
    Ok(())
}
