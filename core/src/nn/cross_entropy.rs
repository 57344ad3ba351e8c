//! Softmax cross entropy over the vocabulary, with T5's z-loss, label smoothing and a loss mask.

use super::error::{check_length, check_setting};
use super::{NnError, Real};
use crate::lanes::{largest, sum_of};

/// A label that is not learned from (−100 in transformers).
pub const IGNORED: u32 = u32::MAX;

/// How probability is taken from the label and given to others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum LabelSmoothing {
    /// None is.
    #[default]
    None,
    /// `ε / vocab` for every id, the label too (PyTorch, transformers). The best loss is above 0.
    AllIds(f64),
    /// `ε / (vocab − 1)` for every id but the label, and the entropy of this target taken off (T5X): the best loss is 0.
    OtherIds(f64),
}

/// What the sum over tokens is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Reduction {
    /// The total weight of the tokens learned from; 0 if there are none.
    #[default]
    Mean,
    /// Nothing.
    Sum,
    /// A given number: the total weight of a batch that is done in parts.
    Over(f64),
}

/// Settings of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CrossEntropy {
    /// Ids: the width of the logits.
    pub vocab: usize,
    /// Logits are multiplied by this first; 1, or [`tied_output_scale`](super::tied_output_scale) in T5 with tied embeddings.
    pub logit_scale: f64,
    /// Probability taken from the label.
    pub label_smoothing: LabelSmoothing,
    /// `z_loss · ln²(Σ eˡᵒᵍⁱᵗ)` is added per token; 1e-4 in T5X.
    pub z_loss: f64,
    /// What the sum is divided by.
    pub reduction: Reduction,
}

impl CrossEntropy {
    /// The plain mean cross entropy.
    pub fn plain(vocab: usize) -> Self {
        let (label_smoothing, reduction) = (LabelSmoothing::None, Reduction::Mean);
        Self { vocab, logit_scale: 1.0, label_smoothing, z_loss: 0.0, reduction }
    }
}

/// What is to be predicted.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[tokens]`: ids, or [`IGNORED`].
    pub labels: &'a [u32],
    /// `[tokens]`: weight of each token; all 1 if absent.
    pub loss_mask: Option<&'a [f32]>,
}

/// The parts of a loss, each divided as the reduction says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Cross entropy, in nats.
    pub cross_entropy: f64,
    /// The z-loss, times its coefficient.
    pub z_loss: f64,
    /// Total weight of the tokens learned from.
    pub weight: f64,
}

impl Loss {
    /// Cross entropy + z-loss: what the gradient is of.
    pub fn total(&self) -> f64 {
        self.cross_entropy + self.z_loss
    }
}

/// The loss of logits `[tokens, vocab]`.
///
/// Per token, with `l = logit_scale · logits`, `Z = Σ eˡ` and target `t`: `ln Z − Σ t·l + z_loss · ln² Z`.
/// A token whose loss is not finite is an error, unless its weight is 0; −∞ takes an id out of the vocabulary.
///
/// ```
/// # use mixlet_core::nn::{cross_entropy_forward, CrossEntropy, Targets, IGNORED};
/// let targets = Targets { labels: &[1, IGNORED], loss_mask: None };
/// let loss = cross_entropy_forward(CrossEntropy::plain(2), targets, &[0.0, 3f64.ln(), 5.0, 5.0])?;
/// assert!((loss.total() - (4f64 / 3.0).ln()).abs() < 1e-12);
/// assert_eq!(loss.weight, 1.0);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn cross_entropy_forward<R: Real>(
    settings: CrossEntropy,
    targets: Targets<'_>,
    logits: &[R],
) -> Result<Loss, NnError> {
    let target = check(settings, targets, logits.len())?;
    let mut sums = Loss::default();
    for (token, logits) in logits.chunks_exact(settings.vocab.max(1)).enumerate() {
        if let Some((label, weight)) = targets.of(token) {
            let row = Row::new(settings, logits);
            sums =
                sums.plus(row.loss(settings, target, label), weight).ok_or(NnError::NonFinite { token })?;
        }
    }
    Ok(sums.divided(settings.reduction))
}

