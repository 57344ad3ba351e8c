//! What a round of EM costs, and how time and memory grow with the answers.
//!
//! `cargo bench -p mixlet-runtime --bench crowd` runs all tables, `… -- rounds`, `… -- pairs` and
//! `… -- scale 1 10 100` (millions of answers) one of them. Every row is a process of its own. A round needs at least 4 bytes
//! of answers to be read and `2 · classes` additions an answer (2 where there are two classes: `TwoClasses`), and
//! `classes − 1` exponentials a task.
//!
//! Measured on 2026-11-22, two cores of an AMD EPYC (AVX-512) with nothing else to do:
//!
//! ```text
//! set                   answers  classes  threads  CPU ns/answer/round  per class  wall ns/answer/round
//! fact_eval              214915        3        1                 3.01       1.00                  3.02
//! fact_eval              214915        3        2                 3.15       1.05                  1.63
//! relevance               96883        4        1                 4.15       1.04                  4.15
//! relevance               96883        4        2                 3.90       0.97                  3.90
//! generated             5000000        2        1                 2.74       1.37                  2.74
//! generated             5000000        2        2                 2.80       1.40                  1.52
//! set         workers  pairs of answers (M)  seconds
//! trec            762                  0.36    0.007
//! relevance       766                  0.40    0.015
//! fact_eval        57                  0.87    0.014
//! answers (M)  arrays to crowd s  50 rounds s  ns/answer/round  peak bytes/answer (one thread)
//!           1               0.02         0.11             2.20               25.2
//!          10               0.16         1.25             2.50               21.5
//!         100               1.66        11.80             2.36               20.9
//! ```
//!
//! The two rows of `generated` are from before two classes were fitted by log-ratios. Both versions in turn, the machine shared: 2.66
//! before, 2.13 ns an answer and round after (generated, one thread; single runs 2.66 to 2.72 and 2.11 to 2.15).

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mixlet_core::em::FitSettings;
use mixlet_core::select::Estimator;
use mixlet_runtime::crowd::answers::{Crowd, Repeats};
use mixlet_runtime::crowd::fit::{FitOptions, Pseudocount, fit};
use mixlet_runtime::crowd::generate::{CrowdSpec, GeneratedCrowd, generate};
use mixlet_runtime::crowd::read::{ReadOptions, read_crowd};
use mixlet_runtime::crowd::selection::worker_information;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/crowd");
const ROUNDS: u32 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["one-round-row", set, threads] => rounds_row(set, threads.parse()?),
        ["one-scale-row", millions] => scale_row(millions.parse()?),
        ["rounds"] => rounds(),
        ["pairs"] => pairs(),
        ["scale", sizes @ ..] => scale(sizes),
        _ => rounds().and_then(|()| pairs()).and_then(|()| scale(&["1", "10", "100"])),
    }
}

/// Runs one row in a process of its own.
fn row(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err("a row failed".into()) }
}

fn rounds() -> Result<(), Box<dyn Error>> {
    println!(
        "set                   answers  classes  threads  CPU ns/answer/round  per class  wall ns/answer/round"
    );
    for set in ["fact_eval", "relevance", "generated"] {
        if set != "generated" && !Path::new(SHARED).join(set).exists() {
            println!("{set:<20} needs ../shared, which is not there");
            continue;
        }
        for threads in ["1", "2"] {
            row(&["one-round-row", set, threads])?;
        }
    }
    Ok(())
}

