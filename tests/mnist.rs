//! What mixtures without labels make of handwritten digits, on images they were not fitted to.

mod common;

use std::io::Read;

use mixlet_core::observations::{PackedRows, row_words};
use mixlet_runtime::mixture::RowsView;
use mixlet_runtime::mixture::tree::{LeafLabels, TreeOptions, grow};

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
    let said = LeafLabels::new(&leaves, &labels[..half], 10, 1.0).unwrap();
    let found = said.labels(&tree.leaf_posteriors(rows(held_out)));
    let right = found.iter().zip(&labels[half..]).filter(|(found, truth)| found == truth).count();
    let accuracy = right as f64 / half as f64;
    println!("16 leaves: {accuracy:.4} held out");
    // Chance is 0.1; sixteen leaves cannot hold the variety of ten digits.
    assert!(accuracy > 0.4, "{accuracy}");
}
