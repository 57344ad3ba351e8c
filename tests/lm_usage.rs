//! Figures of how experts are used: those of core for one run, sums over several, and a page.

mod common;
#[path = "common/well_formed.rs"]
mod well_formed;

use common::golden_models::{self, MODELS};
use common::shared;
use mixlet_core::moe::{DROPPED, UNSENT, Usage, usage};
use mixlet_runtime::models::forward::{MixtureSeen, Side, Watch};
use mixlet_runtime::models::usage::{LayerUsage, UsageWatch, marks, page};
use mixlet_runtime::models::{Batch, Model};

/// Load, drops and gates of an expert.
type Counts = (u64, u64, f64);

/// What core says of each mixture of one run, and plain counts of each expert.
#[derive(Default)]
struct Core {
    mixtures: Vec<(Usage, Vec<Counts>)>,
}

impl Watch for Core {
    fn mixture(&mut self, _: Side, _: usize, seen: &MixtureSeen<'_>) {
        let (routing, chosen) = (seen.routed.routing, seen.routed.cache.chosen);
        let shape = seen.routed.cache.shape;
        let real: Vec<bool> =
            routing.slots().map(|slots| slots.clone().any(|slot| chosen[slot] != UNSENT)).collect();
        let figures = usage(shape, &seen.plan, &routing, Some(&real)).unwrap();
        let mut counts = vec![(0, 0, 0.0); shape.experts];
        for ((expert, gate), row) in routing.experts.iter().zip(routing.gates).zip(seen.plan.slot_rows) {
            if *expert == UNSENT {
                continue;
            }
            let count = &mut counts[*expert as usize];
            count.0 += 1;
            count.1 += u64::from(*row == DROPPED);
            count.2 += if *row == DROPPED { 0.0 } else { f64::from(*gate) };
        }
        self.mixtures.push((figures, counts));
    }
}

/// The golden models with their folders, as far as they are there.
fn goldens() -> impl Iterator<Item = (&'static str, Model, Vec<Batch>)> {
    MODELS.into_iter().filter_map(|name| {
        let folder = shared::find(&format!("golden/hf/{name}"))?;
        let io = golden_models::vectors(&folder);
        let batches = ["b0", "b1", "b2"].map(|batch| golden_models::batch(&io, batch)).to_vec();
        Some((name, Model::import(&folder).unwrap().model, batches))
    })
}

fn layers(model: &Model, batches: &[Batch]) -> Vec<LayerUsage> {
    let mut watch = UsageWatch::default();
    for batch in batches {
        model.logits(batch, &mut watch).unwrap();
    }
    watch.layers()
}

#[test]
fn one_run_has_the_figures_of_core() {
    for (name, model, batches) in goldens() {
        let mut core = Core::default();
        model.logits(&batches[0], &mut core).unwrap();
        let layers = layers(&model, &batches[..1]);
        assert_eq!(layers.len(), core.mixtures.len(), "{name}");
        for (layer, (core, counts)) in layers.iter().zip(&core.mixtures) {
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{name}: {a}, {b}");
            assert_eq!((layer.slots, layer.dropped), (core.slots, core.dropped), "{name}");
            assert_eq!(layer.dead_experts, core.dead_experts as usize, "{name}");
            assert_eq!(layer.utilisation.is_some(), core.utilisation.is_some(), "{name}");
            close(layer.utilisation.unwrap_or(0.0), core.utilisation.unwrap_or(0.0));
            close(layer.left_behind, core.left_behind);
            close(layer.load_variation, core.load_variation);
            close(layer.load_entropy, core.load_entropy);
            close(layer.largest_share, core.largest_share);
            close(layer.confidence, core.confidence);
            let all: f64 = counts.iter().map(|(.., gates)| gates).sum();
            for (expert, (load, dropped, gates)) in layer.experts.iter().zip(counts) {
                assert_eq!((expert.load, expert.dropped), (*load, *dropped), "{name}");
                close(expert.gate_share, gates / all);
            }
        }
    }
}

#[test]
fn runs_add_up() {
    for (name, model, batches) in goldens() {
        let apart: Vec<_> = batches.iter().map(|batch| layers(&model, std::slice::from_ref(batch))).collect();
        for (nth, layer) in layers(&model, &batches).iter().enumerate() {
            let parts: Vec<&LayerUsage> = apart.iter().map(|layers| &layers[nth]).collect();
            let sum = |of: fn(&LayerUsage) -> u64| parts.iter().map(|part| of(part)).sum::<u64>();
            assert_eq!(layer.tokens, sum(|part| part.tokens), "{name}");
            assert_eq!(layer.dropped, sum(|part| part.dropped), "{name}");
            for (expert, usage) in layer.experts.iter().enumerate() {
                assert_eq!(usage.load, parts.iter().map(|part| part.experts[expert].load).sum::<u64>());
            }
            let gates: f64 =
                parts.iter().map(|part| part.confidence * (part.slots - part.dropped) as f64).sum();
            let rows = (layer.slots - layer.dropped) as f64;
            assert!((layer.confidence - gates / rows).abs() < 1e-12, "{name}");
            assert!((layer.experts.iter().map(|expert| expert.gate_share).sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn a_heat_map_has_a_line_for_each_layer_and_a_mark_for_each_expert() {
    for (name, model, batches) in goldens() {
        let layers = layers(&model, &batches);
        let text = marks(&layers);
        assert_eq!(text.lines().count(), if layers.is_empty() { 0 } else { layers.len() + 2 }, "{name}");
        for (line, layer) in text.lines().skip(2).zip(&layers) {
            let marks = line.split_whitespace().nth(2).unwrap();
            assert_eq!(marks.chars().count(), layer.experts.len(), "{name}: {line}");
            let none = marks.chars().filter(|mark| *mark == '·').count();
            assert_eq!(none, layer.dead_experts, "{name}: {line}");
        }
        let page = page(&layers, name, "mixlet lm logits").unwrap();
        assert_eq!(well_formed::check(&page), Ok(()), "{name}");
        assert!(layers.is_empty() || page.contains("decoder"), "{name}");
    }
}
