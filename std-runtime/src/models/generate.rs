//! Writing on: greedily, or with beams.

mod beams;

use super::Model;
use super::forward::{Session, Tokens, Wanted};
use crate::error::Result;

/// How to write on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// New tokens at most.
    pub max_new_tokens: usize,
    /// Texts that are pursued at once; 1 is greedy.
    pub beams: usize,
    /// Finished texts are compared by the sum of their logarithms over this power of their length.
    pub length_penalty: f64,
    /// Whether the model's end ids end a text.
    pub stop_at_end: bool,
    /// Whether keys and values are kept. Without, every token is computed from the beginning: the same ids, unless a capacity
    /// counts the tokens of a call.
    pub cached: bool,
}

impl Default for Generation {
    /// Greedy, as long as transformers writes by default.
    fn default() -> Self {
        Self { max_new_tokens: 20, beams: 1, length_penalty: 1.0, stop_at_end: true, cached: true }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// For each input: the prompt (or the decoder's start) and what follows, the end id included.
    pub sequences: Vec<Vec<u32>>,
    /// For each input, with beams: the sum of logarithms over the power of the length.
    pub scores: Vec<f64>,
}

impl Model {
    /// Writes on from each of some inputs: behind them, or, with an encoder, from the decoder's start.
    pub fn generate(&self, input: Tokens<'_>, sequences: usize, how: Generation) -> Result<Generated> {
        let writer = Writer::new(self, input, sequences, how)?;
        if how.beams > 1 { writer.beams() } else { writer.greedy() }
    }
}

/// Sequences being written.
struct Writer<'m, 'a> {
    how: Generation,
    session: Session<'m>,
    model: &'m Model,
    /// What the decoder began with, of each sequence.
    sequences: Vec<Vec<u32>>,
    /// Which of these tokens are padding.
    real: Option<&'a [bool]>,
    prompt: usize,
    logits: Vec<f32>,
}

impl<'m, 'a> Writer<'m, 'a> {
    fn new(model: &'m Model, input: Tokens<'a>, sequences: usize, how: Generation) -> Result<Self> {
        let start = model.config.ids.decoder_start.or(model.config.ids.pad).unwrap_or(0);
        let (begun, real) = match &model.config.encoder {
            Some(_) => (vec![vec![start]; sequences], None),
            None => {
                let len = (input.ids.len() / sequences.max(1)).max(1);
                (input.ids.chunks(len).map(<[u32]>::to_vec).collect(), input.real)
            }
        };
        let prompt = begun.first().map_or(0, Vec::len);
        let mut session = Session::new(model, sequences, prompt + how.max_new_tokens)?;
        session.encode(input, &mut ())?;
        Ok(Self { how, session, model, sequences: begun, real, prompt, logits: Vec::new() })
    }

    /// Reads what has not been read, and leaves the logits of the next token of each sequence.
    fn next_logits(&mut self) -> Result<()> {
        if !self.how.cached {
            self.session.rewind();
        }
        let read = self.session.tokens();
        let ids: Vec<u32> = self.sequences.iter().flat_map(|ids| ids[read..].iter().copied()).collect();
        let mask = self.real.filter(|_| read == 0).map(|real| self.mask(real));
        self.session.decode(Tokens { ids: &ids, real: mask.as_deref() }, &mut ())?;
        self.session.logits(Wanted::Last, &mut self.logits)
    }

    /// The prompts' mask, grown by what has been written.
    fn mask(&self, real: &[bool]) -> Vec<bool> {
        let new = self.sequences.first().map_or(0, Vec::len) - self.prompt;
        let grown = |prompt: &[bool]| prompt.iter().copied().chain(std::iter::repeat_n(true, new)).collect();
        let copies = self.sequences.len() / (real.len() / self.prompt.max(1)).max(1);
        let prompts = real.chunks(self.prompt.max(1));
        prompts
            .flat_map(|prompt| std::iter::repeat_n(prompt, copies))
            .flat_map(|prompt| -> Vec<bool> { grown(prompt) })
            .collect()
    }

    fn is_end(&self, id: u32) -> bool {
        self.how.stop_at_end && self.model.config.ids.end.contains(&id)
    }

    fn greedy(mut self) -> Result<Generated> {
        let pad = self.model.config.ids.pad.unwrap_or(0);
        let mut lens: Vec<Option<usize>> = vec![None; self.sequences.len()];
        for _ in 0..self.how.max_new_tokens {
            self.next_logits()?;
            for (nth, logits) in self.logits.chunks_exact(self.model.config.vocab).enumerate() {
                let id = if lens[nth].is_some() { pad } else { best(logits) };
                self.sequences[nth].push(id);
                if lens[nth].is_none() && self.is_end(id) {
                    lens[nth] = Some(self.sequences[nth].len());
                }
            }
            if lens.iter().all(Option::is_some) {
                break;
            }
        }
        for (sequence, len) in self.sequences.iter_mut().zip(lens) {
            sequence.truncate(len.unwrap_or(usize::MAX));
        }
        Ok(Generated { sequences: self.sequences, scores: Vec::new() })
    }
}

/// The id with the largest logit; the lowest of equals.
fn best(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (id, logit) in (0..).zip(logits) {
        if *logit > best.0 {
            best = (*logit, id);
        }
    }
    best.1
}
