//! The tabulated steps of binary mixtures against the formulas.

mod common;

use common::bernoulli::{Bits, Parameters, posterior, statistics};
use common::random::SplitMix;
use mixlet_core::em::bernoulli::{Bernoulli, BernoulliPrior, BernoulliShape};
use mixlet_core::em::{ActiveColumns, Lane, LatentClassModel, RowFacts, UNKNOWN, sweep};
use mixlet_core::observations::row_words;

struct Case {
    rows: usize,
    columns: usize,
    classes: usize,
    missing: f64,
}

const CASES: [Case; 11] = [
    Case { rows: 1, columns: 1, classes: 1, missing: 0.0 },
    Case { rows: 7, columns: 3, classes: 2, missing: 0.0 },
    Case { rows: 65, columns: 4, classes: 4, missing: 0.5 },
    Case { rows: 130, columns: 63, classes: 5, missing: 0.0 },
    Case { rows: 100, columns: 64, classes: 8, missing: 0.1 },
    Case { rows: 90, columns: 65, classes: 9, missing: 0.0 },
    Case { rows: 1030, columns: 136, classes: 10, missing: 0.0 },
    Case { rows: 1030, columns: 133, classes: 10, missing: 0.2 },
    Case { rows: 70, columns: 200, classes: 16, missing: 0.9 },
    Case { rows: 80, columns: 70, classes: 17, missing: 0.0 },
    Case { rows: 80, columns: 70, classes: 40, missing: 0.3 },
];

/// What the model says about rows, by both of its ways, next to what the formulas say.
fn compare<T: Lane>(case: &Case, masked: bool, in_rows: f64, in_sums: f64) {
    let Case { rows, columns, classes, missing } = *case;
    let name =
        format!("{rows} rows, {columns} columns, {classes} classes, {missing} missing, masked {masked}");
    let mut random = SplitMix(rows as u64);
    let bits = Bits::random(rows, columns, classes, missing, &mut random);
    let parameters = Parameters::random(columns, classes, &mut random);
    let weights: Vec<f64> = (0..rows).map(|_| 2.0 * random.unit()).collect();
    let known: Vec<u32> =
        (0..rows).map(|row| if row % 5 == 0 { random.below(classes) as u32 } else { UNKNOWN }).collect();
    let mask: Vec<u64> =
        (0..row_words(columns)).map(|word| if word == 1 { 0 } else { !(0x90 << word) }).collect();
    for (facts, active) in [
        (RowFacts::default(), ActiveColumns::default()),
        (RowFacts { weights: Some(&weights), known_classes: Some(&known) }, ActiveColumns::default()),
        (
            RowFacts { weights: Some(&weights), known_classes: None },
            ActiveColumns { mask: Some(&mask), partial: false },
        ),
    ] {
        let packed = bits.packed(masked);
        let shape = BernoulliShape::of(packed.rows(), classes);
        let (mut memory, mut tables) =
            (vec![f64::NAN; shape.parameters_len()], vec![T::from_f64(f64::NAN); shape.tables_len()]);
        let prior = BernoulliPrior::default();
        let mut model =
            Bernoulli::new(packed.rows(), classes, facts, prior, &mut memory, &mut tables).unwrap();
        model.set_probabilities(&parameters.shares, &parameters.flat()).unwrap();
        model.set_active(active).unwrap();

        let weight = |row: usize| facts.weights.map_or(1.0, |weights| weights[row]);
        let (mut responsibilities, mut expected_likelihood) = (Vec::new(), 0.0);
        for (row, values) in bits.rows.iter().enumerate() {
            let mut joints = parameters.log_joints(values, |column| active.contains(column));
            if let Some(&class) =
                facts.known_classes.map(|known| &known[row]).filter(|&&class| class != UNKNOWN)
            {
                joints
                    .iter_mut()
                    .enumerate()
                    .filter(|(other, _)| *other != class as usize)
                    .for_each(|(_, joint)| *joint = f64::NEG_INFINITY);
            }
            let (q, likelihood) = posterior(&joints);
            expected_likelihood += weight(row) * likelihood;

            let mut found = vec![f64::NAN; classes];
            let log_likelihood = model.expectation(row..row + 1, &mut found).unwrap();
            assert!(
                (log_likelihood - weight(row) * likelihood).abs() <= in_rows,
                "{name}, row {row}: {log_likelihood}, expected {likelihood}"
            );
            for (found, expected) in found.iter().zip(&q) {
                assert!(
                    (found - expected).abs() <= in_rows,
                    "{name}, row {row}: {found}, expected {expected}"
                );
            }
            responsibilities.push(q);
        }
        let mut sums = vec![0.0; shape.statistics_len()];
        let mut scratch = vec![f64::NAN; model.shape().sweep_scratch_len()];
        let log_likelihood = sweep(&model, 0..rows, &mut sums, &mut scratch).unwrap();
        let slack = in_sums * expected_likelihood.abs();
        assert!(
            (log_likelihood - expected_likelihood).abs() <= slack,
            "{name}: {log_likelihood}, expected {expected_likelihood}"
        );

        let weights: Vec<f64> = (0..rows).map(weight).collect();
        let [masses, ones, present] = statistics(&bits, &responsibilities, &weights);
        let expected = if shape.missing { [masses, ones, present].concat() } else { [masses, ones].concat() };
        let mut dense = vec![0.0; shape.statistics_len()];
        model.accumulate(0..rows, &responsibilities.concat(), &mut dense);
        for (nth, ((swept, dense), expected)) in sums.iter().zip(&dense).zip(&expected).enumerate() {
            let slack = in_rows * (1.0 + expected);
            assert!(
                (swept - expected).abs() <= slack,
                "{name}: swept statistic {nth} is {swept}, expected {expected}"
            );
            assert!(
                (dense - expected).abs() <= slack,
                "{name}: statistic {nth} is {dense}, expected {expected}"
            );
        }
    }
}

#[test]
fn single_precision_tables_agree_to_1e_4_in_a_row_and_1e_6_in_the_total() {
    for case in &CASES {
        compare::<f32>(case, false, 1e-4, 1e-6);
        compare::<f32>(case, true, 1e-4, 1e-6);
    }
}

#[test]
fn double_precision_tables_agree_to_1e_9() {
    for case in &CASES {
        compare::<f64>(case, false, 1e-9, 1e-9);
        compare::<f64>(case, true, 1e-9, 1e-9);
    }
}
