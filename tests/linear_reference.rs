//! Products with weights, in every format and with every instruction set, against the formula in f64.

mod common;

use common::linear::{Format, Stored, assert_close, changed, linear, numbers, wide, written};
use common::random::SplitMix;
use mixlet_core::half::{bf16, f16};
use mixlet_core::linear::{
    Arith, Linear, LinearShape, Operands, PANEL, Scratch, ScratchLen, Write, linear_backward_bias,
    linear_backward_input, linear_backward_input_scratch_len, linear_backward_weights,
    linear_backward_weights_scratch_len, linear_forward, linear_scratch_len,
};
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::weights::{Weights, WeightsError, dequantise, quantise_int4, quantise_int8};
use mixlet_runtime::linear::linear_forward as over_threads;
use mixlet_runtime::simd::{Level, LinearForward, Product};

/// Rows, inputs, outputs: around every edge of tiles, panels, blocks and steps.
const SHAPES: [(usize, usize, usize); 17] = [
    (0, 32, 3),
    (1, 1, 1),
    (1, 32, 5),
    (2, 33, 4),
    (3, 64, 7),
    (5, 96, 6),
    (6, 160, 3),
    (7, 544, 9),
    (13, 128, 2),
    (20, 2208, 22),
    (36, 64, 275),
    (45, 320, 17),
    (41, 64, 5),
    (64, 32, 4),
    (70, 1056, 6),
    (131, 192, 5),
    (300, 64, 3),
];

fn with_scratch<T>(len: ScratchLen, work: impl FnOnce(Scratch<'_>) -> T) -> T {
    let mut floats = vec![f32::NAN; len.floats];
    let (mut halves, mut bytes) = (vec![bf16::NAN; len.halves], vec![-77; len.bytes]);
    work(Scratch { floats: &mut floats, halves: &mut halves, bytes: &mut bytes })
}

/// One product at a level; none if the CPU lacks it.
fn forward(
    level: Level,
    linear: Linear<'_>,
    operands: Operands,
    x: MatRef<'_>,
    out: MatMut<'_>,
) -> Option<Result<(), ShapeError>> {
    let weights = linear.weights();
    let shape = LinearShape { rows: x.rows(), inputs: weights.inputs(), outputs: weights.outputs() };
    with_scratch(linear_scratch_len(shape), |scratch| {
        level.run(LinearForward { linear, operands, x, out, scratch })
    })
}

#[test]
fn forward_is_the_formula_in_every_format() {
    let mut rng = SplitMix(1);
    for (rows, inputs, outputs) in SHAPES {
        let values = numbers(&mut rng, outputs * inputs);
        let (x, bias) = (numbers(&mut rng, rows * inputs), numbers(&mut rng, outputs));
        for format in Format::ALL.into_iter().filter(|&format| format != Format::Int4 || inputs % 32 == 0) {
            let stored = Stored::new(format, &values, outputs, inputs);
            let linear_of = Linear::with_bias(stored.weights(), &bias).unwrap();
            for operands in [Operands::Exact, Operands::Rounded] {
                let rounded: Vec<f64> =
                    wide(&x).chunks(inputs).flat_map(|row| stored.rounded(operands, row)).collect();
                let expected = linear(&rounded, &stored.exact(), Some(&wide(&bias)), inputs);
                for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                    let found = written(rows * outputs, |out| {
                        let (x, out) = (MatRef::new(&x, rows, inputs), MatMut::new(out, rows, outputs));
                        forward(level, linear_of, operands, x.unwrap(), out.unwrap()).unwrap().unwrap();
                    });
                    let what = format!("{format:?} {operands:?} {level:?} {rows} × {inputs} × {outputs}");
                    assert_close(&found, &expected, 2e-6, &what);
                }
            }
        }
    }
}

