//! Norms whose inputs are kept, and their gradients.

use mixlet_core::nn::{LayerNorm, LayerNormCache, LayerNormGrads, NnError, NormShape, RmsNorm, RmsNormCache};
use rayon::prelude::*;

use super::kernels::{LayerNormBackward, RmsNormBackward};
use crate::models::config::Norm;
use crate::models::forward::kernels::{LayerNormForward, RmsNormForward};
use crate::simd::wide;

/// Rows of a block: each has its own sum of the parameters' gradients, and the sums are added in order.
const BLOCK_ROWS: usize = 64;

/// A norm and its parameters.
#[derive(Clone, Copy)]
pub(super) struct Scale<'a> {
    pub kind: Norm,
    /// `[width]`.
    pub weight: &'a [f32],
    /// `[width]`; empty where there is none.
    pub bias: &'a [f32],
}

/// What the gradient of a norm needs.
pub(super) struct NormTape {
    /// `[rows, width]`.
    x: Vec<f32>,
    /// `[rows]`: not written where the kind of norm takes no mean.
    means: Vec<f32>,
    /// `[rows]`: one over the root mean square, or over the deviation.
    inverses: Vec<f32>,
}

impl<'a> Scale<'a> {
    /// By the root mean square.
    pub fn rms(epsilon: f64, weight: &'a [f32]) -> Self {
        Self { kind: Norm::Rms { epsilon }, weight, bias: &[] }
    }

    /// Every row of `x` normalised.
    pub fn forward(&self, x: Vec<f32>) -> Result<(Vec<f32>, NormTape), NnError> {
        let width = self.weight.len().max(1);
        let (rows, mut out) = (x.len() / width, vec![0.0; x.len()]);
        let (mut means, mut inverses) = (vec![0.0; rows], vec![0.0; rows]);
        let facts = means.par_chunks_mut(BLOCK_ROWS).zip(inverses.par_chunks_mut(BLOCK_ROWS));
        let values = x.par_chunks(BLOCK_ROWS * width).zip(out.par_chunks_mut(BLOCK_ROWS * width));
        values.zip(facts).try_for_each(|((x, out), (mean, inverse))| {
            let shape = NormShape { rows: mean.len(), width };
            match self.kind {
                Norm::Rms { epsilon } => {
                    let norm = RmsNorm { epsilon, weight_offset: 0.0 };
                    let weight = self.weight;
                    wide(RmsNormForward { norm, shape, x, weight, out, inverse_rms: inverse })
                }
                Norm::Layer { epsilon } => {
                    let norm = LayerNorm { weight: self.weight, bias: self.bias, epsilon };
                    wide(LayerNormForward { norm, shape, x, out, mean, inverse_deviation: inverse })
                }
            }
        })?;
        Ok((out, NormTape { x, means, inverses }))
    }

    /// The gradient of the input; those of the parameters are added to `weight` and `bias` unless these are empty.
    pub fn backward(
        &self,
        tape: &NormTape,
        grad_out: &[f32],
        (weight, bias): (&mut [f32], &mut [f32]),
    ) -> Result<Vec<f32>, NnError> {
        let width = self.weight.len().max(1);
        let mut grad_x = vec![0.0; grad_out.len()];
        let mut sums = vec![0.0; tape.inverses.len().div_ceil(BLOCK_ROWS) * 2 * width];
        let facts = tape.means.par_chunks(BLOCK_ROWS).zip(tape.inverses.par_chunks(BLOCK_ROWS));
        let values = tape.x.par_chunks(BLOCK_ROWS * width).zip(grad_out.par_chunks(BLOCK_ROWS * width));
        let grads = grad_x.par_chunks_mut(BLOCK_ROWS * width).zip(sums.par_chunks_mut(2 * width));
        values.zip(facts).zip(grads).try_for_each(|(((x, grad_out), (mean, inverse)), (grad_x, sums))| {
            let (grad_weight, grad_bias) = sums.split_at_mut(width);
            let shape = NormShape { rows: mean.len(), width };
            match self.kind {
                Norm::Rms { epsilon } => {
                    let norm = RmsNorm { epsilon, weight_offset: 0.0 };
                    let cache = RmsNormCache { x, weight: self.weight, inverse_rms: inverse };
                    wide(RmsNormBackward { norm, shape, cache, grad_out, grad_x, grad_weight })
                }
                Norm::Layer { epsilon } => {
                    let norm = LayerNorm { weight: self.weight, bias: self.bias, epsilon };
                    let cache = LayerNormCache { x, mean, inverse_deviation: inverse };
                    let grads = LayerNormGrads { x: grad_x, weight: grad_weight, bias: grad_bias };
                    wide(LayerNormBackward { norm, shape, cache, grad_out, grads })
                }
            }
        })?;
        for sums in sums.chunks_exact(2 * width) {
            let (of_weight, of_bias) = sums.split_at(width);
            weight.iter_mut().zip(of_weight).for_each(|(sum, grad)| *sum += grad);
            bias.iter_mut().zip(of_bias).for_each(|(sum, grad)| *sum += grad);
        }
        Ok(grad_x)
    }
}
