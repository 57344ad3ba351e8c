//! Products with weights and feed-forward networks, in f64 and as their formulas say.

use mixlet_core::activation::Activation;
use mixlet_core::half::{bf16, f16};
use mixlet_core::linear::Operands;
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::weights::{Int4, Int8, Weights, quantise_int4, quantise_int8};

use super::random::SplitMix;

/// Numbers of `−1..1`.
pub fn numbers(rng: &mut SplitMix, len: usize) -> Vec<f32> {
    (0..len).map(|_| (2.0 * rng.unit() - 1.0) as f32).collect()
}

/// Formats of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    F32,
    F16,
    Bf16,
    Int8,
    Int4,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4];
}

/// A matrix in some format, owned.
pub struct Stored {
    format: Format,
    shape: (usize, usize),
    f32s: Vec<f32>,
    f16s: Vec<f16>,
    bf16s: Vec<bf16>,
    int8s: Vec<i8>,
    int8_scales: Vec<f32>,
    nibbles: Vec<u8>,
    int4_scales: Vec<f16>,
}

impl Stored {
    pub fn new(format: Format, values: &[f32], outputs: usize, inputs: usize) -> Self {
        let len = outputs * inputs;
        let mut stored = Self {
            format,
            shape: (outputs, inputs),
            f32s: values.to_vec(),
            f16s: values.iter().map(|&value| f16::from_f32(value)).collect(),
            bf16s: values.iter().map(|&value| bf16::from_f32(value)).collect(),
            int8s: vec![0; len],
            int8_scales: vec![f32::NAN; outputs],
            nibbles: vec![0; len / 2],
            int4_scales: vec![f16::NAN; len / 32],
        };
        let matrix = MatRef::new(values, outputs, inputs).unwrap();
        if format == Format::Int8 {
            let to = MatMut::new(&mut stored.int8s, outputs, inputs).unwrap();
            quantise_int8(matrix, to, &mut stored.int8_scales).unwrap();
        }
        if format == Format::Int4 {
            let to = MatMut::new(&mut stored.nibbles, outputs, inputs / 2).unwrap();
            let scales = MatMut::new(&mut stored.int4_scales, outputs, inputs / 32).unwrap();
            quantise_int4(matrix, to, scales).unwrap();
        }
        stored
    }

    pub fn weights(&self) -> Weights<'_> {
        let (outputs, inputs) = self.shape;
        match self.format {
            Format::F32 => Weights::F32(MatRef::new(&self.f32s, outputs, inputs).unwrap()),
            Format::F16 => Weights::F16(MatRef::new(&self.f16s, outputs, inputs).unwrap()),
            Format::Bf16 => Weights::Bf16(MatRef::new(&self.bf16s, outputs, inputs).unwrap()),
            Format::Int8 => {
                let values = MatRef::new(&self.int8s, outputs, inputs).unwrap();
                Weights::Int8(Int8::new(values, &self.int8_scales).unwrap())
            }
            Format::Int4 => {
                let nibbles = MatRef::new(&self.nibbles, outputs, inputs / 2).unwrap();
                let scales = MatRef::new(&self.int4_scales, outputs, inputs / 32).unwrap();
                Weights::Int4(Int4::new(nibbles, scales).unwrap())
            }
        }
    }

    /// What the stored numbers stand for.
    pub fn exact(&self) -> Vec<f64> {
        let (outputs, inputs) = self.shape;
        let weight = |output: usize, input: usize| {
            let place = output * inputs + input;
            match self.format {
                Format::F32 => f64::from(self.f32s[place]),
                Format::F16 => self.f16s[place].to_f64(),
                Format::Bf16 => self.bf16s[place].to_f64(),
                Format::Int8 => f64::from(self.int8s[place]) * f64::from(self.int8_scales[output]),
                Format::Int4 => {
                    let (group, within) = (place / 32, place % 32);
                    let byte = self.nibbles[group * 16 + within % 16];
                    let nibble = if within < 16 { byte & 15 } else { byte >> 4 };
                    (f64::from(nibble) - 8.0) * self.int4_scales[group].to_f64()
                }
            }
        };
        (0..outputs).flat_map(|output| (0..inputs).map(move |input| weight(output, input))).collect()
    }

    /// What becomes of a row of activations that meets this format.
    pub fn rounded(&self, operands: Operands, row: &[f64]) -> Vec<f64> {
        match (operands, self.format) {
            (Operands::Rounded, Format::Bf16) => {
                row.iter().map(|&x| bf16::from_f32(x as f32).to_f64()).collect()
            }
            (Operands::Rounded, Format::Int8 | Format::Int4) => {
                row.chunks(32).flat_map(rounded_block).collect()
            }
            _ => row.to_vec(),
        }
    }
}

