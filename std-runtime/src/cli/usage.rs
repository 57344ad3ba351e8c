//! Wrong usage: how it is said, and what values options take.

use std::process::ExitCode;

use clap::error::ErrorKind;

use super::output;

/// What the program ends with after wrong usage.
pub(super) const EXIT_CODE: u8 = 2;

/// Shows help where it was asked for, else says in one line what is wrong.
pub(super) fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is the reader's choice.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_CODE)
        }
        _ => {
            let text = error.render().to_string();
            output::log("error", &in_one_line(text.strip_prefix("error: ").unwrap_or(&text)));
            ExitCode::from(EXIT_CODE)
        }
    }
}

/// What is wrong and the tip, without usage and pointers to help.
fn in_one_line(text: &str) -> String {
    let paragraphs = text.split("\n\n").filter(|part| {
        let part = part.trim_start();
        !part.starts_with("Usage:") && !part.starts_with("For more information") && !part.is_empty()
    });
    let joined = |part: &str| part.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut line = paragraphs.map(joined).collect::<Vec<_>>().join("; ");
    line.push_str("; --help shows what is possible");
    line
}

/// A seed.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// A number of threads.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    whole(text, 1024)
}

/// A whole number from 1 on.
pub(super) fn whole(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

/// A number that is not negative.
pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

/// Any number.
pub(super) fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// A share between 0 and 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "expected a share between 0 and 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_are_one_line() {
        let text = "unexpected argument '--glod' found\n\n  tip: a similar argument exists: '--gold'\n\nUsage: mixlet\n\n\
                    For more information, try '--help'.\n";
        let expected = "unexpected argument '--glod' found; tip: a similar argument exists: '--gold'; \
                        --help shows what is possible";
        assert_eq!(in_one_line(text), expected);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in ["-1", "NaN", "inf", "x", ""] {
            assert!(not_negative(text).is_err(), "{text}");
        }
        assert_eq!(not_negative("1e-7"), Ok(1e-7));
        assert_eq!((whole("0", 9), whole("9", 9), whole("10", 9)).1, Ok(9));
        assert!(whole("0", 9).is_err() && whole("10", 9).is_err());
    }
}
