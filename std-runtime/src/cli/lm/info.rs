//! `mixlet lm info`: how large a model is.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::super::output::{Lines, log, print, print_json};
use crate::cli::{Common, usage};
use crate::error::{Error, Result};
use crate::models::Reading;
use crate::models::checkpoint::{Checkpoint, FormatShare};
use crate::models::forward::Wanted;
use crate::models::info::Info;
use crate::models::memory::{Free, MemoryNeed, free};
use crate::models::{Model, ModelConfig, presets};
use crate::report::number::{count, percent, things};

/// Everything `mixlet lm info` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct InfoOptions {
    /// A folder with config.json and safetensors, or the name of a model of the literature
    #[arg(value_name = "DIR|PRESET")]
    model: PathBuf,
    /// Tokens of a sequence, for the memory that it needs; of an encoder-decoder both read as many [default: 512, or as many as the
    /// model has positions]
    #[arg(long, value_name = "N", value_parser = tokens, help_heading = "Memory")]
    tokens: Option<usize>,
    /// Sequences at once, for the memory that they need [default: 1]
    #[arg(long, value_name = "N", value_parser = tokens, help_heading = "Memory")]
    sequences: Option<usize>,
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
    /// How the weights are stored; null where there are none.
    formats: Option<Vec<FormatShare>>,
    tokens: usize,
    sequences: usize,
    memory: MemoryNeed,
    free_memory: Option<Free>,
    warnings: Vec<String>,
}

/// Runs the command.
pub(super) fn run(options: &InfoOptions) -> Result<()> {
    options.common.start()?;
    let name = options.model.to_string_lossy();
    if name == "presets" && !options.model.exists() {
        if options.tokens.is_some() || options.sequences.is_some() {
            let problem =
                "presets are listed, not planned; leave out --tokens and --sequences, or name one of them";
            return Err(Error::Options { problem });
        }
        return list(options.common.json);
    }
    let planned = match presets::find(&name).filter(|_| !options.model.is_dir()) {
        Some(config) => Planned::of_preset(config, options)?,
        None if !options.model.exists() => return Err(Error::Preset { found: name.into_owned() }),
        None => Planned::of_folder(&options.model, options)?,
    };
    let info = Info::new(&planned.config)?;
    planned.warnings.iter().for_each(|warning| log("warning", warning));
    let free_memory = free();
    let Planned { formats, reading, memory, warnings, .. } = planned;
    let (tokens, sequences) = (reading.decoder.unwrap_or(0), reading.sequences);
    if options.common.json {
        return print_json(&InfoJson { info, formats, tokens, sequences, memory, free_memory, warnings });
    }
    let mut lines = summary(&info);
    if let Some(formats) = &formats {
        lines.add("Weights", &stored(formats));
    }
    add_memory(&mut lines, memory, free_memory, (sequences, tokens), formats.is_none());
    print(&lines.text)
}

/// A model that is not loaded, and the memory that it would need.
struct Planned {
    config: ModelConfig,
    formats: Option<Vec<FormatShare>>,
    reading: Reading,
    memory: MemoryNeed,
    warnings: Vec<String>,
}

impl Planned {
    fn of_preset(config: ModelConfig, options: &InfoOptions) -> Result<Self> {
        let reading = reading(&config, options);
        let memory = MemoryNeed::of_config(&config, BF16, reading, Wanted::Last)?;
        Ok(Self { config, formats: None, reading, memory, warnings: Vec::new() })
    }

    fn of_folder(folder: &Path, options: &InfoOptions) -> Result<Self> {
        let config = ModelConfig::read(folder)?;
        let (checkpoint, reading) = (Checkpoint::open(folder)?, reading(&config, options));
        let memory = MemoryNeed::of_files(&checkpoint, &config, reading, Wanted::Last)?;
        let formats = Some(checkpoint.formats(&config)?);
        let warnings = super::warnings(&Model::of(config.clone(), checkpoint)?.unused);
        Ok(Self { config, formats, reading, memory, warnings })
    }
}

/// What is to be read: without an encoder nothing is encoded.
fn reading(config: &ModelConfig, options: &InfoOptions) -> Reading {
    /// Tokens where nothing is asked for.
    const TOKENS: usize = 512;
    let most = config.max_positions.map_or(TOKENS, |most| most.min(TOKENS));
    let tokens = options.tokens.unwrap_or(most);
    let encoder = if config.encoder.is_some() { tokens } else { 0 };
    Reading { sequences: options.sequences.unwrap_or(1), encoder, decoder: Some(tokens) }
}

/// The one format of the weights, or the share of each.
fn stored(formats: &[FormatShare]) -> String {
    match formats {
        [one] => one.format.to_owned(),
        _ => {
            let share = |it: &FormatShare| format!("{} {}", percent(it.share, 1), it.format);
            formats.iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Bytes of a weight of a model that is nowhere yet.
const BF16: u64 = 2;

/// What is needed, and whether there is as much.
fn add_memory(
    lines: &mut Lines,
    need: MemoryNeed,
    free: Option<Free>,
    (sequences, tokens): (usize, usize),
    is_preset: bool,
) {
    let [weights, cache, rest] = [need.weights, need.cache, need.copies + need.buffers].map(HumanBytes);
    let kind = if is_preset { " in bf16" } else { "" };
    let (sequences, tokens) = (things(sequences, "sequence"), things(tokens, "token"));
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
