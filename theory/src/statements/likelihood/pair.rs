//! Eq. 15: the objective of a pair, with its structural term, against the pair's likelihood.

use ndarray::Array1;

use super::setting::{FIRST, LAST, STEPS, chain, tight_chain};
use crate::laws::chain::{Affine, Chain, Data, Parts, Step};
use crate::laws::small_matrix::{
    Matrix, Vector, apply, congruence, exact, inner, multiple_of_identity, product, trace,
};
use crate::laws::tight_weight;
use crate::rounding::Rounded;
use crate::statements::setting::SCHEDULE;
use crate::statements::{Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError};

const GAMMA: Parameter = Parameter {
    name: "gamma",
    meaning: "standard deviation with which the relation is observed",
    low: 1e-3,
    high: 1e3,
    default: 0.75,
    scale: Scale::Log,
};

/// `[thm:pair-bound]` Eq. 15 bounds −log p_θ(y_0) once w is the ELBO weight and prior and reconstruction are kept.
///
/// # Formula `[eq:pair-objective]`
/// ```text
/// y_0 = (x^i, x^j),   R(y) = x^i x^j,   ŷ = A_t y_t + b_t, a joint denoiser: each output may see both samples
/// objective = prior + reconstruction + Σ ½(SNR_s − SNR_t) { E‖y_0 − ŷ_0‖² + w(γ) E|R(y_0) − R(ŷ_0)|² }
/// ```
/// The structural part is ≥ 0, so the bound is that of `[eq:elbo]` for the pair as one vector, and the structural part is
/// slack in full. Averaged over pairs from N(m, C)² the whole slack against the entropy splits exactly:
/// ```text
/// E[objective] − H(y_0) = prior gap + reconstruction gap + diffusion gap + structure
/// ```
/// and against −log p_θ by subtracting KL(q(y_0)‖p_θ(y_0)) = E[−log p_θ] − H, itself ≥ 0.
///
/// Samples are scalars here; the relation is the inner product, whose second moments are exact by `[eq:quadratic-moment]`.
///
/// # Values
/// Takes 6T values for the joint denoisers, two for y_0, one for m and one for C = v² + ¼.
pub struct PairBound;

/// c + lᵀw + ½ wᵀQw for w ~ N(0, Σ).
struct Quadratic {
    constant: Rounded,
    linear: Vector,
    curvature: Matrix,
}

impl Quadratic {
    /// Its second moment.
    ///
    /// # Formula `[eq:quadratic-moment]`
    /// ```text
    /// E q = c + ½ tr(QΣ),    Var q = lᵀΣl + ½ tr(QΣQΣ)      (Q symmetric; Isserlis)
    /// ```
    fn second_moment(&self, covariance: &Matrix) -> Rounded {
        let spread = product(&self.curvature, covariance);
        let mean = self.constant + trace(&spread) * 0.5;
        let linear = inner(&self.linear, &apply(covariance, &self.linear));
        mean.square() + linear + trace(&product(&spread, &spread)) * 0.5
    }
}

/// J = [[0, 1], [1, 0]], so that R(y) = ½ yᵀJy.
fn swap() -> Matrix {
    exact(&ndarray::array![[0.0, 1.0], [1.0, 0.0]])
}

