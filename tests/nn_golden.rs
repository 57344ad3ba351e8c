//! The layers and optimisers put together to a small T5, against the vectors that transformers left in `../shared`:
//! hidden states, logits, loss, every gradient, and three steps of AdamW and of Adafactor.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::numbers::to_f64;
use common::shared;
use common::tape::{BatchAttention, Id, Tape};
use common::tensors::{self, Tensors};
use mixlet_core::nn::*;
use mixlet_core::optim::*;

/// As in the model's config.json.
const MODEL_DIM: usize = 32;
const FFN_DIM: usize = 64;
const VOCAB: usize = 96;
const HEADS: usize = 4;
const BATCH: usize = 2;
const LAYERS: usize = 2;

fn golden() -> Option<PathBuf> {
    shared::find("golden/hf/t5_relu_tied")
}

/// One batch.
struct Batch {
    input_ids: Vec<u32>,
    key_mask: Vec<bool>,
    labels: Vec<u32>,
}

impl Batch {
    fn new(io: &Tensors, name: &str) -> Self {
        let of = |part: &str| &io[&format!("{name}.{part}")].values;
        let label = |label: &f32| if *label < 0.0 { IGNORED } else { *label as u32 };
        Self {
            input_ids: of("input_ids").iter().map(|id| *id as u32).collect(),
            key_mask: of("attention_mask").iter().map(|mask| *mask > 0.0).collect(),
            labels: of("labels").iter().map(label).collect(),
        }
    }

    /// The labels one place later, behind a zero; ignored ones become padding.
    fn decoder_ids(&self) -> Vec<u32> {
        let len = self.labels.len() / BATCH;
        let shifted = |row: &[u32]| [&[0], &row[..len - 1]].concat();
        let ids = self.labels.chunks(len).flat_map(shifted);
        ids.map(|id| if id == IGNORED { 0 } else { id }).collect()
    }
}

/// What a run leaves.
struct Run {
    encoder_states: Vec<Vec<f32>>,
    decoder_states: Vec<Vec<f32>>,
    logits: Vec<f32>,
    loss: f64,
    grads: BTreeMap<String, Vec<f32>>,
}

/// A stack of layers on the tape.
struct Stack<'a> {
    tape: &'a mut Tape,
    parameters: &'a BTreeMap<String, Id>,
    name: &'static str,
    tokens: usize,
    states: Vec<Vec<f32>>,
}

impl Stack<'_> {
    fn parameter(&self, name: &str) -> Id {
        self.parameters[&format!("{}.{name}.weight", self.name)]
    }

    /// Attention of queries to keys and values made of `source`, from the norm to the residual.
    fn attend(
        &mut self,
        layer: &str,
        source: Option<Id>,
        attention: &BatchAttention,
        bias: Option<Id>,
        x: Id,
    ) -> Id {
        let kind = if source.is_some() { "EncDecAttention" } else { "SelfAttention" };
        let norm = self.parameter(&format!("{layer}.layer_norm"));
        let normed = self.tape.rms_norm(RmsNorm::default(), x, norm);
        let source = source.unwrap_or(normed);
        let [q, k, v] = [("q", normed), ("k", source), ("v", source)].map(|(name, from)| {
            let weight = self.parameter(&format!("{layer}.{kind}.{name}"));
            self.tape.linear(from, weight, MODEL_DIM)
        });
        let out = self.tape.attention(attention, [q, k, v], bias);
        let weight = self.parameter(&format!("{layer}.{kind}.o"));
        let out = self.tape.linear(out, weight, MODEL_DIM);
        self.tape.add(x, out)
    }

    fn feed_forward(&mut self, layer: &str, x: Id) -> Id {
        let norm = self.parameter(&format!("{layer}.layer_norm"));
        let normed = self.tape.rms_norm(RmsNorm::default(), x, norm);
        let [up, down] = ["wi", "wo"].map(|name| self.parameter(&format!("{layer}.DenseReluDense.{name}")));
        let hidden = self.tape.linear(normed, up, MODEL_DIM);
        let hidden = self.tape.relu(hidden);
        let out = self.tape.linear(hidden, down, FFN_DIM);
        self.tape.add(x, out)
    }

    /// All layers; `encoded` and its mask are what a decoder attends to.
    fn run(&mut self, ids: &[u32], mask: Option<&[bool]>, encoded: Option<(Id, &[bool])>) -> Id {
        let decoder = encoded.is_some();
        let of = |keys, pattern, mask: Option<&[bool]>| BatchAttention {
            shape: AttentionShape {
                span: Span { queries: self.tokens, keys, first_query: 0 },
                heads: HEADS,
                kv_heads: HEADS,
                head_dim: MODEL_DIM / HEADS,
                value_dim: MODEL_DIM / HEADS,
            },
            scale: 1.0,
            pattern,
            key_mask: mask.map(<[bool]>::to_vec),
        };
        let own = of(self.tokens, if decoder { Pattern::Causal } else { Pattern::Full }, mask);
        let cross = encoded.map(|(id, mask)| (id, of(mask.len() / BATCH, Pattern::Full, Some(mask))));
        let bias = PositionBias { heads: HEADS, buckets: 8, max_distance: 16, bidirectional: !decoder };
        let table = self.parameter("block.0.layer.0.SelfAttention.relative_attention_bias");
        let bias = self.tape.position_bias(bias, own.shape.span, table);
        let embedding = Embedding { vocab: VOCAB, model_dim: MODEL_DIM, scale: 1.0 };
        let mut x = self.tape.embedding(embedding, ids, self.parameters["shared.weight"]);
        for block in 0..LAYERS {
            self.states.push(self.tape.value(x).to_vec());
            x = self.attend(&format!("block.{block}.layer.0"), None, &own, Some(bias), x);
            if let Some((encoded, cross)) = &cross {
                x = self.attend(&format!("block.{block}.layer.1"), Some(*encoded), cross, None, x);
            }
            x = self.feed_forward(&format!("block.{block}.layer.{}", if decoder { 2 } else { 1 }), x);
        }
        let norm = self.parameter("final_layer_norm");
        let out = self.tape.rms_norm(RmsNorm::default(), x, norm);
        self.states.push(self.tape.value(out).to_vec());
        out
    }
}

