//! Views of matrices: a slice, row-major, with its two lengths checked once.

use core::fmt;
use core::ops::Range;

/// A length that does not fit its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A slice's length is not what the shape says.
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A range of rows goes beyond the matrix.
    Rows {
        /// The last row asked for, plus one.
        end: usize,
        /// How many there are.
        rows: usize,
    },
    /// The number of elements exceeds `usize`.
    TooLarge {
        /// The rows.
        rows: usize,
        /// The columns.
        columns: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::Rows { end, rows } => write!(f, "rows end at {end}, expected at most {rows}"),
            Self::TooLarge { rows, columns } => {
                write!(
                    f,
                    "a matrix of {rows} × {columns} values, expected fewer than the address space holds"
                )
            }
        }
    }
}

impl core::error::Error for ShapeError {}

pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), ShapeError> {
    if found == expected { Ok(()) } else { Err(ShapeError::Length { what, found, expected }) }
}

/// `[rows, columns]`, row-major, borrowed.
///
/// ```
/// # use mixlet_core::matrix::MatRef;
/// let matrix = MatRef::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
/// assert_eq!(matrix.row_range(1..2)?.values(), [4.0, 5.0, 6.0]);
/// assert!(MatRef::new(&[1.0, 2.0], 2, 3).is_err());
/// # Ok::<(), mixlet_core::matrix::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T = f32> {
    values: &'a [T],
    rows: usize,
    columns: usize,
}

impl<'a, T> MatRef<'a, T> {
    /// Checks the length.
    pub fn new(values: &'a [T], rows: usize, columns: usize) -> Result<Self, ShapeError> {
        check_length("a matrix", values.len(), elements(rows, columns)?)?;
        Ok(Self { values, rows, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row by row.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// One row, or nothing if there is none of that number.
    #[inline(always)]
    pub fn row(&self, row: usize) -> Option<&'a [T]> {
        let start = row.checked_mul(self.columns)?;
        self.values.get(start..start.checked_add(self.columns)?).filter(|_| row < self.rows)
    }

    /// Each row in order; also where rows are empty.
    #[inline(always)]
    pub fn each_row(self) -> impl Iterator<Item = &'a [T]> {
        (0..self.rows).filter_map(move |row| self.row(row))
    }

    /// Some rows.
    pub fn row_range(&self, range: Range<usize>) -> Result<Self, ShapeError> {
        let (rows, columns) = (range.len(), self.columns);
        let values = inside(&range, self.rows)
            .and_then(|()| self.values.get(range.start * columns..range.end * columns))
            .ok_or(ShapeError::Rows { end: range.end, rows: self.rows })?;
        Ok(Self { values, rows, columns })
    }
}

/// `[rows, columns]`, row-major, borrowed to be written.
#[derive(Debug)]
pub struct MatMut<'a, T = f32> {
    values: &'a mut [T],
    rows: usize,
    columns: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// Checks the length.
    pub fn new(values: &'a mut [T], rows: usize, columns: usize) -> Result<Self, ShapeError> {
        check_length("a matrix", values.len(), elements(rows, columns)?)?;
        Ok(Self { values, rows, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row by row.
    pub fn values(&mut self) -> &mut [T] {
        self.values
    }

    /// All values, for as long as they are borrowed.
    pub fn into_values(self) -> &'a mut [T] {
        self.values
    }

    /// To read.
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef { values: self.values, rows: self.rows, columns: self.columns }
    }

    /// To write for a while.
    pub fn as_mut(&mut self) -> MatMut<'_, T> {
        MatMut { values: self.values, rows: self.rows, columns: self.columns }
    }

    /// Some rows, to write.
    pub fn row_range(&mut self, range: Range<usize>) -> Result<MatMut<'_, T>, ShapeError> {
        let (rows, columns) = (range.len(), self.columns);
        let values = inside(&range, self.rows)
            .and_then(|()| self.values.get_mut(range.start * columns..range.end * columns))
            .ok_or(ShapeError::Rows { end: range.end, rows: self.rows })?;
        Ok(MatMut { values, rows, columns })
    }
}

/// Whether products with the number of columns are those of places in the matrix.
fn inside(range: &Range<usize>, rows: usize) -> Option<()> {
    (range.start <= range.end && range.end <= rows).then_some(())
}

fn elements(rows: usize, columns: usize) -> Result<usize, ShapeError> {
    rows.checked_mul(columns).ok_or(ShapeError::TooLarge { rows, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        struct Case {
            len: usize,
            shape: (usize, usize),
            error: Option<ShapeError>,
        }
        let length = |found, expected| Some(ShapeError::Length { what: "a matrix", found, expected });
        let cases = [
            Case { len: 6, shape: (2, 3), error: None },
            Case { len: 0, shape: (0, 3), error: None },
            Case { len: 0, shape: (3, 0), error: None },
            Case { len: 5, shape: (2, 3), error: length(5, 6) },
            Case { len: 7, shape: (2, 3), error: length(7, 6) },
            Case {
                len: 4,
                shape: (usize::MAX, 2),
                error: Some(ShapeError::TooLarge { rows: usize::MAX, columns: 2 }),
            },
        ];
        let mut values = [0.0; 8];
        for Case { len, shape: (rows, columns), error } in cases {
            assert_eq!(
                MatRef::new(&values[..len], rows, columns).err(),
                error,
                "{len} of {rows} × {columns}"
            );
            assert_eq!(MatMut::new(&mut values[..len], rows, columns).err(), error);
        }
    }

    #[test]
    fn ranges_stay_inside() {
        let mut values = [0, 1, 2, 3, 4, 5];
        let matrix = MatRef::new(&values, 3, 2).unwrap();
        assert_eq!(matrix.row_range(1..3).unwrap().values(), [2, 3, 4, 5]);
        assert_eq!(matrix.row_range(1..4).unwrap_err(), ShapeError::Rows { end: 4, rows: 3 });
        let far = usize::MAX / 2..usize::MAX;
        assert_eq!(matrix.row_range(far).unwrap_err(), ShapeError::Rows { end: usize::MAX, rows: 3 });
        assert_eq!(matrix.row(2), Some(&[4, 5][..]));
        assert_eq!(matrix.row(3), None);
        let empty = MatRef::<u8>::new(&[], 2, 0).unwrap();
        assert_eq!((empty.each_row().count(), empty.row(2)), (2, None));
        let mut matrix = MatMut::new(&mut values, 3, 2).unwrap();
        matrix.row_range(0..1).unwrap().values().fill(9);
        assert_eq!(values, [9, 9, 2, 3, 4, 5]);
    }
}
