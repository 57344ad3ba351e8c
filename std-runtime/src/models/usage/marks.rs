//! A heat map made of characters: a line per layer, a mark per expert.

use super::LayerUsage;
use crate::report::number::{count, decimal, percent};

/// From a little to twice an even share and more; nothing at all is [`NONE`].
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// An expert nobody asked for.
const NONE: char = '·';
/// Marks of a line.
const WIDTH: usize = 64;

/// The heat map of some layers, with figures beside it and a line that says how to read it; empty without layers.
///
/// ```
/// # use mixlet_runtime::models::{forward::Side, usage::{ExpertUsage, LayerUsage, marks}};
/// let expert = |load| ExpertUsage { load, dropped: 0, gate_share: 0.25 };
/// let layer = LayerUsage { stack: Side::Decoder, layer: 3, tokens: 8, slots: 8, dropped: 0, left_behind: 0.0,
///     utilisation: None, load_variation: 1.0, load_entropy: 0.5, largest_share: 0.5, dead_experts: 1, confidence: 0.25,
///     experts: [4, 2, 0, 2].map(expert).to_vec() };
/// assert!(marks(&[layer]).contains("  decoder 3  █▄·▄ "));
/// assert_eq!(marks(&[]), "");
/// ```
pub fn marks(layers: &[LayerUsage]) -> String {
    let Some(most) = layers.iter().map(|layer| layer.experts.len()).max() else { return String::new() };
    let width = most.clamp("experts".len(), WIDTH);
    let mut text = format!(
        "Usage      a mark for each expert: {NONE} none, ▄ an even share, █ twice that and more\n  \
         {:<9}  {:<width$}  {:>9}  {:>7}  {:>7}  {:>7}  {:>7}  {:>4}  {:>10}\n",
        "layer", "experts", "tokens", "dropped", "entropy", "spread", "largest", "dead", "confidence",
    );
    for layer in layers {
        let marks: Vec<char> = layer.experts.iter().map(|expert| mark(layer.relative_load(expert))).collect();
        let mut lines = marks.chunks(width);
        let first: String = lines.next().unwrap_or_default().iter().collect();
        let name = format!("{} {}", layer.stack.name(), layer.layer);
        text += &format!(
            "  {name:<9}  {first:<width$}  {:>9}  {:>7}  {:>7}  {:>7}  {:>7}  {:>4}  {:>10}\n",
            count(layer.tokens),
            percent(layer.drop_share(), 1),
            decimal(layer.load_entropy, 3),
            decimal(layer.load_variation, 2),
            percent(layer.largest_share, 1),
            count(layer.dead_experts as u64),
            decimal(layer.confidence, 3),
        );
        lines.for_each(|line| text += &format!("  {:<9}  {}\n", "", String::from_iter(line)));
    }
    text
}

/// The mark of a load over an even share.
fn mark(load: f64) -> char {
    if load == 0.0 {
        return NONE;
    }
    MARKS[((load * 4.0).ceil() as usize).clamp(1, MARKS.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_grow_with_the_load() {
        let loads = [0.0, 0.01, 0.25, 0.26, 0.9, 1.0, 1.01, 1.75, 2.0, 9.0];
        assert_eq!(loads.map(mark).iter().collect::<String>(), "·▁▁▂▄▄▅▇██");
    }
}
