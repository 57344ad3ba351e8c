//! Examples before a question: so many others with their answers, drawn by a seed.
//!
//! Each question has a draw of its own, so that it does not matter which others are asked, or in what order.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::data::Question;
use crate::error::EvalProblem;

/// Between examples, and between the last one and the question.
const BETWEEN: &str = "\n\n";

/// Which examples go before questions.
#[derive(Clone, Copy, Debug)]
pub struct Shots<'a> {
    /// How many.
    pub count: usize,
    /// What they are drawn from; `None`: the other questions.
    pub from: Option<&'a [Question]>,
    /// Decides the draw.
    pub seed: u64,
    /// Whether steps are shown before answers, where they are known.
    pub steps: bool,
}

impl Shots<'_> {
    /// The text of a question with its examples before it.
    ///
    /// ```
    /// # use mixlet_runtime::models::eval::{Question, Shots};
    /// let question = |prompt: &str, answer: &str| Question {
    ///     prompt: prompt.to_owned(), answers: vec![answer.to_owned()], ..Question::default() };
    /// let all = [question("1 + 1 =", "2"), question("2 + 2 =", "4")];
    /// let shots = Shots { count: 1, from: None, seed: 0, steps: false };
    /// assert_eq!(shots.prompt(&all, 1).unwrap(), "1 + 1 = 2\n\n2 + 2 =");
    /// ```
    pub fn prompt(&self, questions: &[Question], nth: usize) -> Result<String, EvalProblem> {
        let mut text = String::new();
        for example in self.draw(questions, nth)? {
            let answer = example.answers.first().map_or("", String::as_str);
            text += &joined(&example.prompt, &self.answer(example, answer));
            text += BETWEEN;
        }
        Ok(text + questions.get(nth).map_or("", |question| &question.prompt))
    }

    /// An example's answer as it is shown.
    fn answer(&self, example: &Question, answer: &str) -> String {
        match &example.steps {
            Some(steps) if self.steps => format!("{steps}\n{ANSWER_IS} {answer}."),
            _ => answer.to_owned(),
        }
    }

    /// The first of a shuffle (Fisher and Yates) of all others.
    fn draw<'q>(&'q self, questions: &'q [Question], nth: usize) -> Result<Vec<&'q Question>, EvalProblem> {
        let is_other = |place: usize| self.from.is_some() || place != nth;
        let all = self.from.unwrap_or(questions).iter().enumerate();
        let mut others: Vec<&Question> =
            all.filter(|(place, _)| is_other(*place)).map(|(_, it)| it).collect();
        let (asked, there) = (self.count, others.len());
        if asked > there {
            return Err(EvalProblem::Shots { asked, there });
        }
        let mut random =
            Pcg64::seed_from_u64(self.seed ^ (nth as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for place in 0..asked {
            let left = (there - place) as u64;
            // The upper half of a product: even but for a share of 2⁻⁶⁴ · left.
            let chosen = (u128::from(random.next_u64()) * u128::from(left)) >> 64;
            others.swap(place, place + chosen as usize);
        }
        others.truncate(asked);
        Ok(others)
    }
}

/// What stands before an answer that follows its steps.
pub const ANSWER_IS: &str = "The answer is";

/// A prompt and what follows, with a space between where neither has one.
pub fn joined(prompt: &str, answer: &str) -> String {
    let spaced =
        prompt.is_empty() || prompt.ends_with(char::is_whitespace) || answer.starts_with(char::is_whitespace);
    if spaced { format!("{prompt}{answer}") } else { format!("{prompt} {answer}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(count: usize) -> Vec<Question> {
        let question = |nth: usize| Question {
            prompt: format!("q{nth}"),
            answers: vec![format!("a{nth}")],
            steps: Some(format!("s{nth}")),
            ..Question::default()
        };
        (0..count).map(question).collect()
    }

    #[test]
    fn examples_are_others_each_once_and_every_one_of_them_now_and_then() {
        let all = questions(9);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..30 {
            let shots = Shots { count: 4, from: None, seed, steps: false };
            for nth in 0..9 {
                let prompt = shots.prompt(&all, nth).unwrap();
                let parts: Vec<&str> = prompt.split("\n\n").collect();
                let mut examples = parts[..4].to_vec();
                examples.sort_unstable();
                examples.dedup();
                assert_eq!((examples.len(), parts[4]), (4, &*all[nth].prompt));
                assert!(!examples.contains(&&*format!("q{nth} a{nth}")));
                seen.insert((nth, parts[0].to_owned()));
                assert_eq!(prompt, shots.prompt(&all, nth).unwrap());
            }
        }
        // Every pair of a question and another one in first place.
        assert_eq!(seen.len(), 9 * 8);
    }

    #[test]
    fn steps_are_shown_on_request_and_too_many_examples_refused() {
        let all = questions(2);
        let shots = Shots { count: 1, from: None, seed: 3, steps: true };
        assert_eq!(shots.prompt(&all, 0).unwrap(), "q1 s1\nThe answer is a1.\n\nq0");
        let problem = EvalProblem::Shots { asked: 2, there: 1 };
        assert_eq!(Shots { count: 2, ..shots }.prompt(&all, 0), Err(problem));
        assert!(Shots { count: 2, from: Some(&all), ..shots }.prompt(&all, 0).is_ok());
    }
}
