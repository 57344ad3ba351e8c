//! The two loops over rows: log-joints of the expectation, counts of the accumulation.

use core::iter::Zip;
use core::ops::Range;
use core::slice::ChunksExact;

use super::tables::{GROUP, HALF_GROUPS, code, first_column, group_bytes, unfold};
use crate::em::ActiveColumns;
use crate::em::lanes::{Aligned, Lane, LaneBlock, LaneColumns, add, add_wide, narrow};
use crate::observations::{PackedRows, row_words};

/// Binary columns with their tables; a group has `CODES = RADIXᴳᴿᴼᵁᴾ` codes.
pub(super) struct BitColumns<'a, T, const RADIX: usize, const CODES: usize> {
    pub rows: PackedRows<'a>,
    pub classes: usize,
    pub active: ActiveColumns<'a>,
    /// `[blocks, entries, lanes]`.
    pub tables: &'a [T],
}

/// One word of some rows: values, and which of them are present.
#[derive(Clone, Copy)]
struct WordOfRows<'a> {
    word: usize,
    words: usize,
    values: &'a [u64],
    present: &'a [u64],
}

impl<'a> WordOfRows<'a> {
    /// Each row's words: the one of interest and its mask are at [`word`](Self::word).
    #[inline(always)]
    fn rows(&self) -> Zip<ChunksExact<'a, u64>, ChunksExact<'a, u64>> {
        self.values.chunks_exact(self.words).zip(self.present.chunks_exact(self.words))
    }

    #[inline(always)]
    fn bytes<const RADIX: usize>(&self, values: &[u64], present: &[u64], half: usize) -> [u8; HALF_GROUPS] {
        let of = |words: &[u64]| words.get(self.word).copied().unwrap_or(0);
        group_bytes::<RADIX>(of(values), of(present), half)
    }
}

impl<T: Lane, const RADIX: usize, const CODES: usize> BitColumns<'_, T, RADIX, CODES> {
    /// The words of a range of rows that have something to say.
    #[inline(always)]
    fn words(&self, rows: Range<usize>, skip: bool) -> impl Iterator<Item = WordOfRows<'_>> {
        let words = row_words(self.rows.columns());
        let part = rows.start * words..rows.end * words;
        let values = self.rows.values().get(part.clone()).unwrap_or(&[]);
        let present = self.rows.present().map_or(values, |present| present.get(part).unwrap_or(&[]));
        let used = move |&word: &usize| !skip || self.active.word(word) != 0;
        (0..words).filter(used).map(move |word| WordOfRows { word, words, values, present })
    }

    /// Groups in half of a word.
    #[inline(always)]
    fn half_groups(&self, word: usize) -> usize {
        (self.rows.columns() - first_column(word, 0, 0)).div_ceil(2 * GROUP).min(HALF_GROUPS)
    }

    /// The tables of a word's even and of its odd groups.
    #[inline(always)]
    fn tables_of<const L: usize>(&self, block: LaneBlock, word: usize) -> [&[[[T; L]; CODES]]; 2] {
        let groups = self.tables.as_chunks::<L>().0.as_chunks::<CODES>().0;
        let start = block.nth * groups.len() / self.classes.div_ceil(L).max(1) + word * 2 * HALF_GROUPS;
        let half = self.half_groups(word);
        groups
            .get(start..start + 2 * half)
            .and_then(|groups| groups.split_at_checked(half))
            .map_or([&[]; 2], Into::into)
    }
}

