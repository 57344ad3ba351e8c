//! What pair tables of dense columns cost, and what mixtures make of the columns of handwritten digits.
//!
//! `cargo bench -p mixlet-runtime --bench columns` runs all tables, `… -- pairs`, `… -- flat` and `… -- tree 6 8 10`
//! (depths) one of them; `… -- try` with nine settings fits a tree to four fifths of the first half and scores it on the
//! last, which is how the settings below were chosen.
//!
//! The 10,000 test images are split by index: the first half is fitted without labels, its labels then name classes or
//! leaves by their shares, and the second half is scored. Measured on 2026-11-22 on two cores of an AMD EPYC (AVX-512)
//! that six other programs were using: seconds are too long by a factor of three or so, all else is exact.
//!
//! ```text
//! columns  seconds  accuracy fitted  held out  log-likelihood per image fitted  held out      ten classes, ten random starts
//!     300    29.72           0.5998    0.5416                          -158.77   -178.16
//!     784    31.68           0.6000    0.5668                          -158.94   -178.03
//! depth  leaves  seconds  accuracy fitted  held out   leaves with all columns: seconds  held out  log-likelihood fitted  held out
//!     6      64     3.49           0.6458    0.5816                               0.58    0.7178                -136.25   -152.98
//!     8     248    10.96           0.7594    0.7212                               3.49    0.8410                -125.95   -149.17
//!    10     639    24.78           0.8352    0.7702                               6.94    0.8648                -125.48   -154.01
//! ```
//!
//! A leaf's product of probabilities knows 50 columns a node; what a path got wrong stays wrong. As classes of one
//! mixture of all columns, refined by three rounds of EM (`--refine 3` on the command line), the same leaves reach 0.86.
//!
//! Information of 784 columns on one thread of the same machine:
//!
//! ```text
//! rows    what                                  seconds
//! 60000   popcounts, Plain                        0.127
//! 60000   popcounts, MillerMadow                  0.152
//! 60000   popcounts, GTest                        0.229
//! 5000    weighted, 1 classes                     0.056
//! 5000    weighted, 2 classes                     0.095
//! 5000    weighted, 10 classes                    0.478
//! ```

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use mixlet_core::em::{ActiveColumns, FitSettings};
use mixlet_core::observations::{PackedRows, row_words};
use mixlet_core::select::{Estimator, order_by_information};
use mixlet_runtime::mixture::fit::Task;
use mixlet_runtime::mixture::pairs::ColumnPairs;
use mixlet_runtime::mixture::tree::{LeafLabels, RefineOptions, TreeOptions, grow, refine};
use mixlet_runtime::mixture::{Engine, Parameters, RowsView};
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mnist");
const PIXELS: usize = 784;
const LABELS: usize = 10;
/// Pseudocount of a leaf's labels.
const LABEL_PSEUDOCOUNT: f64 = 1.0;

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
        ["flat"] => flat(&digits),
        ["tree", depths @ ..] => tree(&digits, depths),
        ["try", settings @ ..] => try_tree(&digits, settings),
        _ => pairs(&digits).and_then(|()| flat(&digits)).and_then(|()| tree(&digits, &["6", "8", "10"])),
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
        self.parts(self.labels.len() / 2, self.labels.len())
    }

    /// The images before one and between it and another.
    fn parts(&self, middle: usize, end: usize) -> [(PackedRows<'_>, &[u32]); 2] {
        [0..middle, middle..end].map(|part| {
            let words = part.start * row_words(PIXELS)..part.end * row_words(PIXELS);
            (PackedRows::new(part.len(), PIXELS, &self.bits[words]).unwrap(), &self.labels[part])
        })
    }
}

