//! Kernels of core write all of their output and nothing else.

mod common;

use common::bernoulli::Bits;
use common::columns::Rows;
use common::crowd::{Crowd, Generated, Naming};
use common::guarded::{added, changed, written, written_integers};
use common::random::SplitMix;
use mixlet_core::em::bernoulli::{
    Bernoulli, BernoulliPrior, BernoulliShape, BernoulliStream, stream_scratch_len, stream_state_len,
};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::pooled::pooled_confusion;
use mixlet_core::em::{self, FitSettings, LatentClassModel, RowFacts, spectral, start, stepwise};
use mixlet_core::numeric::{exp_slice, ln_slice, softmax_rows};
use mixlet_core::observations::{Answers, Codes, PackedRows, WorkerTasks, group_by_task, row_words};
use mixlet_core::select::columns::{
    Indicators, PairTables, Stripe, add_margins, count_pairs, fill_indicators, information_scratch_len,
    transpose, weigh_pairs, weigh_scratch_len,
};
use mixlet_core::select::stagewise::{
    Split, floor_probabilities, split_class, split_directions, split_scratch_len,
};
use mixlet_core::select::tree::{TwoClasses, label_probabilities, leaf_label_shares};
use mixlet_core::select::{Estimator, Pairs, Residue, order_by_information, worker_information};
use mixlet_core::small::eigen;

const PLAIN: Prior<'static> = Prior {
    uniform_shares: false,
    frozen_conditionals: None,
    class_pseudocount: 0.0,
    pseudocount: 0.0,
    shared: None,
    earlier: None,
};

/// Sizes around the block of 256 rows and around every class count with a kernel of its own.
fn crowds() -> impl Iterator<Item = Crowd> {
    (1..=10).zip([1, 5, 255, 256, 257, 600, 3, 100, 300, 7]).map(|(labels, tasks)| {
        let accuracy = if labels == 1 { (1.0, 1.0) } else { (0.5, 0.9) };
        Generated {
            tasks,
            workers: 7,
            labels,
            answers_per_task: 4,
            accuracy,
            naming: Naming::Shared,
            seed: 5,
        }
        .crowd()
    })
}

/// Calls `work` with a Dawid–Skene model started from the vote, in guarded memory.
#[track_caller]
fn with_model(answers: Answers<'_>, work: impl FnOnce(&mut DawidSkene<'_>)) {
    let shape = DawidSkeneShape::of(answers);
    written(shape.parameters_len(), |parameters| {
        let facts = RowFacts::default();
        let mut model = DawidSkene::new(answers, shape.classes, facts, PLAIN, parameters).unwrap();
        let scratch_len = model.shape().sweep_scratch_len();
        written(shape.parameters_len(), |statistics| {
            written(scratch_len, |scratch| start::from_vote(&mut model, statistics, scratch).unwrap());
        });
        work(&mut model);
    });
}

/// The rows of a sweep's last part: neither the first nor a whole block.
fn part(rows: usize) -> std::ops::Range<usize> {
    rows / 3..rows
}

#[test]
fn slices_of_numbers() {
    for len in [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 130] {
        let values: Vec<f64> = (0..len).map(|nth| nth as f64 * 0.37 - 20.0).collect();
        let exponentials = changed(&values, exp_slice);
        changed(&exponentials, ln_slice);
        for classes in 1..=10 {
            let rows = &values[..len / classes * classes];
            let posteriors = changed(rows, |rows| softmax_rows(rows, classes, None).map(|_| ()).unwrap());
            assert!(
                posteriors.chunks_exact(classes).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12)
            );
        }
    }
    for n in 1..=6 {
        let matrix: Vec<f64> = (0..n * n).map(|nth| ((nth / n + nth % n) as f64).cos()).collect();
        changed(&matrix, |matrix| drop(written(n * n, |vectors| eigen(matrix, n, vectors))));
    }
}

