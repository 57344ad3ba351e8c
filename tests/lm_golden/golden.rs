//! One model, its inputs, and what transformers made of them.

use mixlet_core::moe::UNSENT;
use mixlet_runtime::models::forward::{Side, Tokens, Trace, TracedMixture};
use mixlet_runtime::models::generate::Generation;
use mixlet_runtime::models::losses::losses;
use mixlet_runtime::models::{Batch, Model};

use super::common::tensors::{Tensor, Tensors};
use super::common::{golden_models, shared};

/// Logits and hidden states.
const STATES: f32 = 5e-5;
/// One block of experts, and what its router says.
const BLOCKS: f32 = 1e-5;
/// Losses.
const LOSSES: f64 = 1e-5;

pub struct Golden {
    name: String,
    model: Model,
    io: Tensors,
}

impl Golden {
    pub fn read(name: &str) -> Option<Self> {
        let folder = shared::find(&format!("golden/hf/{name}"))?;
        let imported = Model::import(&folder).unwrap();
        assert_eq!(imported.unused, [""; 0], "{name}");
        let io = golden_models::vectors(&folder);
        Some(Self { name: name.to_owned(), model: imported.model, io })
    }

    fn of(&self, key: &str) -> &Tensor {
        self.io.get(key).unwrap_or_else(|| panic!("{}: no {key}", self.name))
    }

    fn batch(&self, name: &str) -> Batch {
        golden_models::batch(&self.io, name)
    }

    #[track_caller]
    fn close(&self, what: &str, found: &[f32], key: &str, tolerance: f32) {
        let expected = &self.of(key).values;
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let finite = found.iter().all(|value| value.is_finite());
        assert!(finite && worst <= tolerance, "{}: {what}: {worst} of {tolerance}", self.name);
    }

    pub fn states_and_logits(&self) {
        for name in ["b0", "b1", "b2"] {
            let mut trace = Trace::default();
            let logits = self.model.logits(&self.batch(name), &mut trace).unwrap();
            if name == "b0" {
                self.states(&trace);
            }
            self.close(name, &logits, &format!("{name}.logits"), STATES);
        }
    }

    fn states(&self, trace: &Trace) {
        let has_encoder = self.model.config.encoder.is_some();
        for side in [Side::Encoder, Side::Decoder] {
            let prefix = match (side, has_encoder) {
                (Side::Encoder, _) => "encoder_",
                (Side::Decoder, true) => "decoder_",
                (Side::Decoder, false) => "",
            };
            let states = trace.states.iter().filter(|(of, _)| *of == side).map(|(_, values)| values);
            for (nth, state) in states.enumerate() {
                let key = format!("b0.{prefix}hidden_states.{nth}");
                self.close(&key, state, &key, STATES);
            }
        }
        let expected = self.io.keys().filter(|key| key.contains("hidden_states")).count();
        assert_eq!(trace.states.len(), expected, "{}", self.name);
    }

    /// Every mixture: what goes in and comes out, and who was chosen.
    pub fn mixtures(&self) {
        let mut trace = Trace::default();
        self.model.logits(&self.batch("b0"), &mut trace).unwrap();
        let blocks = self.io.keys().filter_map(|key| key.strip_prefix("b0.moe.")?.strip_suffix(".out"));
        let blocks: Vec<&str> = blocks.collect();
        assert_eq!(trace.mixtures.len(), blocks.len(), "{}", self.name);
        for mixture in &trace.mixtures {
            let module = blocks.iter().find(|block| is_at(block, mixture)).unwrap();
            self.close(module, &mixture.input, &format!("b0.moe.{module}.in"), BLOCKS);
            self.close(module, &mixture.output, &format!("b0.moe.{module}.out"), BLOCKS);
            self.routing(module, mixture);
        }
    }

    /// The router's own outputs, whose meaning differs by architecture.
    fn routing(&self, module: &str, mixture: &TracedMixture) {
        let prefix = format!("b0.router.{module}.");
        let router = self.io.keys().find_map(|key| key.strip_prefix(&prefix)?.strip_suffix(".out0")).unwrap();
        let out = |nth: usize| format!("{prefix}{router}.out{nth}");
        let experts = mixture.experts;
        let top_k = mixture.chosen.len() * experts / mixture.logits.len();
        if self.io.contains_key(&out(2)) && self.of(&out(2)).shape.last() == Some(&top_k) {
            // Logits, gates, indices.
            self.close(router, &mixture.logits, &out(0), BLOCKS);
            let pairs = |experts: &[u32], gates: &[f32]| -> Vec<(u32, f32)> {
                let rows = experts.chunks(top_k).zip(gates.chunks(top_k));
                rows.flat_map(|(experts, gates)| {
                    let mut row: Vec<_> = experts.iter().copied().zip(gates.iter().copied()).collect();
                    row.sort_by_key(|(expert, _)| *expert);
                    row
                })
                .collect()
            };
            let indices: Vec<u32> = self.of(&out(2)).values.iter().map(|index| *index as u32).collect();
            let expected = pairs(&indices, &self.of(&out(1)).values);
            for (found, expected) in pairs(&mixture.chosen, &mixture.gates).iter().zip(&expected) {
                assert_eq!(found.0, expected.0, "{}: {module}", self.name);
                assert!((found.1 - expected.1).abs() <= BLOCKS, "{}: {module}", self.name);
            }
        } else if self.io.contains_key(&out(2)) {
            // One-hot rows after capacity, the best probability, logits.
            self.close(router, &mixture.logits, &out(2), BLOCKS);
            let placed = dense((&mixture.chosen, &mixture.gates), 1, experts, one_if_sent);
            self.close(router, &placed, &out(0), 0.0);
            let best =
                mixture.probabilities.chunks(experts).map(|row| row.iter().copied().fold(0.0, f32::max));
            self.close(router, &best.collect::<Vec<_>>(), &out(1), BLOCKS);
        } else {
            // The first choice after capacity, and all weights.
            let first: Vec<f32> = mixture.gates.iter().step_by(top_k).copied().collect();
            let firsts: Vec<u32> = mixture.chosen.iter().step_by(top_k).copied().collect();
            self.close(router, &dense((&firsts, &first), 1, experts, one_if_sent), &out(0), 0.0);
            let weights = dense((&mixture.chosen, &mixture.gates), top_k, experts, |gate| gate);
            self.close(router, &weights, &out(1), BLOCKS);
        }
    }

