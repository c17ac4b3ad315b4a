//! Theorem 1's monotonicity as a statement about whole boxes of separations and noise levels.

use super::divergence::jensen_shannon_grad;
use super::proofs::{Along, prove_monotone};
use super::quadrature::slopes;
use crate::interval::Interval;
use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const THETA: Parameter =
    Parameter::logarithmic("theta", "smallest separation θ of the box", 0.5..=3.0, 0.5);
const SIGMA: Parameter =
    Parameter::logarithmic("sigma", "smallest noise level σ of the box", 0.5..=2.0, 0.5);
const PART: Parameter = Parameter::logarithmic(
    "part",
    "how far the box reaches towards θ = 3 and σ = 2",
    0.015_625..=1.0,
    1.0,
);

/// The rate that is proved, and one slightly too large: the largest possible one is 0.3737.
const RATE: f64 = 0.37;
const TOO_MUCH: f64 = 0.375;
/// Pieces looked at before a cover gives up.
const BUDGET: usize = 2000;

/// `[thm:dg-theorem-1-box]` The divergence of two noised points grows with their separation and falls with the noise on whole
/// boxes of (θ, σ), with a rate.
///
/// The covers are those of `[thm:dg-theorem-1-proved]`, which start from the definition of the divergence; at the box's centre
/// the enclosures of its slopes must contain J'(δ) and −δJ'(δ) of the closed form `[eq:jsd-grad]`, to which they owe nothing.
/// In Diffusion-GAN σ = √(1 − ᾱ_t) s and θ is √ᾱ_t times the separation of the data.
pub struct MonotoneOnBoxes;

/// Θ × Σ.
fn box_of(instance: &Instance) -> Result<[Interval; 2], StatementError> {
    let part = instance.get(PART.name)?;
    let side = |p: Parameter| {
        let low = instance.get(p.name)?;
        Ok::<_, StatementError>(Interval::new(low, low + part * (p.high - low)))
    };
    Ok([side(THETA)?, side(SIGMA)?])
}

/// δ at the middle of the box.
fn centre(theta: Interval, sigma: Interval) -> f64 {
    let middle = |x: Interval| x.lo() + 0.5 * x.width();
    middle(theta) / middle(sigma)
}

/// An enclosure as a number with a bound.
fn rounded(x: Interval) -> Rounded {
    let middle = x.lo() + 0.5 * x.width();
    // The radius, with room for its own rounding and the middle's.
    let radius = (x.hi() - middle).max(middle - x.lo()) * (1.0 + 4.0 * f64::EPSILON);
    Rounded::within(middle, radius)
}

impl Statement for MonotoneOnBoxes {
    fn about(&self) -> About {
        About {
            id: "dg-theorem-1-box",
            source: "ours, for Diffusion-GAN (arXiv:2206.02262), Theorem 1, by interval branch-and-bound",
            kind: Kind::Bound,
            summary: "the divergence of two noised points grows with their distance and falls with the noise on whole boxes",
            terms: &[],
            parameters: &[THETA, SIGMA, PART],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let [theta, sigma] = box_of(instance)?;
        let delta = centre(theta, sigma);
        let (enclosed, closed) = (slopes(Interval::point(delta)), jensen_shannon_grad(delta));
        Ok(vec![
            Evidence::covered(
                format!("σ ∂JSD/∂θ ≥ {RATE} (δ/4) e^{{-δ²/8}} on the box"),
                &prove_monotone(Along::Distance, theta, sigma, RATE, BUDGET),
            ),
            Evidence::covered(
                format!("-σ ∂JSD/∂σ ≥ {RATE} (δ²/4) e^{{-δ²/8}} on the box"),
                &prove_monotone(Along::Noise, theta, sigma, RATE, BUDGET),
            ),
            Evidence::equal(
                "σ ∂JSD/∂θ = J'(δ) at the centre",
                rounded(enclosed.distance),
                closed,
            ),
            Evidence::equal(
                "σ ∂JSD/∂σ = -δ J'(δ) at the centre",
                rounded(enclosed.noise),
                closed * -delta,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let [theta, sigma] = box_of(&self.default_instance())?;
        let proved = |along, rate| prove_monotone(along, theta, sigma, rate, BUDGET);
        let here = slopes(Interval::point(1.5));
        Ok(vec![
            Evidence::covered(
                format!("control: {TOO_MUCH} in place of {RATE}, along θ"),
                &proved(Along::Distance, TOO_MUCH),
            ),
            Evidence::covered(
                format!("control: {TOO_MUCH} in place of {RATE}, along σ"),
                &proved(Along::Noise, TOO_MUCH),
            ),
            Evidence::equal(
                "control: the slope in σ without the factor δ",
                rounded(here.noise),
                -jensen_shannon_grad(1.5),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_box_is_the_whole_one_and_parts_are_inside() {
        let instance = MonotoneOnBoxes.default_instance();
        let whole = box_of(&instance).expect("a box");
        assert_eq!(whole, [Interval::new(0.5, 3.0), Interval::new(0.5, 2.0)]);
        let half = instance.with(MonotoneOnBoxes.parameters(), "part", 0.5);
        let half = box_of(&half.expect("within the range")).expect("a box");
        assert_eq!(half, [Interval::new(0.5, 1.75), Interval::new(0.5, 1.25)]);
        let centre = centre(Interval::new(0.5, 1.5), Interval::new(1.0, 3.0));
        assert_eq!(centre.to_bits(), 0.5_f64.to_bits());
    }

    #[test]
    fn an_enclosure_is_a_number_with_a_bound() {
        let got = rounded(Interval::new(-1.0, 2.0));
        assert!((got.value - 0.5).abs() < 1e-15 && got.error >= 1.5 && got.error < 1.500_001);
    }
}
