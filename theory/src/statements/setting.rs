//! What several statements are set in: schedules at a time, laws with a noised point, batches of features.

use ndarray::Array2;
use sadm_reference::bound;
use sadm_reference::distance::Distance;
use sadm_reference::forward::transition;
use sadm_reference::relation::Relation;
use sadm_reference::schedule::{Schedule, ScheduleKind};
use sadm_reference::structure::{Diagonal, StructureOptions};

use super::elementary::{pi, sine};
use super::rate_integral::log_scale;
use super::{Instance, Parameter, Scale, StatementError};
use crate::laws::relation::relation;
use crate::laws::{FiniteLaw, PairPosterior};
use crate::rounding::Rounded;

/// The schedule, by its place in [`ScheduleKind::ALL`].
pub const SCHEDULE: Parameter = Parameter {
    name: "schedule",
    meaning: "0 vp-linear, 1 cosine, 2 ddpm, 3 edm, 4 rectified-flow",
    low: 0.0,
    high: 4.0,
    default: 0.0,
    scale: Scale::Integer,
};
/// Place of t between the ends of the schedule.
pub const TIME: Parameter = Parameter {
    name: "t",
    meaning: "time, as a part of the schedule's range (of its logarithm for edm)",
    low: 1e-3,
    high: 0.999,
    default: 0.37,
    scale: Scale::Linear,
};
/// Number of atoms.
pub const ATOMS: Parameter = Parameter {
    name: "atoms",
    meaning: "number of atoms K",
    low: 1.0,
    high: 4.0,
    default: 3.0,
    scale: Scale::Integer,
};
/// Dimension of the space.
pub const DIMENSION: Parameter = Parameter {
    name: "n",
    meaning: "dimension of x_0",
    low: 1.0,
    high: 3.0,
    default: 2.0,
    scale: Scale::Integer,
};
/// Batch size.
pub const BATCH: Parameter = Parameter {
    name: "B",
    meaning: "batch size",
    low: 2.0,
    high: 4.0,
    default: 3.0,
    scale: Scale::Integer,
};
/// Feature dimension.
pub const FEATURES: Parameter = Parameter {
    name: "d",
    meaning: "feature dimension",
    low: 1.0,
    high: 4.0,
    default: 2.0,
    scale: Scale::Integer,
};
/// Weight η.
pub const ETA: Parameter = Parameter {
    name: "eta",
    meaning: "weight of the structural loss",
    low: 0.01,
    high: 100.0,
    default: 1.75,
    scale: Scale::Log,
};

/// A finite law, α and σ, and noised points x_t = α a + σ e near its atoms.
pub struct NoisedLaw {
    /// The law.
    pub law: FiniteLaw,
    /// α_t.
    pub alpha: f64,
    /// σ_t.
    pub sigma: f64,
    /// Noised points `[points][n]`.
    pub points: Vec<Vec<f64>>,
}

impl NoisedLaw {
    /// The posterior of the pair of the first two points.
    pub fn pair(&self) -> Result<PairPosterior, StatementError> {
        let [first, second, ..] = self.points.as_slice() else {
            return Err(StatementError::TooFewValues {
                needed: 2,
                left: self.points.len(),
            });
        };
        Ok(self.law.pair(first, second, self.alpha, self.sigma)?)
    }
}

/// Reads K atoms, K weights and the noise of some points from the instance. Row k is moved by 3 in its first
/// coordinate, so that no atom is zero and cosine is defined on all of them.
pub fn noised_law(instance: &Instance, points: usize) -> Result<NoisedLaw, StatementError> {
    let clock = Clock::of(instance)?;
    let t = clock.time(instance.get(TIME.name)?);
    let (alpha, sigma) = (clock.schedule().alpha(t), clock.schedule().sigma(t));
    let (k, n) = (instance.size(ATOMS.name)?, instance.size(DIMENSION.name)?);
    let mut values = instance.values();
    let mut atoms = values.matrix(k, n)?;
    atoms.column_mut(0).mapv_inplace(|v| v + 3.0);
    let prior: Vec<f64> = values.take(k)?.iter().map(|v| v.abs() + 0.25).collect();
    let mut noised = Vec::with_capacity(points);
    for p in 0..points {
        let noise = values.take(n)?;
        noised.push(
            (0..n)
                .map(|i| alpha * atoms[[p % k, i]] + sigma * noise[i])
                .collect(),
        );
    }
    Ok(NoisedLaw {
        law: FiniteLaw::new(atoms, prior)?,
        alpha,
        sigma,
        points: noised,
    })
}

/// Features of a real and a generated batch, `[B, d]` each; rows are moved by 3 in their first coordinate so
/// that none is zero.
pub fn batches(instance: &Instance) -> Result<(Array2<f64>, Array2<f64>), StatementError> {
    let (b, d) = (instance.size(BATCH.name)?, instance.size(FEATURES.name)?);
    let mut values = instance.values();
    let (mut real, mut generated) = (values.matrix(b, d)?, values.matrix(b, d)?);
    for features in [&mut real, &mut generated] {
        features.column_mut(0).mapv_inplace(|v| v + 3.0);
    }
    Ok((real, generated))
}

/// The structural loss of the reference (its `value` is the reference's own) with its running-error bound.
pub fn structural_loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: f64,
    options: &StructureOptions,
) -> Result<Rounded, StatementError> {
    let bound =
        bound::structure::structural_loss(real, generated, &[eta], options, bound::Precision::F64)?;
    Ok(Rounded::within(
        bound.loss.value.sum(),
        bound.loss.error.sum(),
    ))
}

