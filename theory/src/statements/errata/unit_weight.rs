//! E5: Eq. 15 with a pre-specified weight is no bound on the likelihood for every weight.

use sadm_reference::schedule::ScheduleKind;

use crate::laws::chain::Data;
use crate::laws::finite::two_pi;
use crate::laws::small_matrix::multiple_of_identity;
use crate::laws::tight_weight;
use crate::rounding::Rounded;
use crate::statements::likelihood::{QuadraticRelation, ideal_chain, level_at, structural_part};
use crate::statements::setting::Clock;
use crate::statements::{
    About, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    1e-3..=1e3,
    3.0,
);
const GRID: Parameter =
    Parameter::whole("N", "number of times of the Riemann sums", 1.0..=64.0, 64.0);
const STEPS: Parameter = Parameter::whole(
    "T",
    "steps of the chain of the corrected bound",
    1.0..=16.0,
    8.0,
);
/// First time of the chain: z_0 is slightly noised, as the decoder requires.
const FIRST_TIME: f64 = 0.03125;

/// `[thm:e5]` With w = 1 the right side of Eq. 15 is below the entropy, hence below −log p_θ of every model on average.
///
/// Eq. 15 prints w(λ_t), a weight chosen beforehand; Eq. 6, called its finite-sample version, has none, that is w = 1. The paper's
/// runs use the weights of EDM and LSGM. The missing condition is which weights make a bound: those nowhere below the likelihood's
/// (`[thm:weights-that-bound]`).
///
/// # Formula `[eq:unit-weight]`
/// ```text
/// x ~ N(0, 1), pairs iid, VP (α² + σ² = 1), ideal denoiser x̂ = α x_t, R(y) = x^i x^j, t ~ U[0, 1], weight 1:
/// E‖y_0 − ŷ_0‖² = 2σ_t²,   E|R(y_0) − R(ŷ_0)|² = 1 − α_t⁴
/// objective = ∫_0^1 {2σ_t² + w(γ)(1 − α_t⁴)} dt ≤ 2 + w(γ)      for every VP schedule (tried: the linear one)
/// E[−log p_θ(y_0)] ≥ H(y_0) = log(2πe) = 2.8378…                for every θ (Gibbs)
/// ```
/// At γ = 3: objective ≤ 2 + w(3) < 2.001, and on the linear VP schedule it is 1.4486 (to 4 digits): the sums of this statement
/// bracket it, since both parts of the integrand rise with t. 2.001 is a bound that needs no schedule, not its value.
/// With the ELBO weights, prior and reconstruction (`[thm:pair-bound]`) the same denoiser's objective is above H again.
///
/// # Range
/// For every VP schedule the objective is below H where 2 + w(γ) ≤ H, that is from
/// γ* = (2πe (log(2πe) − 2))^{−¼} = 0.51414… on. Below γ* the erratum does not hold for every schedule and is not claimed;
/// the brackets and the corrected bound hold at every γ and are tried from 10⁻³ to 10³.
pub struct UnitWeight;

/// Left and right Riemann sums of the integrand of Eq. 15 with weight 1.
fn objective(gamma: f64, grid: usize) -> Result<(Rounded, Rounded), StatementError> {
    let weight = tight_weight(gamma);
    let mut interior = Rounded::exact(0.0);
    let mut last = Rounded::exact(0.0); // σ_0 = 0: the integrand starts at 0
    for k in 1..=grid {
        interior = interior + last;
        let level = level_at(ScheduleKind::VP_LINEAR, k as f64 / grid as f64)?;
        let alpha4 = level.alpha.square().square();
        last = level.sigma.square() * 2.0 + weight * (Rounded::exact(1.0) - alpha4);
    }
    let count = Rounded::exact(grid as f64);
    Ok((interior / count, (interior + last) / count))
}

/// log(2πe), the entropy of two standard normal numbers.
fn entropy() -> Rounded {
    two_pi().ln() + Rounded::exact(1.0)
}

/// γ*, where 2 + w(γ*) = H(y_0); rounded upwards.
fn least_gamma() -> f64 {
    let room = entropy() - Rounded::exact(2.0);
    let fourth = Rounded::exact(1.0) / (two_pi() * Rounded::exact(1.0).exp() * room);
    let gamma = fourth.sqrt().sqrt();
    gamma.value + gamma.error
}

