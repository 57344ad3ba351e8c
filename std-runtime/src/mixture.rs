//! Mixtures of many binary or categorical columns, and the columns that make them.
//!
//! ```text
//!   rows ─► pairs: information of columns ─► stagewise | forward | backward | tree ─► parameters, columns, trace
//!     └───► fit: EM from several starts ─► criteria: how many classes ─► analysis ─► write, model, report
//! ```
//!
//! * [`fit`]: EM from several starts, the best of which is kept; [`criteria`]: how many classes.
//! * [`stagewise`]: classes and columns found one after the other; [`pairs`]: what columns tell about each other.
//! * [`analysis`]: everything that is shown of a mixture; [`truth`]: classes against known labels.
//! * [`write`]: tables for the user.

pub mod analysis;
pub mod criteria;
mod engine;
pub mod fit;
pub mod pairs;
pub mod stagewise;
pub mod truth;
mod view;
pub mod write;

pub use view::{Parameters, RowsView};

use crate::error::Result;
use crate::rows::{Cells, Rows};

/// Rows as core reads them.
pub fn view(rows: &Rows) -> Result<RowsView<'_>> {
    Ok(match &rows.cells {
        Cells::Bits(bits) => RowsView::Bits(bits.view()?),
        Cells::Codes(codes) => RowsView::Codes(codes.view()?),
    })
}
