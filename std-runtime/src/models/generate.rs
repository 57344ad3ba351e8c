//! Writing on: with the likeliest token each time, by chance, or with beams.
//!
//! [`Model::generate`] reads all inputs at once, then token by token of every text. Whoever looks on is a [`Watch`]; whoever
//! hears the tokens, and may have enough of a text, is a [`Listen`].

mod beams;
mod prompts;
mod sampling;

use mixlet_core::linear::Operands;
use rand_pcg::Pcg64;

use super::Model;
use super::forward::{Session, Tokens, Wanted, Watch};
use crate::error::{LmProblem, Result};
use crate::threads;

pub use prompts::Prompts;
pub use sampling::{Candidate, Sampling, penalise};

/// How to write on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// New tokens at most.
    pub max_new_tokens: usize,
    /// Texts that are pursued at once; with 1 every token is final.
    pub beams: usize,
    /// Finished texts are compared by the sum of their logarithms over this power of their length.
    pub length_penalty: f64,
    /// Whether the model's end ids end a text.
    pub stop_at_end: bool,
    /// Whether keys and values are kept. Without, every token is computed from the beginning: the same ids, unless a capacity
    /// counts the tokens of a call.
    pub cached: bool,
    /// Texts for each input. They share the reading of it, and differ by chance.
    pub samples: usize,
    /// What [`penalise`] takes from tokens that are there already; 1 takes nothing.
    pub repetition_penalty: f64,
    /// How chance chooses; `None` takes the likeliest token.
    pub sampling: Option<Sampling>,
    /// How activations meet narrow weights: see [`Session::with_operands`].
    pub operands: Operands,
}

impl Default for Generation {
    /// Greedy, as long as transformers writes by default.
    fn default() -> Self {
        Self {
            max_new_tokens: 20,
            beams: 1,
            length_penalty: 1.0,
            stop_at_end: true,
            cached: true,
            samples: 1,
            repetition_penalty: 1.0,
            sampling: None,
            operands: Operands::Rounded,
        }
    }
}

impl Generation {
    /// Tokens that a decoder reads of a prompt of so many and what follows: the last new token is written, and not read.
    ///
    /// ```
    /// # use mixlet_runtime::models::generate::Generation;
    /// let reads = |max_new_tokens| Generation { max_new_tokens, ..Generation::default() }.reads(64);
    /// assert_eq!((reads(0), reads(1), reads(20)), (64, 64, 83));
    /// ```
    pub fn reads(&self, prompt: usize) -> usize {
        prompt + self.max_new_tokens.saturating_sub(1)
    }

    fn check(&self) -> Result<(), LmProblem> {
        let penalty = self.repetition_penalty;
        if !(penalty > 0.0 && penalty.is_finite()) {
            let (what, expected) = ("repetition_penalty", "a number above 0");
            return Err(LmProblem::Setting { what, found: penalty, expected });
        }
        let is_plain = self.sampling.is_none() && self.samples == 1 && penalty == 1.0;
        if self.beams > 1 && !is_plain {
            return Err(LmProblem::BeamsByChance);
        }
        self.sampling.map_or(Ok(()), |sampling| sampling.check())
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// For each input, and each sample of it: the prompt (or the decoder's start) and what follows, the end id included.
    pub sequences: Vec<Vec<u32>>,
    /// Tokens of each before the new ones, padding included.
    pub prompt: usize,
    /// Why each is no longer.
    pub finishes: Vec<Finish>,
    /// For each input, with beams: the sum of logarithms over the power of the length.
    pub scores: Vec<f64>,
}

/// Why a text is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it.
    End,
    /// Who listened had enough.
    Stop,
    /// There may be no more tokens.
    Length,
}

/// Hears what is written; `()` lets every text go on.
pub trait Listen {
    /// Text `nth` goes on with a token. Whether more is wanted of it. With beams no token is certain before the end, and
    /// nothing is heard.
    fn token(&mut self, nth: usize, id: u32) -> Result<bool> {
        let _ = (nth, id);
        Ok(true)
    }

