//! What a coupling of data and noise does to the uncertainty about x_0: it lowers it for one sign only.

use super::{About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError};
use crate::rounding::Rounded;

const SIGMA: Parameter = Parameter::logarithmic(
    "sigma",
    "noise level of x = x_0 + sigma n",
    0.01..=100.0,
    1.3,
);
const RHO: Parameter = Parameter::linear("rho", "correlation of x_0 and n", -0.99..=0.99, -0.4);

/// `[thm:coupling-entropy]` x_0 and n standard normal with correlation ρ: which couplings make x = x_0 + σn tell more
/// about x_0 than independent noise does.
///
/// # Formula `[eq:coupled-variance]`
/// ```text
/// V = Var x = 1 + σ² + 2ρσ        Var[x_0 | x] = σ²(1 − ρ²)/V
/// σ²/(1 + σ²) − Var[x_0 | x] = σ² ρ (ρ(1 + σ²) + 2σ) / ((1 + σ²) V)
/// Var[x_0 | x] ≤ min(1, σ²), with equality at ρ = −min(σ, 1/σ)
/// ```
/// So the posterior variance, and with it the entropy ½ ln(2πe Var), is below its value for independent noise exactly
/// if ρ > 0 or ρ < −2σ/(1 + σ²). In two dimensions, with E[x_0 nᵀ] = K,
/// ```text
/// det(σ²/(1 + σ²) I − Cov[x_0 | x]) = (σ²/(1 + σ²))² det((1 + σ²)KᵀK + σ(K + Kᵀ)) / det V
/// ```
/// For K ⪰ 0 the matrix on the left is ⪰ 0 (both diagonal entries and the determinant), so the entropy ½ ln det(2πe Cov) falls.
pub struct CouplingEntropy;

/// σ, ρ and what follows from them.
struct Coupled {
    sigma: Rounded,
    rho: Rounded,
    /// 1 + σ² + 2ρσ, as (σ + ρ)² + (1 − ρ)(1 + ρ), which cancels nothing.
    v: Rounded,
}

fn one() -> Rounded {
    Rounded::exact(1.0)
}

impl Coupled {
    fn new(sigma: f64, rho: f64) -> Self {
        let (sigma, rho) = (Rounded::exact(sigma), Rounded::exact(rho));
        let v = (sigma + rho).square() + (one() - rho) * (one() + rho);
        Self { sigma, rho, v }
    }

    /// Var[x_0|x] by the projection theorem: 1 − Cov(x_0, x)²/Var x.
    fn by_projection(&self) -> Rounded {
        one() - (one() + self.rho * self.sigma).square() / self.v
    }

    /// σ²(1 − ρ²)/V.
    fn variance(&self) -> Rounded {
        self.sigma.square() * (one() - self.rho) * (one() + self.rho) / self.v
    }

    /// σ²/(1 + σ²).
    fn independent(&self) -> Rounded {
        self.sigma.square() / (one() + self.sigma.square())
    }

    /// σ² ρ (ρ(1 + σ²) + 2σ)/((1 + σ²) V): what the coupling takes off the variance.
    fn gain(&self) -> Rounded {
        let factor = self.rho * (one() + self.sigma.square()) + self.sigma * 2.0;
        self.independent() * self.rho * factor / self.v
    }

    /// Whether ρ > 0 or ρ < −2σ/(1 + σ²), from ρ alone.
    fn lowers(&self) -> bool {
        let threshold = -(self.sigma * 2.0) / (one() + self.sigma.square());
        self.rho.value > 0.0 || self.rho.value < threshold.value
    }
}

/// The correlation of the largest variance, −min(σ, 1/σ), a millionth short of it.
fn worst(sigma: f64) -> f64 {
    -sigma.min(1.0 / sigma) * 0.999_999
}

/// 2 × 2 matrices by rows.
type Square = [[Rounded; 2]; 2];

fn square(f: impl Fn(usize, usize) -> Rounded) -> Square {
    [[f(0, 0), f(0, 1)], [f(1, 0), f(1, 1)]]
}

fn product(a: &Square, b: &Square) -> Square {
    square(|i, j| a[i][0] * b[0][j] + a[i][1] * b[1][j])
}

fn transposed(a: &Square) -> Square {
    square(|i, j| a[j][i])
}

