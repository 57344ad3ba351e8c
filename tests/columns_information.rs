//! Pair tables of dense columns are the counts of the rows, and their information that of the tables.

mod common;

use common::columns::{Rows, naive_pair_table};
use common::random::SplitMix;
use mixlet_core::observations::{PackedRows, row_words};
use mixlet_core::select::Estimator;
use mixlet_core::select::columns::{
    Indicators, LANES, PairTables, Stripe, add_margins, count_pairs, information_scratch_len, transpose,
    weigh_pairs, weigh_scratch_len,
};

const ESTIMATORS: [Estimator; 4] =
    [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::G_TEST];

/// Rows around the block of 128, words of rows and of columns, codes from one to more than a block of lanes.
fn cases() -> Vec<Rows> {
    let wide: Vec<usize> = (0..130).map(|_| 2).collect();
    let mixed = vec![2, 3, 1, 5, 20, 2, 4, 17, 2];
    let mut cases = Vec::new();
    for (rows, levels) in
        [(1, vec![2]), (127, mixed.clone()), (300, wide), (128, vec![2; 16]), (65, vec![3; 7])]
    {
        for missing in [0.0, 0.2] {
            cases.push(Rows::random(rows, levels.clone(), missing, rows as u64));
        }
    }
    cases.push(Rows::random(70, vec![1, 1], 0.0, 1));
    cases.push(Rows::random(0, vec![2, 2], 0.0, 1));
    cases
}

/// Weights with zeros among them.
fn weights(rows: usize) -> Vec<f64> {
    let mut random = SplitMix(rows as u64);
    (0..rows).map(|row| if row % 5 == 3 { 0.0 } else { random.unit() }).collect()
}

#[test]
fn tables_and_information_are_those_of_the_rows() {
    for rows in cases() {
        let (offsets, words) = rows.indicators();
        let indicators = Indicators::new(rows.packed(&words), &offsets).unwrap();
        let bits = indicators.bits();
        let mut transposed = vec![u64::MAX; bits.columns() * row_words(bits.rows())];
        transpose(bits, &mut transposed).unwrap();
        let transposed = PackedRows::new(bits.columns(), bits.rows(), &transposed).unwrap();
        let stripe_columns: Vec<u32> =
            (0..rows.columns() as u32).filter(|column| column % 2 == 0 || *column > 6).rev().collect();
        for from in [0, rows.columns() / 2, rows.columns()] {
            let stripe = Stripe::new(indicators, &stripe_columns, from);
            let weights = weights(rows.rows());
            let mut sums = vec![f64::NAN; stripe.sums_len()];
            let mut margins = vec![0.0; bits.columns()];

            count_pairs(stripe, transposed, &mut sums).unwrap();
            let mass = add_margins(bits, None, &mut margins).unwrap();
            check(
                &rows,
                stripe,
                PairTables::new(stripe, &sums, &margins, mass).unwrap(),
                &vec![1.0; rows.rows()],
            );

            sums.fill(f64::NAN);
            weigh_pairs(stripe, &weights, &mut sums, &mut vec![f64::NAN; weigh_scratch_len()]).unwrap();
            margins.fill(0.0);
            let mass = add_margins(bits, Some(&weights), &mut margins).unwrap();
            check(&rows, stripe, PairTables::new(stripe, &sums, &margins, mass).unwrap(), &weights);
        }
    }
}

fn check(rows: &Rows, stripe: Stripe<'_>, tables: PairTables<'_>, weights: &[f64]) {
    let width = stripe.columns().len();
    let mass: f64 = weights.iter().sum();
    for estimator in ESTIMATORS {
        let mut information = vec![f64::NAN; stripe.pairs_len()];
        let mut scratch = vec![f64::NAN; information_scratch_len(stripe.indicators())];
        tables.information(estimator, &mut information, &mut scratch).unwrap();
        for column in stripe.from()..rows.columns() {
            for (nth, &partner) in stripe.columns().iter().enumerate() {
                let expected = naive_pair_table(rows, column, partner as usize, weights);
                let mut table = vec![f64::NAN; expected.len()];
                tables.table(column, nth, &mut table).unwrap();
                if column == partner as usize {
                    continue;
                }
                let place = format!("{} rows, columns {column} and {partner}", rows.rows());
                for (found, expected) in table.iter().zip(&expected) {
                    assert!((found - expected).abs() <= 1e-12 * mass, "{place}: {table:?}");
                }
                let expected = estimator.estimate(&expected, rows.levels[partner as usize], mass);
                let found = information[(column - stripe.from()) * width + nth];
                assert!((found - expected).abs() < 1e-11, "{place}, {estimator:?}: {found}, {expected}");
            }
        }
    }
    assert_eq!(stripe.sums_len() % LANES, 0);
}
