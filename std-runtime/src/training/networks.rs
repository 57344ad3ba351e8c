//! Networks of one shape, each over its own run of rows, and their gradients: those of a mixture, or one alone.
//!
//! First rows in blocks, then weights in stretches of outputs, of all networks together. No sum is cut.

use mixlet_core::linear::Operands;
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    ExpertsError, FfnCache, HiddenGrads, ffn_backward_rows_scratch_len, ffn_scratch_len,
};
use rayon::prelude::*;

use super::linear::{add, cut};
use crate::linear::BLOCK_ROWS;
use crate::linear::memory::with_memory;
use crate::models::config::Network;
use crate::models::tensor::Linear;
use crate::models::weights::NetworkWeights;
use crate::simd::{FfnBackwardRows, HiddenForward, LinearForward, multiply};

/// Networks, and how many rows each has; runs lie in the order of the networks.
pub(super) struct Networks<'a> {
    pub network: &'a Network,
    /// Each network, and its number of rows.
    pub runs: Vec<(&'a NetworkWeights, usize)>,
}

/// What the gradients of networks need: `[rows, ffn_dim]` each.
pub(super) struct NetworksTape {
    /// What the activation is applied to beside `up`; empty without a gate.
    gate: Vec<f32>,
    /// The product with `up`.
    up: Vec<f32>,
    /// What the way back takes.
    hidden: Vec<f32>,
}

impl<'a> Networks<'a> {
    /// One network over all rows.
    pub fn one(network: &'a Network, weights: &'a NetworkWeights, rows: usize) -> Self {
        Self { network, runs: vec![(weights, rows)] }
    }

