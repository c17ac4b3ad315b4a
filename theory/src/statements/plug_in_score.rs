//! What the plug-in relation score gets wrong, exactly and bounded.

use ndarray::Array2;
use sadm_reference::relation::Relation;

use super::joint::RELATION;
use super::relation_score::{GAMMA, OBSERVED, observation};
use super::setting::{ATOMS, DIMENSION, NoisedLaw, SCHEDULE, TIME, noised_law};
use super::{About, Built, Evidence, Instance, Kind, Statement, StatementError};
use crate::laws::finite::PairScore;
use crate::laws::relation::relation;
use crate::laws::{Observation, PairPosterior, Posterior};
use crate::rounding::Rounded;

/// `[thm:plug-in-score]` The error of the plug-in score is a posterior mean of the likelihood's second-order remainder.
///
/// # Formula `[eq:plug-in-error]`
/// With ŷ = (x̂_i, x̂_j), ℓ(y) = ln g(r|R(y)), C_i = Cov\[x^i|y_i\], and V = tr C_i + tr C_j,
/// ```text
/// ρ(y_0) = exp(ℓ(y_0) − ℓ(ŷ)) − 1 − ∇ℓ(ŷ)·(y_0 − ŷ)          Z = E[exp(ℓ(y_0) − ℓ(ŷ)) | y_t]
/// ∇_{y_i} ln q_t(r|y_t) − ∇_{y_i} ln g(r|R(ŷ)) = (α/σ²) E[ρ (x^i − x̂_i − C_i ∇_1ℓ(ŷ)) | y_t]/Z
/// ‖…‖ ≤ (α/σ²) κ V W/E[G|y_t],   G = exp(−(r − R)²/2γ²),   W = max_k ‖a_k − x̂_i − C_i ∇_1ℓ(ŷ)‖
/// κ = ½ (L²/γ² + H min(e^{−½}/γ, M/γ²))
/// ```
/// where on the convex hull of the atoms ‖∇R‖² ≤ L², ‖∇²R‖ ≤ H, |r − R| ≤ M (`Smoothness`). The bound is not
/// claimed for the Euclidean relation, which has no second derivative where two points meet.
///
/// Both claims are evaluated multiplied by what they divide by, Z and E\[G|y_t\], and the first with e^{ℓ(ŷ) − top} in every
/// exponential, top the larger of ℓ(ŷ) and the logarithm of Z's largest term: so they hold, and are tried, for γ from 10⁻³ to 10³.
/// Where ŷ is more likely than every pair atom by a factor beyond 10³²³, e^{ℓ − ℓ(ŷ)} and with it Z underflow: there the first
/// claim is 0 = 0 to within the rounding of its terms.
///
/// # Limits
/// The error vanishes like γ^{−2} as γ → ∞ and with the posterior variance V, but so does the score itself: relative to it
/// the error keeps a limit. On a finite law that is so as σ → 0 too; the controls show both.
pub struct PlugInScore;

/// Bounds for a relation on the convex hull of pairs of atoms.
#[derive(Debug, Clone, Copy)]
struct Smoothness {
    /// L² ≥ ‖∇R‖².
    slope2: Rounded,
    /// H ≥ ‖∇²R‖.
    curvature: Rounded,
    /// Largest |R|.
    size: Rounded,
}

/// The largest of these numbers: its error is at most the largest error. NaN if one is.
fn largest(numbers: impl Iterator<Item = Rounded>) -> Rounded {
    let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    numbers.fold(Rounded::exact(0.0), |m, x| {
        Rounded::within(larger(m.value, x.value), larger(m.error, x.error))
    })
}

fn squared_norm(x: &[Rounded]) -> Rounded {
    Rounded::sum(x.iter().map(|x| x.square()))
}

