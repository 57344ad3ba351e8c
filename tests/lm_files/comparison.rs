//! A quantised model beside its original, counted by hand.

use std::collections::BTreeSet;

use mixlet_core::nn::IGNORED;
use mixlet_runtime::models::compare::compare;
use mixlet_runtime::models::forward::{Side, Trace};
use mixlet_runtime::models::quantize::Only;
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::{Batch, Model};

use crate::common::golden_models::MODELS;
use crate::folder::{Folder, read};

/// The logarithms of a model's probabilities of all labels.
fn log_likelihoods(model: &Model, batch: &Batch) -> Vec<f64> {
    let logits = model.logits(batch, &mut ()).unwrap();
    let labels = batch.labels.as_ref().unwrap();
    let tokens = labels.len() / batch.sequences;
    let mut out = Vec::new();
    for (place, label) in labels.iter().enumerate() {
        // A decoder alone says at a token what the next one is.
        let from = match (&model.config.encoder, place % tokens) {
            (Some(_), _) => place,
            (None, 0) => continue,
            (None, _) => place - 1,
        };
        if *label != IGNORED {
            let row = &logits[from * model.config.vocab..(from + 1) * model.config.vocab];
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            out.push(f64::from(row[*label as usize]) - sum.ln());
        }
    }
    out
}

/// For each mixture and token that counts, the experts.
fn choices(model: &Model, batch: &Batch) -> Vec<BTreeSet<u32>> {
    let mut trace = Trace::default();
    model.logits(batch, &mut trace).unwrap();
    let mut out = Vec::new();
    for mixture in &trace.mixtures {
        let tokens = mixture.input.len() / model.config.model_dim;
        for (token, experts) in mixture.chosen.chunks(mixture.chosen.len() / tokens).enumerate() {
            let counts = match (mixture.side, model.config.encoder.is_some()) {
                (Side::Decoder, true) => batch.labels.as_ref().unwrap()[token] != IGNORED,
                _ => batch.real.as_ref().unwrap()[token],
            };
            if counts {
                out.push(experts.iter().copied().collect());
            }
        }
    }
    out
}

#[test]
fn perplexity_and_agreement_are_what_they_say() {
    for name in MODELS {
        let Some(folder) = Folder::new(name) else { return };
        let (batches, golden) = (folder.batches(), read(&folder.golden));
        folder.quantize("narrow", Narrow::Int4, Only::Linear);
        let narrow = read(&folder.path("narrow"));
        let found = compare(&golden, &narrow, &batches).unwrap();

        let perplexity = |model: &Model| {
            let all: Vec<f64> = batches.iter().flat_map(|batch| log_likelihoods(model, batch)).collect();
            ((-all.iter().sum::<f64>() / all.len() as f64).exp(), all.len() as u64)
        };
        let ((original, labels), (other, _)) = (perplexity(&golden), perplexity(&narrow));
        assert_eq!(found.labels, labels, "{name}");
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * b.abs(), "{name}: {a}, {b}");
        close(found.original_perplexity, original);
        close(found.perplexity, other);
        assert!((found.change - (other - original) / original).abs() < 1e-6, "{name}");

        let pairs: Vec<_> = batches
            .iter()
            .flat_map(|batch| choices(&golden, batch).into_iter().zip(choices(&narrow, batch)))
            .collect();
        let Some(routing) = found.routing else {
            assert!(pairs.is_empty() && name.starts_with("t5"), "{name}");
            continue;
        };
        let count = pairs.len() as f64;
        let equal = pairs.iter().filter(|(a, b)| a == b).count() as f64;
        let overlap: f64 = pairs.iter().map(|(a, b)| a.intersection(b).count() as f64 / a.len() as f64).sum();
        assert_eq!(routing.choices, pairs.len() as u64, "{name}");
        close(routing.equal, equal / count);
        close(routing.overlap, overlap / count);
        assert!(equal < count, "{name}: four bits change some choice");
    }
}

#[test]
fn a_model_agrees_with_itself_and_nearly_with_one_of_quantised_experts() {
    for name in MODELS {
        let Some(folder) = Folder::new(name) else { return };
        let (batches, golden) = (folder.batches(), read(&folder.golden));
        let same = compare(&golden, &golden, &batches).unwrap();
        assert_eq!((same.change, same.perplexity), (0.0, same.original_perplexity), "{name}");
        assert!(same.routing.is_none_or(|routing| (routing.equal, routing.overlap) == (1.0, 1.0)), "{name}");
        if name.starts_with("t5") {
            continue;
        }
        for (weights, most) in [(Narrow::Int8, 0.01), (Narrow::Int4, 0.05)] {
            folder.quantize(&format!("{weights:?}"), weights, Only::Experts);
            let found = compare(&golden, &read(&folder.path(&format!("{weights:?}"))), &batches).unwrap();
            println!("{name}, {weights:?}: {found:?}");
            assert!(found.change.abs() < most && found.change != 0.0, "{name}, {weights:?}: {found:?}");
        }
    }
}

#[test]
fn a_decoder_predicts_its_own_ids_where_there_are_no_labels() {
    let Some(folder) = Folder::new("olmoe") else { return };
    let (model, batch) = (read(&folder.golden), folder.batches().remove(0));
    let without = Batch { labels: None, ..batch.clone() };
    assert_eq!(compare(&model, &model, &[without]).unwrap(), compare(&model, &model, &[batch]).unwrap());
}
