//! E11: under a coupling the denoiser moves the law exactly, but it is no score.

use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const CORRELATION: Parameter =
    Parameter::linear("rho", "correlation ρ of x_0 and n", -0.9..=0.9, 0.4);
const LEVEL: Parameter = Parameter::logarithmic("sigma", "noise level", 0.125..=8.0, 1.3);
const CHURN: Parameter = Parameter::linear(
    "churn",
    "factor by which the stochastic sampler raises σ",
    1.0..=1.5,
    1.25,
);

/// `[thm:e11]` x_0, n standard normal with correlation ρ: the deterministic sampler is exact, churn is biased.
///
/// # Formula `[eq:coupled-gaussian]`
/// ```text
/// x = x_0 + σn,  V = 1 + σ² + 2ρσ,  D = (1 + ρσ)/V x
/// (x − D)/σ = (ρ + σ)/V x = (V'/2V) x     ⇒ x(σ) = x(0) √V(σ): variance V(σ) at every σ
/// ∇log p = −x/V,   (D − x)/σ² = −x/V − ρx/(σV)     the score exactly if ρ = 0
/// churn from σ to σ̂: variance V(σ) + σ̂² − σ² = V(σ̂) − 2ρ(σ̂ − σ)
/// ```
/// Optimal transport pairs neighbours, ρ > 0. At ρ = 0.4, σ = 1.3: score −0.268 x, (D − x)/σ² = −0.351 x.
pub struct CoupledDenoiserIsNoScore;

/// x_0, n with correlation ρ at level σ. Coefficients are those of x.
struct Coupled {
    rho: Rounded,
    sigma: Rounded,
}

impl Coupled {
    fn new(rho: f64, sigma: f64) -> Self {
        Self {
            rho: rho.into(),
            sigma: sigma.into(),
        }
    }

    /// V = Var x, from the covariance matrix of (x_0, n) and the row (1, σ).
    fn variance(&self) -> Rounded {
        Rounded::exact(1.0) + self.sigma.square() + self.rho * self.sigma * 2.0
    }

    /// D/x = Cov(x_0, x)/Var x.
    fn denoiser(&self) -> Rounded {
        (Rounded::exact(1.0) + self.rho * self.sigma) / self.variance()
    }

    /// (x − D)/(σx).
    fn velocity(&self) -> Rounded {
        (Rounded::exact(1.0) - self.denoiser()) / self.sigma
    }

    /// (D − x)/(σ²x).
    fn printed_score(&self) -> Rounded {
        -(self.velocity() / self.sigma)
    }

    /// log p up to its constant, at x.
    fn log_density(&self, x: Rounded) -> Rounded {
        -(x.square() / (self.variance() * 2.0))
    }

    /// ∇log p at x by a central difference, exact for a quadratic, over x.
    fn score(&self, x: f64) -> Rounded {
        let (up, down) = (
            Rounded::exact(x) + Rounded::exact(0.5),
            Rounded::exact(x) - Rounded::exact(0.5),
        );
        let slope = self.log_density(up) - self.log_density(down);
        slope / x
    }
}

/// √V(σ), the trajectory from x(0) = 1.
fn trajectory(rho: f64, sigma: f64) -> Rounded {
    Coupled::new(rho, sigma).variance().sqrt()
}

/// d√V/dσ by a central difference. With κ² = 1 − ρ² and s = σ + ρ, √V = √(s² + κ²) has |third derivative|
/// 3κ²|s|/V^{5/2} ≤ 3/κ² (as |s| ≤ √V and V ≥ κ²) and second κ²/V^{3/2} ≤ 1/κ.
fn trajectory_rate(rho: f64, sigma: f64) -> Rounded {
    let step = 2.0_f64.powi(-16);
    let (up, down) = (sigma + step, sigma - step);
    let width = Rounded::exact(up) - Rounded::exact(down);
    let quotient = (trajectory(rho, up) - trajectory(rho, down)) / width;
    let square = (1.0 - rho * rho) * 0.99;
    let truncation = (0.51 * (up - down)).powi(2) / 2.0 / square;
    let shift = f64::EPSILON * up / square.sqrt();
    quotient + Rounded::within(0.0, truncation + shift)
}

