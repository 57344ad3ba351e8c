//! `mixlet lm generate`: writing on from ids.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::super::output::{log, print, print_json};
use crate::cli::{Common, usage};
use crate::error::Result;
use crate::models::Model;
use crate::models::generate::Generation;
use crate::models::io::read_batch;

/// Everything `mixlet lm generate` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct GenerateOptions {
    /// A folder with config.json and safetensors
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Prompts: input_ids, and attention_mask where they are padded (on the left, without an encoder)
    #[arg(long, value_name = "IN.safetensors", help_heading = "Input")]
    input: PathBuf,
    /// New tokens at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = tokens, help_heading = "Writing")]
    max_new_tokens: usize,
    /// Texts that are pursued at once; 1 takes the likeliest token each time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = beams, help_heading = "Writing")]
    beams: usize,
    /// Write on where the model would end
    #[arg(long, help_heading = "Writing")]
    ignore_end: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm generate ./switch-base-8 --input prompts.safetensors --max-new-tokens 50 --json

Each line is a prompt (or the decoder's start) and what follows, as ids.";

fn tokens(text: &str) -> Result<usize, String> {
    usage::whole(text, 1 << 20)
}

fn beams(text: &str) -> Result<usize, String> {
    usage::whole(text, 64)
}

/// What `--json` prints.
#[derive(Serialize)]
struct GenerateJson<'a> {
    sequences: &'a [Vec<u32>],
    scores: &'a [f64],
    new_tokens: usize,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    read: f64,
    generate: f64,
}

/// Runs the command.
pub(super) fn run(options: &GenerateOptions) -> Result<()> {
    options.common.start()?;
    let clock = Instant::now();
    let imported = Model::import(&options.model)?;
    let model = imported.model;
    let batch = read_batch(&options.input, model.config.vocab)?;
    let read = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let how = Generation {
        max_new_tokens: options.max_new_tokens,
        beams: options.beams,
        stop_at_end: !options.ignore_end,
        ..Generation::default()
    };
    let generated = model.generate(batch.tokens(), batch.sequences, how, &mut ())?;
    let seconds = Seconds { read, generate: clock.elapsed().as_secs_f64() };
    let warnings = super::warnings(&imported.unused);
    warnings.iter().for_each(|warning| log("warning", warning));
    let prompt = if model.config.encoder.is_some() { 1 } else { batch.ids.len() / batch.sequences };
    let new_tokens = generated.sequences.iter().map(|sequence| sequence.len() - prompt).sum();
    if options.common.json {
        let (sequences, scores, warnings) = (&generated.sequences[..], &generated.scores[..], &warnings[..]);
        return print_json(&GenerateJson { sequences, scores, new_tokens, warnings, seconds });
    }
    let line = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + "\n";
    print(&generated.sequences.iter().map(line).collect::<String>())
}
