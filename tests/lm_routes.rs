//! Routes written down and taken again: the same bits, across formats, and refused where they do not belong.

mod common;

use std::path::PathBuf;

use common::golden_models::{self, MODELS};
use common::shared;
use common::tensor_files::{self, RawTensor};
use mixlet_core::moe::{ByPhase, CapacityRule, Policy, Priority, SoftmaxOver};
use mixlet_runtime::models::checkpoint::write::SHARD_BYTES;
use mixlet_runtime::models::config::{Block, Stack};
use mixlet_runtime::models::forward::{Keep, Session, Side, Tokens, Trace};
use mixlet_runtime::models::generate::Generation;
use mixlet_runtime::models::quantize::{Only, Quantisation, quantize};
use mixlet_runtime::models::routes::{Fingerprint, Place, Replay, Routes, RoutesWatch};
use mixlet_runtime::models::tensor::Narrow;
use mixlet_runtime::models::{Batch, Model, Reading};

/// A golden model, its folder, and what transformers was given.
fn golden(name: &str) -> Option<(Model, PathBuf, Batch)> {
    let folder = shared::find(&format!("golden/hf/{name}"))?;
    let batch = golden_models::batch(&golden_models::vectors(&folder), "b0");
    Some((Model::import(&folder).unwrap().model, folder, batch))
}

