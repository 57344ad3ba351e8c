//! Sums over groups of binary columns, looked up instead of added up.
//!
//! A word of 64 columns is cut into groups: of six columns where no value is missing, else of four. A group's *code* says
//! what its values are: 2⁶ codes (zero, one), or 3⁴ (missing, zero, one). The expectation tabulates, for every
//! code, the sum of the group's logarithms in all classes; a row then costs one vector addition a group. The
//! accumulation is the mirror image: the row's responsibilities are added to its codes' *buckets*, and
//! buckets are unfolded into columns for many rows at once.
//!
//! ```text
//!   word     … 011010 110001      groups g₁ g₀, one code each
//!   expectation    sum[lanes] += table[g][code][lanes]
//!   accumulation   bucket[g][code][lanes] += responsibilities[lanes]
//! ```
//!
//! *Why six:* 64 codes of 16 lanes of single precision are 4 kB, so the buckets of half a word stay in a first-level
//! cache of 32 kB. Four columns take half as many additions again; eight would take 16 kB a group.

use crate::em::ActiveColumns;
use crate::em::lanes::{Lane, add, narrow};
use crate::numeric::ln_slice;
use crate::observations::{WORD_BITS, row_words};

/// Columns of a group.
pub(super) const fn group(radix: usize) -> usize {
    if radix == 2 { 6 } else { 4 }
}

/// The most columns a group has.
pub(super) const LARGEST_GROUP: usize = group(2);

/// Codes of a group: `radix^group`.
pub(super) const fn codes(radix: usize) -> usize {
    if radix == 2 { 65 } else { 81 }
}

/// Groups of a word; the last may have fewer columns.
pub(super) const fn groups(radix: usize) -> usize {
    WORD_BITS.div_ceil(group(radix))
}

/// Entries in the tables of one block of lanes.
pub(super) const fn entries(columns: usize, radix: usize) -> usize {
    let in_last = (columns % WORD_BITS).div_ceil(group(radix));
    (columns / WORD_BITS * groups(radix) + in_last) * codes(radix)
}

/// `Σ 3ⁱ · (present + value)` of the bits `i` of a byte whose low half has the values, its high half what is present.
const TERNARY: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated while compiling")]
    while byte < 256 {
        let (mut place, mut power) = (0, 1);
        while place < 4 {
            let digit = (byte >> place & 1) + (byte >> (place + 4) & 1);
            table[byte] += (digit * power) as u8;
            (place, power) = (place + 1, power * 3);
        }
        byte += 1;
    }
    table
};

/// The low half of every byte.
const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// The code of a group of a word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "six bits are left, or eight")]
pub(super) fn code<const RADIX: usize>(values: u64, present: u64, nth: usize) -> usize {
    if RADIX == 2 {
        return (values >> (nth * group(RADIX))) as usize & 63;
    }
    // A byte has what is present above the values. All even groups are put together at once, and all odd ones.
    let bytes = match nth % 2 {
        0 => values & LOW | (present & LOW) << 4,
        _ => values >> 4 & LOW | present & !LOW,
    };
    let byte = (bytes >> (nth / 2 * 8)) as u8;
    TERNARY.get(usize::from(byte)).map_or(0, |&code| usize::from(code))
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
    for (word, tables) in (0..row_words(columns)).zip(tables.chunks_mut(groups(radix) * CODES)) {
        for (nth, table) in tables.as_chunks_mut::<CODES>().0.iter_mut().enumerate() {
            fill_group(table, radix, |place| {
                let bit = nth * group(radix) + place;
                let column = word * WORD_BITS + bit;
                let used = bit < WORD_BITS && column < columns && active.contains(column);
                used.then(|| probabilities(column))
            });
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
    for place in 0..group(radix) {
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

/// The buckets of a group as expected ones and, where values may be missing, values present, of its columns.
#[inline(always)]
pub(super) fn unfold<T: Lane, const L: usize>(
    buckets: &mut [[T; L]],
    radix: usize,
) -> [[[T; L]; 2]; LARGEST_GROUP] {
    let mut columns = [[[T::default(); L]; 2]; LARGEST_GROUP];
    let mut buckets = buckets.get_mut(..if radix == 2 { 64 } else { 81 }).unwrap_or(&mut []);
    for [ones, present] in columns.iter_mut().take(group(radix)).rev() {
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
