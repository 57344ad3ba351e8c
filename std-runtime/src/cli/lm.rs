//! `mixlet lm`: language models.

mod convert;
mod eval;
mod generate;
mod info;
mod loading;
mod logits;
mod quantize;
mod routing;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::error::Result;

/// What can be done with language models.
#[derive(Subcommand)]
pub(super) enum Command {
    /// How large a model is, and what it is made of
    Info(info::InfoOptions),
    /// What a model says of every token
    Logits(logits::LogitsOptions),
    /// Write on from text, chats or ids
    Generate(Box<generate::GenerateOptions>),
    /// How well a model predicts texts, picks choices, answers questions
    Eval(eval::EvalOptions),
    /// Copy a model into mixlet's layout, which runs in place
    Import(convert::ConvertOptions),
    /// Copy a model into the layout of Hugging Face
    ExportHf(convert::ConvertOptions),
    /// Copy a model with its weights in fewer bits
    Quantize(quantize::QuantizeOptions),
}

impl Command {
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Info(options) => info::run(options),
            Self::Logits(options) => logits::run(options),
            Self::Generate(options) => generate::run(options),
            Self::Eval(options) => eval::run(options),
            Self::Import(options) => convert::import(options),
            Self::ExportHf(options) => convert::export(options),
            Self::Quantize(options) => quantize::run(options),
        }
    }
}

/// [`check_paths`](super::output::check_paths), where what lies in the models' folders is input too.
fn check_paths(models: &[&Path], inputs: &[&Path], outputs: &[&Path], json: bool) -> Result<()> {
    let entries = models.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    let inputs: Vec<&Path> = inputs.iter().copied().chain(files.iter().map(PathBuf::as_path)).collect();
    super::output::check_paths(&inputs, outputs, json)
}

/// Tensors of a folder that its model has no use for.
fn warnings(unused: &[String]) -> Vec<String> {
    use crate::error::Quoted;
    use crate::report::number::things;
    let warning = |first: &String| {
        format!("the model has no use for {}, first {}", things(unused.len(), "tensor"), Quoted(first))
    };
    unused.first().map(warning).into_iter().collect()
}
