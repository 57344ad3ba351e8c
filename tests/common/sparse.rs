//! Mixtures in which few columns know the class, and plain EM on them.

use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::{self, ActiveColumns, FitSettings, LatentClassModel, RowFacts, start};
use mixlet_core::observations::{Codes, MISSING};

use super::columns::Rows;
use super::random::SplitMix;

/// How a set is generated: experts name the class with a probability from `accuracy`, in each class its own; all
/// others show one distribution in every class.
#[derive(Clone, Copy, Debug)]
pub struct Sparse {
    pub rows: usize,
    pub columns: usize,
    pub classes: usize,
    pub experts: usize,
    pub accuracy: (f64, f64),
    /// Every column has its own random names of the codes.
    pub scrambled: bool,
    pub seed: u64,
}

/// A generated set and its truth.
pub struct SparseRows {
    pub rows: Rows,
    pub truth: Vec<usize>,
    pub experts: Vec<u32>,
}

impl Sparse {
    pub fn rows(self) -> SparseRows {
        let mut random = SplitMix(self.seed);
        let mut experts: Vec<u32> =
            random.choose(self.columns, self.experts).into_iter().map(|column| column as u32).collect();
        experts.sort_unstable();
        let tables: Vec<Vec<Vec<f64>>> = (0..self.columns as u32)
            .map(|column| self.table(experts.contains(&column), &mut random))
            .collect();
        // Drawn apart, so that the rows are the same but for their names.
        let mut naming = SplitMix(self.seed ^ 0x5ca3);
        let names: Vec<Vec<usize>> = (0..self.columns)
            .map(|_| {
                if self.scrambled {
                    naming.choose(self.classes, self.classes)
                } else {
                    (0..self.classes).collect()
                }
            })
            .collect();
        let truth: Vec<usize> = (0..self.rows).map(|_| random.below(self.classes)).collect();
        let codes = truth.iter().map(|&class| {
            let columns = tables.iter().zip(&names);
            columns.map(|(table, names)| names[draw(&table[class], random.unit())] as u16).collect()
        });
        let codes = codes.collect();
        SparseRows { rows: Rows { levels: vec![self.classes; self.columns], codes }, truth, experts }
    }

    /// `[class][code]`.
    fn table(&self, is_expert: bool, random: &mut SplitMix) -> Vec<Vec<f64>> {
        let classes = self.classes;
        if is_expert {
            let (low, high) = self.accuracy;
            let of_class = |class: usize, right: f64| {
                let wrong = (1.0 - right) / (classes as f64 - 1.0);
                (0..classes).map(|code| if code == class { right } else { wrong }).collect()
            };
            return (0..classes).map(|class| of_class(class, low + (high - low) * random.unit())).collect();
        }
        let weights: Vec<f64> = match classes {
            2 => Some(0.2 + 0.6 * random.unit()).map(|one| vec![1.0 - one, one]).unwrap(),
            _ => (0..classes).map(|_| 0.2 + 0.6 * random.unit()).collect(),
        };
        let total: f64 = weights.iter().sum();
        vec![weights.iter().map(|weight| weight / total).collect(); classes]
    }
}

fn draw(probabilities: &[f64], mut at: f64) -> usize {
    for (code, probability) in probabilities.iter().enumerate() {
        if at < *probability {
            return code;
        }
        at -= probability;
    }
    probabilities.len() - 1
}

/// The share of rows in a wrong class, at the best naming of the classes.
pub fn error_rate(responsibilities: &[f64], truth: &[usize], classes: usize) -> f64 {
    let found = responsibilities.chunks_exact(responsibilities.len() / truth.len());
    let mut counts = vec![vec![0; classes]; classes];
    for (posterior, &truth) in found.zip(truth) {
        counts[em::most_likely_class(posterior)][truth] += 1;
    }
    1.0 - best_naming(&counts, &mut vec![false; classes], 0) as f64 / truth.len() as f64
}

/// Most rows in their right class over all permutations.
fn best_naming(counts: &[Vec<usize>], taken: &mut [bool], class: usize) -> usize {
    let Some(row) = counts.get(class) else { return 0 };
    let mut best = 0;
    for name in 0..taken.len() {
        if !taken[name] {
            taken[name] = true;
            best = best.max(row[name] + best_naming(counts, taken, class + 1));
            taken[name] = false;
        }
    }
    best
}

/// Shares of the codes of each row: the vote, where codes are classes.
pub fn vote(rows: &Rows, classes: usize) -> Vec<f64> {
    let shares = |row: &Vec<u16>| {
        let mut votes = vec![0.0; classes];
        row.iter().filter(|&&code| code != MISSING).for_each(|&code| votes[usize::from(code)] += 1.0);
        let total: f64 = votes.iter().sum();
        votes.into_iter().map(move |count| count / total)
    };
    rows.codes.iter().flat_map(shares).collect()
}

/// Plain EM with all columns; returns responsibilities and log-likelihood.
pub fn plain_em(rows: &Rows, classes: usize, start: Start<'_>, rounds: u32) -> (Vec<f64>, f64) {
    let (offsets, codes) = (rows.level_offsets(), rows.codes.concat());
    let codes = Codes::new(&offsets, &codes).unwrap();
    let shape = CategoricalShape::of(codes, classes);
    let (mut parameters, mut tables) = (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
    let prior = CategoricalPrior::default();
    let facts = RowFacts::default();
    let mut model = Categorical::new(codes, classes, facts, prior, &mut parameters, &mut tables).unwrap();
    model.set_active(ActiveColumns::default()).unwrap();
    let mut statistics = vec![0.0; model.shape().statistics];
    let mut scratch = vec![0.0; model.shape().sweep_scratch_len()];
    match start {
        Start::Given(q) => start::from_responsibilities(&mut model, q, &mut statistics).unwrap(),
        Start::Random(seed) => model.set_random(&mut SplitMix(seed)),
    }
    let settings = FitSettings { rounds, tolerance: 0.0 };
    em::fit(&mut model, settings, &mut statistics, &mut scratch).unwrap();
    let mut responsibilities = vec![0.0; rows.rows() * classes];
    let log_likelihood = model.expectation(0..rows.rows(), &mut responsibilities).unwrap();
    (responsibilities, log_likelihood)
}

/// Where [`plain_em`] starts.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Responsibilities `[rows, classes]`.
    Given(&'a [f64]),
    /// Random parameters.
    Random(u64),
}

/// The best of several random starts by likelihood.
pub fn best_of_random(rows: &Rows, classes: usize, starts: u64, rounds: u32) -> Vec<f64> {
    let mut best: Option<(Vec<f64>, f64)> = None;
    for seed in 0..starts {
        let fit = plain_em(rows, classes, Start::Random(seed), rounds);
        if best.as_ref().is_none_or(|(_, most)| fit.1 > *most) {
            best = Some(fit);
        }
    }
    best.unwrap().0
}
