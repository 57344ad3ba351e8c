//! There and back.

use std::fs;

use mixlet_core::half::bf16;
use mixlet_runtime::models::export;

use crate::common::golden_models::MODELS;
use crate::common::tensor_files::{self, RawTensor, RawTensors};
use crate::folder::{Folder, names, raw};

#[test]
fn every_model_comes_back_byte_for_byte() {
    for name in MODELS {
        let Some(folder) = Folder::new(name) else { return };
        let own = folder.import(&folder.golden, "own");
        assert_eq!(folder.logits(&own), folder.logits(&folder.golden), "{name}");
        let back = folder.export(&own, "back");
        assert_eq!(raw(&back), raw(&folder.golden), "{name}");
        assert_eq!(names(&back), ["config.json", "generation_config.json", "model.safetensors"]);
        // Even the header is what the format's own writer makes.
        for file in names(&back) {
            assert_eq!(
                fs::read(back.join(&file)).unwrap(),
                fs::read(folder.golden.join(&file)).unwrap(),
                "{name}: {file}"
            );
        }
        let again = folder.export(&folder.golden, "again");
        assert_eq!(raw(&again), raw(&folder.golden), "{name}");
        assert_eq!(folder.names(), ["again", "back", "own"]);
    }
}

#[test]
fn only_stacks_are_taken_apart() {
    for name in MODELS {
        let Some(folder) = Folder::new(name) else { return };
        let (own, golden) = (raw(&folder.import(&folder.golden, "own")), raw(&folder.golden));
        if name != "gpt_oss" {
            assert_eq!(own, golden, "{name}");
            continue;
        }
        // Expert 3's up projection: the odd outputs of its slice [inputs, outputs], turned.
        let stack = &golden["model.layers.1.mlp.experts.gate_up_proj"];
        let up = &own["model.layers.1.mlp.experts.3.up_proj.weight"];
        let [_, inputs, outputs] = stack.shape[..] else { panic!("{:?}", stack.shape) };
        assert_eq!(up.shape, [outputs / 2, inputs]);
        let words = |tensor: &RawTensor| tensor.bytes.as_chunks::<4>().0.to_vec();
        let (stack, up) = (words(stack), words(up));
        for output in 0..outputs / 2 {
            for input in 0..inputs {
                let expected = stack[(3 * inputs + input) * outputs + 2 * output + 1];
                assert_eq!(up[output * inputs + input], expected);
            }
        }
        let bias = words(&own["model.layers.0.mlp.experts.2.gate_proj.bias"]);
        let biases = words(&golden["model.layers.0.mlp.experts.gate_up_proj_bias"]);
        let expected: Vec<_> = biases[2 * outputs..3 * outputs].iter().step_by(2).copied().collect();
        assert_eq!(bias, expected);
    }
}

#[test]
fn two_bytes_and_tensors_without_a_use_come_back_too() {
    for name in ["gpt_oss", "switch"] {
        let Some(folder) = Folder::new(name) else { return };
        let mut tensors = raw(&folder.golden);
        let round = |value| bf16::from_f32(value).to_le_bytes();
        tensors.values_mut().for_each(|tensor| *tensor = tensor.narrowed("BF16", round));
        tensors.insert("positions".into(), RawTensor::of_i64(&[3], &[5, -1, 7]));
        let changed = folder.changed("changed", &tensors);
        let own = folder.import(&changed, "own");
        assert_eq!(raw(&folder.export(&own, "back")), tensors, "{name}");
    }
}

#[test]
fn large_models_are_written_in_parts() {
    const MOST: u64 = 30_000;
    for name in ["gpt_oss", "switch_nodrop"] {
        let Some(folder) = Folder::new(name) else { return };
        let (own, back) = (folder.path("own"), folder.path("back"));
        let mut seen = Vec::new();
        let written =
            export::import(&folder.golden, &own, MOST, &mut |done, total| seen.push((done, total))).unwrap();
        assert!(written.files > 2 && seen.is_sorted());
        assert_eq!(seen.last(), Some(&(written.bytes, written.bytes)));
        assert_eq!(written.bytes, written.bytes_before);
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(own.join("model.safetensors.index.json")).unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], written.bytes);
        let map = index["weight_map"].as_object().unwrap();
        assert_eq!(map.len(), written.tensors);
        for nth in 1..=written.files {
            let file = format!("model-{nth:05}-of-{:05}.safetensors", written.files);
            let tensors = tensor_files::read(&own.join(&file));
            let bytes: usize = tensors.values().map(|tensor| tensor.bytes.len()).sum();
            assert!(bytes as u64 <= MOST && bytes > 0, "{file}: {bytes}");
            assert!(tensors.keys().all(|name| map[name] == file.as_str()));
        }
        assert!(!own.join("model.safetensors").exists());
        assert_eq!(folder.logits(&own), folder.logits(&folder.golden), "{name}");

        export::export(&own, &back, MOST, &mut |_, _| {}).unwrap();
        let parts = names(&back).into_iter().filter(|name| name.ends_with(".safetensors"));
        let all: RawTensors = parts.flat_map(|name| tensor_files::read(&back.join(name))).collect();
        assert_eq!(all, raw(&folder.golden), "{name}");
    }
}
