//! Every tensor of a model's weights, in one order.

use crate::models::tensor::{Linear, Matrix};
use crate::models::weights::{
    AttentionWeights, BlockWeights, ExpertsWeights, InnerWeights, LatentQuery, LatentWeights, NetworkWeights,
    NormWeights, Projection, StackWeights, Weights,
};

/// Where a tensor is.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    /// A matrix of some format.
    Matrix(&'a mut Matrix),
    /// Anything else: always `f32`.
    Vector(&'a mut Vec<f32>),
}

impl<'a> Slot<'a> {
    /// The numbers, where they are in memory and can be changed.
    pub fn values(self) -> &'a mut [f32] {
        match self {
            Self::Matrix(matrix) => matrix.values_mut(),
            Self::Vector(values) => values,
        }
    }
}

/// All of them. Where a model lacks a vector that others have, it is there and empty.
pub(super) fn slots(weights: &mut Weights) -> Vec<Slot<'_>> {
    let Weights { embedding, encoder, decoder, head } = weights;
    let mut slots = vec![Slot::Matrix(embedding)];
    for stack in encoder.iter_mut().chain([decoder]) {
        of_stack(stack, &mut slots);
    }
    head.iter_mut().for_each(|head| of_linear(head, &mut slots));
    slots
}

/// The first block of a stack of gradients in which something learns; the last norm counts as the one after the last.
/// None where nothing learns.
pub(super) fn first_learning(stack: &mut StackWeights) -> Option<usize> {
    let learns = |slots: Vec<Slot<'_>>| slots.into_iter().any(|slot| !slot.values().is_empty());
    let mut parts = Vec::new();
    for block in stack.layers.iter_mut().flatten() {
        let mut slots = Vec::new();
        of_block(block, &mut slots);
        parts.push(learns(slots));
    }
    let mut slots = Vec::new();
    of_norm(&mut stack.norm, &mut slots);
    parts.push(learns(slots));
    parts.iter().position(|learns| *learns)
}

fn of_stack<'a>(stack: &'a mut StackWeights, slots: &mut Vec<Slot<'a>>) {
    let StackWeights { layers, norm } = stack;
    layers.iter_mut().flatten().for_each(|block| of_block(block, slots));
    of_norm(norm, slots);
}

fn of_block<'a>(BlockWeights { norm, inner }: &'a mut BlockWeights, slots: &mut Vec<Slot<'a>>) {
    of_norm(norm, slots);
    match inner {
        InnerWeights::Attention(attention) => of_attention(attention, slots),
        InnerWeights::Dense(network) => of_network(network, slots),
        InnerWeights::Experts(experts) => of_experts(experts, slots),
    }
}

fn of_norm<'a>(NormWeights { weight, bias }: &'a mut NormWeights, slots: &mut Vec<Slot<'a>>) {
    slots.extend([weight, bias].map(Slot::Vector));
}

fn of_linear<'a>(Linear { matrix, bias }: &'a mut Linear, slots: &mut Vec<Slot<'a>>) {
    slots.push(Slot::Matrix(matrix));
    slots.extend(bias.as_mut().map(Slot::Vector));
}

fn of_attention<'a>(attention: &'a mut AttentionWeights, slots: &mut Vec<Slot<'a>>) {
    let AttentionWeights { projection, out, qk_norms, relative, sinks } = attention;
    match projection {
        Projection::Plain(plain) => plain.iter_mut().for_each(|linear| of_linear(linear, slots)),
        Projection::Latent(latent) => of_latent(latent, slots),
    }
    slots.extend(relative.iter_mut().chain(sinks).map(Slot::Vector));
    of_linear(out, slots);
    slots.extend(qk_norms.iter_mut().flatten().map(Slot::Vector));
}

fn of_latent<'a>(latent: &'a mut LatentWeights, slots: &mut Vec<Slot<'a>>) {
    let LatentWeights { query, down, norm, up } = latent;
    match query {
        LatentQuery::Plain(linear) => of_linear(linear, slots),
        LatentQuery::Low { down, norm, up } => {
            of_linear(down, slots);
            slots.push(Slot::Vector(norm));
            of_linear(up, slots);
        }
    }
    of_linear(down, slots);
    slots.push(Slot::Vector(norm));
    of_linear(up, slots);
}

fn of_network<'a>(NetworkWeights { gate, up, down }: &'a mut NetworkWeights, slots: &mut Vec<Slot<'a>>) {
    gate.iter_mut().chain([up, down]).for_each(|linear| of_linear(linear, slots));
}

fn of_experts<'a>(experts: &'a mut ExpertsWeights, slots: &mut Vec<Slot<'a>>) {
    let ExpertsWeights { router, router_bias, choice_bias, experts, shared, shared_gate } = experts;
    slots.extend([router, router_bias, choice_bias].map(Slot::Vector));
    experts.iter_mut().chain(shared).for_each(|network| of_network(network, slots));
    slots.extend(shared_gate.iter_mut().map(Slot::Vector));
}
