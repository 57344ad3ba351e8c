//! The two losses of noisy top-k: evenly large gates, and an evenly likely load (Shazeer et al. 2017, section 4, appendix A).
//! Tutel's variant of both is one loss, [`TutelLoss`].
//!
//! Counts of slots have no gradient. The load loss takes the probability that a fresh draw of an expert's noise
//! would put it among the best `top_k`, the other noise held fixed,
//!
//! ```text
//! load_e = Σ_t Φ((z_te − threshold_te) / σ_te),   threshold: the top_k-th best H_t of the other experts.
//! ```

mod tutel;

pub use tutel::TutelLoss;

use super::config::Router;
use super::error::{RouterError, check_length};
use super::policies::{NoiseScale, Policy};
use super::routing::{RouterInput, Routing, RoutingCache};
use super::rows::nth_row;
use super::slices::{sigmoid, softplus, sum};
use crate::real::Real;

/// `CV²`: the variance of some values over the square of their mean; 0 where the mean is 0.
///
/// ```
/// # use mixlet_core::moe::noisy::squared_variation;
/// assert_eq!(squared_variation(&[1.0, 3.0]), 0.25);
/// ```
pub fn squared_variation<R: Real>(values: &[R]) -> R {
    let number = R::from_f64(values.len().max(1) as f64);
    let mean = sum(values) / number;
    if mean == R::ZERO {
        return R::ZERO;
    }
    let squares = values.iter().fold(R::ZERO, |sum, &value| sum + (value - mean) * (value - mean));
    squares / number / (mean * mean)
}

/// `∂CV²/∂x = 2·((x − m)/m − CV²) / (n·m)`.
#[inline(always)]
fn variation_slope<R: Real>(values: &[R]) -> impl Fn(R) -> R {
    let (variation, total) = (squared_variation(values), sum(values));
    let mean = total / R::from_f64(values.len().max(1) as f64);
    let scale = if total == R::ZERO { R::ZERO } else { R::from_f64(2.0) / total };
    move |value| if total == R::ZERO { R::ZERO } else { scale * ((value - mean) / mean - variation) }
}

/// Importance loss `CV²(Σ_t gates)`, without a coefficient. Writes `importance` `[E]`, the sum of each expert's gates.
///
/// ```
/// # use mixlet_core::moe::{Routing, noisy::importance_forward};
/// let routing = Routing { token_offsets: &[0, 1, 2], experts: &[0, 1], gates: &[1.0, 3.0] };
/// assert_eq!(importance_forward(&routing, &mut [f64::NAN; 2]), Ok(0.25));
/// ```
#[inline(always)]
pub fn importance_forward<R: Real>(routing: &Routing<'_, R>, importance: &mut [R]) -> Result<R, RouterError> {
    routing.check(importance.len())?;
    importance.fill(R::ZERO);
    for (&expert, &gate) in routing.experts.iter().zip(routing.gates) {
        if let Some(importance) = importance.get_mut(expert as usize) {
            *importance += gate;
        }
    }
    Ok(squared_variation(importance))
}

/// Adds `coefficient · ∂/∂gates` `[S]`: to what combine's backward wrote, before the gates' own backward.
///
/// ```
/// # use mixlet_core::moe::{Routing, noisy::importance_backward};
/// let routing = Routing { token_offsets: &[0, 1, 2], experts: &[0, 1], gates: &[1.0, 3.0] };
/// let mut grad_gates = [0.0; 2];
/// importance_backward(&routing, &[1.0, 3.0], 1.0, &mut grad_gates).unwrap();
/// assert_eq!(grad_gates, [-0.375, 0.125]); // 2·((x − 2)/2 − 1/4)/4
/// ```
#[inline(always)]
pub fn importance_backward<R: Real>(
    routing: &Routing<'_, R>,
    importance: &[R],
    coefficient: R,
    grad_gates: &mut [R],
) -> Result<(), RouterError> {
    routing.check(importance.len())?;
    check_length("gradients of gates", grad_gates.len(), routing.gates.len())?;
    let slope = variation_slope(importance);
    for (grad, &expert) in grad_gates.iter_mut().zip(routing.experts) {
        if let Some(&importance) = importance.get(expert as usize) {
            *grad += coefficient * slope(importance);
        }
    }
    Ok(())
}

