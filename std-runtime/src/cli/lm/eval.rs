//! `mixlet lm eval`: how well a model predicts texts, picks choices, answers questions.

mod summary;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::super::output::{log, print_json};
use super::loading::LoadOptions;
use super::routing::{RoutingOptions, RoutingSeen, RoutingWatch};
use crate::cli::progress::Progress;
use crate::cli::{Common, usage};
use crate::error::{Error, Result};
use crate::models::compare::{Comparison, compare};
use crate::models::eval::perplexity::settled;
use crate::models::eval::{
    ChoiceScores, Data, MatchScores, Matching, Normalise, Perplexity, Plan, Planner, Question, Reader,
    Settings, Shots, choices, matches, perplexity,
};
use crate::models::text::Tokenizer;
use crate::models::{Batch, Model, ModelConfig, Reading};
use crate::output::write_file;

/// Everything `mixlet lm eval` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct EvalOptions {
    /// A folder with config.json, safetensors and a tokenizer
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// A file with one text, or lines of JSON: texts, questions with choices, or free questions. - is standard input
    #[arg(value_name = "DATA")]
    data: PathBuf,
    #[command(flatten)]
    asking: AskingOptions,
    #[command(flatten)]
    text: TextOptions,
    /// Write what came of every text or question, as lines of JSON
    #[arg(long, value_name = "OUT.jsonl", help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    routing: RoutingOptions,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  mixlet lm eval ./OLMoE-1B-7B book.txt --window 1024 --stride 512 --usage
  mixlet lm eval ./OLMoE-1B-7B arc.jsonl --shots 5 --json
  mixlet lm eval ./olmoe-int4 book.txt --against ./OLMoE-1B-7B

