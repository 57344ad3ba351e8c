//! What a language model reads and writes in a second, with random weights.
//!
//! `cargo bench -p mixlet-runtime --bench lm` runs all rows; words such as `olmoe`, `bf16`, `rounded`, `threads=1` keep the rows
//! that have them all.
//!
//! Models are those of the peers: width 1024, 8 layers, 16 heads, 32000 ids, a head of its own; `olmoe` has 64 experts of
//! 1024 hidden values, 8 for each token, `mixtral` 8 of 3584, 2 for each, and 8 heads of keys. Prefill is 512 tokens with the last
//! one's logits, decoding 48 tokens after one. `active` are the bytes of the weights that a token meets, `GB/s` how fast
//! decoding reads them, `read` how fast this machine reads 32 of 256 MB in four streams a thread, taken before each token.
//! All figures are medians, prefill of three, the others of 144. One thread is timed by its own processor time, which other
//! programs on the machine do not add to, two by the clock.
//!
//! Before attention in panels, lone rows of bf16 and int4 got faster, and smaller pieces (`tests/peers/README.md` has later figures):
//! measured on 2026-11-22, two virtual cores of an AMD EPYC (Zen 4: AVX-512 with dot products of bf16 and of bytes) that other
//! programs kept busy (load 5 to 9): shares move by a tenth from run to run. Two threads need a machine with little else to do
//! and were not measured. An asterisk marks rows from before several rows of weights were asked for ahead:
//!
//! ```text
//! model    weights  operands  threads  active MB  prefill tok/s  decode tok/s   GB/s   read  share
//! olmoe    bf16     exact           1        537            154          50.2   27.0   24.5   1.10
//! olmoe    bf16     rounded         1        537            302          46.5   25.0   25.8   0.97
//! olmoe    int8     rounded         1        271            361          95.3   25.8   24.5   1.05
//! olmoe    int4     rounded         1        167            287         127.6   21.3   27.2   0.78
//! mixtral  f32      exact           1        937            191          31.2   29.2   22.9   1.28 *
//! mixtral  f16      exact           1        468            170          47.8   22.4   24.0   0.93
//! mixtral  bf16     exact           1        468            184          60.2   28.2   28.8   0.98
//! mixtral  bf16     rounded         1        468            362          53.3   25.0   27.3   0.91
//! mixtral  int8     exact           1        235            176          87.9   20.7   27.5   0.75 *
//! mixtral  int8     rounded         1        235            452         118.6   27.9   31.7   0.88
//! mixtral  int4     exact           1        146            178          16.6    2.4   24.0   0.10 *
//! mixtral  int4     rounded         1        146            359         163.6   24.0   27.6   0.87
//! ```
//!
//! The goal is a share of 0.85, which int4 misses with small experts. About a sixth of a prefill with rounded bf16 is softmax attention.

mod common;

use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use common::{Numbers, READ, median, now, read, time};
use memmap2::{Mmap, MmapMut};
use mixlet_core::half::{bf16, f16};
use mixlet_core::linear::Operands;
use mixlet_runtime::error::{Error as RuntimeError, Result};
use mixlet_runtime::models::forward::{Session, Tokens, Wanted};
use mixlet_runtime::models::quantize::{Only, Quantisation};
use mixlet_runtime::models::tensor::{Format, Matrix, Narrow, NarrowMatrix, Tensor};
use mixlet_runtime::models::weights::{Part, TensorSource};
use mixlet_runtime::models::{Model, ModelConfig, Weights};

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

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    println!(
        "model    weights  operands  threads  active MB  prefill tok/s  decode tok/s   GB/s   read  share"
    );
    let buffer = vec![1.0; 8 * READ / 4];
    for (name, keys, share) in [("olmoe", OLMOE, 8.0 / 64.0), ("mixtral", MIXTRAL, 2.0 / 8.0)] {
        for format in ["f32", "f16", "bf16", "int8", "int4"] {
            let kinds: &[&str] =
                if matches!(format, "f32" | "f16") { &["exact"] } else { &["exact", "rounded"] };
            let rows = kinds.iter().flat_map(|operands| [1, 2].map(|threads| (*operands, threads)));
            let asked = |(operands, threads): &(&str, usize)| {
                let facts = [name, format, operands, &format!("threads={threads}")].map(str::to_owned);
                words.iter().all(|word| facts.contains(word))
            };
            let rows: Vec<_> = rows.filter(asked).collect();
            if rows.is_empty() {
                continue;
            }
            let config = ModelConfig::from_hf(&format!("{{{SHARED}, {keys}}}"))
                .map_err(|problem| problem.to_string())?;
            let mut source = Random { numbers: Numbers::new(), format, share, active: 0.0 };
            let weights = Weights::build(&config, &mut source)?;
            let model = Model { config, weights };
            for (operands, threads) in rows {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                let Speeds { prefill, decode, read } = pool.install(|| measure(&model, operands, &buffer))?;
                let bytes = source.active * decode;
                println!(
                    "{name:<8} {format:<8} {operands:<9} {threads:>7} {:>10.0} {prefill:>14.0} {decode:>13.1} {:>6.1} {:>6.1} {:>6.2}",
                    source.active / 1e6,
                    bytes / 1e9,
                    read / 1e9,
                    bytes / read,
                );
            }
        }
    }
    Ok(())
}

