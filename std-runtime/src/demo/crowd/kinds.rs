//! What kind of worker somebody is, judged by a fit and compared with what was generated.

use mixlet_core::observations::Answers;
use mixlet_core::select::mutual_information;
use mixlet_core::select::null::null_information;
use serde::Serialize;

use crate::crowd::generate::WorkerKind;
use crate::crowd::workers::{WorkerAccuracy, worker_accuracies};

/// Halfway between the best ordinary workers and the worst experts that are generated.
const EXPERT_ACCURACY: f64 = 0.825;
/// A worker who guesses is taken for an informative one once in a hundred times.
const NULL_LEVEL: f64 = 0.99;

/// The kind of every worker, judged by posteriors `[tasks, labels]`: one rule for all, which knows nothing of the truth.
pub fn recognise(answers: Answers<'_>, posteriors: &[f64]) -> Vec<WorkerKind> {
    let labels = answers.labels();
    let freedom = (labels as f64 - 1.0).powi(2);
    let kind = |(worker, information): (WorkerAccuracy, f64)| match worker.accuracy {
        _ if information < null_information(NULL_LEVEL, freedom, worker.answers.into()) => {
            WorkerKind::Spammer
        }
        accuracy if accuracy < 1.0 / labels as f64 => WorkerKind::Adversary,
        accuracy if accuracy > EXPERT_ACCURACY => WorkerKind::Expert,
        _ => WorkerKind::Ordinary,
    };
    worker_accuracies(answers, posteriors)
        .into_iter()
        .zip(information(answers, posteriors))
        .map(kind)
        .collect()
}

/// `[workers]`: mutual information of answer and label, in nats.
fn information(answers: Answers<'_>, posteriors: &[f64]) -> Vec<f64> {
    let labels = answers.labels();
    // Expected counts `[workers, labels (given), labels (true)]`.
    let mut counts = vec![0.0; answers.cell_count() * labels];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
        for &cell in cells {
            let row = &mut counts[cell as usize * labels..][..labels];
            row.iter_mut().zip(posterior).for_each(|(count, q)| *count += q);
        }
    }
    counts.chunks_exact(labels * labels).map(|table| mutual_information(table, labels)).collect()
}

/// How many workers of a kind there are, and how many were recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindOutcome {
    /// Workers of the kind.
    pub generated: usize,
    /// Workers of the kind who were taken for it.
    pub recognised: usize,
    /// Workers of other kinds who were taken for it.
    pub mistaken: usize,
}

/// How well each kind of worker was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Nearly always right.
    pub experts: KindOutcome,
    /// Answer without looking.
    pub spammers: KindOutcome,
    /// Recognise the class, then name another one.
    pub adversaries: KindOutcome,
}

impl Kinds {
    /// Compares the kinds generated with those recognised.
    pub fn compare(generated: &[WorkerKind], recognised: &[WorkerKind]) -> Self {
        let outcome = |kind| {
            let count = |generated_is: bool, recognised_is: bool| {
                let pairs = generated.iter().zip(recognised);
                pairs.filter(|(g, r)| (**g == kind) == generated_is && (**r == kind) == recognised_is).count()
            };
            let found = count(true, true);
            KindOutcome {
                generated: found + count(true, false),
                recognised: found,
                mistaken: count(false, true),
            }
        };
        Self {
            experts: outcome(WorkerKind::Expert),
            spammers: outcome(WorkerKind::Spammer),
            adversaries: outcome(WorkerKind::Adversary),
        }
    }

    /// The same in words.
    pub fn sentence(&self) -> String {
        let part = |kind: KindOutcome, name: &str| {
            let mistaken = match kind.mistaken {
                0 => String::new(),
                mistaken => format!(" (and {mistaken} who are none)"),
            };
            format!("{} of {} {name}{mistaken}", kind.recognised, kind.generated)
        };
        format!(
            "Recognised by their answers alone: {}, {}, {}.",
            part(self.experts, "experts"),
            part(self.spammers, "spammers"),
            part(self.adversaries, "adversaries")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkerKind::{Adversary, Expert, Ordinary, Spammer};

    #[test]
    fn one_rule_tells_the_kinds_apart() {
        // Forty tasks of two classes in turn: right, always 0, always the other one, right three times in four.
        let cells = |task: u32| {
            let class = task % 2;
            let sometimes = if task % 8 < 2 { 1 - class } else { class };
            [class, 2, 4 + (1 - class), 6 + sometimes]
        };
        let cells: Vec<u32> = (0..40).flat_map(cells).collect();
        let offsets: Vec<u32> = (0..=40).map(|task| 4 * task).collect();
        let answers = Answers::new(4, 2, &offsets, &cells).unwrap();
        let truth: Vec<f64> =
            (0..40).flat_map(|task| if task % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let recognised = recognise(answers, &truth);
        assert_eq!(recognised, [Expert, Spammer, Adversary, Ordinary]);

        let kinds = Kinds::compare(&[Expert, Spammer, Spammer, Ordinary], &recognised);
        assert_eq!(kinds.spammers, KindOutcome { generated: 2, recognised: 1, mistaken: 0 });
        assert_eq!(
            kinds.sentence(),
            "Recognised by their answers alone: 1 of 1 experts, 1 of 2 spammers, 0 of 0 adversaries (and 1 who are none)."
        );
    }
}
