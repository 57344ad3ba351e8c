//! The mixture stop: two kinds of visitors, and the few pages that tell them apart.
//!
//! A generated table says who looked at which page. Five of six hundred pages know which of two kinds a visitor is; EM from
//! random starts follows chance in the others, stagewise EM and forward selection find the five.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::demo::guide::Pictures;
use crate::demo::{DemoOptions, Guide};
use crate::error::Result;
use crate::mixture::analysis::{Analysis, AnalysisOptions};
use crate::mixture::generate::{SparseRows, SparseSpec, labels, sparse};
use crate::mixture::page::report;
use crate::mixture::report::{MixtureReport, sections};
use crate::mixture::{Method, Select};
use crate::output::write_file;
use crate::report::PictureError;
use crate::report::bars::{self, Bar};
use crate::report::chart::{Picture, Shape};
use crate::report::number::{percent, seconds};
use crate::report::page::{Figure, Section, card};
use crate::report::theme::Tone;

/// What the kinds are called.
const KINDS: [&str; 2] = ["reader", "buyer"];

/// What the mixture stop found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MixtureOutcome {
    /// Number of visitors.
    pub rows: usize,
    /// Number of pages.
    pub columns: usize,
    /// Each method, the simplest first.
    pub methods: Vec<MixtureMethod>,
    /// Pages that tell the kinds apart.
    pub experts: usize,
    /// What stagewise EM found.
    pub stagewise: FoundPages,
    /// What forward selection found.
    pub forward: FoundPages,
}

/// How many pages a method took for telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FoundPages {
    /// Those that are.
    pub found: usize,
    /// Those that are not.
    pub mistaken: usize,
}

/// Few visitors, and many pages that know nothing.
fn spec() -> SparseSpec {
    SparseSpec { rows: 200, columns: 600, experts: 5, accuracy: (0.88, 0.95) }
}

/// How a method did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MixtureMethod {
    /// What it is called.
    pub method: &'static str,
    /// Share of wrong classes, after the best match.
    pub error_rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// What it does.
    pub note: String,
}

/// Shows the stop.
pub fn visit(options: &DemoOptions, guide: &mut Guide<'_>) -> Result<MixtureOutcome> {
    let made = sparse(&spec(), options.seed);
    guide.open("mixture", "A mixture: two kinds of visitors, and the pages that tell", &lead(&made))?;
    if let Some(folder) = &options.data {
        write(&made, folder)?;
    }
    let analyse = |method, select, restarts| -> Result<Analysis> {
        let mut asked = AnalysisOptions { method, select, ..AnalysisOptions::of_classes(2) };
        asked.truth = Some(labels(&made.truth, &KINDS));
        (asked.fit.restarts, asked.fit.seed) = (restarts, options.seed);
        Analysis::run(&made.rows, &asked, &())
    };
    let random = analyse(Method::Em, Select::All, 10)?;
    let stagewise = analyse(Method::Stagewise, Select::All, 1)?;
    let forward = analyse(Method::Forward, Select::Auto, 1)?;
    let outcome = MixtureOutcome {
        rows: made.rows.len(),
        columns: made.rows.columns.len(),
        methods: methods(&random, &stagewise, &forward),
        experts: made.experts.len(),
        stagewise: FoundPages::of(&made, &stagewise),
        forward: FoundPages::of(&made, &forward),
    };
    guide.table(&["Method", "#Wrong", "#Time", "Note"], &rows(&outcome.methods))?;
    guide.say(&sentence(&outcome))?;
    guide.show(pictures(&made, &stagewise, &outcome)?);
    Ok(outcome)
}

impl FoundPages {
    fn of(made: &SparseRows, analysis: &Analysis) -> Self {
        let found = analysis.selected.iter().filter(|column| made.experts.contains(column)).count();
        Self { found, mistaken: analysis.selected.len() - found }
    }

    fn words(&self) -> String {
        let mistaken = match self.mistaken {
            0 => "no others".to_owned(),
            1 => "one other".to_owned(),
            more => format!("{more} others"),
        };
        format!("{} (and {mistaken})", self.found)
    }
}

/// What the stop shows, in two sentences.
fn lead(made: &SparseRows) -> String {
    format!(
        "{} visitors looked at some of {} pages. {} of the pages are for readers or for buyers, the others for anybody; \
         nobody says which, and nobody says who is what. mixlet finds both out together.",
        made.rows.len(),
        made.rows.columns.len(),
        made.experts.len(),
    )
}

