//! What several statements are set in: schedules at a time, laws with a noised point, batches of features.

use ndarray::Array2;

pub use clock::Clock;
pub use loss::{known, loss_of_rounded, squared, structural_loss};

use super::{Built, Instance, Parameter, StatementError};
use crate::laws::{FiniteLaw, PairPosterior};

mod clock;
mod loss;

/// The schedule, by its place in the registry.
pub const SCHEDULE: Parameter = Parameter::whole(
    "schedule",
    "0 vp-linear, 1 cosine, 2 ddpm, 3 edm, 4 rectified-flow",
    0.0..=4.0,
    0.0,
);
/// Place of t between the ends of the schedule.
pub const TIME: Parameter = Parameter::linear(
    "t",
    "time, as a part of the schedule's range (of its logarithm for edm)",
    1e-3..=0.999,
    0.37,
);
/// Number of atoms.
pub const ATOMS: Parameter = Parameter::whole("atoms", "number of atoms K", 1.0..=4.0, 3.0);
/// Dimension of the space.
pub const DIMENSION: Parameter = Parameter::whole("n", "dimension of x_0", 1.0..=3.0, 2.0);
/// Batch size.
pub const BATCH: Parameter = Parameter::whole("B", "batch size", 2.0..=4.0, 3.0);
/// Feature dimension.
pub const FEATURES: Parameter = Parameter::whole("d", "feature dimension", 1.0..=4.0, 2.0);
/// Weight η.
pub const ETA: Parameter =
    Parameter::logarithmic("eta", "weight of the structural loss", 0.01..=100.0, 1.75);

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

    /// Its numbers, to be shown.
    pub fn built(&self) -> Vec<Built> {
        vec![
            Built::rows("atoms", self.law.atoms().clone()),
            Built::row("prior, up to a factor", self.law.prior()),
            Built::row("alpha, sigma", &[self.alpha, self.sigma]),
            Built::list("points x_t", &self.points),
        ]
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

/// The two batches, to be shown.
pub fn built_batches(instance: &Instance) -> Result<Vec<Built>, StatementError> {
    let (real, generated) = batches(instance)?;
    Ok(vec![
        Built::rows("psi, real", real),
        Built::rows("psi, generated", generated),
    ])
}