#[test]
fn groups_of_answers() {
    // Ten answers to six tasks, the last two of which nobody answered.
    let (tasks, workers) = ([3, 0, 0, 1, 3, 3, 2, 0, 1, 3], [0, 1, 2, 2, 1, 2, 0, 0, 2, 0]);
    let labels = [0, 1, 1, 0, 1, 0, 1, 0, 0, 1];
    let group = |offsets: &mut [u32], cells: &mut [u32]| {
        group_by_task((4, 2), &tasks, &workers, &labels, offsets, cells).unwrap();
    };
    let fills = [u32::MAX, 7];
    let offsets = written_integers(7, fills, |offsets| group(offsets, &mut [0; 10]));
    let cells = written_integers(10, fills, |cells| group(&mut [0; 7], cells));
    assert_eq!(offsets, [0, 3, 5, 6, 10, 10, 10]);

    let answers = Answers::new(4, 2, &offsets, &cells).unwrap();
    let fill = |offsets: &mut [u32], tasks: &mut [u32]| {
        WorkerTasks::fill(answers, offsets, tasks).map(|_| ()).unwrap()
    };
    assert_eq!(written_integers(5, fills, |offsets| fill(offsets, &mut [0; 10])), [0, 4, 6, 10, 10]);
    assert_eq!(written_integers(10, fills, |tasks| fill(&mut [0; 5], tasks)), [0, 2, 3, 3, 0, 3, 0, 1, 1, 3]);
}

#[test]
fn starts() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let (shape, rows) = (DawidSkeneShape::of(answers), part(answers.tasks()));
        let known: Vec<u32> =
            (0..answers.tasks()).map(|task| if task % 3 == 0 { 0 } else { em::UNKNOWN }).collect();
        let facts = RowFacts { known_classes: Some(&known), weights: None };
        written(rows.len() * shape.labels, |out| start::vote_shares(answers, facts, rows, out));
        written(shape.classes, |shares| {
            written(shape.table_len(), |table| {
                start::random_probabilities(&mut SplitMix(1), shape.labels, shares, table);
            });
        });
        // Scratch of the spectral start is no output: it may stay as it was.
        let mut scratch = vec![f64::NAN; spectral::start_scratch_len(answers)];
        written(shape.classes, |shares| {
            written(shape.table_len(), |table| {
                let result = spectral::start(answers, &mut SplitMix(1), shares, table, &mut scratch);
                // Too small a crowd: outputs are unspecified.
                if result.is_err() {
                    shares.fill(0.0);
                    table.fill(0.0);
                }
            });
        });
    }
}

#[test]
fn dawid_skene() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let shape = DawidSkeneShape::of(answers);
        with_model(answers, |model| {
            let rows = part(answers.tasks());
            let posteriors = written(rows.len() * shape.classes, |out| {
                model.expectation(rows.clone(), out).unwrap();
            });
            let statistics =
                added(shape.parameters_len(), |out| model.accumulate(rows.clone(), &posteriors, out));
            written(shape.classes, |shares| {
                written(shape.table_len(), |table| model.probabilities(&statistics, shares, table));
            });
            let reciprocals = written(shape.table_len(), |out| model.reciprocals(out));
            let cavity = added(shape.parameters_len(), |out| {
                written(shape.classes, |scratch| {
                    model.accumulate_cavity(rows, &posteriors, &reciprocals, out, scratch);
                });
            });
            written(shape.labels * shape.classes, |out| pooled_confusion(shape, &cavity, out));
            model.maximize(&statistics);
        });
        with_model(answers, |model| {
            let shares = vec![1.0 / shape.classes as f64; shape.classes];
            model.set_probabilities(&shares, &vec![1.0 / shape.labels as f64; shape.table_len()]).unwrap();
        });
    }
}

#[test]
fn one_coin() {
    for crowd in crowds() {
        let answers = crowd.answers();
        written(one_coin_parameters_len(answers), |parameters| {
            let settings = OneCoinSettings::default();
            let mut model = OneCoin::new(answers, settings, RowFacts::default(), parameters).unwrap();
            let rows = part(answers.tasks());
            let posteriors = written(rows.len() * answers.labels(), |out| {
                model.expectation(rows.clone(), out).unwrap();
            });
            let statistics = added(model.shape().statistics, |out| model.accumulate(rows, &posteriors, out));
            model.maximize(&statistics);
        });
    }
}

