//! The two loops over rows: log-joints of the expectation, counts of the accumulation.

use core::ops::Range;

use super::tables::{GROUP, GROUPS, Group, code, unfold};
use crate::em::ActiveColumns;
use crate::em::lanes::{Aligned, Lane, LaneBlock, LaneColumns, add, add_wide, narrow};
use crate::observations::{PackedRows, WORD_BITS, row_words};

/// Binary columns with their tables.
pub(super) struct BitColumns<'a, T> {
    pub rows: PackedRows<'a>,
    pub classes: usize,
    pub active: ActiveColumns<'a>,
    /// `[blocks, planes, entries, lanes]`: of the values and, where they may be missing, of what is absent.
    pub tables: &'a [T],
}

/// One word of some rows.
#[derive(Clone, Copy)]
struct WordOfRows<'a> {
    word: usize,
    /// Words of a row.
    words: usize,
    bits: &'a [u64],
    /// Bits to be read the other way round.
    flipped: u64,
}

impl<'a> WordOfRows<'a> {
    /// Each row's words: the one of interest is [`of`](Self::of) them.
    #[inline(always)]
    fn rows(&self) -> core::slice::ChunksExact<'a, u64> {
        self.bits.chunks_exact(self.words.max(1))
    }

    #[inline(always)]
    fn of(&self, words: &[u64]) -> u64 {
        words.get(self.word).copied().unwrap_or(0) ^ self.flipped
    }
}

/// A word of some rows with the tables of its groups.
type LookUp<'a, T, const L: usize> = (WordOfRows<'a>, &'a [Group<T, L>]);

impl<'a, T: Lane> BitColumns<'a, T> {
    /// Values, and where they may be missing, which are present.
    fn planes(&self) -> usize {
        1 + usize::from(self.rows.present().is_some())
    }

    /// A word of a range of rows in a plane.
    #[inline(always)]
    fn word(&self, plane: usize, word: usize, rows: Range<usize>) -> WordOfRows<'a> {
        let words = row_words(self.rows.columns());
        let bits = if plane == 0 { self.rows.values() } else { self.rows.present().unwrap_or(&[]) };
        let bits = bits.get(rows.start * words..rows.end * words).unwrap_or(&[]);
        WordOfRows { word, words, bits, flipped: 0 }
    }

    /// What a word of a plane adds to log-joints.
    #[inline(always)]
    fn look_up<const L: usize>(
        &self,
        block: LaneBlock,
        (word, plane): (usize, usize),
        rows: Range<usize>,
    ) -> LookUp<'a, T, L> {
        let tables = self.tables.as_chunks::<L>().0.as_chunks().0;
        let planes = self.classes.div_ceil(L).max(1) * self.planes();
        let start = (block.nth * self.planes() + plane) * (tables.len() / planes) + word * GROUPS;
        let tables = tables.get(start..start + self.groups_of(word)).unwrap_or(&[]);
        let flipped = if plane == 0 { 0 } else { u64::MAX };
        (WordOfRows { flipped, ..self.word(plane, word, rows) }, tables)
    }

    /// Groups of a word.
    #[inline(always)]
    fn groups_of(&self, word: usize) -> usize {
        (self.rows.columns() - word * WORD_BITS).min(WORD_BITS).div_ceil(GROUP)
    }

    /// Adds what the buckets of one group held to `counts` `[columns, classes]`.
    #[inline(always)]
    fn add_columns<const L: usize>(
        &self,
        columns: Range<usize>,
        block: LaneBlock,
        sums: &[[T; L]; GROUP],
        counts: &mut [f64],
    ) {
        for (column, sum) in columns.zip(sums) {
            if let Some(row) = counts.get_mut(column * self.classes..(column + 1) * self.classes) {
                let mut wide = [0.0; L];
                add_wide(&mut wide, sum);
                block.add_to(&wide, row);
            }
        }
    }
}

