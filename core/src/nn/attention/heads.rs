//! One head's rows inside slices `[tokens, heads, width]`, and the three products attention is made of.

use core::marker::PhantomData;
use core::ops::Range;

use super::TILE;
use crate::lanes::{add_weighted, dot};
use crate::linear::{self, Arith};
use crate::nn::Real;

/// A head of a slice `[tokens, heads, width]`.
#[derive(Clone, Copy)]
pub(super) struct HeadShape {
    pub heads: usize,
    pub width: usize,
}

impl HeadShape {
    /// Where a token's values of a head lie.
    #[inline(always)]
    pub fn at(self, token: usize, head: usize) -> Range<usize> {
        let start = (token * self.heads + head) * self.width;
        start..start + self.width
    }

    #[inline(always)]
    pub fn row<R>(self, values: &[R], token: usize, head: usize) -> &[R] {
        values.get(self.at(token, head)).unwrap_or_default()
    }

    #[inline(always)]
    pub fn row_mut<R>(self, values: &mut [R], token: usize, head: usize) -> &mut [R] {
        values.get_mut(self.at(token, head)).unwrap_or_default()
    }
}

/// The rows of a key head: every query with every head of the group, the heads of a query side by side.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub queries: usize,
    pub group: usize,
    pub kv_head: usize,
}

/// A query and a head.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub query: usize,
    pub head: usize,
}

impl Rows {
    /// `N` rows from the `first` on.
    #[inline(always)]
    pub fn tile<const N: usize>(self, first: usize) -> [Row; N] {
        let group = self.group.max(1);
        core::array::from_fn(|nth| Row {
            query: (first + nth) / group,
            head: self.kv_head * self.group + (first + nth) % group,
        })
    }

    /// The first rows of all full tiles, and the rows left over.
    #[inline(always)]
    pub fn tiles(self) -> (impl Iterator<Item = usize>, Range<usize>) {
        let rows = self.queries * self.group;
        let whole = rows / TILE * TILE;
        ((0..whole).step_by(TILE), whole..rows)
    }
}

/// The keys of a tile: one head of a slice `[keys, kv_heads, width]`, over a run of keys.
#[derive(Clone)]
pub(super) struct HeadKeys {
    pub shape: HeadShape,
    pub head: usize,
    pub keys: Range<usize>,
}

/// How rows are multiplied with keys.
pub(super) trait Products<R> {
    /// `scores[n][j] = rows[n] · matrix[j]`.
    fn products<const N: usize>(keys: &HeadKeys, rows: [&[R]; N], matrix: &[R], scores: &mut [&mut [R]; N]);
}

/// One by one, with the same bits on every CPU.
pub(super) struct Dots;

impl<R: Real> Products<R> for Dots {
    #[inline(always)]
    fn products<const N: usize>(keys: &HeadKeys, rows: [&[R]; N], matrix: &[R], scores: &mut [&mut [R]; N]) {
        for (place, key) in keys.keys.clone().enumerate() {
            let of_key = keys.shape.row(matrix, key, keys.head);
            for (scores, row) in scores.iter_mut().zip(rows) {
                if let Some(score) = scores.get_mut(place) {
                    *score = dot(row, of_key);
                }
            }
        }
    }
}

/// Four keys at a time, as the CPU multiplies best.
pub(super) struct DotsBy<A>(PhantomData<A>);

impl<A: Arith> Products<f32> for DotsBy<A> {
    #[inline(always)]
    fn products<const N: usize>(
        keys: &HeadKeys,
        rows: [&[f32]; N],
        matrix: &[f32],
        scores: &mut [&mut [f32]; N],
    ) {
        let last = keys.keys.end.saturating_sub(1);
        for place in (0..keys.keys.len()).step_by(linear::TILE) {
            let key = |n: usize| (keys.keys.start + place + n).min(last);
            let of_keys = core::array::from_fn(|n| keys.shape.row(matrix, key(n), keys.head));
            for (scores, sums) in scores.iter_mut().zip(A::f32_dots::<N>(rows, of_keys)) {
                let scores = scores.get_mut(place..).unwrap_or_default();
                scores.iter_mut().zip(sums).for_each(|(score, sum)| *score = sum);
            }
        }
    }
}

impl HeadKeys {
    /// `out[starts[n]..] = Σ_j weights[n][j] · matrix[j]`.
    #[inline(always)]
    pub fn weighted_sums<const N: usize, R: Real>(
        &self,
        weights: [&[R]; N],
        matrix: &[R],
        starts: [usize; N],
        out: &mut [R],
    ) {
        let width = self.shape.width;
        for start in starts {
            out.get_mut(start..start + width).unwrap_or_default().fill(R::ZERO);
        }
        let row = |key| self.shape.row(matrix, key, self.head);
        for place in (0..self.keys.len()).step_by(TILE) {
            let rows: [&[R]; TILE] = core::array::from_fn(|nth| row(self.keys.start + place + nth));
            for (weights, start) in weights.into_iter().zip(starts) {
                let out = out.get_mut(start..start + width).unwrap_or_default();
                let weights = weights.get(place..).unwrap_or_default();
                if let Some(weights) = weights.first_chunk::<TILE>() {
                    add_weighted(out, *weights, rows);
                } else {
                    weights.iter().zip(rows).for_each(|(weight, row)| add_weighted(out, [*weight], [row]));
                }
            }
        }
    }

    /// `matrix[j] += Σ_n weights[n][j] · rows[n]`, tile after tile.
    #[inline(always)]
    pub fn add_outer<const N: usize, R: Real>(&self, weights: [&[R]; N], rows: [&[R]; N], matrix: &mut [R]) {
        for (place, key) in self.keys.clone().enumerate() {
            let weights = weights.map(|weights| weights.get(place).copied().unwrap_or(R::ZERO));
            add_weighted(self.shape.row_mut(matrix, key, self.head), weights, rows);
        }
    }
}
