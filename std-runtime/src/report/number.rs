//! Numbers as a reader wants them: grouped thousands, a true minus sign, a dash where nothing is known.

/// What stands for a number that is not known.
pub const DASH: &str = "–";

/// A whole number with grouped thousands.
///
/// ```
/// # use mixlet_runtime::report::number::count;
/// assert_eq!(count(1_234_567), "1,234,567");
/// ```
pub fn count(value: u64) -> String {
    group(&value.to_string())
}

/// A number of things, in words.
///
/// ```
/// # use mixlet_runtime::report::number::things;
/// assert_eq!((things(1, "task"), things(2_000, "task")), ("1 task".into(), "2,000 tasks".into()));
/// ```
pub fn things(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// A number with fixed decimals; [`DASH`] if it is not finite, powers of ten beyond 10¹⁵.
///
/// ```
/// # use mixlet_runtime::report::number::decimal;
/// assert_eq!(decimal(-12_345.678, 1), "−12,345.7");
/// assert_eq!(decimal(f64::NAN, 1), "–");
/// ```
pub fn decimal(value: f64, places: usize) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.2e}").replace('-', "−");
    }
    let text = format!("{:.places$}", value.abs());
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (group(whole), format!(".{fraction}")),
        None => (group(&text), String::new()),
    };
    let negative = value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    format!("{}{whole}{fraction}", if negative { "−" } else { "" })
}

/// A number to about three significant digits, whatever its size.
///
/// ```
/// # use mixlet_runtime::report::number::significant;
/// assert_eq!(significant(0.012_345), "0.0123");
/// assert_eq!(significant(1234.5), "1,234");
/// ```
pub fn significant(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 {
        return decimal(value, 0);
    }
    if size < 1e-6 {
        return format!("{value:.1e}").replace('-', "−");
    }
    // At least 1e-6, so the exponent lies in -6..=308.
    let exponent = size.log10().floor() as i32;
    decimal(value, (2 - exponent).clamp(0, 8) as usize)
}

/// A fraction of one as percent; [`DASH`] if it is not finite.
///
/// ```
/// # use mixlet_runtime::report::number::percent;
/// assert_eq!(percent(0.08333, 2), "8.33 %");
/// ```
pub fn percent(fraction: f64, places: usize) -> String {
    if fraction.is_finite() { format!("{} %", decimal(fraction * 100.0, places)) } else { DASH.to_owned() }
}

/// Seconds, with more digits the fewer there are.
pub fn seconds(value: f64) -> String {
    match value {
        _ if !value.is_finite() => DASH.to_owned(),
        _ if value < 0.1 => format!("{} ms", decimal(value * 1e3, 1)),
        _ if value < 10.0 => format!("{} s", decimal(value, 2)),
        _ => format!("{} s", decimal(value, 0)),
    }
}

/// Commas between groups of three digits.
fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_every_size() {
        let cases = [
            (decimal(-0.0001, 2), "0.00"),
            (decimal(999.0, 0), "999"),
            (decimal(1000.0, 0), "1,000"),
            (decimal(f64::INFINITY, 3), "–"),
            (decimal(-1e300, 0), "−1.00e300"),
            (significant(0.0), "0"),
            (significant(2e-9), "2.0e−9"),
            (significant(-0.5), "−0.500"),
            (percent(f64::NAN, 1), "–"),
            (seconds(0.0123), "12.3 ms"),
            (seconds(75.0), "75 s"),
            (count(0), "0"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }
}
