//! Gradient audit: before a phase begins, every parameter that is trained has a gradient and no other one has.
//!
//! candle has operations that cut the graph without an error. The audit runs the phase's own losses
//! once on a copy of the players whose parameters are perturbed (so that zero-initialised layers do
//! not hide what lies before them) and looks at every parameter by name.

use super::batch::Batch;
use super::networks::Networks;
use super::pass::{Pass, View};
use super::term::{Summand, Tape, losses};
use super::terms::{Classification, Denoising, Structure};
use crate::config::Config;
use crate::data::ImageKind;
use crate::method::objectives::{of_phi, of_theta};
use crate::objective::Objective;
use crate::params::Params;
use crate::random::Streams;
use crate::run::phases::Phase;
use crate::structure::Relation;
use crate::{Error, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;

/// Size of the perturbation of every parameter.
const PERTURBATION: f64 = 0.05;

/// Input of the audit of a phase.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Shape of the images.
    pub images: ImageKind,
    /// The denoising objective.
    pub objective: Objective,
    /// The structural objective.
    pub structure: Structure,
    /// λ, the factor of S beside the denoising loss.
    pub weight: f64,
}

/// Whether φ's parameter `name` is trained in the adversarial phase: the classifier's head has no part in S.
pub fn in_structure(name: &str) -> bool {
    !name.starts_with("classifier.")
}

/// Whether S changes when all features are shifted alike. Of a relation of differences it does not: the gradient of that shift is 0, or what
/// rounding leaves of it.
fn sees_shifts(relation: Relation) -> bool {
    relation.rows().is_some()
}

/// What a trainable parameter must do.
const ARRIVES: &str = "receive a finite, non-zero gradient from";

/// Whether an error is the audit's, of a trainable parameter that no gradient reaches.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Invalid { must, .. } if must.starts_with(ARRIVES))
}

/// Checks every parameter of both players in `phase`, on a perturbed copy of them.
///
/// # Errors
/// Those of [`gradients_reach`].
pub fn audit(networks: &Networks, phase: Phase, plan: &Plan<'_>, batch: &Batch) -> Result<()> {
    gradients_reach(&perturbed(networks, plan)?, phase, plan, batch)
}

/// Checks every parameter of `copy` in `phase`, on `batch`, whose labels must not be dropped ones.
///
/// # Errors
/// Names the first trainable parameter without a finite, non-zero gradient, or the first frozen one with a gradient.
pub fn gradients_reach(
    copy: &Networks,
    phase: Phase,
    plan: &Plan<'_>,
    batch: &Batch,
) -> Result<()> {
    let train_all: fn(&str) -> bool = |_| true;
    let train_none: fn(&str) -> bool = |_| false;
    let (theta, phi) = (&copy.theta_params, &copy.phi_params);
    let grads = |view: View<'_>, terms: &[Summand<'_>]| -> Result<GradStore> {
        let pass = Pass::new(view, &plan.objective, batch);
        Ok(losses(terms, &pass, &mut Tape::off())?.total.backward()?)
    };
    if phase == Phase::Encoder {
        let grads = grads(copy.phi(), &[(1.0, &Classification)])?;
        check(phi, &grads, phase, "the encoder's loss", train_all)?;
        return check(theta, &grads, phase, "the encoder's loss", train_none);
    }
    {
        let terms = of_theta(&Denoising, &plan.structure, plan.weight, phase);
        let grads = grads(copy.theta(), &terms)?;
        check(theta, &grads, phase, "the denoiser's loss", train_all)?;
        check(phi, &grads, phase, "the denoiser's loss", train_none)?;
        // candle keeps gradients of constants too, and with them, through a product's other factor, the whole graph of this loss.
    }
    if phase.has_structure() && plan.weight > 0.0 {
        // S alone must reach θ: beside a denoising loss a detached structural branch would go unnoticed.
        let grads = grads(copy.theta(), &[(1.0, &plan.structure)])?;
        check(
            theta,
            &grads,
            Phase::Guided,
            "the structural loss",
            train_all,
        )?;
    }
    if phase == Phase::Adversarial {
        let grads = grads(copy.phi(), &of_phi(&plan.structure))?;
        let loss = "the discriminator's loss";
        let shifted = sees_shifts(plan.structure.options.relation);
        let looked_at = |name: &str| shifted || name != "features.bias";
        check_some(phi, &grads, phase, loss, in_structure, looked_at)?;
        check(theta, &grads, phase, loss, train_none)?;
    }
    Ok(())
}

fn perturbed(networks: &Networks, plan: &Plan<'_>) -> Result<Networks> {
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
    Networks::on(
        shaken(&networks.theta_params, "audit-theta")?,
        shaken(&networks.phi_params, "audit-phi")?,
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
    check_some(params, grads, phase, loss, trainable, |_| true)
}

/// As [`check`], of the parameters that are `looked_at`.
fn check_some(
    params: &Params,
    grads: &GradStore,
    phase: Phase,
    loss: &str,
    trainable: impl Fn(&str) -> bool,
    looked_at: impl Fn(&str) -> bool,
) -> Result<()> {
    let vars = params.vars().into_iter();
    for (name, var) in vars.filter(|(name, _)| looked_at(name)) {
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
                format!("{ARRIVES} {loss}")
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
