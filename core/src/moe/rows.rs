//! Slices cut into rows and blocks.
//!
//! *Why not `chunks_exact`:* its length is a division, and where it is zipped out of line the compiler no longer
//! sees that the width is not 0: a panic would stay in the program that no input can reach.

/// Rows of `width` values; of no width, of one.
pub(super) struct Rows<S> {
    rest: S,
    width: usize,
}

/// The whole rows of a slice.
#[inline(always)]
pub(super) fn rows_of<T>(values: &[T], width: usize) -> Rows<&[T]> {
    Rows { rest: values, width: width.max(1) }
}

/// [`rows_of`] to write to.
#[inline(always)]
pub(super) fn rows_of_mut<T>(values: &mut [T], width: usize) -> Rows<&mut [T]> {
    Rows { rest: values, width: width.max(1) }
}

impl<'a, T> Iterator for Rows<&'a [T]> {
    type Item = &'a [T];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (row, rest) = self.rest.split_at_checked(self.width)?;
        self.rest = rest;
        Some(row)
    }
}

impl<'a, T> Iterator for Rows<&'a mut [T]> {
    type Item = &'a mut [T];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (row, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(self.width)?;
        self.rest = rest;
        Some(row)
    }
}

/// Blocks of `len` values; the last may be shorter.
pub(super) struct Blocks<S>(Rows<S>);

/// The blocks of a slice: of a group's tokens, say.
#[inline(always)]
pub(super) fn blocks_of<T>(values: &[T], len: usize) -> Blocks<&[T]> {
    Blocks(rows_of(values, len))
}

/// [`blocks_of`] to write to.
#[inline(always)]
pub(super) fn blocks_of_mut<T>(values: &mut [T], len: usize) -> Blocks<&mut [T]> {
    Blocks(rows_of_mut(values, len))
}

impl<'a, T> Iterator for Blocks<&'a [T]> {
    type Item = &'a [T];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        // An empty rest has no row of one value either.
        self.0.width = self.0.width.min(self.0.rest.len()).max(1);
        self.0.next()
    }
}

impl<'a, T> Iterator for Blocks<&'a mut [T]> {
    type Item = &'a mut [T];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.width = self.0.width.min(self.0.rest.len()).max(1);
        self.0.next()
    }
}

/// The `nth` row; empty where there is none.
#[inline(always)]
pub(super) fn nth_row<T>(values: &[T], nth: usize, width: usize) -> &[T] {
    let start = nth.saturating_mul(width);
    values.get(start..start.saturating_add(width)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_and_blocks_are_all() {
        for (len, width, rows, blocks) in
            [(0, 3, 0, 0), (7, 3, 2, 3), (6, 3, 2, 2), (2, 3, 0, 1), (3, 0, 3, 3), (5, usize::MAX, 0, 1)]
        {
            let mut values = [0; 8];
            let values = &mut values[..len];
            assert_eq!(rows_of(values, width).count(), rows, "{len} by {width}");
            assert_eq!(rows_of_mut(values, width).count(), rows, "{len} by {width}");
            assert_eq!(blocks_of(values, width).count(), blocks, "{len} by {width}");
            blocks_of_mut(values, width).flatten().for_each(|value| *value += 1);
            assert_eq!(blocks_of_mut(values, width).count(), blocks, "{len} by {width}");
            assert!(values.iter().all(|&value| value == 1), "{len} by {width}");
        }
        assert_eq!(nth_row(&[1, 2, 3, 4, 5], 1, 2), [3, 4]);
        assert_eq!(nth_row(&[1, 2, 3, 4, 5], 2, 2), [0; 0]);
    }
}
