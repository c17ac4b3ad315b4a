//! Eq. 15: the objective of a pair, with its structural term, against the pair's likelihood.

use ndarray::{Array1, Axis, concatenate};
use sadm_reference::relation::Relation;

use super::setting::{FIRST, LAST, STEPS, built, chain, tight_chain};
use crate::laws::chain::{Affine, Chain, ChainError, Data, Level, Parts, Step};
use crate::laws::small_matrix::{
    Cholesky, Matrix, Vector, apply, congruence, difference, inner, multiple_of_identity, product,
    scaled, trace,
};
use crate::laws::{self, tight_weight};
use crate::rounding::Rounded;
use crate::statements::setting::SCHEDULE;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    1e-3..=1e3,
    0.75,
);

const RELATION: Parameter = Parameter::whole(
    "relation",
    "0 inner product, 1 squared Euclidean",
    0.0..=1.0,
    0.0,
);
const DIMENSION: Parameter = Parameter::whole("n", "numbers in one sample", 1.0..=2.0, 1.0);

/// A relation that is a quadratic form of the pair y = (x^i, x^j).
///
/// # Formula `[eq:quadratic-relation]`
/// ```text
/// R(y) = ½ yᵀF y      inner product: F = [[0, I], [I, 0]]      squared Euclidean: F = 2 [[I, −I], [−I, I]]
/// ```
/// The moments of other relations are no finite sums, so that their side of Eq. 15 is not exact here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuadraticRelation {
    /// ⟨x^i, x^j⟩.
    InnerProduct,
    /// ‖x^i − x^j‖².
    SquaredEuclidean,
}

impl QuadraticRelation {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        Ok(match instance.size(RELATION.name)? {
            0 => Self::InnerProduct,
            _ => Self::SquaredEuclidean,
        })
    }

    /// The relation as the reference names it.
    fn kind(self) -> Relation {
        match self {
            Self::InnerProduct => Relation::INNER_PRODUCT,
            Self::SquaredEuclidean => Relation::SQUARED_EUCLIDEAN,
        }
    }

    /// F for samples of n numbers.
    fn form(self, n: usize) -> Matrix {
        let (own, cross) = match self {
            Self::InnerProduct => (0.0, 1.0),
            Self::SquaredEuclidean => (2.0, -2.0),
        };
        Matrix::from_shape_fn((2 * n, 2 * n), |(i, j)| match (i == j, i % n == j % n) {
            (true, _) => own.into(),
            (false, true) => cross.into(),
            _ => 0.0.into(),
        })
    }
}

/// `[thm:pair-bound]` Eq. 15 bounds −log p_θ(y_0) once w is the ELBO weight and prior and reconstruction are kept.
///
/// # Formula `[eq:pair-objective]`
/// ```text
/// y_0 = (x^i, x^j),   R(y) as in [eq:quadratic-relation],   ŷ = A_t y_t + b_t, a joint denoiser: each output may see both samples
/// objective = prior + reconstruction + Σ ½(SNR_s − SNR_t) { E‖y_0 − ŷ_0‖² + w(γ) E|R(y_0) − R(ŷ_0)|² }
/// ```
/// The structural part is ≥ 0, so the bound is that of `[eq:elbo]` for the pair as one vector, and the structural part is
/// slack in full. Averaged over pairs from N(m, C)² it splits exactly, against the entropy into four parts, and against −log p_θ into
/// these less a divergence:
///
/// # Formula `[eq:slack-parts]`
/// ```text
/// E[objective] − H(y_0)        = prior + reconstruction + diffusion + structure,  each ≥ 0
/// E[objective] − E[−log p_θ]   = the same − KL(q(y_0)‖p_θ(y_0)),   KL(q‖p_θ) = E[−log p_θ] − H(y_0) ≥ 0
/// ```
/// Eq. 15 prints the structural term outside the weight, here it stands inside: either is a number that is not negative, and both bound.
///
/// The second moments of the relations are exact by `[eq:quadratic-moment]`.
///
/// # Values
/// Takes 2n(2n + 1)T values for the joint denoisers, 2n for y_0, n for m and one for C = v² + ¼.
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

