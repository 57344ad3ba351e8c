//! Adafactor: second moments of a matrix kept as one number per row and one per column.
//!
//! Shazeer & Stern 2018 (arXiv:1804.04235). Settings cover T5X (the default) and transformers. Experts' matrices lie in
//! one tensor `[experts, rows, columns]`, each factored on its own.

use super::adamw::single;
use super::error::{check_length, check_rate, check_setting, check_size};
use super::root::inverse_root;
use super::{DecayRule, OptimError, Step};
use crate::lanes::{dot, sum_of, sum_of_pairs};

/// What update clipping and the parameter scale average over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Averaging {
    /// Each expert's matrix (T5X).
    #[default]
    Matrix,
    /// The whole tensor (transformers).
    Tensor,
}

/// Settings of Adafactor.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Adafactor {
    /// Second moments decay by `1 − t^(−decay_rate)` at step `t`.
    pub decay_rate: f64,
    /// Added to squared gradients; positive.
    pub epsilon_square: f64,
    /// The least parameter scale.
    pub epsilon_scale: f64,
    /// Updates whose root mean square is larger are scaled down to it.
    pub clip_threshold: Option<f64>,
    /// Whether the learning rate is multiplied by the root mean square of the weights.
    pub parameter_scale: bool,
    /// Decay of the mean of updates; none keeps no such mean.
    pub momentum: Option<f64>,
    /// Weight decay.
    pub weight_decay: f64,
    /// What it takes off; `TimesLr` means the learning rate after the parameter scale.
    pub decay_rule: DecayRule,
    /// What clipping and scale average over.
    pub averaging: Averaging,
}

impl Default for Adafactor {
    /// T5X's, which T5 and Switch models were trained with.
    fn default() -> Self {
        Self {
            decay_rate: 0.8,
            epsilon_square: 1e-30,
            epsilon_scale: 1e-3,
            clip_threshold: Some(1.0),
            parameter_scale: true,
            momentum: None,
            weight_decay: 0.0,
            decay_rule: DecayRule::Alone,
            averaging: Averaging::Matrix,
        }
    }
}

/// A tensor `[experts, rows, columns]`, and whether its second moments are factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdafactorShape {
    /// Matrices, each on its own; 1 without experts.
    pub experts: usize,
    /// Rows of a matrix.
    pub rows: usize,
    /// Columns of a matrix.
    pub columns: usize,
    /// Whether a matrix has `rows + columns` second moments rather than `rows · columns`.
    pub factored: bool,
}

impl AdafactorShape {
    /// A vector, or a router: not factored.
    pub fn plain(len: usize) -> Self {
        Self { experts: 1, rows: 1, columns: len, factored: false }
    }

    /// A matrix: factored if neither side is below 128, as in T5X (transformers factors every matrix).
    pub fn matrix(rows: usize, columns: usize) -> Self {
        Self { experts: 1, rows, columns, factored: rows.min(columns) >= 128 }
    }

    /// The matrices of experts: factored whatever their size, as in T5X.
    pub fn of_experts(experts: usize, rows: usize, columns: usize) -> Self {
        Self { experts, rows, columns, factored: true }
    }

    /// Values of the tensor.
    pub fn len(&self) -> usize {
        self.experts * self.matrix_len()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn matrix_len(&self) -> usize {
        self.rows * self.columns
    }

    /// Second moments of one matrix.
    fn moments_len(&self) -> usize {
        if self.factored { self.rows + self.columns } else { self.matrix_len() }
    }
}

/// Values of state for a tensor, zeros at first: matrix by matrix the second moments (rows, then columns, where factored),
/// then the mean of updates if there is momentum.
///
/// ```
/// # use mixlet_core::optim::{adafactor_state_len, Adafactor, AdafactorShape};
/// let (plain, shape) = (Adafactor::default(), AdafactorShape::of_experts(8, 100, 40));
/// assert_eq!(adafactor_state_len(plain, shape), 8 * 140);
/// assert_eq!(adafactor_state_len(Adafactor { momentum: Some(0.9), ..plain }, shape), 8 * 140 + 8 * 4000);
/// ```
pub fn adafactor_state_len(adafactor: Adafactor, shape: AdafactorShape) -> usize {
    let momentum = if adafactor.momentum.is_some() { shape.len() } else { 0 };
    shape.experts * shape.moments_len() + momentum
}

/// What Adafactor remembers of a tensor, and memory to work in.
#[derive(Debug)]
pub struct AdafactorMemory<'a> {
    /// [`adafactor_state_len`] values, zeros at first.
    pub state: &'a mut [f32],
    /// [`adafactor_scratch_len`] values.
    pub scratch: &'a mut [f32],
}

