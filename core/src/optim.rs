//! What turns gradients into a step: scan, clip, schedule, AdamW, Adafactor, gradient descent.
//!
//! ```text
//!   gradients ─► scan_gradients ─► clip factor ─┐
//!   step ─► LrSchedule::lr_at ─► learning rate ─┴─► Step ─► adamw_step, adafactor_step or sgd_step, tensor by tensor
//! ```
//!
//! Weights, gradients and states are `f32`, settings and sums `f64`. Gradients are read only: the clip factor is applied
//! on the way. Frameworks differ in details that the same name hides; those are settings that name their source.

mod adafactor;
mod adamw;
mod clip;
mod error;
mod non_finite;
mod root;
mod schedule;
mod sgd;

pub use adafactor::{
    Adafactor, AdafactorMemory, AdafactorShape, Averaging, adafactor_scratch_len, adafactor_state_len,
    adafactor_step,
};
pub use adamw::{AdamW, AdamWState, EpsilonPlace, adamw_step};
pub use clip::{ClipRule, SQUARE_SUM_BLOCK, clip_factor, square_sum};
pub use error::OptimError;
pub use non_finite::{first_non_finite, scan_gradients};
pub use schedule::{LrDecay, LrSchedule};
pub use sgd::sgd_step;

/// What one step is for every tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The step, from 1: how many times the state has been updated when it is done.
    pub number: u32,
    /// The learning rate.
    pub lr: f64,
    /// What gradients are multiplied by first: the clip factor, or 1.
    pub grad_scale: f64,
}

/// What weight decay takes off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum DecayRule {
    /// `lr · weight_decay · w` (PyTorch, optax, transformers).
    #[default]
    TimesLr,
    /// `weight_decay · w` whatever the learning rate (Loshchilov & Hutter 2019; T5X Adafactor).
    Alone,
}

impl DecayRule {
    /// What weights are multiplied by.
    fn keep(self, weight_decay: f64, lr: f64) -> f64 {
        match self {
            Self::TimesLr => 1.0 - lr * weight_decay,
            Self::Alone => 1.0 - weight_decay,
        }
    }
}

impl Step {
    fn check(&self) -> Result<(), OptimError> {
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        error::check_setting("step number", f64::from(self.number), self.number > 0, "at least 1")?;
        error::check_setting(
            "learning rate",
            self.lr,
            not_negative(self.lr),
            "a number that is not negative",
        )?;
        error::check_setting(
            "gradient scale",
            self.grad_scale,
            self.grad_scale.is_finite(),
            "a finite number",
        )
    }
}
