//! The gradient of a whole model's loss by every parameter, and what optimisers make of it, against what PyTorch left in
//! `../shared` for ten small models.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::golden_models::{self, MODELS};
use common::shared;
use common::tensors::{self, Tensor, Tensors};
use mixlet_core::moe::Phase;
use mixlet_core::nn::{LabelSmoothing, Reduction};
use mixlet_core::optim::{Adafactor, AdamW, DecayRule, square_sum};
use mixlet_runtime::models::{Batch, Model};
use mixlet_runtime::training::{
    Factored, Gradients, Objective, Optimizer, Parameter, Rule, Unreached, loss_and_gradients, trainable,
};

/// Of a tensor's largest gradient.
const GRADIENTS: f32 = 1e-4;
/// What PyTorch computed in evaluation: nothing is random.
const EVALUATION: Objective = Objective {
    phase: Phase::Eval,
    seed: 0,
    label_smoothing: LabelSmoothing::None,
    z_loss: 0.0,
    reduction: Reduction::Mean,
    routers_share: 1.0,
};

struct Golden {
    name: String,
    folder: PathBuf,
    io: Tensors,
}

impl Golden {
    fn read(name: &str) -> Option<Self> {
        let folder = shared::find(&format!("golden/hf/{name}"))?;
        Some(Self { name: name.to_owned(), io: golden_models::vectors(&folder), folder })
    }

    fn model(&self) -> Model {
        trainable(Model::import(&self.folder).unwrap().model).unwrap()
    }

    /// What PyTorch met on a course.
    fn course(&self, course: &Course) -> serde_json::Value {
        let text = std::fs::read_to_string(self.folder.join("train.json")).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
        facts[course.key].clone()
    }

    /// A file of tensors as mixlet names them.
    fn tensors(&self, file: &str) -> Tensors {
        let files = tensors::read(&self.folder.join(file));
        files.into_iter().flat_map(|(name, tensor)| each_expert(name, tensor)).collect()
    }
}

/// GPT-OSS has its experts in one tensor `[experts, inputs, outputs]`, outputs of gate and up in turns: here each on its own.
fn each_expert(name: String, tensor: Tensor) -> Vec<(String, Tensor)> {
    let is_stack = |(_, part): &(&str, &str)| !part.contains('.');
    let Some((prefix, part)) = name.split_once("mlp.experts.").filter(is_stack) else {
        return vec![(name, tensor)];
    };
    let parts: &[&str] = if part.starts_with("gate_up") { &["gate_proj", "up_proj"] } else { &["down_proj"] };
    let kind = if part.ends_with("_bias") { "bias" } else { "weight" };
    let (experts, outputs) = (tensor.shape[0], *tensor.shape.last().unwrap());
    let inputs = tensor.values.len() / experts / outputs;
    let mut own = Vec::new();
    for (expert, values) in tensor.values.chunks(inputs * outputs).enumerate() {
        for (turn, part) in parts.iter().enumerate() {
            let columns = (turn..outputs).step_by(parts.len());
            let values =
                columns.flat_map(|column| (0..inputs).map(move |row| values[row * outputs + column]));
            let tensor = Tensor { shape: vec![outputs / parts.len(), inputs], values: values.collect() };
            own.push((format!("{prefix}mlp.experts.{expert}.{part}.{kind}"), tensor));
        }
    }
    own
}

fn gradients(golden: &Golden) {
    let (model, expected) = (golden.model(), golden.tensors("grads_b0.safetensors"));
    let mut gradients = Gradients::new(&model.config, |_| true).unwrap();
    let batch = golden_models::batch(&golden.io, "b0");
    let losses = loss_and_gradients(&model, &batch, &EVALUATION, &mut gradients).unwrap();
    let loss = f64::from(golden.io["b0.loss"].values[0]);
    assert!((losses.total - loss).abs() < 1e-5, "{}: {}, {loss}", golden.name, losses.total);

    let mut names = Vec::new();
    for (named, found) in gradients.learning() {
        let expected = &expected[&named.name].values;
        assert_eq!(found.len(), expected.len(), "{}: {}", golden.name, named.name);
        let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let finite = found.iter().all(|value| value.is_finite());
        let message = format!("{}: {}: {worst} of {largest}", golden.name, named.name);
        assert!(finite && worst <= GRADIENTS * largest + 1e-7, "{message}");
        names.push(named.name.clone());
    }
    names.sort();
    // DeepSeek-V3's bias of the choice is no parameter: there it has zeros.
    let is_bias = |name: &str| name.ends_with("e_score_correction_bias");
    let others = expected.iter().filter(|(name, _)| !is_bias(name));
    assert!(names.iter().eq(others.map(|(name, _)| name)), "{}: every parameter, and no other", golden.name);
    let mut biases = expected.iter().filter(|(name, _)| is_bias(name)).flat_map(|(_, tensor)| &tensor.values);
    assert!(biases.all(|value| *value == 0.0), "{}", golden.name);
}

