//! Heat maps of affinity matrices.

use maud::{Markup, html};

use super::relations::{Map, Relations};
use crate::short::short;

/// Side of a cell in the drawing's units.
const CELL: usize = 10;
/// Colours of 0, 1/4, … 1 between the least and the greatest value, of rising brightness (close to "viridis").
const COLOURS: [[f64; 3]; 5] = [
    [68.0, 1.0, 84.0],
    [59.0, 82.0, 139.0],
    [33.0, 145.0, 140.0],
    [94.0, 201.0, 98.0],
    [253.0, 231.0, 37.0],
];

/// The figure: for each noise level the images, then labels, real images and every player on one scale.
pub fn figures(relations: &Relations) -> Markup {
    html! {
        @for level in &relations.levels {
            h4 { "Noise σ/α = " (short(level.ratio)) }
            @let maps: Vec<&Map> = std::iter::once(&relations.real).chain(&level.maps).collect();
            @let scale = scale(&maps);
            div.row {
                (figure(&relations.same_class, (0.0, 1.0)))
                @for map in &maps { (figure(map, scale)) }
            }
            p.quiet {
                "Colours from " (short(f64::from(scale.0))) " (dark) to " (short(f64::from(scale.1)))
                " (bright) in all but the first; the diagonal is 1 by definition and not part of the scale."
            }
            figure.strip {
                img src=(super::data_uri::data_uri(&level.picture)) alt=(format!("rows: {}", level.rows.join(", ")));
                figcaption { "Rows: " (level.rows.join(" · ")) ". Columns as in the heat maps." }
            }
        }
    }
}

fn figure(map: &Map, scale: (f32, f32)) -> Markup {
    let n = map.values.len();
    let side = n * CELL;
    html! {
        figure.heat {
            svg viewBox=(format!("0 0 {side} {side}")) role="img" aria-label=(format!("affinity: {}", map.name)) shape-rendering="crispEdges" {
                @for (i, row) in map.values.iter().enumerate() {
                    @for (j, value) in row.iter().enumerate() {
                        rect x=(j * CELL) y=(i * CELL) width=(CELL) height=(CELL) fill=(colour(*value, scale)) {}
                    }
                }
            }
            figcaption {
                b { (map.name) }
                @if let Some(distance) = map.from_real { br; "mean |A − A" sub { "real" } "| " (short(distance)) }
                @if let Some(correlation) = map.with_labels { br; "correlation with labels " (short(correlation)) }
            }
        }
    }
}

/// Least and greatest entry off the diagonal.
fn scale(maps: &[&Map]) -> (f32, f32) {
    let mut ends = (f32::INFINITY, f32::NEG_INFINITY);
    for map in maps {
        for (i, row) in map.values.iter().enumerate() {
            for (_, value) in row.iter().enumerate().filter(|(j, _)| *j != i) {
                ends = (ends.0.min(*value), ends.1.max(*value));
            }
        }
    }
    ends
}

/// `#rrggbb` of a value on a scale.
fn colour(value: f32, (low, high): (f32, f32)) -> String {
    let share = (f64::from(value) - f64::from(low)) / (f64::from(high) - f64::from(low));
    // NaN, of a scale without width, is the darkest.
    let share = if share.is_nan() {
        0.0
    } else {
        share.clamp(0.0, 1.0)
    };
    let place = share * (COLOURS.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ place ≤ 4"
    )]
    let below = (place.floor() as usize).min(COLOURS.len() - 2);
    let weight = place - below as f64;
    let mixed = |k: usize| (1.0 - weight) * COLOURS[below][k] + weight * COLOURS[below + 1][k];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of bytes"
    )]
    let [r, g, b] = [0, 1, 2].map(|k| mixed(k).round() as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_rise_with_the_value() {
        assert_eq!(colour(-1.0, (-1.0, 1.0)), "#440154");
        assert_eq!(colour(1.0, (-1.0, 1.0)), "#fde725");
        assert_eq!(colour(0.0, (-1.0, 1.0)), "#21918c");
        assert_eq!(colour(-0.75, (-1.0, 1.0)), "#402a70");
        assert_eq!(colour(9.0, (-1.0, 1.0)), "#fde725");
        assert_eq!(colour(1.0, (1.0, 1.0)), "#440154");
    }

    #[test]
    fn the_diagonal_is_not_on_the_scale() {
        let map = Map {
            name: String::new(),
            values: vec![vec![1.0, 0.25], vec![-0.5, 1.0]],
            from_real: None,
            with_labels: None,
        };
        assert_eq!(scale(&[&map]), (-0.5, 0.25));
    }
}