/// The load loss of a routing with noise.
#[derive(Clone, Copy, Debug)]
pub struct NoisyLoad<'a, R = f32> {
    input: RouterInput<'a, R>,
    cache: RoutingCache<'a, R>,
    noise: NoiseScale,
    top_k: usize,
}

/// One expert of one token.
#[derive(Clone, Copy)]
struct Noisy<R> {
    logit: R,
    sigma: R,
    noise: R,
}

impl<R: Real> Noisy<R> {
    fn score(&self) -> R {
        self.logit + self.sigma * self.noise
    }
}

/// The experts whose scores are thresholds: for those chosen, the best of the others; for the others, the last chosen.
struct Thresholds<R> {
    last: (usize, R),
    next: Option<(usize, R)>,
}

/// Makes sure that a router was given `input` in training and gave `cache`; returns the experts of a token.
fn check<R: Real>(
    router: &Router,
    input: RouterInput<'_, R>,
    cache: RoutingCache<'_, R>,
    top_k: u32,
) -> Result<usize, RouterError> {
    input.check(router, super::Phase::Train, cache.shape)?;
    let top_k = top_k as usize;
    check_length("chosen experts", cache.chosen.len(), cache.shape.tokens.saturating_mul(top_k))?;
    Ok(top_k)
}

impl<'a, R: Real> NoisyLoad<'a, R> {
    /// The loss of what [`route`](super::route) was given and gave, in training. Only noisy top-k has one.
    pub fn new(
        router: &Router,
        input: RouterInput<'a, R>,
        cache: RoutingCache<'a, R>,
    ) -> Result<Self, RouterError> {
        let Policy::NoisyTopK { top_k, noise } = router.config().policy else {
            return Err(RouterError::NotNoisy);
        };
        let top_k = check(router, input, cache, top_k)?;
        Ok(Self { input, cache, noise, top_k })
    }

    /// The loss `CV²(load)`, without a coefficient. Writes `load` `[E]`, the expected number of tokens of each expert.
    ///
    /// ```
    /// # use mixlet_core::moe::{*, noisy::NoisyLoad};
    /// # let policy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(1.0) };
    /// # let router = RouterConfig { experts: 2, policy, ..RouterConfig::default() }.check().unwrap();
    /// # let shape = router.shape(Phase::Train, 1).unwrap();
    /// // Noise puts expert 0 half a unit above expert 1.
    /// let input = RouterInput { draws: &[0.5, 0.0], ..RouterInput::of_logits(&[0.0_f64, 0.0]) };
    /// let cache = RoutingCache { shape, probabilities: &[0.62, 0.38], chosen: &[0] };
    /// let loss = NoisyLoad::new(&router, input, cache).unwrap();
    /// let mut load = [f64::NAN; 2];
    /// loss.forward(&mut load).unwrap();
    /// assert!((load[0] - 0.5).abs() < 1e-15 && (load[1] - 0.308_537_5).abs() < 1e-7); // Φ(0), Φ(−1/2)
    /// ```
    #[inline(always)]
    pub fn forward(&self, load: &mut [R]) -> Result<R, RouterError> {
        check_length("loads", load.len(), self.cache.shape.experts)?;
        load.fill(R::ZERO);
        for token in self.tokens() {
            let thresholds = self.thresholds(token);
            for (expert, load) in load.iter_mut().enumerate() {
                let at = self.at(token, expert);
                *load += match self.threshold(token, expert, &thresholds) {
                    Some((_, threshold)) => normal_below((at.logit - threshold) / at.sigma),
                    None => R::ONE,
                };
            }
        }
        Ok(squared_variation(load))
    }

