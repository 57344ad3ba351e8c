//! The parameters of a model, block by block, out of any source of tensors.

mod attention;
mod experts;

use super::config::{Block, Head, Layer, ModelConfig, Norm, Stack};
use super::names::Names;
use super::tensor::{Linear, Matrix, Tensor};
use crate::error::Result;

pub use attention::{AttentionWeights, LatentQuery, LatentWeights, Projection};
pub use experts::{ExpertsWeights, NetworkWeights};

/// Where tensors come from: a file, or nowhere for one who counts.
pub trait TensorSource {
    /// The tensor of a name, which must have this shape.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor>;

    /// The matrix of a name, which may be stored in fewer bits.
    fn matrix(&mut self, name: &str, shape: [usize; 2], part: Part) -> Result<Matrix> {
        let _ = part;
        Ok(self.tensor(name, &shape)?.into_matrix())
    }

    /// Whether there is a tensor of a name: asked where files may hold the same weights in two ways.
    fn has(&self, name: &str) -> bool {
        let _ = name;
        true
    }
}

/// What a weight matrix is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From tokens to logits.
    Head,
    /// Attention, or a network that every token passes.
    Layer,
    /// One expert of several.
    Expert,
}

/// Counts the numbers of the tensors that a model asks for, without making any.
///
/// ```
/// # use mixlet_runtime::models::{ModelConfig, weights::{Counter, Weights}};
/// let text = r#"{"model_type": "t5", "vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
///     "relative_attention_num_buckets": 8}"#;
/// let mut counter = Counter::default();
/// Weights::build(&ModelConfig::from_hf(text).unwrap(), &mut counter).unwrap();
/// assert_eq!(counter.parameters, 44480);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Numbers so far.
    pub parameters: u64,
}

impl TensorSource for Counter {
    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        self.parameters += shape.iter().map(|side| *side as u64).product::<u64>();
        Ok(Tensor::absent(shape))
    }
}

/// All parameters.
#[derive(Debug)]
pub struct Weights {
    /// `[vocab, model_dim]`.
    pub embedding: Matrix,
    /// The encoder's.
    pub encoder: Option<StackWeights>,
    /// The decoder's.
    pub decoder: StackWeights,
    /// `[vocab, model_dim]`, where it is not the embedding.
    pub head: Option<Linear>,
}

/// The parameters of a stack.
#[derive(Debug)]
pub struct StackWeights {
    /// Of every layer, every block.
    pub layers: Vec<Vec<BlockWeights>>,
    /// The norm after the last one.
    pub norm: NormWeights,
}

/// The parameters of a norm.
#[derive(Clone, Debug)]
pub struct NormWeights {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// `[width]`; empty where there is none.
    pub bias: Vec<f32>,
}

/// The parameters of a block.
#[derive(Debug)]
pub struct BlockWeights {
    /// The norm before it.
    pub norm: NormWeights,
    /// What follows.
    pub inner: InnerWeights,
}

/// The parameters of what follows a block's norm.
#[derive(Debug)]
pub enum InnerWeights {
    /// Of attention, either kind.
    Attention(AttentionWeights),
    /// Of a network.
    Dense(NetworkWeights),
    /// Of a mixture.
    Experts(ExpertsWeights),
}

impl Weights {
    /// Asks the source for every tensor of the model.
    pub fn build(config: &ModelConfig, source: &mut impl TensorSource) -> Result<Self> {
        let names = config.architecture.names();
        let mut build = Build { config, names, source };
        let table = [config.vocab, config.model_dim];
        let embedding = build.source.tensor(&format!("{}.weight", names.embedding), &table)?.into_matrix();
        let encoder = config.encoder.as_ref().map(|stack| build.stack(stack, names.stacks[0])).transpose()?;
        let decoder = build.stack(&config.decoder, names.stacks[1])?;
        let head = match config.head {
            Head { tied: true, .. } => None,
            Head { tied: false, .. } => Some(build.linear_of(Part::Head, names.head, table, false)?),
        };
        Ok(Self { embedding, encoder, decoder, head })
    }
}

/// A model in the making.
struct Build<'a, S> {
    config: &'a ModelConfig,
    names: &'static Names,
    source: &'a mut S,
}

impl<S: TensorSource> Build<'_, S> {
    fn stack(&mut self, stack: &Stack, name: &str) -> Result<StackWeights> {
        let layer = |(nth, layer)| self.layer(layer, name, nth);
        let layers = stack.layers.iter().enumerate().map(layer).collect::<Result<_>>()?;
        let norm = self.norm(&self.names.final_norm.replace("{stack}", name))?;
        Ok(StackWeights { layers, norm })
    }

    fn layer(&mut self, layer: &Layer, stack: &str, nth: usize) -> Result<Vec<BlockWeights>> {
        let block = |(place, block): (usize, &Block)| {
            let prefix = self.names.block(stack, nth, place);
            let kind = match block {
                Block::Attention(_) => 0,
                Block::CrossAttention(_) => 1,
                Block::Dense(_) | Block::Experts(_) => 2,
            };
            let norm = self.norm(&(prefix.clone() + self.names.norms[kind]))?;
            let inner = match block {
                Block::Attention(attention) | Block::CrossAttention(attention) => {
                    let prefix = prefix + self.names.attention[kind];
                    InnerWeights::Attention(self.attention(attention, &prefix)?)
                }
                Block::Dense(network) => {
                    let prefix = prefix + self.names.dense;
                    InnerWeights::Dense(self.network(Part::Layer, network, &self.names.network, &prefix)?)
                }
                Block::Experts(experts) => {
                    let prefix = prefix + self.names.mixture;
                    InnerWeights::Experts(self.experts(experts, &prefix)?)
                }
            };
            Ok(BlockWeights { norm, inner })
        };
        layer.blocks.iter().enumerate().map(block).collect()
    }

    fn norm(&mut self, name: &str) -> Result<NormWeights> {
        let width = self.config.model_dim;
        let weight = self.vector(&format!("{name}.weight"), width)?;
        let bias = match self.config.norm {
            Norm::Rms { .. } => Vec::new(),
            Norm::Layer { .. } => self.vector(&format!("{name}.bias"), width)?,
        };
        Ok(NormWeights { weight, bias })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        Ok(self.source.tensor(name, &[len])?.to_f32())
    }

    fn table(&mut self, name: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
        Ok(self.source.tensor(&format!("{name}.weight"), &shape)?.to_f32())
    }

    /// A matrix `[outputs, inputs]` of a layer, and its bias.
    fn linear(&mut self, name: &str, shape: [usize; 2], bias: bool) -> Result<Linear> {
        self.linear_of(Part::Layer, name, shape, bias)
    }

    fn linear_of(&mut self, part: Part, name: &str, shape: [usize; 2], bias: bool) -> Result<Linear> {
        let matrix = self.source.matrix(&format!("{name}.weight"), shape, part)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), shape[0])).transpose()?;
        Ok(Linear { matrix, bias })
    }
}
