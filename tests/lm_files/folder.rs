//! Golden models, and folders that are made of them.

use std::fs;
use std::path::{Path, PathBuf};

use mixlet_runtime::models::checkpoint::write::SHARD_BYTES;
use mixlet_runtime::models::quantize::{Only, Quantisation, Quantised, quantize};
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::{Batch, Model, export};
use tempfile::TempDir;

use crate::common::tensor_files::{self, RawTensors};
use crate::common::{golden_models, shared};

/// A golden model, and a folder for what is made of it.
pub struct Folder {
    pub golden: PathBuf,
    folder: TempDir,
}

impl Folder {
    pub fn new(name: &str) -> Option<Self> {
        let golden = shared::find(&format!("golden/hf/{name}"))?;
        Some(Self { golden, folder: tempfile::tempdir().unwrap() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What was made, temporary files included.
    pub fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }

    /// A copy of the golden model with other tensors.
    pub fn changed(&self, name: &str, tensors: &RawTensors) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("config.json"), fs::read(self.golden.join("config.json")).unwrap()).unwrap();
        tensor_files::write(&path.join("model.safetensors"), tensors);
        path
    }

    pub fn import(&self, from: &Path, to: &str) -> PathBuf {
        export::import(from, &self.path(to), SHARD_BYTES, &mut |_, _| {}).unwrap();
        self.path(to)
    }

    pub fn export(&self, from: &Path, to: &str) -> PathBuf {
        export::export(from, &self.path(to), SHARD_BYTES, &mut |_, _| {}).unwrap();
        self.path(to)
    }

    pub fn quantize(&self, to: &str, weights: Narrow, only: Only) -> Quantised {
        let how = Quantisation { weights, only };
        quantize(&self.golden, &self.path(to), how, SHARD_BYTES, &mut |_, _| {}).unwrap()
    }

    /// The inputs that transformers was given.
    pub fn batches(&self) -> Vec<Batch> {
        let io = golden_models::vectors(&self.golden);
        ["b0", "b1", "b2"].map(|name| golden_models::batch(&io, name)).into()
    }

    /// Logits of the first inputs.
    pub fn logits(&self, model: &Path) -> Vec<f32> {
        read(model).logits(&self.batches()[0], &mut ()).unwrap()
    }
}

pub fn read(folder: &Path) -> Model {
    Model::import(folder).unwrap().model
}

pub fn raw(folder: &Path) -> RawTensors {
    tensor_files::read(&folder.join("model.safetensors"))
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