/// The corrected objective of the same pair, and the likelihood of its chain.
fn corrected(gamma: f64, steps: usize) -> Result<(Rounded, Rounded), StatementError> {
    let clock = Clock::new(ScheduleKind::VP_LINEAR);
    let chain = ideal_chain(&clock, [FIRST_TIME, 1.0], steps, 1.0, 2)?;
    let data = Data {
        covariance: multiple_of_identity(1.0.into(), 2),
        ..Data::point(&[0.0, 0.0])
    };
    let relation = QuadraticRelation::InnerProduct;
    let objective =
        chain.objective(&data)?.total() + structural_part(&chain, &data, relation, gamma);
    Ok((objective, chain.nll(&data)?))
}

impl Statement for UnitWeight {
    fn about(&self) -> About {
        About {
            id: "e5",
            source: "SADM (arXiv:2402.17563), Eq. 15, \"is an upper bound of the negative log-likelihood\", with the weight 1 of Eq. 6",
            kind: Kind::Erratum(Finding::MissingCondition),
            summary: "Eq. 15 needs a weight nowhere below the SNR's: with w = 1, as in Eq. 6, it is below the pair's entropy",
            terms: &[],
            parameters: &[GAMMA, GRID, STEPS],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let gamma = instance.get(GAMMA.name)?;
        let (below, above) = objective(gamma, instance.size(GRID.name)?)?;
        let any_schedule = Rounded::exact(2.0) + tight_weight(gamma);
        let (objective, nll) = corrected(gamma, instance.size(STEPS.name)?)?;
        let mut claims = vec![
            Evidence::at_most(
                "left sum ≤ right sum of ∫ 2σ² + w(γ)(1 - α⁴) dt",
                below,
                above,
            ),
            Evidence::at_most("objective with w = 1 ≤ 2 + w(γ)", above, any_schedule),
            Evidence::at_most("corrected: H(y_0) ≤ E[-log p(y_0)]", entropy(), nll),
            Evidence::at_most("corrected: E[-log p(y_0)] ≤ objective", nll, objective),
        ];
        if gamma >= least_gamma() {
            let text = "objective with w = 1 ≤ H(y_0)";
            claims.push(Evidence::at_most(text, any_schedule, entropy()));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (_, above) = objective(3.0, 64)?;
        let (_, nll) = corrected(3.0, 8)?;
        let any_schedule = Rounded::exact(2.0) + tight_weight(3.0);
        Ok(vec![
            Evidence::at_most(
                "as printed, for any weight, so for Eq. 6's w = 1; γ = 3: H(y_0) ≤ E[-log p(y_0)] ≤ 2 + w(γ)",
                entropy(),
                any_schedule,
            ),
            Evidence::at_most(
                "as printed, for any weight, so for Eq. 6's w = 1; γ = 3, linear VP: E[-log p(y_0)] ≤ objective",
                nll,
                above,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At γ* the two numbers are one, a thousandth below it 2 + w is above H; the claim is made from γ* on and not below.
    #[test]
    fn the_erratum_holds_from_gamma_star_on() -> Result<(), StatementError> {
        let least = least_gamma();
        assert!((least - 0.514_146).abs() < 5e-6, "{least}");
        let gap = |gamma: f64| tight_weight(gamma).value + 2.0 - entropy().value;
        assert!(gap(least).abs() < 1e-13 && gap(0.999 * least) > 1e-3);
        let claims = |gamma: f64| {
            let instance = UnitWeight.default_instance();
            let instance = instance.with(UnitWeight.parameters(), GAMMA.name, gamma)?;
            UnitWeight.evidence(&instance).map(|e| e.len())
        };
        assert_eq!((claims(least)?, claims(0.999 * least)?), (5, 4));
        Ok(())
    }

    /// 2 + w(3) = 2 + 0.0585498…/81 = 2.00072…; the value on the linear schedule, 1.4486, lies between the sums.
    #[test]
    fn the_numbers_of_the_erratum() -> Result<(), StatementError> {
        let any_schedule = Rounded::exact(2.0) + tight_weight(3.0);
        assert!(any_schedule.value + any_schedule.error < 2.001);
        assert!((entropy().value - 2.837_877_066_409_345).abs() <= entropy().error + 1e-15);
        let (below, above) = objective(3.0, 4096)?;
        assert!(
            below.value > 1.4483 && above.value < 1.4489,
            "{below:?} {above:?}"
        );
        // They differ by the integrand's rise from 0 to its end, over N.
        let end = 2.0 + tight_weight(3.0).value;
        assert!((above.value - below.value - end / 4096.0).abs() < 1e-7);
        Ok(())
    }
}