    /// All texts have so many new tokens, or ended before.
    fn step(&mut self, tokens: usize) {
        let _ = tokens;
    }
}

impl Listen for () {}

impl Model {
    /// Writes on from each of some inputs: behind them, or, with an encoder, from the decoder's start.
    ///
    /// Shorter inputs of a batch are padded, on the left where they are written on, on the right for an encoder ([`Prompts`]): each
    /// is answered as if it were alone, to the rounding of sums, unless experts have a capacity that other inputs use up.
    pub fn generate(
        &self,
        input: Tokens<'_>,
        sequences: usize,
        how: Generation,
        watch: &mut impl Watch,
    ) -> Result<Generated> {
        self.generate_to(input, sequences, how, watch, &mut ())
    }

    /// The same, for somebody who listens.
    pub fn generate_to(
        &self,
        input: Tokens<'_>,
        sequences: usize,
        how: Generation,
        watch: &mut impl Watch,
        listen: &mut impl Listen,
    ) -> Result<Generated> {
        how.check()?;
        let writer = Writer::new(self, input, sequences, how, watch)?;
        if how.beams > 1 { writer.beams(watch, listen) } else { writer.one_by_one(watch, listen) }
    }
}

/// Sequences being written.
struct Writer<'m, 'a> {
    how: Generation,
    session: Session<'m>,
    model: &'m Model,
    input: Tokens<'a>,
    inputs: usize,
    /// What the decoder began with, of each sequence.
    sequences: Vec<Vec<u32>>,
    /// Which of these tokens are padding.
    real: Option<&'a [bool]>,
    prompt: usize,
    logits: Vec<f32>,
}

impl<'m, 'a> Writer<'m, 'a> {
    fn new(
        model: &'m Model,
        input: Tokens<'a>,
        sequences: usize,
        how: Generation,
        watch: &mut impl Watch,
    ) -> Result<Self> {
        let start = model.config.ids.decoder_start.or(model.config.ids.pad).unwrap_or(0);
        let (begun, real) = match &model.config.encoder {
            Some(_) => (vec![vec![start]; sequences], None),
            None => {
                let len = (input.ids.len() / sequences.max(1)).max(1);
                (input.ids.chunks(len).map(<[u32]>::to_vec).collect(), input.real)
            }
        };
        let prompt = begun.first().map_or(0, Vec::len);
        let session = Session::new(model, sequences, how.reads(prompt))?;
        let mut session = session.with_operands(how.operands);
        session.encode(input, watch)?;
        let inputs = sequences;
        Ok(Self { how, session, model, input, inputs, sequences: begun, real, prompt, logits: Vec::new() })
    }

    /// Reads what has not been read, and leaves the logits of the next token of each sequence.
    fn next_logits(&mut self, watch: &mut impl Watch) -> Result<()> {
        if !self.how.cached {
            self.session.rewind();
        }
        let read = self.session.tokens();
        let ids: Vec<u32> = self.sequences.iter().flat_map(|ids| ids[read..].iter().copied()).collect();
        let mask = self.real.filter(|_| read == 0).map(|real| self.mask(real));
        threads::awake(|| {
            self.session.decode(Tokens { ids: &ids, real: mask.as_deref() }, watch)?;
            self.session.logits(Wanted::Last, &mut self.logits)
        })
    }

    /// The ids of an input, without padding.
    fn input_ids(&self, nth: usize) -> impl Iterator<Item = u32> {
        let Tokens { ids, real } = self.input;
        let len = ids.len() / self.inputs.max(1);
        let own = (nth * len..(nth + 1) * len).filter(move |place| real.is_none_or(|real| real[*place]));
        own.map(|place| ids[place])
    }

    /// The prompts' mask, grown by what has been written.
    fn mask(&self, real: &[bool]) -> Vec<bool> {
        let new = self.sequences.first().map_or(0, Vec::len) - self.prompt;
        let sequences = 0..self.sequences.len();
        let one = |nth| self.real_prompt(real, nth).iter().copied().chain(std::iter::repeat_n(true, new));
        sequences.flat_map(one).collect()
    }

