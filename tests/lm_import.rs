//! Weights as files hold them: in parts, narrow, at odd places; and files that lie.

mod common;

use std::fs;
use std::path::Path;

use common::shared;
use common::tensor_files::{self, RawTensor, RawTensors};
use mixlet_core::half::{bf16, f16};
use mixlet_runtime::error::{Error, Result};
use mixlet_runtime::models::{Batch, Imported, Model};
use tempfile::TempDir;

/// A folder with a golden model that can be changed.
struct Folder {
    folder: TempDir,
    tensors: RawTensors,
}

impl Folder {
    fn new(name: &str) -> Option<Self> {
        let golden = shared::find(&format!("golden/hf/{name}"))?;
        let folder = tempfile::tempdir().unwrap();
        fs::copy(golden.join("config.json"), folder.path().join("config.json")).unwrap();
        let tensors = tensor_files::read(&golden.join("model.safetensors"));
        Some(Self { folder, tensors })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn import(&self) -> Result<Imported> {
        tensor_files::write(&self.path().join("model.safetensors"), &self.tensors);
        Model::import(self.path())
    }

    fn logits(&self) -> Vec<f32> {
        logits(&self.import().unwrap().model)
    }

    /// All weights in two bytes each.
    fn narrow(&mut self, dtype: &str, narrow: impl Fn(f32) -> [u8; 2] + Copy) {
        self.tensors.values_mut().for_each(|tensor| *tensor = tensor.narrowed(dtype, narrow));
    }

    /// What an import complains about, without the folder's name.
    fn complaint(&self) -> String {
        let error = self.import().unwrap_err().to_string();
        error.rsplit_once("safetensors: ").map_or(error.clone(), |(_, problem)| problem.to_owned())
    }
}

fn logits(model: &Model) -> Vec<f32> {
    let ids: Vec<u32> = (0..24).map(|nth| nth * 37 % 96).collect();
    let labels = model.config.encoder.is_some().then(|| ids.clone());
    let batch = Batch { sequences: 2, ids, labels, ..Batch::default() };
    model.logits(&batch, &mut ()).unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn parts_and_odd_places_change_nothing() {
    let Some(folder) = Folder::new("mixtral") else { return };
    let expected = folder.logits();
    // One byte more in the header moves every tensor to a place its numbers cannot be read from directly.
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (header, body) = tensor_files::split(&bytes);
    for blanks in 1..=4 {
        let header = serde_json::to_string(&header).unwrap() + &" ".repeat(blanks);
        let moved = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), body].concat();
        fs::write(&path, moved).unwrap();
        assert_eq!(logits(&Model::import(folder.path()).unwrap().model), expected, "{blanks}");
    }
    // In two files with an index.
    fs::remove_file(&path).unwrap();
    let mut map = serde_json::Map::new();
    for (part, name) in ["one.safetensors", "two.safetensors"].into_iter().enumerate() {
        let tensors = folder.tensors.iter().enumerate().filter(|(nth, _)| nth % 2 == part);
        let tensors: RawTensors = tensors.map(|(_, (name, tensor))| (name.clone(), tensor.clone())).collect();
        tensor_files::write(&folder.path().join(name), &tensors);
        tensors.into_keys().for_each(|tensor| drop(map.insert(tensor, name.into())));
    }
    let index = |map: &serde_json::Map<_, _>| serde_json::json!({ "weight_map": map }).to_string();
    let index_path = folder.path().join("model.safetensors.index.json");
    fs::write(&index_path, index(&map)).unwrap();
    assert_eq!(logits(&Model::import(folder.path()).unwrap().model), expected);
    map.insert("x".into(), "../one.safetensors".into());
    fs::write(&index_path, index(&map)).unwrap();
    let error = Model::import(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("(`../one.safetensors is not the name of a file in the folder`)"), "{error}");
}

