//! The edges of routing: nothing, one, all, full, and what is no number.

mod common;

use common::moe::*;
use mixlet_core::moe::balance::{Calibration, LoadBalance};
use mixlet_core::moe::*;

fn router(experts: u32, policy: Policy) -> RouterConfig {
    RouterConfig { experts, policy, ..RouterConfig::default() }
}

fn fixed(rows: u32) -> CapacityRule {
    CapacityRule::Fixed(ByPhase::both(rows))
}

const ONE_EXPERT: Policy = Policy::Flaxformer { top_k: 1 };

/// Four tokens that all want expert 0, the third most.
const WANTED: [f64; 8] = [0.5, 0.0, 1.0, 0.0, 3.0, 0.0, 2.0, 0.0];

#[test]
fn the_first_token_is_kept_or_the_most_probable_one() {
    for (priority, kept) in
        [(Priority::Ranks, 0), (Priority::Slots, 0), (Priority::Batch, 2), (Priority::Gates, 2)]
    {
        let config = RouterConfig { capacity: fixed(1), priority, ..router(2, ONE_EXPERT) };
        let router = config.check().unwrap();
        let routed = routed(&router, Phase::Eval, 4, &RouterInput::of_logits(&WANTED)).unwrap();
        let plan = planned_by(&router, &routed);
        assert_eq!(plan.row_tokens, [kept], "{priority:?}");
        assert_eq!((&plan.expert_load[..], plan.slot_rows.len()), (&[4, 0][..], 4), "{priority:?}");
    }
}

#[test]
fn gshard_normalises_before_dropping_and_deepspeed_after() {
    let logits = [2.0, 1.0, -9.0];
    let gshard = Policy::GShard { second: ByPhase::both(SecondExpert::All) };
    let deepspeed = Policy::DeepSpeedTop2 { sample_second: ByPhase::both(false) };
    for (policy, expected) in [(gshard, 2_f64.exp() / (2_f64.exp() + 1_f64.exp())), (deepspeed, 1.0)] {
        let router = router(3, policy).check().unwrap();
        let routed = routed(&router, Phase::Train, 1, &RouterInput::of_logits(&logits)).unwrap();
        // The second expert is full: a plan in which it holds nothing.
        let plan = DispatchPlan {
            expert_load: &[1, 1, 0],
            expert_offsets: &[0, 1, 1, 1],
            row_slots: &[0],
            row_tokens: &[0],
            slot_rows: &[0, DROPPED],
        };
        let mut gates = routed.gates.clone();
        if router.normalises_after_dropping() {
            normalise_kept(&plan, &routed.routing(), &mut gates).unwrap();
        }
        let routing = Routing { gates: &gates, ..routed.routing() };
        let mut out = [f64::NAN];
        combine(&plan, &routing, &[1.0], 1, &mut out).unwrap();
        assert!((out[0] - expected).abs() < 1e-12, "{policy:?}: {}", out[0]);
    }
}

#[test]
fn a_token_without_a_row_gets_exactly_nothing() {
    for policy in
        [ONE_EXPERT, Policy::Mixtral { top_k: 2 }, Policy::ExpertChoice { softmax: SoftmaxOver::Experts }]
    {
        let router = RouterConfig { capacity: fixed(0), ..router(2, policy) }.check().unwrap();
        let routed = routed(&router, Phase::Eval, 4, &RouterInput::of_logits(&WANTED)).unwrap();
        let plan = planned_by(&router, &routed);
        assert_eq!(plan.row_slots.len(), 0, "{policy:?}");
        let mut out = [f64::NAN; 12];
        combine(&plan.plan(), &routed.routing(), &[], 3, &mut out).unwrap();
        assert!(out.iter().all(|value| value.to_bits() == 0.0_f64.to_bits()), "{policy:?}: {out:?}");
        let mut grad_tokens = [f64::NAN; 12];
        gather_backward(&plan.plan(), &routed.routing(), &[], 3, &mut grad_tokens).unwrap();
        assert_eq!(grad_tokens, [0.0; 12], "{policy:?}");
        let mut grad_gates = vec![f64::NAN; routed.gates.len()];
        combine_backward(&plan.plan(), &routed.routing(), &[], &[1.0; 12], &mut [], &mut grad_gates).unwrap();
        assert!(grad_gates.iter().all(|&grad| grad == 0.0), "{policy:?}");
        let usage = usage(routed.shape, &plan.plan(), &routed.routing(), None).unwrap();
        assert_eq!((usage.left_behind, usage.confidence), (1.0, 0.0), "{policy:?}");
    }
}

