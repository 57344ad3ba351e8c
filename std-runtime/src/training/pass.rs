//! The whole model: from ids to the loss, and from the loss to the gradient of every parameter.

use std::borrow::Cow;

use mixlet_core::linear::{Linear, Operands, Write};
use mixlet_core::nn::{
    CrossEntropy, Embedding, Loss, NnError, Reduction, Targets, embedding_backward, embedding_rows,
};
use rayon::prelude::*;

use super::Objective;
use super::gradients::Gradients;
use super::kernels::CrossEntropyBackward;
use super::linear;
use super::slots::first_learning;
use super::stack::{Carried, Encoded, Pass, StackTape};
use crate::error::{LmProblem, Result, TrainingProblem};
use crate::models::config::{ModelConfig, Positions, Stack};
use crate::models::forward::linear::linear as product;
use crate::models::forward::stack::Run;
use crate::models::forward::{Keep, Side, Trace, TracedMixture, positions};
use crate::models::losses::{Losses, predicted, router_gradients};
use crate::models::weights::{StackWeights, Weights};
use crate::models::{Batch, Model};
use crate::simd::wide;

/// Rows of logits whose losses a thread takes at once.
const BLOCK_ROWS: usize = 64;

/// A run of ids through one of the stacks.
struct Reading<'a> {
    ids: Cow<'a, [u32]>,
    run: Run<'a>,
    turns: Vec<f32>,
}

impl<'a> Reading<'a> {
    fn new(
        model: &'a Model,
        side: Side,
        (sequences, ids): (usize, Cow<'a, [u32]>),
        real: Option<&'a [bool]>,
    ) -> Result<Self> {
        let tokens = ids.len() / sequences.max(1);
        let length = |what, found, expected| LmProblem::Length { what, found, expected };
        if tokens * sequences != ids.len() || tokens == 0 {
            return Err(length("ids of all sequences", ids.len(), tokens.max(1) * sequences).into());
        }
        if let Some(real) = real.filter(|real| real.len() != ids.len()) {
            return Err(length("the mask of the ids", real.len(), ids.len()).into());
        }
        if let Some(limit) = model.config.max_positions.filter(|limit| tokens > *limit) {
            return Err(LmProblem::TooLong { tokens, limit }.into());
        }
        let run = Run { model, side, operands: Operands::Exact, sequences, tokens, past: 0, real };
        let turns = positions::table(&run, &positions::frequencies(&model.config)?, real)?;
        Ok(Self { ids, run, turns })
    }

    fn pass<'b>(&'b self, objective: &Objective, encoded: Encoded<'b>) -> Pass<'b> {
        let Objective { phase, seed, .. } = *objective;
        Pass { run: self.run, phase, seed, turns: &self.turns, encoded }
    }

    /// Runs the ids through a stack.
    fn run(
        self,
        objective: &Objective,
        stack: (&Stack, &StackWeights),
        encoded: Encoded<'_>,
    ) -> Result<Ran<'a>> {
        let (states, tape) = self.pass(objective, encoded).forward(stack, self.embedded()?)?;
        Ok(Ran { reading: self, tape, states })
    }

    /// Embeddings, positions added.
    fn embedded(&self) -> Result<Vec<f32>> {
        let config = &self.run.model.config;
        let mut out = vec![0.0; self.ids.len() * config.model_dim];
        let table = self.run.model.weights.embedding.weights()?;
        embedding_rows(embedding(config), &self.ids, table, &mut out)?;
        if let Positions::Sinusoidal { first } = config.positions {
            positions::add(config, (&self.ids, self.run.tokens), first as usize, &mut out)?;
        }
        Ok(out)
    }

    /// Adds to the gradient of the table, unless it is frozen.
    fn embedded_backward(&self, grad: &[f32], gradients: &mut Gradients) -> Result<()> {
        match gradients.tree.embedding.values_mut() {
            [] => Ok(()),
            table => Ok(embedding_backward(embedding(&self.run.model.config), &self.ids, grad, table)?),
        }
    }
}

fn embedding(config: &ModelConfig) -> Embedding {
    Embedding { vocab: config.vocab, model_dim: config.model_dim, scale: config.embedding_scale }
}

