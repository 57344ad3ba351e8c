//! Answers that are written greedily and compared with the right ones, after both are normalised.

use clap::ValueEnum;
use serde::Serialize;

use super::plan::Asked;
use super::shots::ANSWER_IS;
use super::spread::of_share;
use super::{EvalProgress, Reader};
use crate::error::Result;
use crate::models::forward::{Tokens, Watch};
use crate::models::generate::{Generation, Listen};

/// What of an answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Normalise {
    /// Everything but space around it
    Exact,
    /// Words: letters small, without punctuation and articles (SQuAD's rule)
    #[default]
    Words,
    /// The last number in it
    Number,
}

/// How answers are written and compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// An answer ends before this text; none: at the model's end ids alone.
    pub until: String,
    /// What of it counts.
    pub normalise: Normalise,
    /// Whether steps come first: the answer is then what follows the last "The answer is", as in the examples.
    pub steps: bool,
}

/// How often the right answer is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatchScores {
    /// Questions.
    pub questions: usize,
    /// Share of them that were answered right.
    pub exact_match: f64,
    /// Its standard error.
    pub exact_match_error: Option<f64>,
    /// Tokens written.
    pub new_tokens: u64,
    /// Every question.
    #[serde(skip)]
    pub each: Vec<MatchScore>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatchScore {
    /// Where the question stands.
    pub line: usize,
    /// Whether it is right.
    pub right: bool,
    /// The answer as it counts.
    pub answer: String,
    /// All that was written.
    pub written: String,
    /// The right answers as they count.
    pub expected: Vec<String>,
}

/// Asks all questions.
pub fn matches(
    reader: Reader<'_>,
    asked: &[Asked],
    how: &Matching,
    watch: &mut impl Watch,
    progress: EvalProgress<'_>,
) -> Result<MatchScores> {
    let (mut read, mut new_tokens, mut each) = (0, 0, Vec::new());
    let all = asked.len();
    for (nth, asked) in asked.iter().enumerate() {
        let (written, tokens) = how.write(reader, asked.prompt(), watch)?;
        let answer = how.normalised(how.answer(&written));
        let expected: Vec<String> = asked.question.answers.iter().map(|it| how.normalised(it)).collect();
        each.push(MatchScore {
            line: asked.question.line,
            right: expected.contains(&answer),
            answer,
            written,
            expected,
        });
        new_tokens += tokens;
        read += asked.prompt().len() as u64 + tokens;
        progress(nth + 1, all, read);
    }
    let right = each.iter().filter(|score| score.right).count();
    let (questions, exact_match) = (each.len(), right as f64 / each.len().max(1) as f64);
    let exact_match_error = of_share(exact_match, questions);
    Ok(MatchScores { questions, exact_match, exact_match_error, new_tokens, each })
}

impl Matching {
    /// Writes on greedily; the text, and how many tokens it took.
    fn write(&self, reader: Reader<'_>, prompt: &[u32], watch: &mut impl Watch) -> Result<(String, u64)> {
        let how = Generation { max_new_tokens: self.max_new_tokens, ..Generation::default() };
        let mut ear = Ear { how: self, reader, ids: Vec::new(), text: String::new() };
        reader.model.generate_to(Tokens { ids: prompt, real: None }, 1, how, watch, &mut ear)?;
        Ok((ear.text, ear.ids.len() as u64))
    }

    /// Where an answer ends: before the text that ends it, but for space that it begins with.
    fn end(&self, text: &str) -> Option<usize> {
        let begin = text.len() - text.trim_start().len();
        let place = text[begin..].find(&self.until).filter(|_| !self.until.is_empty())?;
        Some(begin + place)
    }

    /// The part that is the answer.
    fn answer<'t>(&self, text: &'t str) -> &'t str {
        match text.rsplit_once(ANSWER_IS).filter(|_| self.steps) {
            Some((_, answer)) => answer.trim().trim_end_matches('.'),
            None => text,
        }
    }

    fn normalised(&self, text: &str) -> String {
        let normalised = match self.normalise {
            Normalise::Exact => text.trim().to_owned(),
            Normalise::Words => words(text),
            Normalise::Number => last_number(text).unwrap_or_default(),
        };
        // Where nothing is left ("A" is an article), nothing written would be right.
        if normalised.is_empty() { text.trim().to_lowercase() } else { normalised }
    }
}

/// Small letters; punctuation goes, then the articles, then space but one between words.
fn words(text: &str) -> String {
    let letters = text.to_lowercase().replace(|letter: char| letter.is_ascii_punctuation(), "");
    let words = letters.split_whitespace().filter(|word| !["a", "an", "the"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The last number, without separators of thousands and trailing zeros.
fn last_number(text: &str) -> Option<String> {
    let plain = text.replace(',', "");
    let is_part = |letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-';
    let mut parts = plain.split(|letter| !is_part(letter)).filter_map(|part| {
        // "12-13" ends in 13, "-3." is −3.
        let part = part.trim_end_matches(['.', '-']);
        let start = part.rfind('-').map_or(0, |place| if place == 0 { 0 } else { place + 1 });
        part[start..].parse::<f64>().ok()
    });
    parts.next_back().map(|number| if number == 0.0 { "0".to_owned() } else { number.to_string() })
}

/// Hears an answer until it ends.
struct Ear<'a> {
    how: &'a Matching,
    reader: Reader<'a>,
    ids: Vec<u32>,
    text: String,
}

impl Listen for Ear<'_> {
    fn token(&mut self, _: usize, id: u32) -> Result<bool> {
        if self.reader.model.config.ids.end.contains(&id) {
            return Ok(false);
        }
        self.ids.push(id);
        self.text = self.reader.tokenizer.decode(&self.ids)?;
        let end = self.how.end(&self.text);
        self.text.truncate(end.unwrap_or(usize::MAX));
        Ok(end.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(normalise: Normalise) -> Matching {
        Matching { max_new_tokens: 1, until: "\n".into(), normalise, steps: false }
    }

    #[test]
    fn answers_are_normalised() {
        let cases = [
            (Normalise::Exact, " The Cat. ", "The Cat."),
            (Normalise::Words, " The Cat's, an  owl!", "cats owl"),
            (Normalise::Words, "", ""),
            (Normalise::Number, "She has 1,200 or 18.50 dollars.", "18.5"),
            (Normalise::Number, "from 12-13", "13"),
            (Normalise::Number, "it is -3.", "-3"),
            (Normalise::Number, "-0", "0"),
            (Normalise::Number, "none", "none"),
            (Normalise::Words, " A. ", "a."),
        ];
        for (normalise, text, expected) in cases {
            assert_eq!(how(normalise).normalised(text), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_ends_before_its_end_and_begins_after_its_steps() {
        let plain = how(Normalise::Exact);
        assert_eq!((plain.end("\n one\ntwo"), plain.end(" one"), plain.end("\n")), (Some(5), None, None));
        assert_eq!(Matching { until: String::new(), ..plain.clone() }.end("a\nb"), None);
        let steps = Matching { steps: true, ..plain.clone() };
        assert_eq!(steps.answer("The answer is 3. No. The answer is 4."), "4");
        assert_eq!(
            (steps.answer("no idea"), plain.answer("The answer is 4.")),
            ("no idea", "The answer is 4.")
        );
    }
}
