//! Small language models with random weights, as folders of Hugging Face.

use std::path::Path;

use mixlet_core::rand_core::Rng;
use mixlet_runtime::error::Result;
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::weights::{TensorSource, Weights};
use mixlet_runtime::models::{Model, ModelConfig};
use serde_json::{Value, json};

use super::random::SplitMix;
use super::small_tokenizers::write;
use super::tensor_files::{self, RawTensor, RawTensors};

/// A Mixtral of two layers, four experts and 64 positions.
pub fn mixtral(vocab: usize) -> Value {
    json!({
        "model_type": "mixtral", "vocab_size": vocab, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false,
    })
}

/// A Switch Transformer of two layers in each stack, the second with four experts of sixteen places.
pub fn switch(vocab: usize) -> Value {
    json!({
        "model_type": "switch_transformers", "vocab_size": vocab, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4,
        "num_layers": 2, "num_decoder_layers": 2, "num_experts": 4, "expert_capacity": 16, "encoder_sparse_step": 2,
        "decoder_sparse_step": 2, "relative_attention_num_buckets": 8, "tie_word_embeddings": false,
        "eos_token_id": 1, "pad_token_id": 0,
    })
}

/// Writes a model's folder.
pub fn write_model(folder: &Path, config: &Value, seed: u64) {
    write(folder, "config.json", config);
    let mut random = Random { random: SplitMix(seed), tensors: RawTensors::new() };
    Weights::build(&ModelConfig::from_hf(&config.to_string()).unwrap(), &mut random).unwrap();
    tensor_files::write(&folder.join("model.safetensors"), &random.tensors);
}

/// A model in memory; its files are gone.
pub fn model(config: &Value, seed: u64) -> Model {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), config, seed);
    Model::import(folder.path()).unwrap().model
}

/// Makes every tensor that a model asks for.
struct Random {
    random: SplitMix,
    tensors: RawTensors,
}

impl TensorSource for Random {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        // Norms are near 1; a matrix keeps the size of what it is multiplied by, the head triples it: some ids are likely.
        let is_norm = shape.len() == 1;
        let scale =
            if name.contains("lm_head") { 3.0 } else { 1.0 } * (3.0 / shape[shape.len() - 1] as f64).sqrt();
        let mut value = || {
            let even = (self.random.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
            (if is_norm { 1.0 + 0.1 * even } else { scale * even }) as f32
        };
        let bytes = (0..shape.iter().product()).flat_map(|_: usize| value().to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), RawTensor { dtype: "F32".into(), shape: shape.to_vec(), bytes });
        Ok(Tensor::absent(shape))
    }
}
