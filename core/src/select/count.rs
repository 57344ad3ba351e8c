//! How many workers should speak, judged by how well the labels predict answers they were not made from.
//!
//! Every candidate number has one score a task: the log-probability of held-out answers. Tasks are
//! the unit of every comparison, since the answers to one task err together:
//!
//! ```text
//!   candidates      everybody, then 2^(k/2) workers, down to 3
//!   1. knowledge    everybody's labels predict better than no labels at all? otherwise everybody
//!   2. best         the candidate with the highest sum; ties go to more workers
//!   3. lead         best ahead of everybody by more than chance would be? otherwise everybody
//! ```
//!
//! *Why everybody is the null hypothesis:* where workers err independently, the answers of bad ones cost nothing once
//! their confusion is known, and dropping them can only lose. Selection gains where the model is wrong about them, above
//! all where they err together; that has to show.
//!
//! *Why the best and not the largest number close to it:* scores over numbers have a wide top. Its highest point moves
//! little when some tasks or workers are left out, the point where the curve crosses "one standard error below" a lot.
//!
//! *Why knowledge is asked first:* where nobody can be told from a guesser, the order of the workers is noise, and a few
//! of them may agree on labels with their names exchanged.

/// Standard errors by which everybody's labels must predict better than none: one chance in forty.
const KNOWLEDGE: f64 = 1.96;
/// Standard errors by which a selection must lead everybody: one chance in ten.
const LEAD: f64 = 1.2816;

/// The candidate numbers of workers: everybody first, then `2^(k/2)` rounded, down to three.
///
/// ```
/// # use mixlet_core::select::count::candidate_counts;
/// assert!(candidate_counts(20).eq([20, 16, 11, 8, 6, 4, 3]));
/// assert!(candidate_counts(2).eq([2]));
/// ```
pub fn candidate_counts(workers: usize) -> impl Iterator<Item = usize> {
    // Rounded: √n to the nearest is ⌈⌊√(4n)⌋ / 2⌉.
    let powers = (3..126).rev().map(|k| (4u128 << k).isqrt().div_ceil(2));
    let smaller =
        powers.filter_map(|count| usize::try_from(count).ok()).filter(move |&count| count < workers);
    core::iter::once(workers).chain(smaller)
}

/// By how many standard errors the first scores are higher in sum, from the spread of the differences.
///
/// `Σ d / √(Σ (d − d̄)²)`; 0 where the sums are equal, infinite where every difference is the same.
///
/// ```
/// # use mixlet_core::select::count::standard_errors;
/// assert_eq!(standard_errors(&[-1.0, -2.0], &[-1.0, -2.0]), 0.0);
/// // Differences 3 and 1: their sum is 4, their deviations are 1 and −1.
/// assert!((standard_errors(&[0.0, 0.0], &[-3.0, -1.0]) - 4.0 / 2f64.sqrt()).abs() < 1e-12);
/// ```
pub fn standard_errors(first: &[f64], second: &[f64]) -> f64 {
    let differences = || first.iter().zip(second).map(|(a, b)| a - b);
    let lead: f64 = differences().sum();
    let mean = lead / first.len() as f64;
    let spread: f64 = differences().map(|difference| (difference - mean) * (difference - mean)).sum();
    if lead == 0.0 { 0.0 } else { lead / libm::sqrt(spread) }
}

