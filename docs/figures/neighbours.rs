//! Diffusion-GAN: the divergence after noise.

use anyhow::Result;
use sadm_reference::schedule::{Schedule, VpLinear};
use sadm_theory::statements::{Controller, jensen_shannon};

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, graph, places};

/// Jensen–Shannon divergence of (0, Z) and (θ, Z) after noise, over θ and over time.
pub fn divergence() -> Result<Figure> {
    let vp = VpLinear::default();
    let ln_2 = std::f64::consts::LN_2;
    let after = |theta: f64, t: f64| {
        let delta = theta * vp.alpha(t) / vp.sigma(t);
        jensen_shannon(delta.into()).value
    };
    let shifts = places(-3.0, 3.0, 240);
    let strokes = [
        (0.01, Colour::Orange, Stroke::Dashed),
        (0.1, Colour::Purple, Stroke::Dotted),
        (0.3, Colour::Blue, Stroke::Solid),
        (0.6, Colour::Green, Stroke::Solid),
    ];
    let mut over_shift = vec![Series::new(
        "no noise: ln 2, but 0 at θ = 0",
        Colour::Grey,
        Stroke::Dots,
        graph(&places(-3.0, 3.0, 40), |theta| {
            if theta == 0.0 { 0.0 } else { ln_2 }
        }),
    )];
    over_shift.extend(strokes.map(|(t, colour, stroke)| {
        let label = format!("t = {t}: σ = {}", number(vp.sigma(t)));
        Series::new(
            &label,
            colour,
            stroke,
            graph(&shifts, |theta| after(theta, t)),
        )
    }));
    let over_shift = Panel {
        title: "Over the distance of the laws".to_owned(),
        x: Axis::linear("distance θ of real and generated data", -3.0, 3.0),
        y: Axis::linear("JSD (nats)", 0.0, 0.75),
        series: over_shift,
    };
    let times = places(0.001, 1.0, 250);
    let distances = [
        (0.25, Colour::Orange, Stroke::Dashed),
        (1.0, Colour::Purple, Stroke::Dotted),
        (4.0, Colour::Blue, Stroke::Solid),
    ];
    let over_time = Panel {
        title: "Over the noise".to_owned(),
        x: Axis::linear("time t", 0.0, 1.0),
        y: Axis::linear("JSD (nats)", 0.0, 0.75),
        series: distances
            .map(|(theta, colour, stroke)| {
                let label = format!("θ = {theta}");
                Series::new(&label, colour, stroke, graph(&times, |t| after(theta, t)))
            })
            .into(),
    };
    let caption = "Jensen–Shannon divergence of two parallel lines at distance θ after noise (linear VP schedule, s = 1), by \
        quadrature with an error below 10⁻¹². Without noise it jumps and teaches a generator nothing; with noise it is smooth; \
        the further apart the laws are, the more noise it takes to show a slope.";
    Figure::new("noised-divergence", caption)
        .panel(&over_shift, "without noise a horizontal line with one point at zero, with noise smooth valleys that widen")?
        .panel(&over_time, "each divergence falls from ln 2 to zero as noise grows, the later the larger the distance")
}

/// T under the controller, from both ends, and with a discriminator that is always sure.
pub fn controller() -> Result<Figure> {
    let rule = Controller {
        shortest: 5.0,
        longest: 1000.0,
        gain: 8.0,
        target: 0.6,
    };
    // Less sure, the longer the chain: sure of everything without noise, of half the images at T = 500.
    let confidence = |length: f64| (-length * std::f64::consts::LN_2 / 500.0).exp();
    let played = |mut length: f64, sure: &dyn Fn(f64) -> f64| {
        let steps = (0..=160).map(|k| {
            let at = (f64::from(k), length);
            length = rule.step(length, sure(length));
            at
        });
        steps.collect::<Vec<_>>()
    };
    let meets = -500.0 * rule.target.ln() / std::f64::consts::LN_2;
    let panel = Panel {
        title: String::new(),
        x: Axis::linear("updates of the controller", 0.0, 160.0),
        y: Axis::linear("length T of the chain", 0.0, 1050.0),
        series: vec![
            Series::new(
                "from T = 5",
                Colour::Blue,
                Stroke::Solid,
                played(5.0, &confidence),
            ),
            Series::new(
                "from T = 1000",
                Colour::Orange,
                Stroke::Dashed,
                played(1000.0, &confidence),
            ),
            Series::new(
                "from T = 5, D always right",
                Colour::Purple,
                Stroke::Dotted,
                played(5.0, &|_| 1.0),
            ),
            Series::new(
                "where r_d meets its target",
                Colour::Grey,
                Stroke::Dots,
                graph(&places(0.0, 160.0, 32), |_| meets),
            ),
        ],
    };
    let caption = format!(
        "The controller with C = {}, d_target = {}, T between {} and {}, against a made-up discriminator with r_d = 2^(−T/500). It reaches T = {:.0}, where r_d is the          target, from both sides, and then goes back and forth by C. A discriminator that is always right drives it to its end.",
        number(rule.gain),
        number(rule.target),
        number(rule.shortest),
        number(rule.longest),
        meets
    );
    Figure::new("controller", caption).panel(
        &panel,
        "a rising and a falling line meet at one height and stay there; a third rises to the upper end",
    )
}
