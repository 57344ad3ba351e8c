//! `mixlet lm info`: how large a model is.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::super::output::{Lines, log, print, print_json};
use crate::cli::{Common, usage};
use crate::error::{Error, Result};
use crate::models::Reading;
use crate::models::checkpoint::Checkpoint;
use crate::models::forward::Wanted;
use crate::models::info::Info;
use crate::models::memory::{Free, MemoryNeed, free};
use crate::models::{Model, ModelConfig, presets};
use crate::report::number::{count, things};

/// Everything `mixlet lm info` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct InfoOptions {
    /// A folder with config.json and safetensors, or the name of a model of the literature
    #[arg(value_name = "DIR|PRESET")]
    model: PathBuf,
    /// Tokens of a sequence, for the memory that it needs; of an encoder-decoder both read as many
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = tokens, help_heading = "Memory")]
    tokens: usize,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = tokens, help_heading = "Memory")]
    sequences: usize,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm info switch_base_128
  mixlet lm info ./OLMoE-1B-7B --json

Nothing is computed and no weights are read. Of a folder every tensor is checked: its name, shape and kind.
`mixlet lm info presets` lists the models that are known by name.";

fn tokens(text: &str) -> Result<usize, String> {
    usage::whole(text, 1 << 24)
}

/// What `--json` prints.
#[derive(Serialize)]
struct InfoJson {
    #[serde(flatten)]
    info: Info,
    memory: MemoryNeed,
    free_memory: Option<Free>,
    warnings: Vec<String>,
}

/// Runs the command.
pub(super) fn run(options: &InfoOptions) -> Result<()> {
    options.common.start()?;
    let name = options.model.to_string_lossy();
    if name == "presets" && !options.model.exists() {
        return list(options.common.json);
    }
    let decoder = Some(options.tokens);
    let reading = Reading { sequences: options.sequences, encoder: options.tokens, decoder };
    let (config, memory, warnings) = match presets::find(&name).filter(|_| !options.model.is_dir()) {
        Some(config) => {
            let memory = MemoryNeed::of_config(&config, BF16, of(&config, reading), Wanted::Last)?;
            (config, memory, Vec::new())
        }
        None if !options.model.exists() => return Err(Error::Preset { found: name.into_owned() }),
        None => {
            let config = ModelConfig::read(&options.model)?;
            let checkpoint = Checkpoint::open(&options.model)?;
            let memory = MemoryNeed::of_files(&checkpoint, &config, of(&config, reading), Wanted::Last)?;
            let unused = Model::of(config.clone(), checkpoint)?.unused;
            (config, memory, super::warnings(&unused))
        }
    };
    let info = Info::new(&config)?;
    warnings.iter().for_each(|warning| log("warning", warning));
    let free_memory = free();
    if options.common.json {
        return print_json(&InfoJson { info, memory, free_memory, warnings });
    }
    let mut lines = summary(&info);
    add_memory(&mut lines, memory, free_memory, options);
    print(&lines.text)
}

/// Bytes of a weight of a model that is nowhere yet.
const BF16: u64 = 2;

/// What a model reads of it: without an encoder nothing is encoded.
fn of(config: &ModelConfig, reading: Reading) -> Reading {
    if config.encoder.is_some() { reading } else { Reading { encoder: 0, ..reading } }
}

/// What is needed, and whether there is as much.
fn add_memory(lines: &mut Lines, need: MemoryNeed, free: Option<Free>, options: &InfoOptions) {
    let [weights, cache, rest] = [need.weights, need.cache, need.copies + need.buffers].map(HumanBytes);
    let kind = if options.model.is_dir() { "" } else { " in bf16" };
    let (sequences, tokens) = (things(options.sequences, "sequence"), things(options.tokens, "token"));
    lines.add("Memory", &format!("{} for {sequences} of {tokens}", HumanBytes(need.total())));
    lines.add(
        "",
        &format!("{weights} of weights{kind}, {cache} of keys and values, {rest} of copies and buffers"),
    );
    if let Some(free) = free {
        let whose = if free.grouped { " to its control group" } else { "" };
        let verdict = if need.total() <= free.bytes { "it fits" } else { "it does not fit" };
        lines.add("", &format!("{} are free{whose}: {verdict}", HumanBytes(free.bytes)));
    }
}

fn list(json: bool) -> Result<()> {
    let names: Vec<String> = presets::names().collect();
    if json {
        print_json(&serde_json::json!({ "presets": names }))
    } else {
        print(&(names.join("\n") + "\n"))
    }
}

fn summary(info: &Info) -> Lines {
    let mut lines = Lines::default();
    lines.add(
        "Model",
        &format!(
            "{}, {} ids, width {}",
            info.architecture,
            count(info.vocab as u64),
            count(info.model_dim as u64)
        ),
    );
    let layers = match info.encoder_layers {
        0 => things(info.decoder_layers, "layer"),
        encoder => {
            format!("{} + {}", things(encoder, "encoder layer"), things(info.decoder_layers, "decoder layer"))
        }
    };
    lines.add("Layers", &layers);
    if info.sparse_layers > 0 {
        let top = info
            .top_k
            .map_or("they choose their tokens".to_owned(), |top_k| format!("{top_k} of them for each token"));
        lines.add("Experts", &format!("{} in {}, {top}", info.experts, things(info.sparse_layers, "layer")));
    }
    lines.add(
        "Parameters",
        &format!("{}, {} for each token", count(info.parameters), count(info.active_parameters)),
    );
    lines
}