/// Forward and backward of one batch.
fn run(model: &Tensors, batch: &Batch) -> Run {
    let mut tape = Tape::default();
    let parameters: BTreeMap<String, Id> =
        model.iter().map(|(name, tensor)| (name.clone(), tape.leaf(&tensor.values))).collect();
    let mut stack = |name, ids: &[u32], mask, encoded| {
        let tokens = ids.len() / BATCH;
        let mut stack = Stack { tape: &mut tape, parameters: &parameters, name, tokens, states: Vec::new() };
        (stack.run(ids, mask, encoded), stack.states)
    };
    let mask = &batch.key_mask[..];
    let (encoded, encoder_states) = stack("encoder", &batch.input_ids, Some(mask), None);
    let (decoded, decoder_states) = stack("decoder", &batch.decoder_ids(), None, Some((encoded, mask)));
    let head = tape.linear(decoded, parameters["shared.weight"], MODEL_DIM);

    let settings = CrossEntropy { logit_scale: tied_output_scale(MODEL_DIM), ..CrossEntropy::plain(VOCAB) };
    let scaled = tape.value(head).iter().map(|logit| logit * settings.logit_scale as f32);
    let (logits, mut grad) = (scaled.collect(), tape.value(head).to_vec());
    let targets = Targets { labels: &batch.labels, loss_mask: None };
    let loss = cross_entropy_backward(settings, targets, &mut grad).unwrap().total();
    let grads = tape.gradients(head, &grad);
    let grads = parameters.into_iter().map(|(name, id)| (name, grads[id].clone())).collect();
    Run { encoder_states, decoder_states, logits, loss, grads }
}

/// The largest difference of two slices.
#[track_caller]
fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|value| value.is_finite()));
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| (a - b).abs().max(worst))
}

#[test]
fn states_logits_loss_and_gradients_are_those_of_transformers() {
    let Some(folder) = golden() else { return };
    let [model, io, grads] =
        ["model", "io", "grads_b0"].map(|name| tensors::read(&folder.join(format!("{name}.safetensors"))));
    let first = run(&model, &Batch::new(&io, "b0"));
    for (name, states) in [("encoder", &first.encoder_states), ("decoder", &first.decoder_states)] {
        for (nth, state) in states.iter().enumerate() {
            let difference = worst(state, &io[&format!("b0.{name}_hidden_states.{nth}")].values);
            assert!(difference < 5e-5, "{name} state {nth}: {difference}");
        }
    }
    for name in ["b0", "b1", "b2"] {
        let run = run(&model, &Batch::new(&io, name));
        assert!(worst(&run.logits, &io[&format!("{name}.logits")].values) < 5e-5, "{name}");
        assert!((run.loss - f64::from(io[&format!("{name}.loss")].values[0])).abs() < 1e-5, "{name}");
    }
    assert_eq!(grads.len(), first.grads.len());
    for (name, expected) in &grads {
        let largest = expected.values.iter().fold(0.0f32, |largest, grad| largest.max(grad.abs()));
        let difference = worst(&first.grads[name], &expected.values);
        assert!(difference <= 1e-4 * largest + 1e-7, "{name}: {difference} of {largest}");
    }
}

