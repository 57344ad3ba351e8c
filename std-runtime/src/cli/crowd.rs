//! `mixlet crowd`: labels from answers, labels for new answers, workers in order.

mod fit;
mod json;
mod options;
mod predict;
mod rank;
mod summary;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::crowd::read::{Columns, ReadOptions, Repeats, TaskFilter};
use crate::error::Result;

/// What can be done with a crowd.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Labels for all tasks, confusion matrices for all workers
    Fit(Box<options::FitOptions>),
    /// Labels for new tasks, from the workers of a saved fit
    Predict(predict::PredictOptions),
    /// Workers by how much their answers tell
    Rank(rank::RankOptions),
}

impl Command {
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Fit(options) => fit::run(options),
            Self::Predict(options) => predict::run(options),
            Self::Rank(options) => rank::run(options),
        }
    }
}

/// How files of answers look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Input")]
pub(super) struct Format {
    /// Names of the columns, where they are not task, worker and label; gold is the label column of files
    /// of gold and known labels, where it has another name
    #[arg(long, value_name = "task=NAME,worker=NAME,label=NAME,gold=NAME")]
    columns: Option<Columns>,
    /// Which answers count when a worker answers a task more than once
    #[arg(long, value_enum, default_value_t = Repeats::First)]
    repeats: Repeats,
}

impl Format {
    fn read_options(&self) -> ReadOptions {
        ReadOptions {
            columns: self.columns.clone().unwrap_or_default(),
            repeats: self.repeats,
            ..ReadOptions::default()
        }
    }
}

/// Known labels that score, and which tasks are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Input")]
pub(super) struct Gold {
    /// Right labels of some tasks (columns task and label): they score the result and take no part in it
    #[arg(long, value_name = "FILE")]
    gold: Option<PathBuf>,
    /// Pass over gold and known labels of tasks without answers; otherwise they are an error
    #[arg(long)]
    skip_unknown_gold: bool,
    /// Which tasks to read
    #[arg(long, value_enum, default_value_t = TaskFilter::All)]
    tasks: TaskFilter,
}

impl Gold {
    /// Makes sure that there is gold where tasks are chosen by it.
    fn check(&self) -> Result<()> {
        match self.tasks == TaskFilter::Gold && self.gold.is_none() {
            true => Err(crate::error::Error::GoldNeeded),
            false => Ok(()),
        }
    }

    fn read_options(&self, format: &Format) -> ReadOptions {
        ReadOptions { tasks: self.tasks, skip_unknown_gold: self.skip_unknown_gold, ..format.read_options() }
    }
}

/// Paths of options that were given.
fn given<'a>(paths: impl IntoIterator<Item = &'a Option<PathBuf>>) -> impl Iterator<Item = &'a Path> {
    paths.into_iter().flatten().map(PathBuf::as_path)
}
