//! What a round of a binary mixture costs: packed rows and tables beside dense products.
//!
//! `cargo bench -p mixlet-runtime --bench mixture` runs all tables; `… -- rounds`, `… -- missing`, `… -- threads`,
//! `… -- shapes` and `… -- scale 100000 1000000 10000000` (rows) one of them. Every row is a process of its own. The data: MNIST test
//! images from `../shared`, tiled, two bits in a hundred flipped; generated rows where they are absent.
//!
//! Measured on 2026-11-22, two cores of an AMD EPYC (AVX-512), release profile; the rows with missing values and the f32
//! beside them while other programs ran:
//!
//! ```text
//! round                 CPU ms  wall ms  peak MB
//! f32                    11.18    10.99     20.8
//! f64                    17.33    16.74     22.6
//! missing-1              14.78    14.19     33.1     (f32 in this run: 11.20 and 10.79)
//! missing-10             22.49    21.50     30.9
//! missing-30             25.04    24.88     30.8
//! gemm                   61.99    59.53    203.7     (of the run of the first two lines)
//!
//! threads  wall ms a round
//!       1            10.32
//!       2             5.48
//!
//! (the following before groups of eight columns)
//!       rows  columns  classes  CPU ms a round  ps a value  peak MB
//!     100000      784       10           23.75       302.9     24.3
//!    1000000      784       10          223.16       284.6    118.0
//!   10000000      784       10         2264.31       288.8   1054.0
//! ```
//!
//! A round with missing values looks up twice as many entries in both steps: values, and what is absent or present.
//! Both steps are bound by the entries that a core loads, so that about twice the cost is what it comes to. Where at most
//! one value in 32 is absent, what rows lack is listed once and taken one by one: 13.9 ms at one in a hundred and 16.2 at
//! three, where the tables take 20.8 (11.2 without missing values; one thread without shards, other programs running).
//! Lists of ten in a hundred took 25.
//!
//! Tried for more than that, alone and on the same rows, and left:
//!
//! * One look-up for value and presence in the expectation. Four columns in 257 entries (`v + 17 a`): 7.5 ms at ten and
//!   thirty in a hundred, where two look-ups of eight take 7.9 and 8.9. Five columns in 1024 (`v + 33 a`): 8.3 and 8.8.
//!   Four columns with sums of single precision over the whole row: 6.8, but hundreds of such sums leave nothing of the
//!   1e-4 that a row is promised. An entry costs one cycle from the first-level cache, two from the second.
//! * Adding responsibilities to a bucket of the code of four or five columns, for ones and values present at once: not
//!   built, for to read, add to and write a bucket was measured at 2.2 cycles in the first-level cache and 2.6 to 3 in the
//!   second, so that the 160 to 200 of a row, with the unfolding, come to what 270 look-ups of 1.5 cycles cost.
//! * Taking absent values one by one without lists. From the bits of a word as they are met it gained a tenth at one in
//!   a hundred and nothing at one in twenty, for the ends of short loops are not foreseen. Writing the places of four
//!   bits of every word, set or not, took as long as tables at one in a hundred (with the CPU's bit instructions 17 ms).
//! * Adding one sum where a column is present in all of 64 rows: a fifth longer at one in a hundred, for the same reason.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::process::Command;
use std::time::Instant;

use flate2::read::GzDecoder;
use mixlet_core::em::bernoulli::{AbsentColumns, Bernoulli, BernoulliPrior, BernoulliShape};
use mixlet_core::em::{FitSettings, Lane, LatentClassModel, RowFacts};
use mixlet_core::observations::{PackedRows, row_words};
use mixlet_runtime::threads::{self, Shards};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const IMAGES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mnist/t10k-images-idx3-ubyte.gz");
const ROWS: usize = 60_000;
const COLUMNS: usize = 784;
const CLASSES: usize = 10;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["one-round-row", what] => round_row(what),
        ["one-thread-row", threads] => thread_row(threads.parse()?),
        ["one-shape-row", rows, columns, classes] => {
            shape_row(rows.parse()?, columns.parse()?, classes.parse()?)
        }
        ["rounds"] => rounds(&["f32", "f64", "gemm"]),
        ["missing"] => rounds(&["f32", "missing-1", "missing-3", "missing-10", "missing-30"]),
        ["threads"] => two_threads(),
        ["shapes"] => shapes(),
        ["scale", sizes @ ..] => scale(sizes),
        _ => rounds(&["f32", "f64", "missing-1", "missing-10", "missing-30", "gemm"])
            .and_then(|()| two_threads())
            .and_then(|()| shapes())
            .and_then(|()| scale(&["100000", "1000000"])),
    }
}

/// Runs one row in a process of its own.
fn row(arguments: &[&str]) -> Outcome {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err("a row failed".into()) }
}

/// One thread, [`ROWS`] × [`COLUMNS`], [`CLASSES`].
fn rounds(rows: &[&str]) -> Outcome {
    println!("round                 CPU ms  wall ms  peak MB");
    rows.iter().try_for_each(|what| row(&["one-round-row", what]))
}

