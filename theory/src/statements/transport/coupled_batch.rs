//! Structure and transport together: a batch whose noise was assigned is not independent, and Eq. 12 loses its first part.

use ndarray::Array2;

use super::coupling::{BLUR, N, Setting};
use crate::laws::finite::{log_normal_density, softmax};
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const LEVEL: Parameter = Parameter::logarithmic(
    "sigma",
    "noise level of the assigned part of the noise",
    0.25..=4.0,
    1.3,
);
const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation x^i x^j is observed",
    0.5..=20.0,
    1.5,
);
const OBSERVED: Parameter = Parameter::linear("r", "the observed relation", -4.0..=4.0, 0.75);
/// Atoms of the data and of the noise.
const ATOMS: usize = 3;

/// `[thm:coupled-batch]` Noise assigned within the batch makes its samples dependent: of Eq. 12 Bayes' rule remains, with the pair's score in the
/// place of the samples' scores.
///
/// # Formula `[eq:coupled-batch]`
/// ```text
/// x_0^1, x_0^2 independent, n^1, n^2 independent, dealt out so that Σ|x_0^i − n^{π(i)}|² is least; x_t^i = x_0^i + σ n^{π(i)} + τ g^i
/// true:    ∇ log q(y_t | r) = ∇ log q(y_t) + ∇ log q(r | y_t),   q(r | y_t) = E[g(r | y_0) | y_t]    with the posterior of the pair
/// true:    the noise of each sample has the law it was drawn from;   ∂_σ q + ∇·(q u) = 0 with u^i = E[n^{π(i)} | y_t]
/// false:   ∇ log q(y_t) = (∇ log q(x_t^1), ∇ log q(x_t^2));   u^i = E[n^{π(i)} | x_t^i] carries the pair
/// ```
/// Without the assignment all four are true. So the objective L + λS may be trained on assigned noise, and a deterministic sampler of
/// single samples keeps each sample's law (`[thm:coupling-velocity]`); but Eq. 12 as printed, Eq. 13 and 14 with a product
/// posterior, and a sampler guided by a relation need the pair's own score, and a denoiser of single samples does not give it. (Nor does it
/// give the single score, `[thm:e11]`.)
///
/// Tried in one dimension, three values each of data and noise: 81 cases, each a Gaussian of width τ, and so all sums finite.
///
/// # Values
/// 11: the data's atoms and weights, the noise's atoms, the pair's noised point.
pub struct CoupledBatch;

/// Every case of a batch of two, with its noise dealt out or left as drawn.
fn cases(instance: &Instance, dealt: bool) -> Result<Cases, StatementError> {
    let mut values = instance.values();
    let atoms = values.take(ATOMS)?;
    let prior: Vec<f64> = values.take(ATOMS)?.iter().map(|v| v.abs() + 0.25).collect();
    let noise = values.take(ATOMS)?;
    let point = values.take(N)?;
    let indices: Vec<[usize; 4]> = (0..ATOMS.pow(4))
        .map(|mut rest| {
            [(); 4].map(|()| {
                let digit = rest % ATOMS;
                rest /= ATOMS;
                digit
            })
        })
        .collect();
    let given = |&[k, l, m, n]: &[usize; 4]| {
        // Least Σ|x − n|² is largest Σ x n: exchange where the order of the noise is not that of the data.
        let gain = (atoms[k] - atoms[l]) * (noise[m] - noise[n]);
        if dealt && gain < 0.0 { [n, m] } else { [m, n] }
    };
    let data = Array2::from_shape_fn((indices.len(), N), |(c, i)| atoms[indices[c][i]]);
    let dealt_out: Vec<[usize; 2]> = indices.iter().map(given).collect();
    let assigned = Array2::from_shape_fn((indices.len(), N), |(c, i)| noise[dealt_out[c][i]]);
    let weights = indices
        .iter()
        .map(|[k, l, _, _]| prior[*k] * prior[*l])
        .collect();
    Ok(Cases {
        of: dealt_out,
        setting: Setting {
            data,
            noise: assigned,
            weights,
            point,
            sigma: instance.get(LEVEL.name)?,
            blur: instance.get(BLUR.name)?,
        },
        atoms,
        prior,
        values: noise,
    })
}