#[test]
fn narrow_weights_are_used_as_they_are() {
    for name in ["mixtral", "t5_v1_1", "gpt_oss", "deepseek_v3"] {
        let Some(mut narrow) = Folder::new(name) else { return };
        let (mut wide, exact) = (Folder::new(name).unwrap(), narrow.logits());
        type Kind = (&'static str, fn(f32) -> f32, fn(f32) -> [u8; 2]);
        let kinds: [Kind; 2] = [
            ("BF16", |value| bf16::from_f32(value).to_f32(), |value| bf16::from_f32(value).to_le_bytes()),
            ("F16", |value| f16::from_f32(value).to_f32(), |value| f16::from_f32(value).to_le_bytes()),
        ];
        for (dtype, round, write) in kinds {
            let original = Folder::new(name).unwrap().tensors;
            narrow.tensors = original.clone();
            narrow.narrow(dtype, write);
            wide.tensors = original;
            for tensor in wide.tensors.values_mut() {
                let words = tensor.bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
                tensor.bytes = words.flat_map(|value| round(value).to_le_bytes()).collect();
            }
            let (narrow, wide) = (narrow.logits(), wide.logits());
            assert!(worst(&narrow, &wide) < 1e-5, "{name}, {dtype}");
            assert!(worst(&narrow, &exact) > 1e-5, "{name}, {dtype}: nothing was rounded");
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    type Change = fn(&mut RawTensors);
    let cases: [(Change, &str); 5] = [
        (
            |tensors| drop(tensors.remove("model.layers.1.self_attn.k_proj.weight")),
            "the tensor `model.layers.1.self_attn.k_proj.weight` is absent; the nearest is `model.layers.0.self_attn.k_proj.weight`",
        ),
        (
            |tensors| drop(tensors.remove("model.layers.1.block_sparse_moe.experts.3.w2.weight")),
            "the tensor `model.layers.1.block_sparse_moe.experts.3.w2.weight` is absent; the nearest is `model.layers.0.block_sparse_moe.experts.3.w2.weight`",
        ),
        (
            |tensors| tensors.get_mut("lm_head.weight").unwrap().shape = vec![32, 96],
            "`lm_head.weight` has the shape [32, 96], expected [96, 32]",
        ),
        (
            |tensors| tensors.get_mut("model.norm.weight").unwrap().dtype = "I32".into(),
            "`model.norm.weight` holds `I32`, expected F32, BF16 or F16",
        ),
        (
            |tensors| drop(tensors.insert("model.norm.weight".into(), RawTensor::of_i64(&[32], &[0; 32]))),
            "`model.norm.weight` holds `I64`, expected F32, BF16 or F16",
        ),
    ];
    for (change, message) in cases {
        let Some(mut folder) = Folder::new("mixtral") else { return };
        change(&mut folder.tensors);
        let complaint = folder.complaint();
        assert!(complaint.ends_with(message), "{complaint}");
    }
}

#[test]
fn weights_that_are_no_numbers_stop_a_run() {
    let Some(mut folder) = Folder::new("mixtral") else { return };
    let head = folder.tensors.get_mut("lm_head.weight").unwrap();
    head.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = folder.import().unwrap().model;
    let batch = Batch { sequences: 1, ids: vec![5, 6], ..Batch::default() };
    let error = model.logits(&batch, &mut ()).unwrap_err().to_string();
    assert_eq!(
        error,
        "the logit of id 0 is not a number; the weights hold numbers that are none, or too large ones"
    );
}

#[test]
fn tensors_without_a_use_are_listed() {
    let Some(mut folder) = Folder::new("t5_relu_tied") else { return };
    let table = folder.tensors["shared.weight"].clone();
    folder.tensors.insert("lm_head.weight".into(), table.clone());
    assert!(folder.import().unwrap().unused.is_empty(), "a tied head is no surprise");
    folder.tensors.insert("encoder.block.9.layer.0.layer_norm.weight".into(), table);
    assert_eq!(folder.import().unwrap().unused, ["encoder.block.9.layer.0.layer_norm.weight"]);
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let Some(folder) = Folder::new("t5_relu_tied") else { return };
    folder.import().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for len in (0..bytes.len()).step_by(997).chain([1, 7, 8, 9, bytes.len() - 1]) {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = Model::import(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Tensor { .. }), "{len} bytes: {error}");
    }
}

#[test]
fn configurations_out_of_range_name_the_key() {
    let cases = [
        (
            r#""hidden_size": 32"#,
            r#""hidden_size": -1"#,
            "`hidden_size` is `-1`, expected a whole number from 1 to 16777216",
        ),
        (
            r#""num_hidden_layers": 2"#,
            r#""num_hidden_layers": 1e9"#,
            "`num_hidden_layers` is `1000000000.0`, expected a whole number from 1 to 1024",
        ),
        (
            r#""num_hidden_layers": 2"#,
            r#""num_hidden_layers": 99999999999"#,
            "`num_hidden_layers` is `99999999999`, expected a whole number from 1 to 1024",
        ),
        (r#""num_local_experts": 4"#, r#""num_local_experts": 1"#, "router: top_k is 2, expected 1..=1"),
        (
            r#""num_key_value_heads": 2"#,
            r#""num_key_value_heads": 3"#,
            "`num_key_value_heads` is `3`, expected a divisor of the 4 heads",
        ),
        (
            r#""hidden_act": "silu""#,
            r#""hidden_act": "tanh""#,
            "`hidden_act` is `\"tanh\"`, expected one of relu, silu, gelu, gelu_new",
        ),
        (
            r#""model_type": "mixtral""#,
            r#""model_type": "bert""#,
            "`model_type` is `bert`, expected one of t5, switch_transformers, ",
        ),
        (
            r#""vocab_size": 96"#,
            r#""vocab_size": 2"#,
            "`vocab_size` is `2`, expected more than the special id 2",
        ),
        (
            r#""rope_type": "default""#,
            r#""rope_type": "new""#,
            "`rope_type` is `\"new\"`, expected one of default, linear, llama3, yarn",
        ),
        (r#""vocab_size": 96"#, "", "not a configuration (`"),
    ];
    let Some(folder) = Folder::new("mixtral") else { return };
    let path = folder.path().join("config.json");
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, message) in cases {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replace(from, to)).unwrap();
        let error = folder.import().unwrap_err().to_string();
        assert!(error.contains(&format!("config.json: {message}")), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(folder.import().unwrap_err().to_string().contains("cannot open"));
}