Lines of JSON, of one kind in a file:
  {\"text\": \"...\"}
  {\"prompt\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0}
  {\"prompt\": \"...\", \"answer\": \"...\"}

Prompts may be called question or input, answers completion, target or output; an answer is a choice's place from 0 or its text, \
or a list of texts of which any will do. A choice is scored by the logarithms of its tokens' probabilities, summed, and by that \
sum over its bytes. A free answer is written greedily up to --until and compared as --normalise says. Examples before a question \
(--shots) are drawn from the other questions, by --seed. Errors are standard errors: binomial of shares, by bootstrap of \
perplexities. An encoder-decoder needs questions, as it predicts nothing but answers.";

/// How questions are asked.
#[derive(Args)]
#[command(next_help_heading = "Questions")]
struct AskingOptions {
    /// Examples before each question [default: 0]
    #[arg(long, value_name = "N")]
    shots: Option<usize>,
    /// Questions to draw the examples from [default: the others of DATA]
    #[arg(long, value_name = "FILE.jsonl", requires = "shots")]
    shots_from: Option<PathBuf>,
    /// Show steps in the examples, where they have some, and look for the answer behind "The answer is"
    #[arg(long)]
    cot: bool,
    /// Tokens of an answer at most [default: 64]
    #[arg(long, value_name = "N", value_parser = whole)]
    max_new_tokens: Option<usize>,
    /// What an answer ends before; nothing for the model's own end [default: the end of the line; a blank line with --cot]
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// What of an answer counts [default: words]
    #[arg(long, value_enum, value_name = "HOW")]
    normalise: Option<Normalise>,
    /// Predict the right answers instead of writing or choosing them: perplexity
    #[arg(long)]
    likelihood: bool,
}

/// How texts are predicted.
#[derive(Args)]
#[command(next_help_heading = "Texts")]
struct TextOptions {
    /// Tokens of a window over a text [default: 512, or as many as the model has positions]
    #[arg(long, value_name = "N", value_parser = whole)]
    window: Option<usize>,
    /// Tokens from one window to the next [default: half a window]
    #[arg(long, value_name = "N", value_parser = whole)]
    stride: Option<usize>,
    /// So many texts or questions, the first of the file [default: all]
    #[arg(long, value_name = "N", value_parser = whole, help_heading = "Input")]
    limit: Option<usize>,
    /// Compare predictions of texts with those of another model, which must have the same settings: the one it was made from, say
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
}

fn whole(text: &str) -> Result<usize, String> {
    usage::whole(text, 1 << 24)
}

/// What came out.
#[derive(Serialize)]
#[serde(tag = "task", rename_all = "snake_case")]
enum Scores {
    Perplexity(Perplexity),
    Choices(ChoiceScores),
    Matches(MatchScores),
}

/// What `--json` prints.
#[derive(Serialize)]
struct EvalJson<'a> {
    #[serde(flatten)]
    scores: &'a Scores,
    shots: usize,
    window: usize,
    stride: usize,
    comparison: Option<Comparison>,
    #[serde(flatten)]
    routing: RoutingSeen,
    warnings: &'a [String],
    tokens_per_second: f64,
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    read: f64,
    run: f64,
}

/// Runs the command.
pub(super) fn run(options: &EvalOptions) -> Result<()> {
    check(options)?;
    options.common.start()?;
    let clock = Instant::now();
    let config = ModelConfig::read(&options.model)?;
    let tokenizer = Tokenizer::open(&options.model, config.vocab)?;
    let (window, stride) = options.text.window(&config);
    let plan = plan(options, &config, &tokenizer)?;
    let (largest, wanted) = plan.largest(options.asking.new_tokens());
    let imported = options.load.import(&options.model, config, largest, wanted)?;
    let mut model = imported.model;
    options.routing.settle(&mut model.config);
    let read = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let mut watch = options.routing.watch(&model, reading(&plan))?;
    let reader = Reader { model: &model, tokenizer: &tokenizer };
    let (scores, tokens) = score(options, reader, &plan, &mut watch)?;
    let run = clock.elapsed().as_secs_f64();
    let comparison = options.text.against.as_deref().map(|other| against(options, other, &model, &plan));
    let comparison = comparison.transpose()?;

    let warnings = super::warnings(&imported.unused);
    warnings.iter().for_each(|warning| log("warning", warning));
    if let Some(out) = &options.out {
        write_each(out, &scores)?;
    }
    let routing = options.routing.finish(&options.model, watch)?;
    let tokens_per_second = tokens as f64 / run;
    if !options.common.json {
        let mut lines = summary::lines(&scores, comparison.as_ref(), (window, stride), tokens_per_second);
        routing.add(&mut lines);
        return super::print_summary(&lines.text, &options.outputs());
    }
    print_json(&EvalJson {
        scores: &scores,
        shots: options.asking.shots(),
        window,
        stride,
        comparison,
        routing,
        warnings: &warnings,
        tokens_per_second,
        seconds: Seconds { read, run },
    })
}

/// Does what is planned; the tokens that were read and written, too.
fn score(
    options: &EvalOptions,
    reader: Reader<'_>,
    plan: &Plan,
    watch: &mut RoutingWatch,
) -> Result<(Scores, u64)> {
    let (mut progress, mut tokens) = (Progress::new(), 0);
    let mut told = |done: usize, all: usize, read: u64| {
        tokens = read;
        progress.evaluated(done as u64, all as u64, read);
    };
    let (model, seed) = (reader.model, options.common.seed);
    let scores = match plan {
        Plan::Texts(texts) => Scores::Perplexity(perplexity(model, texts, seed, watch, &mut told)?),
        Plan::Choices(asked) => Scores::Choices(choices(model, asked, watch, &mut told)?),
        Plan::Matches(asked) => {
            Scores::Matches(matches(reader, asked, &options.asking.matching(), watch, &mut told)?)
        }
    };
    Ok((scores, tokens))
}

/// What can be known to be wrong before anything is read.
fn check(options: &EvalOptions) -> Result<()> {
    let mut inputs = options.routing.inputs();
    inputs.push(&options.data);
    inputs.extend(options.asking.shots_from.as_deref());
    let models: Vec<&Path> =
        [Some(options.model.as_path()), options.text.against.as_deref()].into_iter().flatten().collect();
    super::check_paths(&models, &inputs, &options.outputs(), options.common.json)
}

impl EvalOptions {
    /// Files to be written.
    fn outputs(&self) -> Vec<&Path> {
        self.routing.outputs().into_iter().chain(self.out.as_deref()).collect()
    }
}

fn plan(options: &EvalOptions, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<Plan> {
    let data = Data::read(&options.data)?;
    check_use(options, &data)?;
    let from = options.asking.shots_from.as_deref().map(examples).transpose()?;
    let AskingOptions { cot, likelihood, .. } = options.asking;
    let (shots, max_new_tokens) = (options.asking.shots(), options.asking.new_tokens());
    let (window, stride) = options.text.window(config);
    let settings = Settings {
        shots: Shots { count: shots, from: from.as_deref(), seed: options.common.seed, steps: cot },
        window,
        stride,
        limit: options.text.limit.unwrap_or(usize::MAX),
        max_new_tokens,
        likelihood,
    };
    Planner { config, tokenizer, path: &options.data, settings }.plan(&data)
}

/// Makes sure that no option is given that the data has no use for.
fn check_use(options: &EvalOptions, data: &Data) -> Result<()> {
    let (AskingOptions { shots, cot, .. }, texts) = (&options.asking, &options.text);
    let asks = shots.is_some() || *cot || options.asking.likelihood;
    let writes = options.asking.writes();
    let slides = texts.window.is_some() || texts.stride.is_some();
    let predicts = options.asking.likelihood;
    let has_choices = match data {
        Data::Texts(_) => false,
        Data::Questions(questions) => questions.iter().any(|question| !question.choices.is_empty()),
    };
    let problem = match data {
        Data::Texts(_) if asks || writes => {
            "texts are predicted; leave out the options of questions, or give questions"
        }
        Data::Questions(_) if slides => {
            "questions are read whole; leave out --window and --stride, or give a text"
        }
        Data::Questions(_) if writes && predicts => {
            "with --likelihood no answer is written; leave out --max-new-tokens, --until and --normalise"
        }
        Data::Questions(_) if writes && has_choices => {
            "choices are scored, no answer is written; leave out --max-new-tokens, --until and --normalise"
        }
        Data::Questions(_) if *cot && shots.is_none() && (predicts || has_choices) => {
            "--cot shows steps in examples, of which there are none; ask for some with --shots"
        }
        Data::Questions(_) if texts.against.is_some() && !predicts => {
            "--against compares predictions of texts; give a text, or --likelihood for answers"
        }
        _ => return Ok(()),
    };
    Err(Error::Options { problem })
}

/// Questions to draw examples from.
fn examples(path: &Path) -> Result<Vec<Question>> {
    match Data::read(path)? {
        Data::Questions(questions) => Ok(questions),
        Data::Texts(_) => {
            Err(Error::Options { problem: "--shots-from names texts; name a file of questions" })
        }
    }
}

/// All that is read, run behind run, which routes are of; how much is written is not known.
fn reading(plan: &Plan) -> Reading {
    let runs: Vec<_> = match plan {
        Plan::Texts(texts) => texts.iter().flat_map(|text| &text.windows).collect(),
        Plan::Choices(asked) => asked.iter().flat_map(|asked| asked.runs()).collect(),
        Plan::Matches(asked) => {
            let encoder = asked.iter().map(|asked| asked.prompt().len()).sum();
            return Reading { sequences: 1, encoder, decoder: None };
        }
    };
    let [encoder, decoder] =
        [runs.iter().map(|run| run.input.len()).sum(), runs.iter().map(|run| run.output.len()).sum()];
    Reading { sequences: 1, encoder, decoder: Some(decoder) }
}

/// The other model beside this one, on the same runs.
fn against(options: &EvalOptions, other: &Path, model: &Model, plan: &Plan) -> Result<Comparison> {
    let (largest, wanted) = plan.largest(0);
    let mut original = options.load.import(other, ModelConfig::read(other)?, largest, wanted)?.model;
    options.routing.settle(&mut original.config);
    let Plan::Texts(texts) = plan else { return Err(crate::error::LmProblem::NoLabels.into()) };
    let batches: Vec<Batch> =
        texts.iter().flat_map(|text| &text.windows).map(|window| window.batch()).collect();
    compare(&original, model, &batches)
}

/// A line for every text or question.
fn write_each(path: &Path, scores: &Scores) -> Result<()> {
    fn lines<T: Serialize>(out: &mut dyn Write, each: &[T]) -> std::io::Result<()> {
        each.iter().try_for_each(|score| writeln!(out, "{}", serde_json::to_string(score)?))
    }
    write_file(path, |out| match scores {
        Scores::Perplexity(scores) => lines(out, &scores.each),
        Scores::Choices(scores) => lines(out, &scores.each),
        Scores::Matches(scores) => lines(out, &scores.each),
    })
}

impl TextOptions {
    /// The window and its stride, for a model.
    fn window(&self, config: &ModelConfig) -> (usize, usize) {
        /// Tokens of a window where nothing is asked for.
        const WINDOW: usize = 512;
        let most = config.max_positions.map_or(WINDOW, |most| most.min(WINDOW));
        let window = self.window.unwrap_or(most);
        settled(window, self.stride.unwrap_or(window / 2))
    }
}

impl AskingOptions {
    fn shots(&self) -> usize {
        self.shots.unwrap_or(0)
    }

    /// Tokens of an answer at most.
    fn new_tokens(&self) -> usize {
        self.max_new_tokens.unwrap_or(64)
    }

    /// Whether something is said of how answers are written.
    fn writes(&self) -> bool {
        self.max_new_tokens.is_some() || self.until.is_some() || self.normalise.is_some()
    }

    fn matching(&self) -> Matching {
        let line = if self.cot { "\n\n" } else { "\n" };
        Matching {
            max_new_tokens: self.new_tokens(),
            until: self.until.clone().unwrap_or_else(|| line.to_owned()),
            normalise: self.normalise.unwrap_or_default(),
            steps: self.cot,
        }
    }
}
