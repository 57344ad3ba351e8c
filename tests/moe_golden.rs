//! Routers against vectors written from the papers' formulas in double precision (`../shared/golden/ops`).
//!
//! In `f64` the formulas must agree to 1e-12; in `f32` to the 1e-5 that the vectors' README allows. Chosen experts
//! and positions are equal in both.

mod common;

use common::moe::*;
use mixlet_core::moe::*;
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
