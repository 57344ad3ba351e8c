//! Gradients of experts: of their weights (added to), of their rows (overwritten).

use core::ops::Range;

use super::{Experts, ExpertsError, Ffn, FfnCache, FfnShape, GroupedRows, hidden};
use crate::linear::{
    Arith, Scratch, ScratchLen, Write, linear_backward_bias, linear_backward_input,
    linear_backward_input_scratch_len, linear_backward_weights, linear_backward_weights_scratch_len,
};
use crate::matrix::{MatMut, MatRef, ShapeError, check_length};

/// Gradients of a matrix and its bias.
#[derive(Debug)]
pub struct LinearGrads<'a> {
    /// `[outputs, inputs]`.
    pub weights: MatMut<'a>,
    /// `[outputs]`, if there is a bias.
    pub bias: Option<&'a mut [f32]>,
}

/// Gradients of one network.
#[derive(Debug)]
pub struct FfnGrads<'a> {
    /// If there is a gate matrix.
    pub gate: Option<LinearGrads<'a>>,
    /// Of up.
    pub up: LinearGrads<'a>,
    /// Of down.
    pub down: LinearGrads<'a>,
}

/// Gradients of all experts, stacked as their weights are.
#[derive(Debug)]
pub struct ExpertsGrads<'a> {
    /// `[E · …]`.
    pub all: FfnGrads<'a>,
    /// `[E]`: experts whose weights stay as they are, or empty if all learn.
    pub frozen: &'a [bool],
}

/// What a backward starts from.
#[derive(Debug)]
pub struct FfnBackward<'a> {
    /// The rows that forward had.
    pub x: MatRef<'a>,
    /// What forward left.
    pub cache: FfnCache<'a>,
    /// `[rows, model_dim]`.
    pub grad_out: MatRef<'a>,
}

/// What backward makes of one network's hidden values: `[rows, ffn_dim]` each.
#[derive(Debug)]
pub struct HiddenGrads<'a> {
    /// Of the product with gate; not looked at where there is none.
    pub gate: &'a mut [f32],
    /// Of the product with up.
    pub up: MatMut<'a>,
}

/// The memory [`ffn_backward_rows`] works in.
pub fn ffn_backward_rows_scratch_len(shape: FfnShape) -> ScratchLen {
    linear_backward_input_scratch_len(shape.up()).max(linear_backward_input_scratch_len(shape.down()))
}

/// Gradients of one network's rows and, on the way, of its hidden values; those of the weights follow from the latter.
///
/// Of the cache only the products before the activation are looked at. A row's gradients do not depend on the others.
#[inline(always)]
pub fn ffn_backward_rows<A: Arith>(
    ffn: Ffn<'_>,
    mut cache: FfnCache<'_>,
    grad_out: MatRef<'_>,
    grads: HiddenGrads<'_>,
    mut grad_x: MatMut<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let (rows, ffn_dim) = (grad_out.rows(), ffn.inner.ffn_dim());
    let HiddenGrads { gate: grad_gate, up: mut grad_up } = grads;

    // Down: from the output's gradient to that of the hidden values.
    let down = ffn.down.weights();
    linear_backward_input::<A>(down, grad_out, grad_up.as_mut(), Write::Overwrite, scratch.lend())?;
    if let Some(mask) = cache.dropout {
        grad_up.values().iter_mut().zip(mask.values()).for_each(|(grad, kept)| *grad *= kept);
    }
    // The activation.
    hidden::backward(ffn.inner.kind, cache.gate.values(), cache.up.values(), grad_gate, grad_up.values());
    // Up and gate.
    let up = ffn.inner.up.weights();
    linear_backward_input::<A>(up, grad_up.as_ref(), grad_x.as_mut(), Write::Overwrite, scratch.lend())?;
    let Some(gate) = ffn.inner.gate else { return Ok(()) };
    let grad_gate = MatRef::new(grad_gate, rows, ffn_dim)?;
    linear_backward_input::<A>(gate.weights(), grad_gate, grad_x, Write::Add, scratch)
}

/// The memory [`ffn_backward`] works in; with the rows of the longest run, [`experts_backward`] too.
pub fn ffn_backward_scratch_len(shape: FfnShape) -> ScratchLen {
    let weights = [shape.up(), shape.down()].map(|shape| linear_backward_weights_scratch_len(shape).floats);
    let products = weights.into_iter().max().unwrap_or(0).max(ffn_backward_rows_scratch_len(shape).floats);
    ScratchLen { floats: products + 2 * shape.rows * shape.ffn_dim, ..ScratchLen::default() }
}

