//! Many steps: the discrete evidence bound tends to the integral with weight −½ dSNR/dt.

use sadm_reference::bound::{Precision, Tracked, schedule::levels};
use sadm_reference::schedule::ScheduleKind;

use super::setting::{ideal_chain, level_at};
use crate::laws::chain::Data;
use crate::laws::small_matrix::multiple_of_identity;
use crate::rounding::Rounded;
use crate::statements::setting::{Clock, SCHEDULE};
use crate::statements::{
    About, Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError,
};

const CONTINUOUS: Parameter = Parameter {
    name: SCHEDULE.name,
    meaning: "0 vp-linear, 1 cosine, 2 edm, 3 rectified-flow",
    low: 0.0,
    high: 3.0,
    default: 0.0,
    scale: Scale::Integer,
};
const KINDS: [ScheduleKind; 4] = [
    ScheduleKind::VP_LINEAR,
    ScheduleKind::COSINE,
    ScheduleKind::EDM,
    ScheduleKind::RECTIFIED_FLOW,
];
const STEPS: Parameter = Parameter::whole("T", "number of steps", 1.0..=32.0, 16.0);
const FIRST: Parameter = Parameter::linear("t_0", "first time", 1e-3..=0.3, 0.125);
const LAST: Parameter = Parameter::linear("t_T", "last time", 0.4..=0.999, 0.75);
const VARIANCE: Parameter = Parameter::logarithmic("C", "variance of the data", 0.01..=100.0, 1.5);

/// `[thm:continuous-limit]` Σ ½(SNR_s − SNR_t) E‖x − x̂_t‖² ↓ −½ ∫ (dSNR/dt) E‖x − x̂_t‖² dt as T → ∞, at rate 1/T.
///
/// # Formula `[eq:continuous-elbo]`
/// ```text
/// data N(0, C), ideal denoiser:  e(SNR) = E‖x − x̂‖² = C/(1 + C·SNR),   decreasing in SNR
/// I   = −½ ∫ (dSNR/dt) e dt = ½ ∫ e dSNR = ½ ln((1 + C·SNR_0)/(1 + C·SNR_T))
/// D_T = Σ ½(SNR_s − SNR_t) e_t  ≥  I  ≥  Σ ½(SNR_s − SNR_t) e_s
/// D_T − I ≤ ½ max(SNR_s − SNR_t)(e_T − e_0) ≤ ½ (max Δt) |dSNR/dt|_{t_0} (e_T − e_0)
/// ```
/// Upper and lower Riemann sums of a monotone function: inequalities at every T, no error term left out. The weight
/// itself is checked in t, where −dSNR/dt falls and e rises on each of the four schedules (SNR is convex in t):
/// ```text
/// Σ ½Δt |dSNR/dt|_t e_s  ≤  I  ≤  Σ ½Δt |dSNR/dt|_s e_t
/// ```
/// Another denoiser's error need not be monotone; there the limit holds by continuity, without these brackets.
///
/// # Source
/// Kingma et al. 2021 (arXiv:2107.00630), Eq. 13 and 17; the brackets are ours.
pub struct ContinuousLimit;

/// A grid of times with what is known at each.
struct Grid {
    clock: Clock,
    times: Vec<f64>,
    snr: Vec<Rounded>,
    error: Vec<Rounded>,
    /// −dSNR/dt = −λ' SNR.
    rate: Vec<Rounded>,
    variance: f64,
}

impl Grid {
    fn new(instance: &Instance, steps: usize) -> Result<Self, StatementError> {
        let kind = KINDS[instance.size(CONTINUOUS.name)?];
        let variance = instance.get(VARIANCE.name)?;
        let (first, last) = (instance.get(FIRST.name)?, instance.get(LAST.name)?);
        let times: Vec<f64> = (0..=steps)
            .map(|k| first + (last - first) * k as f64 / steps as f64)
            .collect();
        let mut grid = Self {
            clock: Clock::new(kind),
            times,
            snr: Vec::new(),
            error: Vec::new(),
            rate: Vec::new(),
            variance,
        };
        for &t in &grid.times {
            let snr = level_at(kind, t)?.snr();
            let gradient = sum(&levels(kind, &[t], Precision::F64)?.lambda_grad);
            grid.error
                .push(Rounded::exact(variance) / (Rounded::exact(1.0) + snr * variance));
            grid.rate.push(-gradient * snr);
            grid.snr.push(snr);
        }
        Ok(grid)
    }

    fn last(&self) -> usize {
        self.times.len() - 1
    }

    /// Σ over steps of ½ (first factor of (s, t)) · (second factor of (s, t)), with a stride of the grid.
    fn sum(&self, stride: usize, term: impl Fn(usize, usize) -> Rounded) -> Rounded {
        let ends = (stride..=self.last()).step_by(stride);
        Rounded::sum(ends.map(|t| term(t - stride, t) * 0.5))
    }

