//! From sums to pair tables, and from those to information.

use super::{Indicators, LANES, Stripe};
use crate::em::{EmError, check_length};
use crate::numeric::ln_slice;
use crate::select::Estimator;
use crate::select::information::JOINT_FLOOR;

/// What is left over of a mass is nothing below this share of it: rounding, not rows.
const ROUNDING: f64 = 1e-12;

/// The tables of a stripe's pairs, read from its sums.
#[derive(Clone, Copy, Debug)]
pub struct PairTables<'a> {
    stripe: Stripe<'a>,
    /// As in [`Stripe::sums_len`].
    sums: &'a [f64],
    /// `[indicators]`.
    margins: &'a [f64],
    mass: f64,
}

/// Values of scratch that [`PairTables::information`] needs.
pub fn information_scratch_len(indicators: Indicators<'_>) -> usize {
    indicators.most_levels() * indicators.most_levels()
}

impl<'a> PairTables<'a> {
    /// `sums` come from [`count_pairs`](super::count_pairs) or [`weigh_pairs`](super::weigh_pairs), `margins`
    /// `[indicators]` and `mass` from [`add_margins`](super::add_margins) with the same weights.
    pub fn new(stripe: Stripe<'a>, sums: &'a [f64], margins: &'a [f64], mass: f64) -> Result<Self, EmError> {
        check_length("sums", sums.len(), stripe.sums_len())?;
        check_length("margins", margins.len(), stripe.indicators().bits().columns())?;
        Ok(Self { stripe, sums, margins, mass })
    }

    /// Weight of all rows.
    pub fn mass(&self) -> f64 {
        self.mass
    }

    /// The table of a column and the stripe's nth: `out` is `[the column's levels, the stripe column's levels]`.
    ///
    /// Zero where the column comes before the stripe's first partner.
    pub fn table(&self, column: usize, nth: usize, out: &mut [f64]) -> Result<(), EmError> {
        let indicators = self.stripe.indicators();
        let before = self.stripe.columns().iter().take(nth);
        let lane = before.map(|&column| indicators.width(column as usize)).sum();
        let partner = self.stripe.columns().get(nth).map_or(indicators.columns(), |&column| column as usize);
        let len = indicators.levels(column) * indicators.levels(partner);
        check_length("table", out.len(), len)?;
        if column < self.stripe.from() {
            out.fill(0.0);
            return Ok(());
        }
        self.fill(column, (partner, lane), out);
        Ok(())
    }