#[test]
fn a_run_may_be_split_at_panels_without_changing_a_bit() {
    let (rows, inputs, outputs) = (2 * PANEL + 50, 96, 10);
    let mut rng = SplitMix(2);
    let (values, x) = (numbers(&mut rng, outputs * inputs), numbers(&mut rng, rows * inputs));
    let x = MatRef::new(&x, rows, inputs).unwrap();
    for (format, operands) in
        Format::ALL.into_iter().flat_map(|f| [(f, Operands::Exact), (f, Operands::Rounded)])
    {
        let stored = Stored::new(format, &values, outputs, inputs);
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            let part = |linear: Linear<'_>, rows: std::ops::Range<usize>| {
                written(rows.len() * linear.weights().outputs(), |out| {
                    let out = MatMut::new(out, rows.len(), linear.weights().outputs()).unwrap();
                    forward(level, linear, operands, x.row_range(rows).unwrap(), out).unwrap().unwrap();
                })
            };
            let linear = Linear::new(stored.weights());
            let whole = part(linear, 0..rows);
            let parts = [part(linear, 0..PANEL), part(linear, PANEL..rows)].concat();
            assert_eq!(whole, parts, "rows of {format:?} {operands:?} {level:?}");
            // Outputs may be split anywhere.
            let some = part(linear.output_range(3..8).unwrap(), 0..rows);
            let expected: Vec<f32> = whole.chunks(outputs).flat_map(|row| row[3..8].to_vec()).collect();
            assert_eq!(some, expected, "outputs of {format:?} {operands:?} {level:?}");
        }
    }
}

/// Fused arithmetic with the portable sums of core.
struct Portable;

impl Arith for Portable {
    const FEW_BF16: usize = 24;
    const FEW_BYTES: usize = 8;

    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

#[test]
fn the_instructions_for_narrow_weights_agree_with_portable_code() {
    if !Level::Avx512Dot.is_here() {
        eprintln!("skipped: this CPU has no dot products of narrow numbers");
        return;
    }
    let mut rng = SplitMix(3);
    for (rows, inputs, outputs) in SHAPES.into_iter().filter(|(_, inputs, _)| inputs % 32 == 0) {
        let (values, x) = (numbers(&mut rng, outputs * inputs), numbers(&mut rng, rows * inputs));
        let x = MatRef::new(&x, rows, inputs).unwrap();
        for format in [Format::Bf16, Format::Int8, Format::Int4] {
            let stored = Stored::new(format, &values, outputs, inputs);
            let linear = Linear::new(stored.weights());
            let portable = written(rows * outputs, |out| {
                let out = MatMut::new(out, rows, outputs).unwrap();
                let shape = LinearShape { rows, inputs, outputs };
                with_scratch(linear_scratch_len(shape), |scratch| {
                    linear_forward::<Portable>(linear, Operands::Rounded, x, out, scratch).unwrap();
                });
            });
            let found = written(rows * outputs, |out| {
                let out = MatMut::new(out, rows, outputs).unwrap();
                forward(Level::Avx512Dot, linear, Operands::Rounded, x, out).unwrap().unwrap();
            });
            assert_eq!(found, portable, "{format:?} {rows} × {inputs} × {outputs}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let (inputs, outputs) = (640, 1030);
    let mut rng = SplitMix(7);
    let values = numbers(&mut rng, outputs * inputs);
    for rows in [1, 3, 150, 600] {
        let x = numbers(&mut rng, rows * inputs);
        let x = MatRef::new(&x, rows, inputs).unwrap();
        for format in Format::ALL {
            let stored = Stored::new(format, &values, outputs, inputs);
            let linear = Linear::new(stored.weights());
            for operands in [Operands::Exact, Operands::Rounded] {
                let expected = written(rows * outputs, |out| {
                    let out = MatMut::new(out, rows, outputs).unwrap();
                    forward(Level::found(), linear, operands, x, out).unwrap().unwrap();
                });
                for threads in [1, 2, 5] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = written(rows * outputs, |out| {
                        let out = MatMut::new(out, rows, outputs).unwrap();
                        pool.install(|| over_threads(linear, operands, x, out)).unwrap();
                    });
                    assert_eq!(found, expected, "{format:?} {operands:?} {rows} rows, {threads} threads");
                }
            }
        }
    }
}

struct BackwardInput<'a> {
    weights: Weights<'a>,
    grad_out: MatRef<'a>,
    grad_x: MatMut<'a>,
    write: Write,
    scratch: Scratch<'a>,
}

impl Product for BackwardInput<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        linear_backward_input::<A>(self.weights, self.grad_out, self.grad_x, self.write, self.scratch)
    }
}

struct BackwardWeights<'a> {
    grad_out: MatRef<'a>,
    x: MatRef<'a>,
    grad_weights: MatMut<'a>,
    scratch: Scratch<'a>,
}

