//! `mixlet lm generate` with text: prompts, chats, chance, stops, and one wrong use of each.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mixlet_runtime::models::Model;
use mixlet_runtime::models::forward::Tokens;
use mixlet_runtime::models::generate::Generation;
use mixlet_runtime::models::text::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::command::{Run, program};
use crate::common::small_models::{mixtral, switch, write_model};
use crate::common::small_tokenizers::{BytePairs, unigram, write};

const TEMPLATE: &str =
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>";

/// A small model with a tokenizer, in a folder of its own.
struct Small {
    folder: TempDir,
    tokenizer: Tokenizer,
    model: Model,
}

impl Small {
    fn new(config: &Value, rules: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), config, 11);
        write(folder.path(), "tokenizer.json", rules);
        write(
            folder.path(),
            "tokenizer_config.json",
            &json!({"chat_template": TEMPLATE, "eos_token": "<|end|>"}),
        );
        let model = Model::import(folder.path()).unwrap().model;
        let tokenizer = Tokenizer::open(folder.path(), model.config.vocab).unwrap();
        Self { folder, tokenizer, model }
    }

    fn mixtral() -> Self {
        Self::new(&mixtral(BytePairs::PRINTABLE), &BytePairs::printable())
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "")
    }

    /// `mixlet lm generate . ARGUMENTS` with a text on standard input.
    fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        run(self.folder.path(), arguments, input)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// New ids behind a prompt, and their text.
    fn alone(&self, prompt: &[u32], how: Generation) -> (Vec<u32>, String) {
        let written = self.model.generate(Tokens { ids: prompt, real: None }, 1, how, &mut ()).unwrap();
        let ids = written.sequences[0][written.prompt..].to_vec();
        let text = self.tokenizer.decode(&ids).unwrap();
        (ids, text)
    }

    fn greedy(&self, prompt: &str) -> (Vec<u32>, String) {
        self.alone(&self.tokenizer.encode(prompt).unwrap(), Generation::default())
    }
}

