//! The tour: what mixlet does, shown on data that it makes itself.
//!
//! ```text
//!   run ─► a stop: heading, two sentences, work, one table ─► the next stop ─► … ─► one HTML report
//!                                    └──────── pictures ────────────────────────────┘
//! ```
//!
//! A stop is a function that does its work and tells the [`Guide`] about it; [`run`] is the list of stops.

pub mod crowd;
pub mod glyphs;
mod guide;
pub mod mixture;

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crowd::CrowdOutcome;
use glyphs::GlyphsOutcome;
pub use guide::Guide;
use mixture::MixtureOutcome;

/// The files of generated data.
pub const DATA_FILES: [&str; 6] =
    ["answers.csv", "gold.csv", "visits.csv", "kinds.csv", "signs-idx3-ubyte", "signs.csv"];

/// What a tour is given.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Seed of all data.
    pub seed: u64,
    /// Where the report goes.
    pub report: PathBuf,
    /// A folder for the generated data; it must exist. None: the data is forgotten.
    pub data: Option<PathBuf>,
}

impl Default for DemoOptions {
    /// The report goes to the current directory, under a name that says where it came from.
    fn default() -> Self {
        Self { seed: 0, report: "mixlet-demo.html".into(), data: None }
    }
}

/// What the stops found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tour {
    /// Seed of all data.
    pub seed: u64,
    /// Labels out of disagreeing answers.
    pub crowd: CrowdOutcome,
    /// Two kinds of visitors, and the pages that tell.
    pub mixture: MixtureOutcome,
    /// What is on bitmaps.
    pub glyphs: GlyphsOutcome,
}

/// Walks the tour, printing each stop to `out`, and writes the report.
pub fn run(options: &DemoOptions, out: &mut dyn Write) -> Result<Tour> {
    let mut guide = Guide::new(out);
    let crowd = crowd::visit(options, &mut guide)?;
    let mixture = mixture::visit(options, &mut guide)?;
    let glyphs = glyphs::visit(options, &mut guide)?;
    guide.write_report(options)?;
    Ok(Tour { seed: options.seed, crowd, mixture, glyphs })
}