impl<T: Lane, const L: usize> LaneColumns<L> for BitColumns<'_, T> {
    #[inline(always)]
    fn add_logs(&self, block: LaneBlock, rows: Range<usize>, log_joints: &mut [[f64; L]]) {
        let words = (0..row_words(self.rows.columns())).filter(|&word| self.active.word(word) != 0);
        let mut words = words.flat_map(|word| (0..self.planes()).map(move |plane| (word, plane)));
        while let Some(first) = words.next() {
            let (first, tables) = self.look_up::<L>(block, first, rows.clone());
            // The number of groups of a whole word is known to the compiler.
            let Some(tables) = tables.first_chunk::<GROUPS>() else {
                add_word(block, (first, tables), log_joints);
                continue;
            };
            let Some((second, others)) =
                words.next().map(|next| self.look_up::<L>(block, next, rows.clone()))
            else {
                add_word(block, (first, tables), log_joints);
                continue;
            };
            if let Some(others) = others.first_chunk::<GROUPS>() {
                add_two_words(block, (first, tables), (second, others), log_joints);
            } else {
                add_word(block, (first, tables), log_joints);
                add_word(block, (second, others), log_joints);
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
        let columns = self.rows.columns();
        for (plane, counts) in counts.chunks_exact_mut((columns * self.classes).max(1)).enumerate() {
            for word in 0..row_words(columns) {
                if self.active.partial && self.active.word(word) == 0 {
                    continue;
                }
                let bits = self.word(plane, word, rows.clone());
                let mut memory: Aligned<[Group<T, L>; GROUPS]> = Aligned([[[T::default(); L]; _]; GROUPS]);
                let used = self.groups_of(word);
                if used == GROUPS {
                    fill_buckets(block, bits, responsibilities, &mut memory.0);
                } else if let Some(buckets) = memory.0.get_mut(..used) {
                    fill_buckets(block, bits, responsibilities, buckets);
                }
                for (nth, buckets) in memory.0.iter_mut().take(used).enumerate() {
                    let of_bit = |bit: usize| (word * WORD_BITS + bit.min(WORD_BITS)).min(columns);
                    let places = of_bit(nth * GROUP)..of_bit((nth + 1) * GROUP);
                    self.add_columns(places, block, &unfold(buckets), counts);
                }
            }
        }
    }
}

/// Adds what one word says of every row.
#[inline(always)]
fn add_word<T: Lane, const L: usize>(
    block: LaneBlock,
    (word, tables): LookUp<'_, T, L>,
    log_joints: &mut [[f64; L]],
) {
    for (row, words) in log_joints.chunks_exact_mut(block.of.max(1)).zip(word.rows()) {
        let Some(log_joint) = row.get_mut(block.place) else { continue };
        add_wide(log_joint, &sum(word.of(words), tables));
    }
}

/// [`add_word`] of two at a time: log-joints are read and written half as often.
#[inline(always)]
fn add_two_words<T: Lane, const L: usize>(
    block: LaneBlock,
    (first, tables): (WordOfRows<'_>, &[Group<T, L>; GROUPS]),
    (second, others): (WordOfRows<'_>, &[Group<T, L>; GROUPS]),
    log_joints: &mut [[f64; L]],
) {
    let rows = log_joints.chunks_exact_mut(block.of.max(1)).zip(first.rows()).zip(second.rows());
    for ((row, of_first), of_second) in rows {
        let Some(log_joint) = row.get_mut(block.place) else { continue };
        let mut wide = [0.0; L];
        add_wide(&mut wide, &sum(first.of(of_first), tables));
        add_wide(&mut wide, &sum(second.of(of_second), others));
        add(log_joint, &wide);
    }
}

/// The sum of the entries of a word's codes.
#[inline(always)]
fn sum<T: Lane, const L: usize>(word: u64, tables: &[Group<T, L>]) -> [T; L] {
    // Two sums, so that an addition need not wait for the one before.
    let (mut even, mut odd) = ([T::default(); L], [T::default(); L]);
    let (pairs, last) = tables.as_chunks::<2>();
    for (nth, [first, second]) in pairs.iter().enumerate() {
        if let Some(entry) = first.get(code(word, 2 * nth)) {
            add(&mut even, entry);
        }
        if let Some(entry) = second.get(code(word, 2 * nth + 1)) {
            add(&mut odd, entry);
        }
    }
    for table in last {
        if let Some(entry) = table.get(code(word, tables.len() - 1)) {
            add(&mut even, entry);
        }
    }
    add(&mut even, &odd);
    even
}

/// Adds the responsibilities of every row to the buckets of its codes.
#[inline(always)]
fn fill_buckets<T: Lane, const L: usize>(
    block: LaneBlock,
    word: WordOfRows<'_>,
    responsibilities: &[[f64; L]],
    buckets: &mut [Group<T, L>],
) {
    for (row, words) in responsibilities.chunks_exact(block.of.max(1)).zip(word.rows()) {
        let Some(row) = row.get(block.place) else { continue };
        let (row, word) = (narrow::<T, L>(row), word.of(words));
        for (nth, buckets) in buckets.iter_mut().enumerate() {
            if let Some(bucket) = buckets.get_mut(code(word, nth)) {
                add(bucket, &row);
            }
        }
    }
}
