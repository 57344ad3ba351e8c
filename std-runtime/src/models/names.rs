//! What each architecture calls its tensors.
//!
//! A name is a block's prefix, a part and `.weight` or `.bias`. In prefixes `{stack}`, `{layer}`, `{block}` and `{expert}`
//! stand for names and numbers. Parts that an architecture does not have are never asked for.

/// Whose names a model's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// T5 of any version.
    T5,
    /// Switch Transformers.
    Switch,
    /// NLLB-MoE.
    Nllb,
    /// Llama, Mistral, Qwen2, Qwen3.
    Llama,
    /// Mixtral.
    Mixtral,
    /// OLMoE.
    Olmoe,
    /// Qwen2-MoE.
    Qwen2Moe,
    /// Qwen3-MoE.
    Qwen3Moe,
    /// DeepSeek-V3.
    DeepSeekV3,
    /// GPT-OSS.
    GptOss,
    /// GLaM, of which no files were published: Llama's names.
    Glam,
}

impl Architecture {
    /// Its table.
    pub fn names(self) -> &'static Names {
        match self {
            Self::T5 => &T5,
            Self::Switch => &SWITCH,
            Self::Nllb => &NLLB,
            Self::Llama | Self::Olmoe | Self::Qwen2Moe | Self::Qwen3Moe => &LLAMA,
            Self::Mixtral => &MIXTRAL,
            Self::DeepSeekV3 => &DEEPSEEK_V3,
            Self::GptOss => &GPT_OSS,
            Self::Glam => &GLAM,
        }
    }

    /// Its name for a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::T5 => "T5",
            Self::Switch => "Switch Transformers",
            Self::Nllb => "NLLB-MoE",
            Self::Llama => "Llama",
            Self::Mixtral => "Mixtral",
            Self::Olmoe => "OLMoE",
            Self::Qwen2Moe => "Qwen2-MoE",
            Self::Qwen3Moe => "Qwen3-MoE",
            Self::DeepSeekV3 => "DeepSeek-V3",
            Self::GptOss => "GPT-OSS",
            Self::Glam => "GLaM",
        }
    }
}

