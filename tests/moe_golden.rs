//! Routers against vectors written from the papers' formulas in double precision (`../shared/golden/ops`).
//!
//! In `f64` the formulas must agree to 1e-12; in `f32` to the 1e-5 that the vectors' README allows. Chosen experts
//! and positions are equal in both.

mod common;

use common::moe::*;
use mixlet_core::moe::balance::{Calibration, LoadBalance};
use mixlet_core::moe::logit_losses::{TokenLogits, z_loss_backward, z_loss_forward};
use mixlet_core::moe::noisy::{NoisyLoad, importance_forward};
use mixlet_core::moe::*;
use mixlet_core::small::{Column, assign};
use serde_json::Value;

/// Every case in both precisions: the case, a label, and the tolerance.
fn in_both_precisions(check: impl Fn(&Value, &str, f64, bool)) {
    for case in golden_cases() {
        let label = format!("{} tokens, {} experts", case["T"], case["E"]);
        check(&case, &format!("{label}, f64"), 1e-12, true);
        check(&case, &format!("{label}, f32"), 1e-5, false);
    }
}

fn router(case: &Value, policy: Policy, capacity: CapacityRule) -> Router {
    let experts = case["E"].as_u64().unwrap() as u32;
    RouterConfig { experts, policy, capacity, ..RouterConfig::default() }.check().unwrap()
}

fn tokens(case: &Value) -> usize {
    case["T"].as_u64().unwrap() as usize
}

/// Places within experts, as the vectors count them: in the order of placing.
fn positions<R: Real>(routed: &OwnedRouting<R>, plan: &OwnedPlan) -> Vec<u32> {
    let top_k = routed.shape.top_k.unwrap();
    let mut taken = vec![0; routed.shape.experts];
    let mut positions = vec![u32::MAX; plan.slot_rows.len()];
    for rank in 0..top_k {
        for slot in (rank..positions.len()).step_by(top_k).filter(|&slot| plan.slot_rows[slot] != DROPPED) {
            let expert = routed.experts[slot] as usize;
            positions[slot] = taken[expert];
            taken[expert] += 1;
        }
    }
    positions
}

fn switch<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    for factor in ["0.75", "1.0", "1.25"] {
        let expected = &case[format!("switch_cf{factor}")];
        let policy = Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) };
        let factor = factor.parse().unwrap();
        let router = router(case, policy, CapacityRule::Switch(ByPhase::both(factor)));
        let label = &format!("{label}, Switch at {factor}");
        let routed =
            routed::<R>(&router, Phase::Train, tokens(case), &RouterInput::of_logits(&logits)).unwrap();
        assert_eq!(u64::from(routed.shape.capacity.unwrap()), expected["C"].as_u64().unwrap(), "{label}");
        assert_close(label, &routed.probabilities, &numbers(&expected["probs"]), tolerance);
        assert_close(label, &routed.gates, &numbers(&expected["gate"]), tolerance);
        assert_eq!(routed.experts, integers(&expected["expert"]), "{label}");
        let plan = planned_by(&router, &routed);
        assert_eq!(positions(&routed, &plan), integers(&expected["position"]), "{label}");
        assert_eq!(plan.expert_load, integers(&expected["demand"]), "{label}");
    }
}

#[test]
fn switch_takes_the_best_expert_in_token_order() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { switch::<f64>(case, label, tolerance) } else { switch::<f32>(case, label, tolerance) }
    });
}

fn top_k<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    for top_k in 1..=3 {
        for (name, policy) in [
            ("raw", Policy::Flaxformer { top_k }),
            ("raw", Policy::Olmoe { top_k }),
            ("renorm", Policy::Mixtral { top_k }),
            ("then_softmax", Policy::SoftmaxAfterTopK { top_k }),
        ] {
            let expected = &case[format!("topk{top_k}_{name}")];
            let router = router(case, policy, CapacityRule::Dropless);
            let routed =
                routed::<R>(&router, Phase::Eval, tokens(case), &RouterInput::of_logits(&logits)).unwrap();
            let label = &format!("{label}, {policy:?}");
            assert_eq!(routed.experts, integers(&expected["index"]), "{label}");
            assert_close(label, &routed.gates, &numbers(&expected["weight"]), tolerance);
        }
    }
}

