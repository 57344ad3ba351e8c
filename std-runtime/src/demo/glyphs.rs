//! The bitmap stop: what is on six hundred spotted pictures, without anybody saying so.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Serialize;

use crate::demo::guide::Pictures;
use crate::demo::{DemoOptions, Guide};
use crate::error::Result;
use crate::mixture::analysis::{Analysis, AnalysisOptions};
use crate::mixture::generate::{GLYPH_NAMES, GLYPH_SIDE, Glyphs, glyphs, labels};
use crate::mixture::page::report;
use crate::mixture::report::sections;
use crate::output::write_file;
use crate::report::number::{percent, seconds};
use crate::report::page::Figure;

/// Number of pictures.
const PICTURES: usize = 600;

/// Numbers of classes that are tried.
const CLASSES: RangeInclusive<usize> = 2..=8;

/// Random starts of each.
const STARTS: usize = 10;

/// Pictures as a class that are shown on the terminal.
const SHOWN: usize = 6;

/// What the bitmap stop found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GlyphsOutcome {
    /// Number of pictures.
    pub rows: usize,
    /// Number of pixels of each.
    pub columns: usize,
    /// Number of classes that were found.
    pub classes: usize,
    /// Share of wrong classes, after the best match.
    pub error_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Shows the stop.
pub fn visit(options: &DemoOptions, guide: &mut Guide<'_>) -> Result<GlyphsOutcome> {
    let made = glyphs(PICTURES, options.seed);
    guide.open("glyphs", "Bitmaps: what is on the pictures", &lead())?;
    if let Some(folder) = &options.data {
        write(&made, folder)?;
    }
    let mut asked = AnalysisOptions { classes: CLASSES, ..AnalysisOptions::of_classes(1) };
    asked.truth = Some(labels(&made.truth, &GLYPH_NAMES));
    (asked.fit.restarts, asked.fit.seed) = (STARTS, options.seed);
    let analysis = Analysis::run(&made.rows, &asked, &())?;
    let outcome = GlyphsOutcome {
        rows: made.rows.len(),
        columns: made.rows.columns.len(),
        classes: analysis.classes(),
        error_rate: analysis.error_rate().unwrap_or(f64::NAN),
        seconds: analysis.seconds.fit,
    };
    guide.drawing(&prototypes(&analysis))?;
    let sentence = sentence(&outcome);
    let (first, last) = CLASSES.into_inner();
    let took =
        format!("{STARTS} starts each of {first} to {last} classes took {}.", seconds(outcome.seconds));
    guide.say(&format!("{sentence} {took}"))?;
    let shown = report(&made.rows, &analysis)?;
    guide.show(Pictures {
        verdict: sentence,
        figures: vec![Figure {
            label: "Bitmaps".to_owned(),
            value: percent(outcome.error_rate, 1),
            note: "taken for another sign".to_owned(),
        }],
        warnings: Vec::new(),
        sections: sections(&shown)?
            .into_iter()
            .filter(|section| ["classes", "choice"].contains(&section.id))
            .collect(),
    });
    Ok(outcome)
}

fn lead() -> String {
    format!(
        "{PICTURES} pictures of {GLYPH_SIDE} x {GLYPH_SIDE} pixels show {} signs, and one pixel in five is wrong. mixlet \
         packs a pixel into a bit, finds out how many signs there are, and sorts the pictures by them.",
        GLYPH_NAMES.len()
    )
}

fn sentence(outcome: &GlyphsOutcome) -> String {
    let GlyphsOutcome { rows, classes, error_rate, .. } = outcome;
    format!(
        "BIC finds {classes} signs on {rows} bitmaps; {} of them are in another class than their like.",
        percent(*error_rate, 1)
    )
}

/// What classes look like, side by side: half blocks, so that two pixels are one character.
fn prototypes(analysis: &Analysis) -> String {
    let classes = analysis.classes();
    let is_dark = |class: usize, row: usize, column: usize| {
        let cell = 2 * (row * GLYPH_SIDE + column) + 1;
        row < GLYPH_SIDE && analysis.fit.parameters.probabilities[cell * classes + class] > 0.5
    };
    let character = |class, row, column| match (is_dark(class, row, column), is_dark(class, row + 1, column))
    {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    let line = |row: usize| {
        let of_class =
            |class| (0..GLYPH_SIDE).map(|column| character(class, row, column)).collect::<String>();
        let line = (0..classes.min(SHOWN)).map(of_class).collect::<Vec<_>>().join(" ");
        format!("  {}\n", line.trim_end())
    };
    (0..GLYPH_SIDE).step_by(2).map(line).collect()
}

/// Writes `signs-idx3-ubyte` and `signs.csv` into a folder, as `mixlet mixture fit` reads them.
fn write(made: &Glyphs, folder: &Path) -> Result<()> {
    write_file(&folder.join("signs-idx3-ubyte"), |out| write_pictures(made, out))?;
    write_file(&folder.join("signs.csv"), |out| {
        writeln!(out, "label")?;
        made.truth.iter().try_for_each(|&sign| writeln!(out, "{}", GLYPH_NAMES[sign as usize]))
    })
}

fn write_pictures(made: &Glyphs, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0, 0, 8, 3])?;
    for length in [made.rows.len(), GLYPH_SIDE, GLYPH_SIDE] {
        out.write_all(&(length as u32).to_be_bytes())?;
    }
    for row in 0..made.rows.len() {
        let pixels = (0..made.rows.columns.len()).map(|column| match made.rows.code(row, column) {
            Some(1) => 255,
            _ => 0,
        });
        out.write_all(&pixels.collect::<Vec<u8>>())?;
    }
    Ok(())
}
