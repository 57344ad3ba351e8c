//! Products with weight matrices: `out = x · Wᵀ + bias`, and both gradients.
//!
//! Many rows go through *panels* (rows transposed 64 at a time, weights broadcast against them), few
//! rows through *dots* (each output's weights read once, in order, in four streams). Both exist twice: for `f32`
//! activations, and *rounded* for activations rounded to the kind of narrow weights.
//!
//! Rows are cut at multiples of [`PANEL`] and each row's sums depend on its place in the run alone: a
//! caller that splits a run there gets the same bits, on any number of threads.

mod backward;
mod dots;
mod panel;
mod rounded;
mod rounded_panel;

pub use backward::{
    Write, linear_backward_bias, linear_backward_input, linear_backward_input_scratch_len,
    linear_backward_some_weights, linear_backward_weights, linear_backward_weights_scratch_len,
};

use half::{bf16, f16};
pub(crate) use panel::tile_of_panel;

use crate::arch::{self, RoundedPanel, RoundedRow, RoundedWeights4, Sums};
use crate::matrix::{MatMut, MatRef, ShapeError, check_length};
use crate::weights::{GROUP, Int4, Weights};

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

    /// The same with bf16 weights and rounded activations; all of them where there are no instructions for panels.
    const FEW_BF16: usize = usize::MAX;

    /// The same with weights of bytes, or halves of them.
    const FEW_BYTES: usize = usize::MAX;

    /// `a · b + c`.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// `[m][n]`: `Σ x[m] · w[n]`.
    #[inline(always)]
    fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
        dots::f32_dots::<Self, M>(x, w)
    }

    /// `[n]`: `Σ x · w[n]`.
    #[inline(always)]
    fn f16_dots(x: &[f32], w: [&[f16]; TILE]) -> [f32; TILE] {
        dots::element_dots::<Self, f16>(x, w)
    }

    /// `[n]`: `Σ x · w[n]`.
    #[inline(always)]
    fn exact_bf16_dots(x: &[f32], w: [&[bf16]; TILE]) -> [f32; TILE] {
        dots::element_dots::<Self, bf16>(x, w)
    }

    /// `[n]`: `Σ x · w[n]`.
    #[inline(always)]
    fn exact_int8_dots(x: &[f32], w: [&[i8]; TILE]) -> [f32; TILE] {
        dots::element_dots::<Self, i8>(x, w)
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

    /// `sums[n][r] += Σ x[r] · w[n]`, of a panel as [`arch::bf16_panel`] says.
    #[inline(always)]
    fn bf16_panel<const W: usize>(x: &[bf16], w: [&[bf16]; TILE], sums: &mut Sums<W>) {
        arch::bf16_panel::<Self, W>(x, w, sums);
    }

    /// `sums[n][r] += Σ_block x[r].scale · Σ x[r].value · w[n]`.
    #[inline(always)]
    fn int8_panel<const W: usize>(x: RoundedPanel<'_, W>, w: [&[i8]; TILE], sums: &mut Sums<W>) {
        arch::int8_panel::<Self, W>(x, w, sums);
    }

    /// As [`Arith::int8_panel`], each block's scale multiplied by the group's.
    #[inline(always)]
    fn int4_panel<const W: usize>(
        x: RoundedPanel<'_, W>,
        w: [RoundedWeights4<'_>; TILE],
        sums: &mut Sums<W>,
    ) {
        arch::int4_panel::<Self, W>(x, w, sums);
    }

    /// Asks for values that will be read soon.
    #[inline(always)]
    fn prefetch<T>(values: &[T]) {
        let _ = values;
    }

    /// `to[c][r] = from[r][c]`, four bytes each.
    #[inline(always)]
    fn transpose<T: Copy>(from: [&[T]; 16], to: [&mut [T]; 16]) {
        arch::transpose(from, to);
    }

    /// A block of activations as integers within ±127, as [`arch::round_block`] says.
    #[inline(always)]
    fn round_block(block: &[f32; GROUP], out: &mut [i8; GROUP]) -> (f32, f32) {
        arch::round_block(block, out)
    }

    /// `out[o] += ` [`Arith::int4_dots`] of one row; `memory` holds two bytes for each padded input.
    #[inline(always)]
    fn int4_row(x: RoundedRow<'_>, weights: Int4<'_>, memory: &mut [i8], out: &mut [f32]) {
        let _ = memory;
        rounded::int4_row::<Self>(x, weights, out);
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
    let copies = dots::copies_len(shape.rows.min(PANEL), shape.inputs);
    let exact = (panels * depth).max(copies) + TILE * depth;
    let rounded = rounded::scratch_len(shape).max(rounded_panel::scratch_len(shape));
    ScratchLen { floats: exact.max(rounded.floats), ..rounded }
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
    let least = linear_scratch_len(shape);
    match (operands, weights) {
        (Operands::Exact, _) | (_, Weights::F32(_) | Weights::F16(_)) => {
            scratch.check(ScratchLen { floats: least.floats, ..ScratchLen::default() })?;
            exact::<A>(weights, x, out, scratch.floats)?;
        }
        (Operands::Rounded, Weights::Bf16(_) | Weights::Int8(_) | Weights::Int4(_)) => {
            scratch.check(least)?;
            rounded::<A>(weights, x, out, scratch)?;
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

#[inline(always)]
fn rounded<A: Arith>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let mut panelled = 0;
    // The instructions take four bytes at a time, and whole blocks where there is a scale for each.
    let (few, unit) = if let Weights::Bf16(_) = weights { (A::FEW_BF16, 2) } else { (A::FEW_BYTES, GROUP) };
    if few < PANEL {
        let tail = x.rows() % PANEL;
        panelled = match (x.columns().is_multiple_of(unit), tail <= few) {
            (false, _) => 0,
            (true, true) => x.rows() - tail,
            (true, false) => x.rows(),
        };
        let (many, to) = (x.row_range(0..panelled)?, out.row_range(0..panelled)?);
        rounded_panel::forward::<A>(weights, many, to, scratch.lend());
    }
    let (few, to) = (x.row_range(panelled..x.rows())?, out.row_range(panelled..x.rows())?);
    rounded::forward::<A>(weights, few, to, scratch);
    Ok(())
}

/// Outputs that are worked on together lie a quarter of the matrix apart: four streams of memory, each read in order,
/// are read faster than one.
#[derive(Clone, Copy)]
pub(crate) struct Streams {
    outputs: usize,
    quarter: usize,
}

impl Streams {
    #[inline(always)]
    pub(crate) fn new(outputs: usize) -> Self {
        Self { outputs, quarter: outputs.div_ceil(TILE) }
    }

    /// Each stream's place, from its beginning.
    #[inline(always)]
    pub(crate) fn steps(self) -> core::ops::Range<usize> {
        0..self.quarter
    }

    /// The outputs of a step; the last one stands for those that are not there.
    #[inline(always)]
    pub(crate) fn outputs(self, step: usize) -> [usize; TILE] {
        core::array::from_fn(|n| (n * self.quarter + step).min(self.outputs.saturating_sub(1)))
    }

    /// Their rows of a matrix `[outputs, inputs]`.
    #[inline(always)]
    pub(crate) fn rows<T>(self, matrix: MatRef<'_, T>, step: usize) -> [&[T]; TILE] {
        self.outputs(step).map(|output| matrix.row(output).unwrap_or_default())
    }

    /// Adds the sums of a step to a row of outputs.
    #[inline(always)]
    pub(crate) fn add(self, step: usize, sums: [f32; TILE], out: &mut [f32]) {
        for (n, sum) in sums.into_iter().enumerate() {
            if let Some(out) = out.get_mut(n * self.quarter + step) {
                *out += sum;
            }
        }
    }
}
