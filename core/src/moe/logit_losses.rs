//! Losses of the logits alone: the z-loss, which keeps them small, and their softmax's entropy.
//!
//! A `…_backward` here *adds* to the gradient of the logits: a loss is one term of a sum. Call
//! [`route_backward`](super::route_backward) first, which overwrites it.

use super::error::{RouterError, check_length};
use super::routing::is_real;
use super::rows::{rows_of, rows_of_mut};
use super::slices::{dot, log_sum_exp};
use crate::real::Real;

/// Logits of tokens, some of which may be padding.
#[derive(Clone, Copy, Debug)]
pub struct TokenLogits<'a, R = f32> {
    /// `[T, E]`.
    pub logits: &'a [R],
    /// Experts `E`.
    pub experts: usize,
    /// `[T]`: false for padding, which counts nowhere.
    pub real: Option<&'a [bool]>,
}

impl<'a, R: Real> TokenLogits<'a, R> {
    fn tokens(&self) -> usize {
        self.logits.len() / self.experts.max(1)
    }

    fn check(&self, log_sums: &[R], grad_logits: usize) -> Result<(), RouterError> {
        check_length("logits", self.logits.len(), self.tokens() * self.experts)?;
        check_length("gradients of logits", grad_logits, self.logits.len())?;
        check_length("log-sums", log_sums.len(), self.tokens())?;
        self.real.map_or(Ok(()), |real| check_length("real tokens", real.len(), self.tokens()))
    }

    /// Rows of real tokens, each with its place.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = (usize, &'a [R])> + use<'_, 'a, R> {
        let rows = rows_of(self.logits, self.experts).enumerate();
        rows.filter(|(token, _)| is_real(self.real, *token))
    }

    /// Writes `ln Σ eˣ` of every token, 0 for padding; returns one over the number of real tokens.
    #[inline(always)]
    fn write_log_sums(&self, log_sums: &mut [R]) -> R {
        let mut number = 0_u32;
        log_sums.fill(R::ZERO);
        for (token, row) in self.rows() {
            number += 1;
            if let Some(log_sum) = log_sums.get_mut(token) {
                *log_sum = log_sum_exp(row);
            }
        }
        R::ONE / R::from_f64(f64::from(number.max(1)))
    }

    /// Real tokens: their logits, log-sum and part of a gradient.
    #[inline(always)]
    fn with_grads<'g>(
        &self,
        log_sums: &[R],
        grad_logits: &'g mut [R],
    ) -> impl Iterator<Item = (&'a [R], R, &'g mut [R])> {
        let rows = rows_of(self.logits, self.experts).zip(log_sums.iter().copied());
        let rows = rows.zip(rows_of_mut(grad_logits, self.experts)).enumerate();
        rows.filter(|(token, _)| is_real(self.real, *token))
            .map(|(_, ((row, log_sum), grad))| (row, log_sum, grad))
    }

    fn share(&self) -> R {
        R::ONE / R::from_f64(self.rows().count().max(1) as f64)
    }
}

/// Router z-loss, `(1/T) · Σ_t (ln Σ_e e^z)²` (ST-MoE, equation 5), without a coefficient. Writes `log_sums` `[T]`.
///
/// ```
/// # use mixlet_core::moe::logit_losses::{TokenLogits, z_loss_forward};
/// let logits = TokenLogits { logits: &[0.0, 0.0], experts: 2, real: None };
/// let loss: f64 = z_loss_forward(&logits, &mut [0.0]).unwrap();
/// assert!((loss - core::f64::consts::LN_2.powi(2)).abs() < 1e-15);
/// ```
#[inline(always)]
pub fn z_loss_forward<R: Real>(logits: &TokenLogits<'_, R>, log_sums: &mut [R]) -> Result<R, RouterError> {
    logits.check(log_sums, logits.logits.len())?;
    let share = logits.write_log_sums(log_sums);
    Ok(share * dot(log_sums, log_sums))
}

