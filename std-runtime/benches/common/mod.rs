//! The clock and the machine's reading, for benchmarks of products.

use std::hint::black_box;

use mixlet_runtime::simd::{Kernel, wide};
use rayon::prelude::*;

/// Bytes that reading is timed by.
pub const READ: usize = 1 << 25;

/// Seconds that work takes.
pub fn time<T>(work: impl FnOnce() -> T) -> f64 {
    let started = now();
    black_box(work());
    now() - started
}

/// Seconds of this thread's processor time where it works alone, of the clock where others work with it.
pub fn now() -> f64 {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let alone = rayon::current_num_threads() == 1;
        let time = clock_gettime(if alone { ClockId::ThreadCPUTime } else { ClockId::Monotonic });
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
    #[cfg(not(unix))]
    {
        use std::time::Instant;
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        START.elapsed().as_secs_f64()
    }
}

/// The value in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Reads everything, each thread a part.
pub fn read(values: &[f32]) -> f32 {
    let part = values.len() / rayon::current_num_threads();
    values.par_chunks(part).map(|values| wide(Sum(values))).sum()
}

/// Four streams, which is what one thread reads fastest.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let mut sums = [[0.0; 16]; 4];
        let mut quarters = self.0.chunks_exact(self.0.len() / 4).map(|part| part.as_chunks::<16>().0.iter());
        let mut streams: [_; 4] = std::array::from_fn(|_| quarters.next().unwrap_or_default());
        for _ in 0..self.0.len() / 64 {
            for (sums, stream) in sums.iter_mut().zip(&mut streams) {
                let values = stream.next().unwrap_or(&[0.0; 16]);
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        sums.as_flattened().iter().sum()
    }
}

/// Four arbitrary bytes at a time, by xorshift (Marsaglia 2003): quick, and any numbers will do.
pub struct Numbers(u32);

impl Numbers {
    /// Always the same ones.
    pub fn new() -> Self {
        Self(1)
    }

    /// The next ones.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}