/// Variance after noise of variance σ̂² − σ² is added.
fn churned(rho: f64, sigma: f64, raised: f64) -> Rounded {
    let added = Rounded::exact(raised).square() - Rounded::exact(sigma).square();
    Coupled::new(rho, sigma).variance() + added
}

/// x, away from 0, where the score is taken.
fn place(instance: &Instance) -> Result<f64, StatementError> {
    Ok(instance.values().take(1)?[0] + 3.0)
}

impl Statement for CoupledDenoiserIsNoScore {
    fn about(&self) -> About {
        About {
            id: "e11",
            source: "Approximated optimal transport (arXiv:2403.05069) with EDM's stochastic sampler (arXiv:2206.00364), Algorithm 2",
            kind: Kind::Erratum(Finding::Consequence),
            summary: "trained on coupled noise, a denoiser gives the exact flow but not the score: churn is biased",
            terms: &[],
            parameters: &[CORRELATION, LEVEL, CHURN],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(vec![Built::row("x", &[place(instance)?])])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let rho = instance.get(CORRELATION.name)?;
        let sigma = instance.get(LEVEL.name)?;
        let raised = sigma * instance.get(CHURN.name)?;
        let x = place(instance)?;
        let here = Coupled::new(rho, sigma);
        let variance = here.variance();
        let bias = here.rho / (here.sigma * variance);
        let gained = here.rho * 2.0 * (Rounded::exact(raised) - here.sigma);
        Ok(vec![
            Evidence::equal(
                "(x - D)/σ = (ρ + σ)/V x",
                here.velocity(),
                (here.rho + here.sigma) / variance,
            ),
            Evidence::equal(
                "x(0)√V solves dx/dσ = (x - D)/σ",
                trajectory_rate(rho, sigma),
                here.velocity() * trajectory(rho, sigma),
            ),
            Evidence::equal(
                "∇log p = -x/V",
                here.score(x),
                Rounded::exact(-1.0) / variance,
            ),
            Evidence::equal(
                "(D - x)/σ² = ∇log p - ρx/(σV)",
                here.printed_score(),
                here.score(x) - bias,
            ),
            Evidence::equal(
                "churn: V(σ) + σ̂² - σ² = V(σ̂) - 2ρ(σ̂ - σ)",
                churned(rho, sigma, raised),
                Coupled::new(rho, raised).variance() - gained,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (rho, sigma) = (CORRELATION.default, LEVEL.default);
        let here = Coupled::new(rho, sigma);
        Ok(vec![
            Evidence::equal(
                "as read, D as without a coupling: (D - x)/σ² = ∇log p at ρ = 0.4, σ = 1.3",
                here.printed_score(),
                here.score(2.0),
            ),
            Evidence::equal(
                "as read, D as without a coupling: churn from 1.3 to 1.625 reaches the law at 1.625",
                churned(rho, sigma, 1.625),
                Coupled::new(rho, 1.625).variance(),
            ),
            Evidence::equal(
                "control: the flow of twice the velocity",
                trajectory_rate(rho, sigma),
                here.velocity() * trajectory(rho, sigma) * 2.0,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V = 1 + 1.69 + 1.04 = 3.73, D = 1.52/3.73: numbers of the witness.
    #[test]
    fn the_witness_is_as_by_hand() {
        let here = Coupled::new(0.4, 1.3);
        for (got, want) in [
            (here.variance(), 3.73),
            (here.denoiser(), 1.52 / 3.73),
            (here.velocity(), 1.7 / 3.73),
            (here.score(2.0), -1.0 / 3.73),
            (here.printed_score(), -1.7 / 3.73 / 1.3),
            (churned(0.4, 1.3, 2.3), 3.73 + 5.29 - 1.69),
        ] {
            assert!(
                (got.value - want).abs() <= got.error + 1e-15,
                "{got:?} {want}"
            );
        }
        assert!((here.printed_score().value + 0.351).abs() < 5e-4);
        assert!((here.score(2.0).value + 0.268).abs() < 5e-4);
    }
}
