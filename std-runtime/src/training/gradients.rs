//! Gradients of all parameters: a tree like that of the weights, whose tensors have the checkpoint's names.
//!
//! A frozen tensor has no gradient, and the work for it is not done. Names are those of mixlet's own files, in which each
//! expert's matrices lie on their own.

use super::slots::{Slot, slots};
use crate::error::Result;
use crate::models::tensor::Tensor;
use crate::models::weights::{TensorSource, Weights};
use crate::models::{Model, ModelConfig};

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
}

/// A parameter that learns.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// What it is called.
    pub named: &'a Named,
    /// Its numbers.
    pub weights: &'a mut [f32],
    /// Their gradients.
    pub grads: &'a mut [f32],
}

/// The gradients of a model's parameters; they add up until they are cleared.
#[derive(Debug)]
pub struct Gradients {
    /// Of every slot; none where the model lacks it.
    names: Vec<Option<Named>>,
    pub(super) tree: Weights,
}

impl Gradients {
    /// Zeros for every tensor whose name learns.
    ///
    /// What is added to scores for the choice alone (DeepSeek-V3) has no gradient, whatever is said of its name.
    ///
    /// ```
    /// # use mixlet_runtime::models::ModelConfig;
    /// # use mixlet_runtime::training::Gradients;
    /// let text = r#"{"model_type": "t5", "vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    ///     "relative_attention_num_buckets": 8}"#;
    /// let config = ModelConfig::from_hf(text).unwrap();
    /// let mut all = Gradients::new(&config, |_| true).unwrap();
    /// assert_eq!(all.learning().count(), 47);
    /// let mut norms = Gradients::new(&config, |name| name.contains("layer_norm")).unwrap();
    /// assert_eq!(norms.learning().count(), 12);
    /// ```
    pub fn new(config: &ModelConfig, learns: impl Fn(&str) -> bool) -> Result<Self> {
        let mut places = Places::default();
        let mut of_places = Weights::build(config, &mut places)?;
        let place = |slot: Slot<'_>| slot.values().first().map(|place| *place as usize);
        let names = slots(&mut of_places).into_iter().map(|slot| Some(places.tensors[place(slot)?].clone()));
        let bias = config.architecture.names().choice_bias;
        let learns = |name: &str| learns(name) && (bias.is_empty() || !name.ends_with(bias));
        Ok(Self { names: names.collect(), tree: Weights::build(config, &mut Zeros { learns })? })
    }

    /// The tensors that learn.
    pub fn learning(&mut self) -> impl Iterator<Item = (&Named, &mut [f32])> {
        let tensors = slots(&mut self.tree).into_iter().map(Slot::values).zip(&self.names);
        tensors
            .filter_map(|(grads, named)| Some((named.as_ref()?, grads)))
            .filter(|(_, grads)| !grads.is_empty())
    }

    /// The parameters of a model that learn, beside their gradients. The model must be [trainable](super::trainable) and of the
    /// same configuration.
    pub fn parameters<'a>(&'a mut self, model: &'a mut Model) -> impl Iterator<Item = Parameter<'a>> {
        let weights = slots(&mut model.weights).into_iter().map(Slot::values);
        let grads = slots(&mut self.tree).into_iter().map(Slot::values);
        let tensors = self.names.iter().zip(weights.zip(grads));
        let tensors = tensors.filter(|(_, (_, grads))| !grads.is_empty());
        tensors.filter_map(|(named, (weights, grads))| {
            Some(Parameter { named: named.as_ref()?, weights, grads })
        })
    }

    /// All zeros again.
    pub fn clear(&mut self) {
        slots(&mut self.tree).into_iter().for_each(|slot| slot.values().fill(0.0));
    }
}

/// Hands out tensors that hold nothing but their place in the list: so it is known where each name ends up.
#[derive(Default)]
struct Places {
    tensors: Vec<Named>,
}

impl TensorSource for Places {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let place = self.tensors.len() as f32;
        self.tensors.push(Named { name: name.to_owned(), shape: shape.to_vec() });
        Ok(Tensor::of_f32(vec![place], shape))
    }

    fn has(&self, _: &str) -> bool {
        false
    }
}

/// Hands out zeros, or nothing for a frozen name.
struct Zeros<L> {
    learns: L,
}

impl<L: Fn(&str) -> bool> TensorSource for Zeros<L> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        Ok(if (self.learns)(name) { Tensor::of_f32(vec![0.0; len], shape) } else { Tensor::absent(shape) })
    }

    fn has(&self, _: &str) -> bool {
        false
    }
}
