//! Shared experts: a network that every token passes through, added to what the routed experts give.

use crate::matrix::{MatMut, MatRef, ShapeError, check_length};

/// `out[t] += gates[t] · shared[t]`; without gates each counts whole (DeepSeek-V3; Qwen2-MoE has gates).
///
/// ```
/// # use mixlet_core::{matrix::{MatMut, MatRef}, moe::experts::add_shared};
/// let mut out = [1.0, 2.0, 3.0, 4.0];
/// let shared = MatRef::new(&[10.0, 10.0, 20.0, 20.0], 2, 2)?;
/// add_shared(shared, Some(&[0.5, 0.25]), MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [6.0, 7.0, 8.0, 9.0]);
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn add_shared(shared: MatRef<'_>, gates: Option<&[f32]>, mut out: MatMut<'_>) -> Result<(), ShapeError> {
    check(shared, gates, out.as_ref())?;
    for (token, (out, shared)) in
        out.values().chunks_exact_mut(shared.columns().max(1)).zip(shared.each_row()).enumerate()
    {
        let gate = gate_of(gates, token);
        out.iter_mut().zip(shared).for_each(|(out, value)| *out += gate * value);
    }
    Ok(())
}

/// `grad_shared[t] = gates[t] · grad_out[t]` and, where there are gates, `grad_gates[t] = grad_out[t] · shared[t]`.
///
/// The gradient of the routed experts' part is `grad_out` itself.
///
/// ```
/// # use mixlet_core::{matrix::{MatMut, MatRef}, moe::experts::add_shared_backward};
/// let (shared, grad_out) = (MatRef::new(&[10.0, 20.0], 1, 2)?, MatRef::new(&[1.0, 2.0], 1, 2)?);
/// let (mut grad_shared, mut grad_gates) = ([f32::NAN; 2], [f32::NAN]);
/// add_shared_backward(shared, Some(&[0.5]), grad_out, MatMut::new(&mut grad_shared, 1, 2)?, &mut grad_gates)?;
/// assert_eq!((grad_shared, grad_gates), ([0.5, 1.0], [50.0]));
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
pub fn add_shared_backward(
    shared: MatRef<'_>,
    gates: Option<&[f32]>,
    grad_out: MatRef<'_>,
    mut grad_shared: MatMut<'_>,
    grad_gates: &mut [f32],
) -> Result<(), ShapeError> {
    check(shared, gates, grad_out)?;
    check(shared, gates, grad_shared.as_ref())?;
    check_length("gate gradients", grad_gates.len(), gates.map_or(0, <[f32]>::len))?;
    let rows = grad_shared.values().chunks_exact_mut(shared.columns().max(1)).zip(grad_out.each_row());
    for (token, (out, grad)) in rows.enumerate() {
        let gate = gate_of(gates, token);
        out.iter_mut().zip(grad).for_each(|(out, grad)| *out = gate * grad);
    }
    for ((out, grad), shared) in grad_gates.iter_mut().zip(grad_out.each_row()).zip(shared.each_row()) {
        *out = grad.iter().zip(shared).map(|(grad, value)| grad * value).sum();
    }
    Ok(())
}

fn gate_of(gates: Option<&[f32]>, token: usize) -> f32 {
    gates.map_or(1.0, |gates| gates.get(token).copied().unwrap_or(1.0))
}

fn check(shared: MatRef<'_>, gates: Option<&[f32]>, out: MatRef<'_>) -> Result<(), ShapeError> {
    check_length("shared, in rows,", shared.rows(), out.rows())?;
    check_length("a row of shared", shared.columns(), out.columns())?;
    gates.map_or(Ok(()), |gates| check_length("shared gates", gates.len(), out.rows()))
}