    /// The information of every pair: `out` is `[columns from `from` on, stripe's columns]`, in nats.
    ///
    /// A column has none about itself. `scratch` holds [`information_scratch_len`] values.
    #[inline(always)]
    pub fn information(
        &self,
        estimator: Estimator,
        out: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<(), EmError> {
        let (stripe, indicators) = (self.stripe, self.stripe.indicators());
        check_length("information", out.len(), stripe.pairs_len())?;
        check_length("scratch", scratch.len(), information_scratch_len(indicators))?;
        let is_binary = indicators.is_implied()
            && indicators.most_levels() == 2
            && indicators.bits().columns() == indicators.columns()
            && self.mass > 0.0;
        let width = stripe.columns().len().max(1);
        for (column, out) in (stripe.from()..).zip(out.chunks_exact_mut(width)) {
            if is_binary && estimator == Estimator::Plain {
                self.binary_information(column, out);
                continue;
            }
            let mut lane = 0;
            for (&partner, out) in stripe.columns().iter().zip(out) {
                let partner = partner as usize;
                let levels = indicators.levels(partner);
                let len = indicators.levels(column) * levels;
                *out = match scratch.get_mut(..len) {
                    Some(table) if partner != column => {
                        self.fill(column, (partner, lane), table);
                        estimator.estimate(table, levels, self.mass)
                    }
                    _ => 0.0,
                };
                lane += indicators.width(partner);
            }
        }
        Ok(())
    }

    /// Fills a table whose partner's first indicator is the given lane.
    fn fill(&self, column: usize, (partner, lane): (usize, usize), out: &mut [f64]) {
        let indicators = self.stripe.indicators();
        let levels = indicators.levels(partner).max(1);
        let implied = usize::from(indicators.is_implied());
        let own = indicators.column(column);
        for (out, indicator) in out.chunks_exact_mut(levels).skip(implied).zip(own.clone()) {
            for (out, lane) in out.iter_mut().skip(implied).zip(lane..) {
                *out = self.sum(indicator, lane);
            }
        }
        if implied == 0 {
            return;
        }
        // Code 0 is what the margins leave over.
        let mut left = self.mass;
        for (row, indicator) in out.chunks_exact_mut(levels).skip(1).zip(own) {
            let margin = self.margins.get(indicator).copied().unwrap_or(0.0);
            left -= margin;
            let shown: f64 = row.iter().skip(1).sum();
            if let Some(first) = row.first_mut() {
                *first = self.left_over(margin - shown);
            }
        }
        let (first, others) = out.split_at_mut(levels.min(out.len()));
        for (nth, indicator) in indicators.column(partner).enumerate() {
            let margin = self.margins.get(indicator).copied().unwrap_or(0.0);
            let shown: f64 = others.iter().skip(nth + 1).step_by(levels).sum();
            if let Some(out) = first.get_mut(nth + 1) {
                *out = self.left_over(margin - shown);
                left -= *out;
            }
        }
        if let Some(first) = first.first_mut() {
            *first = self.left_over(left);
        }
    }

    #[inline(always)]
    fn left_over(&self, count: f64) -> f64 {
        if count > ROUNDING * self.mass { count } else { 0.0 }
    }

    fn sum(&self, indicator: usize, lane: usize) -> f64 {
        let place = indicator.saturating_sub(self.stripe.first_indicator()) * LANES + lane % LANES;
        self.sums.get(lane / LANES * self.stripe.block_len() + place).copied().unwrap_or(0.0)
    }

    /// [`Estimator::Plain`] of complete binary columns, whose lanes are columns: six logarithms per pair, in vectors.
    #[inline(always)]
    fn binary_information(&self, column: usize, out: &mut [f64]) {
        let floor = JOINT_FLOOR * self.mass;
        let total = self.mass + 4.0 * floor;
        let ones = |column: usize| self.margins.get(column).copied().unwrap_or(0.0);
        let own = ones(column);
        let own_terms = x_ln_x(own + 2.0 * floor) + x_ln_x(self.mass - own + 2.0 * floor);
        let shared_terms = x_ln_x(total) - own_terms;
        let partners = self.stripe.columns().chunks(LANES);
        for (block, (out, partners)) in out.chunks_mut(LANES).zip(partners).enumerate() {
            // Four cells of the table, then the partner's two margins.
            let mut counts = [1.0; 6 * LANES];
            for (lane, (&partner, counts)) in partners.iter().zip(counts.as_chunks_mut::<6>().0).enumerate() {
                let (partner, both) = (ones(partner as usize), self.sum(column, block * LANES + lane));
                let cells = [self.mass - own - partner + both, own - both, partner - both, both];
                let [a, b, c, d] = cells.map(|count| self.left_over(count) + floor);
                *counts = [a, b, c, d, partner + 2.0 * floor, self.mass - partner + 2.0 * floor];
            }
            let mut terms = counts.map(|count| count.max(f64::MIN_POSITIVE));
            ln_slice(&mut terms);
            terms.iter_mut().zip(counts).for_each(|(term, count)| *term *= count);
            for ((out, &partner), terms) in out.iter_mut().zip(partners).zip(terms.as_chunks::<6>().0) {
                let [a, b, c, d, one, zero] = *terms;
                let information = ((a + b + c + d) - (one + zero) + shared_terms) / total;
                *out = if partner as usize == column { 0.0 } else { information.max(0.0) };
            }
        }
    }
}

fn x_ln_x(x: f64) -> f64 {
    if x > 0.0 { x * libm::log(x) } else { 0.0 }
}
