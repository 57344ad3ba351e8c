//! Mixtures of experts in T5's encoder and decoder.

use mixlet_core::activation::Activation;
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::moe::{
    ByPhase, CapacityRule, Groups, Policy, Priority, RouterConfig, SecondExpert, SoftmaxOver, SwitchChoice,
};
use mixlet_core::nn::tied_output_scale;

use crate::models::ModelConfig;
use crate::models::config::*;
use crate::models::names::Architecture;

/// T5's vocabulary.
const VOCAB: usize = 32_128;

/// A model, as the tables give it.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    /// Of the encoder, and of the decoder.
    layers: usize,
    /// Of each, how many are sparse.
    sparse: usize,
    model_dim: usize,
    ffn_dim: usize,
    gated: bool,
    heads: usize,
    head_dim: usize,
    experts: u32,
    choice: Choice,
    /// Of capacity, in training and in evaluation.
    factors: (f64, f64),
    /// Tokens of a group.
    group: u32,
}

/// Who chooses.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    /// Tokens choose one expert.
    Switch,
    /// Tokens choose two, as flaxformer has it.
    Tokens,
    /// Experts choose in the encoder, tokens choose two in the decoder.
    Experts,
    /// Tokens choose two, as ST-MoE has it, and a dense network follows every mixture.
    StMoe,
}

const BASE: Row = Row {
    name: "tokens_choose_base",
    layers: 12,
    sparse: 3,
    model_dim: 768,
    ffn_dim: 2048,
    gated: true,
    heads: 12,
    head_dim: 64,
    experts: 64,
    choice: Choice::Tokens,
    factors: (1.25, 2.0),
    group: 4096,
};
const LARGE: Row = Row { layers: 24, sparse: 12, model_dim: 1024, ffn_dim: 2816, heads: 16, ..BASE };
const SWITCH: Row =
    Row { sparse: 6, ffn_dim: 3072, gated: false, choice: Choice::Switch, group: 8192, ..BASE };
const CHOSEN: (f64, f64) = (1.0, 1.0);

