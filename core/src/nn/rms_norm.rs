//! Root-mean-square normalisation: T5's layer norm, and that of most models since.
//!
//! QK norm is this over the rows of projected queries or keys: `rows = tokens · heads`, `width = head_dim` (Qwen3), or
//! `rows = tokens`, `width = heads · head_dim` (OLMoE).

use super::error::check_length;
use super::{NnError, Real};
use crate::lanes::dot;

/// Rows to normalise, each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormShape {
    /// Rows: tokens, or tokens times heads.
    pub rows: usize,
    /// Values in a row.
    pub width: usize,
}

impl NormShape {
    /// Values of all rows.
    pub fn len(&self) -> usize {
        self.rows * self.width
    }

    /// Whether there is nothing to normalise.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Settings of [`rms_norm_forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RmsNorm {
    /// Added to the mean square; 1e-6 in T5.
    pub epsilon: f64,
    /// Added to the weight: 0, or 1 where weights are stored as their difference from one (Gemma).
    pub weight_offset: f64,
}

impl Default for RmsNorm {
    /// T5's.
    fn default() -> Self {
        Self { epsilon: 1e-6, weight_offset: 0.0 }
    }
}

/// What [`rms_norm_backward`] needs of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct RmsNormCache<'a, R> {
    /// `[rows, width]`: the input.
    pub x: &'a [R],
    /// `[width]`.
    pub weight: &'a [R],
    /// `[rows]`: written by [`rms_norm_forward`].
    pub inverse_rms: &'a [R],
}

/// `out = x / √(mean x² + ε) · (weight + offset)`, row by row; `inverse_rms` `[rows]` is kept for the backward pass.
///
/// Zhang & Sennrich 2019. A row of zeros stays zero.
///
/// ```
/// # use mixlet_core::nn::{rms_norm_forward, NormShape, RmsNorm};
/// let (mut out, mut inverse_rms) = ([f64::NAN; 2], [f64::NAN]);
/// let norm = RmsNorm { epsilon: 0.0, weight_offset: 0.0 };
/// let shape = NormShape { rows: 1, width: 2 };
/// rms_norm_forward(norm, shape, &[1.0, 7.0], &[1.0, 10.0], &mut out, &mut inverse_rms)?;
/// assert_eq!(inverse_rms, [0.2]); // √((1 + 49) / 2) = 5
/// assert!((out[0] - 0.2).abs() < 1e-15 && (out[1] - 14.0).abs() < 1e-14);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn rms_norm_forward<R: Real>(
    norm: RmsNorm,
    shape: NormShape,
    x: &[R],
    weight: &[R],
    out: &mut [R],
    inverse_rms: &mut [R],
) -> Result<(), NnError> {
    check_length("norm input", x.len(), shape.len())?;
    check_length("norm weight", weight.len(), shape.width)?;
    check_length("norm output", out.len(), shape.len())?;
    check_length("inverse rms", inverse_rms.len(), shape.rows)?;
    let (width, offset) = (shape.width.max(1), R::from_f64(norm.weight_offset));
    for ((x, out), inverse) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(inverse_rms) {
        let mean_square = dot(x, x).to_f64() / width as f64;
        *inverse = R::from_f64(1.0 / libm::sqrt(mean_square + norm.epsilon));
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = *x * *inverse * (*weight + offset);
        }
    }
    Ok(())
}

/// The gradients of [`rms_norm_forward`]: `grad_x` is overwritten, `grad_weight` added to.
///
/// With `g = grad_out · (weight + offset)` and `r = inverse_rms`: `grad_x = r · (g − x · r² · mean(g·x))`,
/// `grad_weight += Σ_rows grad_out · x · r`.
///
/// ```
/// # use mixlet_core::nn::*;
/// let cache = RmsNormCache { x: &[3.0, 4.0], weight: &[1.0, 1.0], inverse_rms: &[0.5] };
/// let (mut grad_x, mut grad_weight) = ([f64::NAN; 2], [10.0, 10.0]);
/// let shape = NormShape { rows: 1, width: 2 };
/// rms_norm_backward(RmsNorm::default(), shape, cache, &[1.0, 0.0], &mut grad_x, &mut grad_weight)?;
/// assert_eq!((grad_x, grad_weight), ([-0.0625, -0.75], [11.5, 10.0]));
/// # Ok::<(), NnError>(())
/// ```
#[inline(always)]
pub fn rms_norm_backward<R: Real>(
    norm: RmsNorm,
    shape: NormShape,
    cache: RmsNormCache<'_, R>,
    grad_out: &[R],
    grad_x: &mut [R],
    grad_weight: &mut [R],
) -> Result<(), NnError> {
    check_length("norm input", cache.x.len(), shape.len())?;
    check_length("norm weight", cache.weight.len(), shape.width)?;
    check_length("inverse rms", cache.inverse_rms.len(), shape.rows)?;
    check_length("gradient of the norm output", grad_out.len(), shape.len())?;
    check_length("gradient of the norm input", grad_x.len(), shape.len())?;
    check_length("gradient of the norm weight", grad_weight.len(), shape.width)?;
    let (width, offset) = (shape.width.max(1), R::from_f64(norm.weight_offset));
    let rows = cache.x.chunks_exact(width).zip(grad_out.chunks_exact(width)).zip(cache.inverse_rms);
    for (((x, grad_out), inverse), grad_x) in rows.zip(grad_x.chunks_exact_mut(width)) {
        let r = *inverse;
        // g, and its product with x.
        for ((g, grad_out), weight) in grad_x.iter_mut().zip(grad_out).zip(cache.weight) {
            *g = *grad_out * (*weight + offset);
        }
        let mean = dot(grad_x, x) * R::from_f64(1.0 / width as f64);
        let along_x = r * r * mean;
        for ((grad, x), (grad_weight, grad_out)) in
            grad_x.iter_mut().zip(x).zip(grad_weight.iter_mut().zip(grad_out))
        {
            *grad = r * (*grad - *x * along_x);
            *grad_weight += *grad_out * *x * r;
        }
    }
    Ok(())
}