fn rounded_block(block: &[f64]) -> Vec<f64> {
    let most = block.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    // The scale is an f32, and so is what a value is multiplied by before it is rounded.
    let scale = f64::from(most as f32 / 127.0);
    let inverse = if most > 0.0 { 127.0 / most as f32 } else { 0.0 };
    block.iter().map(|&x| f64::from((x as f32 * inverse).round_ties_even()) * scale).collect()
}

/// `out[r, o] = bias[o] + Σ_i x[r, i] · weights[o, i]`.
pub fn linear(x: &[f64], weights: &[f64], bias: Option<&[f64]>, inputs: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let rows = x.chunks(inputs);
    rows.flat_map(|row| {
        let outputs = weights.chunks(inputs).enumerate();
        outputs.map(|(o, weights)| bias.map_or(0.0, |bias| bias[o]) + dot(row, weights)).collect::<Vec<_>>()
    })
    .collect()
}

pub fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::GeluErf => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
    }
}

pub fn hidden(kind: FfnKind, gate: f64, up: f64) -> f64 {
    match kind {
        FfnKind::Plain(function) => activation(function, up),
        FfnKind::Gated(function) => activation(function, gate) * up,
        FfnKind::ClampedSwiglu { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            (up + 1.0) * gate / (1.0 + (-alpha * gate).exp())
        }
    }
}

/// A network's numbers, in f64: `[outputs, inputs]` and `[outputs]` each.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub gate: Vec<f64>,
    pub up: Vec<f64>,
    pub down: Vec<f64>,
    pub gate_bias: Vec<f64>,
    pub up_bias: Vec<f64>,
    pub down_bias: Vec<f64>,
}

/// Several networks behind each other, each over its run of rows; `mask` `[R, ffn_dim]` multiplies hidden values.
pub fn experts(
    kind: FfnKind,
    network: &Network,
    x: &[f64],
    offsets: &[u32],
    mask: Option<&[f64]>,
    (model_dim, ffn_dim): (usize, usize),
) -> Vec<f64> {
    let mut out = Vec::new();
    for (expert, run) in offsets.windows(2).enumerate() {
        let rows = run[0] as usize..run[1] as usize;
        let part = |values: &[f64], len: usize| match values {
            [] => Vec::new(),
            values => values[expert * len..(expert + 1) * len].to_vec(),
        };
        let x = &x[rows.start * model_dim..rows.end * model_dim];
        let product = |weights: &[f64], bias: &[f64]| {
            linear(x, &part(weights, ffn_dim * model_dim), Some(&part(bias, ffn_dim)), model_dim)
        };
        let up = product(&network.up, &network.up_bias);
        let gate = if kind.is_gated() { product(&network.gate, &network.gate_bias) } else { up.clone() };
        let mut values: Vec<f64> = gate.iter().zip(&up).map(|(&gate, &up)| hidden(kind, gate, up)).collect();
        if let Some(mask) = mask {
            let mask = &mask[rows.start * ffn_dim..rows.end * ffn_dim];
            values.iter_mut().zip(mask).for_each(|(value, kept)| *value *= kept);
        }
        let (down, bias) = (part(&network.down, model_dim * ffn_dim), part(&network.down_bias, model_dim));
        out.extend(linear(&values, &down, Some(&bias), ffn_dim));
    }
    out
}

/// Calls a kernel that writes `len` values: all of them, and nothing around them.
#[track_caller]
pub fn written(len: usize, kernel: impl FnOnce(&mut [f32])) -> Vec<f32> {
    changed(&vec![f32::from_bits(0x7fc0_beef); len], kernel)
}

/// Calls a kernel that changes values in place.
#[track_caller]
pub fn changed(values: &[f32], kernel: impl FnOnce(&mut [f32])) -> Vec<f32> {
    const GUARDS: usize = 19;
    let end = GUARDS + values.len();
    let mut memory = vec![7.25f32; end + GUARDS];
    memory[GUARDS..end].copy_from_slice(values);
    kernel(&mut memory[GUARDS..end]);
    let guards = memory[..GUARDS].iter().chain(&memory[end..]);
    assert!(guards.into_iter().all(|&guard| guard == 7.25), "wrote outside its output");
    let out = memory[GUARDS..end].to_vec();
    assert_eq!(out.iter().position(|value| value.is_nan()), None, "left a value unwritten");
    out
}

/// As f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Fails where a value is off by more than `tolerance` of the largest expected one.
#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-6, |most: f64, value| most.max(value.abs()));
    for (place, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs() / largest;
        assert!(
            off <= tolerance,
            "{what}: {found} at {place}, expected {expected} (off by {off:.1e} of {largest})"
        );
    }
}
