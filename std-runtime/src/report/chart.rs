//! A picture on the page: a canvas, two axes, and the marks between them.
//!
//! Every picture is drawn twice, for a desk and for a phone, because shrinking a wide picture shrinks its text
//! with it; the style sheet shows the one that fits. Pixels of the plotting library are whole numbers, so
//! a picture is drawn [`FINE`] times as large as it is shown.

use std::io;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PictureError;
use super::html;
use super::scale::{Scale, Tick};
use super::theme::{Tone, themed};

/// Drawn pixels per shown pixel.
pub const FINE: u32 = 4;

/// Height of text, in shown pixels.
const TEXT: f64 = 12.5;

/// Width of a character, for margins only: no font is at hand to measure with.
const CHARACTER: f64 = 7.0;

/// What drawing on a canvas gives.
pub type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// How much room a picture takes on a desk; on a phone all are as wide as the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The whole width of the page.
    Wide,
    /// One of two columns.
    Half,
    /// A small multiple, drawn once: it is as small on a phone.
    Small,
    /// A square that fits a phone, drawn once.
    Square,
}

/// What a picture is called, for eyes and for screen readers.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Unique on the page; letters, digits and hyphens.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// What there is to see, in a sentence.
    pub description: &'a str,
    /// How much room it takes.
    pub shape: Shape,
}

impl Picture<'_> {
    /// Draws the picture with a function that paints a canvas of any size; gives SVG elements.
    pub fn draw(&self, paint: impl Fn(&Canvas<'_>) -> Drawn) -> Result<String, PictureError> {
        let sizes: &[(&str, u32, u32)] = match self.shape {
            Shape::Wide => &[("wide", 1000, 300), ("narrow", 350, 260)],
            Shape::Half => &[("wide", 480, 280), ("narrow", 350, 240)],
            Shape::Small => &[("small", 230, 230)],
            Shape::Square => &[("small", 360, 330)],
        };
        self.draw_sizes(sizes, paint)
    }

    /// Like [`draw`](Self::draw), as tall as `height` shown pixels.
    pub fn draw_tall(
        &self,
        height: u32,
        paint: impl Fn(&Canvas<'_>) -> Drawn,
    ) -> Result<String, PictureError> {
        let wide = if self.shape == Shape::Wide { 1000 } else { 480 };
        self.draw_sizes(&[("wide", wide, height), ("narrow", 350, height)], paint)
    }

    /// One SVG element per size.
    fn draw_sizes(
        &self,
        sizes: &[(&str, u32, u32)],
        paint: impl Fn(&Canvas<'_>) -> Drawn,
    ) -> Result<String, PictureError> {
        let mut out = String::new();
        for (class, width, height) in sizes {
            let svg = paint_svg(*width, *height, &paint)
                .map_err(|e| PictureError { picture: self.title.to_owned(), reason: e.to_string() })?;
            let (_, marks) = svg.split_once('>').unwrap_or(("", "</svg>"));
            out.push_str(&self.open_tag(class, *width, *height));
            out.push_str(&themed(marks));
        }
        Ok(out)
    }

    /// The SVG element's start with what a screen reader says of it.
    fn open_tag(&self, class: &str, width: u32, height: u32) -> String {
        let Self { id, title, description, .. } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture {class}\" viewBox=\"0 0 {} {}\" role=\"img\" \
             aria-labelledby=\"{id}-{class}-t {id}-{class}-d\"><title id=\"{id}-{class}-t\">{}</title>\
             <desc id=\"{id}-{class}-d\">{}</desc>\n",
            width * FINE,
            height * FINE,
            html::escape(title),
            html::escape(description),
        )
    }
}

/// Runs the plotting library on a string.
fn paint_svg(
    width: u32,
    height: u32,
    paint: &impl Fn(&Canvas<'_>) -> Drawn,
) -> Result<String, DrawingAreaErrorKind<io::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width * FINE, height * FINE)).into_drawing_area();
        let canvas = Canvas { area, width: f64::from(width), height: f64::from(height) };
        paint(&canvas)?;
        canvas.area.present()?;
    }
    Ok(svg)
}

