//! How steady the number of workers is that `--select auto` chooses, and what it costs or gains.
//!
//! `cargo bench -p mixlet-runtime --bench selection -- sets 8` leaves out one task in twenty or one worker in twenty of
//! each set of `../shared` with gold, seven times after the whole set; `-- generated 8` draws crowds of fifteen kinds from
//! eight seeds; `-- web 8` is one set, `-- trec_gold 8` trec without the tasks that have no gold. Points are percent of the
//! tasks with gold; `gain` is the error with the chosen workers less the error with all, so that less than 0 is better.
//! The rule and its constants were chosen with these sets and these crowds in sight, other sets are the real test.
//!
//! Measured on 2026-11-22, `sets 8` and `generated 8` (`trec_gold 4`), with the rule of `mixlet_core::select::count`:
//!
//! ```text
//! set or kind         workers  error  gain   mean   best  worst   chosen (sorted)
//! bird                     39  10.19 -0.93  -0.36  -0.99   0.93   8, 11 (4 times), all (3)
//! web                     177  17.60 -6.41  -6.40  -8.82  -3.84   16 (2), 23 (6)
//! face                     27  34.59  0.00   0.12   0.00   0.93   11, all (7)
//! rte                     164   7.38  0.00  -0.03  -0.27   0.13   128 (7), all
//! dog                     109  16.11  0.12   0.15  -0.25   0.62   45 (7), 64
//! sp_amt                  143   5.60  0.00  -0.15  -0.40   0.00   45 (3), 64 (2), all (3)
//! possent                  85   4.00  0.00   0.01   0.00   0.11   64, all (7)
//! product                 176   6.19  0.00   0.00   0.00   0.00   all
//! sp                      203   8.62  0.00   0.00   0.00   0.00   all
//! trec                    762  30.11 -0.26  -0.09  -0.28   0.09   362 (5), 512 (3)
//! trec_gold               762  32.35  0.84   0.81   0.26   1.12   256, 362 (3)
//! adult                   825  24.02 -1.20  -0.15  -1.20   0.00   512 (2), 724, all (5)
//! relevance               766  38.00  0.00   0.01  -0.05   0.09   724 (6), all (2)
//! fact_eval                57   9.90  0.00   0.00   0.00   0.00   all: class names are lost
//! few experts              60  48.83  0.00   0.00   0.00   0.00   all
//! few, 10 answers          60  19.17  0.00   0.08  -0.50   0.67   16, 23, 32, all (5)
//! experts among coins      60  38.67  0.00   0.00   0.00   0.00   all
//! many spammers            60  23.00  0.67   0.13  -0.83   1.17   8, 23, 32 (3), all (3)
//! 4 classes                60  20.83 -2.33  -1.44  -3.33   0.50   8, 11, 16, 23 (3), 32 (2)
//! alike                    60  20.67  0.00   0.19   0.00   1.50   45, all (7)
//! alike and good           60   4.67  0.00   0.00   0.00   0.00   all
//! adversaries              60   8.33  0.00   0.00   0.00   0.00   all
//! 3 answers a task        100  16.83  0.00   0.00   0.00   0.00   all
//! 2 answers a task         30  39.33  0.00   0.00   0.00   0.00   all
//! 3 classes                60   7.83  0.67   0.00  -0.83   0.67   11, 23, 45 (3), all (3)
//! 5 unequal classes        60  11.17 -1.83  -0.17  -2.00   1.67   16, 23, 32 (5), 45
//! rare class               60   6.33  1.33   0.40  -0.50   1.33   8, 16, 23, 32 (2), 45 (2), all
//! dense                    40   1.00  0.00   0.00   0.00   0.00   16, all (7)
//! default                  50   8.10  0.00   0.00  -0.40   0.40   32 (3), all (5)
//! ```

use std::error::Error;
use std::path::Path;

