//! What mixtures without labels make of handwritten digits, on images they were not fitted to.

mod common;

use std::io::Read;

use mixlet_core::observations::{PackedRows, row_words};
use mixlet_runtime::mixture::RowsView;
use mixlet_runtime::mixture::fit::{Task, posteriors};
use mixlet_runtime::mixture::tree::{LeafLabels, RefineOptions, TreeOptions, grow, refine};

const PIXELS: usize = 784;

/// The images as bits, a pixel above half of its range being one, and what they show.
fn digits() -> Option<(Vec<u64>, Vec<u32>)> {
    let folder = common::shared::folder("bird")?.parent()?.parent()?.join("mnist");
    let unpack = |name: &str| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(folder.join(name)).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let images = unpack("t10k-images-idx3-ubyte.gz");
    let labels = unpack("t10k-labels-idx1-ubyte.gz");
    let word = |pixels: &[u8]| {
        pixels.iter().enumerate().fold(0, |word, (nth, &pixel)| word | u64::from(pixel > 127) << nth)
    };
    let bits = images[16..].chunks_exact(PIXELS).flat_map(|image| image.chunks(64).map(word)).collect();
    Some((bits, labels[8..].iter().map(|&label| u32::from(label)).collect()))
}

/// The share of held-out images whose digit is the one that the classes' shares of the fitted digits name.
fn accuracy(fitted: &[f64], held_out: &[f64], labels: &[u32]) -> f64 {
    let (known, truth) = labels.split_at(labels.len() / 2);
    let found = LeafLabels::new(fitted, known, 10, 1.0).unwrap().labels(held_out);
    found.iter().zip(truth).filter(|(found, truth)| found == truth).count() as f64 / truth.len() as f64
}

/// The figures of deeper trees stand beside the benchmark of columns.
#[test]
fn a_small_tree_tells_digits_apart_and_threads_do_not_change_it() {
    let Some((bits, labels)) = digits() else { return };
    let half = labels.len() / 2;
    let (fitted, held_out) = bits.split_at(half * row_words(PIXELS));
    let rows = |bits| RowsView::Bits(PackedRows::new(half, PIXELS, bits).unwrap());
    let options = TreeOptions { depth: 4, restarts: 2, ..TreeOptions::default() };
    let on_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| grow(rows(fitted), None, &options, &mut |_, _| ()).unwrap())
    };
    let tree = on_threads(1);
    assert_eq!(tree, on_threads(3));
    assert_eq!(tree.leaves, 16);

    let leaves = tree.leaf_posteriors(rows(fitted));
    for posterior in leaves.chunks_exact(tree.leaves) {
        assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let accuracy = accuracy(&leaves, &tree.leaf_posteriors(rows(held_out)), &labels);
    println!("16 leaves: {accuracy:.4} held out");
    // Chance is 0.1; sixteen leaves cannot hold the variety of ten digits.
    assert!(accuracy > 0.4, "{accuracy}");
}

/// With a depth of ten it is 0.86; that takes three times as long.
#[test]
fn leaves_refined_with_all_columns_tell_most_digits_apart() {
    let Some((bits, labels)) = digits() else { return };
    let half = labels.len() / 2;
    let (fitted, held_out) = bits.split_at(half * row_words(PIXELS));
    let [fitted, held_out] =
        [fitted, held_out].map(|bits| RowsView::Bits(PackedRows::new(half, PIXELS, bits).unwrap()));
    let tree = grow(fitted, None, &TreeOptions::default(), &mut |_, _| ()).unwrap();
    let leaves = tree.leaf_posteriors(fitted);
    let alone = accuracy(&leaves, &tree.leaf_posteriors(held_out), &labels);
    let refined = refine(Task::of(fitted), &leaves, RefineOptions::default(), &|_, _| ()).unwrap();
    let [own, other] =
        [fitted, held_out].map(|rows| posteriors(Task::of(rows), &refined.parameters).unwrap().0);
    let refined = accuracy(&own, &other, &labels);
    println!("{} leaves: {alone:.4} held out, {refined:.4} refined", tree.leaves);
    assert!(alone > 0.70 && refined > 0.83, "{alone} and {refined}");
}
