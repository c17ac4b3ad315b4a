//! How straight the flow's trajectories are, in the Gaussian case.

use crate::rounding::Rounded;
use crate::statements::elementary::arctangent;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const CORRELATION: Parameter = Parameter::linear(
    "rho",
    "correlation ρ of each coordinate of x_0 with its noise",
    0.25..=0.95,
    0.5,
);
const SCALE: Parameter = Parameter::linear(
    "s",
    "standard deviation of the second coordinate; the first has 1",
    1.5..=4.0,
    2.5,
);
const END: Parameter =
    Parameter::logarithmic("sigma_max", "where the trajectory ends", 10.0..=80.0, 20.0);
const ANGLE: Parameter = Parameter::linear(
    "angle",
    "direction in which the trajectory starts, in standard deviations",
    0.25..=1.25,
    0.7,
);

/// Panels of the bracket, at σ_k = σ_max (k/PANELS)².
const PANELS: u32 = 512;

/// `[thm:ode-curvature]` A coupling with ρ > 0 straightens the flow's trajectories: fully for ρ → 1.
///
/// # Formula `[eq:ode-curvature]`
/// ```text
/// x_i(σ) = z_i √V_i(σ),   V_i = s_i² + 2ρ s_i σ + σ²,   s = (1, s)       curvature = 1 − ‖x(σ_max) − x(0)‖/arc length
/// Σ_k ‖x(σ_k) − x(σ_{k−1})‖ ≤ arc length ≤ Σ_k √(h_k E_k),   E_k = ∫ ‖ẋ‖² over panel k
/// ∫ (dx_i/dσ)² dσ = z_i² [σ − κ_i arctan((σ + ρs_i)/κ_i)],   κ_i² = (1 − ρ²) s_i²
/// waste: W = σ_max ∫‖ẋ‖² dσ − ‖x(σ_max) − x(0)‖² = σ_max ∫ ‖ẋ − mean ẋ‖² dσ ≥ 0
/// ```
/// Below: a polygon is shorter than its arc. Above: Cauchy and Schwarz on each panel. So both curvatures are bracketed
/// rigorously, by closed forms. At ρ = 1 the paths are straight, V_i = (s_i + σ)². Status: the bracket and W ≥ 0 are
/// proved; that ρ > 0 straightens is checked on this range, and false in general: see the control at σ_max ≈ 1.
pub struct CouplingStraightens;

/// A trajectory's coordinates.
struct Path {
    rho: f64,
    scales: [f64; 2],
    start: [f64; 2],
    end: f64,
}

/// Curvature from below and above, and the waste W.
struct Straightness {
    least: Rounded,
    most: Rounded,
    waste: Rounded,
}

impl Path {
    fn new(rho: f64, scale: f64, end: f64, angle: f64) -> Self {
        Self {
            rho,
            scales: [1.0, scale],
            start: [angle.cos(), angle.sin()],
            end,
        }
    }

    /// x_i(σ).
    fn position(&self, i: usize, sigma: f64) -> Rounded {
        let (s, sigma) = (Rounded::exact(self.scales[i]), Rounded::exact(sigma));
        let variance = s.square() + s * sigma * (2.0 * self.rho) + sigma.square();
        variance.sqrt() * self.start[i]
    }

    /// ∫ ẋ_i² from σ = a to b.
    fn energy(&self, i: usize, a: f64, b: f64) -> Rounded {
        let s = Rounded::exact(self.scales[i]);
        let rho = Rounded::exact(self.rho);
        let kappa = (Rounded::exact(1.0) - rho.square()).sqrt() * s;
        let turn = |sigma: f64| arctangent((Rounded::exact(sigma) + rho * s) / kappa);
        let length = Rounded::exact(b) - Rounded::exact(a);
        (length - kappa * (turn(b) - turn(a))) * Rounded::exact(self.start[i]).square()
    }

    fn chord(&self, a: f64, b: f64) -> Rounded {
        let along = |i: usize| (self.position(i, b) - self.position(i, a)).square();
        along(0) + along(1)
    }

    fn both(&self, a: f64, b: f64) -> Rounded {
        self.energy(0, a, b) + self.energy(1, a, b)
    }

