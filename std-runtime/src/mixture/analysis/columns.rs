//! What columns are, and what they tell about the classes.

use mixlet_core::em::{ActiveColumns, criteria};
use mixlet_core::observations::WORD_BITS;

use crate::mixture::Parameters;
use crate::rows::{Cells, Rows};

/// What a column tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColumnFacts {
    /// Mutual information of the column and the class under the model, in nats.
    pub information: f64,
    /// Whether the classes were found by it.
    pub selected: bool,
}

/// Which columns hold more than one value.
pub(super) fn varying(rows: &Rows) -> impl Iterator<Item = bool> {
    let seen = match &rows.cells {
        Cells::Bits(bits) => bits.view().map(varying_bits).unwrap_or_default(),
        _ => rows.columns.codes.iter().map(|codes| codes.len() > 1).collect(),
    };
    seen.into_iter()
}

/// Columns of bits that hold zeros and ones.
fn varying_bits(bits: mixlet_core::observations::PackedRows<'_>) -> Vec<bool> {
    let words = mixlet_core::observations::row_words(bits.columns());
    let (mut ones, mut zeros) = (vec![0u64; words], vec![0u64; words]);
    for row in 0..bits.rows() {
        let present = bits.row_present(row);
        for (word, &values) in bits.row(row).iter().enumerate() {
            let present = present.and_then(|present| present.get(word)).copied().unwrap_or(u64::MAX);
            ones[word] |= values;
            zeros[word] |= present & !values;
        }
    }
    let bit = |words: &[u64], column: usize| words[column / WORD_BITS] >> (column % WORD_BITS) & 1 == 1;
    (0..bits.columns()).map(|column| bit(&ones, column) && bit(&zeros, column)).collect()
}

/// Parameters of so many classes that can be chosen freely. Columns that hold one value, or do not speak, have none.
pub(super) fn free_parameters(rows: &Rows, classes: usize, active: ActiveColumns<'_>) -> usize {
    let columns = rows.columns.codes.iter().zip(varying(rows)).enumerate();
    let free = columns.filter(|(column, (_, varies))| *varies && active.contains(*column));
    criteria::free_parameters(classes, free.map(|(_, (codes, _))| codes.len().saturating_sub(1)).sum())
}

/// `I(x; class) = Σ_k π_k Σ_a P[a, k] · ln(P[a, k] / Σ_l π_l P[a, l])` of every column.
///
/// `level_offsets` `[columns + 1]` says where columns start; without a selection all columns are selected.
pub(super) fn facts(
    level_offsets: &[u32],
    parameters: &Parameters,
    selected: Option<&[u32]>,
) -> Vec<ColumnFacts> {
    let classes = parameters.shares.len().max(1);
    let cell = |probabilities: &[f64]| {
        let mean: f64 = probabilities.iter().zip(&parameters.shares).map(|(p, share)| p * share).sum();
        let terms = probabilities.iter().zip(&parameters.shares).filter(|(p, _)| **p > 0.0);
        terms.map(|(p, share)| share * p * (p / mean).ln()).sum::<f64>()
    };
    let cells: Vec<f64> = parameters.probabilities.chunks_exact(classes).map(cell).collect();
    let fact = |pair: &[u32]| {
        let information: f64 = cells[pair[0] as usize..pair[1] as usize].iter().sum();
        ColumnFacts { information: information.max(0.0), selected: selected.is_none() }
    };
    let mut facts: Vec<ColumnFacts> = level_offsets.windows(2).map(fact).collect();
    selected.unwrap_or(&[]).iter().for_each(|&column| facts[column as usize].selected = true);
    facts
}
