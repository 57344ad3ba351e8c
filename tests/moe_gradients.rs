//! Every backward of routing against central differences, through a whole layer with all losses.
//!
//! The formulas are written once for both precisions: in `f64` they agree with the differences to 1e-6, in
//! `f32` to 1e-3, of each value or of a hundredth of the largest one, whichever is more.

mod common;

use common::moe::*;
use common::random::SplitMix;
use mixlet_core::moe::balance::*;
use mixlet_core::moe::logit_losses::*;
use mixlet_core::moe::noisy::{NoisyLoad, TutelLoss, importance_backward, importance_forward};
use mixlet_core::moe::router::*;
use mixlet_core::moe::*;

const TOKENS: usize = 7;
const DIM: usize = 5;
const EXPERTS: usize = 6;
const STEP: f64 = 1e-5;

/// Weights of the losses in the sum.
const BALANCE: f64 = 0.7;
const Z: f64 = 0.3;
const ENTROPY: f64 = 0.4;
const IMPORTANCE: f64 = 0.6;
const LOAD: f64 = 0.9;
const TUTEL: f64 = 0.8;
const SELECTION: f64 = 0.5;

/// A layer whose experts multiply by a vector, and a loss that weighs its output: `Σ target · (x + layer(x))`, plus losses.
struct Layer {
    router: Router,
    calibration: Calibration,
    real: Option<Vec<bool>>,
    bias: Vec<f64>,
    draws: Vec<f64>,
    expert_scales: Vec<f64>,
    target: Vec<f64>,
}

/// What is differentiated by: tokens, router weights, noise logits, one after another.
struct Inputs {
    values: Vec<f64>,
}

/// The loss and its gradient by all inputs; the chosen experts and rows, which a small step must not change.
struct Outcome {
    loss: f64,
    grads: Vec<f64>,
    choice: (Vec<u32>, Vec<u32>),
}

impl Layer {
    fn new(config: RouterConfig, padded: bool, random: &mut SplitMix) -> Self {
        let router = config.check().unwrap();
        let mut numbers = |len: usize| (0..len).map(|_| 2.0 * random.unit() - 1.0).collect::<Vec<_>>();
        let has_bias = matches!(config.policy, Policy::DeepSeekV3 { .. });
        let bias = numbers(if has_bias { EXPERTS } else { 0 }).iter().map(|value| 0.1 * value).collect();
        let (expert_scales, target) = (numbers(EXPERTS * DIM), numbers(TOKENS * DIM));
        let real = padded.then(|| (0..TOKENS).map(|token| token != 2 && token != 6).collect());
        let mut draws = vec![0.0; router.draws_len(Phase::Train, TOKENS)];
        draw(&router, Phase::Train, random, &mut draws);
        Self { router, calibration: Calibration::Flaxformer, real, bias, draws, expert_scales, target }
    }

    fn learns_noise(&self) -> bool {
        matches!(self.router.config().policy, Policy::NoisyTopK { noise: NoiseScale::Learned { .. }, .. })
    }

    fn inputs(&self, random: &mut SplitMix) -> Inputs {
        let noise = if self.learns_noise() { TOKENS * EXPERTS } else { 0 };
        let len = TOKENS * DIM + EXPERTS * DIM + noise;
        Inputs { values: (0..len).map(|_| 2.4 * random.unit() - 1.2).collect() }
    }

