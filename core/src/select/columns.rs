//! Pair tables of dense columns: how often two columns show each pair of codes, overall or within a class.
//!
//! ```text
//!   PackedRows, Codes ─► Indicators ─► stripe of columns × all columns ─► sums ─► pair table ─► information
//! ```
//!
//! Every code of a column is an *indicator*, one bit per row; a pair table holds the sums of rows whose two
//! indicators are both set. Sums are made for a *stripe* of columns against all others, so memory goes with
//! `columns · stripe` and stripes are independent work. Whole rows are counted by popcounts over transposed bits;
//! weighted rows (a class, a tree's node) are added where a bit is set, so that cost goes with the ones there are.

mod indicators;
mod information;
mod sums;

pub use indicators::{Indicators, fill_indicators, fill_indicators_of_bits, transpose};
pub use information::{PairTables, information_scratch_len};
pub use sums::{LANES, add_margins, count_pairs, weigh_pairs, weigh_scratch_len};

/// Columns whose tables are made together, against every column from `from` on.
///
/// All pairs of a data set, each once, are the stripes of an ascending partition of the columns with `from` the
/// first of each stripe, read where the column is greater than the stripe's.
#[derive(Clone, Copy, Debug)]
pub struct Stripe<'a> {
    indicators: Indicators<'a>,
    columns: &'a [u32],
    from: usize,
}

impl<'a> Stripe<'a> {
    /// A stripe of any columns; those that do not exist hold nothing.
    pub fn new(indicators: Indicators<'a>, columns: &'a [u32], from: usize) -> Self {
        Self { indicators, columns, from: from.min(indicators.columns()) }
    }

    /// The data.
    pub fn indicators(&self) -> Indicators<'a> {
        self.indicators
    }

    /// The stripe's columns.
    pub fn columns(&self) -> &'a [u32] {
        self.columns
    }

    /// The first of the columns they are paired with.
    pub fn from(&self) -> usize {
        self.from
    }

    /// Pairs of columns: those from `from` on times the stripe's.
    pub fn pairs_len(&self) -> usize {
        (self.indicators.columns() - self.from) * self.columns.len()
    }

    /// Values of sums: `[blocks of lanes, indicators from `from` on, LANES]`; a lane is an indicator of the stripe.
    pub fn sums_len(&self) -> usize {
        let lanes: usize = self.columns.iter().map(|&column| self.indicators.width(column as usize)).sum();
        lanes.div_ceil(LANES) * self.block_len()
    }

    /// Values of the sums of one block of lanes.
    fn block_len(&self) -> usize {
        (self.indicators.bits().columns() - self.first_indicator()) * LANES
    }

    fn first_indicator(&self) -> usize {
        self.indicators.column(self.from).start
    }

    /// The indicators of the stripe, in order.
    fn lanes(&self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        let indicators = self.indicators;
        self.columns.iter().flat_map(move |&column| indicators.column(column as usize))
    }
}