impl Smoothness {
    /// With A = max ‖a_k‖, D = max ‖a_k − a_l‖, and m = min_k (a_k)_1 > 0 ≤ ‖x‖ on the hull:
    ///
    /// ```text
    ///                       L²          H               |R| ≤
    /// inner product         2A²         1               A²
    /// cosine                2/m²        (1 + 2/√3)/m²   1
    /// squared Euclidean     8D²         4               D²
    /// rbf, bandwidth b      2/(e b²)    2/b²            1
    /// ```
    /// `None` for other relations, which have no bounded second derivative, and for cosine if the first coordinates do not keep the hull away from 0.
    fn of(kind: Relation, setting: &NoisedLaw) -> Option<Self> {
        let atoms = setting.law.atoms();
        let row = |k: usize| -> Vec<Rounded> { atoms.row(k).mapv(Rounded::exact).to_vec() };
        let count = atoms.nrows();
        let one = Rounded::exact(1.0);
        Some(match kind.name() {
            "inner-product" => {
                let a2 = largest((0..count).map(|k| squared_norm(&row(k))));
                Self {
                    slope2: a2 * 2.0,
                    curvature: one,
                    size: a2,
                }
            }
            "squared-euclidean" => {
                let pairs = (0..count).flat_map(|k| (0..count).map(move |l| (k, l)));
                let d2 = largest(pairs.map(|(k, l)| relation(kind, &row(k), &row(l))));
                Self {
                    slope2: d2 * 8.0,
                    curvature: 4.0.into(),
                    size: d2,
                }
            }
            "cosine" => {
                let least = atoms.column(0).fold(f64::INFINITY, |m, &a| m.min(a));
                if least <= 0.0 {
                    return None;
                }
                let m2 = Rounded::exact(least).square();
                Self {
                    slope2: Rounded::exact(2.0) / m2,
                    curvature: (one + Rounded::exact(2.0) / Rounded::exact(3.0).sqrt()) / m2,
                    size: one,
                }
            }
            "rbf" => {
                let b2 = Rounded::exact(kind.number()).square();
                Self {
                    slope2: (-one).exp() * 2.0 / b2,
                    curvature: Rounded::exact(2.0) / b2,
                    size: one,
                }
            }
            _ => return None,
        })
    }

    /// κ.
    fn kappa(&self, observation: &Observation) -> Rounded {
        let gamma = Rounded::exact(observation.gamma);
        let variance = gamma.square();
        let near = (-Rounded::exact(0.5)).exp() / gamma;
        let far = (Rounded::exact(observation.r.abs()) + self.size) / variance;
        let slope = if near.value < far.value { near } else { far };
        (self.slope2 / variance + self.curvature * slope) * 0.5
    }
}

/// Everything about one noised pair and its observed relation.
struct Scene {
    setting: NoisedLaw,
    observation: Observation,
    pair: PairPosterior,
    own: [Posterior; 2],
    exact: PairScore,
    plug_in: PairScore,
}

/// What [`Scene::likelihood`] knows of each pair atom `[K, K]`.
struct Likelihood {
    value: Array2<Rounded>,
    tangent: Array2<Rounded>,
    scale: Rounded,
}

/// One sample's side of the statement.
struct Side {
    /// Exact minus plug-in score `[n]`.
    error: Vec<Rounded>,
    /// The exact score `[n]`.
    exact: Vec<Rounded>,
    /// (α/σ²) E[ρ (…)] `[n]`, scaled.
    remainder: Vec<Rounded>,
    /// Z, scaled.
    ratio: Rounded,
    /// e^{ℓ(ŷ) − top}, the scale.
    scale: Rounded,
    /// W².
    reach2: Rounded,
}

impl Scene {
    fn new(instance: &Instance) -> Result<Self, StatementError> {
        let setting = noised_law(instance, 2)?;
        let observation = observation(instance)?;
        let (alpha, sigma) = (setting.alpha, setting.sigma);
        let (yi, yj) = (&setting.points[0], &setting.points[1]);
        Ok(Self {
            pair: setting.law.pair(yi, yj, alpha, sigma)?,
            own: [
                setting.law.posterior(yi, alpha, sigma)?,
                setting.law.posterior(yj, alpha, sigma)?,
            ],
            exact: setting
                .law
                .relation_score(yi, yj, alpha, sigma, &observation)?,
            plug_in: setting
                .law
                .plug_in_score(yi, yj, alpha, sigma, &observation)?,
            setting,
            observation,
        })
    }

    /// α/σ².
    fn scale(&self) -> Rounded {
        Rounded::exact(self.setting.alpha) / Rounded::exact(self.setting.sigma).square()
    }

    /// a_k − x̂ of sample s.
    fn offset(&self, s: usize, k: usize) -> Vec<Rounded> {
        let atom = self.setting.law.atoms().row(k);
        let mean = &self.own[s].mean;
        atom.iter()
            .zip(mean)
            .map(|(&a, &m)| Rounded::exact(a) - m)
            .collect()
    }

    /// ∇_s ℓ(ŷ).
    fn slope(&self, s: usize) -> Vec<Rounded> {
        self.observation
            .log_grad(&self.own[s].mean, &self.own[1 - s].mean)
    }

