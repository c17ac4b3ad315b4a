//! Theorem 1's example, made exact: noise turns a jump into a smooth divergence.

use super::divergence::{
    discrete_jensen_shannon, jensen_shannon, jensen_shannon_grad, second_derivative_bound,
    third_derivative_bound,
};
use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const THETA: Parameter = Parameter::logarithmic(
    "theta",
    "distance of the two laws, P_r = (0, Z) and P_g = (θ, Z)",
    0.05..=8.0,
    1.3,
);
const KEPT: Parameter = Parameter::linear(
    "alpha_bar",
    "ᾱ_t, the part of the signal's variance that is kept",
    0.01..=0.99,
    0.6,
);
const SPREAD: Parameter = Parameter::logarithmic(
    "s",
    "standard deviation of the noise at ᾱ_t = 0",
    0.25..=4.0,
    0.8,
);

/// `[thm:dg-theorem-1]` With noise the divergence of P_r = (0, Z) and P_g = (θ, Z) is smooth in θ and grows with
/// |θ|; without, it jumps from 0 to ln 2.
///
/// # Formula `[eq:noised-jsd]`
/// ```text
/// y = √ᾱ_t x + √(1 − ᾱ_t) s ε:   JSD(θ) = J(δ),   δ = θ √ᾱ_t / (√(1 − ᾱ_t) s)
/// dJSD/dθ = (δ/θ) J'(δ) > 0 for θ > 0,   JSD ≤ min(ln 2, δ²/8),   ln 2 − JSD ≤ e^{−δ²/8}
/// ```
/// Z is noised alike on both sides and drops out. J and J' are `[eq:jsd]` and `[eq:jsd-grad]`. As J' > 0 for δ > 0
/// by its formula, JSD increases in |θ| and, through δ, falls as the noise grows: both are proved on the whole
/// half-line by a sign, tried here at pairs of points, and proved without that formula on boxes by
/// [`super::MonotoneOnBoxes`].
pub struct GradientsEverywhere;

/// P_r and P_g after noise.
struct Noised {
    theta: f64,
    /// dδ/dθ.
    scale: Rounded,
}

impl Noised {
    fn new(theta: f64, kept: f64, spread: f64) -> Self {
        let kept = Rounded::exact(kept);
        let noise = (Rounded::exact(1.0) - kept).sqrt() * spread;
        Self {
            theta,
            scale: kept.sqrt() / noise,
        }
    }

    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let get = |p: Parameter| instance.get(p.name);
        Ok(Self::new(get(THETA)?, get(KEPT)?, get(SPREAD)?))
    }

    fn delta(&self) -> Rounded {
        self.scale * self.theta
    }

    fn divergence(&self, theta: f64) -> Rounded {
        jensen_shannon(self.scale * theta)
    }

    /// dJSD/dθ by the formula; J' is evaluated at the computed δ, and |J''| ≤ (1 + δ²)/4 + 1.
    fn slope(&self) -> Rounded {
        let delta = self.delta();
        let curve = second_derivative_bound(delta.value + delta.error);
        let at = jensen_shannon_grad(delta.value);
        self.scale * (at + Rounded::within(0.0, 1.01 * curve * delta.error))
    }

    /// dJSD/dθ by a central difference, with Taylor's remainder h²/6 · sup|JSD'''|. θ ± h are rounded, so the
    /// quotient belongs to a point within u(θ + h) of θ, and |JSD''| ≤ scale²((1 + δ²)/4 + 1).
    fn quotient(&self) -> Rounded {
        let scale = self.scale.value + self.scale.error;
        let step = 2.0_f64.powi(-14) / scale;
        let (up, down) = (self.theta + step, self.theta - step);
        let width = Rounded::exact(up) - Rounded::exact(down);
        let quotient = (self.divergence(up) - self.divergence(down)) / width;
        let end = 1.01 * scale * up;
        let remainder =
            (0.51 * scale * (up - down)).powi(2) / 6.0 * scale * third_derivative_bound(end);
        let shift = f64::EPSILON * up * scale * scale * second_derivative_bound(end);
        quotient + Rounded::within(0.0, remainder + shift)
    }
}

