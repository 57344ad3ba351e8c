//! How fast answers are read, and how much memory that takes.
//!
//! `cargo bench -p mixlet-runtime --bench read -- 5 100` reads generated files of 5 and 100 million
//! answers (5 per task, 5,000 workers, 2 labels), each in a process of its own, on one thread.
//!
//! Measured on 2026-11-22, two cores of an AMD EPYC that other work shared, mean of two runs. The
//! column before is the same minutes' run of the reader that looked every id up in a hash table.
//!
//! ```text
//! answers (M)  ids       order     MB/CPU s   (before)   ns/answer  peak bytes/answer   (before)
//!           5  integers  grouped        167        149        82.0               12.4       17.6
//!           5  integers  shuffled       144         69        95.0               16.1       19.8
//!           5  texts     grouped        102        101       192.7               21.5       21.5
//!           5  texts     shuffled        27         26       726.7               21.5       21.5
//!         100  integers  grouped        182        153        83.4               12.2       16.3
//!         100  integers  shuffled        84         46       181.4               15.9       19.2
//! ```
//!
//! With less to do on the machine the last row was 111 MB/s.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mixlet_runtime::crowd::read::{ReadOptions, read_crowd};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const ANSWERS_PER_TASK: u32 = 5;
const WORKERS: u32 = 5_000;

/// Set for the processes that read, which are given one file each.
const CASE: &str = "--read";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [mode, path] if mode == CASE => return read(Path::new(path)),
        _ => {}
    }
    let sizes = arguments.iter().map(|size| size.parse()).collect::<Result<Vec<u32>, _>>()?;
    let sizes = if sizes.is_empty() { vec![5] } else { sizes };
    println!("answers (M)  ids       order     MB/CPU s  MB/wall s   ns/answer  peak bytes/answer");
    for millions in sizes {
        for (ids, prefix) in [("integers", ""), ("texts", "image-")] {
            for order in ["grouped", "shuffled"] {
                let file = tempfile::Builder::new().suffix(".csv").tempfile()?;
                write_answers(file.as_file(), millions * 1_000_000, prefix, order == "shuffled")?;
                print!("{millions:>11}  {ids:<8}  {order:<8}");
                std::io::stdout().flush()?;
                let status = Command::new(std::env::current_exe()?).arg(CASE).arg(file.path()).status()?;
                if !status.success() {
                    return Err("a reading process failed".into());
                }
            }
        }
    }
    Ok(())
}

/// Reads one file and prints the rest of its line in the table.
fn read(path: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = fs::metadata(path)?.len() as f64;
    let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
    let crowd = read_crowd(path, None, &ReadOptions::default(), &mut |_, _| {})?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_start);
    let answers = crowd.cells.len() as f64;
    let (speed, wall_speed, each) = (bytes / cpu / 1e6, bytes / wall / 1e6, cpu / answers * 1e9);
    println!("  {speed:>8.0}  {wall_speed:>9.0}  {each:>10.1}  {:>18.1}", peak_bytes()? / answers);
    Ok(())
}

/// Processor time of this process, which other programs on the machine do not add to.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let schedule = fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = schedule.split(' ').next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// The most memory this process ever had.
fn peak_bytes() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

fn write_answers(file: &File, answers: u32, prefix: &str, is_shuffled: bool) -> Result<(), Box<dyn Error>> {
    let mut random = Pcg64Mcg::seed_from_u64(7);
    let mut order: Vec<u32> = (0..answers).collect();
    if is_shuffled {
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
    }
    let mut out = BufWriter::with_capacity(1 << 20, file);
    writeln!(out, "task,worker,label")?;
    for answer in order {
        // A task's workers are distinct: each takes a step of its own from a start that the task chooses.
        let task = answer / ANSWERS_PER_TASK;
        let worker = (task.wrapping_mul(2_654_435_761) / 7 + answer % ANSWERS_PER_TASK * 997) % WORKERS;
        writeln!(out, "{prefix}{task},{worker},{}", random.next_u32() % 2)?;
    }
    out.flush()?;
    Ok(())
}