fn methods(random: &Analysis, stagewise: &Analysis, forward: &Analysis) -> Vec<MixtureMethod> {
    let rate = |score: Option<f64>| score.unwrap_or(f64::NAN);
    let by_selected = stagewise.truth_by_selected.as_ref().map(|score| score.aligned_error);
    let starts = random.chosen().restarts.len();
    let line =
        |method, error_rate, seconds, note: String| MixtureMethod { method, error_rate, seconds, note };
    vec![
        line(
            "EM, random starts",
            rate(random.error_rate()),
            random.seconds.fit,
            format!("the best of {starts} by likelihood"),
        ),
        line(
            "Stagewise EM, its columns",
            rate(by_selected),
            stagewise.seconds.fit,
            format!("{} pages speak", stagewise.selected.len()),
        ),
        line(
            "Stagewise EM, refined",
            rate(stagewise.error_rate()),
            stagewise.seconds.fit,
            "then EM with all pages".to_owned(),
        ),
        line(
            "Forward selection",
            rate(forward.error_rate()),
            forward.seconds.fit,
            format!("{} pages speak", forward.selected.len()),
        ),
    ]
}

fn rows(methods: &[MixtureMethod]) -> Vec<Vec<String>> {
    let row = |MixtureMethod { method, error_rate, seconds: time, note }: &MixtureMethod| {
        vec![(*method).to_owned(), percent(*error_rate, 1), seconds(*time), note.clone()]
    };
    methods.iter().map(row).collect()
}

fn sentence(outcome: &MixtureOutcome) -> String {
    format!(
        "Of the {} pages that tell, stagewise EM found {}, forward selection {}.",
        outcome.experts,
        outcome.stagewise.words(),
        outcome.forward.words()
    )
}

/// The stop's part of the report: errors by method, and the columns as stagewise EM sees them.
fn pictures(made: &SparseRows, stagewise: &Analysis, outcome: &MixtureOutcome) -> Result<Pictures> {
    let [random, .., refined, forward] = &outcome.methods[..] else { return Ok(Pictures::default()) };
    let figure = |method: &MixtureMethod| Figure {
        label: method.method.to_owned(),
        value: percent(method.error_rate, 1),
        note: "wrong kinds".to_owned(),
    };
    let shown = MixtureReport {
        classes: Vec::new(),
        objective: Vec::new(),
        truth: None,
        ..report(&made.rows, stagewise)?
    };
    let mut parts = vec![comparison(outcome)?];
    parts.extend(sections(&shown)?);
    Ok(Pictures {
        verdict: sentence(outcome),
        figures: vec![figure(random), figure(refined), figure(forward)],
        warnings: Vec::new(),
        sections: parts,
    })
}

fn comparison(outcome: &MixtureOutcome) -> Result<Section<'static>, PictureError> {
    let best = outcome.methods.iter().map(|method| method.error_rate).fold(f64::NAN, f64::min);
    let bar = |method: &MixtureMethod| Bar {
        name: method.method.to_owned(),
        value: method.error_rate,
        text: percent(method.error_rate, 1),
        tone: if method.error_rate == best { Tone::Accent } else { Tone::Off },
    };
    let bars: Vec<Bar> = outcome.methods.iter().map(bar).collect();
    let (title, help) = (
        "Wrong kinds by method",
        "Share of visitors taken for the other kind: the shorter, the better. The best is in colour.",
    );
    let picture = Picture { id: "mixture-methods", title, description: help, shape: Shape::Wide };
    let body = card(title, help, &bars::draw(&picture, &bars)?);
    let lead =
        "No method sees the kinds. Random starts follow chance where most columns know nothing.".to_owned();
    Ok(Section { id: "kinds", title: "Kinds of visitors", lead, body })
}

/// Writes `visits.csv` and `kinds.csv` into a folder, as `mixlet mixture fit` reads them.
fn write(made: &SparseRows, folder: &Path) -> Result<()> {
    write_file(&folder.join("visits.csv"), |out| write_visits(made, out))?;
    write_file(&folder.join("kinds.csv"), |out| write_kinds(made, out))
}

fn write_visits(made: &SparseRows, out: &mut dyn Write) -> io::Result<()> {
    let columns = &made.rows.columns.names;
    writeln!(out, "{}", columns.join(","))?;
    for row in 0..made.rows.len() {
        let value = |column| if made.rows.code(row, column) == Some(1) { "1" } else { "0" };
        writeln!(out, "{}", (0..columns.len()).map(value).collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

fn write_kinds(made: &SparseRows, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "label")?;
    made.truth.iter().try_for_each(|&kind| writeln!(out, "{}", KINDS[kind as usize]))
}
