//! Capped expert choice: against Dykstra's algorithm as written down, brute force, and its own promises.

mod common;

use common::moe::*;
use common::moe_reference::{dykstra, softmax};
use common::random::SplitMix;
use mixlet_core::moe::*;
use proptest::prelude::*;

fn capped(experts: usize, rows: u32, cap: u32, temperature: f64, rounds: u32) -> Router {
    RouterConfig {
        experts: experts as u32,
        policy: Policy::CappedExpertChoice { cap, temperature, rounds },
        capacity: CapacityRule::Fixed(ByPhase::both(rows)),
        ..RouterConfig::default()
    }
    .check()
    .unwrap()
}

fn logits(tokens: usize, experts: usize, random: &mut SplitMix) -> Vec<f64> {
    // Some tokens are wanted by most experts: without a cap they would be taken by all.
    (0..tokens)
        .flat_map(|_| {
            let wanted = 2.0 * random.unit();
            (0..experts).map(|_| wanted + 4.0 * random.unit()).collect::<Vec<_>>()
        })
        .collect()
}

fn scores(logits: &[f64], experts: usize) -> Vec<Vec<f64>> {
    logits.chunks(experts).map(softmax).collect()
}

/// How far a matrix is from the program's sums.
fn residual(a: &[Vec<f64>], rows: f64, cap: f64) -> f64 {
    let experts = a[0].len();
    let off = |e: usize| (a.iter().map(|row| row[e]).sum::<f64>() / rows - 1.0).abs();
    let over = a.iter().map(|row| row.iter().sum::<f64>() / cap - 1.0);
    (0..experts).map(off).chain(over).fold(0.0, f64::max)
}

#[test]
fn rounds_are_dykstras() {
    let mut random = SplitMix(4);
    for (tokens, experts, rows, cap, temperature) in
        [(12, 4, 6, 2, 0.05), (12, 4, 3, 1, 0.02), (20, 6, 9, 3, 0.1), (9, 3, 4, 2, 0.5), (16, 8, 4, 2, 0.01)]
    {
        let logits = logits(tokens, experts, &mut random);
        for rounds in [1, 2, 3, 5, 10, 40] {
            let router = capped(experts, rows, cap, temperature, rounds);
            let input = RouterInput::of_logits(&logits);
            let program = routed(&router, Phase::Train, tokens, &input).unwrap().program.unwrap();
            if program.rounds < rounds {
                assert!(program.residual < 1e-3, "ended early without cause: {program:?}");
                continue;
            }
            let (rows, cap) = (f64::from(rows), f64::from(cap));
            let a = dykstra(&scores(&logits, experts), rows, cap, temperature, rounds as usize);
            let expected = residual(&a, rows, cap);
            let off = (program.residual - expected).abs();
            assert!(
                off < 1e-9,
                "{tokens} tokens, {rounds} rounds: {}, expected {expected}",
                program.residual
            );
        }
    }
}

#[test]
fn the_usual_settings_become_feasible_and_fill_every_expert() {
    let mut random = SplitMix(9);
    for (tokens, experts, cap) in [(64, 8, 2), (128, 16, 3), (256, 8, 3)] {
        // Two experts per token on average.
        let rows = (2 * tokens / experts) as u32;
        let logits = logits(tokens, experts, &mut random);
        let router = capped(experts, rows, cap, 0.05, 200);
        let routed = routed(&router, Phase::Train, tokens, &RouterInput::of_logits(&logits)).unwrap();
        let program = routed.program.unwrap();
        println!("{tokens} tokens, {experts} experts, cap {cap}: {program:?}");
        assert!(program.residual < 1e-3 && program.unfilled == 0, "{program:?}");
        let plan = planned_by(&router, &routed);
        assert!(plan.plan().runs().all(|run| run.len() == rows as usize));
    }
}