#[test]
fn no_tokens_are_no_error() {
    let policies = [
        ONE_EXPERT,
        Policy::GShard { second: ByPhase::both(SecondExpert::PAPER_COIN) },
        Policy::NoisyTopK { top_k: 2, noise: NoiseScale::Fixed(1.0) },
        Policy::Hash,
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 1, temperature: 0.1, rounds: 9 },
    ];
    for policy in policies {
        for groups in [Groups::One, Groups::AtMost(4), Groups::Exactly(4)] {
            let router = RouterConfig { capacity: fixed(3), groups, ..router(2, policy) }.check().unwrap();
            let routed = routed::<f32>(&router, Phase::Train, 0, &RouterInput::of_logits(&[])).unwrap();
            assert_eq!(routed.token_offsets, [0], "{policy:?}");
            let plan = planned_by(&router, &routed);
            assert_eq!((plan.expert_load, plan.expert_offsets), (vec![0; 2], vec![0; 3]), "{policy:?}");
        }
    }
}

#[test]
fn one_expert_gets_every_token_with_gate_one() {
    for policy in [ONE_EXPERT, Policy::Mixtral { top_k: 1 }, Policy::SoftmaxAfterTopK { top_k: 1 }] {
        let router = router(1, policy).check().unwrap();
        let routed =
            routed::<f32>(&router, Phase::Eval, 3, &RouterInput::of_logits(&[5.0, -80.0, 0.0])).unwrap();
        assert_eq!((&routed.experts[..], &routed.gates[..]), (&[0; 3][..], &[1.0; 3][..]), "{policy:?}");
    }
}

#[test]
fn ties_go_to_the_lower_expert_and_the_lower_token() {
    let equal = [0.25_f32; 12];
    for policy in [
        Policy::Flaxformer { top_k: 3 },
        Policy::SoftmaxAfterTopK { top_k: 3 },
        Policy::Mesh { top_k: 3, others: ByPhase::both(SecondExpert::All) },
    ] {
        let router = router(4, policy).check().unwrap();
        let routed = routed(&router, Phase::Eval, 3, &RouterInput::of_logits(&equal)).unwrap();
        assert_eq!(routed.experts, [0, 1, 2].repeat(3), "{policy:?}");
    }
    let policy =
        Policy::DeepSeekV3 { top_k: 2, expert_groups: 4, kept_groups: 2, normalise: true, scale: 1.0 };
    let input = RouterInput { bias: &[0.0; 4], ..RouterInput::of_logits(&equal) };
    let found = routed(&router(4, policy).check().unwrap(), Phase::Eval, 3, &input).unwrap();
    assert_eq!(found.experts, [0, 1].repeat(3));
    for policy in [
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 4, temperature: 0.01, rounds: 20 },
    ] {
        let router = RouterConfig { capacity: fixed(2), ..router(4, policy) }.check().unwrap();
        let routed = routed(&router, Phase::Eval, 3, &RouterInput::of_logits(&equal)).unwrap();
        assert_eq!(routed.token_offsets, [0, 4, 8, 8], "{policy:?}");
    }
    // Batch priority keeps the order of equals.
    let config = RouterConfig { capacity: fixed(1), priority: Priority::Batch, ..router(4, ONE_EXPERT) };
    let router = config.check().unwrap();
    let routed = routed(&router, Phase::Eval, 3, &RouterInput::of_logits(&equal)).unwrap();
    assert_eq!(planned_by(&router, &routed).row_tokens, [0]);
}

#[test]
fn a_logit_that_is_no_number_names_its_token() {
    let policies = [
        ONE_EXPERT,
        Policy::SoftmaxAfterTopK { top_k: 2 },
        Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(1.0) },
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 1, temperature: 0.1, rounds: 9 },
    ];
    for policy in policies {
        let router = RouterConfig { capacity: fixed(1), ..router(2, policy) }.check().unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = [0.0, 1.0, 2.0, bad, bad, 1.0];
            let input = RouterInput::of_logits(&logits);
            let error = routed(&router, Phase::Eval, 3, &input).unwrap_err();
            assert_eq!(error, RouterError::NonFinite { token: 1 }, "{policy:?}, {bad}");
            // Padding may hold anything.
            let input = RouterInput { real: Some(&[true, false, false]), ..input };
            assert!(routed(&router, Phase::Eval, 3, &input).is_ok(), "{policy:?}, {bad}");
        }
    }
}

