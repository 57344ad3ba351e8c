//! Small tokenizers, as the files that programs write.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The character that stands for a byte in files of byte-level tokenizers, by GPT-2's table: printable bytes stand for
/// themselves, the others for the characters from 256 on, in order.
pub fn letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let nth = (0..byte).filter(|byte| !printable(*byte)).count() as u32;
            char::from_u32(256 + nth).unwrap()
        }
    }
}

fn letters(text: &str) -> String {
    text.bytes().map(letter).collect()
}

/// Pairs that become one token, as text.
const MERGES: [(&str, &str); 6] =
    [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), (" ", "w"), ("i", "n")];

/// Bytes, six merged pairs, and then `<|end|>`, `<|user|>`, `<|assistant|>`.
pub struct BytePairs;

impl BytePairs {
    /// Of all bytes, the id of `<|end|>`.
    pub const END: u32 = 262;
    /// Of printable bytes, the ids there are.
    pub const PRINTABLE: usize = 95 + MERGES.len() + 3;

    fn vocab(bytes: RangeInclusive<u8>) -> Map<String, Value> {
        let bytes = bytes.map(|byte| letter(byte).to_string());
        let merged = MERGES.iter().map(|(a, b)| letters(a) + &letters(b));
        bytes.chain(merged).zip(0..).map(|(token, id)| (token, json!(id))).collect()
    }

    fn merges() -> Vec<String> {
        MERGES.iter().map(|(a, b)| format!("{} {}", letters(a), letters(b))).collect()
    }

    fn added(first: usize) -> Vec<Value> {
        let names = ["<|end|>", "<|user|>", "<|assistant|>"];
        let token = |(name, id): (&str, usize)| {
            json!({"id": id, "content": name, "special": true, "normalized": false,
                   "single_word": false, "lstrip": false, "rstrip": false})
        };
        names.into_iter().zip(first..).map(token).collect()
    }

    fn of(bytes: RangeInclusive<u8>) -> Value {
        let level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let vocab = Self::vocab(bytes);
        json!({
            "version": "1.0", "added_tokens": Self::added(vocab.len()), "normalizer": null,
            "pre_tokenizer": level, "post_processor": null, "decoder": level,
            "model": {"type": "BPE", "vocab": vocab, "merges": Self::merges()},
        })
    }

    /// Of all bytes.
    pub fn json() -> Value {
        Self::of(0..=255)
    }

    /// Of printable bytes: whatever is written is one line.
    pub fn printable() -> Value {
        Self::of(b' '..=b'~')
    }

    /// The same as GPT-2 has it.
    pub fn write_vocab_and_merges(folder: &Path) {
        write(folder, "vocab.json", &Value::Object(Self::vocab(0..=255)));
        fs::write(folder.join("merges.txt"), format!("#version: 0.2\n{}\n", Self::merges().join("\n")))
            .unwrap();
        let added: Map<String, Value> = Self::added(Self::END as usize)
            .iter()
            .map(|it| (it["content"].as_str().unwrap().to_owned(), it["id"].clone()))
            .collect();
        write(folder, "added_tokens.json", &Value::Object(added));
    }
}

/// Words with the space before them as T5 has them, bytes for what is no word, and an end id after every text.
pub fn unigram() -> Value {
    let mut vocab = vec![json!(["<pad>", 0.0]), json!(["</s>", 0.0]), json!(["<unk>", 0.0])];
    let pieces = ["▁", "▁the", "▁cat", "▁sat", "s", "t", "a", "e", "h", "c", "."];
    vocab.extend(pieces.iter().zip(2..).map(|(piece, rank)| json!([piece, -f64::from(rank)])));
    vocab.extend((0..=255).map(|byte| json!([format!("<0x{byte:02X}>"), -20.0])));
    let space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let special = |id: u32, name: &str| {
        json!({"id": id, "content": name, "special": true, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
    json!({
        "version": "1.0", "normalizer": null, "pre_tokenizer": space,
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"},
        "added_tokens": [special(0, "<pad>"), special(1, "</s>"), special(2, "<unk>")],
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, space]},
        "post_processor": {"type": "TemplateProcessing", "single": [text, end], "pair": [text, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": true, "vocab": vocab},
    })
}

/// Words between spaces; what is none of them is nothing.
pub fn words(words: &[&str]) -> Value {
    let vocab: Map<String, Value> =
        words.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"},
    })
}

/// Writes a file of JSON.
pub fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}