/// The best total score of any choice: every expert takes `rows` tokens, no token goes to more than `cap`.
fn best_total(scores: &[Vec<f64>], rows: u32, cap: u32, expert: usize, taken: &mut [u32]) -> f64 {
    if expert == scores[0].len() {
        return 0.0;
    }
    let mut best = f64::NEG_INFINITY;
    for set in (0..1_u32 << scores.len()).filter(|set| set.count_ones() == rows) {
        let chosen: Vec<usize> = (0..scores.len()).filter(|token| set >> token & 1 == 1).collect();
        if chosen.iter().any(|&token| taken[token] == cap) {
            continue;
        }
        chosen.iter().for_each(|&token| taken[token] += 1);
        let here: f64 = chosen.iter().map(|&token| scores[token][expert]).sum();
        best = best.max(here + best_total(scores, rows, cap, expert + 1, taken));
        chosen.iter().for_each(|&token| taken[token] -= 1);
    }
    best
}

#[test]
fn the_choice_is_nearly_the_best_there_is() {
    let mut random = SplitMix(1);
    for case in 0..20 {
        let (tokens, experts, rows, cap) = (6, 3, 3, 2);
        let logits = logits(tokens, experts, &mut random);
        let router = capped(experts, rows, cap, 0.001, 1000);
        let routed = routed(&router, Phase::Train, tokens, &RouterInput::of_logits(&logits)).unwrap();
        assert_eq!(routed.program.unwrap().unfilled, 0, "case {case}");
        let total: f64 = routed.gates.iter().sum();
        let best = best_total(&scores(&logits, experts), rows, cap, 0, &mut vec![0; tokens]);
        assert!(total <= best + 1e-12 && total > 0.97 * best, "case {case}: {total}, the best is {best}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_token_passes_the_cap(
        (tokens, experts) in (0..20_usize, 1..7_usize), rows in 0..8_u32, cap in 1..7_u32,
        seed in any::<u64>(), rounds in 1..30_u32, padded in any::<bool>(),
    ) {
        let mut random = SplitMix(seed);
        let logits = logits(tokens, experts, &mut random);
        let real: Vec<bool> = (0..tokens).map(|_| !padded || random.unit() < 0.7).collect();
        for temperature in [1.0, 0.05, 0.001] {
            let router = capped(experts, rows, cap, temperature, rounds);
            let input = RouterInput { real: Some(&real), ..RouterInput::of_logits(&logits) };
            let single = reals::<f32>(&logits);
            let input32 = RouterInput { real: Some(&real), ..RouterInput::of_logits(&single) };
            let double = routed(&router, Phase::Train, tokens, &input).unwrap();
            let counts = [&double.token_offsets, &routed(&router, Phase::Train, tokens, &input32).unwrap().token_offsets]
                .map(|offsets| offsets.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>());
            for counts in counts {
                prop_assert!(counts.iter().all(|&count| count <= cap), "{counts:?}");
                prop_assert!(counts.iter().zip(&real).all(|(&count, &real)| real || count == 0));
            }
            // Experts are full but for what is reported.
            let places = rows.min(real.iter().filter(|&&real| real).count() as u32) * experts as u32;
            prop_assert_eq!(double.experts.len() as u32 + double.program.unwrap().unfilled, places);
        }
    }

    #[test]
    fn a_cap_of_all_experts_is_no_cap(
        (tokens, experts) in (0..20_usize, 1..7_usize), rows in 0..8_u32, seed in any::<u64>(), ties in any::<bool>(),
    ) {
        let mut random = SplitMix(seed);
        let mut logits = logits(tokens, experts, &mut random);
        if ties {
            logits.iter_mut().for_each(|logit| *logit = logit.round());
        }
        let capped = capped(experts, rows, experts as u32, 0.001, 100);
        let plain = RouterConfig {
            policy: Policy::ExpertChoice { softmax: SoftmaxOver::Experts }, ..*capped.config()
        }.check().unwrap();
        let input = RouterInput::of_logits(&logits);
        let [capped, plain] = [capped, plain].map(|router| routed(&router, Phase::Train, tokens, &input).unwrap());
        prop_assert_eq!(capped.routing(), plain.routing());
    }
}
