//! `mixlet lm import` and `mixlet lm export-hf`: a model's files in another layout.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::super::output::{Lines, log, print, print_json};
use crate::cli::Common;
use crate::cli::progress::Progress;
use crate::error::Result;
use crate::models::checkpoint::write::{SHARD_BYTES, WriteProgress};
use crate::models::export::{self, Converted};
use crate::report::number::things;

/// Everything `mixlet lm import` and `mixlet lm export-hf` take.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ConvertOptions {
    /// A folder with config.json and safetensors, in either layout
    #[arg(value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm import ./gpt-oss-20b ./gpt-oss
  mixlet lm export-hf ./gpt-oss ./gpt-oss-20b-again

Both layouts are config.json and safetensors under the same names, and numbers keep their bytes. In mixlet's every matrix \
lies on its own, so that none is copied into memory; that differs for GPT-OSS alone, which stacks its experts. Any other model \
runs in place as Hugging Face has it, and need not be imported. A quantised model is exported in f32. Tokenizer and settings go \
along as they are.";

/// Where a model is written.
#[derive(Args)]
pub(super) struct OutputOptions {
    /// A folder that does not exist yet, or is empty
    #[arg(value_name = "OUT")]
    pub folder: PathBuf,
    /// Bytes of a file of tensors, unless one alone has more
    #[arg(long, value_name = "N", default_value_t = SHARD_BYTES, help_heading = "Output")]
    pub file_bytes: u64,
}

/// What `--json` prints.
#[derive(Serialize)]
struct ConvertJson<'a> {
    #[serde(flatten)]
    converted: &'a Converted,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    write: f64,
}

/// Runs `mixlet lm import`.
pub(super) fn import(options: &ConvertOptions) -> Result<()> {
    run(options, export::import)
}

/// Runs `mixlet lm export-hf`.
pub(super) fn export(options: &ConvertOptions) -> Result<()> {
    run(options, export::export)
}

fn run(
    options: &ConvertOptions,
    convert: fn(&Path, &Path, u64, WriteProgress<'_>) -> Result<Converted>,
) -> Result<()> {
    options.common.start()?;
    let clock = Instant::now();
    let OutputOptions { folder, file_bytes } = &options.output;
    let mut progress = Progress::new();
    let converted =
        convert(&options.model, folder, *file_bytes, &mut |done, total| progress.written(done, total))?;
    progress.finish();
    let seconds = Seconds { write: clock.elapsed().as_secs_f64() };
    let warnings = super::warnings(&converted.unused);
    warnings.iter().for_each(|warning| log("warning", warning));
    if options.common.json {
        return print_json(&ConvertJson { converted: &converted, warnings: &warnings, seconds });
    }
    let mut lines = Lines::default();
    add_written(&mut lines, &converted, folder);
    print(&lines.text)
}

/// What was written where.
pub(super) fn add_written(lines: &mut Lines, converted: &Converted, folder: &Path) {
    let (tensors, files) = (things(converted.tensors, "tensor"), things(converted.files, "file"));
    lines.add("Wrote", &format!("{tensors} in {files} to {}", folder.display()));
    let [before, after] = [converted.bytes_before, converted.bytes].map(HumanBytes);
    lines.add("Size", &format!("{before} before, {after} now"));
}