    fn run<R: Real>(&self, inputs: &Inputs) -> Outcome {
        let all = reals::<R>(&inputs.values);
        let (x, rest) = all.split_at(TOKENS * DIM);
        let (weights, noise_logits) = rest.split_at(EXPERTS * DIM);
        let (bias, draws) = (reals::<R>(&self.bias), reals::<R>(&self.draws));
        let shape = RouterShape { tokens: TOKENS, model_dim: DIM, experts: EXPERTS };
        let nan = |len: usize| vec![R::from_f64(f64::NAN); len];
        let mut logits = nan(shape.logits_len());
        router_forward(shape, x, weights, &mut logits).unwrap();
        let real = self.real.as_deref();
        let input =
            RouterInput { logits: &logits, real, bias: &bias, noise_logits, draws: &draws, hashed: &[] };
        let routed = routed(&self.router, Phase::Train, TOKENS, &input).unwrap();
        let plan = planned_by(&self.router, &routed);
        let plan_view = plan.plan();

        // Forward: gates, rows, output, losses.
        let mut gates = routed.gates.clone();
        let after = self.router.normalises_after_dropping();
        if after {
            normalise_kept(&plan_view, &routed.routing(), &mut gates).unwrap();
        }
        let routing = Routing { gates: &gates, ..routed.routing() };
        let rows_len = plan_view.rows() * DIM;
        let (mut rows, mut out) = (nan(rows_len), nan(TOKENS * DIM));
        gather(&plan_view, x, DIM, &mut rows).unwrap();
        let scales = self.row_scales::<R>(&plan);
        let rows: Vec<R> = rows.iter().zip(&scales).map(|(&row, &scale)| row * scale).collect();
        combine(&plan_view, &routing, &rows, DIM, &mut out).unwrap();
        let target = reals::<R>(&self.target);
        let mut loss =
            out.iter().zip(&target).fold(0.0, |sum, (&out, &target)| sum + (out * target).to_f64());

        // Backward: combine, experts, gather; gates; router.
        let (mut grad_rows, mut grad_gates) = (nan(rows_len), nan(gates.len()));
        combine_backward(&plan_view, &routing, &rows, &target, &mut grad_rows, &mut grad_gates).unwrap();
        let grad_rows: Vec<R> = grad_rows.iter().zip(&scales).map(|(&grad, &scale)| grad * scale).collect();
        let mut grad_x = nan(TOKENS * DIM);
        gather_backward(&plan_view, &routing, &grad_rows, DIM, &mut grad_x).unwrap();
        if after {
            let mut raw = nan(gates.len());
            normalise_kept_backward(&plan_view, &routed.routing(), &gates, &grad_gates, &mut raw).unwrap();
            grad_gates = raw;
        }
        let (mut grad_logits, mut grad_noise) = (nan(logits.len()), nan(noise_logits.len()));
        loss += self.gate_losses(&input, &routed, grad_gates, &mut grad_logits, &mut grad_noise);
        loss += self.logit_losses(&input, &routed, &mut grad_logits, &mut grad_noise);

        let mut grad_weights = vec![R::ZERO; weights.len()];
        router_backward_weights(shape, x, &grad_logits, &mut grad_weights).unwrap();
        let mut by_router = nan(x.len());
        router_backward_tokens(shape, weights, &grad_logits, &mut by_router).unwrap();
        grad_x.iter_mut().zip(by_router).for_each(|(grad, value)| *grad += value);
        let grads = [grad_x, grad_weights, grad_noise].concat();
        let choice = (routed.chosen.clone(), plan.slot_rows.clone());
        Outcome { loss, grads: grads.iter().map(|grad| grad.to_f64()).collect(), choice }
    }

    /// `[rows, DIM]`: what each row's expert multiplies by.
    fn row_scales<R: Real>(&self, plan: &OwnedPlan) -> Vec<R> {
        let of_expert = |expert: usize| &self.expert_scales[expert * DIM..(expert + 1) * DIM];
        let runs = plan.plan();
        let scales =
            runs.runs().enumerate().flat_map(|(expert, run)| run.flat_map(move |_| of_expert(expert)));
        scales.map(|&scale| R::from_f64(scale)).collect()
    }

    /// The importance loss, and the way from gates to logits, which are overwritten.
    fn gate_losses<R: Real>(
        &self,
        input: &RouterInput<'_, R>,
        routed: &OwnedRouting<R>,
        mut grad_gates: Vec<R>,
        grad_logits: &mut [R],
        grad_noise: &mut [R],
    ) -> f64 {
        let routing = routed.routing();
        let mut importance = vec![R::from_f64(f64::NAN); EXPERTS];
        let loss = importance_forward(&routing, &mut importance).unwrap().to_f64();
        importance_backward(&routing, &importance, R::from_f64(IMPORTANCE), &mut grad_gates).unwrap();
        route_backward(&self.router, Phase::Train, &routing, &routed.cache(), &grad_gates, grad_logits)
            .unwrap();
        noise_backward(&self.router, Phase::Train, input, grad_logits, grad_noise).unwrap();
        IMPORTANCE * loss
    }

