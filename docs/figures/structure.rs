//! The gradient of structure: the tangent of a row, and S at small noise for the four targets.

use anyhow::Result;
use ndarray::{Array2, array};
use sadm_reference::parametrisation::{Parametrisation, coefficients};
use sadm_reference::relation::{Relation, affinity_vjp};
use sadm_reference::schedule::{Edm, Schedule, VpLinear};
use sadm_reference::structure::{StructureOptions, structural_loss};

use super::chart::{Axis, Panel, Series, number};
use super::svg::{Colour, Stroke};
use super::{Figure, decades};

/// The unit rows of a matrix.
fn unit_rows(psi: &Array2<f64>) -> Array2<f64> {
    let mut u = psi.clone();
    for mut row in u.rows_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    u
}

/// A row, the gradient with respect to its direction, and what of it reaches the row.
pub fn tangent() -> Result<Figure> {
    let real = array![[1.0, 2.0], [0.5, -1.0]];
    let generated = array![[1.5, 0.75], [0.4, 1.2]];
    let s = structural_loss(&real, &generated, &[1.0], &StructureOptions::default())?;
    // The gradient with respect to the unit rows: that of the inner product, without its diagonal.
    let e = &s.affinity_real - &s.affinity_generated;
    let g = e.mapv(|e| -2.0 * e / 4.0);
    let mut off_diagonal = g.clone();
    off_diagonal.diag_mut().fill(0.0);
    let u = unit_rows(&generated);
    let v = affinity_vjp(Relation::INNER_PRODUCT, &u, &off_diagonal)?;
    let (tip, norm) = (
        (generated[[0, 0]], generated[[0, 1]]),
        generated[[0, 0]].hypot(generated[[0, 1]]),
    );
    let pull = (v[[0, 0]], v[[0, 1]]);
    let grad = (s.grad_generated[[0, 0]], s.grad_generated[[0, 1]]);
    let along = pull.0 * u[[0, 0]] + pull.1 * u[[0, 1]];
    let from = |at: (f64, f64), by: (f64, f64), times: f64| {
        vec![at, (at.0 + times * by.0, at.1 + times * by.1)]
    };
    let circle: Vec<(f64, f64)> = (0..=90)
        .map(|degrees| {
            let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
            (norm * cos, norm * sin)
        })
        .collect();
    let panel = Panel {
        title: String::new(),
        x: Axis::linear("first feature", 0.0, 2.73),
        y: Axis::linear("second feature", 0.0, 2.0),
        series: vec![
            Series::new("rows of this length", Colour::Grey, Stroke::Dotted, circle),
            Series::new(
                "the row ψ̂₁",
                Colour::Blue,
                Stroke::Arrows,
                from((0.0, 0.0), tip, 1.0),
            ),
            Series::new(
                "−v₁, against the gradient with respect to its direction",
                Colour::Purple,
                Stroke::Arrows,
                from(tip, pull, -0.5),
            ),
            Series::new(
                "−∂S/∂ψ̂₁: its tangential part over ‖ψ̂₁‖",
                Colour::Orange,
                Stroke::Arrows,
                from(tip, grad, -0.5),
            ),
        ],
    };
    let caption = format!(
        "A predicted row and its gradient under the cosine, halved to fit. Of v₁, of length {}, the part {} along the row is \
         removed, and the rest is divided by the row's length {}. What is left is a tangent, of length {}: ψ̂₁ · ∂S/∂ψ̂₁ = {}.",
        number(pull.0.hypot(pull.1)),
        number(along),
        number(norm),
        number(grad.0.hypot(grad.1)),
        number(grad.0 * tip.0 + grad.1 * tip.1)
    );
    Figure::new("tangent", caption).panel(
        &panel,
        "an arrow from the origin, and at its tip one arrow aslant and one shorter at a right angle to it",
    )
}

/// Numbers between −1 and 1 without a pattern.
fn scattered(rows: usize, columns: usize, seed: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let k = (i * columns + j) as f64;
        let wave = (12.9898 * k + 78.233 * seed).sin() * 43_758.545;
        2.0 * (wave - wave.floor()) - 1.0
    })
}

