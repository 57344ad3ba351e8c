//! Products for many rows: panels of transposed rows, against which weights are broadcast.

use super::{Arith, DEPTH, PANEL, TILE};
use crate::matrix::{MatMut, MatRef};
use crate::weights::Weights;

/// Rows whose panels are worked on together.
pub(super) const ROWS: usize = 4 * PANEL;
/// Half a panel: with two rows of weights, what sixteen registers of 32 bytes hold.
const HALF: usize = PANEL / 2;
/// Rows transposed together: as many as a first-level cache keeps lines of the same place in a page.
const TRANSPOSED: usize = 8;

/// `out += x · weightsᵀ`.
#[inline(always)]
pub(super) fn forward<A: Arith>(
    weights: Weights<'_>,
    x: MatRef<'_>,
    mut out: MatMut<'_>,
    floats: &mut [f32],
) {
    let depth = x.columns().min(DEPTH);
    let (panels, widened) = floats.split_at_mut(floats.len().saturating_sub(TILE * depth));
    for start in (0..x.rows()).step_by(ROWS) {
        let rows = start..x.rows().min(start + ROWS);
        let (Ok(x), Ok(mut out)) = (x.row_range(rows.clone()), out.row_range(rows)) else { continue };
        for first in (0..x.columns()).step_by(DEPTH) {
            let depth = (x.columns() - first).min(DEPTH);
            pack(x, first, depth, panels);
            for output in (0..weights.outputs()).step_by(TILE) {
                let outputs = core::array::from_fn(|n| output + n);
                let tile = widen_tile(weights, outputs, (first, depth), widened);
                add_tile::<A>(tile, output, panels, out.as_mut());
            }
        }
    }
}

/// The rows of `x`, inputs `first..first + depth`, as panels `[depth, PANEL]`.
#[inline(always)]
fn pack(x: MatRef<'_>, first: usize, depth: usize, panels: &mut [f32]) {
    for (index, panel) in panels.chunks_exact_mut((depth * PANEL).max(1)).enumerate() {
        if index * PANEL >= x.rows() {
            return;
        }
        transpose(x, (index * PANEL, first), panel.as_chunks_mut::<PANEL>().0, depth);
    }
}

/// `panel[i][r] = x[start + r, first + i]`; rows that are not there are zero.
#[inline(always)]
fn transpose(x: MatRef<'_>, (start, first): (usize, usize), panel: &mut [[f32; PANEL]], depth: usize) {
    for group in 0..PANEL / TRANSPOSED {
        let row = |r| x.row(start + group * TRANSPOSED + r).and_then(|row| row.get(first..first + depth));
        let rows: [&[f32]; TRANSPOSED] = core::array::from_fn(|r| row(r).unwrap_or_default());
        let mut values = rows.map(|row| row.iter());
        for column in panel.iter_mut().take(depth) {
            let (groups, _) = column.as_chunks_mut::<TRANSPOSED>();
            let Some(out) = groups.get_mut(group) else { continue };
            out.iter_mut().zip(&mut values).for_each(|(out, row)| *out = row.next().copied().unwrap_or(0.0));
        }
    }
}

/// Inputs `first..first + depth` of some outputs; the last one stands for those that are not there.
#[inline(always)]
pub(super) fn widen_tile<'a>(
    weights: Weights<'a>,
    outputs: [usize; TILE],
    (first, depth): (usize, usize),
    widened: &'a mut [f32],
) -> [&'a [f32]; TILE] {
    let last = weights.outputs().saturating_sub(1);
    if let Weights::F32(matrix) = weights {
        let row = |output: usize| matrix.row(output.min(last)).and_then(|row| row.get(first..first + depth));
        return outputs.map(|output| row(output).unwrap_or_default());
    }
    for (output, row) in outputs.into_iter().zip(widened.chunks_exact_mut(depth.max(1))) {
        weights.widen(output.min(last), first, row);
    }
    core::array::from_fn(|n| widened.get(n * depth..(n + 1) * depth).unwrap_or_default())
}

#[inline(always)]
fn add_tile<A: Arith>(weights: [&[f32]; TILE], output: usize, panels: &[f32], mut out: MatMut<'_>) {
    let depth = weights[0].len();
    for (index, panel) in panels.chunks_exact((depth * PANEL).max(1)).enumerate() {
        if index * PANEL >= out.rows() {
            return;
        }
        let sums = tile_of_panel::<A>(weights, panel.as_chunks::<PANEL>().0);
        add_transposed(&sums, (index * PANEL, output), out.as_mut());
    }
}

/// `sums[t][r] = Σ_i a[t][i] · b[i][r]`, as many `i` as `a` and `b` have in common.
#[inline(always)]
pub(crate) fn tile_of_panel<A: Arith>(a: [&[f32]; TILE], b: &[[f32; PANEL]]) -> [[f32; PANEL]; TILE] {
    if A::WIDE {
        return whole::<A>(a, b);
    }
    let [a0, a1, a2, a3] = a;
    let mut sums = [[0.0; PANEL]; TILE];
    let [s0, s1, s2, s3] = &mut sums;
    quarters::<A>([a0, a1], b, [s0, s1]);
    quarters::<A>([a2, a3], b, [s2, s3]);
    sums
}

/// Two rows of the tile, one half of the panel after the other.
#[inline(always)]
fn quarters<A: Arith>([a0, a1]: [&[f32]; 2], b: &[[f32; PANEL]], [s0, s1]: [&mut [f32; PANEL]; 2]) {
    for half in 0..2 {
        let mut sums = [[0.0; HALF]; 2];
        for ((b, &a0), &a1) in b.iter().zip(a0).zip(a1) {
            let Some(b) = b.as_chunks::<HALF>().0.get(half) else { continue };
            add_products::<A, HALF, 2>([a0, a1], b, &mut sums);
        }
        for (out, sums) in [&mut *s0, &mut *s1].into_iter().zip(&sums) {
            let out = out.as_chunks_mut::<HALF>().0.get_mut(half);
            out.into_iter().for_each(|out| *out = *sums);
        }
    }
}

#[inline(always)]
fn whole<A: Arith>([a0, a1, a2, a3]: [&[f32]; TILE], b: &[[f32; PANEL]]) -> [[f32; PANEL]; TILE] {
    let mut sums = [[0.0; PANEL]; TILE];
    for ((((b, &a0), &a1), &a2), &a3) in b.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
        add_products::<A, PANEL, TILE>([a0, a1, a2, a3], b, &mut sums);
    }
    sums
}

#[inline(always)]
fn add_products<A: Arith, const C: usize, const M: usize>(
    a: [f32; M],
    b: &[f32; C],
    sums: &mut [[f32; C]; M],
) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (sum, b) in sums.iter_mut().zip(b) {
            *sum = A::fma(a, *b, *sum);
        }
    }
}

/// `out[start + r, output + t] += sums[t][r]`.
#[inline(always)]
fn add_transposed(sums: &[[f32; PANEL]; TILE], (start, output): (usize, usize), mut out: MatMut<'_>) {
    let outputs = out.columns().max(1);
    let [s0, s1, s2, s3] = sums;
    let rows = out.values().chunks_exact_mut(outputs).skip(start);
    for ((((row, s0), s1), s2), s3) in rows.zip(s0).zip(s1).zip(s2).zip(s3) {
        let out = row.iter_mut().skip(output);
        out.zip([s0, s1, s2, s3]).for_each(|(out, sum)| *out += sum);
    }
}