/// The same loss, and its gradient in place of the logits: `grad = (softmax(l) · (1 + 2 · z_loss · ln Z) − t) · logit_scale`,
/// times the token's weight, divided as the reduction says. Tokens that are not learned from get zeros.
///
/// In place, because with a large vocabulary nothing in a training step is larger. After an error the logits are neither
/// one nor the other.
///
/// ```
/// # use mixlet_core::nn::*;
/// let targets = Targets { labels: &[0, IGNORED], loss_mask: None };
/// let mut logits = [0.0, 0.0, 7.0, 1.0];
/// let loss = cross_entropy_backward(CrossEntropy::plain(2), targets, &mut logits)?;
/// assert!((loss.cross_entropy - core::f64::consts::LN_2).abs() < 1e-12);
/// assert_eq!(logits, [-0.5, 0.5, 0.0, 0.0]); // the second label is ignored
/// # Ok::<(), NnError>(())
/// ```
#[inline(always)]
pub fn cross_entropy_backward<R: Real>(
    settings: CrossEntropy,
    targets: Targets<'_>,
    logits: &mut [R],
) -> Result<Loss, NnError> {
    let target = check(settings, targets, logits.len())?;
    let mut sums = Loss::default();
    let share = settings.reduction.share(targets.weight());
    for (token, logits) in logits.chunks_exact_mut(settings.vocab.max(1)).enumerate() {
        let Some((label, weight)) = targets.of(token) else {
            logits.fill(R::ZERO);
            continue;
        };
        let row = Row::new(settings, logits);
        sums = sums.plus(row.loss(settings, target, label), weight).ok_or(NnError::NonFinite { token })?;
        let (log_sum, z_slope) = (row.log_sum, row.z_slope(settings));
        let scale = weight * share * settings.logit_scale;
        let [at_all, slope, log_sum, logit_scale] =
            [target.others * scale, z_slope * scale, log_sum, settings.logit_scale].map(R::from_f64);
        for logit in logits.iter_mut() {
            *logit = (*logit * logit_scale - log_sum).exp() * slope - at_all;
        }
        if let Some(grad) = logits.get_mut(label) {
            *grad += R::from_f64(-(target.label - target.others) * scale);
        }
    }
    Ok(sums.divided(settings.reduction))
}

/// The target's probabilities, and its entropy where that is taken off.
#[derive(Clone, Copy)]
struct Target {
    label: f64,
    others: f64,
    entropy: f64,
}

impl LabelSmoothing {
    fn target(self, vocab: usize) -> Result<Target, NnError> {
        let (Self::AllIds(rate) | Self::OtherIds(rate)) = self else {
            return Ok(Target { label: 1.0, others: 0.0, entropy: 0.0 });
        };
        check_setting("label smoothing", rate, (0.0..1.0).contains(&rate), "a number of [0, 1)")?;
        if let Self::AllIds(rate) = self {
            let others = rate / vocab as f64;
            return Ok(Target { label: 1.0 - rate + others, others, entropy: 0.0 });
        }
        let count = vocab.saturating_sub(1) as f64;
        let others = if count > 0.0 { rate / count } else { 0.0 };
        let label = 1.0 - count * others;
        let part = |p: f64| if p > 0.0 { -p * libm::log(p) } else { 0.0 };
        Ok(Target { label, others, entropy: part(label) + count * part(others) })
    }
}

impl Reduction {
    fn share(self, weight: f64) -> f64 {
        match self {
            Self::Mean if weight > 0.0 => 1.0 / weight,
            Self::Mean => 0.0,
            Self::Sum => 1.0,
            Self::Over(total) => 1.0 / total,
        }
    }
}