#[test]
fn wrong_lengths_are_errors_that_name_the_array() {
    let length = |what, found, expected| Err(RouterError::Length { what, found, expected });
    let plain = router(2, ONE_EXPERT).check().unwrap();
    let of = |router: &Router, input: RouterInput<'_, f32>| routed(router, Phase::Train, 2, &input).map(drop);
    let logits = [0.0_f32; 4];
    let input = RouterInput::of_logits(&logits);
    assert_eq!(of(&plain, RouterInput::of_logits(&[0.0; 3])), length("logits", 3, 4));
    assert_eq!(of(&plain, RouterInput { bias: &[0.0; 2], ..input }), length("bias", 2, 0));
    assert_eq!(of(&plain, RouterInput { draws: &[0.0], ..input }), length("draws", 1, 0));
    assert_eq!(of(&plain, RouterInput { hashed: &[0], ..input }), length("hashed experts", 1, 0));
    assert_eq!(of(&plain, RouterInput { real: Some(&[true]), ..input }), length("real tokens", 1, 2));
    assert_eq!(of(&plain, RouterInput { noise_logits: &[0.0], ..input }), length("noise logits", 1, 0));
    let noisy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Learned { least: 0.0 } };
    let noisy = router(2, noisy).check().unwrap();
    assert_eq!(of(&noisy, input), length("noise logits", 0, 4));
    let hash = router(2, Policy::Hash).check().unwrap();
    assert_eq!(of(&hash, RouterInput::of_logits(&[])), length("hashed experts", 0, 2));
    let hashed = RouterInput { hashed: &[1, 2], ..RouterInput::of_logits(&[]) };
    assert_eq!(of(&hash, hashed), Err(RouterError::Expert { slot: 1, expert: 2, experts: 2 }));
    let hashed = RouterInput { hashed: &[1, 0], ..RouterInput::of_logits(&[]) };
    let found = routed::<f32>(&hash, Phase::Train, 2, &hashed).unwrap();
    assert_eq!((found.experts, found.gates), (vec![1, 0], vec![1.0, 1.0]));
}

#[test]
fn plans_refuse_routings_and_orders_that_are_none() {
    let gates = [1.0_f32; 3];
    let routing = Routing { token_offsets: &[0, 2, 3], experts: &[0, 1, 0], gates: &gates };
    let admission = |order| Admission { capacity: Some(2), group_tokens: 2, order };
    let plan_of = |routing: Routing<'_, f32>, order| planned(&routing, 2, admission(order));
    assert!(plan_of(routing, Order::Ranks).is_ok());
    let offset = |token| Err(RouterError::Offset { token });
    let wrong = |token_offsets| plan_of(Routing { token_offsets, ..routing }, Order::Ranks);
    assert_eq!(wrong(&[1, 2, 3]), offset(0));
    assert_eq!(wrong(&[0, 3, 2]), offset(2));
    assert_eq!(wrong(&[0, 2, 4]), offset(2));
    let expert = RouterError::Expert { slot: 1, expert: 2, experts: 2 };
    assert_eq!(plan_of(Routing { experts: &[0, 2, 0], ..routing }, Order::Ranks), Err(expert));
    for (order, place) in [
        (Order::RanksOf(&[0, 0]), 1),
        (Order::RanksOf(&[0, 2]), 1),
        (Order::RanksOf(&[1]), 0),
        (Order::SlotsOf(&[2, 2, 0]), 1),
        (Order::SlotsOf(&[0, 3, 1]), 1),
    ] {
        assert_eq!(plan_of(routing, order), Err(RouterError::Order { place }), "{order:?}");
    }
    let ragged = Routing { token_offsets: &[0, 0, 3], ..routing };
    let order = Order::RanksOf(&[0, 0]);
    assert_eq!(planned(&ragged, 2, admission(order)), Err(RouterError::Order { place: 0 }));
    let short = RouterError::Length { what: "order of slots", found: 2, expected: 3 };
    assert_eq!(plan_of(routing, Order::SlotsOf(&[0, 1])), Err(short));
}

