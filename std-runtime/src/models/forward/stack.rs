//! Blocks one after the other.

use mixlet_core::linear::Operands;
use mixlet_core::nn::Span;

use super::attention::{Sources, attend_block};
use super::cache::{Cache, Encoded};
use super::mixture::{mixture, network};
use super::norm::norm;
use super::positions;
use super::space::Space;
use super::watch::{Side, Watch};
use crate::error::Result;
use crate::linear::memory::sized;
use crate::models::Model;
use crate::models::config::{Block, Layer, Stack};
use crate::models::weights::{BlockWeights, InnerWeights, StackWeights};

/// One run of some tokens of every sequence through a stack.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub model: &'a Model,
    pub side: Side,
    pub operands: Operands,
    pub sequences: usize,
    /// Of each sequence.
    pub tokens: usize,
    /// Tokens of each sequence that were read before.
    pub past: usize,
    /// `[sequences, tokens]`: false for padding.
    pub real: Option<&'a [bool]>,
}

impl Run<'_> {
    /// How the run's tokens lie against those of their stack.
    pub fn span(&self) -> Span {
        Span { queries: self.tokens, keys: self.past + self.tokens, first_query: self.past }
    }

    /// All layers over the states `x` `[sequences, tokens, model_dim]`, in place, and the last norm.
    pub(super) fn stack(
        &self,
        (stack, weights): (&Stack, &StackWeights),
        x: &mut [f32],
        (mut cache, encoded): (Option<&mut Cache>, Option<&Encoded>),
        turns: &[f32],
        space: &mut Space,
        watch: &mut impl Watch,
    ) -> Result<()> {
        for (nth, (layer, weights)) in stack.layers.iter().zip(&weights.layers).enumerate() {
            watch.state(self.side, nth, x);
            let caches = Caches { nth, own: cache.as_deref_mut(), encoded };
            self.layer((layer, weights), x, caches, turns, space, watch)?;
        }
        let normed = sized(&mut space.normed, x.len());
        norm(self.model.config.norm, &weights.norm, x, normed)?;
        x.copy_from_slice(normed);
        watch.state(self.side, stack.layers.len(), x);
        Ok(())
    }

    fn layer(
        &self,
        (layer, weights): (&Layer, &[BlockWeights]),
        x: &mut [f32],
        mut caches: Caches<'_>,
        turns: &[f32],
        space: &mut Space,
        watch: &mut impl Watch,
    ) -> Result<()> {
        for (place, (block, weights)) in layer.blocks.iter().zip(weights).enumerate() {
            norm(self.model.config.norm, &weights.norm, x, sized(&mut space.normed, x.len()))?;
            sized(&mut space.out, x.len());
            match (block, &weights.inner) {
                (Block::Attention(attention), InnerWeights::Attention(weights)) => {
                    positions::biases(
                        attention,
                        weights.relative.as_deref(),
                        self.span(),
                        &mut space.biases,
                    )?;
                    attend_block(self, (attention, weights), caches.own_lines(place), turns, space)?;
                }
                (Block::CrossAttention(attention), InnerWeights::Attention(weights)) => {
                    attend_block(self, (attention, weights), caches.encoded_lines(place), turns, space)?;
                }
                (Block::Dense(kind), InnerWeights::Dense(weights)) => {
                    let (input, out) = (&space.normed[..x.len()], &mut space.out[..x.len()]);
                    network(kind, weights, self.operands, input, out)?;
                }
                (Block::Experts(experts), InnerWeights::Experts(weights)) => {
                    mixture(self, (experts, weights), caches.nth, space, x.len(), watch)?;
                }
                // Weights are built from the blocks.
                _ => {}
            }
            x.iter_mut().zip(&space.out).for_each(|(x, out)| *x += out);
        }
        Ok(())
    }
}

/// What the blocks of a layer find of tokens seen before.
struct Caches<'a> {
    nth: usize,
    own: Option<&'a mut Cache>,
    encoded: Option<&'a Encoded>,
}

impl Caches<'_> {
    fn own_lines(&mut self, place: usize) -> Sources<'_> {
        match &mut self.own {
            None => Sources::Run,
            Some(cache) => cache.own_lines(self.nth, place),
        }
    }

    fn encoded_lines(&self, place: usize) -> Sources<'_> {
        match self.encoded {
            None => Sources::Run,
            Some(encoded) => Sources::Encoded { lines: &encoded.layers[self.nth][place], encoded },
        }
    }
}
