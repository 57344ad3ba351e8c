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

use super::output::{log, print, print_aside};
use crate::error::{Quoted, Result};
use crate::models::io::{self, BatchFile};
use crate::models::{Batch, ModelConfig};
use crate::output::is_standard_output;
use crate::report::number::things;

/// What help says of all commands.
pub(super) const EXAMPLES: &str = "\
Examples:
  mixlet lm info presets                                         models that are known by name
  mixlet lm info ./OLMoE-1B-7B                                   its size, and whether it fits
  mixlet lm generate ./OLMoE-1B-7B --prompt 'Once upon a time'   what follows
  mixlet lm quantize ./OLMoE-1B-7B ./olmoe-int8 --weights int8   half the size of bf16

A model is a folder with config.json, safetensors and, for text, a tokenizer, as Hugging Face's save_pretrained leaves it. It is \
read where it lies; nothing needs to be imported first.";

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

/// Prints a summary: on standard error where standard output has one of the files.
fn print_summary(text: &str, outputs: &[&Path]) -> Result<()> {
    match outputs.iter().any(|path| is_standard_output(path)) {
        true => print_aside(text),
        false => print(text)?,
    }
    Ok(())
}

/// Reads a batch, and says what else is in its file.
fn read_batch(path: &Path, vocab: usize, wanted: &[&'static str]) -> Result<(Batch, Vec<String>)> {
    let BatchFile { batch, unread } = io::read_batch(path, vocab, wanted)?;
    let path = path.display();
    let meant = |(name, nearest): &(String, Option<&str>)| {
        let warning = |nearest| format!("{path}: {} is not read; perhaps {nearest} is meant", Quoted(name));
        nearest.map(warning)
    };
    let mut warnings: Vec<String> = unread.iter().filter_map(meant).collect();
    let strange: Vec<&str> =
        unread.iter().filter(|(_, nearest)| nearest.is_none()).map(|(name, _)| name.as_str()).collect();
    if let Some(first) = strange.first() {
        let (count, wanted) = (things(strange.len(), "tensor"), wanted.join(", "));
        warnings.push(format!("{path}: no use for {count}, first {}, expected {wanted}", Quoted(first)));
    }
    warnings.iter().for_each(|warning| log("warning", warning));
    Ok((batch, warnings))
}

/// Names of the tensors that a model reads.
fn batch_names(config: &ModelConfig) -> Vec<&'static str> {
    let has_encoder = config.encoder.is_some();
    io::BATCH.into_iter().filter(|name| has_encoder || *name != "decoder_input_ids").collect()
}

/// Tensors of a folder that its model has no use for.
fn warnings(unused: &[String]) -> Vec<String> {
    let warning = |first: &String| {
        format!("the model has no use for {}, first {}", things(unused.len(), "tensor"), Quoted(first))
    };
    unused.first().map(warning).into_iter().collect()
}
