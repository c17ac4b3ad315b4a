//! One update's losses: what θ descends and what φ ascends.

use crate::config::Config;
use crate::features::Encoder;
use crate::forward::diffuse;
use crate::forward::schedule::Schedule;
use crate::network::Denoiser;
use crate::objective::denoising::{Weight, denoising_loss};
use crate::objective::parametrisation::{self, Parametrisation};
use crate::run::phases::Phase;
use crate::structure::{Eta, Relation, Rows, StructureOptions, structural_loss};
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

/// A batch with everything random already drawn.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Real images `[B, C, H, W]`.
    pub x0: Tensor,
    /// Standard normal noise `[B, C, H, W]`.
    pub eps: Tensor,
    /// t of every sample; equal entries when the batch shares its t.
    pub t: Vec<f64>,
    /// Class of every sample, the number of classes where the label was dropped.
    pub labels: Option<Vec<u32>>,
}

/// What the denoiser is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// α_t, σ_t.
    pub schedule: Schedule,
    /// What the network predicts.
    pub parametrisation: Parametrisation,
    /// w(λ_t).
    pub weight: Weight,
    /// σ_d.
    pub sigma_data: f64,
}

impl Objective {
    /// The configured objective.
    pub fn of(config: &Config) -> Self {
        let o = &config.objective;
        Self {
            schedule: o.schedule,
            parametrisation: o.parametrisation,
            weight: o.weight,
            sigma_data: o.sigma_data,
        }
    }
}

/// What is asked of the batch as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StructureTerm {
    /// R, D and the diagonal.
    pub options: StructureOptions,
    /// η_t.
    pub eta: Eta,
    /// Clamp of η_t = 1/t.
    pub eta_t_min: f64,
    /// λ, the factor of S beside the denoising loss.
    pub weight: f64,
}

impl StructureTerm {
    /// The configured term, as it is in `phase`.
    pub fn of(config: &Config, phase: Phase) -> Self {
        let structure = &config.structure;
        Self {
            options: structure.options(),
            eta: match phase {
                Phase::Guided => structure.guided_eta.or(structure.eta),
                _ => structure.eta,
            },
            eta_t_min: structure.eta_t_min,
            weight: structure.weight,
        }
    }
}

/// The denoiser's answer to a batch, with what led to it.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// α_t x_0 + σ_t ε.
    pub x_t: Tensor,
    /// x̂, with the network's output and the coefficients around it.
    pub answer: parametrisation::Prediction,
}

/// The structural loss of a batch, with what led to it.
#[derive(Debug, Clone)]
pub struct Structure {
    /// Ψ(x_0) `[B, d]`.
    pub psi: Tensor,
    /// Ψ(x̂) `[B, d]`.
    pub psi_hat: Tensor,
    /// η of every sample.
    pub eta: Vec<f64>,
    /// S.
    pub loss: Tensor,
}

/// What θ descends: L + λS.
#[derive(Debug, Clone)]
pub struct ThetaLosses {
    /// The denoiser's answer.
    pub prediction: Prediction,
    /// w of every sample.
    pub weights: Vec<f64>,
    /// L.
    pub denoising: Tensor,
    /// S, when the phase has it.
    pub structure: Option<Structure>,
    /// L + λS.
    pub total: Tensor,
}

/// What φ descends: −S.
#[derive(Debug, Clone)]
pub struct PhiLosses {
    /// S.
    pub structure: Structure,
    /// −S.
    pub total: Tensor,
}

/// Zeros that are added to intermediate tensors so that `backward` leaves their gradients behind.
///
/// candle keeps gradients of variables only. `x + 0` is `x` to the last bit, and the gradient of the
/// zero is the gradient that flows through `x`: of the very graph that updates the parameters, on any
/// device.
#[derive(Debug, Default)]
pub struct Probes {
    x_hat: Option<Var>,
    psi: Option<Var>,
    psi_hat: Option<Var>,
}

impl Probes {
    /// Gradients at x̂ (denoising branch), Ψ and Ψ̂, as far as they were probed.
    pub fn gradients(&self, grads: &GradStore) -> [Option<Tensor>; 3] {
        [&self.x_hat, &self.psi, &self.psi_hat].map(|probe| {
            let probe = probe.as_ref()?;
            // A branch that was cut leaves no gradient: that is a gradient of zero, and the check says so.
            grads
                .get(probe)
                .cloned()
                .or_else(|| probe.zeros_like().ok())
        })
    }
}

fn probed(x: &Tensor, slot: Option<&mut Option<Var>>) -> Result<Tensor> {
    match slot {
        None => Ok(x.clone()),
        Some(slot) => {
            let zero = Var::zeros(x.shape(), x.dtype(), x.device())?;
            let sum = (x + zero.as_tensor())?;
            *slot = Some(zero);
            Ok(sum)
        }
    }
}

