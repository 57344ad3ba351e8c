//! Language models: what they are, where their weights come from, what they compute.
//!
//! ```text
//!   config.json ─► config ──┐
//!                  names ───┼─► weights ─► forward ─► logits ─► losses, generate
//!   *.safetensors ► checkpoint ┘
//! ```
//!
//! * [`config`]: a model as data: layers made of a few kinds of blocks. One file for each family of `config.json`.
//! * [`names`]: what each architecture calls its tensors. [`checkpoint`]: files of tensors, read in place.
//! * [`weights`](mod@weights): the tensors of every block, from a file or merely counted.
//! * [`forward`]: one way through the blocks for all of them, with a cache of keys and values.
//! * [`batch`]: sequences with what is expected of them. [`losses`]: cross entropy, and what routers add to it. [`generate`](mod@generate): greedy, by chance, with beams.
//! * [`export`](mod@export): from one layout of files to the other. [`quantize`](mod@quantize): weights in fewer bits.
//!   [`compare`](mod@compare): a model beside the one it was made from.
//! * [`usage`]: how experts are used. [`routes`]: what routers chose, kept and done again. [`look_ahead`]: routers that a decoder
//!   cannot have.
//! * [`info`]: how large a model is. [`memory`]: whether it fits. [`presets`]: those of the literature. [`io`]: batches from files, results into them.
//! * [`text`](mod@text): from text and chats to ids, and back. [`eval`]: how well a model predicts, chooses, answers.
//!
//! *Why no file per architecture:* a model differs from its relatives by settings and by names. Both are data here, so
//! that whatever is done to blocks (speed, training, quantisation) is done once.

pub mod batch;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod eval;
pub mod export;
pub mod forward;
pub mod generate;
pub mod info;
pub mod io;
mod layout;
pub mod look_ahead;
pub mod losses;
pub mod memory;
pub mod names;
pub mod presets;
pub mod quantize;
pub mod routes;
pub mod tensor;
pub mod text;
pub mod usage;
pub mod weights;

use std::path::Path;

pub use batch::{Batch, Reading};
pub use config::ModelConfig;
pub use weights::Weights;

use crate::error::Result;
use checkpoint::Checkpoint;

/// A model that can be run.
#[derive(Debug)]
pub struct Model {
    /// What it is.
    pub config: ModelConfig,
    /// Its parameters.
    pub weights: Weights,
}

/// A model out of a folder, and what was odd about it.
#[derive(Debug)]
pub struct Imported {
    /// The model.
    pub model: Model,
    /// Tensors of the folder that the model has no use for.
    pub unused: Vec<String>,
}

impl Model {
    /// Reads a folder as Hugging Face's `save_pretrained` leaves it: `config.json` and safetensors in one or more files.
    ///
    /// Weights stay in the files, which are mapped into memory and must not be changed meanwhile.
    pub fn import(folder: &Path) -> Result<Imported> {
        Self::of(ModelConfig::read(folder)?, Checkpoint::open(folder)?)
    }

    /// Takes the weights out of an open checkpoint.
    pub fn of(config: ModelConfig, mut checkpoint: Checkpoint) -> Result<Imported> {
        let weights = Weights::build(&config, &mut checkpoint)?;
        let tied = config.architecture.names().copies;
        let unused = checkpoint.unused().filter(|name| !tied.contains(name)).map(str::to_owned).collect();
        Ok(Imported { model: Self { config, weights }, unused })
    }
}
