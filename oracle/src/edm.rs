//! `edm-precondition` and `edm-sigmas`: the EDM design choices.

use anyhow::Result;
use ndarray::Array1;
use sadm_reference::precondition::{Sigma, c_in, c_noise, c_out, c_skip, loss_weight};
use sadm_reference::sampler::edm_sigmas;

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::schedule::{column, columns};
use crate::tensors::Tensors;

/// Standard deviation of the data.
pub const SIGMA_DATA: OptionSpec = OptionSpec::new("sigma_data", Kind::Positive, "0.5");

/// The scalars that wrap the network, and the weight that cancels its output scale.
pub const EDM_PRECONDITION: Quantity = Quantity {
    name: "edm-precondition",
    formula: &[
        "c_skip = σ_d²/(σ²+σ_d²),  c_out = σσ_d/√(σ²+σ_d²),  c_in = 1/√(σ²+σ_d²),  c_noise = ln(σ)/4",
        "loss_weight = (σ²+σ_d²)/(σσ_d)² = 1/c_out²",
    ],
    inputs: &[port("sigma", &["N"])],
    optional: &[],
    options: &[SIGMA_DATA],
    outputs: &[
        port("c_skip", &["N"]),
        port("c_out", &["N"]),
        port("c_in", &["N"]),
        port("c_noise", &["N"]),
        port("loss_weight", &["N"]),
    ],
    compute: precondition,
    bounds: None,
    note: None,
};

/// The noise levels of the EDM sampler.
pub const EDM_SIGMAS: Quantity = Quantity {
    name: "edm-sigmas",
    formula: &[
        "sigmas_i = (sigma_max^(1/rho) + i/(steps−1)·(sigma_min^(1/rho) − sigma_max^(1/rho)))^rho, i < steps; then 0",
    ],
    inputs: &[],
    optional: &[],
    options: &[
        OptionSpec::new("steps", Kind::Count(1_000_000), "18"),
        OptionSpec::new("rho", Kind::Positive, "7"),
        OptionSpec::new("sigma_min", Kind::Positive, "0.002"),
        OptionSpec::new("sigma_max", Kind::Positive, "80"),
    ],
    outputs: &[port("sigmas", &["steps+1"])],
    compute: sigmas,
    bounds: None,
    note: None,
};

fn precondition(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let sigma_data = Sigma::new(options.number(SIGMA_DATA.name))?;
    let levels = column(&inputs["sigma"])?;
    columns(levels.len(), |i| {
        let sigma = Sigma::new(levels[i])?;
        Ok([
            c_skip(sigma, sigma_data),
            c_out(sigma, sigma_data),
            c_in(sigma, sigma_data),
            c_noise(sigma),
            loss_weight(sigma, sigma_data),
        ])
    })
}

fn sigmas(_: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let sigmas = edm_sigmas(
        options.count("steps"),
        options.number("rho"),
        options.number("sigma_min"),
        options.number("sigma_max"),
    )?;
    Ok(vec![Array1::from(sigmas).into_dyn()])
}
