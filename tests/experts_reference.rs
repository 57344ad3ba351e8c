//! Experts against their formulas in f64, in every kind, format and instruction set, and over threads.

mod common;

use common::linear::{Format, Network, Stored, assert_close, experts, numbers, wide, written};
use common::random::SplitMix;
use mixlet_core::activation::{Activation, exp};
use mixlet_core::half::bf16;
use mixlet_core::linear::{Arith, Linear, Operands, Plain, Scratch};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{
    Experts, ExpertsError, ExpertsGrads, FfnBackward, FfnCache, FfnGrads, FfnKind, GroupedRows, LinearGrads,
    dropout_mask, experts_forward, ffn_backward_scratch_len, ffn_scratch_len,
};
use mixlet_core::weights::Weights;
use mixlet_runtime::moe;
use mixlet_runtime::simd::{ExpertsBackward, Level, Product, multiply};

const KINDS: [FfnKind; 7] = [
    FfnKind::Plain(Activation::Relu),
    FfnKind::Plain(Activation::GeluTanh),
    FfnKind::Plain(Activation::GeluErf),
    FfnKind::Gated(Activation::Silu),
    FfnKind::Gated(Activation::GeluTanh),
    FfnKind::Gated(Activation::Relu),
    FfnKind::ClampedSwiglu { alpha: 1.702, limit: 0.8 },
];

/// The numbers of some experts, as they are stored.
struct Model {
    kind: FfnKind,
    count: usize,
    matrices: [Stored; 3],
    biases: [Vec<f32>; 3],
}

impl Model {
    fn new(kind: FfnKind, format: Format, count: usize, shape: (usize, usize), seed: u64) -> Self {
        let mut rng = SplitMix(seed);
        let (model_dim, ffn_dim) = shape;
        let mut matrix = |outputs, inputs| {
            Stored::new(format, &numbers(&mut rng, count * outputs * inputs), count * outputs, inputs)
        };
        let matrices = [matrix(ffn_dim, model_dim), matrix(ffn_dim, model_dim), matrix(model_dim, ffn_dim)];
        let biases = [ffn_dim, ffn_dim, model_dim].map(|outputs| numbers(&mut rng, count * outputs));
        Self { kind, count, matrices, biases }
    }

    fn experts(&self) -> Experts<'_> {
        let linear = |n: usize| Linear::with_bias(self.matrices[n].weights(), &self.biases[n]).unwrap();
        let gate = self.kind.is_gated().then(|| linear(0));
        Experts::new(self.count, self.kind, gate, linear(1), linear(2)).unwrap()
    }

    fn network(&self) -> Network {
        let [gate, up, down] = self.matrices.each_ref().map(Stored::exact);
        let [gate_bias, up_bias, down_bias] = self.biases.each_ref().map(|bias| wide(bias));
        Network { gate, up, down, gate_bias, up_bias, down_bias }
    }
}

struct Forward<'a> {
    experts: Experts<'a>,
    operands: Operands,
    rows: GroupedRows<'a>,
    cache: FfnCache<'a>,
    out: MatMut<'a>,
    scratch: Scratch<'a>,
}

impl Product for Forward<'_> {
    type Output = Result<(), ExpertsError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        let Self { experts, operands, rows, cache, out, scratch } = self;
        experts_forward::<A>(experts, operands, rows, cache, out, scratch)
    }
}

/// All experts on one thread, with the memory that the shape asks for.
fn forward(
    level: Level,
    experts: Experts<'_>,
    operands: Operands,
    rows: GroupedRows<'_>,
    mask: Option<&[f32]>,
) -> Vec<f32> {
    let all = rows.rows().rows();
    let shape = experts.shape(all);
    let least = ffn_scratch_len(experts.shape(rows.longest_run()));
    let mut floats = vec![f32::NAN; least.floats];
    let (mut halves, mut bytes) = (vec![bf16::NAN; least.halves], vec![99; least.bytes]);
    let mut memory = vec![f32::NAN; shape.cache_len()];
    let mut cache = FfnCache::new(shape, &mut memory).unwrap();
    if let Some(mask) = mask {
        cache = cache.with_dropout(MatRef::new(mask, all, experts.ffn_dim()).unwrap()).unwrap();
    }
    written(all * experts.model_dim(), |out| {
        let scratch = Scratch { floats: &mut floats, halves: &mut halves, bytes: &mut bytes };
        let out = MatMut::new(out, all, experts.model_dim()).unwrap();
        level.run(Forward { experts, operands, rows, cache, out, scratch }).unwrap().unwrap();
    })
}

/// Runs of rows: none at all, an expert without rows, single rows, more than a panel.
const OFFSETS: [[u32; 5]; 5] =
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 3, 4, 6], [0, 70, 70, 75, 88], [0, 13, 150, 151, 151]];

