//! Blocks one after the other with all that their gradients need, and back again.

use std::sync::Arc;

use mixlet_core::moe::Phase;
use mixlet_core::nn::{NnError, Pattern, PositionBias, Span, position_bias_backward};

use super::attention::{AttentionTape, Site};
use super::mixture::{Mixture, MixtureTape};
use super::networks::{Networks, NetworksTape};
use super::norm::{NormTape, Scale};
use crate::error::Result;
use crate::models::config::{Attention, Block, Relative, Stack};
use crate::models::forward::attention::pattern;
use crate::models::forward::positions;
use crate::models::forward::stack::Run;
use crate::models::forward::{Side, TracedMixture};
use crate::models::weights::{AttentionWeights, BlockWeights, InnerWeights, NormWeights, StackWeights};

/// One pass of whole sequences through a stack.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub run: Run<'a>,
    pub phase: Phase,
    /// What random choices are drawn from.
    pub seed: u64,
    /// `[sequences, tokens, width]`; empty where nothing is turned.
    pub turns: &'a [f32],
    /// What a decoder attends to; nothing where there is no encoder.
    pub encoded: Encoded<'a>,
}

/// What an encoder made of the inputs.
#[derive(Clone, Copy, Default)]
pub(super) struct Encoded<'a> {
    /// `[sequences, tokens, model_dim]`.
    pub states: &'a [f32],
    /// Of each sequence.
    pub tokens: usize,
    /// `[sequences, tokens]`: false for padding.
    pub real: Option<&'a [bool]>,
}

/// What the gradients of a stack need.
pub(super) struct StackTape {
    /// Of all layers.
    blocks: Vec<BlockTape>,
    norm: NormTape,
}

struct BlockTape {
    layer: usize,
    norm: NormTape,
    /// What the norm made: the block's input.
    normed: Vec<f32>,
    inner: InnerTape,
}

enum InnerTape {
    /// With the biases by distance.
    Attention(Box<AttentionTape>, Option<Arc<[f32]>>),
    CrossAttention(Box<AttentionTape>),
    Dense(NetworksTape),
    Experts(Box<MixtureTape>),
    /// There is no such block: weights are built from the blocks.
    Nothing,
}

/// What a backward pass carries from block to block.
#[derive(Default)]
pub(super) struct Carried<'g> {
    /// Nothing learns in the blocks before this one, and nothing that is before them.
    pub first_block: usize,
    /// What losses of routers add to the gradients of logits, of the mixtures in order; empty where there are none.
    pub of_losses: Vec<Vec<f32>>,
    /// `[sequences, tokens, model_dim]`: the gradient of what the encoder made is added; empty without an encoder.
    pub encoded: &'g mut [f32],
    /// Gradients of biases by distance, until the block with their table.
    pub biases: Vec<f32>,
}

impl NormWeights {
    fn scale<'a>(&'a self, pass: &Pass<'_>) -> Scale<'a> {
        Scale { kind: pass.run.model.config.norm, weight: &self.weight, bias: &self.bias }
    }

    fn parts(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.weight, &mut self.bias)
    }
}

impl<'a> Pass<'a> {
    /// Values of a token.
    pub fn width(&self) -> usize {
        self.run.model.config.model_dim
    }

    /// All layers over the states `x`, and the last norm.
    pub fn forward(
        &self,
        (stack, weights): (&'a Stack, &'a StackWeights),
        mut x: Vec<f32>,
    ) -> Result<(Vec<f32>, StackTape)> {
        let (mut blocks, mut biases) = (Vec::new(), None);
        for (layer, (kinds, weights)) in stack.layers.iter().zip(&weights.layers).enumerate() {
            for (block, weights) in kinds.blocks.iter().zip(weights) {
                let (normed, norm) = weights.norm.scale(self).forward(x.clone())?;
                let (out, inner) = self.block((block, weights), &normed, layer, &mut biases)?;
                x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
                blocks.push(BlockTape { layer, norm, normed, inner });
            }
        }
        let (states, norm) = weights.norm.scale(self).forward(x)?;
        Ok((states, StackTape { blocks, norm }))
    }