impl Targets<'_> {
    /// Label and weight of a token that is learned from.
    #[inline(always)]
    fn of(&self, token: usize) -> Option<(usize, f64)> {
        let label = *self.labels.get(token)?;
        let weight =
            self.loss_mask.map_or(1.0, |mask| mask.get(token).map_or(0.0, |weight| f64::from(*weight)));
        (label != IGNORED && weight != 0.0).then_some((label as usize, weight))
    }

    /// The total weight, as [`Reduction::Mean`] divides by.
    ///
    /// ```
    /// # use mixlet_core::nn::{Targets, IGNORED};
    /// let targets = Targets { labels: &[3, IGNORED, 5], loss_mask: Some(&[0.5, 1.0, 1.0]) };
    /// assert_eq!(targets.weight(), 1.5);
    /// ```
    pub fn weight(&self) -> f64 {
        (0..self.labels.len()).filter_map(|token| self.of(token)).map(|(_, weight)| weight).sum()
    }
}

impl Loss {
    /// With a token more; none if its loss is not finite.
    fn plus(self, [cross_entropy, z_loss]: [f64; 2], weight: f64) -> Option<Self> {
        (weight * (cross_entropy + z_loss)).is_finite().then_some(Self {
            cross_entropy: self.cross_entropy + weight * cross_entropy,
            z_loss: self.z_loss + weight * z_loss,
            weight: self.weight + weight,
        })
    }

    fn divided(self, reduction: Reduction) -> Self {
        let share = reduction.share(self.weight);
        Self { cross_entropy: self.cross_entropy * share, z_loss: self.z_loss * share, weight: self.weight }
    }
}

/// The logits of one token.
struct Row<'a, R> {
    logits: &'a [R],
    /// `ln Z`.
    log_sum: f64,
}

impl<'a, R: Real> Row<'a, R> {
    #[inline(always)]
    fn new(settings: CrossEntropy, logits: &'a [R]) -> Self {
        let scale = R::from_f64(settings.logit_scale);
        let highest = largest(logits) * scale;
        let sum = sum_of(logits, |logit| (logit * scale - highest).exp());
        Self { logits, log_sum: highest.to_f64() + libm::log(sum.to_f64()) }
    }

    /// `1 + 2 · z_loss · ln Z`: the derivative of cross entropy and z-loss by `ln Z`.
    fn z_slope(&self, settings: CrossEntropy) -> f64 {
        1.0 + 2.0 * settings.z_loss * self.log_sum
    }

    /// Cross entropy and z-loss.
    #[inline(always)]
    fn loss(&self, settings: CrossEntropy, target: Target, label: usize) -> [f64; 2] {
        let of_label = self.logits.get(label).map_or(0.0, |logit| logit.to_f64());
        let of_all = if target.others == 0.0 { 0.0 } else { sum_of(self.logits, |logit| logit).to_f64() };
        let expected = (target.label - target.others) * of_label + target.others * of_all;
        let cross_entropy = self.log_sum - settings.logit_scale * expected - target.entropy;
        [cross_entropy, settings.z_loss * self.log_sum * self.log_sum]
    }
}

