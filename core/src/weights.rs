//! Weight matrices as they are stored: f32, f16, bf16, int8 with a scale a row, int4 with a scale per 32.
//!
//! Every format holds `[outputs, inputs]`, row-major: one output's weights lie together. Sums over
//! weights are `f32` whatever the format.

use core::fmt;
use core::ops::Range;

use half::{bf16, f16};

use crate::matrix::{MatMut, MatRef, ShapeError, check_length};

/// Weights that share a scale in int4; also the block of activations that shares one.
pub const GROUP: usize = 32;
/// Bytes of a group in int4.
const GROUP_BYTES: usize = GROUP / 2;

/// A weight matrix `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Single precision.
    F32(MatRef<'a, f32>),
    /// Half precision: 11 bits of mantissa, largest value 65504.
    F16(MatRef<'a, f16>),
    /// The upper half of an `f32`: 8 bits of mantissa.
    Bf16(MatRef<'a, bf16>),
    /// One byte a weight.
    Int8(Int8<'a>),
    /// Half a byte a weight, and two bytes for 32.
    Int4(Int4<'a>),
}

/// `weight = value · scale` of its row.
#[derive(Clone, Copy, Debug)]
pub struct Int8<'a> {
    values: MatRef<'a, i8>,
    scales: &'a [f32],
}

impl<'a> Int8<'a> {
    /// `values` `[outputs, inputs]`, `scales` `[outputs]`.
    pub fn new(values: MatRef<'a, i8>, scales: &'a [f32]) -> Result<Self, ShapeError> {
        check_length("scales", scales.len(), values.rows())?;
        Ok(Self { values, scales })
    }

    /// `[outputs, inputs]`.
    pub fn values(&self) -> MatRef<'a, i8> {
        self.values
    }

    /// `[outputs]`.
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }
}

/// `weight = (nibble − 8) · scale` of its group of [`GROUP`] inputs.
///
/// Byte `i` of a group holds input `i` in its low half and input `i + 16` in its high half.
#[derive(Clone, Copy, Debug)]
pub struct Int4<'a> {
    nibbles: MatRef<'a, u8>,
    scales: MatRef<'a, f16>,
}

impl<'a> Int4<'a> {
    /// `nibbles` `[outputs, inputs / 2]`, `scales` `[outputs, inputs / 32]`; inputs must be a multiple of 32.
    pub fn new(nibbles: MatRef<'a, u8>, scales: MatRef<'a, f16>) -> Result<Self, ShapeError> {
        check_length("scales, in rows,", scales.rows(), nibbles.rows())?;
        check_length("a row of nibbles", nibbles.columns(), scales.columns() * GROUP_BYTES)?;
        Ok(Self { nibbles, scales })
    }

    /// `[outputs, inputs / 2]`.
    pub fn nibbles(&self) -> MatRef<'a, u8> {
        self.nibbles
    }

    /// `[outputs, inputs / 32]`.
    pub fn scales(&self) -> MatRef<'a, f16> {
        self.scales
    }
}

impl<'a> Weights<'a> {
    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.rows(),
            Self::F16(matrix) => matrix.rows(),
            Self::Bf16(matrix) => matrix.rows(),
            Self::Int8(matrix) => matrix.values.rows(),
            Self::Int4(matrix) => matrix.nibbles.rows(),
        }
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.columns(),
            Self::F16(matrix) => matrix.columns(),
            Self::Bf16(matrix) => matrix.columns(),
            Self::Int8(matrix) => matrix.values.columns(),
            Self::Int4(matrix) => matrix.scales.columns() * GROUP,
        }
    }

    /// Bytes that a product with this matrix reads, scales included.
    pub fn bytes(&self) -> usize {
        let elements = self.outputs() * self.inputs();
        match self {
            Self::F32(_) => 4 * elements,
            Self::F16(_) | Self::Bf16(_) => 2 * elements,
            Self::Int8(_) => elements + 4 * self.outputs(),
            Self::Int4(_) => elements / 2 + elements / GROUP * 2,
        }
    }

    /// Some rows.
    pub fn output_range(&self, range: Range<usize>) -> Result<Self, ShapeError> {
        Ok(match self {
            Self::F32(matrix) => Self::F32(matrix.row_range(range)?),
            Self::F16(matrix) => Self::F16(matrix.row_range(range)?),
            Self::Bf16(matrix) => Self::Bf16(matrix.row_range(range)?),
            Self::Int8(Int8 { values, scales }) => {
                let error = ShapeError::Rows { end: range.end, rows: scales.len() };
                let scales = scales.get(range.clone()).ok_or(error)?;
                Self::Int8(Int8 { values: values.row_range(range)?, scales })
            }
            Self::Int4(Int4 { nibbles, scales }) => Self::Int4(Int4 {
                nibbles: nibbles.row_range(range.clone())?,
                scales: scales.row_range(range)?,
            }),
        })
    }

    /// Writes inputs `start..start + out.len()` of one row as `f32`; `start` must be a multiple of [`GROUP`].
    ///
    /// Beyond the row's end, and beyond the last row, zeros are written.
    #[inline(always)]
    pub(crate) fn widen(&self, output: usize, start: usize, out: &mut [f32]) {
        let written = match self {
            Self::F32(matrix) => widen_row(matrix.row(output), start, out),
            Self::F16(matrix) => widen_row(matrix.row(output), start, out),
            Self::Bf16(matrix) => widen_row(matrix.row(output), start, out),
            Self::Int8(Int8 { values, scales }) => {
                let written = widen_row(values.row(output), start, out);
                let scale = scales.get(output).copied().unwrap_or(0.0);
                out.iter_mut().for_each(|value| *value *= scale);
                written
            }
            Self::Int4(matrix) => matrix.widen(output, start, out),
        };
        out.iter_mut().skip(written).for_each(|value| *value = 0.0);
    }
}

