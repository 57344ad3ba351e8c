//! Losses that keep experts evenly used, and the bias that does it without a loss.
//!
//! A `backward` here *adds* to the gradient of the logits: a loss is one term of a sum. Call
//! [`route_backward`](super::route_backward) first, which overwrites it.

use core::ops::Range;

use super::config::Router;
use super::error::{RouterError, check_length};
use super::gates::through_columns;
use super::policies::Policy;
use super::routing::{RoutingCache, is_real};
use super::rows::{blocks_of, blocks_of_mut, nth_row, rows_of, rows_of_mut};
use super::slices::{dot, sum};
use crate::real::Real;

/// What the load-balancing loss counts and what it is at perfect balance: implementations differ by factors.
///
/// All are `scale · E · Σ_e f_e · P_e`, `f_e` the choices of expert `e` per token and `P_e` its mean probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Calibration {
    /// Switch (equations 4 to 6), mesh, Tutel, DeepSpeed's top-1 and top-2: first choices; 1 at balance.
    Switch,
    /// mesh with importances: first choices of the tokens whose importance is 1, which `real` names, but shares of all
    /// tokens of the group; 1 at balance if all of them count.
    Mesh,
    /// GShard's algorithm 1 to the letter, `mean_e (c_e / S) · m_e`: first choices; `1 / E²` at balance.
    GShardPaper,
    /// flaxformer and Hugging Face's Mixtral family: all choices; `top_k` at balance.
    Flaxformer,
    /// DeepSpeed's top-k, and DeepSeek-V3's loss per sequence (with the sequence as group): all choices; 1 at balance.
    TopK,
    /// MegaBlocks: all choices; `1 / layers` at balance, so that the sum over layers is 1.
    MegaBlocks {
        /// Layers with experts.
        layers: u32,
    },
}

/// The load-balancing loss of a routing.
#[derive(Clone, Copy, Debug)]
pub struct LoadBalance<'a, R = f32> {
    /// What is counted, and the scale.
    pub calibration: Calibration,
    /// Tokens over which shares are taken; the loss is the mean over groups.
    pub group_tokens: usize,
    /// The routing.
    pub cache: RoutingCache<'a, R>,
    /// `[T]`: false for padding, which counts nowhere.
    pub real: Option<&'a [bool]>,
    /// Whether probabilities are sigmoids, which are divided by their sum first.
    sigmoid: bool,
}

impl<'a, R: Real> LoadBalance<'a, R> {
    /// The loss over all tokens as one group. Routers in which experts choose have none, and are an error.
    pub fn new(
        router: &Router,
        calibration: Calibration,
        cache: RoutingCache<'a, R>,
        real: Option<&'a [bool]>,
    ) -> Result<Self, RouterError> {
        check_length("probabilities", cache.probabilities.len(), cache.shape.logits_len())?;
        let slots = cache.shape.top_k.ok_or(RouterError::NotTokenChoice)?.saturating_mul(cache.shape.tokens);
        check_length("chosen experts", cache.chosen.len(), slots)?;
        real.map_or(Ok(()), |real| check_length("real tokens", real.len(), cache.shape.tokens))?;
        let sigmoid = matches!(router.config().policy, Policy::DeepSeekV3 { .. });
        Ok(Self { calibration, group_tokens: cache.shape.tokens, cache, real, sigmoid })
    }

    /// The values of `fractions` in forward and backward: `groups · E`.
    pub fn fractions_len(&self) -> usize {
        self.groups() * self.cache.shape.experts
    }

    fn groups(&self) -> usize {
        self.cache.shape.tokens.div_ceil(self.group_tokens.max(1))
    }

