//! A mixture of binary columns learnt one row at a time, without tables: for streams and microcontrollers.

use super::{BernoulliPrior, BernoulliShape};
use crate::em::stepwise::StepSize;
use crate::em::{EmError, check_length};
use crate::numeric::{copy, softmax_rows};
use crate::observations::{WORD_BITS, row_words};

/// Values that the state of a stream takes: shares and, for every column and class, ones and values present.
pub fn stream_state_len(shape: BernoulliShape) -> usize {
    shape.classes + 2 * shape.columns * shape.classes
}

/// Values of scratch that a row of a stream needs.
pub fn stream_scratch_len(shape: BernoulliShape) -> usize {
    shape.classes
}

/// [Stepwise EM](crate::em::stepwise) with batches of one row; the state is statistics on the scale of one row.
///
/// A step costs `columns · classes` logarithms. Pseudocounts weigh as they would among `rows` rows.
///
/// ```
/// # use mixlet_core::em::{bernoulli::*, stepwise::StepSize};
/// let shape = BernoulliShape { columns: 2, classes: 2, missing: false };
/// let (mut state, mut scratch) = ([0.0; 10], [0.0; 2]);
/// assert_eq!((stream_state_len(shape), stream_scratch_len(shape)), (10, 2));
/// let start = (&[0.5, 0.5][..], &[0.6, 0.4, 0.6, 0.4][..]);
/// let prior = BernoulliPrior { floor: 0.01, ..BernoulliPrior::default() };
/// let size = StepSize { delay: 20.0, ..StepSize::of_single_rows() };
/// let mut stream = BernoulliStream::new(shape, (prior, 1e3), size, start, &mut state).unwrap();
/// // Columns agree: class 0 learns ones, class 1 zeros.
/// for row in 0..200 {
///     stream.step(&[if row % 2 == 0 { 0b11 } else { 0b00 }], None, &mut scratch).unwrap();
/// }
/// assert!(stream.probability(0, 0) > 0.95 && stream.probability(1, 1) < 0.05);
/// ```
#[derive(Debug)]
pub struct BernoulliStream<'a> {
    shape: BernoulliShape,
    prior: BernoulliPrior,
    size: StepSize,
    steps: u32,
    /// `[classes]` masses, `[columns, classes, 2]` ones and values present.
    state: &'a mut [f64],
}

impl<'a> BernoulliStream<'a> {
    /// A stream that starts from class shares `[classes]` and probabilities of a one `[columns, classes]`.
    ///
    /// `state` holds [`stream_state_len`] values; the prior's pseudocounts are divided by its number of rows.
    pub fn new(
        shape: BernoulliShape,
        (prior, rows): (BernoulliPrior, f64),
        size: StepSize,
        (shares, probabilities): (&[f64], &[f64]),
        state: &'a mut [f64],
    ) -> Result<Self, EmError> {
        prior.check()?;
        size.check()?;
        check_length("class shares", shares.len(), shape.classes)?;
        check_length("probabilities", probabilities.len(), shape.columns * shape.classes)?;
        check_length("state", state.len(), stream_state_len(shape))?;
        let len = shape.classes.max(1);
        let (masses, counts) = state.split_at_mut_checked(shape.classes).unwrap_or_default();
        copy(shares, masses);
        let columns = counts.chunks_exact_mut(len.saturating_mul(2)).zip(probabilities.chunks_exact(len));
        for (counts, probabilities) in columns {
            let classes = counts.as_chunks_mut::<2>().0.iter_mut().zip(probabilities).zip(shares);
            classes.for_each(|((count, p), share)| *count = [share * p, *share]);
        }
        let per_row = |pseudocount: f64| pseudocount / rows;
        let prior = BernoulliPrior {
            class_pseudocount: per_row(prior.class_pseudocount),
            ones: per_row(prior.ones),
            zeros: per_row(prior.zeros),
            ..prior
        };
        Ok(Self { shape, prior, size, steps: 0, state })
    }

    /// Learns one row, given as in [`PackedRows`](crate::observations::PackedRows), and returns its log-likelihood
    /// before. `scratch` holds [`stream_scratch_len`] values and ends with the row's responsibilities.
    pub fn step(
        &mut self,
        row: &[u64],
        present: Option<&[u64]>,
        scratch: &mut [f64],
    ) -> Result<f64, EmError> {
        let log_likelihood = self.expectation(row, present, scratch)?;
        let gamma = self.size.of_step(self.steps);
        self.steps = self.steps.saturating_add(1);
        let (masses, counts) = self.state.split_at_mut_checked(self.shape.classes).unwrap_or_default();
        masses.iter_mut().zip(scratch.iter()).for_each(|(mass, q)| *mass += gamma * (q - *mass));
        for (column, counts) in
            counts.chunks_exact_mut(self.shape.classes.saturating_mul(2).max(1)).enumerate()
        {
            let value = f64::from(bit(row, column));
            let is_present = f64::from(present.map_or(1, |present| bit(present, column)));
            for ([ones, present], q) in counts.as_chunks_mut::<2>().0.iter_mut().zip(scratch.iter()) {
                *ones += gamma * (q * value - *ones);
                *present += gamma * (q * is_present - *present);
            }
        }
        Ok(log_likelihood)
    }

    /// The responsibilities of a row, in `out` `[classes]`, and its log-likelihood; nothing is learnt.
    pub fn expectation(&self, row: &[u64], present: Option<&[u64]>, out: &mut [f64]) -> Result<f64, EmError> {
        let words = row_words(self.shape.columns);
        check_length("row", row.len(), words)?;
        check_length("present", present.map_or(words, <[u64]>::len), words)?;
        check_length("scratch", out.len(), self.shape.classes)?;
        (0..).zip(out.iter_mut()).for_each(|(class, out)| *out = libm::log(self.share(class)));
        for column in 0..self.shape.columns {
            if present.is_some_and(|present| bit(present, column) == 0) {
                continue;
            }
            for (class, out) in out.iter_mut().enumerate() {
                let p = self.probability(column, class);
                *out += libm::log(if bit(row, column) == 1 { p } else { 1.0 - p });
            }
        }
        let row = usize::try_from(self.steps).unwrap_or(usize::MAX);
        softmax_rows(out, self.shape.classes, None).map_err(|_| EmError::ImpossibleRow { row })
    }

    /// The share of a class.
    pub fn share(&self, class: usize) -> f64 {
        let masses = self.state.get(..self.shape.classes).unwrap_or(&[]);
        let total = masses.iter().map(|mass| mass + self.prior.class_pseudocount).sum::<f64>();
        masses.get(class).map_or(0.0, |mass| (mass + self.prior.class_pseudocount) / total)
    }

    /// The probability of a one.
    pub fn probability(&self, column: usize, class: usize) -> f64 {
        let at = self.shape.classes + 2 * (column * self.shape.classes + class);
        let mut probability = [0.5];
        if let Some([ones, present]) = self.state.get(at..).and_then(|state| state.first_chunk::<2>()) {
            self.prior.estimate(&[*ones], &[*present], &mut probability);
        }
        let [probability] = probability;
        probability
    }
}

/// A bit of a row; 0 beyond its end.
fn bit(words: &[u64], column: usize) -> u8 {
    words.get(column / WORD_BITS).map_or(0, |word| u8::from(word >> (column % WORD_BITS) & 1 == 1))
}
