//! Workers: their order with the cut, their accuracy with intervals, and the table.

use plotters::style::text_anchor::HPos;

use super::{CrowdReport, WorkerLine, buckets, mean};
use crate::crowd::selection::{Choice, FOLDS, LEAST_ANSWERS};
use crate::report::chart::{Axis, Canvas, Drawn, Picture, Plot, Shape};
use crate::report::html::name;
use crate::report::number::{count, decimal, percent, significant};
use crate::report::page::{Row, Section, card};
use crate::report::scale::{Scale, extent};
use crate::report::theme::Tone;
use crate::report::{PictureError, page};

/// Rows of the table: this many from the top and half as many from the bottom.
const TABLE_TOP: usize = 120;

/// What workers are ordered by, in words.
struct Measure {
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
}

impl Measure {
    fn of(choice: Choice) -> Self {
        match choice {
            Choice::Asked => Self {
                name: "Information",
                unit: "nats",
                meaning: "Information is how much a worker's answers tell about everybody else's.",
            },
            Choice::HeldOut | Choice::Open => Self {
                name: "Relevance",
                unit: "nats per task",
                meaning: "Relevance is how much a worker's answers tell about the labels; who answers more tasks \
                          tells more.",
            },
        }
    }
}

/// Nothing to say without workers.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    if report.workers.is_empty() {
        return Ok(None);
    }
    let body = [order_card(report)?, accuracy_card(report)?, table_card(report)].concat();
    let lead = format!(
        "{} It honours whoever answers in a pattern, even a wrong one, and nobody who guesses.",
        Measure::of(report.choice).meaning
    );
    Ok(Some(Section { id: "workers", title: "Workers", lead, body }))
}

/// Workers by their measure, with the cut.
fn order_card(report: &CrowdReport<'_>) -> Result<String, PictureError> {
    let title = format!("Workers by {}", Measure::of(report.choice).name.to_lowercase());
    let workers = count(report.workers.len() as u64);
    let mut help = match report.cut {
        _ if report.workers.iter().all(|worker| worker.selected) => match report.workers.len() {
            1 => "The only worker was used.".to_owned(),
            _ => format!("All {workers} workers were used."),
        },
        Some(cut) => {
            format!("Workers to the left of the line were used: {} of {workers}.", count(cut as u64))
        }
        None => "Workers in colour were used.".to_owned(),
    };
    if report.null_information.is_some_and(f64::is_finite) {
        help.push_str(" A worker below the dashed line tells no more than guessing would.");
    }
    help.push_str(&reason(report.choice));
    let picture = Picture { id: "order", title: &title, description: &help, shape: Shape::Wide };
    let svg = picture.draw(|canvas| paint_order(canvas, report))?;
    Ok(card(&title, &help, &svg))
}

/// How the number of workers came about.
fn reason(choice: Choice) -> String {
    match choice {
        Choice::Asked => String::new(),
        Choice::HeldOut => format!(
            " Their number was chosen by {FOLDS}-fold held-out prediction of the answers: the best one if it leads \
             all workers by more than chance, otherwise all. Every task keeps at least {LEAST_ANSWERS} answers if it has them, \
             also from workers who were not used."
        ),
        Choice::Open => " No smaller number was tried: the answers do not tell the workers apart.".to_owned(),
    }
}

/// One bar per worker, or per group of neighbours where there are more workers than pixels.
fn paint_order(canvas: &Canvas<'_>, report: &CrowdReport<'_>) -> Drawn {
    let workers = &report.workers;
    let scale = measure_scale(workers, report.null_information);
    let Measure { name, unit, .. } = Measure::of(report.choice);
    let powers = if scale.is_powers() { ", each line ten times the next" } else { "" };
    let name = &format!("{name} in {unit}{powers}");
    let mut plot =
        Plot::new(canvas, &rank_axis(canvas, workers.len()), &Axis { scale, ticks: scale.ticks(5), name })?;
    // Bars of a few workers stand apart and are no wider than a twelfth of the axis.
    let gap = if workers.len() <= 100 { 0.5 - (workers.len() as f64 / 24.0).min(0.38) } else { 0.0 };
    for range in buckets(workers.len(), if canvas.is_narrow() { 140 } else { 320 }) {
        let Some(group) = workers.get(range.clone()) else { continue };
        let used = 2 * group.iter().filter(|worker| worker.selected).count() >= group.len();
        let (from, to) = (range.start as f64 + gap, range.end as f64 - gap);
        let tone = if used { Tone::Accent } else { Tone::Off };
        plot.bar((from, to), mean(group.iter().map(|worker| worker.measure)), tone)?;
    }
    if let Some(null) = report.null_information {
        plot.mark_y(null, "guessing", HPos::Right)?;
    }
    match report.cut {
        Some(cut) if cut < workers.len() => plot.mark_x(cut as f64, &format!("{} used", count(cut as u64))),
        _ => Ok(()),
    }
}

