//! The kernels of `mixlet-core` compiled for the CPU found at run time.
//!
//! Core's kernels are inlined whole, so they take on the instruction set of the function they end up
//! in. Nothing in them lets the compiler reorder or fuse a sum: every set gives the same bits.
//!
//! *Why a trait and not a closure:* a method can be told to be inlined whatever its size, a closure
//! cannot, and one that is not inlined keeps the baseline instructions.

use std::ops::Range;

mod arith;
mod weights;

pub use arith::{Level, Product, multiply};
pub use weights::{ExpertsBackward, FfnBackwardRows, HiddenForward, LinearBackwardWeights, LinearForward};

use mixlet_core::em::{self, EmError, Fit, FitSettings, LatentClassModel, Round};

/// Work for [`wide`]; `run` must be marked `#[inline(always)]`.
pub trait Kernel {
    /// What comes out.
    type Output;
    /// Does the work.
    fn run(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors this CPU has.
pub fn wide<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the CPU has just been found to have these instructions.
            return unsafe { with_avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { with_avx2(kernel) };
        }
    }
    kernel.run()
}

/// [`wide`] for a kernel that counts bits: also with the instruction that counts those of a whole vector.
pub fn wide_counts<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq") {
            // SAFETY: the CPU has just been found to have these instructions.
            return unsafe { with_vector_popcount(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: as above.
            return unsafe { with_popcount(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn with_vector_popcount<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn with_popcount<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
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
    fn run(self) -> Self::Output {
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
    fn run(self) -> Self::Output {
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
    fn run(self) -> Self::Output {
        em::fit_with(self.model, self.settings, self.statistics, self.sweep, self.observe)
    }
}
