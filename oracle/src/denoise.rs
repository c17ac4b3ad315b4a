//! `denoising-loss`: the weighted squared error of the predicted clean batch.

use anyhow::Result;
use ndarray::Array1;
use sadm_reference::denoise::{Weight, denoising_loss, weight};

use crate::edm::SIGMA_DATA;
use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::schedule::{SCHEDULE, column, columns, schedule};
use crate::structure::chosen;
use crate::tensors::Tensors;

/// The denoising loss with its gradient and its weights.
pub const DENOISING_LOSS: Quantity = Quantity {
    name: "denoising-loss",
    formula: &[
        "loss = Σ_i weight_i ‖prediction_i − x0_i‖² / N",
        "elbo: −½ dSNR/dt = −½ SNR dλ/dt;  min-snr: min(SNR, gamma);  edm: (σ'²+σ_d²)/(σ'σ_d)² with σ' = σ/α",
        "elbo under ddpm, k = round(999·t): −½ SNR_k·999·(λ_{k+1} − λ_{k−1})/2, at the ends the one-sided difference:",
        "−½ SNR_0·999·(λ_1 − λ_0) and −½ SNR_999·999·(λ_999 − λ_998);  λ = ln SNR",
    ],
    inputs: &[
        port("x0", &["N", "…"]),
        port("prediction", &["N", "…"]),
        port("t", &["N"]),
    ],
    optional: &[],
    options: &[
        SCHEDULE,
        OptionSpec::new("weight", Kind::Choice(Weight::names), "constant"),
        OptionSpec::new("gamma", Kind::Positive, "5")
            .only_with("weight", || Weight::names_with("gamma")),
        SIGMA_DATA.only_with("weight", || vec!["edm"]),
    ],
    outputs: &[
        port("loss", &["1"]),
        port("grad_prediction", &["N", "…"]),
        port("weight", &["N"]),
    ],
    compute: loss,
    bounds: None,
    note: None,
};

fn loss(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let schedule = schedule(options)?;
    let kind: Weight = chosen(options, "weight")?;
    let data = if kind == Weight::EDM {
        options.number(SIGMA_DATA.name)
    } else {
        1.0
    };
    let t = column(&inputs["t"])?;
    let weights = columns(t.len(), |i| {
        Ok([weight(kind, schedule.as_ref(), t[i], data)?])
    })?
    .remove(0);
    let answer = denoising_loss(
        &inputs["prediction"],
        &inputs["x0"],
        &column(&weights)?.to_vec(),
    )?;
    Ok(vec![
        Array1::from(vec![answer.loss]).into_dyn(),
        answer.grad_prediction,
        weights,
    ])
}