/// Values of scratch that [`adafactor_step`] needs.
pub fn adafactor_scratch_len(shape: AdafactorShape) -> usize {
    2 * shape.columns
}

/// One step of a tensor.
///
/// `R ← β·R + (1 − β)·mean_columns(g² + ε₁)`, `C` likewise over rows, `β = 1 − t^(−decay_rate)`;
/// `u = g / √(R·C / mean R)`, or `g / √V` where not factored; `u ← u / max(1, rms(u) / clip)`;
/// `w ← w − lr · max(ε₂, rms(w)) · u`, through a mean of such updates if there is momentum.
///
/// ```
/// # use mixlet_core::optim::{adafactor_step, Adafactor, AdafactorMemory, AdafactorShape, Step};
/// // After one step u is the gradient's sign, of root mean square 1; the weights' is 2.
/// let mut weights = [2.0, -2.0];
/// let memory = AdafactorMemory { state: &mut [0.0; 2], scratch: &mut [0.0; 4] };
/// let step = Step { number: 1, lr: 0.01, grad_scale: 1.0 };
/// let shape = AdafactorShape::plain(2);
/// adafactor_step(Adafactor::default(), step, shape, &mut weights, &[5.0, 0.3], memory)?;
/// assert!((weights[0] - 1.98f32).abs() < 1e-6 && (weights[1] + 2.02).abs() < 1e-6);
/// # Ok::<(), mixlet_core::optim::OptimError>(())
/// ```
#[inline(always)]
pub fn adafactor_step(
    adafactor: Adafactor,
    step: Step,
    shape: AdafactorShape,
    weights: &mut [f32],
    grads: &[f32],
    memory: AdafactorMemory<'_>,
) -> Result<(), OptimError> {
    let AdafactorMemory { state, scratch } = memory;
    adafactor.check()?;
    step.check()?;
    check_length("weights", weights.len(), shape.len())?;
    check_length("gradients", grads.len(), shape.len())?;
    check_length("Adafactor's state", state.len(), adafactor_state_len(adafactor, shape))?;
    check_length("scratch", scratch.len(), adafactor_scratch_len(shape))?;
    let kernel = Kernel { adafactor, step, shape };
    let matrices = match adafactor.averaging {
        Averaging::Matrix => 1,
        Averaging::Tensor => shape.experts,
    };
    let (len, moments_len) = (matrices * shape.matrix_len(), matrices * shape.moments_len());
    let moments_end = shape.experts * shape.moments_len();
    let Some((moments, momentum)) = state.split_at_mut_checked(moments_end) else { return Ok(()) };
    let mut means = momentum.chunks_exact_mut(len.max(1));
    let parts = moments.chunks_exact_mut(moments_len.max(1)).zip(grads.chunks_exact(len.max(1)));
    for ((moments, grads), weights) in parts.zip(weights.chunks_exact_mut(len.max(1))) {
        kernel.average(grads, moments);
        let update = kernel.update(weights, grads, moments, scratch);
        kernel.apply(update, weights, means.next(), (grads, moments), scratch);
    }
    Ok(())
}

impl Adafactor {
    fn check(&self) -> Result<(), OptimError> {
        let positive = |what, value: f64| {
            check_setting(what, value, value > 0.0 && value.is_finite(), "a positive number")
        };
        positive("decay rate", self.decay_rate)?;
        positive("epsilon of squares", self.epsilon_square)?;
        check_size("epsilon of the scale", self.epsilon_scale)?;
        positive("clip threshold", self.clip_threshold.unwrap_or(1.0))?;
        check_rate("momentum", self.momentum.unwrap_or(0.0))?;
        check_size("weight decay", self.weight_decay)
    }
}