/// The losses before each of three steps and after them, the gradient norms, and the weights left.
fn train(
    folder: &std::path::Path,
    mut update: impl FnMut(u32, &str, &[usize], &mut [f32], &[f32]),
) -> (Vec<f64>, Vec<f64>, Tensors) {
    let [mut model, io] =
        ["model", "io"].map(|name| tensors::read(&folder.join(format!("{name}.safetensors"))));
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (number, batch) in (1..).zip(["b0", "b1", "b2"]) {
        let run = run(&model, &Batch::new(&io, batch));
        losses.push(run.loss);
        norms.push(scan_gradients(run.grads.values().map(|grads| &grads[..])).unwrap().sqrt());
        for (name, tensor) in &mut model {
            update(number, name, &tensor.shape, &mut tensor.values, &run.grads[name]);
        }
    }
    losses.push(run(&model, &Batch::new(&io, "b0")).loss);
    (losses, norms, model)
}

/// Compares a training run with `train.json`.
fn compare(folder: &std::path::Path, entry: &str, losses: &[f64], norms: &[f64], weights: &Tensors) {
    let trace: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("train.json")).unwrap()).unwrap();
    let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(trace[entry][key].clone()).unwrap() };
    for (step, (found, expected)) in losses.iter().zip(numbers("losses")).enumerate() {
        let tolerance = [1e-5, 1e-4, 1e-3, 1e-3][step];
        assert!((found - expected).abs() < tolerance, "{entry}, loss {step}: {found}, expected {expected}");
    }
    for (found, expected) in norms.iter().zip(numbers("grad_norms")) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{entry}: norm {found}, expected {expected}");
    }
    for (name, facts) in trace[entry]["sum_and_l2"].as_object().unwrap() {
        let values = to_f64(&weights[name].values);
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let expected = facts[1].as_f64().unwrap();
        assert!((norm / expected - 1.0).abs() < 1e-3, "{entry}, {name}: norm {norm}, expected {expected}");
    }
}

/// Weights beyond 1e-3 of the expected ones, in thousandths of all.
fn stray(found: &Tensors, expected: &Tensors) -> f64 {
    let pairs = expected.iter().flat_map(|(name, tensor)| found[name].values.iter().zip(&tensor.values));
    let (mut beyond, mut all) = (0.0, 0.0);
    for (found, expected) in pairs {
        all += 1.0;
        beyond += f64::from(u8::from((found - expected).abs() > 1e-3 || found.is_nan()));
    }
    1000.0 * beyond / all
}

#[test]
fn three_steps_of_adamw_are_those_of_pytorch() {
    let Some(folder) = golden() else { return };
    let mut states: BTreeMap<String, [Vec<f32>; 2]> = BTreeMap::new();
    let (losses, norms, weights) = train(&folder, |number, name, _, weights, grads| {
        let zeros = vec![0.0; weights.len()];
        let [mean, square] = states.entry(name.to_owned()).or_insert_with(|| [zeros.clone(), zeros]);
        let step = Step { number, lr: 1e-2, grad_scale: 1.0 };
        adamw_step(AdamW::default(), step, weights, grads, AdamWState { mean, square }).unwrap();
    });
    compare(&folder, "adamw", &losses, &norms, &weights);
    assert!(stray(&weights, &tensors::read(&folder.join("after_adamw3.safetensors"))) <= 1.0);
}

#[test]
fn three_steps_of_adafactor_are_those_of_transformers() {
    let Some(folder) = golden() else { return };
    let relative =
        LrSchedule { peak: 1.0, lr_warmup_steps: 0, decay: LrDecay::Relative { hold: Some(1e-2) } };
    let fixed = LrSchedule { peak: 1e-2, lr_warmup_steps: 0, decay: LrDecay::Constant };
    for (entry, schedule, parameter_scale) in
        [("adafactor_hf_fixed_lr", fixed, false), ("adafactor_hf_relative_step", relative, true)]
    {
        let settings = Adafactor { averaging: Averaging::Tensor, parameter_scale, ..Adafactor::default() };
        let mut states: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        let (losses, norms, weights) = train(&folder, |number, name, shape, weights, grads| {
            let shape = match *shape {
                [rows, columns] => AdafactorShape { experts: 1, rows, columns, factored: true },
                _ => AdafactorShape::plain(weights.len()),
            };
            let zeros = || vec![0.0; adafactor_state_len(settings, shape)];
            let state = states.entry(name.to_owned()).or_insert_with(zeros);
            let scratch = &mut vec![f32::NAN; adafactor_scratch_len(shape)];
            let step = Step { number, lr: schedule.lr_at(u64::from(number) - 1), grad_scale: 1.0 };
            adafactor_step(settings, step, shape, weights, grads, AdafactorMemory { state, scratch })
                .unwrap();
        });
        compare(&folder, entry, &losses, &norms, &weights);
        if entry == "adafactor_hf_fixed_lr" {
            assert!(stray(&weights, &tensors::read(&folder.join("after_adafactor3.safetensors"))) <= 1.0);
        }
    }
}