/// Gradients of one network; without `grads` it is frozen, and the work for its weights is not done.
///
/// Products are those of [`Operands::Exact`](crate::linear::Operands::Exact), whatever forward rounded.
///
/// ```
/// # use mixlet_core::{activation::Activation, linear::*, matrix::*, moe::experts::*, weights::Weights};
/// // One value in, one hidden, one out: 3 · max(2 · x, 0) at x = 1.
/// let (up, down) = (MatRef::new(&[2.0], 1, 1)?, MatRef::new(&[3.0], 1, 1)?);
/// let [up, down] = [up, down].map(|weights| Linear::new(Weights::F32(weights)));
/// let experts = Experts::new(1, FfnKind::Plain(Activation::Relu), None, up, down)?;
/// let (mut memory, mut floats, mut out) = ([f32::NAN; 2], [0.0; 256], [f32::NAN]);
/// let mut scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
/// let one = MatRef::new(&[1.0], 1, 1)?;
/// let mut cache = FfnCache::new(experts.shape(1), &mut memory)?;
/// let ffn = experts.expert(0)?;
/// let matrix = MatMut::new(&mut out, 1, 1)?;
/// ffn_forward::<Plain>(ffn, Operands::Exact, one, cache.row_range(0..1)?, matrix, scratch.lend())?;
/// let mut grad_x = [f32::NAN];
/// let given = FfnBackward { x: one, cache, grad_out: one };
/// ffn_backward::<Plain>(ffn, given, None, MatMut::new(&mut grad_x, 1, 1)?, scratch)?;
/// assert_eq!((out, grad_x), ([6.0], [6.0]));
/// # Ok::<(), ExpertsError>(())
/// ```
#[inline(always)]
pub fn ffn_backward<A: Arith>(
    ffn: Ffn<'_>,
    given: FfnBackward<'_>,
    grads: Option<FfnGrads<'_>>,
    grad_x: MatMut<'_>,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let FfnBackward { x, mut cache, grad_out } = given;
    let (rows, ffn_dim) = (x.rows(), ffn.inner.ffn_dim());
    let shape = FfnShape { rows, model_dim: x.columns(), ffn_dim, gated: ffn.inner.gate.is_some() };
    scratch.check(ffn_backward_scratch_len(shape))?;
    let (grad_up, rest) = scratch.floats.split_at_mut_checked(rows * ffn_dim).unwrap_or_default();
    let (grad_gate, floats) = rest.split_at_mut_checked(rows * ffn_dim).unwrap_or_default();
    let mut scratch = Scratch { floats, ..scratch };
    let mut grad_up = MatMut::new(grad_up, rows, ffn_dim)?;
    let hidden = HiddenGrads { gate: grad_gate, up: grad_up.as_mut() };
    ffn_backward_rows::<A>(ffn, cache.row_range(0..rows)?, grad_out, hidden, grad_x, scratch.lend())?;
    let Some(FfnGrads { gate, up, down }) = grads else { return Ok(()) };
    add::<A>(grad_out, cache.hidden.as_ref(), down, scratch.lend())?;
    add::<A>(grad_up.as_ref(), x, up, scratch.lend())?;
    let grad_gate = MatRef::new(grad_gate, rows, ffn_dim)?;
    gate.map_or(Ok(()), |gate| add::<A>(grad_gate, x, gate, scratch))
}

#[inline(always)]
fn add<A: Arith>(
    grad_out: MatRef<'_>,
    x: MatRef<'_>,
    grads: LinearGrads<'_>,
    scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    linear_backward_weights::<A>(grad_out, x, grads.weights, scratch)?;
    grads.bias.map_or(Ok(()), |bias| linear_backward_bias(grad_out, bias))
}

