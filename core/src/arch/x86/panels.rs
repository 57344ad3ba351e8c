//! Many rows against narrow weights: rows lie side by side in panels, four bytes of each in turn, and four bytes of
//! weights are broadcast against them.

use core::arch::x86_64::*;
use core::mem::transmute;

use half::{bf16, f16};

use crate::arch::{DEPTH_INT8, LANES, RoundedPanel, RoundedWeights4, Sums};
use crate::linear::TILE;
use crate::weights::GROUP;

/// Blocks that the weights of a call have at most.
const BLOCKS: usize = DEPTH_INT8 / GROUP;
/// The weights of a call without sign.
type Unsigned = [[u8; DEPTH_INT8]; TILE];

/// [`crate::arch::bf16_panel`] by `vdpbf16ps`; subnormal numbers count as zero.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512bf16`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn bf16_panel<const W: usize>(x: &[bf16], w: [&[bf16]; TILE], sums: &mut Sums<W>) {
    let (steps, _) = x.as_chunks::<{ 2 * LANES }>();
    let mut count = steps.len() / W.max(1);
    for w in &w {
        count = count.min(w.len() / 2);
    }
    let mut registers = load_sums(sums);
    for step in 0..count {
        let mut rows = [_mm512_setzero_si512(); W];
        for (nth, rows) in rows.iter_mut().enumerate() {
            // SAFETY: there are `count` times `W` steps; the load needs no alignment.
            *rows = unsafe { _mm512_loadu_si512(steps.as_ptr().add(step * W + nth).cast()) };
        }
        for (registers, w) in registers.iter_mut().zip(&w) {
            // SAFETY: each row of weights has two values for each of `count` steps.
            let pair = unsafe { w.as_ptr().add(2 * step).cast::<i32>().read_unaligned() };
            let pair = _mm512_set1_epi32(pair);
            for (sum, rows) in registers.iter_mut().zip(&rows) {
                // SAFETY: both types are 64 bytes without invalid values.
                let (x, w) =
                    unsafe { (transmute::<__m512i, __m512bh>(*rows), transmute::<__m512i, __m512bh>(pair)) };
                *sum = _mm512_dpbf16_ps(*sum, x, w);
            }
        }
    }
    store_sums(&registers, sums);
}

/// [`crate::arch::int8_panel`] by `vpdpbusd`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512vnni`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn int8_panel<const W: usize>(x: RoundedPanel<'_, W>, w: [&[i8]; TILE], sums: &mut Sums<W>) {
    let mut unsigned: Unsigned = [[0; DEPTH_INT8]; TILE];
    for (out, w) in unsigned.iter_mut().zip(&w) {
        for (out, w) in out.iter_mut().zip(w.iter()) {
            *out = w.cast_unsigned() ^ 0x80;
        }
    }
    let blocks = w.iter().fold(BLOCKS, |least, w| least.min(w.len() / GROUP));
    add_bytes::<W, false>(x, &unsigned, [&[]; TILE], blocks, sums);
}

/// [`crate::arch::int4_panel`] by `vpdpbusd`.
///
/// # Safety
/// The CPU must have `avx512f`, `avx512bw` and `avx512vnni`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn int4_panel<const W: usize>(
    x: RoundedPanel<'_, W>,
    w: [RoundedWeights4<'_>; TILE],
    sums: &mut Sums<W>,
) {
    let mut unsigned: Unsigned = [[0; DEPTH_INT8]; TILE];
    let mut scales = [[0.0_f32; LANES]; TILE];
    let mut blocks = BLOCKS;
    for ((out, scales), w) in unsigned.iter_mut().zip(&mut scales).zip(&w) {
        unpack(out, w.nibbles);
        let mut halves = [f16::ZERO; LANES];
        halves.iter_mut().zip(w.scales.iter().take(BLOCKS)).for_each(|(out, scale)| *out = *scale);
        // SAFETY: the array is 32 bytes long; the load needs no alignment.
        let halves = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
        store_floats(scales, _mm512_cvtph_ps(halves));
        blocks = blocks.min(w.nibbles.len() / (GROUP / 2)).min(w.scales.len());
    }
    let [a, b, c, d] = &scales;
    add_bytes::<W, true>(x, &unsigned, [a, b, c, d], blocks, sums);
}

