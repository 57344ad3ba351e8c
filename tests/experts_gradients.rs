//! Gradients of experts against central differences of the formulas in f64: every kind, every input.

mod common;

use common::linear::{Format, Network, Stored, assert_close, changed, experts, numbers, wide, written};
use common::random::SplitMix;
use mixlet_core::activation::Activation;
use mixlet_core::linear::{Arith, Linear, Operands, Scratch, ScratchLen};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{
    Experts, ExpertsError, ExpertsGrads, FfnBackward, FfnCache, FfnGrads, FfnKind, GroupedRows, LinearGrads,
    add_shared, add_shared_backward, experts_forward, ffn_backward_scratch_len, ffn_scratch_len,
};
use mixlet_runtime::simd::{ExpertsBackward, Level, Product};

const COUNT: usize = 3;
const SHAPE: (usize, usize) = (32, 64);
/// An expert without rows, one of a single row.
const OFFSETS: [u32; 4] = [0, 6, 6, 7];
const ROWS: usize = 7;

const KINDS: [FfnKind; 7] = [
    FfnKind::Plain(Activation::Relu),
    FfnKind::Plain(Activation::Silu),
    FfnKind::Plain(Activation::GeluTanh),
    FfnKind::Plain(Activation::GeluErf),
    FfnKind::Gated(Activation::Silu),
    FfnKind::Gated(Activation::GeluTanh),
    FfnKind::ClampedSwiglu { alpha: 1.702, limit: 0.7 },
];

/// Everything a gradient is taken of, in f64 and as it is stored.
struct Problem {
    kind: FfnKind,
    matrices: [Stored; 3],
    biases: [Vec<f32>; 3],
    x: Vec<f32>,
    /// Hidden values are kept, dropped or scaled.
    mask: Vec<f32>,
    /// The loss is `Σ grad_out · out`.
    grad_out: Vec<f32>,
}

/// What backward gives, in the order of [`Problem::inputs`].
struct Grads {
    x: Vec<f32>,
    matrices: [Vec<f32>; 3],
    biases: [Vec<f32>; 3],
}

impl Problem {
    fn new(kind: FfnKind, format: Format, seed: u64) -> Self {
        let (model_dim, ffn_dim) = SHAPE;
        let mut rng = SplitMix(seed);
        let shapes = [(ffn_dim, model_dim), (ffn_dim, model_dim), (model_dim, ffn_dim)];
        let matrices = shapes.map(|(outputs, inputs)| {
            let values = numbers(&mut rng, COUNT * outputs * inputs);
            Stored::new(format, &values, COUNT * outputs, inputs)
        });
        let biases = shapes.map(|(outputs, _)| numbers(&mut rng, COUNT * outputs));
        let [x, grad_out] = [(); 2].map(|()| numbers(&mut rng, ROWS * model_dim));
        let mask = (0..ROWS * ffn_dim).map(|_| if rng.unit() < 0.2 { 0.0 } else { 1.25 }).collect();
        Self { kind, matrices, biases, x, mask, grad_out }
    }

    fn network(&self) -> Network {
        let [gate, up, down] = self.matrices.each_ref().map(Stored::exact);
        let [gate_bias, up_bias, down_bias] = self.biases.each_ref().map(|bias| wide(bias));
        Network { gate, up, down, gate_bias, up_bias, down_bias }
    }

    fn loss(&self, network: &Network, x: &[f64]) -> f64 {
        let out = experts(self.kind, network, x, &OFFSETS, Some(&wide(&self.mask)), SHAPE);
        out.iter().zip(wide(&self.grad_out)).map(|(out, grad)| out * grad).sum()
    }

    /// The derivative of the loss by every `stride`th of the numbers that `of` picks.
    fn differences(&self, stride: usize, of: fn(&mut Point) -> &mut Vec<f64>) -> Vec<f64> {
        let mut point = Point { network: self.network(), x: wide(&self.x) };
        let step = 1e-5;
        let count = of(&mut point).len();
        let mut loss = |place: usize, by: f64| {
            of(&mut point)[place] += by;
            let loss = self.loss(&point.network, &point.x);
            of(&mut point)[place] -= by;
            loss
        };
        (0..count)
            .step_by(stride)
            .map(|place| (loss(place, step) - loss(place, -step)) / (2.0 * step))
            .collect()
    }

