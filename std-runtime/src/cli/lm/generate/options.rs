//! What `mixlet lm generate` takes.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixlet_core::linear::Operands;

use super::super::loading::LoadOptions;
use super::super::routing::RoutingOptions;
use super::typist::Show;
use crate::cli::{Common, usage};
use crate::error::{Error, Result};
use crate::models::generate::{Generation, Sampling};
use crate::table::input::is_standard_input;

/// Everything `mixlet lm generate` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct GenerateOptions {
    /// A folder with config.json, safetensors and, for text, a tokenizer
    #[arg(value_name = "DIR")]
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) input: InputOptions,
    #[command(flatten)]
    pub(super) writing: WritingOptions,
    #[command(flatten)]
    pub(super) chance: ChanceOptions,
    /// Show the text as it is written; so it is on a terminal with one text
    #[arg(long, help_heading = "Output")]
    pub(super) stream: bool,
    #[command(flatten)]
    pub(super) routing: RoutingOptions,
    #[command(flatten)]
    pub(super) load: LoadOptions,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What is written on from.
#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(super) struct InputOptions {
    #[command(flatten)]
    pub source: SourceOptions,
    /// Put each prompt into the model's chat template, as what a user says
    #[arg(long, conflicts_with_all = ["messages", "input"])]
    pub chat: bool,
    /// What the system says first in the chat
    #[arg(long, value_name = "TEXT", requires = "chat", conflicts_with_all = ["messages", "input"], allow_hyphen_values = true)]
    pub system: Option<String>,
}

/// Where it is: one of four.
#[derive(Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Input")]
pub(super) struct SourceOptions {
    /// A prompt; may be given several times. - is all of standard input as one prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Vec<String>,
    /// A file of prompts: one in each line, blank ones left out, or JSON objects with a text `prompt`. - is standard input
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// A file of chats in JSON: messages with `role` and `content`, as one list, a list in each line, or one in each line. - is
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// Ids: input_ids, and attention_mask where they are padded (on the left, without an encoder); needs no tokenizer
    #[arg(long, value_name = "IN.safetensors")]
    pub input: Option<PathBuf>,
}

/// How far, and where it ends.
#[derive(Args)]
#[command(next_help_heading = "Writing")]
pub(super) struct WritingOptions {
    /// New tokens at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = tokens)]
    pub max_new_tokens: usize,
    /// Texts that are pursued at once; 1 takes each token for good
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = beams)]
    pub beams: usize,
    /// A text that ends the writing and is cut off; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input", value_parser = stop)]
    pub stop: Vec<String>,
    /// Write on where the model would end
    #[arg(long)]
    pub ignore_end: bool,
    /// Prompts that are written on at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = beams, conflicts_with = "input")]
    pub batch: usize,
    /// How activations meet narrow weights
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OperandsOption::Rounded)]
    pub operands: OperandsOption,
}

/// [`Operands`] as the command line has them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OperandsOption {
    /// Rounded to bf16, or to int8 with a scale for 32: fast
    Rounded,
    /// As they are, as `lm logits` has them
    Exact,
}

/// What is left to chance.
#[derive(Args)]
#[command(next_help_heading = "Chance")]
pub(super) struct ChanceOptions {
    /// Choose tokens by chance, with logits divided by this; 0 takes the likeliest [default: 0, or 1 with one of the next three]
    #[arg(long, value_name = "T", value_parser = usage::not_negative, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Among so many of the likeliest tokens
    #[arg(long, value_name = "N", value_parser = tokens)]
    top_k: Option<usize>,
    /// Among the fewest tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = whole_share, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Among tokens with at least this share of the likeliest one's probability
    #[arg(long, value_name = "P", value_parser = usage::share, allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Make tokens that are in the text already less likely: positive logits are divided by this, others multiplied; 1 leaves
    /// them alone
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = positive, allow_negative_numbers = true)]
    repetition_penalty: f64,
    /// Texts for each prompt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = beams)]
    num_samples: usize,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm generate ./OLMoE-1B-7B --prompt 'The capital of France is' --max-new-tokens 50
  mixlet lm generate ./Qwen1.5-MoE-A2.7B-Chat --prompt 'Who are you?' --chat --temperature 0.7
  mixlet lm generate ./Mixtral-8x7B --prompts questions.txt --stop 'Q:' --json
  mixlet lm generate ./switch-base-8 --input prompts.safetensors --json

