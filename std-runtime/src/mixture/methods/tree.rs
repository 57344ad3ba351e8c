//! A tree of two-class mixtures: its leaves are the classes.

use mixlet_core::em::{Round, Stop};

use super::{Found, MethodOptions};
use crate::error::Result;
use crate::mixture::fit::{self, MixtureFit, Restart, Task};
use crate::mixture::tree::{Tree, TreeOptions, grow};
use crate::mixture::{RowsView, Select};

/// Grows a tree; each leaf has the shares and probabilities of the rows that reach it.
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
    let task = Task { weights, ..Task::of(rows) };
    let parameters = fit::parameters_of(task, &leaves, tree.leaves, settings.pseudocount)?;
    let log_likelihood = fit::posteriors(task, &parameters)?.1;
    let rounds = settings.rounds;
    let round = Round { round: rounds, log_likelihood, objective: log_likelihood };
    let stop = Stop::Converged;
    let restart = Restart { log_likelihood, objective: log_likelihood, rounds, stop };
    let fit = MixtureFit { parameters, rounds: vec![round], stop, restarts: vec![restart] };
    Ok(Found { selected: Some(columns_of(&tree)), tree: Some(tree), ..Found::of(fit) })
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
