//! Laws of mixtures of dense columns.

mod common;

use common::bernoulli::{Bits, Packed, Parameters, log_sum};
use common::random::SplitMix;
use mixlet_core::em::bernoulli::{
    Bernoulli, BernoulliPrior, BernoulliShape, BernoulliStream, stream_scratch_len, stream_state_len,
};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::stepwise::{self, StepSize};
use mixlet_core::em::{self, ActiveColumns, EmError, FitSettings, Lane, LatentClassModel, RowFacts, start};
use mixlet_core::observations::{Codes, MISSING, PackedRows, row_words};
use mixlet_runtime::threads::Shards;
use proptest::prelude::*;

/// A share of the objective's size that rounding may take: sums in double precision, and tables in single.
const ROUNDING: f64 = 1e-12;
const SINGLE_ROUNDING: f64 = 1e-6;
const FLOOR: f64 = 1e-3;

/// Memory of a binary mixture.
struct Memory<T> {
    parameters: Vec<f64>,
    tables: Vec<T>,
}

impl<T: Lane> Memory<T> {
    fn new(shape: BernoulliShape) -> Self {
        let tables = vec![T::default(); shape.tables_len()];
        Self { parameters: vec![f64::NAN; shape.parameters_len()], tables }
    }
}

/// A binary mixture with a random start.
fn started<'a, T: Lane>(
    rows: PackedRows<'a>,
    classes: usize,
    facts: RowFacts<'a>,
    prior: BernoulliPrior,
    memory: &'a mut Memory<T>,
) -> Bernoulli<'a, T> {
    let (parameters, tables) = (&mut memory.parameters, &mut memory.tables);
    let mut model = Bernoulli::new(rows, classes, facts, prior, parameters, tables).unwrap();
    model.set_random(&mut SplitMix(5));
    model
}

/// The objective of every round.
fn objectives(model: &mut impl LatentClassModel, rounds: u32) -> Vec<f64> {
    let shape = model.shape();
    let (mut statistics, mut scratch) = (vec![0.0; shape.statistics], vec![0.0; shape.sweep_scratch_len()]);
    let mut objectives = Vec::new();
    let sweep = |model: &_, statistics: &mut [f64]| {
        statistics.fill(0.0);
        em::sweep(model, 0..shape.rows, statistics, &mut scratch)
    };
    let settings = FitSettings { rounds, tolerance: 0.0 };
    em::fit_with(model, settings, &mut statistics, sweep, |round| objectives.push(round.objective)).unwrap();
    objectives
}

fn log_likelihood(model: &impl LatentClassModel) -> f64 {
    let shape = model.shape();
    model.expectation(0..shape.rows, &mut vec![f64::NAN; shape.rows * shape.classes]).unwrap()
}

#[track_caller]
fn assert_never_falls(what: &str, objectives: &[f64], rounding: f64) {
    for (nth, pair) in objectives.windows(2).enumerate() {
        let slack = rounding * (1.0 + pair[0].abs());
        assert!(pair[1] >= pair[0] - slack, "{what}: round {}: {} after {}", nth + 2, pair[1], pair[0]);
    }
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (nth, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}: value {nth} is {a}, expected {b}");
    }
}

fn priors() -> [BernoulliPrior; 3] {
    let plain = BernoulliPrior::default();
    [
        plain,
        BernoulliPrior { class_pseudocount: 0.7, ones: 0.3, zeros: 1.5, ..plain },
        BernoulliPrior { floor: 0.1, ..plain },
    ]
}

/// Small sets of rows: size, missing values and the seed of everything.
fn sets() -> impl Strategy<Value = (Bits, usize, u64)> {
    (1..60usize, 1..75usize, 1..6usize, prop::sample::select(vec![0.0, 0.2]), any::<u64>()).prop_map(
        |(rows, columns, classes, missing, seed)| {
            let mut random = SplitMix(seed);
            (Bits::random(rows, columns, classes, missing, &mut random), classes, seed)
        },
    )
}

/// Codes of the same values: 0, 1 or missing.
fn codes(bits: &Bits) -> Vec<u16> {
    bits.rows.iter().flatten().map(|value| value.map_or(MISSING, u16::from)).collect()
}