impl Product for BackwardWeights<'_> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run<A: Arith>(self) -> Self::Output {
        linear_backward_weights::<A>(self.grad_out, self.x, self.grad_weights, self.scratch)
    }
}

/// `[columns, rows]` of `[rows, columns]`.
fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied()).collect()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

#[test]
fn backward_is_the_transposed_product() {
    let mut rng = SplitMix(4);
    for (rows, inputs, outputs) in SHAPES.into_iter().filter(|(rows, ..)| *rows > 0) {
        let shape = LinearShape { rows, inputs, outputs };
        let values = numbers(&mut rng, outputs * inputs);
        let (x, grad) = (numbers(&mut rng, rows * inputs), numbers(&mut rng, rows * outputs));
        let before = numbers(&mut rng, rows * inputs);
        let grad_out = MatRef::new(&grad, rows, outputs).unwrap();
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            let what = format!("{level:?} {shape:?}");
            for format in Format::ALL.into_iter().filter(|&format| format != Format::Int4 || inputs % 32 == 0)
            {
                let stored = Stored::new(format, &values, outputs, inputs);
                let expected = linear(&wide(&grad), &transposed(&stored.exact(), inputs), None, outputs);
                let run = |write, out: &mut [f32]| {
                    let grad_x = MatMut::new(out, rows, inputs).unwrap();
                    with_scratch(linear_backward_input_scratch_len(shape), |scratch| {
                        let weights = stored.weights();
                        let kernel = BackwardInput { weights, grad_out, grad_x, write, scratch };
                        level.run(kernel).unwrap().unwrap();
                    });
                };
                let found = written(rows * inputs, |out| run(Write::Overwrite, out));
                assert_close(&found, &expected, 2e-6, &format!("{format:?} {what}"));
                let found = changed(&before, |out| run(Write::Add, out));
                assert_close(
                    &found,
                    &sum(&expected, &wide(&before)),
                    2e-6,
                    &format!("{format:?} {what}, added"),
                );
            }
            let expected =
                linear(&transposed(&wide(&grad), outputs), &transposed(&wide(&x), inputs), None, rows);
            let found = changed(&values, |out| {
                let (x, grad_weights) = (MatRef::new(&x, rows, inputs), MatMut::new(out, outputs, inputs));
                with_scratch(linear_backward_weights_scratch_len(shape), |scratch| {
                    let (x, grad_weights) = (x.unwrap(), grad_weights.unwrap());
                    level.run(BackwardWeights { grad_out, x, grad_weights, scratch }).unwrap().unwrap();
                });
            });
            assert_close(&found, &sum(&expected, &wide(&values)), 2e-6, &what);
        }
        let found = changed(&vec![0.5; outputs], |out| linear_backward_bias(grad_out, out).unwrap());
        let expected: Vec<f64> = transposed(&wide(&grad), outputs)
            .chunks(rows)
            .map(|column| 0.5 + column.iter().sum::<f64>())
            .collect();
        assert_close(&found, &expected, 2e-6, "bias");
    }
}

#[test]
fn quantised_weights_are_as_near_as_their_scale_allows() {
    let mut rng = SplitMix(5);
    let (outputs, inputs) = (7, 96);
    let mut values = numbers(&mut rng, outputs * inputs);
    values[..inputs].fill(0.0);
    for (format, halves) in [(Format::Int8, 1.0), (Format::Int4, 2.0)] {
        let stored = Stored::new(format, &values, outputs, inputs);
        let mut found = vec![f32::NAN; outputs * inputs];
        dequantise(stored.weights(), MatMut::new(&mut found, outputs, inputs).unwrap()).unwrap();
        assert_close(&found, &stored.exact(), 1e-7, "dequantised");
        let group = if format == Format::Int8 { inputs } else { 32 };
        for (found, wanted) in found.chunks(group).zip(values.chunks(group)) {
            let most = wanted.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let half = if format == Format::Int8 { most / 254.0 } else { most / 16.0 };
            let off = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // The scale of int4 is itself rounded to 11 bits.
            assert!(
                off <= half * halves * 1.001,
                "{format:?}: off by {off}, expected at most {half} · {halves}"
            );
        }
    }
}