/// A stack that was run: what it read, what its gradients need, and its states after the last norm.
struct Ran<'a> {
    reading: Reading<'a>,
    tape: StackTape,
    states: Vec<f32>,
}

/// A model that was run.
struct Tape<'a> {
    model: &'a Model,
    objective: &'a Objective,
    /// The encoder's mask.
    real: Option<&'a [bool]>,
    encoder: Option<Ran<'a>>,
    decoder: Ran<'a>,
}

/// The loss of a batch; its gradients are added. See [`loss_and_gradients`](super::loss_and_gradients).
pub(super) fn learn(
    model: &Model,
    batch: &Batch,
    objective: &Objective,
    gradients: &mut Gradients,
) -> Result<Losses> {
    let labels = batch.labels.as_ref().ok_or(TrainingProblem::NoLabels)?;
    let tape = Tape::forward(model, batch, objective)?;
    let trace = Trace { keep: Keep::Routing, mixtures: tape.traced(), ..Trace::default() };
    let (routers, of_losses) = router_gradients(&model.config, batch, &trace, objective.routers_share)?;
    let labels = predicted(&model.config, labels, batch.sequences);
    let (loss, grad_states) = head(model, &labels, objective, &tape.decoder.states, gradients)?;
    tape.backward(&grad_states, of_losses, gradients)?;
    let total = loss.total() + objective.routers_share * model.config.router_losses.weighted(&routers);
    Ok(Losses { cross_entropy: loss.cross_entropy, routers, total })
}

impl<'a> Tape<'a> {
    fn forward(model: &'a Model, batch: &'a Batch, objective: &'a Objective) -> Result<Self> {
        let (config, weights) = (&model.config, &model.weights);
        let real = batch.real.as_deref();
        let encoder = match config.encoder.as_ref().zip(weights.encoder.as_ref()) {
            None => None,
            Some(stack) => {
                let ids = (batch.sequences, Cow::Borrowed(&batch.ids[..]));
                let reading = Reading::new(model, Side::Encoder, ids, real)?;
                Some(reading.run(objective, stack, Encoded::default())?)
            }
        };
        let encoded = encoder.as_ref().map_or(Encoded::default(), |ran| ran.encoded(real));
        let own_real = real.filter(|_| config.encoder.is_none());
        let ids = (batch.sequences, model.decoded(batch)?);
        let reading = Reading::new(model, Side::Decoder, ids, own_real)?;
        let decoder = reading.run(objective, (&config.decoder, &weights.decoder), encoded)?;
        Ok(Self { model, objective, real, encoder, decoder })
    }

    /// What losses of routers look at, in the order of the forward pass.
    fn traced(&self) -> Vec<TracedMixture> {
        let stacks = self.encoder.iter().chain([&self.decoder]);
        stacks.flat_map(|ran| ran.tape.traced(ran.reading.run.side)).collect()
    }

    /// From the gradient of the decoder's states, and what losses of routers add for each mixture, to all others. It goes
    /// back as far as something learns.
    fn backward(
        self,
        grad_states: &[f32],
        of_losses: Vec<Vec<f32>>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let Self { model: Model { config, weights }, objective, real, encoder, decoder } = self;
        let tree = &mut gradients.tree;
        let to_start = (!tree.embedding.values_mut().is_empty()).then_some(0);
        let in_encoder = tree.encoder.as_mut().and_then(|stack| to_start.or_else(|| first_learning(stack)));
        let through_decoder = to_start.or(in_encoder.map(|_| 0));
        let in_decoder = through_decoder.or_else(|| first_learning(&mut tree.decoder));

        let mut grad_encoded = vec![0.0; encoder.as_ref().map_or(0, |ran| ran.states.len())];
        let mut carried = Carried { of_losses, encoded: &mut grad_encoded, ..Carried::default() };
        if let Some(first_block) = in_decoder {
            carried.first_block = first_block;
            let encoded = encoder.as_ref().map_or(Encoded::default(), |ran| ran.encoded(real));
            let stack = (&config.decoder, &weights.decoder);
            decoder.backward((objective, encoded), stack, grad_states, gradients, &mut carried)?;
        }
        let stack = config.encoder.as_ref().zip(weights.encoder.as_ref());
        if let (Some(first_block), Some(encoder), Some(stack)) = (in_encoder, encoder, stack) {
            let of_losses = carried.of_losses;
            let mut carried = Carried { first_block, of_losses, ..Carried::default() };
            encoder.backward(
                (objective, Encoded::default()),
                stack,
                &grad_encoded,
                gradients,
                &mut carried,
            )?;
        }
        Ok(())
    }
}

