//! Every policy at every edge: no tokens, one expert, all experts, no room, ties, and logits that are no numbers.

mod common;

use common::moe::*;
use common::moe_batches::{Batch, Numbers, token_choice_policies};
use mixlet_core::moe::balance::{Calibration, LoadBalance, selection_loss_forward};
use mixlet_core::moe::logit_losses::{TokenLogits, entropy_forward, z_loss_forward};
use mixlet_core::moe::noisy::{NoisyLoad, TutelLoss, importance_forward};
use mixlet_core::moe::*;

/// Every policy there is, with every setting, for a number of experts.
fn policies(experts: u32) -> Vec<Policy> {
    let mut policies = token_choice_policies(experts);
    policies.push(Policy::Hash);
    policies
        .extend([SoftmaxOver::Experts, SoftmaxOver::Tokens].map(|softmax| Policy::ExpertChoice { softmax }));
    policies.extend([1, 2, experts].map(|cap| Policy::CappedExpertChoice {
        cap,
        temperature: 0.01,
        rounds: 200,
    }));
    policies
}

/// A router and what it is given.
struct Case {
    router: Router,
    numbers: Numbers,
    hashed: Vec<u32>,
    tokens: usize,
}

impl Case {
    fn new(experts: u32, policy: Policy, capacity: CapacityRule, tokens: usize) -> Option<Self> {
        let config = RouterConfig { experts, policy, capacity, ..RouterConfig::default() };
        let router = match config.check() {
            Ok(router) => router,
            // Expert choice has to know how many tokens to take.
            Err(RouterError::NeedsCapacity) if policy.top_k().is_none() => return None,
            Err(error) => panic!("{policy:?}: {error}"),
        };
        let batch = Batch { tokens, experts: experts as usize, seed: 5, ties: false, padded: false };
        let mut numbers = batch.numbers(&router, Phase::Train);
        let is_hash = policy == Policy::Hash;
        if is_hash {
            numbers.logits.clear();
        }
        let hashed = (0..tokens as u32).filter(|_| is_hash).map(|token| token % experts).collect();
        Some(Self { router, numbers, hashed, tokens })
    }

    fn policy(&self) -> Policy {
        self.router.config().policy
    }

    fn input(&self) -> RouterInput<'_, f64> {
        RouterInput { hashed: &self.hashed, ..self.numbers.input() }
    }

    fn routed(&self) -> OwnedRouting<f64> {
        routed(&self.router, Phase::Train, self.tokens, &self.input())
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.policy()))
    }
}

/// All cases of some experts: with a limit of rows and, where that is possible, without.
fn cases(experts: u32, tokens: usize, rows: u32) -> impl Iterator<Item = Case> {
    let rules = [CapacityRule::Fixed(ByPhase::both(rows)), CapacityRule::Dropless];
    let all = policies(experts).into_iter().flat_map(move |policy| rules.map(|rule| (policy, rule)));
    all.filter_map(move |(policy, rule)| Case::new(experts, policy, rule, tokens))
}

#[test]
fn no_tokens_give_no_slots_and_no_rows() {
    for case in cases(4, 0, 3) {
        let routed = case.routed();
        assert_eq!((&routed.token_offsets[..], routed.experts.len()), (&[0][..], 0), "{:?}", case.policy());
        let plan = planned_by(&case.router, &routed);
        assert_eq!((plan.expert_load, plan.row_slots), (vec![0; 4], vec![]), "{:?}", case.policy());
    }
}

#[test]
fn losses_of_no_tokens_are_nothing() {
    for case in cases(4, 0, 3) {
        let (routed, policy) = (case.routed(), case.policy());
        let (cache, routing) = (routed.cache(), routed.routing());
        let logits = TokenLogits { logits: &[], experts: 4, real: None };
        assert_eq!((z_loss_forward(&logits, &mut []), entropy_forward(&logits, &mut [])), (Ok(0.0), Ok(0.0)));
        assert_eq!(importance_forward(&routing, &mut [f64::NAN; 4]), Ok(0.0), "{policy:?}");
        assert_eq!(selection_loss_forward(&cache, &mut []), Ok(0.0), "{policy:?}");
        if let Ok(loss) = LoadBalance::new(&case.router, Calibration::Switch, cache, None) {
            let mut fractions = vec![f64::NAN; loss.fractions_len()];
            assert_eq!(loss.forward(&mut fractions), Ok(0.0), "{policy:?}");
            assert_eq!(loss.backward(&fractions, 1.0, &mut []), Ok(()), "{policy:?}");
        }
        if let Ok(loss) = NoisyLoad::new(&case.router, case.input(), cache) {
            assert_eq!(loss.forward(&mut [f64::NAN; 4]), Ok(0.0), "{policy:?}");
        }
        if let Ok(loss) = TutelLoss::new(&case.router, case.input(), cache) {
            assert_eq!(loss.forward(&mut [f64::NAN; 4], &mut [f64::NAN; 4]), Ok(0.0), "{policy:?}");
        }
        let mut grads: [f64; 0] = [];
        assert_eq!(route_backward(&case.router, Phase::Train, &routing, &cache, &[], &mut grads), Ok(()));
    }
}

