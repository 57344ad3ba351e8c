//! The golden language models: their names, and what transformers was given.

use std::path::Path;

use mixlet_core::nn::IGNORED;
use mixlet_runtime::models::Batch;

use super::tensors::{self, Tensors};

/// All of them: folders of `golden/hf`.
pub const MODELS: [&str; 10] = [
    "t5_v1_1",
    "t5_relu_tied",
    "switch",
    "switch_nodrop",
    "mixtral",
    "olmoe",
    "qwen2_moe",
    "nllb_moe",
    "gpt_oss",
    "deepseek_v3",
];

/// What a model was given and gave.
pub fn vectors(model: &Path) -> Tensors {
    tensors::read(&model.join("io.safetensors"))
}

/// The inputs of a name, `b0` to `b2`.
pub fn batch(io: &Tensors, name: &str) -> Batch {
    let of = |part: &str| &io[&format!("{name}.{part}")];
    let label = |label: &f32| if *label < 0.0 { IGNORED } else { *label as u32 };
    Batch {
        sequences: of("input_ids").shape[0],
        ids: of("input_ids").values.iter().map(|id| *id as u32).collect(),
        real: Some(of("attention_mask").values.iter().map(|mask| *mask > 0.0).collect()),
        decoder_ids: None,
        labels: Some(of("labels").values.iter().map(label).collect()),
    }
}
