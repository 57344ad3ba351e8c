//! A model of many small tensors: names and places of one file's tensors are more than 64 KiB.

use std::fs;

use mixlet_runtime::models::checkpoint::write::SHARD_BYTES;
use mixlet_runtime::models::quantize::{Only, Quantisation, quantize};
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::{Batch, Model, export};
use serde_json::json;

use crate::common::small_models::{mixtral, write_model};
use crate::folder::raw;

/// What a text with a width can be padded to at most, which is how a header was once made even.
const WIDEST: u64 = u16::MAX as u64;

#[test]
fn headers_beyond_64_kib_are_written_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut config = mixtral(96);
    (config["num_local_experts"], config["num_hidden_layers"]) = (json!(72), json!(3));
    fs::create_dir(path("model")).unwrap();
    write_model(&path("model"), &config, 5);

    let logits = |name: &str| {
        let batch = Batch { sequences: 1, ids: (3..19).collect(), ..Batch::default() };
        Model::import(&path(name)).unwrap().model.logits(&batch, &mut ()).unwrap()
    };
    let header = |name: &str| {
        let bytes = fs::read(path(name).join("model.safetensors")).unwrap();
        u64::from_le_bytes(bytes[..8].try_into().unwrap())
    };
    export::import(&path("model"), &path("own"), SHARD_BYTES, &mut |_, _| {}).unwrap();
    export::export(&path("own"), &path("back"), SHARD_BYTES, &mut |_, _| {}).unwrap();
    for name in ["own", "back"] {
        assert!(header(name) > WIDEST && header(name).is_multiple_of(8), "{name}: {}", header(name));
        assert_eq!(raw(&path(name)), raw(&path("model")), "{name}");
        assert_eq!(logits(name), logits("model"), "{name}");
    }
    for weights in Narrow::ALL {
        let name = format!("{weights:?}");
        let how = Quantisation { weights, only: Only::Experts };
        let quantised = quantize(&path("model"), &path(&name), how, SHARD_BYTES, &mut |_, _| {}).unwrap();
        assert!(header(&name) > WIDEST, "{name}: {}", header(&name));
        assert_eq!(quantised.int8 + quantised.int4, 3 * 72 * 3, "{name}");
        let (found, expected) = (logits(&name), logits("model"));
        assert!(found.iter().all(|logit| logit.is_finite()) && found != expected, "{name}");
    }
}