/// What every matrix of a step shares.
struct Kernel {
    adafactor: Adafactor,
    step: Step,
    shape: AdafactorShape,
}

/// Factors of an update: `w ← keep · w − size · u`.
struct Update {
    size: f64,
    keep: f64,
}

impl Kernel {
    /// Adds squared gradients to the second moments of every matrix.
    #[inline(always)]
    fn average(&self, grads: &[f32], moments: &mut [f32]) {
        let AdafactorShape { rows, columns, factored, .. } = self.shape;
        let mix = libm::pow(f64::from(self.step.number), -self.adafactor.decay_rate);
        let [keep, mix, epsilon, scale] =
            [1.0 - mix, mix, self.adafactor.epsilon_square, self.step.grad_scale].map(single);
        let square = |grad: f32| (grad * scale) * (grad * scale) + epsilon;
        let matrices = moments.chunks_exact_mut(self.shape.moments_len().max(1));
        for (moments, grads) in matrices.zip(grads.chunks_exact(self.shape.matrix_len().max(1))) {
            if !factored {
                moments.iter_mut().zip(grads).for_each(|(v, grad)| *v = keep * *v + mix * square(*grad));
                continue;
            }
            let Some((of_rows, of_columns)) = moments.split_at_mut_checked(rows) else { return };
            let [row_mix, column_mix] = [columns, rows].map(|count| mix / count as f32);
            of_columns.iter_mut().for_each(|v| *v *= keep);
            for (of_row, grads) in of_rows.iter_mut().zip(grads.chunks_exact(columns.max(1))) {
                *of_row = keep * *of_row + row_mix * sum_of(grads, square);
                of_columns.iter_mut().zip(grads).for_each(|(v, grad)| *v += column_mix * square(*grad));
            }
        }
    }

    /// The size of the update of some matrices: learning rate, parameter scale and clipping.
    #[inline(always)]
    fn update(&self, weights: &[f32], grads: &[f32], moments: &[f32], scratch: &mut [f32]) -> Update {
        let Adafactor { clip_threshold, parameter_scale, epsilon_scale, .. } = self.adafactor;
        let (count, scale) = (weights.len() as f64, single(self.step.grad_scale));
        let rms = |squares: f64| libm::sqrt(squares / count);
        let mut lr = self.step.lr;
        if parameter_scale {
            let squares = weights.chunks(self.shape.columns.max(1)).map(|row| f64::from(dot(row, row))).sum();
            lr *= rms(squares).max(epsilon_scale);
        }
        let mut size = lr;
        if let Some(threshold) = clip_threshold {
            let (mut squares, mut grads) = (0.0, grads.chunks_exact(self.shape.columns.max(1)));
            self.for_each_row(moments, scratch, |inverse_roots| {
                let grads = grads.next().unwrap_or_default();
                let square = |grad: f32, root: f32| (grad * scale * root) * (grad * scale * root);
                squares += f64::from(sum_of_pairs(grads, inverse_roots, square));
            });
            size /= (rms(squares) / threshold).max(1.0);
        }
        Update { size, keep: self.adafactor.decay_rule.keep(self.adafactor.weight_decay, lr) }
    }

    /// Changes the weights of some matrices, and the means of their updates.
    #[inline(always)]
    fn apply(
        &self,
        update: Update,
        weights: &mut [f32],
        means: Option<&mut [f32]>,
        (grads, moments): (&[f32], &[f32]),
        scratch: &mut [f32],
    ) {
        let columns = self.shape.columns.max(1);
        let [size, keep] = [update.size * self.step.grad_scale, update.keep].map(single);
        let beta = self.adafactor.momentum.unwrap_or(0.0);
        let [beta, mix] = [beta, 1.0 - beta].map(single);
        let mut rows = weights.chunks_exact_mut(columns).zip(grads.chunks_exact(columns));
        let mut means = means.unwrap_or_default().chunks_exact_mut(columns);
        self.for_each_row(moments, scratch, |inverse_roots| {
            let Some((weights, grads)) = rows.next() else { return };
            let row = weights.iter_mut().zip(grads).zip(inverse_roots);
            match means.next() {
                Some(means) => row.zip(means).for_each(|(((weight, grad), root), mean)| {
                    *mean = beta * *mean + mix * (size * (*grad * *root));
                    *weight = keep * *weight - *mean;
                }),
                None => {
                    row.for_each(|((weight, grad), root)| *weight = keep * *weight - size * (*grad * *root))
                }
            }
        });
    }

