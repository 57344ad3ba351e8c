//! Every example of a command's help runs as it is written, where the models and files it names are.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::common::command::{mixlet, program};
use crate::common::small_models::{mixtral, switch, write_model};
use crate::common::small_tokenizers::{BytePairs, unigram, write};
use crate::common::tensor_files::{self, RawTensor};

/// Models that the examples name: one that writes, apart from the encoder–decoder.
const MODELS: [&str; 4] = ["OLMoE-1B-7B", "Qwen1.5-MoE-A2.7B-Chat", "Mixtral-8x7B", "gpt-oss-20b"];
const ENCODER: &str = "switch-base-8";

fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    for name in MODELS {
        let mut config = mixtral(BytePairs::PRINTABLE);
        config["max_position_embeddings"] = json!(1024);
        fs::create_dir(folder.join(name)).unwrap();
        write_model(&folder.join(name), &config, 11);
        write(&folder.join(name), "tokenizer.json", &BytePairs::printable());
        let template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}";
        write(&folder.join(name), "tokenizer_config.json", &json!({ "chat_template": template }));
    }
    fs::create_dir(folder.join(ENCODER)).unwrap();
    write_model(&folder.join(ENCODER), &switch(270), 11);
    write(&folder.join(ENCODER), "tokenizer.json", &unigram());
    for name in ["ids", "prompts"] {
        let ids = RawTensor::of_i64(&[2, 4], &[3, 4, 5, 6, 7, 8, 9, 10]);
        let path = folder.join(format!("{name}.safetensors"));
        tensor_files::write(&path, &[("input_ids".to_owned(), ids)].into());
    }
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("questions.txt", "Q: How?\nQ: Why?\n");
    write("book.txt", &"Once upon a time there was a princess, and so on. ".repeat(12));
    let question =
        |nth: usize| json!({"prompt": format!("{nth}?"), "choices": ["a", "b"], "answer": nth % 2});
    write("arc.jsonl", &(0..6).map(|nth| question(nth).to_string() + "\n").collect::<String>());
    let run = mixlet(folder, "lm quantize OLMoE-1B-7B olmoe-int4 --weights int4");
    assert_eq!(run.code, 0, "{}", run.err);
    fs::rename(folder.join("olmoe-int4"), folder.join("made")).unwrap();
    place
}

/// The examples of a help text, without remarks behind them.
fn examples(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let examples = lines.take_while(|line| !line.is_empty());
    examples.map(|line| line.trim_start().split("   ").next().unwrap_or_default()).collect()
}

#[test]
fn examples_run_as_they_are_written() {
    let place = place();
    let folder: &Path = place.path();
    let outputs = ["gpt-oss", "gpt-oss-20b-again", "olmoe-int8", "int4", "olmoe-int4"];
    for command in ["", "info", "logits", "generate", "eval", "import", "export-hf", "quantize"] {
        // What the examples of one command make, those of the next make again; one of a quantised model needs it made.
        outputs.iter().for_each(|name| drop(fs::remove_dir_all(folder.join(name))));
        if command == "eval" {
            fs::rename(folder.join("made"), folder.join("olmoe-int4")).unwrap();
        }
        let help = mixlet(folder, &format!("lm {command} --help"));
        let examples = examples(&help.out);
        assert!(!examples.is_empty(), "{command}: {}", help.out);
        for example in examples {
            assert!(example.starts_with("mixlet lm "), "too long for a line: {example}");
            let typed = example.replacen("mixlet", &program().display().to_string(), 1);
            let run = Command::new("sh").args(["-c", &typed]).current_dir(folder).output().unwrap();
            let said = String::from_utf8(run.stderr).unwrap();
            assert!(run.status.success(), "{example}: {said}");
            assert!(!said.contains("error") && !said.contains("warning"), "{example}: {said}");
        }
    }
}
