//! A mixture of binary columns, written from its formulas in `f64`.

use super::random::SplitMix;
use mixlet_core::observations::{PackedRows, row_words};

/// Rows of values that may be missing, and what they weigh.
#[derive(Clone, Debug)]
pub struct Bits {
    pub columns: usize,
    pub rows: Vec<Vec<Option<bool>>>,
}

/// `[K]` shares and `[columns][K]` probabilities of a one.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub shares: Vec<f64>,
    pub ones: Vec<Vec<f64>>,
}

/// The words of [`Bits`].
pub struct Packed {
    rows: usize,
    columns: usize,
    values: Vec<u64>,
    present: Option<Vec<u64>>,
}

impl Packed {
    pub fn rows(&self) -> PackedRows<'_> {
        let rows = PackedRows::new(self.rows, self.columns, &self.values).unwrap();
        self.present.as_ref().map_or(rows, |present| rows.with_present(present).unwrap())
    }
}

impl Bits {
    /// Random rows: a class each, with its own probabilities; `missing` of the values are not there.
    pub fn random(rows: usize, columns: usize, classes: usize, missing: f64, random: &mut SplitMix) -> Self {
        let parameters = Parameters::random(columns, classes, random);
        let mut row = || {
            let class = random.below(classes);
            let value = |ones: &Vec<f64>| {
                let (value, present) = (random.unit() < ones[class], random.unit() >= missing);
                present.then_some(value)
            };
            parameters.ones.iter().map(value).collect()
        };
        Self { columns, rows: (0..rows).map(|_| row()).collect() }
    }

    /// As words; with a mask of present values if any is missing, or if `masked`.
    pub fn packed(&self, masked: bool) -> Packed {
        let words = |is_set: fn(Option<bool>) -> bool| {
            let mut words = vec![0; self.rows.len() * row_words(self.columns)];
            for (row, values) in self.rows.iter().enumerate() {
                for (column, _) in values.iter().enumerate().filter(|&(_, &value)| is_set(value)) {
                    words[row * row_words(self.columns) + column / 64] |= 1 << (column % 64);
                }
            }
            words
        };
        let masked = masked || self.rows.iter().flatten().any(Option::is_none);
        Packed {
            rows: self.rows.len(),
            columns: self.columns,
            values: words(|value| value == Some(true)),
            present: masked.then(|| words(|value| value.is_some())),
        }
    }
}

impl Parameters {
    pub fn random(columns: usize, classes: usize, random: &mut SplitMix) -> Self {
        let shares: Vec<f64> = (0..classes).map(|_| 0.5 + random.unit()).collect();
        let total: f64 = shares.iter().sum();
        let mut ones = || (0..classes).map(|_| 0.05 + 0.9 * random.unit()).collect();
        Self {
            ones: (0..columns).map(|_| ones()).collect(),
            shares: shares.iter().map(|s| s / total).collect(),
        }
    }

    /// `[columns, K]`.
    pub fn flat(&self) -> Vec<f64> {
        self.ones.concat()
    }

    /// `ln π_k + Σ_c ln P(x_c | k)` over the columns that `is_active`.
    pub fn log_joints(&self, row: &[Option<bool>], is_active: impl Fn(usize) -> bool) -> Vec<f64> {
        let log = |class: usize, (column, value): (usize, &Option<bool>)| match value {
            Some(true) if is_active(column) => self.ones[column][class].ln(),
            Some(false) if is_active(column) => (1.0 - self.ones[column][class]).ln(),
            _ => 0.0,
        };
        let joint = |class: usize| {
            self.shares[class].ln() + row.iter().enumerate().map(|cell| log(class, cell)).sum::<f64>()
        };
        (0..self.shares.len()).map(joint).collect()
    }
}

/// `ln Σ eˣ`.
pub fn log_sum(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logs.iter().map(|log| (log - largest).exp()).sum::<f64>().ln()
}

/// Responsibilities and log-likelihood of one row.
pub fn posterior(log_joints: &[f64]) -> (Vec<f64>, f64) {
    let total = log_sum(log_joints);
    (log_joints.iter().map(|log| (log - total).exp()).collect(), total)
}

/// Masses `[K]`, expected ones `[columns, K]` and present values `[columns, K]` of weighted responsibilities.
pub fn statistics(bits: &Bits, responsibilities: &[Vec<f64>], weights: &[f64]) -> [Vec<f64>; 3] {
    let classes = responsibilities.first().map_or(0, Vec::len);
    let mut sums = [vec![0.0; classes], vec![0.0; bits.columns * classes], vec![0.0; bits.columns * classes]];
    for ((row, q), weight) in bits.rows.iter().zip(responsibilities).zip(weights) {
        for class in 0..classes {
            sums[0][class] += weight * q[class];
            for (column, value) in row.iter().enumerate() {
                let cell = column * classes + class;
                sums[1][cell] += if *value == Some(true) { weight * q[class] } else { 0.0 };
                sums[2][cell] += if value.is_some() { weight * q[class] } else { 0.0 };
            }
        }
    }
    sums
}
