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

/// All tasks, the one that one more answer tells most about first; ties go to the lower task.
///
/// The answer is a typical worker's: `P(a | k)` pooled over the given workers' answers. The gain is the
/// mutual information of that answer and the class, `H(Σ_k q_k P(· | k)) − Σ_k q_k H(P(· | k))`.
/// `conditionals` is `[cells, labels]` with answers per worker in `answers`.
pub fn expected_gains(
    answers: Answers<'_>,
    posteriors: &[f64],
    conditionals: &[f64],
    is_selected: impl Fn(usize) -> bool,
) -> Vec<ExpectedGain> {
    let labels = answers.labels();
    let typical = typical_worker(answers, conditionals, is_selected);
    // H(P(· | k)) per class.
    let noise: Vec<f64> =
        (0..labels).map(|class| entropy(typical.iter().skip(class).step_by(labels).copied())).collect();
    let gain = |posterior: &[f64]| {
        let mixed =
            typical.chunks_exact(labels).map(|row| row.iter().zip(posterior).map(|(p, q)| p * q).sum());
        let expected_noise: f64 = noise.iter().zip(posterior).map(|(noise, q)| noise * q).sum();
        (entropy(mixed) - expected_noise).max(0.0)
    };
    let mut gains: Vec<_> = posteriors
        .par_chunks_exact(labels)
        .enumerate()
        .map(|(task, posterior)| ExpectedGain { task: task as u32, gain: gain(posterior) })
        .collect();
    gains.par_sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.task.cmp(&b.task)));
    gains
}

/// `P(label | class)` of the selected workers, each weighing as many answers as they gave: `[labels, labels]`.
fn typical_worker(
    answers: Answers<'_>,
    conditionals: &[f64],
    is_selected: impl Fn(usize) -> bool,
) -> Vec<f64> {
    let labels = answers.labels();
    let mut weights = vec![0.0; answers.workers()];
    answers.cells().iter().for_each(|&cell| weights[answers.worker(cell)] += 1.0);
    let mut typical = vec![0.0; labels * labels];
    for (worker, table) in conditionals.chunks_exact(labels * labels).enumerate() {
        if is_selected(worker) {
            typical.iter_mut().zip(table).for_each(|(sum, p)| *sum += weights[worker] * p);
        }
    }
    for class in 0..labels {
        let total: f64 = typical.iter().skip(class).step_by(labels).sum();
        typical.iter_mut().skip(class).step_by(labels).for_each(|p| *p /= total.max(f64::MIN_POSITIVE));
    }
    typical
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
}
