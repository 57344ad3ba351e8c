//! Routers' losses as either version of transformers counts them, against the formulas on what its routers gave out.

mod common;

use std::path::PathBuf;

use common::golden_models;
use common::shared;
use common::tensors::Tensors;
use mixlet_runtime::models::config::LossCounting;
use mixlet_runtime::models::forward::Trace;
use mixlet_runtime::models::info::Info;
use mixlet_runtime::models::losses::{RouterLoss, losses};
use mixlet_runtime::models::{Batch, Model};

struct Golden {
    model: Model,
    io: Tensors,
    batch: Batch,
}

impl Golden {
    fn new(name: &str) -> Option<Self> {
        let folder: PathBuf = shared::find(&format!("golden/hf/{name}"))?;
        let io = golden_models::vectors(&folder);
        let batch = golden_models::batch(&io, "b0");
        Some(Self { model: Model::import(&folder).unwrap().model, io, batch })
    }

    /// What the library says.
    fn losses(&self, counting: LossCounting) -> (Vec<RouterLoss>, f64) {
        let mut config = self.model.config.clone();
        config.router_losses.counting = counting;
        let mut trace = Trace::default();
        let logits = self.model.logits(&self.batch, &mut trace).unwrap();
        let losses = losses(&config, &self.batch, &logits, &trace).unwrap().unwrap();
        (losses.routers, losses.total - losses.cross_entropy)
    }

    /// The outputs of a stack's routers, layer by layer.
    fn routers(&self, stack: &str, out: &str) -> Vec<&Vec<f32>> {
        let of = |key: &&String| {
            key.starts_with("b0.router.") && key.contains(stack) && key.ends_with(&format!(".{out}"))
        };
        self.io.keys().filter(of).map(|key| &self.io[key].values).collect()
    }
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|value| f64::from(value - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The place of the largest number, the first of equals.
fn argmax(row: &[f32]) -> usize {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter().position(|value| *value == most).unwrap()
}

/// Switch: for each sequence `E · Σ f · P` over the tokens of all layers, `f` from the argmax of some rows; the mean of these.
fn switch_loss(golden: &Golden, stack: &str, counted: &str) -> f64 {
    let (logits, counted) = (golden.routers(stack, "out2"), golden.routers(stack, counted));
    let (sequences, experts) =
        (golden.batch.sequences, Info::new(&golden.model.config).unwrap().experts as usize);
    let mut loss = 0.0;
    for sequence in 0..sequences {
        let (mut shares, mut probabilities, mut tokens) = (vec![0.0; experts], vec![0.0; experts], 0.0);
        for (logits, counted) in logits.iter().zip(&counted) {
            let own = sequence * logits.len() / sequences..(sequence + 1) * logits.len() / sequences;
            for (logits, counted) in logits[own.clone()].chunks(experts).zip(counted[own].chunks(experts)) {
                shares[argmax(counted)] += 1.0;
                probabilities.iter_mut().zip(softmax(logits)).for_each(|(sum, value)| *sum += value);
                tokens += 1.0;
            }
        }
        let products = shares.iter().zip(&probabilities).map(|(share, probability)| share * probability);
        loss += experts as f64 * products.sum::<f64>() / (tokens * tokens);
    }
    loss / sequences as f64
}

#[test]
fn switch_counts_dropped_choices_as_what_they_were_or_as_expert_0() {
    for name in ["switch", "switch_nodrop"] {
        let Some(golden) = Golden::new(name) else { return };
        let (five, _) = golden.losses(LossCounting::Transformers5);
        let (four, total) = golden.losses(LossCounting::Transformers4);
        for (stack, nth) in [("encoder.", 0), ("decoder.", 1)] {
            // The formula gives what transformers 5 gave.
            let before = switch_loss(&golden, stack, "out2");
            let published = f64::from(golden.io[&format!("b0.{}_aux_loss", &stack[..7])].values[0]);
            assert!((before - published).abs() < 1e-5, "{name}: {before}, {published}");
            assert!((five[nth].balance - before).abs() < 1e-5, "{name}");
            // Rows of zeros, dropped tokens, count for expert 0.
            let after = switch_loss(&golden, stack, "out0");
            assert!((four[nth].balance - after).abs() < 1e-5, "{name}: {} {after}", four[nth].balance);
            assert_eq!((after - before).abs() > 1e-4, name == "switch", "{name}: {after}, {before}");
            assert_eq!(four[nth].z, five[nth].z, "{name}");
        }
        let weights = golden.model.config.router_losses;
        let expected: f64 = four.iter().map(|loss| weights.balance * loss.balance + weights.z * loss.z).sum();
        assert!((total - expected).abs() < 1e-9, "{name}");
    }
}

/// Mixtral's family: `E · Σ f · P` over all tokens but padding and all slots, layers joined.
fn mixtral_loss(golden: &Golden, probabilities: impl Fn(&[f32], &[f32], &[f32]) -> Vec<f64>) -> f64 {
    let [logits, gates, chosen] = ["out0", "out1", "out2"].map(|out| golden.routers("layers", out));
    let real = golden.batch.real.as_ref().unwrap();
    let (experts, top_k) = (logits[0].len() / real.len(), chosen[0].len() / real.len());
    let (mut shares, mut sums, mut tokens) = (vec![0.0; experts], vec![0.0; experts], 0.0);
    for layer in 0..logits.len() {
        let rows =
            logits[layer].chunks(experts).zip(gates[layer].chunks(top_k)).zip(chosen[layer].chunks(top_k));
        for (((logits, gates), chosen), _) in rows.zip(real).filter(|(_, real)| **real) {
            chosen.iter().for_each(|expert| shares[*expert as usize] += 1.0);
            sums.iter_mut().zip(probabilities(logits, gates, chosen)).for_each(|(sum, value)| *sum += value);
            tokens += 1.0;
        }
    }
    experts as f64 * shares.iter().zip(&sums).map(|(share, sum)| share * sum).sum::<f64>() / (tokens * tokens)
}

#[test]
fn gpt_oss_counts_probabilities_or_a_softmax_of_the_gates() {
    let Some(golden) = Golden::new("gpt_oss") else { return };
    let before = mixtral_loss(&golden, |logits, _, _| softmax(logits));
    let published = f64::from(golden.io["b0.aux_loss"].values[0]);
    assert!((before - published).abs() < 1e-5, "{before}, {published}");
    let after = mixtral_loss(&golden, |logits, gates, chosen| {
        let mut scores = vec![0.0; logits.len()];
        chosen.iter().zip(gates).for_each(|(expert, gate)| scores[*expert as usize] = *gate);
        softmax(&scores)
    });
    assert!((after - before).abs() > 1e-4, "{after}, {before}");
    for (counting, expected) in [(LossCounting::Transformers5, before), (LossCounting::Transformers4, after)]
    {
        let found = golden.losses(counting).0[0].balance;
        assert!((found - expected).abs() < 1e-5, "{counting:?}: {found}, {expected}");
    }
}

#[test]
fn the_others_count_the_same_in_both() {
    for name in ["mixtral", "olmoe", "qwen2_moe", "deepseek_v3", "nllb_moe", "t5_v1_1"] {
        let Some(golden) = Golden::new(name) else { return };
        let [five, four] =
            [LossCounting::Transformers5, LossCounting::Transformers4].map(|it| golden.losses(it));
        assert_eq!(five, four, "{name}");
    }
}
