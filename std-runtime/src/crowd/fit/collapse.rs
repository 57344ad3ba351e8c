//! Degenerate fits: classes that lost their meaning.

use mixlet_core::observations::Answers;

/// A class whose label stopped naming it: more than `labels` times as many answers lie on its tasks as say its label.
///
/// With `m` the share of answers on tasks of class `k` and `a` the share of answers `k`, `a ≥ m·C̄[k, k]`
/// whatever the other classes; so `m > labels·a` proves that the crowd gives label `k` to tasks of class
/// `k` less often than chance would. The class then stands for something else than its label.
pub(super) fn misnamed_class(answers: Answers<'_>, posteriors: &[f64]) -> Option<usize> {
    let labels = answers.labels();
    let (mut of_class, mut of_label) = (vec![0.0; labels], vec![0.0; labels]);
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
        let answered = cells.len() as f64;
        of_class.iter_mut().zip(posterior).for_each(|(sum, probability)| *sum += answered * probability);
        cells.iter().for_each(|&cell| of_label[answers.label(cell)] += 1.0);
    }
    (0..labels).find(|&class| of_class[class] > labels as f64 * of_label[class] && of_class[class] > 1.0)
}

/// Share of all tasks that a class must lose against the vote to have collapsed, …
const LOST_OF_ALL: f64 = 0.1;
/// … and share of its own.
const LOST_OF_ITS_OWN: f64 = 0.8;

/// A class that the vote gives many tasks to and the fit next to none: its share by vote and by the fit.
pub(super) fn emptied_class(answers: Answers<'_>, posteriors: &[f64]) -> Option<(usize, f64, f64)> {
    let labels = answers.labels();
    let (mut by_vote, mut by_fit) = (vec![0.0; labels], vec![0.0; labels]);
    let mut votes = vec![0u32; labels];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
        votes.fill(0);
        cells.iter().for_each(|&cell| votes[answers.label(cell)] += 1);
        let most = votes.iter().copied().max().unwrap_or(0);
        let leaders = votes.iter().filter(|&&count| count == most).count() as f64;
        for (label, _) in votes.iter().enumerate().filter(|(_, count)| **count == most) {
            by_vote[label] += 1.0 / leaders;
        }
        by_fit.iter_mut().zip(posterior).for_each(|(sum, probability)| *sum += probability);
    }
    let tasks = answers.tasks() as f64;
    let shares = (0..labels).map(|label| (label, by_vote[label] / tasks, by_fit[label] / tasks));
    shares.into_iter().find(|&(_, vote, fit)| vote - fit > LOST_OF_ALL && vote - fit > LOST_OF_ITS_OWN * vote)
}
