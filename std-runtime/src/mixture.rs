//! Mixtures of many binary or categorical columns, and the columns that make them.
//!
//! ```text
//!   rows ─► pairs: information of columns ─► stagewise | forward | backward | tree ─► parameters, columns, trace
//!     └───► fit: EM from several starts ─► candidates: how many classes ─► analysis ─► write, model, report
//! ```
//!
//! * [`fit`]: EM from several starts, the best of which is kept; [`candidates`]: how many classes.
//! * [`methods`]: one face for all methods.
//! * [`stagewise`]: classes and columns found one after the other; [`stepwise`]: columns added or taken away one by
//!   one; [`tree`]: two classes in every node, by columns of its own, and leaves refined with all columns; [`pairs`]:
//!   what columns tell about each other.
//! * [`analysis`]: everything that is shown of a mixture; [`truth`]: classes against known labels.
//! * [`model`]: a fitted mixture as a file, and classes of new rows; [`mod@write`]: tables for the user.
//! * [`report`]: the page with pictures; [`page`]: the page of one analysis. [`generate`]: rows with
//!   known truth.

pub mod analysis;
pub mod candidates;
mod engine;
pub mod fit;
pub mod generate;
pub mod methods;
pub mod model;
pub mod page;
pub mod pairs;
pub mod report;
mod stages;
pub mod stagewise;
pub mod stepwise;
pub mod tree;
pub mod truth;
mod view;
pub mod write;

pub use engine::{Engine, Expected};
pub use view::{Parameters, RowsView};

use crate::error::Result;
use crate::rows::{Cells, Rows};

/// How classes, and the columns that speak for them, are found.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// EM from random or given starts
    #[default]
    Em,
    /// One class at first; the pair of columns that is explained least splits a class
    Stagewise,
    /// The most dependent columns at first; then the one that the classes explain least, one by one
    Forward,
    /// All columns at first; then without the least relevant one, one by one
    Backward,
    /// Two classes, each of which falls into two by columns of its own, and so on
    Tree,
}

/// How many columns speak for the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Select {
    /// All of them.
    #[default]
    All,
    /// As many as tell more than chance.
    Auto,
    /// So many.
    First(usize),
}

/// Rows as core reads them.
pub fn view(rows: &Rows) -> Result<RowsView<'_>> {
    Ok(match &rows.cells {
        Cells::Bits(bits) => RowsView::Bits(bits.view()?),
        Cells::Codes(codes) => RowsView::Codes(codes.view()?),
    })
}
