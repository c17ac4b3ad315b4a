//! Proof, before a phase begins, that gradients go exactly where they must.
//!
//! candle has operations that cut the graph without an error. The audit runs the phase's own losses
//! once on a copy of the players whose parameters are perturbed (so that zero-initialised layers do
//! not hide what lies before them) and looks at every parameter by name.

use super::players::{ImageKind, Players};
use super::step::{Batch, Objective, StructureTerm, phi_losses, theta_losses};
use crate::config::Config;
use crate::nn::cross_entropy;
use crate::params::Params;
use crate::random::Streams;
use crate::run::phases::Phase;
use crate::{Error, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;

/// Size of the perturbation of every parameter.
const PERTURBATION: f64 = 0.05;

/// What the audit of a phase needs to know of the run.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Shape of the images.
    pub images: ImageKind,
    /// What θ is asked.
    pub objective: Objective,
    /// What is asked of the batch.
    pub term: StructureTerm,
}

/// Whether φ's parameter `name` is trained in the adversarial phase: the classifier's head has no part in S.
pub fn in_structure(name: &str) -> bool {
    !name.starts_with("classifier.")
}

/// Checks every parameter of both players in `phase`, on a perturbed copy of them.
///
/// # Errors
/// Those of [`gradients_reach`].
pub fn audit(players: &Players, phase: Phase, plan: &Plan<'_>, batch: &Batch) -> Result<()> {
    gradients_reach(&perturbed(players, plan)?, phase, plan, batch)
}

/// Checks every parameter of `copy` in `phase`, on `batch`, whose labels must not be dropped ones.
///
/// # Errors
/// Names the first trainable parameter without a finite, non-zero gradient, or the first frozen one with a gradient.
pub fn gradients_reach(copy: &Players, phase: Phase, plan: &Plan<'_>, batch: &Batch) -> Result<()> {
    let train_all: fn(&str) -> bool = |_| true;
    let train_none: fn(&str) -> bool = |_| false;
    if phase == Phase::Encoder {
        let labels = batch.labels.as_deref().unwrap_or(&[]);
        let logits = copy.encoder.logits(&batch.x0)?;
        let grads = cross_entropy(&logits, labels)?.backward()?;
        check(&copy.phi, &grads, phase, "the encoder's loss", train_all)?;
        return check(&copy.theta, &grads, phase, "the encoder's loss", train_none);
    }
    let encoder = phase.has_structure().then_some(&copy.encoder_frozen);
    let grads = theta_losses(
        copy.denoiser.as_ref(),
        encoder,
        &plan.objective,
        &plan.term,
        batch,
        None,
    )?
    .total
    .backward()?;
    check(&copy.theta, &grads, phase, "the denoiser's loss", train_all)?;
    check(&copy.phi, &grads, phase, "the denoiser's loss", train_none)?;
    // candle keeps gradients of constants too, and with them, through a product's other factor, the whole graph of this loss.
    drop(grads);
    if let Some(encoder) = encoder
        && plan.term.weight > 0.0
    {
        structure_reaches_theta(copy, encoder, plan, batch)?;
    }
    if phase == Phase::Adversarial {
        let grads = phi_losses(
            copy.denoiser_frozen.as_ref(),
            &copy.encoder,
            &plan.objective,
            &plan.term,
            batch,
            None,
        )?
        .total
        .backward()?;
        check(
            &copy.phi,
            &grads,
            phase,
            "the discriminator's loss",
            in_structure,
        )?;
        check(
            &copy.theta,
            &grads,
            phase,
            "the discriminator's loss",
            train_none,
        )?;
    }
    Ok(())
}

/// S alone must reach θ: beside a denoising loss a detached structural branch would go unnoticed.
fn structure_reaches_theta(
    copy: &Players,
    encoder: &crate::features::Encoder,
    plan: &Plan<'_>,
    batch: &Batch,
) -> Result<()> {
    let losses = theta_losses(
        copy.denoiser.as_ref(),
        Some(encoder),
        &plan.objective,
        &plan.term,
        batch,
        None,
    )?;
    let Some(structure) = losses.structure else {
        return Ok(());
    };
    let grads = structure.loss.backward()?;
    check(
        &copy.theta,
        &grads,
        Phase::Guided,
        "the structural loss",
        |_| true,
    )
}

fn perturbed(players: &Players, plan: &Plan<'_>) -> Result<Players> {
    let streams = Streams::new(plan.config.seed);
    let shaken = |params: &Params, purpose: &str| -> Result<Params> {
        let copy = params.fork()?;
        for (index, (_, var)) in copy.vars().into_iter().enumerate() {
            let noise = streams.normal_tensor(
                purpose,
                index as u64,
                var.shape(),
                var.device(),
                var.dtype(),
            )?;
            var.set(&(var.as_tensor() + (noise * PERTURBATION)?)?)?;
        }
        Ok(copy)
    };
    Players::on(
        shaken(&players.theta, "audit-theta")?,
        shaken(&players.phi, "audit-phi")?,
        plan.config,
        plan.images,
    )
}

fn check(
    params: &Params,
    grads: &GradStore,
    phase: Phase,
    loss: &str,
    trainable: impl Fn(&str) -> bool,
) -> Result<()> {
    for (name, var) in params.vars() {
        let size = grads.get(&var).map(max_abs).transpose()?;
        let problem = match (trainable(&name), size) {
            (true, None) => "gets no gradient".to_owned(),
            (true, Some(g)) if !(g.is_finite() && g > 0.0) => {
                format!("gets a gradient of size {g}")
            }
            (false, Some(_)) => "is frozen but gets a gradient".to_owned(),
            _ => continue,
        };
        return Err(Error::invalid(
            format!("parameter `{name}` in phase `{}`", phase.name()),
            if trainable(&name) {
                format!("receive a finite, non-zero gradient from {loss}")
            } else {
                format!("receive no gradient from {loss}")
            },
            format!("one that {problem}"),
        ));
    }
    Ok(())
}

/// max |g|; NaN when any entry is NaN.
fn max_abs(g: &Tensor) -> Result<f64> {
    let values = g
        .to_dtype(candle_core::DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    Ok(values.into_iter().map(f64::abs).fold(0.0, |m, v| {
        if v.is_nan() || m.is_nan() {
            f64::NAN
        } else {
            m.max(v)
        }
    }))
}
