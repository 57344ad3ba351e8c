//! Every run of an evaluation in ids, made before the model is loaded.

use std::path::Path;

use super::Scored;
use super::data::{Data, Question};
use super::perplexity::windows;
use super::shots::{Shots, joined};
use crate::error::{Error, EvalProblem, PromptPlace, Result};
use crate::models::ModelConfig;
use crate::models::Reading;
use crate::models::forward::Wanted;
use crate::models::text::Tokenizer;

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Examples before each question.
    pub shots: Shots<'a>,
    /// Tokens of a window over a text.
    pub window: usize,
    /// Tokens that a window predicts and the one before did not.
    pub stride: usize,
    /// Texts or questions at most, the first of the file.
    pub limit: usize,
    /// Tokens that an answer has at most.
    pub max_new_tokens: usize,
    /// Whether free answers are scored by their likelihood instead of being written.
    pub likelihood: bool,
}

/// A question in ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// What is to be run for it.
    pub work: Work,
}

/// What is to be run for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A run for each of its choices.
    Score(Vec<Scored>),
    /// A prompt to be written on from.
    Write(Vec<u32>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Texts in windows, each with the bytes of what is predicted.
    Texts(Vec<TextPlan>),
    /// Choices.
    Choices(Vec<Asked>),
    /// Answers to be written.
    Matches(Vec<Asked>),
}

/// A text, or an answer behind its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPlan {
    /// Where it stands.
    pub line: Option<usize>,
    /// The runs that predict it.
    pub windows: Vec<Scored>,
    /// Bytes that they predict.
    pub bytes: usize,
}

/// Makes plans for a model.
#[derive(Clone, Copy, Debug)]
pub struct Planner<'a> {
    /// The model's configuration.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The file, for errors.
    pub path: &'a Path,
    /// How to evaluate.
    pub settings: Settings<'a>,
}

impl Plan {
    /// The most that is read at once, and whose logits are wanted.
    pub fn largest(&self, max_new_tokens: usize) -> (Reading, Wanted) {
        let of_all = |runs: &mut dyn Iterator<Item = &Scored>| {
            let none = Reading { sequences: 1, encoder: 0, decoder: Some(0) };
            runs.map(Scored::reading).fold(none, |most, it| Reading {
                encoder: most.encoder.max(it.encoder),
                decoder: most.decoder.max(it.decoder),
                ..most
            })
        };
        match self {
            Self::Texts(texts) => (of_all(&mut texts.iter().flat_map(|text| &text.windows)), Wanted::All),
            Self::Choices(asked) => (of_all(&mut asked.iter().flat_map(Asked::runs)), Wanted::All),
            Self::Matches(asked) => {
                let prompt = asked.iter().map(|asked| asked.prompt().len()).max().unwrap_or(0);
                let decoder = Some(prompt + max_new_tokens);
                (Reading { sequences: 1, encoder: prompt, decoder }, Wanted::Last)
            }
        }
    }
}

impl Asked {
    /// Runs that are scored.
    pub fn runs(&self) -> &[Scored] {
        match &self.work {
            Work::Score(runs) => runs,
            Work::Write(_) => &[],
        }
    }

    /// What is written on from.
    pub fn prompt(&self) -> &[u32] {
        match &self.work {
            Work::Score(_) => &[],
            Work::Write(prompt) => prompt,
        }
    }
}

