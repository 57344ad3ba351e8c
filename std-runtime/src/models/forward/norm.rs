//! Norms over several threads.

use mixlet_core::linear::ScratchLen;
use mixlet_core::nn::{LayerNorm, NnError, NormShape, RmsNorm};
use rayon::prelude::*;

use super::kernels::{LayerNormForward, RmsNormForward};
use crate::linear::memory::with_memory;
use crate::models::config::Norm;
use crate::models::weights::NormWeights;
use crate::simd::wide;

/// Rows that a thread takes at once.
const BLOCK_ROWS: usize = 64;

/// Every row of `x` normalised, into `out`.
pub(super) fn norm(kind: Norm, weights: &NormWeights, x: &[f32], out: &mut [f32]) -> Result<(), NnError> {
    let width = weights.weight.len().max(1);
    let blocks = x.par_chunks(BLOCK_ROWS * width).zip(out.par_chunks_mut(BLOCK_ROWS * width));
    blocks.try_for_each(|(x, out)| {
        let shape = NormShape { rows: x.len() / width, width };
        with_memory(2 * shape.rows, ScratchLen::default(), |facts, _| match kind {
            Norm::Rms { epsilon } => wide(RmsNormForward {
                norm: RmsNorm { epsilon, weight_offset: 0.0 },
                shape,
                x,
                weight: &weights.weight,
                out,
                inverse_rms: &mut facts[..shape.rows],
            }),
            Norm::Layer { epsilon } => {
                let (mean, inverse_deviation) = facts.split_at_mut(shape.rows);
                let norm = LayerNorm { weight: &weights.weight, bias: &weights.bias, epsilon };
                wide(LayerNormForward { norm, shape, x, out, mean, inverse_deviation })
            }
        })
    })
}

/// Every row of `x` in place, by its root mean square; `spare` is memory.
pub(super) fn rms_norm_in_place(
    epsilon: f64,
    weight: &[f32],
    x: &mut [f32],
    spare: &mut Vec<f32>,
) -> Result<(), NnError> {
    spare.clear();
    spare.extend_from_slice(x);
    let shape = NormShape { rows: x.len() / weight.len().max(1), width: weight.len() };
    with_memory(shape.rows, ScratchLen::default(), |inverse_rms, _| {
        let norm = RmsNorm { epsilon, weight_offset: 0.0 };
        wide(RmsNormForward { norm, shape, x: spare, weight, out: x, inverse_rms })
    })
}