/// Tokens a second, read and written, and bytes a second.
struct Speeds {
    prefill: f64,
    decode: f64,
    read: f64,
}

fn measure(model: &Model, operands: &str, buffer: &[f32]) -> Result<Speeds> {
    let operands = if operands == "rounded" { Operands::Rounded } else { Operands::Exact };
    let ids: Vec<u32> = (0..PREFILL as u32).map(|nth| nth * 7919 % 31_000 + 500).collect();
    let mut parts = buffer.chunks(READ / 4).cycle();
    let mut logits = Vec::new();
    let (mut prefills, mut tokens, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let mut session = Session::new(model, 1, PREFILL)?.with_operands(operands);
        let started = now();
        session.decode(Tokens { ids: &ids, real: None }, &mut ())?;
        session.logits(Wanted::Last, &mut logits)?;
        prefills.push(now() - started);
        session.rewind();
        session.decode(Tokens { ids: &ids[..1], real: None }, &mut ())?;
        for id in &ids[1..=DECODED] {
            reads.push(time(|| black_box(parts.next().map(read))));
            let started = now();
            session.decode(Tokens { ids: &[*id], real: None }, &mut ())?;
            session.logits(Wanted::Last, &mut logits)?;
            tokens.push(now() - started);
        }
    }
    Ok(Speeds {
        prefill: PREFILL as f64 / median(&mut prefills),
        decode: 1.0 / median(&mut tokens),
        read: READ as f64 / median(&mut reads),
    })
}

/// Matrices of small arbitrary numbers in one format, vectors of ones.
struct Random {
    numbers: Numbers,
    format: &'static str,
    /// Of an expert's bytes, how many a token meets.
    share: f64,
    /// Bytes that a token meets, but for norms and its row of the embedding.
    active: f64,
}

impl TensorSource for Random {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let len: usize = shape.iter().product();
        if shape.len() == 1 {
            return Ok(Tensor::of_f32(vec![1.0; len], shape));
        }
        if !name.contains("embed") {
            // A router, which becomes f32.
            self.active += 4.0 * len as f64;
        }
        self.plain(shape.to_vec())
    }

    fn matrix(&mut self, _: &str, shape: [usize; 2], part: Part) -> Result<Matrix> {
        let [outputs, inputs] = shape;
        let narrow = match self.format {
            "int8" => Some(Narrow::Int8),
            "int4" => Some(Narrow::Int4),
            _ => None,
        };
        let narrow = narrow.and_then(|weights| Quantisation { weights, only: Only::Linear }.of(part, inputs));
        let matrix = match narrow {
            None => self.plain(shape.to_vec())?.into_matrix(),
            Some(Narrow::Int8) => {
                let scales = self.filled(4 * outputs, |_| 2e-4f32.to_le_bytes())?;
                let values = self.filled(outputs * inputs, |numbers| numbers.next().to_le_bytes())?;
                mapped(Narrow::Int8, &values, &scales, shape)
            }
            Some(Narrow::Int4) => {
                let scales = self.filled(outputs * inputs / 16, |_| f16::from_f32(4e-3).to_le_bytes())?;
                let values = self.filled(outputs * inputs / 2, |numbers| numbers.next().to_le_bytes())?;
                mapped(Narrow::Int4, &values, &scales, shape)
            }
        };
        let share = if part == Part::Expert { self.share } else { 1.0 };
        self.active += share * matrix.weights()?.bytes() as f64;
        Ok(matrix)
    }
}

impl Random {
    /// Evenly spread with a deviation of 0.02, in the format if it is a plain one.
    fn plain(&mut self, shape: Vec<usize>) -> Result<Tensor> {
        let len: usize = shape.iter().product();
        let next = |numbers: &mut Numbers| (numbers.next() >> 8) as f32 / (1 << 23) as f32 * 0.0346 - 0.0346;
        let (format, file) = match self.format {
            "f32" => (Format::F32, self.filled(4 * len, |numbers| next(numbers).to_le_bytes())?),
            "f16" => (Format::F16, self.filled(2 * len, |it| f16::from_f32(next(it)).to_le_bytes())?),
            _ => (Format::Bf16, self.filled(2 * len, |it| bf16::from_f32(next(it)).to_le_bytes())?),
        };
        Ok(Tensor::mapped(&file, 0..file.len(), format, shape))
    }

    /// Memory in place of a file.
    fn filled<const N: usize>(
        &mut self,
        len: usize,
        next: impl Fn(&mut Numbers) -> [u8; N],
    ) -> Result<Arc<Mmap>> {
        let failed = |source| RuntimeError::Io { path: "memory".into(), what: "map", source };
        let mut memory = MmapMut::map_anon(len).map_err(failed)?;
        memory.as_chunks_mut::<N>().0.iter_mut().for_each(|bytes| *bytes = next(&mut self.numbers));
        Ok(Arc::new(memory.make_read_only().map_err(failed)?))
    }
}

fn mapped(narrow: Narrow, values: &Arc<Mmap>, scales: &Arc<Mmap>, [outputs, inputs]: [usize; 2]) -> Matrix {
    let whole = |file: &Arc<Mmap>| -> Range<usize> { 0..file.len() };
    NarrowMatrix::mapped(narrow, (values, whole(values)), (scales, whole(scales)), (outputs, inputs))
}
