//! Forward and backward selection find the columns that matter, and only those.

mod common;

use common::columns::Rows;
use common::sparse::{Sparse, SparseRows, error_rate};
use mixlet_runtime::mixture::stepwise::{StepwiseFit, StepwiseOptions, Until, backward, forward};

fn generated(classes: usize, seed: u64) -> SparseRows {
    let accuracy = (0.75, 0.95);
    Sparse { rows: 2000, columns: 40, classes, experts: 6, accuracy, scrambled: true, seed }.rows()
}

fn run(rows: &Rows, classes: usize, until: Until, adds: bool) -> StepwiseFit {
    let options = StepwiseOptions { classes, until, ..StepwiseOptions::default() };
    let select = if adds { forward } else { backward };
    select(rows.owned().view(), None, &options, &mut |_| ()).unwrap()
}

fn sorted(columns: &[u32]) -> Vec<u32> {
    let mut columns = columns.to_vec();
    columns.sort_unstable();
    columns
}

#[test]
fn forward_and_backward_agree_on_the_columns_that_matter() {
    for seed in 0..10 {
        for classes in [2, 3] {
            let SparseRows { rows, truth, experts } = generated(classes, seed);
            for adds in [true, false] {
                let fit = run(&rows, classes, Until::Bic, adds);
                assert_eq!(sorted(&fit.active), experts, "{classes} classes, seed {seed}, forward: {adds}");
                let error = error_rate(&fit.responsibilities, &truth, classes);
                assert!(error < 0.05, "{classes} classes, seed {seed}, forward: {adds}: {error}");
            }
        }
    }
}

#[test]
fn noise_is_never_chosen() {
    for seed in 0..20 {
        // Nothing but noise: no two columns depend on each other.
        let noise = Sparse {
            rows: 2000,
            columns: 40,
            classes: 2,
            experts: 0,
            accuracy: (0.0, 0.0),
            scrambled: false,
            seed,
        };
        for until in [Until::Bic, Until::Level(0.99)] {
            let fit = run(&noise.rows().rows, 2, until, true);
            assert!(fit.active.is_empty() && fit.parameters.classes() == 1, "seed {seed}, {until:?}");
            let SparseRows { rows, experts, .. } = generated(2, seed);
            let fit = run(&rows, 2, until, true);
            let chosen = |column: &u32| experts.contains(column);
            assert!(fit.active.iter().all(chosen), "seed {seed}, {until:?}: {:?}, {experts:?}", fit.active);
        }
    }
}

#[test]
fn a_stricter_level_selects_a_part() {
    for seed in 0..3 {
        let SparseRows { rows, .. } = generated(2, seed);
        for adds in [true, false] {
            let mut before: Option<Vec<u32>> = None;
            for level in [0.5, 0.9, 0.99, 0.999_999] {
                let active = sorted(&run(&rows, 2, Until::Level(level), adds).active);
                if let Some(before) = before {
                    let is_part = active.iter().all(|column| before.contains(column));
                    assert!(is_part, "seed {seed}, level {level}, forward: {adds}: {active:?} of {before:?}");
                }
                before = Some(active);
            }
        }
    }
}

#[test]
fn as_many_columns_as_asked_for() {
    let SparseRows { rows, experts, .. } = generated(2, 1);
    for adds in [true, false] {
        let fit = run(&rows, 2, Until::Columns(4), adds);
        assert_eq!(fit.active.len(), 4);
        assert!(fit.active.iter().all(|column| experts.contains(column)));
        let first = run(&rows, 2, Until::Columns(3), adds).active;
        assert!(first.iter().all(|column| fit.active.contains(column)));
        // Each step is one column, but for the first pair.
        let moved: usize = fit.steps.iter().map(|step| step.columns.len()).sum();
        assert_eq!(moved, if adds { 4 } else { rows.columns() - 4 });
    }
}