/// E|R(y_0) − R(ŷ_0)|² at one step: a quadratic of w = (y_0 − m, ε), with ŷ = αAy_0 + σAε + b.
fn relation_error(step: &Step, data: &Data, relation: QuadraticRelation) -> Rounded {
    let Level { alpha, sigma } = step.from;
    let Affine { matrix, shift } = &step.denoiser;
    let size = data.mean.len();
    let form = relation.form(size / 2);
    // y_0 = m + (I 0) w and ŷ = μ + (αA σA) w.
    let identity = multiple_of_identity(1.0.into(), size);
    let zero = multiple_of_identity(0.0.into(), size);
    let signal = concatenate![Axis(1), identity, zero];
    let seen = concatenate![Axis(1), scaled(matrix, alpha), scaled(matrix, sigma)];
    let moved = apply(matrix, &data.mean);
    let centre = Array1::from_shape_fn(size, |i| moved[i] * alpha + shift[i]);
    let quadratic = |at: &Vector, map: &Matrix| {
        let slope = apply(&form, at);
        Quadratic {
            constant: inner(at, &slope) * 0.5,
            linear: apply(&map.t().to_owned(), &slope),
            curvature: congruence(&map.t().to_owned(), &form),
        }
    };
    let (real, generated) = (quadratic(&data.mean, &signal), quadratic(&centre, &seen));
    let error = Quadratic {
        constant: real.constant - generated.constant,
        linear: difference(&real.linear, &generated.linear),
        curvature: &real.curvature - &generated.curvature,
    };
    let covariance = concatenate![
        Axis(0),
        concatenate![Axis(1), data.covariance, zero],
        concatenate![Axis(1), zero, identity]
    ];
    error.second_moment(&covariance)
}

/// The structural part of Eq. 15, `Σ ½(SNR_s − SNR_t) w(γ) E|R(y_0) − R(ŷ_0)|²`: a part of `[eq:pair-objective]`.
pub fn structural_part(
    chain: &Chain,
    data: &Data,
    relation: QuadraticRelation,
    gamma: f64,
) -> Rounded {
    let terms = chain.steps().iter();
    let errors = terms.map(|s| s.snr_drop() * relation_error(s, data, relation) * 0.5);
    Rounded::sum(errors) * tight_weight(gamma)
}

/// `Σ w(γ) E|R(y_0) − R(ŷ_0)|²`: the structural part with Eq. 15's weight, which is none.
fn unweighted_part(chain: &Chain, data: &Data, relation: QuadraticRelation, gamma: f64) -> Rounded {
    let errors = chain
        .steps()
        .iter()
        .map(|s| relation_error(s, data, relation));
    Rounded::sum(errors) * tight_weight(gamma)
}

/// KL(N(m, C) ‖ p_θ) = ½(tr S⁻¹C + (m − μ)ᵀS⁻¹(m − μ) − n + ln det S − ln det C), p_θ = N(μ, S).
fn kl(chain: &Chain, data: &Data) -> Result<Rounded, StatementError> {
    let (mean, covariance) = chain.marginal();
    let not_definite = |what| ChainError::NotDefinite { what };
    let model = Cholesky::new(&covariance).ok_or(not_definite("the chain's covariance"))?;
    let own = Cholesky::new(&data.covariance).ok_or(not_definite("the data's covariance"))?;
    let spread = trace(&product(&model.inverse(), &data.covariance));
    let off = model.quadratic(&difference(&data.mean, &mean));
    let count = Rounded::exact(data.mean.len() as f64);
    Ok((spread + off - count + model.log_det() - own.log_det()) * 0.5)
}

/// Every choice of `length` digits 0, 1, 2.
fn digits_in_base_3(length: usize) -> impl Iterator<Item = Vec<usize>> {
    let count = (0..length).fold(1, |count, _| 3 * count);
    (0..count).map(move |mut rest: usize| {
        let mut next = || {
            let digit = rest % 3;
            rest /= 3;
            digit
        };
        (0..length).map(|_| next()).collect()
    })
}