fn run(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut command = Command::new(program());
    command.args(["lm", "generate", "."]).args(arguments).current_dir(folder);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_prompt_is_written_on() {
    let small = Small::mixtral();
    let (ids, text) = small.greedy("hello world");
    let run = small.run(&["--prompt", "hello world"]);
    assert_eq!((run.code, run.out), (0, text.clone() + "\n"), "{}", run.err);
    assert!(
        run.err.starts_with("note: 6 prompt tokens in ") && run.err.contains(", 20 new ones in "),
        "{}",
        run.err
    );
    assert_eq!(run.err.lines().count(), 1);
    assert_eq!(small.run(&["--prompt", "hello world", "--stream"]).out, text.clone() + "\n");

    let json = small.run(&["--prompt", "hello world", "--json"]).json();
    let prompt = small.tokenizer.encode("hello world").unwrap();
    assert_eq!(json["texts"], json!([text]));
    assert_eq!(json["ids"], json!([ids]));
    assert_eq!(json["sequences"], json!([&[prompt, ids].concat()]));
    assert_eq!((&json["finish"], &json["scores"]), (&json!(["length"]), &json!([])));
    assert_eq!((&json["prompt_tokens"], &json["new_tokens"]), (&json!(6), &json!(20)));
    for key in ["read", "prefill", "decode"] {
        assert!(json["seconds"][key].as_f64().unwrap() >= 0.0, "{key}");
    }
}

#[test]
fn prompts_of_any_length_from_anywhere_are_answered_as_if_alone() {
    let small = Small::mixtral();
    let prompts = ["hello", "a much longer prompt than the first", "x", "in between"];
    let expected: Vec<String> = prompts.iter().map(|prompt| small.greedy(prompt).1 + "\n").collect();
    let lines = prompts.join("\n");
    small.write("lines.txt", &lines);
    let objects = prompts.map(|prompt| json!({ "prompt": prompt, "other": 1 }).to_string());
    small.write("objects.jsonl", &objects.join("\n"));
    let each = prompts.iter().flat_map(|prompt| ["--prompt", prompt]).collect::<Vec<_>>();
    let ways: [(&[&str], &str); 6] = [
        (&each, ""),
        (&["--prompts", "lines.txt"], ""),
        (&["--prompts", "lines.txt", "--batch", "1"], ""),
        (&["--prompts", "lines.txt", "--batch", "3", "--threads", "1"], ""),
        (&["--prompts", "objects.jsonl"], ""),
        (&["--prompts", "-"], &lines),
    ];
    for (arguments, input) in ways {
        let run = small.run_with(arguments, input);
        assert_eq!((run.code, run.out), (0, expected.concat()), "{arguments:?}: {}", run.err);
    }
    assert_eq!(small.run_with(&["--prompt", "-"], "in between\n").out, expected[3]);
    let json = small.run(&["--prompts", "lines.txt", "--json"]).json();
    for (nth, prompt) in prompts.into_iter().enumerate() {
        let sequence = [small.tokenizer.encode(prompt).unwrap(), small.greedy(prompt).0].concat();
        assert_eq!(json["sequences"][nth], json!(sequence), "no padding is left");
    }
}

#[test]
fn an_encoder_reads_the_prompt_with_its_end() {
    let small = Small::new(&switch(270), &unigram());
    let (ids, text) = small.greedy("the cat sat.");
    let json = small.run(&["--prompt", "the cat sat.", "--prompt", "the", "--json"]).json();
    assert_eq!((&json["texts"][0], &json["ids"][0]), (&json!(text), &json!(ids)));
    assert_eq!(json["texts"][1], json!(small.greedy("the").1));
    assert_eq!(json["sequences"][0], json!([vec![0], ids].concat()));
    assert_eq!(json["prompt_tokens"], json!(5 + 2));
    let beams = small.run(&["--prompt", "the cat sat.", "--beams", "3", "--json"]).json();
    let prompt = small.tokenizer.encode("the cat sat.").unwrap();
    let expected = small.alone(&prompt, Generation { beams: 3, ..Generation::default() });
    assert_eq!((&beams["ids"][0], beams["scores"].as_array().unwrap().len()), (&json!(expected.0), 1));
}

#[test]
fn end_ids_and_stops_end_a_text_and_are_not_in_it() {
    let small = Small::mixtral();
    let (ids, text) = small.greedy("hello");
    // Text that begins in the middle of the third token's and ends in the fifth's.
    let middle: String = text.chars().skip(3).take(3).collect();
    let place = text.find(&middle).unwrap();
    for arguments in [&["--json"][..], &["--json", "--stop", "never", "--batch", "1"]] {
        let json = small.run(&[&["--prompt", "hello", "--stop", &middle], arguments].concat()).json();
        assert_eq!((&json["texts"], &json["finish"]), (&json!([text[..place]]), &json!(["stop"])));
        let written = json["ids"][0].as_array().unwrap().len();
        assert!(small.tokenizer.decode(&ids[..written]).unwrap().contains(&middle));
        assert!(
            !small.tokenizer.decode(&ids[..written - 1]).unwrap().contains(&middle),
            "not one token more"
        );
    }
    for stream in [&[][..], &["--stream"]] {
        let out = small.run(&[&["--prompt", "hello", "--stop", &middle], stream].concat()).out;
        assert_eq!(out, text[..place].to_owned() + "\n");
    }
    // The id that is seventh, or the first like it, ends the text.
    let place = ids.iter().position(|id| *id == ids[6]).unwrap();
    write(small.folder.path(), "generation_config.json", &json!({ "eos_token_id": [ids[6]] }));
    let json = small.run(&["--prompt", "hello", "--json"]).json();
    assert_eq!((&json["ids"], &json["finish"]), (&json!([ids[..=place]]), &json!(["end"])));
    assert_eq!(json["texts"], json!([small.tokenizer.decode(&ids[..place]).unwrap()]));
    assert_eq!(small.run(&["--prompt", "hello", "--ignore-end"]).out, text + "\n");
}

#[test]
fn chats_go_through_the_template() {
    let small = Small::mixtral();
    let said = "<|system|>Be brief<|end|><|user|>hello<|end|><|assistant|>";
    let prompt = small.tokenizer.encode_bare(said).unwrap();
    let (ids, text) = small.alone(&prompt, Generation::default());
    let chat = ["--prompt", "hello", "--chat", "--system", "Be brief"];
    assert_eq!(small.run(&chat).out, text.clone() + "\n");
    let messages = json!([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hello"}]);
    small.write("chat.json", &messages.to_string());
    let json = small.run(&["--messages", "chat.json", "--json"]).json();
    assert_eq!((&json["texts"], &json["sequences"]), (&json!([text]), &json!([&[prompt, ids].concat()])));
}

#[test]
fn one_seed_one_text() {
    let small = Small::mixtral();
    let chance =
        ["--prompt", "hello", "--prompt", "in", "--temperature", "1.2", "--top-k", "60", "--top-p", "0.98"];
    let run = |more: &[&str]| small.run(&[&chance[..], more].concat()).out;
    let first = run(&["--seed", "4"]);
    assert_eq!(first.lines().count(), 2);
    assert_eq!(run(&["--seed", "4", "--threads", "1", "--batch", "1"]), first);
    assert_ne!(run(&["--seed", "5"]), first);
    let samples = run(&["--seed", "4", "--num-samples", "3"]);
    assert_eq!(samples.lines().step_by(3).collect::<Vec<_>>(), first.lines().collect::<Vec<_>>());
    let penalised = small.run(&["--prompt", "hello", "--repetition-penalty", "100000", "--json"]).json();
    let mut ids: Vec<u64> =
        penalised["ids"][0].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "no token comes twice");
}

#[test]
fn wrong_use_is_one_line() {
    let small = Small::mixtral();
    let prompt = |more: &[&'static str]| [&["--prompt", "hello"], more].concat();
    let long = "x".repeat(65);
    small.write("list.json", r#"[{"prompt": "a"}]"#);
    let cases = [
        (vec![], 2, "<--prompt <TEXT>|--prompts <FILE>|--messages <FILE>|--input <IN.safetensors>>"),
        (prompt(&["--prompts", "x"]), 2, "cannot be used with"),
        (prompt(&["--system", "x"]), 2, "--chat"),
        (
            prompt(&["--json", "--stream"]),
            2,
            "with --json standard output holds the JSON object; leave out --stream",
        ),
        (
            prompt(&["--stream", "--prompt", "x"]),
            2,
            "--stream shows one text; give one prompt, one sample and one beam",
        ),
        (vec!["--messages", "x", "--chat", "--system", "x"], 2, "cannot be used with"),
        (
            vec!["--prompt", "-", "--prompt", "-"],
            2,
            "- is standard input, which is read once; name files for the other inputs",
        ),
        (prompt(&["--stop", ""]), 2, "expected a text, at least one character"),
        (
            vec!["--prompts", "list.json"],
            1,
            "list.json:1: a list of objects, expected an object in each line",
        ),
        (prompt(&["--top-p", "0"]), 2, "expected a share above 0, at most 1"),
        (prompt(&["--temperature", "-1"]), 2, "expected a number that is not negative"),
        (
            prompt(&["--temperature", "0", "--top-k", "3"]),
            2,
            "--top-k, --top-p, --min-p and --num-samples need chance; give a --temperature above 0",
        ),
        (
            prompt(&["--beams", "2", "--temperature", "1"]),
            2,
            "--beams takes the likeliest texts; leave out the options of chance, or ask for one beam",
        ),
        (
            vec!["--prompt", ""],
            1,
            "./tokenizer.json: the text has no tokens, expected at least one; give a longer text",
        ),
        (
            vec!["--prompt", &long],
            1,
            "65 tokens, expected at most 64; shorten the input or ask for fewer new ones",
        ),
        (
            prompt(&["--max-new-tokens", "64"]),
            1,
            "65 tokens, expected at most 64; shorten the input or ask for fewer new ones",
        ),
        (prompt(&["--record", "-"]), 2, "standard output has the text; name a file for the other output"),
        (
            vec!["--prompts", "none.txt"],
            1,
            "none.txt: cannot open: No such file or directory (os error 2); check the path",
        ),
        (
            vec!["--messages", "tokenizer.json"],
            1,
            "no chat, expected messages, objects with the texts `role` and `content`",
        ),
    ];
    for (arguments, code, message) in cases {
        let run = small.run(&arguments);
        assert_eq!(
            (run.code, run.out.as_str(), run.err.lines().count()),
            (code, "", 1),
            "{arguments:?}: {}",
            run.err
        );
        assert!(run.err.starts_with("error: ") && run.err.contains(message), "{arguments:?}: {}", run.err);
    }
}

/// A prompt that cannot be written on from is named by its place: which one of the command line, or file and line.
#[test]
fn prompts_that_fail_are_named() {
    let mut rules = BytePairs::printable();
    rules["post_processor"] = Value::Null;
    let small = Small::new(&mixtral(BytePairs::PRINTABLE), &rules);
    let long = "x".repeat(65);
    small.write("long.txt", &format!("a\n\nb\n{long}\n"));
    small.write("empty.jsonl", "{\"prompt\": \"a\"}\n\n{\"prompt\": \"\"}\n");
    small.write("strange.txt", "a\nb\nc \u{e9}\n");
    let user = r#"[{"role": "user", "content": "a"}]"#;
    small.write("chats.jsonl", &format!("{user}\n\n{}\n", user.replace("user", "judge")));
    let alternate = "{% for m in messages %}\n{% if m.role == 'judge' %}{{ raise_exception('No judges') }}{% endif %}{% endfor %}a";
    small.write("chat_template.jinja", alternate);
    let empty = "./tokenizer.json: the text has no tokens, expected at least one; give a longer text";
    let too_long =
        |tokens| format!("{tokens} tokens, expected at most 64; shorten the input or ask for fewer new ones");
    let judges = "./chat_template.jinja: line 2 of the chat template fails: No judges";
    let cases = [
        (vec!["--prompt", "a", "--prompt", &long], format!("prompt 2: {}", too_long(65))),
        (vec!["--prompts", "long.txt", "--batch", "1"], format!("long.txt:4: {}", too_long(65))),
        (vec!["--prompt", "a", "--prompt", ""], format!("prompt 2: {empty}")),
        (vec!["--prompts", "empty.jsonl"], format!("empty.jsonl:3: {empty}")),
        (vec!["--messages", "chats.jsonl"], format!("chats.jsonl:3: {judges}")),
        (vec!["--prompt", "a", "--max-new-tokens", "99"], format!("prompt 1: {}", too_long(100))),
    ];
    for (arguments, message) in cases {
        let run = small.run(&arguments);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{arguments:?}: {}", run.err);
        let last = run.err.lines().last().unwrap();
        assert_eq!(last, format!("error: {message}"), "{arguments:?}");
    }
}

#[test]
fn blank_lines_are_left_out_with_a_note() {
    let small = Small::mixtral();
    small.write("lines.txt", "\nhello\n  \nin\n\n");
    let run = small.run(&["--prompts", "lines.txt"]);
    assert_eq!((run.code, run.out), (0, small.greedy("hello").1 + "\n" + &small.greedy("in").1 + "\n"));
    let notes: Vec<&str> = run.err.lines().filter(|line| line.contains("blank")).collect();
    assert_eq!(notes, ["note: lines.txt: 3 blank lines left out, as no prompts"]);
    small.write("lines.txt", "hello\nin\n");
    assert!(!small.run(&["--prompts", "lines.txt"]).err.contains("blank"));
}

/// Sentencepiece's words have the space before them, which only the first of a text loses.
#[test]
fn what_is_written_behind_a_prompt_keeps_its_space() {
    let mut rules = unigram();
    // Pieces alone, without the bytes behind them: whatever is written are letters.
    let pieces = rules["model"]["vocab"].as_array().unwrap()[..14].to_vec();
    (rules["model"]["vocab"], rules["model"]["byte_fallback"]) = (json!(pieces), json!(false));
    let small = Small::new(&mixtral(14), &rules);
    let mut spaces = 0;
    for said in ["the", "the cat", "cat sat", "sat the cat", "a cat", "s"] {
        let prompt = small.tokenizer.encode(said).unwrap();
        let (ids, alone) = small.alone(&prompt, Generation::default());
        let all = small.tokenizer.decode(&[&prompt[..], &ids].concat()).unwrap();
        let behind = all.strip_prefix(said).unwrap();
        spaces += usize::from(behind.starts_with(' ') && !alone.starts_with(' '));
        let json = small.run(&["--prompt", said, "--json"]).json();
        assert_eq!(json["texts"], json!([behind]));
        for more in [&[][..], &["--stream"], &["--stop", "never", "--stream"], &["--prompt", "the cat sat"]] {
            let run = small.run(&[&["--prompt", said], more].concat());
            assert!(
                run.code == 0 && run.out.starts_with(&format!("{behind}\n")),
                "{said:?} {more:?}: {:?}",
                run.out
            );
        }
    }
    assert!(spaces > 0);
}

#[test]
fn no_output_replaces_a_file_of_the_model() {
    let small = Small::mixtral();
    let path = small.folder.path();
    let before = fs::read(path.join("config.json")).unwrap();
    for option in ["--record", "--report"] {
        let run = small.run(&["--prompt", "hello", option, "config.json"]);
        let message = "error: config.json: the output would replace an input; name another path\n";
        assert_eq!((run.code, run.err.as_str()), (1, message), "{option}");
        assert_eq!(fs::read(path.join("config.json")).unwrap(), before, "{option}");
    }
}

#[test]
fn prompts_have_chances_of_their_own() {
    let small = Small::mixtral();
    small.write("prompts.txt", "\u{feff}hello\nhello\nin\n");
    let chance = ["--prompts", "prompts.txt", "--temperature", "1000", "--max-new-tokens", "12", "--json"];
    let json = small.run(&chance).json();
    let ids = &json["ids"];
    assert_eq!(ids[0], ids[1], "one prompt, one text");
    let equal = |nth: usize| ids[0][nth] == ids[2][nth];
    assert!((0..12).filter(|nth| equal(*nth)).count() < 4, "{ids}");
    let tokens = |text: &str| small.tokenizer.encode(text).unwrap().len();
    assert_eq!(json["prompt_tokens"], json!(2 * tokens("hello") + tokens("in")), "no byte order mark");
}

#[test]
fn folders_without_text_say_so_and_still_take_ids() {
    let small = Small::mixtral();
    fs::remove_file(small.folder.path().join("tokenizer_config.json")).unwrap();
    let run = small.run(&["--prompt", "hello", "--chat"]);
    assert!(
        run.code == 1 && run.err.contains(".: no chat template, expected chat_template.jinja"),
        "{}",
        run.err
    );
    fs::remove_file(small.folder.path().join("tokenizer.json")).unwrap();
    let run = small.run(&["--prompt", "hello"]);
    assert!(
        run.code == 1 && run.err.starts_with("error: .: no tokenizer, expected tokenizer.json, or"),
        "{}",
        run.err
    );
    let ids = crate::common::tensor_files::RawTensor::of_i64(&[1, 2], &[5, 6]);
    let tensors = [("input_ids".to_owned(), ids)].into();
    crate::common::tensor_files::write(&small.folder.path().join("in.safetensors"), &tensors);
    let json = small.run(&["--input", "in.safetensors", "--json"]).json();
    assert_eq!((&json["texts"], json["sequences"][0].as_array().unwrap().len()), (&Value::Null, 22));
}

#[test]
fn routes_are_kept_and_taken_again() {
    let small = Small::mixtral();
    let prompts = ["--prompt", "hello", "--prompt", "a longer one", "--batch", "1"];
    let free = small.run(&prompts).out;
    let recorded = small.run(&[&prompts[..], &["--record", "routes.safetensors", "--usage"]].concat());
    assert_eq!((recorded.code, recorded.out), (0, free.clone()), "{}", recorded.err);
    let replayed = small.run(&[&prompts[..], &["--replay", "routes.safetensors", "--json"]].concat()).json();
    let texts: Vec<&str> = replayed["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(texts, free.lines().collect::<Vec<_>>());
    assert_eq!(replayed["replay"]["equal"], json!(1.0));
    let used = small.run(&[&prompts[..], &["--usage", "--json"]].concat()).json();
    assert_eq!(used["usage"].as_array().unwrap().len(), 2, "two layers of experts");
    let run =
        small.run(&[&prompts[..], &["--record", "r", "--temperature", "1", "--num-samples", "2"]].concat());
    let message =
        "error: routes are those of one text for each prompt; leave out --beams and --num-samples\n";
    assert_eq!((run.code, run.err.as_str()), (2, message));
}