What follows a prompt is printed, of several prompts one after the other; --json keeps them apart where texts have several lines. \
Settings of chance that lie in the model's folder are not taken over. With --input each line is a prompt (or the decoder's \
start) and what follows, as ids.";

fn tokens(text: &str) -> Result<usize, String> {
    usage::whole(text, 1 << 20)
}

fn beams(text: &str) -> Result<usize, String> {
    usage::whole(text, 64)
}

fn stop(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected a text, at least one character".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

fn whole_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a share above 0, at most 1".to_owned())
}

impl GenerateOptions {
    /// Files to be read.
    pub(super) fn inputs(&self) -> Vec<&Path> {
        let SourceOptions { prompt, prompts, messages, input } = &self.input.source;
        let paths = [prompts, messages, input].into_iter().flatten().map(PathBuf::as_path);
        let piped = prompt.iter().map(Path::new).filter(|path| is_standard_input(path));
        paths.chain(piped).chain(self.routing.inputs()).collect()
    }

    /// How to write.
    pub(super) fn generation(&self) -> Result<Generation> {
        let ChanceOptions { temperature, top_k, top_p, min_p, repetition_penalty, num_samples } = self.chance;
        let narrows = top_k.is_some() || top_p.is_some() || min_p.is_some();
        let temperature = temperature.unwrap_or(if narrows { 1.0 } else { 0.0 });
        let is_by_chance = temperature > 0.0;
        if !is_by_chance && (narrows || num_samples > 1) {
            let problem =
                "--top-k, --top-p, --min-p and --num-samples need chance; give a --temperature above 0";
            return Err(Error::Options { problem });
        }
        if self.writing.beams > 1 && (is_by_chance || repetition_penalty != 1.0) {
            let problem =
                "--beams takes the likeliest texts; leave out the options of chance, or ask for one beam";
            return Err(Error::Options { problem });
        }
        if self.routing.keeps_routes() && (self.writing.beams > 1 || num_samples > 1) {
            let problem = "routes are those of one text for each prompt; leave out --beams and --num-samples";
            return Err(Error::Options { problem });
        }
        let (top_p, min_p) = (top_p.unwrap_or(1.0), min_p.unwrap_or(0.0));
        let sampling = Sampling { temperature, top_k, top_p, min_p, seed: self.common.seed };
        Ok(Generation {
            max_new_tokens: self.writing.max_new_tokens,
            beams: self.writing.beams,
            stop_at_end: !self.writing.ignore_end,
            samples: num_samples,
            repetition_penalty,
            sampling: is_by_chance.then_some(sampling),
            operands: match self.writing.operands {
                OperandsOption::Rounded => Operands::Rounded,
                OperandsOption::Exact => Operands::Exact,
            },
            ..Generation::default()
        })
    }

    /// How the text appears.
    pub(super) fn show(&self) -> Result<Show> {
        match (self.common.json, self.stream) {
            (true, true) => {
                let problem = "with --json standard output holds the JSON object; leave out --stream";
                Err(Error::Options { problem })
            }
            (true, false) => Ok(Show::Json),
            (false, true) if self.input.source.input.is_some() => {
                Err(Error::Options { problem: "--stream shows text; leave it out with --input" })
            }
            (false, true) => Ok(Show::Stream),
            (false, false) if io::stdout().is_terminal() && self.input.source.input.is_none() => {
                Ok(Show::StreamOne)
            }
            (false, false) => Ok(Show::Whole),
        }
    }
}
