//! Approximated optimal transport: straight paths, biased churn (E11), two costs (E13).

use anyhow::{Result, anyhow};
use ndarray::Array2;
use sadm_theory::statements::{Statement, find, sweep};
use sadm_theory::transport::assign;

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, places};

fn statement(id: &str) -> Result<Box<dyn Statement>> {
    find(id).ok_or_else(|| anyhow!("{id} is not registered"))
}

/// One side of a claim of a statement along a parameter.
fn side(id: &str, name: &str, start: &str, right: bool) -> Result<Vec<(f64, f64)>> {
    let statement = statement(id)?;
    let over = statement.parameters().iter().find(|p| p.name == name);
    let over = over.ok_or_else(|| anyhow!("{id} has no {name}"))?;
    let swept = sweep(statement.as_ref(), &statement.default_instance(), over, 121)?;
    let points = swept.iter().map(|(place, claims)| {
        let claim = claims.iter().find(|c| c.claim.starts_with(start));
        let claim = claim.ok_or_else(|| anyhow!("{id} does not claim {start}"))?;
        Ok((*place, if right { claim.rhs } else { claim.lhs }))
    });
    points.collect()
}

/// Paths of the flow with and without coupled noise, and their curvature.
pub fn straightness() -> Result<Figure> {
    let levels = places(0.0, 8.0, 120);
    let path = |rho: f64, (z1, z2): (f64, f64)| {
        // x_i(σ) = z_i √V_i(σ), the solution that `coupling-velocity` and `e11` check.
        let along = |s: f64, sigma: f64| (s * s + 2.0 * rho * s * sigma + sigma * sigma).sqrt();
        let points = levels
            .iter()
            .map(|&sigma| (z1 * along(0.5, sigma), z2 * along(4.0, sigma)));
        points.collect::<Vec<_>>()
    };
    let starts = [(1.0, 0.25), (0.8, 0.7), (0.4, 1.0)];
    let mut series = Vec::new();
    for (rho, colour, stroke) in [
        (0.0, Colour::Orange, Stroke::Solid),
        (0.5, Colour::Purple, Stroke::Dashed),
        (0.95, Colour::Blue, Stroke::Dotted),
    ] {
        for (k, z) in starts.into_iter().enumerate() {
            let label = if k == 0 {
                format!("ρ = {rho}")
            } else {
                String::new()
            };
            series.push(Series::new(&label, colour, stroke, path(rho, z)));
        }
    }
    let paths = Panel {
        title: "Paths from data to noise".to_owned(),
        x: Axis::linear("first coordinate (s = ½)", 0.0, 8.0),
        y: Axis::linear("second coordinate (s = 4)", 0.0, 12.0),
        series,
    };
    let start = "coupling straightens";
    let curvature = Panel {
        title: "Curvature".to_owned(),
        x: Axis::linear("correlation ρ of data and noise", 0.25, 0.95),
        y: Axis::log("1 − chord/arc length", 1e-7, 1e-2),
        series: vec![
            Series::new(
                "at ρ = 0",
                Colour::Orange,
                Stroke::Dashed,
                side("ode-curvature", "rho", start, true)?,
            ),
            Series::new(
                "at ρ",
                Colour::Blue,
                Stroke::Solid,
                side("ode-curvature", "rho", start, false)?,
            ),
        ],
    };
    let caption = "Trajectories of the flow for Gaussian data whose coordinates are correlated with their noise. Left: three starts, \
        from σ = 0 to 8. Right: curvature of the default path of the statement ode-curvature (s = 1 and 2.5, to σ = 20), from its \
        rigorous brackets. The more data and noise belong together, the straighter the path.";
    Figure::new("straightness", caption)
        .panel(&paths, "three bundles of paths; without coupling they start across and bend, with it they are nearly straight")?
        .panel(&curvature, "the curvature falls by orders of magnitude as the correlation grows")
}