    pub fn losses(&self) {
        for name in ["b0", "b1", "b2"] {
            let (batch, mut trace) = (self.batch(name), Trace::default());
            let logits = self.model.logits(&batch, &mut trace).unwrap();
            let found = losses(&self.model.config, &batch, &logits, &trace).unwrap().unwrap();
            let close = |part: &str, found: f64| {
                let Some(expected) = self.io.get(&format!("{name}.{part}")) else { return false };
                let difference = (found - f64::from(expected.values[0])).abs();
                assert!(difference <= LOSSES, "{}: {name}.{part}: {found}, {difference}", self.name);
                true
            };
            assert!(close("ce_loss", found.cross_entropy) && close("loss", found.total));
            for router in &found.routers {
                let prefix = match (router.side, self.model.config.encoder.is_some()) {
                    (Side::Encoder, _) => "encoder_",
                    (Side::Decoder, true) => "decoder_",
                    (Side::Decoder, false) => "",
                };
                assert!(close(&format!("{prefix}aux_loss"), router.balance), "{}", self.name);
                assert_eq!(close(&format!("{prefix}z_loss"), router.z), !prefix.is_empty());
            }
            let expected = self.io.keys().filter(|key| key.starts_with(name) && key.ends_with("aux_loss"));
            assert_eq!(found.routers.len(), expected.count(), "{}", self.name);
        }
    }

    fn written(&self, how: Generation) -> (Vec<Vec<u32>>, Vec<f64>) {
        let prompt = self.of("gen.prompt_ids");
        let ids: Vec<u32> = prompt.values.iter().map(|id| *id as u32).collect();
        let input = Tokens { ids: &ids, real: None };
        let generated = self.model.generate(input, prompt.shape[0], how, &mut ()).unwrap();
        (generated.sequences, generated.scores)
    }

    fn sequences(&self, key: &str) -> Vec<Vec<u32>> {
        let tensor = self.of(key);
        let ids: Vec<u32> = tensor.values.iter().map(|id| *id as u32).collect();
        ids.chunks(tensor.shape[1]).map(<[u32]>::to_vec).collect()
    }

    pub fn greedy(&self) {
        let how = Generation { stop_at_end: false, ..Generation::default() };
        assert_eq!(self.written(how).0, self.sequences("gen.greedy.sequences"), "{}", self.name);
        let how = Generation { cached: false, ..how };
        assert_eq!(self.written(how).0, self.sequences("gen.greedy_nocache.sequences"), "{}", self.name);
    }

    pub fn beams(&self) {
        let how = Generation { beams: 4, stop_at_end: false, ..Generation::default() };
        let (sequences, scores) = self.written(how);
        assert_eq!(sequences, self.sequences("gen.beam4.sequences"), "{}", self.name);
        let scores: Vec<f32> = scores.into_iter().map(|score| score as f32).collect();
        self.close("scores of beams", &scores, "gen.beam4.sequences_scores", 1e-5);
    }
}

/// Whether a module's name is that of a mixture's place.
fn is_at(module: &str, mixture: &TracedMixture) -> bool {
    let side = match mixture.side {
        Side::Encoder => module.contains("encoder."),
        Side::Decoder => !module.contains("encoder."),
    };
    let numbered = |word: &str| module.contains(&format!("{word}.{}.", mixture.layer));
    side && (numbered("layers") || numbered("block"))
}

fn one_if_sent(gate: f32) -> f32 {
    f32::from(u8::from(gate > 0.0))
}

/// `[tokens, experts]`: a function of the gates of each token's slots, 0 elsewhere.
fn dense(slots: (&[u32], &[f32]), per_token: usize, experts: usize, of: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut out = vec![0.0; slots.0.len() / per_token * experts];
    let tokens = slots.0.chunks(per_token).zip(slots.1.chunks(per_token));
    for (row, (chosen, gates)) in out.chunks_mut(experts).zip(tokens) {
        let sent = chosen.iter().zip(gates).filter(|(expert, _)| **expert != UNSENT);
        sent.for_each(|(expert, gate)| row[*expert as usize] = of(*gate));
    }
    out
}