/// S of eight samples in six dimensions for a bounded network that was never trained.
fn loss_at(form: Parametrisation, schedule: &dyn Schedule, t: f64) -> Result<f64> {
    let (x0, eps) = (scattered(8, 6, 1.0), scattered(8, 6, 2.0) * 1.7);
    let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
    let x_t = &x0 * alpha + &eps * sigma;
    let c = coefficients(form, alpha, sigma, 0.5)?;
    let answer = (&x_t * c.input).dot(&(scattered(6, 6, 3.0) * 2.0));
    let x_hat = &x_t * c.skip + answer.mapv(f64::tanh) * c.out;
    // An encoder without kinks, whose features stay away from zero.
    let weights = scattered(6, 5, 4.0);
    let encode = |x: &Array2<f64>| x.dot(&weights).mapv(|a| 1.5 + a.tanh());
    let s = structural_loss(
        &encode(&x0),
        &encode(&x_hat),
        &[1.0],
        &StructureOptions::default(),
    )?;
    Ok(s.loss)
}

/// S_t and S_t/t over t for the four targets.
pub fn small_noise() -> Result<Figure> {
    let (vp, edm) = (VpLinear::default(), Edm);
    let kinds: [(&str, Parametrisation, &dyn Schedule, Colour, Stroke); 4] = [
        (
            "x₀, linear VP",
            Parametrisation::X0,
            &vp,
            Colour::Orange,
            Stroke::Solid,
        ),
        (
            "ε, linear VP",
            Parametrisation::Eps,
            &vp,
            Colour::Blue,
            Stroke::Dashed,
        ),
        (
            "v, linear VP",
            Parametrisation::V,
            &vp,
            Colour::Purple,
            Stroke::Dotted,
        ),
        (
            "EDM's, t = σ",
            Parametrisation::Edm,
            &edm,
            Colour::Green,
            Stroke::Solid,
        ),
    ];
    let times = decades(1e-4, 0.9, 60);
    let (mut losses, mut weighed) = (Vec::new(), Vec::new());
    for (name, form, schedule, colour, stroke) in kinds {
        let points = super::try_graph(&times, |t| loss_at(form, schedule, t))?;
        let over_t = points.iter().map(|&(t, s)| (t, s / t)).collect();
        losses.push(Series::new(name, colour, stroke, points));
        weighed.push(Series::new(name, colour, stroke, over_t));
    }
    let losses = Panel {
        title: "Structural loss".to_owned(),
        x: Axis::log("time t", 1e-4, 1.0),
        y: Axis::log("Sₜ, without its weight", 1e-10, 1.0),
        series: losses,
    };
    let weighed = Panel {
        title: "Times the weight 1/t".to_owned(),
        x: Axis::log("time t", 1e-4, 1.0),
        y: Axis::log("Sₜ/t", 1e-6, 1e3),
        series: weighed,
    };
    let at = |form, schedule: &dyn Schedule| -> Result<f64> {
        Ok(loss_at(form, schedule, 1e-4)? / 1e-4)
    };
    let caption = format!(
        "A bounded network that was never trained (tanh of random weights), in four forms, with a smooth encoder, the cosine and eight samples. \
         For ε, v and EDM's target Sₜ vanishes like σₜ², so Sₜ/t stays bounded; for x₀ it does not vanish and Sₜ/t grows like 1/t. \
         At t = 10⁻⁴ it is {:.0} for x₀, {:.2} for ε, {:.2} for v and {:.1e} for EDM's.",
        at(Parametrisation::X0, &vp)?,
        at(Parametrisation::Eps, &vp)?,
        at(Parametrisation::V, &vp)?,
        at(Parametrisation::Edm, &edm)?
    );
    Figure::new("small-noise", caption)
        .panel(
            &losses,
            "one curve stays level towards small t, two fall with slope one and one with slope two",
        )?
        .panel(
            &weighed,
            "one curve rises towards small t, two become level, one falls",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_network_that_predicts_x0_keeps_its_error() -> Result<()> {
        let vp = VpLinear::default();
        // A hundredth of t: of σ², a hundredth on the linear schedule and a ten-thousandth on EDM's.
        let falls = |form, schedule: &dyn Schedule| -> Result<f64> {
            Ok(loss_at(form, schedule, 1e-3)? / loss_at(form, schedule, 1e-5)?)
        };
        assert!((falls(Parametrisation::X0, &vp)? - 1.0).abs() < 0.1);
        for form in [Parametrisation::Eps, Parametrisation::V] {
            let ratio = falls(form, &vp)?;
            assert!((50.0..200.0).contains(&ratio), "{form}: {ratio}");
        }
        let ratio = falls(Parametrisation::Edm, &Edm)?;
        assert!((5e3..2e4).contains(&ratio), "{ratio}");
        Ok(())
    }
}
