//! The kernels of `mixlet-core` compiled for the CPU found at run time.
//!
//! Core's kernels are inlined whole into functions that enable a wider instruction set. Nothing in them
//! lets the compiler reorder or fuse a sum, so every set gives the same bits.

use std::ops::Range;

use mixlet_core::em::{self, EmError, LatentClassModel};

/// [`em::sweep`] with the widest vectors this CPU has.
pub fn sweep<M: LatentClassModel>(
    model: &M,
    rows: Range<usize>,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the CPU has just been found to have these instructions.
            return unsafe { sweep_avx512(model, rows, statistics, scratch) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { sweep_avx2(model, rows, statistics, scratch) };
        }
    }
    em::sweep(model, rows, statistics, scratch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
fn sweep_avx512<M: LatentClassModel>(
    model: &M,
    rows: Range<usize>,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    em::sweep(model, rows, statistics, scratch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sweep_avx2<M: LatentClassModel>(
    model: &M,
    rows: Range<usize>,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    em::sweep(model, rows, statistics, scratch)
}
