//! Tutel's load and importance loss.

use super::{normal_below, normal_density};
use crate::moe::config::Router;
use crate::moe::error::{RouterError, check_length};
use crate::moe::policies::{NoiseScale, Policy};
use crate::moe::routing::{RouterInput, RoutingCache};
use crate::moe::rows::nth_row;
use crate::moe::slices::{log_sum_exp, sum};
use crate::real::Real;

/// Added to squared means there.
const LEAST_SQUARE: f64 = 1e-10;

/// Tutel's `load_importance_loss`, of a routing with fixed noise `σ` (its `gate_noise / experts`):
///
/// ```text
/// p = softmax(z), without noise      importance_e = Σ_t p_te
/// h_t: the last chosen noisy logit   load_e = Σ_t Φ((p_te − h_t) / σ)
/// loss = (V(importance) + V(load)) / 2,   V(x) = var(x) / (mean(x)² + 1e-10)
/// ```
///
/// Unlike [`NoisyLoad`](super::NoisyLoad) it compares probabilities with a logit, leaves one threshold for all experts, and
/// divides variances by `E − 1`. With one expert `V` is 0.
#[derive(Clone, Copy, Debug)]
pub struct TutelLoss<'a, R = f32> {
    input: RouterInput<'a, R>,
    cache: RoutingCache<'a, R>,
    sigma: R,
    top_k: usize,
}

impl<'a, R: Real> TutelLoss<'a, R> {
    /// The loss of what [`route`](crate::moe::route) was given and gave, in training. Only noisy top-k with fixed noise has one.
    pub fn new(
        router: &Router,
        input: RouterInput<'a, R>,
        cache: RoutingCache<'a, R>,
    ) -> Result<Self, RouterError> {
        let Policy::NoisyTopK { top_k, noise: NoiseScale::Fixed(sigma) } = router.config().policy else {
            return Err(RouterError::NotNoisy);
        };
        let top_k = super::check(router, input, cache, top_k)?;
        Ok(Self { input, cache, sigma: R::from_f64(sigma), top_k })
    }

    /// The loss, without a coefficient. Writes `importance` and `load` `[E]`.
    ///
    /// ```
    /// # use mixlet_core::moe::{*, noisy::TutelLoss};
    /// let policy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(1.0) };
    /// let router = RouterConfig { experts: 2, policy, ..RouterConfig::default() }.check().unwrap();
    /// let shape = router.shape(Phase::Train, 1).unwrap();
    /// let input = RouterInput { draws: &[0.5, 0.0], ..RouterInput::of_logits(&[0.0_f64, 0.0]) };
    /// let cache = RoutingCache { shape, probabilities: &[0.5, 0.5], chosen: &[0] };
    /// let (mut importance, mut load) = ([f64::NAN; 2], [f64::NAN; 2]);
    /// let loss = TutelLoss::new(&router, input, cache).unwrap();
    /// assert_eq!(loss.forward(&mut importance, &mut load), Ok(0.0)); // both experts alike
    /// assert_eq!((importance, load), ([0.5; 2], [0.5; 2])); // Φ(1/2 − 1/2)
    /// ```
    #[inline(always)]
    pub fn forward(&self, importance: &mut [R], load: &mut [R]) -> Result<R, RouterError> {
        self.check(importance, load)?;
        importance.fill(R::ZERO);
        load.fill(R::ZERO);
        for token in self.tokens() {
            let (threshold, (logits, log_sum)) = (self.threshold(token).1, self.row(token));
            for ((&z, importance), load) in logits.iter().zip(importance.iter_mut()).zip(load.iter_mut()) {
                let p = (z - log_sum).exp();
                *importance += p;
                *load += normal_below((p - threshold) / self.sigma);
            }
        }
        Ok(R::from_f64(0.5) * (variation(importance) + variation(load)))
    }

