//! `mixlet lm logits`: what a model says of every token.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::super::output::{Lines, log, print_json};
use super::loading::LoadOptions;
use super::routing::{RoutingOptions, RoutingSeen};
use crate::cli::Common;
use crate::error::Result;
use crate::models::config::{LossCounting, LossScope};
use crate::models::forward::{Keep, Side, Trace, Wanted};
use crate::models::io::{Named, write_tensors};
use crate::models::losses::{Losses, RouterLoss, losses};
use crate::models::{Batch, Model, ModelConfig};
use crate::report::number::{decimal, things};

/// Everything `mixlet lm logits` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct LogitsOptions {
    /// A folder with config.json and safetensors
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Ids: input_ids, and if wanted attention_mask, decoder_input_ids (of an encoder-decoder), labels
    #[arg(long, value_name = "IN.safetensors", help_heading = "Input")]
    input: PathBuf,
    /// Write logits and what routers say
    #[arg(long, value_name = "OUT.safetensors", help_heading = "Output")]
    output: PathBuf,
    /// Write the hidden states of every layer, too
    #[arg(long, help_heading = "Output")]
    hidden: bool,
    /// How routers' losses are counted
    #[arg(long, value_enum, value_name = "HOW", default_value_t = LossCounting::Transformers5, help_heading = "Output")]
    router_losses: LossCounting,
    #[command(flatten)]
    routing: RoutingOptions,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm logits ./Mixtral-8x7B --input ids.safetensors --output logits.safetensors --hidden

Ids are [sequences, tokens] of i64; a mask is 1 for them and 0 for padding. Labels of -100 are not learned from. An \
encoder-decoder needs decoder_input_ids or labels, which it shifts right where the former are absent. Tensors written: logits; \
router_logits.N (encoder_router_logits.N, decoder_router_logits.N) for the Nth layer with experts; hidden_states.N likewise, the \
last of them after the last norm. With labels the losses are printed. With --output - the tensors go to standard output, and \
everything else to standard error.";

/// What `--json` prints.
#[derive(Serialize)]
struct LogitsJson {
    sequences: usize,
    tokens: usize,
    vocab: usize,
    cross_entropy: Option<f64>,
    router_losses: Vec<RouterLossJson>,
    loss: Option<f64>,
    #[serde(flatten)]
    routing: RoutingSeen,
    warnings: Vec<String>,
    seconds: Seconds,
}

#[derive(Serialize)]
struct RouterLossJson {
    stack: &'static str,
    balance: f64,
    z: f64,
}

#[derive(Serialize)]
struct Seconds {
    read: f64,
    run: f64,
}

/// Runs the command.
pub(super) fn run(options: &LogitsOptions) -> Result<()> {
    let (mut inputs, mut outputs) = (options.routing.inputs(), options.routing.outputs());
    inputs.push(&options.input);
    outputs.push(&options.output);
    super::check_paths(&[&options.model], &inputs, &outputs, options.common.json)?;
    options.common.start()?;
    let clock = Instant::now();
    let config = ModelConfig::read(&options.model)?;
    let (batch, mut warnings) =
        super::read_batch(&options.input, config.vocab, &super::batch_names(&config))?;
    let reading = batch.reading(&config);
    let imported = options.load.import(&options.model, config, reading, Wanted::All)?;
    let mut model = imported.model;
    model.config.router_losses.counting = options.router_losses;
    options.routing.settle(&mut model.config);
    let read = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let keep = if options.hidden { Keep::All } else { Keep::Routing };
    let trace = Trace { keep, ..Trace::default() };
    let mut watch = (options.routing.watch(&model, batch.reading(&model.config))?, trace);
    let logits = model.logits(&batch, &mut watch)?;
    let (routing, trace) = watch;
    let losses = losses(&model.config, &batch, &logits, &trace)?;
    let seconds = Seconds { read, run: clock.elapsed().as_secs_f64() };

    let unused = super::warnings(&imported.unused);
    unused.iter().for_each(|warning| log("warning", warning));
    warnings.extend(unused);
    let tokens = logits.len() / model.config.vocab / batch.sequences;
    let shape = vec![batch.sequences, tokens, model.config.vocab];
    let mut tensors = vec![Named { name: "logits".to_owned(), shape, values: logits }];
    tensors.extend(routers(&model, &batch, &trace));
    tensors.extend(states(&model, &batch, trace));
    let routing = options.routing.finish(&options.model, routing)?;
    write_tensors(&options.output, &tensors)?;
    if !options.common.json {
        let mut lines = summary(&batch, losses.as_ref(), &tensors, options);
        routing.add(&mut lines);
        return super::print_summary(&lines.text, &outputs);
    }
    print_json(&LogitsJson {
        sequences: batch.sequences,
        tokens,
        vocab: model.config.vocab,
        cross_entropy: losses.as_ref().map(|losses| losses.cross_entropy),
        router_losses: losses.iter().flat_map(|losses| &losses.routers).map(RouterLossJson::new).collect(),
        loss: losses.as_ref().map(|losses| losses.total),
        routing,
        warnings,
        seconds,
    })
}

