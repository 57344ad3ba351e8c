//! Chance chooses by the rules, one seed gives one text, and every prompt of a batch is answered as if it were alone.

mod common;

use common::random::SplitMix;
use common::sampling::{penalised, probabilities};
use common::small_models::{mixtral, model, switch};
use mixlet_core::select::null::chi_square_quantile;
use mixlet_runtime::error::Result;
use mixlet_runtime::models::forward::{Side, Tokens, Trace};
use mixlet_runtime::models::generate::{Finish, Generation, Listen, Prompts, Sampling, penalise};
use mixlet_runtime::models::{Batch, Model};

const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0, seed: 0 };

/// Logits of which some are equal.
fn logits(count: usize, random: &mut SplitMix) -> Vec<f32> {
    (0..count).map(|_| (random.unit() * 80.0).floor() as f32 / 10.0 - 4.0).collect()
}

fn settings() -> Vec<Sampling> {
    let mut all = Vec::new();
    for temperature in [0.3, 1.0, 2.5] {
        for top_k in [None, Some(1), Some(7), Some(500)] {
            for top_p in [1e-9, 0.4, 0.95, 0.999_999, 1.0] {
                for min_p in [0.0, 0.2, 0.999] {
                    all.push(Sampling { temperature, top_k, top_p, min_p, seed: 0 });
                }
            }
        }
    }
    all
}

#[test]
fn candidates_are_those_of_the_rules() {
    let mut random = SplitMix(5);
    for count in [1, 2, 40, 300] {
        let logits = logits(count, &mut random);
        for how in settings() {
            let expected = probabilities(&how, &logits);
            let mut found = vec![0.0; count];
            for candidate in how.candidates(&logits) {
                found[candidate.id as usize] = candidate.probability;
            }
            for (id, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{count} ids, {how:?}, id {id}: {found}, {expected}"
                );
                assert_eq!(*found > 0.0, *expected > 0.0, "{count} ids, {how:?}, id {id}");
            }
        }
    }
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    let mut random = SplitMix(6);
    for count in [3, 64, 65, 1000] {
        let logits = logits(count, &mut random);
        let all = probabilities(&PLAIN, &logits);
        for top_p in [0.01, 0.3, 0.77, 0.95, 0.999] {
            let kept = Sampling { top_p, ..PLAIN }.candidates(&logits);
            let mut shares: Vec<f64> = kept.iter().map(|it| all[it.id as usize]).collect();
            shares.sort_by(f64::total_cmp);
            let sum: f64 = shares.iter().sum();
            assert!(sum >= top_p - 1e-12 && sum - shares[0] < top_p + 1e-12, "{count}, {top_p}: {sum}");
            let outside =
                all.iter().enumerate().filter(|(id, _)| kept.iter().all(|it| it.id as usize != *id));
            let likeliest_outside = outside.map(|(_, share)| *share).fold(0.0, f64::max);
            assert!(likeliest_outside <= shares[0], "{count}, {top_p}: a likelier one is left out");
        }
    }
}

#[test]
fn of_equal_logits_the_lower_ids_stay() {
    let ids = |how: Sampling, logits: &[f32]| -> Vec<u32> {
        how.candidates(logits).iter().map(|it| it.id).collect()
    };
    let logits = [1.0, 2.0, 1.0, 2.0, 1.0, 1.0];
    assert_eq!(ids(Sampling { top_k: Some(3), ..PLAIN }, &logits), [0, 1, 3]);
    assert_eq!(ids(Sampling { top_k: Some(1), ..PLAIN }, &logits), [1]);
    assert_eq!(ids(Sampling { top_p: 0.45, ..PLAIN }, &[0.0; 100]), (0..45).collect::<Vec<_>>());
    assert_eq!(ids(Sampling { top_p: 0.9, ..PLAIN }, &[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]), [1]);
}

#[test]
fn frequencies_are_the_probabilities() {
    let logits = logits(30, &mut SplitMix(8));
    let draws = 40_000;
    for how in [
        Sampling { temperature: 2.0, ..PLAIN },
        Sampling { top_k: Some(9), ..PLAIN },
        Sampling { top_p: 0.9, min_p: 0.01, temperature: 1.3, ..PLAIN },
    ] {
        let expected = probabilities(&how, &logits);
        let mut counts = vec![0_u32; logits.len()];
        let mut chance = how.chance([], 0);
        (0..draws).for_each(|_| counts[how.choose(&logits, &mut chance) as usize] += 1);
        let mut chi_square = 0.0;
        let mut freedom = 0;
        for (count, probability) in counts.iter().zip(&expected) {
            let expected = probability * f64::from(draws);
            if expected == 0.0 {
                assert_eq!(*count, 0, "{how:?}");
            } else {
                chi_square += (f64::from(*count) - expected).powi(2) / expected;
                freedom += 1;
            }
        }
        let limit = chi_square_quantile(0.999, f64::from(freedom - 1));
        assert!(chi_square < limit, "{how:?}: {chi_square} of {limit}");
        // Nor are they too even to be by chance.
        assert!(chi_square > chi_square_quantile(0.001, f64::from(freedom - 1)), "{how:?}: {chi_square}");
    }
}