#[test]
fn every_kind_and_format_is_the_formula() {
    let (model_dim, ffn_dim) = (64, 96);
    let mut rng = SplitMix(11);
    for (seed, kind) in KINDS.into_iter().enumerate() {
        for format in Format::ALL {
            let model = Model::new(kind, format, 4, (model_dim, ffn_dim), seed as u64);
            for offsets in OFFSETS {
                let rows = offsets[4] as usize;
                let x = numbers(&mut rng, rows * model_dim);
                let network = model.network();
                let expected = experts(kind, &network, &wide(&x), &offsets, None, (model_dim, ffn_dim));
                let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
                for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                    let found = forward(level, model.experts(), Operands::Exact, grouped, None);
                    assert_close(
                        &found,
                        &expected,
                        5e-6,
                        &format!("{kind:?} {format:?} {level:?} {offsets:?}"),
                    );
                }
            }
        }
    }
}

#[test]
fn rounded_activations_stay_within_the_stated_error() {
    let (model_dim, ffn_dim, rows) = (256, 512, 20);
    let x = numbers(&mut SplitMix(12), rows * model_dim);
    let kind = FfnKind::Gated(Activation::Silu);
    let offsets = [0, 20];
    let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
    // Errors of independent values add up like their root mean square: 1/512/√3 of each for bf16,
    // 1/254/√3 of the block's largest for int8, twice over.
    for (format, tolerance) in [(Format::Bf16, 0.005), (Format::Int8, 0.01), (Format::Int4, 0.01)] {
        let model = Model::new(kind, format, 1, (model_dim, ffn_dim), 13);
        let exact = experts(kind, &model.network(), &wide(&x), &offsets, None, (model_dim, ffn_dim));
        let found = forward(Level::found(), model.experts(), Operands::Rounded, grouped, None);
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let off = norm(&mut found.iter().zip(&exact).map(|(&found, exact)| f64::from(found) - exact));
        let relative = off / norm(&mut exact.iter().copied());
        assert!(relative < tolerance, "{format:?}: relative error {relative}");
        assert!(relative > 1e-4, "{format:?}: nothing was rounded");
    }
}

#[test]
fn threads_change_no_bit() {
    let (model_dim, ffn_dim) = (160, 2080);
    let mut rng = SplitMix(14);
    for format in Format::ALL {
        let model = Model::new(FfnKind::Gated(Activation::Silu), format, 4, (model_dim, ffn_dim), 15);
        for offsets in [OFFSETS[1], OFFSETS[2], OFFSETS[3], [0, 300, 300, 500, 520]] {
            let rows = offsets[4] as usize;
            let x = numbers(&mut rng, rows * model_dim);
            let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
            for operands in [Operands::Exact, Operands::Rounded] {
                let expected = forward(Level::found(), model.experts(), operands, grouped, None);
                for threads in [1, 2, 5] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = written(rows * model_dim, |out| {
                        let out = MatMut::new(out, rows, model_dim).unwrap();
                        pool.install(|| moe::experts_forward(model.experts(), operands, grouped, out))
                            .unwrap();
                    });
                    assert_eq!(found, expected, "{format:?} {operands:?} {offsets:?}, {threads} threads");
                }
            }
        }
    }
}

/// Gradients of all weights, of biases, and of rows.
type Grads = [Vec<f32>; 7];

/// Backward with `run`, after a forward on one thread: what is added to starts as other numbers than zero.
fn backward(
    model: &Model,
    rows: GroupedRows<'_>,
    grad_out: &[f32],
    frozen: &[bool],
    run: impl FnOnce(Experts<'_>, FfnBackward<'_>, ExpertsGrads<'_>, MatMut<'_>),
) -> Grads {
    let (experts, all) = (model.experts(), rows.rows().rows());
    let (shape, model_dim) = (experts.shape(all), experts.model_dim());
    let least = ffn_scratch_len(experts.shape(rows.longest_run()));
    let mut floats = vec![f32::NAN; least.floats];
    let (mut memory, mut out) = (vec![f32::NAN; shape.cache_len()], vec![0.0; all * model_dim]);
    let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
    let (cache, to) =
        (FfnCache::new(shape, &mut memory).unwrap(), MatMut::new(&mut out, all, model_dim).unwrap());
    experts_forward::<Plain>(experts, Operands::Exact, rows, cache, to, scratch).unwrap();

    let len = model.count * experts.ffn_dim() * model_dim;
    let mut weights: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.25; len]);
    let mut biases = model.biases.clone();
    let mut grad_x = vec![f32::NAN; all * model_dim];
    {
        let lens = [experts.ffn_dim(), experts.ffn_dim(), model_dim]
            .map(|dim| (model.count * dim, len / model.count / dim));
        let mut grads =
            weights.iter_mut().zip(&mut biases).zip(lens).map(|((weights, bias), (outputs, inputs))| {
                LinearGrads { weights: MatMut::new(weights, outputs, inputs).unwrap(), bias: Some(bias) }
            });
        let mut next = || grads.next().unwrap();
        let (gate, up, down) = (next(), next(), next());
        let all_grads = FfnGrads { gate: model.kind.is_gated().then_some(gate), up, down };
        let cache = FfnCache::new(shape, &mut memory).unwrap();
        let given =
            FfnBackward { x: rows.rows(), cache, grad_out: MatRef::new(grad_out, all, model_dim).unwrap() };
        let grad_x = MatMut::new(&mut grad_x, all, model_dim).unwrap();
        run(experts, given, ExpertsGrads { all: all_grads, frozen }, grad_x);
    }
    let ([a, b, c], [d, e, f]) = (weights, biases);
    [a, b, c, d, e, f, grad_x]
}