#[test]
fn binary_columns() {
    let sizes = [(1, 1, 1, 0.0), (64, 64, 4, 0.0), (65, 63, 5, 0.1), (70, 5, 17, 0.0), (1025, 130, 10, 0.0)];
    for (rows, columns, classes, missing) in sizes {
        let packed = Bits::random(rows, columns, classes, missing, &mut SplitMix(3)).packed(false);
        let shape = BernoulliShape::of(packed.rows(), classes);
        let (facts, prior) = (RowFacts::default(), BernoulliPrior::default());
        let mut tables = vec![f64::NAN; shape.tables_len()];
        written(shape.parameters_len(), |parameters| {
            let mut model =
                Bernoulli::new(packed.rows(), classes, facts, prior, parameters, &mut tables).unwrap();
            model.set_random(&mut SplitMix(1));
            let part = part(rows);
            let posteriors = written(part.len() * classes, |out| {
                model.expectation(part.clone(), out).unwrap();
            });
            let statistics =
                added(shape.statistics_len(), |out| model.accumulate(part.clone(), &posteriors, out));
            let mut scratch = vec![f64::NAN; model.shape().sweep_scratch_len()];
            added(shape.statistics_len(), |out| {
                em::sweep(&model, part.clone(), out, &mut scratch).unwrap();
            });
            let mut scratch = vec![f64::NAN; stepwise::step_scratch_len(model.shape())];
            added(shape.statistics_len(), |out| {
                let size = (0, stepwise::StepSize::default());
                stepwise::step(&mut model, part, size, out, &mut scratch).unwrap();
            });
            model.maximize(&statistics);
            let (start, size) = ((model.shares(), model.probabilities()), stepwise::StepSize::default());
            written(stream_state_len(shape), |state| {
                written(stream_scratch_len(shape), |scratch| {
                    let mut stream = BernoulliStream::new(shape, (prior, 1.0), size, start, state).unwrap();
                    stream.step(packed.rows().row(0), packed.rows().row_present(0), scratch).unwrap();
                });
            });
        });
    }
}

#[test]
fn categorical_columns() {
    let codes = Codes::new(&[0, 2, 5], &[1, 2, 0, 0, 1, 1]).unwrap();
    let shape = CategoricalShape::of(codes, 3);
    written(shape.parameters_len(), |parameters| {
        written(shape.tables_len(), |tables| {
            let (facts, prior) = (RowFacts::default(), CategoricalPrior::default());
            let mut model = Categorical::new(codes, 3, facts, prior, parameters, tables).unwrap();
            model.set_random(&mut SplitMix(1));
            let posteriors = written(6, |out| model.expectation(1..3, out).map(drop).unwrap());
            let statistics = added(shape.parameters_len(), |out| model.accumulate(1..3, &posteriors, out));
            model.maximize(&statistics);
        });
    });
}

#[test]
fn fits() {
    let settings = FitSettings { rounds: 3, tolerance: 0.0 };
    for crowd in crowds() {
        let answers = crowd.answers();
        with_model(answers, |model| {
            let shape = model.shape();
            written(shape.statistics, |statistics| {
                written(shape.sweep_scratch_len(), |scratch| {
                    em::fit(model, settings, statistics, scratch).unwrap();
                });
            });
            let mut scratch = vec![f64::NAN; shape.sweep_scratch_len()];
            let sweep =
                |out: &mut [f64]| em::sweep(model, part(shape.rows), out, &mut scratch).map(|_| ()).unwrap();
            added(shape.statistics, sweep);
        });
    }
}

