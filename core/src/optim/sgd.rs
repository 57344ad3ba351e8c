//! Stochastic gradient descent with momentum.

use super::adamw::single;
use super::error::{check_length, check_rate};
use super::{OptimError, Step};

/// One step of a tensor, as PyTorch has it: `v ← momentum · v + g`, `w ← w − lr · v` (Polyak 1964).
///
/// `velocity` is as long as the tensor, zeros at first. With a momentum of 0 this is plain gradient descent.
///
/// ```
/// # use mixlet_core::optim::{Step, sgd_step};
/// let (mut weights, mut velocity) = ([1.0], [2.0]);
/// let step = Step { number: 1, lr: 0.5, grad_scale: 1.0 };
/// sgd_step(0.5, step, &mut weights, &[-3.0], &mut velocity)?;
/// assert_eq!((weights, velocity), ([2.0], [-2.0]));
/// # Ok::<(), mixlet_core::optim::OptimError>(())
/// ```
#[inline(always)]
pub fn sgd_step(
    momentum: f64,
    step: Step,
    weights: &mut [f32],
    grads: &[f32],
    velocity: &mut [f32],
) -> Result<(), OptimError> {
    check_rate("momentum", momentum)?;
    step.check()?;
    check_length("gradients", grads.len(), weights.len())?;
    check_length("velocities", velocity.len(), weights.len())?;
    let [momentum, lr, grad_scale] = [momentum, step.lr, step.grad_scale].map(single);
    for ((weight, grad), velocity) in weights.iter_mut().zip(grads).zip(velocity) {
        *velocity = momentum * *velocity + *grad * grad_scale;
        *weight -= lr * *velocity;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_setting_and_length_is_its_own_error() {
        let step = Step { number: 1, lr: 0.1, grad_scale: 1.0 };
        let length = |what, found, expected| Err(OptimError::Length { what, found, expected });
        let setting = |what, value, expected| Err(OptimError::Setting { what, value, expected });
        let cases: [(f64, Step, &[f32], &mut [f32], _); 5] = [
            (0.9, step, &[1.0; 2], &mut [0.0; 2], Ok(())),
            (1.0, step, &[1.0; 2], &mut [0.0; 2], setting("momentum", 1.0, "a number of [0, 1)")),
            (
                0.9,
                Step { number: 0, ..step },
                &[1.0; 2],
                &mut [0.0; 2],
                setting("step number", 0.0, "at least 1"),
            ),
            (0.9, step, &[1.0], &mut [0.0; 2], length("gradients", 1, 2)),
            (0.9, step, &[1.0; 2], &mut [0.0; 3], length("velocities", 3, 2)),
        ];
        for (momentum, step, grads, velocity, expected) in cases {
            assert_eq!(sgd_step(momentum, step, &mut [1.0; 2], grads, velocity), expected);
        }
    }
}
