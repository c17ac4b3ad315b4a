//! Precision, recall, density and coverage: how the balls around the samples of one set hold those of the other.

use rayon::prelude::*;

use super::distances::{Bounds, Tile, each_tile};
use super::error::{MetricError, check, check_columns};
use super::features::{FeatureView, Rows};
use super::neighbours::neighbour_radii;

/// Whether a ball holds its boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ball {
    /// distance ≤ radius: Kynkäänniemi et al. 2019, torch-fidelity.
    Closed,
    /// distance < radius: the package `prdc`.
    Open,
}

impl Ball {
    /// Whether a squared distance lies within a squared radius.
    fn holds(self, distance: f64, radius: f64) -> bool {
        match self {
            Self::Closed => distance <= radius,
            Self::Open => distance < radius,
        }
    }

    /// The same of a squared distance that is formed only where its bounds do not decide.
    fn holds_within(self, bounds: Bounds, distance: impl FnOnce() -> f64, radius: f64) -> bool {
        if bounds.low > radius {
            false
        } else if bounds.high < radius {
            true
        } else {
            self.holds(distance(), radius)
        }
    }
}

/// Precision, recall, density and coverage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prdc {
    /// Share of generated samples within a ball of a real one.
    pub precision: f64,
    /// Share of real samples within a ball of a generated one.
    pub recall: f64,
    /// Mean number of balls of real samples that hold a generated one, over k; may exceed 1.
    pub density: f64,
    /// Share of real samples whose ball holds a generated one.
    pub coverage: f64,
}

/// The same, sample by sample: what the shares are means of, for resampling.
#[derive(Debug, Clone, PartialEq)]
pub struct PrdcSamples {
    /// Neighbours that make a radius.
    pub k: usize,
    /// For each generated sample, whether a real ball holds it.
    pub precise: Vec<bool>,
    /// For each real sample, whether a generated ball holds it.
    pub recalled: Vec<bool>,
    /// For each generated sample, how many open real balls hold it.
    pub holders: Vec<usize>,
    /// For each real sample, whether its open ball holds a generated one.
    pub covered: Vec<bool>,
}

impl PrdcSamples {
    /// The means.
    pub fn means(&self) -> Prdc {
        let share =
            |flags: &[bool]| flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64;
        let holders = self.holders.iter().sum::<usize>() as f64;
        Prdc {
            precision: share(&self.precise),
            recall: share(&self.recalled),
            density: holders / (self.k as f64 * self.holders.len() as f64),
            coverage: share(&self.covered),
        }
    }
}

/// Precision, recall, density and coverage of generated samples. `[eq:precision-recall]` `[eq:density-coverage]`
///
/// # Formula
/// With r_i the distance of real sample i to its k-th nearest other real sample, ρ_j the same among the generated:
/// ```text
/// precision = 1/M Σ_j [∃ i: ‖x_i − y_j‖ ≤ r_i]        density  = 1/(kM) Σ_j Σ_i [‖x_i − y_j‖ < r_i]
/// recall    = 1/N Σ_i [∃ j: ‖x_i − y_j‖ ≤ ρ_j]        coverage = 1/N Σ_i [∃ j: ‖x_i − y_j‖ < r_i]
/// ```
/// The first two in closed balls as their authors', or in open ones as in `prdc` ([`Ball`]); the last two in open
/// ones always. Squared distances of differences are compared, so ties are exact; those that a matrix product with its
/// error bound decides are not formed.
///
/// # Shapes
/// `real: [N, d]`, `generated: [M, d]`, 1 ≤ k < min(N, M).
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where.
///
/// # Source
/// Kynkäänniemi et al. 2019 (arXiv:1904.06991), Eq. 1–2; Naeem et al. 2020 (arXiv:2002.09797), Eq. 3–4.
pub fn prdc<'a, 'b>(
    real: impl Into<FeatureView<'a>>,
    generated: impl Into<FeatureView<'b>>,
    k: usize,
    ball: Ball,
) -> Result<Prdc, MetricError> {
    Ok(prdc_samples(real, generated, k, ball)?.means())
}

/// [`prdc`], sample by sample.
///
/// # Errors
/// As [`prdc`].
pub fn prdc_samples<'a, 'b>(
    real: impl Into<FeatureView<'a>>,
    generated: impl Into<FeatureView<'b>>,
    k: usize,
    ball: Ball,
) -> Result<PrdcSamples, MetricError> {
    let (real, generated) = (real.into(), generated.into());
    check_columns(("real", real.ncols()), ("generated", generated.ncols()))?;
    check("real", real, 2, "precision and recall")?;
    check("generated", generated, 2, "precision and recall")?;
    let radii = neighbour_radii("real", real, k)?;
    let generated_radii = neighbour_radii("generated", generated, k)?;
    let (real, generated) = (Rows::of(real), Rows::of(generated));
    let mut of_real = vec![(false, false); real.count()];
    let mut of_generated = vec![(false, 0); generated.count()];
    each_tile(&real, &generated, |tile| {
        let distance = |i, j| real.squared_distance(i, &generated, j);
        let Tile { rows, columns, .. } = tile;
        let own = of_real[rows.clone()].par_iter_mut().enumerate();
        own.for_each(|(row, (recalled, covered))| {
            let i = rows.start + row;
            for (column, j) in columns.clone().enumerate() {
                if *recalled && *covered {
                    break;
                }
                let (bounds, distance) = (tile.bounds(row, column), || distance(i, j));
                *recalled |= ball.holds_within(bounds, distance, generated_radii[j]);
                *covered |= Ball::Open.holds_within(bounds, distance, radii[i]);
            }
        });
        let own = of_generated[columns.clone()].par_iter_mut().enumerate();
        own.for_each(|(column, (precise, holders))| {
            let j = columns.start + column;
            for (row, i) in rows.clone().enumerate() {
                let (bounds, distance) = (tile.bounds(row, column), || distance(i, j));
                *precise |= ball.holds_within(bounds, distance, radii[i]);
                *holders += usize::from(Ball::Open.holds_within(bounds, distance, radii[i]));
            }
        });
    });
    let (recalled, covered) = of_real.into_iter().unzip();
    let (precise, holders) = of_generated.into_iter().unzip();
    Ok(PrdcSamples {
        k,
        precise,
        recalled,
        holders,
        covered,
    })
}
