//! One head's rows inside slices `[tokens, heads, width]`, and the three products attention is made of.

use core::ops::Range;

use super::TILE;
use crate::nn::Real;
use crate::nn::lanes::{LANES, dots};

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

impl HeadKeys {
    /// `scores[n][j] = rows[n] · matrix[j]`.
    #[inline(always)]
    pub fn products<const N: usize, R: Real>(
        &self,
        rows: [&[R]; N],
        matrix: &[R],
        scores: &mut [&mut [R]; N],
    ) {
        for (place, key) in self.keys.clone().enumerate() {
            let products = dots(rows, self.shape.row(matrix, key, self.head));
            for (scores, product) in scores.iter_mut().zip(products) {
                if let Some(score) = scores.get_mut(place) {
                    *score = product;
                }
            }
        }
    }

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
        let whole = width / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            let mut sums = [[R::ZERO; LANES]; N];
            for (place, key) in self.keys.clone().enumerate() {
                let row = self.shape.row(matrix, key, self.head);
                let Some(piece) = row.get(start..).and_then(|row| row.first_chunk::<LANES>()) else {
                    continue;
                };
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    let weight = weights.get(place).copied().unwrap_or(R::ZERO);
                    sums.iter_mut().zip(piece).for_each(|(sum, value)| *sum += weight * *value);
                }
            }
            for (sums, row) in sums.iter().zip(starts) {
                if let Some(out) = out.get_mut(row + start..row + start + LANES) {
                    out.copy_from_slice(sums);
                }
            }
        }
        for place in whole..width {
            for (weights, row) in weights.iter().zip(starts) {
                let value =
                    |key| self.shape.row(matrix, key, self.head).get(place).copied().unwrap_or(R::ZERO);
                let terms = self.keys.clone().zip(*weights);
                if let Some(out) = out.get_mut(row + place) {
                    *out = terms.fold(R::ZERO, |sum, (key, weight)| sum + *weight * value(key));
                }
            }
        }
    }

    /// `matrix[j] += Σ_n weights[n][j] · rows[n]`, tile after tile.
    #[inline(always)]
    pub fn add_outer<const N: usize, R: Real>(&self, weights: [&[R]; N], rows: [&[R]; N], matrix: &mut [R]) {
        for (place, key) in self.keys.clone().enumerate() {
            let out = self.shape.row_mut(matrix, key, self.head);
            let weights = weights.map(|weights| weights.get(place).copied().unwrap_or(R::ZERO));
            let (chunks, rest) = out.as_chunks_mut::<LANES>();
            let split = rows.map(|row| row.as_chunks::<LANES>());
            for (nth, out) in chunks.iter_mut().enumerate() {
                for (weight, (row, _)) in weights.iter().zip(split) {
                    let Some(row) = row.get(nth) else { continue };
                    out.iter_mut().zip(row).for_each(|(out, value)| *out += *weight * *value);
                }
            }
            for (weight, (_, row)) in weights.iter().zip(split) {
                rest.iter_mut().zip(row).for_each(|(out, value)| *out += *weight * *value);
            }
        }
    }
}
