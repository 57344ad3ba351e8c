//! Which tasks to ask again first.

use mixlet_core::observations::Answers;
use rayon::prelude::*;

/// A task and what one more answer would tell about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedGain {
    /// The task.
    pub task: u32,
    /// Expected fall of its entropy, in nats.
    pub gain: f64,
}

/// Groups of workers whose answers are told apart: pooling all would let adversaries cancel experts out.
const GROUPS: usize = 16;

/// All tasks, the one that one more answer tells most about first; ties go to the lower task.
///
/// The answer is that of a worker drawn at random, as often as they answered. The gain is the mutual
/// information of the answer and the class, `H(Σ_k q_k P(· | k)) − Σ_k q_k H(P(· | k))`, averaged over 16 groups of
/// about equally many answers, of workers of like accuracy, with `P` pooled within a group.
/// `conditionals` is `[cells, labels]`.
pub fn expected_gains(
    answers: Answers<'_>,
    posteriors: &[f64],
    conditionals: &[f64],
    is_selected: impl Fn(usize) -> bool,
) -> Vec<ExpectedGain> {
    let labels = answers.labels();
    let groups = worker_groups(answers, conditionals, is_selected);
    let gain = |posterior: &[f64]| groups.iter().map(|group| group.gain(posterior)).sum::<f64>();
    let mut gains: Vec<_> = posteriors
        .par_chunks_exact(labels)
        .enumerate()
        .map(|(task, posterior)| ExpectedGain { task: task as u32, gain: gain(posterior) })
        .collect();
    gains.par_sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.task.cmp(&b.task)));
    gains
}

/// Workers of like accuracy.
struct Group {
    /// Their share of all answers.
    share: f64,
    /// `[labels, classes]`: `P(label | class)`.
    confusion: Vec<f64>,
    /// `[classes]`: the entropy of an answer to a task of each class.
    noise: Vec<f64>,
}

impl Group {
    fn gain(&self, posterior: &[f64]) -> f64 {
        let rows = self.confusion.chunks_exact(posterior.len());
        let mixed = rows.map(|row| row.iter().zip(posterior).map(|(p, q)| p * q).sum());
        let noise: f64 = self.noise.iter().zip(posterior).map(|(noise, q)| noise * q).sum();
        self.share * (entropy(mixed) - noise).max(0.0)
    }
}

/// The selected workers by accuracy, cut into groups of about equally many answers.
fn worker_groups(
    answers: Answers<'_>,
    conditionals: &[f64],
    is_selected: impl Fn(usize) -> bool,
) -> Vec<Group> {
    let labels = answers.labels();
    let mut counts = vec![0.0; answers.workers()];
    answers.cells().iter().for_each(|&cell| counts[answers.worker(cell)] += 1.0);
    let table = |worker: usize| &conditionals[worker * labels * labels..][..labels * labels];
    let accuracy = |worker: usize| table(worker).iter().step_by(labels + 1).sum::<f64>();
    let mut workers: Vec<usize> = (0..counts.len()).filter(|&worker| is_selected(worker)).collect();
    workers.sort_by(|&a, &b| accuracy(a).total_cmp(&accuracy(b)).then(a.cmp(&b)));
    let total: f64 = workers.iter().map(|&worker| counts[worker]).sum();

    let mut pooled = vec![(0.0, vec![0.0; labels * labels]); GROUPS];
    let mut before = 0.0;
    for &worker in &workers {
        let middle = (before + 0.5 * counts[worker]) / total * GROUPS as f64;
        let (answers, sum) = &mut pooled[(middle as usize).min(GROUPS - 1)];
        *answers += counts[worker];
        sum.iter_mut().zip(table(worker)).for_each(|(sum, p)| *sum += counts[worker] * p);
        before += counts[worker];
    }
    let group = |(answers, mut confusion): (f64, Vec<f64>)| {
        confusion.iter_mut().for_each(|p| *p /= answers);
        let noise = |class: usize| entropy(confusion.iter().skip(class).step_by(labels).copied());
        Group { share: answers / total, noise: (0..labels).map(noise).collect(), confusion }
    };
    pooled.into_iter().filter(|(answers, _)| *answers > 0.0).map(group).collect()
}

/// `−Σ p ln p`, in nats.
pub fn entropy(probabilities: impl Iterator<Item = f64>) -> f64 {
    probabilities.map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_most_in_doubt_comes_first() {
        let answers = Answers::new(1, 2, &[0, 1, 2, 3], &[0, 0, 1]).unwrap();
        // Right nine times of ten, whatever the class.
        let conditionals = [0.9, 0.1, 0.1, 0.9];
        let gains = expected_gains(answers, &[1.0, 0.0, 0.5, 0.5, 0.2, 0.8], &conditionals, |_| true);
        assert_eq!(gains.iter().map(|gain| gain.task).collect::<Vec<_>>(), [1, 2, 0]);
        let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        assert!((gains[0].gain - (2f64.ln() - h(0.9))).abs() < 1e-12);
        assert_eq!(gains[2].gain, 0.0);
    }

    #[test]
    fn adversaries_and_experts_do_not_cancel_out() {
        let answers = Answers::new(2, 2, &[0, 2], &[0, 3]).unwrap();
        let conditionals = [0.9, 0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1];
        let gains = expected_gains(answers, &[0.5, 0.5], &conditionals, |_| true);
        let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        assert!((gains[0].gain - (2f64.ln() - h(0.9))).abs() < 1e-12);
    }
}
