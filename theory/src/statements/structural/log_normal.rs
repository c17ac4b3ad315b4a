//! The default's law of t: under EDM t is σ, log-normal, and 1/t has a mean.

use sadm_reference::schedule::ScheduleKind;
use sadm_reference::structure::{Eta, eta};

use crate::laws::finite::two_pi;
use crate::rounding::Rounded;
use crate::statements::setting::{Clock, known};
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const MEAN: Parameter = Parameter::linear("p_mean", "mean of ln σ", -2.5..=1.0, -1.2);
const STD: Parameter = Parameter::linear("p_std", "standard deviation of ln σ", 0.25..=2.0, 1.2);
const FIRST: Parameter = Parameter::logarithmic(
    "t_min",
    "time below which η is held constant",
    1e-3..=1.0,
    0.02,
);
const LEVEL: Parameter = Parameter::logarithmic(
    "sigma",
    "noise level at which η is evaluated",
    0.002..=80.0,
    0.3,
);

/// `[thm:eta-log-normal]` Under EDM's law of σ the weight 1/t = 1/σ has a mean, without a clamp.
///
/// # Formula `[eq:eta-log-normal]`
/// ```text
/// EDM: t = σ,  ln σ ~ N(P_mean, P_std²),   η = 1/max(σ, t_min)
/// E[1/σ] = e^{−P_mean + P_std²/2},   E[1/σ²] = e^{−2P_mean + 2P_std²}
/// ```
/// The moments of a log-normal number. 6.82 for EDM's (−1.2, 1.2), 4.57 for (−0.8, 1.2). A clamp bounds η; it is not what makes the mean
/// finite. Both sides are computed: the mean by the trapezoidal rule in g = (ln σ − P_mean)/P_std, whose error for e^{−ag}φ(g) is, by
/// Poisson's summation formula, at most 3e^{−2π²/h²} of the integral; beyond 16 deviations of the shifted law less than e^{−100} is left.
///
/// # Source
/// EDM (arXiv:2206.00364), Table 1, for the law; the remark is ours.
pub struct LogNormalTime;

/// Step of the trapezoidal rule.
const STEP: f64 = 0.25;

/// E[σ^{−k}] by the trapezoidal rule, over the law of g shifted to its maximum.
fn negative_moment(mean: f64, std: f64, k: f64) -> Rounded {
    let slope = Rounded::exact(std) * k;
    // Nodes about the maximum −ks of e^{−ksg}φ(g), rounded to a node.
    let centre = (-(k * std) / STEP).round();
    let term = |j: i32| {
        let g = Rounded::exact(STEP) * (centre + f64::from(j));
        (-(slope * g) - g.square() * 0.5).exp()
    };
    let sum = Rounded::sum((-64..=64).map(term)) * STEP / two_pi().sqrt();
    let scale = (Rounded::exact(mean) * -k).exp();
    let omitted = 1e-40 * sum.value;
    scale * (sum + Rounded::within(0.0, omitted))
}

/// e^{−kP_mean + k²P_std²/2}.
fn closed(mean: f64, std: f64, k: f64) -> Rounded {
    ((Rounded::exact(std) * k).square() * 0.5 - Rounded::exact(mean) * k).exp()
}

impl Statement for LogNormalTime {
    fn about(&self) -> About {
        About {
            id: "eta-log-normal",
            source: "EDM (arXiv:2206.00364), Table 1: ln sigma ~ N(P_mean, P_std^2); with eta_t = 1/t of SADM (arXiv:2402.17563)",
            kind: Kind::Identity,
            summary: "for EDM's log-normal sigma, where t is sigma, E[1/t] = exp(-P_mean + P_std^2/2): finite without a clamp",
            terms: &[],
            parameters: &[MEAN, STD, FIRST, LEVEL],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (mean, std) = (instance.get(MEAN.name)?, instance.get(STD.name)?);
        let (t_min, sigma) = (instance.get(FIRST.name)?, instance.get(LEVEL.name)?);
        let clock = Clock::new(ScheduleKind::EDM);
        let weight = eta(Eta::INVERSE_TIME, sigma, t_min, clock.schedule())?;
        let later = clock.levels(sigma)?.1;
        let later = if later.value > t_min {
            later
        } else {
            t_min.into()
        };
        let by = Rounded::exact(1.0) / later;
        Ok(vec![
            Evidence::equal(
                "E[1/σ] = e^{-P_mean + P_std²/2}",
                negative_moment(mean, std, 1.0),
                closed(mean, std, 1.0),
            ),
            Evidence::equal(
                "E[1/σ²] = e^{-2P_mean + 2P_std²}",
                negative_moment(mean, std, 2.0),
                closed(mean, std, 2.0),
            ),
            Evidence::equal(
                "the reference's η under edm = 1/max(σ, t_min)",
                known(weight, by),
                by,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mean = negative_moment(MEAN.default, STD.default, 1.0);
        let weight = eta(
            Eta::INVERSE_TIME,
            0.002,
            0.02,
            Clock::new(ScheduleKind::EDM).schedule(),
        )?;
        Ok(vec![
            Evidence::equal(
                "control: the mean of 1/σ is 1 over the median",
                mean,
                (-Rounded::exact(MEAN.default)).exp(),
            ),
            Evidence::equal(
                "control: the mean of 1/σ is 1/E[σ]",
                mean,
                Rounded::exact(1.0) / closed(-MEAN.default, STD.default, 1.0),
            ),
            Evidence::equal(
                "control: η is not held below t_min",
                weight.into(),
                Rounded::exact(1.0) / 0.002,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6.82 and 4.57: e^{1.92} and e^{1.52}.
    #[test]
    fn the_presets_have_the_means_that_the_book_says() {
        for (mean, want) in [(-1.2, 1.92_f64), (-0.8, 1.52)] {
            let got = negative_moment(mean, 1.2, 1.0);
            assert!((got.value / want.exp() - 1.0).abs() < 1e-13, "{got:?}");
        }
        assert!((1.92_f64.exp() - 6.82).abs() < 5e-3 && (1.52_f64.exp() - 4.57).abs() < 5e-3);
    }
}
