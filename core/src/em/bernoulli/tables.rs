//! Sums over groups of binary columns, looked up instead of added up.
//!
//! A word of 64 columns is cut into bytes. The expectation tabulates, for every byte, the sum of the group's logarithms
//! in all classes; a row then costs one vector addition for eight columns.
//!
//! ```text
//!   word     … 01100101 11000100      groups g₁ g₀
//!   sum[lanes] += table[g][byte][lanes]
//! ```
//!
//! Where values may be missing a second table, looked up by the bits of what is absent, takes back what a missing
//! value, a zero in memory, has added.
//!
//! *Why eight:* the sums are bound by how many table entries a core can load, one cache line of 16 lanes a cycle. The
//! tables of a word are larger than the first-level cache then, but most rows meet the same few bytes in a group, and
//! where they do not, the second level keeps up.
//!
//! *Why 257 entries:* bytes of neighbouring groups are often equal (all zero), and entries 16 kB apart share one set of a
//! first-level cache, which holds fewer lines than a word has groups. That took a fifth more time.

use crate::em::ActiveColumns;
use crate::em::lanes::{Lane, add, narrow};
use crate::numeric::ln_slice;

/// Columns of a group.
pub(super) const GROUP: usize = 8;

/// Groups of a word.
pub(super) const GROUPS: usize = 8;

/// Codes of half a group.
const HALF: usize = 1 << (GROUP / 2);

/// An entry for every byte, and one that is not used.
pub(super) type Group<T, const L: usize> = [[T; L]; HALF * HALF + 1];

/// Entries in the tables of one block of lanes.
pub(super) const fn entries(columns: usize) -> usize {
    columns.div_ceil(GROUP) * (HALF * HALF + 1)
}

/// The entry of a group of a word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the group is the lowest byte")]
pub(super) fn entry<T, const L: usize>(table: &Group<T, L>, word: u64, nth: usize) -> &[T; L] {
    let [entries @ .., _] = table;
    entries.get(usize::from((word >> (nth * GROUP)) as u8)).unwrap_or(&table[0])
}

/// Fills the tables of one block of lanes; `logs` gives what a zero and a one of a column add.
#[inline(always)]
pub(super) fn fill<T: Lane, const L: usize>(
    tables: &mut [Group<T, L>],
    columns: usize,
    active: ActiveColumns<'_>,
    logs: impl Fn(usize) -> [[f64; L]; 2],
) {
    for (nth, table) in tables.iter_mut().enumerate() {
        let [low, high] = [0, GROUP / 2].map(|first| {
            half_sums(|place| {
                let column = nth * GROUP + first + place;
                (column < columns && active.contains(column)).then(|| logs(column))
            })
        });
        for (entries, high) in table.chunks_exact_mut(HALF).zip(&high) {
            for (entry, low) in entries.iter_mut().zip(&low) {
                let mut sum = *low;
                add(&mut sum, high);
                *entry = narrow(&sum);
            }
        }
    }
}

/// Fills an entry for every column with what a one adds.
#[inline(always)]
pub(super) fn fill_singly<T: Lane, const L: usize>(
    entries: &mut [[T; L]],
    columns: usize,
    active: ActiveColumns<'_>,
    logs: impl Fn(usize) -> [[f64; L]; 2],
) {
    for (column, entry) in entries.iter_mut().enumerate().take(columns) {
        let [_, one] = if active.contains(column) { logs(column) } else { [[0.0; L]; 2] };
        *entry = narrow(&one);
    }
}

/// The sums of half a group, place by place: twice as many entries with each.
#[inline(always)]
fn half_sums<const L: usize>(logs: impl Fn(usize) -> Option<[[f64; L]; 2]>) -> [[f64; L]; HALF] {
    let mut sums = [[0.0; L]; HALF];
    for place in 0..GROUP / 2 {
        let [zero, one] = logs(place).unwrap_or([[0.0; L]; 2]);
        let (zeros, ones) = sums.split_at_mut(1 << place);
        for (of_zero, of_one) in zeros.iter_mut().zip(ones) {
            *of_one = *of_zero;
            add(of_one, &one);
            add(of_zero, &zero);
        }
    }
    sums
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
