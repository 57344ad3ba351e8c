//! The rules of a tokenizer out of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::files::{object, text};
use super::{guarded, special::content};
use crate::error::{Result, TextProblem};

/// Qwen's rule for words, by [its tokenizer](https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json); GPT-2's is the crate's own.
const QWEN_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Files of sentencepiece.
const SENTENCEPIECE: [&str; 3] = ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model"];

/// Reads what a folder has, and says where.
pub(super) fn read(
    folder: &Path,
    special: &BTreeMap<String, String>,
) -> Result<(PathBuf, tokenizers::Tokenizer)> {
    let path = folder.join("tokenizer.json");
    if let Some(text) = text(&path)? {
        let rules = build(text.as_bytes()).map_err(|reason| TextProblem::Damaged { reason }.at(&path))?;
        return Ok((path, rules));
    }
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    if let (Some(ids), Some(merges)) = (object(&vocab)?, text(&merges)?) {
        let written = byte_pairs(folder, special, ids, &merges)?.to_string();
        let rules = build(written.as_bytes()).map_err(|reason| TextProblem::Damaged { reason }.at(&vocab))?;
        return Ok((vocab, rules));
    }
    let file = SENTENCEPIECE.into_iter().find(|name| folder.join(name).exists());
    Err(file.map_or(TextProblem::Absent, |file| TextProblem::SentencePiece { file }).at(folder))
}

fn build(text: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    guarded(|| tokenizers::Tokenizer::from_bytes(text))
}

/// The `tokenizer.json` of byte-level pairs: `vocab.json` and `merges.txt` as GPT-2 and Qwen have them.
fn byte_pairs(
    folder: &Path,
    special: &BTreeMap<String, String>,
    vocab: Map<String, Value>,
    merges: &str,
) -> Result<Value> {
    let path = folder.join("tokenizer_config.json");
    let config = object(&path)?.unwrap_or_default();
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or("GPT2Tokenizer");
    let prefix_space = config.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
    let bytes = |use_regex| json!({"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": use_regex});
    let (normalizer, words) = match class.strip_suffix("Fast").unwrap_or(class) {
        "GPT2Tokenizer" => (Value::Null, bytes(true)),
        "Qwen2Tokenizer" => {
            let split = json!({"type": "Split", "pattern": {"Regex": QWEN_WORDS}, "behavior": "Isolated", "invert": false});
            (json!({"type": "NFC"}), json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}))
        }
        other => {
            let found = other.to_owned();
            return Err(TextProblem::Class { found }.at(&path));
        }
    };
    let merges: Vec<&str> =
        merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(folder, &config, special, &vocab)?,
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "decoder": bytes(true),
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }))
}

/// Tokens that are no pairs, in the order of their ids.
fn added(
    folder: &Path,
    config: &Map<String, Value>,
    special: &BTreeMap<String, String>,
    vocab: &Map<String, Value>,
) -> Result<Vec<Value>> {
    let mut tokens: BTreeMap<u64, Value> = BTreeMap::new();
    let token = |id: u64, text: &str, special: bool| {
        json!({"id": id, "content": text, "special": special, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    };
    let is_special = |text: &str| special.values().any(|special| special == text);
    for (text, id) in object(&folder.join("added_tokens.json"))?.into_iter().flatten() {
        if let Some(id) = id.as_u64() {
            tokens.insert(id, token(id, &text, is_special(&text)));
        }
    }
    for text in special.values() {
        if let Some(id) = vocab.get(text).and_then(Value::as_u64) {
            tokens.insert(id, token(id, text, true));
        }
    }
    let decoder = config.get("added_tokens_decoder").and_then(Value::as_object);
    for (id, value) in decoder.into_iter().flatten() {
        if let (Ok(id), Some(text)) = (id.parse(), content(value)) {
            let special = value.get("special").and_then(Value::as_bool).unwrap_or(false);
            tokens.insert(id, token(id, text, special || is_special(text)));
        }
    }
    Ok(tokens.into_values().collect())
}
