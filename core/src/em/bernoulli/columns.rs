//! The two loops over rows: log-joints of the expectation, counts of the accumulation.

use core::iter::Zip;
use core::ops::Range;
use core::slice::ChunksExact;

use super::tables::{LARGEST_GROUP, code, group, groups, unfold};
use crate::em::ActiveColumns;
use crate::em::lanes::{Aligned, Lane, LaneBlock, LaneColumns, add, add_wide, narrow};
use crate::observations::{PackedRows, WORD_BITS, row_words};

/// Binary columns with their tables; the buckets of `TILE` groups of `CODES` codes are filled at a time.
pub(super) struct BitColumns<'a, T, const RADIX: usize, const CODES: usize, const TILE: usize> {
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
    /// Each row's words: the one of interest and its mask are [`of`](Self::of) them.
    #[inline(always)]
    fn rows(&self) -> Zip<ChunksExact<'a, u64>, ChunksExact<'a, u64>> {
        self.values.chunks_exact(self.words).zip(self.present.chunks_exact(self.words))
    }

    #[inline(always)]
    fn of(&self, words: &[u64]) -> u64 {
        words.get(self.word).copied().unwrap_or(0)
    }
}

impl<T: Lane, const RADIX: usize, const CODES: usize, const TILE: usize>
    BitColumns<'_, T, RADIX, CODES, TILE>
{
    /// The words of a range of rows; those without an active column may be skipped.
    #[inline(always)]
    fn words(&self, rows: Range<usize>, skip: bool) -> impl Iterator<Item = WordOfRows<'_>> {
        let words = row_words(self.rows.columns());
        let part = rows.start * words..rows.end * words;
        let values = self.rows.values().get(part.clone()).unwrap_or(&[]);
        let present = self.rows.present().map_or(values, |present| present.get(part).unwrap_or(&[]));
        let used = move |&word: &usize| !skip || self.active.word(word) != 0;
        (0..words).filter(used).map(move |word| WordOfRows { word, words, values, present })
    }

    /// Groups of a word.
    #[inline(always)]
    fn groups_of(&self, word: usize) -> usize {
        (self.rows.columns() - word * WORD_BITS).min(WORD_BITS).div_ceil(group(RADIX))
    }

    /// The tables of a word's groups.
    #[inline(always)]
    fn tables_of<const L: usize>(&self, block: LaneBlock, word: usize) -> &[[[T; L]; CODES]] {
        let tables = self.tables.as_chunks::<L>().0.as_chunks::<CODES>().0;
        let blocks = self.classes.div_ceil(L).max(1);
        let start = block.nth * (tables.len() / blocks) + word * groups(RADIX);
        tables.get(start..start + self.groups_of(word)).unwrap_or(&[])
    }

    /// Adds what the buckets of one group held to `counts`.
    #[inline(always)]
    fn add_columns<const L: usize>(
        &self,
        columns: Range<usize>,
        block: LaneBlock,
        sums: [[[T; L]; 2]; LARGEST_GROUP],
        counts: &mut [f64],
    ) {
        let len = self.rows.columns() * self.classes;
        let Some((ones, present)) = counts.split_at_mut_checked(len) else { return };
        for (column, [of_ones, of_present]) in columns.zip(&sums) {
            let cells = column * self.classes..(column + 1) * self.classes;
            for (table, sum) in [(&mut *ones, of_ones), (&mut *present, of_present)] {
                if let Some(row) = table.get_mut(cells.clone()) {
                    let mut wide = [0.0; L];
                    add_wide(&mut wide, sum);
                    block.add_to(&wide, row);
                }
            }
        }
    }
}

