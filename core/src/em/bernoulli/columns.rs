//! The two loops over rows: log-joints of the expectation, counts of the accumulation.

use core::hint::black_box;
use core::ops::Range;

use super::absent::AbsentColumns;
use super::counts::{ROWS, Subsets, WORDS, transpose};
use super::tables::{GROUPS, Group, entry};
use crate::em::ActiveColumns;
use crate::em::lanes::{Aligned, Lane, LaneBlock, LaneColumns, add, add_wide};
use crate::observations::{PackedRows, WORD_BITS, row_words};

/// Words whose tables are looked up for one row before the next: half of what second-level caches hold.
const PASS: usize = 4;

/// Words that are counted at once.
const SPAN: usize = 2 * WORDS;

/// Binary columns with their tables.
pub(super) struct BitColumns<'a, T> {
    pub rows: PackedRows<'a>,
    pub classes: usize,
    pub active: ActiveColumns<'a>,
    /// What is absent, if it is taken one by one; the tables of absence then start with `[columns, lanes]`.
    pub absent: Option<AbsentColumns<'a>>,
    /// `[blocks, planes, entries, lanes]`: of the values and, where they may be missing, of what is absent.
    pub tables: &'a [T],
}

/// A plane of some rows: their values, or which are present.
#[derive(Clone, Copy)]
struct Plane<'a> {
    bits: &'a [u64],
    /// Words of a row.
    words: usize,
    /// Whether it says which values are present.
    of_presence: bool,
}

impl<'a> Plane<'a> {
    /// The words of every row.
    #[inline(always)]
    fn rows(&self) -> core::slice::ChunksExact<'a, u64> {
        self.bits.chunks_exact(self.words.max(1))
    }

    /// What a word adds to log-joints is looked up by: values, or what is absent.
    #[inline(always)]
    fn looked_up(&self, word: u64) -> u64 {
        if self.of_presence { !word } else { word }
    }

    /// Some words of at most [`ROWS`] rows, transposed; zeros for rows and words that are not there.
    #[inline(always)]
    fn transposed(&self, words: Range<usize>, block: &mut [[u64; WORDS]; ROWS]) {
        *block = [[0; WORDS]; ROWS];
        for (block, row) in block.iter_mut().zip(self.rows()) {
            for (block, word) in block.iter_mut().zip(row.get(words.clone()).unwrap_or(&[])) {
                *block = *word;
            }
        }
        transpose(block);
    }

    /// Adds what the words from `start` say of every row.
    #[inline(always)]
    fn add_pass<T: Lane, const L: usize>(
        &self,
        start: usize,
        tables: &[[Group<T, L>; GROUPS]; PASS],
        block: LaneBlock,
        log_joints: &mut [[f64; L]],
    ) {
        for (row, words) in log_joints.chunks_exact_mut(block.of.max(1)).zip(self.rows()) {
            let words = words.get(start..).and_then(|words| words.first_chunk::<PASS>());
            let (Some(log_joint), Some(words)) = (row.get_mut(block.place), words) else { continue };
            let mut wide = [0.0; L];
            for ([first, second], [tables, others]) in
                words.as_chunks::<2>().0.iter().zip(tables.as_chunks::<2>().0)
            {
                let mut both = sum(self.looked_up(*first), tables);
                add(&mut both, &sum(self.looked_up(*second), others));
                // Otherwise the compiler would take the registers of single precision by halves.
                add_wide(&mut wide, &black_box(Aligned(both)).0);
            }
            add(log_joint, &wide);
        }
    }

    /// Adds what one word says of every row.
    #[inline(always)]
    fn add_word<T: Lane, const L: usize>(
        &self,
        word: usize,
        tables: &[Group<T, L>],
        block: LaneBlock,
        log_joints: &mut [[f64; L]],
    ) {
        for (row, words) in log_joints.chunks_exact_mut(block.of.max(1)).zip(self.rows()) {
            let (Some(log_joint), Some(word)) = (row.get_mut(block.place), words.get(word)) else { continue };
            let (word, mut sum) = (self.looked_up(*word), [T::default(); L]);
            for (nth, table) in tables.iter().enumerate() {
                add(&mut sum, entry(table, word, nth));
            }
            add_wide(log_joint, &sum);
        }
    }
}

impl<'a, T: Lane> BitColumns<'a, T> {
    /// Values, and where they may be missing, which are present.
    fn planes(&self) -> usize {
        1 + usize::from(self.rows.present().is_some())
    }

