//! E6: the text updates φ first, the listing θ first.

use ndarray::array;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::relation::Relation;

use crate::rounding::Rounded;
use crate::statements::setting::squared;
use crate::statements::{
    About, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const THETA: Parameter = Parameter::linear("theta", "the denoiser's output x̂ = θ", -2.0..=2.0, 1.0);
const PHI: Parameter = Parameter::linear("phi", "the encoder Ψ(x) = φ x", -2.0..=2.0, 1.0);
const ROUNDS: Parameter = Parameter::whole("rounds", "rounds played", 1.0..=3.0, 1.0);

/// Step size of both players.
const RATE: f64 = 1.0 / 1024.0;
/// The one real sample.
const REAL: f64 = 2.0;

/// `[thm:e6]` Theta-first and phi-first are different algorithms, one half-step apart.
///
/// # Formula `[eq:small-game]`
/// ```text
/// L(θ, φ) = (θ − x)² + S,   S = (φ²x² − φ²θ²)² = φ⁴ (x² − θ²)²,   x = 2
/// Eq. 9 through both branches:  ∂S/∂φ = ∂S/∂Ψ·x + ∂S/∂Ψ̂·θ = 4φ³ (x² − θ²)²
/// Eq. 10 through one:           ∂S/∂θ = ∂S/∂Ψ̂·φ            = −4φ⁴ θ (x² − θ²)
/// ```
/// the objective of Eq. 8–10 for one sample, Ψ_φ(x) = φx, inner product, squared distance. Phi-first, played with the
/// gradients of the branches as Algorithm 1 has them, is theta-first after one extra ascent, played with the derivatives of S as
/// a function of two numbers; and the reference's gradients are those of the branches. Every number carries its bound.
pub struct UpdateOrder;

/// Where the gradients of S come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gradients {
    /// ∂S/∂Ψ and ∂S/∂Ψ̂ through the branches Ψ = φx and Ψ̂ = φθ.
    Branches,
    /// Derivatives of φ⁴ (x² − θ²)².
    Direct,
}

/// A point of the game.
#[derive(Debug, Clone, Copy)]
struct Play {
    theta: Rounded,
    phi: Rounded,
}

/// ∂S/∂Ψ = 4Ψ(Ψ² − Ψ̂²) and ∂S/∂Ψ̂ = −4Ψ̂(Ψ² − Ψ̂²).
fn branch_grads(psi: Rounded, psi_hat: Rounded) -> (Rounded, Rounded) {
    let off = (psi.square() - psi_hat.square()) * 4.0;
    (psi * off, -(psi_hat * off))
}

impl Play {
    fn branches(self) -> (Rounded, Rounded) {
        branch_grads(self.phi * REAL, self.phi * self.theta)
    }

    /// x² − θ².
    fn gap(self) -> Rounded {
        Rounded::exact(REAL).square() - self.theta.square()
    }

    /// ∂S/∂φ.
    fn slope_phi(self, from: Gradients) -> Rounded {
        match from {
            Gradients::Branches => {
                let (real, generated) = self.branches();
                real * REAL + generated * self.theta
            }
            Gradients::Direct => self.phi.square() * self.phi * self.gap().square() * 4.0,
        }
    }

    /// ∂S/∂θ with the real branch held.
    fn slope_theta(self, from: Gradients) -> Rounded {
        match from {
            Gradients::Branches => self.branches().1 * self.phi,
            Gradients::Direct => -(self.phi.square().square() * self.theta * self.gap() * 4.0),
        }
    }

    /// Eq. 9: φ ascends through both branches.
    fn ascend(self, from: Gradients) -> Self {
        Self {
            phi: self.phi + self.slope_phi(from) * RATE,
            ..self
        }
    }

    /// Eq. 10: θ descends the denoising loss and the generated branch.
    fn descend(self, from: Gradients) -> Self {
        let denoising = (self.theta - Rounded::exact(REAL)) * 2.0;
        Self {
            theta: self.theta - (denoising + self.slope_theta(from)) * RATE,
            ..self
        }
    }

    fn theta_first(self, rounds: usize, from: Gradients) -> Self {
        (0..rounds).fold(self, |p, _| p.descend(from).ascend(from))
    }

    fn phi_first(self, rounds: usize, from: Gradients) -> Self {
        (0..rounds).fold(self, |p, _| p.ascend(from).descend(from))
    }

