//! Texts that end a text: found wherever tokens part them, cut off, and nothing given out that belongs to them.

use mixlet_runtime::models::text::{StopTexts, StoppedStream, Tokenizer};
use tempfile::TempDir;

use crate::common::random::SplitMix;
use crate::common::small_tokenizers::{BytePairs, write};

fn tokenizer() -> (TempDir, Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", &BytePairs::json());
    let tokenizer = Tokenizer::open(folder.path(), 512).unwrap();
    (folder, tokenizer)
}

fn stops(texts: &[&str]) -> StopTexts {
    StopTexts::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

/// The pieces up to the end, and whether a text ended it.
fn pieces(tokenizer: &Tokenizer, stops: &StopTexts, ids: &[u32]) -> (Vec<String>, bool) {
    let mut stream = StoppedStream::new(tokenizer, &[], stops).unwrap();
    let mut pieces = Vec::new();
    for id in ids {
        pieces.push(stream.push(*id).unwrap());
        if stream.is_stopped() {
            return (pieces, true);
        }
    }
    pieces.push(stream.finish().unwrap());
    (pieces, false)
}

#[test]
fn what_may_begin_a_stop_is_held_until_it_is_certain() {
    let (_folder, tokenizer) = tokenizer();
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    // "hello" is one token, " w" another.
    let cases: [(&[&str], &str, &[&str], bool); 7] = [
        (&["lo w"], "hello world", &["hel", ""], true),
        (&["wo"], "hello world", &["hello", " ", ""], true),
        (&["won"], "hello world", &["hello", " ", "", "wor", "l", "d", ""], false),
        (&["dx"], "hello world", &["hello", " w", "o", "r", "l", "", "d"], false),
        (&["hello"], "hello world", &[""], true),
        (&["🦜"], "a🦜b", &["a", "", "", "", ""], true),
        (&["aab"], "aaab", &["", "", "a", ""], true),
    ];
    for (texts, text, expected, is_stopped) in cases {
        assert_eq!(
            pieces(&tokenizer, &stops(texts), &ids(text)),
            (expected.iter().map(|it| (*it).to_owned()).collect(), is_stopped),
            "{texts:?}"
        );
    }
}

#[test]
fn streams_say_what_comes_before_the_first_stop() {
    let (_folder, tokenizer) = tokenizer();
    let mut random = SplitMix(3);
    let mut ended = 0;
    for _ in 0..2000 {
        let mut text = |most: usize| -> String {
            (0..1 + random.below(most))
                .map(|_| ["a", "b", "hello", " w", "é", "🦜"][random.below(6)])
                .collect()
        };
        let (said, texts) = (text(12), [text(2), text(3)]);
        let stops = stops(&texts.each_ref().map(String::as_str));
        let ids = tokenizer.encode(&said).unwrap();
        let (pieces, is_stopped) = pieces(&tokenizer, &stops, &ids);
        // Naively: the text after every token, until one of the stops is in it.
        let place = (1..=ids.len()).find_map(|count| stops.find(&tokenizer.decode(&ids[..count]).unwrap()));
        assert_eq!(
            (pieces.concat(), is_stopped),
            (said[..place.unwrap_or(said.len())].to_owned(), place.is_some()),
            "{said}, {texts:?}"
        );
        ended += usize::from(is_stopped);
    }
    assert!((500..1500).contains(&ended), "{ended}");
}

#[test]
fn empty_stops_end_nothing() {
    let (_folder, tokenizer) = tokenizer();
    let none = stops(&["", ""]);
    assert!(none.is_empty() && none.find("a").is_none());
    let (pieces, is_stopped) = pieces(&tokenizer, &none, &[259, 260]);
    assert_eq!((pieces.concat().as_str(), is_stopped), ("hello w", false));
}
