//! Classes against known labels: the best one-to-one match, and what the labels of a class's rows say.

use mixlet_core::em::{UNKNOWN, most_likely_class};
use mixlet_core::small::{Column, assign};

use crate::rows::Labels;

/// How classes compare with known labels.
#[derive(Clone, Debug, PartialEq)]
pub struct TruthScore {
    /// `[labels, classes]`: rows by known label and most likely class.
    pub confusion: Vec<f64>,
    /// `[classes]`: the label that the best one-to-one match gives each class; none where there are more classes.
    pub matched: Vec<Option<usize>>,
    /// Rows with a known label.
    pub rows: usize,
    /// Share of rows whose class is matched with another label.
    pub aligned_error: f64,
    /// Share of rows whose label is not the most likely one by class shares.
    pub share_error: f64,
}

/// What the labels of a class's rows say: `[classes, labels]`, each class's shares of the labels.
///
/// A class without rows of a known label shares them as all rows do.
pub fn label_shares(
    posteriors: &[f64],
    classes: usize,
    truth: &Labels,
    counts: impl Fn(usize) -> bool,
) -> Vec<f64> {
    let labels = truth.names.len();
    let mut shares = vec![0.0; classes * labels];
    let mut all = vec![0.0; labels];
    for (row, (posterior, &label)) in posteriors.chunks_exact(classes).zip(&truth.of_rows).enumerate() {
        if label == UNKNOWN || !counts(row) {
            continue;
        }
        all[label as usize] += 1.0;
        for (shares, q) in shares.chunks_exact_mut(labels).zip(posterior) {
            shares[label as usize] += q;
        }
    }
    for shares in shares.chunks_exact_mut(labels.max(1)) {
        let total: f64 = shares.iter().sum();
        if total > 0.0 {
            shares.iter_mut().for_each(|share| *share /= total);
        } else {
            let total: f64 = all.iter().sum();
            shares.iter_mut().zip(&all).for_each(|(share, count)| *share = count / total.max(1.0));
        }
    }
    shares
}

/// The label that class shares make most likely: `argmax_l Σ_k q[k] · share[k, l]`.
pub fn likely_label(posterior: &[f64], shares: &[f64], labels: usize) -> usize {
    let mut scores = vec![0.0; labels];
    for (q, shares) in posterior.iter().zip(shares.chunks_exact(labels.max(1))) {
        scores.iter_mut().zip(shares).for_each(|(score, share)| *score += q * share);
    }
    most_likely_class(&scores)
}

impl TruthScore {
    /// Scores the rows that count, by shares `[classes, labels]`; none if no row has a known label.
    pub fn new(
        posteriors: &[f64],
        classes: usize,
        truth: &Labels,
        shares: &[f64],
        counts: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let labels = truth.names.len();
        let mut confusion = vec![0.0; labels * classes];
        let (mut rows, mut wrong) = (0, 0);
        for (row, (posterior, &label)) in posteriors.chunks_exact(classes).zip(&truth.of_rows).enumerate() {
            if label == UNKNOWN || !counts(row) {
                continue;
            }
            rows += 1;
            confusion[label as usize * classes + most_likely_class(posterior)] += 1.0;
            wrong += usize::from(likely_label(posterior, shares, labels) != label as usize);
        }
        let matched = best_match(&confusion, labels, classes);
        let right: f64 = matched
            .iter()
            .enumerate()
            .filter_map(|(class, label)| confusion.get((*label)? * classes + class))
            .sum();
        (rows > 0).then(|| Self {
            confusion,
            matched,
            rows,
            aligned_error: 1.0 - right / rows as f64,
            share_error: wrong as f64 / rows as f64,
        })
    }
}

/// `[classes]`: the label of each class in the one-to-one match that is right most often.
fn best_match(confusion: &[f64], labels: usize, classes: usize) -> Vec<Option<usize>> {
    let side = labels.max(classes);
    let mut weights = vec![0.0; side * side];
    for (label, counts) in confusion.chunks_exact(classes.max(1)).enumerate() {
        weights[label * side..][..classes].copy_from_slice(counts);
    }
    let mut columns = vec![Column::default(); side];
    assign(&weights, &mut columns);
    columns.into_iter().take(classes).map(|column| column.row.filter(|&label| label < labels)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(names: &[Option<&str>]) -> Labels {
        Labels::new(names.iter().copied())
    }

    #[test]
    fn classes_are_matched_whatever_their_order() {
        let posteriors = [0.1, 0.9, 0.8, 0.2, 0.3, 0.7, 0.9, 0.1, 1.0, 0.0];
        let truth = truth(&[Some("a"), Some("b"), Some("a"), Some("b"), None]);
        let shares = label_shares(&posteriors, 2, &truth, |_| true);
        let score = TruthScore::new(&posteriors, 2, &truth, &shares, |_| true).unwrap();
        assert_eq!((score.rows, score.aligned_error, score.share_error), (4, 0.0, 0.0));
        assert_eq!(score.matched, [Some(1), Some(0)]);
        assert_eq!(score.confusion, [0.0, 2.0, 2.0, 0.0]);
        // Class 0: 0.1 + 0.3 of a, 0.8 + 0.9 of b.
        assert!((shares[0] - 0.4 / 2.1).abs() < 1e-12);
    }

    #[test]
    fn more_classes_than_labels_err_one_to_one_but_not_by_share() {
        let posteriors = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let truth = truth(&[Some("a"), Some("a"), Some("b")]);
        let shares = label_shares(&posteriors, 3, &truth, |_| true);
        let score = TruthScore::new(&posteriors, 3, &truth, &shares, |_| true).unwrap();
        assert_eq!(score.share_error, 0.0);
        assert!((score.aligned_error - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(score.matched.iter().filter(|label| label.is_none()).count(), 1);
        assert_eq!(TruthScore::new(&posteriors, 3, &truth, &shares, |_| false), None);
    }
}
