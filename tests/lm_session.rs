//! A session reads in one go or in parts, padded or not, on any number of threads: it says the same.

mod common;

use common::shared;
use mixlet_runtime::models::Model;
use mixlet_runtime::models::forward::{Session, Tokens, Trace, Wanted};
use mixlet_runtime::models::generate::Generation;

/// Models whose experts drop nothing: a capacity counts the tokens of a call.
const DROPLESS: [&str; 7] =
    ["t5_v1_1", "t5_relu_tied", "mixtral", "olmoe", "qwen2_moe", "gpt_oss", "deepseek_v3"];

fn model(name: &str) -> Option<Model> {
    Some(Model::import(&shared::find(&format!("golden/hf/{name}"))?).unwrap().model)
}

fn ids(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|nth| ((nth + seed) * 7919 % 93 + 3) as u32).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The logits of every token of some sequences, read in runs of so many.
fn read(model: &Model, sequences: usize, input: &[u32], output: &[u32], runs: &[usize]) -> Vec<f32> {
    let len = output.len() / sequences;
    let mut session = Session::new(model, sequences, len).unwrap();
    session.encode(Tokens { ids: input, real: None }, &mut ()).unwrap();
    let mut all = vec![Vec::new(); sequences];
    let mut start = 0;
    for run in runs {
        let of_run = output.chunks(len).flat_map(|row| &row[start..start + run]).copied();
        let of_run: Vec<u32> = of_run.collect();
        session.decode(Tokens { ids: &of_run, real: None }, &mut ()).unwrap();
        let mut logits = Vec::new();
        session.logits(Wanted::All, &mut logits).unwrap();
        let rows = logits.chunks(logits.len() / sequences);
        all.iter_mut().zip(rows).for_each(|(all, row)| all.extend(row));
        start += run;
    }
    all.concat()
}

#[test]
fn reading_in_parts_is_reading_at_once() {
    for name in DROPLESS {
        let Some(model) = model(name) else { return };
        let (input, output) = (ids(30, 1), ids(60, 5));
        let whole = read(&model, 2, &input, &output, &[30]);
        for runs in [&[1; 30][..], &[7, 1, 1, 21], &[29, 1]] {
            let parts = read(&model, 2, &input, &output, runs);
            assert!(worst(&whole, &parts) < 2e-5, "{name}, {runs:?}");
        }
    }
}

#[test]
fn a_cache_that_grows_forgets_nothing() {
    // More tokens than a cache has room for at first.
    for name in ["t5_relu_tied", "t5_v1_1"] {
        let Some(model) = model(name) else { return };
        let (input, output) = (ids(10, 2), ids(2 * 150, 3));
        let whole = read(&model, 2, &input, &output, &[150]);
        let parts = read(&model, 2, &input, &output, &[60, 5, 60, 25]);
        assert!(worst(&whole, &parts) < 2e-5, "{name}");
    }
}

#[test]
fn threads_give_the_same_bits() {
    for name in DROPLESS.into_iter().chain(["switch", "nllb_moe"]) {
        let Some(model) = model(name) else { return };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| read(&model, 3, &ids(36, 1), &ids(60, 9), &[17, 1, 2]))
        };
        let (one, three) = (run(1), run(3));
        assert!(one.iter().zip(&three).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
}

#[test]
fn padding_on_the_left_changes_nothing() {
    for name in ["mixtral", "olmoe", "qwen2_moe", "gpt_oss", "deepseek_v3"] {
        let Some(model) = model(name) else { return };
        let (long, short) = (ids(9, 1), ids(5, 4));
        let padded = [&long[..], &[0; 4], &short].concat();
        let real = [vec![true; 9], vec![false; 4], vec![true; 5]].concat();
        let how = Generation { stop_at_end: false, ..Generation::default() };
        for how in [how, Generation { beams: 3, ..how }, Generation { cached: false, ..how }] {
            let together =
                model.generate(Tokens { ids: &padded, real: Some(&real) }, 2, how, &mut ()).unwrap();
            for (nth, prompt) in [&long, &short].into_iter().enumerate() {
                let alone = model.generate(Tokens { ids: prompt, real: None }, 1, how, &mut ()).unwrap();
                let skipped = 9 - prompt.len();
                assert_eq!(together.sequences[nth][skipped..], alone.sequences[0], "{name}, {how:?}");
            }
        }
    }
}

#[test]
fn a_text_ends_at_an_end_id() {
    let Some(mut model) = model("mixtral") else { return };
    let prompt = ids(6, 2);
    let input = Tokens { ids: &prompt, real: None };
    let how = Generation { max_new_tokens: 12, ..Generation::default() };
    let free = model.generate(input, 1, Generation { stop_at_end: false, ..how }, &mut ()).unwrap().sequences;
    let end = free[0][8];
    model.config.ids.end = vec![end];
    let place = free[0][6..].iter().position(|id| *id == end).unwrap();
    assert_eq!(model.generate(input, 1, how, &mut ()).unwrap().sequences[0], free[0][..6 + place + 1]);
    // With beams the end may come elsewhere, but a text that has one stops there.
    let beams = model.generate(input, 1, Generation { beams: 4, ..how }, &mut ()).unwrap();
    let text = &beams.sequences[0][6..];
    assert!(text.iter().position(|id| *id == end).is_none_or(|place| place + 1 == text.len()), "{text:?}");
}

#[test]
fn wrong_runs_are_errors() {
    let Some(model) = model("mixtral") else { return };
    let mut session = Session::new(&model, 2, 4).unwrap();
    type Case<'a> = (&'a [u32], Option<&'a [bool]>, &'a str);
    let cases: [Case<'_>; 5] = [
        (&[1, 2, 3], None, "ids of all sequences: 3, expected 2"),
        (&[], None, "ids of all sequences: 0, expected 2"),
        (&[1, 2], Some(&[true]), "the mask of the ids: 1, expected 2"),
        (&[1, 96], None, "the id of token 1 is 96, expected a value below 96"),
        (&[1; 10], None, "5 tokens, expected at most 4; shorten the input or ask for fewer new ones"),
    ];
    for (ids, real, message) in cases {
        assert_eq!(session.decode(Tokens { ids, real }, &mut ()).unwrap_err().to_string(), message);
    }
    assert_eq!(session.tokens(), 0);
    assert!(session.reorder(&[0, 2]).is_err());
    let error = Session::new(&model, 1, 65).unwrap_err().to_string();
    assert!(error.starts_with("65 tokens, expected at most 64"), "{error}");
    let Some(t5) = self::model("t5_v1_1") else { return };
    let mut session = Session::new(&t5, 1, 4).unwrap();
    let error = session.decode(Tokens { ids: &[1], real: None }, &mut Trace::default()).unwrap_err();
    assert!(error.to_string().contains("must be encoded first"), "{error}");
}