    fn straightness(&self) -> Straightness {
        let level = |k: u32| self.end * (f64::from(k) / f64::from(PANELS)).powi(2);
        let panels = || (0..PANELS).map(|k| (level(k), level(k + 1)));
        let shortest = Rounded::sum(panels().map(|(a, b)| self.chord(a, b).sqrt()));
        let longest = Rounded::sum(
            panels()
                .map(|(a, b)| ((Rounded::exact(b) - Rounded::exact(a)) * self.both(a, b)).sqrt()),
        );
        let square = self.chord(0.0, self.end);
        let one = Rounded::exact(1.0);
        Straightness {
            least: one - square.sqrt() / shortest,
            most: one - square.sqrt() / longest,
            waste: self.both(0.0, self.end) * self.end - square,
        }
    }
}

impl Statement for CouplingStraightens {
    fn about(&self) -> About {
        About {
            id: "ode-curvature",
            source: "Approximated optimal transport (arXiv:2403.05069), curvature of trajectories; the Gaussian case is ours",
            kind: Kind::Bound,
            summary: "pairing data with correlated noise straightens the flow's trajectories: brackets proved, order checked for s in [1.5, 4], sigma_max >= 10",
            terms: &[],
            parameters: &[CORRELATION, SCALE, END, ANGLE],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let get = |p: Parameter| instance.get(p.name);
        let (scale, end, angle) = (get(SCALE)?, get(END)?, get(ANGLE)?);
        let coupled = Path::new(get(CORRELATION)?, scale, end, angle).straightness();
        let independent = Path::new(0.0, scale, end, angle).straightness();
        let zero = Rounded::exact(0.0);
        Ok(vec![
            Evidence::at_most("curvature ≥ 0", zero, coupled.least),
            Evidence::at_most("the bracket is one", coupled.least, coupled.most),
            Evidence::at_most(
                "coupling straightens: curvature at ρ ≤ curvature at 0",
                coupled.most,
                independent.least,
            ),
            Evidence::at_most("waste ≥ 0", zero, coupled.waste),
            Evidence::at_most("coupling wastes less", coupled.waste, independent.waste),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (scale, end, angle) = (SCALE.default, END.default, ANGLE.default);
        let at = |rho: f64| Path::new(rho, scale, end, angle).straightness();
        let short = |rho: f64| Path::new(rho, 3.875, 1.0, 0.25).straightness();
        Ok(vec![
            Evidence::at_most(
                "control: anticorrelated noise straightens too",
                at(-0.5).least,
                at(0.0).most,
            ),
            Evidence::at_most(
                "control: ρ > 0 straightens every path, also to σ_max = 1 at s = 3.875",
                short(0.25).least,
                short(0.0).most,
            ),
            Evidence::at_most(
                "control: the bracket is the other way round",
                at(0.5).most,
                at(0.5).least,
            ),
            Evidence::at_most(
                "control: a straight path at ρ = 0",
                at(0.0).least,
                Rounded::exact(0.0),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At ρ = 0, s = 1: ∫_0^1 σ²/(1 + σ²) dσ = 1 − π/4; at ρ = ½ the energy over [0, 1] is 1 − (√3/2)(π/6).
    #[test]
    fn energies_are_as_by_hand() {
        for (rho, want) in [
            (0.0, 1.0 - std::f64::consts::FRAC_PI_4),
            (0.5, 1.0 - 0.75_f64.sqrt() * std::f64::consts::PI / 6.0),
        ] {
            let path = Path {
                start: [2.0, 0.0],
                ..Path::new(rho, 3.0, 1.0, 0.0)
            };
            let got = path.energy(0, 0.0, 1.0);
            assert!(
                (got.value - 4.0 * want).abs() <= got.error + 1e-15,
                "{got:?}"
            );
        }
    }

    /// A nearly comonotone coupling is nearly straight, and the bracket is narrow.
    #[test]
    fn full_correlation_is_straight() {
        let straight = Path::new(0.999_999, 3.0, 20.0, 0.7).straightness();
        assert!(straight.most.value < 1e-8 && straight.least.value > -straight.least.error);
        let bent = Path::new(0.0, 3.0, 20.0, 0.7).straightness();
        assert!(bent.least.value > 1e-4);
        assert!(bent.most.value - bent.least.value < 0.02 * bent.least.value);
    }
}
