//! Mixtures of many columns: from rows of bits or codes to classes, and to which columns tell them apart.
//!
//! * [`fit`]: EM from several starts; [`criteria`]: how many classes; [`truth`]: classes against known labels.
//! * [`analysis`]: everything the command line and the report show of a fit.
//! * [`model`]: a fitted mixture as a file, and classes of new rows; [`write`]: tables for the user.
//! * [`report`]: the page with pictures. [`generate`]: mixtures with known truth.

pub mod analysis;
pub mod criteria;
pub mod fit;
mod models;
pub mod truth;
pub mod write;

use serde::{Deserialize, Serialize};

/// What a mixture learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// `[classes]`: the share of each class.
    pub shares: Vec<f64>,
    /// Bits: `[columns, classes]`, the probability of a one. Codes: `[cells, classes]`, of each code.
    pub probabilities: Vec<f64>,
}

impl Parameters {
    /// Puts the classes in the order of their shares, the largest first.
    pub fn sort_classes(&mut self) {
        let classes = self.shares.len();
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| self.shares[b].total_cmp(&self.shares[a]));
        let mut old = vec![0.0; classes];
        let tables = self.probabilities.chunks_exact_mut(classes.max(1));
        for values in tables.chain([self.shares.as_mut_slice()]) {
            old.copy_from_slice(values);
            values.iter_mut().zip(&order).for_each(|(value, &from)| *value = old[from]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_by_share_in_every_table() {
        let mut parameters =
            Parameters { shares: vec![0.2, 0.5, 0.3], probabilities: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        parameters.sort_classes();
        assert_eq!(parameters.shares, [0.5, 0.3, 0.2]);
        assert_eq!(parameters.probabilities, [2.0, 3.0, 1.0, 5.0, 6.0, 4.0]);
    }
}