impl Ran<'_> {
    /// The gradients of the stack and of the embeddings.
    fn backward(
        self,
        (objective, encoded): (&Objective, Encoded<'_>),
        stack: (&Stack, &StackWeights),
        grad_states: &[f32],
        gradients: &mut Gradients,
        carried: &mut Carried<'_>,
    ) -> Result<()> {
        let Self { reading, tape, .. } = self;
        let grads = match (reading.run.side, &mut gradients.tree) {
            (Side::Encoder, Weights { encoder: Some(encoder), .. }) => encoder,
            (_, tree) => &mut tree.decoder,
        };
        let grad = reading.pass(objective, encoded).backward(stack, tape, grad_states, grads, carried)?;
        reading.embedded_backward(&grad, gradients)
    }

    /// What a decoder attends to.
    fn encoded<'b>(&'b self, real: Option<&'b [bool]>) -> Encoded<'b> {
        Encoded { states: &self.states, tokens: self.reading.run.tokens, real }
    }
}

/// The loss of states after the last norm, and its gradient by them; that of the head is added unless frozen.
fn head(
    model: &Model,
    labels: &[u32],
    objective: &Objective,
    states: &[f32],
    gradients: &mut Gradients,
) -> Result<(Loss, Vec<f32>)> {
    let Model { config, weights } = model;
    let matrix = weights.head.as_ref().map_or(&weights.embedding, |head| &head.matrix);
    let mut logits = vec![0.0; labels.len() * config.vocab];
    product(Linear::new(matrix.weights()?), Operands::Exact, states, &mut logits)?;
    let loss = cross_entropy(config, labels, objective, &mut logits)?;
    let tree = &mut gradients.tree;
    let grads = tree.head.as_mut().map_or(&mut tree.embedding, |head| &mut head.matrix);
    linear::matrix(&logits, states, grads)?;
    let mut grad_states = vec![0.0; states.len()];
    linear::input(matrix.weights()?, &logits, &mut grad_states, Write::Overwrite)?;
    Ok((loss, grad_states))
}

/// The loss of logits `[tokens, vocab]`, whose gradient takes their place.
fn cross_entropy(
    config: &ModelConfig,
    labels: &[u32],
    objective: &Objective,
    logits: &mut [f32],
) -> Result<Loss, NnError> {
    let weight = match objective.reduction {
        Reduction::Mean => Targets { labels, loss_mask: None }.weight(),
        Reduction::Sum => 1.0,
        Reduction::Over(weight) => weight,
    };
    let settings = CrossEntropy {
        vocab: config.vocab,
        logit_scale: config.head.scale,
        label_smoothing: objective.label_smoothing,
        z_loss: objective.z_loss,
        // Of a batch without labels nothing is added up.
        reduction: Reduction::Over(if weight == 0.0 { 1.0 } else { weight }),
    };
    let blocks = logits.par_chunks_mut((BLOCK_ROWS * config.vocab).max(1)).zip(labels.par_chunks(BLOCK_ROWS));
    let losses = blocks.enumerate().map(|(nth, (logits, labels))| {
        let targets = Targets { labels, loss_mask: None };
        wide(CrossEntropyBackward { settings, targets, logits })
            .map_err(|error| moved(error, nth * BLOCK_ROWS))
    });
    let losses: Vec<Loss> = losses.collect::<Result<_, _>>()?;
    let sum = |part: fn(&Loss) -> f64| losses.iter().map(part).sum();
    Ok(Loss {
        cross_entropy: sum(|loss| loss.cross_entropy),
        z_loss: sum(|loss| loss.z_loss),
        weight: sum(|loss| loss.weight),
    })
}

/// An error of a token of a block as one of all tokens.
fn moved(error: NnError, first: usize) -> NnError {
    match error {
        NnError::NonFinite { token } => NnError::NonFinite { token: first + token },
        NnError::Id { token, id, vocab } => NnError::Id { token: first + token, id, vocab },
        other => other,
    }
}
