//! Memory that a model needs, and memory there is: compared before anything large is taken.
//!
//! Weights count by the bytes of their files, which are mapped: a machine with less runs, but reads them from the disk for every
//! token. Keys and values are exact; buffers are counted from above, from the widths of the configuration.

mod free;

use std::fmt;

use serde::Serialize;

use super::ModelConfig;
use super::Reading;
use super::checkpoint::Checkpoint;
use super::config::{Attention, Block, Network};
use super::forward::Wanted;
use super::tensor::{Matrix, Tensor};
use super::weights::{Part, TensorSource, Weights};
use crate::error::{LmProblem, Result};
use crate::linear::BLOCK_ROWS;

pub use free::{Free, free};

/// Bytes of a number that is computed with.
const FLOAT: u64 = 4;

/// Bytes that a model needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Weights, read where they lie in their files.
    pub weights: u64,
    /// Weights that are copied: norms, biases, routers, and experts that a file holds in a stack.
    pub copies: u64,
    /// Keys and values.
    pub cache: u64,
    /// Buffers of the longest run, logits included.
    pub buffers: u64,
}

impl MemoryNeed {
    /// What a folder's model needs to read so much. Headers are read, weights are not.
    pub fn of_files(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        reading: Reading,
        wanted: Wanted,
    ) -> Result<Self> {
        let mut sizes = Sizes { checkpoint: Some(checkpoint), ..Sizes::new(config) };
        Weights::build(config, &mut sizes)?;
        let weights = checkpoint.bytes();
        Ok(Self { weights, copies: sizes.copies, ..Self::of_run(config, reading, wanted) })
    }

    /// The same of a model that is nowhere yet, with so many bytes a weight.
    pub fn of_config(config: &ModelConfig, bytes: u64, reading: Reading, wanted: Wanted) -> Result<Self> {
        let mut sizes = Sizes::new(config);
        Weights::build(config, &mut sizes)?;
        let weights = bytes * sizes.parameters;
        Ok(Self { weights, copies: sizes.copies, ..Self::of_run(config, reading, wanted) })
    }

    fn of_run(config: &ModelConfig, reading: Reading, wanted: Wanted) -> Self {
        Self { cache: cache(config, reading), buffers: buffers(config, reading, wanted), ..Self::default() }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        [self.weights, self.copies, self.cache, self.buffers]
            .iter()
            .fold(0, |sum, it| sum.saturating_add(*it))
    }

    /// Says why it is too much, and what helps.
    pub(crate) fn refused(&self, limit: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let Self { weights, copies, cache, buffers } = *self;
        let remedy = match weights.saturating_add(copies) > limit {
            true => "store its weights in fewer bits, with `mixlet lm quantize`",
            false => "ask for fewer tokens or sequences",
        };
        write!(
            f,
            "the model needs {:.1} GiB of memory ({:.1} of weights, {:.1} of copies, {:.1} of keys and values, {:.1} of buffers), \
             expected at most {:.1} GiB; {remedy}, or set another limit with --memory-limit",
            gib(self.total()),
            gib(weights),
            gib(copies),
            gib(cache),
            gib(buffers),
            gib(limit)
        )
    }

    /// An error that says how much is needed, how much there is and what to do, unless it fits.
    pub fn check(&self, limit: u64) -> Result<(), LmProblem> {
        if self.total() <= limit { Ok(()) } else { Err(LmProblem::Memory { need: *self, limit }) }
    }
}

/// Bytes of the keys and values of all tokens.
fn cache(config: &ModelConfig, reading: Reading) -> u64 {
    let blocks = config.decoder.layers.iter().flat_map(|layer| &layer.blocks);
    let kept = blocks.map(|block| match block {
        Block::Attention(attention) => of_token(attention) * reading.decoder.unwrap_or(0) as u64,
        Block::CrossAttention(attention) => of_token(attention) * reading.encoder as u64,
        _ => 0,
    });
    FLOAT * reading.sequences as u64 * kept.sum::<u64>()
}

/// Values of a token's keys and values.
fn of_token(attention: &Attention) -> u64 {
    (attention.k_width() + attention.v_width()) as u64
}

/// Bytes of what a run works in.
fn buffers(config: &ModelConfig, reading: Reading, wanted: Wanted) -> u64 {
    let threads = rayon::current_num_threads() as u64;
    let tokens = reading.encoder.max(reading.decoder.unwrap_or(0)) as u64;
    let rows = tokens * reading.sequences as u64;
    let stacks = config.encoder.iter().chain([&config.decoder]);
    let blocks = || stacks.clone().flat_map(|stack| &stack.layers).flat_map(|layer| &layer.blocks);
    let widest = |width: &dyn Fn(&Block) -> u64| blocks().map(width).max().unwrap_or(0);

    // States, the normed ones, what a block adds, and a spare; then what the widest block of each kind keeps for every row.
    let model_dim = config.model_dim as u64;
    let of_row = 4 * model_dim + widest(&attention_row) + widest(&|block| network_row(block, model_dim));
    let of_thread = widest(&|block| thread_block(block, tokens));
    // Few rows are shared by outputs: each piece's, and all of them, beside where they go.
    let shared = rows.min(2 * threads * BLOCK_ROWS as u64);
    let vocab = config.vocab as u64;
    let logits = match wanted {
        Wanted::All => vocab * (rows + 2 * shared),
        Wanted::Last => 3 * vocab * reading.sequences as u64,
    };
    FLOAT * (rows * of_row + threads * of_thread + logits)
}

