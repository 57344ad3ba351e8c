//! Golden models with a tokenizer of words beside them.

use std::fs;
use std::path::{Path, PathBuf};

use mixlet_runtime::models::checkpoint::write::SHARD_BYTES;
use mixlet_runtime::models::quantize::{Only, Quantisation, quantize};
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::text::Tokenizer;
use mixlet_runtime::models::{Batch, Model};
use tempfile::TempDir;

use crate::common::command::{Run, mixlet};
use crate::common::{shared, small_tokenizers};

/// A model that reads and writes words.
pub struct Folder {
    folder: TempDir,
    pub model: Model,
    pub tokenizer: Tokenizer,
}

impl Folder {
    /// The golden model of a name, whose ids are `w0`, `w1`, and so on.
    pub fn new(name: &str) -> Option<Self> {
        let golden = shared::find(&format!("golden/hf/{name}"))?;
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("model");
        fs::create_dir(&own).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(golden.join(file), own.join(file)).unwrap();
        }
        let model = Model::import(&own).unwrap().model;
        let words: Vec<String> = (0..model.config.vocab).map(|id| format!("w{id}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        small_tokenizers::write(&own, "tokenizer.json", &small_tokenizers::words(&words));
        let tokenizer = Tokenizer::open(&own, model.config.vocab).unwrap();
        Some(Self { folder, model, tokenizer })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// The model with int8 weights, in the folder `int8`.
    pub fn quantize(&self) -> Model {
        let how = Quantisation { weights: Narrow::Int8, only: Only::Linear };
        let to = self.folder.path().join("int8");
        quantize(&self.folder.path().join("model"), &to, how, SHARD_BYTES, &mut |_, _| {}).unwrap();
        Model::import(&to).unwrap().model
    }

    /// `mixlet lm eval model ARGUMENTS`.
    pub fn eval(&self, arguments: &str) -> Run {
        mixlet(self.folder.path(), &format!("lm eval model {arguments}"))
    }

    /// Natural logarithms of the probabilities of all ids after each of some, computed plainly in `f64`.
    pub fn logs(&self, model: &Model, input: &[u32], output: &[u32]) -> Vec<Vec<f64>> {
        let (ids, decoder_ids) = match &model.config.encoder {
            Some(_) => {
                let start = model.config.ids.decoder_start.unwrap();
                (input.to_vec(), Some([&[start], &output[..output.len() - 1]].concat()))
            }
            None => ([input, output].concat(), None),
        };
        let batch = Batch { sequences: 1, ids, decoder_ids, ..Batch::default() };
        let logits = model.logits(&batch, &mut ()).unwrap();
        let logs = |row: &[f32]| {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            row.iter().map(|logit| f64::from(*logit) - sum.ln()).collect()
        };
        logits.chunks(model.config.vocab).map(logs).collect()
    }

    /// The sum of the logarithms of an answer's tokens.
    pub fn log_likelihood(&self, prompt: &[u32], answer: &[u32]) -> f64 {
        let first = if self.model.config.encoder.is_some() { 0 } else { prompt.len() - 1 };
        let logs = self.logs(&self.model, prompt, answer);
        answer.iter().zip(&logs[first..]).map(|(id, row)| row[*id as usize]).sum()
    }
}

/// Some ids, and the text that they are.
pub fn ids(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|nth| ((nth + seed) * 7919 % 93 + 3) as u32).collect()
}

pub fn text(ids: &[u32]) -> String {
    ids.iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}
