//! What a synthetic crowd should be like, and what is wrong with such a wish.

use std::fmt;

/// Settings of a synthetic crowd. [`check`](Self::check) turns them into a [`CheckedCrowdSpec`].
#[derive(Clone, Debug, PartialEq)]
pub struct CrowdSpec {
    /// Number of tasks.
    pub tasks: u32,
    /// Number of workers.
    pub workers: u32,
    /// Answers each task gets, from as many different workers: `1..=workers`.
    pub answers_per_task: u32,
    /// How frequent each class is, relative to the others: `[classes]`, all above zero.
    pub class_shares: Vec<f64>,
    /// Share of the workers that are experts.
    pub experts: f64,
    /// Share of the workers that answer without looking at the task.
    pub spammers: f64,
    /// Share of the workers that answer wrong on purpose.
    pub adversaries: f64,
    /// Range of an expert's probability to recognise a class.
    pub expert_accuracy: (f64, f64),
    /// The same range of ordinary workers, and of what adversaries know.
    pub ordinary_accuracy: (f64, f64),
}

impl Default for CrowdSpec {
    /// A crowd on which worker quality matters: four workers in ten are of no use to a majority vote.
    fn default() -> Self {
        Self {
            tasks: 1_000,
            workers: 50,
            answers_per_task: 7,
            class_shares: vec![0.6, 0.4],
            experts: 0.2,
            spammers: 0.3,
            adversaries: 0.1,
            expert_accuracy: (0.85, 0.98),
            ordinary_accuracy: (0.55, 0.8),
        }
    }
}

/// What can be wrong with a [`CrowdSpec`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum CrowdSpecError {
    /// There are no tasks.
    NoTasks,
    /// `answers_per_task` is zero or larger than the number of workers.
    AnswersPerTask {
        /// The rejected value.
        answers_per_task: u32,
        /// The largest allowed value.
        workers: u32,
    },
    /// `tasks · answers_per_task` does not fit into 32 bits.
    TooManyAnswers(u64),
    /// There are fewer than two classes, or so many that the confusion matrices exceed [`MAX_CONFUSIONS`] entries.
    Classes {
        /// The rejected number of classes.
        classes: usize,
        /// The number of workers, each with a confusion matrix.
        workers: u32,
    },
    /// A class share is not a positive number.
    ClassShare {
        /// The class.
        class: usize,
        /// The rejected value.
        share: f64,
    },
    /// The share of a kind of workers is not in `0..=1`.
    KindShare {
        /// The setting.
        kind: &'static str,
        /// The rejected value.
        share: f64,
    },
    /// The shares of experts, spammers and adversaries add up to more than one.
    KindShares(f64),
    /// A range of accuracies is empty or leaves `0..=1`.
    Accuracy {
        /// The setting.
        kind: &'static str,
        /// The rejected range.
        range: (f64, f64),
    },
}

impl fmt::Display for CrowdSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoTasks => write!(f, "tasks is 0, expected at least 1"),
            Self::AnswersPerTask { answers_per_task, workers } => {
                write!(
                    f,
                    "answers_per_task is {answers_per_task}, expected 1..={workers}, the number of workers"
                )
            }
            Self::TooManyAnswers(answers) => write!(f, "{answers} answers, expected at most {}", u32::MAX),
            Self::Classes { classes, workers } => write!(
                f,
                "{classes} classes with {workers} workers, expected at least 2 and workers · classes² up to {MAX_CONFUSIONS}"
            ),
            Self::ClassShare { class, share } => {
                write!(f, "the share of class {class} is {share}, expected a positive number")
            }
            Self::KindShare { kind, share } => write!(f, "{kind} is {share}, expected a share in 0..=1"),
            Self::KindShares(sum) => {
                write!(f, "experts, spammers and adversaries add up to {sum}, expected at most 1")
            }
            Self::Accuracy { kind, range: (low, high) } => {
                write!(f, "{kind} is {low}..={high}, expected a range within 0..=1")
            }
        }
    }
}

impl std::error::Error for CrowdSpecError {}

/// The most entries that all confusion matrices of a crowd may have together: one GiB of thresholds.
pub const MAX_CONFUSIONS: u64 = 1 << 28;

/// A [`CrowdSpec`] without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedCrowdSpec(pub(super) CrowdSpec);