    /// Losses of logits, whose gradients are added.
    fn logit_losses<R: Real>(
        &self,
        input: &RouterInput<'_, R>,
        routed: &OwnedRouting<R>,
        grad_logits: &mut [R],
        grad_noise: &mut [R],
    ) -> f64 {
        let nan = |len: usize| vec![R::from_f64(f64::NAN); len];
        let logits = TokenLogits { logits: input.logits, experts: EXPERTS, real: input.real };
        let mut log_sums = nan(TOKENS);
        let mut loss = Z * z_loss_forward(&logits, &mut log_sums).unwrap().to_f64();
        z_loss_backward(&logits, &log_sums, R::from_f64(Z), grad_logits).unwrap();
        loss += ENTROPY * entropy_forward(&logits, &mut log_sums).unwrap().to_f64();
        entropy_backward(&logits, &log_sums, R::from_f64(ENTROPY), grad_logits).unwrap();
        match self.router.config().policy {
            Policy::NoisyTopK { .. } => {
                let noisy = NoisyLoad::new(&self.router, *input, routed.cache()).unwrap();
                let mut load = nan(EXPERTS);
                loss += LOAD * noisy.forward(&mut load).unwrap().to_f64();
                noisy.backward(&load, R::from_f64(LOAD), grad_logits, grad_noise).unwrap();
                if let Ok(tutel) = TutelLoss::new(&self.router, *input, routed.cache()) {
                    let mut importance = nan(EXPERTS);
                    loss += TUTEL * tutel.forward(&mut importance, &mut load).unwrap().to_f64();
                    tutel.backward(&importance, &load, R::from_f64(TUTEL), grad_logits).unwrap();
                }
            }
            Policy::ExpertChoice { softmax: SoftmaxOver::Tokens } => {
                let (mut aggregates, mut scratch) = (nan(TOKENS), nan(TOKENS * EXPERTS));
                let cache = routed.cache();
                loss += SELECTION * selection_loss_forward(&cache, &mut aggregates).unwrap().to_f64();
                let weight = R::from_f64(SELECTION);
                selection_loss_backward(&cache, &aggregates, weight, grad_logits, &mut scratch).unwrap();
            }
            Policy::ExpertChoice { .. } | Policy::CappedExpertChoice { .. } => {}
            _ => {
                let cache = routed.cache();
                let mut balance =
                    LoadBalance::new(&self.router, self.calibration, cache, input.real).unwrap();
                balance.group_tokens = 4;
                let mut fractions = nan(balance.fractions_len());
                loss += BALANCE * balance.forward(&mut fractions).unwrap().to_f64();
                balance.backward(&fractions, R::from_f64(BALANCE), grad_logits).unwrap();
            }
        }
        loss
    }
}

#[track_caller]
fn assert_gradients(what: &str, layer: &Layer, inputs: &mut Inputs) {
    let (double, single) = (layer.run::<f64>(inputs), layer.run::<f32>(inputs));
    assert_eq!(double.choice, single.choice, "{what}: the inputs are too near to a tie");
    let differences: Vec<f64> = (0..inputs.values.len())
        .map(|place| {
            let value = inputs.values[place];
            let mut at = |moved: f64| {
                inputs.values[place] = moved;
                let outcome = layer.run::<f64>(inputs);
                inputs.values[place] = value;
                assert_eq!(outcome.choice, double.choice, "{what}: the inputs are too near to a tie");
                outcome.loss
            };
            (at(value + STEP) - at(value - STEP)) / (2.0 * STEP)
        })
        .collect();
    let largest = differences.iter().copied().map(f64::abs).fold(0.0, f64::max);
    assert!(largest > 1e-3, "{what}: nothing to compare");
    for (grads, tolerance, precision) in [(double.grads, 1e-6, "f64"), (single.grads, 1e-3, "f32")] {
        assert_eq!(grads.len(), differences.len());
        for (place, (grad, difference)) in grads.iter().zip(&differences).enumerate() {
            let off = (grad - difference).abs() / difference.abs().max(0.01 * largest);
            assert!(
                off < tolerance,
                "{what}, {precision}, input {place}: {grad}, expected {difference}: {off:e}"
            );
        }
    }
}

fn policies() -> Vec<Policy> {
    let both = ByPhase::<SecondExpert>::both;
    let mut policies = vec![
        Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) },
        Policy::Switch { choice: ByPhase::both(SwitchChoice::Sample { temperature: 2.0 }) },
        Policy::GShard { second: both(SecondExpert::All) },
        Policy::GShard { second: both(SecondExpert::PAPER_COIN) },
        Policy::DeepSpeedTop2 { sample_second: ByPhase::both(false) },
        Policy::DeepSpeedTop2 { sample_second: ByPhase::both(true) },
        Policy::Mesh { top_k: 3, others: both(SecondExpert::Random(0.2)) },
        Policy::Mesh { top_k: 2, others: both(SecondExpert::None) },
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 2, temperature: 0.05, rounds: 200 },
    ];
    for top_k in [1, 2, EXPERTS as u32] {
        policies.extend([
            Policy::Flaxformer { top_k },
            Policy::Mixtral { top_k },
            Policy::Olmoe { top_k },
            Policy::SoftmaxAfterTopK { top_k },
            Policy::NoisyTopK { top_k, noise: NoiseScale::Learned { least: 0.1 } },
            Policy::NoisyTopK { top_k, noise: NoiseScale::Fixed(0.7) },
        ]);
    }
    for normalise in [false, true] {
        policies.push(Policy::DeepSeekV3 {
            top_k: 3,
            expert_groups: 3,
            kept_groups: 2,
            normalise,
            scale: 2.5,
        });
    }
    policies
}

