//! Information of pairs of columns, over all rows or within classes: stripe by stripe, over threads.

mod kernels;
mod memory;
mod unexplained;

use mixlet_core::em::EmError;
use mixlet_core::observations::{MISSING, PackedRows, RowsError, row_words};
use mixlet_core::select::columns::{
    Indicators, LANES, PairTables, Stripe, fill_indicators, fill_indicators_of_bits, information_scratch_len,
    transpose, weigh_scratch_len,
};
use mixlet_core::select::relevance::level_of_each;
use mixlet_core::select::{Estimator, Residue};
use rayon::prelude::*;

use super::RowsView;
use crate::error::Result;
use crate::simd::{wide, wide_counts};
use kernels::{CountPairs, Information, Margins, WeighPairs};
use memory::{STRIPES, check_memory};

pub use memory::{PairProgress, TABLE_LIMIT, pair_count, table_memory};
pub use unexplained::{Dependence, Unexplained};

/// Dense rows as indicators, ready for pair tables.
#[derive(Debug)]
pub struct ColumnPairs<'a> {
    level_offsets: Vec<u32>,
    rows: usize,
    /// Indicators of all columns.
    count: usize,
    bits: IndicatorBits<'a>,
    /// Bytes that tables take at most.
    memory: u64,
}

/// `[rows, row_words(indicators)]`.
#[derive(Debug)]
enum IndicatorBits<'a> {
    /// Complete binary rows are their own indicators.
    Rows(&'a [u64]),
    Made(Vec<u64>),
}

/// How much every row counts in each of several classes.
#[derive(Debug)]
pub struct Classes {
    masses: Vec<f64>,
    /// For each class, `[indicators]`.
    margins: Vec<Vec<f64>>,
    rows: ClassRows,
}

#[derive(Debug)]
enum ClassRows {
    /// One class in which every row counts once: indicators by column, for popcounts.
    Alike(Vec<u64>),
    /// For each class, `[rows]`.
    Weighted(Vec<Vec<f64>>),
}

impl<'a> ColumnPairs<'a> {
    /// Makes the indicators of the rows: a bit for every code of every column and row. Rows whose tables would take more
    /// than [`TABLE_LIMIT`] are refused.
    pub fn new(view: RowsView<'a>) -> Result<Self> {
        check_memory(view)?;
        let (level_offsets, rows, columns) = (view.level_offsets(), view.rows(), view.columns());
        let cells = level_offsets.last().map_or(0, |&cells| cells as usize);
        let (count, bits) = match view {
            RowsView::Bits(bits) if bits.present().is_none() => (columns, IndicatorBits::Rows(bits.values())),
            RowsView::Bits(bits) => {
                let mut words = vec![0; rows * row_words(cells)];
                fill_indicators_of_bits(bits, &mut words)?;
                (cells, IndicatorBits::Made(words))
            }
            RowsView::Codes(codes) => {
                let is_complete = !codes.codes().contains(&MISSING);
                let count = if is_complete { cells - columns } else { cells };
                let mut words = vec![0; rows * row_words(count)];
                fill_indicators(codes, is_complete, &mut words)?;
                (count, IndicatorBits::Made(words))
            }
        };
        Ok(Self { level_offsets, rows, count, bits, memory: table_memory(view) })
    }

