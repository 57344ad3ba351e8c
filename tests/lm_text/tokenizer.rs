//! Tokenizers of three kinds: text becomes ids, ids become text, at once or piece by piece.

use std::path::Path;

use mixlet_runtime::models::ModelConfig;
use mixlet_runtime::models::text::{Tokenizer, end_ids};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::small_tokenizers::{BytePairs, letter, unigram, words, write};

const TEXTS: [&str; 6] =
    ["hello world", "in", "  two  spaces\n\n", "Grüße, 世界! 🦜🦜", "a\u{301}e", "<|end|> hello"];

fn folder(tokenizer: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", tokenizer);
    folder
}

fn open(folder: &Path) -> Tokenizer {
    Tokenizer::open(folder, 512).unwrap()
}

/// The pieces of a stream and what is left at its end.
fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut stream = tokenizer.stream(&[]).unwrap();
    let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

#[test]
fn pairs_of_bytes_are_merged_by_rank_and_any_text_comes_back() {
    let folder = folder(&BytePairs::json());
    let tokenizer = open(folder.path());
    let byte = |letter: u8| u32::from(letter);
    // "hell" + "o" is the token 259; " w" is 260.
    let expected = [259, 260, byte(b'o'), byte(b'r'), byte(b'l'), byte(b'd')];
    assert_eq!(tokenizer.encode("hello world").unwrap(), expected);
    assert_eq!(tokenizer.encode("<|end|>hello").unwrap(), [BytePairs::END, 259]);
    assert_eq!((letter(b' '), letter(b'a')), ('Ġ', 'a'));
    for text in TEXTS {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text.replace("<|end|>", ""), "{text}");
    }
}

#[test]
fn vocab_and_merges_say_the_same() {
    let (one, other) = (folder(&BytePairs::json()), tempfile::tempdir().unwrap());
    BytePairs::write_vocab_and_merges(other.path());
    write(other.path(), "special_tokens_map.json", &json!({"eos_token": "<|end|>"}));
    let [one, other] = [one.path(), other.path()].map(open);
    for text in TEXTS {
        assert_eq!(one.encode(text).unwrap(), other.encode(text).unwrap(), "{text}");
    }
    assert_eq!(other.decode(&[259, BytePairs::END]).unwrap(), "hello");
    assert_eq!(other.special("eos_token"), Some("<|end|>"));
}

#[test]
fn qwen_joins_letters_and_their_accents() {
    let folder = tempfile::tempdir().unwrap();
    BytePairs::write_vocab_and_merges(folder.path());
    let classes = ["GPT2Tokenizer", "Qwen2TokenizerFast"].map(|class| {
        write(folder.path(), "tokenizer_config.json", &json!({"tokenizer_class": class}));
        open(folder.path())
    });
    let [gpt2, qwen] = classes.each_ref().map(|it| it.encode("a\u{301} w").unwrap());
    let bytes = |text: &str| -> Vec<u32> { text.bytes().map(u32::from).chain([260]).collect() };
    assert_eq!((gpt2, qwen), (bytes("a\u{301}"), bytes("á")));
}

#[test]
fn a_unigram_ends_texts_as_t5_does_and_is_not_cut() {
    let folder = folder(&unigram());
    let tokenizer = open(folder.path());
    // "▁the" is 4, "▁cat" 5, "▁sat" 6, "." 13; the file's own limit of four tokens and its padding are passed over.
    assert_eq!(tokenizer.encode("the cat sat.").unwrap(), [4, 5, 6, 13, 1]);
    assert_eq!(tokenizer.encode_bare("the cat sat.").unwrap(), [4, 5, 6, 13]);
    assert_eq!(tokenizer.decode(&[4, 5, 6, 13, 1]).unwrap(), "the cat sat.");
    // What is no word is made of bytes.
    let parrot = tokenizer.encode("cat 🦜").unwrap();
    let bytes: Vec<u32> = "🦜".bytes().map(|byte| 14 + u32::from(byte)).collect();
    assert_eq!(parrot, [&[5, 3], &bytes[..], &[1]].concat());
    assert_eq!(tokenizer.decode(&parrot).unwrap(), "cat 🦜");
}

#[test]
fn pieces_are_whole_characters_and_make_the_text() {
    for (rules, texts) in [
        (BytePairs::json(), &TEXTS[..]),
        (unigram(), &["the cat sat.", "a 🦜 sat", "世界 cat"]),
        (words(&["a", "b", "?"]), &["a b b a"]),
    ] {
        let folder = folder(&rules);
        let tokenizer = open(folder.path());
        for text in texts {
            let ids = tokenizer.encode(text).unwrap();
            let pieces = pieces(&tokenizer, &ids);
            assert_eq!(pieces.concat(), tokenizer.decode(&ids).unwrap(), "{text}: {pieces:?}");
            assert!(!pieces.concat().contains('\u{fffd}'), "{text}: {pieces:?}");
            let last_of_all = pieces.last().unwrap();
            assert!(last_of_all.is_empty(), "{text}: nothing is held to the end: {pieces:?}");
        }
    }
}