    /// Adds `coefficient · ∂/∂logits` `[T, E]`; `importance` and `load` are forward's.
    ///
    /// ```
    /// # use mixlet_core::moe::{*, noisy::TutelLoss};
    /// # let policy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(1.0) };
    /// # let router = RouterConfig { experts: 2, policy, ..RouterConfig::default() }.check().unwrap();
    /// # let shape = router.shape(Phase::Train, 1).unwrap();
    /// # let input = RouterInput { draws: &[0.5, 0.0], ..RouterInput::of_logits(&[0.0_f64, 0.0]) };
    /// # let cache = RoutingCache { shape, probabilities: &[0.5, 0.5], chosen: &[0] };
    /// let mut grad_logits = [1.0, 2.0];
    /// let loss = TutelLoss::new(&router, input, cache).unwrap();
    /// loss.backward(&[0.5; 2], &[0.5; 2], 1.0, &mut grad_logits).unwrap();
    /// assert_eq!(grad_logits, [1.0, 2.0]); // even already: nothing is added
    /// ```
    #[inline(always)]
    pub fn backward(
        &self,
        importance: &[R],
        load: &[R],
        coefficient: R,
        grad_logits: &mut [R],
    ) -> Result<(), RouterError> {
        self.check(importance, load)?;
        check_length("gradients of logits", grad_logits.len(), self.cache.shape.logits_len())?;
        let experts = self.cache.shape.experts;
        let half = R::from_f64(0.5) * coefficient;
        let (of_importance, of_load) = (variation_slope(importance), variation_slope(load));
        for token in self.tokens() {
            let ((last, threshold), (logits, log_sum)) = (self.threshold(token), self.row(token));
            // By p of one expert, and by the threshold, which only the load sees.
            let slopes = |z: R, importance: R, load: R| {
                let p = (z - log_sum).exp();
                let density = normal_density((p - threshold) / self.sigma) / self.sigma;
                let through_load = half * of_load(load) * density;
                (p, half * of_importance(importance) + through_load, through_load)
            };
            let all = || logits.iter().zip(importance).zip(load).map(|((&z, &i), &l)| slopes(z, i, l));
            let inner = all().fold(R::ZERO, |sum, (p, slope, _)| sum + p * slope);
            let by_threshold = all().fold(R::ZERO, |sum, (_, _, through_load)| sum + through_load);
            let row = grad_logits.get_mut(token * experts..(token + 1) * experts).unwrap_or(&mut []);
            for (grad, (p, slope, _)) in row.iter_mut().zip(all()) {
                *grad += p * (slope - inner);
            }
            if let Some(grad) = row.get_mut(last) {
                *grad += -by_threshold;
            }
        }
        Ok(())
    }

    fn check(&self, importance: &[R], load: &[R]) -> Result<(), RouterError> {
        check_length("importance", importance.len(), self.cache.shape.experts)?;
        check_length("loads", load.len(), self.cache.shape.experts)
    }

    fn tokens(&self) -> impl Iterator<Item = usize> {
        (0..self.cache.shape.tokens).filter(|&token| self.input.is_real(token))
    }

    /// A token's logits, and their `ln Σ eᶻ`.
    #[inline(always)]
    fn row(&self, token: usize) -> (&'a [R], R) {
        let logits = nth_row(self.input.logits, token, self.cache.shape.experts);
        (logits, log_sum_exp(logits))
    }

    /// The expert that was chosen last, and its logit with noise.
    #[inline(always)]
    fn threshold(&self, token: usize) -> (usize, R) {
        let expert =
            nth_row(self.cache.chosen, token, self.top_k).last().map_or(0, |&expert| expert as usize);
        let of = |values| nth_row(values, token, self.cache.shape.experts).get(expert).copied();
        let (logit, noise) = (of(self.input.logits), of(self.input.draws));
        (expert, logit.unwrap_or(R::ZERO) + self.sigma * noise.unwrap_or(R::ZERO))
    }
}

/// `var(x) / (mean(x)² + 1e-10)`, the variance over `E − 1`.
fn variation<R: Real>(values: &[R]) -> R {
    let (mean, square, freedom) = moments(values);
    let squares = values.iter().fold(R::ZERO, |sum, &value| sum + (value - mean) * (value - mean));
    squares / freedom / square
}

/// `∂V/∂x = 2·(x − m) / ((E − 1)·s) − 2·m·V / (E·s)`, with `s = m² + 1e-10`.
#[inline(always)]
fn variation_slope<R: Real>(values: &[R]) -> impl Fn(R) -> R {
    let ((mean, square, freedom), variation) = (moments(values), variation(values));
    let number = R::from_f64(values.len().max(1) as f64);
    let two = R::from_f64(2.0);
    move |value| two * ((value - mean) / freedom - mean * variation / number) / square
}

/// The mean, its square and a little more, and `E − 1`, which is at least 1.
#[inline(always)]
fn moments<R: Real>(values: &[R]) -> (R, R, R) {
    let number = values.len().max(1) as f64;
    let mean = sum(values) / R::from_f64(number);
    (mean, mean * mean + R::from_f64(LEAST_SQUARE), R::from_f64((number - 1.0).max(1.0)))
}
