//! Colours by role. Pictures are drawn in sentinel colours, which become CSS variables of the page.
//!
//! *Why sentinels:* the plotting library knows only fixed colours, but one picture has to serve light, dark and
//! print. A sentinel is a colour no palette uses, and it is only replaced as a whole attribute value, which no
//! escaped text can contain.

use plotters::style::RGBColor;

/// How many classes have a colour of their own; further ones are [`Tone::Other`].
pub const CLASS_TONES: usize = 8;

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Text.
    Ink,
    /// Text that steps back: axis labels, units.
    Soft,
    /// Grid lines and axes.
    Rule,
    /// What the picture is about.
    Accent,
    /// Text on [`Tone::Accent`].
    OnAccent,
    /// The same kind of thing, but left out.
    Off,
    /// A line or mark that asks for attention.
    Mark,
    /// Everything beyond the classes that have a colour.
    Other,
    /// One of [`CLASS_TONES`] classes.
    Class(u8),
}

impl Tone {
    /// The colour of a class, by its index.
    pub fn of_class(index: usize) -> Self {
        match u8::try_from(index) {
            Ok(class) if index < CLASS_TONES => Self::Class(class),
            _ => Self::Other,
        }
    }

    /// The CSS variable that holds this colour.
    pub fn variable(self) -> &'static str {
        const CLASSES: [&str; CLASS_TONES] = [
            "--class-0",
            "--class-1",
            "--class-2",
            "--class-3",
            "--class-4",
            "--class-5",
            "--class-6",
            "--class-7",
        ];
        match self {
            Self::Ink => "--ink",
            Self::Soft => "--soft",
            Self::Rule => "--rule",
            Self::Accent => "--accent",
            Self::OnAccent => "--on-accent",
            Self::Off => "--off",
            Self::Mark => "--mark",
            Self::Other => "--other",
            Self::Class(class) => CLASSES.get(usize::from(class)).copied().unwrap_or("--other"),
        }
    }

    /// The sentinel that stands for this colour while a picture is drawn.
    pub fn sentinel(self) -> RGBColor {
        let index = match self {
            Self::Class(class) => 8 + class.min(CLASS_TONES as u8 - 1),
            other => PLAIN.iter().position(|tone| *tone == other).unwrap_or(0) as u8,
        };
        RGBColor(254, 1, index)
    }
}

/// The tones that are not classes, in the order of their sentinels.
const PLAIN: [Tone; 8] =
    [Tone::Ink, Tone::Soft, Tone::Rule, Tone::Accent, Tone::OnAccent, Tone::Off, Tone::Mark, Tone::Other];

/// Replaces sentinels by variables and drops attributes that say what is the default anyway.
pub fn themed(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(at) = rest.find("\"#FE01") {
        let (before, sentinel) = rest.split_at(at);
        out.push_str(before);
        let tone = sentinel.get(6..8).and_then(|hex| u8::from_str_radix(hex, 16).ok()).and_then(tone_at);
        match (tone, sentinel.get(9..)) {
            (Some(tone), Some(after)) if sentinel.as_bytes().get(8) == Some(&b'"') => {
                out.extend(["\"var(", tone.variable(), ")\""]);
                rest = after;
            }
            _ => {
                out.push('"');
                rest = sentinel.get(1..).unwrap_or("");
            }
        }
    }
    out.push_str(rest);
    DEFAULTS.iter().fold(out, |svg, default| svg.replace(default, ""))
}

/// Attributes the plotting library writes although the page's style sheet or SVG itself says the same.
const DEFAULTS: [&str; 4] =
    [" opacity=\"1\"", " stroke=\"none\"", " font-family=\"sans-serif\"", " text-anchor=\"start\""];

/// The tone of a sentinel's last byte.
fn tone_at(index: u8) -> Option<Tone> {
    match PLAIN.get(usize::from(index)) {
        Some(tone) => Some(*tone),
        None => Some(Tone::Class(index.checked_sub(8)?)).filter(|_| usize::from(index) < 8 + CLASS_TONES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentinel_becomes_its_own_variable() {
        for tone in PLAIN.into_iter().chain((0..CLASS_TONES).map(Tone::of_class)) {
            let RGBColor(r, g, b) = tone.sentinel();
            let svg = format!("<rect fill=\"#{r:02X}{g:02X}{b:02X}\" opacity=\"1\"/>");
            assert_eq!(themed(&svg), format!("<rect fill=\"var({})\"/>", tone.variable()));
        }
    }

    #[test]
    fn text_that_looks_like_a_sentinel_stays_text() {
        for text in ["#FE0100", "\"#FE01é", "\"#FE01", "\"#FE01FF\"", "\"#FE010"] {
            assert_eq!(themed(text), text);
        }
    }
}
