//! Gradients of models that no golden file has, against central differences of the loss: routers of the T5 family in which
//! experts choose or tokens have a capacity, GLaM, norms of heads, windows, dense decoders.

mod common;

use common::random::SplitMix;
use mixlet_core::moe::{
    ByPhase, CapacityRule, InputNoise, Phase, Policy, Priority, RouterConfig, SecondExpert,
};
use mixlet_core::nn::{IGNORED, LabelSmoothing, Reduction};
use mixlet_runtime::error::Result;
use mixlet_runtime::models::config::{Block, Experts, Network};
use mixlet_runtime::models::forward::{Keep, Trace, TracedMixture};
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::weights::{TensorSource, Weights};
use mixlet_runtime::models::{Batch, Model, ModelConfig, presets};
use mixlet_runtime::training::{Gradients, Objective, Parameter, loss_and_gradients};
use serde_json::{Value, json};

const VOCAB: usize = 40;

/// Weights of single precision in memory.
struct Random(SplitMix);

impl TensorSource for Random {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let is_norm = shape.len() == 1 && !name.contains("bias");
        let scale = if shape.len() == 1 { 0.3 } else { (1.0 / shape[shape.len() - 1] as f64).sqrt() };
        let mut value = || f64::from(u8::from(is_norm)) + scale * (2.0 * self.0.unit() - 1.0);
        let values = (0..shape.iter().product()).map(|_: usize| value() as f32).collect();
        Ok(Tensor::of_f32(values, shape))
    }

    fn has(&self, _: &str) -> bool {
        false
    }
}

fn model(config: ModelConfig, seed: u64) -> Model {
    let weights = Weights::build(&config, &mut Random(SplitMix(seed))).unwrap();
    Model { config, weights }
}

/// A preset with everything small, of two layers.
fn small(name: &str) -> ModelConfig {
    let mut config = presets::find(name).unwrap();
    (config.vocab, config.model_dim) = (VOCAB, 16);
    let narrow = |network: &mut Network| network.ffn_dim = 24;
    for stack in config.encoder.iter_mut().chain([&mut config.decoder]) {
        // The first and the last: of these the last has experts.
        let layers = stack.layers.len();
        stack.layers.drain(1..layers - 1);
        for block in stack.layers.iter_mut().flat_map(|layer| &mut layer.blocks) {
            match block {
                Block::Attention(attention) | Block::CrossAttention(attention) => {
                    (attention.heads, attention.kv_heads) = (2, 2);
                    (attention.head_dim, attention.value_dim) = (8, 8);
                }
                Block::Dense(network) => narrow(network),
                Block::Experts(experts) => {
                    experts.router.experts = 4;
                    narrow(&mut experts.network);
                }
            }
        }
    }
    config
}

/// A decoder of two layers, as `config.json` says it.
fn decoder(kind: &str, more: Value) -> ModelConfig {
    let mut config = json!({
        "model_type": kind, "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ModelConfig::from_hf(&config.to_string()).unwrap()
}

fn batch(seed: u64) -> Batch {
    let mut random = SplitMix(seed);
    let mut ids =
        |count: usize| -> Vec<u32> { (0..count).map(|_| 2 + random.below(VOCAB - 2) as u32).collect() };
    let real = (0..20).map(|place| place < 17).collect();
    let (ids, mut labels) = (ids(20), ids(20));
    labels[3] = IGNORED;
    Batch { sequences: 2, ids, real: Some(real), decoder_ids: None, labels: Some(labels) }
}

/// In evaluation, where nothing is random.
const CERTAIN: Objective = Objective {
    phase: Phase::Eval,
    seed: 0,
    label_smoothing: LabelSmoothing::AllIds(0.1),
    z_loss: 1e-2,
    reduction: Reduction::Mean,
    routers_share: 0.5,
};

fn loss(model: &Model, batch: &Batch, objective: &Objective, gradients: &mut Gradients) -> f64 {
    loss_and_gradients(model, batch, objective, gradients).unwrap().total
}

/// Who goes where in a mixture: chosen experts, and who got no place.
type Route = (Vec<u32>, Vec<bool>);

fn routes(model: &Model, batch: &Batch) -> Vec<Route> {
    let mut trace = Trace { keep: Keep::Routing, ..Trace::default() };
    model.logits(batch, &mut trace).unwrap();
    let of =
        |mixture: TracedMixture| (mixture.chosen, mixture.gates.iter().map(|gate| *gate == 0.0).collect());
    trace.mixtures.into_iter().map(of).collect()
}

/// A model that is moved along the gradient of one of its tensors.
struct Line<'a> {
    model: &'a mut Model,
    batch: &'a Batch,
    objective: &'a Objective,
    gradients: &'a mut Gradients,
    tensor: usize,
}

impl Line<'_> {
    /// The loss so far away, and the routes there.
    fn at(&mut self, distance: f64, norm: f64) -> (f64, Vec<Route>) {
        let Parameter { weights, grads, .. } =
            self.gradients.parameters(self.model).nth(self.tensor).unwrap();
        let before = weights.to_vec();
        let step = |grad: f32| (distance * f64::from(grad) / norm) as f32;
        weights.iter_mut().zip(grads).for_each(|(weight, grad)| *weight += step(*grad));
        let mut nothing = Gradients::new(&self.model.config, |_| false).unwrap();
        let found =
            (loss(self.model, self.batch, self.objective, &mut nothing), routes(self.model, self.batch));
        let Parameter { weights, .. } = self.gradients.parameters(self.model).nth(self.tensor).unwrap();
        weights.copy_from_slice(&before);
        found
    }
}

