//! A tree of two-class mixtures: every node looks at the columns that tell most about the rows that reach it.

mod gather;
mod refine;

use mixlet_core::em::{ActiveColumns, FitSettings, most_likely_class};
use mixlet_core::select::tree::{TwoClasses, label_probabilities, leaf_label_shares};
use mixlet_core::select::{Estimator, order_by_information};
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;

use super::engine::Engine;
use super::pairs::ColumnPairs;
use super::{Parameters, RowsView};
use crate::error::Result;
use gather::Gathered;

pub use refine::{RefineOptions, refine};

/// How a tree is grown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeOptions {
    /// Nodes on a path at most: up to `2^depth` leaves.
    pub depth: u32,
    /// Columns a node looks at.
    pub columns: usize,
    /// Rounds of EM per node.
    pub rounds: u32,
    /// Random starts per node, the best of which is kept by its likelihood.
    pub restarts: u32,
    /// Added to the expected count of every code, column and class of a node.
    pub pseudocount: f64,
    /// A node that less mass of rows reaches is a leaf.
    pub least_mass: f64,
    /// Rows that reach a node with less weight are left out of its fit; no sum over rows is off by more than this a row.
    pub least_weight: f64,
    /// How the information of columns is estimated.
    pub estimator: Estimator,
    /// Seed of the random starts.
    pub seed: u64,
}

impl Default for TreeOptions {
    /// The published settings, with three starts per node, light smoothing and no node for fewer than ten rows.
    fn default() -> Self {
        Self {
            depth: 8,
            columns: 50,
            rounds: 10,
            restarts: 3,
            pseudocount: 0.1,
            least_mass: 10.0,
            least_weight: 1e-3,
            estimator: Estimator::Plain,
            seed: 0,
        }
    }
}

/// A node: a two-class mixture of some columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// Its columns, the most informative first.
    pub columns: Vec<u32>,
    /// Its mixture: `[cells of its columns, 2]`, in the order of its columns.
    pub parameters: Parameters,
    /// Rows that reach it, by probability.
    pub mass: f64,
    /// Nodes on the path to it.
    pub depth: u32,
    /// Where each class leads.
    pub children: [Child; 2],
    /// `[columns + 1]`: where each column's codes start.
    offsets: Vec<u32>,
    /// One number per code.
    log_odds: Vec<f64>,
}

/// Where a node's class leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Child {
    /// To another node, by its place in [`Tree::nodes`].
    Node(usize),
    /// To a leaf, by its number.
    Leaf(usize),
}

/// A tree of mixtures.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Tree {
    /// The nodes, level by level, the root first; none: there is only one leaf.
    pub nodes: Vec<Node>,
    /// Number of leaves.
    pub leaves: usize,
}

/// What leaves say about labels.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafLabels {
    /// `[leaves, labels]`: the share of each label among the rows that reach a leaf.
    pub shares: Vec<f64>,
    /// Number of labels.
    pub labels: usize,
}

/// Grows a tree; `weights` `[rows]` say how often each row counts, `observe` sees every level's nodes and mass.
pub fn grow(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &TreeOptions,
    observe: &mut dyn FnMut(u32, usize),
) -> Result<Tree> {
    let weights = weights.map_or_else(|| vec![1.0; rows.rows()], <[f64]>::to_vec);
    let root = Reached { parent: None, number: 1, rows: (0..rows.rows()).collect(), weights };
    let (mut tree, mut level) = (Tree { nodes: Vec::new(), leaves: 0 }, vec![root]);
    for depth in 0..=options.depth {
        let fitted: Vec<Option<Node>> = level
            .par_iter()
            .map(
                |reached| {
                    if depth < options.depth { fit_node(rows, reached, depth, options) } else { Ok(None) }
                },
            )
            .collect::<Result<_>>()?;
        let mut next = Vec::new();
        for (reached, node) in level.into_iter().zip(fitted) {
            let here = match &node {
                Some(node) => {
                    let second = node.second(rows, &reached.rows);
                    next.extend(reached.split(tree.nodes.len(), &second, options.least_weight));
                    Child::Node(tree.nodes.len())
                }
                None => Child::Leaf(tree.leaves),
            };
            if let Some((parent, class)) = reached.parent {
                tree.nodes[parent].children[class] = here;
            }
            tree.leaves += usize::from(node.is_none());
            tree.nodes.extend(node);
        }
        observe(depth, tree.nodes.len());
        level = next;
    }
    Ok(tree)
}

