//! Memory that each thread keeps between calls, and memory that grows.

use std::cell::Cell;

use mixlet_core::half::bf16;
use mixlet_core::linear::{Scratch, ScratchLen};

#[derive(Default)]
struct Memory {
    cache: Vec<f32>,
    floats: Vec<f32>,
    halves: Vec<bf16>,
    bytes: Vec<i8>,
}

thread_local! {
    static MEMORY: Cell<Memory> = Cell::default();
}

/// Lends this thread's memory, grown where it is too small; a call within the call gets memory of its own.
pub fn with_memory<T>(
    cache: usize,
    scratch: ScratchLen,
    work: impl FnOnce(&mut [f32], Scratch<'_>) -> T,
) -> T {
    let mut memory = MEMORY.take();
    let Memory { cache: caches, floats, halves, bytes } = &mut memory;
    let result = work(
        sized(caches, cache),
        Scratch {
            floats: sized(floats, scratch.floats),
            halves: sized(halves, scratch.halves),
            bytes: sized(bytes, scratch.bytes),
        },
    );
    MEMORY.set(memory);
    result
}

/// The first values of a buffer, which grows where it is too small. They hold whatever they held before.
pub fn sized<T: Default + Clone>(values: &mut Vec<T>, len: usize) -> &mut [T] {
    if values.len() < len {
        values.resize(len, T::default());
    }
    &mut values[..len]
}
