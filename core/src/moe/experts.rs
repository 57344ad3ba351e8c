//! Experts: feed-forward networks, each applied to its own run of rows.
//!
//! ```text
//!   x ─► gate ─► activation ─┐
//!   x ─► up ─────────────────┴─► × ─► hidden ─► dropout ─► down ─► out
//! ```
//!
//! The matrices of all experts are stacked: gate and up `[E · ffn_dim, model_dim]`, down
//! `[E · model_dim, ffn_dim]`. A dense network, and a shared expert, is the case of one expert.

mod backward;
mod error;
mod hidden;
mod shared;

use core::ops::Range;

pub use backward::{
    ExpertsGrads, FfnBackward, FfnGrads, HiddenGrads, LinearGrads, experts_backward, ffn_backward,
    ffn_backward_rows, ffn_backward_rows_scratch_len, ffn_backward_scratch_len,
};
pub use error::ExpertsError;
pub use shared::{add_shared, add_shared_backward};

use rand_core::Rng;

use crate::activation::Activation;
use crate::linear::{
    Arith, Linear, LinearShape, Operands, Scratch, ScratchLen, linear_forward, linear_scratch_len,
};
use crate::matrix::{MatMut, MatRef, ShapeError, check_length};

/// What lies between the matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FfnKind {
    /// `hidden = activation(up)`, two matrices.
    Plain(Activation),
    /// `hidden = activation(gate) · up`, three matrices: GEGLU, SwiGLU, ReGLU (Shazeer 2020).
    Gated(Activation),
    /// `hidden = (u + 1) · g · σ(alpha · g)`, `g = min(gate, limit)`, `u = clamp(up, ±limit)`: gpt-oss.
    ClampedSwiglu {
        /// 1.702 in gpt-oss.
        alpha: f32,
        /// 7 in gpt-oss.
        limit: f32,
    },
}

impl FfnKind {
    /// Whether there is a gate matrix.
    pub fn is_gated(self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// The way from a row to the hidden values of one network.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    kind: FfnKind,
    gate: Option<Linear<'a>>,
    up: Linear<'a>,
}

impl Inner<'_> {
    /// Some of the hidden values.
    pub fn hidden_range(&self, range: Range<usize>) -> Result<Self, ShapeError> {
        let gate = self.gate.map(|gate| gate.output_range(range.clone())).transpose()?;
        Ok(Self { kind: self.kind, gate, up: self.up.output_range(range)? })
    }

    /// Number of hidden values.
    pub fn ffn_dim(&self) -> usize {
        self.up.weights().outputs()
    }
}

/// One network.
#[derive(Clone, Copy, Debug)]
pub struct Ffn<'a> {
    /// To the hidden values.
    pub inner: Inner<'a>,
    /// And back.
    pub down: Linear<'a>,
}

impl Ffn<'_> {
    /// The shape of a call with so many rows.
    pub fn shape(&self, rows: usize) -> FfnShape {
        let Inner { gate, up, .. } = self.inner;
        let (model_dim, ffn_dim) = (up.weights().inputs(), up.weights().outputs());
        FfnShape { rows, model_dim, ffn_dim, gated: gate.is_some() }
    }
}

/// The weights of `E` experts.
///
/// ```
/// # use mixlet_core::{activation::Activation, linear::Linear, matrix::MatRef, moe::experts::*, weights::Weights};
/// let weights = [0.5; 2 * 3 * 4];
/// let up = Linear::new(Weights::F32(MatRef::new(&weights, 2 * 3, 4)?));
/// let down = Linear::new(Weights::F32(MatRef::new(&weights, 2 * 4, 3)?));
/// let experts = Experts::new(2, FfnKind::Plain(Activation::Relu), None, up, down)?;
/// assert_eq!((experts.count(), experts.model_dim(), experts.ffn_dim()), (2, 4, 3));
/// # Ok::<(), ExpertsError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Experts<'a> {
    count: usize,
    model_dim: usize,
    ffn_dim: usize,
    all: Ffn<'a>,
}

impl<'a> Experts<'a> {
    /// `gate` and `up` `[count · ffn_dim, model_dim]`, `down` `[count · model_dim, ffn_dim]`.
    pub fn new(
        count: usize,
        kind: FfnKind,
        gate: Option<Linear<'a>>,
        up: Linear<'a>,
        down: Linear<'a>,
    ) -> Result<Self, ExpertsError> {
        if gate.is_some() != kind.is_gated() {
            return Err(ExpertsError::Gate { expected: kind.is_gated() });
        }
        let (model_dim, ffn_dim) = (up.weights().inputs(), down.weights().inputs());
        let stacked =
            |dim: usize| count.checked_mul(dim).ok_or(ShapeError::TooLarge { rows: count, columns: dim });
        for linear in gate.iter().chain([&up]) {
            check_length("gate or up, in rows,", linear.weights().outputs(), stacked(ffn_dim)?)?;
            check_length("a row of gate or up", linear.weights().inputs(), model_dim)?;
        }
        check_length("down, in rows,", down.weights().outputs(), stacked(model_dim)?)?;
        Ok(Self { count, model_dim, ffn_dim, all: Ffn { inner: Inner { kind, gate, up }, down } })
    }

