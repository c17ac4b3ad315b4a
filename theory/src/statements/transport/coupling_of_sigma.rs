//! A coupling that depends on the noise level: then (x − D)/σ is not the velocity of the law.

use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const STRENGTH: Parameter = Parameter::linear(
    "b",
    "the correlation of x_0 and n is ρ(σ) = -bσ/2",
    -0.9..=0.9,
    0.5,
);
const LEVEL: Parameter = Parameter::logarithmic(
    "sigma",
    "noise level, at most 2 so that |ρ| < 1",
    0.125..=2.0,
    1.3,
);

/// `[thm:coupling-of-sigma]` The flow of (x − D)/σ carries the law of x_0 + σn only where the joint law of x_0 and n is the same at every σ.
///
/// # Formula `[eq:coupling-of-sigma]`
/// ```text
/// x_0, n standard normal with correlation ρ(σ):   V = 1 + σ² + 2ρσ,   u = E[n | x] = (ρ + σ)/V x = (V'/2V − ρ'σ/V) x
/// ρ = −bσ/2:   V = 1 + (1 − b)σ²;   the flow of u from x(0) ~ N(0, 1) has the variance W = V^{(1 − b/2)/(1 − b)}, V only for b = 0
/// ```
/// In `[thm:coupling-velocity]` d/dσ E f(x_0 + σn) = E[n·∇f] needs that (x_0, n) themselves do not move with σ. An assignment
/// by ‖x − n‖² does not depend on σ; one by ‖x − σn‖ does (`[thm:e13]`), and so does one drawn anew for every σ by another rule. With
/// ρ(σ) = e^{−σ} V(2) = 5.54, and the flow of u gives 8.66. That the continuity equation carries one start to one law is a further
/// assumption (u Lipschitz is enough).
pub struct CouplingOfSigma;

struct Coupled {
    sigma: Rounded,
    rho: Rounded,
    strength: Rounded,
}

impl Coupled {
    fn new(strength: f64, sigma: f64) -> Self {
        let (strength, sigma) = (Rounded::exact(strength), Rounded::exact(sigma));
        Self {
            sigma,
            rho: -(strength * sigma * 0.5),
            strength,
        }
    }

    /// V from the covariance matrix.
    fn variance(&self) -> Rounded {
        Rounded::exact(1.0) + self.sigma.square() + self.rho * self.sigma * 2.0
    }

    /// (x − D)/(σx), D = (1 + ρσ)/V x.
    fn velocity(&self) -> Rounded {
        let denoiser = (Rounded::exact(1.0) + self.rho * self.sigma) / self.variance();
        (Rounded::exact(1.0) - denoiser) / self.sigma
    }

    /// V'/2V with V' = 2(1 − b)σ.
    fn of_the_law(&self) -> Rounded {
        (Rounded::exact(1.0) - self.strength) * self.sigma / self.variance()
    }

    /// (1 − b/2)/(1 − b).
    fn power(&self) -> Rounded {
        let one = Rounded::exact(1.0);
        (one - self.strength * 0.5) / (one - self.strength)
    }

    /// W.
    fn flowed(&self) -> Rounded {
        (self.variance().ln() * self.power()).exp()
    }
}

impl Statement for CouplingOfSigma {
    fn about(&self) -> About {
        About {
            id: "coupling-of-sigma",
            source: "Ours; Approximated optimal transport (arXiv:2403.05069), where the assignment is made at each noise level",
            kind: Kind::Identity,
            summary: "where data and noise are paired differently at different sigma, the flow of (x - D)/sigma misses the law",
            terms: &[],
            parameters: &[STRENGTH, LEVEL],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (b, sigma) = (instance.get(STRENGTH.name)?, instance.get(LEVEL.name)?);
        let here = Coupled::new(b, sigma);
        let (variance, flowed) = (here.variance(), here.flowed());
        let moved = here.strength * here.sigma * 0.5 / variance; // −ρ'σ/V
        let (less, more, text) = if b >= 0.0 {
            (variance, flowed, "b ≥ 0: V ≤ W")
        } else {
            (flowed, variance, "b < 0: W ≤ V")
        };
        Ok(vec![
            Evidence::equal(
                "(x - D)/σ = (V'/2V - ρ'σ/V) x",
                here.velocity(),
                here.of_the_law() + moved,
            ),
            Evidence::equal(
                "W = V^{(1 - b/2)/(1 - b)} solves W' = 2uW: its logarithm's slope is 2u",
                here.of_the_law() * 2.0 * here.power(),
                here.velocity() * 2.0,
            ),
            Evidence::at_most(text, less, more),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let here = Coupled::new(0.5, 2.0);
        Ok(vec![
            Evidence::equal(
                "control: the flow of (x - D)/σ has the law's variance, b = 1/2, σ = 2",
                here.flowed(),
                here.variance(),
            ),
            Evidence::equal(
                "control: (x - D)/σ = V'/2V x although ρ moves with σ",
                here.velocity(),
                here.of_the_law(),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W' = 2uW by Runge–Kutta in small steps, for ρ = −bσ/2 against the closed form and for ρ = e^{−σ}: the numbers of the book.
    #[test]
    fn the_flow_is_integrated() {
        let flow = |rho: &dyn Fn(f64) -> f64| {
            let slope = |s: f64| 2.0 * (rho(s) + s) / (1.0 + s * s + 2.0 * rho(s) * s);
            let steps = 2000;
            let h = 2.0 / f64::from(steps);
            let simpson = |k: i32| {
                let s = f64::from(k) * h;
                (slope(s) + 4.0 * slope(s + h / 2.0) + slope(s + h)) * h / 6.0
            };
            (0..steps).map(simpson).sum::<f64>().exp()
        };
        let got = flow(&|s| -0.25 * s);
        assert!((got - Coupled::new(0.5, 2.0).flowed().value).abs() < 1e-9);
        let falling = flow(&|s: f64| (-s).exp());
        assert!((falling - 8.66).abs() < 5e-3, "{falling}");
        assert!((5.0 + 4.0 * (-2.0_f64).exp() - 5.54).abs() < 5e-3);
    }
}
