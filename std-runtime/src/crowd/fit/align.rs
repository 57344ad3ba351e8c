//! Naming classes that came in arbitrary order.

use mixlet_core::observations::Answers;

use crate::assignment::largest_assignment;

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
    let label_of = largest_assignment(&agreement, labels);
    let mut renamed = vec![0.0; labels];
    for posterior in posteriors.chunks_exact_mut(labels) {
        label_of.iter().zip(&*posterior).for_each(|(&label, &probability)| renamed[label] = probability);
        posterior.copy_from_slice(&renamed);
    }
}