/// E|R(y_0) − R(ŷ_0)|² at one step: a quadratic of w = (y_0 − m, ε), with ŷ = αAy_0 + σAε + b.
fn relation_error(step: &Step, data: &Data) -> Rounded {
    let (alpha, sigma) = (step.from.alpha, step.from.sigma);
    let Affine { matrix, shift } = &step.denoiser;
    // y_0 = m + (I 0) w and ŷ = μ + (αA σA) w.
    let identity = multiple_of_identity(1.0.into(), 2);
    let signal = Matrix::from_shape_fn(
        (2, 4),
        |(i, j)| if j < 2 { identity[[i, j]] } else { 0.0.into() },
    );
    let seen = Matrix::from_shape_fn((2, 4), |(i, j)| {
        if j < 2 {
            matrix[[i, j]] * alpha
        } else {
            matrix[[i, j - 2]] * sigma
        }
    });
    let moved = apply(matrix, &data.mean);
    let centre = Array1::from_shape_fn(2, |i| moved[i] * alpha + shift[i]);
    let relation = |at: &Vector, map: &Matrix| Quadratic {
        constant: at[0] * at[1],
        linear: apply(&map.t().to_owned(), &apply(&swap(), at)),
        curvature: congruence(&map.t().to_owned(), &swap()),
    };
    let (real, generated) = (relation(&data.mean, &signal), relation(&centre, &seen));
    let difference = Quadratic {
        constant: real.constant - generated.constant,
        linear: Array1::from_shape_fn(4, |i| real.linear[i] - generated.linear[i]),
        curvature: Matrix::from_shape_fn((4, 4), |k| real.curvature[k] - generated.curvature[k]),
    };
    let covariance = Matrix::from_shape_fn((4, 4), |(i, j)| match (i < 2, j < 2) {
        (true, true) => data.covariance[[i, j]],
        (false, false) => identity[[i - 2, j - 2]],
        _ => 0.0.into(),
    });
    difference.second_moment(&covariance)
}

/// The structural part of Eq. 15, `Σ ½(SNR_s − SNR_t) w(γ) E|R(y_0) − R(ŷ_0)|²` with R(y) = x^i x^j: a part of `[eq:pair-objective]`.
pub fn structural_part(chain: &Chain, data: &Data, gamma: f64) -> Rounded {
    let terms = chain.steps().iter();
    Rounded::sum(terms.map(|s| s.snr_drop() * relation_error(s, data) * 0.5)) * tight_weight(gamma)
}

/// The chain, a pair, and the law of pairs.
fn setting(instance: &Instance) -> Result<(Chain, Data, Data), StatementError> {
    let mut values = instance.values();
    let chain = chain(instance, &mut values, 2)?;
    let pair = Data::point(&values.take(2)?);
    let law = values.take(2)?;
    let data = Data {
        mean: Array1::from_elem(2, law[0].into()),
        covariance: multiple_of_identity(Rounded::exact(law[1]).square() + Rounded::exact(0.25), 2),
    };
    Ok((chain, pair, data))
}

