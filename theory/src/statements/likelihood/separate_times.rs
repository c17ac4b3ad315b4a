//! Eq. 15 for two samples with times of their own.

use super::setting::{FIRST, LAST, STEPS, built, chain};
use crate::laws::chain::{Chain, Data, Step};
use crate::laws::tight_weight;
use crate::rounding::Rounded;
use crate::statements::setting::SCHEDULE;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    0.05..=100.0,
    1.5,
);

/// `[thm:separate-times]` Eq. 15 for a denoiser of single samples, each with its own time.
///
/// # Formula `[eq:separate-times]`
/// ```text
/// p_θ(y_0) = p_θ(x^i) p_θ(x^j),   −log p_θ(x) ≤ prior + reconstruction + Σ_t w_t E‖x − x̂_t‖²,   w_t = ½(SNR_s − SNR_t)
/// −log p_θ(y_0) ≤ ends(x^i) + ends(x^j) + T² mean_{t, t'} {(1/T)(w_t E‖x^i − x̂^i_t‖² + w_{t'} E‖x^j − x̂^j_{t'}‖²) + λ_{tt'} E|R(y_0) − R(x̂^i_t, x̂^j_{t'})|²}
/// for all λ_{tt'} ≥ 0
/// ```
/// Add the two evidence bounds, and any number that is not negative: by step 4 of Eq. 15. t and t' drawn independently, together, or any
/// other way with uniform marginals give the same mean of the first two terms, which depend on one time each; so a run whose samples have
/// times of their own (`time_sharing = "per-sample"`) has the bound of one whose samples share one. A *joint* denoiser that saw
/// both samples would need a chain for the pair, with one time.
///
/// Tried with affine denoisers of one number, R = x^i x^j and λ_{tt'} = w(γ)√(w_t w_{t'}).
///
/// # Values
/// 2T for the denoisers, 2 for y_0.
pub struct SeparateTimes;

fn setting(instance: &Instance) -> Result<(Chain, [f64; 2]), StatementError> {
    let mut values = instance.values();
    let chain = chain(instance, &mut values, 1)?;
    let pair = values.take(2)?;
    Ok((chain, [pair[0], pair[1]]))
}

/// E x̂ and E x̂² of one step at a point x: x̂ = A(αx + σε) + b.
fn moments(step: &Step, x: f64) -> [Rounded; 2] {
    let (a, b) = (step.denoiser.matrix[[0, 0]], step.denoiser.shift[0]);
    let mean = a * step.from.alpha * x + b;
    [mean, mean.square() + (a * step.from.sigma).square()]
}

/// w_t E‖x − x̂‖².
fn denoising(step: &Step, x: f64) -> Rounded {
    let [mean, square] = moments(step, x);
    let error = Rounded::exact(x).square() - mean * (2.0 * x) + square;
    step.snr_drop() * error * 0.5
}

/// E|x^i x^j − x̂^i x̂^j|² with the two at different steps: their noises are independent.
fn relation_error(first: &Step, second: &Step, pair: [f64; 2]) -> Rounded {
    let ([m, s], [n, r]) = (moments(first, pair[0]), moments(second, pair[1]));
    let real = Rounded::exact(pair[0]) * pair[1];
    real.square() - real * m * n * 2.0 + s * r
}

/// The sum over pairs of times that a rule keeps, over how often each time is kept: a mean with uniform marginals, times T.
fn objective(
    chain: &Chain,
    pair: [f64; 2],
    gamma: f64,
    keep: impl Fn(usize, usize) -> bool,
) -> Result<[Rounded; 2], StatementError> {
    let steps = chain.steps();
    let count = steps.len();
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|k| (0..count).map(move |l| (k, l)))
        .filter(|&(k, l)| keep(k, l))
        .collect();
    let share = count as f64 / pairs.len() as f64;
    let weight = tight_weight(gamma);
    let mut own = Rounded::exact(0.0);
    let mut structure = Rounded::exact(0.0);
    for (k, l) in pairs {
        own = own + denoising(&steps[k], pair[0]) + denoising(&steps[l], pair[1]);
        let both = (steps[k].snr_drop() * steps[l].snr_drop()).sqrt() * 0.5;
        structure = structure + weight * both * relation_error(&steps[k], &steps[l], pair);
    }
    let mut ends = Rounded::exact(0.0);
    for x in pair {
        let parts = chain.objective(&Data::point(&[x]))?;
        ends = ends + parts.prior + parts.reconstruction;
    }
    Ok([ends + own * share, structure * share])
}

impl Statement for SeparateTimes {
    fn about(&self) -> About {
        About {
            id: "eq-15-separate-times",
            source: "Ours; SADM (arXiv:2402.17563), Eq. 15, for per-sample times",
            kind: Kind::Bound,
            summary: "for a denoiser of single samples Eq. 15 holds with a time for each sample: two evidence bounds and any non-negative number",
            terms: &[],
            parameters: &[SCHEDULE, STEPS, FIRST, LAST, GAMMA],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (chain, [first, second]) = setting(instance)?;
        let (one, other) = (Data::point(&[first]), Data::point(&[second]));
        let mut all = built(&chain, &one, &other);
        // The chain's two last are a covariance of points, and so empty of news.
        all.truncate(3 * chain.steps().len());
        all.push(Built::row("y_0", &[first, second]));
        Ok(all)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (chain, pair) = setting(instance)?;
        let gamma = instance.get(GAMMA.name)?;
        let [apart, structure] = objective(&chain, pair, gamma, |_, _| true)?;
        let [together, _] = objective(&chain, pair, gamma, |k, l| k == l)?;
        let nll = chain.nll(&Data::point(&pair[..1]))? + chain.nll(&Data::point(&pair[1..]))?;
        Ok(vec![
            Evidence::at_most(
                "-log p(x^i) - log p(x^j) ≤ objective with times of their own, structural term included",
                nll,
                apart + structure,
            ),
            Evidence::equal(
                "shared or separate, the two denoising sums have one mean",
                apart,
                together,
            ),
            Evidence::at_most("0 ≤ the structural term", 0.0.into(), structure),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (chain, pair) = setting(&self.default_instance())?;
        let [apart, structure] = objective(&chain, pair, GAMMA.default, |_, _| true)?;
        let shared = objective(&chain, pair, GAMMA.default, |k, l| k == l)?[1];
        let last = |k: usize, l: usize| k == 0 && l == 0;
        let [one_time, _] = objective(&chain, pair, GAMMA.default, last)?;
        Ok(vec![
            Evidence::equal(
                "control: the structural term, too, is the same for shared and separate times",
                structure,
                shared,
            ),
            Evidence::equal(
                "control: the mean may be taken at one pair of times",
                apart,
                one_time,
            ),
        ])
    }
}