#[test]
fn the_best_experts_and_their_gates() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { top_k::<f64>(case, label, tolerance) } else { top_k::<f32>(case, label, tolerance) }
    });
}

fn gshard<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    let coins = reals::<R>(&numbers(&case["rnd"]));
    for (factor, random) in [(0.5, false), (1.0, false), (0.5, true), (1.0, true)] {
        let suffix = if random { "_random" } else { "" };
        let expected = &case[format!("gshard_top2_cf{factor:.1}{suffix}")];
        let second = if random { SecondExpert::PAPER_COIN } else { SecondExpert::All };
        let policy = Policy::GShard { second: ByPhase::both(second) };
        let router = router(case, policy, CapacityRule::GShard(ByPhase::both(factor)));
        let draws = if random { &coins[..] } else { &[] };
        let input = RouterInput { draws, ..RouterInput::of_logits(&logits) };
        let routed = routed::<R>(&router, Phase::Train, tokens(case), &input).unwrap();
        let label = &format!("{label}, GShard at {factor}{suffix}");
        assert_eq!(u64::from(routed.shape.capacity.unwrap()), expected["C"].as_u64().unwrap(), "{label}");
        assert_eq!(routed.chosen, integers(&expected["choice"]), "{label}");
        assert_close(label, &routed.gates, &numbers(&expected["gates_norm"]), tolerance);
        let plan = planned_by(&router, &routed);
        assert_eq!(positions(&routed, &plan), integers(&expected["position"]), "{label}");
        assert_eq!(plan.expert_load, integers(&expected["demand"]), "{label}");
        assert_close(label, &combine_weights(&routed, &plan), &numbers(&expected["combine"]), tolerance);
    }
}

/// `[T, E]`: the gate of every slot that has a row.
fn combine_weights<R: Real>(routed: &OwnedRouting<R>, plan: &OwnedPlan) -> Vec<R> {
    let mut weights = vec![R::ZERO; routed.shape.logits_len()];
    for (&slot, &token) in plan.row_slots.iter().zip(&plan.row_tokens) {
        let expert = routed.experts[slot as usize] as usize;
        weights[token as usize * routed.shape.experts + expert] = routed.gates[slot as usize];
    }
    weights
}

#[test]
fn gshard_places_second_experts_after_all_first_ones() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { gshard::<f64>(case, label, tolerance) } else { gshard::<f32>(case, label, tolerance) }
    });
}

fn expert_choice<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    for factor in [1.0, 2.0] {
        let expected = &case[format!("expert_choice_cf{factor:.1}")];
        let policy = Policy::ExpertChoice { softmax: SoftmaxOver::Experts };
        let router = router(case, policy, CapacityRule::ExpertChoice(ByPhase::both(factor)));
        let routed =
            routed::<R>(&router, Phase::Train, tokens(case), &RouterInput::of_logits(&logits)).unwrap();
        let label = &format!("{label}, expert choice at {factor}");
        assert_eq!(u64::from(routed.shape.capacity.unwrap()), expected["C"].as_u64().unwrap(), "{label}");
        let counts: Vec<u32> = routed.token_offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(counts, integers(&expected["experts_per_token"]), "{label}");
        let plan = planned_by(&router, &routed);
        assert_close(label, &combine_weights(&routed, &plan), &numbers(&expected["combine"]), tolerance);
        // The same tokens for each expert: the vectors list them by falling score.
        let mut taken: Vec<Vec<u32>> = integers(&expected["token_index"])
            .chunks(routed.shape.capacity.unwrap() as usize)
            .map(<[u32]>::to_vec)
            .collect();
        taken.iter_mut().for_each(|tokens| tokens.sort_unstable());
        assert_eq!(plan.row_tokens, taken.concat(), "{label}");
    }
}

