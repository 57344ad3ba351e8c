//! Packed rows that grow while they are read.

use mixlet_core::observations::{PackedRows, RowsError, WORD_BITS, row_words};

/// Rows of bits in the form of [`PackedRows`], with the memory they lie in.
///
/// ```
/// # use mixlet_runtime::rows::Bits;
/// let mut bits = Bits::new(3);
/// bits.push([Some(true), Some(false), Some(true)]);
/// bits.push([Some(false), None, Some(true)]);
/// assert_eq!((bits.rows(), bits.incomplete()), (2, 1));
/// assert_eq!(bits.view().unwrap().value(1, 1), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bits {
    columns: usize,
    rows: usize,
    values: Vec<u64>,
    /// Only if a value is missing.
    present: Option<Vec<u64>>,
}

impl Bits {
    /// No rows yet.
    pub fn new(columns: usize) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Makes room for so many more rows.
    pub fn reserve(&mut self, rows: usize) {
        self.values.reserve_exact(rows.saturating_mul(row_words(self.columns)));
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows with at least one missing value.
    pub fn incomplete(&self) -> usize {
        let is_incomplete =
            |row: &&[u64]| row.iter().map(|word| word.count_ones() as usize).sum::<usize>() < self.columns;
        let present = self.present.as_deref().unwrap_or(&[]);
        present.chunks_exact(row_words(self.columns).max(1)).filter(is_incomplete).count()
    }

    /// The rows as core reads them.
    pub fn view(&self) -> Result<PackedRows<'_>, RowsError> {
        let rows = PackedRows::new(self.rows, self.columns, &self.values)?;
        match &self.present {
            Some(present) => rows.with_present(present),
            None => Ok(rows),
        }
    }

    /// One value; none where it is missing.
    pub fn value(&self, row: usize, column: usize) -> Option<bool> {
        let place = row * row_words(self.columns) + column / WORD_BITS;
        let bit = |words: &Vec<u64>| words.get(place).map(|word| word >> (column % WORD_BITS) & 1 == 1);
        self.present.as_ref().is_none_or(|present| bit(present) == Some(true)).then(|| bit(&self.values))?
    }

    /// Adds a row; values beyond the last column are not looked at, those that lack are missing.
    pub fn push(&mut self, values: impl IntoIterator<Item = Option<bool>>) {
        let mut values = values.into_iter();
        for start in (0..self.columns).step_by(WORD_BITS) {
            let width = (self.columns - start).min(WORD_BITS);
            let (mut word, mut present) = (0, 0);
            for bit in 0..width {
                if let Some(value) = values.next().flatten() {
                    word |= u64::from(value) << bit;
                    present |= 1 << bit;
                }
            }
            self.push_word(word, present, width);
        }
        self.rows += 1;
    }

    /// Adds a row without missing values.
    pub fn push_all(&mut self, values: &[u8], is_one: impl Fn(u8) -> bool) {
        for chunk in values.chunks(WORD_BITS) {
            let bits = chunk.iter().enumerate().map(|(bit, &value)| u64::from(is_one(value)) << bit);
            self.push_word(bits.fold(0, |word, bit| word | bit), full(chunk.len()), chunk.len());
        }
        self.rows += 1;
    }

    fn push_word(&mut self, word: u64, present: u64, width: usize) {
        if present != full(width) && self.present.is_none() {
            self.present = Some(self.full_words());
        }
        self.values.push(word);
        self.present.iter_mut().for_each(|words| words.push(present));
    }

    /// The mask that says that every value so far is present.
    fn full_words(&self) -> Vec<u64> {
        let row_len = row_words(self.columns).max(1);
        let width = |word: usize| (self.columns - word % row_len * WORD_BITS).min(WORD_BITS);
        (0..self.values.len()).map(|word| full(width(word))).collect()
    }

    /// Moves the last row to the front.
    pub fn move_last_to_front(&mut self) {
        let len = row_words(self.columns);
        self.values.rotate_right(len);
        self.present.iter_mut().for_each(|words| words.rotate_right(len));
    }

    /// Swaps 0 and 1 in the columns whose bits are set in `flips`, `[row_words(columns)]`.
    pub fn flip(&mut self, flips: &[u64]) {
        let len = flips.len().max(1);
        let present = self.present.as_deref();
        for (row, words) in self.values.chunks_exact_mut(len).enumerate() {
            let row_present = present.and_then(|present| present.get(row * len..(row + 1) * len));
            for (place, (word, flip)) in words.iter_mut().zip(flips).enumerate() {
                let mask = row_present.and_then(|words| words.get(place)).copied().unwrap_or(u64::MAX);
                *word ^= flip & mask;
            }
        }
    }
}

/// A word with so many lower bits set.
fn full(width: usize) -> u64 {
    u64::MAX.checked_shr((WORD_BITS - width.min(WORD_BITS)) as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_whatever_their_width() {
        for columns in [0, 1, 63, 64, 65, 128, 130] {
            let value = |row: usize, column: usize| match (row * 7 + column * 3) % 5 {
                0 if row > 1 => None,
                rest => Some(rest % 2 == 0),
            };
            let mut bits = Bits::new(columns);
            (0..6).for_each(|row| bits.push((0..columns).map(|column| value(row, column))));
            let flips: Vec<u64> =
                (0..row_words(columns)).map(|word| 0b1001 & full(columns - 64 * word)).collect();
            bits.flip(&flips);
            bits.move_last_to_front();
            let view = bits.view().unwrap();
            for (row, from) in [5, 0, 1, 2, 3, 4].into_iter().enumerate() {
                for column in 0..columns {
                    let is_flipped = matches!(column % 64, 0 | 3);
                    let expected = value(from, column).map(|value| value != is_flipped);
                    assert_eq!(view.value(row, column), expected, "{columns} {row} {column}");
                }
            }
            let incomplete = (0..6).filter(|&row| (0..columns).any(|column| value(row, column).is_none()));
            assert_eq!(bits.incomplete(), incomplete.count(), "{columns}");
        }
    }

    #[test]
    fn bytes_are_packed_like_values() {
        let bytes: Vec<u8> = (0..130u8).map(|byte| byte.wrapping_mul(5)).collect();
        let (mut fast, mut slow) = (Bits::new(130), Bits::new(130));
        fast.push_all(&bytes, |byte| byte > 127);
        slow.push(bytes.iter().map(|&byte| Some(byte > 127)));
        assert_eq!(fast.view().unwrap().values(), slow.view().unwrap().values());
        assert!(fast.present.is_none() && slow.present.is_none());
    }
}