    /// a_k − x̂ − C ∇_sℓ(ŷ) of sample s.
    fn corrected(&self, s: usize, k: usize) -> Vec<Rounded> {
        let slope = self.slope(s);
        let rows = self.own[s].covariance.rows().into_iter();
        let shift = rows.map(|row| Rounded::sum(row.iter().zip(&slope).map(|(&c, &g)| c * g)));
        self.offset(s, k)
            .into_iter()
            .zip(shift)
            .map(|(o, c)| o - c)
            .collect()
    }

    /// Over pair atoms: w_kl e^{ℓ(a_k, a_l) − top} and w_kl (1 + ∇ℓ(ŷ)·(y_0 − ŷ)) e^{ℓ(ŷ) − top}; and e^{ℓ(ŷ) − top}.
    fn likelihood(&self) -> Result<Likelihood, StatementError> {
        let kind = self.observation.relation;
        let over_atoms = self.setting.law.relation_over_atoms(kind)?;
        let here = relation(kind, &self.own[0].mean, &self.own[1].mean);
        let here = self.observation.log_density(here);
        let weighted = self.pair.log_terms(&self.observation, &over_atoms)?;
        let top = weighted.iter().fold(here.value, |m, t| m.max(t.value));
        let top = Rounded::exact(top); // any number will do
        let scale = (here - top).exp();
        let linear = |s: usize| -> Vec<Rounded> {
            let slope = self.slope(s);
            let dot = |k| Rounded::sum(self.offset(s, k).iter().zip(&slope).map(|(&o, &g)| o * g));
            (0..over_atoms.nrows()).map(dot).collect()
        };
        let (first, second) = (linear(0), linear(1));
        let tangent = |(k, l): (usize, usize)| {
            let weight = self.pair.first[k] * self.pair.second[l];
            weight * (Rounded::exact(1.0) + (first[k] + second[l])) * scale
        };
        Ok(Likelihood {
            value: weighted.mapv(|t| (t - top).exp()),
            tangent: Array2::from_shape_fn(over_atoms.dim(), tangent),
            scale,
        })
    }

    fn side(&self, s: usize) -> Result<Side, StatementError> {
        let Likelihood {
            value,
            tangent,
            scale,
        } = self.likelihood()?;
        let (exact, plug_in) = if s == 0 {
            (&self.exact.first, &self.plug_in.first)
        } else {
            (&self.exact.second, &self.plug_in.second)
        };
        let corrected: Vec<Vec<Rounded>> =
            (0..value.nrows()).map(|k| self.corrected(s, k)).collect();
        let remainder = (0..exact.len()).map(|i| {
            let term = |((k, l), &v): ((usize, usize), &Rounded)| {
                let atom = if s == 0 { k } else { l };
                (v - tangent[[k, l]]) * corrected[atom][i]
            };
            self.scale() * Rounded::sum(value.indexed_iter().map(term))
        });
        Ok(Side {
            error: exact.iter().zip(plug_in).map(|(&e, &p)| e - p).collect(),
            exact: exact.clone(),
            remainder: remainder.collect(),
            ratio: Rounded::sum(value.iter().copied()),
            scale,
            reach2: largest(corrected.iter().map(|c| squared_norm(c))),
        })
    }

    /// E[G]² and ((α/σ²) κ V)², the latter to be multiplied by W²; nothing for the Euclidean relation.
    fn bound2(&self) -> Result<Option<[Rounded; 2]>, StatementError> {
        let kind = self.observation.relation;
        let Some(smoothness) = Smoothness::of(kind, &self.setting) else {
            return Ok(None);
        };
        let traces = self
            .own
            .iter()
            .map(|p| Rounded::sum(p.covariance.diag().iter().copied()));
        let over_atoms = self.setting.law.relation_over_atoms(kind)?;
        let top = self
            .observation
            .log_density(Rounded::exact(self.observation.r));
        let mean_g = self
            .pair
            .expectation(|k, l| (self.observation.log_density(over_atoms[[k, l]]) - top).exp());
        let kappa = smoothness.kappa(&self.observation);
        let bound = self.scale() * kappa * Rounded::sum(traces);
        Ok(Some([mean_g.square(), bound.square()]))
    }
}

