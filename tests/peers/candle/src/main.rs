//! `candle-experts f32|bf16 EXPERTS FFN_DIM END,END,..`: a pass over grouped rows, as JSON.
//!
//! candle's fused kernel of experts (`candle_nn::moe`) needs a GPU; on a CPU its models go over the experts one by one,
//! as here.

use std::error::Error;
use std::time::Instant;

use candle_core::{D, DType, Device, Tensor};

const MODEL_DIM: usize = 1024;
/// Bytes that the weights cycle through at least.
const CYCLE: usize = 1 << 28;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [format, experts, ffn_dim, ends] = &words[..] else {
        return Err("expected: f32|bf16 EXPERTS FFN_DIM END,END,..".into());
    };
    let dtype = if format == "bf16" { DType::BF16 } else { DType::F32 };
    let (experts, ffn_dim): (usize, usize) = (experts.parse()?, ffn_dim.parse()?);
    let ends: Vec<usize> = ends.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let layer_bytes = 2 * experts * ffn_dim * MODEL_DIM * dtype.size_in_bytes();
    let device = Device::Cpu;
    let random = |shape: &[usize]| Tensor::randn(0f32, 0.02, shape, &device)?.to_dtype(dtype);
    let layers = (0..CYCLE.div_ceil(layer_bytes))
        .map(|_| Ok([random(&[experts, ffn_dim, MODEL_DIM])?, random(&[experts, MODEL_DIM, ffn_dim])?]))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let rows = ends.last().copied().unwrap_or(0);
    let x = random(&[rows, MODEL_DIM])?;
    let mut seconds = Vec::new();
    let started = Instant::now();
    while seconds.len() < 5 || started.elapsed().as_secs_f64() < 1.0 {
        let layer = &layers[seconds.len() % layers.len()];
        let pass = Instant::now();
        forward(&x, layer, &ends)?;
        seconds.push(pass.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!("{{\"ms\": {}}}", seconds[seconds.len() / 2] * 1e3);
    Ok(())
}

fn forward(x: &Tensor, [up, down]: &[Tensor; 2], ends: &[usize]) -> candle_core::Result<Tensor> {
    let (mut start, mut outputs) = (0, Vec::new());
    for (expert, &end) in ends.iter().enumerate() {
        if end > start {
            let rows = x.narrow(0, start, end - start)?;
            let hidden = rows.matmul(&up.get(expert)?.transpose(D::Minus1, D::Minus2)?)?.gelu()?;
            outputs.push(hidden.matmul(&down.get(expert)?.transpose(D::Minus1, D::Minus2)?)?);
        }
        start = end;
    }
    Tensor::cat(&outputs, 0)
}