#[test]
fn penalties_are_those_of_the_rule() {
    let logits = logits(20, &mut SplitMix(9));
    for (ids, penalty) in [(&[3, 3, 19, 0][..], 1.7), (&[], 2.0), (&[1, 2], 0.5), (&[4, 99], 1.0)] {
        let mut found = logits.clone();
        penalise(&mut found, ids, penalty);
        assert_eq!(found, penalised(&logits, ids, penalty), "{ids:?}, {penalty}");
    }
}

const PROMPTS: [&[u32]; 4] = [&[5, 6, 7, 8, 9, 10, 11], &[12, 13], &[14], &[15, 16, 17, 18]];

fn prompts() -> Vec<Vec<u32>> {
    PROMPTS.iter().map(|ids| ids.to_vec()).collect()
}

/// New ids of each prompt and sample.
fn written(model: &Model, prompts: &[Vec<u32>], how: Generation) -> Vec<Vec<u32>> {
    let prompts = Prompts::new(&model.config, prompts);
    let generated = model.generate(prompts.tokens(), prompts.sequences, how, &mut ()).unwrap();
    generated.sequences.iter().map(|ids| ids[generated.prompt..].to_vec()).collect()
}

fn models() -> [Model; 2] {
    [model(&mixtral(120), 1), model(&switch(120), 2)]
}

#[test]
fn each_prompt_of_a_batch_is_answered_as_if_alone() {
    let by_chance = Generation {
        sampling: Some(Sampling { temperature: 1.5, seed: 7, ..PLAIN }),
        ..Generation::default()
    };
    let penalty = Generation { repetition_penalty: 1.5, ..Generation::default() };
    for model in models() {
        for how in [Generation::default(), by_chance, penalty, Generation { samples: 3, ..by_chance }] {
            for how in [how, Generation { cached: false, ..how }] {
                let together = written(&model, &prompts(), how);
                assert_eq!(together.len(), 4 * how.samples);
                for (nth, prompt) in prompts().into_iter().enumerate() {
                    let alone = written(&model, &[prompt], how);
                    assert_eq!(alone, together[nth * how.samples..][..how.samples], "{nth}, {how:?}");
                }
            }
        }
    }
}

#[test]
fn one_seed_one_text_whatever_the_threads() {
    let how = |seed, samples| {
        let sampling = Some(Sampling { temperature: 1.5, top_k: Some(50), top_p: 0.95, seed, ..PLAIN });
        Generation { sampling, samples, ..Generation::default() }
    };
    for model in models() {
        let run = |threads, how| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| written(&model, &prompts(), how))
        };
        assert_eq!(run(1, how(3, 2)), run(3, how(3, 2)));
        let (few, more) = (run(1, how(3, 1)), run(1, how(3, 2)));
        assert_eq!(few, more.iter().step_by(2).cloned().collect::<Vec<_>>(), "more samples change the first");
        let samples: Vec<bool> = more.chunks(2).map(|pair| pair[0] == pair[1]).collect();
        assert_eq!(samples, [false; 4], "samples of a prompt differ");
        assert_ne!(few, run(1, how(4, 1)));
    }
}

#[test]
fn a_single_candidate_is_the_greedy_one() {
    for model in models() {
        let greedy = written(&model, &prompts(), Generation::default());
        for how in [
            Sampling { top_k: Some(1), ..PLAIN },
            Sampling { top_p: 1e-9, ..PLAIN },
            Sampling { temperature: 1e-4, ..PLAIN },
        ] {
            let how = Generation { sampling: Some(how), ..Generation::default() };
            assert_eq!(written(&model, &prompts(), how), greedy, "{how:?}");
        }
    }
}

#[test]
fn penalties_count_the_prompt_and_what_is_written() {
    let model = model(&mixtral(120), 3);
    let how = Generation { repetition_penalty: 1.3, max_new_tokens: 15, ..Generation::default() };
    let mut ids = PROMPTS[0].to_vec();
    for _ in 0..how.max_new_tokens {
        let batch = Batch { sequences: 1, ids: ids.clone(), ..Batch::default() };
        let logits = model.logits(&batch, &mut ()).unwrap();
        let last = penalised(&logits[logits.len() - 120..], &ids, 1.3);
        let best = (0..120).max_by(|a, b| last[*a].total_cmp(&last[*b]).then(b.cmp(a))).unwrap();
        ids.push(best as u32);
    }
    assert_eq!(written(&model, &prompts()[..1], how)[0], ids[PROMPTS[0].len()..]);
    assert_ne!(
        written(&model, &prompts()[..1], Generation { repetition_penalty: 1.0, ..how })[0],
        ids[PROMPTS[0].len()..]
    );
    // So strong that nothing comes twice.
    let none_twice =
        written(&model, &prompts(), Generation { repetition_penalty: 1e6, max_new_tokens: 50, ..how });
    for (text, prompt) in none_twice.iter().zip(&prompts()) {
        let mut all = [&prompt[..], text].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), prompt.len() + text.len());
    }
}