/// Shares, probabilities and objective after some rounds of maximum likelihood.
fn fitted<T: Lane>(
    packed: &Packed,
    classes: usize,
    start: &Parameters,
    rounds: u32,
) -> (Vec<f64>, Vec<f64>, f64) {
    let mut memory = Memory::<T>::new(BernoulliShape::of(packed.rows(), classes));
    // Far enough from one for 1 − p to be exact, so that two ways to say the same agree.
    let prior = BernoulliPrior { floor: FLOOR, ..BernoulliPrior::default() };
    let mut model = started(packed.rows(), classes, RowFacts::default(), prior, &mut memory);
    model.set_probabilities(&start.shares, &start.flat()).unwrap();
    let last = objectives(&mut model, rounds).pop().unwrap();
    (model.shares().to_vec(), model.probabilities().to_vec(), last)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_objective_of_binary_columns_never_falls((bits, classes, seed) in sets()) {
        let mut random = SplitMix(!seed);
        let packed = bits.packed(false);
        let weights: Vec<f64> = bits.rows.iter().map(|_| 3.0 * random.unit()).collect();
        let mask: Vec<u64> = (0..row_words(bits.columns)).map(|_| random.below(usize::MAX) as u64).collect();
        let shape = BernoulliShape::of(packed.rows(), classes);
        let (mut single, mut double) = (Memory::<f32>::new(shape), Memory::<f64>::new(shape));
        for prior in priors() {
            for weights in [None, Some(&weights[..])] {
                for active in [None, Some(&mask[..])] {
                    for partial in [false, true] {
                        let facts = RowFacts { weights, known_classes: None };
                        let active = ActiveColumns { mask: active, partial };
                        let what = format!("{prior:?} {weights:?} {active:?}");
                        let mut model = started(packed.rows(), classes, facts, prior, &mut double);
                        model.set_active(active).unwrap();
                        // A start outside the floor may be better than all it allows.
                        assert_never_falls(&what, &objectives(&mut model, 20)[1..], ROUNDING);
                        let mut model = started(packed.rows(), classes, facts, prior, &mut single);
                        model.set_active(active).unwrap();
                        assert_never_falls(&what, &objectives(&mut model, 20)[1..], SINGLE_ROUNDING);
                    }
                }
            }
        }
    }

    #[test]
    fn the_objective_of_categorical_columns_never_falls(
        rows in 1..60usize, levels in prop::collection::vec(1..6u32, 1..8), classes in 1..5usize, seed in any::<u64>(),
    ) {
        let mut random = SplitMix(seed);
        let value = |random: &mut SplitMix, levels: u32| match random.below(10) {
            0 => MISSING,
            _ => random.below(levels as usize) as u16,
        };
        let values: Vec<u16> = (0..rows).flat_map(|_| levels.clone()).map(|levels| value(&mut random, levels)).collect();
        let offsets: Vec<u32> = (0..=levels.len()).map(|nth| levels[..nth].iter().sum()).collect();
        let codes = Codes::new(&offsets, &values).unwrap();
        let weights: Vec<f64> = (0..rows).map(|_| 3.0 * random.unit()).collect();
        let shape = CategoricalShape::of(codes, classes);
        let (mut parameters, mut tables) = (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
        let plain = CategoricalPrior::default();
        for prior in [plain, CategoricalPrior { pseudocount: 0.4, class_pseudocount: 1.0, ..plain }, CategoricalPrior { floor: 0.15, ..plain }] {
            for mask in [None, Some(&[0b1011][..])] {
                let facts = RowFacts { weights: Some(&weights), known_classes: None };
                let mut model = Categorical::new(codes, classes, facts, prior, &mut parameters, &mut tables).unwrap();
                model.set_random(&mut SplitMix(2));
                model.set_active(ActiveColumns { mask, partial: false }).unwrap();
                assert_never_falls(&format!("{prior:?} {mask:?}"), &objectives(&mut model, 20)[1..], ROUNDING);
                let cells = offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
                for (cells, class) in cells.flat_map(|cells| (0..classes).map(move |class| (cells.clone(), class))) {
                    let total: f64 = cells.map(|cell| model.probabilities()[cell * classes + class]).sum();
                    prop_assert!((total - 1.0).abs() < 1e-12, "{total}");
                }
            }
        }
    }

    #[test]
    fn binary_columns_are_categorical_ones_of_two_codes((bits, classes, seed) in sets()) {
        let mut random = SplitMix(!seed);
        let start = Parameters::random(bits.columns, classes, &mut random);
        let (shares, ones, objective) = fitted::<f64>(&bits.packed(false), classes, &start, 5);
        let (values, offsets) = (codes(&bits), (0..=bits.columns as u32).map(|nth| 2 * nth).collect::<Vec<_>>());
        let rows = Codes::new(&offsets, &values).unwrap();
        let shape = CategoricalShape::of(rows, classes);
        let (mut parameters, mut tables) = (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
        let prior = CategoricalPrior { floor: FLOOR, ..CategoricalPrior::default() };
        let mut model = Categorical::new(rows, classes, RowFacts::default(), prior, &mut parameters, &mut tables).unwrap();
        let both: Vec<f64> =
            start.ones.iter().flat_map(|ones| ones.iter().map(|p| 1.0 - p).chain(ones.iter().copied())).collect();
        model.set_probabilities(&start.shares, &both).unwrap();
        let categorical = objectives(&mut model, 5).pop().unwrap();
        prop_assert!((categorical - objective).abs() <= 1e-9 * (1.0 + objective.abs()), "{categorical} {objective}");
        assert_close("shares", model.shares(), &shares, 1e-9);
        let found: Vec<f64> =
            model.probabilities().chunks_exact(2 * classes).flat_map(|column| &column[classes..]).copied().collect();
        assert_close("probabilities", &found, &ones, 1e-9);
    }

    #[test]
    fn numbers_of_rows_columns_and_classes_are_only_names((bits, classes, seed) in sets()) {
        let mut random = SplitMix(!seed);
        let start = Parameters::random(bits.columns, classes, &mut random);
        let [rows, columns, names] =
            [bits.rows.len(), bits.columns, classes].map(|count| random.choose(count, count));
        let moved = |row: &usize| columns.iter().map(|&column| bits.rows[*row][column]).collect();
        let other = Bits { columns: bits.columns, rows: rows.iter().map(moved).collect() };
        let renamed = |values: &[f64]| names.iter().map(|&class| values[class]).collect::<Vec<_>>();
        let other_start = Parameters {
            shares: renamed(&start.shares),
            ones: columns.iter().map(|&column| renamed(&start.ones[column])).collect(),
        };
        let (shares, ones, objective) = fitted::<f64>(&bits.packed(false), classes, &start, 3);
        let (found_shares, found, found_objective) = fitted::<f64>(&other.packed(false), classes, &other_start, 3);
        prop_assert!((objective - found_objective).abs() <= 1e-10 * (1.0 + objective.abs()));
        assert_close("shares", &found_shares, &renamed(&shares), 1e-9);
        let expected: Vec<f64> =
            columns.iter().flat_map(|&column| renamed(&ones[column * classes..(column + 1) * classes])).collect();
        assert_close("probabilities", &found, &expected, 1e-9);
    }

    #[test]
    fn a_column_that_is_always_missing_changes_nothing((bits, classes, seed) in sets()) {
        let mut random = SplitMix(!seed);
        let start = Parameters::random(bits.columns + 1, classes, &mut random);
        let fewer = Parameters { ones: start.ones[..bits.columns].to_vec(), ..start.clone() };
        let (shares, ones, objective) = fitted::<f64>(&bits.packed(true), classes, &fewer, 4);
        let rows = bits.rows.iter().map(|row| row.iter().copied().chain([None]).collect()).collect();
        let wider = Bits { columns: bits.columns + 1, rows };
        let (found_shares, found, found_objective) = fitted::<f64>(&wider.packed(true), classes, &start, 4);
        prop_assert!((objective - found_objective).abs() <= 1e-10 * (1.0 + objective.abs()));
        assert_close("shares", &found_shares, &shares, 1e-10);
        assert_close("probabilities", &found[..ones.len()], &ones, 1e-10);
        assert_close("of the missing column", &found[ones.len()..], &start.ones[bits.columns], 1e-15);
    }

    #[test]
    fn a_weight_counts_as_so_many_equal_rows((bits, classes, seed) in sets()) {
        let mut random = SplitMix(!seed);
        let weights: Vec<f64> = bits.rows.iter().map(|_| random.below(4) as f64).collect();
        let copies = bits.rows.iter().zip(&weights).flat_map(|(row, &weight)| vec![row.clone(); weight as usize]);
        let repeated = Bits { columns: bits.columns, rows: copies.collect() };
        let start = Parameters::random(bits.columns, classes, &mut random);
        let (shares, ones, objective) = fitted::<f64>(&repeated.packed(true), classes, &start, 3);
        let packed = bits.packed(true);
        let mut memory = Memory::<f64>::new(BernoulliShape::of(packed.rows(), classes));
        let facts = RowFacts { weights: Some(&weights), known_classes: None };
        let prior = BernoulliPrior { floor: FLOOR, ..BernoulliPrior::default() };
        let mut model = started(packed.rows(), classes, facts, prior, &mut memory);
        model.set_probabilities(&start.shares, &start.flat()).unwrap();
        let weighted = objectives(&mut model, 3).pop().unwrap();
        prop_assert!((objective - weighted).abs() <= 1e-10 * (1.0 + objective.abs()));
        assert_close("shares", model.shares(), &shares, 1e-9);
        assert_close("probabilities", model.probabilities(), &ones, 1e-9);
    }
}

/// Rows of a clear mixture, and more of the same for scoring.
fn clear(rows: usize, columns: usize) -> [Bits; 2] {
    let all = Bits::random(2 * rows, columns, 3, 0.0, &mut SplitMix(9));
    let (first, second) = all.rows.split_at(rows);
    [first, second].map(|rows| Bits { columns, rows: rows.to_vec() })
}

#[test]
fn rows_held_out_are_scored_under_the_fitted_parameters() {
    let [train, held_out] = clear(500, 70);
    let (packed, other) = (train.packed(false), held_out.packed(false));
    let mut memory = Memory::<f64>::new(BernoulliShape::of(packed.rows(), 3));
    let mut model = started(packed.rows(), 3, RowFacts::default(), BernoulliPrior::default(), &mut memory);
    objectives(&mut model, 30);
    let ones = model.probabilities().chunks_exact(3).map(<[f64]>::to_vec).collect();
    let parameters = Parameters { shares: model.shares().to_vec(), ones };
    let score = |row: &Vec<Option<bool>>| log_sum(&parameters.log_joints(row, |_| true));
    let expected: f64 = held_out.rows.iter().map(score).sum();
    model.set_rows(other.rows(), RowFacts::default()).unwrap();
    let found = log_likelihood(&model);
    assert!((found - expected).abs() < 1e-9 * expected.abs(), "{found} {expected}");
}

#[test]
fn a_partial_maximisation_leaves_other_columns_alone() {
    let [rows, _] = clear(200, 10);
    let packed = rows.packed(false);
    let mut memory = Memory::<f32>::new(BernoulliShape::of(packed.rows(), 3));
    let mut model = started(packed.rows(), 3, RowFacts::default(), BernoulliPrior::default(), &mut memory);
    let before = model.probabilities().to_vec();
    model.set_active(ActiveColumns { mask: Some(&[0b11]), partial: true }).unwrap();
    objectives(&mut model, 3);
    assert_eq!(model.probabilities()[6..], before[6..]);
    assert!(model.probabilities()[..6].iter().zip(&before).all(|(after, before)| after != before));
}

#[test]
fn given_responsibilities_are_maximised() {
    let rows = PackedRows::new(4, 2, &[0b11, 0b01, 0b10, 0b00]).unwrap();
    let mut memory = Memory::<f32>::new(BernoulliShape::of(rows, 2));
    let mut model = started(rows, 2, RowFacts::default(), BernoulliPrior::default(), &mut memory);
    let responsibilities = [1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.0, 1.0];
    start::from_responsibilities(&mut model, &responsibilities, &mut [0.0; 6]).unwrap();
    assert_close("shares", model.shares(), &[0.375, 0.625], 1e-15);
    let floor = 1e-10;
    assert_close("probabilities", model.probabilities(), &[1.0 - floor, 0.2, 2.0 / 3.0, 0.4], 1e-12);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let [rows, _] = clear(20_000, 200);
    for missing in [false, true] {
        let packed = rows.packed(missing);
        let fit = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut memory = Memory::<f32>::new(BernoulliShape::of(packed.rows(), 3));
            let mut model =
                started(packed.rows(), 3, RowFacts::default(), BernoulliPrior::default(), &mut memory);
            let mut shards = Shards::of_rows(200, model.shape());
            let mut statistics = vec![0.0; model.shape().statistics];
            let settings = FitSettings { rounds: 4, tolerance: 0.0 };
            let fit = pool.install(|| shards.fit(&mut model, settings, &mut statistics, |_| ())).unwrap();
            (
                fit.last.objective.to_bits(),
                model.probabilities().iter().map(|p| p.to_bits()).collect::<Vec<_>>(),
            )
        };
        let alone = fit(1);
        assert!([2, 3, 8].into_iter().all(|threads| fit(threads) == alone));
    }
}

#[test]
fn the_vectors_of_any_cpu_give_the_same_bits() {
    for classes in [2, 4, 7, 10, 16, 20] {
        let bits = Bits::random(300, 90, classes, 0.1, &mut SplitMix(4));
        let packed = bits.packed(false);
        let shape = BernoulliShape::of(packed.rows(), classes);
        let (mut memory, mut other) = (Memory::<f32>::new(shape), Memory::<f32>::new(shape));
        let prior = BernoulliPrior::default();
        let mut model = started(packed.rows(), classes, RowFacts::default(), prior, &mut memory);
        let expected = objectives(&mut model, 6);
        let mut model = started(packed.rows(), classes, RowFacts::default(), prior, &mut other);
        let mut found = Vec::new();
        // One shard: sums in one order.
        let (mut shards, settings) =
            (Shards::of_rows(90, model.shape()), FitSettings { rounds: 6, tolerance: 0.0 });
        let mut statistics = vec![0.0; model.shape().statistics];
        shards.fit(&mut model, settings, &mut statistics, |round| found.push(round.objective)).unwrap();
        assert_eq!(found, expected, "{classes} classes");
    }
}

/// The log-likelihood a row that 60 rounds of batch EM reach, of rows and of rows held out.
fn batch(train: &Packed, held_out: &Packed, start: &Parameters) -> [f64; 2] {
    let (shares, ones, _) = fitted::<f64>(train, 3, start, 60);
    [train, held_out].map(|packed| score(packed, &shares, &ones))
}

fn score(packed: &Packed, shares: &[f64], ones: &[f64]) -> f64 {
    let mut memory = Memory::<f64>::new(BernoulliShape::of(packed.rows(), 3));
    let mut model = started(packed.rows(), 3, RowFacts::default(), BernoulliPrior::default(), &mut memory);
    model.set_probabilities(shares, ones).unwrap();
    log_likelihood(&model) / packed.rows().rows() as f64
}

#[test]
fn small_batches_reach_the_batch_fit_in_fewer_passes() {
    let [train, held_out] = clear(4000, 30).map(|bits| bits.packed(false));
    let start = Parameters::random(30, 3, &mut SplitMix(1));
    let expected = batch(&train, &held_out, &start);
    let mut memory = Memory::<f64>::new(BernoulliShape::of(train.rows(), 3));
    let mut model = started(train.rows(), 3, RowFacts::default(), BernoulliPrior::default(), &mut memory);
    model.set_probabilities(&start.shares, &start.flat()).unwrap();
    let mut statistics = vec![0.0; model.shape().statistics];
    let mut scratch = vec![f64::NAN; stepwise::step_scratch_len(model.shape())];
    let batches = (0..5).flat_map(|_| (0..4000).step_by(100)).map(|first| first..first + 100);
    for (step, batch) in (0..).zip(batches) {
        let size = StepSize::default();
        stepwise::step(&mut model, batch, (step, size), &mut statistics, &mut scratch).unwrap();
    }
    for (packed, expected) in [&train, &held_out].into_iter().zip(expected) {
        let found = score(packed, model.shares(), model.probabilities());
        assert!(found > expected - 0.01, "{found} a row, batch {expected}");
    }
}

#[test]
fn a_stream_of_single_rows_reaches_the_batch_fit() {
    let [train, held_out] = clear(4000, 30);
    let [packed, other] = [&train, &held_out].map(|bits| bits.packed(false));
    let start = Parameters::random(30, 3, &mut SplitMix(1));
    let expected = batch(&packed, &other, &start);
    let shape = BernoulliShape::of(packed.rows(), 3);
    let (mut state, mut scratch) =
        (vec![f64::NAN; stream_state_len(shape)], vec![f64::NAN; stream_scratch_len(shape)]);
    let prior = (BernoulliPrior { floor: 1e-3, ..BernoulliPrior::default() }, 4000.0);
    let begin = (&start.shares[..], &start.flat()[..]);
    let mut stream =
        BernoulliStream::new(shape, prior, StepSize::of_single_rows(), begin, &mut state).unwrap();
    let mut seen = 0.0;
    for pass in 0..5 {
        seen = 0.0;
        for row in 0..4000 {
            let log_likelihood = stream.step(packed.rows().row(row), None, &mut scratch).unwrap();
            assert!(log_likelihood.is_finite(), "pass {pass}, row {row}");
            seen += log_likelihood / 4000.0;
        }
    }
    let shares: Vec<f64> = (0..3).map(|class| stream.share(class)).collect();
    let ones: Vec<f64> = (0..30)
        .flat_map(|column| (0..3).map(move |class| (column, class)))
        .map(|(c, k)| stream.probability(c, k))
        .collect();
    for (packed, expected) in [&packed, &other].into_iter().zip(expected) {
        let found = score(packed, &shares, &ones);
        assert!(found > expected - 0.02, "{found} a row, batch {expected}; seen {seen}");
    }
}

#[test]
fn every_invalid_setting_is_its_own_error() {
    let rows = PackedRows::new(2, 3, &[5, 4]).unwrap();
    let plain = BernoulliPrior::default();
    let number = |what, value| EmError::NotANonNegativeNumber { what, value };
    let shape = BernoulliShape::of(rows, 2);
    let (mut parameters, mut tables) = (vec![0.0; shape.parameters_len()], vec![0.0f32; shape.tables_len()]);
    for (prior, expected) in [
        (BernoulliPrior { class_pseudocount: -1.0, ..plain }, number("class pseudocount", -1.0)),
        (BernoulliPrior { ones: -0.5, ..plain }, number("pseudocount of ones", -0.5)),
        (BernoulliPrior { zeros: f64::INFINITY, ..plain }, number("pseudocount of zeros", f64::INFINITY)),
        (BernoulliPrior { floor: 0.0, ..plain }, EmError::Floor { value: 0.0, most: 0.5 }),
        (BernoulliPrior { floor: 0.6, ..plain }, EmError::Floor { value: 0.6, most: 0.5 }),
    ] {
        let made = Bernoulli::new(rows, 2, RowFacts::default(), prior, &mut parameters, &mut tables);
        assert_eq!(made.map(drop), Err(expected));
    }
    let mut model =
        Bernoulli::new(rows, 2, RowFacts::default(), plain, &mut parameters, &mut tables).unwrap();
    let length = |what, found, expected| Err(EmError::Length { what, found, expected });
    assert_eq!(
        model.set_active(ActiveColumns { mask: Some(&[1, 2]), partial: false }),
        length("active columns", 2, 1)
    );
    assert_eq!(model.set_probabilities(&[1.0], &[0.5; 6]), length("class shares", 1, 2));
    assert_eq!(model.set_probabilities(&[0.5; 2], &[0.5; 5]), length("probabilities", 5, 6));
    let wider = PackedRows::new(1, 4, &[5]).unwrap();
    assert_eq!(model.set_rows(wider, RowFacts::default()), length("columns", 4, 3));
    let size = StepSize::default();
    assert_eq!(StepSize { exponent: 0.5, ..size }.check(), Err(EmError::StepExponent(0.5)));
    assert_eq!(StepSize { delay: 0.5, ..size }.check(), Err(EmError::StepDelay(0.5)));

    let codes = Codes::new(&[0, 3], &[0, 2]).unwrap();
    let prior = CategoricalPrior { floor: 0.4, ..CategoricalPrior::default() };
    let (mut parameters, mut tables) = ([0.0; 8], [0.0; 6]);
    let made = Categorical::new(codes, 2, RowFacts::default(), prior, &mut parameters, &mut tables);
    assert_eq!(made.map(drop), Err(EmError::Floor { value: 0.4, most: 1.0 / 3.0 }));
}