    /// Every network over its run of `x` `[rows, model_dim]`.
    pub fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, NetworksTape), ExpertsError> {
        let [gate_dim, ffn_dim, model_dim] = self.widths(x.len());
        let rows = self.rows();
        let mut out = vec![0.0; x.len()];
        let [mut gate, mut up, mut hidden] =
            [gate_dim, ffn_dim, ffn_dim].map(|width| vec![0.0; rows * width]);
        let mut left = (x, &mut out[..], &mut gate[..], &mut up[..], &mut hidden[..]);
        let mut blocks = Vec::new();
        for (weights, rows) in self.blocks() {
            let x = MatRef::new(left.0.split_off(..rows * model_dim).unwrap_or_default(), rows, model_dim)?;
            let out = first_rows(&mut left.1, rows, model_dim)?;
            let cache = FfnCache {
                gate: first_rows(&mut left.2, rows, gate_dim)?,
                up: first_rows(&mut left.3, rows, ffn_dim)?,
                hidden: first_rows(&mut left.4, rows, ffn_dim)?,
                dropout: None,
            };
            blocks.push((weights.get(self.network.kind)?, x, cache, out));
        }
        blocks.into_par_iter().with_max_len(1).try_for_each(|(ffn, x, mut cache, out)| {
            with_memory(0, ffn_scratch_len(ffn.shape(x.rows())), |_, mut scratch| {
                let (operands, own) = (Operands::Exact, cache.row_range(0..x.rows())?);
                multiply(HiddenForward {
                    inner: ffn.inner,
                    operands,
                    x,
                    cache: own,
                    scratch: scratch.lend(),
                })?;
                let x = cache.hidden.as_ref();
                multiply(LinearForward { linear: ffn.down, operands, x, out, scratch })
            })
        })?;
        Ok((out, NetworksTape { gate, up, hidden }))
    }

    /// The gradient of `x`; those of the networks are added to `grads`, one for each, unless frozen.
    pub fn backward(
        &self,
        x: &[f32],
        mut tape: NetworksTape,
        grad_out: &[f32],
        grads: Vec<&mut NetworkWeights>,
    ) -> Result<Vec<f32>, ExpertsError> {
        let [gate_dim, ffn_dim, model_dim] = self.widths(x.len());
        let mut grad_x = vec![0.0; x.len()];
        let [mut grad_gate, mut grad_up] = [gate_dim, ffn_dim].map(|width| vec![0.0; self.rows() * width]);
        self.rows_backward(&mut tape, grad_out, [&mut grad_gate, &mut grad_up, &mut grad_x])?;

        // Weights, from the gradients of hidden values.
        let mut stretches = Vec::new();
        let mut start = 0;
        for ((_, rows), grads) in self.runs.iter().zip(grads) {
            let [of_gate, of_hidden, of_x] =
                [gate_dim, ffn_dim, model_dim].map(|width| start * width..(start + rows) * width);
            let NetworkWeights { gate, up, down } = grads;
            let (x, hidden) = (&x[of_x.clone()], &tape.hidden[of_hidden.clone()]);
            let gate = gate.as_mut().map(|gate| (&grad_gate[of_gate], x, gate));
            let others = [(&grad_up[of_hidden], x, up), (&grad_out[of_x], hidden, down)];
            for (grad_out, x, Linear { matrix, bias }) in gate.into_iter().chain(others) {
                cut(grad_out, x, (matrix, bias.as_deref_mut()), &mut stretches)?;
            }
            start += rows;
        }
        Ok(add(stretches).map(|()| grad_x)?)
    }

    /// Gradients of rows and of their hidden values.
    fn rows_backward(
        &self,
        tape: &mut NetworksTape,
        mut grad_out: &[f32],
        [grad_gate, grad_up, grad_x]: [&mut [f32]; 3],
    ) -> Result<(), ExpertsError> {
        let [gate_dim, ffn_dim, model_dim] = self.widths(grad_out.len());
        let mut kept = (&mut tape.gate[..], &mut tape.up[..]);
        let mut left = (grad_gate, grad_up, grad_x);
        let mut blocks = Vec::new();
        for (weights, rows) in self.blocks() {
            let grad_out = grad_out.split_off(..rows * model_dim).unwrap_or_default();
            let cache = FfnCache {
                gate: first_rows(&mut kept.0, rows, gate_dim)?,
                up: first_rows(&mut kept.1, rows, ffn_dim)?,
                hidden: MatMut::new(&mut [], rows, 0)?,
                dropout: None,
            };
            let gate = first_rows(&mut left.0, rows, gate_dim)?.into_values();
            let hidden = HiddenGrads { gate, up: first_rows(&mut left.1, rows, ffn_dim)? };
            let grad_x = first_rows(&mut left.2, rows, model_dim)?;
            let grad_out = MatRef::new(grad_out, rows, model_dim)?;
            blocks.push((weights.get(self.network.kind)?, cache, grad_out, hidden, grad_x));
        }
        blocks.into_par_iter().with_max_len(1).try_for_each(|(ffn, cache, grad_out, hidden, grad_x)| {
            let len = ffn_backward_rows_scratch_len(ffn.shape(grad_out.rows()));
            with_memory(0, len, |_, scratch| {
                multiply(FfnBackwardRows { ffn, cache, grad_out, hidden, grad_x, scratch })
            })
        })?;
        Ok(())
    }

    fn rows(&self) -> usize {
        self.runs.iter().map(|(_, rows)| rows).sum()
    }

    /// The widths of gate, hidden values and rows, of so many values in all rows.
    fn widths(&self, values: usize) -> [usize; 3] {
        let ffn_dim = self.network.ffn_dim;
        let gate_dim = if self.network.kind.is_gated() { ffn_dim } else { 0 };
        [gate_dim, ffn_dim, values / self.rows().max(1)]
    }

    /// Runs in blocks of rows.
    fn blocks(&self) -> impl Iterator<Item = (&'a NetworkWeights, usize)> {
        self.runs.iter().flat_map(|(weights, rows)| {
            (0..*rows).step_by(BLOCK_ROWS).map(move |start| (*weights, BLOCK_ROWS.min(rows - start)))
        })
    }
}

/// Cuts rows off the start of values.
fn first_rows<'a>(values: &mut &'a mut [f32], rows: usize, columns: usize) -> Result<MatMut<'a>, ShapeError> {
    MatMut::new(values.split_off_mut(..rows * columns).unwrap_or_default(), rows, columns)
}