#[test]
fn information() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let (mut offsets, mut tasks) = (vec![0; answers.workers() + 1], vec![0; answers.cells().len()]);
        let by_worker = WorkerTasks::fill(answers, &mut offsets, &mut tasks).unwrap();
        let posteriors = vec![1.0 / answers.labels() as f64; answers.tasks() * answers.labels()];
        let raw = Pairs::new(answers, by_worker);
        for pairs in [raw, raw.within_classes(&posteriors, answers.labels()).unwrap()] {
            let masses = written(pairs.classes(), |out| pairs.class_masses(out));
            let clean = |work: &mut dyn FnMut(&mut [f64])| {
                let scratch = added(pairs.scratch_len(), work);
                assert!(scratch.iter().all(|&value| value == 0.0), "scratch is to be zero again");
            };
            for worker in 0..=answers.workers() {
                clean(&mut |scratch| {
                    Residue::of_worker(&pairs, worker, &masses, None, scratch).unwrap();
                });
                if pairs.classes() == 1 {
                    clean(&mut |scratch| {
                        worker_information(&pairs, worker, Estimator::Plain, scratch).unwrap();
                    });
                }
            }
        }
    }
    let order =
        written_integers(4, [9, u32::MAX], |order| order_by_information(&[0.1, 0.3, f64::NAN, 0.7], order));
    assert_eq!(order, [3, 1, 0, 2]);
}

#[test]
fn columns() {
    for (rows, levels, missing) in
        [(130, vec![2; 70], 0.0), (5, vec![2, 3, 20, 4], 0.2), (64, vec![3; 9], 0.0)]
    {
        let rows = Rows::random(rows, levels, missing, 8);
        let (offsets, words) = rows.indicators();
        let indicators = Indicators::new(rows.packed(&words), &offsets).unwrap();
        let bits = indicators.bits();
        let by_column = written_integers(bits.columns() * row_words(bits.rows()), [0, u64::MAX], |out| {
            transpose(bits, out).unwrap();
        });
        let by_column = PackedRows::new(bits.columns(), bits.rows(), &by_column).unwrap();
        let codes = rows.codes.concat();
        let codes = Codes::new(&offsets, &codes).unwrap();
        let filled = written_integers(words.len(), [0, u64::MAX], |out| {
            fill_indicators(codes, rows.is_complete(), out).unwrap();
        });
        assert_eq!(filled, words);
        let columns: Vec<u32> = (0..rows.columns() as u32).step_by(2).collect();
        for from in [0, 1, rows.columns()] {
            let stripe = Stripe::new(indicators, &columns, from);
            let weights = vec![0.7; rows.rows()];
            written(stripe.sums_len(), |sums| count_pairs(stripe, by_column, sums).unwrap());
            let mut scratch = vec![f64::NAN; weigh_scratch_len()];
            let sums = written(stripe.sums_len(), |sums| {
                weigh_pairs(stripe, &weights, sums, &mut scratch).unwrap();
            });
            let margins = added(bits.columns(), |margins| {
                add_margins(bits, Some(&weights), margins).unwrap();
            });
            let tables = PairTables::new(stripe, &sums, &margins, 0.7 * rows.rows() as f64).unwrap();
            let mut scratch = vec![f64::NAN; information_scratch_len(indicators)];
            written(stripe.pairs_len(), |out| {
                tables.information(Estimator::Plain, out, &mut scratch).unwrap();
            });
            let len = indicators.levels(0) * indicators.levels(0);
            written(len, |out| tables.table(0, 0, out).unwrap());
        }
    }
}

#[test]
fn splits_and_leaves() {
    let table = [4.0, 1.0, 0.0, 1.0, 3.0, 2.0];
    written(2, |u| {
        written(3, |v| {
            let mut scratch = vec![f64::NAN; split_scratch_len(2, 3)];
            split_directions(&table, u, v, &mut scratch).unwrap();
        });
    });
    let split = Split { class: 0, cells: [0, 2], directions: [&[0.1, -0.1], &[0.1, 0.0, -0.1]], step: 0.5 };
    let probabilities = [0.5, 0.4, 0.5, 0.6, 0.2, 0.3, 0.3, 0.3, 0.5, 0.4];
    written(3, |shares| {
        written(15, |out| split_class(split, &[0.6, 0.4], &probabilities, shares, out).unwrap());
    });
    changed(&probabilities, |values| floor_probabilities(0.25, &[0, 2, 5], 2, values));
    written(5, |out| TwoClasses::fill_log_odds(&probabilities, out).unwrap());
    written(4, |out| leaf_label_shares(&[0.5, 0.5, 1.0, 0.0], &[0, 7], 1.0, 2, out).unwrap());
    written(2, |out| label_probabilities(&[0.5, 0.5], &[1.0, 0.0, 0.5, 0.5], out));
}