impl Statement for PairBound {
    fn id(&self) -> &'static str {
        "eq-15"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Eq. 15, with the weights it needs"
    }
    fn kind(&self) -> Kind {
        Kind::Bound
    }
    fn summary(&self) -> &'static str {
        "with SNR weights, prior and reconstruction the pair's objective bounds -log p(y_0) (scalar samples, inner product)"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[SCHEDULE, STEPS, FIRST, LAST, GAMMA]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (chain, pair, data) = setting(instance)?;
        let gamma = instance.get(GAMMA.name)?;
        let at_pair = chain.objective(&pair)?.total() + structural_part(&chain, &pair, gamma);
        let slack = structural_part(&chain, &data, gamma);
        let objective = chain.objective(&data)?.total() + slack;
        let (nll, entropy) = (chain.nll(&data)?, data.entropy()?);
        let Parts {
            prior,
            reconstruction,
            diffusion,
        } = chain.gap(&data)?;
        let zero = Rounded::exact(0.0);
        Ok(vec![
            Evidence::at_most("-log p(y_0) ≤ objective", chain.nll(&pair)?, at_pair),
            Evidence::at_most("E[-log p(y_0)] ≤ E[objective]", nll, objective),
            Evidence::equal(
                "E[objective] - E[-log p] = slacks of prior, reconstruction, diffusion, structure - KL(q‖p)",
                objective - nll,
                prior + reconstruction + diffusion + slack - (nll - entropy),
            ),
            Evidence::at_most("slack of the prior ≥ 0", zero, prior),
            Evidence::at_most("slack of the reconstruction ≥ 0", zero, reconstruction),
            Evidence::at_most("slack of the diffusion ≥ 0", zero, diffusion),
            Evidence::at_most("slack of the structure ≥ 0", zero, slack),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (tight, standard) = tight_chain(2)?;
        let (parts, nll) = (tight.objective(&standard)?, tight.nll(&standard)?);
        let structural = structural_part(&tight, &standard, 3.0);
        let (full, _, law) = setting(&self.default_instance())?;
        let objective = full.objective(&law)?.total() + structural_part(&full, &law, GAMMA.default);
        Ok(vec![
            Evidence::at_most(
                "control: prior and reconstruction can be dropped",
                nll,
                parts.diffusion + structural,
            ),
            Evidence::at_most(
                "control: half of the weights is enough",
                nll,
                parts.prior + parts.reconstruction + (parts.diffusion + structural) * 0.5,
            ),
            Evidence::equal(
                "control: the structural term costs nothing",
                objective,
                law.entropy()? + full.gap(&law)?.total(),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// q = 2 + w₁ − w₂ + w₁w₂ + ½·3w₁², Var w = (1, 4), independent: E q = 3.5;
    /// Var q = 1 + 4 + E[w₁²w₂²] + (9/4)·2 = 13.5 (odd cross moments vanish), E q² = 25.75.
    #[test]
    fn the_second_moment_of_a_quadratic_is_as_by_hand() {
        let q = Quadratic {
            constant: 2.0.into(),
            linear: array![1.0.into(), (-1.0).into()],
            curvature: exact(&array![[3.0, 1.0], [1.0, 0.0]]),
        };
        let got = q.second_moment(&exact(&array![[1.0, 0.0], [0.0, 4.0]]));
        assert!(
            (got.value - 25.75).abs() <= got.error && got.error < 1e-13,
            "{got:?}"
        );
    }

    /// A denoiser that returns b whatever it sees: R(ŷ) = b₁b₂, and R(y_0) = y₁y₂ has mean m² and second moment (m² + C)².
    #[test]
    fn a_blind_denoiser_errs_by_the_relation_itself() -> Result<(), StatementError> {
        let instance = PairBound.default_instance();
        let (chain, _, _) = setting(&instance)?;
        let mut step = chain.steps()[0].clone();
        step.denoiser = Affine {
            matrix: multiple_of_identity(0.0.into(), 2),
            shift: array![2.0.into(), 0.5.into()],
        };
        let (m, c) = (1.5_f64, 0.75_f64);
        let data = Data {
            mean: array![m.into(), m.into()],
            covariance: multiple_of_identity(c.into(), 2),
        };
        let got = relation_error(&step, &data);
        let want = (m * m + c).powi(2) - 2.0 * m * m + 1.0;
        assert!(
            (got.value - want).abs() <= got.error && got.error < 1e-12,
            "{got:?} {want}"
        );
        Ok(())
    }

    /// A diagonal denoiser treats the samples alike, so the relation error is E[x²]² − 2 E[x x̂]² + E[x̂²]², with
    /// x̂ = aαx + aσε + b and x ~ N(m, C). At m, b ≠ 0 every sign is seen.
    #[test]
    fn a_denoiser_that_ignores_the_partner_has_product_moments() -> Result<(), StatementError> {
        let (chain, _, _) = setting(&PairBound.default_instance())?;
        let mut step = chain.steps()[0].clone();
        let (a, b) = (0.625_f64, 0.375_f64);
        step.denoiser = Affine {
            matrix: multiple_of_identity(a.into(), 2),
            shift: array![b.into(), b.into()],
        };
        let (m, c) = (1.5_f64, 0.75_f64);
        let data = Data {
            mean: array![m.into(), m.into()],
            covariance: multiple_of_identity(c.into(), 2),
        };
        let (alpha, sigma) = (step.from.alpha.value, step.from.sigma.value);
        let real = m * m + c;
        let cross = a * alpha * real + b * m;
        let own = (a * alpha * m + b).powi(2) + a * a * (alpha * alpha * c + sigma * sigma);
        let want = real * real - 2.0 * cross * cross + own * own;
        let got = relation_error(&step, &data);
        assert!(
            (got.value - want).abs() <= got.error + 1e-14,
            "{got:?} {want}"
        );
        Ok(())
    }
}
