//! The distance of two observations' densities, integrated over what is observed.

use std::f64::consts::PI;

use super::GAMMA;
use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const GAP: Parameter = Parameter::logarithmic(
    "delta",
    "difference of the relations, (m2 - m1)/gamma",
    0.01..=6.0,
    1.25,
);

/// Nodes per γ: with step h = γ/4 the trapezoidal rule's error is below e^{−157}.
const NODES: i32 = 4;
/// Nodes reach this many γ beyond both relations: the tail is below e^{−81}.
const REACH: i32 = 9;

/// `[thm:integrated-difference]` ∫(g(r;m₁) − g(r;m₂))² dr = (1 − e^{−Δ²/4γ²})/(γ√π) ≤ Δ²/(4√π γ³), tight as Δ → 0.
///
/// # Formula `[eq:integrated-difference]`
/// ```text
/// ∫ g_a g_b dr = N(m_a − m_b; 0, 2γ²)   ⇒   ∫(g₁ − g₂)² = 2/(2γ√π) − 2 e^{−Δ²/4γ²}/(2γ√π)
/// x − x²/2 ≤ 1 − e^{−x} ≤ x,  x = Δ²/4γ²
/// ```
/// # Error
/// The left side is a trapezoidal sum with step h = ηγ over all of R. By Poisson's summation formula it differs from the
/// integral by Σ_{n≠0} f̂(2πn/h). f is a combination of three Gaussians of variance γ²/2 whose masses add up to at most
/// 2/(γ√π), hence |f̂(ω)| ≤ 2/(γ√π) e^{−γ²ω²/4} and the error is at most
/// ```text
/// 2/(γ√π) · 2 Σ_{n≥1} e^{−π²n²/η²} ≤ 8/(γ√π) e^{−π²/η²}
/// ```
/// The terms left out, beyond Lγ from both relations, add up to at most
/// ```text
/// 2 · 2 · (η + 1/(2L)) e^{−L²}/(2πγ)      by  (a − b)² ≤ a² + b²  and a sum of a decreasing function
/// ```
pub struct IntegratedDifference;

/// √π to within an ulp.
fn root_pi() -> Rounded {
    Rounded::within(PI, PI * f64::EPSILON / 2.0).sqrt()
}

/// The integral by the trapezoidal rule, in z = (r − m₁)/γ, with its quadrature and truncation bounds.
fn quadrature(gamma: f64, delta: f64) -> Rounded {
    let gamma = Rounded::exact(gamma);
    let eta = 1.0 / f64::from(NODES);
    let phi = |z: Rounded| (-(z.square() * 0.5)).exp();
    let mut last = REACH * NODES;
    while f64::from(last) * eta < delta + f64::from(REACH) {
        last += 1;
    }
    let sum = Rounded::sum((-REACH * NODES..=last).map(|k| {
        let z = Rounded::exact(f64::from(k) * eta); // quarters are exact
        (phi(z) - phi(z - Rounded::exact(delta))).square()
    }));
    let integral = sum * eta / (root_pi().square() * 2.0 * gamma);
    let omitted = omitted(eta) / gamma;
    Rounded::within(
        integral.value,
        integral.error + omitted.value + omitted.error,
    )
}

/// Quadrature and truncation bounds, times γ.
fn omitted(eta: f64) -> Rounded {
    let (pi, reach) = (root_pi().square(), f64::from(REACH));
    let alias = Rounded::exact(8.0) * (-(pi.square() / (eta * eta))).exp() / root_pi();
    let tail = Rounded::exact(2.0)
        * (Rounded::exact(eta) + Rounded::exact(0.5) / reach)
        * Rounded::exact(-reach * reach).exp()
        / pi;
    alias + tail
}