fn determinant(a: &Square) -> Rounded {
    a[0][0] * a[1][1] - a[0][1] * a[1][0]
}

fn identity(i: usize, j: usize) -> Rounded {
    Rounded::exact(if i == j { 1.0 } else { 0.0 })
}

/// The gain σ²/(1 + σ²) I − Cov[x_0|x], and V.
fn gain_and_v(sigma: f64, k: &Square) -> (Square, Square) {
    let sigma = Rounded::exact(sigma);
    let variance = sigma.square();
    let kt = transposed(k);
    let v = square(|i, j| (one() + variance) * identity(i, j) + sigma * (k[i][j] + kt[i][j]));
    let cross = square(|i, j| identity(i, j) + sigma * k[i][j]);
    let adjugate = [[v[1][1], -v[0][1]], [-v[1][0], v[0][0]]];
    let explained = product(&product(&cross, &adjugate), &transposed(&cross));
    // Cov[x_0|x] = I − cross V⁻¹ crossᵀ.
    let gain =
        square(|i, j| explained[i][j] / determinant(&v) - identity(i, j) / (one() + variance));
    (gain, v)
}

/// h(x_0 | x) less its value for independent noise, ½ ln det Cov[x_0|x] − ln(σ²/(1 + σ²)).
fn entropy_gained(sigma: f64, k: &Square) -> Rounded {
    let (gain, _) = gain_and_v(sigma, k);
    let variance = Rounded::exact(sigma).square();
    let scale = (one() + variance) / variance;
    // det Cov over det of its independent value: 1 − tr G + det G with G = gain (1 + σ²)/σ².
    let ratio = one() - (gain[0][0] + gain[1][1]) * scale + determinant(&gain) * scale.square();
    ratio.ln() * 0.5
}

/// Both sides of the determinant identity; with `wrong`, K in place of its transpose in KᵀK.
fn determinants(sigma: f64, k: &Square, wrong: bool) -> (Rounded, Rounded) {
    let (below, v) = gain_and_v(sigma, k);
    let sigma = Rounded::exact(sigma);
    let variance = sigma.square();
    let kt = transposed(k);
    let form = product(if wrong { k } else { &kt }, k);
    let form = square(|i, j| (one() + variance) * form[i][j] + sigma * (k[i][j] + kt[i][j]));
    let scale = (variance / (one() + variance)).square();
    (
        determinant(&below),
        scale * determinant(&form) / determinant(&v),
    )
}

/// Four free values in [−2, 2] as a cross-covariance of norm at most 4/5.
fn cross_covariance(instance: &Instance) -> Result<Square, StatementError> {
    let values = instance.values().take(4)?;
    Ok(square(|i, j| Rounded::exact(values[2 * i + j]) / 5.0))
}