    /// ∂S/∂φ and ∂S/∂θ by the reference's ∂S/∂Ψ and ∂S/∂Ψ̂ at the stored features. The gradients of the branches, tracked,
    /// cover both the stored features and φx, φθ, so these are at most twice their bound apart.
    fn reference_slopes(self) -> Result<(Rounded, Rounded), StatementError> {
        let (psi, psi_hat) = (self.phi * REAL, self.phi * self.theta);
        let bound = bound::structure::structural_loss(
            &array![[psi.value]],
            &array![[psi_hat.value]],
            &[1.0],
            &squared(Relation::INNER_PRODUCT),
            Precision::F64,
        )?;
        let (real, generated) = branch_grads(psi, psi_hat);
        let near = |x: &Tracked, cover: Rounded| {
            Rounded::within(x.value.sum(), x.error.sum()) + Rounded::within(0.0, 2.0 * cover.error)
        };
        let (real, generated) = (
            near(&bound.grad_real, real),
            near(&bound.grad_generated, generated),
        );
        Ok((real * REAL + generated * self.theta, generated * self.phi))
    }
}

impl Statement for UpdateOrder {
    fn about(&self) -> About {
        About {
            id: "e6",
            source: "SADM (arXiv:2402.17563), Sec. 4.2 against Algorithm 1",
            kind: Kind::Erratum(Finding::Contradiction),
            summary: "updating theta or phi first gives different iterates, half a round apart",
            terms: &[],
            parameters: &[THETA, PHI, ROUNDS],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let start = Play {
            theta: instance.get(THETA.name)?.into(),
            phi: instance.get(PHI.name)?.into(),
        };
        let rounds = instance.size(ROUNDS.name)?;
        let (slope_phi, slope_theta) = start.reference_slopes()?;
        let phi_first = start
            .phi_first(rounds, Gradients::Branches)
            .ascend(Gradients::Branches);
        let shifted = start
            .ascend(Gradients::Direct)
            .theta_first(rounds, Gradients::Direct);
        Ok(vec![
            Evidence::equal(
                "∂S/∂Ψ·x + ∂S/∂Ψ̂·θ of the reference = 4φ³(x² - θ²)²",
                slope_phi,
                start.slope_phi(Gradients::Direct),
            ),
            Evidence::equal(
                "∂S/∂Ψ̂·φ of the reference = -4φ⁴θ(x² - θ²)",
                slope_theta,
                start.slope_theta(Gradients::Direct),
            ),
            Evidence::equal(
                "phi-first through the branches, then one ascent = one ascent, then theta-first: θ",
                phi_first.theta,
                shifted.theta,
            ),
            Evidence::equal(
                "phi-first through the branches, then one ascent = one ascent, then theta-first: φ",
                phi_first.phi,
                shifted.phi,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let start = Play {
            theta: THETA.default.into(),
            phi: PHI.default.into(),
        };
        let listing = start.theta_first(1, Gradients::Branches);
        let text = start.phi_first(1, Gradients::Branches);
        let claim = |name: &str, a: Rounded, b: Rounded| {
            Evidence::equal(
                format!("as printed: text and listing are the same algorithm, {name}"),
                a,
                b,
            )
        };
        Ok(vec![
            claim("θ", listing.theta, text.theta),
            claim("φ", listing.phi, text.phi),
            Evidence::equal(
                "control: theta-first without the extra ascent is phi-first with it",
                start.theta_first(1, Gradients::Direct).theta,
                text.theta,
            ),
            Evidence::equal(
                "control: the encoder ascends through the real branch only",
                start.branches().0 * REAL,
                start.slope_phi(Gradients::Direct),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At θ = φ = 1: Ψ = 2, Ψ̂ = 1, e = 3, ∂S/∂Ψ = 4·3·2 = 24, ∂S/∂Ψ̂ = −4·3·1 = −12.
    #[test]
    fn one_step_of_each_player_is_as_by_hand() -> Result<(), StatementError> {
        let start = Play {
            theta: 1.0.into(),
            phi: 1.0.into(),
        };
        for from in [Gradients::Branches, Gradients::Direct] {
            let descended = start.descend(from).theta; // 1 − (2·(1 − 2) − 12)/1024
            let ascended = start.ascend(from).phi; // 1 + (24·2 − 12·1)/1024
            assert!((descended.value - (1.0 + 14.0 / 1024.0)).abs() <= descended.error);
            assert!((ascended.value - (1.0 + 36.0 / 1024.0)).abs() <= ascended.error);
            assert!(descended.error < 1e-15 && ascended.error < 1e-15);
        }
        let (phi, theta) = start.reference_slopes()?;
        assert!((phi.value - 36.0).abs() <= phi.error && phi.error < 1e-12);
        assert!((theta.value + 12.0).abs() <= theta.error && theta.error < 1e-12);
        Ok(())
    }
}