    /// The gradient of what [`forward`](Self::forward) was given, from that of its result; those of weights are added unless frozen.
    /// Where blocks are left out it is of no use.
    pub fn backward(
        &self,
        (stack, weights): (&'a Stack, &'a StackWeights),
        tape: StackTape,
        grad_states: &[f32],
        grads: &mut StackWeights,
        carried: &mut Carried<'_>,
    ) -> Result<Vec<f32>> {
        let mut grad = weights.norm.scale(self).backward(&tape.norm, grad_states, grads.norm.parts())?;
        let blocks = stack.layers.iter().flat_map(|layer| &layer.blocks).zip(weights.layers.iter().flatten());
        let tapes = tape.blocks.into_iter().zip(grads.layers.iter_mut().flatten());
        let blocks: Vec<_> = blocks.zip(tapes).collect();
        for ((block, weights), (tape, grads)) in blocks.into_iter().skip(carried.first_block).rev() {
            let BlockTape { norm, normed, inner, .. } = tape;
            let both = (block, weights);
            let of_block = self.block_backward(both, (inner, &normed), &grad, &mut grads.inner, carried)?;
            let of_norm = weights.norm.scale(self).backward(&norm, &of_block, grads.norm.parts())?;
            grad.iter_mut().zip(of_norm).for_each(|(sum, grad)| *sum += grad);
        }
        Ok(grad)
    }

    /// What a block adds to its input `x`. `biases` are those by distance, which later layers may share.
    fn block(
        &self,
        (block, weights): (&'a Block, &'a BlockWeights),
        x: &[f32],
        layer: usize,
        biases: &mut Option<Arc<[f32]>>,
    ) -> Result<(Vec<f32>, InnerTape)> {
        Ok(match (block, &weights.inner) {
            (Block::Attention(attention), InnerWeights::Attention(weights)) => {
                if let Some(table) = &weights.relative {
                    let mut line = Vec::new();
                    positions::biases(attention, Some(table), self.run.span(), &mut line)?;
                    *biases = Some(line.into());
                }
                let (out, tape) = self.site(attention, weights, biases.as_deref()).forward(x, x)?;
                (out, InnerTape::Attention(Box::new(tape), biases.clone()))
            }
            (Block::CrossAttention(attention), InnerWeights::Attention(weights)) => {
                let (out, tape) = self.cross_site(attention, weights).forward(x, self.encoded.states)?;
                (out, InnerTape::CrossAttention(Box::new(tape)))
            }
            (Block::Dense(network), InnerWeights::Dense(weights)) => {
                let rows = x.len() / self.width().max(1);
                let (out, tape) = Networks::one(network, weights, rows).forward(x)?;
                (out, InnerTape::Dense(tape))
            }
            (Block::Experts(experts), InnerWeights::Experts(weights)) => {
                let (out, tape) = Mixture { pass: self, experts, weights }.forward(x, layer)?;
                (out, InnerTape::Experts(Box::new(tape)))
            }
            _ => (vec![0.0; x.len()], InnerTape::Nothing),
        })
    }

    /// The gradient of a block's input `x`.
    fn block_backward(
        &self,
        (block, weights): (&'a Block, &'a BlockWeights),
        (tape, x): (InnerTape, &[f32]),
        grad: &[f32],
        grads: &mut InnerWeights,
        carried: &mut Carried<'_>,
    ) -> Result<Vec<f32>> {
        let rows = x.len() / self.width().max(1);
        Ok(match (block, tape, &weights.inner, grads) {
            (_, tape, InnerWeights::Attention(weights), InnerWeights::Attention(grads)) => {
                self.attention_backward((block, weights), (tape, x), grad, grads, carried)?
            }
            (
                Block::Dense(network),
                InnerTape::Dense(tape),
                InnerWeights::Dense(weights),
                InnerWeights::Dense(grads),
            ) => Networks::one(network, weights, rows).backward(x, tape, grad, vec![grads])?,
            (
                Block::Experts(experts),
                InnerTape::Experts(tape),
                InnerWeights::Experts(weights),
                InnerWeights::Experts(grads),
            ) => {
                let of_losses = carried.of_losses.pop().unwrap_or_default();
                Mixture { pass: self, experts, weights }.backward(*tape, (x, grad), &of_losses, grads)?
            }
            _ => vec![0.0; x.len()],
        })
    }