    /// A plane of a range of rows.
    #[inline(always)]
    fn plane(&self, nth: usize, rows: Range<usize>) -> Plane<'a> {
        let words = row_words(self.rows.columns());
        let bits = if nth == 0 { self.rows.values() } else { self.rows.present().unwrap_or(&[]) };
        Plane {
            bits: bits.get(rows.start * words..rows.end * words).unwrap_or(&[]),
            words,
            of_presence: nth == 1,
        }
    }

    /// The tables of a plane.
    #[inline(always)]
    fn tables<const L: usize>(&self, block: LaneBlock, plane: usize) -> &'a [Group<T, L>] {
        let tables = self.tables.as_chunks::<L>().0.as_chunks().0;
        let groups = tables.len() / (self.classes.div_ceil(L).max(1) * self.planes());
        let start = (block.nth * self.planes() + plane) * groups;
        tables.get(start..start + groups).unwrap_or(&[])
    }

    /// Adds one block of responsibilities to the counts `[columns, classes]` of a span of words.
    #[inline(always)]
    fn add_span<const L: usize>(
        &self,
        span: Range<usize>,
        plane: Plane<'_>,
        (block, responsibilities): (LaneBlock, &[[f64; L]]),
        counts: &mut [f64],
    ) {
        let mut sums: Aligned<[[[T; L]; WORD_BITS]; SPAN]> = Aligned([[[T::default(); L]; _]; _]);
        let (mut subsets, mut transposed) = (Aligned(Subsets::new()), Aligned([[0; WORDS]; ROWS]));
        let rows = plane.bits.chunks((ROWS * plane.words).max(1));
        for (bits, responsibilities) in rows.zip(responsibilities.chunks((ROWS * block.of).max(1))) {
            subsets.0.fill(responsibilities.iter().skip(block.place).step_by(block.of.max(1)));
            for (start, sums) in span.clone().step_by(WORDS).zip(sums.0.chunks_mut(WORDS)) {
                let words = start..span.end.min(start + WORDS);
                Plane { bits, ..plane }.transposed(words.clone(), &mut transposed.0);
                for ((nth, word), sums) in words.enumerate().zip(sums) {
                    let columns = if self.counts(word) { self.columns_of(word).len() } else { 0 };
                    for (sum, words) in sums.iter_mut().zip(&transposed.0).take(columns) {
                        subsets.0.add_to(words.get(nth).copied().unwrap_or(0), sum);
                    }
                }
            }
        }
        for (word, sums) in span.zip(&sums.0) {
            self.add_word(word, block, sums, counts);
        }
    }

    /// Adds the sums of one word's columns to the counts `[columns, classes]`.
    #[inline(always)]
    fn add_word<const L: usize>(
        &self,
        word: usize,
        block: LaneBlock,
        sums: &[[T; L]; WORD_BITS],
        counts: &mut [f64],
    ) {
        for (column, sum) in self.columns_of(word).zip(sums) {
            if let Some(row) = counts.get_mut(column * self.classes..(column + 1) * self.classes) {
                let mut wide = [0.0; L];
                add_wide(&mut wide, sum);
                block.add_to(&wide, row);
            }
        }
    }

    /// Whether the columns of a word are counted.
    #[inline(always)]
    fn counts(&self, word: usize) -> bool {
        !self.active.partial || self.active.word(word) != 0
    }

    /// The columns of a word.
    #[inline(always)]
    fn columns_of(&self, word: usize) -> Range<usize> {
        word * WORD_BITS..self.rows.columns().min((word + 1) * WORD_BITS)
    }
}

impl<T: Lane, const L: usize> LaneColumns<L> for BitColumns<'_, T> {
    #[inline(always)]
    fn add_logs(&self, block: LaneBlock, rows: Range<usize>, log_joints: &mut [[f64; L]]) {
        for nth in 0..self.planes() {
            if let (1, Some(absent)) = (nth, self.absent) {
                let logs = self.tables::<L>(block, nth).as_flattened();
                return absent.of_rows(rows).add_logs(logs, block, log_joints);
            }
            let plane = self.plane(nth, rows.clone());
            let (words, last) = self.tables::<L>(block, nth).as_chunks::<GROUPS>();
            let (passes, others) = words.as_chunks::<PASS>();
            let is_active = |word: usize| self.active.word(word) != 0;
            for (nth, tables) in passes.iter().enumerate() {
                if (nth * PASS..(nth + 1) * PASS).any(is_active) {
                    plane.add_pass(nth * PASS, tables, block, log_joints);
                }
            }
            for (word, tables) in (passes.len() * PASS..).zip(others) {
                if is_active(word) {
                    plane.add_word(word, tables, block, log_joints);
                }
            }
            if !last.is_empty() && is_active(words.len()) {
                plane.add_word(words.len(), last, block, log_joints);
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
        for (nth, counts) in counts.chunks_exact_mut((columns * self.classes).max(1)).enumerate() {
            if let (1, Some(absent)) = (nth, self.absent) {
                return absent.of_rows(rows).add_present(self.classes, (block, responsibilities), counts);
            }
            let plane = self.plane(nth, rows.clone());
            for start in (0..plane.words).step_by(SPAN) {
                let span = start..plane.words.min(start + SPAN);
                self.add_span(span, plane, (block, responsibilities), counts);
            }
        }
    }
}

/// The sum of the entries of a word's groups.
#[inline(always)]
fn sum<T: Lane, const L: usize>(word: u64, tables: &[Group<T, L>; GROUPS]) -> [T; L] {
    let [first, second, others @ ..] = tables;
    // Two sums, so that an addition need not wait for the one before.
    let (mut even, mut odd) = (*entry(first, word, 0), *entry(second, word, 1));
    for (nth, [first, second]) in (1..).zip(others.as_chunks::<2>().0) {
        add(&mut even, entry(first, word, 2 * nth));
        add(&mut odd, entry(second, word, 2 * nth + 1));
    }
    add(&mut even, &odd);
    even
}