/// Along its own gradient `g` the loss rises by `|g|`, tensor by tensor, as long as no route changes.
fn check(name: &str, config: ModelConfig, objective: &Objective, tolerance: f64) {
    let (mut model, batch) = (model(config, 5), batch(3));
    let mut gradients = Gradients::new(&model.config, |_| true).unwrap();
    loss(&model, &batch, objective, &mut gradients);
    let norm = |grads: &mut [f32]| grads.iter().map(|grad| f64::from(*grad).powi(2)).sum::<f64>().sqrt();
    let learning = gradients.learning();
    let tensors: Vec<_> = learning.map(|(named, grads)| (named.name.clone(), norm(grads))).collect();
    let (here, mut compared) = (routes(&model, &batch), 0);
    for (tensor, (of, norm)) in tensors.iter().enumerate().filter(|(_, (_, norm))| *norm > 1e-3) {
        let mut line =
            Line { model: &mut model, batch: &batch, objective, gradients: &mut gradients, tensor };
        for h in [4e-3, 1e-3, 3e-4] {
            let points = [h, -h, 2.0 * h, -2.0 * h].map(|distance| line.at(distance, *norm));
            if points.iter().any(|(_, routes)| *routes != here) {
                continue;
            }
            let [up, down, far_up, far_down] = points.map(|(loss, _)| loss);
            let slope = (8.0 * (up - down) - (far_up - far_down)) / (12.0 * h);
            let close = (slope - norm).abs() <= tolerance * norm + 1e-6 / h;
            assert!(close, "{name}: {of}: {slope}, {norm}, h = {h}");
            compared += 1;
            break;
        }
    }
    assert!(compared * 10 > tensors.len() * 7, "{name}: {compared} of {} tensors", tensors.len());
}

#[test]
fn slopes_of_encoder_decoders() {
    for name in ["tokens_choose_base", "experts_choose_base", "t5_v1_1_base"] {
        check(name, small(name), &CERTAIN, 3e-3);
    }
    // Differences pass the corner of a ReLU here and there.
    for name in ["switch_base_8", "t5_base"] {
        check(name, small(name), &CERTAIN, 2e-2);
    }
}

#[test]
fn slopes_of_decoders() {
    for name in ["glam_0.1b_64e", "glam_8b"] {
        check(name, small(name), &CERTAIN, 3e-3);
    }
    let qwen3_moe = json!({
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "norm_topk_prob": true,
        "decoder_sparse_step": 1, "mlp_only_layers": [],
    });
    let cases = [
        ("qwen3", json!({})),
        ("qwen3_moe", qwen3_moe),
        ("llama", json!({ "tie_word_embeddings": true })),
        ("mistral", json!({ "sliding_window": 3 })),
        ("qwen2", json!({})),
    ];
    for (kind, more) in cases {
        check(kind, decoder(kind, more), &CERTAIN, 3e-3);
    }
}

/// Changes every mixture.
fn with_mixtures(mut config: ModelConfig, change: impl Fn(&mut Experts)) -> ModelConfig {
    let layers = config.encoder.iter_mut().chain([&mut config.decoder]).flat_map(|stack| &mut stack.layers);
    for block in layers.flat_map(|layer| &mut layer.blocks) {
        if let Block::Experts(experts) = block {
            change(experts);
        }
    }
    config
}

#[test]
fn slopes_with_a_noisy_router() {
    // All experts for every token: no route can change.
    let config = with_mixtures(small("tokens_choose_base"), |experts| {
        experts.router.policy = Policy::Flaxformer { top_k: 4 };
        experts.router.capacity = CapacityRule::Dropless;
        experts.router.input_noise = InputNoise::Jitter(0.5);
    });
    check("jitter", config, &Objective { phase: Phase::Train, seed: 7, ..CERTAIN }, 3e-3);
}

#[test]
fn chance_follows_the_seed() {
    for priority in [Priority::Ranks, Priority::Random] {
        let config = with_mixtures(small("st_moe_base"), |experts| {
            let others = ByPhase::both(SecondExpert::Random(1.0));
            experts.router =
                RouterConfig { policy: Policy::Mesh { top_k: 2, others }, priority, ..experts.router };
        });
        let (model, batch) = (model(config, 5), batch(3));
        let with = |seed: u64| {
            let objective = Objective { phase: Phase::Train, seed, ..CERTAIN };
            loss(&model, &batch, &objective, &mut Gradients::new(&model.config, |_| false).unwrap())
        };
        assert_eq!(with(1), with(1), "{priority:?}");
        assert!((2..6).any(|seed| with(seed) != with(1)), "{priority:?}");
    }
}
