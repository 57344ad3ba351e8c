//! How certain figures are: their standard errors.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// Draws of a bootstrap.
const DRAWS: usize = 1000;

/// The standard error of a share of `count` independent trials, `√(p · (1 − p) / (n − 1))`; `None` for fewer than two.
///
/// ```
/// # use mixlet_runtime::models::eval::spread::of_share;
/// assert_eq!(of_share(0.5, 26), Some(0.1));
/// assert_eq!(of_share(1.0, 1), None);
/// ```
pub fn of_share(share: f64, count: usize) -> Option<f64> {
    (count > 1).then(|| (share * (1.0 - share) / (count as f64 - 1.0)).sqrt())
}

/// The standard error of a figure of some pieces: its deviation over a thousand draws of as many pieces, with replacement
/// (Efron's bootstrap). `None` for fewer than two pieces.
///
/// ```
/// # use mixlet_runtime::models::eval::spread::bootstrap;
/// let mean = |pieces: &mut dyn Iterator<Item = &f64>| { let all: Vec<_> = pieces.collect(); all.iter().copied().sum::<f64>() / all.len() as f64 };
/// assert_eq!(bootstrap(&[2.0, 2.0, 2.0], 1, mean), Some(0.0));
/// let error = bootstrap(&(0..100).map(f64::from).collect::<Vec<_>>(), 1, mean).unwrap();
/// assert!((error - 2.887).abs() < 0.2); // 28.87 / √100
/// ```
pub fn bootstrap<T>(
    pieces: &[T],
    seed: u64,
    figure: impl Fn(&mut dyn Iterator<Item = &T>) -> f64,
) -> Option<f64> {
    if pieces.len() < 2 {
        return None;
    }
    let mut random = Pcg64::seed_from_u64(seed);
    let len = pieces.len() as u128;
    let figures: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = (0..pieces.len()).map(|_| {
                let place = (u128::from(random.next_u64()) * len) >> 64;
                &pieces[place as usize]
            });
            figure(&mut drawn)
        })
        .collect();
    let mean = figures.iter().sum::<f64>() / DRAWS as f64;
    let squares: f64 = figures.iter().map(|figure| (figure - mean) * (figure - mean)).sum();
    Some((squares / (DRAWS as f64 - 1.0)).sqrt())
}
