//! GLaM (Du et al. 2021, arXiv:2112.06905): a decoder with experts in every other layer, biases by distance in each.

use mixlet_core::activation::Activation;
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::moe::{ByPhase, CapacityRule, Policy, RouterConfig, SecondExpert};

use crate::models::ModelConfig;
use crate::models::config::*;
use crate::models::names::Architecture;

/// A model, as the table gives it.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    vocab: usize,
    layers: usize,
    model_dim: usize,
    ffn_dim: usize,
    heads: usize,
    head_dim: usize,
    /// 0 for a dense model.
    experts: u32,
}

/// The paper's vocabulary.
const VOCAB: usize = 256_000;
/// The vocabulary that the counts of its smaller models fit.
const SMALL_VOCAB: usize = 32_000;

const SMALL: Row = Row {
    name: "glam_1.7b_64e",
    vocab: SMALL_VOCAB,
    layers: 24,
    model_dim: 2048,
    ffn_dim: 8192,
    heads: 16,
    head_dim: 128,
    experts: 64,
};
const MIDDLE: Row =
    Row { name: "glam_8b_64e", layers: 32, model_dim: 4096, ffn_dim: 16_384, heads: 32, ..SMALL };
const LARGE: Row = Row {
    name: "glam_64b_64e",
    vocab: VOCAB,
    layers: 64,
    model_dim: 8192,
    ffn_dim: 32_768,
    heads: 128,
    ..SMALL
};

const ROWS: [Row; 9] = [
    Row {
        name: "glam_0.1b_64e",
        layers: 12,
        model_dim: 768,
        ffn_dim: 3072,
        heads: 12,
        head_dim: 64,
        ..SMALL
    },
    Row { name: "glam_1.7b_32e", experts: 32, ..SMALL },
    SMALL,
    Row { name: "glam_1.7b_128e", experts: 128, ..SMALL },
    Row { name: "glam_1.7b_256e", experts: 256, ..SMALL },
    Row { name: "glam_8b", experts: 0, ..MIDDLE },
    MIDDLE,
    Row { name: "glam_137b", ffn_dim: 65_536, experts: 0, ..LARGE },
    LARGE,
];

/// All names.
pub(super) fn names() -> impl Iterator<Item = String> {
    ROWS.iter().map(|row| row.name.to_owned())
}

/// The model of a name.
pub(super) fn find(name: &str) -> Option<ModelConfig> {
    ROWS.iter().find(|row| row.name == name).map(|row| row.model())
}

impl Row {
    fn model(&self) -> ModelConfig {
        let attention = Attention {
            relative: Some(Relative {
                buckets: 32,
                max_distance: 128,
                bidirectional: false,
                own_table: true,
            }),
            ..Attention::plain(self.heads, self.head_dim)
        };
        let layer = |nth: usize| {
            let network = if nth % 2 == 1 && self.experts > 0 { self.mixture() } else { self.dense() };
            Layer { blocks: vec![Block::Attention(attention), network] }
        };
        ModelConfig {
            architecture: Architecture::Glam,
            vocab: self.vocab,
            model_dim: self.model_dim,
            embedding_scale: 1.0,
            positions: Positions::Relative,
            norm: Norm::Rms { epsilon: 1e-6 },
            head: Head { tied: true, scale: 1.0 },
            encoder: None,
            decoder: Stack { layers: (0..self.layers).map(layer).collect() },
            router_losses: RouterLosses { balance: 0.01, over: LossScope::Tokens, ..RouterLosses::NONE },
            ids: SpecialIds { pad: Some(0), end: vec![1], decoder_start: None },
            max_positions: None,
        }
    }

    /// Gated, in layers without experts alone.
    fn dense(&self) -> Block {
        let kind = FfnKind::Gated(Activation::GeluTanh);
        Block::Dense(Network { ffn_dim: self.ffn_dim, kind, bias: false })
    }

    fn mixture(&self) -> Block {
        let kind = FfnKind::Plain(Activation::GeluTanh);
        Block::Experts(Experts {
            router: RouterConfig {
                experts: self.experts,
                policy: Policy::GShard { second: ByPhase::both(SecondExpert::All) },
                capacity: CapacityRule::Dropless,
                ..RouterConfig::default()
            },
            by_sequence: false,
            router_bias: false,
            routes_padding: false,
            network: Network { ffn_dim: self.ffn_dim, kind, bias: false },
            shared: None,
        })
    }
}