    /// `E`.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Width of a row.
    pub fn model_dim(&self) -> usize {
        self.model_dim
    }

    /// Hidden values of an expert.
    pub fn ffn_dim(&self) -> usize {
        self.ffn_dim
    }

    /// What lies between the matrices.
    pub fn kind(&self) -> FfnKind {
        self.all.inner.kind
    }

    /// One expert.
    pub fn expert(&self, expert: usize) -> Result<Ffn<'a>, ShapeError> {
        let range = |dim: usize| expert * dim..(expert + 1) * dim;
        if expert >= self.count {
            return Err(ShapeError::Rows { end: expert.saturating_add(1), rows: self.count });
        }
        let inner = self.all.inner;
        let gate = inner.gate.map(|gate| gate.output_range(range(self.ffn_dim))).transpose()?;
        let inner = Inner { kind: inner.kind, gate, up: inner.up.output_range(range(self.ffn_dim))? };
        Ok(Ffn { inner, down: self.all.down.output_range(range(self.model_dim))? })
    }

    /// The shape of a call with so many rows.
    pub fn shape(&self, rows: usize) -> FfnShape {
        FfnShape { rows, model_dim: self.model_dim, ffn_dim: self.ffn_dim, gated: self.kind().is_gated() }
    }
}

/// The lengths of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FfnShape {
    /// Rows of one network.
    pub rows: usize,
    /// Width of a row.
    pub model_dim: usize,
    /// Hidden values.
    pub ffn_dim: usize,
    /// Whether there is a gate matrix.
    pub gated: bool,
}

impl FfnShape {
    pub(crate) fn up(self) -> LinearShape {
        LinearShape { rows: self.rows, inputs: self.model_dim, outputs: self.ffn_dim }
    }

    pub(crate) fn down(self) -> LinearShape {
        LinearShape { rows: self.rows, inputs: self.ffn_dim, outputs: self.model_dim }
    }

    /// Values that [`FfnCache::new`] takes.
    pub fn cache_len(self) -> usize {
        self.rows * self.ffn_dim * if self.gated { 3 } else { 2 }
    }
}

/// Rows in runs: expert `e` owns rows `expert_offsets[e]..expert_offsets[e + 1]`.
#[derive(Clone, Copy, Debug)]
pub struct GroupedRows<'a> {
    rows: MatRef<'a>,
    expert_offsets: &'a [u32],
}

impl<'a> GroupedRows<'a> {
    /// `rows` `[R, model_dim]`, `expert_offsets` `[E + 1]` from 0 to `R`, never falling.
    pub fn new(rows: MatRef<'a>, expert_offsets: &'a [u32]) -> Result<Self, ExpertsError> {
        let ends = (expert_offsets.first(), expert_offsets.last());
        let spans = matches!(ends, (Some(0), Some(&last)) if last as usize == rows.rows());
        let rise = expert_offsets.iter().zip(expert_offsets.iter().skip(1)).all(|(start, end)| start <= end);
        if !spans || !rise {
            return Err(ExpertsError::Offsets { rows: rows.rows() });
        }
        Ok(Self { rows, expert_offsets })
    }

    /// All rows.
    pub fn rows(&self) -> MatRef<'a> {
        self.rows
    }

    /// Each expert's run, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let next = self.expert_offsets.iter().skip(1);
        self.expert_offsets.iter().zip(next).map(|(&start, &end)| start as usize..end as usize)
    }

    /// Rows of the expert that has the most.
    pub fn longest_run(&self) -> usize {
        self.runs().map(|run| run.len()).max().unwrap_or(0)
    }

    /// Checks that there is a run for each expert, and that rows are as wide as the experts take them.
    pub fn check(&self, experts: &Experts<'_>) -> Result<(), ShapeError> {
        check_length("expert offsets", self.expert_offsets.len(), experts.count() + 1)?;
        check_length("a row", self.rows.columns(), experts.model_dim())
    }
}

/// What backward needs of a forward: `[rows, ffn_dim]` each.
#[derive(Debug)]
pub struct FfnCache<'a> {
    /// `gate · x`, before the activation; without columns where there is no gate.
    pub gate: MatMut<'a>,
    /// `up · x`.
    pub up: MatMut<'a>,
    /// What `down` is applied to, dropout included.
    pub hidden: MatMut<'a>,
    /// What the hidden values are multiplied by, as [`dropout_mask`] makes it; none without dropout.
    pub dropout: Option<MatRef<'a>>,
}

impl<'a> FfnCache<'a> {
    /// Cuts [`FfnShape::cache_len`] values into the parts of a cache without dropout.
    pub fn new(shape: FfnShape, memory: &'a mut [f32]) -> Result<Self, ShapeError> {
        check_length("the cache", memory.len(), shape.cache_len())?;
        let (gate_dim, len) = (if shape.gated { shape.ffn_dim } else { 0 }, shape.rows * shape.ffn_dim);
        let (gate, rest) = memory.split_at_mut_checked(shape.rows * gate_dim).unwrap_or_default();
        let (up, hidden) = rest.split_at_mut_checked(len).unwrap_or_default();
        Ok(Self {
            gate: MatMut::new(gate, shape.rows, gate_dim)?,
            up: MatMut::new(up, shape.rows, shape.ffn_dim)?,
            hidden: MatMut::new(hidden, shape.rows, shape.ffn_dim)?,
            dropout: None,
        })
    }