impl Statement for PlugInScore {
    fn about(&self) -> About {
        About {
            id: "plug-in-score",
            source: "SADM (arXiv:2402.17563), Eq. 13–14, at the level of scores; the identity and the bound are ours",
            kind: Kind::Bound,
            summary: "the plug-in relation score errs by the posterior mean of the likelihood's second-order remainder",
            terms: &[],
            parameters: &[SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(noised_law(instance, 2)?.built())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let scene = Scene::new(instance)?;
        let bound2 = scene.bound2()?;
        let mut claims = Vec::new();
        for (s, name) in [(0, "y_i"), (1, "y_j")] {
            let side = scene.side(s)?;
            for (i, (&error, &remainder)) in side.error.iter().zip(&side.remainder).enumerate() {
                claims.push(Evidence::equal(
                    format!(
                        "exact - plug-in score, {name}, coordinate {i}, times Z = (α/σ²) E[ρ(…)], both times e^{{ℓ(ŷ) - top}}"
                    ),
                    error * side.ratio,
                    remainder,
                ));
            }
            if let Some([mean_g2, bound2]) = bound2 {
                claims.push(Evidence::at_most(
                    format!("E[G]² ‖exact - plug-in‖² ≤ ((α/σ²) κ V W)², {name}"),
                    mean_g2 * squared_norm(&side.error),
                    bound2 * side.reach2,
                ));
            }
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = Vec::new();
        let side = Scene::new(&self.default_instance())?.side(0)?;
        for (&error, &remainder) in side.error.iter().zip(&side.remainder) {
            claims.extend([
                Evidence::equal("control: the plug-in score is exact", error, 0.0.into()),
                Evidence::equal(
                    "control: without the factor 1/Z",
                    error * side.scale,
                    remainder,
                ),
            ]);
        }
        let known = self.parameters();
        for (name, value, words) in [
            ("gamma", 1000.0, "the relative error vanishes as γ grows"),
            (
                "t",
                0.05,
                "the relative error vanishes with the posterior variance",
            ),
        ] {
            let instance = self.default_instance().with(known, name, value)?;
            let side = Scene::new(&instance)?.side(0)?;
            claims.push(Evidence::at_most(
                format!("control: {words}: below 5 % at {name} = {value}"),
                squared_norm(&side.error),
                squared_norm(&side.exact) * 0.0025,
            ));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::FiniteLaw;
    use ndarray::array;

    /// Atoms (3, 4) and (2, 1): A² = 25, D² = 10, m = 2; and e, √3 to the digits of f64.
    #[test]
    fn smoothness_is_as_by_hand() -> Result<(), StatementError> {
        let setting = NoisedLaw {
            law: FiniteLaw::uniform(array![[3.0, 4.0], [2.0, 1.0]])?,
            alpha: 1.0,
            sigma: 1.0,
            points: vec![],
        };
        let curvature = (1.0 + 2.0 / 3.0_f64.sqrt()) / 4.0;
        let b2 = 1.5 * 1.5;
        for (kind, want) in [
            (Relation::INNER_PRODUCT, [50.0, 1.0, 25.0]),
            (Relation::SQUARED_EUCLIDEAN, [80.0, 4.0, 10.0]),
            (Relation::COSINE, [0.5, curvature, 1.0]),
            (
                Relation::RBF.with(1.5),
                [2.0 / (std::f64::consts::E * b2), 2.0 / b2, 1.0],
            ),
        ] {
            let got = Smoothness::of(kind, &setting).map(|s| [s.slope2, s.curvature, s.size]);
            for (g, w) in got.into_iter().flatten().zip(want) {
                assert!(
                    (g.value - w).abs() <= g.error + 4.0 * f64::EPSILON * w,
                    "{kind}"
                );
            }
            assert!(got.is_some(), "{kind}");
        }
        assert!(Smoothness::of(Relation::EUCLIDEAN, &setting).is_none());
        // κ: near γ = 2, e^{−½}/2 < (1 + 25)/4; far, at γ = 100, (1 + 25)/10⁴ < e^{−½}/100.
        let smooth = Smoothness::of(Relation::INNER_PRODUCT, &setting);
        for (gamma, slope) in [(2.0, (-0.5_f64).exp() / 2.0), (100.0, 26.0 / 1e4)] {
            let seen = Observation {
                relation: Relation::INNER_PRODUCT,
                r: -1.0,
                gamma,
            };
            let want = 0.5 * (50.0 / (gamma * gamma) + slope);
            let got = smooth.map_or(f64::NAN, |s| s.kappa(&seen).value);
            assert!((got - want).abs() <= 1e-15, "γ = {gamma}: {got}, {want}");
        }
        Ok(())
    }
}
