//! The leaves of a tree as classes of one mixture: what refining makes of them is what the formulas say.

mod common;

use common::bernoulli::{Bits, Parameters, posterior, statistics};
use common::random::SplitMix;
use mixlet_core::em::most_likely_class;
use mixlet_runtime::mixture::RowsView;
use mixlet_runtime::mixture::fit::{Task, posteriors};
use mixlet_runtime::mixture::tree::{LeafLabels, RefineOptions, TreeOptions, grow, refine};

const COLUMNS: usize = 40;
const KINDS: usize = 6;

/// Rows of six kinds, each kind with its own probabilities, and now and then a missing value.
fn kinds(rows: usize, missing: f64, seed: u64) -> (Bits, Vec<u32>) {
    let mut random = SplitMix(seed);
    let kinds = Parameters::random(COLUMNS, KINDS, &mut SplitMix(7));
    let (mut made, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let kind = random.below(KINDS);
        let mut value = |ones: &Vec<f64>| {
            // Half of what a kind is and half of chance, so that kinds overlap.
            let one = random.unit() < 0.5 * ones[kind] + 0.25;
            (random.unit() >= missing).then_some(one)
        };
        made.push(kinds.ones.iter().map(&mut value).collect());
        truth.push(kind as u32);
    }
    (Bits { columns: COLUMNS, rows: made }, truth)
}

/// Shares and probabilities that weighted responsibilities imply, with a pseudocount for either value.
fn maximized(bits: &Bits, q: &[Vec<f64>], weights: &[f64], pseudocount: f64) -> Parameters {
    let [masses, ones, present] = statistics(bits, q, weights);
    let total: f64 = masses.iter().sum();
    let classes = masses.len();
    let of_cell = |cell: usize| (ones[cell] + pseudocount) / (present[cell] + 2.0 * pseudocount);
    Parameters {
        shares: masses.iter().map(|mass| mass / total).collect(),
        ones: (0..COLUMNS)
            .map(|column| (0..classes).map(|class| of_cell(column * classes + class)).collect())
            .collect(),
    }
}

/// Responsibilities and log-likelihood of every row.
fn expected(bits: &Bits, parameters: &Parameters) -> (Vec<Vec<f64>>, Vec<f64>) {
    bits.rows.iter().map(|row| posterior(&parameters.log_joints(row, |_| true))).unzip()
}

fn accuracy(labels: &[u32], truth: &[u32]) -> f64 {
    labels.iter().zip(truth).filter(|(label, truth)| label == truth).count() as f64 / truth.len() as f64
}

/// The label of the largest `Σ_l q[l] · share[l, c]`, with one pseudo-row per leaf that says what all rows say.
fn naive_labels(fitted: &[Vec<f64>], truth: &[u32], held_out: &[Vec<f64>]) -> Vec<u32> {
    let of_all = |kind: u32| truth.iter().filter(|&&label| label == kind).count() as f64 / truth.len() as f64;
    let share = |leaf: usize, kind: u32| {
        let own = fitted.iter().zip(truth).filter(|(_, label)| **label == kind).map(|(q, _)| q[leaf]);
        let mass: f64 = fitted.iter().map(|q| q[leaf]).sum();
        (own.sum::<f64>() + of_all(kind)) / (mass + 1.0)
    };
    let leaves = fitted[0].len();
    let shares: Vec<Vec<f64>> =
        (0..leaves).map(|leaf| (0..KINDS as u32).map(|kind| share(leaf, kind)).collect()).collect();
    let label = |q: &Vec<f64>| {
        let score = |kind: usize| q.iter().zip(&shares).map(|(q, shares)| q * shares[kind]).sum();
        most_likely_class(&(0..KINDS).map(score).collect::<Vec<f64>>()) as u32
    };
    held_out.iter().map(label).collect()
}

