//! Work between steps: the accuracy of Ψ, samples.

use super::batches::Data;
use super::hooks::Hooks;
use super::networks;
use super::player::{Players, THETA};
use crate::Result;
use crate::config::Config;
use crate::run::{self, SampleRequest};
use candle_core::Device;
use std::path::Path;

/// Images that go through Ψ together.
const CLASSIFIED: usize = 256;

/// The share of held-out images that Ψ classifies correctly.
pub(super) fn accuracy(players: &Players, data: &Data, device: &Device) -> Result<f64> {
    let n = data.holdout.len();
    let encoder = &players.networks.encoder_frozen;
    let kept = players.networks.phi_params.dtype();
    let mut right = 0usize;
    for start in (0..n).step_by(CLASSIFIED) {
        let indices: Vec<usize> = (start..n.min(start + CLASSIFIED)).collect();
        let (x0, labels) = data.holdout.batch(&indices, device, kept)?;
        let guess = encoder.logits(&x0)?.argmax(1)?.to_vec1::<u32>()?;
        right += guess.iter().zip(&labels).filter(|(g, l)| g == l).count();
    }
    Ok(right as f64 / n as f64)
}

/// Draws a grid of samples with θ's average and hands it over.
pub(super) fn draw_samples(
    config: &Config,
    players: &Players,
    data: &Data,
    at: (&Path, usize),
    hooks: &mut dyn Hooks,
) -> Result<()> {
    let theta = players.get(THETA)?;
    let Some(average) = theta.average.as_ref().filter(|_| theta.updates() > 0) else {
        return Ok(());
    };
    let denoiser = networks::denoiser(config, data.images, average.params().frozen())?;
    let request = SampleRequest {
        labels: data.conditions.in_order(config.sample.count),
        seed: config.seed,
        ..SampleRequest::from_config(config)
    };
    let images = run::sample(
        denoiser.as_ref(),
        &config.objective(),
        data.images,
        average.params().device(),
        &request,
    )?;
    hooks.samples(at.0, at.1, &images)
}
