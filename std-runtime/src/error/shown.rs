//! Text from files and names of files, made safe for a terminal or a shell.

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::table::input::is_standard_input;

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

/// A word of a command as one would type it: in quotes where a shell would change it.
///
/// ```
/// # use mixlet_runtime::error::Typed;
/// assert_eq!(Typed("task=item").to_string(), "task=item");
/// assert_eq!(Typed("task=item #").to_string(), "'task=item #'");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a>(pub &'a str);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |character: char| character.is_alphanumeric() || "-_./=,:+@%".contains(character);
        match !self.0.is_empty() && self.0.chars().all(is_plain) {
            true => f.write_str(self.0),
            false => write!(f, "'{}'", self.0.replace('\'', r"'\''")),
        }
    }
}

/// Where an input came from: its path, or standard input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a>(pub &'a Path);

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_standard_input(self.0) {
            true => f.write_str("standard input"),
            false => write!(f, "{}", self.0.display()),
        }
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

    #[test]
    fn typed_words_are_one_word_for_a_shell() {
        for (word, typed) in [
            ("worker=who", "worker=who"),
            ("é/a-b_c.csv", "é/a-b_c.csv"),
            ("", "''"),
            ("a b", "'a b'"),
            ("#", "'#'"),
            ("$HOME`ls`", "'$HOME`ls`'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(Typed(word).to_string(), typed);
        }
    }
}
