//! How each instruction set multiplies and adds. Nothing here leaves [`dispatch`] for a CPU that lacks it.
//!
//! *Why not [`wide`](super::wide):* products take the CPU's [`Arith`] (fused multiplication and addition, dot
//! products of narrow numbers), and one level more than kernels whose bits must not depend on the CPU.

use mixlet_core::linear::Arith;

/// A product with weights, for [`multiply`]; `run` must be marked `#[inline(always)]`.
pub trait Product {
    /// What comes out.
    type Output;
    /// Does the work.
    fn run<A: Arith>(self) -> Self::Output;
}

/// Runs a product with the widest vectors this CPU has.
pub fn multiply<P: Product>(product: P) -> P::Output {
    dispatch(product, Level::found())
}

/// Instruction sets that products are compiled for, from the widest to the one every CPU has.
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
        is_here(self)
    }

    /// Runs a product compiled for this set; none if the CPU lacks it. For tests and measurements: [`multiply`] chooses.
    pub fn run<P: Product>(self, product: P) -> Option<P::Output> {
        self.is_here().then(|| dispatch(product, self))
    }
}

#[cfg(target_arch = "x86_64")]
use x86::{dispatch, is_here};

#[cfg(not(target_arch = "x86_64"))]
fn is_here(level: Level) -> bool {
    level == Level::Baseline
}

#[cfg(not(target_arch = "x86_64"))]
fn dispatch<P: Product>(product: P, _: Level) -> P::Output {
    product.run::<Baseline>()
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

    use mixlet_core::arch::{RoundedPanel, RoundedRow, RoundedWeights4, Sums, x86};
    use mixlet_core::half::{bf16, f16};
    use mixlet_core::linear::TILE;
    use mixlet_core::weights::{GROUP, Int4};

    use super::{Arith, Baseline, Level, Product};

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

    /// Runs the product at a level that [`is_here`].
    pub fn dispatch<P: Product>(product: P, level: Level) -> P::Output {
        assert!(level.is_here(), "{level:?} on a CPU without it");
        // SAFETY: the CPU has just been found to have these instructions.
        unsafe {
            match level {
                Level::Avx512Dot => with_avx512_dot(product),
                Level::Avx512 => with_avx512(product),
                Level::Avx2 => with_avx2(product),
                Level::Baseline => product.run::<Baseline>(),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx512vnni,fma,f16c")]
    fn with_avx512_dot<P: Product>(product: P) -> P::Output {
        product.run::<Avx512Dot>()
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma,f16c")]
    fn with_avx512<P: Product>(product: P) -> P::Output {
        product.run::<Avx512>()
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn with_avx2<P: Product>(product: P) -> P::Output {
        product.run::<Avx2>()
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

        #[inline(always)]
        fn f16_dots(x: &[f32], w: [&[f16]; TILE]) -> [f32; TILE] {
            // SAFETY: `dispatch` has found the instructions.
            unsafe { x86::f16_dots(x, w) }
        }

        #[inline(always)]
        fn exact_bf16_dots(x: &[f32], w: [&[bf16]; TILE]) -> [f32; TILE] {
            // SAFETY: as above.
            unsafe { x86::exact_bf16_dots(x, w) }
        }

        #[inline(always)]
        fn exact_int8_dots(x: &[f32], w: [&[i8]; TILE]) -> [f32; TILE] {
            // SAFETY: as above.
            unsafe { x86::exact_int8_dots(x, w) }
        }
    }

    /// Named by [`with_avx512_dot`] alone, which makes its calls of `arch` sound.
    struct Avx512Dot;

    impl Arith for Avx512Dot {
        const WIDE: bool = Avx512::WIDE;
        const FEW: usize = Avx512::FEW;
        const FEW_BF16: usize = 24;
        const FEW_BYTES: usize = 8;

        #[inline(always)]
        fn fma(a: f32, b: f32, c: f32) -> f32 {
            Avx512::fma(a, b, c)
        }

        #[inline(always)]
        fn f32_dots<const M: usize>(x: [&[f32]; M], w: [&[f32]; TILE]) -> [[f32; TILE]; M] {
            Avx512::f32_dots(x, w)
        }

        #[inline(always)]
        fn f16_dots(x: &[f32], w: [&[f16]; TILE]) -> [f32; TILE] {
            Avx512::f16_dots(x, w)
        }

        #[inline(always)]
        fn exact_bf16_dots(x: &[f32], w: [&[bf16]; TILE]) -> [f32; TILE] {
            Avx512::exact_bf16_dots(x, w)
        }

        #[inline(always)]
        fn exact_int8_dots(x: &[f32], w: [&[i8]; TILE]) -> [f32; TILE] {
            Avx512::exact_int8_dots(x, w)
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

        #[inline(always)]
        fn bf16_panel<const W: usize>(x: &[bf16], w: [&[bf16]; TILE], sums: &mut Sums<W>) {
            // SAFETY: as above.
            unsafe { x86::bf16_panel(x, w, sums) }
        }

        #[inline(always)]
        fn int8_panel<const W: usize>(x: RoundedPanel<'_, W>, w: [&[i8]; TILE], sums: &mut Sums<W>) {
            // SAFETY: as above.
            unsafe { x86::int8_panel(x, w, sums) }
        }

        #[inline(always)]
        fn int4_panel<const W: usize>(
            x: RoundedPanel<'_, W>,
            w: [RoundedWeights4<'_>; TILE],
            sums: &mut Sums<W>,
        ) {
            // SAFETY: as above.
            unsafe { x86::int4_panel(x, w, sums) }
        }

        #[inline(always)]
        fn prefetch<T>(values: &[T]) {
            x86::prefetch_all(values);
        }

        #[inline(always)]
        fn transpose<T: Copy>(from: [&[T]; 16], to: [&mut [T]; 16]) {
            // SAFETY: as above.
            unsafe { x86::transpose(from, to) }
        }

        #[inline(always)]
        fn round_block(block: &[f32; GROUP], out: &mut [i8; GROUP]) -> (f32, f32) {
            // SAFETY: as above.
            unsafe { x86::round_block(block, out) }
        }

        #[inline(always)]
        fn int4_row(x: RoundedRow<'_>, weights: Int4<'_>, memory: &mut [i8], out: &mut [f32]) {
            // SAFETY: as above.
            unsafe { x86::int4_row(x, weights, memory, out) }
        }
    }
}
