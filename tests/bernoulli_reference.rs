//! The tabulated steps of binary mixtures against the formulas.

mod common;

use common::bernoulli::{Bits, Parameters, posterior, statistics};
use common::random::SplitMix;
use mixlet_core::em::bernoulli::{AbsentColumns, Bernoulli, BernoulliPrior, BernoulliShape};
use mixlet_core::em::{ActiveColumns, EmError, Lane, LatentClassModel, RowFacts, UNKNOWN, sweep};
use mixlet_core::observations::{PackedRows, row_words};

struct Case {
    rows: usize,
    columns: usize,
    classes: usize,
    missing: f64,
}

const CASES: [Case; 13] = [
    Case { rows: 1, columns: 1, classes: 1, missing: 0.0 },
    Case { rows: 7, columns: 3, classes: 2, missing: 0.0 },
    Case { rows: 65, columns: 4, classes: 4, missing: 0.5 },
    Case { rows: 130, columns: 63, classes: 5, missing: 0.0 },
    Case { rows: 100, columns: 64, classes: 8, missing: 0.1 },
    Case { rows: 90, columns: 65, classes: 9, missing: 0.0 },
    Case { rows: 1030, columns: 136, classes: 10, missing: 0.0 },
    Case { rows: 1030, columns: 133, classes: 10, missing: 0.2 },
    Case { rows: 70, columns: 200, classes: 16, missing: 0.9 },
    Case { rows: 2100, columns: 20, classes: 3, missing: 0.01 },
    Case { rows: 50, columns: 1100, classes: 3, missing: 0.05 },
    Case { rows: 80, columns: 70, classes: 17, missing: 0.0 },
    Case { rows: 80, columns: 70, classes: 40, missing: 0.3 },
];

/// Whether complete rows have a mask too, and whether what is absent is listed.
const WAYS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// What the model says about rows, by both of its ways, next to what the formulas say.
fn compare<T: Lane>(case: &Case, (masked, listed): (bool, bool), in_rows: f64, in_sums: f64) {
    let Case { rows, columns, classes, missing } = *case;
    let name = format!(
        "{rows} rows, {columns} columns, {classes} classes, {missing} missing, masked {masked}, listed {listed}"
    );
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
        let mut offsets = vec![usize::MAX; rows + 1];
        let mut absent = vec![u32::MAX; AbsentColumns::count(packed.rows())];
        if listed {
            model.set_absent(AbsentColumns::list(packed.rows(), &mut offsets, &mut absent).unwrap()).unwrap();
        }

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
        for ways in WAYS {
            compare::<f32>(case, ways, 1e-4, 1e-6);
        }
    }
}

#[test]
fn double_precision_tables_agree_to_1e_9() {
    for case in &CASES {
        for ways in WAYS {
            compare::<f64>(case, ways, 1e-9, 1e-9);
        }
    }
}

#[test]
fn lists_of_other_rows_are_rejected() {
    let rows = |values, present| PackedRows::new(2, 3, values).unwrap().with_present(present).unwrap();
    let (few, more) = (rows(&[5, 0], &[7, 6]), rows(&[5, 0], &[7, 4]));
    let (mut offsets, mut columns) = ([0; 3], [0; 2]);
    let found = AbsentColumns::list(few, &mut offsets, &mut columns).unwrap_err();
    let of_columns = EmError::Length { what: "absent columns", found: 2, expected: 1 };
    assert_eq!(found, of_columns);
    let listed = AbsentColumns::list(more, &mut offsets, &mut columns).unwrap();
    let shape = BernoulliShape::of(few, 2);
    let (mut memory, mut tables) = (vec![0.0; shape.parameters_len()], vec![0f32; shape.tables_len()]);
    let (facts, prior) = (RowFacts::default(), BernoulliPrior::default());
    let mut model = Bernoulli::new(few, 2, facts, prior, &mut memory, &mut tables).unwrap();
    assert_eq!(model.set_absent(listed), Err(of_columns));
    model.set_rows(more, facts).unwrap();
    assert_eq!(model.set_absent(listed), Ok(()));
}

#[test]
fn a_column_that_no_row_has_counts_for_nothing() {
    // One value in forty: the second of the columns.
    let (values, present) = (vec![0x5a_5a5a_5a58; 300], vec![0xff_ffff_fffd; 300]);
    let rows = PackedRows::new(300, 40, &values).unwrap().with_present(&present).unwrap();
    assert_eq!(AbsentColumns::few(rows), Some(300));
    let (mut offsets, mut columns) = (vec![0; 301], vec![0; 300]);
    let shape = BernoulliShape::of(rows, 3);
    let (mut memory, mut tables) = (vec![0.0; shape.parameters_len()], vec![0f32; shape.tables_len()]);
    let (facts, prior) = (RowFacts::default(), BernoulliPrior::default());
    let mut model = Bernoulli::new(rows, 3, facts, prior, &mut memory, &mut tables).unwrap();
    model.set_absent(AbsentColumns::list(rows, &mut offsets, &mut columns).unwrap()).unwrap();
    model.set_random(&mut SplitMix(1));
    let (mut sums, mut scratch) =
        (vec![0.0; shape.statistics_len()], vec![0.0; model.shape().sweep_scratch_len()]);
    sweep(&model, 0..300, &mut sums, &mut scratch).unwrap();
    let present = &sums[shape.parameters_len()..];
    assert_eq!(present[3..6], [0.0; 3]);
    assert_eq!(present[6..9], sums[..3]);
}
