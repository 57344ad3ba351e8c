//! Mixtures of experts with all that their gradients need, and the way back: combine, experts, gather, gates, router.

use std::borrow::Cow;

use mixlet_core::activation::sigmoid;
use mixlet_core::linear::Write;
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{add_shared, add_shared_backward};
use mixlet_core::moe::router::{RouterShape, input_noise, router_backward_weights};
use mixlet_core::moe::{InputNoise, Phase, Router, RouterInput, draw};
use mixlet_core::weights::Weights;
use rand_pcg::Pcg64;

use super::choice::Choice;
use super::kernels::{CombineBackward, GatherBackward};
use super::linear;
use super::networks::{Networks, NetworksTape};
use super::stack::Pass;
use crate::error::Result;
use crate::models::config::{Experts, SharedExpert};
use crate::models::forward::kernels::{Combine, Gather};
use crate::models::forward::mixture::{router, router_logits};
use crate::models::forward::{Side, TracedMixture};
use crate::models::weights::ExpertsWeights;
use crate::moe::router_forward;
use crate::simd::wide;

/// What the gradients of a mixture need.
pub(super) struct MixtureTape {
    /// `[tokens, model_dim]`: what the router's input was multiplied by; empty if it was not.
    noise: Vec<f32>,
    logits: Vec<f32>,
    choice: Choice,
    networks: NetworksTape,
    /// `[rows, model_dim]`: what the experts made.
    outputs: Vec<f32>,
    shared: Option<SharedTape>,
}

/// What the gradients of the expert for every token need.
struct SharedTape {
    network: NetworksTape,
    /// `[tokens, model_dim]`: what it made.
    given: Vec<f32>,
    /// `[tokens]`: what weighs it.
    gates: Option<Vec<f32>>,
}

/// A mixture in a pass.
#[derive(Clone, Copy)]
pub(super) struct Mixture<'a> {
    pub pass: &'a Pass<'a>,
    pub experts: &'a Experts,
    pub weights: &'a ExpertsWeights,
}

