//! The small files around a tokenizer.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result, TextProblem};

/// Bytes that a file about tokens has at most: the largest real ones have some 40 million.
const MOST_BYTES: u64 = 1 << 28;

/// The text of a file; `None` if there is none.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    let fail = |what, source| Error::Io { path: path.to_owned(), what, source };
    let facts = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fail("open", source)),
        Ok(facts) => facts,
    };
    // A pipe would be waited for, a device has no end.
    if !facts.is_file() {
        return Err(TextProblem::Damaged { reason: "no regular file".to_owned() }.at(path));
    }
    if facts.len() > MOST_BYTES {
        return Err(TextProblem::TooLarge { found: facts.len(), limit: MOST_BYTES }.at(path));
    }
    fs::read_to_string(path).map(Some).map_err(|source| fail("read", source))
}

/// The object in a file of JSON; `None` if there is no file.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(text) = text(path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(Some(map)),
        Ok(_) => Err(TextProblem::Damaged { reason: "no object".to_owned() }.at(path)),
        Err(error) => Err(TextProblem::Damaged { reason: error.to_string() }.at(path)),
    }
}
