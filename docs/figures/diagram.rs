//! Boxes, arrows and stops.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::svg::{Colour, INK, Stroke, ZOOM, draw, drawing};

/// Size of a diagram in the units of its fonts.
const SIZE: (i32, i32) = (400, 290);

/// A box with its text, centred at a point of a 400 by 290 canvas.
pub struct Node {
    /// Middle.
    pub at: (i32, i32),
    /// Half width.
    pub half: i32,
    /// Its text.
    pub text: String,
}

/// An arrow from a point to a point.
pub struct Arrow {
    /// From where to where.
    pub ends: [(i32, i32); 2],
    /// Its colour; ink for none.
    pub colour: Option<Colour>,
    /// Whether it is broken.
    pub dashed: bool,
    /// Its text, beside its middle.
    pub text: String,
    /// Where the text stands, from the middle.
    pub beside: (i32, i32),
}

/// Nodes, arrows and bars across a path that lets nothing through.
pub struct Diagram {
    /// What is drawn first.
    pub nodes: Vec<Node>,
    /// Then these.
    pub arrows: Vec<Arrow>,
    /// Middles of bars.
    pub stops: Vec<(i32, i32)>,
}

/// Half the height of a box.
const HALF: i32 = 15;

impl Diagram {
    /// The picture.
    ///
    /// # Errors
    /// If plotters cannot draw it.
    pub fn svg(&self, alt: &str) -> Result<String> {
        let zoom = i32::try_from(ZOOM)?;
        let scaled = |(x, y): (i32, i32)| (zoom * x, zoom * y);
        let size = (u32::try_from(SIZE.0)?, u32::try_from(SIZE.1)?);
        let font = |size: u32| ("sans-serif", size * ZOOM).into_font();
        let centred = Pos::new(HPos::Center, VPos::Center);
        draw(size, alt, |root| {
            for node in &self.nodes {
                let (x, y) = node.at;
                let corners = [
                    scaled((x - node.half, y - HALF)),
                    scaled((x + node.half, y + HALF)),
                ];
                let frame = INK.mix(0.6).stroke_width(ZOOM);
                root.draw(&Rectangle::new(corners, frame))
                    .map_err(drawing)?;
                let style = TextStyle::from(font(14)).color(&INK).pos(centred);
                let text = Text::new(node.text.clone(), scaled(node.at), style);
                root.draw(&text).map_err(drawing)?;
            }
            for arrow in &self.arrows {
                let [from, to] = arrow.ends;
                let stroke = if arrow.dashed {
                    Stroke::Dashed
                } else {
                    Stroke::Solid
                };
                let colour = arrow.colour.map_or(INK, |c| stroke.marked(c));
                let pen = colour.stroke_width(if arrow.colour.is_some() {
                    2 * ZOOM
                } else {
                    ZOOM
                });
                root.draw(&PathElement::new(vec![scaled(from), scaled(to)], pen))
                    .map_err(drawing)?;
                let solid = arrow.colour.map_or(INK, Colour::rgb);
                root.draw(&PathElement::new(
                    head(from, to, zoom),
                    solid.stroke_width(2 * ZOOM),
                ))
                .map_err(drawing)?;
                if !arrow.text.is_empty() {
                    let middle = (
                        from.0.midpoint(to.0) + arrow.beside.0,
                        from.1.midpoint(to.1) + arrow.beside.1,
                    );
                    let style = TextStyle::from(font(13)).color(&solid).pos(centred);
                    let text = Text::new(arrow.text.clone(), scaled(middle), style);
                    root.draw(&text).map_err(drawing)?;
                }
            }
            for &(x, y) in &self.stops {
                let bar = vec![scaled((x, y - 12)), scaled((x, y + 12))];
                let pen = Colour::Purple.rgb().stroke_width(4 * ZOOM);
                root.draw(&PathElement::new(bar, pen)).map_err(drawing)?;
            }
            Ok(())
        })
    }
}

/// The head of an arrow.
#[expect(clippy::cast_possible_truncation, reason = "pixels of a canvas")]
fn head(from: (i32, i32), to: (i32, i32), zoom: i32) -> Vec<(i32, i32)> {
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
    let (ux, uy) = (dx / length, dy / length);
    let barb = |side: f64| {
        let (bx, by) = (-ux - 0.6 * side * uy, -uy + 0.6 * side * ux);
        let zoom = f64::from(zoom);
        (
            (zoom * (f64::from(to.0) + 8.0 * bx)).round() as i32,
            (zoom * (f64::from(to.1) + 8.0 * by)).round() as i32,
        )
    };
    vec![barb(1.0), (zoom * to.0, zoom * to.1), barb(-1.0)]
}
