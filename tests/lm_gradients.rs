//! The gradient of a whole model's loss by every parameter, and what optimisers make of it, against what PyTorch left in
//! `../shared` for ten small models.

mod common;

use std::path::PathBuf;

use common::golden_models::{self, MODELS};
use common::shared;
use common::tensors::{self, Tensor, Tensors};
use mixlet_core::moe::Phase;
use mixlet_runtime::models::Model;
use mixlet_runtime::training::{Gradients, Objective, loss_and_gradients, trainable};

/// Of a tensor's largest gradient.
const GRADIENTS: f32 = 1e-4;
/// What PyTorch computed in evaluation: nothing is random.
const EVALUATION: Objective = Objective {
    phase: Phase::Eval,
    label_smoothing: mixlet_core::nn::LabelSmoothing::None,
    z_loss: 0.0,
    reduction: mixlet_core::nn::Reduction::Mean,
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
    let Some((prefix, part)) = name.split_once("mlp.experts.").filter(|(_, part)| part.ends_with("_proj"))
        .or(name.split_once("mlp.experts.").filter(|(_, part)| part.ends_with("_bias")))
    else {
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
            let values = columns.flat_map(|column| (0..inputs).map(move |row| values[row * outputs + column]));
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
    assert!(names.iter().eq(expected.keys()), "{}: every parameter, and no other", golden.name);
}

#[test]
fn every_gradient_is_pytorchs() {
    let mut wrong = Vec::new();
    for name in MODELS {
        let Some(golden) = Golden::read(name) else { return };
        if let Err(error) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gradients(&golden))) {
            wrong.push(error.downcast::<String>().map_or(name.to_owned(), |text| *text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