#[test]
fn experts_choose_their_best_tokens() {
    in_both_precisions(|case, label, tolerance, double| {
        if double {
            expert_choice::<f64>(case, label, tolerance);
        } else {
            expert_choice::<f32>(case, label, tolerance);
        }
    });
}

fn deepseek<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let Some(expected) = case.get("deepseek_v3") else {
        return;
    };
    let logits = reals::<R>(&numbers(&case["logits"]));
    let bias = reals::<R>(&numbers(&expected["bias"]));
    let policy =
        Policy::DeepSeekV3 { top_k: 3, expert_groups: 4, kept_groups: 2, normalise: true, scale: 2.5 };
    let router = router(case, policy, CapacityRule::Dropless);
    let input = RouterInput { bias: &bias, ..RouterInput::of_logits(&logits) };
    let routed = routed::<R>(&router, Phase::Eval, tokens(case), &input).unwrap();
    assert_close(label, &routed.probabilities, &numbers(&expected["scores"]), tolerance);
    assert_eq!(routed.experts, integers(&expected["index"]), "{label}");
    assert_close(label, &routed.gates, &numbers(&expected["weight"]), tolerance);
}

#[test]
fn deepseek_chooses_with_bias_and_weighs_without() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { deepseek::<f64>(case, label, tolerance) } else { deepseek::<f32>(case, label, tolerance) }
    });
}

/// The losses and gradients of the vectors, which come with and without padding.
fn losses<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    let mask: Vec<bool> = numbers(&case["mask"]).iter().map(|&mask| mask == 1.0).collect();
    let policy = Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) };
    let router = router(case, policy, CapacityRule::Dropless);
    for (suffix, real) in [("", None), ("_masked", Some(&mask[..]))] {
        let label = &format!("{label}{suffix}");
        let input = RouterInput { real, ..RouterInput::of_logits(&logits) };
        let routed = routed::<R>(&router, Phase::Train, tokens(case), &input).unwrap();
        let expected = &case[format!("switch_aux{suffix}")];
        let loss = LoadBalance::new(&router, Calibration::Switch, routed.cache(), real).unwrap();
        let mut fractions = vec![R::from_f64(f64::NAN); loss.fractions_len()];
        let value = loss.forward(&mut fractions).unwrap();
        assert_close(label, &[value], &numbers(&expected["loss"]), tolerance);
        assert_close(label, &fractions, &numbers(&expected["f"]), tolerance);
        let mut grads = vec![R::ZERO; logits.len()];
        loss.backward(&fractions, R::ONE, &mut grads).unwrap();
        assert_close(label, &grads, &numbers(&expected["grad_logits"]), tolerance);

        let expected = &case[format!("z_loss{suffix}")];
        let all = TokenLogits { logits: &logits, experts: routed.shape.experts, real };
        let mut log_sums = vec![R::from_f64(f64::NAN); tokens(case)];
        let value = z_loss_forward(&all, &mut log_sums).unwrap();
        assert_close(label, &[value], &numbers(&expected["loss"]), tolerance);
        if real.is_none() {
            assert_close(label, &log_sums, &numbers(&expected["logsumexp"]), tolerance);
        }
        let mut grads = vec![R::ZERO; logits.len()];
        z_loss_backward(&all, &log_sums, R::ONE, &mut grads).unwrap();
        assert_close(label, &grads, &numbers(&expected["grad_logits"]), tolerance);
    }
}

#[test]
fn balance_and_z_loss_with_and_without_padding() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { losses::<f64>(case, label, tolerance) } else { losses::<f32>(case, label, tolerance) }
    });
}

fn gate_gradients<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    let grad_gates = reals::<R>(&numbers(&case["grad_weights_k2"]));
    for (name, policy) in [
        ("raw", Policy::Flaxformer { top_k: 2 }),
        ("renorm", Policy::Mixtral { top_k: 2 }),
        ("renorm", Policy::SoftmaxAfterTopK { top_k: 2 }),
    ] {
        let router = router(case, policy, CapacityRule::Dropless);
        let routed =
            routed::<R>(&router, Phase::Train, tokens(case), &RouterInput::of_logits(&logits)).unwrap();
        let mut grads = vec![R::from_f64(f64::NAN); logits.len()];
        let (routing, cache) = (routed.routing(), routed.cache());
        route_backward(&router, Phase::Train, &routing, &cache, &grad_gates, &mut grads).unwrap();
        let label = format!("{label}, {policy:?}");
        assert_close(&label, &grads, &numbers(&case[format!("topk2_{name}_grad_logits")]), tolerance);
    }
}

