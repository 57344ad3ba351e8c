//! The best one-to-one assignment of rows to columns (Kuhn 1955, with potentials).

/// Assigns every row of a square matrix `[n, n]` a column of its own so that the sum is largest.
///
/// Ties go to the assignment found first, lower rows and columns first. `O(n³)`.
///
/// ```
/// # use mixlet_runtime::assignment::largest_assignment;
/// assert_eq!(largest_assignment(&[1.0, 5.0, 2.0, 5.0, 9.0, 3.0, 0.0, 4.0, 4.0], 3), [1, 0, 2]);
/// ```
pub fn largest_assignment(values: &[f64], n: usize) -> Vec<usize> {
    assert_eq!(values.len(), n * n, "a square matrix has n · n values");
    // Row 0 and column 0 stand for "none"; potentials make every reduced cost −value − u − v non-negative.
    let (mut row_potential, mut column_potential) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0; n + 1];
    for row in 1..=n {
        let mut least = vec![f64::INFINITY; n + 1];
        let mut before = vec![0; n + 1];
        let mut done = vec![false; n + 1];
        let mut column = 0;
        row_of[0] = row;
        // Grow the tree of tight edges until it meets a free column.
        while row_of[column] != 0 {
            done[column] = true;
            let current = row_of[column];
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for other in (1..=n).filter(|&other| !done[other]) {
                let reduced =
                    -values[(current - 1) * n + other - 1] - row_potential[current] - column_potential[other];
                if reduced < least[other] {
                    (least[other], before[other]) = (reduced, column);
                }
                if least[other] < delta {
                    (delta, next) = (least[other], other);
                }
            }
            for other in 0..=n {
                if done[other] {
                    row_potential[row_of[other]] += delta;
                    column_potential[other] -= delta;
                } else {
                    least[other] -= delta;
                }
            }
            column = next;
        }
        // Walk back along the tree and shift the assignment.
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut assignment = vec![0; n];
    (1..=n).for_each(|column| assignment[row_of[column] - 1] = column - 1);
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_all_permutations_of_four() {
        let mut state = 7u32;
        for _ in 0..200 {
            let values: Vec<f64> = (0..16)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    f64::from(state >> 24)
                })
                .collect();
            let mut best = f64::NEG_INFINITY;
            for code in 0..256usize {
                let columns = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
                if (0..4).all(|column| columns.contains(&column)) {
                    best = best
                        .max(columns.iter().enumerate().map(|(row, column)| values[row * 4 + column]).sum());
                }
            }
            let found = largest_assignment(&values, 4);
            let sum: f64 = found.iter().enumerate().map(|(row, column)| values[row * 4 + column]).sum();
            assert_eq!(sum, best, "{values:?}");
        }
    }
}
