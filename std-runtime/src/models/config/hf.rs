//! From the `config.json` of transformers to a configuration, by `model_type`.

use std::fs;
use std::path::Path;

use mixlet_core::activation::Activation;
use serde_json::Value;

use super::keys::Keys;
use super::{Layer, ModelConfig, SpecialIds, Stack, decoders, deepseek, gpt_oss, nllb, t5};
use crate::error::{ConfigProblem, Error, Result};

/// What makes a model of the keys.
type Reader = fn(Keys<'_>) -> Result<ModelConfig, ConfigProblem>;

/// Every `model_type`, with its reader.
const READERS: [(&str, Reader); 13] = [
    ("t5", t5::t5),
    ("switch_transformers", t5::switch),
    ("nllb-moe", nllb::nllb),
    ("llama", decoders::llama),
    ("mistral", decoders::llama),
    ("qwen2", decoders::qwen2),
    ("qwen3", decoders::qwen3),
    ("mixtral", decoders::mixtral),
    ("olmoe", decoders::olmoe),
    ("qwen2_moe", decoders::qwen2_moe),
    ("qwen3_moe", decoders::qwen3_moe),
    ("deepseek_v3", deepseek::deepseek_v3),
    ("gpt_oss", gpt_oss::gpt_oss),
];

/// The values of `model_type` that are known.
pub const KNOWN: [&str; READERS.len()] = {
    let mut names = [""; READERS.len()];
    let mut nth = 0;
    while nth < names.len() {
        names[nth] = READERS[nth].0;
        nth += 1;
    }
    names
};

/// Bytes that a `config.json` has at most: real ones have a few thousand.
const MOST_BYTES: u64 = 1 << 24;

impl ModelConfig {
    /// Reads the `config.json` of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let fail = |what, source| Error::Io { path: path.clone(), what, source };
        let len = fs::metadata(&path).map_err(|source| fail("open", source))?.len();
        let problem = |problem| Error::Config { path: path.clone(), problem };
        if len > MOST_BYTES {
            let reason = format!("{len} bytes, expected at most {MOST_BYTES}");
            return Err(problem(ConfigProblem::Json { reason }));
        }
        let text = fs::read_to_string(&path).map_err(|source| fail("read", source))?;
        Self::from_hf(&text).map_err(problem)
    }

    /// The model that the text of a `config.json` describes.
    ///
    /// ```
    /// # use mixlet_runtime::{error::ConfigProblem, models::ModelConfig};
    /// let text = r#"{"model_type": "t5", "vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}"#;
    /// let config = ModelConfig::from_hf(text).unwrap();
    /// assert_eq!((config.vocab, config.decoder.layers.len(), config.decoder.layers[0].blocks.len()), (96, 2, 3));
    /// let wrong = ModelConfig::from_hf(&text.replace("32", "0")).unwrap_err();
    /// assert_eq!(wrong.to_string(), "`d_model` is `0`, expected a whole number from 1 to 16777216");
    /// ```
    pub fn from_hf(text: &str) -> Result<Self, ConfigProblem> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| ConfigProblem::Json { reason: error.to_string() })?;
        let Value::Object(map) = &value else {
            return Err(ConfigProblem::Json { reason: "no object".to_owned() });
        };
        let keys = Keys(map);
        let kind = keys.text("model_type")?.ok_or(ConfigProblem::Missing { key: "model_type" })?;
        let reader = READERS.iter().find(|(name, _)| *name == kind).map(|(_, reader)| reader);
        let unknown = || ConfigProblem::Architecture { found: kind.to_owned() };
        if keys.get("quantization_config").is_some() {
            return Err(keys.refuse("quantization_config", "none: weights in f32, bf16 or f16"));
        }
        reader.ok_or_else(unknown)?(keys)?.check()
    }
}

/// Layers by their numbers.
pub(super) fn stack(
    layers: usize,
    layer: impl FnMut(usize) -> Result<Layer, ConfigProblem>,
) -> Result<Stack, ConfigProblem> {
    Ok(Stack { layers: (0..layers).map(layer).collect::<Result<_, _>>()? })
}

/// The ids that most files name.
pub(super) fn special_ids(keys: Keys<'_>) -> Result<SpecialIds, ConfigProblem> {
    Ok(SpecialIds {
        pad: keys.id("pad_token_id")?,
        end: keys.ids("eos_token_id")?,
        decoder_start: keys.id("decoder_start_token_id")?,
    })
}

/// An activation by the name that transformers gives it.
pub(super) fn activation(
    keys: Keys<'_>,
    key: &'static str,
    default: &str,
) -> Result<Activation, ConfigProblem> {
    match keys.text(key)?.unwrap_or(default) {
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        _ => Err(keys.refuse(key, "one of relu, silu, gelu, gelu_new")),
    }
}
