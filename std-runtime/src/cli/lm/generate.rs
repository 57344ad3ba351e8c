//! `mixlet lm generate`: writing on from text or ids.

mod options;
mod prompts;
mod typist;
mod written;

use std::time::Instant;

use super::super::output::{log, print_json};
use crate::error::Result;
use crate::models::Model;
use crate::models::generate::Generation;
use crate::models::text::{StopTexts, end_ids};
use crate::report::number::seconds;

pub(in crate::cli) use options::GenerateOptions;
use prompts::Prompted;
use typist::{Show, Typist};
use written::{GenerateJson, Seconds, Written};

/// Runs the command.
pub(super) fn run(options: &GenerateOptions) -> Result<()> {
    let how = options.generation()?;
    let show = options.show()?;
    options.common.start()?;
    let clock = Instant::now();
    let imported = Model::import(&options.model)?;
    let mut model = imported.model;
    model.config.ids.end = end_ids(&options.model, &model.config)?;
    let prompted = Prompted::read(options, &model.config)?;
    let is_stream = show.is_stream(prompted.texts() * how.samples * how.beams)?;
    let read = clock.elapsed().as_secs_f64();

    let stops = StopTexts::new(&options.writing.stop);
    let mut typist = Typist::new(&model, &prompted, &stops, how, is_stream);
    let mut written = Written::default();
    for batch in prompted.batches(&model.config, options.writing.batch) {
        typist.start(&batch);
        let generated = model.generate_to(batch.tokens(), batch.sequences, how, &mut (), &mut typist)?;
        typist.finish(generated, &mut written)?;
        if !is_stream && show != Show::Json {
            written.print_new()?;
        }
    }
    let warnings = super::warnings(&imported.unused);
    warnings.iter().for_each(|warning| log("warning", warning));
    let (prefill, decode) = typist.seconds();
    log("note", &speed(&prompted, &written, how, (prefill, decode)));
    if show != Show::Json {
        return Ok(());
    }
    let seconds = Seconds { read, prefill, decode };
    print_json(&GenerateJson::new(&written, prompted.tokens(), &warnings, seconds))
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