impl Int4<'_> {
    #[inline(always)]
    fn widen(&self, output: usize, start: usize, out: &mut [f32]) -> usize {
        let (Some(nibbles), Some(scales)) = (self.nibbles.row(output), self.scales.row(output)) else {
            return 0;
        };
        let (bytes, _) = nibbles.as_chunks::<GROUP_BYTES>();
        let groups = bytes.iter().zip(scales).skip(start / GROUP);
        for ((bytes, scale), out) in groups.zip(out.chunks_mut(GROUP)) {
            let scale = scale.to_f32_lanes();
            let (low, high) = out.split_at_mut(GROUP_BYTES.min(out.len()));
            low.iter_mut().zip(bytes).for_each(|(out, byte)| *out = nibble(byte & 15) * scale);
            high.iter_mut().zip(bytes).for_each(|(out, byte)| *out = nibble(byte >> 4) * scale);
        }
        (scales.len() * GROUP).saturating_sub(start)
    }
}

/// What four bits stand for.
#[inline(always)]
fn nibble(bits: u8) -> f32 {
    f32::from(bits) - 8.0
}

#[inline(always)]
fn widen_row<E: Element>(row: Option<&[E]>, start: usize, out: &mut [f32]) -> usize {
    let values = row.and_then(|row| row.get(start..)).unwrap_or_default();
    out.iter_mut().zip(values).for_each(|(out, value)| *out = value.to_f32_lanes());
    values.len()
}

/// A number weights may be stored as; the conversion has no branch and no call, so that it vectorises.
pub(crate) trait Element: Copy {
    /// Exact.
    fn to_f32_lanes(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32_lanes(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32_lanes(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn to_f32_lanes(self) -> f32 {
        /// `2¹¹²`: the difference of the two formats' exponent bias.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
        // Infinity and NaN keep the highest exponent.
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

impl Element for i8 {
    #[inline(always)]
    fn to_f32_lanes(self) -> f32 {
        f32::from(self)
    }
}

/// The nearest `bf16`, ties to even; NaN stays NaN.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the upper half is taken after a shift")]
pub(crate) fn round_to_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let kept = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
    bf16::from_bits((kept >> 16) as u16)
}

/// `1.5 · 2²³`: adding it leaves no place for a fraction.
pub(crate) const SHIFT: f32 = 12_582_912.0;

/// The nearest integer, ties to even, for magnitudes below 2²².
#[inline(always)]
fn round_small(value: f32) -> f32 {
    (value + SHIFT) - SHIFT
}

/// [`round_small`] of a number within ±127, twice; without the conversion that saturates, which would not vectorise.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the integer stands in the low bits"
)]
pub(crate) fn round_to_i8(value: f32) -> (f32, i8) {
    let shifted = value + SHIFT;
    (shifted - SHIFT, shifted.to_bits() as i8)
}

/// What can be wrong with weights that are to be made narrow.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum WeightsError {
    /// A slice's length is not what the shape says.
    Shape(ShapeError),
    /// A weight is not finite, or too large for the scale's format.
    OutOfRange {
        /// The row.
        output: usize,
        /// The largest magnitude met.
        magnitude: f32,
    },
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::OutOfRange { output, magnitude } => {
                write!(
                    f,
                    "a weight of output {output} is {magnitude}, expected a number that the format holds"
                )
            }
        }
    }
}

impl core::error::Error for WeightsError {}

impl From<ShapeError> for WeightsError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

/// `weights` as int8: `scale = max |w| / 127` of the row, `value = round(w / scale)`, ties to even.
///
/// No weight moves by more than half a scale. A row of zeros has scale 0.
///
/// ```
/// # use mixlet_core::{matrix::{MatMut, MatRef}, weights::quantise_int8};
/// let (mut values, mut scales) = ([0; 3], [f32::NAN]);
/// quantise_int8(MatRef::new(&[1.27, -0.635, 0.004], 1, 3)?, MatMut::new(&mut values, 1, 3)?, &mut scales)?;
/// assert_eq!((values, scales), ([127, -64, 0], [0.01]));
/// # Ok::<(), mixlet_core::weights::WeightsError>(())
/// ```
#[allow(clippy::cast_possible_truncation, reason = "rounded values lie within ±127")]
pub fn quantise_int8(
    weights: MatRef<'_>,
    mut values: MatMut<'_, i8>,
    scales: &mut [f32],
) -> Result<(), WeightsError> {
    let shape = (weights.rows(), weights.columns());
    check_length("int8 rows", values.rows(), shape.0)?;
    check_length("an int8 row", values.columns(), shape.1)?;
    check_length("scales", scales.len(), shape.0)?;
    let rows = values.values().chunks_exact_mut(shape.1.max(1));
    for (output, ((row, out), scale)) in weights.each_row().zip(rows).zip(&mut *scales).enumerate() {
        let magnitude = largest(row, output)?;
        *scale = magnitude / 127.0;
        let inverse = if magnitude > 0.0 { 127.0 / magnitude } else { 0.0 };
        out.iter_mut().zip(row).for_each(|(out, weight)| *out = round_small(weight * inverse) as i8);
    }
    if shape.1 == 0 {
        scales.fill(0.0);
    }
    Ok(())
}

