//! `mixlet lm` as a user runs it: the golden models through files, sizes, ids written, and one wrong input for each way in.

#[path = "../common/mod.rs"]
mod common;
mod routing;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use common::command::{Run, mixlet};
use common::golden_models::{self, MODELS};
use common::shared;
use common::tensor_files::{self, RawTensor, RawTensors};
use common::tensors::{self, Tensors};
use serde_json::Value;
use tempfile::TempDir;

/// A golden model, and a folder to work in.
struct Golden {
    model: PathBuf,
    work: TempDir,
}

impl Golden {
    fn new(name: &str) -> Option<Self> {
        Some(Self { model: shared::find(&format!("golden/hf/{name}"))?, work: tempfile::tempdir().unwrap() })
    }

    /// Tensors of `io.safetensors` under a prefix, without it.
    fn inputs(&self, prefix: &str, names: &[&str]) -> RawTensors {
        let io = tensor_files::read(&self.model.join("io.safetensors"));
        names.iter().map(|name| ((*name).to_owned(), io[&format!("{prefix}{name}")].clone())).collect()
    }

    fn write(&self, name: &str, tensors: &RawTensors) {
        tensor_files::write(&self.work.path().join(name), tensors);
    }

    /// `mixlet lm COMMAND MODEL ARGUMENTS`.
    fn run(&self, command: &str, arguments: &str) -> Run {
        mixlet(self.work.path(), &format!("lm {command} {} {arguments}", self.model.display()))
    }
}

/// The largest difference of what two files hold under the same names, apart from shapes that must be the same.
fn worst(found: &Tensors, expected: &Tensors, prefix: &str) -> f32 {
    let difference = |name: &String| {
        let (found, expected) = (&found[name], &expected[&format!("{prefix}{name}")]);
        assert_eq!(found.shape, expected.shape, "{name}");
        found.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    found
        .keys()
        .filter(|name| expected.contains_key(&format!("{prefix}{name}")))
        .map(difference)
        .fold(0.0, f32::max)
}

#[test]
fn logits_states_and_losses_of_the_golden_models() {
    for name in MODELS {
        let Some(golden) = Golden::new(name) else { return };
        golden.write("in.safetensors", &golden.inputs("b0.", &["input_ids", "attention_mask", "labels"]));
        let run = golden.run("logits", "--input in.safetensors --output out.safetensors --hidden --json");
        let json = run.json();
        let found = tensors::read(&golden.work.path().join("out.safetensors"));
        let expected = golden_models::vectors(&golden.model);
        assert!(worst(&found, &expected, "b0.") <= 5e-5, "{name}");
        let outputs = ["logits", "hidden_states.", "router_logits."];
        let is_output =
            |key: &&str| outputs.iter().any(|output| key.contains(output)) && !key.contains("f64");
        for key in expected.keys().filter_map(|key| key.strip_prefix("b0.")).filter(is_output) {
            assert!(found.contains_key(key), "{name}: no {key}");
        }
        for (key, golden) in [("cross_entropy", "b0.ce_loss"), ("loss", "b0.loss")] {
            let difference = json[key].as_f64().unwrap() - f64::from(expected[golden].values[0]);
            assert!(difference.abs() <= 1e-5, "{name}: {key} off by {difference}");
        }
    }
}

#[test]
fn sizes_are_those_of_the_files() {
    for name in MODELS {
        let Some(golden) = Golden::new(name) else { return };
        let meta: Value = serde_json::from_slice(&fs::read(golden.model.join("meta.json")).unwrap()).unwrap();
        let json = golden.run("info", "--json").json();
        let stored = tensors::read(&golden.model.join("model.safetensors"));
        let stored: usize = stored.values().map(|tensor| tensor.values.len()).sum();
        assert_eq!(json["parameters"], stored, "{name}");
        // A choice bias is no parameter there, but lies in the file.
        let biases = if name == "deepseek_v3" { 16 } else { 0 };
        assert_eq!(meta["n_params"].as_u64().unwrap() + biases, stored as u64, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let json = mixlet(folder.path(), "lm info glam_64b_64e --json").json();
    assert_eq!(json["active_parameters"].as_u64().unwrap() / 100_000_000, 966);
    let text = mixlet(folder.path(), "lm info switch_base_8").out;
    assert!(text.contains("Experts    8 in 12 layers, 1 of them for each token\n"), "{text}");
    let names = mixlet(folder.path(), "lm info presets").out;
    assert!(names.lines().any(|name| name == "st_moe_32b"), "{names}");
}

#[test]
fn ids_are_written_greedily_and_with_beams() {
    for name in ["t5_relu_tied", "olmoe"] {
        let Some(golden) = Golden::new(name) else { return };
        let io = golden.inputs("gen.", &["prompt_ids", "greedy.sequences", "beam4.sequences"]);
        golden.write("in.safetensors", &[("input_ids".to_owned(), io["prompt_ids"].clone())].into());
        for (beams, key) in [(1, "greedy.sequences"), (4, "beam4.sequences")] {
            let run = golden.run("generate", &format!("--input in.safetensors --ignore-end --beams {beams}"));
            let ids = io[key].bytes.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word).to_string());
            let ids: Vec<String> = ids.collect();
            let lines: Vec<String> = ids.chunks(io[key].shape[1]).map(|row| row.join(" ")).collect();
            assert_eq!(run.out.lines().collect::<Vec<_>>(), lines, "{name}, {beams} beams: {}", run.err);
        }
    }
}

#[test]
fn wrong_input_is_one_line() {
    let Some(golden) = Golden::new("mixtral") else { return };
    let ids = |shape: &[usize], values: &[i64]| RawTensor::of_i64(shape, values);
    let inputs: [(&[(&str, RawTensor)], &str); 7] = [
        (&[("input_id", ids(&[1, 1], &[1]))], "the tensor `input_ids` is absent; the nearest is `input_id`"),
        (
            &[("input_ids", ids(&[2], &[1, 2]))],
            "`input_ids` has the shape [2], expected sequences by tokens, neither 0",
        ),
        (
            &[("input_ids", ids(&[1, 0], &[]))],
            "`input_ids` has the shape [1, 0], expected sequences by tokens, neither 0",
        ),
        (&[("input_ids", ids(&[1, 2], &[1, 96]))], "`input_ids` holds the id 96, expected 0 to 95"),
        (&[("input_ids", ids(&[1, 2], &[1, -1]))], "`input_ids` holds the id -1, expected 0 to 95"),
        (
            &[("attention_mask", ids(&[2, 1], &[1, 1])), ("input_ids", ids(&[1, 2], &[1, 2]))],
            "`attention_mask` has the shape [2, 1], expected [1, 2]",
        ),
        (
            &[("input_ids", ids(&[1, 65], &[1; 65]))],
            "65 tokens, expected at most 64; shorten the input or ask for fewer new ones",
        ),
    ];
    for (tensors, message) in inputs {
        let tensors = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
        golden.write("in.safetensors", &tensors);
        let run = golden.run("logits", "--input in.safetensors --output out.safetensors");
        assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (1, "", 1), "{}", run.err);
        assert!(run.err.ends_with(&format!("{message}\n")), "{}", run.err);
        assert!(!golden.work.path().join("out.safetensors").exists());
    }
}

