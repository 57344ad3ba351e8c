//! What was written, as lines or as a JSON object.

use serde::Serialize;

use super::super::super::output::print;
use super::super::routing::RoutingSeen;
use super::typist::Begun;
use crate::error::Result;
use crate::models::generate::{Finish, Generated};
use crate::models::text::{StopTexts, Tokenizer};

/// All texts so far.
#[derive(Default)]
pub(super) struct Written {
    /// Each with its prompt.
    pub texts: Vec<Text>,
    /// Texts that were printed.
    printed: usize,
    scores: Vec<f64>,
}

/// A text that was written.
pub(super) struct Text {
    /// What follows the prompt; none without a tokenizer.
    text: Option<String>,
    /// The prompt, without padding that the command added, and what follows.
    sequence: Vec<u32>,
    /// Tokens that follow.
    new: usize,
    finish: Finish,
}

/// What `--json` prints: lists of one entry for each text.
#[derive(Serialize)]
pub(super) struct GenerateJson<'a> {
    texts: Option<Vec<&'a str>>,
    /// New ids.
    ids: Vec<&'a [u32]>,
    /// Prompts (or the decoder's start) and new ids.
    sequences: Vec<&'a [u32]>,
    finish: Vec<Finish>,
    scores: &'a [f64],
    prompt_tokens: usize,
    new_tokens: usize,
    #[serde(flatten)]
    routing: RoutingSeen,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
pub(super) struct Seconds {
    pub read: f64,
    pub prefill: f64,
    pub decode: f64,
}

impl Written {
    /// Adds a batch.
    pub fn add(
        &mut self,
        generated: Generated,
        begun: impl Iterator<Item = Begun>,
        tokenizer: Option<&Tokenizer>,
        stops: &StopTexts,
    ) -> Result<()> {
        let Generated { sequences, prompt, finishes, scores } = generated;
        self.scores.extend(scores);
        for ((mut sequence, mut finish), begun) in sequences.into_iter().zip(finishes).zip(begun) {
            let new = sequence.len() - prompt;
            let said = &sequence[prompt..];
            let said = if finish == Finish::End { &said[..new - 1] } else { said };
            let text = |tokenizer: &Tokenizer| tokenizer.decode_behind(&begun.prompt, said);
            let mut text = tokenizer.map(text).transpose()?;
            let stop = text.as_deref().and_then(|text| stops.find(text));
            if let Some((text, place)) = text.as_mut().zip(stop) {
                text.truncate(place);
                finish = Finish::Stop;
            }
            sequence.drain(..begun.padding);
            self.texts.push(Text { text, sequence, new, finish });
        }
        Ok(())
    }

    /// New tokens of all texts.
    pub fn new_tokens(&self) -> usize {
        self.texts.iter().map(|text| text.new).sum()
    }

    /// Prints the texts that have not been printed.
    pub fn print_new(&mut self) -> Result<()> {
        let new = &self.texts[self.printed..];
        self.printed = self.texts.len();
        let ids = |text: &Text| text.sequence.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let line = |text: &Text| text.text.clone().unwrap_or_else(|| ids(text)) + "\n";
        print(&new.iter().map(line).collect::<String>())
    }
}

impl<'a> GenerateJson<'a> {
    pub fn new(
        written: &'a Written,
        prompt_tokens: usize,
        routing: RoutingSeen,
        warnings: &'a [String],
        seconds: Seconds,
    ) -> Self {
        let texts = &written.texts;
        Self {
            texts: texts.iter().map(|text| text.text.as_deref()).collect(),
            ids: texts.iter().map(|text| &text.sequence[text.sequence.len() - text.new..]).collect(),
            sequences: texts.iter().map(|text| &text.sequence[..]).collect(),
            finish: texts.iter().map(|text| text.finish).collect(),
            scores: &written.scores,
            prompt_tokens,
            new_tokens: written.new_tokens(),
            routing,
            warnings,
            seconds,
        }
    }
}
