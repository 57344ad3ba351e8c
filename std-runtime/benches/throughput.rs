//! What sparse layers cost: T5 beside Switch with more and more experts, the same work for every token.
//!
//! `cargo bench -p mixlet-runtime --bench throughput` runs all rows; words such as `switch_base_16`, `threads=1`, `rows=512` keep
//! the rows that have them all.
//!
//! Weights are random, in bf16. A step reads 8 sequences of 64 tokens with the encoder and 8 of 16 with the decoder, logits of the
//! last token included: 640 tokens. `read` are tokens a second of the median of five steps. Overhead is `v(T5) / v − 1`, the time
//! that a token takes longer than in `t5_base` with as many threads; in brackets `1 − v / v(T5)`, the share of speed lost.
//! (Papers use both; one table mixes them.) Random routers spread tokens evenly, and nothing is dropped here but by Switch's
//! capacity, twice an even share.

use std::error::Error;
use std::time::Instant;

use mixlet_core::half::bf16;
use mixlet_core::linear::Operands;
use mixlet_runtime::error::Result;
use mixlet_runtime::models::forward::{Session, Tokens, Wanted};
use mixlet_runtime::models::info::Info;
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::weights::TensorSource;
use mixlet_runtime::models::{Model, Weights, presets};

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const MODELS: [&str; 3] = ["t5_base", "switch_base_16", "switch_base_128"];
const SEQUENCES: usize = 8;
const READ: usize = 64;
const WRITTEN: usize = 16;
const STEPS: usize = 5;

/// Matrices of small random numbers in bf16, vectors of ones.
struct Random(u64);

impl TensorSource for Random {
    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        if shape.len() == 1 {
            return Ok(Tensor::of_f32(vec![1.0; len], shape));
        }
        // Two numbers of a xorshift (Marsaglia 2003) at a time, evenly spread with a deviation of 0.02.
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bf16::from_f32((self.0 >> 40) as f32 / (1 << 23) as f32 * 0.0346 - 0.0346)
        };
        Ok(Tensor::of_bf16((0..len).map(|_| next()).collect(), shape))
    }
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let asked = |name: &str, threads: usize| {
        let facts = [name.to_owned(), format!("threads={threads}")];
        words.iter().all(|word| facts.contains(word))
    };
    println!("model            parameters  threads  tokens/s  overhead");
    let mut dense = [None; 2];
    for name in MODELS {
        if ![1, 2].iter().any(|threads| asked(name, *threads)) {
            continue;
        }
        let config = presets::find(name).ok_or("no such model")?;
        let weights = Weights::build(&config, &mut Random(0x9e37_79b9_7f4a_7c15))?;
        let model = Model { config, weights };
        let parameters = Info::new(&model.config)?.parameters;
        for (threads, dense) in
            [1, 2].into_iter().zip(&mut dense).filter(|(threads, _)| asked(name, *threads))
        {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let speed = pool.install(|| measure(&model))?;
            let base = *dense.get_or_insert(speed);
            println!(
                "{name:<16} {:>9.2}B  {threads:>7}  {speed:>8.0}  {:>6.0} % ({:.0} %)",
                parameters as f64 / 1e9,
                100.0 * (base / speed - 1.0),
                100.0 * (1.0 - speed / base),
            );
        }
    }
    Ok(())
}

/// Tokens a second.
fn measure(model: &Model) -> Result<f64> {
    let ids = |tokens: usize| -> Vec<u32> {
        (0..(SEQUENCES * tokens) as u32).map(|nth| nth * 7919 % 31_000 + 500).collect()
    };
    let (input, output) = (ids(READ), ids(WRITTEN));
    let mut logits = Vec::new();
    let mut seconds = Vec::new();
    for _ in 0..STEPS {
        let mut session = Session::new(model, SEQUENCES, WRITTEN)?.with_operands(Operands::Exact);
        let clock = Instant::now();
        session.encode(Tokens { ids: &input, real: None }, &mut ())?;
        session.decode(Tokens { ids: &output, real: None }, &mut ())?;
        session.logits(Wanted::Last, &mut logits)?;
        seconds.push(clock.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((SEQUENCES * (READ + WRITTEN)) as f64 / seconds[STEPS / 2])
}