struct Cases {
    /// Which atom of the noise each sample has.
    of: Vec<[usize; 2]>,
    setting: Setting,
    atoms: Vec<f64>,
    prior: Vec<f64>,
    values: Vec<f64>,
}

/// What one sample by itself shows: its score, E[n | x] and the slope of that.
struct Own {
    score: Rounded,
    velocity: Rounded,
    divergence: Rounded,
}

impl Cases {
    /// P(the first sample has noise l), which is the drawn 1/3.
    fn noise_law(&self, l: usize) -> Rounded {
        let all = Rounded::sum(self.setting.weights.iter().map(|&w| w.into()));
        let with = self.of.iter().zip(&self.setting.weights);
        Rounded::sum(with.filter(|(of, _)| of[0] == l).map(|(_, &w)| w.into())) / all
    }

    /// Sample i alone, the other forgotten.
    fn own(&self, i: usize) -> Own {
        let s = &self.setting;
        let variance = Rounded::exact(s.blur).square();
        let terms: Vec<Rounded> = (0..s.weights.len())
            .map(|k| {
                Rounded::exact(s.weights[k]).ln()
                    + log_normal_density(s.point[i], s.centre(k, i), s.blur)
            })
            .collect();
        let (weights, _) = softmax(&terms);
        let mean = |f: &dyn Fn(usize) -> Rounded| {
            Rounded::sum(weights.iter().enumerate().map(|(k, &w)| w * f(k)))
        };
        let centre = mean(&|k| s.centre(k, i));
        Own {
            score: (centre - Rounded::exact(s.point[i])) / variance,
            velocity: mean(&|k| s.noise[[k, i]].into()),
            divergence: mean(&|k| (s.centre(k, i) - centre) * s.noise[[k, i]]) / variance,
        }
    }

    /// ln Σ w_c f_c N(y_c) and the gradient of it, f = 1 or the observation's density.
    fn pair(&self, point: [f64; 2], observed: Option<(f64, f64)>) -> (Rounded, [Rounded; 2]) {
        let s = &self.setting;
        let variance = Rounded::exact(s.blur).square();
        let terms: Vec<Rounded> = (0..s.weights.len())
            .map(|k| {
                let place = [0, 1].map(|i| log_normal_density(point[i], s.centre(k, i), s.blur));
                let relation = Rounded::exact(s.data[[k, 0]]) * s.data[[k, 1]];
                let seen = observed.map_or(Rounded::exact(0.0), |(r, gamma)| {
                    log_normal_density(r, relation, gamma)
                });
                Rounded::exact(s.weights[k]).ln() + place[0] + place[1] + seen
            })
            .collect();
        let (weights, total) = softmax(&terms);
        let slope = |i: usize| {
            let pull = |(k, &w): (usize, &Rounded)| w * (s.centre(k, i) - Rounded::exact(point[i]));
            Rounded::sum(weights.iter().enumerate().map(pull)) / variance
        };
        (total, [slope(0), slope(1)])
    }

    /// ∂ ln q(r | y)/∂y_1 by a central difference: its remainder is h²/6 times two third cumulants of numbers of this range, each at most R³/4.
    fn relation_slope(&self, r: f64, gamma: f64) -> Rounded {
        let s = &self.setting;
        let step = 2.0_f64.powi(-17);
        let ends = |sign: f64| [s.point[0] + sign * step, s.point[1]];
        let log = |at: [f64; 2]| self.pair(at, Some((r, gamma))).0 - self.pair(at, None).0;
        let (up, down) = (ends(1.0), ends(-1.0));
        let width = Rounded::exact(up[0]) - Rounded::exact(down[0]);
        let centres = (0..s.weights.len()).map(|k| s.centre(k, 0).value);
        let (low, high) = centres.fold((f64::MAX, f64::MIN), |(l, h), c| (l.min(c), h.max(c)));
        let range = 1.01 * (high - low) / (s.blur * s.blur);
        let truncation = 1.01 * (0.51 * width.value).powi(2) / 6.0 * range.powi(3) / 2.0;
        // y ± h are rounded: the slope's own slope is at most R²/2 in all.
        let shift = f64::EPSILON * (s.point[0].abs() + step) * range * range;
        (log(up) - log(down)) / width + Rounded::within(0.0, truncation + shift)
    }
}

