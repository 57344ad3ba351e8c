//! Who hears the tokens: shows text and speed, and stops where a text has ended.

use std::time::Instant;

use super::super::super::output::print;
use super::prompts::Prompted;
use super::written::Written;
use crate::cli::progress::Progress;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::models::generate::{Generated, Generation, Listen, Prompts};
use crate::models::text::{StopTexts, StoppedStream, Tokenizer};

/// How the text appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// As it is written.
    Stream,
    /// As it is written if there is one text, else when it is.
    StreamOne,
    /// When it is written.
    Whole,
    /// In the JSON object.
    Json,
}

impl Show {
    /// Whether so many texts appear as they are written.
    pub fn is_stream(self, texts: usize) -> Result<bool> {
        let problem = "--stream shows one text; give one prompt, one sample and one beam";
        match self {
            Self::Stream if texts > 1 => Err(Error::Options { problem }),
            Self::Stream | Self::StreamOne => Ok(texts == 1),
            Self::Whole | Self::Json => Ok(false),
        }
    }
}

/// What a text begins with.
#[derive(Clone, Default)]
pub(super) struct Begun {
    /// Tokens of padding that the command added.
    pub padding: usize,
    /// The prompt, behind whose text the text goes on.
    pub prompt: Vec<u32>,
}

impl Begun {
    /// The `nth` prompt of a batch, padded on the left.
    fn new(batch: &Prompts, nth: usize, ids: &[u32]) -> Self {
        let real = batch.real.as_ref().and_then(|real| real.get(nth * ids.len()..)?.get(..ids.len()));
        let padding = real.map_or(0, |real| real.iter().filter(|real| !**real).count());
        Self { padding, prompt: ids[padding..].to_vec() }
    }
}

/// Hears the tokens.
pub(super) struct Typist<'a> {
    model: &'a Model,
    tokenizer: Option<&'a Tokenizer>,
    stops: &'a StopTexts,
    how: Generation,
    is_stream: bool,
    /// Of each text of the batch, where text is needed before its end.
    streams: Vec<StoppedStream<'a>>,
    progress: Progress,
    /// Tokens of all batches so far, and how many there may be.
    tokens: [usize; 2],
    /// Of each text of the batch.
    begun: Vec<Begun>,
    clock: Instant,
    prefill: f64,
    decode: f64,
}

impl<'a> Typist<'a> {
    /// Nothing has been heard.
    pub fn new(
        model: &'a Model,
        prompted: &'a Prompted,
        stops: &'a StopTexts,
        how: Generation,
        is_stream: bool,
    ) -> Self {
        let most = prompted.texts() * how.samples * how.max_new_tokens;
        Self {
            model,
            tokenizer: prompted.tokenizer(),
            stops,
            how,
            is_stream,
            streams: Vec::new(),
            progress: Progress::new(),
            tokens: [0, most],
            begun: Vec::new(),
            clock: Instant::now(),
            prefill: 0.0,
            decode: 0.0,
        }
    }

    /// A batch begins.
    pub fn start(&mut self, batch: &Prompts) -> Result<()> {
        let rows = batch.ids.chunks(batch.ids.len() / batch.sequences);
        let begun = rows.enumerate().map(|(nth, ids)| match self.tokenizer {
            Some(_) if self.model.config.encoder.is_none() => Begun::new(batch, nth, ids),
            // Ids stay as they came, and an encoder's input is no part of the text.
            _ => Begun::default(),
        });
        self.begun = begun.flat_map(|begun| std::iter::repeat_n(begun, self.how.samples)).collect();
        let needed = self.is_stream || !self.stops.is_empty();
        let tokenizers = std::iter::repeat(self.tokenizer.filter(|_| needed)).map_while(|it| it);
        let streams = tokenizers.zip(&self.begun);
        let streams = streams.map(|(tokenizer, it)| StoppedStream::new(tokenizer, &it.prompt, self.stops));
        self.streams = streams.collect::<Result<_>>()?;
        self.clock = Instant::now();
        Ok(())
    }

    /// A batch is written.
    pub fn finish(&mut self, generated: Generated, written: &mut Written) -> Result<()> {
        self.decode += self.clock.elapsed().as_secs_f64();
        self.progress.finish();
        if self.is_stream {
            let rest = self.streams.drain(..).map(StoppedStream::finish).collect::<Result<Vec<_>>>()?;
            print(&(rest.concat() + "\n"))?;
        }
        written.add(generated, self.begun.drain(..), self.tokenizer, self.stops)
    }

    /// Seconds of reading prompts, the first new token included, and of writing.
    pub fn seconds(&self) -> (f64, f64) {
        (self.prefill, self.decode)
    }
}

impl Listen for Typist<'_> {
    fn token(&mut self, nth: usize, id: u32) -> Result<bool> {
        let is_end = self.how.stop_at_end && self.model.config.ids.end.contains(&id);
        let Some(stream) = self.streams.get_mut(nth).filter(|_| !is_end) else { return Ok(true) };
        let piece = stream.push(id)?;
        if self.is_stream && !piece.is_empty() {
            print(&piece)?;
        }
        Ok(!stream.is_stopped())
    }

    fn step(&mut self, step: usize) {
        if step == 1 {
            self.prefill += self.clock.elapsed().as_secs_f64();
            self.clock = Instant::now();
        }
        self.tokens[0] += self.begun.len();
        if !self.is_stream {
            let time = self.decode + self.clock.elapsed().as_secs_f64();
            self.progress.tokens(self.tokens[0] as u64, self.tokens[1] as u64, time);
        }
    }
}
