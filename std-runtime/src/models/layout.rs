//! The two layouts of a model's files: that of Hugging Face, and mixlet's own, which is run in place.
//!
//! Both have the same names and numbers. They differ where an architecture keeps all experts of a layer in one tensor, across:
//! there mixlet has each matrix on its own; and matrices in fewer bits are mixlet's alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::checkpoint::write::Planned;
use super::config::{Block, Experts, ModelConfig};
use super::names::{ExpertNames, Names};
use super::tensor::{Matrix, Narrow, Tensor};
use super::weights::{Part, TensorSource, Weights};
use crate::error::Result;

/// A model's files, of which every tensor that the model needs has been checked.
pub(super) struct Source {
    pub checkpoint: Checkpoint,
    /// The matrices, as the own layout has them.
    pub matrices: BTreeMap<String, MatrixFacts>,
    /// What Hugging Face's layout has stacked.
    pub stacks: Vec<Stack>,
    /// Tensors that the model has no use for, or copies of those that it has.
    pub unused: BTreeSet<String>,
    /// What such copies are called.
    copies: &'static [&'static str],
}

/// What a matrix is.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatrixFacts {
    pub part: Part,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// In how many bits it is stored, if in fewer than plain ones.
    pub narrow: Option<Narrow>,
}

/// A tensor as the own layout has it.
pub(super) struct Item {
    pub tensor: Planned,
    origin: Origin,
}

/// Where an item comes from.
enum Origin {
    /// A tensor of the same name.
    Whole,
    /// A part of the stack of this place.
    Stack { stack: usize, expert: usize, turn: usize },
}

impl Source {
    /// Opens a folder of either layout.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = ModelConfig::read(folder)?;
        let mut survey = Survey { checkpoint: Checkpoint::open(folder)?, matrices: BTreeMap::new() };
        Weights::build(&config, &mut survey)?;
        let Survey { checkpoint, mut matrices } = survey;
        let stacks = stacks(&config);
        for stack in stacks.iter().filter(|stack| !stack.is_bias && checkpoint.has(&stack.name)) {
            let shape = [stack.outputs / stack.turns.len(), stack.inputs];
            let facts = MatrixFacts { part: Part::Expert, shape, narrow: None };
            matrices.extend(stack.parts().map(|(_, _, name)| (name, facts)));
        }
        let unused = checkpoint.unused().map(str::to_owned).collect();
        let copies = config.architecture.names().copies;
        Ok(Self { checkpoint, matrices, stacks, unused, copies })
    }

    /// Tensors that nobody expects there.
    pub fn strangers(&self) -> Vec<String> {
        self.unused.iter().filter(|name| !self.copies.contains(&name.as_str())).cloned().collect()
    }

    /// Whether a matrix is stored in fewer bits.
    pub fn is_narrow(&self) -> bool {
        self.matrices.values().any(|facts| facts.narrow.is_some())
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let bytes = |name: &str| self.checkpoint.get(name).map_or(0, |(_, _, bytes)| bytes.len() as u64);
        self.checkpoint.names().into_iter().map(bytes).sum()
    }

    /// What a file says of a tensor that it has.
    pub fn planned(&self, name: &str) -> Option<Planned> {
        let (dtype, shape, _) = self.checkpoint.get(name)?;
        Some(Planned { name: name.to_owned(), dtype, shape: shape.to_vec() })
    }

    /// All tensors in the own layout, each name once.
    pub fn items(&self) -> Vec<Item> {
        let mut items = BTreeMap::new();
        for tensor in self.checkpoint.names().into_iter().filter_map(|name| self.planned(name)) {
            let Some(place) = self.stacks.iter().position(|stack| stack.name == tensor.name) else {
                items.entry(tensor.name.clone()).or_insert(Item { tensor, origin: Origin::Whole });
                continue;
            };
            let stack = &self.stacks[place];
            for (expert, turn, name) in stack.parts() {
                let tensor = Planned { name, dtype: tensor.dtype, shape: stack.part_shape() };
                let origin = Origin::Stack { stack: place, expert, turn };
                items.insert(tensor.name.clone(), Item { tensor, origin });
            }
        }
        items.into_values().collect()
    }

    /// The matrix of an item that is one.
    pub fn matrix(&self, item: &Item) -> Result<Matrix> {
        match item.origin {
            Origin::Stack { stack, expert, turn } => self.stacks[stack].part(&self.checkpoint, expert, turn),
            Origin::Whole => {
                let name = &item.tensor.name;
                let shape = self.matrices.get(name).map_or([0, 0], |facts| facts.shape);
                self.checkpoint.find_matrix(name, shape)
            }
        }
    }

    /// The bytes of an item.
    pub fn item_bytes(&self, item: &Item) -> Result<Cow<'_, [u8]>> {
        match item.origin {
            Origin::Stack { .. } => Ok(Cow::Owned(self.matrix(item)?.bytes().into_owned())),
            Origin::Whole => {
                Ok(Cow::Borrowed(self.checkpoint.get(&item.tensor.name).map_or(&[], |(_, _, bytes)| bytes)))
            }
        }
    }
}