impl Statement for CoupledBatch {
    fn about(&self) -> About {
        About {
            id: "coupled-batch",
            source: "Ours; SADM (arXiv:2402.17563), Eq. 12, on batches of Approximated optimal transport (arXiv:2403.05069)",
            kind: Kind::Identity,
            summary: "with noise assigned within the batch Eq. 12 keeps Bayes' rule but not the samples' scores: the pair has a score of its own",
            terms: &[
                ("y_t", "the two noised samples together"),
                (
                    "the pair's score",
                    "∇ log q(y_t), from the joint law of the two",
                ),
                (
                    "the samples' scores",
                    "∇ log q(x_t^1) and ∇ log q(x_t^2), each from its own law, one after the other",
                ),
            ],
            parameters: &[LEVEL, BLUR, GAMMA, OBSERVED],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let all = cases(instance, true)?;
        Ok(vec![
            Built::row("atoms of the data", &all.atoms),
            Built::row("their weights, up to a factor", &all.prior),
            Built::row("atoms of the noise, equally likely", &all.values),
            Built::row("the pair's noised point", &all.setting.point),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (dealt, drawn) = (cases(instance, true)?, cases(instance, false)?);
        let (r, gamma) = (instance.get(OBSERVED.name)?, instance.get(GAMMA.name)?);
        let here = [dealt.setting.point[0], dealt.setting.point[1]];
        let (_, given) = dealt.pair(here, Some((r, gamma)));
        let (_, score) = dealt.pair(here, None);
        let moments = dealt.setting.moments();
        let mut claims = vec![
            Evidence::equal(
                "Bayes: ∂ ln q(y_t|r)/∂x^1 = ∂ ln q(y_t)/∂x^1 + ∂ ln q(r|y_t)/∂x^1, noise assigned",
                given[0],
                score[0] + dealt.relation_slope(r, gamma),
            ),
            Evidence::equal(
                "the pair's flow: ∂_σ ln q(y_t) = -∇·u - u·∇ ln q, u from the pair, noise assigned",
                dealt.setting.rate(),
                moments.continuity(1.0, 1.0),
            ),
        ];
        let (_, alone) = drawn.pair(here, None);
        for (i, score) in alone.into_iter().enumerate() {
            claims.push(Evidence::equal(
                format!("noise as drawn: the pair's score at sample {i} is the sample's own"),
                score,
                drawn.own(i).score,
            ));
        }
        for l in 0..ATOMS {
            claims.push(Evidence::equal(
                format!("the noise of a sample keeps its law: P(n = n_{l}) = 1/3"),
                dealt.noise_law(l),
                Rounded::exact(1.0) / 3.0,
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let dealt = cases(&self.default_instance(), true)?;
        let here = [dealt.setting.point[0], dealt.setting.point[1]];
        let (_, score) = dealt.pair(here, None);
        let owns = [dealt.own(0), dealt.own(1)];
        let carried = owns
            .iter()
            .fold(Rounded::exact(0.0), |sum, own| sum + own.divergence);
        let advected = owns
            .iter()
            .zip(score)
            .fold(Rounded::exact(0.0), |sum, (own, s)| sum + own.velocity * s);
        Ok(vec![
            Evidence::equal(
                "control: Eq. 12's samples' scores are the pair's, noise assigned; sample 0",
                score[0],
                owns[0].score,
            ),
            Evidence::equal(
                "control: Eq. 12's samples' scores are the pair's, noise assigned; sample 1",
                score[1],
                owns[1].score,
            ),
            Evidence::equal(
                "control: the samples' own velocities carry the pair, noise assigned",
                dealt.setting.rate(),
                -(carried + advected),
            ),
        ])
    }
}
