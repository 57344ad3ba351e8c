//! What is said about each worker: accuracy with its interval, and the confusion matrix.

use mixlet_core::observations::Answers;

/// The 97.5 % quantile of the normal law: intervals hold 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// How often a worker is right, judged by the posterior of the tasks they answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerAccuracy {
    /// Number of answers.
    pub answers: u32,
    /// Expected share of right answers; NaN without answers.
    pub accuracy: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

/// The accuracy of every worker, from posteriors `[tasks, labels]`.
///
/// `p = Σ q / n` over the worker's answers, `q` the posterior of the label given. An answer whose truth
/// is in doubt tells less: by Louis' identity the Fisher information of `p` is `f · n / (p(1 − p))` with
/// `f = 1 − Σ q(1 − q) / (n·p(1 − p))`, the share of the information that is not missing. The interval
/// is Wilson's for `f · n` answers; it is `[0, 1]` where nothing is known.
///
/// ```
/// # use mixlet_core::observations::Answers;
/// # use mixlet_runtime::crowd::workers::worker_accuracies;
/// let answers = Answers::new(1, 2, &[0, 1, 2], &[0, 1]).unwrap();
/// let sure = worker_accuracies(answers, &[1.0, 0.0, 0.0, 1.0])[0];
/// assert_eq!((sure.answers, sure.accuracy, sure.high), (2, 1.0, 1.0));
/// assert!((sure.low - 2.0 / (2.0 + 1.959963984540054f64.powi(2))).abs() < 1e-12);
/// let unsure = worker_accuracies(answers, &[0.5, 0.5, 0.5, 0.5])[0];
/// assert_eq!((unsure.low, unsure.high), (0.0, 1.0));
/// ```
pub fn worker_accuracies(answers: Answers<'_>, posteriors: &[f64]) -> Vec<WorkerAccuracy> {
    // Per worker: answers, Σ q, Σ q(1 − q).
    let mut sums = vec![(0u32, 0.0f64, 0.0f64); answers.workers()];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(answers.labels()))
    {
        for &cell in cells {
            let q = posterior[answers.label(cell)];
            let sum = &mut sums[answers.worker(cell)];
            *sum = (sum.0 + 1, sum.1 + q, sum.2 + q * (1.0 - q));
        }
    }
    sums.into_iter().map(|(answers, right, doubt)| accuracy_of(answers, right, doubt)).collect()
}

fn accuracy_of(answers: u32, right: f64, doubt: f64) -> WorkerAccuracy {
    let n = f64::from(answers);
    let accuracy = right / n;
    let complete = n * accuracy * (1.0 - accuracy);
    let known = if complete > 0.0 { (1.0 - doubt / complete).clamp(0.0, 1.0) } else { 1.0 };
    let n = n * known;
    if answers == 0 || n <= 0.0 {
        return WorkerAccuracy { answers, accuracy, low: 0.0, high: 1.0 };
    }
    let centre = (accuracy + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (accuracy * (1.0 - accuracy) / n + Z * Z / (4.0 * n * n)).sqrt();
    WorkerAccuracy {
        answers,
        accuracy,
        low: (centre - half).clamp(0.0, accuracy),
        high: (centre + half).clamp(accuracy, 1.0),
    }
}