#[test]
fn refining_gives_the_likelihood_and_the_labels_of_a_naive_reference() {
    for (missing, is_weighted) in [(0.0, false), (0.1, true)] {
        let case = format!("missing {missing}, weighted {is_weighted}");
        let (fitted, truth) = kinds(500, missing, 1);
        let (held_out, other_truth) = kinds(500, missing, 2);
        let weights: Vec<f64> =
            (0..500).map(|row| if is_weighted { 0.5 + f64::from(row % 3) } else { 1.0 }).collect();
        let (packed, other_packed) = (fitted.packed(false), held_out.packed(false));
        let (rows, other_rows) = (RowsView::Bits(packed.rows()), RowsView::Bits(other_packed.rows()));
        let options = TreeOptions { depth: 4, columns: 12, ..TreeOptions::default() };
        let tree = grow(rows, Some(&weights), &options, &mut |_, _| ()).unwrap();
        let leaves = tree.leaf_posteriors(rows);
        let by_row: Vec<Vec<f64>> = leaves.chunks_exact(tree.leaves).map(<[f64]>::to_vec).collect();

        for rounds in [0, 1, 3] {
            let refinement = RefineOptions { rounds, pseudocount: 0.5 };
            let task = Task { weights: Some(&weights), ..Task::of(rows) };
            let fit = refine(task, &leaves, refinement, &|_, _| ()).unwrap();
            assert_eq!(fit.rounds.len() as u32, rounds + 1, "{case}");

            let mut naive = maximized(&fitted, &by_row, &weights, 0.5);
            for _ in 0..rounds {
                naive = maximized(&fitted, &expected(&fitted, &naive).0, &weights, 0.5);
            }
            let (q, logs) = expected(&fitted, &naive);
            let of_fitted: f64 = logs.iter().zip(&weights).map(|(log, weight)| log * weight).sum();
            let last = fit.last().unwrap().log_likelihood;
            assert!((last - of_fitted).abs() < 1e-9 * of_fitted.abs(), "{case}: {last} and {of_fitted}");
            let (other_q, other_logs) = expected(&held_out, &naive);
            let of_held_out: f64 = other_logs.iter().sum();
            let (found, log_likelihood) = posteriors(Task::of(other_rows), &fit.parameters).unwrap();
            let gap = (log_likelihood - of_held_out).abs();
            assert!(gap < 1e-9 * of_held_out.abs(), "{case}: {log_likelihood} and {of_held_out}");
            for (found, expected) in found.iter().zip(other_q.iter().flatten()) {
                assert!((found - expected).abs() < 1e-6, "{case}: {found} and {expected}");
            }

            let own = posteriors(Task::of(rows), &fit.parameters).unwrap().0;
            let labels = LeafLabels::new(&own, &truth, KINDS, 1.0).unwrap().labels(&found);
            let expected = naive_labels(&q, &truth, &other_q);
            assert_eq!(accuracy(&labels, &other_truth), accuracy(&expected, &other_truth), "{case}");
            assert_eq!(labels, expected, "{case}");
        }
    }
}

#[test]
fn the_tree_alone_is_worse_and_threads_change_no_bit() {
    let (fitted, truth) = kinds(600, 0.0, 3);
    let (held_out, other_truth) = kinds(600, 0.0, 4);
    let (packed, other_packed) = (fitted.packed(false), held_out.packed(false));
    let (rows, other_rows) = (RowsView::Bits(packed.rows()), RowsView::Bits(other_packed.rows()));
    let options = TreeOptions { depth: 4, columns: 8, ..TreeOptions::default() };
    let tree = grow(rows, None, &options, &mut |_, _| ()).unwrap();
    let leaves = tree.leaf_posteriors(rows);
    let on_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let refined = || refine(Task::of(rows), &leaves, RefineOptions::default(), &|_, _| ()).unwrap();
        pool.install(refined).parameters
    };
    let parameters = on_threads(1);
    assert_eq!(parameters, on_threads(3));

    let of = |own: &[f64], other: &[f64]| {
        let labels = LeafLabels::new(own, &truth, KINDS, 1.0).unwrap();
        accuracy(&labels.labels(other), &other_truth)
    };
    let [own, other] = [rows, other_rows].map(|rows| posteriors(Task::of(rows), &parameters).unwrap().0);
    let (alone, refined) = (of(&leaves, &tree.leaf_posteriors(other_rows)), of(&own, &other));
    println!("held out: {alone:.4} by the tree, {refined:.4} refined");
    assert!(refined > alone + 0.05, "{alone} by the tree, {refined} refined");
}
