//! `mixlet mixture`: classes of rows, classes of new rows.

mod fit;
mod json;
mod options;
mod predict;
mod summary;

use clap::Subcommand;

use crate::error::Result;

/// What can be done with rows of many columns.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Classes for all rows, and the columns that tell them apart
    Fit(Box<options::FitOptions>),
    /// Classes of new rows, by a saved fit
    Predict(predict::PredictOptions),
}

impl Command {
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Fit(options) => fit::run(options),
            Self::Predict(options) => predict::run(options),
        }
    }
}
