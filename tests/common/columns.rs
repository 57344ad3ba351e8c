//! Dense rows of codes, and pair tables counted one value at a time.

use mixlet_core::observations::{Codes, MISSING, PackedRows, row_words};
use mixlet_core::select::columns::fill_indicators;

use super::random::SplitMix;

/// Rows of codes with their numbers of codes per column.
pub struct Rows {
    /// Codes of each column.
    pub levels: Vec<usize>,
    /// `[rows][columns]`.
    pub codes: Vec<Vec<u16>>,
}

impl Rows {
    /// Codes of random columns, each leaning on the one before it.
    pub fn random(rows: usize, levels: Vec<usize>, missing: f64, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let codes = (0..rows).map(|_| {
            let mut before = 0;
            let row = levels.iter().map(|&levels| {
                before = if random.unit() < 0.4 { before % levels } else { random.below(levels) };
                if random.unit() < missing { MISSING } else { before as u16 }
            });
            row.collect()
        });
        let codes = codes.collect();
        Self { levels, codes }
    }

    pub fn rows(&self) -> usize {
        self.codes.len()
    }

    pub fn columns(&self) -> usize {
        self.levels.len()
    }

    pub fn level_offsets(&self) -> Vec<u32> {
        let mut offsets = vec![0];
        self.levels.iter().for_each(|&levels| offsets.push(offsets.last().unwrap() + levels as u32));
        offsets
    }

    pub fn is_complete(&self) -> bool {
        self.codes.iter().flatten().all(|&code| code != MISSING)
    }

    /// Level offsets and indicator bits, code 0 implied where nothing is missing.
    pub fn indicators(&self) -> (Vec<u32>, Vec<u64>) {
        let (offsets, codes) = (self.level_offsets(), self.codes.concat());
        let mut words = vec![u64::MAX; self.rows() * row_words(self.indicator_count())];
        fill_indicators(Codes::new(&offsets, &codes).unwrap(), self.is_complete(), &mut words).unwrap();
        (offsets, words)
    }

    pub fn packed<'a>(&self, words: &'a [u64]) -> PackedRows<'a> {
        PackedRows::new(self.rows(), self.indicator_count(), words).unwrap()
    }

    fn indicator_count(&self) -> usize {
        self.levels.iter().map(|levels| levels - usize::from(self.is_complete())).sum()
    }
}

/// `[levels of i, levels of j]`: the weight of the rows that show each pair of codes.
pub fn naive_pair_table(rows: &Rows, i: usize, j: usize, weights: &[f64]) -> Vec<f64> {
    let mut table = vec![0.0; rows.levels[i] * rows.levels[j]];
    for (row, weight) in rows.codes.iter().zip(weights) {
        if row[i] != MISSING && row[j] != MISSING {
            table[usize::from(row[i]) * rows.levels[j] + usize::from(row[j])] += weight;
        }
    }
    table
}
