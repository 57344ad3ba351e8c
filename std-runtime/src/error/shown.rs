//! Text from files, made safe for a terminal: escaped and shortened.

use std::fmt::{self, Write as _};

/// At most so many characters of a text, controls and what reorders a line escaped.
///
/// ```
/// # use mixlet_runtime::error::Shown;
/// assert_eq!(Shown("a\u{1b}[1m", 9).to_string(), "a\\u{1b}[1m");
/// assert_eq!(Shown("abcdef", 4).to_string(), "abc…");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str, pub usize);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, most) = *self;
        let is_long = text.chars().nth(most).is_some();
        let shown = if is_long { most.saturating_sub(1) } else { most };
        text.chars().take(shown).try_for_each(|character| escape(character, f))?;
        if is_long { f.write_char('…') } else { Ok(()) }
    }
}

/// A text from a file in backticks: at most 80 characters of it, escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Shown(self.0, 80))
    }
}

fn escape(character: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let reorders =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match character.is_control() || reorders {
        true => write!(f, "{}", character.escape_default()),
        false => f.write_char(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_short_and_printable() {
        let long = "x".repeat(1000);
        for (text, shown) in [
            ("a b", "`a b`".to_string()),
            ("a\u{1b}[1m\n", "`a\\u{1b}[1m\\n`".into()),
            ("a\u{202e}b", "`a\\u{202e}b`".into()),
            (&long[..80], format!("`{}`", &long[..80])),
            (&long, format!("`{}…`", &long[..79])),
        ] {
            assert_eq!(Quoted(text).to_string(), shown, "{text}");
        }
        assert_eq!(Shown("שלום 🦜", 6).to_string(), "שלום 🦜");
    }
}
