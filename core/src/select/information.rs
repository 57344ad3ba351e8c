//! Mutual information of a table of counts, and its estimators.

use super::null::chi_square_level;

/// Added to every cell of a pair's joint distribution by [`Estimator::Plain`], as a share of all tasks.
///
/// The published figures have it; it shrinks pairs of tiny overlap a little.
pub const JOINT_FLOOR: f64 = 1.192_092_895_507_812_5e-7; // 2⁻²³

/// How the information of two workers is estimated from the table of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Estimator {
    /// The plug-in estimate with [`JOINT_FLOOR`], as published. Inflated for pairs of small overlap.
    #[default]
    Plain,
    /// The plug-in estimate times the share of all tasks that both answered.
    Weighted,
    /// The plug-in estimate less its first-order bias, not below 0 (Miller 1955).
    MillerMadow,
    /// The plug-in estimate where a G test rejects independence, else 0.
    GTest {
        /// Independent workers pass for such with this probability.
        level: f64,
    },
}

/// Mutual information `I(X; Z)`, in nats, of a `[levels, classes]` table of counts.
///
/// `I = Σ n(x,z)/n · ln( n·n(x,z) / (n(x)·n(z)) )`, with `0 · ln 0 = 0`. Counts may be
/// fractional: EM's expected counts are as good as observed ones. An empty table has no information.
///
/// ```
/// # use mixlet_core::select::mutual_information;
/// let copies = [5.0, 0.0, 0.0, 5.0]; // x always equals z
/// assert!((mutual_information(&copies, 2) - core::f64::consts::LN_2).abs() < 1e-12);
/// ```
pub fn mutual_information(counts: &[f64], classes: usize) -> f64 {
    smoothed_information(counts, classes, 0.0)
}

/// [`mutual_information`] of the table with `floor` added to every count.
fn smoothed_information(counts: &[f64], classes: usize, floor: f64) -> f64 {
    let classes = classes.max(1);
    let total = counts.iter().map(|count| count + floor).sum::<f64>();
    if total <= 0.0 {
        return 0.0;
    }
    let column =
        |class: usize| counts.iter().skip(class).step_by(classes).map(|count| count + floor).sum::<f64>();
    let mut information = 0.0;
    // Σ n ln n − Σ row ln row − Σ column ln column + n ln n: fewer logarithms than the definition.
    for row in counts.chunks_exact(classes) {
        information += row.iter().map(|count| x_ln_x(count + floor)).sum::<f64>();
        information -= x_ln_x(row.iter().map(|count| count + floor).sum());
    }
    information -= (0..classes).map(|class| x_ln_x(column(class))).sum::<f64>();
    ((information + x_ln_x(total)) / total).max(0.0)
}

fn x_ln_x(x: f64) -> f64 {
    if x > 0.0 { x * libm::log(x) } else { 0.0 }
}

impl Estimator {
    /// [`GTest`](Self::GTest) at the usual 5 %.
    pub const G_TEST: Self = Self::GTest { level: 0.95 };

    /// The estimate for one pair: `counts` `[the other's labels, labels]`, out of `tasks` tasks in all.
    ///
    /// ```
    /// # use mixlet_core::select::Estimator;
    /// let counts = [1.0, 0.0, 0.0, 1.0]; // two shared tasks, always the same answer
    /// assert!((Estimator::Plain.estimate(&counts, 2, 100.0) - core::f64::consts::LN_2).abs() < 1e-3);
    /// assert!((Estimator::Weighted.estimate(&counts, 2, 100.0) - 0.02 * core::f64::consts::LN_2).abs() < 1e-12);
    /// assert_eq!(Estimator::G_TEST.estimate(&counts, 2, 100.0), 0.0);
    /// ```
    pub fn estimate(self, counts: &[f64], labels: usize, tasks: f64) -> f64 {
        let both = counts.iter().sum::<f64>();
        if both <= 0.0 {
            return 0.0;
        }
        match self {
            Self::Plain => smoothed_information(counts, labels, JOINT_FLOOR * tasks),
            Self::Weighted => mutual_information(counts, labels) * both / tasks,
            Self::MillerMadow => {
                let labels = labels.max(1);
                let cells = counts.iter().filter(|&&count| count > 0.0).count();
                let rows =
                    counts.chunks_exact(labels).filter(|row| row.iter().any(|&count| count > 0.0)).count();
                let column =
                    |label: &usize| counts.iter().skip(*label).step_by(labels).any(|&count| count > 0.0);
                let columns = (0..labels).filter(column).count();
                let bias = (cells as f64 - rows as f64 - columns as f64 + 1.0) / (2.0 * both);
                (mutual_information(counts, labels) - bias).max(0.0)
            }
            Self::GTest { level } => {
                let plain = mutual_information(counts, labels);
                let rows = counts.len() / labels.max(1);
                let freedom = (rows as f64 - 1.0) * (labels as f64 - 1.0);
                if chi_square_level(2.0 * both * plain, freedom) > level { plain } else { 0.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimators_on_tables_worked_by_hand() {
        const LN_2: f64 = core::f64::consts::LN_2;
        struct Case {
            estimator: Estimator,
            counts: [f64; 4],
            expected: f64,
        }
        let cases = [
            Case { estimator: Estimator::Weighted, counts: [0.0; 4], expected: 0.0 },
            Case { estimator: Estimator::Weighted, counts: [10.0, 0.0, 0.0, 10.0], expected: LN_2 * 0.2 },
            Case { estimator: Estimator::Weighted, counts: [5.0, 5.0, 5.0, 5.0], expected: 0.0 },
            // Two cells, two rows, two columns: the bias is (2 − 2 − 2 + 1) / 40.
            Case {
                estimator: Estimator::MillerMadow,
                counts: [10.0, 0.0, 0.0, 10.0],
                expected: LN_2 + 1.0 / 40.0,
            },
            Case { estimator: Estimator::MillerMadow, counts: [5.0, 5.0, 5.0, 5.0], expected: 0.0 },
            Case { estimator: Estimator::G_TEST, counts: [10.0, 0.0, 0.0, 10.0], expected: LN_2 },
            Case { estimator: Estimator::G_TEST, counts: [3.0, 2.0, 2.0, 3.0], expected: 0.0 },
            Case { estimator: Estimator::Plain, counts: [20.0, 0.0, 0.0, 0.0], expected: 0.0 },
        ];
        for Case { estimator, counts, expected } in cases {
            let found = estimator.estimate(&counts, 2, 100.0);
            assert!(
                (found - expected).abs() < 1e-4,
                "{estimator:?} of {counts:?}: {found}, expected {expected}"
            );
        }
    }
}