/// Where a picture is painted, in shown pixels.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// Width in shown pixels.
    pub width: f64,
    /// Height in shown pixels.
    pub height: f64,
}

impl Canvas<'_> {
    /// Whether this is the picture for a phone.
    pub fn is_narrow(&self) -> bool {
        self.width < 400.0
    }

    /// A filled rectangle from corner to corner.
    pub fn rect(&self, from: (f64, f64), to: (f64, f64), tone: Tone, alpha: f64) -> Drawn {
        self.area.draw(&Rectangle::new([drawn(from), drawn(to)], tone.sentinel().mix(alpha).filled()))
    }

    /// A straight line.
    pub fn line(&self, from: (f64, f64), to: (f64, f64), tone: Tone) -> Drawn {
        let style = tone.sentinel().stroke_width(FINE);
        self.area.draw(&PathElement::new(vec![drawn(from), drawn(to)], style))
    }

    /// Text whose left end, middle or right end is at `at`, centred on that height.
    pub fn text(&self, text: &str, at: (f64, f64), anchor: HPos, tone: Tone) -> Drawn {
        let style = label_style(tone).pos(Pos::new(anchor, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), drawn(at), style))
    }
}

/// One axis: its scale, what stands along it, and what it measures.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    /// Where numbers lie.
    pub scale: Scale,
    /// Labelled places.
    pub ticks: Vec<Tick>,
    /// What the numbers are.
    pub name: &'a str,
}

/// The place and the axes that the marks of a chart refer to. Marks whose numbers are NaN are left out.
pub struct Plot<'a> {
    chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<Unit, Unit>>,
    x: Scale,
    y: Scale,
}

/// The plotting library's axis: `0..=1`, with the ticks that [`Scale`] chose.
struct Unit {
    ticks: Vec<Tick>,
}

impl Ranged for Unit {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * value).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.iter().map(|tick| tick.at).collect()
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..1.0
    }
}

impl ValueFormatter<f64> for Unit {
    fn format_ext(&self, at: &f64) -> String {
        self.ticks.iter().find(|tick| tick.at == *at).map(|tick| tick.text.clone()).unwrap_or_default()
    }
}

impl<'a> Plot<'a> {
    /// Draws axes, grid and names, and is ready for marks.
    pub fn new(
        canvas: &Canvas<'a>,
        x: &Axis<'_>,
        y: &Axis<'_>,
    ) -> Result<Self, DrawingAreaErrorKind<io::Error>> {
        let longest = y.ticks.iter().map(|tick| tick.text.chars().count()).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(&canvas.area)
            .margin_top(30 * FINE)
            .margin_right(18 * FINE)
            .margin_left(4 * FINE)
            .x_label_area_size(48 * FINE)
            .y_label_area_size((longest as f64 * CHARACTER + 14.0) * f64::from(FINE))
            .build_cartesian_2d(Unit { ticks: x.ticks.clone() }, Unit { ticks: y.ticks.clone() })?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(Tone::Rule.sentinel().stroke_width(FINE))
            .axis_style(Tone::Rule.sentinel().stroke_width(FINE))
            .label_style(label_style(Tone::Soft))
            .set_all_tick_mark_size(5 * FINE)
            .draw()?;
        canvas.text(y.name, (4.0, 10.0), HPos::Left, Tone::Soft)?;
        canvas.text(x.name, (canvas.width - 18.0, canvas.height - 8.0), HPos::Right, Tone::Soft)?;
        Ok(Self { chart, x: x.scale, y: y.scale })
    }

    /// A bar over `from..to`, from the axis' foot (or zero, if that is on the axis) to `value`.
    pub fn bar(&mut self, (from, to): (f64, f64), value: f64, tone: Tone) -> Drawn {
        let foot = if self.y.is_powers() { Some(0.0) } else { self.y.at(0.0) };
        let (Some(left), Some(right), Some(foot), Some(top)) =
            (self.x.at(from), self.x.at(to), foot, self.y.at(value))
        else {
            return Ok(());
        };
        self.one(Rectangle::new([(left, top), (right, foot)], tone.sentinel().filled()))
    }

