//! `mixlet demo`: the tour.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Common, output};
use crate::demo::{self, DemoOptions};
use crate::error::Result;

/// What the tour is told.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Where the pictures go
    #[arg(long, value_name = "FILE", default_value = "mixlet-demo.html")]
    report: PathBuf,
    /// Also write the generated data into this directory: answers.csv and gold.csv of the crowd, visits.csv and
    /// kinds.csv, signs-idx3-ubyte and signs.csv of the mixtures
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Walks the tour. Its text goes to standard error where standard output is wanted for something else.
pub fn run(args: &DemoArgs) -> Result<()> {
    let files = |folder: &PathBuf| demo::DATA_FILES.map(|name| folder.join(name));
    let data: Vec<PathBuf> = args.data.iter().flat_map(files).collect();
    let outputs: Vec<_> = data.iter().chain([&args.report]).map(PathBuf::as_path).collect();
    output::check_paths(&[], &outputs, args.common.json)?;
    args.common.start()?;

    let options =
        DemoOptions { seed: args.common.seed, report: args.report.clone(), data: args.data.clone() };
    let is_taken = args.common.json || crate::output::is_standard_output(&args.report);
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let out: &mut dyn Write = if is_taken { &mut stderr } else { &mut stdout };
    let tour = demo::run(&options, out)?;
    if args.common.json { output::print_json(&tour) } else { Ok(()) }
}
