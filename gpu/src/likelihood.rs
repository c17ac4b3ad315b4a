//! Likelihood of images under a denoiser: the probability-flow ODE with the change of density along it.

use crate::error::{Error, Result};
use crate::forward::schedule::Schedule;
use crate::random::Streams;
use crate::sampler::{DenoiseFn, denoised_at};
use candle_core::{DType, Device, Tensor, Var};

/// How the trace of ∂x̂/∂z is found.
#[derive(Debug, Clone)]
pub enum Trace {
    /// One backward pass for each dimension.
    Exact,
    /// Skilling–Hutchinson: the mean of vᵀ(∂x̂/∂z)v over these v, each of the shape of z. One backward pass for each.
    Along(Vec<Tensor>),
}

/// Independent signs of the shape of `like`: probes for [`Trace::Along`], from streams `likelihood-probe`.
pub fn signs(streams: Streams, probes: usize, like: &Tensor) -> Result<Vec<Tensor>> {
    let n = like.elem_count();
    (0..probes)
        .map(|k| {
            let uniform = streams.uniform("likelihood-probe", k as u64, n).into_iter();
            let signs: Vec<f64> = uniform.map(|u| if u < 0.5 { -1.0 } else { 1.0 }).collect();
            let signs = Tensor::from_vec(signs, like.shape(), &Device::Cpu)?;
            Ok(signs.to_dtype(like.dtype())?.to_device(like.device())?)
        })
        .collect()
}

/// Pixels with noise uniform on the cell of a value, x + spacing (u − ½), from stream `dequantise`, index `image`.
pub fn dequantised(pixels: &[f32], spacing: f64, streams: Streams, image: u64) -> Vec<f64> {
    let noise = streams.uniform("dequantise", image, pixels.len());
    let moved = pixels.iter().zip(noise);
    moved
        .map(|(x, u)| f64::from(*x) + spacing * (u - 0.5))
        .collect()
}

/// End points of the probability-flow ODE, and the change of each sample's log density.
#[derive(Debug, Clone)]
pub struct Flow {
    /// z at σ_max, as the batch.
    pub z: Tensor,
    /// ln p(z; σ_min) − ln p(z; σ_max), one for each sample.
    pub log_density_change: Vec<f64>,
}

/// The probability-flow ODE from σ_min to σ_max, by the classical Runge–Kutta method in equal steps of ln σ.
///
/// # Formula `[eq:flow-likelihood]`
/// ```text
/// dz/d ln σ = z − x̂(z, σ),     d ln p/d ln σ = −tr(I − ∂x̂/∂z)
/// ```
/// in z = x_t/α_t, σ = σ_t/α_t. The trace comes from backward passes through `denoise`; sums over steps are in f64.
///
/// # Shapes
/// `z: [B, …]`; `denoise` maps `[B, …]` to `[B, …]`, no sample's answer depending on another sample.
///
/// # Errors
/// No step; levels that are no interval or lie outside the schedule's; the discrete schedule `ddpm`, whose levels have no
/// derivative; probes of another shape, or none; those of `denoise`.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), Eq. 39, in the variables of Karras et al. 2022 (arXiv:2206.00364).
pub fn probability_flow(
    denoise: &DenoiseFn<'_>,
    schedule: Schedule,
    z: &Tensor,
    levels: [f64; 2],
    steps: usize,
    trace: &Trace,
) -> Result<Flow> {
    check(schedule, z, levels, steps, trace)?;
    let [low, high] = levels.map(f64::ln);
    let h = (high - low) / steps as f64;
    let slope = |z: &Tensor, u: f64| slope(denoise, schedule, z, u.exp(), trace);
    let mut z = z.detach();
    let mut change = vec![0.0; z.dim(0)?];
    for k in 0..steps {
        let u = low + k as f64 * h;
        let (d1, l1) = slope(&z, u)?;
        let (d2, l2) = slope(&(&z + (&d1 * (h / 2.0))?)?, u + h / 2.0)?;
        let (d3, l3) = slope(&(&z + (&d2 * (h / 2.0))?)?, u + h / 2.0)?;
        let (d4, l4) = slope(&(&z + (&d3 * h)?)?, u + h)?;
        let mean = ((d1 + d4)? + ((d2 + d3)? * 2.0)?)?;
        z = (z + (mean * (h / 6.0))?)?;
        for (i, change) in change.iter_mut().enumerate() {
            *change += (l1[i] + 2.0 * (l2[i] + l3[i]) + l4[i]) * (h / 6.0);
        }
    }
    Ok(Flow {
        z,
        log_density_change: change,
    })
}

