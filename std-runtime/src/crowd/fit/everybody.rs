//! Everybody's confusion matrix after a fit to the answers of some.

use mixlet_core::em::RowFacts;
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::ACCURACY_MARGIN;
use mixlet_core::observations::Answers;

use super::{Collapse, CrowdFit, FitOptions, Method, Pseudocount};
use crate::error::Result;

/// Gives workers who did not speak the conditionals that all their answers and the fit's posteriors imply.
///
/// One maximisation with the pseudocounts of the fit; workers who spoke keep what the fit used.
pub fn judge_unselected(
    all: Answers<'_>,
    options: &FitOptions,
    is_selected: &[bool],
    fit: &mut CrowdFit,
) -> Result<()> {
    let judged = match (fit.method, fit.collapse) {
        // Everybody was taken to be alike: so are those who did not speak.
        (_, Some(Collapse::Misnamed { .. })) => vote_confusions(all, is_selected, fit),
        (Method::OneCoin, _) => one_coin(all, options, fit),
        (Method::DawidSkene | Method::MajorityVote, _) => confusions(all, options, fit)?,
    };
    let table_len = all.labels() * all.labels();
    let tables = fit.conditionals.chunks_exact_mut(table_len).zip(judged.chunks_exact(table_len));
    for ((table, judged), _) in tables.zip(is_selected).filter(|(_, is_selected)| !**is_selected) {
        table.copy_from_slice(judged);
    }
    Ok(())
}

/// Expected counts of all answers: `[cells, labels]`.
pub(in crate::crowd) fn expected_counts(all: Answers<'_>, posteriors: &[f64]) -> Vec<f64> {
    let labels = all.labels();
    let mut counts = vec![0.0; all.cell_count() * labels];
    for (cells, posterior) in all.rows(0..all.tasks()).zip(posteriors.chunks_exact(labels)) {
        for &cell in cells {
            let row = &mut counts[cell as usize * labels..][..labels];
            row.iter_mut().zip(posterior).for_each(|(count, probability)| *count += probability);
        }
    }
    counts
}

fn confusions(all: Answers<'_>, options: &FitOptions, fit: &CrowdFit) -> Result<Vec<f64>> {
    let labels = all.labels();
    let shared = fit.pooled.as_ref().map(super::PooledPrior::pseudocounts);
    let prior = Prior { shared: shared.as_deref(), earlier: options.earlier.as_deref(), ..Prior::default() };
    let prior = match (fit.method, options.pseudocount) {
        (Method::MajorityVote, _) => Prior::default(),
        (_, Pseudocount::Constant(pseudocount)) => Prior { pseudocount, ..prior },
        (_, Pseudocount::Pooled) => prior,
    };
    let mut memory = vec![0.0; DawidSkeneShape::of(all).parameters_len()];
    let model = DawidSkene::new(all, labels, RowFacts::default(), prior, &mut memory)?;
    let statistics = [vec![1.0; labels], expected_counts(all, &fit.posteriors)].concat();
    let (mut shares, mut conditionals) = (vec![0.0; labels], vec![0.0; all.cell_count() * labels]);
    model.probabilities(&statistics, &mut shares, &mut conditionals);
    Ok(conditionals)
}

fn one_coin(all: Answers<'_>, options: &FitOptions, fit: &CrowdFit) -> Vec<f64> {
    let labels = all.labels();
    let (right, wrong) = match (&fit.pooled, options.pseudocount) {
        (Some(pooled), _) => {
            let accuracy = pooled.confusion.first().copied().unwrap_or(0.5);
            (pooled.strength * accuracy, pooled.strength * (1.0 - accuracy))
        }
        (None, Pseudocount::Constant(pseudocount)) => (pseudocount, pseudocount),
        (None, Pseudocount::Pooled) => (0.0, 0.0),
    };
    let counts = expected_counts(all, &fit.posteriors);
    let accuracies = counts.chunks_exact(labels * labels).map(|table| {
        let hits: f64 = table.iter().step_by(labels + 1).sum();
        let estimate = (hits + right) / (table.iter().sum::<f64>() + right + wrong);
        // A worker without answers is as good as the model takes an unknown one to be.
        let estimate = if estimate.is_finite() { estimate } else { 0.5 * (1.0 + 1.0 / labels as f64) };
        estimate.clamp(ACCURACY_MARGIN, 1.0 - ACCURACY_MARGIN)
    });
    super::one_coin::conditionals(labels, &accuracies.collect::<Vec<_>>())
}

fn vote_confusions(all: Answers<'_>, is_selected: &[bool], fit: &CrowdFit) -> Vec<f64> {
    let table_len = all.labels() * all.labels();
    let one = is_selected.iter().position(|is_selected| *is_selected).unwrap_or(0);
    fit.conditionals.chunks_exact(table_len).nth(one).unwrap_or(&[]).repeat(all.workers())
}
