//! Keys and values of tokens already seen, of all sequences and layers.

use super::attention::{Sources, project_cross};
use super::space::Space;
use super::stack::Run;
use crate::error::{LmProblem, Result};
use crate::models::config::{Attention, Block, Stack};
use crate::models::weights::InnerWeights;

/// Tokens that a cache has room for at first, and by whose multiples it grows.
const FIRST_TOKENS: usize = 64;

/// Keys and values of one block.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// `[sequences, capacity, k_width]`.
    pub keys: Vec<f32>,
    /// `[sequences, capacity, v_width]`.
    pub values: Vec<f32>,
}

impl Lines {
    /// Copies the keys and values of a run's tokens behind those of the tokens before.
    pub fn write(&mut self, attention: &Attention, (capacity, past): (usize, usize), k: &[f32], v: &[f32]) {
        let copy = |lines: &mut [f32], width: usize, new: &[f32]| {
            let sequences = lines.len() / (capacity * width).max(1);
            let new = new.chunks_exact((new.len() / sequences.max(1)).max(1));
            for (line, new) in lines.chunks_exact_mut((capacity * width).max(1)).zip(new) {
                line[past * width..][..new.len()].copy_from_slice(new);
            }
        };
        copy(&mut self.keys, attention.k_width(), k);
        copy(&mut self.values, attention.v_width(), v);
    }

    /// Makes room for more tokens, of which so many are there.
    fn grow(&mut self, sequences: usize, (old, new): (usize, usize), tokens: usize) {
        for lines in [&mut self.keys, &mut self.values] {
            let width = lines.len() / (sequences * old).max(1);
            let mut grown = vec![0.0; sequences * new * width];
            let sources = lines.chunks_exact((old * width).max(1));
            for (grown, line) in grown.chunks_exact_mut((new * width).max(1)).zip(sources) {
                grown[..tokens * width].copy_from_slice(&line[..tokens * width]);
            }
            *lines = grown;
        }
    }

    fn reorder(&mut self, from: &[usize], sequences: usize) {
        for lines in [&mut self.keys, &mut self.values] {
            let len = lines.len() / sequences.max(1);
            *lines = from.iter().flat_map(|from| lines[from * len..][..len].iter().copied()).collect();
        }
    }
}

/// What a decoder has seen.
#[derive(Debug)]
pub(super) struct Cache {
    /// Of every layer, every block; empty for blocks that are no attention.
    pub layers: Vec<Vec<Lines>>,
    /// Tokens of a sequence that there is room for.
    pub capacity: usize,
    /// Tokens of a sequence that are there.
    pub tokens: usize,
    /// Tokens of a sequence that there may be.
    limit: usize,
    sequences: usize,
    /// `[sequences, tokens]`: false for padding; empty while there is none.
    mask: Vec<bool>,
}

impl Cache {
    /// Room for some tokens; it grows with them up to the limit.
    pub fn new(stack: &Stack, sequences: usize, limit: usize) -> Self {
        let capacity = limit.min(FIRST_TOKENS);
        let lines = |block: &Block| match block {
            Block::Attention(attention) => Lines {
                keys: vec![0.0; sequences * capacity * attention.k_width()],
                values: vec![0.0; sequences * capacity * attention.v_width()],
            },
            _ => Lines::default(),
        };
        let layers = stack.layers.iter().map(|layer| layer.blocks.iter().map(lines).collect()).collect();
        Self { layers, capacity, tokens: 0, limit, sequences, mask: Vec::new() }
    }

    /// Which tokens are not padding, those of the run included.
    pub fn mask(&self) -> Option<&[bool]> {
        Some(&self.mask[..]).filter(|mask| !mask.is_empty())
    }

    /// Where a block finds keys and values, and whose count.
    pub fn own_lines(&mut self, layer: usize, place: usize) -> Sources<'_> {
        let mask = Some(&self.mask[..]).filter(|mask| !mask.is_empty());
        Sources::Cache { lines: &mut self.layers[layer][place], capacity: self.capacity, mask }
    }

    /// Counts a run's tokens in.
    pub fn append(&mut self, tokens: usize, real: Option<&[bool]>) -> Result<()> {
        let (past, all) = (self.tokens, self.tokens + tokens);
        if all > self.limit {
            return Err(LmProblem::TooLong { tokens: all, limit: self.limit }.into());
        }
        if all > self.capacity {
            let grown = all.max(self.capacity / 2 * 3).next_multiple_of(FIRST_TOKENS).min(self.limit);
            let (sequences, lens) = (self.sequences, (self.capacity, grown));
            self.layers.iter_mut().flatten().for_each(|lines| lines.grow(sequences, lens, past));
            self.capacity = grown;
        }
        if !self.mask.is_empty() || real.is_some_and(|real| real.contains(&false)) {
            let old = std::mem::take(&mut self.mask);
            let known = |sequence: usize, place: usize| old.get(sequence * past + place).copied();
            let new = |sequence: usize, place: usize| real.map(|real| real[sequence * tokens + place]);
            for sequence in 0..self.sequences {
                self.mask.extend((0..past).map(|place| known(sequence, place).unwrap_or(true)));
                self.mask.extend((0..tokens).map(|place| new(sequence, place).unwrap_or(true)));
            }
        }
        self.tokens = all;
        Ok(())
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.tokens = 0;
        self.mask.clear();
    }

    /// Sequence `n` becomes a copy of sequence `from[n]`.
    pub fn reorder(&mut self, from: &[usize]) {
        let sequences = self.sequences;
        if from.iter().copied().eq(0..sequences) {
            return;
        }
        self.layers.iter_mut().flatten().for_each(|lines| lines.reorder(from, sequences));
        self.mask = reordered(&self.mask, from, sequences);
        self.sequences = from.len();
    }
}

/// What an encoder has made of the inputs, as the decoder's cross attention takes it.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Of every decoder layer, every block; empty for blocks that are no cross attention.
    pub layers: Vec<Vec<Lines>>,
    /// Tokens of an input.
    pub tokens: usize,
    /// `[inputs, tokens]`: false for padding; empty if there is none.
    pub mask: Vec<bool>,
    /// The input of every sequence: beams of one share it.
    pub inputs: Vec<usize>,
}

impl Encoded {
    /// Projects the encoder's states for every layer of the decoder.
    pub fn new(run: &Run<'_>, states: &[f32], space: &mut Space) -> Result<Self> {
        let (stack, weights) = (&run.model.config.decoder, &run.model.weights.decoder);
        let mut layers = Vec::new();
        for (layer, weights) in stack.layers.iter().zip(&weights.layers) {
            let mut blocks = Vec::new();
            for (block, weights) in layer.blocks.iter().zip(weights) {
                blocks.push(match (block, &weights.inner) {
                    (Block::CrossAttention(attention), InnerWeights::Attention(weights)) => {
                        project_cross(run, attention, weights, states, space)?
                    }
                    _ => Lines::default(),
                });
            }
            layers.push(blocks);
        }
        let mask = run.real.filter(|real| real.contains(&false)).unwrap_or_default().to_vec();
        Ok(Self { layers, tokens: run.tokens, mask, inputs: (0..run.sequences).collect() })
    }

    /// Sequence `n` goes on with the input of sequence `from[n]`.
    pub fn reorder(&mut self, from: &[usize]) {
        self.inputs = from.iter().map(|from| self.inputs[*from]).collect();
    }
}

fn reordered(mask: &[bool], from: &[usize], sequences: usize) -> Vec<bool> {
    let len = mask.len() / sequences.max(1);
    from.iter().flat_map(|from| mask[from * len..][..len].iter().copied()).collect()
}
