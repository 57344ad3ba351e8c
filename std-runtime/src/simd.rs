//! The kernels of `mixlet-core` compiled for the CPU found at run time.
//!
//! Core's kernels are inlined whole, so they take on the instruction set of the function they end up
//! in. Products with weights also take the CPU's [`Arith`]: fused multiplication and addition, dot products
//! of narrow numbers. The others have nothing in them that lets the compiler reorder or fuse a sum: every
//! set gives the same bits.
//!
//! *Why a trait and not a closure:* a method can be told to be inlined whatever its size, a closure
//! cannot, and one that is not inlined keeps the baseline instructions.

mod arith;
mod weights;

use std::ops::Range;

pub use weights::{ExpertsBackward, HiddenForward, LinearForward};

use mixlet_core::em::{self, EmError, Fit, FitSettings, LatentClassModel, Round};
use mixlet_core::linear::Arith;

/// Work for [`wide`]; `run` must be marked `#[inline(always)]`.
pub trait Kernel {
    /// What comes out.
    type Output;
    /// Does the work.
    fn run<A: Arith>(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors this CPU has.
pub fn wide<K: Kernel>(kernel: K) -> K::Output {
    arith::dispatch(kernel, Level::found())
}

/// Instruction sets that kernels are compiled for, from the widest to the one every CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// AVX-512 with dot products of bf16 and of bytes.
    Avx512Dot,
    /// AVX-512.
    Avx512,
    /// AVX2 with fused multiplication and addition.
    Avx2,
    /// What the target always has; on 64-bit ARM that includes NEON with fused multiplication and addition.
    Baseline,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Avx512Dot, Self::Avx512, Self::Avx2, Self::Baseline];

    /// The widest one this CPU has.
    pub fn found() -> Self {
        Self::ALL.into_iter().find(|level| level.is_here()).unwrap_or(Self::Baseline)
    }

    /// Whether this CPU has it.
    pub fn is_here(self) -> bool {
        arith::is_here(self)
    }

    /// Runs a kernel compiled for this set; none if the CPU lacks it. For tests and measurements: [`wide`] chooses.
    pub fn run<K: Kernel>(self, kernel: K) -> Option<K::Output> {
        self.is_here().then(|| arith::dispatch(kernel, self))
    }
}

/// [`em::sweep`] over a range of rows.
pub struct Sweep<'a, M> {
    /// The model.
    pub model: &'a M,
    /// The rows.
    pub rows: Range<usize>,
    /// What is added to.
    pub statistics: &'a mut [f64],
    /// Memory for a block.
    pub scratch: &'a mut [f64],
}

impl<M: LatentClassModel> Kernel for Sweep<'_, M> {
    type Output = Result<f64, EmError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        em::sweep(self.model, self.rows, self.statistics, self.scratch)
    }
}

/// The posteriors of a range of rows.
pub struct Expectation<'a, M> {
    /// The model.
    pub model: &'a M,
    /// The rows.
    pub rows: Range<usize>,
    /// `[rows, classes]`.
    pub out: &'a mut [f64],
}

impl<M: LatentClassModel> Kernel for Expectation<'_, M> {
    type Output = Result<f64, EmError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        self.model.expectation(self.rows, self.out)
    }
}

/// [`em::fit_with`]: its maximisations are inlined, its sweeps are calls.
pub struct FitWith<'a, M, Sweep, Observe> {
    /// The model.
    pub model: &'a mut M,
    /// When it ends.
    pub settings: FitSettings,
    /// Memory for the expected sufficient statistics.
    pub statistics: &'a mut [f64],
    /// One expectation over all rows.
    pub sweep: Sweep,
    /// Sees every round.
    pub observe: Observe,
}

impl<M, Sweep, Observe> Kernel for FitWith<'_, M, Sweep, Observe>
where
    M: LatentClassModel,
    Sweep: FnMut(&M, &mut [f64]) -> Result<f64, EmError>,
    Observe: FnMut(Round),
{
    type Output = Result<Fit, EmError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        em::fit_with(self.model, self.settings, self.statistics, self.sweep, self.observe)
    }
}