    fn experts(&self) -> Experts<'_> {
        let linear = |n: usize| Linear::with_bias(self.matrices[n].weights(), &self.biases[n]).unwrap();
        let gate = self.kind.is_gated().then(|| linear(0));
        Experts::new(COUNT, self.kind, gate, linear(1), linear(2)).unwrap()
    }

    /// Forward and backward; gradients of weights are added to `before`.
    fn backward(&self, level: Level, before: f32, frozen: Option<&[bool]>) -> Grads {
        let experts = self.experts();
        let rows = GroupedRows::new(MatRef::new(&self.x, ROWS, SHAPE.0).unwrap(), &OFFSETS).unwrap();
        let shape = experts.shape(ROWS);
        let mut memory = vec![f32::NAN; shape.cache_len()];
        let mask = MatRef::new(&self.mask, ROWS, SHAPE.1).unwrap();
        let mut cache = FfnCache::new(shape, &mut memory).unwrap().with_dropout(mask).unwrap();
        let mut out = vec![f32::NAN; ROWS * SHAPE.0];
        with_scratch(ffn_scratch_len(shape), |scratch| {
            let cache = cache.row_range(0..ROWS).unwrap();
            let out = MatMut::new(&mut out, ROWS, SHAPE.0).unwrap();
            level.run(Forward { experts, rows, cache, out, scratch }).unwrap().unwrap();
        });

        let mut matrices = self.matrices.each_ref().map(|matrix| vec![before; matrix.exact().len()]);
        let mut biases = self.biases.each_ref().map(|bias| vec![before; bias.len()]);
        let x = written(ROWS * SHAPE.0, |grad_x| {
            let grad_x = MatMut::new(grad_x, ROWS, SHAPE.0).unwrap();
            let grad_out = MatRef::new(&self.grad_out, ROWS, SHAPE.0).unwrap();
            let given = FfnBackward { x: rows.rows(), cache, grad_out };
            let [gate, up, down] = &mut matrices;
            let [gate_bias, up_bias, down_bias] = &mut biases;
            let all = FfnGrads {
                gate: self.kind.is_gated().then(|| grads_of(gate, gate_bias)),
                up: grads_of(up, up_bias),
                down: grads_of(down, down_bias),
            };
            let grads = frozen.map(|frozen| ExpertsGrads { all, frozen });
            with_scratch(ffn_backward_scratch_len(shape), |scratch| {
                let kernel = ExpertsBackward { experts, rows, given, grads, grad_x, scratch };
                level.run(kernel).unwrap().unwrap();
            });
        });
        Grads { x, matrices, biases }
    }
}

/// Where a loss is taken.
struct Point {
    network: Network,
    x: Vec<f64>,
}

fn grads_of<'a>(weights: &'a mut [f32], bias: &'a mut [f32]) -> LinearGrads<'a> {
    let (outputs, inputs) = (bias.len(), weights.len() / bias.len());
    LinearGrads { weights: MatMut::new(weights, outputs, inputs).unwrap(), bias: Some(bias) }
}

fn with_scratch<T>(len: ScratchLen, work: impl FnOnce(Scratch<'_>) -> T) -> T {
    let mut floats = vec![f32::NAN; len.floats];
    work(Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] })
}

struct Forward<'a> {
    experts: Experts<'a>,
    rows: GroupedRows<'a>,
    cache: FfnCache<'a>,
    out: MatMut<'a>,
    scratch: Scratch<'a>,
}

impl Product for Forward<'_> {
    type Output = Result<(), ExpertsError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        experts_forward::<A>(self.experts, Operands::Exact, self.rows, self.cache, self.out, self.scratch)
    }
}

fn every(stride: usize, values: &[f32]) -> Vec<f32> {
    values.iter().step_by(stride).copied().collect()
}

/// Every kind in every format that learns: bf16 is rounded from an f32 master copy, whose gradient this is.
fn trained_formats() -> impl Iterator<Item = (FfnKind, Format)> {
    KINDS.into_iter().flat_map(|kind| [Format::F32, Format::Bf16].map(|format| (kind, format)))
}