/// The structural part by cubature: three Gauss–Hermite nodes in every coordinate of (y_0, ε), exact for the polynomials of degree
/// four that the squared errors are.
///
/// # Formula `[eq:cubature]`
/// ```text
/// E f(Z) = f(−√3)/6 + 2f(0)/3 + f(√3)/6        Z ~ N(0, 1), f a polynomial of degree ≤ 5
/// ```
/// The covariance must be diagonal. SNR_s − SNR_t is the difference itself, not the form of [`Step::snr_drop`].
fn structural_part_by_cubature(
    chain: &Chain,
    data: &Data,
    relation: QuadraticRelation,
    gamma: f64,
) -> Rounded {
    let size = data.mean.len();
    let root3 = Rounded::exact(3.0).sqrt();
    let nodes = [-root3, Rounded::exact(0.0), root3];
    let weights = [1.0, 4.0, 1.0].map(|w| Rounded::exact(w) / 6.0);
    let relation_of = |y: &Vector| {
        let y = y.to_vec();
        let (first, second) = y.split_at(size / 2);
        laws::relation::relation(relation.kind(), first, second)
    };
    let terms = chain.steps().iter().map(|step| {
        let Level { alpha, sigma } = step.from;
        let errors = digits_in_base_3(2 * size).map(|digit| {
            let y = Array1::from_shape_fn(size, |i| {
                data.mean[i] + data.covariance[[i, i]].sqrt() * nodes[digit[i]]
            });
            let seen =
                Array1::from_shape_fn(size, |i| y[i] * alpha + nodes[digit[size + i]] * sigma);
            let moved = apply(&step.denoiser.matrix, &seen);
            let guess = Array1::from_shape_fn(size, |i| moved[i] + step.denoiser.shift[i]);
            let weight = digit.iter().map(|&d| weights[d]);
            let weight = weight.fold(Rounded::exact(1.0), |all, w| all * w);
            weight * (relation_of(&y) - relation_of(&guess)).square()
        });
        (step.to.snr() - step.from.snr()) * Rounded::sum(errors) * 0.5
    });
    Rounded::sum(terms) * tight_weight(gamma)
}

/// The chain, a pair, and the law of pairs.
fn setting(instance: &Instance) -> Result<(Chain, Data, Data), StatementError> {
    let n = instance.size(DIMENSION.name)?;
    let mut values = instance.values();
    let chain = chain(instance, &mut values, 2 * n)?;
    let pair = Data::point(&values.take(2 * n)?);
    let (mean, spread) = (values.take(n)?, values.take(1)?[0]);
    let data = Data {
        mean: Array1::from_shape_fn(2 * n, |i| mean[i % n].into()),
        covariance: multiple_of_identity(
            Rounded::exact(spread).square() + Rounded::exact(0.25),
            2 * n,
        ),
    };
    Ok((chain, pair, data))
}