fn record(model: &Model, batch: &Batch) -> (Vec<f32>, Routes) {
    let mut watch = RoutesWatch::new(model, batch.sequences);
    let logits = model.logits(batch, &mut watch).unwrap();
    (logits, watch.finish().unwrap())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Replays routes and asks for the very same logits and routes.
#[track_caller]
fn replays(name: &str, model: &Model, batch: &Batch) {
    let (logits, routes) = record(model, batch);
    routes.check(batch.reading(&model.config)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.safetensors");
    routes.write(&path).unwrap();
    let read = Routes::read(&path, model).unwrap();
    assert_eq!(read, routes, "{name}");

    let mut watch = (RoutesWatch::new(model, batch.sequences), Replay::new(read));
    let again = model.logits(batch, &mut watch).unwrap();
    assert_eq!(bits(&again), bits(&logits), "{name}");
    assert_eq!(watch.0.finish().unwrap(), routes, "{name}");
    let agreement = watch.1.agreement().unwrap();
    assert_eq!((agreement.equal, agreement.overlap), (1.0, 1.0), "{name}");
}

#[test]
fn a_model_replays_its_own_routes_to_the_same_bits() {
    for name in MODELS {
        let Some((model, _, batch)) = golden(name) else { return };
        if name.starts_with("t5") {
            let mut watch = RoutesWatch::new(&model, batch.sequences);
            model.logits(&batch, &mut watch).unwrap();
            let message = "the model has no experts, so there are no choices to record";
            assert_eq!(watch.finish().unwrap_err().to_string(), message);
            continue;
        }
        replays(name, &model, &batch);
        let (_, routes) = record(&model, &batch);
        let drops = routes.mixtures.values().flatten().flat_map(|choices| &choices.slots);
        let drops = drops.filter(|slot| slot.place == Place::Dropped).count();
        assert_eq!(drops > 0, ["switch", "nllb_moe"].contains(&name), "{name}: {drops}");
    }
}

fn change_routers(stack: &mut Stack, change: impl Fn(&mut mixlet_core::moe::RouterConfig)) {
    for block in stack.layers.iter_mut().flat_map(|layer| &mut layer.blocks) {
        if let Block::Experts(experts) = block {
            change(&mut experts.router);
        }
    }
}

/// Tokens have from none to several slots.
#[test]
fn an_encoder_whose_experts_choose_is_replayed() {
    let Some((mut model, _, batch)) = golden("switch") else { return };
    change_routers(model.config.encoder.as_mut().unwrap(), |router| {
        router.policy = Policy::ExpertChoice { softmax: SoftmaxOver::Experts };
        router.capacity = CapacityRule::ExpertChoice(ByPhase::both(1.5));
    });
    replays("experts choose", &model, &batch);
    let (_, routes) = record(&model, &batch);
    let encoder = routes.mixtures.iter().filter(|((side, _), _)| *side == Side::Encoder);
    let counts: Vec<u32> = encoder.flat_map(|(_, all)| all).flat_map(|it| it.counts.clone()).collect();
    assert!(counts.contains(&0) && counts.iter().any(|count| *count > 1), "{counts:?}");
}

#[test]
fn routes_of_a_text_that_was_written_token_by_token_are_those_of_reading_it_at_once() {
    for name in ["mixtral", "olmoe", "qwen2_moe", "gpt_oss", "deepseek_v3"] {
        let Some((model, ..)) = golden(name) else { return };
        let ids: Vec<u32> = (0..2 * 20).map(|nth| nth * 7919 % 93 + 3).collect();
        let batch = Batch { sequences: 2, ids: ids.clone(), ..Batch::default() };
        let (logits, at_once) = record(&model, &batch);

        let mut watch = RoutesWatch::new(&model, 2);
        let mut session = Session::new(&model, 2, 20).unwrap();
        let mut start = 0;
        for run in [11, 1, 1, 1, 6] {
            let ids: Vec<u32> = ids.chunks(20).flat_map(|row| row[start..start + run].to_vec()).collect();
            session.decode(Tokens { ids: &ids, real: None }, &mut watch).unwrap();
            start += run;
        }
        let written = watch.finish().unwrap();
        let experts = |routes: &Routes| -> Vec<u32> {
            routes
                .mixtures
                .values()
                .flatten()
                .flat_map(|it| it.slots.iter().map(|slot| slot.expert))
                .collect()
        };
        assert_eq!(experts(&written), experts(&at_once), "{name}");
        // A trainer reads at once what was written in parts.
        let mut replay = Replay::new(written);
        let again = model.logits(&batch, &mut replay).unwrap();
        let worst = again.iter().zip(&logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5, "{name}: {worst}");
    }
}

#[test]
fn a_model_in_fewer_bits_takes_the_routes_of_its_original() {
    for name in ["mixtral", "olmoe", "switch", "nllb_moe", "deepseek_v3"] {
        let Some((model, folder, batch)) = golden(name) else { return };
        let out = tempfile::tempdir().unwrap();
        let how = Quantisation { weights: Narrow::Int8, only: Only::Linear };
        quantize(&folder, &out.path().join("int8"), how, SHARD_BYTES, &mut |_, _| {}).unwrap();
        let narrow = Model::import(&out.path().join("int8")).unwrap().model;
        assert_eq!(Fingerprint::of(&narrow), Fingerprint::of(&model), "{name}");

        let (_, routes) = record(&model, &batch);
        let trace = Trace { keep: Keep::Routing, ..Trace::default() };
        let mut watch = (trace, (RoutesWatch::new(&narrow, batch.sequences), Replay::new(routes.clone())));
        narrow.logits(&batch, &mut watch).unwrap();
        let (trace, (taken, replay)) = watch;
        let choices = |routes: &Routes| -> Vec<(u32, Place)> {
            let slots = routes.mixtures.values().flatten().flat_map(|choices| &choices.slots);
            slots.map(|slot| (slot.expert, slot.place)).collect()
        };
        assert_eq!(choices(&taken.finish().unwrap()), choices(&routes), "{name}");

        // What it would have chosen by itself, from its own logits under the replayed history.
        let agreement = replay.agreement().unwrap();
        println!("{name}: {agreement:?}");
        if ["mixtral", "olmoe"].contains(&name) {
            let mut equal = (0, 0);
            for mixture in &trace.mixtures {
                let top_k = mixture.chosen.len() * mixture.experts / mixture.logits.len();
                let rows = mixture.logits.chunks(mixture.experts).zip(mixture.chosen.chunks(top_k));
                for (logits, chosen) in rows {
                    let mut best: Vec<usize> = (0..logits.len()).collect();
                    best.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
                    let same = best[..top_k].iter().all(|expert| chosen.contains(&(*expert as u32)));
                    equal = (equal.0 + u64::from(same), equal.1 + 1);
                }
            }
            assert_eq!(agreement.choices, equal.1, "{name}");
            assert!((agreement.equal - equal.0 as f64 / equal.1 as f64).abs() < 1e-12, "{name}");
        }
        assert!((0.5..=1.0).contains(&agreement.equal) && agreement.overlap >= agreement.equal, "{name}");
    }
}

#[test]
fn other_routes_are_obeyed() {
    let Some((model, _, batch)) = golden("mixtral") else { return };
    let (logits, mut routes) = record(&model, &batch);
    for slot in routes.mixtures.values_mut().flatten().flat_map(|choices| &mut choices.slots) {
        slot.expert = (slot.expert + 1) % 4;
    }
    let mut watch = (Trace::default(), Replay::new(routes.clone()));
    let again = model.logits(&batch, &mut watch).unwrap();
    assert_ne!(bits(&again), bits(&logits));
    let expected =
        routes.mixtures.values().flatten().flat_map(|choices| &choices.slots).map(|slot| slot.expert);
    let chosen: Vec<u32> = watch.0.mixtures.iter().flat_map(|mixture| mixture.chosen.clone()).collect();
    assert_eq!(chosen, expected.collect::<Vec<_>>());
    assert!(watch.1.agreement().unwrap().equal < 0.5);
}

#[test]
fn routes_that_do_not_belong_are_refused() {
    let Some((model, _, batch)) = golden("olmoe") else { return };
    let Some((other, ..)) = golden("mixtral") else { return };
    let (_, routes) = record(&model, &batch);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.safetensors");
    routes.write(&path).unwrap();
    let message = |model: &Model| {
        let error = Routes::read(&path, model).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    };
    assert_eq!(message(&other), "routes of another model, expected those of a model of these sizes");

    // Damaged parts, one at a time.
    let (header, _) = tensor_files::split(&std::fs::read(&path).unwrap());
    let metadata = header["__metadata__"].clone();
    let good = tensor_files::read(&path);
    let shape = good["decoder.0.experts"].shape.clone();
    let raw = |dtype: &str, shape: &[usize], bytes: Vec<u8>| RawTensor {
        dtype: dtype.into(),
        shape: shape.to_vec(),
        bytes,
    };
    let bytes = |name: &str| good[name].bytes.clone();
    let changed = |name: &str, place: usize, value: u8| {
        let mut bytes = bytes(name);
        bytes[place] = value;
        RawTensor { bytes, ..good[name].clone() }
    };
    let (experts, gates, places) = ("decoder.0.experts", "decoder.0.gates", "decoder.0.places");
    let flat: usize = shape.iter().product();
    let cases = [
        (
            experts,
            Some(changed(experts, 0, 200)),
            "`decoder.0.experts` holds the id 200, expected 0 to 7".to_owned(),
        ),
        (
            places,
            Some(changed(places, 3, 9)),
            "`decoder.0.places` holds the id 9, expected 0 to 3".to_owned(),
        ),
        (gates, None, "the tensor `decoder.0.gates` is absent; the nearest is `decoder.1.gates`".to_owned()),
        (
            experts,
            Some(raw("F32", &shape, bytes(experts))),
            "`decoder.0.experts` holds `F32`, expected I32".to_owned(),
        ),
        (
            gates,
            Some(raw("F32", &[flat], bytes(gates))),
            format!("`decoder.0.gates` has the shape [{flat}], expected {shape:?}"),
        ),
        (
            experts,
            Some(raw("I32", &[flat], bytes(experts))),
            format!("`decoder.0.experts` has the shape [{flat}], expected [1, 1, 1]"),
        ),
        (
            experts,
            Some(raw("I32", &[1 << 40, 1 << 20, 0], Vec::new())),
            format!(
                "`decoder.0.experts` has the shape [{}, {}, 0], expected [1, 1, 1]",
                1_u64 << 40,
                1 << 20
            ),
        ),
    ];
    for (name, tensor, expected) in cases {
        let mut tensors = good.clone();
        tensors.remove(name);
        tensors.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        tensor_files::write(&path, &tensors);
        let not_ours = "no record of routes, expected a file written with --record";
        assert_eq!(message(&model), not_ours);
        let bytes = std::fs::read(&path).unwrap();
        let (mut header, body) = tensor_files::split(&bytes);
        header.insert("__metadata__".into(), metadata.clone());
        std::fs::write(&path, tensor_files::join(&header, body)).unwrap();
        assert_eq!(message(&model), expected);
    }
}

#[test]
fn routes_of_other_lengths_are_refused() {
    let Some((model, _, batch)) = golden("switch") else { return };
    let (_, routes) = record(&model, &batch);
    let reading = batch.reading(&model.config);
    let Reading { sequences, encoder, decoder } = reading;
    let cases = [
        (Reading { sequences: sequences + 1, ..reading }, "routes of 2 sequences, expected 3; record"),
        (Reading { encoder: encoder - 1, ..reading }, "tokens of a sequence in the encoder, expected"),
        (Reading { decoder: decoder.map(|it| it + 1), ..reading }, "tokens of a sequence in the decoder"),
    ];
    for (reading, message) in cases {
        let error = routes.check(reading).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(routes.check(Reading { decoder: None, ..reading }), Ok(()));

    // A run that goes on beyond the record.
    let mut replay = Replay::new(routes);
    model.logits(&batch, &mut replay).unwrap();
    let error = model.logits(&batch, &mut replay).unwrap_err().to_string();
    assert!(error.ends_with("shorten the input or ask for fewer new ones"), "{error}");
    // Sequences whose number changes cannot be recorded: samples of a prompt, and beams.
    let Some((model, ..)) = golden("mixtral") else { return };
    let ids: Vec<u32> = (3..9).collect();
    for how in
        [Generation { beams: 3, ..Generation::default() }, Generation { samples: 2, ..Generation::default() }]
    {
        let mut watch = RoutesWatch::new(&model, 1);
        model.generate(Tokens { ids: &ids, real: None }, 1, how, &mut watch).unwrap();
        let error = watch.finish().unwrap_err().to_string();
        assert!(error.starts_with("sequences to record: ") && error.ends_with(", expected 1"), "{error}");
    }
    let (_, routes) = record(&model, &Batch { sequences: 1, ids: ids.clone(), ..Batch::default() });
    let twice = Batch { sequences: 2, ids: ids.repeat(2), ..Batch::default() };
    let error = model.logits(&twice, &mut Replay::new(routes)).unwrap_err().to_string();
    assert_eq!(error, "recorded sequences: 1, expected 2");
}

#[test]
fn a_decoder_that_looks_ahead_is_refused_until_tokens_choose() {
    type Change = fn(&mut mixlet_core::moe::RouterConfig);
    let experts_choose: Change = |router| {
        router.policy = Policy::ExpertChoice { softmax: SoftmaxOver::Experts };
        router.capacity = CapacityRule::ExpertChoice(ByPhase::both(2.0));
    };
    let best_first: Change = |router| {
        router.capacity = CapacityRule::Fixed(ByPhase::both(2));
        router.priority = Priority::Batch;
    };
    let by_gate: Change = |router| {
        router.capacity = CapacityRule::Fixed(ByPhase::both(2));
        router.priority = Priority::Gates;
    };
    for (change, how) in [
        (experts_choose, "experts choose their tokens"),
        (best_first, "places do not go by the order of tokens"),
        (by_gate, "places do not go by the order of tokens"),
    ] {
        let Some((mut model, ..)) = golden("olmoe") else { return };
        change_routers(&mut model.config.decoder, change);
        let ids: Vec<u32> = (0..12).map(|nth| nth * 31 % 93 + 3).collect();
        let batch = |ids: &[u32]| Batch { sequences: 1, ids: ids.to_vec(), ..Batch::default() };
        let error = model.logits(&batch(&ids), &mut ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("in layer 0 of the decoder {how}, which depends")), "{error}");
        let error =
            model.generate(batch(&ids).tokens(), 1, Default::default(), &mut ()).unwrap_err().to_string();
        assert!(error.contains(how), "{error}");

        model.config.choose_by_token();
        let logits = model.logits(&batch(&ids), &mut ()).unwrap();
        let vocab = model.config.vocab;
        if how.starts_with("experts") {
            // Another last token changes nothing before it.
            let mut others = ids.clone();
            *others.last_mut().unwrap() += 1;
            let other = model.logits(&batch(&others), &mut ()).unwrap();
            assert_eq!(bits(&logits[..11 * vocab]), bits(&other[..11 * vocab]));
            assert_ne!(bits(&logits[11 * vocab..]), bits(&other[11 * vocab..]));
        }
    }
    // Where nothing is dropped the order of places is of no importance.
    let Some((mut model, ..)) = golden("olmoe") else { return };
    change_routers(&mut model.config.decoder, |router| router.priority = Priority::Batch);
    assert_eq!(model.config.check_causal(), Ok(()));
}
