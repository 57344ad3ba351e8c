//! What comparing all columns takes.

use mixlet_core::observations::row_words;
use mixlet_core::select::columns::LANES;

use crate::error::{Error, Result};
use crate::mixture::RowsView;
use crate::threads;

/// Bytes that pair tables may take.
pub const TABLE_LIMIT: u64 = 8 << 30;

/// Stripes whose tables are held at a time.
pub(super) const STRIPES: usize = 32;

/// How far a comparison of all columns is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairProgress {
    /// Pairs compared.
    pub done: u64,
    /// Pairs to compare.
    pub all: u64,
    /// Bytes it takes at most.
    pub memory: u64,
}

/// Pairs of so many columns.
pub fn pair_count(columns: usize) -> u64 {
    let columns = columns as u64;
    columns.saturating_mul(columns.saturating_sub(1)) / 2
}

/// Bytes that pair tables of these rows take at most: indicators both ways, a table per thread and some stripes of
/// results. They grow with the columns, not with their pairs.
pub fn table_memory(view: RowsView<'_>) -> u64 {
    let (rows, columns) = (view.rows(), view.columns());
    let indicators: usize = match view {
        RowsView::Bits(bits) if bits.present().is_none() => columns,
        _ => (0..columns).map(|column| view.levels(column)).sum(),
    };
    let words = [rows.saturating_mul(row_words(indicators)), indicators.saturating_mul(row_words(rows))];
    let stripe = (indicators + 2 * columns).saturating_mul(LANES);
    let values = [stripe.saturating_mul(threads::count()), columns.saturating_mul(LANES * STRIPES)];
    let all = words.into_iter().chain(values).fold(0, usize::saturating_add);
    (all as u64).saturating_mul(size_of::<u64>() as u64)
}

/// Makes sure that pair tables of these rows fit into memory.
pub(super) fn check_memory(view: RowsView<'_>) -> Result<()> {
    let (needed, limit) = (table_memory(view), TABLE_LIMIT);
    let remedy = "leave columns out with --ignore, or fit all of them at once: --method em, without --select";
    match needed > limit {
        true => Err(Error::Memory { what: "tables of pairs of columns", needed, limit, remedy }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use mixlet_core::observations::PackedRows;

    use super::*;

    #[test]
    fn memory_grows_with_columns_and_is_limited() {
        let of = |rows: usize, columns: usize| {
            let words = vec![0; rows * row_words(columns)];
            table_memory(RowsView::Bits(PackedRows::new(rows, columns, &words).unwrap()))
        };
        assert_eq!((pair_count(0), pair_count(1), pair_count(20_000)), (0, 0, 199_990_000));
        let (some, twice) = (of(64, 10_000), of(64, 20_000));
        assert!(twice < some * 21 / 10 && some * 19 / 10 < twice, "{some} and {twice}");
        assert!(twice < TABLE_LIMIT / 20, "{twice}");

        let offsets: Vec<u32> = (0..=1_000_000).map(|column| 64 * column).collect();
        let codes = vec![0; 1_000_000];
        let view = RowsView::Codes(mixlet_core::observations::Codes::new(&offsets, &codes).unwrap());
        let message = check_memory(view).unwrap_err().to_string();
        assert!(
            message.starts_with("tables of pairs of columns need ") && message.contains("--ignore"),
            "{message}"
        );
    }
}
