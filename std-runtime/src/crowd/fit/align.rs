//! Naming classes that came in arbitrary order.

use mixlet_core::observations::Answers;
use mixlet_core::small::{Column, assign};

/// Reorders the classes of `posteriors` `[tasks, labels]` so that they agree best with the votes.
pub(super) fn to_vote(answers: Answers<'_>, posteriors: &mut [f64]) {
    let labels = answers.labels();
    // Votes that each class's tasks got for each label.
    let mut agreement = vec![0.0; labels * labels];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
        for &cell in cells {
            for (class, probability) in posterior.iter().enumerate() {
                agreement[class * labels + answers.label(cell)] += probability;
            }
        }
    }
    let label_of = best_labels(&agreement, labels);
    let mut renamed = vec![0.0; labels];
    for posterior in posteriors.chunks_exact_mut(labels) {
        label_of.iter().zip(&*posterior).for_each(|(&label, &probability)| renamed[label] = probability);
        posterior.copy_from_slice(&renamed);
    }
}

/// The label of each class under the one-to-one assignment with the largest sum of `values` `[classes, labels]`.
pub(in crate::crowd) fn best_labels(values: &[f64], labels: usize) -> Vec<usize> {
    let mut columns = vec![Column::default(); labels];
    assign(values, &mut columns);
    let mut label_of: Vec<usize> = (0..labels).collect();
    for (label, column) in columns.iter().enumerate() {
        column.row.into_iter().for_each(|class| label_of[class] = label);
    }
    label_of
}
