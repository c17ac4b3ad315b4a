//! The constant of Eq. 14: where it is tight, and where it says little.

use anyhow::Result;
use sadm_theory::laws::finite::normal_density;
use sadm_theory::laws::tight_weight;

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, Table, decades, graph, places};

/// (g₁ − g₂)² for relations at u and v standard deviations from r.
fn difference(u: f64, v: f64, gamma: f64) -> f64 {
    let g = |m: f64| normal_density(0.0, (m * gamma).into(), gamma);
    (g(u) - g(v)).square().value
}

/// The quotient of both sides of Eq. 14 over (u, v), and along the diagonal's neighbourhood.
fn quotient(u: f64, v: f64) -> f64 {
    let gamma = 0.75;
    difference(u, v, gamma) / (tight_weight(gamma).value * ((u - v) * gamma).powi(2))
}

/// Where Eq. 14 is tight.
pub fn quotient_of_eq_14() -> Result<Figure> {
    let side: Vec<f64> = places(-3.0, 3.0, 32);
    let near = |u: f64, v: f64| {
        if (u - v).abs() < 1e-9 {
            (u - 1e-4, v + 1e-4)
        } else {
            (u, v)
        }
    };
    let rows: Vec<Vec<f64>> = side
        .iter()
        .rev()
        .map(|&v| {
            let row = side.iter().map(|&u| {
                let (u, v) = near(u, v);
                quotient(u, v)
            });
            row.collect()
        })
        .collect();
    let table = Table {
        rows: &rows,
        full: 1.0,
        numbers: false,
    };
    let halves = places(0.01, 1.5, 150);
    let panel = Panel {
        title: "Towards the steepest point".to_owned(),
        x: Axis::linear("distance k from the steepest point", 0.0, 1.5),
        y: Axis::linear("left side / right side", 0.0, 1.05),
        series: vec![
            Series::new(
                "quotient at u = 1 + k, v = 1 − k",
                Colour::Blue,
                Stroke::Solid,
                graph(&halves, |k| quotient(1.0 + k, 1.0 - k)),
            ),
            Series::new(
                "proved: at least 1 − 3k²",
                Colour::Orange,
                Stroke::Dashed,
                graph(&halves, |k| 1.0 - 3.0 * k * k),
            ),
            Series::new(
                "its rate, 1 − ⅔k²",
                Colour::Grey,
                Stroke::Dotted,
                graph(&halves, |k| 1.0 - 2.0 / 3.0 * k * k),
            ),
        ],
    };
    let caption = "The quotient of both sides of Eq. 14. Left: over u = (m₁ − r)/γ to the right and v = (m₂ − r)/γ upwards, both \
        from −3 to 3; full colour is 1. It comes near 1 only around (1, 1) and (−1, −1), and vanishes where both densities \
        agree, u = −v. Right: how it approaches 1.";
    Figure::new("tight-weight", caption)
        .table(
            "Left side / right side",
            &table,
            "two blue spots around (1, 1) and (−1, −1), white along the falling diagonal and in the corners",
        )?
        .panel(&panel, "the quotient falls from one at k = 0, above the proved parabola and close to its rate for small k")
}

/// Eq. 14 against the bound that needs no calculus.
pub fn weak_for_sharp() -> Result<Figure> {
    let gamma = 0.5;
    let distances = decades(1e-2, 10.0, 120);
    let steps = places(-6.0, 6.0, 1200);
    // The largest over r, by a fine grid: what any bound in the distance alone must lie above.
    let worst = |distance: f64| {
        let d = distance / gamma;
        steps
            .iter()
            .map(|&u| difference(u, u + d, gamma))
            .fold(0.0, |m: f64, v| if v > m || v.is_nan() { v } else { m })
    };
    let trivial = 1.0 / (std::f64::consts::TAU * gamma * gamma);
    let panel = Panel {
        title: String::new(),
        x: Axis::log("difference of relations |m₁ − m₂|", 1e-2, 10.0),
        y: Axis::log("squared difference of densities", 1e-4, 1e2),
        series: vec![
            Series::new(
                "Eq. 14: w(γ) |m₁ − m₂|²",
                Colour::Orange,
                Stroke::Dashed,
                graph(&distances, |d| tight_weight(gamma).value * d * d),
            ),
            Series::new(
                "trivial: 1/(2πγ²)",
                Colour::Purple,
                Stroke::Dotted,
                graph(&distances, |_| trivial),
            ),
            Series::new(
                "largest over r",
                Colour::Blue,
                Stroke::Solid,
                graph(&distances, worst),
            ),
        ],
    };
    let caption = format!(
        "Two bounds on (g₁ − g₂)² at γ = ½, and what they bound: the largest value over all r. Eq. 14 is exact for small \
        differences and says nothing beyond √e γ = {}, where the two bounds cross.",
        number(std::f64::consts::E.sqrt() * gamma)
    );
    Figure::new("weak-for-sharp", caption).panel(
        &panel,
        "a rising line, a horizontal line, and a curve that follows the lower of the two with a rounded corner",
    )
}