#[test]
fn a_single_expert_gets_every_token() {
    for case in cases(1, 5, 5) {
        let routed = case.routed();
        let plan = planned_by(&case.router, &routed);
        assert_eq!(
            (plan.expert_load, plan.row_tokens),
            (vec![5], vec![0, 1, 2, 3, 4]),
            "{:?}",
            case.policy()
        );
        let expected = match case.policy() {
            // A sigmoid stays one where it is not divided by its sum.
            Policy::DeepSeekV3 { normalise: true, scale, .. } => [scale; 5],
            Policy::DeepSeekV3 { .. } => continue,
            // Experts whose softmax runs over tokens share one between these.
            Policy::ExpertChoice { softmax: SoftmaxOver::Tokens } => {
                assert!((routed.gates.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                continue;
            }
            _ => [1.0; 5],
        };
        assert_close(&format!("{:?}", case.policy()), &routed.gates, &expected, 1e-8);
    }
}

#[test]
fn top_k_of_all_experts_names_each_once() {
    for case in cases(4, 6, 9) {
        let routed = case.routed();
        for token in (0..6).filter(|_| case.policy().top_k() == Some(4)) {
            let mut chosen = routed.chosen[routed.slots(token)].to_vec();
            chosen.sort_unstable();
            assert_eq!(chosen, [0, 1, 2, 3], "{:?}, token {token}", case.policy());
        }
    }
    assert!(policies(4).iter().filter(|policy| policy.top_k() == Some(4)).count() > 10, "few such policies");
}

#[test]
fn without_room_the_output_is_exactly_zero() {
    const DIM: usize = 3;
    for case in cases(4, 6, 0).filter(|case| case.router.config().capacity != CapacityRule::Dropless) {
        let routed = case.routed();
        let plan = planned_by(&case.router, &routed);
        assert_eq!(plan.row_slots.len(), 0, "{:?}", case.policy());
        let mut out = [f64::NAN; 6 * DIM];
        combine(&plan.plan(), &routed.routing(), &[], DIM, &mut out).unwrap();
        assert!(out.iter().all(|value| value.to_bits() == 0), "{:?}: {out:?}", case.policy());
        let usage = usage(routed.shape, &plan.plan(), &routed.routing(), None).unwrap();
        assert_eq!((usage.dispatched, usage.left_behind), (0, 1.0), "{:?}", case.policy());
        assert_eq!(usage.dropped, usage.slots, "{:?}", case.policy());
    }
}

#[test]
fn ties_go_to_the_lower_index() {
    for mut case in cases(4, 3, 2) {
        case.numbers.logits.fill(0.25);
        // Without noise, and with the lowest of all draws.
        case.numbers.draws.fill(0.0);
        case.numbers.bias.fill(0.0);
        let routed = case.routed();
        match case.policy().top_k() {
            Some(_) if case.policy() == Policy::Hash => assert_eq!(routed.experts, [0, 1, 2]),
            Some(top_k) => {
                let lowest: Vec<u32> = (0..top_k).collect();
                assert_eq!(routed.chosen, lowest.repeat(3), "{:?}", case.policy());
            }
            None => {
                // Two tokens each: the first ones that have a place left.
                let Policy::CappedExpertChoice { cap: 1, .. } = case.policy() else {
                    let of_token = |token: usize| routed.experts[routed.slots(token)].to_vec();
                    let Policy::CappedExpertChoice { cap: 2, .. } = case.policy() else {
                        let expected = [vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![]];
                        assert_eq!([0, 1, 2].map(of_token), expected, "{:?}", case.policy());
                        continue;
                    };
                    assert!((0..3).all(|token| of_token(token).len() == 2), "{:?}", case.policy());
                    continue;
                };
                assert_eq!(routed.token_offsets, [0, 1, 2, 3], "{:?}", case.policy());
            }
        }
    }
}

#[test]
fn a_logit_that_is_no_number_names_its_token() {
    for mut case in cases(4, 5, 2).filter(|case| case.policy() != Policy::Hash) {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let logits = case.numbers.logits.clone();
            case.numbers.logits[3 * 4 + 2] = bad;
            let error = routed(&case.router, Phase::Train, case.tokens, &case.input()).unwrap_err();
            assert_eq!(error, RouterError::NonFinite { token: 3 }, "{:?}, {bad}", case.policy());
            // Padding may hold anything.
            let real = [true, true, true, false, true];
            let input = RouterInput { real: Some(&real), ..case.input() };
            assert!(routed(&case.router, Phase::Train, case.tokens, &input).is_ok(), "{:?}", case.policy());
            case.numbers.logits = logits;
        }
    }
    let hash = Case { hashed: vec![0, 4], ..Case::new(4, Policy::Hash, CapacityRule::Dropless, 2).unwrap() };
    let error = routed(&hash.router, Phase::Train, 2, &hash.input()).unwrap_err();
    assert_eq!(error, RouterError::Expert { slot: 1, expert: 4, experts: 4 });
}

#[test]
fn loads_add_up_and_utilisation_is_rows_over_places() {
    for rows in [1, 2, 5] {
        for case in cases(4, 8, rows) {
            let routed = case.routed();
            let plan = planned_by(&case.router, &routed);
            let usage = usage(routed.shape, &plan.plan(), &routed.routing(), None).unwrap();
            let sent = routed.experts.iter().filter(|&&expert| expert != UNSENT).count();
            assert_eq!(usage.slots as usize, sent, "{:?}", case.policy());
            assert_eq!(usage.dispatched, usage.slots - usage.dropped, "{:?}", case.policy());
            let places = f64::from(rows * 4);
            let expected = routed.shape.capacity.map(|_| usage.dispatched as f64 / places);
            let off = usage.utilisation.zip(expected).map_or(0.0, |(a, b)| (a - b).abs());
            assert_eq!(usage.utilisation.is_some(), expected.is_some(), "{:?}", case.policy());
            assert!(off < 1e-15, "{:?}: {:?}, expected {expected:?}", case.policy(), usage.utilisation);
            if matches!(case.policy(), Policy::ExpertChoice { .. }) {
                assert_eq!(usage.utilisation, Some(1.0), "{:?}", case.policy());
            }
        }
    }
}
