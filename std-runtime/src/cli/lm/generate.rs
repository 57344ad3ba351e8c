//! `mixlet lm generate`: writing on from text or ids.

mod options;
mod prompts;
mod typist;
mod written;

use std::borrow::Cow;
use std::time::Instant;

use super::super::output::{Lines, log, print_aside, print_json};
use crate::error::{Error, Result};
use crate::models::ModelConfig;
use crate::models::Reading;
use crate::models::forward::Wanted;
use crate::models::generate::{Generation, Prompts};
use crate::models::text::{StopTexts, end_ids};
use crate::output::is_standard_output;
use crate::report::number::seconds;

pub(in crate::cli) use options::GenerateOptions;
use prompts::Prompted;
use typist::{Show, Typist};
use written::{GenerateJson, Seconds, Written};

/// Runs the command.
pub(super) fn run(options: &GenerateOptions) -> Result<()> {
    let how = options.generation()?;
    let show = options.show()?;
    let outputs = options.routing.outputs();
    super::check_paths(&[&options.model], &options.inputs(), &outputs, options.common.json)?;
    if outputs.iter().any(|path| is_standard_output(path)) {
        let problem = "standard output has the text; name a file for the other output";
        return Err(Error::Options { problem });
    }
    options.common.start()?;
    let clock = Instant::now();
    let config = ModelConfig::read(&options.model)?;
    let (prompted, mut warnings) = Prompted::read(options, &config)?;
    let is_stream = show.is_stream(prompted.texts() * how.samples * how.beams)?;
    let batches = prompted.batches(options, &config);
    let longest = longest(&config, &batches, how);
    let imported = options.load.import(&options.model, config, longest, Wanted::Last)?;
    let mut model = imported.model;
    model.config.ids.end = end_ids(&options.model, &model.config)?;
    options.routing.settle(&mut model.config);
    let mut watch = options.routing.watch(&model, Reading { decoder: None, ..longest })?;
    let read = clock.elapsed().as_secs_f64();

    let stops = StopTexts::new(&options.writing.stop);
    let mut typist = Typist::new(&model, &prompted, &stops, how, is_stream);
    let mut written = Written::default();
    for batch in batches {
        typist.start(&batch)?;
        let generated = model.generate_to(batch.tokens(), batch.sequences, how, &mut watch, &mut typist)?;
        typist.finish(generated, &mut written)?;
        if !is_stream && show != Show::Json {
            written.print_new()?;
        }
    }
    let routing = options.routing.finish(&options.model, watch)?;
    let unused = super::warnings(&imported.unused);
    unused.iter().for_each(|warning| log("warning", warning));
    warnings.extend(unused);
    let (prefill, decode) = typist.seconds();
    log("note", &speed(&prompted, &written, how, (prefill, decode)));
    if show != Show::Json {
        // Standard output has the text.
        let mut lines = Lines::default();
        routing.add(&mut lines);
        print_aside(&lines.text);
        return Ok(());
    }
    let seconds = Seconds { read, prefill, decode };
    print_json(&GenerateJson::new(&written, prompted.tokens(), routing, &warnings, seconds))
}

/// The most that is read at once.
fn longest(config: &ModelConfig, batches: &[Cow<'_, Prompts>], how: Generation) -> Reading {
    let tokens = |batch: &Prompts| batch.ids.len() / batch.sequences.max(1);
    let tokens = batches.iter().map(|batch| tokens(batch)).max().unwrap_or(0);
    let sequences = batches.iter().map(|batch| batch.sequences).max().unwrap_or(0) * how.samples * how.beams;
    let (encoder, prompt) = if config.encoder.is_some() { (tokens, 1) } else { (0, tokens) };
    Reading { sequences, encoder, decoder: Some(prompt + how.max_new_tokens) }
}

/// How many tokens in how much time.
fn speed(prompted: &Prompted, written: &Written, how: Generation, (prefill, decode): (f64, f64)) -> String {
    let rate = |tokens: usize, time: f64| format!("{:.1} a second", tokens as f64 / time.max(1e-9));
    let (read, new) = (prompted.tokens(), written.new_tokens());
    // The first token of each text falls to the prompts.
    let decoded = new.saturating_sub(written.texts.len()) * how.beams;
    let beams = if how.beams > 1 { " of all beams" } else { "" };
    format!(
        "{read} prompt tokens in {} ({}), {new} new ones in {} ({}{beams})",
        seconds(prefill),
        rate(read, prefill),
        seconds(decode),
        rate(decoded, decode),
    )
}
