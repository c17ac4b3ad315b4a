//! Theorem 1 beyond its example: for the Kullback–Leibler divergence noise does not help data without moments.

use crate::laws::finite::{normal_density, two_pi};
use crate::rounding::Rounded;
use crate::statements::elementary::pi;
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const REACH: Parameter = Parameter::linear(
    "A",
    "bound on the generator's output, |g| ≤ A",
    2.0..=8.0,
    3.0,
);
const VARIANCE: Parameter = Parameter::logarithmic("b", "variance of the noise", 0.25..=4.0, 1.5);
const FROM: Parameter = Parameter::logarithmic(
    "X",
    "beginning of the first shell [X, 2X]",
    256.0..=65536.0,
    1024.0,
);

/// P(|g| ≤ 1) = 0.68268… for a standard normal g, from below.
const WITHIN_ONE: f64 = 0.6825;
/// Step of the trapezoidal rule, in standard deviations of the noise.
const STEP: f64 = 1.0 / 16.0;

/// `[thm:heavy-tails]` As stated for every f-divergence, Theorem 1 needs a condition on the data: Cauchy data, any bounded generator, KL = ∞.
///
/// # Formula `[eq:heavy-tails]`
/// ```text
/// x Cauchy, |g_θ| ≤ A, noise N(0, b) on both:   p(y) ≥ 0.68/(π(1 + (y + √b)²)),   q_θ(y) ≤ e^{−(y − A)²/2b}/√(2πb)   for y ≥ A
/// ∫_X^{2X} p ln(p/q_θ) dy ≥ X · 0.68/(π(1 + (2X + √b)²)) · {(X − A)²/2b + ln(0.68 √(2πb)/(π(1 + (2X + √b)²)))}  =: ℓ(X)
/// ℓ(2X) ≥ (3/2) ℓ(X) from X = 256 on (A ≤ 8, b ≤ 4),   ∫ (p ln(p/q))₋ ≤ 1/e:   KL(p‖q_θ) ≥ Σ_k ℓ(2^k X) − 1/e = ∞  for every θ
/// ```
/// A divergence that is ∞ for every θ has no derivative in θ. The Jensen–Shannon divergence, which the game descends, is at most ln 2, and
/// for it, or for bounded data with any f, the conclusion holds (`[eq:noised-jsd]`). p is evaluated by the trapezoidal rule on the line,
/// q for a generator with three values.
///
/// # Values
/// 4: three outputs of the generator, scaled to [−A, A], and a place in the shell.
pub struct KlNeedsMoments;

/// The noised Cauchy density at y, by the trapezoidal rule in the noise's g.
///
/// N(g)·c(y − √b g) continues analytically to |Im √b g| < 1. On |Im √b g| ≤ ½ the Cauchy density is at most 4/(3π) and the mean of the Gaussian
/// factor e^{1/8b}; the rule's error is at most twice that over e^{π/(h√b)} − 1, and beyond 12 deviations less than e^{−72} is left.
fn noised_cauchy(y: f64, variance: f64) -> Rounded {
    let spread = Rounded::exact(variance).sqrt();
    let step = STEP.min(STEP / variance.sqrt());
    let mut last = 0_i32;
    while f64::from(last) * step < 12.0 {
        last += 1;
    }
    let term = |k: i32| {
        let g = Rounded::exact(step) * f64::from(k);
        let off = Rounded::exact(y) - spread * g;
        let cauchy = Rounded::exact(1.0) / (pi() * (Rounded::exact(1.0) + off.square()));
        (-(g.square() * 0.5)).exp() * cauchy
    };
    let sum = Rounded::sum((-last..=last).map(term)) * step / two_pi().sqrt();
    let strip = 2.02 * (4.0 / 9.0) * (1.0 / (8.0 * variance)).exp();
    let rule = strip / (0.99 * std::f64::consts::PI / (step * variance.sqrt())).exp_m1();
    sum + Rounded::within(0.0, rule + 1e-30)
}

/// 0.68/(π(1 + (y + √b)²)).
fn least_density(y: f64, variance: f64) -> Rounded {
    let far = Rounded::exact(y) + Rounded::exact(variance).sqrt();
    Rounded::exact(WITHIN_ONE) / (pi() * (Rounded::exact(1.0) + far.square()))
}

