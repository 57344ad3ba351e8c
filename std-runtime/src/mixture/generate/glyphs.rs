//! Small pictures of a few signs, with spots.

use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::{below, unit};
use crate::rows::{Bits, Cells, Columns, Rows};

/// What is on the pictures, in the order of their classes.
pub const GLYPH_NAMES: [&str; 6] = ["arrow", "cup", "heart", "house", "moon", "star"];

/// Pixels of a side.
pub const GLYPH_SIDE: usize = 12;

/// How often a pixel is wrong.
const NOISE: f64 = 0.2;

#[rustfmt::skip]
const ART: [[&str; 10]; 6] = [
    ["....##....",
     "...####...",
     "..######..",
     ".########.",
     "##########",
     "....##....",
     "....##....",
     "....##....",
     "....##....",
     "....##...."],
    ["..........",
     "########..",
     "########..",
     "##########",
     "#######..#",
     "#######..#",
     "##########",
     "#######...",
     ".#####....",
     "..###....."],
    [".##....##.",
     "####..####",
     "##########",
     "##########",
     "##########",
     ".########.",
     "..######..",
     "...####...",
     "....##....",
     ".........."],
    ["....##....",
     "...####...",
     "..##..##..",
     ".##....##.",
     "##......##",
     "##......##",
     "##..##..##",
     "##..##..##",
     "##..##..##",
     "##########"],
    ["...####...",
     ".####.....",
     ".###......",
     "###.......",
     "###.......",
     "###.......",
     "###.......",
     ".###.....#",
     ".#####.###",
     "...#####.."],
    ["....##....",
     "....##....",
     "...####...",
     "##########",
     ".########.",
     "..######..",
     "..######..",
     ".###..###.",
     ".#......#.",
     ".........."],
];

/// Pictures with what is on them.
#[derive(Clone, Debug)]
pub struct Glyphs {
    /// A row per picture, a column per pixel.
    pub rows: Rows,
    /// `[rows]`: the place of the sign in [`GLYPH_NAMES`].
    pub truth: Vec<u32>,
}

/// So many pictures of a seed: a random sign in the middle; one pixel in five is wrong.
pub fn glyphs(count: usize, seed: u64) -> Glyphs {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut bits = Bits::new(GLYPH_SIDE * GLYPH_SIDE);
    let mut truth = Vec::with_capacity(count);
    for _ in 0..count {
        let class = below(&mut random, ART.len());
        truth.push(class as u32);
        let pixel = |place: usize, random: &mut Pcg64Mcg| {
            let (row, column) = (place / GLYPH_SIDE, place % GLYPH_SIDE);
            let of_art = row.checked_sub(1).zip(column.checked_sub(1));
            let is_dark = of_art.is_some_and(|(row, column)| is_ink(class, row, column));
            Some(is_dark != (unit(random) < NOISE))
        };
        bits.push((0..GLYPH_SIDE * GLYPH_SIDE).map(|place| pixel(place, &mut random)));
    }
    let rows = Rows::of(Columns::binary(GLYPH_SIDE * GLYPH_SIDE), Cells::Bits(bits));
    Glyphs { rows: Rows { picture: Some((GLYPH_SIDE, GLYPH_SIDE)), ..rows }, truth }
}

fn is_ink(class: usize, row: usize, column: usize) -> bool {
    ART[class].get(row).and_then(|line| line.as_bytes().get(column)).is_some_and(|&byte| byte == b'#')
}