/// The divergence without noise: Z is shared, what is left is two point masses at 0 and θ.
fn clean(theta: f64) -> Rounded {
    if theta == 0.0 {
        discrete_jensen_shannon(&[1.0], &[1.0])
    } else {
        discrete_jensen_shannon(&[1.0, 0.0], &[0.0, 1.0])
    }
}

impl Statement for GradientsEverywhere {
    fn about(&self) -> About {
        About {
            id: "dg-theorem-1",
            source: "Diffusion-GAN (arXiv:2206.02262), Theorem 1 and the example before it; the closed slope is ours",
            kind: Kind::Identity,
            summary: "noise makes the divergence of two disjoint laws smooth and increasing in their distance",
            terms: &[],
            parameters: &[THETA, KEPT, SPREAD],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let noised = Noised::of(instance)?;
        let (kept, spread) = (instance.get(KEPT.name)?, instance.get(SPREAD.name)?);
        let theta = noised.theta;
        let here = noised.divergence(theta);
        let delta = noised.delta();
        let eighth = delta.square() / 8.0;
        let exact_delta = jensen_shannon(Rounded::exact(delta.value));
        let noisier = Noised::new(theta, 0.75 * kept, spread).divergence(theta);
        let wider = Noised::new(theta, kept, 1.25 * spread).divergence(theta);
        Ok(vec![
            Evidence::at_most(
                "quadrature is good to 1e-12",
                exact_delta.error.into(),
                1e-12.into(),
            ),
            Evidence::equal(
                "difference quotient of the JSD = (δ/θ) J'(δ)",
                noised.quotient(),
                noised.slope(),
            ),
            Evidence::at_most("JSD(θ) ≤ JSD(5θ/4)", here, noised.divergence(1.25 * theta)),
            Evidence::at_most("JSD falls with ᾱ_t", noisier, here),
            Evidence::at_most("JSD falls as s grows", wider, here),
            Evidence::at_most(
                "noise only loses: JSD ≤ JSD without noise",
                here,
                clean(theta),
            ),
            Evidence::at_most("JSD ≤ δ²/8", here, eighth),
            Evidence::at_most(
                "ln 2 ≤ JSD + e^{-δ²/8}",
                clean(theta),
                here + (-eighth).exp(),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let noised = Noised::of(&self.default_instance())?;
        let here = noised.divergence(noised.theta);
        let eighth = noised.delta().square() / 8.0;
        let tiny = 2.0_f64.powi(-20);
        Ok(vec![
            Evidence::at_most(
                "control: without noise the JSD at θ = 2^-20 is within 1/2 of its value at 0",
                clean(tiny),
                clean(0.0) + Rounded::exact(0.5),
            ),
            Evidence::equal(
                "control: the slope without the factor δ/θ",
                noised.quotient(),
                noised.slope() / noised.scale,
            ),
            Evidence::equal(
                "control: twice the slope",
                noised.quotient(),
                noised.slope() * 2.0,
            ),
            Evidence::at_most("control: JSD ≤ δ²/16", here, eighth * 0.5),
            Evidence::at_most(
                "control: ln 2 ≤ JSD + e^{-δ²/2}",
                clean(noised.theta),
                here + (-(eighth * 4.0)).exp(),
            ),
            Evidence::at_most(
                "control: JSD grows with the noise",
                here,
                Noised::new(noised.theta, KEPT.default, 1.25 * SPREAD.default)
                    .divergence(noised.theta),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// θ = 1.5, ᾱ = 0.64, s = 2: δ = 1.5·0.8/(0.6·2) = 1.
    #[test]
    fn the_scaled_distance_is_as_by_hand() {
        let delta = Noised::new(1.5, 0.64, 2.0).delta();
        assert!((delta.value - 1.0).abs() <= delta.error && delta.error < 1e-14);
    }

    #[test]
    fn without_noise_the_divergence_is_zero_or_ln_2() {
        assert_eq!(clean(0.0).value.to_bits(), 0.0_f64.to_bits());
        assert!((clean(1e-9).value - std::f64::consts::LN_2).abs() <= clean(1e-9).error);
    }
}
