//! Dense linear algebra for matrices as small as a crowd's number of classes.
//!
//! Matrices are square, row-major, `f64`. Nothing is blocked or unrolled: sizes are 2 to 32, and each routine runs
//! once per fit.

use crate::numeric::dot;

/// Jacobi sweeps before giving up; a symmetric matrix of this size needs 5 to 10.
const JACOBI_SWEEPS: usize = 60;

/// Off-diagonal mass, as a share of the whole, at which Jacobi's rotations stop.
const JACOBI_TOLERANCE: f64 = 1e-30;

/// Eigenvalues and eigenvectors of a symmetric matrix, by cyclic Jacobi rotations.
///
/// `matrix` `[n, n]` ends with the eigenvalues on its diagonal, in no order; row `h` of `vectors` `[n, n]` is the
/// unit eigenvector of value `h`. Golub & Van Loan, *Matrix Computations*, section 8.5.
///
/// ```
/// # use mixlet_core::small::eigen;
/// let (mut matrix, mut vectors) = ([2.0, 1.0, 1.0, 2.0], [f64::NAN; 4]);
/// eigen(&mut matrix, 2, &mut vectors);
/// assert!((matrix[0] - 1.0).abs() < 1e-12 && (matrix[3] - 3.0).abs() < 1e-12);
/// assert!((vectors[2] - vectors[3]).abs() < 1e-12);
/// ```
pub fn eigen(matrix: &mut [f64], n: usize, vectors: &mut [f64]) {
    vectors.fill(0.0);
    vectors.iter_mut().step_by(n.saturating_add(1)).for_each(|value| *value = 1.0);
    let scale = dot(matrix, matrix);
    for _ in 0..JACOBI_SWEEPS {
        let off: f64 = pairs(n).map(|(p, q)| at(matrix, p * n + q)).map(|value| value * value).sum();
        if off <= JACOBI_TOLERANCE * scale {
            return;
        }
        for (p, q) in pairs(n) {
            let block = [(p, p), (p, q), (q, q)].map(|(row, column)| at(matrix, row * n + column));
            let Some(rotation) = jacobi_rotation(block) else { continue };
            (0..n).for_each(|i| rotate(matrix, i * n + p, i * n + q, rotation));
            (0..n).for_each(|i| rotate(matrix, p * n + i, q * n + i, rotation));
            (0..n).for_each(|i| rotate(vectors, p * n + i, q * n + i, rotation));
        }
    }
}

/// One column of an assignment: the memory [`assign`] works in and its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Column {
    /// The row this column goes to.
    pub row: Option<usize>,
    /// The column before this one on the path that reached it; none if the path starts here.
    before: Option<usize>,
    /// Smallest reduced cost by which a path reaches this column.
    slack: f64,
    reached: bool,
    potential: f64,
    /// Potential of the row that has this column's number.
    row_potential: f64,
}

/// The assignment of rows to columns with the largest sum of `weights` `[n, n]`; column `j` gets `columns[j].row`.
///
/// The Hungarian method with potentials (Kuhn 1955, Munkres 1957), `O(n³)`; `columns` is `[n]`. Weights must be finite.
///
/// ```
/// # use mixlet_core::small::{assign, Column};
/// let mut columns = [Column::default(); 2];
/// assign(&[0.6, 0.5, 0.9, 0.1], &mut columns); // 0.5 + 0.9 beats 0.6 + 0.1
/// assert_eq!(columns.map(|column| column.row), [Some(1), Some(0)]);
/// ```
pub fn assign(weights: &[f64], columns: &mut [Column]) {
    columns.fill(Column::default());
    for row in 0..columns.len() {
        for column in columns.iter_mut() {
            (column.slack, column.reached) = (f64::INFINITY, false);
        }
        // Search: the shortest alternating path from `row` to a free column.
        let (mut end, mut end_row) = (None, Some(row));
        while let Some(from_row) = end_row {
            let Some(next) = extend_path(weights, columns, row, (end, from_row)) else { return };
            (end, end_row) = (Some(next), columns.get(next).and_then(|column| column.row));
        }
        // Augment: every row on the path moves to the next column.
        while let Some(column) = end {
            let before = columns.get(column).and_then(|column| column.before);
            let moved = before.and_then(|before| columns.get(before)).map_or(Some(row), |column| column.row);
            if let Some(column) = columns.get_mut(column) {
                column.row = moved;
            }
            end = before;
        }
    }
}