    /// The loss, without a coefficient; 0 without tokens. Writes `fractions` `[groups, E]`, the choices of each expert per token,
    /// counted before dropping.
    ///
    /// ```
    /// # use mixlet_core::moe::{*, balance::{Calibration, LoadBalance}};
    /// let router = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 }, ..RouterConfig::default() }.check().unwrap();
    /// let shape = router.shape(Phase::Train, 2).unwrap();
    /// let cache = RoutingCache { shape, probabilities: &[0.75, 0.25, 0.25, 0.75], chosen: &[0, 1] };
    /// let mut fractions = [f64::NAN; 2];
    /// let loss = LoadBalance::new(&router, Calibration::Switch, cache, None).unwrap();
    /// assert_eq!(loss.forward(&mut fractions), Ok(1.0)); // balanced
    /// assert_eq!(fractions, [0.5, 0.5]);
    /// ```
    #[inline(always)]
    pub fn forward(&self, fractions: &mut [R]) -> Result<R, RouterError> {
        check_length("fractions", fractions.len(), self.fractions_len())?;
        let experts = self.cache.shape.experts.max(1);
        let mut loss = R::ZERO;
        for (group, fractions) in rows_of_mut(fractions, experts).enumerate() {
            let number = self.count(group, fractions);
            let of_token = |token| self.shares_dot(token, fractions);
            let total = self.tokens(group).map(of_token).fold(R::ZERO, |sum, value| sum + value);
            loss += self.scale(number) * total;
        }
        Ok(loss)
    }

    /// Adds `coefficient · ∂loss/∂logits` `[T, E]`. `fractions` are forward's, and constants.
    ///
    /// ```
    /// # use mixlet_core::moe::{*, balance::{Calibration, LoadBalance}};
    /// let router = RouterConfig { experts: 2, policy: Policy::Flaxformer { top_k: 1 }, ..RouterConfig::default() }.check().unwrap();
    /// let shape = router.shape(Phase::Train, 1).unwrap();
    /// let cache = RoutingCache { shape, probabilities: &[0.75, 0.25], chosen: &[0] };
    /// let loss = LoadBalance::new(&router, Calibration::Switch, cache, None).unwrap();
    /// let mut grad_logits = [1.0, 0.0];
    /// loss.backward(&[1.0, 0.0], 2.0, &mut grad_logits).unwrap(); // coefficient · E · p · (f − Σ f · p)
    /// assert_eq!(grad_logits, [1.0 + 2.0 * 2.0 * 0.75 * 0.25, -2.0 * 2.0 * 0.25 * 0.75]);
    /// ```
    #[inline(always)]
    pub fn backward(
        &self,
        fractions: &[R],
        coefficient: R,
        grad_logits: &mut [R],
    ) -> Result<(), RouterError> {
        check_length("fractions", fractions.len(), self.fractions_len())?;
        check_length("gradients of logits", grad_logits.len(), self.cache.shape.logits_len())?;
        let experts = self.cache.shape.experts.max(1);
        for (group, fractions) in rows_of(fractions, experts).enumerate() {
            let scale = coefficient * self.scale(self.number(group));
            for token in self.tokens(group) {
                let row = nth_row(self.cache.probabilities, token, experts);
                let inner = self.shares_dot(token, fractions);
                let out = grad_logits.get_mut(token * experts..(token + 1) * experts).unwrap_or(&mut []);
                let inverse = if self.sigmoid { R::ONE / sum(row) } else { R::ONE };
                for ((out, &p), &fraction) in out.iter_mut().zip(row).zip(fractions) {
                    // Sigmoid: s' = s / Σ s, ∂/∂s = (f − ⟨f, s'⟩) / Σ s.
                    let slope = if self.sigmoid { p * (R::ONE - p) * inverse } else { p };
                    *out += scale * slope * (fraction - inner);
                }
            }
        }
        Ok(())
    }

