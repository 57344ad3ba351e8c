//! A tree of two-class mixtures: its leaves are the classes.

use mixlet_core::em::{Round, Stop};

use super::{Found, MethodOptions};
use crate::error::Result;
use crate::mixture::fit::Task;
use crate::mixture::tree::{RefineOptions, Tree, TreeOptions, grow, refine};
use crate::mixture::{RowsView, Select};

/// Grows a tree; each leaf has the shares and probabilities of the rows that reach it, or is refined from there.
pub(super) fn find(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let default = TreeOptions::default();
    let columns = match options.select {
        Select::First(columns) => columns,
        Select::All => rows.columns(),
        Select::Auto => default.columns,
    };
    let settings = TreeOptions {
        depth: options.depth,
        columns,
        rounds: options.fit.settings.rounds,
        restarts: options.fit.restarts as u32,
        pseudocount: options.fit.pseudocount,
        seed: options.fit.seed,
        ..default
    };
    let tree = grow(rows, weights, &settings, &mut |level, nodes| {
        observe(0, Round { round: level + 1, log_likelihood: 0.0, objective: nodes as f64 });
    })?;
    let leaves = tree.leaf_posteriors(rows);
    let as_they_are = RefineOptions { rounds: 0, pseudocount: settings.pseudocount };
    let refine_options = options.refine.unwrap_or(as_they_are);
    let mut fit = refine(Task { weights, ..Task::of(rows) }, &leaves, refine_options, observe)?;
    match options.refine {
        Some(_) => fit.parameters.sort_classes(),
        None => fit.stop = Stop::Converged,
    }
    Ok(Found {
        selected: Some(columns_of(&tree)),
        by_selected: options.refine.map(|_| leaves),
        refined: options.refine.map(|refine| refine.rounds),
        tree: Some(tree),
        ..Found::of(fit)
    })
}

/// The columns of all nodes, in the order in which nodes look at them.
fn columns_of(tree: &Tree) -> Vec<u32> {
    let mut columns: Vec<u32> = Vec::new();
    let mut is_new = std::collections::HashSet::new();
    columns.extend(
        tree.nodes.iter().flat_map(|node| &node.columns).copied().filter(|column| is_new.insert(*column)),
    );
    columns
}