#[test]
fn gradients_of_gates() {
    in_both_precisions(|case, label, tolerance, double| {
        if double {
            gate_gradients::<f64>(case, label, tolerance);
        } else {
            gate_gradients::<f32>(case, label, tolerance);
        }
    });
}

fn gshard_loss<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let logits = reals::<R>(&numbers(&case["logits"]));
    let policy = Policy::GShard { second: ByPhase::both(SecondExpert::All) };
    let router = router(case, policy, CapacityRule::Dropless);
    let routed = routed::<R>(&router, Phase::Train, tokens(case), &RouterInput::of_logits(&logits)).unwrap();
    let expected = &case["gshard_top2_cf1.0"];
    for (calibration, name) in [(Calibration::GShardPaper, "l_aux"), (Calibration::Switch, "l_aux_scaled_E2")]
    {
        let loss = LoadBalance::new(&router, calibration, routed.cache(), None).unwrap();
        let value = loss.forward(&mut vec![R::ZERO; loss.fractions_len()]).unwrap();
        assert_close(&format!("{label}, {name}"), &[value], &numbers(&expected[name]), tolerance);
    }
}

#[test]
fn gshards_loss_counts_first_choices() {
    in_both_precisions(|case, label, tolerance, double| {
        if double {
            gshard_loss::<f64>(case, label, tolerance)
        } else {
            gshard_loss::<f32>(case, label, tolerance)
        }
    });
}

/// Noise logits whose softplus is the given `σ`: `ln(e^σ − 1)`.
fn inverse_softplus(sigma: f64) -> f64 {
    sigma.exp_m1().ln()
}

fn noisy<R: Real>(case: &Value, label: &str, tolerance: f64) {
    let expected = &case["noisy_topk2"];
    let logits = reals::<R>(&numbers(&case["logits"]));
    let noise_logits: Vec<f64> = numbers(&expected["noise_std"]).into_iter().map(inverse_softplus).collect();
    let noise_logits = reals::<R>(&noise_logits);
    let draws = reals::<R>(&numbers(&expected["noise"]));
    let policy = Policy::NoisyTopK { top_k: 2, noise: NoiseScale::Learned { least: 0.0 } };
    let router = router(case, policy, CapacityRule::Dropless);
    let input = RouterInput { noise_logits: &noise_logits, draws: &draws, ..RouterInput::of_logits(&logits) };
    let routed = routed::<R>(&router, Phase::Train, tokens(case), &input).unwrap();
    let plan = planned_by(&router, &routed);
    assert_close(label, &combine_weights(&routed, &plan), &numbers(&expected["gates"]), tolerance);

    let mut importance = vec![R::from_f64(f64::NAN); routed.shape.experts];
    let variation = importance_forward(&routed.routing(), &mut importance).unwrap();
    assert_close(label, &importance, &numbers(&expected["importance"]), tolerance);
    assert_close(label, &[variation], &numbers(&expected["cv2_importance"]), tolerance);

    let loss = NoisyLoad::new(&router, input, routed.cache()).unwrap();
    let mut load = vec![R::from_f64(f64::NAN); routed.shape.experts];
    let load_variation = loss.forward(&mut load).unwrap();
    assert_close(label, &load, &numbers(&expected["load"]), tolerance);
    assert_close(label, &[load_variation], &numbers(&expected["cv2_load"]), tolerance);
    let weight = |name: &str| R::from_f64(expected[name].as_f64().unwrap());
    let total = weight("w_importance") * variation + weight("w_load") * load_variation;
    assert_close(label, &[total], &numbers(&expected["loss"]), tolerance);
}