/// x̂ for a batch, by a denoiser inside its preconditioner.
pub fn predict(
    denoiser: &dyn Denoiser,
    objective: &Objective,
    batch: &Batch,
) -> Result<Prediction> {
    let schedule = objective.schedule;
    let alpha: Vec<f64> = batch.t.iter().map(|&t| schedule.alpha(t)).collect();
    let sigma: Vec<f64> = batch.t.iter().map(|&t| schedule.sigma(t)).collect();
    let x_t = diffuse(&batch.x0, &batch.eps, &alpha, &sigma)?;
    let answer = answer(denoiser, objective, &x_t, &batch.t, batch.labels.as_deref())?;
    Ok(Prediction { x_t, answer })
}

/// x̂ for noised images.
pub fn answer(
    denoiser: &dyn Denoiser,
    objective: &Objective,
    x_t: &Tensor,
    t: &[f64],
    labels: Option<&[u32]>,
) -> Result<parametrisation::Prediction> {
    parametrisation::predict(
        denoiser,
        x_t,
        t,
        objective.schedule,
        objective.parametrisation,
        objective.sigma_data,
        labels,
    )
}

fn structure(
    encoder: &Encoder,
    objective: &Objective,
    term: &StructureTerm,
    batch: &Batch,
    x_hat: &Tensor,
    probes: Option<&mut Probes>,
) -> Result<Structure> {
    let (slot, slot_hat) = match probes {
        Some(probes) => (Some(&mut probes.psi), Some(&mut probes.psi_hat)),
        None => (None, None),
    };
    let psi = probed(&encoder.features(&batch.x0)?, slot)?;
    let psi_hat = probed(&encoder.features(x_hat)?, slot_hat)?;
    let eta = term
        .eta
        .values(objective.schedule, &batch.t, term.eta_t_min);
    let loss = structural_loss(&psi, &psi_hat, &eta, &term.options)?;
    Ok(Structure {
        psi,
        psi_hat,
        eta,
        loss,
    })
}

/// What θ descends (SADM Eq. 6 and 10) `[eq:minimax]`: L + λS with Ψ from `encoder`, whose parameters the caller has frozen.
pub fn theta_losses(
    denoiser: &dyn Denoiser,
    encoder: Option<&Encoder>,
    objective: &Objective,
    term: &StructureTerm,
    batch: &Batch,
    mut probes: Option<&mut Probes>,
) -> Result<ThetaLosses> {
    let prediction = predict(denoiser, objective, batch)?;
    let weights = objective
        .weight
        .weights(objective.schedule, &batch.t, objective.sigma_data);
    let x_hat = probed(
        &prediction.answer.x_hat,
        probes.as_deref_mut().map(|p| &mut p.x_hat),
    )?;
    let denoising = denoising_loss(&x_hat, &batch.x0, &weights)?;
    let structure = encoder
        .map(|encoder| {
            structure(
                encoder,
                objective,
                term,
                batch,
                &prediction.answer.x_hat,
                probes,
            )
        })
        .transpose()?;
    let total = match &structure {
        None => denoising.clone(),
        Some(s) => (&denoising + (&s.loss * term.weight)?)?,
    };
    Ok(ThetaLosses {
        prediction,
        weights,
        denoising,
        structure,
        total,
    })
}

/// What φ descends (SADM Eq. 9) `[eq:minimax]`: −S, with x̂ a constant, so that no gradient reaches θ `[eq:players-gradients]`.
pub fn phi_losses(
    denoiser: &dyn Denoiser,
    encoder: &Encoder,
    objective: &Objective,
    term: &StructureTerm,
    batch: &Batch,
    probes: Option<&mut Probes>,
) -> Result<PhiLosses> {
    let x_hat = predict(denoiser, objective, batch)?.answer.x_hat.detach();
    let structure = structure(encoder, objective, term, batch, &x_hat, probes)?;
    let total = structure.loss.neg()?;
    Ok(PhiLosses { structure, total })
}

/// What is wrong with the features Ψ(x_0) and Ψ(x̂) under a structural loss that is not finite: the first sample of the batch whose features
/// are not finite, or are all 0 under cosine, which then has no direction.
pub fn bad_features(features: [&Tensor; 2], relation: Relation) -> Result<Option<Error>> {
    for (name, psi) in ["Ψ(x_0)", "Ψ(x̂)"].into_iter().zip(features) {
        let rows = psi
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .to_vec2::<f64>()?;
        for (i, row) in rows.iter().enumerate() {
            let what = format!("the features {name} of sample {i} of the batch");
            if let Some(value) = row.iter().find(|value| !value.is_finite()) {
                let must = "be finite (a smaller learning rate, of Ψ or of the denoiser, may help)";
                return Ok(Some(Error::invalid(what, must, value)));
            }
            if relation.rows() == Some(Rows::Unit) && row.iter().all(|&value| value == 0.0) {
                let must = "not all be 0 under the cosine relation (another structure.relation, or an encoder that is trained \
                            longer, may help)";
                return Ok(Some(Error::invalid(what, must, "zeros alone")));
            }
        }
    }
    Ok(None)
}
