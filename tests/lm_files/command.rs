//! The same from the command line.

use std::fs;
use std::path::Path;

use crate::common::command::{Run, mixlet};
use crate::common::tensor_files::{self, RawTensor, RawTensors};
use crate::folder::{Folder, names, raw};

/// A folder with a golden model in `model` and ids in `ids.safetensors`.
struct Place(Folder);

impl Place {
    fn new(name: &str) -> Option<Self> {
        let folder = Folder::new(name)?;
        folder.changed("model", &raw(&folder.golden));
        let ids: Vec<i64> = (0..32).map(|nth| nth * 41 % 96).collect();
        let tensors = RawTensors::from([("input_ids".into(), RawTensor::of_i64(&[2, 16], &ids))]);
        tensor_files::write(&folder.path("ids.safetensors"), &tensors);
        Some(Self(folder))
    }

    fn run(&self, arguments: &str) -> Run {
        mixlet(&self.0.path(""), &format!("lm {arguments}"))
    }

    fn failed(&self, arguments: &str) -> String {
        let run = self.run(arguments);
        assert_eq!(
            (run.code, run.out.as_str(), run.err.lines().count()),
            (1, "", 1),
            "{arguments}: {}",
            run.err
        );
        run.err
    }
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_model_goes_there_and_back() {
    let Some(place) = Place::new("gpt_oss") else { return };
    let there = place.run("import model own --file-bytes 40000 --json").json();
    assert_eq!(keys(&there), ["bytes", "bytes_before", "files", "seconds", "tensors", "warnings"]);
    assert!(there["files"].as_u64().unwrap() > 2 && there["bytes"] == there["bytes_before"]);
    let back = place.run("export-hf own back");
    assert_eq!((back.code, back.err.as_str()), (0, ""));
    assert!(
        back.out.starts_with("Wrote      ") && back.out.contains("in 1 file to back\nSize       "),
        "{}",
        back.out
    );
    assert_eq!(raw(&place.0.path("back")), raw(&place.0.golden));
    let file = |folder: &str, name: &str| fs::read(place.0.path(folder).join(name)).unwrap();
    assert_eq!(file("back", "config.json"), fs::read(place.0.golden.join("config.json")).unwrap());
}

#[test]
fn a_quantised_model_is_compared_and_runs() {
    let Some(place) = Place::new("mixtral") else { return };
    let quantize = "quantize model narrow --weights int4 --only experts --compare ids.safetensors";
    let json = place.run(&format!("{quantize} --json")).json();
    assert_eq!(
        keys(&json),
        [
            "bytes",
            "bytes_before",
            "comparison",
            "files",
            "int4",
            "int8",
            "only",
            "seconds",
            "tensors",
            "warnings",
            "weights"
        ]
    );
    assert_eq!(
        keys(&json["comparison"]),
        ["change", "divergence", "labels", "original_perplexity", "perplexity", "routing", "same_best"]
    );
    assert_eq!(keys(&json["comparison"]["routing"]), ["choices", "equal", "overlap"]);
    assert_eq!((&json["weights"], &json["only"]), (&"int4".into(), &"experts".into()));
    // Two layers of four experts; the way back has 40 inputs, no whole groups of 32.
    assert_eq!((&json["int4"], &json["int8"]), (&16.into(), &8.into()));
    assert_eq!(
        (&json["comparison"]["labels"], &json["comparison"]["routing"]["choices"]),
        (&30.into(), &64.into())
    );
    assert!(json["bytes"].as_u64() < json["bytes_before"].as_u64());
    let logits = "--input ids.safetensors --output";
    for (model, out) in [("model", "a"), ("narrow", "b")] {
        assert_eq!(place.run(&format!("logits {model} {logits} {out}")).code, 0);
    }
    assert_ne!(fs::read(place.0.path("a")).unwrap(), fs::read(place.0.path("b")).unwrap());
    assert_eq!(place.run("info narrow").code, 0);

    fs::remove_dir_all(place.0.path("narrow")).unwrap();
    let text = place.run(quantize).out;
    for part in
        ["Matrices   8 in int8, 16 in int4\n", "Wrote ", "Size ", "Perplexity", "% of 64 choices the same"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn wrong_usage_and_wrong_folders_say_what_to_do() {
    let Some(place) = Place::new("t5_v1_1") else { return };
    for command in ["import model model", "export-hf model model", "quantize model model --weights int8"] {
        let expected =
            "error: model: the output would replace a folder that is not empty; name another path\n";
        assert_eq!(place.failed(command), expected);
    }
    let cases = [
        (
            "quantize model out --weights int8 --only experts",
            "quantise all linear weights, with --only linear",
        ),
        ("quantize none out --weights int8", "none/config.json: cannot open"),
        ("import ids.safetensors out", "cannot open"),
        ("import model none/out", "none/out: cannot create: entity not found; create its directory first"),
        ("quantize model out --weights int8 --compare ids.safetensors", "expected labels"),
    ];
    for (command, expected) in cases {
        let error = place.failed(command);
        assert!(error.contains(expected), "{command}: {error}");
        assert_eq!(names(&place.0.path("")), ["ids.safetensors", "model"], "{command}");
    }
    let run = place.run("quantize model out --weights int8 --memory-limit 1GB");
    let message =
        "error: --memory-limit is for the two models of --compare; leave it out, or add --compare\n";
    assert_eq!((run.code, run.err.as_str()), (2, message));
    for command in ["quantize model out", "quantize model out --weights int3", "import model"] {
        assert_eq!(place.run(command).code, 2, "{command}");
    }
    assert!(Path::new(&place.0.path("model")).is_dir());
}