#[test]
fn weights_beyond_the_format_are_refused() {
    struct Case {
        weight: f32,
        int4: bool,
    }
    let cases = [
        Case { weight: f32::NAN, int4: true },
        Case { weight: f32::INFINITY, int4: true },
        Case { weight: f32::NEG_INFINITY, int4: true },
        Case { weight: 1e6, int4: false },
    ];
    for Case { weight, int4 } in cases {
        let mut values = vec![0.5; 64];
        values[40] = weight;
        let matrix = MatRef::new(&values, 2, 32).unwrap();
        let (mut int8s, mut scales) = (vec![0; 64], [0.0; 2]);
        let refused = |error: WeightsError| matches!(error, WeightsError::OutOfRange { output: 1, .. });
        let result = quantise_int8(matrix, MatMut::new(&mut int8s, 2, 32).unwrap(), &mut scales);
        assert_eq!(result.err().map(refused), int4.then_some(true), "int8 of {weight}");
        let (mut nibbles, mut scales) = (vec![0; 32], [f16::ZERO; 2]);
        let (to, scales) =
            (MatMut::new(&mut nibbles, 2, 16).unwrap(), MatMut::new(&mut scales, 2, 1).unwrap());
        assert_eq!(quantise_int4(matrix, to, scales).err().map(refused), Some(true), "int4 of {weight}");
    }
}

#[test]
fn every_f16_and_every_i8_is_widened_exactly() {
    for bits in 0..=u16::MAX {
        let (half, mut out) = ([f16::from_bits(bits)], [f32::NAN]);
        let weights = Weights::F16(MatRef::new(&half, 1, 1).unwrap());
        dequantise(weights, MatMut::new(&mut out, 1, 1).unwrap()).unwrap();
        let expected = half[0].to_f32();
        assert!(
            out[0].to_bits() == expected.to_bits() || (out[0].is_nan() && expected.is_nan()),
            "{bits:#x}"
        );
    }
}

#[test]
fn a_number_that_is_none_reaches_the_output_of_its_row_alone() {
    let mut rng = SplitMix(6);
    let (rows, inputs, outputs) = (70, 64, 5);
    let values = numbers(&mut rng, outputs * inputs);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = numbers(&mut rng, rows * inputs);
        x[3 * inputs + 40] = bad;
        for (format, operands) in
            Format::ALL.into_iter().flat_map(|f| [(f, Operands::Exact), (f, Operands::Rounded)])
        {
            let stored = Stored::new(format, &values, outputs, inputs);
            let mut out = vec![0.0; rows * outputs];
            let (x, to) = (MatRef::new(&x, rows, inputs), MatMut::new(&mut out, rows, outputs));
            let level = Level::found();
            forward(level, Linear::new(stored.weights()), operands, x.unwrap(), to.unwrap())
                .unwrap()
                .unwrap();
            for (row, out) in out.chunks(outputs).enumerate() {
                let finite = out.iter().all(|value| value.is_finite());
                assert_eq!(finite, row != 3, "row {row}, {bad} in {format:?} {operands:?}");
            }
        }
    }
}

#[test]
fn wrong_lengths_are_named() {
    let values = [0.5; 12];
    let linear = Linear::new(Weights::F32(MatRef::new(&values, 3, 4).unwrap()));
    let run = |columns: usize, out: (usize, usize), floats: usize| {
        let (x, mut outs, mut floats) = (vec![0.0; 2 * columns], vec![0.0; out.0 * out.1], vec![0.0; floats]);
        let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
        let (x, out) = (MatRef::new(&x, 2, columns).unwrap(), MatMut::new(&mut outs, out.0, out.1).unwrap());
        linear_forward::<mixlet_core::linear::Plain>(linear, Operands::Exact, x, out, scratch).err()
    };
    let least = linear_scratch_len(LinearShape { rows: 2, inputs: 4, outputs: 3 }).floats;
    let error = |what, found, expected| Some(ShapeError::Length { what, found, expected });
    assert_eq!(run(4, (2, 3), least), None);
    assert_eq!(run(5, (2, 3), least), error("an input row", 5, 4));
    assert_eq!(run(4, (1, 3), least), error("the output, in rows,", 1, 2));
    assert_eq!(run(4, (2, 2), least), error("an output row", 2, 3));
    assert_eq!(run(4, (2, 3), least - 1), error("scratch floats", least - 1, least));
    assert_eq!(Linear::with_bias(linear.weights(), &[0.0; 2]).err(), error("bias", 2, 3));
}
