//! One coin per worker: right with probability `p`, else any other label equally likely.
//!
//! `C[i, a, k] = p_i` if `a = k`, else `(1 − p_i) / (K − 1)`. Fewer parameters than Dawid–Skene, blind to
//! workers who favour a label; with free class shares it may collapse onto one class.

use core::ops::Range;

use super::{EmError, LatentClassModel, ModelShape, RowFacts, check_length, check_number};
use crate::numeric::{copy, softmax_rows};
use crate::observations::Answers;

/// Accuracies stay this far from 0 and 1.
pub const ACCURACY_MARGIN: f64 = 1e-6;

/// Settings of a one-coin model.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OneCoinSettings {
    /// Class shares stay equal instead of being estimated.
    pub uniform_shares: bool,
    /// Added to the mass of every class.
    pub class_pseudocount: f64,
    /// Right answers every worker is assumed to have given before.
    pub right_pseudocount: f64,
    /// Wrong answers every worker is assumed to have given before.
    pub wrong_pseudocount: f64,
}

/// A one-coin model over answers; its parameters live in memory of the caller.
#[derive(Debug)]
pub struct OneCoin<'a> {
    answers: Answers<'a>,
    settings: OneCoinSettings,
    facts: RowFacts<'a>,
    /// `[labels]` log class shares, `[workers]` accuracies, `[workers, 2]` log-probability of a
    /// wrong answer and what a right one adds to it.
    parameters: &'a mut [f64],
}

/// Values the parameters of a [`OneCoin`] model need.
pub fn one_coin_parameters_len(answers: Answers<'_>) -> usize {
    answers.labels() + 3 * answers.workers()
}

impl<'a> OneCoin<'a> {
    /// A model with equal class shares and accuracies half-way between chance and one.
    ///
    /// `parameters` holds [`one_coin_parameters_len`] values.
    pub fn new(
        answers: Answers<'a>,
        settings: OneCoinSettings,
        facts: RowFacts<'a>,
        parameters: &'a mut [f64],
    ) -> Result<Self, EmError> {
        check_length("parameters", parameters.len(), one_coin_parameters_len(answers))?;
        facts.check(answers.tasks(), answers.labels())?;
        check_number("class pseudocount", settings.class_pseudocount)?;
        check_number("right pseudocount", settings.right_pseudocount)?;
        check_number("wrong pseudocount", settings.wrong_pseudocount)?;
        let labels = answers.labels() as f64;
        let mut model = Self { answers, settings, facts, parameters };
        let (shares, accuracies, _) = model.parts();
        shares.fill(-libm::log(labels));
        accuracies.fill((0.5 * (1.0 + 1.0 / labels)).min(1.0 - ACCURACY_MARGIN));
        model.tabulate();
        Ok(model)
    }

    /// `[workers]`: the probability that each worker is right.
    pub fn accuracies(&self) -> &[f64] {
        let start = self.answers.labels();
        self.parameters.get(start..start + self.answers.workers()).unwrap_or(&[])
    }

    /// `[labels]`: the logarithms of the class shares.
    pub fn log_shares(&self) -> &[f64] {
        self.parameters.get(..self.answers.labels()).unwrap_or(&[])
    }

    /// Log class shares, accuracies, table.
    fn parts(&mut self) -> (&mut [f64], &mut [f64], &mut [f64]) {
        let (shares, rest) = self.parameters.split_at_mut_checked(self.answers.labels()).unwrap_or_default();
        let (accuracies, table) = rest.split_at_mut_checked(self.answers.workers()).unwrap_or_default();
        (shares, accuracies, table)
    }

    /// Fills the table from the accuracies.
    fn tabulate(&mut self) {
        let others = (self.answers.labels().max(2) - 1) as f64;
        let (_, accuracies, table) = self.parts();
        for (accuracy, entry) in accuracies.iter().zip(table.as_chunks_mut::<2>().0) {
            let wrong = libm::log((1.0 - accuracy) / others);
            *entry = [wrong, libm::log(*accuracy) - wrong];
        }
    }
}

