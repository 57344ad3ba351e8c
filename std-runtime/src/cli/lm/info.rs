//! `mixlet lm info`: how large a model is.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::super::output::{Lines, log, print, print_json};
use crate::cli::Common;
use crate::error::{Error, Result};
use crate::models::info::Info;
use crate::models::{Model, presets};
use crate::report::number::{count, things};

/// Everything `mixlet lm info` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct InfoOptions {
    /// A folder with config.json and safetensors, or the name of a model of the literature
    #[arg(value_name = "DIR|PRESET")]
    model: PathBuf,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm info switch_base_128
  mixlet lm info ./OLMoE-1B-7B --json

Nothing is computed and no weights are read. Of a folder every tensor is checked: its name, shape and kind.
`mixlet lm info presets` lists the models that are known by name.";

/// What `--json` prints.
#[derive(Serialize)]
struct InfoJson {
    #[serde(flatten)]
    info: Info,
    warnings: Vec<String>,
}

/// Runs the command.
pub(super) fn run(options: &InfoOptions) -> Result<()> {
    options.common.start()?;
    let name = options.model.to_string_lossy();
    if name == "presets" && !options.model.exists() {
        return list(options.common.json);
    }
    let (info, warnings) = match presets::find(&name).filter(|_| !options.model.is_dir()) {
        Some(config) => (Info::new(&config)?, Vec::new()),
        None if !options.model.exists() => return Err(Error::Preset { found: name.into_owned() }),
        None => {
            let imported = Model::import(&options.model)?;
            (Info::new(&imported.model.config)?, super::warnings(&imported.unused))
        }
    };
    warnings.iter().for_each(|warning| log("warning", warning));
    if options.common.json {
        return print_json(&InfoJson { info, warnings });
    }
    print(&summary(&info))
}

fn list(json: bool) -> Result<()> {
    let names: Vec<String> = presets::names().collect();
    if json {
        print_json(&serde_json::json!({ "presets": names }))
    } else {
        print(&(names.join("\n") + "\n"))
    }
}

fn summary(info: &Info) -> String {
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
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    lines
        .add("Memory", &format!("{} in bf16, {} in f32", gib(2 * info.parameters), gib(4 * info.parameters)));
    lines.text
}
