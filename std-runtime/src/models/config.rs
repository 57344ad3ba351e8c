//! A language model as data: stacks of layers, layers of blocks.
//!
//! Every block is `x ← x + block(norm(x))`. An encoder's layer is attention and a network; a decoder's has cross
//! attention between the two where there is an encoder. Which network is a mixture of experts is said layer by layer.

mod checks;
mod decoders;
mod deepseek;
mod gpt_oss;
mod hf;
mod keys;
mod nllb;
mod rope;
mod t5;

use mixlet_core::moe::RouterConfig;
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::nn::{Pairing, RotaryScaling};

use super::names::Architecture;

pub use hf::KNOWN;

/// What a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Whose names its tensors have.
    pub architecture: Architecture,
    /// Ids there are.
    pub vocab: usize,
    /// Width of a token.
    pub model_dim: usize,
    /// What embeddings are multiplied by: `√model_dim` in NLLB.
    pub embedding_scale: f64,
    /// How tokens know where they are; biases by distance belong to attention.
    pub positions: Positions,
    /// The norm before every block, and after the last one.
    pub norm: Norm,
    /// From tokens to logits.
    pub head: Head,
    /// What reads the input, in an encoder–decoder.
    pub encoder: Option<Stack>,
    /// What writes.
    pub decoder: Stack,
    /// What routers add to the loss.
    pub router_losses: RouterLosses,
    /// Ids with a meaning.
    pub ids: SpecialIds,
    /// Tokens that a sequence may have; `None` where positions are relative.
    pub max_positions: Option<usize>,
}

/// How tokens know where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// By biases of attention, or not at all.
    Relative,
    /// Queries and keys are turned.
    Rotary(RotaryConfig),
    /// Sines and cosines are added to embeddings, padding gets none, and the first token has position `first` (NLLB).
    Sinusoidal {
        /// The position of the first token.
        first: u32,
    },
}

/// Rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotaryConfig {
    /// Values of a head that are turned.
    pub width: usize,
    /// The first of them.
    pub start: usize,
    /// Which values make a pair.
    pub pairing: Pairing,
    /// The base of the frequencies.
    pub theta: f64,
    /// How frequencies are stretched for long contexts.
    pub scaling: RotaryScaling,
}

/// The kind of norm, the same everywhere in a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// Root mean square, without bias.
    Rms {
        /// Added to the mean square.
        epsilon: f64,
    },
    /// Mean and variance, with bias.
    Layer {
        /// Added to the variance.
        epsilon: f64,
    },
}

/// From tokens to logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// Whether it is the embedding's table.
    pub tied: bool,
    /// What logits are multiplied by: `1 / √model_dim` in a T5 with a tied head.
    pub scale: f64,
}

/// Layers one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// Blocks one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// What is added to a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Attention to tokens of the same stack.
    Attention(Attention),
    /// Attention to what the encoder made of the input.
    CrossAttention(Attention),
    /// A network that every token passes.
    Dense(Network),
    /// Networks among which a router chooses.
    Experts(Experts),
}

/// Attention, between the projections and with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head's queries and keys.
    pub head_dim: usize,
    /// Width of a head's values.
    pub value_dim: usize,
    /// What scores are multiplied by.
    pub scale: f64,
    /// Whether projections to queries, keys and values have biases.
    pub in_bias: bool,
    /// Whether the projection back has one.
    pub out_bias: bool,
    /// Norms of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Low ranks that projections pass through (DeepSeek-V3).
    pub latent: Option<Latent>,
    /// Biases by distance.
    pub relative: Option<Relative>,
    /// Tokens that are seen, the own one included; `None` for all before.
    pub window: Option<usize>,
    /// Whether each head has a place that holds no value (GPT-OSS).
    pub sinks: bool,
}

impl Attention {
    /// Heads with keys and values of their own, scores over the root of their width, and nothing more.
    pub fn plain(heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads: heads,
            head_dim,
            value_dim: head_dim,
            scale: (head_dim as f64).sqrt().recip(),
            in_bias: false,
            out_bias: false,
            qk_norm: None,
            latent: None,
            relative: None,
            window: None,
            sinks: false,
        }
    }

    /// Values of a token's queries.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of a token's keys.
    pub fn k_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Values of a token's values.
    pub fn v_width(&self) -> usize {
        self.kv_heads * self.value_dim
    }

    /// Values that the projection back takes.
    pub fn out_width(&self) -> usize {
        self.heads * self.value_dim
    }
}

/// What the norms of queries and keys run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head on its own (Qwen3).
    Heads,
    /// All heads together (OLMoE).
    Token,
}

/// Ranks of the projections in multi-head latent attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Of queries; `None` for a plain projection.
    pub q_rank: Option<usize>,
    /// Of keys and values.
    pub kv_rank: usize,
    /// Values of a key that tell its position, the same for all heads.
    pub rotary_dim: usize,
}

/// T5's biases by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// Buckets of the table.
    pub buckets: usize,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
    /// Whether keys after the query have buckets of their own.
    pub bidirectional: bool,
    /// Whether the block has a table, or takes that of the layer before.
    pub own_table: bool,
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Hidden values.
    pub ffn_dim: usize,
    /// What lies between the matrices.
    pub kind: FfnKind,
    /// Whether the matrices have biases.
    pub bias: bool,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// Who goes where.
    pub router: RouterConfig,
    /// Whether each sequence is a group of its own; else the router's groups hold.
    pub by_sequence: bool,
    /// Whether the router has a bias on its logits.
    pub router_bias: bool,
    /// Whether padding is sent to experts too.
    pub routes_padding: bool,
    /// Each expert.
    pub network: Network,
    /// What every token passes besides.
    pub shared: Option<SharedExpert>,
}

/// An expert for every token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedExpert {
    /// The network.
    pub network: Network,
    /// Whether a sigmoid of the token weighs it (Qwen2-MoE).
    pub gated: bool,
}

/// What routers add to the loss, and how it is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterLosses {
    /// Coefficient of the load-balancing loss.
    pub balance: f64,
    /// Coefficient of the z-loss.
    pub z: f64,
    /// Over what shares are taken.
    pub over: LossScope,
    /// Which choices count, and which probabilities.
    pub counting: LossCounting,
}

impl RouterLosses {
    /// No router, no loss.
    pub const NONE: Self =
        Self { balance: 0.0, z: 0.0, over: LossScope::None, counting: LossCounting::Transformers5 };
}

/// What a load-balancing loss counts: transformers changed it between its versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LossCounting {
    /// Choices before any is dropped, as the papers have it, and probabilities of all experts.
    #[default]
    #[value(name = "transformers-5")]
    Transformers5,
    /// Version 4.57: Switch's choices after dropping, dropped ones as choices of expert 0; GPT-OSS's probabilities are a softmax of
    /// the gates, 0 where an expert was not chosen.
    #[value(name = "transformers-4")]
    Transformers4,
}

/// Over what the shares of a load-balancing loss are taken; layers are always joined first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossScope {
    /// There is no such loss.
    None,
    /// Each sequence on its own, padding included, then the mean; a loss for each stack (Switch in transformers).
    Sequences,
    /// All tokens but padding (Mixtral's family in transformers).
    Tokens,
}

/// Ids with a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Fills the end of shorter sequences.
    pub pad: Option<u32>,
    /// Each of them ends a text.
    pub end: Vec<u32>,
    /// What a decoder begins with, in an encoder–decoder.
    pub decoder_start: Option<u32>,
}