    /// The gradient of the input `x` of attention of either kind.
    fn attention_backward(
        &self,
        (block, weights): (&'a Block, &'a AttentionWeights),
        (tape, x): (InnerTape, &[f32]),
        grad: &[f32],
        grads: &mut AttentionWeights,
        carried: &mut Carried<'_>,
    ) -> Result<Vec<f32>> {
        Ok(match (block, tape) {
            (Block::Attention(attention), InnerTape::Attention(tape, biases)) => {
                let site = self.site(attention, weights, biases.as_deref());
                let inner = site.backward(*tape, (x, x), grad, grads)?;
                self.carry_biases(attention, &inner.biases, &mut grads.relative, &mut carried.biases)?;
                added(inner.x, &inner.source)
            }
            (Block::CrossAttention(attention), InnerTape::CrossAttention(tape)) => {
                let site = self.cross_site(attention, weights);
                let inner = site.backward(*tape, (x, self.encoded.states), grad, grads)?;
                carried.encoded.iter_mut().zip(&inner.source).for_each(|(sum, grad)| *sum += grad);
                inner.x
            }
            _ => vec![0.0; x.len()],
        })
    }

    /// Attention to tokens of the same stack.
    fn site<'b>(
        &self,
        attention: &'b Attention,
        weights: &'b AttentionWeights,
        biases: Option<&'b [f32]>,
    ) -> Site<'b>
    where
        'a: 'b,
    {
        Site {
            config: &self.run.model.config,
            attention,
            weights,
            span: self.run.span(),
            pattern: pattern(self.run.side, attention.window),
            mask: self.run.real,
            turns: self.turns,
            biases: attention.relative.and(biases),
        }
    }

    /// Attention to what the encoder made.
    fn cross_site(&self, attention: &'a Attention, weights: &'a AttentionWeights) -> Site<'a> {
        Site {
            span: Span { keys: self.encoded.tokens, first_query: 0, ..self.run.span() },
            pattern: Pattern::Full,
            mask: self.encoded.real,
            turns: &[],
            ..self.site(attention, weights, None)
        }
    }

    /// Adds to the gradients of biases; where the block has their table, they go there.
    fn carry_biases(
        &self,
        attention: &Attention,
        own: &[f32],
        table: &mut Option<Vec<f32>>,
        carried: &mut Vec<f32>,
    ) -> Result<(), NnError> {
        carried.resize(own.len().max(carried.len()), 0.0);
        carried.iter_mut().zip(own).for_each(|(sum, grad)| *sum += grad);
        let (Some(relative), Some(table)) = (attention.relative, table) else { return Ok(()) };
        let line = std::mem::take(carried);
        if table.is_empty() {
            return Ok(());
        }
        let Relative { buckets, max_distance, bidirectional, .. } = relative;
        let bias = PositionBias { heads: attention.heads, buckets, max_distance, bidirectional };
        position_bias_backward(bias, self.run.span(), &line, table)
    }
}

impl StackTape {
    /// What losses of routers look at, mixture by mixture.
    pub fn traced(&self, side: Side) -> Vec<TracedMixture> {
        let of_block = |block: &BlockTape| match &block.inner {
            InnerTape::Experts(tape) => Some(tape.traced(side, block.layer)),
            _ => None,
        };
        self.blocks.iter().filter_map(of_block).collect()
    }
}

fn added(mut sum: Vec<f32>, values: &[f32]) -> Vec<f32> {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    sum
}
