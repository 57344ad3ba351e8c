//! How many classes: what a likelihood is worth once parameters and doubt are paid for.
//!
//! Both criteria are on the scale of −2 · log-likelihood: the smallest is best. The log-likelihood of rows held
//! out needs none of them: put those rows under a fitted model, and sweep.

/// Numbers a mixture estimates: `K − 1` class shares and `per_class` others in each class.
///
/// ```
/// # use mixlet_core::em::criteria::free_parameters;
/// assert_eq!(free_parameters(3, 100), 302); // 100 binary columns
/// ```
pub fn free_parameters(classes: usize, per_class: usize) -> usize {
    classes.saturating_sub(1) + classes * per_class
}

/// Schwarz's criterion (1978): `−2 ln L + f · ln N` of `f` free parameters and `N` rows.
///
/// ```
/// # use mixlet_core::em::criteria::bic;
/// assert!((bic(-500.0, 11, 200.0) - (1000.0 + 11.0 * 200f64.ln())).abs() < 1e-12);
/// ```
pub fn bic(log_likelihood: f64, free_parameters: usize, rows: f64) -> f64 {
    -2.0 * log_likelihood + free_parameters as f64 * libm::log(rows)
}

/// The integrated completed likelihood of Biernacki, Celeux & Govaert (2000), from BIC and [`entropy`]: classes that
/// overlap cost what they leave in doubt.
///
/// ```
/// # use mixlet_core::em::criteria::icl;
/// assert_eq!(icl(1058.0, 3.0), 1064.0);
/// ```
pub fn icl(bic: f64, entropy: f64) -> f64 {
    bic + 2.0 * entropy
}

/// `−Σ w · q · ln q` in nats of responsibilities `[rows, classes]`: what is left in doubt. Weights absent: all one.
///
/// ```
/// # use mixlet_core::em::criteria::entropy;
/// let responsibilities = [0.5, 0.5, 1.0, 0.0];
/// assert!((entropy(&responsibilities, 2, None) - 2f64.ln()).abs() < 1e-12);
/// assert!((entropy(&responsibilities, 2, Some(&[3.0, 1.0])) - 3.0 * 2f64.ln()).abs() < 1e-12);
/// ```
pub fn entropy(responsibilities: &[f64], classes: usize, weights: Option<&[f64]>) -> f64 {
    let of_row = |(nth, row): (usize, &[f64])| {
        let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
        let terms = row.iter().filter(|&&q| q > 0.0).map(|&q| q * libm::log(q));
        -weight * terms.sum::<f64>()
    };
    responsibilities.chunks_exact(classes.max(1)).enumerate().map(of_row).sum()
}

/// `1 − E / (N · ln K)` (Ramaswamy et al. 1993): 1 where every row is certain of its class, 0 where none is; 1 for one class.
///
/// ```
/// # use mixlet_core::em::criteria::separation;
/// assert!((separation(2f64.ln(), 2.0, 2) - 0.5).abs() < 1e-12);
/// assert_eq!(separation(0.0, 2.0, 1), 1.0);
/// ```
pub fn separation(entropy: f64, rows: f64, classes: usize) -> f64 {
    let most = rows * libm::log(classes as f64);
    if most > 0.0 { 1.0 - entropy / most } else { 1.0 }
}
