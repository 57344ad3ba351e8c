//! How the weights of a model are stored: whole, half, or in fewer bits, each by its share of all numbers.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;
use serde::Serialize;

use super::Checkpoint;
use crate::error::Result;
use crate::models::ModelConfig;
use crate::models::tensor::{Matrix, Narrow, Tensor};
use crate::models::weights::{Part, TensorSource, Weights};

/// Numbers that are stored alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FormatShare {
    /// `f32`, `bf16`, `f16`, `int8` or `int4`.
    pub format: &'static str,
    /// How many.
    pub parameters: u64,
    /// Their share of the model's parameters. Scales of narrow matrices count as nothing.
    pub share: f64,
}

impl Checkpoint {
    /// The formats of the tensors that a model has a use for, the one of most numbers first.
    pub fn formats(&self, config: &ModelConfig) -> Result<Vec<FormatShare>> {
        let mut counts = Counts { checkpoint: self, numbers: BTreeMap::new() };
        Weights::build(config, &mut counts)?;
        let all: u64 = counts.numbers.values().sum();
        let share = |(format, parameters): (&'static str, u64)| FormatShare {
            format,
            parameters,
            share: parameters as f64 / all as f64,
        };
        let mut shares: Vec<FormatShare> = counts.numbers.into_iter().map(share).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.parameters));
        Ok(shares)
    }
}

/// Counts the numbers of every format, and hands out nothing.
struct Counts<'a> {
    checkpoint: &'a Checkpoint,
    numbers: BTreeMap<&'static str, u64>,
}

impl Counts<'_> {
    fn add(&mut self, format: &'static str, shape: &[usize]) {
        *self.numbers.entry(format).or_default() += shape.iter().map(|side| *side as u64).product::<u64>();
    }

    fn plain(&self, name: &str) -> &'static str {
        match self.checkpoint.get(name).map(|(dtype, ..)| dtype) {
            Some(Dtype::BF16) => "bf16",
            Some(Dtype::F16) => "f16",
            _ => "f32",
        }
    }
}

impl TensorSource for Counts<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checkpoint.find(name, shape)?;
        self.add(self.plain(name), shape);
        Ok(Tensor::absent(shape))
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], _: Part) -> Result<Matrix> {
        let format = match self.checkpoint.find_matrix(name, shape)?.narrow() {
            Some(Narrow::Int8) => "int8",
            Some(Narrow::Int4) => "int4",
            None => self.plain(name),
        };
        self.add(format, &shape);
        Ok(Tensor::absent(&shape).into_matrix())
    }

    fn has(&self, name: &str) -> bool {
        self.checkpoint.has(name)
    }
}
