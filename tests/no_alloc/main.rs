//! Kernels of core work in the memory they are given: a counting allocator sees nothing.

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod experts;
mod mixture;
mod moe;
mod nn;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use mixlet_core::em::FitSettings;

thread_local! {
    /// Allocations by this thread: tests run side by side.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the memory came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs some work and fails if it allocated.
#[track_caller]
fn without_allocations<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = work();
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(allocations, 0, "{what} allocated");
    result
}

/// What every fit of these tests ends by.
const SETTINGS: FitSettings = FitSettings { rounds: 4, tolerance: 1e-7 };

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