use mixlet_core::em::UNKNOWN;
use mixlet_runtime::crowd::Crowd;
use mixlet_runtime::crowd::answers::Repeats;
use mixlet_runtime::crowd::fit::{FitOptions, fit};
use mixlet_runtime::crowd::generate::{CrowdSpec, generate};
use mixlet_runtime::crowd::read::{ReadOptions, TaskFilter, read_crowd};
use mixlet_runtime::crowd::score::Score;
use mixlet_runtime::crowd::selection::{Select, select};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/crowd");
const SETS: [&str; 14] = [
    "bird",
    "web",
    "face",
    "rte",
    "dog",
    "sp_amt",
    "possent",
    "product",
    "sp",
    "trec",
    "trec_gold",
    "adult",
    "relevance",
    "fact_eval",
];
/// One task, or worker, in so many is left out.
const LEFT_OUT: u32 = 20;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["sets", replicates] => SETS.iter().try_for_each(|set| shared(set, replicates.parse()?)),
        ["generated", seeds] => generated(seeds.parse()?),
        [set, replicates] if SETS.contains(&set) => shared(set, replicates.parse()?),
        _ => SETS.iter().try_for_each(|set| shared(set, 2)).and_then(|()| generated(2)),
    }
}

/// Answers with the truth behind them, where it is known.
struct Data {
    tasks: Vec<u32>,
    workers: Vec<u32>,
    labels: Vec<u32>,
    truth: Vec<u32>,
}

fn shared(set: &str, replicates: u64) -> Outcome<()> {
    let (name, tasks) = match set.strip_suffix("_gold") {
        Some(name) => (name, TaskFilter::Gold),
        None => (set, TaskFilter::All),
    };
    let folder = Path::new(SHARED).join(name);
    if !folder.exists() {
        println!("{set:<24} needs ../shared, which is not there");
        return Ok(());
    }
    let options = ReadOptions { tasks, ..ReadOptions::default() };
    let gold = folder.join("gold.csv");
    let crowd = read_crowd(&folder.join("answers.csv"), Some(&gold), &options, &mut |_, _| ())?;
    let answers = crowd.answers()?;
    let truth = crowd.gold.clone().ok_or("no gold")?;
    let mut data = Data { tasks: Vec::new(), workers: Vec::new(), labels: Vec::new(), truth };
    for (task, cells) in answers.rows(0..answers.tasks()).enumerate() {
        for &cell in cells {
            data.tasks.push(task as u32);
            data.workers.push(answers.worker(cell) as u32);
            data.labels.push(answers.label(cell) as u32);
        }
    }
    let results: Outcome<Vec<_>> = (0..replicates).map(|seed| outcome(&thinned(&data, seed))).collect();
    print_row(set, &results?);
    Ok(())
}

/// The data themselves for seed 0; without some tasks for odd seeds, without some workers for even ones.
fn thinned(data: &Data, seed: u64) -> Data {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut places = |count: usize, thin: bool| {
        let mut next = 0;
        let place = |_| {
            let keep = seed == 0 || !thin || !random.next_u32().is_multiple_of(LEFT_OUT);
            next += u32::from(keep);
            keep.then(|| next - 1)
        };
        (0..count).map(place).collect::<Vec<_>>()
    };
    let workers = data.workers.iter().max().map_or(0, |last| *last as usize + 1);
    let (tasks, workers) =
        (places(data.truth.len(), !seed.is_multiple_of(2)), places(workers, seed.is_multiple_of(2)));
    let truth = data.truth.iter().zip(&tasks).filter(|(_, place)| place.is_some()).map(|(truth, _)| *truth);
    let mut rest =
        Data { tasks: Vec::new(), workers: Vec::new(), labels: Vec::new(), truth: truth.collect() };
    for ((task, worker), label) in data.tasks.iter().zip(&data.workers).zip(&data.labels) {
        if let (Some(task), Some(worker)) = (tasks[*task as usize], workers[*worker as usize]) {
            rest.tasks.push(task);
            rest.workers.push(worker);
            rest.labels.push(*label);
        }
    }
    rest
}