    /// With a mask `[rows, ffn_dim]`.
    pub fn with_dropout(self, mask: MatRef<'a>) -> Result<Self, ShapeError> {
        check_length("the dropout mask, in rows,", mask.rows(), self.hidden.rows())?;
        check_length("a row of the dropout mask", mask.columns(), self.hidden.columns())?;
        Ok(Self { dropout: Some(mask), ..self })
    }

    /// Some rows.
    pub fn row_range(&mut self, range: Range<usize>) -> Result<FfnCache<'_>, ShapeError> {
        Ok(FfnCache {
            gate: self.gate.row_range(range.clone())?,
            up: self.up.row_range(range.clone())?,
            hidden: self.hidden.row_range(range.clone())?,
            dropout: self.dropout.map(|mask| mask.row_range(range)).transpose()?,
        })
    }
}

/// Expert dropout: 0 with probability `rate`, else `1 / (1 − rate)`. Fedus et al. 2022, section 2.2 of fine-tuning.
///
/// It falls on the hidden values alone. A rate of 0 gives ones and draws nothing.
pub fn dropout_mask<R: Rng>(rng: &mut R, rate: f32, mask: &mut [f32]) -> Result<(), ExpertsError> {
    if !(0.0..1.0).contains(&rate) {
        return Err(ExpertsError::DropoutRate(rate));
    }
    mask.fill(1.0);
    if rate > 0.0 {
        let kept = 1.0 / (1.0 - rate);
        // Of 2³² numbers, so many drop.
        let dropped = f64::from(rate) * 4_294_967_296.0;
        let draw = |rng: &mut R| if f64::from(rng.next_u32()) < dropped { 0.0 } else { kept };
        mask.iter_mut().for_each(|value| *value = draw(rng));
    }
    Ok(())
}

/// The memory [`ffn_forward`] works in; with the rows of the longest run, [`experts_forward`] too.
pub fn ffn_scratch_len(shape: FfnShape) -> ScratchLen {
    linear_scratch_len(shape.up()).max(linear_scratch_len(shape.down()))
}

/// The hidden values of one network, `[rows, ffn_dim]`, and what led to them.
#[inline(always)]
pub fn hidden_forward<A: Arith>(
    inner: Inner<'_>,
    operands: Operands,
    x: MatRef<'_>,
    cache: FfnCache<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let FfnCache { mut gate, mut up, mut hidden, dropout } = cache;
    // One call for both products: each call is inlined whole.
    let products = [(inner.gate, gate.as_mut()), (Some(inner.up), up.as_mut())];
    for (linear, out) in products {
        let Some(linear) = linear else { continue };
        linear_forward::<A>(linear, operands, x, out, scratch.lend())?;
    }
    check_length("hidden values", hidden.values().len(), up.values().len())?;
    hidden::forward(inner.kind, gate.values(), up.values(), hidden.values());
    if let Some(mask) = dropout {
        hidden.values().iter_mut().zip(mask.values()).for_each(|(value, kept)| *value *= kept);
    }
    Ok(())
}

/// One network over all rows of `x` `[rows, model_dim]`, into `out` of the same shape.
#[inline(always)]
pub fn ffn_forward<A: Arith>(
    ffn: Ffn<'_>,
    operands: Operands,
    x: MatRef<'_>,
    mut cache: FfnCache<'_>,
    out: MatMut<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ShapeError> {
    let rows = 0..x.rows();
    hidden_forward::<A>(ffn.inner, operands, x, cache.row_range(rows)?, scratch.lend())?;
    linear_forward::<A>(ffn.down, operands, cache.hidden.as_ref(), out, scratch)
}

/// Every expert over its run of rows, into `out` `[R, model_dim]`; `cache` holds `R` rows.
///
/// Rows of no expert do not exist: `out` is written whole. Without rows nothing happens.
#[inline(always)]
pub fn experts_forward<A: Arith>(
    experts: Experts<'_>,
    operands: Operands,
    rows: GroupedRows<'_>,
    mut cache: FfnCache<'_>,
    mut out: MatMut<'_>,
    mut scratch: Scratch<'_>,
) -> Result<(), ExpertsError> {
    rows.check(&experts)?;
    check_length("the output, in rows,", out.rows(), rows.rows().rows())?;
    for (expert, run) in rows.runs().enumerate().filter(|(_, run)| !run.is_empty()) {
        let (x, out) = (rows.rows().row_range(run.clone())?, out.row_range(run.clone())?);
        let cache = cache.row_range(run)?;
        ffn_forward::<A>(experts.expert(expert)?, operands, x, cache, out, scratch.lend())?;
    }
    Ok(())
}