    fn indicators(&self) -> Result<Indicators<'_>, RowsError> {
        let words = match &self.bits {
            IndicatorBits::Rows(words) => words,
            IndicatorBits::Made(words) => &words[..],
        };
        Indicators::new(PackedRows::new(self.rows, self.count, words)?, &self.level_offsets)
    }

    fn columns(&self) -> usize {
        self.level_offsets.len() - 1
    }

    /// One class that holds every row; with weights, that much of it.
    pub fn whole(&self, weights: Option<&[f64]>) -> Result<Classes> {
        let bits = self.indicators()?.bits();
        if let Some(weights) = weights {
            return self.within(weights, 1, None);
        }
        let mut transposed = vec![0; self.count * row_words(self.rows)];
        transpose(bits, &mut transposed)?;
        // A margin is the count of a column's bits.
        let by_column = transposed.chunks(row_words(self.rows).max(1));
        let ones = |words: &[u64]| words.iter().map(|word| f64::from(word.count_ones())).sum();
        let mut margins: Vec<f64> = by_column.map(ones).collect();
        margins.resize(self.count, 0.0);
        let masses = vec![self.rows as f64];
        Ok(Classes { masses, margins: vec![margins], rows: ClassRows::Alike(transposed) })
    }

    /// Classes by responsibilities `[rows, classes]`, times the weight of each row.
    pub fn within(
        &self,
        responsibilities: &[f64],
        classes: usize,
        weights: Option<&[f64]>,
    ) -> Result<Classes> {
        let bits = self.indicators()?.bits();
        let of_class = |class: usize| -> Result<(f64, Vec<f64>, Vec<f64>), EmError> {
            let mut values: Vec<f64> =
                responsibilities.iter().skip(class).step_by(classes).copied().collect();
            if let Some(weights) = weights {
                values.iter_mut().zip(weights).for_each(|(value, weight)| *value *= weight);
            }
            let mut margins = vec![0.0; self.count];
            let mass = wide(Margins { bits, weights: &values, margins: &mut margins })?;
            Ok((mass, margins, values))
        };
        let parts: Vec<_> = (0..classes).into_par_iter().map(of_class).collect::<Result<_, _>>()?;
        let mut all = Classes { masses: vec![], margins: vec![], rows: ClassRows::Weighted(vec![]) };
        for (mass, margins, values) in parts {
            all.masses.push(mass);
            all.margins.push(margins);
            if let ClassRows::Weighted(rows) = &mut all.rows {
                rows.push(values);
            }
        }
        Ok(all)
    }

    /// Every column's information: the sum of its mutual information with all others, in nats, over all classes.
    pub fn information(&self, classes: &Classes, estimator: Estimator) -> Result<Vec<f64>> {
        self.information_observed(classes, estimator, &mut |_| ())
    }

    /// The same; `observe` sees how far it is.
    pub fn information_observed(
        &self,
        classes: &Classes,
        estimator: Estimator,
        observe: &mut dyn FnMut(PairProgress),
    ) -> Result<Vec<f64>> {
        let (indicators, mut sums) = (self.indicators()?, vec![0.0; self.columns()]);
        let mut progress = PairProgress { done: 0, all: pair_count(self.columns()), memory: self.memory };
        observe(progress);
        for stripes in self.partition().chunks(STRIPES) {
            let parts = self.map_stripes(stripes, classes, estimator, |_, parts| classes.weighted(parts))?;
            for ((columns, from), information) in stripes.iter().zip(parts) {
                let stripe = Stripe::new(indicators, columns, *from);
                for ([i, j], information) in pairs_below(stripe, &information) {
                    sums[i] += information;
                    sums[j] += information;
                    progress.done += 1;
                }
            }
            observe(progress);
        }
        Ok(sums)
    }

    /// Which columns show more than one code, by the weights of the first class.
    pub fn varying(&self, classes: &Classes) -> Result<Vec<bool>> {
        let indicators = self.indicators()?;
        let (margins, mass) = (&classes.margins[0], classes.masses[0]);
        let varies = |column: usize| {
            let shown = &margins[indicators.column(column)];
            // Code 0 without a bit of its own has what the others leave, up to rounding.
            let left_over = indicators.is_implied() && mass - shown.iter().sum::<f64>() > 1e-12 * mass;
            shown.iter().filter(|&&margin| margin > 0.0).count() + usize::from(left_over) > 1
        };
        Ok((0..self.columns()).map(varies).collect())
    }

    /// What the classes leave unexplained; with a `level`, only what a G test tells from chance at this level over all
    /// pairs and classes together.
    pub fn unexplained(&self, classes: &Classes, level: Option<f64>) -> Result<Unexplained> {
        let columns = self.columns() as f64;
        let tables = columns * (columns - 1.0) / 2.0 * classes.masses.len() as f64;
        let of_each = |level| Estimator::GTest { level: level_of_each(level, tables) };
        let estimator = level.map_or(Estimator::Plain, of_each);
        let stripes = self.map_stripes(&self.partition(), classes, estimator, |stripe, information| {
            let mut found = Unexplained::default();
            for (class, information) in information.iter().enumerate() {
                for ([high, low], information) in pairs_below(stripe, information) {
                    let columns = [low, high].map(|column| column as u32);
                    if level.is_none() || information > 0.0 {
                        found.take(Dependence { class, columns, information });
                    }
                }
            }
            for (_, information) in pairs_below(stripe, &classes.weighted(information)) {
                found.most_information = found.most_information.max(information);
            }
            found
        })?;
        Ok(stripes.into_iter().fold(Unexplained::default(), |mut all, stripe| {
            stripe.most_dependent.into_iter().for_each(|pair| all.take(pair));
            all.most_information = all.most_information.max(stripe.most_information);
            all
        }))
    }

    /// The residue of all columns and within a selection `[columns]`: `Σ_k π_k · Σ_(i ≠ j) I_k(i, j)`.
    pub fn residue(&self, classes: &Classes, selected: Option<&[bool]>) -> Result<Residue> {
        let is_selected = |column: usize| selected.is_none_or(|selected| selected[column]);
        let stripes = self.each_pair(classes, Estimator::Plain, |pairs| {
            let mut residue = Residue::default();
            for ([i, j], information) in pairs {
                let within = is_selected(i) && is_selected(j);
                let both_orders = 2.0 * information;
                residue += Residue { all: both_orders, within: if within { both_orders } else { 0.0 } };
            }
            residue
        })?;
        Ok(stripes.into_iter().fold(Residue::default(), |mut all, stripe| {
            all += stripe;
            all
        }))
    }

    /// `g(i) = Σ_k π_k · Σ_(j in active) I_k(i, j)`: what every column says about the active ones beyond the classes.
    pub fn gains(&self, classes: &Classes, active: &[u32]) -> Result<Vec<f64>> {
        let stripes: Vec<Vec<u32>> = active.chunks(LANES).map(<[u32]>::to_vec).collect();
        let stripes: Vec<_> = stripes.into_iter().map(|columns| (columns, 0)).collect();
        let parts = self.map_stripes(&stripes, classes, Estimator::Plain, |stripe, information| {
            let weighted = classes.weighted(information);
            weighted.chunks_exact(stripe.columns().len()).map(|row| row.iter().sum()).collect::<Vec<f64>>()
        })?;
        let mut gains = vec![0.0; self.columns()];
        for part in parts {
            gains.iter_mut().zip(part).for_each(|(gain, value)| *gain += value);
        }
        Ok(gains)
    }

    /// The class and the one of some columns that a column depends on most; ties go to the lower class and column.
    pub fn most_dependent_on(
        &self,
        classes: &Classes,
        columns: &[u32],
        column: u32,
    ) -> Result<Option<Dependence>> {
        let stripe = [(vec![column], 0)];
        let found = self.map_stripes(&stripe, classes, Estimator::Plain, |_, information| {
            let mut found = Unexplained::default();
            for (class, information) in information.iter().enumerate() {
                for &other in columns {
                    let columns = [other.min(column), other.max(column)];
                    found.take(Dependence { class, columns, information: information[other as usize] });
                }
            }
            found.most_dependent
        })?;
        Ok(found.into_iter().flatten().next())
    }

    /// The pair table of two columns within a class, `[first's levels, second's levels]`.
    pub fn table(&self, classes: &Classes, class: usize, [first, second]: [u32; 2]) -> Result<Vec<f64>> {
        let indicators = self.indicators()?;
        let columns = [second];
        let stripe = Stripe::new(indicators, &columns, first as usize);
        let mut sums = vec![0.0; stripe.sums_len()];
        self.fill_sums(stripe, classes, class, &mut sums, &mut vec![0.0; weigh_scratch_len()])?;
        let tables = PairTables::new(stripe, &sums, &classes.margins[class], classes.masses[class])?;
        let mut table = vec![0.0; indicators.levels(first as usize) * indicators.levels(second as usize)];
        tables.table(first as usize, 0, &mut table)?;
        Ok(table)
    }

    /// Stripes that together hold every pair once: about [`LANES`] indicators each, paired with all columns from their first on.
    fn partition(&self) -> Vec<(Vec<u32>, usize)> {
        let mut stripes: Vec<(Vec<u32>, usize)> = Vec::new();
        let mut lanes = LANES;
        for (column, pair) in self.level_offsets.windows(2).enumerate() {
            let width = (pair[1] - pair[0]) as usize;
            let width = if self.is_implied() { width - 1 } else { width };
            if lanes + width > LANES {
                stripes.push((Vec::new(), column));
                lanes = 0;
            }
            lanes += width;
            stripes.last_mut().into_iter().for_each(|(columns, _)| columns.push(column as u32));
        }
        stripes
    }

    fn is_implied(&self) -> bool {
        self.level_offsets.last().is_some_and(|&cells| self.count < cells as usize)
    }

    /// [`map_stripes`](Self::map_stripes) over every pair once, with its information averaged over the classes.
    fn each_pair<T: Send>(
        &self,
        classes: &Classes,
        estimator: Estimator,
        work: impl Fn(&mut dyn Iterator<Item = ([usize; 2], f64)>) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.map_stripes(&self.partition(), classes, estimator, |stripe, information| {
            work(&mut pairs_below(stripe, &classes.weighted(information)))
        })
    }

    /// `work(stripe, information)` for every stripe, in order; information is `[columns from the stripe's first on,
    /// stripe's columns]` for each class.
    fn map_stripes<T: Send>(
        &self,
        stripes: &[(Vec<u32>, usize)],
        classes: &Classes,
        estimator: Estimator,
        work: impl Fn(Stripe<'_>, &[Vec<f64>]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let indicators = self.indicators()?;
        let scratch_len = information_scratch_len(indicators).max(weigh_scratch_len());
        let of_stripe = |scratch: &mut Vec<f64>, (columns, from): &(Vec<u32>, usize)| -> Result<T> {
            let stripe = Stripe::new(indicators, columns, *from);
            let mut sums = vec![0.0; stripe.sums_len()];
            let mut information = vec![vec![0.0; stripe.pairs_len()]; classes.masses.len()];
            for (class, out) in information.iter_mut().enumerate() {
                self.fill_sums(stripe, classes, class, &mut sums, &mut scratch[..weigh_scratch_len()])?;
                let tables = PairTables::new(stripe, &sums, &classes.margins[class], classes.masses[class])?;
                let scratch = &mut scratch[..information_scratch_len(indicators)];
                wide(Information { tables, estimator, out, scratch })?;
            }
            Ok(work(stripe, &information))
        };
        stripes.par_iter().map_init(|| vec![0.0; scratch_len], of_stripe).collect()
    }

    fn fill_sums(
        &self,
        stripe: Stripe<'_>,
        classes: &Classes,
        class: usize,
        sums: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<()> {
        match &classes.rows {
            ClassRows::Alike(transposed) => {
                let columns = PackedRows::new(self.count, self.rows, transposed)?;
                wide_counts(CountPairs { stripe, columns, sums })?;
            }
            ClassRows::Weighted(weights) => {
                wide(WeighPairs { stripe, weights: &weights[class], sums, scratch })?
            }
        }
        Ok(())
    }
}

impl Classes {
    /// Rows in each class.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    /// `Σ_k π_k · I_k` of every pair.
    fn weighted(&self, information: &[Vec<f64>]) -> Vec<f64> {
        let total: f64 = self.masses.iter().sum();
        let mut sums = vec![0.0; information.first().map_or(0, Vec::len)];
        for (information, mass) in information.iter().zip(&self.masses) {
            let share = if total > 0.0 { mass / total } else { 0.0 };
            sums.iter_mut().zip(information).for_each(|(sum, value)| *sum += share * value);
        }
        sums
    }
}

/// The pairs of a stripe whose first column is greater than the stripe's: `([column, stripe's], information)`.
fn pairs_below<'p>(
    stripe: Stripe<'p>,
    information: &'p [f64],
) -> impl Iterator<Item = ([usize; 2], f64)> + 'p {
    let rows = (stripe.from()..).zip(information.chunks_exact(stripe.columns().len().max(1)));
    rows.flat_map(move |(column, row)| {
        let pairs = stripe.columns().iter().zip(row);
        pairs.map(move |(&partner, &value)| ([column, partner as usize], value))
    })
    .filter(|([column, partner], _)| column > partner)
}