/// Keeps what it hears, and has enough of the first text after three tokens.
#[derive(Default)]
struct Heard {
    tokens: Vec<Vec<u32>>,
    steps: Vec<usize>,
}

impl Listen for Heard {
    fn token(&mut self, nth: usize, id: u32) -> Result<bool> {
        self.tokens.resize(self.tokens.len().max(nth + 1), Vec::new());
        self.tokens[nth].push(id);
        Ok(nth > 0 || self.tokens[0].len() < 3)
    }

    fn step(&mut self, tokens: usize) {
        self.steps.push(tokens);
    }
}

#[test]
fn who_listens_hears_every_token_and_ends_a_text_alone() {
    let mut model = model(&mixtral(120), 4);
    let free = written(&model, &prompts(), Generation::default());
    // An id that the third text has, and the others do not before their ends.
    let place = (4..20).find(|place| {
        !free[1][..*place].contains(&free[2][*place]) && !free[2][..*place].contains(&free[2][*place])
    });
    let place = place.unwrap();
    model.config.ids.end = vec![free[2][place]];
    let (batch, mut heard) = (Prompts::new(&model.config, &prompts()), Heard::default());
    let how = Generation::default();
    let generated = model.generate_to(batch.tokens(), 4, how, &mut (), &mut heard).unwrap();
    let new: Vec<&[u32]> = generated.sequences.iter().map(|ids| &ids[generated.prompt..]).collect();
    assert_eq!(heard.tokens, new);
    assert_eq!((new[0], new[2]), (&free[0][..3], &free[2][..=place]));
    assert_eq!((generated.finishes[0], generated.finishes[2]), (Finish::Stop, Finish::End));
    for (nth, finish) in
        generated.finishes.iter().enumerate().filter(|(_, finish)| **finish == Finish::Length)
    {
        assert_eq!(new[nth], free[nth], "{finish:?}");
    }
    assert_eq!(heard.steps, (1..=20).collect::<Vec<_>>());
}

#[test]
fn who_watches_sees_every_token_routed() {
    for (model, encoder_tokens, prompt) in [(model(&mixtral(120), 1), 0, 2), (model(&switch(120), 2), 2, 1)] {
        let mut trace = Trace::default();
        let how = Generation { stop_at_end: false, max_new_tokens: 6, ..Generation::default() };
        model.generate(Tokens { ids: &[12, 13], real: None }, 1, how, &mut trace).unwrap();
        let tokens = |side| -> usize {
            let of = trace.mixtures.iter().filter(|it| it.side == side && it.layer == 1);
            of.map(|it| it.logits.len() / it.experts).sum()
        };
        assert_eq!((tokens(Side::Encoder), tokens(Side::Decoder)), (encoder_tokens, prompt + 5));
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    let model = model(&mixtral(120), 1);
    let message =
        |how| model.generate(Tokens { ids: &[3], real: None }, 1, how, &mut ()).unwrap_err().to_string();
    let beams = "beams take the likeliest texts, expected no chance, samples or penalty beside them; ask for one beam";
    let chance = |sampling| Generation { sampling: Some(sampling), ..Generation::default() };
    let cases = [
        (chance(Sampling { temperature: 0.0, ..PLAIN }), "temperature is 0, expected a number above 0"),
        (
            chance(Sampling { temperature: f64::NAN, ..PLAIN }),
            "temperature is NaN, expected a number above 0",
        ),
        (chance(Sampling { top_k: Some(0), ..PLAIN }), "top_k is 0, expected a whole number from 1"),
        (chance(Sampling { top_p: 0.0, ..PLAIN }), "top_p is 0, expected a share above 0, at most 1"),
        (chance(Sampling { top_p: 1.5, ..PLAIN }), "top_p is 1.5, expected a share above 0, at most 1"),
        (chance(Sampling { min_p: 1.0, ..PLAIN }), "min_p is 1, expected a share from 0, below 1"),
        (
            Generation { repetition_penalty: 0.0, ..Generation::default() },
            "repetition_penalty is 0, expected a number above 0",
        ),
        (Generation { beams: 2, ..chance(PLAIN) }, beams),
        (Generation { beams: 2, samples: 2, ..Generation::default() }, beams),
        (Generation { beams: 2, repetition_penalty: 1.1, ..Generation::default() }, beams),
        (
            Generation { max_new_tokens: 65, ..Generation::default() },
            "65 tokens, expected at most 64; shorten the input or ask for fewer new ones",
        ),
    ];
    for (how, expected) in cases {
        assert_eq!(message(how), expected);
    }
}