#[test]
fn wrong_paths_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.safetensors"), b"").unwrap();
    let logits = "--input in.safetensors --output";
    let cases = [
        (
            "info gpt_17",
            1,
            "there is no folder `gpt_17`, nor a model of that name; `mixlet lm info presets` lists the names",
        ),
        ("info .", 1, "./config.json: cannot open: No such file or directory (os error 2); check the path"),
        ("logits .", 2, "--input <IN.safetensors> --output <OUT.safetensors>; --help shows what is possible"),
        (
            &format!("logits . {logits} in.safetensors"),
            1,
            "in.safetensors: the output would replace an input; name another path",
        ),
        (
            &format!("logits . {logits} none/out"),
            1,
            "none/out: cannot create: No such file or directory (os error 2); create its directory first",
        ),
        (
            "generate . --input in.safetensors --beams 0",
            2,
            "expected a whole number from 1 to 64; --help shows what is possible",
        ),
    ];
    for (arguments, code, message) in cases {
        let run = mixlet(folder.path(), &format!("lm {arguments}"));
        assert_eq!(
            (run.code, run.out.as_str(), run.err.lines().count()),
            (code, "", 1),
            "{arguments}: {}",
            run.err
        );
        assert!(run.err.ends_with(&format!("{message}\n")), "{arguments}: {}", run.err);
    }
    assert_eq!(fs::read(folder.path().join("in.safetensors")).unwrap(), b"");
}

/// Nothing but the inputs is in a folder after a failure.
#[test]
fn a_model_without_weights_says_so() {
    let Some(golden) = Golden::new("switch") else { return };
    let folder: &Path = golden.work.path();
    fs::copy(golden.model.join("config.json"), folder.join("config.json")).unwrap();
    let run = mixlet(folder, "lm info .");
    let message = ".: no weights, expected model.safetensors or its index\n";
    assert_eq!((run.code, run.err.ends_with(message)), (1, true), "{}", run.err);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}
