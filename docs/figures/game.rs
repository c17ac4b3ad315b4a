//! The game: its growth without normalisation (E1), and who moves first (E6).

use anyhow::Result;
use ndarray::array;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions, structural_loss};

use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};
use super::{Figure, decades, graph, try_graph};

fn squared(relation: Relation) -> StructureOptions {
    StructureOptions {
        relation,
        distance: Distance::SQUARED,
        diagonal: Diagonal::Include,
    }
}

/// S over a common factor of all features.
pub fn homogeneity() -> Result<Figure> {
    let real = array![[1.0, 2.0], [0.5, -1.0]];
    let generated = array![[1.0, 1.0], [0.5, 2.0]];
    let factors = decades(0.1, 100.0, 60);
    let loss = |relation| {
        try_graph(&factors, |s| {
            let scaled =
                structural_loss(&(&real * s), &(&generated * s), &[1.0], &squared(relation))?;
            Ok(scaled.loss)
        })
    };
    let panel = Panel {
        title: String::new(),
        x: Axis::log("factor s on all features", 0.1, 100.0),
        y: Axis::log("structural loss S", 1e-4, 1e8),
        series: vec![
            Series::new(
                "inner product: s⁴",
                Colour::Orange,
                Stroke::Solid,
                loss(Relation::INNER_PRODUCT)?,
            ),
            Series::new(
                "Euclidean: s²",
                Colour::Purple,
                Stroke::Dashed,
                loss(Relation::EUCLIDEAN)?,
            ),
            Series::new(
                "cosine",
                Colour::Blue,
                Stroke::Solid,
                loss(Relation::COSINE)?,
            ),
            Series::new(
                "its bound 2η",
                Colour::Grey,
                Stroke::Dotted,
                graph(&factors, |_| 2.0),
            ),
        ],
    };
    let caption = "E1, on the batch of this page: what an encoder gains by multiplying its last layer. Under relations that grow \
        with their arguments the maximum over encoders is infinite; under the cosine the factor is invisible.";
    Figure::new("homogeneity", caption).panel(
        &panel,
        "straight lines of slope four and two, and two horizontal ones",
    )
}

const X: f64 = 2.0;
const RATE: f64 = 1.0 / 512.0;
type Play = (f64, f64);

fn grads((theta, phi): Play) -> Result<(f64, f64)> {
    let (real, generated) = (array![[phi * X]], array![[phi * theta]]);
    let s = structural_loss(&real, &generated, &[1.0], &squared(Relation::INNER_PRODUCT))?;
    Ok((s.grad_real[[0, 0]], s.grad_generated[[0, 0]]))
}

fn ascend((theta, phi): Play) -> Result<Play> {
    let (real, generated) = grads((theta, phi))?;
    Ok((theta, phi + RATE * (real * X + generated * theta)))
}

fn descend((theta, phi): Play) -> Result<Play> {
    let (_, generated) = grads((theta, phi))?;
    Ok((theta - RATE * (2.0 * (theta - X) + generated * phi), phi))
}

/// The half rounds of one order, from (1, 1).
fn played(first: fn(Play) -> Result<Play>, second: fn(Play) -> Result<Play>) -> Result<Vec<Play>> {
    let mut path = vec![(1.0, 1.0)];
    for k in 0..8 {
        let last = path[path.len() - 1];
        path.push(if k % 2 == 0 {
            first(last)?
        } else {
            second(last)?
        });
    }
    Ok(path)
}

/// Both orders in the plane of (θ, φ).
pub fn update_order() -> Result<Figure> {
    let theta_first = played(descend, ascend)?;
    let phi_first = played(ascend, descend)?;
    // The iterates are what a round leaves behind.
    let rounds = |path: &[Play]| path.iter().copied().step_by(2).collect::<Vec<_>>();
    let panel = Panel {
        title: String::new(),
        x: Axis::linear("θ, the denoiser's answer", 0.98, 1.26),
        y: Axis::linear("φ, the encoder's slope", 0.98, 1.42),
        series: vec![
            Series::new(
                "θ first (Algorithm 1)",
                Colour::Blue,
                Stroke::Solid,
                theta_first.clone(),
            ),
            Series::new("", Colour::Blue, Stroke::Dots, rounds(&theta_first)),
            Series::new(
                "φ first (Section 4.2)",
                Colour::Orange,
                Stroke::Dashed,
                phi_first.clone(),
            ),
            Series::new("", Colour::Orange, Stroke::Dots, rounds(&phi_first)),
        ],
    };
    let caption = "E6: four rounds of the small game from (1, 1), at a step of 1/512. The dots are whole rounds. The two orders visit \
        different points. Started one ascent later, the first path would be the second.";
    Figure::new("update-order", caption).panel(
        &panel,
        "two staircases from the same corner, one going right first, one up first",
    )
}