/// Squared distance, diagonal included: the game of Eq. 8–10 with this relation.
pub const fn squared(relation: Relation) -> StructureOptions {
    StructureOptions {
        relation,
        distance: Distance::Squared,
        diagonal: Diagonal::Include,
    }
}

/// The reference's loss `[eq:structural-loss]` with the options [`squared`], of features that are known to within bounds.
///
/// The same sum on tracked numbers, (η/B²) Σ_ij (M_ij − M̂_ij)², has an error e that covers every batch within the bounds:
/// the exact loss of the features as stored, on which the reference is evaluated, and that of the features meant are both
/// within e of it, so at most 2e apart.
pub fn loss_of_rounded(
    real: &Array2<Rounded>,
    generated: &Array2<Rounded>,
    eta: f64,
    kind: Relation,
) -> Result<Rounded, StatementError> {
    let stored = |features: &Array2<Rounded>| features.mapv(|x| x.value);
    let reference = structural_loss(&stored(real), &stored(generated), eta, &squared(kind))?;
    let affinity = |psi: &Array2<Rounded>, i: usize, j: usize| {
        relation(kind, &psi.row(i).to_vec(), &psi.row(j).to_vec())
    };
    let batch = real.nrows();
    let pairs = (0..batch).flat_map(|i| (0..batch).map(move |j| (i, j)));
    let sum = Rounded::sum(
        pairs.map(|(i, j)| (affinity(real, i, j) - affinity(generated, i, j)).square()),
    );
    let tracked = sum * eta / (batch * batch) as f64;
    Ok(reference + Rounded::within(0.0, 2.0 * tracked.error))
}

/// A number of the reference as an approximation of the exact one that the tracked number `by` approximates too.
///
/// |value − exact| ≤ |value − by| + `by.error`, whatever the value. Where it is further from `by` than twice its bound it
/// is not that quotient in another order of operations, and nothing is said of it.
pub fn known(value: f64, by: Rounded) -> Rounded {
    let off = (value - by.value).abs();
    let error = if off <= 2.0 * by.error {
        (off + by.error) * (1.0 + 2.0 * f64::EPSILON)
    } else {
        f64::INFINITY
    };
    Rounded::within(value, error)
}

/// A schedule that knows the bounds of what it returns.
pub struct Clock {
    kind: ScheduleKind,
    schedule: Box<dyn Schedule>,
}

impl Clock {
    /// The instance's schedule.
    pub fn of(instance: &Instance) -> Result<Self, StatementError> {
        Ok(Self::new(ScheduleKind::ALL[instance.size(SCHEDULE.name)?]))
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
        match self.kind {
            ScheduleKind::Edm => 0.002 * 40_000.0_f64.powf(part),
            _ => part,
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
        match self.kind {
            ScheduleKind::VpLinear => {
                let rise = Rounded::exact(20.0) - Rounded::exact(0.1);
                -(-(width * (Rounded::exact(0.1) + rise * 0.5 * sum))).exp_m1()
            }
            ScheduleKind::Cosine => {
                let quarter = pi() * 0.5;
                let product = sine(quarter * width) * sine(quarter * sum);
                product / sine(quarter * (one - start)).square()
            }
            ScheduleKind::Ddpm => -(log_scale(self.kind, s, t) * 2.0).exp_m1(),
            ScheduleKind::Edm => width * sum,
            ScheduleKind::RectifiedFlow => {
                let both = start * (one - end) + end * (one - start);
                width * both / (one - start).square()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Features off by δ move S by ∂S/∂ψ δ, and the allowance covers that without being far more: S = (ψ² − ψ̂²)² for
    /// one number each, ψ = 1.5, ψ̂ = ½, δ = 2⁻²⁰, hence 4·1.5·2·δ = 12δ to first order.
    #[test]
    fn a_loss_of_rounded_features_covers_their_bounds() -> Result<(), StatementError> {
        let delta = 2.0_f64.powi(-20);
        let off = array![[Rounded::within(1.5, delta)]];
        let other = array![[Rounded::exact(0.5)]];
        let got = loss_of_rounded(&off, &other, 3.0, Relation::InnerProduct)?;
        let moved = |d: f64| 3.0 * ((1.5 + d).powi(2) - 0.25).powi(2);
        assert!((got.value - 12.0).abs() < 1e-14);
        for end in [-delta, delta] {
            assert!((got.value - moved(end)).abs() <= got.error);
        }
        assert!(got.error < 2.001 * 36.0 * delta, "{got:?}");
        let same = loss_of_rounded(&other, &other, 3.0, Relation::Cosine)?;
        assert!(same.value.abs() <= same.error && same.error < 1e-14);
        Ok(())
    }

    /// The error reaches what `by` allows on its far side, and no further; what is not that number is not known.
    #[test]
    fn a_number_is_known_only_as_the_quotient_it_is() {
        let by = Rounded::within(2.0, 0.125);
        for (value, error) in [(2.25, 0.375), (1.875, 0.25), (2.0, 0.125)] {
            let got = known(value, by);
            assert!((got.error - error).abs() < 1e-15, "{got:?}");
            assert!(got.value - got.error <= 1.875 && got.value + got.error >= 2.125);
        }
        assert!(known(2.5, by).error.is_infinite() && known(1.5, by).error.is_infinite());
    }

    /// σ²_{t|s} = σ_t² − α²_{t|s} σ_s² by subtraction, on every schedule; and its bound is small.
    #[test]
    fn steps_have_the_variance_of_their_levels() -> Result<(), StatementError> {
        for kind in ScheduleKind::ALL {
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
        for kind in ScheduleKind::ALL {
            let want = if kind == ScheduleKind::Edm { 0.4 } else { 0.5 };
            assert!((Clock::new(kind).time(0.5) - want).abs() < 1e-15);
        }
    }
}
