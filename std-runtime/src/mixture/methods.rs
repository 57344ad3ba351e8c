//! One face for all methods: how each finds classes and the columns that speak for them.

mod em;
mod stages;
mod stepwise;
mod tree;

use mixlet_core::em::Round;

use super::fit::{self, FitOptions, MixtureFit, Task};
use super::pairs::PairProgress;
use super::tree::{RefineOptions, Tree};
use super::{Method, RowsView, Select};
use crate::error::Result;

/// What a method found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Parameters of all columns, and how the fit went.
    pub fit: MixtureFit,
    /// The columns that speak for the classes, in the order they were selected; none: all.
    pub selected: Option<Vec<u32>>,
    /// Whether only they speak in the end.
    pub is_fitted_by_selected: bool,
    /// How classes and columns were found one after the other.
    pub steps: Vec<Step>,
    /// `[rows, classes]`: classes by the selected columns alone, where the fit is of all.
    pub by_selected: Option<Vec<f64>>,
    /// The tree whose leaves the classes are, or began as.
    pub tree: Option<Tree>,
    /// Rounds of EM with all columns that the leaves had after it; none: the tree speaks for the classes.
    pub refined: Option<u32>,
}

impl Found {
    /// A fit of all columns at once.
    fn of(fit: MixtureFit) -> Self {
        Self {
            fit,
            selected: None,
            is_fitted_by_selected: false,
            steps: Vec::new(),
            by_selected: None,
            tree: None,
            refined: None,
        }
    }

    /// The posterior of every row `[rows, classes]`, and the log-likelihood of those that count.
    pub fn posteriors(&self, task: Task<'_>) -> Result<(Vec<f64>, f64)> {
        let (posteriors, log_likelihood) = fit::posteriors(task, &self.fit.parameters)?;
        Ok(match &self.tree {
            Some(tree) if self.refined.is_none() => (tree.leaf_posteriors(task.rows), log_likelihood),
            _ => (posteriors, log_likelihood),
        })
    }
}

/// A round in which classes or columns may have been added.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// The round, from 1.
    pub round: u32,
    /// The columns that it was about: the most dependent pair, or the column added or taken away.
    pub joined: Vec<u32>,
    /// Classes after it, where a round adds some.
    pub classes: Option<usize>,
    /// Selected columns after it.
    pub columns: usize,
    /// Log-likelihood after it, in nats.
    pub log_likelihood: f64,
    /// What the classes leave unexplained, or what the column tells, in nats.
    pub information: f64,
}

/// What a method is told.
#[derive(Clone, Copy, Debug)]
pub struct MethodOptions<'a> {
    /// The method.
    pub method: Method,
    /// How many columns speak.
    pub select: Select,
    /// The columns that [`select`] found.
    pub selected: Option<&'a [u32]>,
    /// Nodes on a path of a tree at most.
    pub depth: u32,
    /// How the leaves of a tree are refined; none: they are not.
    pub refine: Option<RefineOptions>,
    /// How EM goes; what is not said is the method's own.
    pub fit: &'a FitOptions,
}

/// Told how far a search is.
pub trait Progress: Sync {
    /// A round of one of several fits that run at once.
    fn round(&self, classes: usize, start: usize, round: Round);

    /// Columns that are compared, before they are selected.
    fn pairs(&self, _: PairProgress) {}
}

/// Nobody is told.
impl Progress for () {
    fn round(&self, _: usize, _: usize, _: Round) {}
}

/// The columns that are selected before there are classes, whatever their number; none: all of them, or the method
/// selects by itself.
pub fn select(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    (method, select): (Method, Select),
    progress: &dyn Progress,
) -> Result<Option<Vec<u32>>> {
    match method {
        Method::Em => em::select(rows, weights, select, &mut |pairs| progress.pairs(pairs)),
        _ => Ok(None),
    }
}

/// Finds so many classes.
pub fn find(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    classes: usize,
    options: MethodOptions<'_>,
    progress: &dyn Progress,
) -> Result<Found> {
    let observe = |start: usize, round: Round| progress.round(classes, start, round);
    match options.method {
        Method::Em => em::find(Task { weights, ..Task::of(rows) }, classes, options, &observe),
        Method::Stagewise => stages::find(rows, weights, classes, options, &observe),
        Method::Forward | Method::Backward => stepwise::find(rows, weights, classes, options, &observe),
        Method::Tree => tree::find(rows, weights, options, &observe),
    }
}
