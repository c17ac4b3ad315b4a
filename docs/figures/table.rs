//! A table as coloured squares.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::number;
use super::svg::{Colour, INK, ZOOM, draw, drawing};

/// Side of the picture in the units of its fonts.
const SIDE: u32 = 290;
/// A table with more rows is a picture: its cells have no frames.
const FRAMED: usize = 12;

/// Blue for 1, nothing for 0, orange for −1, or a number in each cell.
pub struct Table<'a> {
    /// The values, row by row, from the top.
    pub rows: &'a [Vec<f64>],
    /// What a value of full colour is.
    pub full: f64,
    /// Whether the cells carry their numbers.
    pub numbers: bool,
}

impl Table<'_> {
    /// The picture.
    ///
    /// # Errors
    /// If plotters cannot draw it.
    pub fn svg(&self, alt: &str) -> Result<String> {
        let (height, side) = (self.rows.len(), SIDE * ZOOM);
        let width = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let count = height.max(width).max(1);
        let edge = |k: usize| {
            let pixels = (k * side as usize) / count;
            i32::try_from(pixels).unwrap_or(i32::MAX)
        };
        draw((SIDE, SIDE), alt, |root| {
            for (i, row) in self.rows.iter().enumerate() {
                for (j, &value) in row.iter().enumerate() {
                    let ends = [(edge(j), edge(i)), (edge(j + 1), edge(i + 1))];
                    let hue = if value < 0.0 {
                        Colour::Orange
                    } else {
                        Colour::Blue
                    };
                    let strength = (value.abs() / self.full).min(1.0);
                    let fill = hue.rgb().mix(strength).filled();
                    root.draw(&Rectangle::new(ends, fill)).map_err(drawing)?;
                    if count <= FRAMED {
                        let frame = INK.mix(0.25).stroke_width(ZOOM);
                        root.draw(&Rectangle::new(ends, frame)).map_err(drawing)?;
                    }
                    if self.numbers {
                        let [a, b] = ends;
                        let middle = (a.0.midpoint(b.0), a.1.midpoint(b.1));
                        let size = 110 * ZOOM / u32::try_from(count)?;
                        let centred = TextStyle::from(("sans-serif", size).into_font())
                            .color(&INK)
                            .pos(Pos::new(HPos::Center, VPos::Center));
                        let text = Text::new(number(value), middle, centred);
                        root.draw(&text).map_err(drawing)?;
                    }
                }
            }
            Ok(())
        })
    }
}
