//! Mixtures of binary and of categorical columns.

use crate::common::bernoulli::Bits;
use crate::common::columns::Rows;
use crate::common::random::SplitMix;
use crate::{SETTINGS, without_allocations};
use mixlet_core::em::bernoulli::{
    AbsentColumns, Bernoulli, BernoulliPrior, BernoulliShape, BernoulliStream, stream_scratch_len,
    stream_state_len,
};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::criteria::entropy;
use mixlet_core::em::{self, LatentClassModel, RowFacts, start, stepwise};
use mixlet_core::observations::{Codes, PackedRows, row_words};
use mixlet_core::select::Estimator;
use mixlet_core::select::columns::{
    Indicators, PairTables, Stripe, add_margins, count_pairs, information_scratch_len, transpose,
    weigh_pairs, weigh_scratch_len,
};
use mixlet_core::select::stagewise::{split_directions, split_scratch_len};

/// One set for every number of lanes, with and without missing values.
#[test]
fn binary_columns() {
    for (classes, missing) in [(3, 0.0), (3, 0.1), (7, 0.0), (7, 0.1), (20, 0.0), (20, 0.1)] {
        let packed = Bits::random(1100, 70, classes, missing, &mut SplitMix(1)).packed(false);
        let shape = BernoulliShape::of(packed.rows(), classes);
        let (mut parameters, mut tables) =
            (vec![0.0; shape.parameters_len()], vec![0f32; shape.tables_len()]);
        let mut statistics = vec![0.0; shape.statistics_len()];
        let mut posteriors = vec![0.0; 1100 * classes];
        let (mut state, mut row) = (vec![0.0; stream_state_len(shape)], vec![0.0; stream_scratch_len(shape)]);
        let mut scratch = vec![0.0; 100_000];
        let (mut offsets, mut absent) = (vec![0; 1101], vec![0; AbsentColumns::count(packed.rows())]);
        without_allocations("binary columns", || {
            let (facts, prior) = (RowFacts::default(), BernoulliPrior::default());
            let mut model =
                Bernoulli::new(packed.rows(), classes, facts, prior, &mut parameters, &mut tables).unwrap();
            model.set_random(&mut SplitMix(2));
            let of_sweep = &mut scratch[..model.shape().sweep_scratch_len()];
            em::fit(&mut model, SETTINGS, &mut statistics, of_sweep).unwrap();
            let absent = AbsentColumns::list(packed.rows(), &mut offsets, &mut absent).unwrap();
            model.set_absent(absent).unwrap();
            em::fit(&mut model, SETTINGS, &mut statistics, of_sweep).unwrap();
            let of_step = &mut scratch[..stepwise::step_scratch_len(model.shape())];
            let size = stepwise::StepSize::default();
            stepwise::step(&mut model, 0..50, (3, size), &mut statistics, of_step).unwrap();
            model.expectation(0..1100, &mut posteriors).unwrap();
            start::from_responsibilities(&mut model, &posteriors, &mut statistics).unwrap();
            assert!(entropy(&posteriors, classes, None) >= 0.0);
            let start = (model.shares(), model.probabilities());
            let mut stream = BernoulliStream::new(shape, (prior, 1.0), size, start, &mut state).unwrap();
            stream.step(packed.rows().row(0), packed.rows().row_present(0), &mut row).unwrap();
        });
    }
}

#[test]
fn categorical_columns() {
    let values: Vec<u16> = (0..900).map(|nth| (nth * 7 % 11 % 3) as u16).collect();
    let codes = Codes::new(&[0, 3, 6, 9], &values).unwrap();
    let shape = CategoricalShape::of(codes, 2);
    let (mut parameters, mut tables) = (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
    let (mut statistics, mut scratch) = (vec![0.0; shape.parameters_len()], vec![0.0; 2 * em::BLOCK_ROWS]);
    without_allocations("categorical columns", || {
        let (facts, prior) = (RowFacts::default(), CategoricalPrior::default());
        let mut model = Categorical::new(codes, 2, facts, prior, &mut parameters, &mut tables).unwrap();
        model.set_random(&mut SplitMix(2));
        em::fit(&mut model, SETTINGS, &mut statistics, &mut scratch).unwrap();
    });
}

#[test]
fn columns_and_splits() {
    let rows = Rows::random(300, vec![2; 70], 0.0, 5);
    let (offsets, words) = rows.indicators();
    let indicators = Indicators::new(rows.packed(&words), &offsets).unwrap();
    let columns: Vec<u32> = (0..20).collect();
    let stripe = Stripe::new(indicators, &columns, 0);
    let weights = vec![0.5; rows.rows()];
    let mut transposed = vec![0; 70 * row_words(rows.rows())];
    let (mut sums, mut margins) = (vec![0.0; stripe.sums_len()], vec![0.0; 70]);
    let mut information = vec![0.0; stripe.pairs_len()];
    let mut scratch = vec![0.0; weigh_scratch_len()];
    let mut table_scratch = vec![0.0; information_scratch_len(indicators)];
    let mut split_scratch = vec![0.0; split_scratch_len(2, 2)];
    without_allocations("pair tables", || {
        transpose(indicators.bits(), &mut transposed).unwrap();
        let by_column = PackedRows::new(70, rows.rows(), &transposed).unwrap();
        count_pairs(stripe, by_column, &mut sums).unwrap();
        weigh_pairs(stripe, &weights, &mut sums, &mut scratch).unwrap();
        let mass = add_margins(indicators.bits(), Some(&weights), &mut margins).unwrap();
        let tables = PairTables::new(stripe, &sums, &margins, mass).unwrap();
        for estimator in [Estimator::Plain, Estimator::G_TEST] {
            tables.information(estimator, &mut information, &mut table_scratch).unwrap();
        }
        let (mut table, mut u, mut v) = ([0.0; 4], [0.0; 2], [0.0; 2]);
        tables.table(1, 0, &mut table).unwrap();
        split_directions(&table, &mut u, &mut v, &mut split_scratch).unwrap();
    });
}