/// The names of all parts.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The table of embeddings.
    pub embedding: &'static str,
    /// The output head, where it is not the table.
    pub head: &'static str,
    /// Copies of tied tensors that files may hold besides.
    pub copies: &'static [&'static str],
    /// What `{stack}` stands for: encoder, decoder.
    pub stacks: [&'static str; 2],
    /// The norm after the last layer.
    pub final_norm: &'static str,
    /// The prefix of a block.
    pub block: &'static str,
    /// The norms before attention, cross attention and the network.
    pub norms: [&'static str; 3],
    /// The prefixes of attention and cross attention.
    pub attention: [&'static str; 2],
    /// Queries, keys, values, and back.
    pub projections: [&'static str; 4],
    /// The norms of queries and of keys.
    pub qk_norms: [&'static str; 2],
    /// The table of biases by distance.
    pub relative: &'static str,
    /// Scores of the places without a value; a whole name.
    pub sinks: &'static str,
    /// Projections through low ranks: queries down, their norm, up; keys and values down, their norm, up.
    pub latent: [&'static str; 6],
    /// The prefix of a network that is not a mixture.
    pub dense: &'static str,
    /// The prefix of a mixture.
    pub mixture: &'static str,
    /// The router.
    pub router: &'static str,
    /// What is added to scores for the choice alone; a whole name.
    pub choice_bias: &'static str,
    /// The matrices of a dense network.
    pub network: NetworkNames,
    /// How experts are stored.
    pub experts: ExpertNames,
    /// The prefix of the expert for every token.
    pub shared: &'static str,
    /// What weighs it.
    pub shared_gate: &'static str,
}

impl Names {
    /// The prefix of block `place` of layer `nth`; `stack` is one of [`stacks`](Self::stacks).
    pub fn block(&self, stack: &str, nth: usize, place: usize) -> String {
        let prefix = self.block.replace("{stack}", stack).replace("{layer}", &nth.to_string());
        prefix.replace("{block}", &place.to_string())
    }
}

/// The matrices of a network.
#[derive(Clone, Copy, Debug)]
pub struct NetworkNames {
    /// What the activation is applied to, beside `up`.
    pub gate: &'static str,
    /// What it is multiplied by.
    pub up: &'static str,
    /// The first matrix where there is no gate.
    pub only_up: &'static str,
    /// Back.
    pub down: &'static str,
}

/// How experts are stored.
#[derive(Clone, Copy, Debug)]
pub enum ExpertNames {
    /// Each matrix on its own, under a prefix with `{expert}`.
    Separate {
        /// The prefix.
        prefix: &'static str,
        /// The matrices.
        network: NetworkNames,
    },
    /// All experts in one tensor `[experts, inputs, outputs]`; outputs of gate and up take turns. Whole names; biases
    /// end in `_bias`.
    Stacked {
        /// Gate and up.
        gate_up: &'static str,
        /// Back.
        down: &'static str,
        /// The prefix in mixlet's own files, where each matrix lies on its own.
        prefix: &'static str,
        /// The matrices there.
        network: NetworkNames,
    },
}

const WI_WO: NetworkNames = NetworkNames { gate: "wi_0", up: "wi_1", only_up: "wi", down: "wo" };
const GATE_UP_DOWN: NetworkNames =
    NetworkNames { gate: "gate_proj", up: "up_proj", only_up: "up_proj", down: "down_proj" };
const FC: NetworkNames = NetworkNames { gate: "", up: "", only_up: "fc1", down: "fc2" };

const T5: Names = Names {
    embedding: "shared",
    head: "lm_head",
    copies: &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
    stacks: ["encoder", "decoder"],
    final_norm: "{stack}.final_layer_norm",
    block: "{stack}.block.{layer}.layer.{block}.",
    norms: ["layer_norm"; 3],
    attention: ["SelfAttention.", "EncDecAttention."],
    projections: ["q", "k", "v", "o"],
    relative: "relative_attention_bias",
    dense: "DenseReluDense.",
    network: WI_WO,
    ..LLAMA
};

const SWITCH: Names = Names {
    dense: "mlp.",
    mixture: "mlp.",
    router: "router.classifier",
    experts: ExpertNames::Separate { prefix: "experts.expert_{expert}.", network: WI_WO },
    ..T5
};

const NLLB: Names = Names {
    embedding: "model.shared",
    head: "lm_head",
    copies: &[
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.weight",
        "model.encoder.embed_positions.weights",
        "model.decoder.embed_positions.weights",
    ],
    stacks: ["model.encoder", "model.decoder"],
    final_norm: "{stack}.layer_norm",
    block: "{stack}.layers.{layer}.",
    norms: ["self_attn_layer_norm", "cross_attention_layer_norm", "ff_layer_norm"],
    attention: ["self_attn.", "cross_attention."],
    projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
    dense: "ffn.",
    mixture: "ffn.",
    router: "router.classifier",
    network: FC,
    experts: ExpertNames::Separate { prefix: "experts.expert_{expert}.", network: FC },
    ..LLAMA
};

const LLAMA: Names = Names {
    embedding: "model.embed_tokens",
    head: "lm_head",
    copies: &["lm_head.weight"],
    stacks: ["", "model"],
    final_norm: "{stack}.norm",
    block: "{stack}.layers.{layer}.",
    norms: ["input_layernorm", "", "post_attention_layernorm"],
    attention: ["self_attn.", ""],
    projections: ["q_proj", "k_proj", "v_proj", "o_proj"],
    qk_norms: ["q_norm", "k_norm"],
    relative: "",
    sinks: "sinks",
    latent: ["q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj"],
    dense: "mlp.",
    mixture: "mlp.",
    router: "gate",
    choice_bias: "",
    network: GATE_UP_DOWN,
    experts: ExpertNames::Separate { prefix: "experts.{expert}.", network: GATE_UP_DOWN },
    shared: "shared_expert.",
    shared_gate: "shared_expert_gate",
};

const MIXTRAL: Names = Names {
    mixture: "block_sparse_moe.",
    experts: ExpertNames::Separate {
        prefix: "experts.{expert}.",
        network: NetworkNames { gate: "w1", up: "w3", only_up: "w3", down: "w2" },
    },
    ..LLAMA
};

const DEEPSEEK_V3: Names =
    Names { choice_bias: "gate.e_score_correction_bias", shared: "shared_experts.", ..LLAMA };

const GPT_OSS: Names = Names {
    router: "router",
    experts: ExpertNames::Stacked {
        gate_up: "experts.gate_up_proj",
        down: "experts.down_proj",
        prefix: "experts.{expert}.",
        network: GATE_UP_DOWN,
    },
    ..LLAMA
};

const GLAM: Names = Names { relative: "relative_attention_bias", ..LLAMA };
