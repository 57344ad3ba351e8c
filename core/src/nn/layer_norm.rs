//! Layer normalisation with weight and bias.

use super::error::check_length;
use super::{NnError, NormShape, Real};
use crate::lanes::{sum_of, sum_of_pairs};

/// The parameters of a layer norm.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a, R> {
    /// `[width]`.
    pub weight: &'a [R],
    /// `[width]`.
    pub bias: &'a [R],
    /// Added to the variance; 1e-5 in most models.
    pub epsilon: f64,
}

/// What [`layer_norm_backward`] needs of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormCache<'a, R> {
    /// `[rows, width]`: the input.
    pub x: &'a [R],
    /// `[rows]`: written by [`layer_norm_forward`].
    pub mean: &'a [R],
    /// `[rows]`: `1 / √(variance + ε)`, written by [`layer_norm_forward`].
    pub inverse_deviation: &'a [R],
}

/// The gradients of a layer norm.
#[derive(Debug)]
pub struct LayerNormGrads<'a, R> {
    /// `[rows, width]`: overwritten.
    pub x: &'a mut [R],
    /// `[width]`: added to.
    pub weight: &'a mut [R],
    /// `[width]`: added to.
    pub bias: &'a mut [R],
}

/// `out = (x − mean) / √(variance + ε) · weight + bias`, row by row, with the variance over `width`.
///
/// `mean` and `inverse_deviation` `[rows]` are kept for the backward pass. Ba, Kiros & Hinton 2016. A constant row
/// gives the bias.
///
/// ```
/// # use mixlet_core::nn::{layer_norm_forward, LayerNorm, NormShape};
/// let norm = LayerNorm { weight: &[2.0, 2.0], bias: &[0.5, 0.5], epsilon: 0.0 };
/// let (mut out, mut mean, mut inverse_deviation) = ([f64::NAN; 2], [f64::NAN], [f64::NAN]);
/// let shape = NormShape { rows: 1, width: 2 };
/// layer_norm_forward(norm, shape, &[1.0, 5.0], &mut out, &mut mean, &mut inverse_deviation)?;
/// assert_eq!((out, mean, inverse_deviation), ([-1.5, 2.5], [3.0], [0.5]));
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn layer_norm_forward<R: Real>(
    norm: LayerNorm<'_, R>,
    shape: NormShape,
    x: &[R],
    out: &mut [R],
    mean: &mut [R],
    inverse_deviation: &mut [R],
) -> Result<(), NnError> {
    check(&norm, shape, LayerNormCache { x, mean, inverse_deviation })?;
    check_length("norm output", out.len(), shape.len())?;
    let width = shape.width.max(1);
    let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
    for ((x, out), (mean, inverse)) in rows.zip(mean.iter_mut().zip(inverse_deviation)) {
        *mean = R::from_f64(sum_of(x, |x| x).to_f64() / width as f64);
        let square = |x: R| (x - *mean) * (x - *mean);
        let variance = sum_of(x, square).to_f64() / width as f64;
        *inverse = R::from_f64(1.0 / libm::sqrt(variance + norm.epsilon));
        for ((out, x), (weight, bias)) in out.iter_mut().zip(x).zip(norm.weight.iter().zip(norm.bias)) {
            *out = (*x - *mean) * *inverse * *weight + *bias;
        }
    }
    Ok(())
}

/// The gradients of [`layer_norm_forward`].
///
/// With `n = (x − mean) · r`, `r` the inverse deviation and `g = grad_out · weight`:
/// `grad_x = r · (g − mean(g) − n · mean(g·n))`, `grad_weight += Σ_rows grad_out · n`, `grad_bias += Σ_rows grad_out`.
///
/// ```
/// # use mixlet_core::nn::*;
/// let norm = LayerNorm { weight: &[1.0, 1.0], bias: &[0.0, 0.0], epsilon: 0.0 };
/// let cache = LayerNormCache { x: &[1.0, 3.0], mean: &[2.0], inverse_deviation: &[1.0] };
/// let (mut x, mut weight, mut bias) = ([f64::NAN; 2], [10.0, 10.0], [0.0; 2]);
/// let grads = LayerNormGrads { x: &mut x, weight: &mut weight, bias: &mut bias };
/// layer_norm_backward(norm, NormShape { rows: 1, width: 2 }, cache, &[1.0, 0.0], grads)?;
/// assert_eq!((x, weight, bias), ([0.0, 0.0], [9.0, 10.0], [1.0, 0.0])); // two values are always −1 and 1
/// # Ok::<(), NnError>(())
/// ```
#[inline(always)]
pub fn layer_norm_backward<R: Real>(
    norm: LayerNorm<'_, R>,
    shape: NormShape,
    cache: LayerNormCache<'_, R>,
    grad_out: &[R],
    grads: LayerNormGrads<'_, R>,
) -> Result<(), NnError> {
    check(&norm, shape, cache)?;
    check_length("gradient of the norm output", grad_out.len(), shape.len())?;
    check_length("gradient of the norm input", grads.x.len(), shape.len())?;
    check_length("gradient of the norm weight", grads.weight.len(), shape.width)?;
    check_length("gradient of the norm bias", grads.bias.len(), shape.width)?;
    let width = shape.width.max(1);
    let share = R::from_f64(1.0 / width as f64);
    let rows = cache.x.chunks_exact(width).zip(grad_out.chunks_exact(width));
    let facts = cache.mean.iter().zip(cache.inverse_deviation);
    for (((x, grad_out), grad_x), (mean, r)) in rows.zip(grads.x.chunks_exact_mut(width)).zip(facts) {
        let (mean, r) = (*mean, *r);
        for ((g, grad_out), weight) in grad_x.iter_mut().zip(grad_out).zip(norm.weight) {
            *g = *grad_out * *weight;
        }
        let mean_g = sum_of(grad_x, |g| g) * share;
        let along_n = sum_of_pairs(grad_x, x, |g, x| g * (x - mean)) * r * share;
        let parameters = grads.weight.iter_mut().zip(grads.bias.iter_mut());
        for (((grad, x), grad_out), (weight, bias)) in grad_x.iter_mut().zip(x).zip(grad_out).zip(parameters)
        {
            let n = (*x - mean) * r;
            *grad = r * (*grad - mean_g - n * along_n);
            *weight += *grad_out * n;
            *bias += *grad_out;
        }
    }
    Ok(())
}

fn check<R>(norm: &LayerNorm<'_, R>, shape: NormShape, cache: LayerNormCache<'_, R>) -> Result<(), NnError> {
    check_length("norm input", cache.x.len(), shape.len())?;
    check_length("norm weight", norm.weight.len(), shape.width)?;
    check_length("norm bias", norm.bias.len(), shape.width)?;
    check_length("means", cache.mean.len(), shape.rows)?;
    check_length("inverse deviations", cache.inverse_deviation.len(), shape.rows)
}
