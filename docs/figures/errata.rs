//! Witnesses of errata that a picture tells better: E3, E5, E9.

use anyhow::{Result, anyhow};
use sadm_reference::schedule::RectifiedFlow;
use sadm_reference::structure::{Eta, eta};
use sadm_theory::statements::{Statement, find, sweep};

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, decades, graph, places};

fn statement(id: &str) -> Result<Box<dyn Statement>> {
    find(id).ok_or_else(|| anyhow!("{id} is not registered"))
}

/// E3: mean and second moment of the clamped weight over t_min.
pub fn inverse_time() -> Result<Figure> {
    let (first, count) = (1e-4, 50_000_u32);
    // Moments over midpoints, for every clamp at once would be quicker; this is clearer and quick enough.
    let moment = |t_min: f64, power: i32| -> Result<f64> {
        let mut sum = 0.0;
        for k in 0..count {
            let t = (f64::from(k) + 0.5) / f64::from(count);
            sum += eta(Eta::INVERSE_TIME, t, t_min, &RectifiedFlow)?.powi(power);
        }
        Ok(sum / f64::from(count))
    };
    let clamps = decades(first, 1.0, 24);
    let curve = |power| -> Result<Vec<(f64, f64)>> {
        clamps.iter().map(|&c| Ok((c, moment(c, power)?))).collect()
    };
    let panel = Panel {
        title: String::new(),
        x: Axis::log("time t_min at which 1/t is clamped", first, 1.0),
        y: Axis::log("moment of the weight", 1.0, 1e5),
        series: vec![
            Series::new("mean square of η", Colour::Orange, Stroke::Solid, curve(2)?),
            Series::new("mean of η", Colour::Blue, Stroke::Solid, curve(1)?),
            Series::new(
                "1 + ln(1/t_min)",
                Colour::Grey,
                Stroke::Dots,
                graph(&clamps, |c| 1.0 + (1.0 / c).ln()),
            ),
        ],
    };
    let caption = "The weight η = 1/max(t, t_min) for t uniform on [0, 1]. Without a clamp its mean is infinite, but only just: \
        it grows like a logarithm. Its mean square, and with it the noise of a stochastic gradient, grows like 2/t_min.";
    Figure::new("inverse-time", caption).panel(
        &panel,
        "towards small clamps the mean rises from one to ten, the mean square from one to ten thousand",
    )
}

/// E5: what Eq. 15 with weight 1 amounts to, and what it claims to bound.
pub fn unit_weight() -> Result<Figure> {
    let e5 = statement("e5")?;
    let over = e5.parameters().iter().find(|p| p.name == "gamma");
    let over = over.ok_or_else(|| anyhow!("e5 has no gamma"))?;
    let swept = sweep(e5.as_ref(), &e5.default_instance(), over, 161)?;
    let side = |start: &str, right: bool| -> Result<Vec<(f64, f64)>> {
        let of = swept.iter().map(|(gamma, claims)| {
            let claim = claims.iter().find(|c| c.claim.starts_with(start));
            let claim = claim.ok_or_else(|| anyhow!("e5 does not claim {start}"))?;
            Ok((*gamma, if right { claim.rhs } else { claim.lhs }))
        });
        of.collect()
    };
    let panel = Panel {
        title: String::new(),
        x: Axis::log("standard deviation γ of the observation", 0.6, 100.0),
        y: Axis::linear("per pair, in nats", 0.0, 20.0),
        series: vec![
            Series::new(
                "Eq. 15 with its weights",
                Colour::Blue,
                Stroke::Solid,
                side("corrected: E[-log p(y_0)] ≤ objective", true)?,
            ),
            Series::new(
                "−log p of that model, mean",
                Colour::Green,
                Stroke::Dotted,
                side("corrected: E[-log p(y_0)] ≤ objective", false)?,
            ),
            Series::new(
                "entropy: least possible mean of −log p",
                Colour::Grey,
                Stroke::Dashed,
                side("corrected: H(y_0)", false)?,
            ),
            Series::new(
                "Eq. 15 as printed, weight 1",
                Colour::Orange,
                Stroke::Solid,
                side("objective with w = 1 ≤ 2 + w(γ)", false)?,
            ),
        ],
    };
    let printed = panel.series.last().and_then(|s| s.points.last());
    let (_, last) = printed.ok_or_else(|| anyhow!("an empty curve"))?;
    let caption = format!(
        "E5, standard normal pairs, ideal denoiser, linear VP schedule. With weight 1 the right side of Eq. 15 comes down to {} \
         nats for vague relations, below the least value that any model's mean −log p can have. With the likelihood's weights, \
         prior and reconstruction it is a bound for every γ.",
        number(*last)
    );
    Figure::new("unit-weight", caption).panel(
        &panel,
        "the printed objective lies below the dashed entropy line; the corrected one far above",
    )
}