#[test]
fn threads_change_no_bit_of_a_gradient() {
    let (model_dim, ffn_dim) = (96, 288);
    let mut rng = SplitMix(21);
    for kind in [FfnKind::Gated(Activation::Silu), FfnKind::Plain(Activation::GeluTanh)] {
        let model = Model::new(kind, Format::F32, 4, (model_dim, ffn_dim), 22);
        for offsets in [OFFSETS[0], OFFSETS[3], [0, 300, 300, 500, 520]] {
            let all = offsets[4] as usize;
            let (x, grad_out) = (numbers(&mut rng, all * model_dim), numbers(&mut rng, all * model_dim));
            let rows = GroupedRows::new(MatRef::new(&x, all, model_dim).unwrap(), &offsets).unwrap();
            for frozen in [&[][..], &[false, false, false, true]] {
                let expected = backward(&model, rows, &grad_out, frozen, |experts, given, grads, grad_x| {
                    let least = ffn_backward_scratch_len(experts.shape(rows.longest_run()));
                    let mut floats = vec![f32::NAN; least.floats];
                    let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
                    let kernel =
                        ExpertsBackward { experts, rows, given, grads: Some(grads), grad_x, scratch };
                    multiply(kernel).unwrap();
                });
                for threads in [1, 2, 5] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = backward(&model, rows, &grad_out, frozen, |experts, given, grads, grad_x| {
                        pool.install(|| moe::experts_backward(experts, rows, given, Some(grads), grad_x))
                            .unwrap();
                    });
                    assert_eq!(found, expected, "{kind:?} {offsets:?} {frozen:?}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn experts_may_change_places() {
    let (model_dim, ffn_dim, rows) = (32, 64, 40);
    let kind = FfnKind::Plain(Activation::Relu);
    let x = numbers(&mut SplitMix(16), rows * model_dim);
    let model = Model::new(kind, Format::F32, 2, (model_dim, ffn_dim), 17);
    let run = |first: usize, offsets: [u32; 3]| {
        let rows = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
        forward(Level::found(), model.experts(), Operands::Exact, rows, None)[first..][..20 * model_dim]
            .to_vec()
    };
    // The same rows at expert 0 and at expert 1 differ, wherever they lie among all rows.
    assert_eq!(run(0, [0, 20, 40]), run(0, [0, 20, 40]));
    assert_ne!(run(0, [0, 20, 40]), run(0, [0, 0, 40]));
    assert_eq!(run(20 * model_dim, [0, 20, 40]), run(20 * model_dim, [0, 0, 40]));
}

#[test]
fn dropout_falls_on_hidden_values() {
    let (model_dim, ffn_dim, rows) = (32, 64, 88);
    let (kind, offsets) = (FfnKind::Gated(Activation::GeluTanh), OFFSETS[3]);
    let mut rng = SplitMix(18);
    let x = numbers(&mut rng, rows * model_dim);
    let mut mask = vec![f32::NAN; rows * ffn_dim];
    dropout_mask(&mut rng, 0.4, &mut mask).unwrap();
    let dropped = mask.iter().filter(|&&value| value == 0.0).count() as f64 / mask.len() as f64;
    assert!((dropped - 0.4).abs() < 0.03, "{dropped} dropped");
    assert!(mask.iter().all(|&value| value == 0.0 || value == 1.0 / 0.6));
    let model = Model::new(kind, Format::F32, 4, (model_dim, ffn_dim), 19);
    let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
    let (wide_x, wide_mask) = (wide(&x), wide(&mask));
    let expected = experts(kind, &model.network(), &wide_x, &offsets, Some(&wide_mask), (model_dim, ffn_dim));
    let found = forward(Level::found(), model.experts(), Operands::Exact, grouped, Some(&mask));
    assert_close(&found, &expected, 5e-6, "dropout");
    dropout_mask(&mut rng, 0.0, &mut mask).unwrap();
    assert!(mask.iter().all(|&value| value == 1.0));
    for rate in [1.0, -0.1, f32::NAN] {
        let error = dropout_mask(&mut rng, rate, &mut mask).unwrap_err();
        assert!(matches!(error, ExpertsError::DropoutRate(_)), "{rate}: {error}");
    }
}

#[test]
fn activations_are_their_formulas_from_end_to_end() {
    let activations = [Activation::Relu, Activation::Silu, Activation::GeluTanh, Activation::GeluErf];
    for step in -2000..=2000 {
        let x = step as f32 * 0.01;
        for activation in activations {
            let expected = common::linear::activation(activation, f64::from(x));
            let (value, slope) = activation.value_and_slope(x);
            assert!(
                (f64::from(value) - expected).abs() < 3e-7 * (1.0 + expected.abs()),
                "{activation:?} of {x}"
            );
            let around = [1e-5, -1e-5].map(|h| common::linear::activation(activation, f64::from(x) + h));
            let expected = (around[0] - around[1]) / 2e-5;
            // `1 − σ` is off by up to half a unit in the last place of 1, and is multiplied by x and by the inner
            // slope, which grows like x²; far out it is exactly zero. Rectified, the slope at 0 is the left one's.
            let rounding =
                2f64.powi(-24) * f64::from(x.abs().min(5.0) * (1.6 + 0.22 * x.abs().min(5.0).powi(2)));
            if activation != Activation::Relu || x != 0.0 {
                assert!(
                    (f64::from(slope) - expected).abs() < 4e-7 + rounding,
                    "slope of {activation:?} at {x}: {slope}"
                );
            }
        }
        let expected = f64::from(x).exp();
        assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "exp of {x}");
    }
    for activation in activations {
        assert_eq!(activation.value(f32::INFINITY), f32::INFINITY, "{activation:?}");
        assert!(activation.value(f32::NAN).is_nan(), "{activation:?}");
        assert_eq!(activation.value(-1e30), 0.0, "{activation:?}");
    }
    assert_eq!([exp(-88.0), exp(89.0), exp(f32::NEG_INFINITY)], [0.0, f32::INFINITY, 0.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let values = [0.0; 48];
    let matrix = |outputs, inputs| {
        Linear::new(Weights::F32(MatRef::new(&values[..outputs * inputs], outputs, inputs).unwrap()))
    };
    let (plain, gated) = (FfnKind::Plain(Activation::Relu), FfnKind::Gated(Activation::Relu));
    let length = |what, found, expected| ExpertsError::Shape(ShapeError::Length { what, found, expected });
    struct Case<'a> {
        kind: FfnKind,
        gate: Option<Linear<'a>>,
        up: Linear<'a>,
        down: Linear<'a>,
        error: Option<ExpertsError>,
    }
    let (up, down) = (matrix(6, 4), matrix(8, 3));
    let cases = [
        Case { kind: plain, gate: None, up, down, error: None },
        Case { kind: gated, gate: Some(up), up, down, error: None },
        Case { kind: gated, gate: None, up, down, error: Some(ExpertsError::Gate { expected: true }) },
        Case { kind: plain, gate: Some(up), up, down, error: Some(ExpertsError::Gate { expected: false }) },
        Case {
            kind: plain,
            gate: None,
            up: matrix(5, 4),
            down,
            error: Some(length("gate or up, in rows,", 5, 6)),
        },
        Case {
            kind: gated,
            gate: Some(matrix(6, 3)),
            up,
            down,
            error: Some(length("a row of gate or up", 3, 4)),
        },
        Case { kind: plain, gate: None, up, down: matrix(7, 3), error: Some(length("down, in rows,", 7, 8)) },
    ];
    for (number, Case { kind, gate, up, down, error }) in cases.into_iter().enumerate() {
        assert_eq!(Experts::new(2, kind, gate, up, down).err(), error, "case {number}");
    }
    let experts = Experts::new(2, plain, None, up, down).unwrap();
    assert_eq!(experts.expert(2).err(), Some(ShapeError::Rows { end: 3, rows: 2 }));
    let rows = MatRef::new(&values[..12], 3, 4).unwrap();
    let wrong = [&[0, 1, 2][..], &[1, 2, 3], &[0, 3, 2, 3], &[]];
    for offsets in wrong {
        assert_eq!(
            GroupedRows::new(rows, offsets).err(),
            Some(ExpertsError::Offsets { rows: 3 }),
            "{offsets:?}"
        );
    }
    let offsets = [0, 1, 2, 3];
    let mut out = [0.0; 12];
    let grouped = GroupedRows::new(rows, &offsets).unwrap();
    let error = moe::experts_forward(experts, Operands::Exact, grouped, MatMut::new(&mut out, 3, 4).unwrap());
    assert_eq!(error.err(), Some(length("expert offsets", 4, 3)));
}
