//! How far the workers agree: Krippendorff's alpha.

use mixlet_core::observations::Answers;

/// Krippendorff's alpha for nominal labels: 1 is perfect agreement, 0 what chance gives.
///
/// `α = 1 − D_o / D_e` over the tasks with at least two answers: `D_o` is the share of disagreeing pairs
/// of answers within a task, each task weighing as many pairs as it has answers, `D_e` the share among
/// all their answers (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"). None where no
/// task has two answers, or all answers are one label.
///
/// ```
/// # use mixlet_core::observations::Answers;
/// # use mixlet_runtime::crowd::agreement::krippendorff_alpha;
/// // Three tasks, two workers: they agree on two of three.
/// let answers = Answers::new(2, 2, &[0, 2, 4, 6], &[0, 2, 1, 3, 0, 3]).unwrap();
/// assert!((krippendorff_alpha(answers).unwrap() - (1.0 - 5.0 * 2.0 / 18.0)).abs() < 1e-12);
/// ```
pub fn krippendorff_alpha(answers: Answers<'_>) -> Option<f64> {
    let mut totals = vec![0.0; answers.labels()];
    let mut counts = vec![0.0; answers.labels()];
    let mut agreeing = 0.0;
    for cells in answers.rows(0..answers.tasks()).filter(|cells| cells.len() >= 2) {
        cells.iter().for_each(|&cell| counts[answers.label(cell)] += 1.0);
        let pairable = cells.len() as f64 - 1.0;
        for &cell in cells {
            // Each label once: its count is taken away as it is used.
            let count = std::mem::take(&mut counts[answers.label(cell)]);
            agreeing += count * (count - 1.0) / pairable;
            totals[answers.label(cell)] += count;
        }
    }
    let all: f64 = totals.iter().sum();
    let disagreeing_pairs = all * all - totals.iter().map(|total| total * total).sum::<f64>();
    (disagreeing_pairs > 0.0).then(|| 1.0 - (all - 1.0) * (all - agreeing) / disagreeing_pairs)
}
