//! Tokens with a meaning, by the files that name them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::files::object;
use crate::error::{ConfigProblem, Error, Result};
use crate::models::ModelConfig;

/// What the names of such tokens end with.
const SUFFIX: &str = "_token";

/// The texts of tokens with a meaning by their names. `tokenizer_config.json` goes before `special_tokens_map.json`, and either may
/// say `"</s>"` or `{"content": "</s>", …}`.
pub(super) fn texts(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        for (key, value) in object(&folder.join(name))?.into_iter().flatten() {
            if let (true, Some(text)) = (key.ends_with(SUFFIX), content(&value)) {
                all.insert(key, text.to_owned());
            }
        }
    }
    Ok(all)
}

/// The text of a token.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// The ids that end a text: those of `generation_config.json`, which for chats names more than `config.json`; else the
/// model's own.
pub fn end_ids(folder: &Path, config: &ModelConfig) -> Result<Vec<u32>> {
    let path = folder.join("generation_config.json");
    let Some(keys) = object(&path)? else { return Ok(config.ids.end.clone()) };
    let ids = match keys.get("eos_token_id") {
        None | Some(Value::Null) => return Ok(config.ids.end.clone()),
        Some(Value::Array(ids)) => &ids[..],
        Some(id) => std::slice::from_ref(id),
    };
    let checked = |value: &Value| {
        let id = value.as_u64().filter(|id| *id < config.vocab as u64).map(|id| id as u32);
        let (found, expected) = (value.to_string(), format!("ids from 0 to {}", config.vocab - 1));
        let problem = ConfigProblem::Value { key: "eos_token_id", found, expected };
        id.ok_or(Error::Config { path: path.clone(), problem })
    };
    ids.iter().map(checked).collect()
}
