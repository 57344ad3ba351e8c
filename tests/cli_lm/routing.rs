//! Options that look at routers and at memory, as a user gives them.

use std::fs;

use serde_json::{Value, json};

use super::Golden;
use super::common::command::mixlet;
use super::common::tensor_files::{self, RawTensor};

const INPUT: &str = "--input in.safetensors --output out.safetensors";

fn golden(name: &str) -> Option<Golden> {
    let golden = Golden::new(name)?;
    golden.write("in.safetensors", &golden.inputs("b0.", &["input_ids", "attention_mask", "labels"]));
    Some(golden)
}

impl Golden {
    /// A copy of the model, as the folder `copy`.
    fn copy(&self) {
        fs::create_dir(self.work.path().join("copy")).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(self.model.join(file), self.work.path().join("copy").join(file)).unwrap();
        }
    }
}

#[test]
fn usage_is_shown_and_written() {
    let Some(golden) = golden("switch") else { return };
    let json = golden.run("logits", &format!("{INPUT} --usage --report page.html --json")).json();
    let layers = json["usage"].as_array().unwrap();
    let stacks: Vec<&Value> = layers.iter().map(|layer| &layer["stack"]).collect();
    assert!(stacks.contains(&&json!("encoder")) && stacks.contains(&&json!("decoder")), "{stacks:?}");
    for layer in layers {
        let loads =
            layer["experts"].as_array().unwrap().iter().map(|expert| expert["load"].as_u64().unwrap());
        assert_eq!(loads.sum::<u64>(), layer["slots"].as_u64().unwrap());
    }
    let page = fs::read_to_string(golden.work.path().join("page.html")).unwrap();
    assert!(page.contains("Loads of the experts") && page.contains("encoder 1"));
    let text = golden.run("logits", &format!("{INPUT} --usage")).out;
    assert_eq!(
        text.lines().filter(|line| line.trim_start().starts_with("decoder ")).count(),
        layers.len() / 2
    );
    // Nothing of it without being asked.
    assert_eq!(golden.run("logits", &format!("{INPUT} --json")).json()["usage"], Value::Null);
}

#[test]
fn routes_are_recorded_and_replayed() {
    let Some(golden) = golden("deepseek_v3") else { return };
    golden.run("logits", &format!("{INPUT} --record routes.safetensors --json")).json();
    let first = fs::read(golden.work.path().join("out.safetensors")).unwrap();
    let json = golden.run("logits", &format!("{INPUT} --replay routes.safetensors --json")).json();
    assert_eq!((&json["replay"]["equal"], &json["replay"]["overlap"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(fs::read(golden.work.path().join("out.safetensors")).unwrap(), first);

    // The same routes in a model whose routers differ a little, and in one of other sizes.
    golden.copy();
    let path = golden.work.path().join("copy/model.safetensors");
    let mut tensors = tensor_files::read(&path);
    let router = tensors.iter_mut().find(|(name, _)| name.ends_with("mlp.gate.weight")).unwrap().1;
    router.bytes[0] ^= 1;
    tensor_files::write(&path, &tensors);
    let other = |arguments: &str| {
        mixlet(golden.work.path(), &format!("lm logits copy {INPUT} --replay routes.safetensors {arguments}"))
    };
    let run = other("");
    let message = "routes.safetensors: routes of routers with other weights; take them all the same, with --any-routers\n";
    assert!(run.code == 1 && run.err.ends_with(message), "{}", run.err);
    assert_eq!(other("--any-routers --json").json()["replay"]["equal"], 1.0);
    let config = fs::read_to_string(golden.work.path().join("copy/config.json")).unwrap();
    let config = config.replace("\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 2");
    fs::write(golden.work.path().join("copy/config.json"), config).unwrap();
    let run = other("--any-routers");
    assert!(run.err.contains("routes of another model"), "{}", run.err);
    // Fewer tokens.
    let mut inputs = golden.inputs("b0.", &["input_ids"]);
    let ids = inputs.get_mut("input_ids").unwrap();
    *ids = RawTensor::of_i64(&[ids.shape[0], 3], &vec![5; ids.shape[0] * 3]);
    golden.write("in.safetensors", &inputs);
    let run = golden.run("logits", &format!("{INPUT} --replay routes.safetensors"));
    let message = "tokens of a sequence in the decoder, expected 3; record them with the same input\n";
    assert!(run.code == 1 && run.err.ends_with(message), "{}", run.err);
    let run = golden.run("logits", &format!("{INPUT} --replay in.safetensors"));
    assert!(run.err.contains("no record of routes, expected a file written with --record"), "{}", run.err);
}

/// NLLB's files can ask for places by probability, which a decoder cannot give.
#[test]
fn a_decoder_that_looks_ahead_is_refused_unless_tokens_choose() {
    let Some(golden) = golden("nllb_moe") else { return };
    golden.copy();
    let path = golden.work.path().join("copy/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["batch_prioritized_routing"] = json!(true);
    config["moe_eval_capacity_token_fraction"] = json!(0.25);
    fs::write(&path, config.to_string()).unwrap();
    let run = |arguments: &str| mixlet(golden.work.path(), &format!("lm logits copy {INPUT} {arguments}"));
    let refused = run("");
    let message = "of the decoder places do not go by the order of tokens, which depends on tokens that are not written yet; \
                   let each token choose for itself, with --look-ahead tokens\n";
    assert!(refused.code == 1 && refused.err.ends_with(message), "{}", refused.err);
    assert!(run("--look-ahead tokens --json").json()["loss"].is_number());
}

#[test]
fn losses_are_counted_as_asked() {
    let Some(golden) = golden("switch") else { return };
    let balance =
        |how: &str| golden.run("logits", &format!("{INPUT} --json {how}")).json()["router_losses"].clone();
    assert_eq!(balance(""), balance("--router-losses transformers-5"));
    assert_ne!(balance(""), balance("--router-losses transformers-4"));
}

#[test]
fn memory_is_stated_and_kept_to() {
    let Some(golden) = golden("gpt_oss") else { return };
    let json = golden.run("info", "--tokens 100 --sequences 3 --json").json();
    let file = fs::metadata(golden.model.join("model.safetensors")).unwrap().len();
    let memory = &json["memory"];
    assert_eq!(memory["weights"], file);
    // Its experts lie in stacks, which are turned around.
    assert!(memory["copies"].as_u64().unwrap() > file / 2, "{memory}");
    let cache = json["cache_bytes_per_token"].as_u64().unwrap() * 300;
    assert_eq!(memory["cache"], cache);
    let run = golden.run("logits", &format!("{INPUT} --memory-limit 1kB"));
    assert!(run.code == 1 && run.err.starts_with("error: the model needs"), "{}", run.err);
    assert!(!golden.work.path().join("out.safetensors").exists());
    let text = mixlet(golden.work.path(), "lm info switch_base_8 --tokens 1000").out;
    assert!(text.contains("Memory") && text.contains("for 1 sequence of 1,000 tokens"), "{text}");
}