/// Numbers that attention keeps for a row: queries, keys, values, what comes of them, and the way through low ranks.
fn attention_row(block: &Block) -> u64 {
    let (Block::Attention(attention) | Block::CrossAttention(attention)) = block else { return 0 };
    let low = attention.latent.map_or(attention.q_width(), |latent| {
        let folded = attention.heads * (attention.head_dim + attention.value_dim);
        2 * (latent.q_rank.unwrap_or(0) + latent.kv_rank + latent.rotary_dim) + folded
    });
    // Positions' turns, and biases by distance, are at most as much again as a head's keys and a number for each head.
    let places = attention.head_dim + 4 * attention.heads;
    let plain = attention.q_width() + attention.k_width() + attention.v_width() + attention.out_width();
    // Outputs that threads share exist twice for a while.
    (3 * plain + low + places) as u64
}

/// Numbers that a network keeps for a row.
fn network_row(block: &Block, model_dim: u64) -> u64 {
    /// Integers of a slot: choice, plan and order.
    const SLOT: u64 = 12;
    let hidden = |network: &Network| 3 * network.ffn_dim as u64 + 2 * model_dim;
    match block {
        Block::Dense(network) => hidden(network),
        Block::Experts(experts) => {
            let slots = u64::from(super::info::experts_per_token(experts));
            let shared = experts.shared.map_or(0, |shared| model_dim + hidden(&shared.network));
            4 * u64::from(experts.router.experts)
                + slots * (SLOT + 2 * model_dim + hidden(&experts.network))
                + shared
        }
        _ => 0,
    }
}

/// Numbers that each thread keeps: the hidden values of a block of rows, or the scores of a run of queries.
fn thread_block(block: &Block, tokens: u64) -> u64 {
    /// Queries of a run, and what is kept of each score.
    const QUERIES: u64 = 2 * 64;
    let hidden = |network: &Network| 4 * (BLOCK_ROWS * network.ffn_dim) as u64;
    match block {
        Block::Dense(network) => hidden(network),
        Block::Experts(experts) => {
            hidden(&experts.network).max(experts.shared.map_or(0, |shared| hidden(&shared.network)))
        }
        Block::Attention(attention) | Block::CrossAttention(attention) => {
            QUERIES * tokens + 2 * (attention.heads as u64) * (tokens + QUERIES)
        }
    }
}

/// Counts what a model would copy, without making it.
struct Sizes<'a> {
    checkpoint: Option<&'a Checkpoint>,
    /// The table that is read where it lies.
    embedding: [usize; 2],
    parameters: u64,
    copies: u64,
}

impl Sizes<'_> {
    fn new(config: &ModelConfig) -> Self {
        let embedding = [config.vocab, config.model_dim];
        Self { checkpoint: None, embedding, parameters: 0, copies: 0 }
    }
}

impl TensorSource for Sizes<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let count = count(shape);
        self.parameters += count;
        let stored = self.checkpoint.and_then(|checkpoint| checkpoint.get(name));
        self.copies += match shape {
            // Experts in a stack are turned around, in their own format.
            [_, _, _] => stored.map_or(FLOAT * count, |(.., bytes)| bytes.len() as u64),
            shape if *shape == self.embedding => 0,
            _ => FLOAT * count,
        };
        Ok(Tensor::absent(shape))
    }

    fn matrix(&mut self, _: &str, shape: [usize; 2], _: Part) -> Result<Matrix> {
        self.parameters += count(&shape);
        Ok(Tensor::absent(&shape).into_matrix())
    }

    fn has(&self, name: &str) -> bool {
        self.checkpoint.is_none_or(|checkpoint| checkpoint.has(name))
    }
}

fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|side| *side as u64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::info::Info;
    use crate::models::presets;

    const READING: Reading = Reading { sequences: 2, encoder: 100, decoder: Some(50) };

    #[test]
    fn keys_and_values_are_those_of_every_token() {
        let config = presets::find("t5_base").unwrap();
        // 12 layers of 2 · 768 numbers: the decoder's own, and the encoder's for cross attention.
        assert_eq!(cache(&config, READING), 4 * 2 * 12 * 2 * 768 * (50 + 100));
        let glam = presets::find("glam_8b").unwrap();
        let reading = Reading { sequences: 1, encoder: 0, decoder: Some(1) };
        assert_eq!(cache(&glam, reading), Info::new(&glam).unwrap().cache_bytes_per_token);
    }

    #[test]
    fn weights_are_counted_once_and_copies_are_small() {
        for name in ["switch_base_128", "glam_64b_64e"] {
            let config = presets::find(name).unwrap();
            let need = MemoryNeed::of_config(&config, 2, READING, Wanted::Last).unwrap();
            assert_eq!(need.weights, 2 * Info::new(&config).unwrap().parameters, "{name}");
            assert!(need.copies > 0 && need.copies < need.weights / 500, "{name}: {need:?}");
        }
    }

    #[test]
    fn what_does_not_fit_says_what_helps() {
        let gib = 1 << 30;
        let cases = [
            (MemoryNeed { weights: 5 * gib, ..MemoryNeed::default() }, "mixlet lm quantize"),
            (MemoryNeed { weights: gib, cache: 5 * gib, ..MemoryNeed::default() }, "fewer tokens"),
        ];
        for (need, remedy) in cases {
            assert_eq!(need.check(need.total()), Ok(()));
            let message = need.check(need.total() - 1).unwrap_err().to_string();
            assert!(message.contains(remedy) && message.contains("5.0 "), "{message}");
        }
    }

    #[test]
    fn longer_runs_need_more() {
        let config = presets::find("switch_base_8").unwrap();
        let need = |tokens| buffers(&config, Reading { decoder: Some(tokens), ..READING }, Wanted::All);
        assert!(need(1000) < need(2000));
        let last = buffers(&config, READING, Wanted::Last);
        assert!(last < buffers(&config, READING, Wanted::All));
    }
}