/// Nibbles in the order of inputs, four groups at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(out: &mut [u8; DEPTH_INT8], nibbles: &[u8]) {
    let ones = _mm512_set1_epi8(15);
    // Quarters of low and of high nibbles in turn.
    let first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (nth, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let mut bytes = [_mm512_setzero_si512()];
        // SAFETY: so many steps the row has.
        unsafe { super::load_all::<u8, 64, 1>(&mut bytes, &[nibbles], nth, nibbles.len() / 64) };
        let low = _mm512_and_si512(bytes[0], ones);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes[0]), ones);
        let halves =
            [_mm512_permutex2var_epi64(low, first, high), _mm512_permutex2var_epi64(low, second, high)];
        for (out, half) in out.as_chunks_mut::<64>().0.iter_mut().zip(halves) {
            // SAFETY: the array is 64 bytes long; the store needs no alignment.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), half) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_bytes<const W: usize, const SCALED: bool>(
    x: RoundedPanel<'_, W>,
    weights: &Unsigned,
    w_scales: [&[f32]; TILE],
    blocks: usize,
    sums: &mut Sums<W>,
) {
    let blocks = x.values.len().min(x.scales.len()).min(x.totals.len()).min(blocks).min(BLOCKS);
    let each = x.values.iter().zip(x.scales).zip(x.totals).take(blocks);
    let offset = _mm512_set1_ps(if SCALED { -8.0 } else { -128.0 });
    for (block, ((values, scales), totals)) in each.enumerate() {
        let mut starts = [_mm512_setzero_si512(); W];
        for (start, totals) in starts.iter_mut().zip(totals) {
            *start = _mm512_cvtps_epi32(_mm512_mul_ps(load_floats(totals), offset));
        }
        let mut products = [starts; TILE];
        for (step, values) in values.iter().enumerate() {
            let mut rows = [_mm512_setzero_si512(); W];
            for (rows, values) in rows.iter_mut().zip(values) {
                *rows = super::load(values);
            }
            for (products, weights) in products.iter_mut().zip(weights) {
                // SAFETY: `block` is below `BLOCKS` and a step is four bytes of a block: both lie in a row of weights.
                let four =
                    unsafe { weights.as_ptr().add(block * GROUP + 4 * step).cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                for (product, rows) in products.iter_mut().zip(&rows) {
                    *product = _mm512_dpbusd_epi32(*product, four, *rows);
                }
            }
        }
        let mut row_scales = [_mm512_setzero_ps(); W];
        for (out, scales) in row_scales.iter_mut().zip(scales) {
            *out = load_floats(scales);
        }
        for ((sums, products), w_scales) in sums.iter_mut().zip(&products).zip(&w_scales) {
            let w_scale =
                _mm512_set1_ps(if SCALED { w_scales.get(block).copied().unwrap_or(0.0) } else { 1.0 });
            for ((sum, product), scale) in sums.iter_mut().zip(products).zip(&row_scales) {
                let scale = if SCALED { _mm512_mul_ps(*scale, w_scale) } else { *scale };
                let added = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, load_floats(sum));
                store_floats(sum, added);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums<const W: usize>(sums: &Sums<W>) -> [[__m512; W]; TILE] {
    let mut registers = [[_mm512_setzero_ps(); W]; TILE];
    for (register, sums) in registers.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        *register = load_floats(sums);
    }
    registers
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_sums<const W: usize>(registers: &[[__m512; W]; TILE], sums: &mut Sums<W>) {
    for (register, sums) in registers.as_flattened().iter().zip(sums.as_flattened_mut()) {
        store_floats(sums, *register);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_floats(values: &[f32; LANES]) -> __m512 {
    _mm512_castsi512_ps(super::load(values))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_floats(out: &mut [f32; LANES], values: __m512) {
    // SAFETY: the array is 64 bytes long; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) };
}

/// [`crate::arch::transpose`] in registers: pairs, fours, then quarters of registers.
///
/// # Safety
/// The CPU must have `avx512f`.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub fn transpose<T: Copy>(from: [&[T]; LANES], to: [&mut [T]; LANES]) {
    let least = from.iter().map(|from| from.len()).chain(to.iter().map(|to| to.len())).min().unwrap_or(0);
    if least * size_of::<T>() < 64 {
        return;
    }
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, from) in rows.iter_mut().zip(&from) {
        // SAFETY: the slice has 64 bytes; the load needs no alignment.
        *row = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
    }
    let mut pairs = rows;
    for (out, rows) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(rows.as_chunks::<2>().0) {
        *out = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[0], rows[1])];
    }
    let mut fours = pairs;
    for (out, [a, b, c, d]) in fours.as_chunks_mut::<4>().0.iter_mut().zip(pairs.as_chunks::<4>().0) {
        *out = [
            _mm512_unpacklo_epi64(*a, *c),
            _mm512_unpackhi_epi64(*a, *c),
            _mm512_unpacklo_epi64(*b, *d),
            _mm512_unpackhi_epi64(*b, *d),
        ];
    }
    // `fours[4i + j]` holds in quarter `q` column `4q + j` of rows `4i..4i + 4`.
    let ([a, b, c, d], _) = fours.as_chunks::<4>() else { return };
    let mut columns = [[_mm512_setzero_si512(); 4]; 4];
    for (j, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
        let even = (_mm512_shuffle_i32x4::<0x88>(*a, *b), _mm512_shuffle_i32x4::<0x88>(*c, *d));
        let odd = (_mm512_shuffle_i32x4::<0xdd>(*a, *b), _mm512_shuffle_i32x4::<0xdd>(*c, *d));
        let quarters = [
            _mm512_shuffle_i32x4::<0x88>(even.0, even.1),
            _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1),
            _mm512_shuffle_i32x4::<0xdd>(even.0, even.1),
            _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1),
        ];
        for (columns, quarter) in columns.iter_mut().zip(quarters) {
            if let Some(column) = columns.get_mut(j) {
                *column = quarter;
            }
        }
    }
    for (to, column) in to.into_iter().zip(columns.as_flattened()) {
        // SAFETY: the slice has 64 bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *column) };
    }
}