/// `weights` as int4: the weight of largest magnitude in a group of 32 becomes exactly −8 times the scale.
///
/// No weight moves by more than half a scale, except one opposite in sign to the largest, up to a whole one.
/// The scale is rounded to `f16` first. Columns must be a multiple of 32.
///
/// ```
/// # use mixlet_core::{matrix::{MatMut, MatRef}, weights::quantise_int4};
/// # use half::f16;
/// let mut weights = [0.0; 32];
/// (weights[0], weights[1], weights[16]) = (-4.0, 1.0, 2.0);
/// let (mut nibbles, mut scales) = ([0; 16], [f16::ZERO]);
/// let (to, scale) = (MatMut::new(&mut nibbles, 1, 16)?, MatMut::new(&mut scales, 1, 1)?);
/// quantise_int4(MatRef::new(&weights, 1, 32)?, to, scale)?;
/// assert_eq!((nibbles[0], nibbles[1], nibbles[2], scales[0].to_f32()), (0xc0, 0x8a, 0x88, 0.5));
/// # Ok::<(), mixlet_core::weights::WeightsError>(())
/// ```
pub fn quantise_int4(
    weights: MatRef<'_>,
    mut nibbles: MatMut<'_, u8>,
    mut scales: MatMut<'_, f16>,
) -> Result<(), WeightsError> {
    check_length("int4 rows", nibbles.rows(), weights.rows())?;
    check_length("int4 rows of scales", scales.rows(), weights.rows())?;
    check_length("a row for int4", weights.columns(), scales.columns() * GROUP)?;
    check_length("an int4 row", nibbles.columns(), scales.columns() * GROUP_BYTES)?;
    let groups_per_row = scales.columns().max(1);
    let (groups, _) = weights.values().as_chunks::<GROUP>();
    let (bytes, _) = nibbles.values().as_chunks_mut::<GROUP_BYTES>();
    for (index, ((group, bytes), scale)) in groups.iter().zip(bytes).zip(scales.values()).enumerate() {
        let output = index / groups_per_row;
        let magnitude = largest(group, output)?;
        let negative = group.iter().any(|&weight| weight == -magnitude);
        *scale = f16::from_f32(if negative { magnitude / 8.0 } else { magnitude / -8.0 });
        if !scale.is_finite() {
            return Err(WeightsError::OutOfRange { output, magnitude });
        }
        pack_group(group, scale.to_f32(), bytes);
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=15")]
fn pack_group(group: &[f32; GROUP], scale: f32, bytes: &mut [u8; GROUP_BYTES]) {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let nibble = |weight: &f32| (round_small((weight * inverse).clamp(-8.0, 7.0)) + 8.0) as u8;
    let (low, high) = group.split_at(GROUP_BYTES);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = nibble(low) | nibble(high) << 4;
    }
}

fn largest(weights: &[f32], output: usize) -> Result<f32, WeightsError> {
    // `max` would pass over a NaN.
    let larger = |most: f32, weight: &f32| if weight.abs() <= most { most } else { weight.abs() };
    let magnitude = weights.iter().fold(0.0, larger);
    let finite = magnitude.is_finite() && weights.iter().all(|weight| weight.is_finite());
    if finite { Ok(magnitude) } else { Err(WeightsError::OutOfRange { output, magnitude }) }
}

/// Any format as `f32`, `[outputs, inputs]`.
///
/// ```
/// # use mixlet_core::{matrix::{MatMut, MatRef}, weights::{Int8, Weights, dequantise}};
/// let weights = Weights::Int8(Int8::new(MatRef::new(&[4, -2], 1, 2)?, &[0.5])?);
/// let mut out = [f32::NAN; 2];
/// dequantise(weights, MatMut::new(&mut out, 1, 2)?)?;
/// assert_eq!(out, [2.0, -1.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn dequantise(weights: Weights<'_>, mut out: MatMut<'_>) -> Result<(), ShapeError> {
    check_length("the output, in rows,", out.rows(), weights.outputs())?;
    check_length("an output row", out.columns(), weights.inputs())?;
    let rows = out.values().chunks_exact_mut(weights.inputs().max(1));
    rows.enumerate().for_each(|(output, row)| weights.widen(output, 0, row));
    Ok(())
}
