//! From ids to logits: one way through the blocks for every model, with a cache of keys and values.
//!
//! ```text
//!   ids ─► embedding ─► blocks: x ← x + block(norm(x)) ─► norm ─► head ─► logits
//!                          └─ keys and values of tokens already seen
//! ```
//!
//! A [`Session`] holds some sequences of equal length, shorter ones padded. It allocates where a longer run of tokens is
//! given than before, and where the cache grows, by half each time; otherwise a decoded token allocates nothing large.

pub(crate) mod attention;
mod cache;
pub(crate) mod kernels;
pub(crate) mod linear;
pub(crate) mod mixture;
mod norm;
pub(crate) mod positions;
mod space;
pub(crate) mod stack;
mod watch;

use mixlet_core::linear::Operands;
use mixlet_core::nn::{Embedding, embedding_rows};

use super::Model;
use super::config::{Block, Positions};
use crate::error::{LmProblem, Result};
use cache::{Cache, Encoded};
use linear::linear;
use space::Space;
use stack::Run;

pub use watch::{Asked, Keep, MixtureSeen, Side, Trace, TracedMixture, Watch};

/// Ids of equally many tokens of some sequences.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// `[sequences, tokens]`.
    pub ids: &'a [u32],
    /// `[sequences, tokens]`: false for padding. `None`: there is none.
    pub real: Option<&'a [bool]>,
}

/// Whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those of every token.
    All,
    /// Those of each sequence's last token.
    Last,
}

/// Some sequences on their way through a model.
///
/// The decoder's state is what it has read; [`decode`](Self::decode) reads on.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model,
    operands: Operands,
    sequences: usize,
    /// Of rotary positions.
    frequencies: Vec<f64>,
    encoded: Option<Encoded>,
    cache: Cache,
    space: Space,
    /// `[sequences · tokens, model_dim]`: the last run's tokens after the last norm.
    states: Vec<f32>,
    tokens: usize,
}

impl<'m> Session<'m> {
    /// So many sequences, of each of which the decoder is to read at most so many tokens. A decoder whose routers look at
    /// later tokens is refused: see [`look_ahead`](super::look_ahead).
    pub fn new(model: &'m Model, sequences: usize, tokens: usize) -> Result<Self> {
        model.config.check_causal()?;
        if let Some(limit) = model.config.max_positions.filter(|limit| tokens > *limit) {
            return Err(LmProblem::TooLong { tokens, limit }.into());
        }
        Ok(Self {
            model,
            operands: Operands::Rounded,
            sequences,
            frequencies: positions::frequencies(&model.config)?,
            encoded: None,
            cache: Cache::new(&model.config.decoder, sequences, tokens),
            space: Space::default(),
            states: Vec::new(),
            tokens: 0,
        })
    }

