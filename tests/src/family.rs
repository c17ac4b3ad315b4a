//! Whole trajectories of EDM's sampler family: the training system's against the reference's.

use candle_core::{DType, Device, Tensor};
use ndarray::ArrayD;
use sadm_gpu::forward::schedule::Schedule;
use sadm_gpu::random::Streams;
use sadm_gpu::sampler as gpu;
use sadm_reference::sampler::Churn;
use sadm_reference::sampler::family::{Discretization, Family, Scaling, TimeSchedule};

use crate::engine::Place;
use crate::error::{Error, Result};

/// x̂ of a point: no law's, but as bent as any.
fn denoised(z: f64, sigma: f64) -> f64 {
    (z / (1.0 + sigma)).tanh() / (1.0 + 0.3 * sigma)
}

/// End points of both systems with the same noise.
fn ends(family: &Family, churn: gpu::Churn) -> Result<[ArrayD<f64>; 2]> {
    let streams = Streams::new(7);
    let noise = streams.normal_tensor("family", 0, (3, 2), &Device::Cpu, DType::F64)?;
    let range = family
        .range([0.0, f64::INFINITY])
        .map_err(Error::reference)?;
    let options = gpu::SamplerOptions {
        kind: if family.second_order {
            gpu::SamplerKind::HEUN
        } else {
            gpu::SamplerKind::EULER
        },
        steps: family.steps,
        rho: family.rho,
        sigma_min: range[0],
        sigma_max: range[1],
        churn,
        family: gpu::Family {
            discretization: family.discretization.to_string().parse()?,
            schedule: family.schedule.to_string().parse()?,
            scaling: family.scaling.to_string().parse()?,
            alpha: family.alpha,
        },
        ..gpu::SamplerOptions::default()
    };
    // Under EDM's schedule x_t is z, and t is σ.
    let denoise = |z: &Tensor, sigma: f64| -> sadm_gpu::Result<Tensor> {
        let values = z.flatten_all()?.to_vec1::<f64>()?;
        let answers = values
            .into_iter()
            .map(|z| denoised(z, sigma))
            .collect::<Vec<f64>>();
        Ok(Tensor::from_vec(answers, z.shape(), &Device::Cpu)?)
    };
    let got = gpu::sample(&denoise, Schedule::EDM, &options, &noise, streams)?;
    let start = Place::array(&noise)?;
    let mut added = |i: usize| {
        let noise =
            streams.normal_tensor("sampler-churn", i as u64, (3, 2), &Device::Cpu, DType::F64);
        noise
            .ok()
            .and_then(|noise| Place::array(&noise).ok())
            .unwrap_or_default()
    };
    let mut answer = |z: &ArrayD<f64>, sigma: f64| z.mapv(|z| denoised(z, sigma));
    let known = (
        [0.0, f64::INFINITY],
        &(|sigma| sigma) as &dyn Fn(f64) -> f64,
    );
    let want = family.sample(&start, known, &mut added, &mut answer);
    Ok([Place::array(&got)?, want.map_err(Error::reference)?])
}

#[test]
fn all_members_agree() -> Result<()> {
    for &discretization in Discretization::ALL {
        for &schedule in TimeSchedule::ALL {
            for &scaling in Scaling::ALL {
                for (second_order, alpha, amount) in
                    [(false, 1.0, 0.0), (true, 1.0, 3.0), (true, 0.6, 0.0)]
                {
                    let churn = gpu::Churn {
                        amount,
                        sigma_min: 0.05,
                        sigma_max: 30.0,
                        noise: 1.007,
                    };
                    let family = Family {
                        second_order,
                        discretization,
                        schedule,
                        scaling,
                        steps: 7,
                        alpha,
                        churn: Churn {
                            s_churn: amount,
                            s_min: 0.05,
                            s_max: 30.0,
                            s_noise: 1.007,
                        },
                        ..Family::default()
                    };
                    let [got, want] = ends(&family, churn)?;
                    // A step's rounding is bounded in `sampler.family`; here the steps must be the same ones. Levels reach 2·10⁴.
                    let apart = (&got - &want)
                        .iter()
                        .fold(0.0_f64, |most, d| most.max(d.abs()));
                    assert!(apart < 1e-9, "{family:?}: {apart:e}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn other_samplers_have_no_other_time() {
    let options = gpu::SamplerOptions {
        kind: gpu::SamplerKind::DDIM,
        family: gpu::Family {
            schedule: gpu::TimeSchedule::Ve,
            ..gpu::Family::default()
        },
        ..gpu::SamplerOptions::default()
    };
    let noise = Tensor::zeros((1, 1), DType::F64, &Device::Cpu).expect("zeros");
    let denoise = |z: &Tensor, _: f64| Ok(z.clone());
    let refused = gpu::sample(&denoise, Schedule::EDM, &options, &noise, Streams::new(0));
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("heun or euler")
    );
}