impl LatentClassModel for OneCoin<'_> {
    fn shape(&self) -> ModelShape {
        let classes = self.answers.labels();
        ModelShape::by_blocks(self.answers.tasks(), classes, classes + 2 * self.answers.workers())
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let (answers, classes) = (self.answers, self.answers.labels().max(1));
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        let (shares, rest) = self.parameters.split_at_checked(classes).unwrap_or_default();
        let table = rest.get(answers.workers()..).unwrap_or(&[]).as_chunks::<2>().0;
        for (cells, out) in answers.rows(rows.clone()).zip(responsibilities.chunks_exact_mut(classes)) {
            copy(shares, out);
            let mut all_wrong = 0.0;
            for &cell in cells {
                let Some([wrong, right]) = table.get(answers.worker(cell)) else { continue };
                all_wrong += wrong;
                if let Some(sum) = out.get_mut(answers.label(cell)) {
                    *sum += right;
                }
            }
            out.iter_mut().for_each(|sum| *sum += all_wrong);
        }
        self.facts.mask(rows.clone(), classes, responsibilities, f64::NEG_INFINITY);
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    /// Statistics: `[labels]` class masses, then `[workers, 2]` right answers and all answers.
    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let (answers, classes) = (self.answers, self.answers.labels().max(1));
        let weights = self.facts.weights_of(rows.clone());
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else {
            return;
        };
        let counts = counts.as_chunks_mut::<2>().0;
        for (nth, (cells, posterior)) in
            answers.rows(rows).zip(responsibilities.chunks_exact(classes)).enumerate()
        {
            let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
            masses.iter_mut().zip(posterior).for_each(|(mass, value)| *mass += weight * value);
            for &cell in cells {
                let right = posterior.get(answers.label(cell)).copied().unwrap_or(0.0);
                if let Some([right_sum, all]) = counts.get_mut(answers.worker(cell)) {
                    *right_sum += weight * right;
                    *all += weight;
                }
            }
        }
    }

    fn maximize(&mut self, statistics: &[f64]) {
        let settings = self.settings;
        let Some((masses, counts)) = statistics.split_at_checked(self.answers.labels()) else {
            return;
        };
        let (shares, accuracies, _) = self.parts();
        if !settings.uniform_shares {
            let classes = masses.len() as f64;
            let total = masses.iter().map(|mass| mass + settings.class_pseudocount).sum::<f64>();
            for (share, mass) in shares.iter_mut().zip(masses) {
                let mass = mass + settings.class_pseudocount;
                // Without tasks, or with none that counts, shares are equal.
                *share = libm::log(if total > 0.0 { mass / total } else { 1.0 / classes });
            }
        }
        let earlier = settings.right_pseudocount + settings.wrong_pseudocount;
        for (accuracy, [right, all]) in accuracies.iter_mut().zip(counts.as_chunks::<2>().0) {
            let estimate = (right + settings.right_pseudocount) / (all + earlier);
            if estimate.is_finite() {
                *accuracy = estimate.clamp(ACCURACY_MARGIN, 1.0 - ACCURACY_MARGIN);
            }
        }
        self.tabulate();
    }

    fn log_prior(&self) -> f64 {
        let settings = self.settings;
        let mut total = 0.0;
        if !settings.uniform_shares && settings.class_pseudocount > 0.0 {
            total += settings.class_pseudocount * self.log_shares().iter().sum::<f64>();
        }
        // From its largest value on, where everybody is as accurate as the pseudocounts say.
        let (right, wrong) = (settings.right_pseudocount, settings.wrong_pseudocount);
        let entropy = |count: f64| if count > 0.0 { count * libm::log(count / (right + wrong)) } else { 0.0 };
        let mode = entropy(right) + entropy(wrong);
        for accuracy in self.accuracies() {
            total += right * libm::log(*accuracy) + wrong * libm::log(1.0 - accuracy) - mode;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::em::{FitSettings, UNKNOWN, fit};

    /// Three tasks, three workers, two labels; worker 2 answered nothing.
    const OFFSETS: [u32; 4] = [0, 2, 4, 5];
    const CELLS: [u32; 5] = [0, 2, 1, 3, 0];

    fn answers() -> Answers<'static> {
        Answers::new(3, 2, &OFFSETS, &CELLS).unwrap()
    }

    #[test]
    fn every_invalid_setting_is_its_own_error() {
        struct Case {
            settings: OneCoinSettings,
            facts: RowFacts<'static>,
            parameters: usize,
            expected: EmError,
        }
        const GOOD: OneCoinSettings = OneCoinSettings {
            uniform_shares: false,
            class_pseudocount: 0.0,
            right_pseudocount: 0.0,
            wrong_pseudocount: 0.0,
        };
        let known = |known_classes| RowFacts { known_classes: Some(known_classes), weights: None };
        let number = |what, value| EmError::NotANonNegativeNumber { what, value };
        let cases = [
            Case {
                settings: GOOD,
                facts: RowFacts::default(),
                parameters: 10,
                expected: EmError::Length { what: "parameters", found: 10, expected: 11 },
            },
            Case {
                settings: GOOD,
                facts: known(&[UNKNOWN, 2, 0]),
                parameters: 11,
                expected: EmError::KnownClass { row: 1, class: 2, classes: 2 },
            },
            Case {
                settings: OneCoinSettings { class_pseudocount: -1.0, ..GOOD },
                facts: RowFacts::default(),
                parameters: 11,
                expected: number("class pseudocount", -1.0),
            },
            Case {
                settings: OneCoinSettings { right_pseudocount: f64::INFINITY, ..GOOD },
                facts: RowFacts::default(),
                parameters: 11,
                expected: number("right pseudocount", f64::INFINITY),
            },
            Case {
                settings: OneCoinSettings { wrong_pseudocount: -0.5, ..GOOD },
                facts: RowFacts::default(),
                parameters: 11,
                expected: number("wrong pseudocount", -0.5),
            },
        ];
        for Case { settings, facts, parameters, expected } in cases {
            let mut memory = [0.0; 11];
            let memory = memory.get_mut(..parameters).unwrap();
            let error = OneCoin::new(answers(), settings, facts, memory).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn an_accuracy_is_the_expected_share_of_right_answers() {
        struct Case {
            name: &'static str,
            settings: OneCoinSettings,
            /// Class masses, then right and all answers of each worker.
            statistics: [f64; 8],
            shares: [f64; 2],
            accuracies: [f64; 3],
        }
        let plain = OneCoinSettings::default();
        let statistics = [2.0, 1.0, 2.0, 3.0, 1.0, 2.0, 0.0, 0.0];
        let (third, margin) = (1.0 / 3.0, ACCURACY_MARGIN);
        let cases = [
            Case {
                name: "plain; a worker without answers keeps the accuracy of the start",
                settings: plain,
                statistics,
                shares: [2.0 * third, third],
                accuracies: [2.0 * third, 0.5, 0.75],
            },
            Case {
                name: "uniform",
                settings: OneCoinSettings { uniform_shares: true, ..plain },
                statistics,
                shares: [0.5, 0.5],
                accuracies: [2.0 * third, 0.5, 0.75],
            },
            Case {
                name: "pseudocounts",
                settings: OneCoinSettings {
                    class_pseudocount: 1.0,
                    right_pseudocount: 3.0,
                    wrong_pseudocount: 1.0,
                    ..plain
                },
                statistics,
                shares: [0.6, 0.4],
                accuracies: [5.0 / 7.0, 4.0 / 6.0, 0.75],
            },
            Case {
                name: "always right, never right",
                settings: plain,
                statistics: [1.0, 1.0, 3.0, 3.0, 0.0, 3.0, 0.0, 0.0],
                shares: [0.5, 0.5],
                accuracies: [1.0 - margin, margin, 0.75],
            },
            Case {
                name: "nothing counts",
                settings: plain,
                statistics: [0.0; 8],
                shares: [0.5, 0.5],
                accuracies: [0.75, 0.75, 0.75],
            },
        ];
        for Case { name, settings, statistics, shares, accuracies } in cases {
            let mut memory = [f64::NAN; 11];
            let mut model = OneCoin::new(answers(), settings, RowFacts::default(), &mut memory).unwrap();
            model.maximize(&statistics);
            let found = model
                .log_shares()
                .iter()
                .map(|log| libm::exp(*log))
                .chain(model.accuracies().iter().copied());
            for (found, expected) in found.zip(shares.into_iter().chain(accuracies)) {
                assert!((found - expected).abs() < 1e-12, "{name}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn one_label_leaves_no_doubt() {
        let answers = Answers::new(2, 1, &[0, 2, 2], &[0, 1]).unwrap();
        let mut parameters = [f64::NAN; 7];
        let settings = OneCoinSettings::default();
        let mut model = OneCoin::new(answers, settings, RowFacts::default(), &mut parameters).unwrap();
        let (mut statistics, mut scratch) = ([f64::NAN; 5], [f64::NAN; 2]);
        fit(&mut model, FitSettings { rounds: 3, tolerance: 0.0 }, &mut statistics, &mut scratch).unwrap();
        let mut posteriors = [f64::NAN; 2];
        model.expectation(0..2, &mut posteriors).unwrap();
        assert_eq!(posteriors, [1.0, 1.0]);
    }
}
