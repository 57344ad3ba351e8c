//! Which of some answers is likeliest: by the sum of its tokens' logarithms, and by that sum over its bytes.

use serde::Serialize;

use super::EvalProgress;
use super::plan::Asked;
use super::spread::of_share;
use crate::error::Result;
use crate::models::Model;
use crate::models::forward::Watch;

/// How often the right choice is the likeliest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceScores {
    /// Questions.
    pub questions: usize,
    /// Share of them whose right choice has the largest sum of logarithms; the first of equals counts.
    pub accuracy: f64,
    /// Its standard error.
    pub accuracy_error: Option<f64>,
    /// The same where sums are divided by the bytes of the choice.
    pub accuracy_per_byte: f64,
    /// Its standard error.
    pub accuracy_per_byte_error: Option<f64>,
    /// What guessing would give: the mean of one over the number of choices.
    pub chance: f64,
    /// Every question.
    #[serde(skip)]
    pub each: Vec<ChoiceScore>,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceScore {
    /// Where the question stands.
    pub line: usize,
    /// The right choice.
    pub answer: usize,
    /// The choice with the largest sum.
    pub chosen: usize,
    /// The one with the largest sum over bytes.
    pub chosen_per_byte: usize,
    /// The sums.
    pub log_likelihoods: Vec<f64>,
}

/// Asks all questions.
pub fn choices(
    model: &Model,
    asked: &[Asked],
    watch: &mut impl Watch,
    progress: EvalProgress<'_>,
) -> Result<ChoiceScores> {
    let all = asked.iter().map(|asked| asked.runs().len()).sum();
    let (mut done, mut read, mut each) = (0, 0, Vec::new());
    for asked in asked {
        let mut sums = Vec::new();
        for run in asked.runs() {
            sums.push(run.likelihoods(model, watch)?.iter().map(|it| it.log).sum());
            (done, read) = (done + 1, read + run.read() as u64);
            progress(done, all, read);
        }
        let per_byte = sums.iter().zip(&asked.question.choices);
        let per_byte: Vec<f64> =
            per_byte.map(|(sum, choice): (&f64, _)| sum / choice.len().max(1) as f64).collect();
        each.push(ChoiceScore {
            line: asked.question.line,
            answer: asked.question.choice,
            chosen: largest(&sums),
            chosen_per_byte: largest(&per_byte),
            log_likelihoods: sums,
        });
    }
    Ok(ChoiceScores::new(each))
}

impl ChoiceScores {
    fn new(each: Vec<ChoiceScore>) -> Self {
        let questions = each.len();
        let share = |right: fn(&ChoiceScore) -> bool| {
            each.iter().filter(|score| right(score)).count() as f64 / questions.max(1) as f64
        };
        let accuracy = share(|score| score.chosen == score.answer);
        let accuracy_per_byte = share(|score| score.chosen_per_byte == score.answer);
        let chances = each.iter().map(|score| 1.0 / score.log_likelihoods.len() as f64);
        Self {
            questions,
            accuracy,
            accuracy_error: of_share(accuracy, questions),
            accuracy_per_byte,
            accuracy_per_byte_error: of_share(accuracy_per_byte, questions),
            chance: chances.sum::<f64>() / questions.max(1) as f64,
            each,
        }
    }
}

/// The place of the largest number, the first of equals.
fn largest(values: &[f64]) -> usize {
    let mut best = (f64::NEG_INFINITY, 0);
    for (place, value) in values.iter().enumerate() {
        if *value > best.0 {
            best = (*value, place);
        }
    }
    best.1
}
