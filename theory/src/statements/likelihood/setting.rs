//! Chains read from an instance.

use ndarray::Array1;
use sadm_reference::bound::Precision;
use sadm_reference::bound::schedule::levels;
use sadm_reference::schedule::ScheduleKind;

use crate::laws::chain::{Affine, Chain, Data, Level, Step};
use crate::laws::small_matrix::{Matrix, Vector, exact, multiple_of_identity};
use crate::rounding::Rounded;
use crate::statements::setting::Clock;
use crate::statements::{Built, Instance, Parameter, StatementError, Values};

/// Number of steps.
pub const STEPS: Parameter = Parameter::whole("T", "number of steps of the chain", 1.0..=4.0, 3.0);
/// Place of the chain's first time.
pub const FIRST: Parameter = Parameter::linear(
    "t_0",
    "first time, as a part of the schedule's range",
    1e-3..=0.3,
    0.125,
);
/// Place of the chain's last time.
pub const LAST: Parameter = Parameter::linear(
    "t_T",
    "last time, as a part of the schedule's range",
    0.4..=0.999,
    0.5,
);

/// α_t and σ_t of a schedule, with the reference's bounds.
pub fn level_at(kind: ScheduleKind, t: f64) -> Result<Level, StatementError> {
    let bound = levels(kind, &[t], Precision::F64)?;
    Ok(Level {
        alpha: Rounded::within(bound.alpha.value.sum(), bound.alpha.error.sum()),
        sigma: Rounded::within(bound.sigma.value.sum(), bound.sigma.error.sum()),
    })
}

/// Ideal steps from one time to another, equally spaced, for data N(0, C I) in n dimensions.
pub fn ideal_chain(
    clock: &Clock,
    [first, last]: [f64; 2],
    steps: usize,
    variance: f64,
    n: usize,
) -> Result<Chain, StatementError> {
    let time = |k: usize| first + (last - first) * k as f64 / steps as f64;
    let steps = (1..=steps)
        .rev()
        .map(|k| ideal_step(clock, time(k - 1), time(k), variance, n));
    Ok(Chain::new(steps.collect::<Result<_, _>>()?)?)
}

/// A chain whose bound is nearly tight: 64 ideal steps of the linear VP schedule for N(0, I), which is its own noised law,
/// so that the prior owes nothing; and that law.
pub fn tight_chain(n: usize) -> Result<(Chain, Data), StatementError> {
    let clock = Clock::new(ScheduleKind::VP_LINEAR);
    let data = Data {
        covariance: multiple_of_identity(1.0.into(), n),
        ..Data::point(&vec![0.0; n])
    };
    Ok((ideal_chain(&clock, [0.125, 0.25], 64, 1.0, n)?, data))
}

/// The step t → s with the ideal denoiser α C/(α² C + σ²) z of data N(0, C I) in n dimensions.
fn ideal_step(
    clock: &Clock,
    s: f64,
    t: f64,
    variance: f64,
    n: usize,
) -> Result<Step, StatementError> {
    let mut step = between(clock, s, t, n)?;
    let (alpha, sigma) = (step.from.alpha, step.from.sigma);
    let gain = alpha * variance / (alpha.square() * variance + sigma.square());
    step.denoiser.matrix = multiple_of_identity(gain, n);
    Ok(step)
}

/// The step t → s in n dimensions with the denoiser 0.
fn between(clock: &Clock, s: f64, t: f64, n: usize) -> Result<Step, StatementError> {
    let level = |t: f64| -> Result<Level, StatementError> {
        let (alpha, sigma) = clock.levels(t)?;
        Ok(Level { alpha, sigma })
    };
    Ok(Step {
        to: level(s)?,
        from: level(t)?,
        sigma2_ts: clock.step(s, t)?.1,
        denoiser: Affine {
            matrix: multiple_of_identity(0.0.into(), n),
            shift: Array1::from_elem(n, 0.0.into()),
        },
    })
}

/// The chain of an instance in n dimensions: for each step n² + n values give the denoiser
/// x̂ = α/(α² + σ²) (I + ½E) z + b with E and b arbitrary, so that x̂ has the size of x at every noise level.
pub fn chain(
    instance: &Instance,
    values: &mut Values<'_>,
    n: usize,
) -> Result<Chain, StatementError> {
    let clock = Clock::of(instance)?;
    let count = instance.size(STEPS.name)?;
    let (first, last) = (instance.get(FIRST.name)?, instance.get(LAST.name)?);
    let time = |k: usize| clock.time(first + (last - first) * k as f64 / count as f64);
    let mut steps = Vec::with_capacity(count);
    for k in (1..=count).rev() {
        let mut step = between(&clock, time(k - 1), time(k), n)?;
        let (alpha, sigma) = (step.from.alpha.value, step.from.sigma.value);
        let size = alpha / (alpha * alpha + sigma * sigma);
        let mut matrix = values.matrix(n, n)?.mapv(|e| 0.5 * size * e);
        matrix.diag_mut().mapv_inplace(|v| v + size);
        step.denoiser = Affine {
            matrix: exact(&matrix),
            shift: values.take(n)?.into_iter().map(Rounded::exact).collect(),
        };
        steps.push(step);
    }
    Ok(Chain::new(steps)?)
}

/// The denoisers of a chain, a point and the law of the data, to be shown.
pub fn built(chain: &Chain, point: &Data, data: &Data) -> Vec<Built> {
    let matrix = |name: String, m: &Matrix| Built::rows(name, m.mapv(|x| x.value));
    let vector = |name: String, v: &Vector| Built::row(name, &v.mapv(|x| x.value).to_vec());
    let mut all = Vec::new();
    for (k, step) in (1..=chain.steps().len()).rev().zip(chain.steps()) {
        let (from, Affine { matrix: a, shift }) = (step.from, &step.denoiser);
        all.push(Built::row(
            format!("alpha, sigma of z_{k}"),
            &[from.alpha.value, from.sigma.value],
        ));
        all.push(matrix(format!("denoiser A of z_{k}"), a));
        all.push(vector(format!("denoiser b of z_{k}"), shift));
    }
    all.push(vector("point".to_owned(), &point.mean));
    all.push(vector("mean of the data".to_owned(), &data.mean));
    all.push(matrix(
        "covariance of the data".to_owned(),
        &data.covariance,
    ));
    all
}