/// The difference of a long and a short fit, so that the start and the end cancel out.
fn rounds_row(set: &str, threads: usize) -> Result<(), Box<dyn Error>> {
    let crowd = match set {
        "generated" => from_arrays(&generated(5_000_000)?)?,
        _ => read_crowd(
            &Path::new(SHARED).join(set).join("answers.csv"),
            None,
            &ReadOptions::default(),
            &mut |_, _| (),
        )?,
    };
    let answers = crowd.answers()?;
    let timed = |rounds: u32| -> Result<(f64, f64), Box<dyn Error>> {
        let settings = FitSettings { rounds, tolerance: 0.0 };
        let options = FitOptions { pseudocount: Pseudocount::Constant(0.0), settings, ..Default::default() };
        let (start, cpu) = (Instant::now(), cpu_seconds()?);
        fit(answers, &options, &mut |_| ())?;
        Ok((cpu_seconds()? - cpu, start.elapsed().as_secs_f64()))
    };
    // The processor time of all threads comes in hundredths of a second: small sets take more rounds.
    let more = ROUNDS * (20_000_000 / answers.cells().len() as u32).max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (short, long) = pool.install(|| -> Result<_, String> {
        Ok((timed(1).map_err(|e| e.to_string())?, timed(1 + more).map_err(|e| e.to_string())?))
    })?;
    let each = 1e9 / (f64::from(more) * answers.cells().len() as f64);
    let (cpu, wall) = ((long.0 - short.0) * each, (long.1 - short.1) * each);
    let (cells, classes) = (answers.cells().len(), answers.labels());
    println!(
        "{set:<18} {cells:>10} {classes:>8} {threads:>8} {cpu:>20.2} {:>10.2} {wall:>21.2}",
        cpu / classes as f64
    );
    Ok(())
}

/// Information of all workers, from the pairs of their answers, on one thread.
fn pairs() -> Result<(), Box<dyn Error>> {
    println!("set         workers  pairs of answers (M)  seconds");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for set in ["trec", "relevance", "fact_eval"] {
        let path = Path::new(SHARED).join(set).join("answers.csv");
        if !path.exists() {
            println!("{set:<10} needs ../shared, which is not there");
            continue;
        }
        let crowd = read_crowd(&path, None, &ReadOptions::default(), &mut |_, _| ())?;
        let answers = crowd.answers()?;
        let pairs: usize =
            answers.rows(0..answers.tasks()).map(|cells| cells.len() * (cells.len() - 1)).sum();
        let start = Instant::now();
        pool.install(|| worker_information(answers, Estimator::Plain))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{set:<10} {:>8} {:>21.2} {seconds:>8.3}", answers.workers(), pairs as f64 / 1e6);
    }
    Ok(())
}

fn scale(sizes: &[&str]) -> Result<(), Box<dyn Error>> {
    println!(
        "answers (M)  arrays to crowd s  {ROUNDS} rounds s  ns/answer/round  peak bytes/answer (one thread)"
    );
    sizes.iter().try_for_each(|size| row(&["one-scale-row", size]))
}

fn scale_row(millions: u32) -> Result<(), Box<dyn Error>> {
    let generated = generated(millions * 1_000_000)?;
    let start = Instant::now();
    let crowd = from_arrays(&generated)?;
    let grouped = start.elapsed().as_secs_f64();
    let answers = crowd.answers()?;
    let settings = FitSettings { rounds: ROUNDS, tolerance: 0.0 };
    let options = FitOptions { pseudocount: Pseudocount::Constant(0.0), settings, ..Default::default() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let cpu = cpu_seconds()?;
    pool.install(|| fit(answers, &options, &mut |_| ()))?;
    let fitted = cpu_seconds()? - cpu;
    let count = answers.cells().len() as f64;
    let each = fitted * 1e9 / (count * f64::from(ROUNDS));
    println!("{millions:>11} {grouped:>18.2} {fitted:>12.2} {each:>16.2} {:>18.1}", peak_bytes()? / count);
    Ok(())
}

/// Five answers a task, 5,000 workers, two labels.
fn generated(answers: u32) -> Result<GeneratedCrowd, Box<dyn Error>> {
    let spec = CrowdSpec {
        tasks: answers / 5,
        workers: 5_000,
        answers_per_task: 5,
        class_shares: vec![0.6, 0.4],
        ..CrowdSpec::default()
    };
    Ok(generate(&spec.check()?, 1))
}

fn from_arrays(crowd: &GeneratedCrowd) -> Result<Crowd, Box<dyn Error>> {
    Ok(Crowd::from_arrays(&crowd.tasks, &crowd.workers, &crowd.labels, Repeats::First)?)
}

/// Processor time of all threads of this process, which other programs on the machine do not add to.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("no stat")?;
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// The most memory this process ever had.
fn peak_bytes() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