/// E11: what the denoiser says about the score, and what churn does to the variance.
pub fn churn() -> Result<Figure> {
    let score = |start: &str, right| side("e11", "sigma", start, right);
    let scores = Panel {
        title: "At x, over the noise level".to_owned(),
        x: Axis::log("noise level σ", 0.1, 10.0),
        y: Axis::linear("score / x", -5.0, 0.0),
        series: vec![
            Series::new(
                "∇ log p",
                Colour::Blue,
                Stroke::Solid,
                score("∇log p", true)?,
            ),
            Series::new(
                "(D − x)/σ²",
                Colour::Orange,
                Stroke::Dashed,
                score("(D - x)/σ²", false)?,
            ),
        ],
    };
    let reached = side("e11", "churn", "churn", false)?;
    let wanted: Vec<(f64, f64)> = {
        let e11 = statement("e11")?;
        let (rho, sigma) = (
            e11.default_instance().get("rho")?,
            e11.default_instance().get("sigma")?,
        );
        let law = |factor: f64| 1.0 + (factor * sigma).powi(2) + 2.0 * rho * factor * sigma;
        reached
            .iter()
            .map(|&(factor, _)| (factor, law(factor)))
            .collect()
    };
    let variances = Panel {
        title: "After one churn".to_owned(),
        x: Axis::linear("factor by which σ is raised", 1.0, 1.5),
        y: Axis::linear("variance of x", 0.0, 8.0),
        series: vec![
            Series::new(
                "of the law at the raised σ",
                Colour::Blue,
                Stroke::Solid,
                wanted,
            ),
            Series::new(
                "reached with fresh noise",
                Colour::Orange,
                Stroke::Dashed,
                reached,
            ),
        ],
    };
    let caption = "E11, at correlation ρ = 0.4 of data and noise (right: σ = 1.3). The trained denoiser gives the exact flow, but \
        (D − x)/σ² is not the score, and a stochastic sampler that raises σ by fresh noise lands on another variance than the one it \
        goes on from.";
    Figure::new("churn", caption)
        .panel(
            &scores,
            "two curves that differ, most at small noise levels",
        )?
        .panel(
            &variances,
            "two rising lines from one point; the reached variance is below the wanted one",
        )
}

/// E13: the assignment of the text and the one of the code.
pub fn costs() -> Result<Figure> {
    let (data, noise) = ([(0.0, 0.0), (1.0, 0.25)], [(1.0, 0.25), (2.0, 0.0)]);
    let distance = |i: usize, j: usize| {
        let (a, b): ((f64, f64), (f64, f64)) = (data[i], noise[j]);
        (a.0 - b.0).hypot(a.1 - b.1)
    };
    let caption = "E13. Two samples and two noises, with the assignment that each cost prefers. Distances forgive one long way \
        for a short one; squares do not. (On the left one arrow has no length: its sample and its noise coincide.)";
    let mut figure = Figure::new("costs", caption);
    for (title, power, colour) in [
        ("distance", 1, Colour::Purple),
        ("squared distance", 2, Colour::Blue),
    ] {
        let cost = Array2::from_shape_fn((2, 2), |(i, j)| distance(i, j).powi(power));
        let best = assign(&cost)?.permutation;
        let total: f64 = best.iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum();
        let arrows = best
            .iter()
            .enumerate()
            .flat_map(|(i, &j)| [data[i], noise[j]]);
        let panel = Panel {
            title: format!("By {title}: total {}", number(total)),
            x: Axis::linear("first coordinate", -0.2, 2.2),
            y: Axis::linear("second coordinate", -0.25, 0.5),
            series: vec![
                Series::new("samples", Colour::Green, Stroke::Discs, data.to_vec()),
                Series::new("noise", Colour::Orange, Stroke::Dots, noise.to_vec()),
                Series::new("assignment", colour, Stroke::Arrows, arrows.collect()),
            ],
        };
        let alt = if power == 1 {
            "one arrow from the first sample to the far noise"
        } else {
            "two arrows of equal length, one after the other"
        };
        figure = figure.panel(&panel, alt)?;
    }
    Ok(figure)
}