    /// The mask of the prompt that a sequence is one of several copies of.
    fn real_prompt<'r>(&self, real: &'r [bool], nth: usize) -> &'r [bool] {
        let prompts = (real.len() / self.prompt.max(1)).max(1);
        let copies = (self.sequences.len() / prompts).max(1);
        real.get(nth / copies * self.prompt..).and_then(|real| real.get(..self.prompt)).unwrap_or_default()
    }

    fn is_end(&self, id: u32) -> bool {
        self.how.stop_at_end && self.model.config.ids.end.contains(&id)
    }

    /// Every sequence so many times, and its logits.
    fn repeat(&mut self, times: usize) -> Result<()> {
        let each = |nth| std::iter::repeat_n(nth, times);
        let from: Vec<usize> = (0..self.sequences.len()).flat_map(each).collect();
        self.sequences = from.iter().map(|from| self.sequences[*from].clone()).collect();
        let rows: Vec<&[f32]> = self.logits.chunks_exact(self.model.config.vocab).collect();
        self.logits = from.iter().filter_map(|from| rows.get(*from).copied()).collect::<Vec<_>>().concat();
        self.session.reorder(&from)
    }

    /// Each token is final.
    fn one_by_one(mut self, watch: &mut impl Watch, listen: &mut impl Listen) -> Result<Generated> {
        let (pad, samples) = (self.model.config.ids.pad.unwrap_or(0), self.how.samples.max(1));
        if self.how.max_new_tokens > 0 {
            self.next_logits(watch)?;
        }
        if samples > 1 {
            self.repeat(samples)?;
        }
        let mut chances: Vec<Option<Pcg64>> = (0..self.sequences.len())
            .map(|nth| self.how.sampling.map(|it| it.chance(self.input_ids(nth / samples), nth % samples)))
            .collect();
        let mut ends: Vec<Option<(Finish, usize)>> = vec![None; self.sequences.len()];
        for step in 1..=self.how.max_new_tokens {
            if step > 1 {
                self.next_logits(watch)?;
            }
            for (nth, (end, chance)) in ends.iter_mut().zip(&mut chances).enumerate() {
                let id = if end.is_some() { pad } else { self.next_id(nth, chance.as_mut()) };
                self.sequences[nth].push(id);
                if end.is_none() {
                    let stop = (!listen.token(nth, id)?).then_some(Finish::Stop);
                    let finish = if self.is_end(id) { Some(Finish::End) } else { stop };
                    *end = finish.map(|finish| (finish, self.sequences[nth].len()));
                }
            }
            listen.step(step);
            if ends.iter().all(Option::is_some) {
                break;
            }
        }
        for (sequence, end) in self.sequences.iter_mut().zip(&ends) {
            sequence.truncate(end.map_or(usize::MAX, |(_, len)| len));
        }
        let finishes = ends.into_iter().map(|end| end.map_or(Finish::Length, |(finish, _)| finish)).collect();
        Ok(Generated { sequences: self.sequences, prompt: self.prompt, finishes, scores: Vec::new() })
    }

    /// The id that follows.
    fn next_id(&mut self, nth: usize, chance: Option<&mut Pcg64>) -> u32 {
        let vocab = self.model.config.vocab;
        let history = if self.how.repetition_penalty == 1.0 { Vec::new() } else { self.history(nth) };
        let logits = &mut self.logits[nth * vocab..][..vocab];
        penalise(logits, &history, self.how.repetition_penalty as f32);
        match self.how.sampling.zip(chance) {
            None => best(logits),
            Some((sampling, chance)) => sampling.choose(logits, chance),
        }
    }

    /// The ids of a sequence, padding left out.
    fn history(&self, nth: usize) -> Vec<u32> {
        let real = self.real.map(|real| self.real_prompt(real, nth));
        let is_real = |place: usize| real.and_then(|real| real.get(place)).is_none_or(|real| *real);
        let ids = self.sequences[nth].iter().enumerate();
        ids.filter(|(place, _)| is_real(*place)).map(|(_, id)| *id).collect()
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