/// (1 − e^{−Δ²/4γ²})/(γ√π) and Δ²/(4√π γ³), with Δ = δγ.
fn closed_form(gamma: f64, delta: f64) -> (Rounded, Rounded) {
    let gamma = Rounded::exact(gamma);
    let gap = gamma * delta;
    let x = gap.square() / (gamma.square() * 4.0);
    let one = Rounded::exact(1.0);
    let integral = (one - (-x).exp()) / (gamma * root_pi());
    let bound = gap.square() / (root_pi() * 4.0 * gamma * gamma.square());
    (integral, bound)
}

impl Statement for IntegratedDifference {
    fn about(&self) -> About {
        About {
            id: "eq-14b-integrated",
            source: "ours, for SADM (arXiv:2402.17563), Eq. 14, integrated over the observed relation",
            kind: Kind::Bound,
            summary: "integrated over r, the densities differ by at most |m1 - m2|^2/(4 sqrt(pi) gamma^3)",
            terms: &[],
            parameters: &[GAMMA, GAP],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (gamma, delta) = (instance.get(GAMMA.name)?, instance.get(GAP.name)?);
        let (integral, bound) = closed_form(gamma, delta);
        let nearly = Rounded::exact(1.0) - Rounded::exact(delta).square() / 8.0;
        Ok(vec![
            Evidence::equal(
                "∫(g1 - g2)² dr = (1 - e^{-Δ²/4γ²})/(γ√π)",
                quadrature(gamma, delta),
                integral,
            ),
            Evidence::at_most("∫(g1 - g2)² dr ≤ Δ²/(4√π γ³)", integral, bound),
            Evidence::at_most(
                "Δ²/(4√π γ³) (1 - Δ²/8γ²) ≤ ∫(g1 - g2)² dr",
                bound * nearly,
                integral,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (integral, _) = closed_form(GAMMA.default, GAP.default);
        let (small, bound) = closed_form(GAMMA.default, 0.03125);
        Ok(vec![
            Evidence::equal(
                "control: the integral is that of g1² + g2²",
                quadrature(GAMMA.default, GAP.default),
                Rounded::exact(1.0) / (root_pi() * GAMMA.default),
            ),
            Evidence::equal(
                "control: the same for another difference",
                quadrature(GAMMA.default, 1.0),
                integral,
            ),
            Evidence::at_most(
                "control: 0.999 of the bound is enough",
                small,
                bound * 0.999,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// γ = 1, Δ = 2: (1 − e⁻¹)/√π = 0.356636… and the bound 1/√π = 0.564190…
    #[test]
    fn closed_forms_are_as_by_hand() {
        let (integral, bound) = closed_form(1.0, 2.0);
        let inverse_root = 1.0 / PI.sqrt();
        assert!((integral.value - (1.0 - (-1.0_f64).exp()) * inverse_root).abs() < 1e-15);
        assert!((bound.value - inverse_root).abs() < 1e-15);
        let (half, eighth) = closed_form(2.0, 2.0);
        assert!((half.value - integral.value / 2.0).abs() < 1e-15);
        assert!((eighth.value - bound.value / 2.0).abs() < 1e-15);
    }

    /// With η = 1 the alias dominates, 8 e^{−π²}/√π = 2.335…e-4; with η = ¼ nothing is left but a tail below e^{−80}.
    #[test]
    fn what_the_quadrature_omits_is_as_by_hand() {
        let coarse = omitted(1.0).value;
        assert!((coarse / (8.0 * (-PI * PI).exp() / PI.sqrt()) - 1.0).abs() < 1e-12);
        let fine = omitted(0.25).value;
        let tail = 2.0 * (0.25 + 1.0 / 18.0) * (-81.0_f64).exp() / PI;
        assert!((fine / tail - 1.0).abs() < 1e-12 && fine < 1e-30);
    }

    /// The sum reaches both relations: far apart, it is the sum of two separate bumps, 1/(γ√π).
    #[test]
    fn the_quadrature_covers_both_bumps() {
        let got = quadrature(2.0, 30.0);
        assert!(
            (got.value - 0.5 / PI.sqrt()).abs() <= got.error + 1e-16,
            "{got:?}"
        );
        assert!(got.error < 1e-14, "{got:?}");
    }
}