    /// Writes choices per token; returns the number of tokens.
    #[inline(always)]
    fn count(&self, group: usize, fractions: &mut [R]) -> usize {
        let top_k = self.cache.shape.top_k.unwrap_or(1);
        let first_only =
            matches!(self.calibration, Calibration::Switch | Calibration::Mesh | Calibration::GShardPaper);
        let counted = if first_only { 1 } else { top_k };
        fractions.fill(R::ZERO);
        let number = self.number(group);
        for token in self.tokens(group) {
            for &expert in nth_row(self.cache.chosen, token, top_k).iter().take(counted) {
                if let Some(fraction) = fractions.get_mut(expert as usize) {
                    *fraction += R::ONE;
                }
            }
        }
        let share = R::ONE / R::from_f64(number.max(1) as f64);
        fractions.iter_mut().for_each(|fraction| *fraction *= share);
        number
    }

    /// What a group's sums are divided by to be shares: the number of its real tokens, or of all.
    #[inline(always)]
    fn number(&self, group: usize) -> usize {
        match self.calibration {
            Calibration::Mesh => self.all_tokens(group).len(),
            _ => self.tokens(group).count(),
        }
    }

    /// The real tokens of a group.
    #[inline(always)]
    fn tokens(&self, group: usize) -> impl Iterator<Item = usize> {
        self.all_tokens(group).filter(|&token| is_real(self.real, token))
    }

    fn all_tokens(&self, group: usize) -> Range<usize> {
        let start = group * self.group_tokens;
        start..(start + self.group_tokens).min(self.cache.shape.tokens)
    }

    /// `Σ_e f_e · p_e` of a token.
    #[inline(always)]
    fn shares_dot(&self, token: usize, fractions: &[R]) -> R {
        let row = nth_row(self.cache.probabilities, token, self.cache.shape.experts);
        let inner = dot(row, fractions);
        if self.sigmoid { inner / sum(row) } else { inner }
    }

    /// What a group's `Σ_t Σ_e f_e · p_te` is multiplied by.
    fn scale(&self, number: usize) -> R {
        let (experts, top_k) = (self.cache.shape.experts as f64, self.cache.shape.top_k.unwrap_or(1) as f64);
        let calibration = match self.calibration {
            Calibration::Switch | Calibration::Mesh | Calibration::Flaxformer => 1.0,
            Calibration::GShardPaper => 1.0 / (experts * experts),
            Calibration::TopK => 1.0 / top_k,
            Calibration::MegaBlocks { layers } => 1.0 / (top_k * f64::from(layers.max(1))),
        };
        R::from_f64(calibration * experts / (number.max(1) * self.groups()) as f64)
    }
}

/// The loss of mesh-tensorflow's expert choice over tokens: `T · Σ_t a_t²`, `a_t` the mean over experts of the share
/// that each gives token `t`; 1 where all tokens are equally wanted. The mean over groups; writes `a` `[T]`.
///
/// ```
/// # use mixlet_core::moe::{*, balance::selection_loss_forward};
/// let config = RouterConfig { experts: 1, policy: Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
///     capacity: CapacityRule::Fixed(ByPhase::both(1)), ..RouterConfig::default() };
/// let shape = config.check().unwrap().shape(Phase::Train, 2).unwrap();
/// let cache = RoutingCache { shape, probabilities: &[0.5, 0.5], chosen: &[0] };
/// assert_eq!(selection_loss_forward(&cache, &mut [f64::NAN; 2]), Ok(1.0));
/// ```
#[inline(always)]
pub fn selection_loss_forward<R: Real>(
    cache: &RoutingCache<'_, R>,
    aggregates: &mut [R],
) -> Result<R, RouterError> {
    let shape = cache.shape;
    check_length("probabilities", cache.probabilities.len(), shape.logits_len())?;
    check_length("aggregates", aggregates.len(), shape.tokens)?;
    let share = R::from_f64(1.0 / shape.experts.max(1) as f64);
    for (aggregate, row) in aggregates.iter_mut().zip(rows_of(cache.probabilities, shape.experts)) {
        *aggregate = share * sum(row);
    }
    let mut loss = R::ZERO;
    for (nth, group) in blocks_of(aggregates, shape.group_tokens).enumerate() {
        loss += selection_scale(cache, nth) * dot(group, group);
    }
    Ok(loss)
}