#[test]
fn every_input_of_every_kind() {
    for (seed, (kind, format)) in trained_formats().enumerate() {
        let problem = Problem::new(kind, format, seed as u64 + 20);
        // A prime, so that all rows, columns and experts are met.
        let stride = 53;
        let x = problem.differences(1, |point| &mut point.x);
        let matrices = [
            problem.differences(stride, |point| &mut point.network.gate),
            problem.differences(stride, |point| &mut point.network.up),
            problem.differences(stride, |point| &mut point.network.down),
        ];
        let biases = [
            problem.differences(1, |point| &mut point.network.gate_bias),
            problem.differences(1, |point| &mut point.network.up_bias),
            problem.differences(1, |point| &mut point.network.down_bias),
        ];
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            let found = problem.backward(level, 0.0, Some(&[]));
            let what = |input: &str| format!("{input} of {kind:?} in {format:?}, {level:?}");
            assert_close(&found.x, &x, 2e-5, &what("x"));
            for (n, name) in ["gate", "up", "down"].into_iter().enumerate() {
                assert_close(&every(stride, &found.matrices[n]), &matrices[n], 2e-5, &what(name));
                assert_close(&found.biases[n], &biases[n], 2e-5, &what(&format!("{name}'s bias")));
            }
        }
    }
}

#[test]
fn rows_learn_through_every_format() {
    for format in Format::ALL {
        let problem = Problem::new(FfnKind::Gated(Activation::GeluErf), format, 31);
        let expected = problem.differences(1, |point| &mut point.x);
        let found = problem.backward(Level::found(), 0.0, None);
        assert_close(&found.x, &expected, 2e-5, &format!("{format:?}"));
    }
}

#[test]
fn gradients_of_weights_add_and_frozen_experts_are_left_alone() {
    let problem = Problem::new(FfnKind::Gated(Activation::Silu), Format::F32, 32);
    let fresh = problem.backward(Level::found(), 0.0, Some(&[]));
    let added = problem.backward(Level::found(), 3.0, Some(&[]));
    let frozen = problem.backward(Level::found(), 3.0, Some(&[true, false, false]));
    let all_frozen = problem.backward(Level::found(), 3.0, None);
    assert_eq!(fresh.x, added.x);
    assert_eq!(fresh.x, frozen.x);
    assert_eq!(fresh.x, all_frozen.x);
    for n in 0..3 {
        for which in [
            |grads: &Grads, n: usize| grads.matrices[n].clone(),
            |grads: &Grads, n: usize| grads.biases[n].clone(),
        ] {
            let [fresh, added, frozen, all_frozen] =
                [&fresh, &added, &frozen, &all_frozen].map(|g| which(g, n));
            let expected: Vec<f64> = fresh.iter().map(|&grad| f64::from(grad) + 3.0).collect();
            assert_close(&added, &expected, 1e-6, "added");
            let first = added.len() / COUNT;
            assert!(frozen[..first].iter().all(|&grad| grad == 3.0), "expert 0 is frozen");
            assert_eq!(frozen[first..], added[first..], "the others are not");
            assert!(all_frozen.iter().all(|&grad| grad == 3.0), "all are frozen");
        }
    }
}

#[test]
fn shared_experts_and_their_gates() {
    let (tokens, model_dim) = (5, 8);
    let mut rng = SplitMix(33);
    let [shared, routed, grad_out] = [(); 3].map(|()| numbers(&mut rng, tokens * model_dim));
    let gates = numbers(&mut rng, tokens);
    let matrix = |values| MatRef::new(values, tokens, model_dim).unwrap();
    for gates in [None, Some(&gates[..])] {
        let gate = |place: usize| gates.map_or(1.0, |gates| f64::from(gates[place / model_dim]));
        let found = changed(&routed, |out| {
            add_shared(matrix(&shared), gates, MatMut::new(out, tokens, model_dim).unwrap()).unwrap();
        });
        let sum = |place| f64::from(routed[place]) + gate(place) * f64::from(shared[place]);
        let expected: Vec<f64> = (0..shared.len()).map(sum).collect();
        assert_close(&found, &expected, 1e-6, "shared");
        let mut grad_gates = vec![f32::NAN; gates.map_or(0, <[f32]>::len)];
        let found = written(shared.len(), |out| {
            let grad_shared = MatMut::new(out, tokens, model_dim).unwrap();
            add_shared_backward(matrix(&shared), gates, matrix(&grad_out), grad_shared, &mut grad_gates)
                .unwrap();
        });
        let expected: Vec<f64> =
            (0..shared.len()).map(|place| gate(place) * f64::from(grad_out[place])).collect();
        assert_close(&found, &expected, 1e-6, "gradient of shared");
        // The output is linear in the gates: their gradient is exact.
        let rows = shared.chunks(model_dim).zip(grad_out.chunks(model_dim));
        let dot =
            |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let expected: Vec<f64> = rows.map(dot).take(grad_gates.len()).collect();
        assert_close(&grad_gates, &expected, 1e-6, "gradient of gates");
    }
}