/// Notes what a model asks for, and hands out nothing.
struct Survey {
    checkpoint: Checkpoint,
    matrices: BTreeMap<String, MatrixFacts>,
}

impl TensorSource for Survey {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checkpoint.tensor(name, shape)?;
        Ok(Tensor::absent(shape))
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], part: Part) -> Result<Matrix> {
        let narrow = self.checkpoint.matrix(name, shape, part)?.narrow();
        self.matrices.insert(name.to_owned(), MatrixFacts { part, shape, narrow });
        Ok(Tensor::absent(&shape).into_matrix())
    }

    fn has(&self, name: &str) -> bool {
        self.checkpoint.has(name)
    }
}

/// A tensor `[experts, inputs, outputs]` (a bias: `[experts, outputs]`) that the own layout has in parts.
pub(super) struct Stack {
    pub name: String,
    pub experts: usize,
    /// The names of an expert's parts, whose outputs take turns; `{expert}` stands for its number.
    pub turns: Vec<String>,
    /// 1 for a bias.
    pub inputs: usize,
    pub outputs: usize,
    pub is_bias: bool,
}

impl Stack {
    /// Each part: its expert, its turn and its name.
    pub fn parts(&self) -> impl Iterator<Item = (usize, usize, String)> {
        let of = |expert: usize| {
            let name = move |pattern: &String| pattern.replace("{expert}", &expert.to_string());
            self.turns.iter().enumerate().map(move |(turn, pattern)| (expert, turn, name(pattern)))
        };
        (0..self.experts).flat_map(of)
    }

    /// The shape as Hugging Face has it.
    pub fn shape(&self) -> Vec<usize> {
        match self.is_bias {
            true => vec![self.experts, self.outputs],
            false => vec![self.experts, self.inputs, self.outputs],
        }
    }

    /// The shape of a part: a matrix `[outputs, inputs]`, or its bias.
    pub fn part_shape(&self) -> Vec<usize> {
        let outputs = self.outputs / self.turns.len();
        if self.is_bias { vec![outputs] } else { vec![outputs, self.inputs] }
    }

    fn part(&self, checkpoint: &Checkpoint, expert: usize, turn: usize) -> Result<Matrix> {
        let stack = checkpoint.find(&self.name, &self.shape())?;
        let stack = stack.reshaped(vec![self.experts, self.inputs, self.outputs]);
        Ok(stack.across(expert, (turn, self.turns.len())))
    }

    /// The bytes `[inputs, outputs]` of an expert out of those of its parts, whose numbers have so many bytes.
    pub fn together(&self, parts: &[Cow<'_, [u8]>], number: usize) -> Vec<u8> {
        let mut out = vec![0; self.inputs * self.outputs * number];
        for (turn, part) in parts.iter().enumerate() {
            for (row, values) in part.chunks_exact(self.inputs * number).enumerate() {
                let output = row * self.turns.len() + turn;
                let to = out.chunks_exact_mut(number).skip(output).step_by(self.outputs);
                to.zip(values.chunks_exact(number)).for_each(|(to, value)| to.copy_from_slice(value));
            }
        }
        out
    }
}

/// The stacks of a model; none where the architecture has none.
fn stacks(config: &ModelConfig) -> Vec<Stack> {
    let names = config.architecture.names();
    let sides = config.encoder.iter().map(|stack| (stack, names.stacks[0]));
    let mut stacks = Vec::new();
    for (stack, side) in sides.chain([(&config.decoder, names.stacks[1])]) {
        for (nth, layer) in stack.layers.iter().enumerate() {
            for (place, block) in layer.blocks.iter().enumerate() {
                if let Block::Experts(experts) = block {
                    let prefix = names.block(side, nth, place) + names.mixture;
                    stacks.extend(stacks_of(config, names, experts, &prefix));
                }
            }
        }
    }
    stacks
}

/// The stacks of a mixture.
fn stacks_of(config: &ModelConfig, names: &Names, experts: &Experts, mixture: &str) -> Vec<Stack> {
    let ExpertNames::Stacked { gate_up, down, prefix, network } = names.experts else { return Vec::new() };
    let (wide, model_dim) = (experts.network.ffn_dim, config.model_dim);
    let stack = |name: &str, parts: &[&str], is_bias: bool, (inputs, outputs)| Stack {
        name: format!("{mixture}{name}{}", if is_bias { "_bias" } else { "" }),
        experts: experts.router.experts as usize,
        turns: parts
            .iter()
            .map(|part| format!("{mixture}{prefix}{part}.{}", if is_bias { "bias" } else { "weight" }))
            .collect(),
        inputs: if is_bias { 1 } else { inputs },
        outputs,
        is_bias,
    };
    let kinds = if experts.network.bias { &[false, true][..] } else { &[false] };
    let both = |is_bias: &bool| {
        let gates = stack(gate_up, &[network.gate, network.up], *is_bias, (model_dim, 2 * wide));
        [gates, stack(down, &[network.down], *is_bias, (wide, model_dim))]
    };
    kinds.iter().flat_map(both).collect()
}