/// Tokens of a group that are not padding (these have no probability at any expert), over the number of groups.
#[inline(always)]
fn selection_scale<R: Real>(cache: &RoutingCache<'_, R>, group: usize) -> R {
    let shape = cache.shape;
    let rows = nth_row(cache.probabilities, group, shape.group_tokens.saturating_mul(shape.experts));
    let real = rows_of(rows, shape.experts).filter(|row| row.iter().any(|&p| p > R::ZERO));
    R::from_f64(real.count() as f64 / shape.groups().max(1) as f64)
}

/// Adds `coefficient · ∂/∂z` of [`selection_loss_forward`]. `scratch` is `[T, E]`.
///
/// ```
/// # use mixlet_core::moe::{*, balance::selection_loss_backward};
/// let config = RouterConfig { experts: 1, policy: Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
///     capacity: CapacityRule::Fixed(ByPhase::both(1)), ..RouterConfig::default() };
/// let shape = config.check().unwrap().shape(Phase::Train, 2).unwrap();
/// let cache = RoutingCache { shape, probabilities: &[0.75, 0.25], chosen: &[0] };
/// let (mut grad_logits, mut scratch) = ([0.0; 2], [f64::NAN; 2]);
/// selection_loss_backward(&cache, &[0.75, 0.25], 1.0, &mut grad_logits, &mut scratch).unwrap();
/// assert_eq!(grad_logits, [0.375, -0.375]); // 2 · T · p · (p − Σ p²)
/// ```
#[inline(always)]
pub fn selection_loss_backward<R: Real>(
    cache: &RoutingCache<'_, R>,
    aggregates: &[R],
    coefficient: R,
    grad_logits: &mut [R],
    scratch: &mut [R],
) -> Result<(), RouterError> {
    let shape = cache.shape;
    check_length("probabilities", cache.probabilities.len(), shape.logits_len())?;
    check_length("aggregates", aggregates.len(), shape.tokens)?;
    check_length("gradients of logits", grad_logits.len(), shape.logits_len())?;
    check_length("scratch", scratch.len(), shape.logits_len())?;
    let groups = blocks_of_mut(scratch, shape.group_tokens.saturating_mul(shape.experts));
    for (nth, (rows, group)) in groups.zip(blocks_of(aggregates, shape.group_tokens)).enumerate() {
        let scale =
            R::from_f64(2.0 / shape.experts.max(1) as f64) * coefficient * selection_scale(cache, nth);
        for (row, &aggregate) in rows_of_mut(rows, shape.experts).zip(group) {
            row.fill(scale * aggregate);
        }
    }
    through_columns(shape.experts, shape.group_tokens, cache.probabilities, scratch);
    grad_logits.iter_mut().zip(scratch.iter()).for_each(|(grad, &value)| *grad += value);
    Ok(())
}

/// DeepSeek-V3's balancing without a loss, after each step: `bias[e] += rate · sign(mean load − load[e])`.
///
/// ```
/// # use mixlet_core::moe::balance::update_bias;
/// let mut bias = [0.0_f32; 3];
/// update_bias(&mut bias, &[6, 2, 4], 0.5).unwrap();
/// assert_eq!(bias, [-0.5, 0.5, 0.0]);
/// ```
pub fn update_bias<R: Real>(bias: &mut [R], expert_load: &[u32], rate: R) -> Result<(), RouterError> {
    check_length("bias", bias.len(), expert_load.len())?;
    let total: u64 = expert_load.iter().map(|&load| u64::from(load)).sum();
    let experts = bias.len() as u64;
    for (bias, &load) in bias.iter_mut().zip(expert_load) {
        match (u64::from(load) * experts).cmp(&total) {
            core::cmp::Ordering::Less => *bias += rate,
            core::cmp::Ordering::Greater => *bias += -rate,
            core::cmp::Ordering::Equal => {}
        }
    }
    Ok(())
}
