//! Expected counts of binary columns: the expectation's look-ups with rows and columns changing places.
//!
//! Of 64 rows the words are transposed: a word then holds one column of these rows. It is cut into groups of six rows,
//! and for each group the sums of the responsibilities of every subset of its rows are tabulated, once for all columns.
//! A column costs one vector addition for six rows:
//!
//! ```text
//!   count[column][lanes] += table[g][code][lanes]      g = 0 … 10, code: six bits of the column's word
//! ```
//!
//! *Why not add the rows' responsibilities to buckets, one for every code of a group of columns:* that writes a bucket
//! for every one it reads, at half the pace of reading, and has to wait for it where two rows meet in the same one. It
//! took half as long again.
//!
//! *Why six rows:* the tables, 45 kB for 16 lanes of single precision, stay close to the first-level cache. Five rows
//! took a tenth longer.

use core::hint::black_box;

use crate::em::lanes::{Lane, add, narrow};
use crate::observations::WORD_BITS;

/// Rows that a transposed word holds.
pub(super) const ROWS: usize = WORD_BITS;

/// Words transposed at once: as many as a wide register holds.
pub(super) const WORDS: usize = 8;

/// Rows of a group.
const GROUP: usize = 6;

/// Groups of a word; the last has four rows.
const GROUPS: usize = ROWS.div_ceil(GROUP);

/// Codes of a group.
const CODES: usize = 1 << GROUP;

/// The sums of the responsibilities of some of 64 rows, by groups. One entry of each is not used: without it the
/// entries of one code in all groups would share a set of the cache.
pub(super) struct Subsets<T, const L: usize>([[[T; L]; CODES + 1]; GROUPS]);

impl<T: Lane, const L: usize> Subsets<T, L> {
    #[inline(always)]
    pub fn new() -> Self {
        Self([[[T::default(); L]; _]; _])
    }

    /// Tabulates the responsibilities of at most 64 rows; those that are not there have none.
    #[inline(always)]
    pub fn fill<'a>(&mut self, mut rows: impl Iterator<Item = &'a [f64; L]>) {
        for table in &mut self.0 {
            for place in 0..GROUP {
                let row = rows.next().map_or([T::default(); L], narrow);
                let (without, with) = table.split_at_mut(1 << place);
                for (without, with) in without.iter().zip(with) {
                    let mut sum = *without;
                    add(&mut sum, &row);
                    *with = sum;
                }
            }
        }
    }

    /// Adds the responsibilities of the rows whose bits are set.
    #[inline(always)]
    pub fn add_to(&self, word: u64, sum: &mut [T; L]) {
        // Otherwise the compiler would gather entries of several columns instead of taking all lanes of one.
        let word = black_box(word);
        let [tables @ .., last] = &self.0;
        // Two sums, so that an addition need not wait for the one before.
        let mut other = *entry(last, word, GROUPS - 1);
        for (nth, [first, second]) in tables.as_chunks::<2>().0.iter().enumerate() {
            add(sum, entry(first, word, 2 * nth));
            add(&mut other, entry(second, word, 2 * nth + 1));
        }
        add(sum, &other);
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "six bits are left")]
fn entry<T, const L: usize>(table: &[[T; L]; CODES + 1], word: u64, nth: usize) -> &[T; L] {
    let code = (word >> (nth * GROUP)) as usize & (CODES - 1);
    table.get(code).unwrap_or(&table[0])
}

/// Transposes the bits of 64 rows, in each of some words: bit `c` of row `r` changes places with bit `r` of row `c`.
#[inline(always)]
pub(super) fn transpose(rows: &mut [[u64; WORDS]; ROWS]) {
    swap::<32>(rows, 0x0000_0000_ffff_ffff);
    swap::<16>(rows, 0x0000_ffff_0000_ffff);
    swap::<8>(rows, 0x00ff_00ff_00ff_00ff);
    swap::<4>(rows, 0x0f0f_0f0f_0f0f_0f0f);
    swap::<2>(rows, 0x3333_3333_3333_3333);
    swap::<1>(rows, 0x5555_5555_5555_5555);
}

/// Exchanges the bits above the mask in one row with those within it `N` rows further.
#[inline(always)]
fn swap<const N: usize>(rows: &mut [[u64; WORDS]; ROWS], mask: u64) {
    for rows in rows.as_flattened_mut().chunks_exact_mut(2 * N * WORDS) {
        // Otherwise the compiler would gather a word of every pair of rows instead of taking the words of one pair.
        let (upper, lower) = black_box(rows).split_at_mut_checked(N * WORDS).unwrap_or_default();
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let exchanged = ((*upper >> N) ^ *lower) & mask;
            *upper ^= exchanged << N;
            *lower ^= exchanged;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::array::from_fn;

    use super::*;

    #[test]
    fn transposing_exchanges_rows_and_bits() {
        // Word by word another pattern, none of them symmetric.
        let bit = |word: usize, row: usize, column: usize| (row * row + 3 * column + word) % 7 < 3;
        let mut rows = [[0; WORDS]; ROWS];
        for (row, words) in rows.iter_mut().enumerate() {
            for (word, bits) in words.iter_mut().enumerate() {
                *bits = (0..ROWS).fold(0, |bits, column| bits | u64::from(bit(word, row, column)) << column);
            }
        }
        transpose(&mut rows);
        for (column, words) in rows.iter().enumerate() {
            for (word, bits) in words.iter().enumerate() {
                for row in 0..ROWS {
                    assert_eq!(bits >> row & 1 == 1, bit(word, row, column), "{word} {row} {column}");
                }
            }
        }
    }

    #[test]
    fn subsets_sum_the_rows_whose_bits_are_set() {
        for len in [1, 6, 7, 63, 64] {
            let rows: [[f64; 4]; ROWS] =
                from_fn(|row| from_fn(|lane| if row < len { (1 + row * (1 << lane)) as f64 } else { 0.0 }));
            let mut subsets = Subsets::<f64, 4>::new();
            subsets.fill(rows.iter().take(len));
            for word in [0, 1, 0x8000_0000_0000_0000, 0x0123_4567_89ab_cdef, u64::MAX] {
                let mut sum = [0.5; 4];
                subsets.add_to(word, &mut sum);
                let set = rows.iter().enumerate().filter(|(row, _)| word >> row & 1 == 1);
                let expected = set.fold([0.5; 4], |mut sum, (_, row)| {
                    add(&mut sum, row);
                    sum
                });
                assert_eq!(sum, expected, "{len} rows, {word:x}");
            }
        }
    }
}