    /// How activations meet narrow weights, where nothing is said rounded to their kind.
    ///
    /// *Why rounded:* with bf16 a prompt is read in about half the time, and PyTorch, too, multiplies bf16 by bf16; with int8 and
    /// int4 single tokens take a fraction of the time. [`Operands`] says by how much an activation is off;
    /// [`Operands::Exact`] is for comparisons with other programs, as [`Model::logits`] makes them.
    pub fn with_operands(mut self, operands: Operands) -> Self {
        self.operands = operands;
        self
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens of each sequence that the decoder has read.
    pub fn tokens(&self) -> usize {
        self.cache.tokens
    }

    /// Reads the input of an encoder–decoder: what the decoder attends to. A model without encoder reads nothing.
    pub fn encode(&mut self, input: Tokens<'_>, watch: &mut impl Watch) -> Result<()> {
        let Some((stack, weights)) =
            self.model.config.encoder.as_ref().zip(self.model.weights.encoder.as_ref())
        else {
            return Ok(());
        };
        self.embed(input, 0)?;
        let run = Run {
            model: self.model,
            side: Side::Encoder,
            operands: self.operands,
            sequences: self.sequences,
            tokens: self.tokens,
            past: 0,
            real: input.real,
        };
        let turns = positions::table(&run, &self.frequencies, input.real)?;
        let cache = None;
        run.stack((stack, weights), &mut self.states, (cache, None), &turns, &mut self.space, watch)?;
        self.encoded = Some(Encoded::new(&run, &self.states, &mut self.space)?);
        Ok(())
    }

    /// Reads on: some tokens more of each sequence. Afterwards [`logits`](Self::logits) are those of these tokens.
    pub fn decode(&mut self, input: Tokens<'_>, watch: &mut impl Watch) -> Result<()> {
        let attends = |block: &Block| matches!(block, Block::CrossAttention(_));
        let stack = &self.model.config.decoder;
        if self.encoded.is_none() && stack.layers.iter().any(|layer| layer.blocks.iter().any(attends)) {
            return Err(LmProblem::NothingEncoded.into());
        }
        let past = self.cache.tokens;
        self.embed(input, past)?;
        self.cache.append(self.tokens, input.real)?;
        let run = Run {
            model: self.model,
            side: Side::Decoder,
            operands: self.operands,
            sequences: self.sequences,
            tokens: self.tokens,
            past,
            real: input.real,
        };
        let turns = positions::table(&run, &self.frequencies, self.cache.mask())?;
        let caches = (Some(&mut self.cache), self.encoded.as_ref());
        let weights = (stack, &self.model.weights.decoder);
        run.stack(weights, &mut self.states, caches, &turns, &mut self.space, watch)
    }

    /// Writes logits of the tokens that were decoded last, `[sequences, tokens or 1, vocab]`.
    pub fn logits(&mut self, wanted: Wanted, out: &mut Vec<f32>) -> Result<()> {
        let config = &self.model.config;
        let width = config.model_dim;
        let states = match wanted {
            Wanted::All => &self.states[..],
            Wanted::Last => {
                let last = self.states.chunks_exact(self.tokens.max(1) * width);
                let last = last.filter_map(|sequence| sequence.rchunks_exact(width).next());
                self.space.normed.clear();
                last.for_each(|state| self.space.normed.extend_from_slice(state));
                &self.space.normed[..]
            }
        };
        out.resize(states.len() / width * config.vocab, 0.0);
        let head = match &self.model.weights.head {
            Some(head) => head.get()?,
            None => mixlet_core::linear::Linear::new(self.model.weights.embedding.weights()?),
        };
        linear(head, self.operands, states, out)?;
        if config.head.scale != 1.0 {
            let scale = config.head.scale as f32;
            out.iter_mut().for_each(|logit| *logit *= scale);
        }
        match out.iter().position(|logit| logit.is_nan()) {
            Some(place) => Err(LmProblem::NotANumber { id: place % config.vocab }.into()),
            None => Ok(()),
        }
    }

    /// Forgets what the decoder has read; what was encoded stays.
    pub fn rewind(&mut self) {
        self.cache.clear();
    }

    /// Sequence `n` goes on as a copy of what sequence `from[n]` was: beams, and prompts that are continued several times.
    pub fn reorder(&mut self, from: &[usize]) -> Result<()> {
        if let Some(from) = from.iter().find(|from| **from >= self.sequences) {
            let (what, found, expected) = ("the sequence to go on from", *from, self.sequences - 1);
            return Err(LmProblem::Length { what, found, expected }.into());
        }
        self.cache.reorder(from);
        if let Some(encoded) = &mut self.encoded {
            encoded.reorder(from);
        }
        self.sequences = from.len();
        Ok(())
    }

    /// Checks the ids and writes their embeddings, positions added, into `states`.
    fn embed(&mut self, input: Tokens<'_>, past: usize) -> Result<()> {
        let config = &self.model.config;
        let tokens = input.ids.len() / self.sequences.max(1);
        let length = |what, found, expected| LmProblem::Length { what, found, expected };
        if tokens * self.sequences != input.ids.len() || tokens == 0 {
            let expected = tokens.max(1) * self.sequences;
            return Err(length("ids of all sequences", input.ids.len(), expected).into());
        }
        if let Some(real) = input.real.filter(|real| real.len() != input.ids.len()) {
            return Err(length("the mask of the ids", real.len(), input.ids.len()).into());
        }
        self.tokens = tokens;
        self.states.resize(input.ids.len() * config.model_dim, 0.0);
        let scale = config.embedding_scale;
        let embedding = Embedding { vocab: config.vocab, model_dim: config.model_dim, scale };
        embedding_rows(embedding, input.ids, self.model.weights.embedding.weights()?, &mut self.states)?;
        if let Positions::Sinusoidal { first } = config.positions {
            positions::add(config, (input.ids, tokens), first as usize + past, &mut self.states)?;
        }
        Ok(())
    }
}