/// Adds `coefficient · ∂/∂z`, `(2/T) · lse · softmax(z)`; `log_sums` are forward's.
///
/// ```
/// # use mixlet_core::moe::logit_losses::{TokenLogits, z_loss_backward};
/// let logits = TokenLogits { logits: &[0.0, 0.0], experts: 2, real: None };
/// let mut grad_logits = [1.0, 0.0];
/// z_loss_backward(&logits, &[2.0_f64.ln()], 0.5, &mut grad_logits).unwrap();
/// assert!((grad_logits[0] - 1.0 - 0.5 * 2.0_f64.ln()).abs() < 1e-15);
/// ```
#[inline(always)]
pub fn z_loss_backward<R: Real>(
    logits: &TokenLogits<'_, R>,
    log_sums: &[R],
    coefficient: R,
    grad_logits: &mut [R],
) -> Result<(), RouterError> {
    logits.check(log_sums, grad_logits.len())?;
    let scale = R::from_f64(2.0) * coefficient * logits.share();
    for (row, log_sum, grad) in logits.with_grads(log_sums, grad_logits) {
        let of_token = scale * log_sum;
        grad.iter_mut().zip(row).for_each(|(grad, &z)| *grad += of_token * (z - log_sum).exp());
    }
    Ok(())
}

/// Mean entropy of the tokens' softmax, in nats: 0 for certain routers, `ln E` for undecided ones. Writes `log_sums` `[T]`.
///
/// ```
/// # use mixlet_core::moe::logit_losses::{TokenLogits, entropy_forward};
/// let logits = TokenLogits { logits: &[3.0, 3.0], experts: 2, real: None };
/// let entropy: f64 = entropy_forward(&logits, &mut [0.0]).unwrap();
/// assert!((entropy - core::f64::consts::LN_2).abs() < 1e-15);
/// ```
#[inline(always)]
pub fn entropy_forward<R: Real>(logits: &TokenLogits<'_, R>, log_sums: &mut [R]) -> Result<R, RouterError> {
    logits.check(log_sums, logits.logits.len())?;
    let share = logits.write_log_sums(log_sums);
    let of_token = |token: usize, row: &[R]| entropy(row, log_sums.get(token).copied().unwrap_or(R::ZERO));
    Ok(share * logits.rows().fold(R::ZERO, |sum, (token, row)| sum + of_token(token, row)))
}

/// `−Σ p · ln p`, with `ln p = z − lse`.
#[inline(always)]
fn entropy<R: Real>(row: &[R], log_sum: R) -> R {
    row.iter().fold(R::ZERO, |sum, &z| sum + (z - log_sum).exp() * (log_sum - z))
}

/// Adds `coefficient · ∂/∂z`, `−(1/T) · p · (ln p + entropy)`.
///
/// ```
/// # use mixlet_core::moe::logit_losses::{TokenLogits, entropy_backward};
/// let logits = TokenLogits { logits: &[1.0, 1.0], experts: 2, real: None };
/// let (log_sums, mut grad_logits) = ([1.0 + 2.0_f64.ln()], [3.0, 4.0]);
/// entropy_backward(&logits, &log_sums, 1.0, &mut grad_logits).unwrap();
/// assert_eq!(grad_logits, [3.0, 4.0]); // even already: no direction raises the entropy
/// ```
#[inline(always)]
pub fn entropy_backward<R: Real>(
    logits: &TokenLogits<'_, R>,
    log_sums: &[R],
    coefficient: R,
    grad_logits: &mut [R],
) -> Result<(), RouterError> {
    logits.check(log_sums, grad_logits.len())?;
    let scale = coefficient * logits.share();
    for (row, log_sum, grad) in logits.with_grads(log_sums, grad_logits) {
        let entropy = entropy(row, log_sum);
        for (grad, &z) in grad.iter_mut().zip(row) {
            *grad += scale * (z - log_sum).exp() * (log_sum - z - entropy);
        }
    }
    Ok(())
}