/// Rows on their way through a class of a node.
struct Reached {
    /// The node and the class they come from; none at the root.
    parent: Option<(usize, usize)>,
    /// 1 at the root; `2n` and `2n + 1` below node `n`.
    number: u64,
    rows: Vec<usize>,
    /// Of each of the rows.
    weights: Vec<f64>,
}

impl Reached {
    fn split(&self, node: usize, second: &[f64], least_weight: f64) -> [Self; 2] {
        [0, 1].map(|class| {
            let share = |second: f64| if class == 0 { 1.0 - second } else { second };
            let weights = self.weights.iter().zip(second).map(|(weight, second)| weight * share(*second));
            let kept = self.rows.iter().zip(weights).filter(|&(_, weight)| weight >= least_weight);
            let (rows, weights) = kept.unzip();
            let number = self.number.wrapping_mul(2) + class as u64;
            Self { parent: Some((node, class)), number, rows, weights }
        })
    }
}

/// The mixture of the rows that reach a node; none if there are too few, or no two columns that vary.
fn fit_node(
    rows: RowsView<'_>,
    reached: &Reached,
    depth: u32,
    options: &TreeOptions,
) -> Result<Option<Node>> {
    let mass: f64 = reached.weights.iter().sum();
    if mass < options.least_mass {
        return Ok(None);
    }
    let all: Vec<u32> = (0..rows.columns() as u32).collect();
    let here = Gathered::new(rows, &reached.rows, &all);
    let pairs = ColumnPairs::new(here.view()?)?;
    let whole = pairs.whole(Some(&reached.weights))?;
    let (information, varying) = (pairs.information(&whole, options.estimator)?, pairs.varying(&whole)?);
    let mut columns = vec![0; rows.columns()];
    order_by_information(&information, &mut columns);
    columns.retain(|&column| varying[column as usize]);
    columns.truncate(options.columns);
    if columns.len() < 2 {
        return Ok(None);
    }
    let chosen = Gathered::new(rows, &reached.rows, &columns);
    let engine =
        Engine { rows: chosen.view()?, weights: Some(&reached.weights), pseudocount: options.pseudocount };
    let mut random =
        Pcg64Mcg::seed_from_u64(options.seed ^ reached.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let settings = FitSettings { rounds: options.rounds, tolerance: 0.0 };
    let mut best: Option<(f64, Parameters)> = None;
    for _ in 0..options.restarts.max(1) {
        let start = engine.random_start(2, &mut random);
        let (parameters, fit) = engine.fit(&start, ActiveColumns::default(), settings, &mut |_| ())?;
        if best.as_ref().is_none_or(|(objective, _)| fit.last.objective > *objective) {
            best = Some((fit.last.objective, parameters));
        }
    }
    best.map(|(_, parameters)| Node::new(rows, columns, parameters, (mass, depth))).transpose()
}

impl Node {
    fn is_sound(&self, levels: &impl Fn(u32) -> Option<usize>) -> bool {
        let mut offsets = vec![0];
        for &column in &self.columns {
            let Some(levels) = levels(column) else { return false };
            offsets.push(offsets[offsets.len() - 1] + levels as u32);
        }
        let cells = offsets[offsets.len() - 1] as usize;
        let numbers =
            self.parameters.shares.iter().chain(&self.parameters.probabilities).chain(&self.log_odds);
        offsets == self.offsets
            && self.parameters.shares.len() == 2
            && self.parameters.probabilities.len() == 2 * cells
            && self.log_odds.len() == cells
            && numbers.chain([&self.mass]).all(|number| number.is_finite())
    }

    fn new(
        rows: RowsView<'_>,
        columns: Vec<u32>,
        parameters: Parameters,
        (mass, depth): (f64, u32),
    ) -> Result<Self> {
        let mut offsets = vec![0];
        for &column in &columns {
            offsets.push(offsets[offsets.len() - 1] + rows.levels(column as usize) as u32);
        }
        let mut log_odds = vec![0.0; parameters.probabilities.len() / 2];
        TwoClasses::fill_log_odds(&parameters.probabilities, &mut log_odds)?;
        let children = [Child::Leaf(0); 2];
        Ok(Self { columns, parameters, mass, depth, children, offsets, log_odds })
    }

    /// The probability of the second class for some rows.
    fn second(&self, rows: RowsView<'_>, taken: &[usize]) -> Vec<f64> {
        let [first, second] = [0, 1].map(|class| self.parameters.shares[class]);
        let classes = TwoClasses {
            columns: &self.columns,
            offsets: &self.offsets,
            log_odds: &self.log_odds,
            share_log_odds: second.ln() - first.ln(),
        };
        let of_row = |&row: &usize| match rows {
            RowsView::Bits(bits) => classes.second_of_bits(bits, row),
            RowsView::Codes(codes) => classes.second_of_codes(codes, row),
        };
        taken.par_iter().map(of_row).collect()
    }
}

impl Tree {
    /// Whether every node leads to a later one or to a leaf of its own, and has numbers for all codes of its columns;
    /// `levels(column)` says how many there are, none for a column that is not there.
    pub(super) fn is_sound(&self, levels: impl Fn(u32) -> Option<usize>) -> bool {
        let mut reached = vec![0u32; self.nodes.len() + self.leaves];
        let root = if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        let children =
            self.nodes.iter().enumerate().flat_map(|(place, node)| node.children.map(|child| (place, child)));
        for (place, child) in children.map(|(place, child)| (place + 1, child)).chain([(0, root)]) {
            let target = match child {
                Child::Node(node) if node >= place && node < self.nodes.len() => node,
                Child::Leaf(leaf) if leaf < self.leaves => self.nodes.len() + leaf,
                _ => return false,
            };
            reached[target] += 1;
        }
        reached.iter().all(|&times| times == 1) && self.nodes.iter().all(|node| node.is_sound(&levels))
    }

    /// The posterior of every leaf `[rows, leaves]`: the product along its path.
    pub fn leaf_posteriors(&self, rows: RowsView<'_>) -> Vec<f64> {
        let mut out = vec![0.0; rows.rows() * self.leaves];
        let all: Vec<usize> = (0..rows.rows()).collect();
        let mut reached: Vec<Vec<f64>> = vec![Vec::new(); self.nodes.len()];
        let mut arrive = |reached: &mut [Vec<f64>], child: Child, probabilities: Vec<f64>| match child {
            Child::Node(node) => reached[node] = probabilities,
            Child::Leaf(leaf) => {
                let places = out.iter_mut().skip(leaf).step_by(self.leaves);
                places.zip(probabilities).for_each(|(out, probability)| *out = probability);
            }
        };
        let root = if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        arrive(&mut reached, root, vec![1.0; rows.rows()]);
        for (place, node) in self.nodes.iter().enumerate() {
            let here = std::mem::take(&mut reached[place]);
            let second = node.second(rows, &all);
            let of_class = |class: usize| {
                let share = |second: f64| if class == 0 { 1.0 - second } else { second };
                here.iter().zip(&second).map(|(here, second)| here * share(*second)).collect()
            };
            for (class, &child) in node.children.iter().enumerate() {
                arrive(&mut reached, child, of_class(class));
            }
        }
        out
    }
}

impl LeafLabels {
    /// The label shares of leaves, from labelled rows: leaf posteriors `[rows, leaves]` and labels `[rows]`.
    pub fn new(leaves: &[f64], labels: &[u32], label_count: usize, pseudocount: f64) -> Result<Self> {
        let leaf_count = leaves.len().checked_div(labels.len()).unwrap_or(0);
        let mut shares = vec![0.0; leaf_count * label_count];
        leaf_label_shares(leaves, labels, pseudocount, label_count, &mut shares)?;
        Ok(Self { shares, labels: label_count })
    }

    /// The most probable label of every row, from leaf posteriors `[rows, leaves]`; ties go to the lower label.
    pub fn labels(&self, leaves: &[f64]) -> Vec<u32> {
        let leaf_count = (self.shares.len() / self.labels.max(1)).max(1);
        let label = |posterior: &[f64]| {
            let mut probabilities = vec![0.0; self.labels];
            label_probabilities(posterior, &self.shares, &mut probabilities);
            most_likely_class(&probabilities) as u32
        };
        leaves.par_chunks_exact(leaf_count).map(label).collect()
    }
}
