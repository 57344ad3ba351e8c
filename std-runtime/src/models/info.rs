//! How large a model is, without making it.

use serde::Serialize;

use super::config::{Block, Experts, ModelConfig, Network, Stack};
use super::look_ahead;
use super::weights::{Counter, Weights};
use crate::error::Result;

/// How large a model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Whose names its tensors have.
    pub architecture: &'static str,
    /// All numbers, each tensor once.
    pub parameters: u64,
    /// Those that a token meets: all but the experts it is not sent to. Where experts choose, as many as its capacity has room
    /// for on average.
    pub active_parameters: u64,
    /// Those of routed experts.
    pub expert_parameters: u64,
    /// Ids.
    pub vocab: usize,
    /// Width of a token.
    pub model_dim: usize,
    /// Layers of the encoder; 0 if there is none.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Layers with experts, of both.
    pub sparse_layers: usize,
    /// Experts of such a layer.
    pub experts: u32,
    /// Experts that a token is sent to; null where experts choose.
    pub top_k: Option<u32>,
    /// Tokens that a sequence may have; null where positions are relative.
    pub max_positions: Option<usize>,
    /// Bytes of keys and values that a decoded token leaves.
    pub cache_bytes_per_token: u64,
}

impl Info {
    /// Counts what a configuration asks for.
    pub fn new(config: &ModelConfig) -> Result<Self> {
        let mut counter = Counter::default();
        Weights::build(config, &mut counter)?;
        let stacks: Vec<&Stack> = config.encoder.iter().chain([&config.decoder]).collect();
        let blocks = stacks.iter().flat_map(|stack| &stack.layers).flat_map(|layer| &layer.blocks);
        let mixtures: Vec<&Experts> = blocks.filter_map(mixture).collect();
        let of_one = |experts: &Experts| network_parameters(config.model_dim, &experts.network);
        let all = |experts: &&Experts| u64::from(experts.router.experts) * of_one(experts);
        let idle = |experts: &&Experts| {
            u64::from(experts.router.experts.saturating_sub(experts_per_token(experts))) * of_one(experts)
        };
        let kept = config.decoder.layers.iter().flat_map(|layer| &layer.blocks).map(|block| match block {
            Block::Attention(attention) => attention.k_width() + attention.v_width(),
            _ => 0,
        });
        Ok(Self {
            architecture: config.architecture.title(),
            parameters: counter.parameters,
            active_parameters: counter.parameters - mixtures.iter().map(idle).sum::<u64>(),
            expert_parameters: mixtures.iter().map(all).sum(),
            vocab: config.vocab,
            model_dim: config.model_dim,
            encoder_layers: config.encoder.as_ref().map_or(0, |stack| stack.layers.len()),
            decoder_layers: config.decoder.layers.len(),
            sparse_layers: mixtures.len(),
            experts: mixtures.first().map_or(0, |experts| experts.router.experts),
            top_k: mixtures.first().and_then(|experts| experts.router.policy.top_k()),
            max_positions: config.max_positions,
            cache_bytes_per_token: 4 * kept.sum::<usize>() as u64,
        })
    }
}

fn mixture(block: &Block) -> Option<&Experts> {
    match block {
        Block::Experts(experts) => Some(experts),
        _ => None,
    }
}

/// Experts that a token meets; where experts choose, its share of their places.
pub(super) fn experts_per_token(experts: &Experts) -> u32 {
    experts.router.policy.top_k().unwrap_or_else(|| look_ahead::experts_per_token(&experts.router))
}

fn network_parameters(model_dim: usize, network: &Network) -> u64 {
    let matrices = if network.kind.is_gated() { 3 } else { 2 };
    let hidden = if network.kind.is_gated() { 2 } else { 1 };
    let biases = if network.bias { hidden * network.ffn_dim + model_dim } else { 0 };
    (matrices * model_dim * network.ffn_dim + biases) as u64
}
