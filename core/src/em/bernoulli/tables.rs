//! Sums over groups of binary columns, looked up instead of added up.
//!
//! A word of 64 columns is cut into groups of six. The six bits of a group are its *code*. The expectation tabulates,
//! for every code, the sum of the group's logarithms in all classes; a row then costs one vector addition a group. The
//! accumulation is the mirror image: the row's responsibilities are added to its codes' *buckets*, and
//! buckets are unfolded into columns for many rows at once.
//!
//! ```text
//!   word     … 011010 110001      groups g₁ g₀, one code each
//!   expectation    sum[lanes] += table[g][code][lanes]
//!   accumulation   bucket[g][code][lanes] += responsibilities[lanes]
//! ```
//!
//! Where values may be missing a second table, looked up by the bits of what is absent, takes back what a missing
//! value, a zero in memory, has added; and a second set of buckets counts what is present.
//!
//! *Why six:* 64 codes of 16 lanes of single precision are 4 kB, so the groups of a word stay close to the first-level
//! cache. Four columns take half as many additions again; eight would take 16 kB a group.
//!
//! *Why 65 entries:* codes of neighbouring groups are often equal (all zero), and entries 4 kB apart share one set of a
//! first-level cache, which holds fewer lines than a word has groups. That took twice the time.

use crate::em::ActiveColumns;
use crate::em::lanes::{Lane, add, narrow};
use crate::numeric::ln_slice;
use crate::observations::{WORD_BITS, row_words};

/// Columns of a group.
pub(super) const GROUP: usize = 6;

/// Groups of a word; the last has four columns.
pub(super) const GROUPS: usize = WORD_BITS.div_ceil(GROUP);

/// Codes of a group.
const CODES: usize = 1 << GROUP;

/// An entry for every code of a group, and one that is not used.
pub(super) type Group<T, const L: usize> = [[T; L]; CODES + 1];

/// Entries in the tables of one block of lanes.
pub(super) const fn entries(columns: usize) -> usize {
    let in_last = (columns % WORD_BITS).div_ceil(GROUP);
    (columns / WORD_BITS * GROUPS + in_last) * (CODES + 1)
}

/// The code of a group of a word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "six bits are left")]
pub(super) fn code(word: u64, nth: usize) -> usize {
    (word >> (nth * GROUP)) as usize & (CODES - 1)
}

/// Fills the tables of one block of lanes; `logs` gives what a zero and a one of a column add.
#[inline(always)]
pub(super) fn fill<T: Lane, const L: usize>(
    tables: &mut [Group<T, L>],
    columns: usize,
    active: ActiveColumns<'_>,
    logs: impl Fn(usize) -> [[f64; L]; 2],
) {
    for (word, tables) in (0..row_words(columns)).zip(tables.chunks_mut(GROUPS)) {
        for (nth, table) in tables.iter_mut().enumerate() {
            fill_group(table, |place| {
                let bit = nth * GROUP + place;
                let column = word * WORD_BITS + bit;
                let used = bit < WORD_BITS && column < columns && active.contains(column);
                used.then(|| logs(column))
            });
        }
    }
}

/// Fills the table of one group, place by place: twice as many entries with each.
#[inline(always)]
fn fill_group<T: Lane, const L: usize>(
    table: &mut Group<T, L>,
    logs: impl Fn(usize) -> Option<[[f64; L]; 2]>,
) {
    let mut sums = [[0.0; L]; CODES];
    for place in 0..GROUP {
        let [zero, one] = logs(place).unwrap_or([[0.0; L]; 2]);
        let (zeros, ones) = sums.split_at_mut(1 << place);
        for (of_zero, of_one) in zeros.iter_mut().zip(ones) {
            *of_one = *of_zero;
            add(of_one, &one);
            add(of_zero, &zero);
        }
    }
    for (entry, sum) in table.iter_mut().zip(&sums) {
        *entry = narrow(sum);
    }
}

/// The logarithms of a column's `1 − p` and `p`.
#[inline(always)]
pub(super) fn logs_of_values<const L: usize>(probabilities: [f64; L]) -> [[f64; L]; 2] {
    let mut logs = [probabilities.map(|p| 1.0 - p), probabilities];
    logs.iter_mut().for_each(|logs| ln_slice(logs));
    logs
}

/// What present and absent values add to that: an absent one has added the logarithm of `1 − p`.
#[inline(always)]
pub(super) fn logs_of_absence<const L: usize>(probabilities: [f64; L]) -> [[f64; L]; 2] {
    let mut logs = probabilities.map(|p| 1.0 - p);
    ln_slice(&mut logs);
    [[0.0; L], logs.map(|log| -log)]
}

/// The buckets of a group as sums over the codes with a one in each column; the buckets are spent.
#[inline(always)]
pub(super) fn unfold<T: Lane, const L: usize>(buckets: &mut Group<T, L>) -> [[T; L]; GROUP] {
    let mut columns = [[T::default(); L]; GROUP];
    for (place, total) in columns.iter_mut().enumerate().rev() {
        let (low, high) = buckets.split_at_mut(1 << place);
        let mut sum = [T::default(); L];
        for (low, high) in low.iter_mut().zip(high) {
            add(&mut sum, high);
            add(low, high);
        }
        *total = sum;
    }
    columns
}
