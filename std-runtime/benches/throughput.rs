//! What sparse layers cost: T5 beside Switch with more and more experts, the same work for every token.
//!
//! `cargo bench -p mixlet-runtime --bench throughput` runs all rows; words such as `switch_base_16`, `threads=1` keep the
//! rows that have them all.
//!
//! Weights are random, in bf16. A step reads 8 sequences of 64 tokens with the encoder and 8 of 16 with the decoder, logits of the
//! last token included: 640 tokens. `read` are tokens a second of the median of five steps. Overhead is `v(T5) / v − 1`, the time
//! that a token takes longer than in `t5_base` with as many threads; in brackets `1 − v / v(T5)`, the share of speed lost.
//! (Papers use both; one table mixes them.) `dropped` is the share of choices that found their expert full: it takes twice an even
//! share, and at least 4 tokens.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod common;

use std::error::Error;

use common::{Numbers, median, now};
use mixlet_core::half::bf16;
use mixlet_runtime::error::Result;
use mixlet_runtime::models::forward::{Session, Tokens, Wanted};
use mixlet_runtime::models::info::Info;
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::usage::{LayerUsage, UsageWatch};
use mixlet_runtime::models::weights::TensorSource;
use mixlet_runtime::models::{Model, Weights, presets};

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const MODELS: [&str; 3] = ["t5_base", "switch_base_16", "switch_base_128"];
const SEQUENCES: usize = 8;
const READ: usize = 64;
const WRITTEN: usize = 16;
const STEPS: usize = 5;

/// Matrices of small random numbers in bf16, vectors of ones.
struct Random(Numbers);

impl TensorSource for Random {
    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        if shape.len() == 1 {
            return Ok(Tensor::of_f32(vec![1.0; len], shape));
        }
        // Evenly spread with a deviation of 0.02.
        let mut next = || bf16::from_f32((self.0.next() >> 8) as f32 / (1 << 23) as f32 * 0.0346 - 0.0346);
        Ok(Tensor::of_bf16((0..len).map(|_| next()).collect(), shape))
    }
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let asked = |name: &str, threads: usize| {
        let facts = [name.to_owned(), format!("threads={threads}")];
        words.iter().all(|word| facts.contains(word))
    };
    println!("model            parameters  threads  tokens/s  dropped  overhead");
    let mut dense = [None; 2];
    for name in MODELS {
        if ![1, 2].iter().any(|threads| asked(name, *threads)) {
            continue;
        }
        let config = presets::find(name).ok_or("no such model")?;
        let weights = Weights::build(&config, &mut Random(Numbers::new()))?;
        let model = Model { config, weights };
        let parameters = Info::new(&model.config)?.parameters;
        for (threads, dense) in
            [1, 2].into_iter().zip(&mut dense).filter(|(threads, _)| asked(name, *threads))
        {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let (speed, dropped) = pool.install(|| measure(&model))?;
            let base = *dense.get_or_insert(speed);
            println!(
                "{name:<16} {:>9.2}B  {threads:>7}  {speed:>8.0}  {:>5.1} %  {:>6.0} % ({:.0} %)",
                parameters as f64 / 1e9,
                100.0 * dropped,
                100.0 * (base / speed - 1.0),
                100.0 * (1.0 - speed / base),
            );
        }
    }
    Ok(())
}

/// Tokens a second, and the share of choices that were dropped.
fn measure(model: &Model) -> Result<(f64, f64)> {
    let ids = |tokens: usize| -> Vec<u32> {
        (0..(SEQUENCES * tokens) as u32).map(|nth| nth * 7919 % 31_000 + 500).collect()
    };
    let (input, output) = (ids(READ), ids(WRITTEN));
    let mut logits = Vec::new();
    let mut seconds = Vec::new();
    for _ in 0..STEPS {
        let mut session = Session::new(model, SEQUENCES, WRITTEN)?;
        let start = now();
        session.encode(Tokens { ids: &input, real: None }, &mut ())?;
        session.decode(Tokens { ids: &output, real: None }, &mut ())?;
        session.logits(Wanted::Last, &mut logits)?;
        seconds.push(now() - start);
    }
    let mut usage = UsageWatch::default();
    let mut session = Session::new(model, SEQUENCES, WRITTEN)?;
    session.encode(Tokens { ids: &input, real: None }, &mut usage)?;
    session.decode(Tokens { ids: &output, real: None }, &mut usage)?;
    let layers = usage.layers();
    let sum = |of: fn(&LayerUsage) -> u64| layers.iter().map(of).sum::<u64>() as f64;
    let dropped = sum(|layer| layer.dropped) / sum(|layer| layer.slots).max(1.0);
    Ok(((SEQUENCES * (READ + WRITTEN)) as f64 / median(&mut seconds), dropped))
}
