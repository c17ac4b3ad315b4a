//! E6: the text updates φ first, the listing θ first.

use ndarray::array;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions, structural_loss};

use crate::rounding::Rounded;
use crate::statements::{Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError};

const THETA: Parameter = Parameter {
    name: "theta",
    meaning: "the denoiser's output x̂ = θ",
    low: -2.0,
    high: 2.0,
    default: 1.0,
    scale: Scale::Integer,
};
const PHI: Parameter = Parameter {
    name: "phi",
    meaning: "the encoder Ψ(x) = φ x",
    low: -2.0,
    high: 2.0,
    default: 1.0,
    scale: Scale::Integer,
};
const ROUNDS: Parameter = Parameter {
    name: "rounds",
    meaning: "rounds played",
    low: 1.0,
    high: 2.0,
    default: 1.0,
    scale: Scale::Integer,
};

/// Step size of both players: a power of two, so that a step from dyadic numbers is exact.
const RATE: f64 = 1.0 / 1024.0;
/// The one real sample.
const REAL: f64 = 2.0;

/// `[thm:e6]` Theta-first and phi-first are different algorithms, one half-step apart.
///
/// # Formula `[eq:small-game]`
/// ```text
/// L(θ, φ) = (θ − x)² + (φ²x² − φ²θ²)²,   x = 2
/// ```
/// the objective of Eq. 8–10 for one sample, Ψ_φ(x) = φx, inner product, squared distance. From dyadic starting
/// points every number in two rounds is computed exactly or within its stated bound, so "different" means
/// different, and the corrected statement — phi-first is theta-first after one extra ascent — is an equality of
/// floating-point numbers.
pub struct UpdateOrder;

/// A point of the game.
#[derive(Debug, Clone, Copy)]
struct Play {
    theta: f64,
    phi: f64,
}

/// ∂S/∂Ψ and ∂S/∂Ψ̂ from the reference.
fn structure_grads(play: Play) -> Result<(f64, f64), StatementError> {
    let options = StructureOptions {
        relation: Relation::InnerProduct,
        distance: Distance::Squared,
        diagonal: Diagonal::Include,
    };
    let s = structural_loss(
        &array![[play.phi * REAL]],
        &array![[play.phi * play.theta]],
        &[1.0],
        &options,
    )?;
    Ok((s.grad_real[[0, 0]], s.grad_generated[[0, 0]]))
}

impl Play {
    /// Eq. 9: φ ascends through both branches, Ψ = φx and Ψ̂ = φθ.
    fn ascend(self) -> Result<Self, StatementError> {
        let (real, generated) = structure_grads(self)?;
        Ok(Self {
            phi: self.phi + RATE * (real * REAL + generated * self.theta),
            ..self
        })
    }

    /// Eq. 10: θ descends the denoising loss and the generated branch.
    fn descend(self) -> Result<Self, StatementError> {
        let (_, generated) = structure_grads(self)?;
        Ok(Self {
            theta: self.theta - RATE * (2.0 * (self.theta - REAL) + generated * self.phi),
            ..self
        })
    }

    fn theta_first(self, rounds: usize) -> Result<Self, StatementError> {
        (0..rounds).try_fold(self, |p, _| p.descend()?.ascend())
    }

    fn phi_first(self, rounds: usize) -> Result<Self, StatementError> {
        (0..rounds).try_fold(self, |p, _| p.ascend()?.descend())
    }
}

impl Statement for UpdateOrder {
    fn id(&self) -> &'static str {
        "e6"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Sec. 4.2 against Algorithm 1"
    }
    fn kind(&self) -> Kind {
        Kind::Erratum
    }
    fn summary(&self) -> &'static str {
        "updating theta or phi first gives different iterates, half a round apart"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[THETA, PHI, ROUNDS]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let start = Play {
            theta: instance.get(THETA.name)?,
            phi: instance.get(PHI.name)?,
        };
        let rounds = instance.size(ROUNDS.name)?;
        let phi_first = start.phi_first(rounds)?.ascend()?;
        let shifted = start.ascend()?.theta_first(rounds)?;
        // The same operations in the same order: equal as floating-point numbers, allowance zero.
        Ok(vec![
            Evidence::equal(
                "phi-first, then one ascent = one ascent, then theta-first: θ",
                phi_first.theta.into(),
                shifted.theta.into(),
            ),
            Evidence::equal(
                "phi-first, then one ascent = one ascent, then theta-first: φ",
                phi_first.phi.into(),
                shifted.phi.into(),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        // θ = φ = 1: S = (4 − 1)² and its gradients are small integers; one step of 2⁻¹⁰ from them is exact.
        let start = Play {
            theta: THETA.default,
            phi: PHI.default,
        };
        let (listing, text) = (start.theta_first(1)?, start.phi_first(1)?);
        let claim = |name: &str, a: f64, b: f64| {
            // Second half-steps round: a dozen operations on numbers below 64.
            let allowance = 12.0 * 64.0 * f64::EPSILON;
            Evidence::equal(
                format!("as printed: text and listing are the same algorithm, {name}"),
                Rounded::within(a, allowance),
                Rounded::within(b, allowance),
            )
        };
        Ok(vec![
            claim("θ", listing.theta, text.theta),
            claim("φ", listing.phi, text.phi),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At θ = φ = 1: Ψ = 2, Ψ̂ = 1, e = 3, ∂S/∂Ψ = 4·3·2 = 24, ∂S/∂Ψ̂ = −4·3·1 = −12, all exact.
    #[test]
    fn one_step_of_each_player_is_as_by_hand() -> Result<(), StatementError> {
        let start = Play {
            theta: 1.0,
            phi: 1.0,
        };
        let descended = start.descend()?.theta; // 1 − (2·(1 − 2) − 12)/1024
        let ascended = start.ascend()?.phi; // 1 + (24·2 − 12·1)/1024
        assert_eq!(descended.to_bits(), (1.0 + 14.0 / 1024.0_f64).to_bits());
        assert_eq!(ascended.to_bits(), (1.0 + 36.0 / 1024.0_f64).to_bits());
        Ok(())
    }
}
