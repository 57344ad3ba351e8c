//! Memory that shows what a kernel wrote: NaN where it starts, guards around it.

use std::fmt::Debug;

/// Elements on either side.
const GUARDS: usize = 9;
/// A NaN that no arithmetic makes.
const GUARD: f64 = f64::from_bits(0x7ff8_dead_beef_f00d);

/// Calls a kernel that writes `len` values: all of them, and nothing around them.
#[track_caller]
pub fn written(len: usize, kernel: impl FnOnce(&mut [f64])) -> Vec<f64> {
    changed(&vec![GUARD; len], kernel)
}

/// Calls a kernel that adds to `len` zeros.
#[track_caller]
pub fn added(len: usize, kernel: impl FnOnce(&mut [f64])) -> Vec<f64> {
    changed(&vec![0.0; len], kernel)
}

/// Calls a kernel that changes values in place.
#[track_caller]
pub fn changed(values: &[f64], kernel: impl FnOnce(&mut [f64])) -> Vec<f64> {
    let end = GUARDS + values.len();
    let mut memory = vec![GUARD; end + GUARDS];
    memory[GUARDS..end].copy_from_slice(values);
    kernel(&mut memory[GUARDS..end]);
    let is_guard = |value: &f64| value.to_bits() == GUARD.to_bits();
    assert!(memory[..GUARDS].iter().chain(&memory[end..]).all(is_guard), "wrote outside its output");
    let out = memory[GUARDS..end].to_vec();
    assert_eq!(out.iter().position(|value| value.is_nan()), None, "left a value unwritten: {out:?}");
    out
}

/// [`written`] for integers: what is written must not depend on what was there.
#[track_caller]
pub fn written_integers<T: Copy + PartialEq + Debug>(
    len: usize,
    fills: [T; 2],
    kernel: impl Fn(&mut [T]),
) -> Vec<T> {
    let [first, second] = fills.map(|fill| {
        let mut memory = vec![fill; len + 2 * GUARDS];
        kernel(&mut memory[GUARDS..GUARDS + len]);
        let guards = memory[..GUARDS].iter().chain(&memory[GUARDS + len..]);
        assert!(guards.into_iter().all(|&guard| guard == fill), "wrote outside its output");
        memory[GUARDS..GUARDS + len].to_vec()
    });
    assert_eq!(first, second, "left a value unwritten");
    first
}
