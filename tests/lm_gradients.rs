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
    Factored, Gradients, Objective, Optimizer, Rule, loss_and_gradients, trainable,
};

/// Of a tensor's largest gradient.
const GRADIENTS: f32 = 1e-4;
/// What PyTorch computed in evaluation: nothing is random.
const EVALUATION: Objective = Objective {
    phase: Phase::Eval,
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
            let close = |[a, b, both]: &[f32; 3]| (a + b - both).abs() <= 1e-6 * largest;
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

const SEPARATE_EXPERTS: &[&str] = &["t5_v1_1", "t5_relu_tied", "switch", "switch_nodrop", "nllb_moe"];

/// Adafactor as transformers has it.
fn transformers_adafactor(parameter_scale: bool) -> Rule {
    let decay_rule = DecayRule::TimesLr;
    Rule::Adafactor(Adafactor { parameter_scale, decay_rule, ..Adafactor::default() }, Factored::EveryMatrix)
}

fn courses() -> [Course; 4] {
    let (all, some) = (&MODELS[..], SEPARATE_EXPERTS);
    [
        Course {
            key: "adamw",
            rule: Rule::AdamW(AdamW::default()),
            lr: 1e-2,
            models: all,
            after: Some("adamw"),
        },
        Course { key: "sgd_momentum", rule: Rule::Sgd { momentum: 0.9 }, lr: 0.1, models: all, after: None },
        Course {
            key: "adafactor_hf_fixed_lr",
            rule: transformers_adafactor(false),
            lr: 1e-2,
            models: some,
            after: Some("adafactor"),
        },
        // The relative step of the first ten thousand steps is 1e-2.
        Course {
            key: "adafactor_hf_relative_step",
            rule: transformers_adafactor(true),
            lr: 1e-2,
            models: some,
            after: None,
        },
    ]
}

#[test]
fn three_steps_of_every_optimiser_are_pytorchs() {
    for course in courses() {
        for name in course.models {
            let Some(golden) = Golden::read(name) else { return };
            three_steps(&golden, &course);
        }
    }
}

fn three_steps(golden: &Golden, course: &Course) {
    let text = std::fs::read_to_string(golden.folder.join("train.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |part: &str, nth: usize| facts[course.key][part][nth].as_f64().unwrap();
    let what = format!("{}: {}", golden.name, course.key);

    let mut model = golden.model();
    let mut gradients = Gradients::new(&model.config, |_| true).unwrap();
    let mut optimizer = Optimizer::new(course.rule, &mut gradients);
    for (nth, batch) in ["b0", "b1", "b2", "b0"].into_iter().enumerate() {
        let batch = golden_models::batch(&golden.io, batch);
        gradients.clear();
        let loss = loss_and_gradients(&model, &batch, &EVALUATION, &mut gradients).unwrap().total;
        let tolerance = if nth < 2 { 1e-4 } else { 1e-3 };
        let expected = number("losses", nth);
        assert!((loss - expected).abs() <= tolerance, "{what}, before step {}: {loss}, {expected}", nth + 1);
        if nth < 3 {
            let squares = gradients.learning().map(|(_, grads)| square_sum(grads)).sum::<f64>();
            let norm = number("grad_norms", nth);
            assert!((squares.sqrt() - norm).abs() <= 1e-3 * norm, "{what}, step {}", nth + 1);
            optimizer.step(&mut model, &mut gradients, course.lr, 1.0).unwrap();
        }
    }
    let Some(after) = course.after else { return };
    let expected = golden.tensors(&format!("after_{after}3.safetensors"));
    for parameter in gradients.parameters(&mut model) {
        let expected = &expected[&parameter.named.name].values;
        let far = parameter.weights.iter().zip(expected).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
        assert!(
            far * 1000 <= expected.len(),
            "{what}: {}: {far} of {}",
            parameter.named.name,
            expected.len()
        );
    }
}
