//! Links only while no public function of `mixlet-core` can panic: see the manifest.
//!
//! Left out is what formats errors: `core::fmt` has panics of its own.
#![no_std]
#![no_main]
#![cfg_attr(feature = "planted", allow(dead_code, reason = "nothing else is called"))]

mod calls;
mod inputs;
mod unknown;

use core::hint::black_box;
use core::panic::PanicInfo;

#[link(name = "c")]
unsafe extern "C" {
    #[cfg(not(feature = "traced"))]
    /// Defined nowhere.
    fn a_panic_is_reachable() -> !;
}

#[cfg(feature = "traced")]
#[unsafe(no_mangle)]
extern "C" fn a_panic_is_reachable() -> ! {
    loop {}
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    #[allow(unused_unsafe, reason = "a function of this program where it is traced")]
    // SAFETY: it has no conditions, and does not exist.
    unsafe {
        a_panic_is_reachable()
    }
}

/// One call, optimised by itself.
#[inline(never)]
fn call<T>(work: impl FnOnce() -> T) {
    black_box(work());
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    #[cfg(not(feature = "planted"))]
    calls::all();
    #[cfg(feature = "planted")]
    call(|| unknown::any::<&[u32]>()[unknown::any::<usize>()]);
    0
}
