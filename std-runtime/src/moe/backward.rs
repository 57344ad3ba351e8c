//! Gradients of experts over several threads.
//!
//! First rows in blocks: each has its own gradients. Then weights in stretches of outputs: each adds up the rows of its
//! expert's run in order. No sum is cut, so the bits are those of one thread.

use std::mem::take;
use std::ops::Range;

use mixlet_core::linear::{LinearShape, linear_backward_weights_scratch_len};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    Experts, ExpertsError, ExpertsGrads, FfnBackward, FfnCache, GroupedRows, HiddenGrads, LinearGrads,
    ffn_backward_rows_scratch_len,
};
use rayon::prelude::*;

use crate::linear::BLOCK_ROWS;
use crate::linear::memory::with_memory;
use crate::simd::{FfnBackwardRows, LinearBackwardWeights, multiply};

/// Outputs of a stretch of weights.
const STRETCH: usize = 256;

/// Gradients of every expert over its run of rows: [`experts_backward`](mixlet_core::moe::experts::experts_backward) over threads.
///
/// Gradients of weights are added to, `grad_x` `[R, model_dim]` is written whole; without `grads` all experts are frozen.
pub fn experts_backward(
    experts: Experts<'_>,
    rows: GroupedRows<'_>,
    given: FfnBackward<'_>,
    grads: Option<ExpertsGrads<'_>>,
    grad_x: MatMut<'_>,
) -> Result<(), ExpertsError> {
    let FfnBackward { x, mut cache, grad_out } = given;
    let (all, ffn_dim) = (x.rows(), experts.ffn_dim());
    rows.check(&experts)?;
    for matrix in [x, rows.rows(), grad_out] {
        MatRef::new(matrix.values(), rows.rows().rows(), experts.model_dim())?;
    }
    let gate_dim = if experts.kind().is_gated() { ffn_dim } else { 0 };
    let (mut grad_gate, mut grad_up) = (vec![0.0; all * gate_dim], vec![0.0; all * ffn_dim]);
    let hidden = HiddenGrads { gate: &mut grad_gate, up: MatMut::new(&mut grad_up, all, ffn_dim)? };
    rows_backward(experts, rows, cache.row_range(0..all)?, grad_out, hidden, grad_x)?;

    let Some(ExpertsGrads { all: grads, frozen }) = grads else { return Ok(()) };
    if !frozen.is_empty() && frozen.len() != experts.count() {
        let (found, expected) = (frozen.len(), experts.count());
        return Err(ShapeError::Length { what: "frozen", found, expected }.into());
    }
    let runs = rows.runs().zip(frozen.iter().chain(std::iter::repeat(&false)));
    let runs: Vec<_> = runs.map(|(run, frozen)| if *frozen { 0..0 } else { run }).collect();
    let grad_up = MatRef::new(&grad_up, all, ffn_dim)?;
    let mut stretches = Vec::new();
    cut(grads.down, grad_out, cache.hidden.as_ref(), &runs, &mut stretches)?;
    cut(grads.up, grad_up, x, &runs, &mut stretches)?;
    if let Some(gate) = grads.gate {
        cut(gate, MatRef::new(&grad_gate, all, gate_dim)?, x, &runs, &mut stretches)?;
    }
    Ok(stretches.into_par_iter().with_max_len(1).try_for_each(Stretch::add)?)
}

