//! `mixlet lm`: language models.

mod generate;
mod info;
mod logits;

use clap::Subcommand;

use crate::error::Result;

/// What can be done with language models.
#[derive(Subcommand)]
pub(super) enum Command {
    /// How large a model is, and what it is made of
    Info(info::InfoOptions),
    /// What a model says of every token
    Logits(logits::LogitsOptions),
    /// Write on from ids
    Generate(generate::GenerateOptions),
}

impl Command {
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Info(options) => info::run(options),
            Self::Logits(options) => logits::run(options),
            Self::Generate(options) => generate::run(options),
        }
    }
}

/// Tensors of a folder that its model has no use for.
fn warnings(unused: &[String]) -> Vec<String> {
    use crate::error::Quoted;
    use crate::report::number::things;
    let warning = |first: &String| {
        format!("the model has no use for {}, first {}", things(unused.len(), "tensor"), Quoted(first))
    };
    unused.first().map(warning).into_iter().collect()
}
