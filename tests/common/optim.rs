//! Optimisers written from their formulas, in `f64`, with a second moment for every place: the reference for
//! `mixlet_core::optim`.

use mixlet_core::optim::{Adafactor, AdafactorShape, AdamW, Averaging, DecayRule, EpsilonPlace, Step};

/// A tensor with its state.
#[derive(Clone)]
pub struct Tensor {
    pub weights: Vec<f64>,
    pub mean: Vec<f64>,
    pub square: Vec<f64>,
    /// `[experts][rows]` and `[experts][columns]`: where factored.
    pub rows: Vec<Vec<f64>>,
    pub columns: Vec<Vec<f64>>,
}

impl Tensor {
    pub fn new(weights: &[f64], experts: usize, rows: usize, columns: usize) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self {
            weights: weights.to_vec(),
            mean: zeros.clone(),
            square: zeros,
            rows: vec![vec![0.0; rows]; experts],
            columns: vec![vec![0.0; columns]; experts],
        }
    }
}

pub fn adamw(adamw: AdamW, step: Step, tensor: &mut Tensor, grads: &[f64]) {
    let correction = |beta: f64| 1.0 - beta.powi(step.number as i32);
    for (nth, grad) in grads.iter().enumerate() {
        let g = grad * step.grad_scale;
        tensor.mean[nth] = adamw.beta1 * tensor.mean[nth] + (1.0 - adamw.beta1) * g;
        tensor.square[nth] = adamw.beta2 * tensor.square[nth] + (1.0 - adamw.beta2) * g * g;
        let (mean, square) = (tensor.mean[nth], tensor.square[nth]);
        let change = match adamw.epsilon_place {
            EpsilonPlace::AfterCorrection => {
                mean / correction(adamw.beta1) / ((square / correction(adamw.beta2)).sqrt() + adamw.epsilon)
            }
            EpsilonPlace::BeforeCorrection => {
                correction(adamw.beta2).sqrt() / correction(adamw.beta1) * mean
                    / (square.sqrt() + adamw.epsilon)
            }
        };
        let decay = match adamw.decay_rule {
            DecayRule::TimesLr => step.lr * adamw.weight_decay,
            DecayRule::Alone => adamw.weight_decay,
        };
        tensor.weights[nth] -= decay * tensor.weights[nth] + step.lr * change;
    }
}

pub fn adafactor(settings: Adafactor, step: Step, shape: AdafactorShape, tensor: &mut Tensor, grads: &[f64]) {
    let AdafactorShape { experts, rows, columns, factored } = shape;
    let beta = 1.0 - f64::from(step.number).powf(-settings.decay_rate);
    let at = |expert: usize, row: usize, column: usize| (expert * rows + row) * columns + column;
    let square = |nth: usize| (grads[nth] * step.grad_scale).powi(2) + settings.epsilon_square;
    let mut updates = vec![0.0; grads.len()];
    for expert in 0..experts {
        for row in 0..rows {
            let mean =
                (0..columns).map(|column| square(at(expert, row, column))).sum::<f64>() / columns as f64;
            tensor.rows[expert][row] = beta * tensor.rows[expert][row] + (1.0 - beta) * mean;
        }
        for column in 0..columns {
            let mean = (0..rows).map(|row| square(at(expert, row, column))).sum::<f64>() / rows as f64;
            tensor.columns[expert][column] = beta * tensor.columns[expert][column] + (1.0 - beta) * mean;
        }
        let mean = tensor.rows[expert].iter().sum::<f64>() / rows as f64;
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let nth = at(expert, row, column);
            tensor.square[nth] = beta * tensor.square[nth] + (1.0 - beta) * square(nth);
            let second = match factored {
                true => tensor.rows[expert][row] * tensor.columns[expert][column] / mean,
                false => tensor.square[nth],
            };
            updates[nth] = grads[nth] * step.grad_scale / second.sqrt();
        }
    }
    let averaged = match settings.averaging {
        Averaging::Matrix => rows * columns,
        Averaging::Tensor => experts * rows * columns,
    };
    let rms = |values: &[f64]| (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
    for start in (0..grads.len()).step_by(averaged.max(1)) {
        let part = start..start + averaged;
        let scale = rms(&tensor.weights[part.clone()]).max(settings.epsilon_scale);
        let lr = if settings.parameter_scale { step.lr * scale } else { step.lr };
        let clip = settings
            .clip_threshold
            .map_or(1.0, |threshold| (rms(&updates[part.clone()]) / threshold).max(1.0));
        for nth in part {
            let mut change = lr * updates[nth] / clip;
            if let Some(beta1) = settings.momentum {
                tensor.mean[nth] = beta1 * tensor.mean[nth] + (1.0 - beta1) * change;
                change = tensor.mean[nth];
            }
            let decay = match settings.decay_rule {
                DecayRule::TimesLr => lr * settings.weight_decay,
                DecayRule::Alone => settings.weight_decay,
            };
            tensor.weights[nth] -= decay * tensor.weights[nth] + change;
        }
    }
}
