//! Values that nobody knows before the program runs.

use core::convert::Infallible;
use core::ops::Range;
use core::slice::{from_raw_parts, from_raw_parts_mut};

use mixlet_core::half::{bf16, f16};
use mixlet_core::rand_core::TryRng;

/// A value of any kind, as [`any`] gives it.
pub trait Unknown {
    /// The value.
    fn unknown() -> Self;
}

/// Any value of the type that is asked for.
#[inline(always)]
pub fn any<T: Unknown>() -> T {
    T::unknown()
}

/// What a checked constructor makes of unknown values, if it does.
#[inline(always)]
pub fn checked<T, E>(made: Result<T, E>) -> T {
    match made {
        Ok(value) => value,
        Err(_) => loop {},
    }
}

/// What all numbers are read from.
static mut BYTES: u64 = 0;

/// A plain number: every pattern of bits is one.
pub trait Number: Copy {}

/// The compiler has to suppose that a volatile read gives anything, and something else each time.
#[inline(always)]
fn read<T: Number>() -> T {
    // SAFETY: the static is as large and as aligned as the largest number, and any bits are a number.
    unsafe { (&raw const BYTES).cast::<T>().read_volatile() }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Number for $number {}
        impl Unknown for $number {
            #[inline(always)]
            fn unknown() -> Self {
                read()
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize i8 i16 i32 i64 f32 f64 bf16 f16);

impl Unknown for bool {
    #[inline(always)]
    fn unknown() -> Self {
        any::<u8>() & 1 == 1
    }
}

impl<'a, T> Unknown for &'a [T] {
    #[inline(always)]
    fn unknown() -> Self {
        // SAFETY: the program is never run.
        unsafe { from_raw_parts(any::<usize>() as *const T, any()) }
    }
}

impl<'a, T> Unknown for &'a mut [T] {
    #[inline(always)]
    fn unknown() -> Self {
        // SAFETY: as above.
        unsafe { from_raw_parts_mut(any::<usize>() as *mut T, any()) }
    }
}

impl<T: Unknown> Unknown for Option<T> {
    #[inline(always)]
    fn unknown() -> Self {
        if any() { Some(any()) } else { None }
    }
}

impl<T: Unknown> Unknown for Range<T> {
    #[inline(always)]
    fn unknown() -> Self {
        any()..any()
    }
}

impl<T: Unknown, const N: usize> Unknown for [T; N] {
    #[inline(always)]
    fn unknown() -> Self {
        core::array::from_fn(|_| any())
    }
}

impl<A: Unknown, B: Unknown> Unknown for (A, B) {
    #[inline(always)]
    fn unknown() -> Self {
        (any(), any())
    }
}

/// A generator of unknown numbers.
pub struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(any())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(any())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(any);
        Ok(())
    }
}