fn generated(seeds: u64) -> Outcome<()> {
    let none = CrowdSpec { experts: 0.0, spammers: 0.0, adversaries: 0.0, ..CrowdSpec::default() };
    let base = CrowdSpec { tasks: 600, workers: 60, answers_per_task: 6, ..none };
    let mixed = CrowdSpec { experts: 0.2, spammers: 0.3, ..base.clone() };
    let kinds = [
        ("few experts", CrowdSpec { experts: 0.05, spammers: 0.95, ..base.clone() }),
        ("few, 10 answers", CrowdSpec { experts: 0.1, spammers: 0.9, answers_per_task: 10, ..base.clone() }),
        ("experts among coins", CrowdSpec { experts: 0.1, ordinary_accuracy: (0.45, 0.55), ..base.clone() }),
        ("many spammers", CrowdSpec { experts: 0.1, spammers: 0.6, ..base.clone() }),
        ("4 classes", CrowdSpec { experts: 0.1, spammers: 0.5, class_shares: vec![1.0; 4], ..base.clone() }),
        ("alike", base.clone()),
        ("alike and good", CrowdSpec { ordinary_accuracy: (0.8, 0.85), ..base.clone() }),
        ("adversaries", CrowdSpec { experts: 0.2, adversaries: 0.25, ..base.clone() }),
        ("3 answers a task", CrowdSpec { answers_per_task: 3, workers: 100, spammers: 0.2, ..mixed.clone() }),
        ("2 answers a task", CrowdSpec { answers_per_task: 2, workers: 30, spammers: 0.2, ..mixed.clone() }),
        ("3 classes", CrowdSpec { class_shares: vec![5.0, 3.0, 2.0], ..mixed.clone() }),
        ("5 unequal classes", CrowdSpec { class_shares: vec![10.0, 5.0, 3.0, 1.0, 1.0], ..mixed.clone() }),
        ("rare class", CrowdSpec { class_shares: vec![0.9, 0.1], ..mixed }),
        ("dense", CrowdSpec { tasks: 100, answers_per_task: 40, workers: 40, spammers: 0.3, ..base }),
        ("default", CrowdSpec::default()),
    ];
    for (kind, spec) in kinds {
        let spec = spec.check()?;
        let result = |seed| {
            let crowd = generate(&spec, seed);
            let (tasks, workers, labels) = (crowd.tasks, crowd.workers, crowd.labels);
            outcome(&Data { tasks, workers, labels, truth: crowd.truth })
        };
        print_row(kind, &(0..seeds).map(result).collect::<Outcome<Vec<_>>>()?);
    }
    Ok(())
}

/// Of one crowd: its workers, those chosen, the error of all and with those chosen in percent.
fn outcome(data: &Data) -> Outcome<(usize, usize, f64, f64)> {
    let crowd = Crowd::from_arrays(&data.tasks, &data.workers, &data.labels, Repeats::First)?;
    let (answers, options) = (crowd.answers()?, FitOptions::default());
    let mut truth = data.truth.clone();
    truth.resize(answers.tasks(), UNKNOWN);
    let error = |answers, options: &FitOptions| -> Outcome<f64> {
        let fitted = fit(answers, options, &mut |_| ())?;
        let score = Score::of_posteriors(&fitted.posteriors, answers.labels(), &truth, |_| true);
        Ok(100.0 * score.error_rate())
    };
    let chosen = select(answers, &options, Select::Auto, &[], &mut |_, _| ())?.ok_or("no selection")?;
    let with_chosen = error(chosen.answers(answers)?, &chosen.fit_options(answers, &options))?;
    Ok((answers.workers(), chosen.count, error(answers, &options)?, with_chosen))
}

fn print_row(name: &str, results: &[(usize, usize, f64, f64)]) {
    let mut counts: Vec<usize> = results.iter().map(|result| result.1).collect();
    counts.sort_unstable();
    let mut gains: Vec<f64> = results.iter().map(|(_, _, all, chosen)| chosen - all).collect();
    gains.sort_unstable_by(f64::total_cmp);
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    let ([best, ..], [.., worst]) = (&gains[..], &gains[..]) else { return };
    let (workers, _, all, _) = results[0];
    println!(
        "{name:<19} {workers:>4} workers, error {all:>5.2}, gain {:>5.2}; of all: mean {mean:>5.2}, best {best:>5.2}, worst \
         {worst:>5.2}, chosen {counts:?}",
        results[0].3 - all
    );
}
