//! How fast the samplers converge, measured: on a law whose denoiser is exact, or on whatever `solve` samples from.

use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, array};
use sadm_gpu::forward::schedule::Schedule;
use sadm_gpu::random::Streams;
use sadm_gpu::sampler::{SamplerKind, SamplerOptions, sample};
use sadm_reference::statistics::{LineFit, fit_line};
use sadm_theory::laws::{GaussianLaw, LawError, MixtureLaw};

use crate::error::{Error, Result};

/// Level of the confidence interval of an order.
pub const LEVEL: f64 = 0.95;
/// An error this many times the error of the fine solution is taken for the sampler's own.
const CLEAR: f64 = 20.0;
/// Points from which the mixture's trajectories start.
const POINTS: usize = 16;

/// The error at one number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Steps N.
    pub steps: usize,
    /// Root mean square difference from the fine solution.
    pub error: f64,
    /// Whether it stands clear of the fine solution's own error and so counts in the fit.
    pub clear: bool,
}

/// Errors of a sampler over the number of steps, and the order they show.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    /// The sampler.
    pub sampler: SamplerKind,
    /// One for each number of steps.
    pub points: Vec<Point>,
    /// ln error = a + b ln N over the clear points, when there are three: the order is −b.
    pub fit: Option<LineFit>,
}

/// Whatever a sampler is measured on: end points of its trajectories from the same noise, with N steps.
pub type Solve<'a> = dyn Fn(SamplerKind, usize) -> Result<Vec<f64>> + 'a;

/// Measures the deterministic samplers among `kinds` against `heun` with `fine` steps.
///
/// Returns what was measured and the root mean square difference of `fine` from `fine/2` steps, three times the
/// error of the fine solution itself while that is of order 2; errors below 20 of it are shown and left out of the fit.
///
/// # Errors
/// Those of `solve`; numbers of steps of which one is not below `fine/2`.
pub fn convergence(
    kinds: &[SamplerKind],
    steps: &[usize],
    fine: usize,
    solve: &Solve<'_>,
) -> Result<(Vec<Convergence>, f64)> {
    if let Some(&bad) = steps.iter().find(|&&n| n == 0 || 2 * n >= fine) {
        return Err(Error::Gpu(format!(
            "numbers of steps must be at least 1 and below half the fine solution's {fine}, got {bad}"
        )));
    }
    let exact = solve(SamplerKind::HEUN, fine)?;
    let floor = rms(&exact, &solve(SamplerKind::HEUN, fine / 2)?);
    let deterministic = kinds.iter().filter(|kind| kind.order().is_some());
    let measured = deterministic.map(|&sampler| {
        let points = steps
            .iter()
            .map(|&steps| {
                let error = rms(&solve(sampler, steps)?, &exact);
                Ok(Point {
                    steps,
                    error,
                    clear: error > CLEAR * floor,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Convergence {
            sampler,
            fit: fit(&points),
            points,
        })
    });
    Ok((measured.collect::<Result<Vec<_>>>()?, floor))
}

/// The line through the clear points.
fn fit(points: &[Point]) -> Option<LineFit> {
    let clear = || points.iter().filter(|point| point.clear);
    let x: Vec<f64> = clear().map(|p| (p.steps as f64).ln()).collect();
    let y: Vec<f64> = clear().map(|p| p.error.ln()).collect();
    fit_line(&x, &y, LEVEL).ok()
}

fn rms(a: &[f64], b: &[f64]) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (square / a.len() as f64).sqrt()
}

/// The law that the oracle samples from: three Gaussians in the plane, one of them narrow, one tilted.
///
/// # Errors
/// None, unless the constants are changed to no law.
pub fn mixture() -> std::result::Result<MixtureLaw, LawError> {
    let component = |mean: [f64; 2], covariance: [[f64; 2]; 2]| {
        GaussianLaw::new(
            Array1::from_vec(mean.to_vec()),
            &array![
                [covariance[0][0], covariance[0][1]],
                [covariance[1][0], covariance[1][1]],
            ],
        )
    };
    MixtureLaw::new(
        vec![
            component([1.0, 0.5], [[0.09, 0.0], [0.0, 0.25]])?,
            component([-0.8, 0.9], [[0.25, 0.125], [0.125, 0.16]])?,
            component([-0.2, -1.1], [[0.36, 0.0], [0.0, 0.0625]])?,
        ],
        vec![0.3, 0.45, 0.25],
    )
}

/// End points of trajectories of the mixture's exact denoiser, from 16 fixed points of noise at σ = 80.
///
/// # Errors
/// A sampler without steps.
pub fn solve_mixture(kind: SamplerKind, steps: usize) -> Result<Vec<f64>> {
    let law = mixture().map_err(Error::reference)?;
    let denoise = |x: &Tensor, t: f64| -> sadm_gpu::Result<Tensor> {
        let rows = x.to_vec2::<f64>()?;
        let mut means = Vec::with_capacity(2 * rows.len());
        for row in &rows {
            let (_, posterior) = law.posterior(row, 1.0, t).map_err(|e| {
                sadm_gpu::Error::invalid("a point of the oracle", "have a posterior", e)
            })?;
            means.extend(posterior.mean);
        }
        Ok(Tensor::from_vec(means, x.dims(), &Device::Cpu)?)
    };
    let options = SamplerOptions {
        kind,
        steps,
        ..SamplerOptions::default()
    };
    let streams = Streams::new(0);
    let noise = streams.normal_tensor("order", 0, (POINTS, 2), &Device::Cpu, DType::F64)?;
    let end = sample(&denoise, Schedule::EDM, &options, &noise, streams)?;
    Ok(end.flatten_all()?.to_vec1::<f64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the oracle, in f64: an order that is wrong by one, or a sampler that is another in disguise, fails.
    #[test]
    fn samplers_have_their_orders_on_the_mixture() {
        let steps = [64, 128, 256, 512];
        let (measured, floor) = convergence(
            &SamplerKind::all().collect::<Vec<_>>(),
            &steps,
            4096,
            &solve_mixture,
        )
        .expect("an oracle");
        assert!(floor < 1e-5, "{floor}");
        assert_eq!(measured.len(), 4, "ddpm claims no order");
        for c in measured {
            let fit = c.fit.expect("four clear points");
            let want = c.sampler.order().expect("deterministic");
            // The next term of the error is smaller by O(ρ/N): 0.1 from N = 64 on, and falling.
            assert!(
                (-fit.slope - want).abs() < 0.15,
                "{}: order {} ± {}, not {want}",
                c.sampler,
                -fit.slope,
                fit.half_width
            );
        }
    }

    /// The measurement can fail: an end point spoiled by O(1/N) is found out.
    #[test]
    fn a_second_order_sampler_with_a_first_order_error_is_noticed() {
        let spoiled = |kind: SamplerKind, steps: usize| {
            let mut end = solve_mixture(kind, steps)?;
            if steps < 512 {
                end[0] += 10.0 / steps as f64;
            }
            Ok(end)
        };
        let (measured, _) =
            convergence(&[SamplerKind::HEUN], &[64, 128, 256], 1024, &spoiled).expect("an oracle");
        let fit = measured[0].fit.expect("three clear points");
        assert!((-fit.slope - 1.0).abs() < 0.1, "{fit:?}");
    }

    #[test]
    fn steps_beyond_the_fine_solution_are_refused() {
        let refused = convergence(&[SamplerKind::HEUN], &[8, 64], 128, &solve_mixture);
        let message = refused.expect_err("too many steps").to_string();
        assert!(
            message.contains("below half") && message.contains("64"),
            "{message}"
        );
    }
}
