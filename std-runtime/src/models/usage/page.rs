//! A page with the heat map of the experts.

use super::{ExpertUsage, LayerUsage};
use crate::error::Result;
use crate::report::chart::{Picture, Shape};
use crate::report::grid::Grid;
use crate::report::html;
use crate::report::number::{count, decimal, percent};
use crate::report::page::{Figure, Page, Row, Section, card, table};

/// The page of some layers of a model; `command` made it.
pub fn page(layers: &[LayerUsage], title: &str, command: &str) -> Result<String> {
    let dead: usize = layers.iter().map(|layer| layer.dead_experts).sum();
    let experts: usize = layers.iter().map(|layer| layer.experts.len()).sum();
    let (slots, dropped) =
        layers.iter().fold((0, 0), |(slots, dropped), it| (slots + it.slots, dropped + it.dropped));
    let lowest = layers.iter().map(|layer| layer.load_entropy).fold(f64::INFINITY, f64::min);
    let figure = |label: &str, value: String, note: &str| Figure {
        label: label.to_owned(),
        value,
        note: note.to_owned(),
    };
    let figures = [
        figure("Layers", count(layers.len() as u64), "with experts"),
        figure("Idle experts", count(dead as u64), &format!("of {}", count(experts as u64))),
        figure("Dropped", percent(dropped as f64 / slots.max(1) as f64, 2), "of the slots that asked"),
        figure("Lowest entropy", decimal(lowest, 3), "of a layer's loads; 1 is even"),
    ];
    let verdict = match dead {
        0 => "Every expert was asked for.".to_owned(),
        dead => format!("{} of {} experts were never asked for.", count(dead as u64), count(experts as u64)),
    };
    let section = Section {
        id: "usage",
        title: "How the experts were used",
        lead: "A row is a layer, a cell an expert: the stronger the colour, the more tokens asked for it."
            .into(),
        body: loads(layers)? + &figures_table(layers),
    };
    let page = Page {
        kind: "experts",
        title,
        verdict: &verdict,
        figures: &figures,
        sections: vec![section],
        command,
        ..Page::default()
    };
    Ok(page.render())
}

/// The heat map.
fn loads(layers: &[LayerUsage]) -> Result<String> {
    let columns = layers.iter().map(|layer| layer.experts.len()).max().unwrap_or(0);
    let cell = |layer: &LayerUsage, expert: &ExpertUsage| {
        let load = layer.relative_load(expert);
        (load / 2.0, decimal(load, 1))
    };
    let row = |layer: &LayerUsage| {
        let known: Vec<_> = layer.experts.iter().map(|expert| cell(layer, expert)).collect();
        let none = std::iter::repeat_n((f64::NAN, String::new()), columns - known.len());
        known.into_iter().chain(none).collect::<Vec<_>>()
    };
    let grid = Grid {
        rows: layers.iter().map(|layer| format!("{} {}", layer.stack.name(), layer.layer)).collect(),
        columns: (0..columns).map(|expert| expert.to_string()).collect(),
        cells: layers.iter().flat_map(row).collect(),
    };
    let picture = Picture {
        id: "loads",
        title: "Loads of the experts",
        description: "A row for each layer, a cell for each expert; strong cells have twice their share or more.",
        shape: Shape::Wide,
    };
    let help =
        "Loads before capacity, over an even share: 1 is even, the strongest colour twice that or more.";
    Ok(card("Loads", help, &grid.draw(&picture)?))
}

/// The figures of every layer.
fn figures_table(layers: &[LayerUsage]) -> String {
    let heads = [
        "layer",
        "#tokens",
        "#dropped",
        "#left behind",
        "#utilisation",
        "#entropy",
        "#spread",
        "#largest",
        "#idle",
        "#confidence",
    ];
    let row = |layer: &LayerUsage| {
        let cells = vec![
            html::escape(&format!("{} {}", layer.stack.name(), layer.layer)),
            count(layer.tokens),
            percent(layer.drop_share(), 2),
            percent(layer.left_behind, 2),
            layer.utilisation.map_or("–".to_owned(), |share| percent(share, 1)),
            decimal(layer.load_entropy, 3),
            decimal(layer.load_variation, 3),
            percent(layer.largest_share, 1),
            count(layer.dead_experts as u64),
            decimal(layer.confidence, 3),
        ];
        Row::Cells(cells)
    };
    let help = "Entropy is that of the loads over its largest value, spread their standard deviation over the mean, largest \
                the share of the busiest expert, confidence the mean gate of the slots that got a place.";
    card(
        "Figures",
        help,
        &table("Figures of every layer", &heads, &layers.iter().map(row).collect::<Vec<_>>()),
    )
}
