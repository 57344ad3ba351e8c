//! What a language model reads and writes in a second, with random weights.
//!
//! `cargo bench -p mixlet-runtime --bench lm` runs all rows; words such as `olmoe`, `bf16`, `rounded`, `threads=1` keep the rows
//! that have them all.
//!
//! Models are those of the peers: width 1024, 8 layers, 16 heads, 32000 ids, a head of its own; `olmoe` has 64 experts of
//! 1024 hidden values, 8 for each token, `mixtral` 8 of 3584, 2 for each, and 8 heads of keys. Prefill is 512 tokens with the last
//! one's logits, decoding 48 tokens after one. `GB/s` are the bytes of the active weights, read once a token. Medians of three.
//!
//! Measured on 2026-11-22, two cores of an AMD EPYC (AVX-512); the other rows have not been run yet:
//!
//! ```text
//! model    weights  operands  threads  prefill tok/s  decode tok/s   GB/s
//! mixtral  bf16     exact           1            185           7.9    3.7
//! ```
//!
//! That is far from reading at 25 GB/s; why is not established.

use std::error::Error;
use std::time::Instant;

use mixlet_core::half::bf16;
use mixlet_core::linear::Operands;
use mixlet_runtime::error::Result;
use mixlet_runtime::models::forward::{Session, Tokens, Wanted};
use mixlet_runtime::models::info::Info;
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::weights::TensorSource;
use mixlet_runtime::models::{Model, ModelConfig, Weights};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SHARED: &str = r#""vocab_size": 32000, "hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16,
    "max_position_embeddings": 4096, "tie_word_embeddings": false"#;
const OLMOE: &str =
    r#""model_type": "olmoe", "num_experts": 64, "num_experts_per_tok": 8, "intermediate_size": 1024"#;
const MIXTRAL: &str = r#""model_type": "mixtral", "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
    "intermediate_size": 3584"#;
const PREFILL: usize = 512;
const DECODED: usize = 48;
const PASSES: usize = 3;

/// Matrices of small random numbers, vectors of ones.
struct Random {
    random: Pcg64,
    narrow: bool,
}

impl TensorSource for Random {
    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        if shape.len() == 1 {
            return Ok(Tensor::of_f32(vec![1.0; len], shape));
        }
        // Evenly spread with a deviation of 0.02.
        let mut next = || (self.random.next_u32() >> 8) as f32 / (1 << 23) as f32 * 0.0346 - 0.0346;
        Ok(match self.narrow {
            true => Tensor::of_bf16((0..len).map(|_| bf16::from_f32(next())).collect(), shape),
            false => Tensor::of_f32((0..len).map(|_| next()).collect(), shape),
        })
    }
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    println!("model    weights  operands  threads  prefill tok/s  decode tok/s   GB/s");
    for (name, keys) in [("olmoe", OLMOE), ("mixtral", MIXTRAL)] {
        for format in ["bf16", "f32"] {
            let rows = ["exact", "rounded"]
                .into_iter()
                .flat_map(|operands| [1, 2].map(|threads| (operands, threads)));
            let asked = |(operands, threads): &(&str, usize)| {
                let facts = [name, format, operands, &format!("threads={threads}")].map(str::to_owned);
                words.iter().all(|word| facts.contains(word)) && (format == "bf16" || *operands == "exact")
            };
            let rows: Vec<_> = rows.filter(asked).collect();
            if rows.is_empty() {
                continue;
            }
            let config = ModelConfig::from_hf(&format!("{{{SHARED}, {keys}}}"))
                .map_err(|problem| problem.to_string())?;
            let mut source = Random { random: Pcg64::seed_from_u64(1), narrow: format == "bf16" };
            let weights = Weights::build(&config, &mut source)?;
            let model = Model { config, weights };
            for (operands, threads) in rows {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                let (prefill, decode) = pool.install(|| measure(&model, operands))?;
                let info = Info::new(&model.config)?;
                // All that a token meets but its row of the embedding.
                let active = info.active_parameters - (info.vocab * info.model_dim) as u64;
                let bytes = active * if format == "bf16" { 2 } else { 4 };
                let gb = bytes as f64 * decode / 1e9;
                println!(
                    "{name:<8} {format:<8} {operands:<9} {threads:>7} {prefill:>14.0} {decode:>13.1} {gb:>6.1}"
                );
            }
        }
    }
    Ok(())
}

/// Tokens a second: read, and written.
fn measure(model: &Model, operands: &str) -> Result<(f64, f64)> {
    let operands = if operands == "rounded" { Operands::Rounded } else { Operands::Exact };
    let ids: Vec<u32> = (0..PREFILL as u32).map(|nth| nth * 7919 % 31_000 + 500).collect();
    let mut logits = Vec::new();
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let mut session = Session::new(model, 1, PREFILL)?.with_operands(operands);
        let clock = Instant::now();
        session.decode(Tokens { ids: &ids, real: None }, &mut ())?;
        session.logits(Wanted::Last, &mut logits)?;
        prefills.push(PREFILL as f64 / clock.elapsed().as_secs_f64());
        session.rewind();
        session.decode(Tokens { ids: &ids[..1], real: None }, &mut ())?;
        let clock = Instant::now();
        for id in &ids[1..=DECODED] {
            session.decode(Tokens { ids: &[*id], real: None }, &mut ())?;
            session.logits(Wanted::Last, &mut logits)?;
        }
        decodes.push(DECODED as f64 / clock.elapsed().as_secs_f64());
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok((median(prefills), median(decodes)))
}