impl<T: Lane, const L: usize, const RADIX: usize, const CODES: usize> LaneColumns<L>
    for BitColumns<'_, T, RADIX, CODES>
{
    #[inline(always)]
    fn add_logs(&self, block: LaneBlock, rows: Range<usize>, log_joints: &mut [[f64; L]]) {
        for word in self.words(rows, true) {
            let [even, odd] = self.tables_of::<L>(block, word.word);
            // A whole word's number of groups is known to the compiler.
            match (even.first_chunk::<HALF_GROUPS>(), odd.first_chunk::<HALF_GROUPS>()) {
                (Some(even), Some(odd)) => look_up::<T, L, RADIX, CODES>(word, even, odd, block, log_joints),
                _ => look_up::<T, L, RADIX, CODES>(word, even, odd, block, log_joints),
            }
        }
    }

    #[inline(always)]
    fn add_counts(
        &self,
        block: LaneBlock,
        rows: Range<usize>,
        responsibilities: &[[f64; L]],
        counts: &mut [f64],
    ) {
        for word in self.words(rows, self.active.partial) {
            for half in 0..2 {
                let mut memory = Aligned([[[T::default(); L]; CODES]; HALF_GROUPS]);
                let memory = &mut memory.0;
                let groups = self.half_groups(word.word);
                if groups == HALF_GROUPS {
                    fill_buckets::<T, L, RADIX, CODES>(word, half, block, responsibilities, memory);
                } else if let Some(buckets) = memory.get_mut(..groups) {
                    fill_buckets::<T, L, RADIX, CODES>(word, half, block, responsibilities, buckets);
                }
                for (group, buckets) in memory.iter_mut().take(groups).enumerate() {
                    self.add_columns(
                        first_column(word.word, half, group),
                        block,
                        unfold(buckets, RADIX),
                        counts,
                    );
                }
            }
        }
    }
}

impl<T: Lane, const RADIX: usize, const CODES: usize> BitColumns<'_, T, RADIX, CODES> {
    /// Adds what the buckets of one group held to `counts`.
    #[inline(always)]
    fn add_columns<const L: usize>(
        &self,
        first: usize,
        block: LaneBlock,
        columns: [[[T; L]; 2]; GROUP],
        counts: &mut [f64],
    ) {
        let Some((ones, present)) = counts.split_at_mut_checked(self.rows.columns() * self.classes) else {
            return;
        };
        for (column, sums) in (first..self.rows.columns()).zip(columns) {
            let cells = column * self.classes..(column + 1) * self.classes;
            for (table, sum) in [&mut *ones, &mut *present].into_iter().zip(sums) {
                if let Some(row) = table.get_mut(cells.clone()) {
                    block.add_to(&sum.map(T::to_f64), row);
                }
            }
        }
    }
}

#[inline(always)]
fn look_up<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    word: WordOfRows<'_>,
    even: &[[[T; L]; CODES]],
    odd: &[[[T; L]; CODES]],
    block: LaneBlock,
    log_joints: &mut [[f64; L]],
) {
    for (row, (values, present)) in log_joints.chunks_exact_mut(block.of).zip(word.rows()) {
        let Some(log_joint) = row.get_mut(block.place) else { continue };
        let (mut sum, mut more) = ([T::default(); L], [T::default(); L]);
        for (table, byte) in even.iter().zip(&word.bytes::<RADIX>(values, present, 0)) {
            if let Some(entry) = table.get(code::<RADIX>(*byte)) {
                add(&mut sum, entry);
            }
        }
        for (table, byte) in odd.iter().zip(&word.bytes::<RADIX>(values, present, 1)) {
            if let Some(entry) = table.get(code::<RADIX>(*byte)) {
                add(&mut more, entry);
            }
        }
        add(&mut sum, &more);
        add_wide(log_joint, &sum);
    }
}

#[inline(always)]
fn fill_buckets<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    word: WordOfRows<'_>,
    half: usize,
    block: LaneBlock,
    responsibilities: &[[f64; L]],
    buckets: &mut [[[T; L]; CODES]],
) {
    for (row, (values, present)) in responsibilities.chunks_exact(block.of).zip(word.rows()) {
        let Some(row) = row.get(block.place) else { continue };
        let row = narrow::<T, L>(row);
        for (buckets, byte) in buckets.iter_mut().zip(&word.bytes::<RADIX>(values, present, half)) {
            if let Some(bucket) = buckets.get_mut(code::<RADIX>(*byte)) {
                add(bucket, &row);
            }
        }
    }
}
