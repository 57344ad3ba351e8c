//! Any bytes as a model: the import returns, and a model that it returns can be run.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mixlet_runtime::models::{Batch, Model};

fuzz_target!(|bytes: &[u8]| {
    // Two bytes say where config.json ends and the tensors begin.
    let [low, high, files @ ..] = bytes else { return };
    let end = usize::from(u16::from_le_bytes([*low, *high])).min(files.len());
    let (config, tensors) = files.split_at(end);
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("config.json"), config).expect("a file");
    fs::write(folder.path().join("model.safetensors"), tensors).expect("a file");
    let Ok(imported) = Model::import(folder.path()) else { return };
    let batch = Batch { sequences: 1, ids: vec![0, 0], labels: Some(vec![0, 0]), ..Batch::default() };
    let _ = imported.model.logits(&batch, &mut ());
});