impl Statement for CouplingEntropy {
    fn about(&self) -> About {
        About {
            id: "coupling-entropy",
            source: "AOT (arXiv:2403.05069): a coupling lowers the information entropy of x_0 given x_t",
            kind: Kind::Bound,
            summary: "coupled noise tells more about x_0 than independent noise iff rho > 0 or rho < -2 sigma/(1 + sigma²)",
            terms: &[],
            parameters: &[SIGMA, RHO],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let k = cross_covariance(instance)?;
        let rows = k.map(|row| row.map(|x| x.value));
        Ok(vec![Built::list("K = E[x_0 nᵀ]", &rows)])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (sigma, rho) = (instance.get(SIGMA.name)?, instance.get(RHO.name)?);
        let c = Coupled::new(sigma, rho);
        let (coupled, independent) = (c.variance(), c.independent());
        let k = cross_covariance(instance)?;
        let (left, right) = determinants(sigma, &k, false);
        let order = if c.lowers() {
            Evidence::at_most(
                "ρ > 0 or ρ < -2σ/(1+σ²): below independent noise",
                coupled,
                independent,
            )
        } else {
            Evidence::at_most(
                "-2σ/(1+σ²) ≤ ρ ≤ 0: not below independent noise",
                independent,
                coupled,
            )
        };
        let transport = product(&transposed(&k), &k);
        let (gain, _) = gain_and_v(sigma, &transport);
        let zero = Rounded::exact(0.0);
        let worst = Coupled::new(sigma, worst(sigma));
        let least = Rounded::exact(sigma.min(1.0)).square();
        Ok(vec![
            Evidence::equal("Var[x_0|x] = σ²(1-ρ²)/V", c.by_projection(), coupled),
            Evidence::equal(
                "σ²/(1+σ²) - Var[x_0|x] = σ²ρ(ρ(1+σ²) + 2σ)/((1+σ²)V)",
                independent - coupled,
                c.gain(),
            ),
            order,
            Evidence::at_most("Var[x_0|x] ≤ min(1, σ²)", coupled, least),
            Evidence::at_most(
                "at ρ = -min(σ, 1/σ) nearly all of it is there",
                least * (1.0 - 1e-5),
                worst.variance(),
            ),
            Evidence::equal("two dimensions: the determinant of the gain", left, right),
            Evidence::at_most(
                "two dimensions, K symmetric and ⪰ 0 as in optimal transport: the gain is ⪰ 0, first entry",
                zero,
                gain[0][0],
            ),
            Evidence::at_most("the gain is ⪰ 0, second entry", zero, gain[1][1]),
            Evidence::at_most("the gain is ⪰ 0, determinant", zero, determinant(&gain)),
            Evidence::at_most(
                "the entropy of x_0 given x is not above that with independent noise",
                entropy_gained(sigma, &transport),
                zero,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let naive = |sigma: f64, rho: f64| {
            let c = Coupled::new(sigma, rho);
            Evidence::at_most(
                format!("as read: a coupling lowers Var[x_0|x], σ = {sigma}, ρ = {rho}"),
                c.variance(),
                c.independent(),
            )
        };
        let mirrored = Coupled::new(1.3, -0.4).variance();
        let k = [0.5, -0.25, 0.125, 0.375].map(Rounded::exact);
        let (left, right) = determinants(1.3, &[[k[0], k[1]], [k[2], k[3]]], true);
        let beyond = Coupled::new(0.2, -0.5);
        Ok(vec![
            naive(1.3, -0.4),
            naive(0.5, -0.5),
            naive(1.0, -0.99),
            Evidence::equal(
                "control: the sign of ρ does not matter",
                Coupled::new(1.3, 0.4).variance(),
                mirrored,
            ),
            Evidence::at_most(
                "control: every negative ρ raises it",
                beyond.independent(),
                beyond.variance(),
            ),
            Evidence::equal("control: K K in place of KᵀK", left, right),
            Evidence::at_most(
                "control: with K ⪯ 0 the entropy is not above it either",
                entropy_gained(1.3, &square(|i, j| identity(i, j) * -0.3)),
                Rounded::exact(0.0),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x_0, n with ρ = −0.6 and σ = 2: Cov(x_0, x) = −0.2, V = 2.6, so 1 − 0.04/2.6 = 4·0.64/2.6; independent 4/5.
    #[test]
    fn the_worst_correlation_is_the_smaller_of_both() {
        for sigma in [4.0, 0.25] {
            assert!((worst(sigma) + 0.25 * 0.999_999).abs() < 1e-15);
        }
    }

    /// K = −0.3 I is two copies of ρ = −0.3: twice ½ ln of the quotient of variances, which rises.
    #[test]
    fn entropies_of_two_copies_add() {
        let k = square(|i, j| identity(i, j) * -0.3);
        let c = Coupled::new(1.3, -0.3);
        let want = (c.variance() / c.independent()).ln();
        let got = entropy_gained(1.3, &k);
        assert!(
            (got.value - want.value).abs() <= got.error + want.error,
            "{got:?}"
        );
        assert!((got.value - 0.248).abs() < 1e-3, "{got:?}");
    }

    #[test]
    fn one_case_by_hand() {
        let c = Coupled::new(2.0, -0.6);
        let want = 1.0 - 0.04 / 2.6;
        assert!((c.v.value - 2.6).abs() < 1e-15);
        assert!((c.variance().value - want).abs() < 1e-15);
        assert!((c.by_projection().value - want).abs() < 1e-15);
        assert!((c.gain().value - (0.8 - want)).abs() < 1e-15);
        assert!(!c.lowers() && Coupled::new(2.0, 0.1).lowers());
        assert!(Coupled::new(2.0, -0.81).lowers() && !Coupled::new(2.0, -0.79).lowers());
    }
}