fn round_row(what: &str) -> Outcome {
    threads::start(Some(1))?;
    let bits = Bits::new(ROWS, COLUMNS)?;
    let cost = match what.strip_prefix("missing-") {
        Some(percent) => {
            let present = bits.present(percent.parse::<u64>()?);
            let values: Vec<u64> =
                bits.values.iter().zip(&present).map(|(value, mask)| value & mask).collect();
            drop(bits.values);
            packed::<f32>(PackedRows::new(ROWS, COLUMNS, &values)?.with_present(&present)?, CLASSES)?
        }
        None if what == "f64" => packed::<f64>(bits.rows()?, CLASSES)?,
        None if what == "gemm" => dense(&bits)?,
        None => packed::<f32>(bits.rows()?, CLASSES)?,
    };
    println!("{what:<18} {:>9.2} {:>8.2} {:>8.1}", cost.cpu_ms, cost.wall_ms, peak_bytes()? / 1e6);
    Ok(())
}

fn two_threads() -> Outcome {
    println!("threads  wall ms a round");
    ["1", "2"].iter().try_for_each(|threads| row(&["one-thread-row", threads]))
}

fn thread_row(threads: usize) -> Outcome {
    let bits = Bits::new(ROWS, COLUMNS)?;
    threads::start(Some(threads))?;
    let cost = packed::<f32>(bits.rows()?, CLASSES)?;
    println!("{threads:>7} {:>16.2}", cost.wall_ms);
    Ok(())
}

/// Cost a value over numbers of rows, columns and classes.
fn shapes() -> Outcome {
    println!("      rows  columns  classes  CPU ms a round  ps a value  peak MB");
    for (columns, classes) in [(100, 10), (784, 2), (784, 5), (784, 10), (784, 30), (3136, 10)] {
        row(&["one-shape-row", &ROWS.to_string(), &columns.to_string(), &classes.to_string()])?;
    }
    Ok(())
}

fn scale(sizes: &[&str]) -> Outcome {
    println!("      rows  columns  classes  CPU ms a round  ps a value  peak MB");
    sizes.iter().try_for_each(|rows| row(&["one-shape-row", rows, "784", "10"]))
}

fn shape_row(rows: usize, columns: usize, classes: usize) -> Outcome {
    threads::start(Some(1))?;
    let bits = Bits::new(rows, columns)?;
    let cost = packed::<f32>(bits.rows()?, classes)?;
    let each = cost.cpu_ms * 1e9 / (rows * columns) as f64;
    println!(
        "{rows:>10} {columns:>8} {classes:>8} {:>15.2} {each:>11.1} {:>8.1}",
        cost.cpu_ms,
        peak_bytes()? / 1e6
    );
    Ok(())
}

/// Cost of a round.
struct Cost {
    cpu_ms: f64,
    wall_ms: f64,
}

/// Processor time at the end of every round, and when that was.
#[derive(Default)]
struct Rounds(Vec<(f64, Instant)>);

impl Rounds {
    fn end(&mut self) {
        self.0.push((thread_seconds(), Instant::now()));
    }

    /// Mean processor time, as the kernel counts it in steps of some ms; the least time on the wall.
    fn cost(&self) -> Cost {
        let mean = |ends: &[(f64, Instant)]| match ends {
            [(first, _), .., (last, _)] => 1e3 * (last - first) / (ends.len() - 1) as f64,
            _ => f64::NAN,
        };
        let wall = |pair: &[(f64, Instant)]| 1e3 * pair[1].1.duration_since(pair[0].1).as_secs_f64();
        Cost { cpu_ms: mean(&self.0), wall_ms: self.0.windows(2).map(wall).fold(f64::INFINITY, f64::min) }
    }
}

fn repeat(mut round: impl FnMut()) -> Cost {
    let mut rounds = Rounds::default();
    for _ in 0..=40 {
        round();
        rounds.end();
    }
    rounds.cost()
}

fn packed<T: Lane>(rows: PackedRows<'_>, classes: usize) -> Outcome<Cost> {
    let shape = BernoulliShape::of(rows, classes);
    let (mut parameters, mut tables) =
        (vec![0.0; shape.parameters_len()], vec![T::default(); shape.tables_len()]);
    let prior = BernoulliPrior::default();
    let mut model = Bernoulli::new(rows, classes, RowFacts::default(), prior, &mut parameters, &mut tables)?;
    let (mut offsets, mut columns);
    if let Some(absent) = AbsentColumns::few(rows) {
        (offsets, columns) = (vec![0; rows.rows() + 1], vec![0; absent]);
        model.set_absent(AbsentColumns::list(rows, &mut offsets, &mut columns)?)?;
    }
    model.set_random(&mut Pcg64Mcg::seed_from_u64(0));
    let mut shards = Shards::of_rows(rows.columns(), model.shape());
    let mut statistics = vec![0.0; shape.statistics_len()];
    // From the end of one expectation to the end of the next: a maximisation and an expectation.
    let settings = FitSettings { rounds: (40 * ROWS / rows.rows()).clamp(3, 100) as u32, tolerance: 0.0 };
    let mut rounds = Rounds::default();
    shards.fit(&mut model, settings, &mut statistics, |_| rounds.end())?;
    Ok(rounds.cost())
}

