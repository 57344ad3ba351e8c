//! Weights in fewer bits: what becomes of each, and that they run in place as their definition says.

use std::path::Path;

use mixlet_core::linear::Operands;
use mixlet_runtime::models::Model;
use mixlet_runtime::models::forward::Tokens;
use mixlet_runtime::models::generate::{Generated, Generation};
use mixlet_runtime::models::quantize::Only;
use mixlet_runtime::models::tensor::Narrow;

use crate::common::golden_models::MODELS;
use crate::folder::{Folder, raw};
use crate::naive::{floats, widened};

/// How far logits may lie from those of the same numbers in `f32`, which are added in another order.
const LOGITS: f32 = 5e-5;

/// Every model in every way that there is for it.
fn each(check: impl Fn(&str, &Folder, Narrow, Only)) {
    for name in MODELS {
        for weights in Narrow::ALL {
            for only in [Only::Experts, Only::Linear, Only::All] {
                let Some(folder) = Folder::new(name) else { return };
                if only != Only::Experts || !name.starts_with("t5") {
                    check(&format!("{name}, {weights:?}, {only:?}"), &folder, weights, only);
                }
            }
        }
    }
}

#[test]
fn only_chosen_matrices_change_and_by_no_more_than_the_format_allows() {
    each(|case, folder, weights, only| {
        let quantised = folder.quantize("narrow", weights, only);
        let (own, narrow) = (raw(&folder.import(&folder.golden, "own")), raw(&folder.path("narrow")));
        let mut counts = [0, 0];
        for (name, tensor) in &own {
            let is_expert = name.contains("experts.") && !name.contains("shared_experts.");
            let stays = [
                "norm",
                "embed",
                "shared.weight",
                "router",
                "gate.",
                "relative",
                "shared_expert_gate",
                "sinks",
            ];
            let is_chosen = match only {
                Only::Experts => is_expert && tensor.shape.len() == 2,
                Only::Linear | Only::All => {
                    tensor.shape.len() == 2 && !stays.iter().any(|part| name.contains(part))
                }
            };
            let Some(wide) = widened(&narrow, name) else {
                assert!(!is_chosen, "{case}: {name}");
                assert_eq!(&narrow[name], tensor, "{case}: {name}");
                continue;
            };
            assert!(is_chosen && wide.shape == tensor.shape && !narrow.contains_key(name), "{case}: {name}");
            let is_int4 = narrow.contains_key(&format!("{name}.int4"));
            assert_eq!(
                is_int4,
                weights == Narrow::Int4
                    && tensor.shape[1] % 32 == 0
                    && (only == Only::All || !name.contains("lm_head")),
                "{case}: {name}"
            );
            counts[usize::from(is_int4)] += 1;
            // Half a step; in int4 a whole one where the largest weight of a group has the other sign.
            let steps = if is_int4 { 1.01 } else { 0.501 };
            for ((weight, wide), scale) in floats(tensor).iter().zip(&wide.weights).zip(&wide.scales) {
                assert!((weight - wide).abs() <= steps * scale.abs(), "{case}: {name}: {weight}, {wide}");
            }
        }
        assert_eq!(counts, [quantised.int8, quantised.int4], "{case}");
        assert_eq!(narrow.len(), own.len() + quantised.int8 + quantised.int4, "{case}");
        let bytes = |tensors: &crate::common::tensor_files::RawTensors| {
            tensors.values().map(|tensor| tensor.bytes.len() as u64).sum::<u64>()
        };
        assert_eq!([quantised.converted.bytes_before, quantised.converted.bytes], [&own, &narrow].map(bytes));
    });
}

#[test]
fn a_quantised_model_runs_as_its_numbers_in_f32() {
    each(|case, folder, weights, only| {
        folder.quantize("narrow", weights, only);
        let narrow = folder.path("narrow");
        let wide = folder.export(&narrow, "wide");
        let own = folder.import(&wide, "own");
        for (name, tensor) in &raw(&own) {
            if let Some(expected) = widened(&raw(&narrow), name) {
                assert_eq!(
                    (&floats(tensor), &tensor.shape),
                    (&expected.weights, &expected.shape),
                    "{case}: {name}"
                );
            }
        }
        let (found, expected) = (folder.logits(&narrow), folder.logits(&wide));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= LOGITS && found.len() == expected.len(), "{case}: {worst}");
        let exact = folder.logits(&folder.golden);
        assert!(
            found.iter().zip(&exact).any(|(a, b)| (a - b).abs() > 10.0 * LOGITS),
            "{case}: nothing was rounded"
        );
    });
}

#[test]
fn files_do_not_depend_on_threads() {
    let Some(folder) = Folder::new("mixtral") else { return };
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| folder.quantize(&format!("of{threads}"), Narrow::Int4, Only::Linear));
    }
    assert_eq!(raw(&folder.path("of1")), raw(&folder.path("of3")));
}

#[test]
fn exact_operands_write_what_the_numbers_in_f32_do() {
    let Some(folder) = Folder::new("mixtral") else { return };
    folder.quantize("narrow", Narrow::Int8, Only::Linear);
    let wide = folder.export(&folder.path("narrow"), "wide");
    let ids: Vec<u32> = (3..9).collect();
    let write = |path: &Path, operands| {
        let model = Model::import(path).unwrap().model;
        let how = Generation { beams: 3, operands, ..Generation::default() };
        model.generate(Tokens { ids: &ids, real: None }, 1, how, &mut ()).unwrap()
    };
    let [exact, rounded] =
        [Operands::Exact, Operands::Rounded].map(|operands| write(&folder.path("narrow"), operands));
    let expected = write(&wide, Operands::Rounded);
    assert_eq!(exact.sequences, expected.sequences);
    let off = |other: &Generated| (other.scores[0] - expected.scores[0]).abs();
    assert!(off(&exact) < 1e-5 && off(&rounded) > 1e-4, "{} {}", off(&exact), off(&rounded));
}