impl Statement for PairBound {
    fn about(&self) -> About {
        About {
            id: "eq-15",
            source: "SADM (arXiv:2402.17563), Eq. 15, with the weights it needs",
            kind: Kind::Bound,
            summary: "with SNR weights, prior and reconstruction the pair's objective bounds -log p(y_0) (inner product, squared Euclidean)",
            terms: &[
                (
                    "objective",
                    "the right side of Eq. 15: prior + reconstruction + denoising with structure, each as trained",
                ),
                (
                    "-log p(y_0)",
                    "the pair's negative log-likelihood under the chain: what the objective bounds",
                ),
                (
                    "H(y_0)",
                    "entropy of the pairs: no model's E[-log p] is smaller (Gibbs)",
                ),
                (
                    "slack of the prior",
                    "KL of the noised data at the last time from N(0, I)",
                ),
                (
                    "slack of the reconstruction",
                    "KL of the true law of y_0 given z_0 from the decoder's",
                ),
                (
                    "slack of the diffusion",
                    "sum of the KLs of the true backward steps from the chain's: what a better denoiser lowers",
                ),
                (
                    "slack of the structure",
                    "the structural term, in full: nothing in the likelihood answers to it",
                ),
                (
                    "KL(q‖p)",
                    "how far the chain's law is from the data's; it is subtracted, because these slacks are measured from H, and -log p lies above H by KL",
                ),
            ],
            parameters: &[SCHEDULE, STEPS, FIRST, LAST, GAMMA, RELATION, DIMENSION],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (chain, point, data) = setting(instance)?;
        Ok(built(&chain, &point, &data))
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (chain, pair, data) = setting(instance)?;
        let (gamma, relation) = (instance.get(GAMMA.name)?, QuadraticRelation::of(instance)?);
        let structure = |data: &Data| structural_part(&chain, data, relation, gamma);
        let at_pair = chain.objective(&pair)?.total() + structure(&pair);
        let slack = structure(&data);
        let objective = chain.objective(&data)?.total() + slack;
        let (nll, entropy) = (chain.nll(&data)?, data.entropy()?);
        let Parts {
            prior,
            reconstruction,
            diffusion,
        } = chain.gap(&data)?;
        let zero = Rounded::exact(0.0);
        let (whole, kl) = (
            prior + reconstruction + diffusion + slack,
            kl(&chain, &data)?,
        );
        let outside =
            chain.objective(&pair)?.total() + unweighted_part(&chain, &pair, relation, gamma);
        Ok(vec![
            Evidence::at_most("-log p(y_0) ≤ objective", chain.nll(&pair)?, at_pair),
            Evidence::at_most("E[-log p(y_0)] ≤ E[objective]", nll, objective),
            Evidence::at_most(
                "-log p(y_0) ≤ objective with the structural term outside the weight, as Eq. 15 prints it",
                chain.nll(&pair)?,
                outside,
            ),
            Evidence::equal(
                "E[objective] - H(y_0) = slacks of prior, reconstruction, diffusion, structure",
                objective - entropy,
                whole,
            ),
            Evidence::equal(
                "E[objective] - E[-log p] = the four slacks - KL(q‖p)",
                objective - nll,
                whole - kl,
            ),
            Evidence::equal(
                "E[-log p] - H(y_0) = KL(q‖p), from the two Gaussians",
                nll - entropy,
                kl,
            ),
            Evidence::at_most("KL(q‖p) ≥ 0", zero, kl),
            Evidence::equal(
                "by cubature too: Σ ½(SNR_s - SNR_t) w(γ) E|R(y_0) - R(ŷ_0)|² is the slack of the structure",
                slack,
                structural_part_by_cubature(&chain, &data, relation, gamma),
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
        let structural = structural_part(&tight, &standard, QuadraticRelation::InnerProduct, 3.0);
        let (full, _, law) = setting(&self.default_instance())?;
        let relation = QuadraticRelation::InnerProduct;
        let objective =
            full.objective(&law)?.total() + structural_part(&full, &law, relation, GAMMA.default);
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
                "control: the four slacks are the gap to E[-log p]",
                objective - full.nll(&law)?,
                full.gap(&law)?.total() + structural_part(&full, &law, relation, GAMMA.default),
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
    use crate::laws::small_matrix::exact;
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
        let got = relation_error(&step, &data, QuadraticRelation::InnerProduct);
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
        let got = relation_error(&step, &data, QuadraticRelation::InnerProduct);
        assert!(
            (got.value - want).abs() <= got.error + 1e-14,
            "{got:?} {want}"
        );
        Ok(())
    }

    /// ‖x^i − x^j‖² of a pair from N(m, C)² in R² has mean 4C and second moment 32C² (2C χ²₂); a blind denoiser's relation is that
    /// of its two answers, 1 here.
    #[test]
    fn squared_distances_of_planar_samples_have_chi_square_moments() -> Result<(), StatementError> {
        let known = PairBound.parameters();
        let instance = PairBound.default_instance().with(known, "n", 2.0)?;
        let (chain, _, data) = setting(&instance)?;
        let mut step = chain.steps()[0].clone();
        step.denoiser = Affine {
            matrix: multiple_of_identity(0.0.into(), 4),
            shift: array![2.0.into(), 0.5.into(), 2.0.into(), 1.5.into()],
        };
        let c = data.covariance[[0, 0]].value;
        let got = relation_error(&step, &data, QuadraticRelation::SquaredEuclidean);
        let want = 32.0 * c * c - 8.0 * c + 1.0;
        assert!(
            (got.value - want).abs() <= got.error && got.error < 1e-11,
            "{got:?} {want}"
        );
        Ok(())
    }
}
