//! What every column of a file is for, and what is known of rows beside their values.

use super::{Columns, Labels, ReadOptions};

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Layout {
    /// `[columns of the rows]`: the column of the file.
    pub places: Vec<usize>,
    /// The column of known classes.
    pub truth: Option<usize>,
    /// The column that says how often each row counts.
    pub weights: Option<usize>,
}

impl Layout {
    /// The layout of a file with so many columns. `side` says where a column of classes or weights is, which may have been
    /// meant for a file, `ignored` where one is that is passed over.
    ///
    /// What is passed over, or known beside the values, is no value; a column may be passed over and serve as truth.
    pub fn new<E>(
        width: usize,
        options: &ReadOptions,
        side: impl Fn(&str) -> Result<usize, E>,
        ignored: impl Fn(&str) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let place = |name: &Option<String>| name.as_deref().map(&side).transpose();
        let (truth, weights) = (place(&options.truth)?, place(&options.weights)?);
        let mut is_value = vec![true; width];
        let ignored: Vec<usize> =
            options.ignore.iter().map(|name| ignored(name)).collect::<Result<_, E>>()?;
        for place in ignored.into_iter().chain(truth).chain(weights) {
            is_value[place] = false;
        }
        let places = (0..width).filter(|&place| is_value[place]).collect();
        Ok(Self { places, truth, weights })
    }

    /// Whether the rows have all columns of the file, in their order.
    pub fn is_all(&self, width: usize) -> bool {
        self.places.len() == width
    }

    /// The values of a row of an array, so many bytes each.
    #[inline]
    pub fn values<'r>(&self, row: &'r [u8], len: usize) -> impl Iterator<Item = &'r [u8]> {
        self.places.iter().map(move |&place| row.get(place * len..(place + 1) * len).unwrap_or(&[]))
    }

    /// The names of columns that have none in the file.
    pub fn numbers(&self) -> Vec<String> {
        self.places.iter().map(usize::to_string).collect()
    }
}

/// The place of a column without a name, out of so many, which is called by its number.
pub(super) fn number(name: &str, width: usize) -> Option<usize> {
    name.parse().ok().filter(|&place: &usize| place < width && place.to_string() == name)
}

/// The places of a model's columns in a file of so many without names; none if it has others.
pub(super) fn places_of(columns: &Columns, width: usize) -> Option<Vec<usize>> {
    match columns.numbers() {
        // All columns of a file, from the first on: as many as there are.
        Some(numbers) if numbers.len() == numbers.last().map_or(0, |last| last + 1) => {
            (numbers.len() == width).then_some(numbers)
        }
        Some(numbers) => numbers.iter().all(|&number| number < width).then_some(numbers),
        None => (columns.len() == width).then(|| (0..width).collect()),
    }
}

/// What is known of rows beside their values, as it comes.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub truth: Vec<Option<String>>,
    pub weights: Vec<f64>,
}

impl Beside {
    /// Moves what is known of the last row to the front.
    pub fn move_last_to_front(&mut self) {
        let (classes, weights) = (self.truth.len(), self.weights.len());
        self.truth.rotate_right(classes.min(1));
        self.weights.rotate_right(weights.min(1));
    }

    /// Classes and weights, where the layout has a column for them.
    pub fn finish(self, layout: &Layout) -> (Option<Labels>, Option<Vec<f64>>) {
        let labels = || Labels::new(self.truth.iter().map(Option::as_deref));
        (layout.truth.map(|_| labels()), layout.weights.map(|_| self.weights))
    }
}
