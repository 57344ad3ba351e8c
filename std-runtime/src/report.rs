//! Reports: one HTML file that needs nothing else, readable on any screen, in light, dark and print.
//!
//! ```text
//! numbers ──chart/bars──▶ SVG with sentinel colours ──theme──▶ SVG with CSS variables ─┐
//! names ────────html────▶ escaped text ───────────────────────────────────────────────┴─page──▶ file
//! ```
//!
//! * [`page`]: the shell, its style sheet, sections, cards, tiles and tables
//! * [`chart`]: a canvas, axes and the marks drawn between them
//! * [`bars`]: horizontal bars with names, for a handful of named numbers
//! * [`curve`]: a line over rounds; [`grid`]: shaded cells with names
//! * [`scale`]: where a number lies on an axis, and which ticks the axis shows
//! * [`theme`]: colours by role, so that one picture serves both themes
//! * [`html`] and [`number`]: text that cannot break the page, numbers that read well
//!
//! *Why well-formed XML:* the page is HTML, but every tag is closed, so a test can read it with an XML parser
//! and a person can process it with any tool. A renderer is a pure function of plain data: no clock, no file.

pub mod bars;
pub mod chart;
pub mod curve;
pub mod grid;
pub mod html;
pub mod number;
pub mod page;
pub mod scale;
pub mod theme;

use std::fmt;

/// A picture that the plotting library refused to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureError {
    /// The picture's title.
    pub picture: String,
    /// What the library said.
    pub reason: String,
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the picture '{}' could not be drawn: {}", self.picture, self.reason)
    }
}

impl std::error::Error for PictureError {}