/// ln of the largest density of a bounded generator's noised output: −(y − A)²/2b − ½ ln 2πb.
fn most_log_density(y: f64, reach: f64, variance: f64) -> Rounded {
    let square = (Rounded::exact(y) - Rounded::exact(reach)).square();
    -(square / (2.0 * variance)) - (two_pi() * variance).ln() * 0.5
}

/// ℓ(X).
fn shell(from: f64, reach: f64, variance: f64) -> Rounded {
    let least = least_density(2.0 * from, variance);
    least * from * (least.ln() - most_log_density(from, reach, variance))
}

/// The generator's three outputs, and a place in [X, 2X].
fn setting(instance: &Instance) -> Result<(Vec<f64>, f64), StatementError> {
    let (reach, from) = (instance.get(REACH.name)?, instance.get(FROM.name)?);
    let mut values = instance.values();
    let outputs = values.take(3)?.iter().map(|v| 0.5 * reach * v).collect();
    let place = from * (1.5 + 0.25 * values.take(1)?[0]);
    Ok((outputs, place))
}

impl Statement for KlNeedsMoments {
    fn about(&self) -> About {
        About {
            id: "dg-theorem-1-kl",
            source: "Diffusion-GAN (arXiv:2206.02262), Theorem 1, as stated for every f-divergence",
            kind: Kind::Erratum(Finding::MissingCondition),
            summary: "for KL noise does not suffice: Cauchy data are infinitely far from every bounded generator; for JSD, or bounded data, the theorem stands",
            terms: &[],
            parameters: &[REACH, VARIANCE, FROM],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (outputs, place) = setting(instance)?;
        Ok(vec![
            Built::row("outputs of the generator", &outputs),
            Built::row("y", &[place]),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (outputs, y) = setting(instance)?;
        let get = |p: Parameter| instance.get(p.name);
        let (reach, variance, from) = (get(REACH)?, get(VARIANCE)?, get(FROM)?);
        let near = y / from * reach; // a place between A and 2A, where q does not underflow
        let density = outputs
            .iter()
            .map(|&g| normal_density(near, g.into(), variance.sqrt()));
        let density = Rounded::sum(density) / 3.0;
        Ok(vec![
            Evidence::at_most(
                "0.68/(π(1 + (y + √b)²)) ≤ p(y), Cauchy data",
                least_density(y, variance),
                noised_cauchy(y, variance),
            ),
            Evidence::at_most(
                "q(y) ≤ e^{-(y - A)²/2b}/√(2πb) for a bounded generator",
                density,
                most_log_density(near, reach, variance).exp() * (1.0 + 1e-12),
            ),
            Evidence::at_most(
                "1 ≤ ℓ(X): a shell's part of KL",
                Rounded::exact(1.0),
                shell(from, reach, variance),
            ),
            Evidence::at_most(
                "corrected: KL is infinite, as (3/2) ℓ(X) ≤ ℓ(2X) from shell to shell; the JSD is at most ln 2",
                shell(from, reach, variance) * 1.5,
                shell(2.0 * from, reach, variance),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let shells = (10..30).map(|k| shell(2.0_f64.powi(k), 3.0, 1.5));
        Ok(vec![
            Evidence::at_most(
                "as printed, for every f-divergence: KL is finite for some θ; its part up to y = 2^30 is below a million",
                Rounded::sum(shells),
                Rounded::exact(1e6),
            ),
            Evidence::at_most(
                "control: the noised Cauchy density falls like a Gaussian, below e^{-y²/8} at y = 20",
                noised_cauchy(20.0, 1.0),
                Rounded::exact(-50.0).exp(),
            ),
            Evidence::at_most(
                "control: twice the lower bound of the density holds, y = 1024",
                least_density(1024.0, 1.5) * 2.0,
                noised_cauchy(1024.0, 1.5),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The noised Cauchy density at 0 is √(1/2πb) e^{1/2b} erfc(1/√(2b)) (Voigt): b = ½ gives e·erfc(1)/√π = 0.241 235…
    #[test]
    fn the_noised_cauchy_density_is_voigts() {
        let got = noised_cauchy(0.0, 0.5);
        let want = std::f64::consts::E * 0.157_299_207_050_285_13 / std::f64::consts::PI.sqrt();
        assert!(
            (got.value - want).abs() <= got.error + 1e-15 && got.error < 1e-12,
            "{got:?} {want}"
        );
        // Far away it is the Cauchy density's 1/(πy²).
        let far = noised_cauchy(1e4, 0.5);
        assert!((far.value * std::f64::consts::PI * 1e8 - 1.0).abs() < 1e-6);
    }
}