#[test]
fn noisy_top_k_and_its_losses() {
    in_both_precisions(|case, label, tolerance, double| {
        if double { noisy::<f64>(case, label, tolerance) } else { noisy::<f32>(case, label, tolerance) }
    });
}

/// The experts of BASE layers (Lewis et al. 2021): equally many tokens each, with the largest sum of logits there is.
fn balanced_experts(logits: &[f64], tokens: usize, experts: usize) -> Vec<u32> {
    // Every expert stands for as many columns as it takes tokens.
    let columns = |row: &[f64]| (0..tokens).map(|column| row[column % experts]).collect::<Vec<_>>();
    let weights: Vec<f64> = logits.chunks(experts).flat_map(columns).collect();
    let mut assigned = vec![Column::default(); tokens];
    assign(&weights, &mut assigned);
    let mut of_token = vec![u32::MAX; tokens];
    for (column, assigned) in assigned.iter().enumerate() {
        of_token[assigned.row.unwrap()] = (column % experts) as u32;
    }
    of_token
}

#[test]
fn balanced_assignment_is_the_best_and_bounds_a_cap_of_one() {
    for case in golden_cases() {
        let Some(expected) = case.get("base_balanced") else { continue };
        let (tokens, experts) = (tokens(&case), case["E"].as_u64().unwrap() as usize);
        let label = format!("{tokens} tokens, {experts} experts");
        let logits = numbers(&case["logits"]);
        let total = |of_token: &[u32]| -> f64 {
            of_token.iter().zip(logits.chunks(experts)).map(|(&expert, row)| row[expert as usize]).sum()
        };
        let best = expected["total"].as_f64().unwrap();
        let found = balanced_experts(&logits, tokens, experts);
        assert_eq!(found, integers(&expected["assign"]), "{label}");
        assert_close(&label, &[total(&found)], &[best], 1e-12);

        // A hash takes any table: the assignment as a routing.
        let hash = router(&case, Policy::Hash, CapacityRule::Dropless);
        let input = RouterInput { hashed: &found, ..RouterInput::of_logits(&[]) };
        let routed_by_hash = routed::<f64>(&hash, Phase::Train, tokens, &input).unwrap();
        let loads = planned_by(&hash, &routed_by_hash).expert_load;
        assert_eq!(loads, vec![(tokens / experts) as u32; experts], "{label}");

        // Expert choice with one expert per token is balanced too; it weighs probabilities, so it finds no larger sum.
        let policy = Policy::CappedExpertChoice { cap: 1, temperature: 0.01, rounds: 1000 };
        let capped = router(&case, policy, CapacityRule::ExpertChoice(ByPhase::both(1.0)));
        let capped = routed(&capped, Phase::Train, tokens, &RouterInput::of_logits(&logits)).unwrap();
        assert_eq!(capped.program.unwrap().unfilled, 0, "{label}");
        assert_eq!(capped.token_offsets, (0..=tokens as u32).collect::<Vec<_>>(), "{label}");
        let found = total(&capped.experts);
        assert!(found <= best + 1e-12 && found > 0.8 * best, "{label}: {found}, at most {best}");
    }
}

/// What the vectors hold: a new one fails here until a test reads it.
#[test]
fn every_vector_is_read_by_a_test() {
    let known = |name: &str| {
        let of_case = ["T", "E", "logits", "mask", "rnd", "grad_weights_k2"];
        let alone = ["deepseek_v3", "noisy_topk2", "base_balanced"];
        let families = ["switch_cf", "switch_aux", "z_loss", "topk", "gshard_top2_cf", "expert_choice_cf"];
        of_case.contains(&name)
            || alone.contains(&name)
            || families.iter().any(|family| name.starts_with(family))
    };
    for case in golden_cases() {
        let unread: Vec<&String> = case.as_object().unwrap().keys().filter(|name| !known(name)).collect();
        assert!(unread.is_empty(), "{unread:?}");
    }
    let Some(folder) = common::shared::find("golden/ops") else { return };
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let mut files: Vec<String> = files.map(|file| file.into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["make_ops_reference.py", "router_reference.json"]);
}
