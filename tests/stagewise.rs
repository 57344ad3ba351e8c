//! Stagewise EM finds classes without a vote: the published run on Bird, and generated sparse experts.

mod common;

use common::columns::Rows;
use common::shared;
use mixlet_core::observations::{Codes, PackedRows};
use mixlet_runtime::mixture::RowsView;
use mixlet_runtime::mixture::stagewise::{StagewiseFit, StagewiseOptions, stagewise};

/// Bird as a complete table, with the truth.
fn bird() -> Option<(Rows, Vec<usize>)> {
    let crowd = shared::all_tasks("bird")?;
    let answers = crowd.answers().unwrap();
    let codes = (0..answers.tasks())
        .map(|task| {
            let mut row = vec![0; answers.workers()];
            answers
                .task(task)
                .iter()
                .for_each(|&cell| row[answers.worker(cell)] = answers.label(cell) as u16);
            row
        })
        .collect();
    let truth = crowd.gold.as_ref().unwrap().iter().map(|&label| label as usize).collect();
    Some((Rows { levels: vec![2; answers.workers()], codes }, truth))
}

/// The share of rows in a wrong class, at the best naming of two classes.
fn error_rate(responsibilities: &[f64], truth: &[usize]) -> f64 {
    let wrong = responsibilities
        .chunks_exact(2)
        .zip(truth)
        .filter(|(q, truth)| usize::from(q[1] > q[0]) != **truth)
        .count();
    wrong.min(truth.len() - wrong) as f64 / truth.len() as f64
}

fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 100.0
}

fn sorted(columns: &[u32]) -> Vec<u32> {
    let mut columns = columns.to_vec();
    columns.sort_unstable();
    columns
}

#[test]
fn bird_is_as_published() {
    let Some((rows, truth)) = bird() else { return };
    let (offsets, words) = rows.indicators();
    let codes = rows.codes.concat();
    let views = [
        RowsView::Bits(PackedRows::new(rows.rows(), rows.columns(), &words).unwrap()),
        RowsView::Codes(Codes::new(&offsets, &codes).unwrap()),
    ];
    for view in views {
        let run = |partial| -> StagewiseFit {
            let options = StagewiseOptions { partial, ..StagewiseOptions::default() };
            stagewise(view, None, &options, &mut |_| ()).unwrap()
        };
        let full = run(false);
        // The published set, in its order but for the two of a pair.
        let expected = [&[7, 16][..], &[26], &[29, 34], &[8, 36], &[23, 38], &[25, 30]];
        assert_eq!(full.active, expected.concat());
        assert_eq!((full.rounds.len(), full.converged), (7, true));
        assert_eq!(percent(error_rate(&full.responsibilities, &truth)), 10.19);
        assert_eq!(percent(error_rate(&full.refined.responsibilities, &truth)), 10.19);

        let partial = run(true);
        assert_eq!(percent(error_rate(&partial.responsibilities, &truth)), 11.11);
        assert_eq!(percent(error_rate(&partial.refined.responsibilities, &truth)), 10.19);
        assert_eq!(sorted(&partial.active), sorted(&full.active));
    }
}