impl<T: Lane, const L: usize, const RADIX: usize, const CODES: usize, const TILE: usize> LaneColumns<L>
    for BitColumns<'_, T, RADIX, CODES, TILE>
{
    #[inline(always)]
    fn add_logs(&self, block: LaneBlock, rows: Range<usize>, log_joints: &mut [[f64; L]]) {
        let mut words = self.words(rows, true);
        while let Some(word) = words.next() {
            let tables = self.tables_of::<L>(block, word.word);
            // The number of groups of a whole word is known to the compiler.
            let Some(tables) = tables.get(..groups(RADIX)) else {
                look_up::<T, L, RADIX, CODES>(word, tables, block, log_joints);
                continue;
            };
            match words.next().map(|next| (next, self.tables_of::<L>(block, next.word))) {
                Some((next, others)) => match others.get(..groups(RADIX)) {
                    Some(others) => look_up_two::<T, L, RADIX, CODES>((word, tables), (next, others), block, log_joints),
                    None => {
                        look_up::<T, L, RADIX, CODES>(word, tables, block, log_joints);
                        look_up::<T, L, RADIX, CODES>(next, others, block, log_joints);
                    }
                },
                None => look_up::<T, L, RADIX, CODES>(word, tables, block, log_joints),
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
            for first in (0..self.groups_of(word.word)).step_by(TILE) {
                let mut memory = Aligned([[[T::default(); L]; CODES]; TILE]);
                let buckets = &mut memory.0;
                let used = TILE.min(self.groups_of(word.word) - first);
                if used == TILE {
                    fill_buckets::<T, L, RADIX, CODES>(word, first, block, responsibilities, buckets);
                } else if let (true, Some(buckets)) = (used == 5, buckets.first_chunk_mut::<5>()) {
                    fill_buckets::<T, L, RADIX, CODES>(word, first, block, responsibilities, buckets);
                } else if let Some(buckets) = buckets.get_mut(..used) {
                    fill_buckets::<T, L, RADIX, CODES>(word, first, block, responsibilities, buckets);
                }
                for (nth, buckets) in (first..).zip(buckets.iter_mut().take(used)) {
                    let [start, end] = [nth, nth + 1].map(|nth| (nth * group(RADIX)).min(WORD_BITS));
                    let [start, end] =
                        [start, end].map(|bit| (word.word * WORD_BITS + bit).min(self.rows.columns()));
                    self.add_columns(start..end, block, unfold(buckets, RADIX), counts);
                }
            }
        }
    }
}

#[inline(always)]
fn look_up<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    word: WordOfRows<'_>,
    tables: &[[[T; L]; CODES]],
    block: LaneBlock,
    log_joints: &mut [[f64; L]],
) {
    for (row, (values, present)) in log_joints.chunks_exact_mut(block.of).zip(word.rows()) {
        let Some(log_joint) = row.get_mut(block.place) else { continue };
        add_wide(log_joint, &sum::<T, L, RADIX, CODES>(word.of(values), word.of(present), tables));
    }
}

#[inline(always)]
fn look_up_two<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    (word, tables): (WordOfRows<'_>, &[[[T; L]; CODES]]),
    (next, others): (WordOfRows<'_>, &[[[T; L]; CODES]]),
    block: LaneBlock,
    log_joints: &mut [[f64; L]],
) {
    for (row, (values, present)) in log_joints.chunks_exact_mut(block.of).zip(word.rows()) {
        let Some(log_joint) = row.get_mut(block.place) else { continue };
        let mut wide = [0.0; L];
        add_wide(&mut wide, &sum::<T, L, RADIX, CODES>(word.of(values), word.of(present), tables));
        add_wide(&mut wide, &sum::<T, L, RADIX, CODES>(next.of(values), next.of(present), others));
        add(log_joint, &wide);
    }
}

#[inline(always)]
fn sum<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    values: u64,
    present: u64,
    tables: &[[[T; L]; CODES]],
) -> [T; L] {
    // Two sums, so that an addition need not wait for the one before.
    let (mut even, mut odd) = ([T::default(); L], [T::default(); L]);
    let (pairs, last) = tables.as_chunks::<2>();
    for (nth, [first, second]) in pairs.iter().enumerate() {
        if let Some(entry) = first.get(code::<RADIX>(values, present, 2 * nth)) {
            add(&mut even, entry);
        }
        if let Some(entry) = second.get(code::<RADIX>(values, present, 2 * nth + 1)) {
            add(&mut odd, entry);
        }
    }
    for table in last {
        if let Some(entry) = table.get(code::<RADIX>(values, present, tables.len() - 1)) {
            add(&mut even, entry);
        }
    }
    add(&mut even, &odd);
    even
}

#[inline(always)]
fn fill_buckets<T: Lane, const L: usize, const RADIX: usize, const CODES: usize>(
    word: WordOfRows<'_>,
    first: usize,
    block: LaneBlock,
    responsibilities: &[[f64; L]],
    buckets: &mut [[[T; L]; CODES]],
) {
    let shift = first * group(RADIX);
    for (row, (values, present)) in responsibilities.chunks_exact(block.of).zip(word.rows()) {
        let Some(row) = row.get(block.place) else { continue };
        let (values, present) = (word.of(values) >> shift, word.of(present) >> shift);
        let row = narrow::<T, L>(row);
        for (nth, buckets) in buckets.iter_mut().enumerate() {
            if let Some(bucket) = buckets.get_mut(code::<RADIX>(values, present, nth)) {
                add(bucket, &row);
            }
        }
    }
}
