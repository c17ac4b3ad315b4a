//! Bounds for the probability flow of [`crate::likelihood`].

use super::{Precision, Tracked};
use crate::likelihood::{LikelihoodError, check_path};

/// Levels, step and sums of the log density.
const HOST: Precision = Precision::F64;

/// Output of a tracked denoiser: x̂ of the shape of z, and tr ∂x̂/∂z of each sample, `[B]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoisedBound {
    /// x̂.
    pub x_hat: Tracked,
    /// The trace.
    pub trace: Tracked,
}

/// End points of a batch, and the change of each sample's log density.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowBound {
    /// z at σ_max, `[B, d]`.
    pub z: Tracked,
    /// ln p(z; σ_min) − ln p(z; σ_max), `[B]`.
    pub log_density_change: Tracked,
}

/// Bound for [`probability_flow`](crate::likelihood::probability_flow) on a batch `z: [B, d]`.
///
/// Levels, step and the sums of the log density are computed in f64, as every sampler does on the host; the step is rounded
/// to `p` where it meets the tensors. `denoise` gets z and the level, which carries its own error.
///
/// # Errors
/// As the quantity itself, and the denoiser's.
pub fn probability_flow<E: From<LikelihoodError>>(
    z: &Tracked,
    [sigma_min, sigma_max]: [f64; 2],
    steps: usize,
    p: Precision,
    denoise: impl Fn(&Tracked, &Tracked) -> Result<DenoisedBound, E>,
) -> Result<FlowBound, E> {
    check_path([sigma_min, sigma_max], steps)?;
    let level = |x: f64| Tracked::exact(ndarray::arr0(x).into_dyn()).ln(HOST);
    let (low, high) = (level(sigma_min), level(sigma_max));
    let count = Tracked::exact(ndarray::arr0(steps as f64).into_dyn());
    let h = high.sub(&low, HOST).div(&count, HOST);
    let d = (z.value.len() / z.shape()[0].max(1)) as f64;
    let slope = |z: &Tracked, u: &Tracked| -> Result<(Tracked, Tracked), E> {
        let answer = denoise(z, &u.exp(HOST))?;
        let loss = answer.trace.neg().add_scalar(d, HOST);
        Ok((z.sub(&answer.x_hat, p), loss))
    };
    let along =
        |z: &Tracked, slope: &Tracked, step: &Tracked| z.add(&slope.mul(&step.stored_as(p), p), p);
    let mut z = z.clone();
    let mut change = Tracked::exact(ndarray::ArrayD::zeros(vec![z.shape()[0]]));
    let (half, sixth) = (
        h.scale(0.5, HOST),
        h.div(&Tracked::exact(ndarray::arr0(6.0).into_dyn()), HOST),
    );
    for k in 0..steps {
        let u = low.add(&h.scale(k as f64, HOST), HOST);
        let middle = u.add(&half, HOST);
        let (d1, l1) = slope(&z, &u)?;
        let (d2, l2) = slope(&along(&z, &d1, &half), &middle)?;
        let (d3, l3) = slope(&along(&z, &d2, &half), &middle)?;
        let (d4, l4) = slope(&along(&z, &d3, &h), &u.add(&h, HOST))?;
        z = along(&z, &simpson([&d1, &d2, &d3, &d4], p), &sixth);
        let mean = simpson([&l1, &l2, &l3, &l4], HOST);
        change = change.add(&mean.mul(&sixth, HOST), HOST);
    }
    Ok(FlowBound {
        z,
        log_density_change: change,
    })
}

/// a + 2(b + c) + d, added in either of the orders in use.
fn simpson([a, b, c, d]: [&Tracked; 4], p: Precision) -> Tracked {
    let middle = b.add(c, p).scale(2.0, p);
    let ends_first = a.add(d, p).add(&middle, p);
    a.add(&middle, p).add(d, p).either(&ends_first)
}