const ROWS: [Row; 19] = [
    Row { name: "switch_base_8", experts: 8, ..SWITCH },
    Row { name: "switch_base_16", experts: 16, ..SWITCH },
    Row { name: "switch_base_32", experts: 32, ..SWITCH },
    Row { name: "switch_base_64", experts: 64, ..SWITCH },
    Row { name: "switch_base_128", experts: 128, ..SWITCH },
    Row { name: "switch_base_256", experts: 256, ..SWITCH },
    Row {
        name: "switch_large_128",
        ffn_dim: 4096,
        experts: 128,
        gated: false,
        choice: Choice::Switch,
        ..LARGE
    },
    Row {
        name: "switch_xxl",
        model_dim: 4096,
        ffn_dim: 10_240,
        heads: 64,
        experts: 128,
        choice: Choice::Switch,
        factors: (1.25, 4.0),
        ..LARGE
    },
    Row {
        name: "switch_c",
        layers: 15,
        sparse: 15,
        model_dim: 2080,
        ffn_dim: 6144,
        heads: 30,
        experts: 2048,
        factors: (1.0, 2.0),
        group: 2048,
        ..SWITCH
    },
    BASE,
    Row { name: "experts_choose_base", sparse: 6, choice: Choice::Experts, factors: CHOSEN, ..BASE },
    Row { name: "experts_choose_large", choice: Choice::Experts, factors: CHOSEN, ..LARGE },
    Row {
        name: "experts_choose_xl",
        model_dim: 2048,
        ffn_dim: 5120,
        heads: 32,
        choice: Choice::Experts,
        factors: CHOSEN,
        ..LARGE
    },
    Row { name: "st_moe_base", experts: 16, choice: Choice::StMoe, ..BASE },
    Row { name: "st_moe_large", sparse: 6, experts: 32, choice: Choice::StMoe, ..LARGE },
    Row {
        name: "st_moe_xl",
        sparse: 6,
        model_dim: 2048,
        ffn_dim: 5120,
        heads: 32,
        experts: 16,
        choice: Choice::StMoe,
        factors: (2.0, 4.0),
        group: 1024,
        ..LARGE
    },
    Row {
        name: "st_moe_32b",
        sparse: 6,
        model_dim: 5120,
        ffn_dim: 20_480,
        heads: 64,
        head_dim: 128,
        choice: Choice::StMoe,
        ..LARGE
    },
    Row { name: "t5_base", sparse: 0, ffn_dim: 3072, gated: false, choice: Choice::Switch, ..BASE },
    Row { name: "t5_v1_1_base", sparse: 0, ..BASE },
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
        // As in T5, whose first version had neither gates nor a head of its own.
        let tied = !self.gated;
        let scale = if tied { tied_output_scale(self.model_dim) } else { 1.0 };
        ModelConfig {
            architecture: Architecture::Switch,
            vocab: VOCAB,
            model_dim: self.model_dim,
            embedding_scale: 1.0,
            positions: Positions::Relative,
            norm: Norm::Rms { epsilon: 1e-6 },
            head: Head { tied, scale },
            encoder: Some(self.stack(true)),
            decoder: self.stack(false),
            router_losses: RouterLosses { balance: 0.01, over: LossScope::Sequences, ..RouterLosses::NONE },
            ids: SpecialIds { pad: Some(0), end: vec![1], decoder_start: Some(0) },
            max_positions: None,
        }
    }

    /// Of every `layers / sparse` layers the last one is sparse.
    fn stack(&self, encoder: bool) -> Stack {
        let period = self.layers.checked_div(self.sparse);
        let network = Network { ffn_dim: self.ffn_dim, kind: self.kind(), bias: false };
        let layer = |nth: usize| {
            let is_sparse = period.is_some_and(|period| nth % period == period - 1);
            let attention = |relative| Attention { relative, ..self.attention() };
            let relative =
                Relative { buckets: 32, max_distance: 128, bidirectional: encoder, own_table: nth == 0 };
            let mut blocks = vec![Block::Attention(attention(Some(relative)))];
            if !encoder {
                blocks.push(Block::CrossAttention(attention(None)));
            }
            blocks.push(if is_sparse { self.experts(network, encoder) } else { Block::Dense(network) });
            if is_sparse && self.choice == Choice::StMoe {
                blocks.push(Block::Dense(network));
            }
            Layer { blocks }
        };
        Stack { layers: (0..self.layers).map(layer).collect() }
    }

    fn kind(&self) -> FfnKind {
        if self.gated { FfnKind::Gated(Activation::GeluTanh) } else { FfnKind::Plain(Activation::Relu) }
    }

    fn attention(&self) -> Attention {
        Attention { scale: 1.0, ..Attention::plain(self.heads, self.head_dim) }
    }

    fn experts(&self, network: Network, encoder: bool) -> Block {
        let factor = ByPhase { train: self.factors.0, eval: self.factors.1 };
        let flaxformer = CapacityRule::Flaxformer { factor, least: 4 };
        let (policy, capacity) = match (self.choice, encoder) {
            (Choice::Switch, _) => {
                (Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) }, flaxformer)
            }
            (Choice::Experts, true) => {
                (Policy::ExpertChoice { softmax: SoftmaxOver::Experts }, CapacityRule::ExpertChoice(factor))
            }
            (Choice::StMoe, _) => {
                let others = ByPhase::both(SecondExpert::Random(0.2));
                (Policy::Mesh { top_k: 2, others }, CapacityRule::Mesh(factor))
            }
            (Choice::Tokens | Choice::Experts, _) => (Policy::Flaxformer { top_k: 2 }, flaxformer),
        };
        let groups = Groups::AtMost(self.group);
        let router = RouterConfig {
            experts: self.experts,
            policy,
            capacity,
            groups,
            priority: Priority::Ranks,
            ..RouterConfig::default()
        };
        Block::Experts(Experts {
            router,
            by_sequence: false,
            router_bias: false,
            routes_padding: false,
            network,
            shared: None,
        })
    }
}