    /// A line through points, on a faint ground of the same colour.
    pub fn line(&mut self, points: impl Iterator<Item = (f64, f64)>, tone: Tone) -> Drawn {
        let points: Vec<_> = points.filter_map(|(x, y)| Some((self.x.at(x)?, self.y.at(y)?))).collect();
        let (ground, stroke) = (tone.sentinel().mix(0.12), tone.sentinel().stroke_width(9 * FINE / 4));
        self.chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, ground))?;
        self.chart.draw_series(LineSeries::new(points, stroke)).map(drop)
    }

    /// A dot.
    pub fn dot(&mut self, x: f64, y: f64, tone: Tone) -> Drawn {
        match (self.x.at(x), self.y.at(y)) {
            (Some(x), Some(y)) => self.one(Circle::new((x, y), 3 * FINE, tone.sentinel().filled())),
            _ => Ok(()),
        }
    }

    /// A dot with an interval around it; only the dot where the interval is unknown.
    pub fn interval(&mut self, x: f64, (low, middle, high): (f64, f64, f64), tone: Tone) -> Drawn {
        if let (Some(x), Some(low), Some(middle), Some(high)) =
            (self.x.at(x), self.y.at(low), self.y.at(middle), self.y.at(high))
        {
            let style = tone.sentinel().stroke_width(3 * FINE / 2);
            self.one(ErrorBar::new_vertical(x, low, middle, high, style, 6 * FINE))?;
        }
        self.dot(x, middle, tone)
    }

    /// A line up from `x`, with a word beside its top, on the side that has more room.
    pub fn mark_x(&mut self, x: f64, text: &str) -> Drawn {
        let Some(x) = self.x.at(x) else { return Ok(()) };
        let style = Tone::Mark.sentinel().stroke_width(2 * FINE);
        self.one(PathElement::new(vec![(x, 0.0), (x, 1.0)], style))?;
        let side = if x > 0.5 { HPos::Right } else { HPos::Left };
        let gap = if x > 0.5 { -7 } else { 7 } * FINE as i32;
        self.words(text, (x, 1.0), (gap, 8 * FINE as i32), side, Tone::Mark)
    }

    /// A dashed line across at `y`, with a word above its right end, or at its left end, below if there is room.
    pub fn mark_y(&mut self, y: f64, text: &str, end: HPos) -> Drawn {
        let Some(y) = self.y.at(y) else { return Ok(()) };
        let style = Tone::Ink.sentinel().mix(0.7).stroke_width(5 * FINE / 4);
        let ends = [(0.0, y), (1.0, y)];
        self.chart.draw_series(DashedLineSeries::new(ends, 5 * FINE, 4 * FINE, style))?;
        let above = matches!(end, HPos::Right) || y < 0.15;
        let (x, right) = if matches!(end, HPos::Right) { (1.0, 0) } else { (0.0, 6) };
        let by = (right, if above { -9 } else { 10 });
        self.words(text, (x, y), (by.0 * FINE as i32, by.1 * FINE as i32), end, Tone::Ink)
    }

    /// Text at a place of the plot, moved by drawn pixels.
    fn words(&mut self, text: &str, at: (f64, f64), by: (i32, i32), side: HPos, tone: Tone) -> Drawn {
        let style = label_style(tone).pos(Pos::new(side, VPos::Center));
        self.one(EmptyElement::at(at) + Text::new(text.to_owned(), by, style))
    }

    /// Draws one element.
    fn one<E>(&mut self, element: E) -> Drawn
    where
        for<'b> &'b E: plotters::element::PointCollection<'b, (f64, f64)>,
        E: plotters::element::Drawable<SVGBackend<'a>>,
    {
        self.chart.draw_series([element]).map(drop)
    }
}

/// How labels look.
fn label_style(tone: Tone) -> TextStyle<'static> {
    // The library writes the size divided by 1.24.
    ("sans-serif", TEXT * 1.24 * f64::from(FINE)).into_font().color(&tone.sentinel())
}

/// Shown to drawn pixels.
fn drawn((x, y): (f64, f64)) -> (i32, i32) {
    let fine = f64::from(FINE);
    ((x * fine).round() as i32, (y * fine).round() as i32)
}
