//! What is refused, in one line, before a model is loaded where that can be.

use crate::folder::{Folder, ids, text};

/// What is said of options that a text has no use for, and questions.
const TEXTS: &str = "texts are predicted; leave out the options of questions, or give questions";
const WHOLE: &str = "questions are read whole; leave out --window and --stride, or give a text";

#[test]
fn wrong_files_and_options_are_one_line() {
    let Some(folder) = Folder::new("mixtral") else { return };
    let Some(encoder) = Folder::new("t5_v1_1") else { return };
    let question = r#"{"prompt": "w3 w4", "choices": ["w5", "w6"], "answer": 0}"#;
    let files = [
        ("text.txt", text(&ids(20, 1))),
        ("one.txt", "w1".to_owned()),
        ("empty.txt", " \n".to_owned()),
        ("unknown.txt", "w3 dog w4".to_owned()),
        ("asked.jsonl", format!("{question}\n{question}\n")),
        ("broken.jsonl", format!("{question}\n{{\"prompt\"\n")),
        ("free.jsonl", r#"{"prompt": "w3", "answer": "w4"}"#.to_owned()),
        ("silent.jsonl", r#"{"prompt": "w3", "choices": ["w4", " "], "answer": 0}"#.to_owned()),
        (
            "hollow.jsonl",
            format!("{}\n{}\n", r#"{"prompt": "w3", "answer": "w4"}"#, r#"{"prompt": "", "answer": "w4"}"#),
        ),
        ("long.jsonl", format!(r#"{{"prompt": "{}", "answer": "w4"}}"#, text(&ids(60, 1)))),
    ];
    for (name, text) in &files {
        folder.write(name, text);
        encoder.write(name, text);
    }
    let cases = [
        ("none.txt", 1, "none.txt: cannot open: No such file or directory (os error 2); check the path"),
        ("empty.txt", 1, "empty.txt: nothing to evaluate, expected a text, or lines of JSON"),
        ("one.txt", 1, "one.txt: a text without two tokens, of which one could be predicted"),
        ("broken.jsonl", 1, "broken.jsonl:2: no JSON object (`EOF while parsing an object at column 9`)"),
        (
            "asked.jsonl --shots 2",
            1,
            "asked.jsonl: --shots asks for 2 examples, expected at most 1; name more with --shots-from",
        ),
        (
            "silent.jsonl",
            1,
            "silent.jsonl:1: an answer without a token behind its prompt, expected both to have some",
        ),
        (
            "long.jsonl --max-new-tokens 5",
            1,
            "long.jsonl:1: 65 tokens, expected at most 64; shorten it, or ask for fewer --shots",
        ),
        (
            "asked.jsonl --against model",
            2,
            "--against compares predictions of texts; give a text, or --likelihood for answers",
        ),
        (
            "asked.jsonl --shots 1 --shots-from text.txt",
            2,
            "--shots-from names texts; name a file of questions",
        ),
        ("text.txt --shots 1", 2, TEXTS),
        ("text.txt --shots 1 --shots-from asked.jsonl", 2, TEXTS),
        ("text.txt --cot", 2, TEXTS),
        ("text.txt --likelihood", 2, TEXTS),
        ("text.txt --max-new-tokens 3", 2, TEXTS),
        ("text.txt --until x", 2, TEXTS),
        ("text.txt --normalise exact", 2, TEXTS),
        ("asked.jsonl --window 9", 2, WHOLE),
        ("free.jsonl --stride 9", 2, WHOLE),
        ("free.jsonl --likelihood --window 9", 2, WHOLE),
        (
            "asked.jsonl --normalise exact",
            2,
            "choices are scored, no answer is written; leave out --max-new-tokens, --until and --normalise",
        ),
        (
            "free.jsonl --likelihood --until x",
            2,
            "with --likelihood no answer is written; leave out --max-new-tokens, --until and --normalise",
        ),
        (
            "asked.jsonl --cot",
            2,
            "--cot shows steps in examples, of which there are none; ask for some with --shots",
        ),
        ("asked.jsonl --shots-from asked.jsonl", 2, "--shots <N>; --help shows what is possible"),
        (
            "hollow.jsonl --max-new-tokens 5",
            1,
            "hollow.jsonl:2: model/tokenizer.json: the text has no tokens, expected at least one; give a longer text",
        ),
        ("text.txt --out text.txt", 1, "text.txt: the output would replace an input; name another path"),
        (
            "text.txt --window 0",
            2,
            "expected a whole number from 1 to 16777216; --help shows what is possible",
        ),
        ("text.txt --memory-limit 2TB", 2, "--help shows what is possible"),
    ];
    for (arguments, code, message) in cases {
        let run = folder.eval(arguments);
        assert_eq!(
            (run.code, run.out.as_str(), run.err.lines().count()),
            (code, "", 1),
            "{arguments}: {}",
            run.err
        );
        assert!(run.err.ends_with(&format!("{message}\n")), "{arguments}: {}", run.err);
    }
    let run = encoder.eval("text.txt");
    assert!(run.err.contains("an encoder–decoder predicts what follows a prompt"), "{}", run.err);
    assert_eq!(encoder.eval("free.jsonl --max-new-tokens 2 --json").json()["questions"], 1);
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_loaded() {
    let Some(folder) = Folder::new("mixtral") else { return };
    folder.write("text.txt", &text(&ids(20, 1)));
    let run = folder.eval("text.txt --memory-limit 100kB");
    assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (1, "", 1), "{}", run.err);
    let remedy = "store its weights in fewer bits, with `mixlet lm quantize`, or set another limit with --memory-limit\n";
    assert!(
        run.err.starts_with("error: the model needs 0.0 GiB") && run.err.ends_with(remedy),
        "{}",
        run.err
    );
    assert_eq!(folder.eval("text.txt --memory-limit 1GiB").code, 0);
}
