//! Mixtures of many binary or categorical columns, and the columns that make them.
//!
//! ```text
//!   rows ─► pairs: information of columns ─► stagewise | forward | backward | tree ─► parameters, columns, trace
//! ```

mod engine;
pub mod pairs;
mod stages;
pub mod stagewise;
pub mod stepwise;
pub mod tree;
mod view;

pub use engine::{Engine, Expected};
pub use view::{Parameters, RowsView};