#[test]
fn every_gradient_is_pytorchs() {
    for name in MODELS {
        let Some(golden) = Golden::read(name) else { return };
        gradients(&golden);
    }
}

/// All gradients of a batch as bits, of the tensors that learn.
fn bits(model: &Model, batches: &[&Batch], learns: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u32>> {
    let mut gradients = Gradients::new(&model.config, learns).unwrap();
    for batch in batches {
        loss_and_gradients(model, batch, &EVALUATION, &mut gradients).unwrap();
    }
    let bits = |values: &mut [f32]| values.iter().map(|value| value.to_bits()).collect();
    gradients.learning().map(|(named, grads)| (named.name.clone(), bits(grads))).collect()
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for name in MODELS {
        let Some(golden) = Golden::read(name) else { return };
        let (model, batch) = (golden.model(), golden_models::batch(&golden.io, "b0"));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&model, &[&batch], |_| true))
        };
        let one = with(1);
        assert!([2, 5].into_iter().all(|threads| with(threads) == one), "{name}");
    }
}

#[test]
fn what_is_frozen_has_no_gradient_and_the_others_keep_theirs() {
    let rules: [fn(&str) -> bool; 7] = [
        |name| !name.contains("expert"),
        |name| name.contains("router") || name.contains("gate."),
        |name| name.contains("norm"),
        |name| name.contains("1."),
        |name| name.contains("decoder") || name.contains("layers.1"),
        |name| name.contains("encoder.block.1") || name.contains("q_proj"),
        |_| false,
    ];
    for name in MODELS {
        let Some(golden) = Golden::read(name) else { return };
        let (model, batch) = (golden.model(), golden_models::batch(&golden.io, "b0"));
        let all = bits(&model, &[&batch], |_| true);
        for (nth, learns) in rules.into_iter().enumerate() {
            let expected: BTreeMap<_, _> = all
                .iter()
                .filter(|(name, _)| learns(name))
                .map(|(name, bits)| (name.clone(), bits.clone()))
                .collect();
            assert!(bits(&model, &[&batch], learns) == expected, "{name}, rule {nth}");
        }
    }
}

#[test]
fn gradients_of_batches_add_up() {
    for name in MODELS {
        let Some(golden) = Golden::read(name) else { return };
        let model = golden.model();
        let [first, second] = ["b0", "b1"].map(|name| golden_models::batch(&golden.io, name));
        let both = bits(&model, &[&first, &second], |_| true);
        let [first, second] = [first, second].map(|batch| bits(&model, &[&batch], |_| true));
        for (tensor, both) in both {
            let sums = first[&tensor].iter().zip(&second[&tensor]);
            let values: Vec<[f32; 3]> =
                sums.zip(both).map(|((a, b), both)| [*a, *b, both].map(f32::from_bits)).collect();
            let largest = values.iter().fold(0.0f32, |most, [a, b, _]| most.max(a.abs()).max(b.abs()));
            let close = |[a, b, both]: &[f32; 3]| (a + b - both).abs() <= 1e-6 * largest + 1e-7;
            assert!(values.iter().all(close), "{name}: {tensor}");
        }
    }
}

/// An optimiser's run over three batches, as `train.json` has it.
struct Course {
    key: &'static str,
    rule: Rule,
    lr: f64,
    models: &'static [&'static str],
    /// The file of weights after it, if there is one.
    after: Option<&'static str>,
}

/// Adafactor of transformers sees each expert alone in these: the others have all experts of a layer in one tensor.
const SEPARATE_EXPERTS: &[&str] = &["t5_v1_1", "t5_relu_tied", "switch", "switch_nodrop", "nllb_moe"];

/// Where PyTorch leaves an expert without tokens out of the step: it has a tensor of its own, and no gradient.
const LEAVES_OUT: [&str; 2] = ["switch", "switch_nodrop"];

/// Adafactor as transformers has it.
fn transformers_adafactor(parameter_scale: bool) -> Rule {
    let adafactor = Adafactor { parameter_scale, decay_rule: DecayRule::TimesLr, ..Adafactor::default() };
    Rule::Adafactor(adafactor, Factored::EveryMatrix)
}

fn courses() -> [Course; 4] {
    let adamw = Rule::AdamW(AdamW::default());
    let [fixed, relative] = [false, true].map(transformers_adafactor);
    let course = |key, rule, lr, models, after| Course { key, rule, lr, models, after };
    [
        course("adamw", adamw, 1e-2, &MODELS[..], Some("after_adamw3.safetensors")),
        course("sgd_momentum", Rule::Sgd { momentum: 0.9 }, 0.1, &MODELS[..], None),
        course("adafactor_hf_fixed_lr", fixed, 1e-2, SEPARATE_EXPERTS, Some("after_adafactor3.safetensors")),
        // The relative step of the first ten thousand steps is 1e-2.
        course("adafactor_hf_relative_step", relative, 1e-2, SEPARATE_EXPERTS, None),
    ]
}