fn check(
    schedule: Schedule,
    z: &Tensor,
    [sigma_min, sigma_max]: [f64; 2],
    steps: usize,
    trace: &Trace,
) -> Result<()> {
    if schedule.is_discrete() {
        let must = "have noise levels without gaps, as vp-linear, cosine, edm and rectified-flow";
        return Err(Error::invalid(
            "the schedule of a likelihood",
            must,
            schedule,
        ));
    }
    let (lowest, highest) = schedule.sigma_ratio_range();
    if !(lowest <= sigma_min && 0.0 < sigma_min && sigma_min < sigma_max && sigma_max <= highest) {
        let must = format!("lie in order within the schedule's [{lowest}, {highest}]");
        let got = format!("{sigma_min} and {sigma_max}");
        return Err(Error::invalid("the ends of the noise levels", must, got));
    }
    if steps == 0 {
        return Err(Error::invalid("the steps of the flow", "be ≥ 1", steps));
    }
    if let Trace::Along(probes) = trace {
        if probes.is_empty() {
            return Err(Error::invalid(
                "the probes of a trace",
                "be at least one",
                0,
            ));
        }
        if let Some(probe) = probes.iter().find(|v| v.dims() != z.dims()) {
            return Err(Error::shape(
                "a probe",
                format!("{:?}", z.dims()),
                probe.dims(),
            ));
        }
    }
    Ok(())
}

/// z − x̂, and d − tr ∂x̂/∂z of each sample.
fn slope(
    denoise: &DenoiseFn<'_>,
    schedule: Schedule,
    z: &Tensor,
    sigma: f64,
    trace: &Trace,
) -> Result<(Tensor, Vec<f64>)> {
    let z = Var::from_tensor(&z.detach())?;
    let x_hat = denoised_at(denoise, schedule, z.as_tensor(), sigma)?;
    let dimension = z.elem_count() / z.dim(0)?.max(1);
    let mut traces = vec![0.0; z.dim(0)?];
    let mut add = |v: &Tensor, of: usize| -> Result<()> {
        for (sum, part) in traces.iter_mut().zip(along(&x_hat, &z, v)?) {
            *sum += part / of as f64;
        }
        Ok(())
    };
    match trace {
        Trace::Exact => (0..dimension).try_for_each(|i| add(&unit(&z, i)?, 1))?,
        Trace::Along(probes) => probes.iter().try_for_each(|v| add(v, probes.len()))?,
    }
    let loss = traces
        .iter()
        .map(|trace| dimension as f64 - trace)
        .collect();
    Ok(((z.as_tensor() - x_hat)?.detach(), loss))
}

/// e_i in every sample.
fn unit(z: &Tensor, i: usize) -> Result<Tensor> {
    let (samples, n) = (z.dim(0)?, z.elem_count() / z.dim(0)?);
    let mut values = vec![0f32; samples * n];
    values.chunks_exact_mut(n).for_each(|row| row[i] = 1.0);
    let values = Tensor::from_vec(values, z.shape(), &Device::Cpu)?;
    Ok(values.to_dtype(z.dtype())?.to_device(z.device())?)
}

/// vᵀ(∂x̂/∂z)v of each sample.
fn along(x_hat: &Tensor, z: &Var, v: &Tensor) -> Result<Vec<f64>> {
    let gradients = (x_hat * v)?.sum_all()?.backward()?;
    let Some(pulled) = gradients.get(z) else {
        // A denoiser that does not look at z has no derivative.
        return Ok(vec![0.0; z.dim(0)?]);
    };
    let products = (pulled * v)?.flatten_from(1)?.to_dtype(DType::F64)?;
    Ok(products.sum(1)?.to_vec1::<f64>()?)
}