/// Relaxes every unreached column from the end of the path, `(column, its row)`, and returns the nearest one.
fn extend_path(
    weights: &[f64],
    columns: &mut [Column],
    start: usize,
    (end, end_row): (Option<usize>, usize),
) -> Option<usize> {
    let n = columns.len();
    let row_potential = columns.get(end_row)?.row_potential;
    let mut nearest: Option<(usize, f64)> = None;
    for (j, column) in columns.iter_mut().enumerate().filter(|(_, column)| !column.reached) {
        let cost = -at(weights, end_row * n + j) - row_potential - column.potential;
        if cost < column.slack {
            (column.slack, column.before) = (cost, end);
        }
        if nearest.is_none_or(|(_, slack)| column.slack < slack) {
            nearest = Some((j, column.slack));
        }
    }
    let (nearest, step) = nearest?;
    columns.get_mut(start)?.row_potential += step;
    for j in 0..n {
        let column = columns.get_mut(j)?;
        if !column.reached {
            column.slack -= step;
            continue;
        }
        column.potential -= step;
        let row = column.row?;
        columns.get_mut(row)?.row_potential += step;
    }
    columns.get_mut(nearest)?.reached = true;
    Some(nearest)
}

/// A value of a flat array; zero beyond its end.
#[inline(always)]
pub(crate) fn at(values: &[f64], index: usize) -> f64 {
    values.get(index).copied().unwrap_or(0.0)
}

/// `out += factor · x`.
#[inline(always)]
pub(crate) fn add_scaled(out: &mut [f64], factor: f64, x: &[f64]) {
    out.iter_mut().zip(x).for_each(|(sum, value)| *sum += factor * value);
}

/// Index pairs above the diagonal.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |p| (p + 1..n).map(move |q| (p, q)))
}

/// Cosine and sine of the rotation that zeroes `pq` of `[[pp, pq], [pq, qq]]`; none if it is zero already.
fn jacobi_rotation([pp, pq, qq]: [f64; 3]) -> Option<(f64, f64)> {
    if pq == 0.0 || !pq.is_finite() {
        return None;
    }
    let theta = (qq - pp) / (2.0 * pq);
    let tan = libm::copysign(1.0, theta) / (libm::fabs(theta) + libm::sqrt(theta * theta + 1.0));
    let cos = 1.0 / libm::sqrt(tan * tan + 1.0);
    Some((cos, tan * cos))
}

/// `(x_p, x_q) ← (cos · x_p − sin · x_q, sin · x_p + cos · x_q)`.
fn rotate(values: &mut [f64], p: usize, q: usize, (cos, sin): (f64, f64)) {
    if let Ok([x, y]) = values.get_disjoint_mut([p, q]) {
        (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        struct Case<'a> {
            name: &'a str,
            matrix: &'a [f64],
            values: &'a [f64],
        }
        let cases = [
            Case { name: "one entry", matrix: &[5.0], values: &[5.0] },
            Case { name: "zero", matrix: &[0.0; 4], values: &[0.0, 0.0] },
            Case { name: "indefinite", matrix: &[0.0, 2.0, 2.0, 0.0], values: &[-2.0, 2.0] },
            Case {
                name: "chain",
                matrix: &[2.0, -1.0, 0.0, -1.0, 2.0, -1.0, 0.0, -1.0, 2.0],
                values: &[2.0 - core::f64::consts::SQRT_2, 2.0, 2.0 + core::f64::consts::SQRT_2],
            },
        ];
        for Case { name, matrix, values } in cases {
            let n = values.len();
            let (mut work, mut vectors) = ([0.0; 9], [f64::NAN; 9]);
            let (work, vectors) = (&mut work[..n * n], &mut vectors[..n * n]);
            work.copy_from_slice(matrix);
            eigen(work, n, vectors);
            for (row, column) in (0..n).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let rebuilt: f64 =
                    (0..n).map(|h| work[h * n + h] * vectors[h * n + row] * vectors[h * n + column]).sum();
                assert!((rebuilt - matrix[row * n + column]).abs() < 1e-12, "{name}: entry {row}, {column}");
            }
            for value in values {
                let nearest = (0..n).map(|h| (work[h * n + h] - value).abs()).fold(f64::MAX, f64::min);
                assert!(nearest < 1e-12, "{name}: no eigenvalue {value}");
            }
        }
    }

    #[test]
    fn assignment_is_the_best_of_all_permutations() {
        let all = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mut state = 1u64;
        for case in 0..200 {
            let weights: [f64; 9] = core::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f64::from((state >> 60) as u8)
            });
            let sum = |rows: [usize; 3]| -> f64 { (0..3).map(|j| weights[rows[j] * 3 + j]).sum() };
            let mut columns = [Column::default(); 3];
            assign(&weights, &mut columns);
            let found = columns.map(|column| column.row.unwrap());
            let best = all.into_iter().map(sum).fold(f64::MIN, f64::max);
            assert!(all.contains(&found), "case {case}: {found:?} is no permutation");
            assert_eq!(sum(found), best, "case {case}: {weights:?} gave {found:?}");
        }
    }
}