#[test]
fn three_steps_of_every_optimiser_are_pytorchs() {
    for course in courses() {
        for name in course.models {
            let Some(golden) = Golden::read(name) else { return };
            match (course.rule, *name) {
                (Rule::Adafactor(..), "nllb_moe") => one_step_from_pytorchs_gradients(&golden, &course),
                _ => three_steps(&golden, &course),
            }
        }
    }
}

/// Adafactor scales each row of a matrix by the row's own size. The router's rows of experts without tokens have a gradient of
/// 1e-10 in PyTorch's NLLB-MoE, all of it rounding (here it is 0), and so get steps as large as the others: what comes after the
/// first step cannot be done again. From PyTorch's own gradients that step can.
fn one_step_from_pytorchs_gradients(golden: &Golden, course: &Course) {
    let (mut model, from) = (golden.model(), golden.tensors("grads_b0.safetensors"));
    let mut gradients = Gradients::new(&model.config, |_| true).unwrap();
    gradients.learning().for_each(|(named, grads)| grads.copy_from_slice(&from[&named.name].values));
    Optimizer::new(course.rule, &mut gradients).step(&mut model, &mut gradients, course.lr, 1.0).unwrap();
    let batch = golden_models::batch(&golden.io, "b1");
    let loss = loss_and_gradients(&model, &batch, &EVALUATION, &mut gradients).unwrap().total;
    let expected = golden.course(course)["losses"][1].as_f64().unwrap();
    assert!((loss - expected).abs() <= 1e-4, "{}: {}: {loss}, {expected}", golden.name, course.key);
}

fn three_steps(golden: &Golden, course: &Course) {
    let facts = golden.course(course);
    let number = |part: &str, nth: usize| facts[part][nth].as_f64().unwrap();
    let what = format!("{}: {}", golden.name, course.key);

    let mut model = golden.model();
    let mut gradients = Gradients::new(&model.config, |_| true).unwrap();
    let unreached = if LEAVES_OUT.contains(&&*golden.name) { Unreached::Rests } else { Unreached::Steps };
    let mut optimizer = Optimizer::new(course.rule, &mut gradients).with_unreached(unreached);
    for (nth, batch) in ["b0", "b1", "b2", "b0"].into_iter().enumerate() {
        let batch = golden_models::batch(&golden.io, batch);
        gradients.clear();
        let loss = loss_and_gradients(&model, &batch, &EVALUATION, &mut gradients).unwrap().total;
        let (tolerance, expected) = (if nth < 2 { 1e-4 } else { 1e-3 }, number("losses", nth));
        assert!((loss - expected).abs() <= tolerance, "{what}, after {nth} steps: {loss}, {expected}");
        if nth < 3 {
            let squares: f64 = gradients.learning().map(|(_, grads)| square_sum(grads)).sum();
            let (norm, expected) = (squares.sqrt(), number("grad_norms", nth));
            let message = format!("{what}, after {nth} steps: a norm of {norm}, {expected}");
            assert!((norm - expected).abs() <= 10.0 * tolerance * expected, "{message}");
            optimizer.step(&mut model, &mut gradients, course.lr, 1.0).unwrap();
        }
    }
    if let Some(after) = course.after {
        weights_after(golden, golden.tensors(after), &mut gradients, &mut model);
    }
}

/// All weights, but those whose gradient is no more than rounding: their steps have any sign. Tensors of experts without
/// tokens have gradients of exactly 0 and count; that of a bias of all keys is 0 too, but for rounding.
fn weights_after(golden: &Golden, expected: Tensors, gradients: &mut Gradients, model: &mut Model) {
    let first = golden.tensors("grads_b0.safetensors");
    for Parameter { named, weights, .. } in gradients.parameters(model) {
        let [expected, first] = [&expected, &first].map(|tensors| &tensors[&named.name].values);
        let is_noise = |grad: f32| grad != 0.0 && grad.abs() < 1e-6;
        let largest = first.iter().fold(0.0f32, |most, grad| most.max(grad.abs()));
        if is_noise(largest) {
            assert!(named.name.ends_with("k_proj.bias"), "{}: {}", golden.name, named.name);
            continue;
        }
        let pairs = weights.iter().zip(expected).zip(first).filter(|(_, grad)| !is_noise(**grad));
        let far = pairs.filter(|((a, b), _)| (*a - *b).abs() > 1e-3).count();
        let message = format!("{}: {}: {far} of {}", golden.name, named.name, expected.len());
        assert!(far * 1000 <= expected.len(), "{message}");
    }
}
