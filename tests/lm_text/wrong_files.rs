//! Folders whose tokenizers are absent, damaged, or another model's: one message each, and never a crash.

use std::fs;

use mixlet_runtime::models::text::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::small_tokenizers::{BytePairs, unigram, words, write};

fn message(folder: &TempDir) -> String {
    let error = Tokenizer::open(folder.path(), 512).unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn an_absent_tokenizer_is_named_with_the_ways_out() {
    let folder = tempfile::tempdir().unwrap();
    let ids = "or give ids with --input, which works without";
    let expected = "DIR: no tokenizer, expected tokenizer.json, or vocab.json and merges.txt; copy it from where the model \
                    came from, ";
    assert_eq!(message(&folder), format!("{expected}{ids}"));
    fs::write(folder.path().join("spiece.model"), b"\x0a\x05").unwrap();
    let make = "make it with transformers, AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";
    let expected = "DIR: the tokenizer is spiece.model alone, expected tokenizer.json; ";
    assert_eq!(message(&folder), format!("{expected}{make}, {ids}"));
    BytePairs::write_vocab_and_merges(folder.path());
    write(folder.path(), "tokenizer_config.json", &json!({"tokenizer_class": "RobertaTokenizer"}));
    let expected = "DIR/tokenizer_config.json: vocab.json belongs to `RobertaTokenizer`, expected GPT2Tokenizer, \
                    Qwen2Tokenizer or a tokenizer.json; ";
    assert_eq!(message(&folder), format!("{expected}{make}, {ids}"));
}

#[test]
fn damaged_files_are_errors() {
    // A merge that makes a token longer than any: the crate's buffer is too short for it.
    let mut merge = BytePairs::json();
    let long = "a".repeat(9);
    merge["model"]["vocab"][&long] = json!(500);
    merge["model"]["merges"] = json!([format!("{long} {long}")]);
    let mut version = BytePairs::json();
    version["version"] = json!("2.0");
    let mut merges = BytePairs::json();
    merges["model"]["merges"] = json!(["x yz"]);
    let mut model = BytePairs::json();
    model["model"]["type"] = json!("Trigram");
    for (text, reason) in [
        (String::new(), "EOF while parsing"),
        ("{}".to_owned(), "damaged file of a tokenizer"),
        ("[1]".to_owned(), "damaged file of a tokenizer"),
        (version.to_string(), "Unknown tokenizer version"),
        (merges.to_string(), "out of vocabulary"),
        (merge.to_string(), "its rules contradict each other"),
        (model.to_string(), "damaged file of a tokenizer"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        let message = message(&folder);
        assert!(message.starts_with("DIR/tokenizer.json: damaged file of a tokenizer ("), "{message}");
        assert!(message.contains(reason) && message.ends_with("; copy it again"), "{message}");
    }
}

#[test]
fn damaged_files_beside_it_are_errors() {
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "tokenizer.json", &BytePairs::json());
        for text in ["{", "[]", "\"x\""] {
            fs::write(folder.path().join(name), text).unwrap();
            assert!(
                message(&folder).starts_with(&format!("DIR/{name}: damaged file of a tokenizer (")),
                "{text}"
            );
        }
    }
}

#[test]
fn tokens_of_another_model_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", &BytePairs::json());
    let tokenizer = Tokenizer::open(folder.path(), 259).unwrap();
    let error = tokenizer.encode("hello").unwrap_err().to_string();
    let expected =
        "the token `hello` has the id 259, expected 0 to 258; the tokenizer belongs to another model";
    assert!(error.ends_with(expected), "{error}");
    for text in ["", "\u{0}"] {
        write(folder.path(), "tokenizer.json", &words(&["a"]));
        let tokenizer = Tokenizer::open(folder.path(), 259).unwrap();
        let error = tokenizer.encode(text).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: the text "), "{error}");
    }
}

/// Every value of a file in turn becomes another: it is read, or refused.
#[test]
fn changed_files_never_crash() {
    fn places(value: &Value, path: String, all: &mut Vec<String>) {
        all.push(path.clone());
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => {
                map.iter().map(|(key, value)| (key.replace('/', "~1"), value)).take(9).collect()
            }
            Value::Array(list) => {
                list.iter().enumerate().map(|(nth, value)| (nth.to_string(), value)).take(3).collect()
            }
            _ => Vec::new(),
        };
        children.into_iter().for_each(|(key, value)| places(value, format!("{path}/{key}"), all));
    }
    let others = [
        json!(null),
        json!(-1),
        json!(1e30),
        json!(4_294_967_296_u64),
        json!(""),
        json!("💥("),
        json!([]),
        json!({}),
    ];
    let (mut read, mut refused) = (0, 0);
    for file in [BytePairs::json(), unigram(), words(&["a", "?"])] {
        let mut all = Vec::new();
        places(&file, String::new(), &mut all);
        for place in all {
            for other in &others {
                let mut changed = file.clone();
                *changed.pointer_mut(&place).unwrap() = other.clone();
                let folder = tempfile::tempdir().unwrap();
                write(folder.path(), "tokenizer.json", &changed);
                match Tokenizer::open(folder.path(), 512) {
                    Ok(tokenizer) => {
                        read += 1;
                        if let Ok(ids) = tokenizer.encode("hello the cat 🦜 a ?") {
                            let _ = tokenizer.decode(&ids);
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(read > 50 && refused > 200, "{read} read, {refused} refused");
}