/// The candidate to choose, given every candidate's scores by task, everybody's first, and those without any labels.
///
/// ```
/// # use mixlet_core::select::count::choose;
/// let guesses = [-1.0, -1.5, -2.0, -1.0];
/// let everybody = [-0.5, -0.6, -0.9, -0.4];
/// let better = [-0.4, -0.4, -0.8, -0.2]; // ahead on every task
/// let erratic = [-0.1, -1.5, -0.1, -0.5]; // ahead in sum, by chance
/// assert_eq!(choose([&everybody[..], &better, &guesses], &guesses), 1);
/// assert_eq!(choose([&everybody[..], &erratic], &guesses), 0);
/// // Nobody knows anything.
/// assert_eq!(choose([&guesses[..], &better], &guesses), 0);
/// ```
pub fn choose<'a>(scores: impl IntoIterator<Item = &'a [f64]>, without_labels: &[f64]) -> usize {
    let mut scores = scores.into_iter();
    let Some(everybody) = scores.next() else {
        return 0;
    };
    if standard_errors(everybody, without_labels) < KNOWLEDGE {
        return 0;
    }
    let sum = |scores: &[f64]| scores.iter().sum::<f64>();
    let (mut best, mut best_scores) = (0, everybody);
    for (nth, scores) in (1..).zip(scores) {
        if sum(scores) > sum(best_scores) {
            (best, best_scores) = (nth, scores);
        }
    }
    if standard_errors(best_scores, everybody) < LEAD { 0 } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_fall_from_everybody_to_three() {
        struct Case {
            workers: usize,
            first: &'static [usize],
            count: usize,
        }
        let cases = [
            Case { workers: 0, first: &[0], count: 1 },
            Case { workers: 1, first: &[1], count: 1 },
            Case { workers: 3, first: &[3], count: 1 },
            Case { workers: 4, first: &[4, 3], count: 2 },
            Case { workers: 64, first: &[64, 45, 32, 23], count: 10 },
            Case { workers: 65, first: &[65, 64, 45, 32], count: 11 },
        ];
        for Case { workers, first, count } in cases {
            assert!(candidate_counts(workers).take(first.len()).eq(first.iter().copied()), "{workers}");
            assert_eq!(candidate_counts(workers).count(), count, "{workers}");
            assert!(candidate_counts(workers).is_sorted_by(|a, b| a > b), "{workers}");
        }
        assert_eq!(candidate_counts(usize::MAX).next(), Some(usize::MAX));
    }

    #[test]
    fn everybody_speaks_unless_a_selection_leads() {
        struct Case<'a> {
            name: &'a str,
            /// How far each of the candidates after everybody is ahead on each of four tasks.
            ahead: &'a [[f64; 4]],
            chosen: usize,
        }
        let cases = [
            Case { name: "nobody else", ahead: &[], chosen: 0 },
            Case { name: "the same", ahead: &[[0.0; 4]; 3], chosen: 0 },
            Case { name: "behind", ahead: &[[-0.125; 4]], chosen: 0 },
            Case { name: "ahead everywhere", ahead: &[[0.125, 0.25, 0.125, 0.25]], chosen: 1 },
            Case {
                name: "the highest sum",
                ahead: &[[0.125, 0.25, 0.125, 0.25], [0.25, 0.375, 0.25, 0.375], [0.125; 4]],
                chosen: 2,
            },
            Case {
                name: "ties go to more workers",
                ahead: &[[0.125, 0.25, 0.125, 0.25], [0.25, 0.125, 0.25, 0.125]],
                chosen: 1,
            },
            // Sum 1, deviations of 0.75 and three times 0.25: 1.15 standard errors.
            Case { name: "ahead on one task", ahead: &[[1.0, 0.0, 0.0, 0.0]], chosen: 0 },
            // Sum 2, deviations of a half: 2 standard errors.
            Case { name: "ahead on two", ahead: &[[1.0, 0.0, 1.0, 0.0]], chosen: 1 },
        ];
        let (everybody, guesses) = ([-1.0; 4], [-2.0, -2.1, -1.9, -2.0]);
        for Case { name, ahead, chosen } in cases {
            let better =
                |ahead: &[f64; 4]| core::array::from_fn::<f64, 4, _>(|task| everybody[task] + ahead[task]);
            let mut candidates = [[f64::NAN; 4]; 3];
            candidates.iter_mut().zip(ahead).for_each(|(candidate, ahead)| *candidate = better(ahead));
            let others = candidates.iter().take(ahead.len()).map(<[f64; 4]>::as_slice);
            let scores = || core::iter::once(everybody.as_slice()).chain(others.clone());
            assert_eq!(choose(scores(), &guesses), chosen, "{name}");
            assert_eq!(choose(scores(), &[-1.0, -1.0, 0.0, -2.0]), 0, "{name}, and nobody knows anything");
        }
        assert_eq!(choose([], &[]), 0);
    }
}