    /// Adds `coefficient · ∂/∂logits` and `∂/∂noise logits`, both `[T, E]` (the second empty where noise is fixed).
    ///
    /// ```
    /// # use mixlet_core::moe::{*, noisy::NoisyLoad};
    /// # let policy = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(1.0) };
    /// # let router = RouterConfig { experts: 2, policy, ..RouterConfig::default() }.check().unwrap();
    /// # let shape = router.shape(Phase::Train, 1).unwrap();
    /// # // Noise puts expert 0 half a unit above expert 1.
    /// # let input = RouterInput { draws: &[0.5, 0.0], ..RouterInput::of_logits(&[0.0_f64, 0.0]) };
    /// # let cache = RoutingCache { shape, probabilities: &[0.62, 0.38], chosen: &[0] };
    /// # let loss = NoisyLoad::new(&router, input, cache).unwrap();
    /// let mut grad_logits = [0.0; 2];
    /// loss.backward(&[1.0, 3.0], 1.0, &mut grad_logits, &mut []).unwrap();
    /// let expected = -0.375 * 0.398_942_3 - 0.125 * 0.352_065_3; // slopes of CV² times φ(0) and φ(−1/2)
    /// assert!((grad_logits[0] - expected).abs() < 1e-7 && grad_logits[1] == -grad_logits[0]);
    /// ```
    #[inline(always)]
    pub fn backward(
        &self,
        load: &[R],
        coefficient: R,
        grad_logits: &mut [R],
        grad_noise_logits: &mut [R],
    ) -> Result<(), RouterError> {
        let experts = self.cache.shape.experts;
        check_length("loads", load.len(), experts)?;
        check_length("gradients of logits", grad_logits.len(), self.cache.shape.logits_len())?;
        check_length("gradients of noise logits", grad_noise_logits.len(), self.input.noise_logits.len())?;
        let slope = variation_slope(load);
        for token in self.tokens() {
            let thresholds = self.thresholds(token);
            let mut add = |expert: usize, by_logit: R, by_sigma: R| {
                let place = token * experts + expert;
                if let Some(grad) = grad_logits.get_mut(place) {
                    *grad += by_logit;
                }
                let noise_logit = self.input.noise_logits.get(place);
                if let (Some(grad), Some(&noise_logit)) = (grad_noise_logits.get_mut(place), noise_logit) {
                    *grad += by_sigma * sigmoid(noise_logit);
                }
            };
            for (expert, &load) in load.iter().enumerate() {
                if let Some((other, threshold)) = self.threshold(token, expert, &thresholds) {
                    let at = self.at(token, expert);
                    let u = (at.logit - threshold) / at.sigma;
                    let grad = coefficient * slope(load) * normal_density(u) / at.sigma;
                    add(expert, grad, -(grad * u));
                    // The threshold is a score of another expert.
                    add(other, -grad, -(grad * self.at(token, other).noise));
                }
            }
        }
        Ok(())
    }

    fn tokens(&self) -> impl Iterator<Item = usize> {
        (0..self.cache.shape.tokens).filter(|&token| self.input.is_real(token))
    }

    #[inline(always)]
    fn at(&self, token: usize, expert: usize) -> Noisy<R> {
        let place = token * self.cache.shape.experts + expert;
        let of = |values: &[R]| values.get(place).copied().unwrap_or(R::ZERO);
        let sigma = match self.noise {
            NoiseScale::Learned { least } => softplus(of(self.input.noise_logits)) + R::from_f64(least),
            NoiseScale::Fixed(sigma) => R::from_f64(sigma),
        };
        Noisy { logit: of(self.input.logits), sigma, noise: of(self.input.draws) }
    }

    fn chosen(&self, token: usize) -> &'a [u32] {
        nth_row(self.cache.chosen, token, self.top_k)
    }

    #[inline(always)]
    fn thresholds(&self, token: usize) -> Thresholds<R> {
        let scored = |expert: usize| (expert, self.at(token, expert).score());
        let is_chosen = |expert: usize| self.chosen(token).iter().any(|&chosen| chosen as usize == expert);
        let others = (0..self.cache.shape.experts).filter(|&expert| !is_chosen(expert)).map(scored);
        let last = self.chosen(token).last().map_or(0, |&expert| expert as usize);
        Thresholds {
            last: scored(last),
            next: others.reduce(|best, next| if next.1 > best.1 { next } else { best }),
        }
    }

    /// The expert to beat, and its score; none if all experts are chosen anyway.
    fn threshold(&self, token: usize, expert: usize, thresholds: &Thresholds<R>) -> Option<(usize, R)> {
        let is_chosen = self.chosen(token).iter().any(|&chosen| chosen as usize == expert);
        if is_chosen { thresholds.next } else { Some(thresholds.last) }
    }
}

/// `Φ(x)`.
fn normal_below<R: Real>(x: R) -> R {
    R::from_f64(0.5) * (R::ONE + (x * R::from_f64(core::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// `φ(x)`.
fn normal_density<R: Real>(x: R) -> R {
    R::from_f64(0.398_942_280_401_432_7) * (R::from_f64(-0.5) * x * x).exp()
}
