//! `mixlet lm` as a user runs it: the golden models through files, sizes, ids written, and one wrong input for each way in.

#[path = "../common/mod.rs"]
mod common;
mod help;
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
    let inputs: [(&[(&str, RawTensor)], &str); 9] = [
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
            &[("attention_mask", ids(&[1, 2], &[2, 1])), ("input_ids", ids(&[1, 2], &[1, 2]))],
            "`attention_mask` holds 2, expected 0 for padding or 1",
        ),
        (
            &[("attention_mask", ids(&[1, 2], &[1, -1])), ("input_ids", ids(&[1, 2], &[1, 2]))],
            "`attention_mask` holds -1, expected 0 for padding or 1",
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
fn tensors_that_are_not_read_are_named() {
    let Some(golden) = Golden::new("mixtral") else { return };
    let ids = || RawTensor::of_i64(&[1, 3], &[1, 2, 3]);
    let path = "in.safetensors";
    let wanted = "input_ids, attention_mask, labels";
    let cases: [(&str, &[&str], Vec<String>); 5] = [
        ("logits", &["input_ids", "attention_mask", "labels"], vec![]),
        (
            "logits",
            &["input_ids", "attention_msk"],
            vec![format!("{path}: `attention_msk` is not read; perhaps attention_mask is meant")],
        ),
        (
            "logits",
            &["input_ids", "decoder_input_ids", "zzz"],
            vec![format!("{path}: no use for 2 tensors, first `decoder_input_ids`, expected {wanted}")],
        ),
        (
            "generate",
            &["input_ids", "labels", "input_idz"],
            vec![
                format!("{path}: `input_idz` is not read; perhaps input_ids is meant"),
                format!("{path}: no use for 1 tensor, first `labels`, expected input_ids, attention_mask"),
            ],
        ),
        ("generate", &["input_ids"], vec![]),
    ];
    for (command, names, warnings) in cases {
        golden.write(path, &names.iter().map(|name| ((*name).to_owned(), ids())).collect());
        let mask = RawTensor::of_i64(&[1, 3], &[0, 1, 1]);
        if names.contains(&"attention_mask") {
            let mut tensors = tensor_files::read(&golden.work.path().join(path));
            tensors.insert("attention_mask".into(), mask);
            golden.write(path, &tensors);
        }
        let output = if command == "logits" { "--output out.safetensors" } else { "" };
        let run = golden.run(command, &format!("--input {path} {output} --json"));
        let said: Vec<String> =
            run.err.lines().filter_map(|line| line.strip_prefix("warning: ").map(str::to_owned)).collect();
        assert_eq!((said, run.json()["warnings"].clone()), (warnings.clone(), warnings.into()), "{names:?}");
    }
    golden.write(path, &["input_ids", "decoder_input_ids"].map(|name| (name.to_owned(), ids())).into());
    let run = golden.run("generate", &format!("--input {path}"));
    let message = "`decoder_input_ids` is there, but what is written begins with the decoder's start; take it out, or read it \
                   with `mixlet lm logits`\n";
    assert!(run.code == 1 && run.err.ends_with(message), "{}", run.err);

    // Padding on the right is written on behind.
    let mask = RawTensor::of_i64(&[1, 3], &[1, 1, 0]);
    golden.write(path, &[("input_ids".to_owned(), ids()), ("attention_mask".to_owned(), mask)].into());
    let run = golden.run("generate", &format!("--input {path}"));
    let message = "warning: in.safetensors: `input_ids` is padded on the right, and written on behind the padding; pad on the left";
    assert!(run.code == 0 && run.err.lines().any(|line| line == message), "{}", run.err);
}

/// Whatever is no regular file is refused at once, in every place where tensors are read.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_tensors() {
    let Some(golden) = Golden::new("mixtral") else { return };
    let folder = golden.work.path();
    assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    fs::create_dir(folder.join("model")).unwrap();
    fs::copy(golden.model.join("config.json"), folder.join("model/config.json")).unwrap();
    fs::rename(folder.join("pipe"), folder.join("model/model.safetensors")).unwrap();
    std::os::unix::fs::symlink("model/model.safetensors", folder.join("pipe")).unwrap();
    let regular = "expected a regular file, as tensors are read where they lie; copy them into one";
    let output = "--output out.safetensors";
    let cases = [
        (format!("logits model --input pipe {output}"), format!("pipe: a pipe or a device, {regular}")),
        (format!("logits model --input - {output}"), format!("-: standard input, {regular}")),
        (
            format!("logits model --input /dev/null {output}"),
            format!("/dev/null: a pipe or a device, {regular}"),
        ),
        (
            format!("logits model --input model {output}"),
            "model: cannot read: is a directory; name a file in it".to_owned(),
        ),
        ("generate model --input pipe".to_owned(), format!("pipe: a pipe or a device, {regular}")),
        ("info model".to_owned(), format!("model/model.safetensors: a pipe or a device, {regular}")),
        (
            "quantize model out --weights int8".to_owned(),
            format!("model/model.safetensors: a pipe or a device, {regular}"),
        ),
    ];
    for (arguments, message) in cases {
        let run = mixlet(folder, &format!("lm {arguments}"));
        assert_eq!((run.code, run.err.as_str()), (1, format!("error: {message}\n").as_str()), "{arguments}");
    }
}