/// The two products of a round, `X · log C` and `Xᵀ · Q`, through the `gemm` crate; nothing else of it.
fn dense(bits: &Bits) -> Outcome<Cost> {
    let rows = bits.rows()?;
    let value = |row: usize, column: usize| f32::from(u8::from(rows.value(row, column) == Some(true)));
    let x: Vec<f32> = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| value(row, column))).collect();
    let log_odds = vec![0.5; COLUMNS * CLASSES];
    let mut joints = vec![0.0; ROWS * CLASSES];
    let mut ones = vec![0.0; COLUMNS * CLASSES];
    let first = repeat(|| {
        product((ROWS, COLUMNS, CLASSES), (&x, COLUMNS, 1), &log_odds, &mut joints);
        black_box(&joints);
    });
    let second = repeat(|| {
        product((COLUMNS, ROWS, CLASSES), (&x, 1, COLUMNS), &joints, &mut ones);
        black_box(&ones);
    });
    println!("  X · log C {:>9.2} {:>8.2}", first.cpu_ms, first.wall_ms);
    println!("  Xᵀ · Q    {:>9.2} {:>8.2}", second.cpu_ms, second.wall_ms);
    Ok(Cost { cpu_ms: first.cpu_ms + second.cpu_ms, wall_ms: first.wall_ms + second.wall_ms })
}

/// `out [m, n] = a [m, k] · b [k, n]`; `b` and `out` are row-major, `a` has the given strides.
fn product((m, k, n): (usize, usize, usize), a: (&[f32], usize, usize), b: &[f32], out: &mut [f32]) {
    let (a, row_stride, column_stride) = a;
    assert!(a.len() == m * k && b.len() == k * n && out.len() == m * n);
    // SAFETY: the lengths have just been checked, and the strides stay within them.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            column_stride as isize,
            row_stride as isize,
            b.as_ptr(),
            1,
            n as isize,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

struct Bits {
    rows: usize,
    columns: usize,
    values: Vec<u64>,
}

impl Bits {
    /// Images repeated to the number of columns and rows, with noise.
    fn new(rows: usize, columns: usize) -> Outcome<Self> {
        let images = images()?;
        let (count, words) = (images.len() / COLUMNS, row_words(columns));
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let mut values = vec![0; rows * words];
        for (row, values) in values.chunks_exact_mut(words).enumerate() {
            let image = &images[row % count * COLUMNS..][..COLUMNS];
            for column in 0..columns {
                values[column / 64] |= u64::from(image[column % COLUMNS]) << (column % 64);
            }
            // Three of 2⁻⁵ · ¾: two bits in a hundred.
            for (nth, word) in values.iter_mut().enumerate() {
                let noise = (0..5).fold(u64::MAX, |noise, _| noise & random.next_u64());
                let less = random.next_u64() | random.next_u64();
                let used = (columns - nth * 64).min(64);
                *word ^= noise & less & (u64::MAX >> (64 - used));
            }
        }
        Ok(Self { rows, columns, values })
    }

    fn rows(&self) -> Outcome<PackedRows<'_>> {
        Ok(PackedRows::new(self.rows, self.columns, &self.values)?)
    }

    /// A mask from which `percent` of the values are missing.
    fn present(&self, percent: u64) -> Vec<u64> {
        let mut random = Pcg64Mcg::seed_from_u64(2);
        let mut mask = vec![0u64; self.values.len()];
        for row in mask.chunks_exact_mut(row_words(self.columns)) {
            for column in 0..self.columns {
                let present = random.next_u64() % 100 >= percent;
                row[column / 64] |= u64::from(present) << (column % 64);
            }
        }
        mask
    }
}

/// One byte a pixel, 0 or 1.
fn images() -> Outcome<Vec<u8>> {
    let Ok(file) = File::open(IMAGES) else {
        let mut random = Pcg64Mcg::seed_from_u64(3);
        let prototypes: Vec<u64> = (0..CLASSES * COLUMNS).map(|_| random.next_u64() % 100).collect();
        let pixel = |(nth, word): (usize, u64)| {
            let class = nth / COLUMNS % CLASSES;
            u8::from(word % 100 < prototypes[class * COLUMNS + nth % COLUMNS])
        };
        return Ok((0..1000 * COLUMNS).map(|nth| pixel((nth, random.next_u64()))).collect());
    };
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes)?;
    bytes.drain(..16);
    bytes.iter_mut().for_each(|pixel| *pixel = u8::from(*pixel >= 128));
    Ok(bytes)
}

/// Processor time of this thread, which other programs on the machine do not add to; NaN where nobody counts it.
fn thread_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns * 1e-9)
}

/// The most memory this process ever had.
fn peak_bytes() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