impl RouterLossJson {
    fn new(loss: &RouterLoss) -> Self {
        let stack = if loss.side == Side::Encoder { "encoder" } else { "decoder" };
        Self { stack, balance: loss.balance, z: loss.z }
    }
}

/// What names of a stack's tensors begin with.
fn prefix(model: &Model, side: Side) -> &'static str {
    match (side, model.config.encoder.is_some()) {
        (Side::Encoder, _) => "encoder_",
        (Side::Decoder, true) => "decoder_",
        (Side::Decoder, false) => "",
    }
}

/// The routers' logits, `[sequences, tokens, experts]` where shares are taken by sequence, else `[sequences · tokens, experts]`.
fn routers(model: &Model, batch: &Batch, trace: &Trace) -> Vec<Named> {
    let by_side = |side| trace.mixtures.iter().filter(move |mixture| mixture.side == side).enumerate();
    let named = by_side(Side::Encoder).chain(by_side(Side::Decoder)).map(|(nth, mixture)| {
        let (experts, tokens) = (mixture.experts, mixture.logits.len() / mixture.experts);
        let shape = match model.config.router_losses.over {
            LossScope::Sequences => vec![batch.sequences, tokens / batch.sequences, experts],
            LossScope::Tokens | LossScope::None => vec![tokens, experts],
        };
        let name = format!("{}router_logits.{nth}", prefix(model, mixture.side));
        Named { name, shape, values: mixture.logits.clone() }
    });
    named.collect()
}

/// The hidden states, `[sequences, tokens, model_dim]`.
fn states(model: &Model, batch: &Batch, trace: Trace) -> Vec<Named> {
    let mut counts = [0; 2];
    let named = trace.states.into_iter().map(|(side, values)| {
        let count = &mut counts[usize::from(side == Side::Decoder)];
        let name = format!("{}hidden_states.{count}", prefix(model, side));
        *count += 1;
        let width = model.config.model_dim;
        Named { name, shape: vec![batch.sequences, values.len() / width / batch.sequences, width], values }
    });
    named.collect()
}

fn summary(batch: &Batch, losses: Option<&Losses>, tensors: &[Named], options: &LogitsOptions) -> Lines {
    let mut lines = Lines::default();
    let tokens = tensors.first().map_or(0, |logits| logits.shape[1]);
    lines.add("Batch", &format!("{} of {}", things(batch.sequences, "sequence"), things(tokens, "token")));
    if let Some(losses) = losses {
        let total = format!("{} with routers", decimal(losses.total, 4));
        lines.add("Loss", &format!("{} nats a label, {total}", decimal(losses.cross_entropy, 4)));
    }
    lines.add("Wrote", &format!("{} to {}", things(tensors.len(), "tensor"), options.output.display()));
    lines
}
