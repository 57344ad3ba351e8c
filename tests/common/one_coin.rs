//! One-coin EM, written from its formulas.

use super::dawid_skene::Responsibilities;
use mixlet_core::observations::Answers;

/// Accuracies stay this far from 0 and 1.
const MARGIN: f64 = 1e-6;

/// Class shares `[K]` (equal if `uniform`) and accuracies `[workers]`; a worker without answers keeps `before`.
pub fn maximize(
    answers: Answers<'_>,
    responsibilities: &Responsibilities,
    uniform: bool,
    before: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let (tasks, classes) = (responsibilities.len() as f64, answers.labels());
    let share = |class: usize| responsibilities.iter().map(|row| row[class]).sum::<f64>() / tasks;
    let shares =
        (0..classes).map(|class| if uniform { 1.0 / classes as f64 } else { share(class) }).collect();
    let accuracy = |worker: usize| {
        let (mut right, mut all) = (0.0, 0.0);
        for (task, row) in responsibilities.iter().enumerate() {
            for &cell in answers.task(task).iter().filter(|&&cell| answers.worker(cell) == worker) {
                right += row[answers.label(cell)];
                all += 1.0;
            }
        }
        if all == 0.0 { before[worker] } else { (right / all).clamp(MARGIN, 1.0 - MARGIN) }
    };
    (shares, (0..answers.workers()).map(accuracy).collect())
}

/// `q[n, k] ∝ π_k · Π_i (p_i if x_i = k else (1 − p_i) / (K − 1))`, and the log-likelihood.
pub fn expectation(answers: Answers<'_>, shares: &[f64], accuracies: &[f64]) -> (Responsibilities, f64) {
    let classes = shares.len();
    let mut log_likelihood = 0.0;
    let mut row = |task| {
        let logs: Vec<f64> = (0..classes)
            .map(|class| {
                let log = |&cell: &u32| match accuracies[answers.worker(cell)] {
                    p if answers.label(cell) == class => p.ln(),
                    p => ((1.0 - p) / (classes as f64 - 1.0)).ln(),
                };
                shares[class].ln() + answers.task(task).iter().map(log).sum::<f64>()
            })
            .collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        log_likelihood += largest + total.ln();
        logs.iter().map(|log| (log - largest).exp() / total).collect()
    };
    let responsibilities = (0..answers.tasks()).map(&mut row).collect();
    (responsibilities, log_likelihood)
}
