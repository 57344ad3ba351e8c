//! Lengths and prior of a mixture of categorical columns.

use crate::em::criteria::free_parameters;
use crate::em::{ActiveColumns, EmError, check_number};
use crate::observations::Codes;

/// The lengths of a mixture of categorical columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CategoricalShape {
    /// Categorical columns.
    pub columns: usize,
    /// Codes of all columns together.
    pub cells: usize,
    /// Latent classes.
    pub classes: usize,
}

impl CategoricalShape {
    /// The shape for a set of rows; at least one class.
    pub fn of(rows: Codes<'_>, classes: usize) -> Self {
        Self { columns: rows.columns(), cells: rows.cell_count(), classes: classes.max(1) }
    }

    /// Values the model keeps, and as many expected sufficient statistics: `classes + cells · classes`.
    pub fn parameters_len(&self) -> usize {
        self.classes + self.cells * self.classes
    }

    /// Numbers that a fit estimates: in each class, one less than codes for every column.
    pub fn free_parameters(&self) -> usize {
        free_parameters(self.classes, self.cells - self.columns)
    }

    /// Values of the table that the expectation adds up.
    pub fn tables_len(&self) -> usize {
        self.cells * self.classes
    }
}

/// Pseudocounts and floor of a mixture of categorical columns: Dirichlet priors, whose mode is found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CategoricalPrior {
    /// Added to the mass of every class.
    pub class_pseudocount: f64,
    /// Added to the expected count of every code, column and class.
    pub pseudocount: f64,
    /// No probability is smaller; at most one over the largest number of codes.
    pub floor: f64,
}

impl Default for CategoricalPrior {
    /// Maximum likelihood, with a floor that only keeps logarithms finite.
    fn default() -> Self {
        Self { class_pseudocount: 0.0, pseudocount: 0.0, floor: 1e-10 }
    }
}

impl CategoricalPrior {
    pub(super) fn check(&self, rows: Codes<'_>) -> Result<(), EmError> {
        check_number("class pseudocount", self.class_pseudocount)?;
        check_number("pseudocount", self.pseudocount)?;
        let levels = (0..rows.columns()).map(|column| rows.levels(column)).max().unwrap_or(1);
        let most = 1.0 / levels as f64;
        if self.floor > 0.0 && self.floor <= most {
            Ok(())
        } else {
            Err(EmError::Floor { value: self.floor, most })
        }
    }

    /// The probabilities `[levels, classes]` of one column from expected counts.
    #[inline(always)]
    pub(super) fn estimate(&self, counts: &[f64], classes: usize, probabilities: &mut [f64]) {
        let levels = (probabilities.len() / classes.max(1)) as f64;
        for class in 0..classes {
            let of_class = || counts.iter().skip(class).step_by(classes);
            if of_class().sum::<f64>() + self.pseudocount * levels > 0.0 {
                let targets = probabilities.iter_mut().skip(class).step_by(classes);
                targets.zip(of_class()).for_each(|(target, count)| *target = count + self.pseudocount);
                self.normalize_class(probabilities, class, classes);
            }
        }
    }

    /// Makes the weights `[levels, classes]` of one column distributions that are nowhere below the floor.
    #[inline(always)]
    pub(super) fn normalize(&self, weights: &mut [f64], classes: usize) {
        (0..classes).for_each(|class| self.normalize_class(weights, class, classes));
    }

    /// The likeliest distribution above the floor: what falls below is raised to it, and the others share the rest in
    /// proportion to their weights, until none falls below. Even where all weights are zero.
    fn normalize_class(&self, weights: &mut [f64], class: usize, classes: usize) {
        let levels = weights.len() / classes;
        let mut scale = 1.0 / weights.iter().skip(class).step_by(classes).sum::<f64>();
        if !scale.is_finite() {
            let even = 1.0 / levels as f64;
            return weights.iter_mut().skip(class).step_by(classes).for_each(|weight| *weight = even);
        }
        // Each turn raises at least one more code.
        for _ in 0..levels {
            let (mut kept, mut raised) = (0.0, 0.0);
            for &weight in weights.iter().skip(class).step_by(classes) {
                if weight * scale < self.floor { raised += 1.0 } else { kept += weight }
            }
            let next = (1.0 - raised * self.floor) / kept;
            if next >= scale || kept <= 0.0 {
                break;
            }
            scale = next;
        }
        for weight in weights.iter_mut().skip(class).step_by(classes) {
            *weight = (*weight * scale).max(self.floor);
        }
    }

    /// `Σ c · ln π + Σ s · ln P` over the active columns.
    pub(super) fn log_density(
        &self,
        rows: Codes<'_>,
        shares: &[f64],
        probabilities: &[f64],
        active: ActiveColumns<'_>,
    ) -> f64 {
        let mut total = 0.0;
        if self.class_pseudocount > 0.0 {
            total += self.class_pseudocount * shares.iter().map(|&share| libm::log(share)).sum::<f64>();
        }
        if self.pseudocount > 0.0 {
            for (column, offsets) in rows.level_offsets().windows(2).enumerate() {
                let &[start, end] = offsets else { continue };
                let cells = start as usize * shares.len()..end as usize * shares.len();
                if let (true, Some(values)) = (active.contains(column), probabilities.get(cells)) {
                    total += self.pseudocount * values.iter().map(|&value| libm::log(value)).sum::<f64>();
                }
            }
        }
        total
    }
}
