//! How each instruction set multiplies and adds. Nothing here leaves [`dispatch`] for a CPU that lacks it.

use mixlet_core::linear::Arith;

use super::{Kernel, Level};

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{dispatch, is_here};

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_here(level: Level) -> bool {
    level == Level::Baseline
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn dispatch<K: Kernel>(kernel: K, _: Level) -> K::Output {
    kernel.run::<Baseline>()
}

/// Fused where the target always has the instruction: elsewhere `mul_add` is a slow call.
struct Baseline;

impl Arith for Baseline {
    const WIDE: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected;

    use mixlet_core::arch::{RoundedRow, RoundedWeights4, x86};
    use mixlet_core::half::bf16;
    use mixlet_core::linear::TILE;

    use super::{Arith, Baseline, Kernel, Level};

    pub fn is_here(level: Level) -> bool {
        match level {
            Level::Avx512Dot => {
                is_here(Level::Avx512)
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Level::Avx512 => {
                is_here(Level::Avx2)
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
            }
            Level::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Level::Baseline => true,
        }
    }

    /// Runs the kernel at a level that [`is_here`].
    pub fn dispatch<K: Kernel>(kernel: K, level: Level) -> K::Output {
        assert!(level.is_here(), "{level:?} on a CPU without it");
        // SAFETY: the CPU has just been found to have these instructions.
        unsafe {
            match level {
                Level::Avx512Dot => with_avx512_dot(kernel),
                Level::Avx512 => with_avx512(kernel),
                Level::Avx2 => with_avx2(kernel),
                Level::Baseline => kernel.run::<Baseline>(),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx512vnni,fma,f16c")]
    fn with_avx512_dot<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512Dot>()
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma,f16c")]
    fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512>()
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx2>()
    }

    struct Avx2;

    impl Arith for Avx2 {
        #[inline(always)]
        fn fma(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    /// Named by [`with_avx512`] alone, which makes its calls of `arch` sound.
    struct Avx512;

    impl Arith for Avx512 {
        const WIDE: bool = true;
        const FEW: usize = 40;

        #[inline(always)]
        fn fma(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
            // SAFETY: `dispatch` has found the instructions.
            unsafe { x86::f32_dots(x, w) }
        }
    }

    /// Named by [`with_avx512_dot`] alone, which makes its calls of `arch` sound.
    struct Avx512Dot;

    impl Arith for Avx512Dot {
        const WIDE: bool = true;
        const FEW: usize = 40;

        #[inline(always)]
        fn fma(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
            // SAFETY: `dispatch` has found the instructions.
            unsafe { x86::f32_dots(x, w) }
        }

        #[inline(always)]
        fn bf16_dots<const M: usize>(x: [&[bf16]; M], w: [&[bf16]; TILE]) -> [[f32; TILE]; M] {
            // SAFETY: `dispatch` has found the instructions.
            unsafe { x86::bf16_dots(x, w) }
        }

        #[inline(always)]
        fn int8_dots<const M: usize>(x: [RoundedRow<'_>; M], w: [&[i8]; TILE]) -> [[f32; TILE]; M] {
            // SAFETY: as above.
            unsafe { x86::int8_dots(x, w) }
        }

        #[inline(always)]
        fn int4_dots<const M: usize>(
            x: [RoundedRow<'_>; M],
            w: [RoundedWeights4<'_>; TILE],
        ) -> [[f32; TILE]; M] {
            // SAFETY: as above.
            unsafe { x86::int4_dots(x, w) }
        }
    }
}
