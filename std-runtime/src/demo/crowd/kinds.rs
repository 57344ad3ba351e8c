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

/// What a fit says about every worker, from all their answers, used for the labels or not.
#[derive(Debug)]
pub struct Judgement {
    labels: usize,
    /// `[workers]`.
    pub accuracies: Vec<WorkerAccuracy>,
    /// `[workers]`: mutual information of answer and label, in nats.
    pub information: Vec<f64>,
    /// `[workers, labels, labels]`, row true class, column given one; NaN where a class was never met.
    pub confusions: Vec<f64>,
}

impl Judgement {
    /// Judges all workers by posteriors `[tasks, labels]`.
    pub fn new(answers: Answers<'_>, posteriors: &[f64]) -> Self {
        let labels = answers.labels();
        // Expected counts `[workers, labels (given), labels (true)]`.
        let mut counts = vec![0.0; answers.cell_count() * labels];
        for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
            for &cell in cells {
                let row = &mut counts[cell as usize * labels..][..labels];
                row.iter_mut().zip(posterior).for_each(|(count, q)| *count += q);
            }
        }
        let tables = || counts.chunks_exact(labels * labels);
        Self {
            labels,
            accuracies: worker_accuracies(answers, posteriors),
            information: tables().map(|table| mutual_information(table, labels)).collect(),
            confusions: tables().flat_map(|table| confusion(table, labels)).collect(),
        }
    }

    /// The confusion matrix of one worker.
    pub fn confusion(&self, worker: usize) -> &[f64] {
        let cells = self.labels * self.labels;
        &self.confusions[worker * cells..][..cells]
    }

    /// Information that so many answers of a guessing worker hardly ever show.
    pub fn guessing(&self, answers: f64) -> f64 {
        let freedom = (self.labels as f64 - 1.0).powi(2);
        null_information(NULL_LEVEL, freedom, answers)
    }

    /// The kind of every worker: one rule for all, which knows nothing of the truth.
    pub fn kinds(&self) -> Vec<WorkerKind> {
        let chance = 1.0 / self.labels as f64;
        let kind = |(worker, information): (&WorkerAccuracy, &f64)| match worker.accuracy {
            _ if *information < self.guessing(worker.answers.into()) => WorkerKind::Spammer,
            accuracy if accuracy < chance => WorkerKind::Adversary,
            accuracy if accuracy > EXPERT_ACCURACY => WorkerKind::Expert,
            _ => WorkerKind::Ordinary,
        };
        self.accuracies.iter().zip(&self.information).map(kind).collect()
    }
}

/// Expected counts `[given, true]` as probabilities `[true, given]`.
fn confusion(counts: &[f64], labels: usize) -> impl Iterator<Item = f64> {
    (0..labels).flat_map(move |class| {
        let column = || counts.iter().skip(class).step_by(labels);
        let total: f64 = column().sum();
        column().map(move |count| count / total)
    })
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
        let judgement = Judgement::new(answers, &truth);
        assert_eq!(judgement.kinds(), [Expert, Spammer, Adversary, Ordinary]);
        assert_eq!(judgement.confusion(2), [0.0, 1.0, 1.0, 0.0]);

        let kinds = Kinds::compare(&[Expert, Spammer, Spammer, Ordinary], &judgement.kinds());
        assert_eq!(kinds.spammers, KindOutcome { generated: 2, recognised: 1, mistaken: 0 });
        assert_eq!(
            kinds.sentence(),
            "Recognised by their answers alone: 1 of 1 experts, 1 of 2 spammers, 0 of 0 adversaries (and 1 who are none)."
        );
    }
}