#[test]
fn a_layer_of_every_policy() {
    for policy in policies() {
        for (capacity, padded) in
            [(CapacityRule::Dropless, false), (CapacityRule::Fixed(ByPhase::both(2)), true)]
        {
            if policy.top_k().is_none() && capacity == CapacityRule::Dropless {
                continue;
            }
            let config =
                RouterConfig { experts: EXPERTS as u32, policy, capacity, ..RouterConfig::default() };
            let mut random = SplitMix(6);
            let layer = Layer::new(config, padded, &mut random);
            let mut inputs = layer.inputs(&mut random);
            assert_gradients(&format!("{policy:?}, {capacity:?}"), &layer, &mut inputs);
        }
    }
}

#[test]
fn expert_choice_without_padding() {
    for policy in policies().into_iter().filter(|policy| policy.top_k().is_none()) {
        let capacity = CapacityRule::ExpertChoice(ByPhase::both(2.0));
        let config = RouterConfig { experts: EXPERTS as u32, policy, capacity, ..RouterConfig::default() };
        let mut random = SplitMix(13);
        let layer = Layer::new(config, false, &mut random);
        let mut inputs = layer.inputs(&mut random);
        assert_gradients(&format!("{policy:?}"), &layer, &mut inputs);
    }
}

#[test]
fn every_calibration_of_the_balance_loss() {
    for calibration in [
        Calibration::Switch,
        Calibration::Mesh,
        Calibration::GShardPaper,
        Calibration::Flaxformer,
        Calibration::TopK,
        Calibration::MegaBlocks { layers: 3 },
    ] {
        for policy in [
            Policy::Flaxformer { top_k: 2 },
            Policy::DeepSeekV3 { top_k: 2, expert_groups: 1, kept_groups: 1, normalise: true, scale: 1.0 },
        ] {
            let config = RouterConfig { experts: EXPERTS as u32, policy, ..RouterConfig::default() };
            let mut random = SplitMix(11);
            let layer = Layer { calibration, ..Layer::new(config, true, &mut random) };
            let mut inputs = layer.inputs(&mut random);
            assert_gradients(&format!("{calibration:?}, {policy:?}"), &layer, &mut inputs);
        }
    }
}

#[test]
fn weights_add_and_activations_overwrite() {
    let shape = RouterShape { tokens: 3, model_dim: 2, experts: 2 };
    let (x, weights, grad_logits) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.5, -1.0, 2.0, 0.25], [1.0; 6]);
    let mut once = [0.0_f64; 4];
    router_backward_weights(shape, &x, &grad_logits, &mut once).unwrap();
    let mut twice = once;
    router_backward_weights(shape, &x, &grad_logits, &mut twice).unwrap();
    assert_eq!(twice, once.map(|grad| 2.0 * grad));
    let mut from_nan = [f64::NAN; 6];
    router_backward_tokens(shape, &weights, &grad_logits, &mut from_nan).unwrap();
    assert_eq!(from_nan, [2.5, -0.75, 2.5, -0.75, 2.5, -0.75]);
}

#[test]
fn noise_on_the_routers_input_scales_gradients_too() {
    let mut random = SplitMix(2);
    for (noise, low, high) in [
        (InputNoise::None, 1.0, 1.0),
        (InputNoise::Jitter(0.01), 0.99, 1.01),
        (InputNoise::Dropout(0.25), 0.0, 1.0 / 0.75),
    ] {
        let mut factors = vec![f64::NAN; 4000];
        input_noise(noise, &mut random, &mut factors);
        assert!(factors.iter().all(|factor| (low..=high).contains(factor)), "{noise:?}");
        let mean = factors.iter().sum::<f64>() / 4000.0;
        assert!((mean - 1.0).abs() < 0.05, "{noise:?}: {mean}");
        let mut out = vec![f64::NAN; 4000];
        multiply(&factors, &vec![3.0; 4000], &mut out).unwrap();
        assert!(out.iter().zip(&factors).all(|(out, factor)| *out == 3.0 * factor), "{noise:?}");
    }
}