/// Where standard output has the tensors, nothing else is in it.
#[test]
fn tensors_on_standard_output_are_alone() {
    let Some(golden) = Golden::new("mixtral") else { return };
    golden.write("in.safetensors", &golden.inputs("b0.", &["input_ids"]));
    golden.run("logits", "--input in.safetensors --output out.safetensors");
    let mut command = std::process::Command::new(common::command::program());
    command.args(["lm", "logits"]).arg(&golden.model).current_dir(golden.work.path());
    let output = command.args(["--input", "in.safetensors", "--output", "-"]).output().unwrap();
    assert_eq!(output.stdout, fs::read(golden.work.path().join("out.safetensors")).unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("Batch ") && said.contains("\nWrote "), "{said}");
}

#[test]
fn formats_are_stated_by_share() {
    let Some(golden) = Golden::new("mixtral") else { return };
    let folder = golden.work.path();
    let info = |arguments: &str| mixlet(folder, &format!("lm info {arguments}"));
    let model = golden.model.display().to_string();
    let lines = |text: &str, name: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(name)).map(|line| line.trim().to_owned()).collect()
    };
    assert_eq!(lines(&info(&model).out, "Weights"), ["f32"]);
    assert!(lines(&info("switch_base_8").out, "Weights").is_empty());
    assert_eq!(info("switch_base_8 --json").json()["formats"], Value::Null);

    mixlet(folder, &format!("lm quantize {model} int4 --weights int4 --only experts"));
    let json = info("int4 --json").json();
    let shares: Vec<(String, u64)> = json["formats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["format"].as_str().unwrap().to_owned(), it["parameters"].as_u64().unwrap()))
        .collect();
    // Two layers of four experts: two matrices of 40 by 32 each in int4, the third, whose rows have no whole groups, in int8.
    let experts = 2 * 4 * 40 * 32;
    assert_eq!(&shares[..2], [("int4".to_owned(), 2 * experts), ("f32".to_owned(), shares[1].1)]);
    assert_eq!(shares[2], ("int8".to_owned(), experts));
    assert_eq!(shares.iter().map(|(_, count)| *count).sum::<u64>(), json["parameters"].as_u64().unwrap());
    let share = |nth: usize| json["formats"][nth]["share"].as_f64().unwrap();
    assert!((share(0) + share(1) + share(2) - 1.0).abs() < 1e-12);
    let text = lines(&info("int4").out, "Weights").concat();
    assert_eq!(text.matches('%').count(), 3, "{text}");

    // As many tokens as the model has positions, unless more or fewer are asked for.
    assert_eq!(json["tokens"], 64);
    assert_eq!(info("int4 --tokens 9 --json").json()["tokens"], 9);
    assert_eq!(info("switch_base_8 --json").json()["tokens"], 512);
    let run = info("presets --tokens 3");
    assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (2, "", 1), "{}", run.err);
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