/// Gradients of every expert over its run of rows; without `grads` all are frozen.
///
/// `given` holds all `R` rows, `grad_x` `[R, model_dim]` is written whole.
///
/// ```
/// # use mixlet_core::{activation::Activation, linear::*, matrix::*, moe::experts::*, weights::Weights};
/// // One value in, one hidden, one out: 3 · max(2 · x, 0) at x = 1.
/// let (up, down) = (MatRef::new(&[2.0], 1, 1)?, MatRef::new(&[3.0], 1, 1)?);
/// let [up, down] = [up, down].map(|weights| Linear::new(Weights::F32(weights)));
/// let experts = Experts::new(1, FfnKind::Plain(Activation::Relu), None, up, down)?;
/// let (mut memory, mut floats, mut out) = ([f32::NAN; 2], [0.0; 256], [f32::NAN]);
/// let mut scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
/// let one = MatRef::new(&[1.0], 1, 1)?;
/// let mut cache = FfnCache::new(experts.shape(1), &mut memory)?;
/// let rows = GroupedRows::new(one, &[0, 1])?;
/// let matrix = MatMut::new(&mut out, 1, 1)?;
/// experts_forward::<Plain>(experts, Operands::Exact, rows, cache.row_range(0..1)?, matrix, scratch.lend())?;
/// let (mut grad_x, mut grad_up, mut grad_down) = ([f32::NAN], [10.0], [10.0]);
/// let [up, down] = [&mut grad_up, &mut grad_down].map(|grads| MatMut::new(grads, 1, 1));
/// let up = LinearGrads { weights: up?, bias: None };
/// let down = LinearGrads { weights: down?, bias: None };
/// let grads = ExpertsGrads { all: FfnGrads { gate: None, up, down }, frozen: &[] };
/// let given = FfnBackward { x: one, cache, grad_out: one };
/// experts_backward::<Plain>(experts, rows, given, Some(grads), MatMut::new(&mut grad_x, 1, 1)?, scratch)?;
/// assert_eq!((grad_x, grad_up, grad_down), ([6.0], [13.0], [12.0]));
/// # Ok::<(), ExpertsError>(())
/// ```
#[inline(always)]
pub fn experts_backward<A: Arith>(
    experts: Experts<'_>,
    rows: GroupedRows<'_>,
    given: FfnBackward<'_>,
    mut grads: Option<ExpertsGrads<'_>>,
    mut grad_x: MatMut<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ExpertsError> {
    rows.check(&experts)?;
    check_length("the rows", given.x.rows(), rows.rows().rows())?;
    check_length("the rows' gradient, in rows,", grad_x.rows(), rows.rows().rows())?;
    let FfnBackward { x, mut cache, grad_out } = given;
    for (expert, run) in rows.runs().enumerate().filter(|(_, run)| !run.is_empty()) {
        let given = FfnBackward {
            x: x.row_range(run.clone())?,
            cache: cache.row_range(run.clone())?,
            grad_out: grad_out.row_range(run.clone())?,
        };
        let grads = match &mut grads {
            Some(grads) => grads.expert(expert, &experts)?,
            None => None,
        };
        let grad_x = grad_x.row_range(run)?;
        ffn_backward::<A>(experts.expert(expert)?, given, grads, grad_x, scratch.lend())?;
    }
    Ok(())
}

impl ExpertsGrads<'_> {
    /// The gradients of one expert; none if it is frozen.
    pub fn expert(
        &mut self,
        expert: usize,
        experts: &Experts<'_>,
    ) -> Result<Option<FfnGrads<'_>>, ShapeError> {
        if !self.frozen.is_empty() {
            check_length("frozen", self.frozen.len(), experts.count())?;
        }
        if self.frozen.get(expert).is_some_and(|frozen| *frozen) {
            return Ok(None);
        }
        let range = |dim: usize| expert * dim..(expert + 1) * dim;
        let (inner, model) = (range(experts.ffn_dim()), range(experts.model_dim()));
        let gate = self.all.gate.as_mut().map(|gate| gate.output_range(inner.clone())).transpose()?;
        let up = self.all.up.output_range(inner)?;
        Ok(Some(FfnGrads { gate, up, down: self.all.down.output_range(model)? }))
    }
}

impl LinearGrads<'_> {
    /// Of some outputs.
    pub fn output_range(&mut self, range: Range<usize>) -> Result<LinearGrads<'_>, ShapeError> {
        let bias = match &mut self.bias {
            Some(bias) => {
                let error = ShapeError::Rows { end: range.end, rows: bias.len() };
                Some(bias.get_mut(range.clone()).ok_or(error)?)
            }
            None => None,
        };
        Ok(LinearGrads { weights: self.weights.row_range(range)?, bias })
    }
}
