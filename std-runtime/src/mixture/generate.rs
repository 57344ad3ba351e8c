//! Synthetic rows with known truth: for demonstrations, examples and tests.
//!
//! Only integers and `+ − · /` on `f64` are used, so a seed gives the same rows on every platform.

mod glyphs;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::rows::{Bits, Cells, Columns, Labels, Rows};

pub use glyphs::{GLYPH_NAMES, GLYPH_SIDE, Glyphs, glyphs};

/// Binary rows of two classes that only some columns, the experts, know anything about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseSpec {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// How many of them are experts, in random places.
    pub experts: usize,
    /// An expert names the class of a row with a probability from this range, drawn for each class.
    pub accuracy: (f64, f64),
}

impl Default for SparseSpec {
    /// The setting of arXiv:1506.02975 with one expert in ten columns: EM from random starts finds it, too.
    fn default() -> Self {
        Self { rows: 1000, columns: 100, experts: 10, accuracy: (0.6, 0.9) }
    }
}

/// Rows with the truth behind them.
#[derive(Clone, Debug)]
pub struct SparseRows {
    /// The rows; columns are called `page-00`, `page-01`, ….
    pub rows: Rows,
    /// `[rows]`: the class of each.
    pub truth: Vec<u32>,
    /// The experts, in order.
    pub experts: Vec<u32>,
    /// `[columns, 2]`: the probability of a one in each class.
    pub probabilities: Vec<[f64; 2]>,
}

/// The rows of a seed. What an expert calls a class is random, so that no vote could find the classes.
///
/// ```
/// # use mixlet_runtime::mixture::generate::{SparseSpec, sparse};
/// let made = sparse(&SparseSpec { rows: 30, columns: 8, experts: 2, ..SparseSpec::default() }, 7);
/// assert_eq!((made.rows.len(), made.truth.len(), made.experts.len()), (30, 30, 2));
/// let is_expert = |p: &[f64; 2]| p[0] != p[1];
/// assert_eq!(made.probabilities.iter().filter(|p| is_expert(p)).count(), 2);
/// ```
pub fn sparse(spec: &SparseSpec, seed: u64) -> SparseRows {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut order: Vec<u32> = (0..spec.columns as u32).collect();
    for place in 0..spec.experts.min(spec.columns) {
        order.swap(place, place + below(&mut random, spec.columns - place));
    }
    let mut experts = order[..spec.experts.min(spec.columns)].to_vec();
    experts.sort_unstable();
    let probabilities: Vec<[f64; 2]> = (0..spec.columns as u32)
        .map(|column| column_of(spec, experts.contains(&column), &mut random))
        .collect();
    let truth: Vec<u32> = (0..spec.rows).map(|_| below(&mut random, 2) as u32).collect();
    let mut bits = Bits::new(spec.columns);
    for &class in &truth {
        bits.push(probabilities.iter().map(|of_class| Some(unit(&mut random) < of_class[class as usize])));
    }
    let width = spec.columns.saturating_sub(1).to_string().len();
    let names = (0..spec.columns).map(|column| format!("page-{column:0width$}")).collect();
    let columns = Columns { names, ..Columns::binary(spec.columns) };
    SparseRows { rows: Rows::of(columns, Cells::Bits(bits)), truth, experts, probabilities }
}

/// An expert is right with a probability per class and may call the classes the other way round; all others show the
/// same in both classes.
fn column_of(spec: &SparseSpec, is_expert: bool, random: &mut impl Rng) -> [f64; 2] {
    if !is_expert {
        return [0.2 + 0.6 * unit(random); 2];
    }
    let (low, high) = spec.accuracy;
    let [first, second] = [(); 2].map(|()| low + (high - low) * unit(random));
    if below(random, 2) == 0 { [1.0 - first, second] } else { [first, 1.0 - second] }
}

/// The truth as known labels.
pub fn labels(truth: &[u32], names: &[&str]) -> Labels {
    Labels::new(truth.iter().map(|&class| names.get(class as usize).copied()))
}

/// A number in `[0, 1)`.
fn unit(random: &mut impl Rng) -> f64 {
    f64::from(random.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// A whole number below a count.
fn below(random: &mut impl Rng, count: usize) -> usize {
    ((u64::from(random.next_u32()) * count as u64) >> 32) as usize
}
