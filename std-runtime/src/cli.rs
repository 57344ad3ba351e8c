//! The command line: `mixlet <command> [options]`.
//!
//! Results go to standard output, everything else to standard error; with `--json` standard output
//! holds exactly one JSON object. Exit codes: 0 done, 1 failed, 2 wrong usage. Every failure is one
//! line that begins with `error:`.

mod crowd;
mod demo;
mod lm;
mod mixture;
mod output;
mod progress;
mod usage;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::output::clear_when_ended;
use crate::threads;

/// Mixtures, from crowd labels to mixture-of-experts language models.
#[derive(Parser)]
#[command(name = "mixlet", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mixlet demo                                          the tour, in a few seconds
  mixlet crowd fit answers.csv --labels labels.csv     the truth out of a CSV of crowd answers
  mixlet mixture fit survey.csv --classes 2..8         classes out of a table of yes and no
  mixlet crowd fit --help                              everything a fit can do";

#[derive(Subcommand)]
enum Command {
    /// Find out what crowd answers add up to, and whom to trust
    #[command(subcommand, arg_required_else_help = true)]
    Crowd(crowd::Command),
    /// Find classes of rows, and the columns that tell them apart
    #[command(subcommand, arg_required_else_help = true)]
    Mixture(mixture::Command),
    /// Look into language models, run them, let them write
    #[command(subcommand, arg_required_else_help = true, after_help = lm::EXAMPLES)]
    Lm(lm::Command),
    /// Walk through what mixlet can do; needs no files and writes one page with pictures
    Demo(demo::DemoArgs),
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "General")]
struct Common {
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = usage::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Threads to work with; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = usage::threads, allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

impl Common {
    /// Applies what concerns the whole program.
    fn start(&self) -> Result<()> {
        threads::start(self.threads)
    }
}

/// Runs the command that the program was called with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    clear_when_ended();
    let result = match &cli.command {
        Command::Crowd(command) => command.run(),
        Command::Mixture(command) => command.run(),
        Command::Lm(command) => command.run(),
        Command::Demo(args) => demo::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::log("error", &error.to_string());
            ExitCode::from(if error.is_usage() { usage::EXIT_CODE } else { 1 })
        }
    }
}
