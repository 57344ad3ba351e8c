//! Training of language models: the loss of a batch and its gradient by every parameter, for every model that can be run.
//!
//! ```text
//!   batch ─► pass ─► stack ─► attention ─► project, attend        each with a tape of what its gradients need;
//!              │        └───► mixture ─► choice, networks         backward runs the same path in reverse
//!              └─► losses ─► gradients, by the checkpoint's names ─► optimizer ─► weights
//! ```
//!
//! Weights are `f32` in memory while a model learns ([`trainable`]); it can be run, evaluated and written meanwhile like any
//! other. Gradients add up over batches until they are cleared. A frozen tensor has none: see [`Gradients`].
//!
//! *Threads* share blocks of rows, stretches of weights and sequences, and cut no sum: results do not depend on their number.

mod attend;
mod attention;
mod choice;
mod gradients;
mod kernels;
mod linear;
mod mixture;
mod networks;
mod norm;
mod optimizer;
mod pass;
mod project;
mod slots;
mod stack;

use mixlet_core::matrix::MatMut;
use mixlet_core::moe::Phase;
use mixlet_core::nn::{LabelSmoothing, Reduction};
use mixlet_core::weights::dequantise;

use crate::error::Result;
use crate::models::losses::Losses;
use crate::models::tensor::Tensor;
use crate::models::{Batch, Model};
use slots::{Slot, slots};

pub use gradients::{Gradients, Named, Parameter};
pub use optimizer::{Factored, Optimizer, Rule, Unreached};

/// What is to become small.
///
/// Losses of routers are those of the model's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Whose capacity and choices hold: those of training, or those of evaluation.
    pub phase: Phase,
    /// What routers draw their random choices from, in training: for every batch another number.
    pub seed: u64,
    /// Probability taken from the label.
    pub label_smoothing: LabelSmoothing,
    /// `z_loss · ln²(Σ eˡᵒᵍⁱᵗ)` is added per label; 1e-4 in T5X.
    pub z_loss: f64,
    /// What the sum over labels is divided by: over all batches of a step that is done in parts.
    pub reduction: Reduction,
    /// What the losses of routers are multiplied by: one over the batches of such a step.
    pub routers_share: f64,
}

impl Default for Objective {
    /// The mean cross entropy of the labels, as transformers has it.
    fn default() -> Self {
        Self {
            phase: Phase::Train,
            seed: 0,
            label_smoothing: LabelSmoothing::None,
            z_loss: 0.0,
            reduction: Reduction::Mean,
            routers_share: 1.0,
        }
    }
}

/// A model whose weights can change: `f32` in memory, whatever they were.
pub fn trainable(mut model: Model) -> Result<Model> {
    for slot in slots(&mut model.weights) {
        if let Slot::Matrix(matrix) = slot {
            let shape = [matrix.outputs(), matrix.inputs()];
            let mut values = vec![0.0; shape[0] * shape[1]];
            dequantise(matrix.weights()?, MatMut::new(&mut values, shape[0], shape[1])?)?;
            *matrix = Tensor::of_f32(values, &shape).into_matrix();
        }
    }
    Ok(model)
}

/// The loss of a batch. Its gradients are added to those that are there.
///
/// The loss is that of [`losses`](crate::models::losses::losses), with what the objective adds. Labels that are
/// [`IGNORED`](mixlet_core::nn::IGNORED) count nowhere.
pub fn loss_and_gradients(
    model: &Model,
    batch: &Batch,
    objective: &Objective,
    gradients: &mut Gradients,
) -> Result<Losses> {
    pass::learn(model, batch, objective, gradients)
}