impl Planner<'_> {
    /// The runs of all texts or questions.
    pub fn plan(&self, data: &Data) -> Result<Plan> {
        let questions = match data {
            Data::Texts(texts) => return self.texts(texts),
            Data::Questions(questions) => questions,
        };
        let count = questions.len().min(self.settings.limit);
        if self.settings.likelihood {
            let answer = |nth: usize| {
                let question = &questions[nth];
                let run = self.answer(questions, nth, question.answers.first().map_or("", String::as_str))?;
                let bytes = question.answers.first().map_or(0, String::len);
                Ok(TextPlan { line: Some(question.line), windows: vec![run], bytes })
            };
            return Ok(Plan::Texts((0..count).map(answer).collect::<Result<_>>()?));
        }
        let asked = |nth: usize| {
            let question = questions[nth].clone();
            let work = match question.choices.is_empty() {
                true => Work::Write(self.prompt(questions, nth)?),
                false => {
                    let run = |choice: &String| self.answer(questions, nth, choice);
                    Work::Score(question.choices.iter().map(run).collect::<Result<_>>()?)
                }
            };
            Ok(Asked { question, work })
        };
        let asked: Vec<Asked> = (0..count).map(asked).collect::<Result<_>>()?;
        let free = asked.first().is_none_or(|asked| asked.question.choices.is_empty());
        Ok(if free { Plan::Matches(asked) } else { Plan::Choices(asked) })
    }

    fn texts(&self, texts: &[(Option<usize>, String)]) -> Result<Plan> {
        let plan = |(line, text): &(Option<usize>, String)| {
            if self.config.encoder.is_some() {
                return Err(self.problem(*line, EvalProblem::NoPrompt));
            }
            let ids = self.encode(*line, text)?;
            let windows = windows(&ids, self.settings.window, self.settings.stride);
            if windows.is_empty() {
                return Err(self.problem(*line, EvalProblem::Short));
            }
            // The first token is not predicted; where that is a begin id, no text is lost.
            let first = self.tokenizer.decode(&ids[..1])?.len();
            Ok(TextPlan { line: *line, windows, bytes: text.len().saturating_sub(first) })
        };
        Ok(Plan::Texts(texts.iter().take(self.settings.limit).map(plan).collect::<Result<_>>()?))
    }

    /// The run that predicts an answer.
    fn answer(&self, questions: &[Question], nth: usize, answer: &str) -> Result<Scored> {
        let line = Some(questions[nth].line);
        let prompt = self.text(questions, nth)?;
        let run = match self.config.encoder {
            Some(_) => {
                let (input, output) = (self.encode(line, &prompt)?, self.encode(line, answer)?);
                Scored { input, output, from: 0 }
            }
            None => {
                // Both at once, as they would be read; the answer begins where the prompt's own ids end to be the same.
                let (alone, output) =
                    (self.encode(line, &prompt)?, self.encode(line, &joined(&prompt, answer))?);
                let same = alone.iter().zip(&output).take_while(|(a, b)| a == b).count();
                Scored { input: Vec::new(), from: same, output }
            }
        };
        if run.tokens() == 0 || run.from + run.input.len() == 0 {
            return Err(self.problem(line, EvalProblem::NoAnswer));
        }
        self.check(line, run.output.len())?;
        Ok(run)
    }

    fn prompt(&self, questions: &[Question], nth: usize) -> Result<Vec<u32>> {
        let ids = self.encode(Some(questions[nth].line), &self.text(questions, nth)?)?;
        let read = if self.config.encoder.is_some() { 1 } else { ids.len() };
        self.check(Some(questions[nth].line), read + self.settings.max_new_tokens)?;
        Ok(ids)
    }

    /// The ids of a text; errors name its line.
    fn encode(&self, line: Option<usize>, text: &str) -> Result<Vec<u32>> {
        let place = PromptPlace::File { path: self.path.to_owned(), line };
        self.tokenizer.encode(text).map_err(|error| error.of_prompt(&place))
    }

    fn text(&self, questions: &[Question], nth: usize) -> Result<String> {
        let prompt = self.settings.shots.prompt(questions, nth);
        prompt.map_err(|problem| self.problem(None, problem))
    }

    fn check(&self, line: Option<usize>, tokens: usize) -> Result<()> {
        match self.config.max_positions.filter(|limit| tokens > *limit) {
            Some(limit) => Err(self.problem(line, EvalProblem::TooLong { tokens, limit })),
            None => Ok(()),
        }
    }

    fn problem(&self, line: Option<usize>, problem: EvalProblem) -> Error {
        Error::Eval { path: self.path.to_owned(), line, problem }
    }
}
