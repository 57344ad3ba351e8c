//! Work over several threads, with results that do not depend on how many there are.
//!
//! Rows are cut into shards by the data alone, each shard sums on its own, and the sums are added in
//! the order of the shards.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mixlet_core::em::{self, EmError, Fit, FitSettings, LatentClassModel, Round};
use mixlet_core::observations::Answers;
use rayon::prelude::*;

use crate::error::{Error, Result as RuntimeResult};
use crate::simd::{Expectation, FitWith, Sweep, wide};

/// Shards at most: enough for the cores of a large desktop, few enough to keep the sums small.
const MOST_SHARDS: usize = 32;
/// Answers, or values of dense rows, per value of statistics that make a shard worth its own sums: adding them costs 1/16 of the work.
const VALUES_PER_STATISTIC: usize = 16;
/// Answers or values that a shard holds at least.
const LEAST_VALUES: usize = 1 << 15;

/// Sets the number of threads for the rest of the program: once, before anything else; none means one per core.
pub fn start(threads: Option<usize>) -> RuntimeResult<()> {
    let asked = threads.unwrap_or(0);
    // The calling thread works too: handing a round over to another one would cost more than a small round.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(asked).use_current_thread();
    pool.build_global().map_err(|error| Error::Threads { asked, reason: error.to_string() })
}

/// The number of threads that work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Does work between whose parts the pool's other threads do not fall asleep, if they follow closely.
///
/// *Why:* a decoded token is dozens of products of a tenth of a millisecond, and a thread that slept between two of them takes
/// about as long to wake up. *Why it ends:* a thread may begin to wait inside of a part that others wait for.
pub fn awake<T>(work: impl FnOnce() -> T) -> T {
    /// How long a thread looks for work in vain.
    const PATIENCE: Duration = Duration::from_micros(200);
    let Some(own) = rayon::current_thread_index().filter(|_| count() > 1) else { return work() };
    let done = AtomicBool::new(false);
    rayon::in_place_scope(|scope| {
        let flag = &done;
        let _end = SetAtEnd(flag);
        scope.spawn_broadcast(move |_, context| {
            let mut idle_since = Instant::now();
            while context.index() != own && !flag.load(Ordering::Acquire) && idle_since.elapsed() < PATIENCE {
                match rayon::yield_now() {
                    Some(rayon::Yield::Executed) => idle_since = Instant::now(),
                    _ => std::hint::spin_loop(),
                }
            }
        });
        work()
    })
}

/// Tells those who wait, also where the work panics.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Ranges of rows, and the memory each needs.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    rows: Range<usize>,
    statistics: Vec<f64>,
    scratch: Vec<f64>,
}

impl Shards {
    /// Cuts the answers into shards of about equally many answers, for models of the given shape.
    pub fn new(answers: Answers<'_>, shape: em::ModelShape) -> Self {
        let total = answers.cells().len();
        let count = shard_count(total, shape);
        // The first task that starts at or after the nth part of all answers.
        let bound = |nth: usize| {
            answers.task_offsets().partition_point(|&offset| (offset as usize) < total / count * nth)
        };
        Self::between(count, bound, shape)
    }

    /// Cuts rows of `columns` values each into shards of equally many rows, for models of the given shape.
    pub fn of_rows(columns: usize, shape: em::ModelShape) -> Self {
        let count = shard_count(shape.rows.saturating_mul(columns), shape);
        // Whole blocks, so that none is cut short inside.
        let blocks = shape.rows.div_ceil(em::BLOCK_ROWS);
        Self::between(count, |nth| blocks * nth / count * em::BLOCK_ROWS, shape)
    }

    /// Shard `n` ends where shard `n + 1` starts, at `bound(n + 1)`.
    fn between(count: usize, bound: impl Fn(usize) -> usize, shape: em::ModelShape) -> Self {
        let bound = |nth: usize| match nth {
            0 => 0,
            _ if nth == count => shape.rows,
            _ => bound(nth),
        };
        let shard = |nth: usize| Shard {
            rows: bound(nth)..bound(nth + 1),
            statistics: vec![0.0; shape.statistics],
            scratch: vec![0.0; shape.sweep_scratch_len()],
        };
        Self { shards: (0..count).map(shard).collect() }
    }

