//! Dawid–Skene on one thread: nanoseconds per answer, class and round.
use mixlet_core::em::{self, FitSettings, LatentClassModel, RowFacts, dawid_skene::*, start};
use mixlet_core::observations::*;

fn main() {
    let mut state = 1u64;
    let mut next = |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    for (tasks, workers, labels, per) in
        [(1_000_000u32, 5000u32, 2u32, 5u32), (20_000, 766, 4, 5), (42_624, 57, 3, 5), (20000, 500, 8, 5)]
    {
        let (mut offsets, mut cells) = (vec![0u32], vec![]);
        for _ in 0..tasks {
            let truth = next(labels as u64) as u32;
            for _ in 0..per {
                let w = next(workers as u64) as u32;
                let l = if next(100) < 50 + (w % 40) as u64 { truth } else { next(labels as u64) as u32 };
                cells.push(w * labels + l);
            }
            offsets.push(cells.len() as u32);
        }
        let answers = Answers::new(workers, labels, &offsets, &cells).unwrap();
        let shape = DawidSkeneShape::of(answers);
        let mut parameters = vec![0.0; shape.parameters_len()];
        let mut statistics = vec![0.0; shape.parameters_len()];
        let mut model = DawidSkene::new(
            answers,
            labels as usize,
            RowFacts::default(),
            Prior::default(),
            None,
            &mut parameters,
        )
        .unwrap();
        let mut scratch = vec![0.0; model.shape().sweep_scratch_len()];
        start::from_vote(&mut model, None, &mut statistics, &mut scratch).unwrap();
        let rounds = 20;
        let t = cpu_ns();
        let fit = em::fit(&mut model, FitSettings { rounds, tolerance: 0.0 }, &mut statistics, &mut scratch)
            .unwrap();
        let ns = (cpu_ns() - t) / (rounds + 1) as f64 / cells.len() as f64;
        println!(
            "{tasks} x {per} x {workers}, {labels} labels: {ns:.2} ns per answer and round, {:.2} per class  ({:?})",
            ns / labels as f64,
            fit.last.log_likelihood
        );
    }
}

fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
