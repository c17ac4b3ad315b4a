//! The forward process, and the best denoiser of two atoms.

use anyhow::Result;
use ndarray::array;
use sadm_reference::schedule::{Cosine, Ddpm, RectifiedFlow, Schedule, VpLinear};
use sadm_theory::laws::FiniteLaw;

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, graph, places, try_graph};

/// α, σ and λ of the schedules over t.
pub fn schedules() -> Result<Figure> {
    let ddpm = Ddpm::default();
    let drawn: [(&str, &dyn Schedule, Colour); 3] = [
        ("VP, linear", &VpLinear::default(), Colour::Blue),
        ("cosine", &Cosine, Colour::Orange),
        ("rectified flow", &RectifiedFlow, Colour::Green),
    ];
    let times = places(0.0, 1.0, 200);
    let levels = drawn.iter().flat_map(|(name, schedule, colour)| {
        let curve = |label: &str, stroke, f: &dyn Fn(f64) -> f64| {
            Series::new(label, *colour, stroke, graph(&times, f))
        };
        [
            curve(&format!("α, {name}"), Stroke::Solid, &|t| {
                schedule.alpha(t)
            }),
            curve(&format!("σ, {name}"), Stroke::Dashed, &|t| {
                schedule.sigma(t)
            }),
        ]
    });
    let levels = Panel {
        title: "Signal and noise".to_owned(),
        x: Axis::linear("time t", 0.0, 1.0),
        y: Axis::linear("α (solid), σ (dashed)", 0.0, 1.0),
        series: levels.collect(),
    };
    let ratio = |name: &str, schedule: &dyn Schedule, colour, stroke: Stroke| {
        let few = places(0.025, 0.975, 19);
        let times = if stroke == Stroke::Dots { &few } else { &times };
        Series::new(name, colour, stroke, graph(times, |t| schedule.lambda(t)))
    };
    let mut ratios: Vec<Series> = drawn
        .iter()
        .map(|(name, schedule, colour)| ratio(name, *schedule, *colour, Stroke::Solid))
        .collect();
    ratios.push(ratio(
        "DDPM, 1000 steps",
        &ddpm,
        Colour::Purple,
        Stroke::Dots,
    ));
    let ratios = Panel {
        title: "Their ratio, as a logarithm".to_owned(),
        x: Axis::linear("time t", 0.0, 1.0),
        y: Axis::linear("λ = ln SNR (nats)", -12.0, 12.0),
        series: ratios,
    };
    let caption = "Three schedules over their own time. What matters of one is λ alone: two schedules with the same λ \
        differ by a scaling of xₜ and a relabelling of time. The discrete DDPM, \
        of which the linear one is the limit of many steps, lies on it. (EDM's time is σ itself and runs beyond 1, so it is not drawn.)";
    Figure::new("schedules", caption)
        .panel(&levels, "signal falls from 1 to 0 and noise rises from 0 to 1 under three schedules")?
        .panel(&ratios, "the log signal-to-noise ratio falls steeply, then slowly, then steeply, under each schedule")
}

/// Density, denoiser and score of ±1 at three noise levels.
pub fn two_atoms() -> Result<Figure> {
    let law = FiniteLaw::uniform(array![[-1.0], [1.0]])?;
    let vp = VpLinear::default();
    let strokes = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
    let levels = [0.1, 0.25, 0.5].map(|t| (vp.alpha(t), vp.sigma(t)));
    let points = places(-3.0, 3.0, 240);
    let curves = |f: &dyn Fn(f64, f64, f64) -> Result<f64>| -> Result<Vec<Series>> {
        let colours = Colour::ALL.into_iter().zip(strokes);
        let drawn = levels
            .iter()
            .zip(colours)
            .map(|(&(alpha, sigma), (colour, stroke))| {
                let label = format!("α = {}, σ = {}", number(alpha), number(sigma));
                let curve = try_graph(&points, |x| f(x, alpha, sigma))?;
                Ok(Series::new(&label, colour, stroke, curve))
            });
        drawn.collect()
    };
    let at = |x: f64, alpha: f64, sigma: f64| law.posterior(&[x], alpha, sigma);
    let axis = || Axis::linear("noised value xₜ", -3.0, 3.0);
    let density = Panel {
        title: "Density of xₜ".to_owned(),
        x: axis(),
        y: Axis::linear("q(xₜ)", 0.0, 1.2),
        series: curves(&|x, a, s| Ok(at(x, a, s)?.log_density.value.exp()))?,
    };
    let denoiser = Panel {
        title: "The best denoiser".to_owned(),
        x: axis(),
        y: Axis::linear("E[x₀ | xₜ]", -1.1, 1.1),
        series: curves(&|x, a, s| Ok(at(x, a, s)?.mean[0].value))?,
    };
    let score = Panel {
        title: "The score".to_owned(),
        x: axis(),
        y: Axis::linear("∇ ln q(xₜ)", -12.0, 12.0),
        series: curves(&|x, a, s| Ok(at(x, a, s)?.score[0].value))?,
    };
    let caption = "x₀ = ±1 with equal probability, under the linear schedule at t = 0.1, 0.25 and 0.5. The best denoiser is a \
        step that noise rounds off; the score is the same curve, minus a straight line, over σ². Where the denoiser hesitates \
        between the atoms the score changes its sign.";
    Figure::new("two-atoms", caption)
        .panel(&density, "two peaks that widen and merge as noise grows")?
        .panel(
            &denoiser,
            "a step from −1 to 1 that becomes flatter as noise grows",
        )?
        .panel(
            &score,
            "a falling line with a rise in the middle, steep at low noise",
        )
}
