//! Columns added one by one.

use mixlet_core::em::FitSettings;
use mixlet_core::select::null::chi_square_quantile;
use mixlet_core::select::relevance::{Evidence, level_of_each};
use rayon::prelude::*;

use super::{StepwiseFit, StepwiseOptions, StepwiseStep, Until};
use crate::error::Result;
use crate::mixture::RowsView;
use crate::mixture::engine::Engine;
use crate::mixture::pairs::Dependence;
use crate::mixture::stages::{Splits, Stages};

/// Selects columns by adding them, and fits the mixture they make.
///
/// The first two are the most dependent pair. As long as classes are missing, a new column also splits the class
/// within which it depends most on an active one. `observe` sees every step.
pub fn forward(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &StepwiseOptions,
    observe: &mut dyn FnMut(&StepwiseStep),
) -> Result<StepwiseFit> {
    let engine = Engine { rows, weights, pseudocount: 0.0 };
    let splits = Splits { floor: options.floor, step: options.step, level: None };
    let mut search = Search { stages: Stages::new(engine, splits)?, options: *options };
    let mut steps = Vec::new();
    while let Some(candidate) = search.candidate()? {
        let step = search.add(candidate)?;
        observe(&step);
        steps.push(step);
    }
    let Stages { active, parameters, .. } = search.stages;
    let mask = active.columns(true);
    engine.finish(&parameters, (active.order.clone(), mask), steps, options.settings)
}

struct Search<'a> {
    stages: Stages<'a>,
    options: StepwiseOptions,
}

/// What would be added, and how much speaks for it.
struct Candidate {
    columns: Vec<u32>,
    information: f64,
    excess: f64,
    /// Where a class would be split.
    split: Option<Dependence>,
}

impl Search<'_> {
    /// The best column to add; none where the criterion says that it is enough.
    fn candidate(&self) -> Result<Option<Candidate>> {
        let all_active = self.stages.active.order.len() >= self.stages.engine.rows.columns();
        let is_enough = match self.options.until {
            Until::Columns(count) => self.stages.active.order.len() >= count,
            Until::Level(_) | Until::Bic => false,
        };
        if all_active || is_enough {
            return Ok(None);
        }
        let best = match self.stages.active.order.is_empty() {
            true => self.first_pair(),
            false => self.next_column()?,
        };
        let is_asked = matches!(self.options.until, Until::Columns(_));
        Ok(best.filter(|candidate| is_asked || candidate.excess > 0.0))
    }

    /// The most dependent pair, tested against independence.
    fn first_pair(&self) -> Option<Candidate> {
        let pair = self.stages.unexplained.most_dependent?;
        let (rows, mass) = (self.stages.engine.rows, self.stages.engine.mass());
        let freedom: f64 =
            pair.columns.iter().map(|&column| rows.levels(column as usize) as f64 - 1.0).product();
        let columns = rows.columns() as f64;
        let candidates = columns * (columns - 1.0) / 2.0;
        let evidence = Evidence { log_likelihood: mass * pair.information, rows: mass };
        let excess = match self.options.until {
            Until::Columns(_) => 0.0,
            Until::Level(level) => {
                2.0 * evidence.log_likelihood - chi_square_quantile(level_of_each(level, candidates), freedom)
            }
            Until::Bic => evidence.bic(freedom, candidates),
        };
        let information = pair.information;
        Some(Candidate { columns: pair.columns.to_vec(), information, excess, split: Some(pair) })
    }

    /// The column with the largest unexplained dependence on active ones or, by BIC, the one that gains most.
    fn next_column(&self) -> Result<Option<Candidate>> {
        let stages = &self.stages;
        let gains = stages.pairs.gains(&stages.classes, &stages.active.order)?;
        let left: Vec<u32> = (0..stages.engine.rows.columns() as u32)
            .filter(|&column| !stages.active.contains(column))
            .collect();
        let measures: Vec<f64> = match self.options.until {
            Until::Columns(_) | Until::Level(_) => {
                left.iter().map(|&column| gains[column as usize]).collect()
            }
            Until::Bic => {
                left.par_iter().map(|&column| self.bic(column, left.len())).collect::<Result<_>>()?
            }
        };
        let mut best: Option<(u32, f64)> = None;
        for (&column, &measure) in left.iter().zip(&measures) {
            if best.is_none_or(|(_, most)| measure > most) {
                best = Some((column, measure));
            }
        }
        let Some((column, measure)) = best else { return Ok(None) };
        let excess = match self.options.until {
            Until::Columns(_) => 0.0,
            Until::Level(level) => {
                self.chi_square_excess(column, measure, level_of_each(level, left.len() as f64))
            }
            Until::Bic => measure,
        };
        let split = self.split_with(column)?;
        let information = gains[column as usize];
        Ok(Some(Candidate { columns: vec![column], information, excess, split }))
    }

    fn bic(&self, column: u32, candidates: usize) -> Result<f64> {
        let Stages { engine, responsibilities, parameters, .. } = &self.stages;
        let evidence = engine.evidence(column, responsibilities, parameters)?;
        let levels = engine.rows.levels(column as usize) as f64;
        let freedom = (parameters.classes() as f64 - 1.0) * (levels - 1.0);
        Ok(evidence.bic(freedom, candidates as f64))
    }

    /// `2·n·g` less its chi-square quantile, with `K · Σ_(j in A) (r_i − 1)·(r_j − 1)` degrees of freedom.
    fn chi_square_excess(&self, column: u32, gain: f64, level: f64) -> f64 {
        let Stages { engine, parameters, active, .. } = &self.stages;
        let freedom_of = |column: u32| engine.rows.levels(column as usize) as f64 - 1.0;
        let of_active: f64 = active.order.iter().map(|&column| freedom_of(column)).sum();
        let freedom = parameters.classes() as f64 * freedom_of(column) * of_active;
        2.0 * engine.mass() * gain - chi_square_quantile(level, freedom)
    }

    /// The class and the active column a new one depends on most; none where all classes exist.
    fn split_with(&self, column: u32) -> Result<Option<Dependence>> {
        let stages = &self.stages;
        if stages.parameters.classes() >= self.options.classes {
            return Ok(None);
        }
        stages.pairs.most_dependent_on(&stages.classes, &stages.active.order, column)
    }

    /// Adds a candidate's columns, splits its class, and fits.
    fn add(&mut self, candidate: Candidate) -> Result<StepwiseStep> {
        let Candidate { columns, information, excess, split } = candidate;
        let stages = &mut self.stages;
        if let Some(pair) = split.filter(|_| stages.parameters.classes() < self.options.classes) {
            stages.split(pair)?;
        }
        columns.iter().for_each(|&column| _ = stages.active.add(column));
        let settings = FitSettings { rounds: self.options.rounds, tolerance: 0.0 };
        let log_likelihood = stages.fit(settings)?;
        Ok(StepwiseStep { columns, information, excess, active: stages.active.order.len(), log_likelihood })
    }
}
