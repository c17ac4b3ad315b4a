//! Schedules at a time, with the bounds of what they return.

use sadm_reference::bound;
use sadm_reference::forward::transition;
use sadm_reference::schedule::{Schedule, ScheduleKind};

use super::{SCHEDULE, known};
use crate::rounding::Rounded;
use crate::statements::elementary::{pi, sine};
use crate::statements::rate_integral::log_scale;
use crate::statements::{Instance, StatementError};

/// A schedule that knows the bounds of what it returns.
pub struct Clock {
    kind: ScheduleKind,
    schedule: Box<dyn Schedule>,
}

impl Clock {
    /// The instance's schedule.
    pub fn of(instance: &Instance) -> Result<Self, StatementError> {
        let at = instance.size(SCHEDULE.name)?;
        let kind = ScheduleKind::all().nth(at);
        Ok(Self::new(kind.unwrap_or(ScheduleKind::VP_LINEAR)))
    }

    /// This schedule.
    pub fn new(kind: ScheduleKind) -> Self {
        Self {
            kind,
            schedule: kind.schedule(),
        }
    }

    /// Which schedule it is.
    pub fn kind(&self) -> ScheduleKind {
        self.kind
    }

    /// The schedule itself.
    pub fn schedule(&self) -> &dyn Schedule {
        self.schedule.as_ref()
    }

    /// The time at this part of the schedule's range; for `edm`, whose range is infinite, σ runs geometrically
    /// from 0.002 to 80.
    pub fn time(&self, part: f64) -> f64 {
        if self.schedule.domain().1.is_infinite() {
            0.002 * 40_000.0_f64.powf(part)
        } else {
            part
        }
    }

    /// α_t and σ_t with the reference's bounds.
    pub fn levels(&self, t: f64) -> Result<(Rounded, Rounded), StatementError> {
        let bound = bound::schedule::levels(self.kind, &[t], bound::Precision::F64)?;
        let known = |x: &bound::Tracked| Rounded::within(x.value.sum(), x.error.sum());
        Ok((known(&bound.alpha), known(&bound.sigma)))
    }

    /// α_{t|s} and σ²_{t|s} from the reference, known as well as the same formulas on tracked numbers.
    pub fn step(&self, s: f64, t: f64) -> Result<(Rounded, Rounded), StatementError> {
        let step = transition(self.schedule(), s, t)?;
        let scale = self.levels(t)?.0 / self.levels(s)?.0;
        let variance = known(step.sigma2_ts, self.step_variance(s, t));
        Ok((known(step.alpha_ts, scale), variance))
    }

    /// σ²_{t|s} in each schedule's closed form, a product of factors that do not cancel.
    fn step_variance(&self, s: f64, t: f64) -> Rounded {
        let (start, end, one) = (Rounded::exact(s), Rounded::exact(t), Rounded::exact(1.0));
        let (width, sum) = (end - start, end + start);
        match self.kind.name() {
            "vp-linear" => {
                let rise = Rounded::exact(20.0) - Rounded::exact(0.1);
                -(-(width * (Rounded::exact(0.1) + rise * 0.5 * sum))).exp_m1()
            }
            "cosine" => {
                let quarter = pi() * 0.5;
                let product = sine(quarter * width) * sine(quarter * sum);
                product / sine(quarter * (one - start)).square()
            }
            "ddpm" => -(log_scale(self.kind, s, t) * 2.0).exp_m1(),
            "edm" => width * sum,
            "rectified-flow" => {
                let both = start * (one - end) + end * (one - start);
                width * both / (one - start).square()
            }
            // No closed form here: nothing is claimed.
            _ => Rounded::within(self.schedule.sigma2_transition(s, t), f64::INFINITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// σ²_{t|s} = σ_t² − α²_{t|s} σ_s² by subtraction, on every schedule; and its bound is small.
    #[test]
    fn steps_have_the_variance_of_their_levels() -> Result<(), StatementError> {
        for kind in ScheduleKind::all() {
            let clock = Clock::new(kind);
            let (s, t) = (clock.time(0.3), clock.time(0.6));
            let ((_, sigma_s), (_, sigma_t)) = (clock.levels(s)?, clock.levels(t)?);
            let (scale, variance) = clock.step(s, t)?;
            let want = sigma_t.square() - scale.square() * sigma_s.square();
            assert!(
                (variance.value - want.value).abs() <= variance.error + want.error,
                "{kind}"
            );
            assert!(
                variance.error < 1e-12 * variance.value,
                "{kind} {variance:?}"
            );
        }
        Ok(())
    }

    /// Half of the way from 0.002 to 80 is 0.4 on a geometric scale; the other schedules run over [0, 1].
    #[test]
    fn clocks_read_the_schedules_own_time() {
        for kind in ScheduleKind::all() {
            let want = if kind == ScheduleKind::EDM { 0.4 } else { 0.5 };
            assert!((Clock::new(kind).time(0.5) - want).abs() < 1e-15);
        }
    }
}
