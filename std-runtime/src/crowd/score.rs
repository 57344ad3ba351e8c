//! Scoring labels against gold.

use mixlet_core::em::{UNKNOWN, most_likely_class};
use mixlet_core::observations::Answers;

/// How labels compare with gold.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Tasks with gold.
    pub tasks: usize,
    /// Wrong labels; a task without a usable answer counts `(K − 1) / K`, what a guess would cost.
    pub errors: f64,
    /// `[classes]`: F1 of each class, none where it is neither in gold nor predicted.
    pub f1: Vec<Option<f64>>,
    /// `[classes (gold), classes (label)]`: how often each label was given to tasks of each class.
    pub confusion: Vec<f64>,
}

impl Score {
    /// Errors as a share of the tasks; NaN without gold.
    pub fn error_rate(&self) -> f64 {
        self.errors / self.tasks as f64
    }

    /// Scores the most likely class of every task with gold.
    ///
    /// `is_covered(task)` says whether any answer spoke for the task.
    pub fn of_posteriors(
        posteriors: &[f64],
        classes: usize,
        gold: &[u32],
        is_covered: impl Fn(usize) -> bool,
    ) -> Self {
        let mut confusion = vec![0.0; classes * classes];
        let rows = posteriors.chunks_exact(classes).zip(gold).enumerate();
        for (task, (posterior, &gold)) in rows.filter(|(_, (_, gold))| **gold != UNKNOWN) {
            let row = &mut confusion[gold as usize * classes..][..classes];
            if is_covered(task) {
                row[most_likely_class(posterior)] += 1.0;
            } else {
                row.iter_mut().for_each(|count| *count += 1.0 / classes as f64);
            }
        }
        Self::of_confusion(confusion, classes)
    }

    /// Scores the majority vote; tied leaders share the task between them.
    pub fn of_vote(answers: Answers<'_>, gold: &[u32]) -> Self {
        let classes = answers.labels();
        let mut confusion = vec![0.0; classes * classes];
        let mut votes = vec![0u32; classes];
        for (cells, &gold) in answers.rows(0..answers.tasks()).zip(gold).filter(|(_, gold)| **gold != UNKNOWN)
        {
            votes.fill(0);
            cells.iter().for_each(|&cell| votes[answers.label(cell)] += 1);
            let most = votes.iter().copied().max().unwrap_or(0);
            let leaders = votes.iter().filter(|&&count| count == most).count() as f64;
            let row = &mut confusion[gold as usize * classes..][..classes];
            for (label, _) in votes.iter().enumerate().filter(|(_, count)| **count == most) {
                row[label] += 1.0 / leaders;
            }
        }
        Self::of_confusion(confusion, classes)
    }

    fn of_confusion(confusion: Vec<f64>, classes: usize) -> Self {
        let tasks: f64 = confusion.iter().sum();
        let right: f64 = confusion.iter().step_by(classes + 1).sum();
        let f1 = |class: usize| {
            let in_gold: f64 = confusion[class * classes..][..classes].iter().sum();
            let predicted: f64 = confusion.iter().skip(class).step_by(classes).sum();
            (in_gold + predicted > 0.0)
                .then(|| 2.0 * confusion[class * classes + class] / (in_gold + predicted))
        };
        let f1 = (0..classes).map(f1).collect();
        Self { tasks: tasks.round() as usize, errors: tasks - right, f1, confusion }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_and_uncovered_tasks_are_guesses() {
        // Task 0: a tie; task 1: right; task 2: nobody answered; task 3: no gold.
        let answers = Answers::new(2, 2, &[0, 2, 3, 3, 4], &[0, 3, 1, 0]).unwrap();
        let gold = [0, 1, 0, UNKNOWN];
        let vote = Score::of_vote(answers, &gold);
        assert_eq!((vote.tasks, vote.errors), (3, 1.0));

        let posteriors = [0.5, 0.5, 0.1, 0.9, 0.3, 0.7, 0.0, 1.0];
        let score = Score::of_posteriors(&posteriors, 2, &gold, |task| task != 2);
        assert_eq!((score.tasks, score.errors), (3, 0.5));
        assert_eq!(score.confusion, [1.5, 0.5, 0.0, 1.0]);
        assert_eq!(score.f1[0], Some(2.0 * 1.5 / (2.0 + 1.5)));
    }
}
