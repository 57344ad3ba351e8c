//! Some rows and some columns of a table, in memory of their own.

use mixlet_core::observations::{Codes, PackedRows, WORD_BITS, row_words};

use super::RowsView;
use crate::error::Result;

/// A part of a table.
pub(super) enum Gathered {
    Bits { rows: usize, columns: usize, values: Vec<u64>, present: Option<Vec<u64>> },
    Codes { level_offsets: Vec<u32>, codes: Vec<u16> },
}

impl Gathered {
    /// Copies the given columns of the given rows, in their order.
    pub fn new(view: RowsView<'_>, rows: &[usize], columns: &[u32]) -> Self {
        match view {
            RowsView::Bits(bits) => Self::Bits {
                rows: rows.len(),
                columns: columns.len(),
                values: gather_bits(rows.iter().map(|&row| bits.row(row)), columns),
                present: bits.present().map(|_| {
                    gather_bits(rows.iter().map(|&row| bits.row_present(row).unwrap_or(&[])), columns)
                }),
            },
            RowsView::Codes(codes) => {
                let mut level_offsets = vec![0];
                for &column in columns {
                    let levels = codes.levels(column as usize) as u32;
                    level_offsets.push(level_offsets[level_offsets.len() - 1] + levels);
                }
                let of_row = |&row: &usize| {
                    let values = codes.row(row);
                    columns.iter().map(move |&column| values[column as usize])
                };
                Self::Codes { level_offsets, codes: rows.iter().flat_map(of_row).collect() }
            }
        }
    }

    pub fn view(&self) -> Result<RowsView<'_>> {
        Ok(match self {
            Self::Bits { rows, columns, values, present } => {
                let bits = PackedRows::new(*rows, *columns, values)?;
                RowsView::Bits(match present {
                    Some(present) => bits.with_present(present)?,
                    None => bits,
                })
            }
            Self::Codes { level_offsets, codes } => RowsView::Codes(Codes::new(level_offsets, codes)?),
        })
    }
}

fn gather_bits<'r>(rows: impl Iterator<Item = &'r [u64]>, columns: &[u32]) -> Vec<u64> {
    let is_all = columns.iter().enumerate().all(|(place, &column)| place == column as usize);
    let mut out = Vec::with_capacity(rows.size_hint().0 * row_words(columns.len()));
    for row in rows {
        // All columns in their order: the words as they are.
        if is_all && row.len() == row_words(columns.len()) {
            out.extend_from_slice(row);
            continue;
        }
        out.extend(columns.chunks(WORD_BITS).map(|columns| {
            columns.iter().enumerate().fold(0, |word, (place, &column)| {
                let column = column as usize;
                word | (row[column / WORD_BITS] >> (column % WORD_BITS) & 1) << place
            })
        }));
    }
    out
}
