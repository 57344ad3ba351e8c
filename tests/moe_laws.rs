//! Laws of routing and of plans, on random tokens: against naive references, and on their own.

mod common;

use common::moe::*;
use common::moe_batches::{Batch, Numbers, batches, token_choice_policies};
use common::moe_reference::{Choices, choices, descending, kept_slots, placing_order, softmax};
use common::random::SplitMix;
use mixlet_core::moe::replay::{Recording, record, recording_len};
use mixlet_core::moe::*;
use proptest::prelude::*;

fn config(batch: &Batch, policy: Policy) -> RouterConfig {
    RouterConfig { experts: batch.experts as u32, policy, ..RouterConfig::default() }
}

const PRIORITIES: [Priority; 4] = [Priority::Ranks, Priority::Slots, Priority::Batch, Priority::Gates];

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * (1.0 + b.abs())
}

/// A plan says twice where every row lies, and both agree.
#[track_caller]
fn assert_partition(routing: &Routing<'_, f64>, plan: &OwnedPlan) {
    let mut rows = Vec::new();
    let token_of: Vec<u32> =
        routing.slots().enumerate().flat_map(|(token, slots)| slots.map(move |_| token as u32)).collect();
    for (expert, run) in plan.plan().runs().enumerate() {
        let slots = &plan.row_slots[run.clone()];
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "expert {expert}: rows out of slot order");
        assert!(slots.iter().all(|&slot| routing.experts[slot as usize] == expert as u32), "expert {expert}");
        rows.extend(run);
    }
    assert!(rows.iter().copied().eq(0..plan.row_slots.len()), "runs are not all rows in order");
    for (row, (&slot, &token)) in plan.row_slots.iter().zip(&plan.row_tokens).enumerate() {
        assert_eq!(plan.slot_rows[slot as usize], row as u32, "slot {slot}");
        assert_eq!(token_of[slot as usize], token, "row {row}");
    }
    let kept = plan.slot_rows.iter().filter(|&&row| row != DROPPED).count();
    assert_eq!(kept, plan.row_slots.len(), "slots with a row");
    for (expert, &load) in plan.expert_load.iter().enumerate() {
        let asked = routing.experts.iter().filter(|&&asked| asked == expert as u32).count();
        assert_eq!(asked, load as usize, "load of expert {expert}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_chooses_as_its_source_says(batch in batches()) {
        for policy in token_choice_policies(batch.experts as u32) {
            for phase in [Phase::Train, Phase::Eval] {
                let router = config(&batch, policy).check().unwrap();
                let numbers = batch.numbers(&router, phase);
                let routed = routed(&router, phase, batch.tokens, &numbers.input()).unwrap();
                let draws_len = numbers.draws.len() / batch.tokens.max(1);
                for token in 0..batch.tokens {
                    let row = token * batch.experts..(token + 1) * batch.experts;
                    let slots = routed.slots(token);
                    if !numbers.is_real(token) {
                        prop_assert!(routed.experts[slots.clone()].iter().all(|&expert| expert == UNSENT));
                        prop_assert!(routed.gates[slots].iter().all(|&gate| gate == 0.0));
                        continue;
                    }
                    let noise_logits = numbers.noise_logits.get(row.clone()).unwrap_or(&[]);
                    let draws = &numbers.draws[token * draws_len..(token + 1) * draws_len];
                    let Choices { experts, gates, sent } =
                        choices(policy, phase, &numbers.logits[row], &numbers.bias, noise_logits, draws);
                    prop_assert_eq!(&routed.chosen[slots.clone()], &experts[..], "{:?}, token {}", policy, token);
                    for (nth, slot) in slots.enumerate() {
                        let expected = if sent[nth] { experts[nth] } else { UNSENT };
                        prop_assert_eq!(routed.experts[slot], expected, "{:?}, slot {}", policy, slot);
                        prop_assert!(close(routed.gates[slot], gates[nth]), "{:?}, slot {}", policy, slot);
                    }
                }
            }
        }
    }

    #[test]
    fn gates_sum_as_the_policy_says(batch in batches()) {
        for policy in token_choice_policies(batch.experts as u32) {
            let router = config(&batch, policy).check().unwrap();
            let numbers = batch.numbers(&router, Phase::Train);
            let routed = routed(&router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
            for token in (0..batch.tokens).filter(|&token| numbers.is_real(token)) {
                let total: f64 = routed.gates[routed.slots(token)].iter().sum();
                match policy {
                    Policy::GShard { .. }
                    | Policy::Mixtral { .. }
                    | Policy::SoftmaxAfterTopK { .. }
                    | Policy::NoisyTopK { .. } => prop_assert!(close(total, 1.0), "{policy:?}: {total}"),
                    Policy::Mesh { .. } => prop_assert!((total - 1.0).abs() < 1e-8 && total < 1.0, "{total}"),
                    Policy::DeepSeekV3 { normalise: true, scale, .. } => prop_assert!(close(total, scale)),
                    Policy::DeepSeekV3 { .. } => {}
                    _ => prop_assert!(total <= 1.0 + 1e-12, "{policy:?}: {total}"),
                }
                if policy.top_k() == Some(batch.experts as u32) && matches!(policy, Policy::Flaxformer { .. }) {
                    prop_assert!(close(total, 1.0), "all experts: {total}");
                }
            }
        }
    }

    #[test]
    fn plans_are_partitions_and_drop_the_last_comers(batch in batches(), capacity in 0..6_u32, groups in 1..5_u32) {
        for policy in token_choice_policies(batch.experts as u32) {
            for (nth, priority) in PRIORITIES.into_iter().enumerate() {
                let capacity_rule = CapacityRule::Fixed(ByPhase::both(capacity));
                let capacity_rule = if capacity == 5 { CapacityRule::Dropless } else { capacity_rule };
                let router = RouterConfig {
                    capacity: capacity_rule, priority, groups: Groups::AtMost(groups * 3), ..config(&batch, policy)
                }.check().unwrap();
                let numbers = batch.numbers(&router, Phase::Train);
                let routed = routed(&router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
                let plan = planned_by(&router, &routed);
                assert_partition(&routed.routing(), &plan);

                // The same slots as a greedy placement, group by group.
                let top_k = routed.shape.top_k.unwrap();
                let group_tokens = routed.shape.group_tokens;
                let group_of: Vec<usize> =
                    (0..routed.experts.len()).map(|slot| slot / top_k / group_tokens.max(1)).collect();
                let first = |token: usize| {
                    let expert = routed.chosen[token * top_k] as usize;
                    if expert < batch.experts { routed.probabilities[token * batch.experts + expert] } else { -1.0 }
                };
                let first: Vec<f64> = (0..batch.tokens).map(first).collect();
                let order = placing_order(priority, batch.tokens, top_k, &first, &routed.gates);
                let kept = kept_slots(&routed.experts, &order, &group_of, routed.shape.capacity);
                let found: Vec<bool> = plan.slot_rows.iter().map(|&row| row != DROPPED).collect();
                prop_assert_eq!(found, kept, "{:?}, {:?}, capacity {}", policy, priority, capacity);

                // Loads add to k·T minus what was not sent; drops are what is left of them.
                let real = (0..batch.tokens).filter(|&token| numbers.is_real(token)).count();
                let unsent = routed.experts.iter().zip(&routed.chosen)
                    .filter(|(expert, chosen)| **expert == UNSENT && **chosen != UNSENT).count();
                let usage = usage(routed.shape, &plan.plan(), &routed.routing(), numbers.real.as_deref()).unwrap();
                prop_assert_eq!(usage.slots as usize, top_k * real - unsent);
                prop_assert_eq!(usage.dispatched + usage.dropped, usage.slots);
                prop_assert!(nth > 0 || capacity != 5 || usage.dropped == 0);
            }
        }
    }

    #[test]
    fn renaming_experts_renames_the_result(batch in batches(), shift in 0..9_usize) {
        let batch = Batch { ties: false, ..batch };
        for policy in token_choice_policies(batch.experts as u32) {
            // Draws fall on experts in their order, and groups are of neighbours.
            let draws_experts = matches!(
                policy,
                Policy::Switch { choice: ByPhase { train: SwitchChoice::Sample { .. }, .. } }
                    | Policy::DeepSpeedTop2 { .. } | Policy::NoisyTopK { .. }
            );
            if draws_experts || matches!(policy, Policy::DeepSeekV3 { expert_groups: 2.., .. }) {
                continue;
            }
            let router = config(&batch, policy).check().unwrap();
            let numbers = batch.numbers(&router, Phase::Train);
            let name = |expert: usize| (expert + shift) % batch.experts;
            let renamed = |values: &[f64]| {
                let mut out = vec![0.0; values.len()];
                for (place, &value) in values.iter().enumerate() {
                    let (row, expert) = (place / batch.experts, place % batch.experts);
                    out[row * batch.experts + name(expert)] = value;
                }
                out
            };
            let (logits, bias) = (renamed(&numbers.logits), renamed(&numbers.bias));
            let found = routed(&router, Phase::Train, batch.tokens,
                &RouterInput { logits: &logits, bias: &bias, ..numbers.input() }).unwrap();
            let plain = routed(&router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
            for (slot, (&expert, &gate)) in plain.experts.iter().zip(&plain.gates).enumerate() {
                let expected = if expert == UNSENT { UNSENT } else { name(expert as usize) as u32 };
                prop_assert_eq!(found.experts[slot], expected, "{:?}", policy);
                prop_assert!(close(found.gates[slot], gate), "{:?}", policy);
            }
        }
    }

    #[test]
    fn causal_routers_do_not_look_ahead(batch in batches(), capacity in 1..5_u32, from in 1..13_usize, other in any::<u64>()) {
        let batch = Batch { padded: false, ..batch };
        let from = from.min(batch.tokens);
        for policy in token_choice_policies(batch.experts as u32) {
            for priority in PRIORITIES {
                for capacity in [CapacityRule::Fixed(ByPhase::both(capacity)), CapacityRule::Dropless] {
                    let router = RouterConfig { capacity, priority, ..config(&batch, policy) }.check().unwrap();
                    if !router.is_causal(Phase::Train) {
                        continue;
                    }
                    let mut numbers = batch.numbers(&router, Phase::Train);
                    let before = kept_gates(&router, &batch, &numbers);
                    let mut random = SplitMix(other);
                    numbers.logits[from * batch.experts..].fill_with(|| random.unit());
                    let after = kept_gates(&router, &batch, &numbers);
                    prop_assert_eq!(&before[..from], &after[..from], "{:?}, {:?}", policy, priority);
                }
            }
        }
    }

    #[test]
    fn each_expert_takes_its_best_tokens(batch in batches(), rows in 0..6_u32, most in 1..20_u32) {
        for softmax_over in [SoftmaxOver::Experts, SoftmaxOver::Tokens] {
            let router = RouterConfig {
                capacity: CapacityRule::Fixed(ByPhase::both(rows)),
                groups: Groups::AtMost(most),
                ..config(&batch, Policy::ExpertChoice { softmax: softmax_over })
            }.check().unwrap();
            let numbers = batch.numbers(&router, Phase::Train);
            let routed = routed(&router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
            let expected = expert_choice(&batch, &numbers, routed.shape.group_tokens, rows as usize, softmax_over);
            for token in 0..batch.tokens {
                let found: Vec<(u32, f64)> = routed.slots(token)
                    .map(|slot| (routed.experts[slot], routed.gates[slot])).collect();
                prop_assert_eq!(found.len(), expected[token].len(), "token {}", token);
                for (found, expected) in found.iter().zip(&expected[token]) {
                    prop_assert!(found.0 == expected.0 && close(found.1, expected.1), "{found:?} {expected:?}");
                }
            }
            let plan = planned_by(&router, &routed);
            assert_partition(&routed.routing(), &plan);
            prop_assert!(plan.slot_rows.iter().all(|&row| row != DROPPED));
        }
    }

    #[test]
    fn recordings_replay_to_the_bit(batch in batches(), capacity in 0..5_u32) {
        let mut policies = token_choice_policies(batch.experts as u32);
        policies.extend([
            Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
            Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
            Policy::CappedExpertChoice { cap: 2, temperature: 0.01, rounds: 100 },
        ]);
        for policy in policies {
            let capacity = CapacityRule::Fixed(ByPhase::both(capacity));
            let router = RouterConfig { capacity, ..config(&batch, policy) }.check().unwrap();
            let numbers = batch.numbers(&router, Phase::Train);
            let routed = routed(&router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
            let plan = planned_by(&router, &routed);
            let mut words = vec![7; recording_len(batch.tokens, routed.experts.len())];
            record(&routed.routing(), &routed.cache(), &plan.plan(), &mut words).unwrap();

            let recording = Recording::parse(&words).unwrap();
            let shape = routed.shape;
            let (mut reals, mut integers) = (vec![f64::NAN; shape.reals_len()], vec![9; shape.integers_len()]);
            let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
            let again = recording.route(&router, Phase::Train, &numbers.input(), storage).unwrap();
            prop_assert_eq!(again.routing, routed.routing(), "{:?}", policy);
            prop_assert_eq!(again.cache, routed.cache(), "{:?}", policy);
            let slots = routed.experts.len();
            let mut memory = vec![5; PlanStorage::len(slots, shape.experts)];
            let storage = PlanStorage::new(slots, shape.experts, &mut memory).unwrap();
            let replayed = OwnedPlan::of(&recording.plan(&again.routing, storage).unwrap());
            prop_assert_eq!(&replayed, &plan, "{:?}", policy);

            // Any one word changed, or lost, is an error or a recording, never a panic.
            let mut random = SplitMix(batch.seed);
            let place = random.below(words.len());
            words[place] = random.below(1 << 32) as u32;
            let _ = Recording::parse(&words).map(|recording| recording.plan(&again.routing,
                PlanStorage::new(slots, shape.experts, &mut vec![0; PlanStorage::len(slots, shape.experts)]).unwrap()).is_ok());
            prop_assert!(Recording::parse(&words[..place]).is_err());
        }
    }
}

/// For every token its slots' experts and gates, without those that were dropped.
fn kept_gates(router: &Router, batch: &Batch, numbers: &Numbers) -> Vec<Vec<(u32, f64)>> {
    let routed = routed(router, Phase::Train, batch.tokens, &numbers.input()).unwrap();
    let plan = planned_by(router, &routed);
    let mut gates = routed.gates.clone();
    if router.normalises_after_dropping() {
        normalise_kept(&plan.plan(), &routed.routing(), &mut gates).unwrap();
    }
    let of_token = |token: usize| {
        let kept = routed.slots(token).filter(|&slot| plan.slot_rows[slot] != DROPPED);
        kept.map(|slot| (routed.experts[slot], gates[slot])).collect()
    };
    (0..batch.tokens).map(of_token).collect()
}

/// Expert choice by sorting: each token's experts with their gates.
fn expert_choice(
    batch: &Batch,
    numbers: &Numbers,
    group_tokens: usize,
    rows: usize,
    softmax_over: SoftmaxOver,
) -> Vec<Vec<(u32, f64)>> {
    let mut taken = vec![Vec::new(); batch.tokens];
    let real: Vec<usize> = (0..batch.tokens).filter(|&token| numbers.is_real(token)).collect();
    let logit = |token: usize, expert: usize| numbers.logits[token * batch.experts + expert];
    let row = |token: usize| softmax(&numbers.logits[token * batch.experts..(token + 1) * batch.experts]);
    for start in (0..batch.tokens).step_by(group_tokens.max(1)) {
        let group: Vec<usize> =
            real.iter().copied().filter(|token| (start..start + group_tokens).contains(token)).collect();
        for expert in 0..batch.experts {
            let scores: Vec<f64> = match softmax_over {
                SoftmaxOver::Experts => group.iter().map(|&token| row(token)[expert]).collect(),
                SoftmaxOver::Tokens => {
                    softmax(&group.iter().map(|&token| logit(token, expert)).collect::<Vec<_>>())
                }
            };
            for &place in descending(&scores).iter().take(rows) {
                taken[group[place as usize]].push((expert as u32, scores[place as usize]));
            }
        }
    }
    if softmax_over == SoftmaxOver::Tokens {
        for token in &mut taken {
            let number = token.len() as f64;
            token.iter_mut().for_each(|(_, gate)| *gate /= number);
        }
    }
    taken
}