    /// Runs `work` on every shard's rows and adds up what it leaves in the statistics: at most as many as the shards
    /// were cut for.
    pub fn add_up(
        &mut self,
        statistics: &mut [f64],
        work: impl Fn(Range<usize>, &mut [f64], &mut [f64]) -> Result<f64, EmError> + Sync,
    ) -> Result<f64, EmError> {
        let length = statistics.len();
        let results: Vec<_> = self
            .shards
            .par_iter_mut()
            .map(|shard| {
                let own = &mut shard.statistics[..length];
                own.fill(0.0);
                work(shard.rows.clone(), own, &mut shard.scratch)
            })
            .collect();
        statistics.fill(0.0);
        for shard in &self.shards {
            statistics.iter_mut().zip(&shard.statistics).for_each(|(sum, value)| *sum += value);
        }
        // The first error by rows, whichever thread met one first.
        results.into_iter().sum()
    }

    /// One expectation over all rows: returns the log-likelihood.
    pub fn sweep<M: LatentClassModel + Sync>(
        &mut self,
        model: &M,
        statistics: &mut [f64],
    ) -> Result<f64, EmError> {
        self.add_up(statistics, |rows, statistics, scratch| wide(Sweep { model, rows, statistics, scratch }))
    }

    /// The maximisation that opens a fit, from responsibilities made block by block.
    pub fn start<M: LatentClassModel + Sync>(
        &mut self,
        model: &mut M,
        statistics: &mut [f64],
        responsibilities: impl Fn(Range<usize>, &mut [f64]) + Sync,
    ) -> Result<(), EmError> {
        let started: &M = model;
        let classes = started.shape().classes;
        self.add_up(statistics, |rows, statistics, scratch| {
            for start in rows.clone().step_by(em::BLOCK_ROWS) {
                let block = start..rows.end.min(start + em::BLOCK_ROWS);
                let out = &mut scratch[..block.len() * classes];
                responsibilities(block.clone(), out);
                started.accumulate(block, out, statistics);
            }
            Ok(0.0)
        })?;
        model.maximize(statistics);
        Ok(())
    }

    /// [`em::fit_with`] over the shards. The model must have been started.
    pub fn fit<M: LatentClassModel + Sync>(
        &mut self,
        model: &mut M,
        settings: FitSettings,
        statistics: &mut [f64],
        observe: impl FnMut(Round),
    ) -> Result<Fit, EmError> {
        let sweep = |model: &M, statistics: &mut [f64]| self.sweep(model, statistics);
        wide(FitWith { model, settings, statistics, sweep, observe })
    }
}

/// Shards that so many values deserve: by the data and the model's shape alone.
fn shard_count(values: usize, shape: em::ModelShape) -> usize {
    let least = LEAST_VALUES.max(VALUES_PER_STATISTIC * shape.statistics);
    (values / least).clamp(1, MOST_SHARDS)
}

/// The posterior of every row `[rows, classes]`.
pub fn posteriors<M: LatentClassModel + Sync>(model: &M) -> Result<Vec<f64>, EmError> {
    Ok(expectations(model)?.0)
}

/// The posterior of every row `[rows, classes]`, and the log-likelihood of all.
pub fn expectations<M: LatentClassModel + Sync>(model: &M) -> Result<(Vec<f64>, f64), EmError> {
    let shape = model.shape();
    let mut out = vec![0.0; shape.rows * shape.classes];
    let blocks = out.par_chunks_mut(em::BLOCK_ROWS * shape.classes).enumerate().map(|(block, out)| {
        let start = block * em::BLOCK_ROWS;
        let rows = start..start + out.len() / shape.classes;
        wide(Expectation { model, rows, out })
    });
    let log_likelihoods = blocks.collect::<Result<Vec<f64>, EmError>>()?;
    Ok((out, log_likelihoods.into_iter().sum()))
}

/// Fills `values` `[rows, classes]` block by block.
pub fn fill_blocks(values: &mut [f64], classes: usize, fill: impl Fn(Range<usize>, &mut [f64]) + Sync) {
    values.par_chunks_mut(em::BLOCK_ROWS * classes).enumerate().for_each(|(block, out)| {
        let start = block * em::BLOCK_ROWS;
        fill(start..start + out.len() / classes, out);
    });
}

/// `work(worker, scratch)` for every worker, in order; scratch is zeroed once per thread and must be left zero.
pub fn map_workers<T: Send>(
    workers: usize,
    scratch_len: usize,
    work: impl Fn(usize, &mut [f64]) -> Result<T, EmError> + Sync,
) -> Result<Vec<T>, EmError> {
    (0..workers)
        .into_par_iter()
        .map_init(|| vec![0.0; scratch_len], |scratch, worker| work(worker, scratch))
        .collect()
}
