//! Why the chain must begin at t_0 > 0: the likelihood's weight has no integral down to t = 0.

use sadm_reference::schedule::ScheduleKind;

use super::setting::level_at;
use crate::laws::chain::Level;
use crate::laws::finite::two_pi;
use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const SCHEDULE: Parameter = Parameter::whole(
    "schedule",
    "0 vp-linear, 1 cosine, 2 edm, 3 rectified-flow",
    0.0..=3.0,
    0.0,
);
const KINDS: [ScheduleKind; 4] = [
    ScheduleKind::VP_LINEAR,
    ScheduleKind::COSINE,
    ScheduleKind::EDM,
    ScheduleKind::RECTIFIED_FLOW,
];
const FIRST: Parameter = Parameter::logarithmic("t_0", "first time", 1e-8..=0.25, 1e-3);
const LAST: Parameter = Parameter::linear("t_T", "last time", 0.5..=0.999, 0.9);
const VARIANCE: Parameter = Parameter::logarithmic("C", "variance of the data", 0.01..=100.0, 1.5);

/// `[thm:first-time]` As t_0 → 0 the diffusion part of the bound grows without limit and the reconstruction falls as far; their sum has a limit.
///
/// # Formula `[eq:first-time]`
/// ```text
/// data N(0, C), ideal denoiser, continuous time:   diffusion I(t_0) = ½ ln((1 + C·SNR_0)/(1 + C·SNR_T)) ≥ ½ ln(C·SNR_0) − ½ ln(1 + C·SNR_T) → ∞
/// reconstruction ½ ln(2πe/SNR_0) → −∞
/// I + reconstruction = ½ ln(2πe(C + 1/SNR_0)) − ½ ln(1 + C·SNR_T),   from above to ½ ln(2πeC) − ½ ln(1 + C·SNR_T)
/// ```
/// So t_0 > 0 is an assumption of the bound, and an objective that is printed as an integral down to t = 0 with the likelihood's weight and without
/// the reconstruction is infinite. SNR_0 is α²/σ² at t_0. For Gaussian data with the ideal denoiser all is exact; the continuous form of
/// Eq. 15 is proved for those here (`[thm:continuous-limit]`), for others the chain of finitely many steps.
pub struct FirstTime;

/// I and the reconstruction at these times.
fn parts(kind: ScheduleKind, ends: [f64; 2], variance: f64) -> Result<Ends, StatementError> {
    let snr = |t: f64| level_at(kind, t).map(Level::snr);
    let (first, last) = (snr(ends[0])?, snr(ends[1])?);
    let one = Rounded::exact(1.0);
    let grown = |snr: Rounded| one + snr * variance;
    Ok(Ends {
        diffusion: (grown(first) / grown(last)).ln() * 0.5,
        reconstruction: ((two_pi() / first).ln() + one) * 0.5,
        prior_side: grown(last).ln() * 0.5,
        first,
    })
}

struct Ends {
    diffusion: Rounded,
    reconstruction: Rounded,
    /// ½ ln(1 + C·SNR_T).
    prior_side: Rounded,
    first: Rounded,
}

/// ½ ln(2πe v).
fn entropy(v: Rounded) -> Rounded {
    ((two_pi() * v).ln() + Rounded::exact(1.0)) * 0.5
}

impl Statement for FirstTime {
    fn about(&self) -> About {
        About {
            id: "first-time",
            source: "Ours; VDM (arXiv:2107.00630), Eq. 17, and SADM (arXiv:2402.17563), Eq. 15, in continuous time",
            kind: Kind::Bound,
            summary: "down to t = 0 the SNR-weighted integral is infinite, like ln(1 + SNR_0)/2; with the reconstruction it has a limit",
            terms: &[],
            parameters: &[SCHEDULE, FIRST, LAST, VARIANCE],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let kind = KINDS[instance.size(SCHEDULE.name)?];
        let ends = [instance.get(FIRST.name)?, instance.get(LAST.name)?];
        let variance = instance.get(VARIANCE.name)?;
        let here = parts(kind, ends, variance)?;
        let sum = here.diffusion + here.reconstruction;
        let one = Rounded::exact(1.0);
        let noised = Rounded::exact(variance) + one / here.first;
        Ok(vec![
            Evidence::at_most(
                "½ ln(C·SNR_0) - ½ ln(1 + C·SNR_T) ≤ diffusion, which has no limit as t_0 → 0",
                (here.first * variance).ln() * 0.5 - here.prior_side,
                here.diffusion,
            ),
            Evidence::equal(
                "diffusion + reconstruction = ½ ln(2πe(C + 1/SNR_0)) - ½ ln(1 + C·SNR_T)",
                sum,
                entropy(noised) - here.prior_side,
            ),
            Evidence::at_most(
                "their limit as t_0 → 0 is from below: ½ ln(2πeC) - ½ ln(1 + C·SNR_T) ≤ diffusion + reconstruction",
                entropy(variance.into()) - here.prior_side,
                sum,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let at = |t: f64| parts(ScheduleKind::RECTIFIED_FLOW, [t, 0.9], 1.5);
        let (late, early) = (at(1e-2)?, at(1e-12)?);
        Ok(vec![
            Evidence::at_most(
                "control: the diffusion part has a limit; at t_0 = 1e-12 it is at most twice that at 1e-2",
                early.diffusion,
                late.diffusion * 2.0,
            ),
            Evidence::at_most(
                "control: the reconstruction is never below -8",
                Rounded::exact(-8.0),
                early.reconstruction,
            ),
            Evidence::equal(
                "control: the sum of the two does not depend on t_0",
                late.diffusion + late.reconstruction,
                early.diffusion + early.reconstruction,
            ),
        ])
    }
}
