//! Text from outside, made safe for the page: escaped, shortened, and kept from reordering what surrounds it.

/// Escapes text for element content and double-quoted attributes.
///
/// Characters that XML forbids become `�`, and so do the invisible ones that reorder a line (bidirectional
/// overrides and isolates), so that a name cannot disguise itself or its neighbours.
///
/// ```
/// # use mixlet_runtime::report::html::escape;
/// assert_eq!(escape("<b> & \"c\""), "&lt;b&gt; &amp; &quot;c&quot;");
/// ```
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().map(printable) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A name in running text: isolated in direction, cut to `max` characters, the whole of it (up to 500
/// characters) in a tooltip where it was cut.
pub fn name(text: &str, max: usize) -> String {
    let shown = shorten(text, max);
    if shown == text {
        format!("<bdi>{}</bdi>", escape(text))
    } else {
        format!("<bdi title=\"{}\">{}</bdi>", escape(&shorten(text, 500)), escape(&shown))
    }
}

/// At most `max` characters of a text, with an ellipsis where some are missing.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A name for a picture, whose library escapes markup but not what XML forbids.
pub fn plain(text: &str, max: usize) -> String {
    shorten(text, max).chars().map(printable).collect()
}

/// The character itself, or `�` if it is a control, a non-character or reorders the line.
fn printable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_text() {
        let cases = [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a\u{202e}b", "a�b"),
            ("a\0b\u{ffff}", "a�b�"),
            ("line\nbreak", "line break"),
            ("שלום 🦜", "שלום 🦜"),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn long_names_are_cut_and_told_whole_in_the_tooltip() {
        assert_eq!(name("abcdef", 4), "<bdi title=\"abcdef\">abc…</bdi>");
        assert_eq!(name("abcd", 4), "<bdi>abcd</bdi>");
        assert_eq!(shorten("", 0), "");
    }
}