/// Linear from zero, or in powers of ten where half of the workers would otherwise be too small to see.
fn measure_scale(workers: &[WorkerLine<'_>], null: Option<f64>) -> Scale {
    let values = || workers.iter().map(|worker| worker.measure).chain(null);
    let mut positive: Vec<f64> = values().filter(|v| v.is_finite() && *v > 0.0).collect();
    positive.sort_by(f64::total_cmp);
    match (positive.get(positive.len() / 2), positive.first(), positive.last()) {
        (Some(median), Some(low), Some(high)) if *median < high / 50.0 => {
            Scale::powers(low.max(high * 1e-7) / 2.0, high * 1.2)
        }
        _ => Scale::from_zero(values()),
    }
}

/// Places in the order: worker `i` stands at `i..i + 1`.
fn rank_axis(canvas: &Canvas<'_>, workers: usize) -> Axis<'static> {
    let scale = Scale::linear(0.0, workers as f64);
    let ticks = scale.whole_ticks(if canvas.is_narrow() { 4 } else { 10 });
    Axis { scale, ticks, name: "Workers, most informative first" }
}

/// Accuracy with intervals, in the same order.
fn accuracy_card(report: &CrowdReport<'_>) -> Result<String, PictureError> {
    let title = "Accuracy of each worker";
    let help = if report.workers.len() <= MARKS {
        "A dot is the estimated share of right answers, its bar the interval that holds it. Same order as above; \
         grey workers were not used."
            .to_owned()
    } else {
        format!(
            "There are too many workers for a mark each: a dot is the mean of {} neighbours in the order above, \
             its bar reaches from the worst to the best of them.",
            count(report.workers.len().div_ceil(MARKS) as u64)
        )
    };
    let picture = Picture { id: "accuracy", title, description: &help, shape: Shape::Wide };
    let svg = picture.draw(|canvas| paint_accuracy(canvas, report))?;
    Ok(card(title, &help, &svg))
}

/// Marks of the accuracy picture.
const MARKS: usize = 50;

/// A dot and an interval per worker or group of neighbours.
fn paint_accuracy(canvas: &Canvas<'_>, report: &CrowdReport<'_>) -> Drawn {
    let workers = &report.workers;
    let scale = Scale::linear(0.0, 1.0);
    let y = Axis { scale, ticks: scale.ticks(5), name: "Accuracy" };
    let mut plot = Plot::new(canvas, &rank_axis(canvas, workers.len()), &y)?;
    if report.labels.len() > 1 {
        plot.mark_y(1.0 / report.labels.len() as f64, "chance", HPos::Left)?;
    }
    for range in buckets(workers.len(), MARKS) {
        let middle = f64::midpoint(range.start as f64, range.end as f64);
        let Some(group) = workers.get(range) else { continue };
        let used = 2 * group.iter().filter(|worker| worker.selected).count() >= group.len();
        let interval = match group {
            [one] if workers.len() <= MARKS => (one.accuracy_low, one.accuracy, one.accuracy_high),
            many => spread(many),
        };
        plot.interval(middle, interval, if used { Tone::Accent } else { Tone::Off })?;
    }
    Ok(())
}

/// Worst, mean and best accuracy.
fn spread(workers: &[WorkerLine<'_>]) -> (f64, f64, f64) {
    let accuracies = || workers.iter().map(|worker| worker.accuracy);
    let (low, high) = extent(accuracies()).unwrap_or((f64::NAN, f64::NAN));
    (low, mean(accuracies()), high)
}

/// Every worker, or the two ends of a long list.
fn table_card(report: &CrowdReport<'_>) -> String {
    let workers = &report.workers;
    let measure = format!("#{}", Measure::of(report.choice).name);
    let heads = ["#Rank", "Worker", "#Answers", "#Accuracy", "#Interval", &measure, "Used"];
    let line = |(i, worker): (usize, &WorkerLine<'_>)| Row::Cells(cells(i + 1, worker));
    let bottom =
        if workers.len() > TABLE_TOP * 3 / 2 { workers.len() - TABLE_TOP / 2 } else { workers.len() };
    let top = if bottom < workers.len() { TABLE_TOP } else { workers.len() };
    let mut rows: Vec<Row> = workers.iter().enumerate().take(top).map(line).collect();
    if bottom > top {
        rows.push(Row::Gap(format!("{} workers between these are left out", count((bottom - top) as u64))));
        rows.extend(workers.iter().enumerate().skip(bottom).map(line));
    }
    card(
        "All workers in numbers",
        if bottom > top {
            "The two ends of the order. The interval is of the accuracy, in percent."
        } else {
            "Every worker, the most informative first. The interval is of the accuracy, in percent."
        },
        &page::table("Workers, the most informative first", &heads, &rows),
    )
}

/// One row of the table.
fn cells(rank: usize, worker: &WorkerLine<'_>) -> Vec<String> {
    let used = if worker.selected { "yes" } else { "<span class=\"no\">no</span>" };
    vec![
        count(rank as u64),
        name(worker.name, 40),
        count(worker.answers),
        percent(worker.accuracy, 1),
        format!("{} – {}", decimal(worker.accuracy_low * 100.0, 1), decimal(worker.accuracy_high * 100.0, 1)),
        significant(worker.measure),
        used.to_owned(),
    ]
}