/// ln N(z; 0, σ² I) of each sample: the law at σ_max, the data left out. `[eq:terminal-density]`
pub fn terminal_log_density(z: &Tensor, sigma: f64) -> Result<Vec<f64>> {
    let z = z.flatten_from(1)?.to_dtype(DType::F64)?;
    let d = z.dim(1)? as f64;
    let squares = (z / sigma)?.sqr()?.sum(1)?.to_vec1::<f64>()?;
    let constant = d * (0.5 * std::f64::consts::TAU.ln() + sigma.ln());
    Ok(squares.iter().map(|s| -0.5 * s - constant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(shape: &[usize]) -> Tensor {
        Streams::new(5)
            .normal_tensor("z", 0, shape, &Device::Cpu, DType::F64)
            .expect("a tensor")
    }

    /// The exact denoiser of N(0, c I) makes the flow exact: ln p(z; σ_min) = ln N(z; 0, (c + σ_min²) I).
    #[test]
    fn a_gaussian_has_the_likelihood_it_should() {
        let (c, levels) = (0.3, [0.02, 40.0]);
        let denoise = |x: &Tensor, t: f64| Ok((x * (c / (c + t * t)))?);
        let z = noise(&[3, 2, 2]);
        let exact =
            terminal_log_density(&z, (c + levels[0] * levels[0]).sqrt()).expect("densities");
        let probes = signs(Streams::new(1), 2, &z).expect("probes");
        for trace in [Trace::Exact, Trace::Along(probes)] {
            let flow = probability_flow(&denoise, Schedule::EDM, &z, levels, 200, &trace);
            let flow = flow.expect("a flow");
            let deviation = (c + levels[1] * levels[1]).sqrt();
            let terminal = terminal_log_density(&flow.z, deviation).expect("densities");
            for ((change, terminal), exact) in
                flow.log_density_change.iter().zip(terminal).zip(&exact)
            {
                assert!((change + terminal - exact).abs() < 1e-6);
            }
        }
    }

    /// Halving the step divides the error by 16.
    #[test]
    fn the_flow_is_of_fourth_order() {
        let denoise = |x: &Tensor, t: f64| Ok((x.tanh()? / (1.0 + t))?);
        let z = noise(&[2, 3]);
        let change = |steps| {
            let trace = Trace::Exact;
            let flow = probability_flow(&denoise, Schedule::EDM, &z, [0.05, 5.0], steps, &trace);
            flow.expect("a flow").log_density_change[0]
        };
        let [coarse, fine, finest] = [8, 16, 256].map(change);
        let order = ((coarse - finest) / (fine - finest)).abs().log2();
        assert!((3.5..4.5).contains(&order), "{order}");
    }

    #[test]
    fn what_cannot_be_integrated_is_refused() {
        let denoise = |x: &Tensor, _: f64| Ok(x.clone());
        let z = noise(&[2, 3]);
        let refused = |schedule, levels, steps, trace: Trace| {
            let flow = probability_flow(&denoise, schedule, &z, levels, steps, &trace);
            flow.expect_err("a refusal").to_string()
        };
        let message = refused(Schedule::DDPM, [0.1, 1.0], 4, Trace::Exact);
        assert!(message.contains("without gaps"), "{message}");
        let message = refused(Schedule::EDM, [1.0, 0.1], 4, Trace::Exact);
        assert!(message.contains("in order"), "{message}");
        let message = refused(Schedule::EDM, [0.1, 1.0], 0, Trace::Exact);
        assert!(message.contains("steps"), "{message}");
        let message = refused(Schedule::EDM, [0.1, 1.0], 4, Trace::Along(Vec::new()));
        assert!(message.contains("at least one"), "{message}");
        let message = refused(
            Schedule::EDM,
            [0.1, 1.0],
            4,
            Trace::Along(vec![noise(&[3])]),
        );
        assert!(message.contains("[2, 3]"), "{message}");
    }
}
