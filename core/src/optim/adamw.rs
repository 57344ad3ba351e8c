//! AdamW: Adam with weight decay beside the gradient.

use super::error::{check_length, check_rate, check_setting, check_size};
use super::root::root;
use super::{DecayRule, OptimError, Step};

/// Where `ε` stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum EpsilonPlace {
    /// `√(v / (1 − β₂ᵗ)) + ε`: the paper's algorithm, PyTorch, optax.
    #[default]
    AfterCorrection,
    /// `√v + ε`, the correction in the learning rate: the paper's remark, TensorFlow, transformers' former AdamW.
    BeforeCorrection,
}

/// Settings of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AdamW {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Keeps the divisor from zero; positive.
    pub epsilon: f64,
    /// Where it stands.
    pub epsilon_place: EpsilonPlace,
    /// Weight decay.
    pub weight_decay: f64,
    /// What it takes off.
    pub decay_rule: DecayRule,
}

impl Default for AdamW {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_place: EpsilonPlace::AfterCorrection,
            weight_decay: 0.01,
            decay_rule: DecayRule::TimesLr,
        }
    }
}

/// What AdamW remembers of a tensor; zeros at first.
#[derive(Debug)]
pub struct AdamWState<'a> {
    /// The mean of gradients, as long as the tensor.
    pub mean: &'a mut [f32],
    /// The mean of their squares, as long as the tensor.
    pub square: &'a mut [f32],
}

/// One step of a tensor.
///
/// `m ← β₁·m + (1 − β₁)·g`, `v ← β₂·v + (1 − β₂)·g²`,
/// `w ← (1 − lr·λ)·w − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)`. Kingma & Ba 2015, Loshchilov & Hutter 2019.
///
/// ```
/// # use mixlet_core::optim::{adamw_step, AdamW, AdamWState, Step};
/// let (mut weights, mut mean, mut square) = ([1.0], [0.0], [0.0]);
/// let step = Step { number: 1, lr: 0.1, grad_scale: 1.0 };
/// let state = AdamWState { mean: &mut mean, square: &mut square };
/// adamw_step(AdamW::default(), step, &mut weights, &[-3.0], state)?;
/// assert!((weights[0] - (0.999 + 0.1f32)).abs() < 1e-6); // decay, then a first step of lr against the gradient
/// # Ok::<(), mixlet_core::optim::OptimError>(())
/// ```
#[inline(always)]
pub fn adamw_step(
    adamw: AdamW,
    step: Step,
    weights: &mut [f32],
    grads: &[f32],
    state: AdamWState<'_>,
) -> Result<(), OptimError> {
    adamw.check()?;
    step.check()?;
    check_length("gradients", grads.len(), weights.len())?;
    check_length("means of gradients", state.mean.len(), weights.len())?;
    check_length("means of squares", state.square.len(), weights.len())?;
    let [correction1, correction2] =
        [adamw.beta1, adamw.beta2].map(|beta| 1.0 - libm::pow(beta, f64::from(step.number)));
    let root2 = libm::sqrt(correction2);
    let (size, root_scale) = match adamw.epsilon_place {
        EpsilonPlace::AfterCorrection => (step.lr / correction1, 1.0 / root2),
        EpsilonPlace::BeforeCorrection => (step.lr * root2 / correction1, 1.0),
    };
    let keep = adamw.decay_rule.keep(adamw.weight_decay, step.lr);
    let [size, root_scale, keep, grad_scale, epsilon] =
        [size, root_scale, keep, step.grad_scale, adamw.epsilon].map(single);
    let [beta1, mix1, beta2, mix2] =
        [adamw.beta1, 1.0 - adamw.beta1, adamw.beta2, 1.0 - adamw.beta2].map(single);
    let moments = state.mean.iter_mut().zip(state.square);
    for ((weight, grad), (mean, square)) in weights.iter_mut().zip(grads).zip(moments) {
        let grad = *grad * grad_scale;
        *mean = beta1 * *mean + mix1 * grad;
        *square = beta2 * *square + mix2 * (grad * grad);
        *weight = keep * *weight - size * (*mean / (root(*square) * root_scale + epsilon));
    }
    Ok(())
}

impl AdamW {
    fn check(&self) -> Result<(), OptimError> {
        check_rate("beta1", self.beta1)?;
        check_rate("beta2", self.beta2)?;
        let positive = self.epsilon > 0.0 && self.epsilon.is_finite();
        check_setting("epsilon", self.epsilon, positive, "a positive number")?;
        check_size("weight decay", self.weight_decay)
    }
}

/// Rounds a setting to the precision of weights.
#[expect(clippy::cast_possible_truncation, reason = "to round is what is asked for")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_setting_is_its_own_error() {
        let (good, step) = (AdamW::default(), Step { number: 1, lr: 0.1, grad_scale: 1.0 });
        let setting = |what, value, expected| Err(OptimError::Setting { what, value, expected });
        let size = "a number that is not negative";
        let cases = [
            (good, step, Ok(())),
            (AdamW { beta1: 1.0, ..good }, step, setting("beta1", 1.0, "a number of [0, 1)")),
            (AdamW { beta2: -0.1, ..good }, step, setting("beta2", -0.1, "a number of [0, 1)")),
            (AdamW { epsilon: 0.0, ..good }, step, setting("epsilon", 0.0, "a positive number")),
            (AdamW { weight_decay: -1.0, ..good }, step, setting("weight decay", -1.0, size)),
            (good, Step { number: 0, ..step }, setting("step number", 0.0, "at least 1")),
            (good, Step { lr: -0.1, ..step }, setting("learning rate", -0.1, size)),
            (good, Step { lr: f64::INFINITY, ..step }, setting("learning rate", f64::INFINITY, size)),
        ];
        for (adamw, step, expected) in cases {
            let state = AdamWState { mean: &mut [0.0], square: &mut [0.0] };
            assert_eq!(adamw_step(adamw, step, &mut [1.0], &[1.0], state), expected, "{adamw:?} {step:?}");
        }
        let state = AdamWState { mean: &mut [0.0], square: &mut [] };
        let expected = OptimError::Length { what: "means of squares", found: 0, expected: 1 };
        assert_eq!(adamw_step(good, step, &mut [1.0], &[1.0], state), Err(expected));
    }

    #[test]
    fn without_a_gradient_nothing_but_decay_happens() {
        let (mut weights, mut mean, mut square) = ([2.0], [0.0], [0.0]);
        let state = AdamWState { mean: &mut mean, square: &mut square };
        let adamw = AdamW { weight_decay: 0.25, decay_rule: DecayRule::Alone, ..AdamW::default() };
        adamw_step(adamw, Step { number: 3, lr: 0.1, grad_scale: 1.0 }, &mut weights, &[0.0], state).unwrap();
        assert_eq!((weights, mean, square), ([1.5], [0.0], [0.0]));
    }
}
