//! From gradients to the next weights: a rule, and what it remembers of every parameter.

use mixlet_core::optim::{
    Adafactor, AdafactorMemory, AdafactorShape, AdamW, AdamWState, OptimError, Step, adafactor_scratch_len,
    adafactor_state_len, adafactor_step, adamw_step, sgd_step,
};
use rayon::prelude::*;

use super::gradients::{Gradients, Parameter};
use crate::error::{Result, TrainingProblem};
use crate::models::Model;
use crate::simd::{Kernel, wide};

/// Weights that a thread takes at once, where each has its step to itself.
const BLOCK: usize = 1 << 15;

/// How weights follow from gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Adam with weight decay beside the gradient.
    AdamW(AdamW),
    /// Second moments of matrices by rows and columns.
    Adafactor(Adafactor, Factored),
    /// Gradient descent with this momentum.
    Sgd {
        /// Of [0, 1).
        momentum: f64,
    },
}

/// Which tensors Adafactor keeps by rows and columns; each expert's matrices are tensors of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factored {
    /// Matrices with no side below 128 (T5X).
    #[default]
    LargeMatrices,
    /// Every matrix (transformers).
    EveryMatrix,
}

/// What becomes of a tensor whose gradient is all zeros: the matrices of an expert that no token reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreached {
    /// It has a step like all others: momentum and weight decay go on (T5X; PyTorch where experts lie in one tensor).
    #[default]
    Steps,
    /// It stays as it is, and so does what is remembered of it (PyTorch where each expert has tensors of its own).
    Rests,
}

/// A rule at work on the parameters of a model.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    unreached: Unreached,
    /// Of every parameter that learns.
    states: Vec<State>,
}

/// What is remembered of a parameter.
#[derive(Clone, Debug)]
struct State {
    /// How many steps it has had.
    steps: u32,
    values: Vec<f32>,
}

impl Optimizer {
    /// Remembers nothing yet of the parameters that have gradients.
    pub fn new(rule: Rule, gradients: &mut Gradients) -> Self {
        let len = |(named, grads): (&super::Named, &mut [f32])| match rule {
            Rule::AdamW(_) => 2 * grads.len(),
            Rule::Adafactor(adafactor, factored) => {
                adafactor_state_len(adafactor, factored.shape(&named.shape))
            }
            Rule::Sgd { .. } => grads.len(),
        };
        let states = gradients.learning().map(len).map(|len| State { steps: 0, values: vec![0.0; len] });
        Self { rule, unreached: Unreached::default(), states: states.collect() }
    }

    /// With another choice for tensors whose gradient is all zeros.
    pub fn with_unreached(self, unreached: Unreached) -> Self {
        Self { unreached, ..self }
    }

    /// One step of every parameter that learns; gradients are multiplied by `grad_scale` first. The model must be
    /// [trainable](super::trainable), and the gradients those that the optimiser was made for.
    pub fn step(
        &mut self,
        model: &mut Model,
        gradients: &mut Gradients,
        lr: f64,
        grad_scale: f64,
    ) -> Result<()> {
        let (rule, rests) = (self.rule, self.unreached == Unreached::Rests);
        let parameters: Vec<_> = gradients.parameters(model).zip(&mut self.states).collect();
        let all = parameters.into_par_iter().with_max_len(1);
        let done = all.try_for_each(|(parameter, State { steps, values })| {
            if rests && parameter.grads.iter().all(|grad| *grad == 0.0) {
                return Ok(());
            }
            *steps += 1;
            rule.step(Step { number: *steps, lr, grad_scale }, parameter, values)
        });
        Ok(done.map_err(TrainingProblem::Optimizer)?)
    }
}

impl Factored {
    fn shape(self, shape: &[usize]) -> AdafactorShape {
        match *shape {
            [rows, columns] if self == Self::LargeMatrices => AdafactorShape::matrix(rows, columns),
            [rows, columns] => AdafactorShape { factored: true, ..AdafactorShape::matrix(rows, columns) },
            _ => AdafactorShape::plain(shape.iter().product()),
        }
    }
}

impl Rule {
    fn step(self, step: Step, parameter: Parameter<'_>, state: &mut [f32]) -> Result<(), OptimError> {
        let Parameter { named, weights, grads } = parameter;
        let grads = &*grads;
        match self {
            Self::AdamW(adamw) => {
                let (mean, square) = state.split_at_mut(grads.len());
                let states = mean.par_chunks_mut(BLOCK).zip(square.par_chunks_mut(BLOCK));
                let blocks = weights.par_chunks_mut(BLOCK).zip(grads.par_chunks(BLOCK)).zip(states);
                blocks.try_for_each(|((weights, grads), (mean, square))| {
                    wide(AdamWStep { adamw, step, weights, grads, state: AdamWState { mean, square } })
                })
            }
            Self::Adafactor(adafactor, factored) => {
                let shape = factored.shape(&named.shape);
                let mut scratch = vec![0.0; adafactor_scratch_len(shape)];
                let memory = AdafactorMemory { state, scratch: &mut scratch };
                wide(AdafactorStep { adafactor, step, shape, weights, grads, memory })
            }
            Self::Sgd { momentum } => {
                let blocks = weights.par_chunks_mut(BLOCK).zip(grads.par_chunks(BLOCK));
                blocks.zip(state.par_chunks_mut(BLOCK)).try_for_each(|((weights, grads), velocity)| {
                    wide(SgdStep { momentum, step, weights, grads, velocity })
                })
            }
        }
    }
}

struct AdamWStep<'a> {
    adamw: AdamW,
    step: Step,
    weights: &'a mut [f32],
    grads: &'a [f32],
    state: AdamWState<'a>,
}

impl Kernel for AdamWStep<'_> {
    type Output = Result<(), OptimError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        adamw_step(self.adamw, self.step, self.weights, self.grads, self.state)
    }
}

struct AdafactorStep<'a> {
    adafactor: Adafactor,
    step: Step,
    shape: AdafactorShape,
    weights: &'a mut [f32],
    grads: &'a [f32],
    memory: AdafactorMemory<'a>,
}

impl Kernel for AdafactorStep<'_> {
    type Output = Result<(), OptimError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        adafactor_step(self.adafactor, self.step, self.shape, self.weights, self.grads, self.memory)
    }
}

struct SgdStep<'a> {
    momentum: f64,
    step: Step,
    weights: &'a mut [f32],
    grads: &'a [f32],
    velocity: &'a mut [f32],
}

impl Kernel for SgdStep<'_> {
    type Output = Result<(), OptimError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        sgd_step(self.momentum, self.step, self.weights, self.grads, self.velocity)
    }
}
