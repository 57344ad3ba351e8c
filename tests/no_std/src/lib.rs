//! Builds only while `mixlet-core` needs neither `std` nor `alloc`: see the manifest.
#![no_std]

// Loaded even though nothing is called: an unused dependency would be left out, and the check be empty.
extern crate mixlet_core;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