/// Gradients of rows and of their hidden values.
fn rows_backward(
    experts: Experts<'_>,
    rows: GroupedRows<'_>,
    cache: FfnCache<'_>,
    grad_out: MatRef<'_>,
    hidden: HiddenGrads<'_>,
    grad_x: MatMut<'_>,
) -> Result<(), ShapeError> {
    let (all, model_dim) = (grad_out.rows(), experts.model_dim());
    let grad_x = MatMut::new(grad_x.into_values(), all, model_dim)?;
    let (mut gates, mut ups) = (Cut::new(cache.gate, all)?, Cut::new(cache.up, all)?);
    let gate_dim = gates.columns;
    let mut grad_gates = Cut::new(MatMut::new(hidden.gate, all, gate_dim)?, all)?;
    let (mut grad_ups, mut grad_xs) = (Cut::new(hidden.up, all)?, Cut::new(grad_x, all)?);
    let mut blocks = Vec::new();
    for (expert, run) in rows.runs().enumerate() {
        for start in run.clone().step_by(BLOCK_ROWS) {
            let block = start..run.end.min(start + BLOCK_ROWS);
            let cache = FfnCache {
                gate: gates.next(block.len())?,
                up: ups.next(block.len())?,
                hidden: MatMut::new(&mut [], block.len(), 0)?,
                dropout: cache.dropout.map(|mask| mask.row_range(block.clone())).transpose()?,
            };
            let grads =
                (grad_gates.next(block.len())?, grad_ups.next(block.len())?, grad_xs.next(block.len())?);
            blocks.push((experts.expert(expert)?, cache, grad_out.row_range(block)?, grads));
        }
    }
    blocks.into_par_iter().with_max_len(1).try_for_each(|(ffn, cache, grad_out, (gate, up, grad_x))| {
        let scratch_len = ffn_backward_rows_scratch_len(experts.shape(grad_out.rows()));
        with_memory(0, scratch_len, |_, scratch| {
            let hidden = HiddenGrads { gate: gate.into_values(), up };
            multiply(FfnBackwardRows { ffn, cache, grad_out, hidden, grad_x, scratch })
        })
    })
}

/// A matrix of which rows are cut off from the start.
struct Cut<'a> {
    values: &'a mut [f32],
    columns: usize,
}

impl<'a> Cut<'a> {
    fn new(matrix: MatMut<'a>, rows: usize) -> Result<Self, ShapeError> {
        let columns = matrix.columns();
        Ok(Self { values: MatMut::new(matrix.into_values(), rows, columns)?.into_values(), columns })
    }

    fn next(&mut self, rows: usize) -> Result<MatMut<'a>, ShapeError> {
        let (own, rest) = take(&mut self.values).split_at_mut(rows * self.columns);
        self.values = rest;
        MatMut::new(own, rows, self.columns)
    }
}

/// Some outputs of one expert's matrix, and the rows whose gradients are added.
struct Stretch<'a> {
    grad_out: MatRef<'a>,
    x: MatRef<'a>,
    outputs: Range<usize>,
    weights: MatMut<'a>,
    bias: Option<MatMut<'a>>,
}

/// The stretches of one stacked matrix; experts without rows have none.
fn cut<'a>(
    grads: LinearGrads<'a>,
    grad_out: MatRef<'a>,
    x: MatRef<'a>,
    runs: &[Range<usize>],
    stretches: &mut Vec<Stretch<'a>>,
) -> Result<(), ShapeError> {
    let (outputs, stacked) = (grad_out.columns(), runs.len() * grad_out.columns());
    let mut weights = Cut::new(MatMut::new(grads.weights.into_values(), stacked, x.columns())?, stacked)?;
    let bias = grads.bias.map(|bias| Cut::new(MatMut::new(bias, stacked, 1)?, stacked));
    let mut bias = bias.transpose()?;
    for run in runs {
        for start in (0..outputs).step_by(STRETCH) {
            let outputs = start..outputs.min(start + STRETCH);
            let weights = weights.next(outputs.len())?;
            let bias = bias.as_mut().map(|bias| bias.next(outputs.len())).transpose()?;
            if !run.is_empty() {
                let (grad_out, x) = (grad_out.row_range(run.clone())?, x.row_range(run.clone())?);
                stretches.push(Stretch { grad_out, x, outputs, weights, bias });
            }
        }
    }
    Ok(())
}

impl Stretch<'_> {
    fn add(self) -> Result<(), ShapeError> {
        let Self { grad_out, x, outputs, weights, bias } = self;
        if let Some(bias) = bias {
            let bias = bias.into_values();
            for row in grad_out.each_row() {
                bias.iter_mut().zip(&row[outputs.clone()]).for_each(|(sum, grad)| *sum += grad);
            }
        }
        let shape = LinearShape { rows: x.rows(), inputs: x.columns(), outputs: outputs.len() };
        with_memory(0, linear_backward_weights_scratch_len(shape), |_, scratch| {
            multiply(LinearBackwardWeights { grad_out, x, outputs, grad_weights: weights, scratch })
        })
    }
}