/// Sentencepiece's words hold the space before them, which the first of a text loses.
#[test]
fn what_follows_a_prompt_keeps_its_first_space() {
    let (unigram, llama) = (unigram(), {
        let mut llama = unigram();
        let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        llama["decoder"]["decoders"] = json!([replace, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]);
        llama
    });
    for (rules, text) in [
        (&unigram, "the cat sat. the cat"),
        (&unigram, "🦜 the 🦜🦜 cat"),
        (&llama, "the cat sat. the cat"),
        (&llama, "🦜 the 🦜🦜 cat"),
        (&BytePairs::json(), "hello world 🦜 in"),
        (&words(&["a", "b"]), "a b b a"),
    ] {
        let folder = folder(rules);
        let tokenizer = open(folder.path());
        let ids = tokenizer.encode_bare(text).unwrap();
        for place in 0..=ids.len() {
            let (prompt, ids) = ids.split_at(place);
            let before = if prompt.is_empty() { String::new() } else { tokenizer.decode(prompt).unwrap() };
            let whole = tokenizer.decode_behind(prompt, ids).unwrap();
            // Where a character is not torn apart, the two make the text.
            if !before.ends_with('\u{fffd}') {
                assert_eq!(before.clone() + &whole, text, "{place} of {text}");
            }
            let mut stream = tokenizer.stream(prompt).unwrap();
            let pieces: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            assert_eq!(pieces + &stream.finish().unwrap(), whole, "{place} of {text}");
        }
    }
    let folder = folder(&unigram);
    let tokenizer = open(folder.path());
    let (the, cat) = (tokenizer.id("▁the").unwrap(), tokenizer.id("▁cat").unwrap());
    assert_eq!(tokenizer.decode_behind(&[the], &[cat]).unwrap(), " cat");
    assert_eq!(tokenizer.decode(&[cat]).unwrap(), "cat");
}

#[test]
fn a_character_comes_with_its_last_byte() {
    let folder = folder(&BytePairs::json());
    let tokenizer = open(folder.path());
    let ids: Vec<u32> = "é🦜".bytes().map(u32::from).collect();
    assert_eq!(pieces(&tokenizer, &ids), ["", "é", "", "", "", "🦜", ""]);
    // Special tokens have no text, and take no space from the token after them.
    let ids = [259, BytePairs::END, 260];
    assert_eq!(pieces(&tokenizer, &ids), ["hello", "", " w", ""]);
}

#[test]
fn bytes_that_never_make_a_character_are_given_up() {
    let folder = folder(&BytePairs::json());
    let tokenizer = open(folder.path());
    // A byte that begins a character and is followed by another beginning.
    let [first, later] = [pieces(&tokenizer, &[0xe4, 259]), pieces(&tokenizer, &[0xff; 40])];
    assert_eq!(first, ["", "\u{fffd}hello", ""]);
    assert_eq!(later.concat(), "\u{fffd}".repeat(40));
    assert_eq!(later.iter().take(16).filter(|piece| !piece.is_empty()).count(), 1);
    // An unfinished one at the end is given out with it.
    assert_eq!(pieces(&tokenizer, &[259, 0xe4]), ["hello", "", "\u{fffd}"]);
}

#[test]
fn ids_without_a_token_have_no_text() {
    let folder = folder(&BytePairs::json());
    let tokenizer = open(folder.path());
    assert_eq!(tokenizer.decode(&[259, 400, 259]).unwrap(), "hellohello");
    assert_eq!(pieces(&tokenizer, &[259, 400, 259]), ["hello", "", "hello", ""]);
}

#[test]
fn special_tokens_are_those_of_either_file() {
    let folder = folder(&BytePairs::json());
    write(
        folder.path(),
        "special_tokens_map.json",
        &json!({"eos_token": "old", "pad_token": {"content": "<|end|>"}}),
    );
    let config = json!({"eos_token": {"content": "<|end|>", "lstrip": false}, "bos_token": null, "add_bos_token": true});
    write(folder.path(), "tokenizer_config.json", &config);
    let tokenizer = open(folder.path());
    let found = ["eos_token", "pad_token", "bos_token", "add_bos_token"].map(|name| tokenizer.special(name));
    assert_eq!(found, [Some("<|end|>"), Some("<|end|>"), None, None]);
    assert_eq!(tokenizer.id("<|end|>"), Some(BytePairs::END));
}

#[test]
fn end_ids_are_those_of_generation_where_it_has_some() {
    let text = r#"{"model_type": "t5", "vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2,
                   "num_heads": 4, "eos_token_id": 7}"#;
    let config = ModelConfig::from_hf(text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(end_ids(folder.path(), &config).unwrap(), [7]);
    for (value, ids) in
        [(json!([1, 2]), &[1, 2][..]), (json!(95), &[95]), (json!(null), &[7]), (json!([]), &[])]
    {
        write(folder.path(), "generation_config.json", &json!({"eos_token_id": value}));
        assert_eq!(end_ids(folder.path(), &config).unwrap(), ids, "{value}");
    }
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": [1, 96]}));
    let error = end_ids(folder.path(), &config).unwrap_err().to_string();
    assert!(
        error.ends_with("generation_config.json: `eos_token_id` is `96`, expected ids from 0 to 95"),
        "{error}"
    );
}