/// Information of all columns, on one thread.
fn pairs(digits: &Digits) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let tiled: Vec<u64> = (0..6).flat_map(|_| digits.bits.iter().copied()).collect();
    let rows = 6 * digits.labels.len();
    println!("rows    what                                  seconds");
    let whole = PackedRows::new(rows, PIXELS, &tiled)?;
    for estimator in [Estimator::Plain, Estimator::MillerMadow, Estimator::G_TEST] {
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

/// A mixture of ten classes from random starts, with the most informative columns and with all.
fn flat(digits: &Digits) -> Result<(), Box<dyn Error>> {
    let [(fitted, fitted_labels), (held_out, held_out_labels)] = digits.halves();
    let pairs = ColumnPairs::new(RowsView::Bits(fitted))?;
    let mut order = vec![0; PIXELS];
    order_by_information(&pairs.information(&pairs.whole(None)?, Estimator::Plain)?, &mut order);
    println!("columns  seconds  accuracy fitted  held out  log-likelihood per image fitted  held out");
    for columns in [300, PIXELS] {
        let mut mask = vec![0; row_words(PIXELS)];
        order.iter().take(columns).for_each(|&column| mask[column as usize / 64] |= 1 << (column % 64));
        let active = ActiveColumns { mask: Some(&mask), partial: false };
        let engine = Engine { rows: RowsView::Bits(fitted), weights: None, pseudocount: 0.1 };
        let start = Instant::now();
        let mut best: Option<(f64, Parameters)> = None;
        for seed in 0..10 {
            let random = engine.random_start(LABELS, &mut Pcg64Mcg::seed_from_u64(seed));
            let settings = FitSettings { rounds: 100, tolerance: 0.0 };
            let (parameters, fit) = engine.fit(&random, active, settings, &mut |_| ())?;
            if best.as_ref().is_none_or(|(most, _)| fit.last.objective > *most) {
                best = Some((fit.last.objective, parameters));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let (_, parameters) = best.ok_or("no start")?;
        let [on_fitted, on_held_out] =
            [fitted, held_out].map(|rows| Engine { rows: RowsView::Bits(rows), ..engine });
        let posterior = on_fitted.expectation(&parameters, active)?.responsibilities;
        let labels = LeafLabels::new(&posterior, fitted_labels, LABELS, 1.0)?;
        let others = on_held_out.expectation(&parameters, active)?.responsibilities;
        let [a, b] = [(&posterior, fitted_labels), (&others, held_out_labels)]
            .map(|(posterior, truth)| accuracy(&labels.labels(posterior), truth));
        let all = ActiveColumns::default();
        let [c, d] = [on_fitted.expectation(&parameters, all)?, on_held_out.expectation(&parameters, all)?]
            .map(|expected| expected.log_likelihood / fitted_labels.len() as f64);
        println!("{columns:>7} {seconds:>8.2} {a:>16.4} {b:>9.4} {c:>32.2} {d:>9.2}");
    }
    Ok(())
}

fn accuracy(found: &[u32], truth: &[u32]) -> f64 {
    found.iter().zip(truth).filter(|(found, truth)| found == truth).count() as f64 / truth.len() as f64
}

/// Trees by depth; then the same leaves as classes of all columns.
fn tree(digits: &Digits, depths: &[&str]) -> Result<(), Box<dyn Error>> {
    println!(
        "depth  leaves  seconds  accuracy fitted  held out   leaves with all columns: seconds  held out  \
         log-likelihood per image fitted  held out"
    );
    for depth in depths {
        let options = TreeOptions { depth: depth.parse()?, ..TreeOptions::default() };
        tree_row(digits.halves(), options, (LABEL_PSEUDOCOUNT, RefineOptions::default()))?;
    }
    Ok(())
}

/// A tree of the first four fifths of the half that is fitted, on the last fifth: what settings are chosen by.
fn try_tree(digits: &Digits, settings: &[&str]) -> Result<(), Box<dyn Error>> {
    let &[
        depth,
        columns,
        rounds,
        restarts,
        pseudocount,
        least_mass,
        label_pseudocount,
        leaf_pseudocount,
        refinements,
    ] = settings
    else {
        return Err("nine settings".into());
    };
    let options = TreeOptions {
        depth: depth.parse()?,
        columns: columns.parse()?,
        rounds: rounds.parse()?,
        restarts: restarts.parse()?,
        pseudocount: pseudocount.parse()?,
        least_mass: least_mass.parse()?,
        ..TreeOptions::default()
    };
    let parts = digits.parts(4000, 5000);
    let refinement = RefineOptions { rounds: refinements.parse()?, pseudocount: leaf_pseudocount.parse()? };
    tree_row(parts, options, (label_pseudocount.parse()?, refinement))
}

fn tree_row(
    [(fitted, fitted_labels), (held_out, held_out_labels)]: [(PackedRows<'_>, &[u32]); 2],
    options: TreeOptions,
    (label_pseudocount, refinement): (f64, RefineOptions),
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let tree = grow(RowsView::Bits(fitted), None, &options, &mut |_, _| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let leaves = tree.leaf_posteriors(RowsView::Bits(fitted));
    let labels = LeafLabels::new(&leaves, fitted_labels, LABELS, label_pseudocount)?;
    let a = accuracy(&labels.labels(&leaves), fitted_labels);
    let b = accuracy(&labels.labels(&tree.leaf_posteriors(RowsView::Bits(held_out))), held_out_labels);
    print!("{:>5} {:>7} {seconds:>8.2} {a:>16.4} {b:>9.4}", options.depth, tree.leaves);

    let start = Instant::now();
    let rows = RowsView::Bits(fitted);
    let parameters = refine(Task::of(rows), &leaves, refinement, &|_, _| ())?.parameters;
    let engine = Engine { rows, weights: None, pseudocount: refinement.pseudocount };
    let all = ActiveColumns::default();
    let on_fitted = engine.expectation(&parameters, all)?;
    let on_held_out = Engine { rows: RowsView::Bits(held_out), ..engine }.expectation(&parameters, all)?;
    let labels = LeafLabels::new(&on_fitted.responsibilities, fitted_labels, LABELS, label_pseudocount)?;
    let seconds = start.elapsed().as_secs_f64();
    let accuracy = accuracy(&labels.labels(&on_held_out.responsibilities), held_out_labels);
    let [c, d] = [(on_fitted, fitted_labels), (on_held_out, held_out_labels)]
        .map(|(expected, labels)| expected.log_likelihood / labels.len() as f64);
    println!(" {seconds:>34.2} {accuracy:>9.4} {c:>32.2} {d:>9.2}");
    Ok(())
}
