//! Sums over groups of four binary columns, looked up instead of added up.
//!
//! A word of 64 columns has sixteen groups. A group's *code* says which of its values are ones: sixteen codes
//! where none is missing, else 3⁴ (missing, zero, one). The expectation tabulates, for every code, the sum of the
//! group's logarithms in all classes; a row then costs one vector addition a group. The accumulation is the mirror image: the
//! row's responsibilities are added to its codes' *buckets*, and buckets are unfolded into columns for many rows
//! at once. One half word (its even or its odd groups) has tables that stay in the first-level cache.
//!
//! ```text
//!   word     … 0110 1011 0001      groups g₂ g₁ g₀, one code each
//!   expectation    sum[lanes]  += table[g][code][lanes]
//!   accumulation   bucket[g][code][lanes] += responsibilities[lanes]
//! ```

use crate::em::ActiveColumns;
use crate::em::lanes::{Lane, add, narrow};
use crate::numeric::ln_slice;
use crate::observations::{WORD_BITS, row_words};

/// Columns of a group.
pub(super) const GROUP: usize = 4;
/// Groups of a half word.
pub(super) const HALF_GROUPS: usize = WORD_BITS / GROUP / 2;

/// The low half of every byte.
const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// Codes of a group: `radix⁴`.
pub(super) const fn codes(radix: usize) -> usize {
    radix * radix * radix * radix
}

/// Entries in the tables of one block of lanes.
pub(super) const fn entries(columns: usize, radix: usize) -> usize {
    // Whole bytes of columns, so two groups each.
    columns.div_ceil(2 * GROUP) * 2 * codes(radix)
}

/// `Σ 3ⁱ · (present + value)` of the bits `i` of a byte whose low half has the values, its high half what is present.
const TERNARY: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated while compiling")]
    while byte < 256 {
        let (mut place, mut power) = (0, 1);
        while place < GROUP {
            let digit = (byte >> place & 1) + (byte >> (place + GROUP) & 1);
            table[byte] += (digit * power) as u8;
            (place, power) = (place + 1, power * 3);
        }
        byte += 1;
    }
    table
};

/// A byte for each of the even (`half` 0) or odd (1) groups of a word: values, and above them what is present.
#[inline(always)]
pub(super) fn group_bytes<const RADIX: usize>(values: u64, present: u64, half: usize) -> [u8; HALF_GROUPS] {
    let values = values >> (half * GROUP) & LOW;
    let present = present >> (half * GROUP) & LOW;
    (if RADIX == 2 { values } else { values | present << GROUP }).to_le_bytes()
}

/// The code that a group's byte stands for.
#[inline(always)]
pub(super) fn code<const RADIX: usize>(byte: u8) -> usize {
    let byte = usize::from(byte);
    if RADIX == 2 { byte } else { usize::from(TERNARY.get(byte).copied().unwrap_or(0)) }
}

/// The columns of a group: half words hold every second one.
#[inline(always)]
pub(super) fn first_column(word: usize, half: usize, group: usize) -> usize {
    word * WORD_BITS + (2 * group + half) * GROUP
}

/// Fills the tables `[entries]` of one block of lanes; `probabilities` gives a column's, padded with one half.
#[inline(always)]
pub(super) fn fill<T: Lane, const L: usize, const CODES: usize>(
    tables: &mut [[T; L]],
    columns: usize,
    radix: usize,
    active: ActiveColumns<'_>,
    probabilities: impl Fn(usize) -> [f64; L],
) {
    for (word, tables) in (0..row_words(columns)).zip(tables.chunks_mut(2 * HALF_GROUPS * CODES)) {
        let (even, odd) = tables.split_at_mut(tables.len() / 2);
        for (half, tables) in [even, odd].into_iter().enumerate() {
            for (group, table) in tables.as_chunks_mut::<CODES>().0.iter_mut().enumerate() {
                let first = first_column(word, half, group);
                fill_group(table, radix, |place| {
                    let column = first + place;
                    let used = column < columns && active.contains(column);
                    used.then(|| probabilities(column))
                });
            }
        }
    }
}

/// Fills the table `[codes]` of one group, place by place: `radix` times as many entries with each.
#[inline(always)]
fn fill_group<T: Lane, const L: usize>(
    table: &mut [[T; L]],
    radix: usize,
    probabilities: impl Fn(usize) -> Option<[f64; L]>,
) {
    let mut sums = [[0.0; L]; codes(3)];
    let mut filled = 1;
    for place in 0..GROUP {
        // Digits from the last: one, zero and, where values may be missing, nothing.
        let mut logs = [[0.0; L]; 2];
        if let (Some(ones), [zero, one]) = (probabilities(place), &mut logs) {
            (*zero, *one) = (ones.map(|p| 1.0 - p), ones);
            ln_slice(zero);
            ln_slice(one);
        }
        let (done, rest) = sums.split_at_mut(filled);
        for (sums, log) in rest.chunks_exact_mut(filled).zip(logs.iter().skip(3 - radix)) {
            for (sum, before) in sums.iter_mut().zip(done.iter()) {
                *sum = *before;
                add(sum, log);
            }
        }
        if let (2, [zero, _]) = (radix, &logs) {
            done.iter_mut().for_each(|sum| add(sum, zero));
        }
        filled *= radix;
    }
    for (entry, sum) in table.iter_mut().zip(&sums) {
        *entry = narrow(sum);
    }
}

/// The buckets of a group as expected ones and, where values may be missing, values present, of its four columns.
#[inline(always)]
pub(super) fn unfold<T: Lane, const L: usize>(buckets: &mut [[T; L]], radix: usize) -> [[[T; L]; 2]; GROUP] {
    let mut columns = [[[T::default(); L]; 2]; GROUP];
    let mut buckets = buckets;
    for [ones, present] in columns.iter_mut().rev() {
        let below = buckets.len() / radix;
        let Some((low, high)) = core::mem::take(&mut buckets).split_at_mut_checked(below) else { break };
        // The highest digit says one; below it, where values may be missing, zero.
        let (zeros_high, ones_high) = high.split_at(high.len().saturating_sub(below));
        *ones = fold_into(low, ones_high);
        *present = fold_into(low, zeros_high);
        add(present, ones);
        buckets = low;
    }
    columns
}

/// The sum of buckets, which are also added to those that differ in the digit alone.
#[inline(always)]
fn fold_into<T: Lane, const L: usize>(low: &mut [[T; L]], high: &[[T; L]]) -> [T; L] {
    let mut total = [T::default(); L];
    for (low, bucket) in low.iter_mut().zip(high) {
        let bucket = *bucket;
        add(&mut total, &bucket);
        add(low, &bucket);
    }
    total
}