    fn drop(&self, s: usize, t: usize) -> Rounded {
        self.snr[s] - self.snr[t]
    }

    fn width(&self, s: usize, t: usize) -> Rounded {
        Rounded::exact(self.times[t]) - Rounded::exact(self.times[s])
    }

    /// D_T.
    fn discrete(&self, stride: usize) -> Rounded {
        self.sum(stride, |s, t| self.drop(s, t) * self.error[t])
    }

    /// The sum from below.
    fn lower(&self, stride: usize) -> Rounded {
        self.sum(stride, |s, t| self.drop(s, t) * self.error[s])
    }

    /// I.
    fn integral(&self) -> Rounded {
        let one = Rounded::exact(1.0);
        let ends = [0, self.last()].map(|k| one + self.snr[k] * self.variance);
        (ends[0] / ends[1]).ln() * 0.5
    }

    /// The diffusion part of the chain with the ideal denoiser at every time of the grid.
    fn chain(&self) -> Result<Rounded, StatementError> {
        let ends = [self.times[0], self.times[self.last()]];
        let chain = ideal_chain(&self.clock, ends, self.last(), self.variance, 1)?;
        let data = Data {
            covariance: multiple_of_identity(self.variance.into(), 1),
            ..Data::point(&[0.0])
        };
        Ok(chain.objective(&data)?.diffusion)
    }

    /// ½ (max Δt)|dSNR/dt|_{t_0}(e_T − e_0).
    fn rate_bound(&self, stride: usize) -> Rounded {
        let steps = (stride..=self.last()).step_by(stride);
        let widest = steps
            .map(|t| self.width(t - stride, t))
            .fold(
                Rounded::exact(0.0),
                |a, b| if b.value > a.value { b } else { a },
            );
        widest * self.rate[0] * (self.error[self.last()] - self.error[0]) * 0.5
    }
}

fn sum(x: &Tracked) -> Rounded {
    Rounded::within(x.value.sum(), x.error.sum())
}

impl Statement for ContinuousLimit {
    fn about(&self) -> About {
        About {
            id: "continuous-limit",
            source: "VDM (arXiv:2107.00630), Eq. 13 and 17",
            kind: Kind::Bound,
            summary: "the discrete evidence bound falls to the integral with weight -dSNR/dt / 2, at rate 1/T",
            terms: &[],
            parameters: &[CONTINUOUS, STEPS, FIRST, LAST, VARIANCE],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        // One grid of 2T steps; every second time is the grid of T.
        let grid = Grid::new(instance, 2 * instance.size(STEPS.name)?)?;
        let integral = grid.integral();
        let from_below = grid.sum(1, |s, t| grid.width(s, t) * grid.rate[t] * grid.error[s]);
        let from_above = grid.sum(1, |s, t| grid.width(s, t) * grid.rate[s] * grid.error[t]);
        let mut claims = vec![
            Evidence::equal(
                "the chain's diffusion part is D_2T",
                grid.chain()?,
                grid.discrete(1),
            ),
            Evidence::at_most("D_2T ≤ D_T", grid.discrete(1), grid.discrete(2)),
            Evidence::at_most("Σ ½Δt |dSNR/dt|_t e_s ≤ I", from_below, integral),
            Evidence::at_most("I ≤ Σ ½Δt |dSNR/dt|_s e_t", integral, from_above),
        ];
        for (stride, steps) in [(2, "T"), (1, "2T")] {
            claims.push(Evidence::at_most(
                format!("I ≤ D_{steps}"),
                integral,
                grid.discrete(stride),
            ));
            claims.push(Evidence::at_most(
                format!("Σ ½(SNR_s - SNR_t) e_s ≤ I, {steps} steps"),
                grid.lower(stride),
                integral,
            ));
            claims.push(Evidence::at_most(
                format!("D_{steps} - I ≤ ½ max Δt |dSNR/dt|_0 (e_T - e_0)"),
                grid.discrete(stride) - integral,
                grid.rate_bound(stride),
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let grid = Grid::new(&self.default_instance(), 64)?;
        let (integral, discrete) = (grid.integral(), grid.discrete(1));
        Ok(vec![
            Evidence::equal("control: 64 steps are the limit", discrete, integral),
            Evidence::at_most(
                "control: the denoiser's error may be taken at s",
                integral,
                grid.lower(1),
            ),
            Evidence::at_most("control: the weight is -dSNR/dt", integral * 2.0, discrete),
            Evidence::at_most(
                "control: the weight is -dSNR/dt, in t",
                grid.sum(1, |s, t| grid.width(s, t) * grid.rate[t] * grid.error[s]) * 2.0,
                integral,
            ),
            Evidence::at_most(
                "control: the rate is 1/T²",
                discrete - integral,
                grid.rate_bound(1) / 64.0,
            ),
        ])
    }
}
