//! What pair tables of dense columns cost, and what mixtures make of the columns of handwritten digits.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use mixlet_core::observations::{PackedRows, row_words};
use mixlet_core::select::Estimator;
use mixlet_runtime::mixture::RowsView;
use mixlet_runtime::mixture::pairs::ColumnPairs;
use mixlet_runtime::mixture::tree::{LeafLabels, TreeOptions, grow};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mnist");
const PIXELS: usize = 784;
const LABELS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if !Path::new(SHARED).exists() {
        println!("needs ../shared, which is not there");
        return Ok(());
    }
    let digits = Digits::read()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["pairs"] => pairs(&digits),
        ["tree", depths @ ..] => tree(&digits, depths),
        _ => pairs(&digits).and_then(|()| tree(&digits, &["6", "8", "10"])),
    }
}

/// Images as rows of bits, a pixel above half of its range being one, and what they show.
struct Digits {
    bits: Vec<u64>,
    labels: Vec<u32>,
}

impl Digits {
    fn read() -> Result<Self, Box<dyn Error>> {
        let unpack = |name: &str| -> Result<Vec<u8>, Box<dyn Error>> {
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(std::fs::File::open(Path::new(SHARED).join(name))?)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let images = unpack("t10k-images-idx3-ubyte.gz")?;
        let labels = unpack("t10k-labels-idx1-ubyte.gz")?;
        let mut bits = Vec::new();
        for image in images[16..].chunks_exact(PIXELS) {
            let word = |pixels: &[u8]| {
                pixels.iter().enumerate().fold(0, |word, (nth, &pixel)| word | u64::from(pixel > 127) << nth)
            };
            bits.extend(image.chunks(64).map(word));
        }
        Ok(Self { bits, labels: labels[8..].iter().map(|&label| u32::from(label)).collect() })
    }

    /// The first half, to fit, and the second.
    fn halves(&self) -> [(PackedRows<'_>, &[u32]); 2] {
        let half = self.labels.len() / 2;
        let (bits, labels) = (self.bits.split_at(half * row_words(PIXELS)), self.labels.split_at(half));
        [(bits.0, labels.0), (bits.1, labels.1)]
            .map(|(bits, labels)| (PackedRows::new(labels.len(), PIXELS, bits).unwrap(), labels))
    }
}

/// Information of all columns, on one thread.
fn pairs(digits: &Digits) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let tiled: Vec<u64> = (0..6).flat_map(|_| digits.bits.iter().copied()).collect();
    let rows = 6 * digits.labels.len();
    println!("rows    what                                  seconds");
    let whole = PackedRows::new(rows, PIXELS, &tiled)?;
    for estimator in [Estimator::Plain, Estimator::MillerMadow, Estimator::GTest] {
        let start = Instant::now();
        pool.install(|| -> mixlet_runtime::error::Result<_> {
            let pairs = ColumnPairs::new(RowsView::Bits(whole))?;
            pairs.information(&pairs.whole(None)?, estimator)
        })?;
        println!(
            "{rows:<7} {:<37} {:>7.3}",
            format!("popcounts, {estimator:?}"),
            start.elapsed().as_secs_f64()
        );
    }
    let [(half, labels), _] = digits.halves();
    for classes in [1, 2, LABELS] {
        let responsibilities: Vec<f64> = labels
            .iter()
            .flat_map(|&label| {
                (0..classes).map(move |class| {
                    if label as usize % classes == class { 0.9 } else { 0.1 / (classes - 1) as f64 }
                })
            })
            .collect();
        let start = Instant::now();
        pool.install(|| -> mixlet_runtime::error::Result<_> {
            let pairs = ColumnPairs::new(RowsView::Bits(half))?;
            pairs.information(&pairs.within(&responsibilities, classes, None)?, Estimator::Plain)
        })?;
        println!(
            "{:<7} {:<37} {:>7.3}",
            labels.len(),
            format!("weighted, {classes} classes"),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn tree(digits: &Digits, depths: &[&str]) -> Result<(), Box<dyn Error>> {
    let [(fitted, fitted_labels), (held_out, held_out_labels)] = digits.halves();
    println!("depth  columns  leaves  seconds  accuracy fitted  held out");
    for depth in depths {
        let options = TreeOptions { depth: depth.parse()?, ..TreeOptions::default() };
        let start = Instant::now();
        let tree = grow(RowsView::Bits(fitted), None, &options, &mut |_, _| ())?;
        let seconds = start.elapsed().as_secs_f64();
        let leaves = tree.leaf_posteriors(RowsView::Bits(fitted));
        let labels = LeafLabels::new(&leaves, fitted_labels, LABELS, 1.0)?;
        let accuracy = |found: Vec<u32>, truth: &[u32]| {
            found.iter().zip(truth).filter(|(found, truth)| found == truth).count() as f64
                / truth.len() as f64
        };
        let fitted_accuracy = accuracy(labels.labels(&leaves), fitted_labels);
        let held_out_accuracy =
            accuracy(labels.labels(&tree.leaf_posteriors(RowsView::Bits(held_out))), held_out_labels);
        println!(
            "{depth:>5} {:>8} {:>7} {seconds:>8.2} {fitted_accuracy:>16.4} {held_out_accuracy:>9.4}",
            options.columns, tree.leaves
        );
    }
    Ok(())
}