    /// Calls `visit` with `1 / √(second moment)` of every row of some matrices, in order. It is called in one place
    /// only: else it would not be inlined, and stay without wide vectors.
    #[inline(always)]
    fn for_each_row(&self, moments: &[f32], scratch: &mut [f32], mut visit: impl FnMut(&[f32])) {
        let AdafactorShape { rows, columns, factored, .. } = self.shape;
        let Some((of_columns, line)) = scratch.split_at_mut_checked(columns) else { return };
        for moments in moments.chunks_exact(self.shape.moments_len().max(1)) {
            let of_rows = if factored { rows } else { 0 };
            let Some((row_moments, column_moments)) = moments.split_at_checked(of_rows) else { return };
            let mean = f64::from(sum_of(row_moments, |v| v)) / rows as f64;
            if factored {
                inverse_roots(column_moments, of_columns);
            }
            for row in 0..rows {
                if let Some(v) = row_moments.get(row) {
                    let of_row = single(libm::sqrt(mean / f64::from(*v)));
                    line.iter_mut().zip(&*of_columns).for_each(|(out, of_column)| *out = of_row * *of_column);
                } else {
                    inverse_roots(
                        column_moments.chunks_exact(columns.max(1)).nth(row).unwrap_or_default(),
                        line,
                    );
                }
                visit(line);
            }
        }
    }
}

#[inline(always)]
fn inverse_roots(values: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = inverse_root(*value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_setting_and_length_is_its_own_error() {
        let good = Adafactor::default();
        let setting = |what, value, expected| Err(OptimError::Setting { what, value, expected });
        let length = |what, found, expected| Err(OptimError::Length { what, found, expected });
        let (positive, rate) = ("a positive number", "a number of [0, 1)");
        let cases = [
            (good, Ok(())),
            (Adafactor { decay_rate: 0.0, ..good }, setting("decay rate", 0.0, positive)),
            (Adafactor { epsilon_square: 0.0, ..good }, setting("epsilon of squares", 0.0, positive)),
            (Adafactor { clip_threshold: Some(-1.0), ..good }, setting("clip threshold", -1.0, positive)),
            (Adafactor { momentum: Some(1.0), ..good }, setting("momentum", 1.0, rate)),
            (Adafactor { momentum: Some(0.5), ..good }, length("Adafactor's state", 5, 11)),
        ];
        let (step, shape) =
            (Step { number: 1, lr: 0.1, grad_scale: 1.0 }, AdafactorShape::of_experts(1, 2, 3));
        for (adafactor, expected) in cases {
            let memory = AdafactorMemory { state: &mut [0.0; 5], scratch: &mut [0.0; 6] };
            let found = adafactor_step(adafactor, step, shape, &mut [1.0; 6], &[1.0; 6], memory);
            assert_eq!(found, expected, "{adafactor:?}");
        }
        let memory = AdafactorMemory { state: &mut [0.0; 5], scratch: &mut [] };
        let found = adafactor_step(good, step, shape, &mut [1.0; 6], &[1.0; 6], memory);
        assert_eq!(found, length("scratch", 0, 6));
    }

    #[test]
    fn matrices_with_a_short_side_are_not_factored() {
        for (rows, columns, factored) in [(128, 128, true), (127, 4096, false), (4096, 64, false)] {
            assert_eq!(AdafactorShape::matrix(rows, columns).factored, factored, "{rows} {columns}");
        }
    }
}
