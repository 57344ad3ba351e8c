//! `mixlet lm quantize`: a model in fewer bits.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::super::output::{Lines, log, print, print_json};
use super::convert::{OutputOptions, add_written};
use super::loading::LoadOptions;
use crate::cli::Common;
use crate::cli::progress::Progress;
use crate::error::{Error, Result};
use crate::models::compare::{Comparison, compare, labels};
use crate::models::forward::Wanted;
use crate::models::quantize::{Only, Quantisation, Quantised, quantize};
use crate::models::tensor::Narrow;
use crate::models::{Batch, ModelConfig};
use crate::report::number::{count, decimal, percent, things};

/// Everything `mixlet lm quantize` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct QuantizeOptions {
    /// A folder with config.json and safetensors
    #[arg(value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
    /// How weights are stored
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Quantisation")]
    weights: Narrow,
    /// Which matrices
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Only::Linear, help_heading = "Quantisation")]
    only: Only,
    /// Compare the two models on these ids: input_ids, and if wanted attention_mask, labels, decoder_input_ids
    #[arg(long, value_name = "IN.safetensors", help_heading = "Quantisation")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm quantize ./OLMoE-1B-7B ./olmoe-int8 --weights int8
  mixlet lm quantize ./Mixtral-8x7B ./int4 --weights int4 --only experts --compare ids.safetensors

Routers, norms, biases and embeddings stay as they are. With int4 the output head (but for --only all), and rows that \
are not made of whole groups of 32, are in int8. The result runs wherever a folder with a model is asked for; export-hf makes it f32 again. For what it \
loses on a text, see `mixlet lm eval --against`.";

/// What `--json` prints.
#[derive(Serialize)]
struct QuantizeJson<'a> {
    weights: Narrow,
    only: Only,
    #[serde(flatten)]
    quantised: &'a Quantised,
    comparison: Option<Comparison>,
    warnings: &'a [String],
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    write: f64,
    compare: f64,
}

/// Runs the command.
pub(super) fn run(options: &QuantizeOptions) -> Result<()> {
    if options.load.is_limited() && options.compare.is_none() {
        let problem = "--memory-limit is for the two models of --compare; leave it out, or add --compare";
        return Err(Error::Options { problem });
    }
    options.common.start()?;
    let OutputOptions { folder, file_bytes } = &options.output;
    let batch = options.compare.as_deref().map(|path| batch(options, path)).transpose()?;
    let (batch, warnings) = batch.unzip();
    let clock = Instant::now();
    let mut progress = Progress::new();
    let how = Quantisation { weights: options.weights, only: options.only };
    let quantised = quantize(&options.model, folder, how, *file_bytes, &mut |done, total| {
        progress.written(done, total);
    })?;
    progress.finish();
    let write = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let comparison = batch.map(|batch| compared(options, batch)).transpose()?;
    let seconds = Seconds { write, compare: clock.elapsed().as_secs_f64() };
    let unused = super::warnings(&quantised.converted.unused);
    unused.iter().for_each(|warning| log("warning", warning));
    let warnings = [warnings.unwrap_or_default(), unused].concat();
    if options.common.json {
        let (weights, only) = (options.weights, options.only);
        let (quantised, warnings) = (&quantised, &warnings[..]);
        return print_json(&QuantizeJson { weights, only, quantised, comparison, warnings, seconds });
    }
    print(&summary(options, &quantised, comparison))
}

/// What the models are compared on, which must have something to predict.
fn batch(options: &QuantizeOptions, path: &Path) -> Result<(Batch, Vec<String>)> {
    let config = ModelConfig::read(&options.model)?;
    let (batch, warnings) = super::read_batch(path, config.vocab, &super::batch_names(&config))?;
    labels(&config, &batch)?;
    Ok((batch, warnings))
}

fn compared(options: &QuantizeOptions, batch: Batch) -> Result<Comparison> {
    let import = |folder: &Path| {
        let config = ModelConfig::read(folder)?;
        let reading = batch.reading(&config);
        options.load.import(folder, config, reading, Wanted::All)
    };
    let (original, other) = (import(&options.model)?.model, import(&options.output.folder)?.model);
    compare(&original, &other, &[batch])
}

fn summary(options: &QuantizeOptions, quantised: &Quantised, comparison: Option<Comparison>) -> String {
    let mut lines = Lines::default();
    let kinds = [(quantised.int8, "int8"), (quantised.int4, "int4")];
    let some = kinds.iter().filter(|(matrices, _)| *matrices > 0);
    let some: Vec<String> =
        some.map(|(matrices, kind)| format!("{} in {kind}", count(*matrices as u64))).collect();
    lines.add("Matrices", &some.join(", "));
    add_written(&mut lines, &quantised.converted, &options.output.folder);
    if let Some(comparison) = comparison {
        let [before, after] =
            [comparison.original_perplexity, comparison.perplexity].map(|value| decimal(value, 3));
        let change = percent(comparison.change, 2);
        lines.add("Perplexity", &format!("{before} before, {after} now, a change of {change}"));
        if let Some(routing) = comparison.routing {
            let [equal, overlap] = [routing.equal, routing.overlap].map(|share| percent(share, 1));
            let choices = things(routing.choices as usize, "choice");
            lines.add("Routing", &format!("{equal} of {choices} the same, {overlap} of their experts"));
        }
    }
    lines.text
}