/// E9: two laws that one noise makes equal.
pub fn known_noise() -> Result<Figure> {
    let pi = std::f64::consts::PI;
    // P(0) = ½, P(±kπ) = 2/(π²k²) for odd k; the tail beyond 2001 weighs less than a pixel.
    let odd = || (0..1000).map(|k| f64::from(2 * k + 1));
    let lattice = |t: f64| {
        let series = odd().map(|k| 4.0 / (pi * k).powi(2) * (k * pi * t).cos());
        0.5 + series.sum::<f64>()
    };
    let hat = |t: f64| (1.0 - t.abs()).max(0.0);
    let times = places(0.0, 4.0, 240);
    let transforms = Panel {
        title: "Characteristic functions".to_owned(),
        x: Axis::linear("frequency", 0.0, 4.0),
        y: Axis::linear("E cos(tX)", -0.05, 1.05),
        series: vec![
            Series::new(
                "X on the lattice",
                Colour::Blue,
                Stroke::Solid,
                graph(&times, lattice),
            ),
            Series::new(
                "X with a density, and the noise",
                Colour::Orange,
                Stroke::Dashed,
                graph(&times, hat),
            ),
            Series::new(
                "both with noise added",
                Colour::Purple,
                Stroke::Dotted,
                graph(&times, |t| lattice(t) * hat(t)),
            ),
        ],
    };
    let density = |x: f64| {
        if x.abs() < 1e-4 {
            0.5 / pi
        } else {
            (1.0 - x.cos()) / (pi * x * x)
        }
    };
    let noised = |x: f64| {
        if x.abs() < 1e-2 {
            1.0 / (3.0 * pi)
        } else {
            2.0 * (x - x.sin()) / (pi * x.powi(3))
        }
    };
    // The lattice law's mass per cell of width π, as a density.
    let mut stems = vec![(0.0, 0.5 / pi)];
    stems.extend(
        odd()
            .take(3)
            .flat_map(|k| [-k, k].map(|k| (k * pi, 2.0 / (pi * k).powi(2) / pi))),
    );
    let values = places(-12.0, 12.0, 360);
    let laws = Panel {
        title: "The laws".to_owned(),
        x: Axis::linear("value", -12.0, 12.0),
        y: Axis::linear("density", 0.0, 0.18),
        series: vec![
            Series::new(
                "X on the lattice: mass/π",
                Colour::Blue,
                Stroke::Dots,
                stems,
            ),
            Series::new(
                "X with a density",
                Colour::Orange,
                Stroke::Dashed,
                graph(&values, density),
            ),
            Series::new(
                "both with noise added",
                Colour::Purple,
                Stroke::Dotted,
                graph(&values, noised),
            ),
        ],
    };
    let caption = "E9. The noise's characteristic function is zero beyond 1, so whatever two laws do there is lost. One law lives on \
        the multiples of π, the other has a density; with this noise added nobody can tell them apart. Gaussian noise has \
        no such blind spot.";
    Figure::new("known-noise", caption)
        .panel(&transforms, "a triangle wave and a single triangle agree up to frequency one and differ beyond")?
        .panel(&laws, "points at multiples of pi, a density with side lobes, and the smoother noised density of both")
}