fn check(settings: CrossEntropy, targets: Targets<'_>, logits: usize) -> Result<Target, NnError> {
    check_length("logits", logits, targets.labels.len() * settings.vocab)?;
    let scale = settings.logit_scale;
    check_setting("logit scale", scale, scale > 0.0 && scale.is_finite(), "a positive number")?;
    if let Some(mask) = targets.loss_mask {
        check_length("loss mask", mask.len(), targets.labels.len())?;
    }
    if let Reduction::Over(total) = settings.reduction {
        check_setting("the loss's divisor", total, total > 0.0, "a positive number")?;
    }
    let beyond = |label: u32| label != IGNORED && label as usize >= settings.vocab;
    match targets.labels.iter().enumerate().find(|(_, label)| beyond(**label)) {
        Some((token, &id)) => Err(NnError::Id { token, id, vocab: settings.vocab }),
        None => settings.label_smoothing.target(settings.vocab),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_learn_from_costs_nothing() {
        let targets = Targets { labels: &[IGNORED, 1], loss_mask: Some(&[1.0, 0.0]) };
        let mut logits = [1.0, 2.0, f64::NAN, 4.0];
        let loss = cross_entropy_backward(CrossEntropy::plain(2), targets, &mut logits).unwrap();
        assert_eq!((loss, logits), (Loss::default(), [0.0; 4]));
    }

    #[test]
    fn the_best_smoothed_loss_is_zero_where_its_entropy_is_taken_off() {
        let settings =
            CrossEntropy { label_smoothing: LabelSmoothing::OtherIds(0.2), ..CrossEntropy::plain(5) };
        let best = [libm::log(0.05), libm::log(0.05), libm::log(0.8), libm::log(0.05), libm::log(0.05)];
        let loss = cross_entropy_forward(settings, Targets { labels: &[2], loss_mask: None }, &best).unwrap();
        assert!(libm::fabs(loss.total()) < 1e-15);
    }

    #[test]
    fn a_loss_names_what_is_wrong() {
        let good = CrossEntropy::plain(2);
        let setting = |what, value, expected| Err(NnError::Setting { what, value, expected });
        let rate = "a number of [0, 1)";
        let smoothed = |label_smoothing| CrossEntropy { label_smoothing, ..good };
        struct Case<'a> {
            settings: CrossEntropy,
            labels: &'a [u32],
            logits: &'a [f64],
            expected: Result<(), NnError>,
        }
        let (labels, logits) = (&[0, 1][..], &[0.0; 4][..]);
        let cases = [
            Case { settings: good, labels, logits, expected: Ok(()) },
            Case { settings: good, labels, logits: &[0.0, 0.0, f64::NEG_INFINITY, 0.0], expected: Ok(()) },
            Case {
                settings: good,
                labels: &[0, 2],
                logits,
                expected: Err(NnError::Id { token: 1, id: 2, vocab: 2 }),
            },
            Case {
                settings: good,
                labels,
                logits: &[0.0; 3],
                expected: Err(NnError::Length { what: "logits", found: 3, expected: 4 }),
            },
            Case {
                settings: good,
                labels,
                logits: &[0.0, 0.0, f64::NAN, 0.0],
                expected: Err(NnError::NonFinite { token: 1 }),
            },
            Case {
                settings: good,
                labels,
                logits: &[0.0, f64::INFINITY, 0.0, 0.0],
                expected: Err(NnError::NonFinite { token: 0 }),
            },
            Case {
                settings: good,
                labels,
                logits: &[f64::NEG_INFINITY, 0.0, 0.0, 0.0],
                expected: Err(NnError::NonFinite { token: 0 }),
            },
            Case {
                settings: smoothed(LabelSmoothing::AllIds(1.0)),
                labels,
                logits,
                expected: setting("label smoothing", 1.0, rate),
            },
            Case {
                settings: smoothed(LabelSmoothing::OtherIds(-0.1)),
                labels,
                logits,
                expected: setting("label smoothing", -0.1, rate),
            },
            Case {
                settings: CrossEntropy { logit_scale: 0.0, ..good },
                labels,
                logits,
                expected: setting("logit scale", 0.0, "a positive number"),
            },
            Case {
                settings: CrossEntropy { reduction: Reduction::Over(0.0), ..good },
                labels,
                logits,
                expected: setting("the loss's divisor", 0.0, "a positive number"),
            },
        ];
        for Case { settings, labels, logits, expected } in cases {
            let targets = Targets { labels, loss_mask: None };
            let mut memory = [0.0; 4];
            let gradient = memory.get_mut(..logits.len()).unwrap();
            gradient.copy_from_slice(logits);
            assert_eq!(
                cross_entropy_forward(settings, targets, logits).map(drop),
                expected,
                "{settings:?} {logits:?}"
            );
            let found = cross_entropy_backward(settings, targets, gradient);
            assert_eq!(found.map(drop), expected, "{settings:?} {logits:?}");
        }
    }
}