#[test]
fn routers_that_look_ahead_are_found_out() {
    // Token 0 goes to expert 0 until token 1 wants it more.
    let (before, after) = ([0.5, 0.0, 0.0, 1.0], [0.5, 0.0, 9.0, 0.0]);
    let expert_choice = Policy::ExpertChoice { softmax: SoftmaxOver::Experts };
    let cap = Policy::CappedExpertChoice { cap: 1, temperature: 0.01, rounds: 100 };
    for (policy, priority) in [
        (ONE_EXPERT, Priority::Batch),
        (ONE_EXPERT, Priority::Gates),
        (expert_choice, Priority::Ranks),
        (cap, Priority::Ranks),
    ] {
        let router = RouterConfig { capacity: fixed(1), priority, ..router(2, policy) }.check().unwrap();
        assert!(!router.is_causal(Phase::Eval), "{policy:?}");
        let [before, after] = [before, after].map(|logits| {
            let routed = routed(&router, Phase::Eval, 2, &RouterInput::of_logits(&logits)).unwrap();
            let plan = planned_by(&router, &routed);
            let kept = routed.slots(0).filter(|&slot| plan.slot_rows[slot] != DROPPED);
            kept.map(|slot| routed.experts[slot]).collect::<Vec<_>>()
        });
        assert_ne!(before, after, "{policy:?}, {priority:?}: token 0 does not see token 1");
    }
    // With two experts per token, a later first choice takes the place of an earlier second one.
    let config = RouterConfig { capacity: fixed(1), ..router(3, Policy::Mixtral { top_k: 2 }) };
    assert!(!config.check().unwrap().is_causal(Phase::Eval));
    let (first, second) = ([2.0, 1.0, 0.0, 0.0, 0.0, 2.0], [2.0, 1.0, 0.0, 0.0, 2.0, 1.0]);
    let router = config.check().unwrap();
    let [first, second] = [first, second].map(|logits| {
        let routed = routed(&router, Phase::Eval, 2, &RouterInput::of_logits(&logits)).unwrap();
        planned_by(&router, &routed).slot_rows[1] == DROPPED
    });
    assert!(!first && second, "token 1's first choice takes the place of token 0's second");
    let slots = RouterConfig { priority: Priority::Slots, ..config }.check().unwrap();
    assert!(slots.is_causal(Phase::Eval));
}

#[test]
fn the_balance_loss_at_perfect_balance_is_what_its_calibration_says() {
    let (experts, top_k) = (6_u32, 2_u32);
    // Token t chooses experts 2t and 2t + 1; all logits are equal, so all probabilities are too.
    let chosen: Vec<u32> = (0..6).collect();
    let probabilities = vec![1.0 / 6.0; 18];
    let router = router(experts, Policy::Flaxformer { top_k }).check().unwrap();
    let shape = router.shape(Phase::Train, 3).unwrap();
    let cache = RoutingCache { shape, probabilities: &probabilities, chosen: &chosen };
    for (calibration, expected) in [
        (Calibration::Switch, 1.0),
        (Calibration::Mesh, 1.0),
        (Calibration::GShardPaper, 1.0 / 36.0),
        (Calibration::Flaxformer, 2.0),
        (Calibration::TopK, 1.0),
        (Calibration::MegaBlocks { layers: 4 }, 0.25),
    ] {
        let loss = LoadBalance::new(&router, calibration, cache, None).unwrap();
        let value: f64 = loss.forward(&mut vec![f64::NAN; loss.fractions_len()]).unwrap();
        assert!((value - expected).abs() < 1e-12, "{calibration:?}: {value}");
    }
    let expert_choice = Policy::ExpertChoice { softmax: SoftmaxOver::Experts };
    let config = RouterConfig { policy: expert_choice, capacity: fixed(1), ..*router.config() };
    let router = config.check().unwrap();
    let cache = RoutingCache { shape: router.shape(Phase::Train, 3).unwrap(), ..cache };
    let error = LoadBalance::new(&router, Calibration::Switch, cache, None).unwrap_err();
    assert_eq!(error, RouterError::NotTokenChoice);
}

#[test]
fn expert_choice_uses_every_place() {
    let config = RouterConfig {
        capacity: CapacityRule::ExpertChoice(ByPhase::both(1.0)),
        ..router(2, Policy::ExpertChoice { softmax: SoftmaxOver::Experts })
    };
    let router = config.check().unwrap();
    let routed = routed(&router, Phase::Eval, 4, &RouterInput::of_logits(&WANTED)).unwrap();
    let usage = usage(routed.shape, &planned_by(&router, &routed).plan(), &routed.routing(), None).unwrap();
    assert_eq!((usage.utilisation, usage.load_entropy, usage.load_variation), (Some(1.0), 1.0, 0.0));
    assert_eq!((usage.dropped, usage.dead_experts), (0, 0));
}

#[test]
fn sixteen_bit_logits_would_move_a_softmax_by_a_third() {
    // ST-MoE, footnote 7: eleven logits, the largest 128.5, which bf16 rounds to the 128 of the others.
    let router = router(11, ONE_EXPERT).check().unwrap();
    let probability = |largest: f32| {
        let mut logits = [128.0; 11];
        logits[0] = largest;
        routed(&router, Phase::Eval, 1, &RouterInput::of_logits(&logits)).unwrap().probabilities[0]
    };
    assert!((probability(128.5) - 0.142).abs() < 5e-4 && (probability(128.0) - 0.091).abs() < 5e-4);
}
