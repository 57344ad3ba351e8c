//! What commands that run a model can do with its routers: show how experts are used, write routes down, take them again.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::output::{Lines, command_line, title};
use crate::error::{Error, Result, RoutesProblem, TensorProblem};
use crate::models::compare::RoutingAgreement;
use crate::models::routes::{Fingerprint, Replay, Routes, RoutesWatch};
use crate::models::usage::{LayerUsage, UsageWatch, marks, page};
use crate::models::{Model, ModelConfig, Reading};
use crate::output::write_file;
use crate::report::number::{percent, things};

/// What to do with routers.
#[derive(Args)]
#[command(next_help_heading = "Routing")]
pub(in crate::cli) struct RoutingOptions {
    /// Show how experts are used, layer by layer
    #[arg(long)]
    usage: bool,
    /// Write a page with the heat map of the experts
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    /// Write down what every router chooses for every token
    #[arg(long, value_name = "OUT.safetensors")]
    record: Option<PathBuf>,
    /// Make every router choose what was written down with --record
    #[arg(long, value_name = "ROUTES.safetensors", conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// Take routes even of routers with other weights
    #[arg(long, requires = "replay")]
    any_routers: bool,
    /// What to do with a decoder whose routers look at later tokens
    #[arg(long, value_enum, value_name = "HOW", default_value_t = LookAhead::Refuse)]
    look_ahead: LookAhead,
}

/// What to do with a decoder whose routers look at later tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LookAhead {
    /// Do not run it
    Refuse,
    /// Let each token choose its experts, in the order of tokens
    Tokens,
}

/// Looks on for the options: usage, then routes written down or taken again.
pub(super) type RoutingWatch = (Option<UsageWatch>, (Option<RoutesWatch>, Option<Replay>));

/// What was seen.
#[derive(Serialize)]
pub(super) struct RoutingSeen {
    /// How experts were used, where that was asked for.
    usage: Option<Vec<LayerUsage>>,
    /// How often routers would have chosen by themselves what they were made to.
    replay: Option<RoutingAgreement>,
}

impl RoutingOptions {
    /// Files to be written.
    pub fn outputs(&self) -> Vec<&Path> {
        [&self.report, &self.record].into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// Files to be read.
    pub fn inputs(&self) -> Vec<&Path> {
        self.replay.iter().map(PathBuf::as_path).collect()
    }

    /// Whether routes are written down, or taken again.
    pub fn keeps_routes(&self) -> bool {
        self.record.is_some() || self.replay.is_some()
    }

    /// Changes what the options change about a model.
    pub fn settle(&self, config: &mut ModelConfig) {
        if self.look_ahead == LookAhead::Tokens {
            config.choose_by_token();
        }
    }

    /// Who looks on while a model reads.
    pub fn watch(&self, model: &Model, reading: Reading) -> Result<RoutingWatch> {
        let replay = self.replay.as_deref().map(|path| self.replay(model, reading, path)).transpose()?;
        let usage = (self.usage || self.report.is_some()).then(UsageWatch::default);
        let record = self.record.as_ref().map(|_| RoutesWatch::new(model, reading.sequences));
        Ok((usage, (record, replay)))
    }

    fn replay(&self, model: &Model, reading: Reading, path: &Path) -> Result<Replay> {
        let problem = |problem| {
            let problem = TensorProblem::Routes(problem);
            Error::Tensor { path: path.to_owned(), problem }
        };
        let routes = Routes::read(path, model)?;
        if routes.fingerprint != Fingerprint::of(model) && !self.any_routers {
            return Err(problem(RoutesProblem::OtherRouters));
        }
        routes.check(reading).map_err(problem)?;
        Ok(Replay::new(routes))
    }

    /// Writes what is to be written.
    pub fn finish(&self, model: &Path, (usage, (record, replay)): RoutingWatch) -> Result<RoutingSeen> {
        let usage = usage.map(|usage| usage.layers());
        if let (Some(path), Some(layers)) = (&self.report, &usage) {
            let page = page(layers, &title(model), &command_line())?;
            write_file(path, |out| out.write_all(page.as_bytes()))?;
        }
        if let (Some(path), Some(record)) = (&self.record, record) {
            record.finish()?.write(path)?;
        }
        let usage = usage.filter(|_| self.usage);
        Ok(RoutingSeen { usage, replay: replay.and_then(|replay| replay.agreement()) })
    }
}

impl RoutingSeen {
    /// For a person.
    pub fn add(&self, lines: &mut Lines) {
        if let Some(RoutingAgreement { choices, equal, overlap }) = self.replay {
            let [equal, overlap] = [equal, overlap].map(|share| percent(share, 1));
            let choices = things(choices as usize, "choice");
            lines.add(
                "Replay",
                &format!("{equal} of {choices} would have been the same, {overlap} of their experts"),
            );
        }
        match &self.usage {
            Some(layers) if layers.is_empty() => lines.add("Usage", "the model has no experts"),
            Some(layers) => lines.text.push_str(&marks(layers)),
            None => {}
        }
    }
}