impl CrowdSpec {
    /// The same settings, known to be valid, or the first fault.
    pub fn check(self) -> Result<CheckedCrowdSpec, CrowdSpecError> {
        self.check_sizes()?;
        for (class, &share) in self.class_shares.iter().enumerate() {
            if !(share > 0.0 && share.is_finite()) {
                return Err(CrowdSpecError::ClassShare { class, share });
            }
        }
        let shares =
            [("experts", self.experts), ("spammers", self.spammers), ("adversaries", self.adversaries)];
        for (kind, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(CrowdSpecError::KindShare { kind, share });
            }
        }
        let sum = self.experts + self.spammers + self.adversaries;
        // 0.7 + 0.2 + 0.1 may be a rounding error above one.
        if sum > 1.0 + 1e-9 {
            return Err(CrowdSpecError::KindShares(sum));
        }
        for (kind, range) in
            [("expert_accuracy", self.expert_accuracy), ("ordinary_accuracy", self.ordinary_accuracy)]
        {
            if !(0.0 <= range.0 && range.0 <= range.1 && range.1 <= 1.0) {
                return Err(CrowdSpecError::Accuracy { kind, range });
            }
        }
        Ok(CheckedCrowdSpec(self))
    }

    fn check_sizes(&self) -> Result<(), CrowdSpecError> {
        let Self { tasks, workers, answers_per_task, .. } = *self;
        if tasks == 0 {
            return Err(CrowdSpecError::NoTasks);
        }
        if answers_per_task == 0 || answers_per_task > workers {
            return Err(CrowdSpecError::AnswersPerTask { answers_per_task, workers });
        }
        let answers = u64::from(tasks) * u64::from(answers_per_task);
        if answers > u64::from(u32::MAX) {
            return Err(CrowdSpecError::TooManyAnswers(answers));
        }
        let classes = self.class_shares.len();
        let confusions = (classes as u64).saturating_mul(classes as u64).saturating_mul(workers.into());
        if classes < 2 || confusions > MAX_CONFUSIONS {
            return Err(CrowdSpecError::Classes { classes, workers });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_named() {
        struct Case {
            spec: CrowdSpec,
            error: CrowdSpecError,
            message: &'static str,
        }
        let valid = CrowdSpec::default;
        let cases = [
            Case {
                spec: CrowdSpec { tasks: 0, ..valid() },
                error: CrowdSpecError::NoTasks,
                message: "tasks is 0, expected at least 1",
            },
            Case {
                spec: CrowdSpec { answers_per_task: 0, ..valid() },
                error: CrowdSpecError::AnswersPerTask { answers_per_task: 0, workers: 50 },
                message: "answers_per_task is 0, expected 1..=50, the number of workers",
            },
            Case {
                spec: CrowdSpec { workers: 6, ..valid() },
                error: CrowdSpecError::AnswersPerTask { answers_per_task: 7, workers: 6 },
                message: "answers_per_task is 7, expected 1..=6, the number of workers",
            },
            Case {
                spec: CrowdSpec { tasks: u32::MAX, ..valid() },
                error: CrowdSpecError::TooManyAnswers(30_064_771_065),
                message: "30064771065 answers, expected at most 4294967295",
            },
            Case {
                spec: CrowdSpec { class_shares: vec![1.0], ..valid() },
                error: CrowdSpecError::Classes { classes: 1, workers: 50 },
                message: "1 classes with 50 workers, expected at least 2 and workers · classes² up to 268435456",
            },
            Case {
                spec: CrowdSpec { class_shares: vec![1.0; 2_400], ..valid() },
                error: CrowdSpecError::Classes { classes: 2_400, workers: 50 },
                message: "2400 classes with 50 workers, expected at least 2 and workers · classes² up to 268435456",
            },
            Case {
                spec: CrowdSpec { class_shares: vec![1.0, 0.0], ..valid() },
                error: CrowdSpecError::ClassShare { class: 1, share: 0.0 },
                message: "the share of class 1 is 0, expected a positive number",
            },
            Case {
                spec: CrowdSpec { class_shares: vec![f64::INFINITY, 1.0], ..valid() },
                error: CrowdSpecError::ClassShare { class: 0, share: f64::INFINITY },
                message: "the share of class 0 is inf, expected a positive number",
            },
            Case {
                spec: CrowdSpec { spammers: -0.1, ..valid() },
                error: CrowdSpecError::KindShare { kind: "spammers", share: -0.1 },
                message: "spammers is -0.1, expected a share in 0..=1",
            },
            Case {
                spec: CrowdSpec { experts: 0.5, spammers: 0.25, adversaries: 0.5, ..valid() },
                error: CrowdSpecError::KindShares(1.25),
                message: "experts, spammers and adversaries add up to 1.25, expected at most 1",
            },
            Case {
                spec: CrowdSpec { ordinary_accuracy: (0.8, 0.7), ..valid() },
                error: CrowdSpecError::Accuracy { kind: "ordinary_accuracy", range: (0.8, 0.7) },
                message: "ordinary_accuracy is 0.8..=0.7, expected a range within 0..=1",
            },
            Case {
                spec: CrowdSpec { expert_accuracy: (0.9, 1.5), ..valid() },
                error: CrowdSpecError::Accuracy { kind: "expert_accuracy", range: (0.9, 1.5) },
                message: "expert_accuracy is 0.9..=1.5, expected a range within 0..=1",
            },
        ];
        for Case { spec, error, message } in cases {
            assert_eq!(spec.check(), Err(error), "{message}");
            assert_eq!(error.to_string(), message);
        }
        // NaN is equal to nothing, not even to itself.
        let nan = CrowdSpec { experts: f64::NAN, ..valid() }.check();
        assert!(matches!(nan, Err(CrowdSpecError::KindShare { kind: "experts", share }) if share.is_nan()));
    }
}