impl Mixture<'_> {
    /// What the mixture of a layer adds to tokens `x` `[tokens, model_dim]`.
    pub fn forward(&self, x: &[f32], layer: usize) -> Result<(Vec<f32>, MixtureTape)> {
        let Self { pass, experts, weights } = *self;
        let (width, router) = (pass.width(), router(&pass.run, experts)?);
        let mut random = self.random(layer);
        let noise = self.noise(&router, x.len(), &mut random);
        let mut logits = vec![0.0; x.len() / width * weights.experts.len()];
        router_logits(weights, width, &noisy(&noise, x), &mut logits)?;
        let real = pass.run.real.filter(|_| !experts.routes_padding);
        let mut draws = vec![0.0; router.draws_len(pass.phase, x.len() / width)];
        draw(&router, pass.phase, &mut random, &mut draws);
        let bias = &weights.choice_bias[..];
        let input = RouterInput { real, bias, draws: &draws, ..RouterInput::of_logits(&logits) };
        let choice = Choice::new(router, pass.phase, input, &mut random)?;

        let (plan, routing) = (choice.plan(), choice.routing());
        let rows = self.gathered(&choice, x)?;
        let (outputs, networks) = self.networks(&choice).forward(&rows)?;
        let mut out = vec![0.0; x.len()];
        let combine =
            Combine { plan: &plan, routing: &routing, rows: &outputs, model_dim: width, out: &mut out };
        wide(combine)?;
        let shared = experts.shared.as_ref().map(|shared| self.add_shared(shared, x, &mut out));
        let shared = shared.transpose()?.flatten();
        Ok((out, MixtureTape { noise, logits, choice, networks, outputs, shared }))
    }

    /// The gradient of `x`, from that of the output and from `of_losses`, what losses of routers add to that of the logits
    /// (empty where there are none). Those of weights are added unless frozen.
    pub fn backward(
        &self,
        tape: MixtureTape,
        (x, grad_out): (&[f32], &[f32]),
        of_losses: &[f32],
        grads: &mut ExpertsWeights,
    ) -> Result<Vec<f32>> {
        let MixtureTape { noise, choice, networks, outputs, shared, .. } = tape;
        let (plan, routing) = (choice.plan(), choice.routing());
        let mut grad_rows = vec![0.0; outputs.len()];
        let mut grad_gates = vec![0.0; routing.gates.len()];
        wide(CombineBackward {
            plan: &plan,
            routing: &routing,
            rows: &outputs,
            grad_out,
            grad_rows: &mut grad_rows,
            grad_gates: &mut grad_gates,
        })?;
        drop(outputs);

        // Experts.
        let rows = self.gathered(&choice, x)?;
        let of_experts = grads.experts.iter_mut().collect();
        let grad_rows = self.networks(&choice).backward(&rows, networks, &grad_rows, of_experts)?;
        let (mut grad_x, model_dim) = (vec![0.0; x.len()], self.pass.width());
        let (grad_rows, grad_tokens) = (&grad_rows[..], &mut grad_x[..]);
        wide(GatherBackward { plan: &plan, routing: &routing, grad_rows, model_dim, grad_tokens })?;

        // The router.
        let mut grad_logits = choice.backward(grad_gates)?;
        grad_logits.iter_mut().zip(of_losses).for_each(|(sum, grad)| *sum += grad);
        self.router_backward((x, &noise), &grad_logits, grads, &mut grad_x)?;

        if let (Some(expert), Some(tape)) = (&self.experts.shared, shared) {
            self.shared_backward(expert, tape, (x, grad_out), grads, &mut grad_x)?;
        }
        Ok(grad_x)
    }

    fn gathered(&self, choice: &Choice, x: &[f32]) -> Result<Vec<f32>> {
        let (plan, width) = (choice.plan(), self.pass.width());
        let mut rows = vec![0.0; plan.rows() * width];
        wide(Gather { plan: &plan, tokens: x, model_dim: width, out: &mut rows })?;
        Ok(rows)
    }

    fn networks(&self, choice: &Choice) -> Networks<'_> {
        let runs = self.weights.experts.iter().zip(choice.plan().runs().map(|run| run.len()));
        Networks { network: &self.experts.network, runs: runs.collect() }
    }

    fn router_backward(
        &self,
        (x, noise): (&[f32], &[f32]),
        grad_logits: &[f32],
        grads: &mut ExpertsWeights,
        grad_x: &mut [f32],
    ) -> Result<()> {
        let (model_dim, experts) = (self.pass.width(), self.weights.experts.len());
        let shape = RouterShape { tokens: x.len() / model_dim, model_dim, experts };
        if !grads.router.is_empty() {
            router_backward_weights(shape, &noisy(noise, x), grad_logits, &mut grads.router)?;
        }
        for logits in grad_logits.chunks_exact(experts) {
            grads.router_bias.iter_mut().zip(logits).for_each(|(sum, grad)| *sum += grad);
        }
        let weights = Weights::F32(MatRef::new(&self.weights.router, experts, model_dim)?);
        if noise.is_empty() {
            return Ok(linear::input(weights, grad_logits, grad_x, Write::Add)?);
        }
        let mut through = vec![0.0; x.len()];
        linear::input(weights, grad_logits, &mut through, Write::Overwrite)?;
        let through = through.iter().zip(noise).map(|(grad, factor)| grad * factor);
        grad_x.iter_mut().zip(through).for_each(|(sum, grad)| *sum += grad);
        Ok(())
    }

    /// Random numbers for the mixture of a layer, the same again for the same seed.
    fn random(&self, layer: usize) -> Pcg64 {
        let place = 2 * layer as u128 + u128::from(self.pass.run.side == Side::Encoder);
        Pcg64::new(self.pass.seed.into(), place)
    }

    /// What the router's input is multiplied by in training; empty if nothing is.
    fn noise(&self, router: &Router, len: usize, random: &mut Pcg64) -> Vec<f32> {
        let kind = router.config().input_noise;
        if kind == InputNoise::None || self.pass.phase != Phase::Train {
            return Vec::new();
        }
        let mut factors = vec![0.0; len];
        input_noise(kind, random, &mut factors);
        factors
    }

    /// Adds the expert that every token passes.
    fn add_shared(&self, shared: &SharedExpert, x: &[f32], out: &mut [f32]) -> Result<Option<SharedTape>> {
        let Some(weights) = &self.weights.shared else { return Ok(None) };
        let width = self.pass.width();
        let tokens = x.len() / width;
        let (given, network) = Networks::one(&shared.network, weights, tokens).forward(x)?;
        let gates = match &self.weights.shared_gate {
            None => None,
            Some(weights) => {
                let mut gates = vec![0.0; tokens];
                router_forward(RouterShape { tokens, model_dim: width, experts: 1 }, x, weights, &mut gates)?;
                gates.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                Some(gates)
            }
        };
        let out = MatMut::new(out, tokens, width)?;
        add_shared(MatRef::new(&given, tokens, width)?, gates.as_deref(), out)?;
        Ok(Some(SharedTape { network, given, gates }))
    }

    fn shared_backward(
        &self,
        shared: &SharedExpert,
        tape: SharedTape,
        (x, grad_out): (&[f32], &[f32]),
        grads: &mut ExpertsWeights,
        grad_x: &mut [f32],
    ) -> Result<()> {
        let (Some(weights), Some(of_network)) = (&self.weights.shared, &mut grads.shared) else {
            return Ok(());
        };
        let SharedTape { network, given, gates } = tape;
        let width = self.pass.width();
        let tokens = x.len() / width;
        let [given, grad_out] = [&given, grad_out].map(|values| MatRef::new(values, tokens, width));
        let mut grad_given = vec![0.0; x.len()];
        let mut grad_gates = vec![0.0; gates.as_ref().map_or(0, Vec::len)];
        let to = MatMut::new(&mut grad_given, tokens, width)?;
        add_shared_backward(given?, gates.as_deref(), grad_out?, to, &mut grad_gates)?;
        let networks = Networks::one(&shared.network, weights, tokens);
        let through = networks.backward(x, network, &grad_given, vec![of_network])?;
        grad_x.iter_mut().zip(through).for_each(|(sum, grad)| *sum += grad);

        let (Some(gates), Some(weights)) = (gates, &self.weights.shared_gate) else { return Ok(()) };
        grad_gates.iter_mut().zip(gates).for_each(|(grad, gate)| *grad *= gate * (1.0 - gate));
        let shape = RouterShape { tokens, model_dim: width, experts: 1 };
        if let Some(grads) = grads.shared_gate.as_mut().filter(|grads| !grads.is_empty()) {
            router_backward_weights(shape, x, &grad_gates, grads)?;
        }
        let weights = Weights::F32(MatRef::new(weights, 1, width)?);
        Ok(linear::input(weights, &grad_gates, grad_x, Write::Add)?)
    }
}

/// The router's input.
fn noisy<'a>(noise: &[f32], x: &'a [f32]) -> Cow<'a, [f32]> {
    if noise.is_empty() {
        return Cow::Borrowed(x);
    }
    x.iter().zip(noise).map(|(value, factor)| value * factor).collect()
}

impl MixtureTape {
    /// What losses of routers look at.
    pub fn traced(&self, side: Side, layer: usize) -> TracedMixture {
        TracedMixture {
            side,
            layer,
            experts: self.choice.experts(),
            input: Vec::new(),
            output: Vec::new(),
            logits: self.logits.clone(),
            probabilities: self.choice.probabilities().to_vec(),
            chosen: self.choice.chosen().to_vec(),
            gates: self.choice.gates(),
        }
    }
}
