//! Quantised files that lie, and what cannot be quantised.

use std::fs;

use mixlet_runtime::error::{Error, LmProblem};
use mixlet_runtime::models::checkpoint::write::SHARD_BYTES;
use mixlet_runtime::models::compare::compare;
use mixlet_runtime::models::quantize::{Only, Quantisation, quantize};
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::{Batch, Model};

use crate::common::tensor_files::{RawTensor, RawTensors};
use crate::folder::{Folder, raw, read};

const EXPERT: &str = "model.layers.1.block_sparse_moe.experts.2.w1.weight";

fn renamed(tensors: &mut RawTensors, from: &str, to: &str) {
    let tensor = tensors.remove(&format!("{EXPERT}.{from}")).unwrap();
    tensors.insert(format!("{EXPERT}.{to}"), tensor);
}

fn change(tensors: &mut RawTensors, suffix: &str, change: impl Fn(&mut RawTensor)) {
    change(tensors.get_mut(&format!("{EXPERT}.{suffix}")).unwrap());
}

#[test]
fn quantised_files_that_lie_are_refused_by_name() {
    type Change = fn(&mut RawTensors);
    let int8: [(Change, &str); 7] = [
        (
            |tensors| drop(tensors.remove(&format!("{EXPERT}.scales"))),
            "w1.weight.scales` is absent; the nearest is `",
        ),
        (|tensors| drop(tensors.remove(&format!("{EXPERT}.int8"))), "w1.weight` is absent; the nearest is `"),
        (
            |tensors| {
                change(tensors, "scales", |scales| {
                    scales.shape = vec![20];
                    scales.bytes.truncate(80);
                });
            },
            "w1.weight.scales` has the shape [20], expected [40]",
        ),
        (
            |tensors| change(tensors, "scales", |scales| scales.shape = vec![40, 1]),
            "has the shape [40, 1], expected [40]",
        ),
        (
            |tensors| change(tensors, "scales", |scales| scales.dtype = "I32".into()),
            "w1.weight.scales` holds `I32`, expected F32",
        ),
        (
            |tensors| change(tensors, "int8", |values| values.dtype = "U8".into()),
            "w1.weight.int8` holds `U8`, expected I8",
        ),
        (
            |tensors| renamed(tensors, "int8", "int4"),
            "w1.weight.int4` has the shape [40, 32], expected [40, 16]",
        ),
    ];
    let int4: [(Change, &str); 3] = [
        (
            |tensors| change(tensors, "int4", |values| values.dtype = "I8".into()),
            "w1.weight.int4` holds `I8`, expected U8",
        ),
        (
            |tensors| change(tensors, "scales", |scales| scales.dtype = "BF16".into()),
            "w1.weight.scales` holds `BF16`, expected F16",
        ),
        (
            |tensors| change(tensors, "scales", |scales| scales.shape = vec![20, 2]),
            "w1.weight.scales` has the shape [20, 2], expected [40, 1]",
        ),
    ];
    let Some(folder) = Folder::new("mixtral") else { return };
    for (format, cases) in [(Narrow::Int8, &int8[..]), (Narrow::Int4, &int4)] {
        folder.quantize(&format!("{format:?}"), format, Only::Experts);
        let good = raw(&folder.path(&format!("{format:?}")));
        for (nth, (change, message)) in cases.iter().enumerate() {
            let mut tensors = good.clone();
            change(&mut tensors);
            let changed = folder.changed(&format!("{format:?}{nth}"), &tensors);
            let error = Model::import(&changed).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn rows_without_whole_groups_are_not_int4() {
    let Some(folder) = Folder::new("mixtral") else { return };
    folder.quantize("int8", Narrow::Int8, Only::Experts);
    let mut tensors = raw(&folder.path("int8"));
    let name = EXPERT.replace("w1", "w2");
    let mut values = tensors.remove(&format!("{name}.int8")).unwrap();
    // [32, 40] weights in 32 rows of 20 bytes.
    (values.dtype, values.shape) = ("U8".into(), vec![32, 20]);
    values.bytes.truncate(640);
    tensors.insert(format!("{name}.int4"), values);
    let error = Model::import(&folder.changed("changed", &tensors)).unwrap_err().to_string();
    assert!(error.ends_with("w2.weight.int4` has 40 inputs, expected a multiple of 32"), "{error}");
}

#[test]
fn plain_weights_win_over_others_of_the_same_name() {
    let Some(folder) = Folder::new("mixtral") else { return };
    folder.quantize("narrow", Narrow::Int8, Only::Linear);
    let mut tensors = raw(&folder.golden);
    let narrow = raw(&folder.path("narrow")).into_iter().filter(|(name, _)| name.starts_with(EXPERT));
    tensors.extend(narrow);
    let both = folder.changed("both", &tensors);
    assert_eq!(Model::import(&both).unwrap().unused, [format!("{EXPERT}.int8"), format!("{EXPERT}.scales")]);
    assert_eq!(folder.logits(&both), folder.logits(&folder.golden));
}

#[test]
fn a_quantised_file_cut_anywhere_is_an_error() {
    let Some(folder) = Folder::new("t5_relu_tied") else { return };
    folder.quantize("narrow", Narrow::Int4, Only::Linear);
    let path = folder.path("narrow/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for len in (0..bytes.len()).step_by(499).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = Model::import(&folder.path("narrow")).unwrap_err();
        assert!(matches!(error, Error::Tensor { .. }), "{len} bytes: {error}");
    }
}

#[test]
fn what_cannot_be_quantised_leaves_nothing_behind() {
    let Some(folder) = Folder::new("mixtral") else { return };
    let quantize = |from: &str, weights, only| {
        let how = Quantisation { weights, only };
        quantize(&folder.path(from), &folder.path("out"), how, SHARD_BYTES, &mut |_, _| {}).unwrap_err()
    };
    folder.quantize("narrow", Narrow::Int8, Only::Experts);
    let again = quantize("narrow", Narrow::Int4, Only::Linear);
    assert!(matches!(again, Error::Lm(LmProblem::Quantised)), "{again}");

    for (nth, value) in [f32::NAN, f32::INFINITY].into_iter().enumerate() {
        let mut tensors = raw(&folder.golden);
        let row = &mut tensors.get_mut(EXPERT).unwrap().bytes[4 * 32 * 7..];
        row[8..12].copy_from_slice(&value.to_le_bytes());
        folder.changed(&format!("bad{nth}"), &tensors);
        for weights in Narrow::ALL {
            let error = quantize(&format!("bad{nth}"), weights, Only::Linear).to_string();
            let expected =
                format!("bad{nth}: `{EXPERT}` cannot be stored in fewer bits: a weight of output 7 is ");
            assert!(error.contains(&expected) && error.ends_with("; copy the model again"), "{error}");
        }
    }
    assert_eq!(folder.names(), ["bad0", "bad1", "narrow"]);
}

#[test]
fn models_are_compared_on_something_and_with_their_own_kind() {
    let (Some(mixtral), Some(t5)) = (Folder::new("mixtral"), Folder::new("t5_v1_1")) else { return };
    let (decoder, both) = (read(&mixtral.golden), read(&t5.golden));
    let problem = |a: &Model, b: &Model, batches: &[Batch]| match compare(a, b, batches).unwrap_err() {
        Error::Lm(problem) => problem,
        error => panic!("{error}"),
    };
    assert_eq!(problem(&decoder, &both, &mixtral.batches()), LmProblem::OtherModel);
    assert_eq!(problem(&decoder, &decoder, &[]), LmProblem::NoLabels);
    let one = Batch { sequences: 1, ids: vec![3], ..Batch::default() };
    assert_eq!(problem(&decoder, &decoder, &[one]), LmProblem::NoLabels);
    let unlabelled = Batch { labels: None, ..t5.batches().remove(0) };
    assert_eq!(problem(&both, &both, &[unlabelled]), LmProblem::NoLabels);
}
