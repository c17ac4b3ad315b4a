//! The quantities of the oracle by name.

use anyhow::{Result, anyhow};

use crate::naming::unknown;
use crate::quantity::Quantity;
use crate::{coupling, denoise, diffusion_gan, edm, forward, joint, metrics, structure};

/// Every quantity, in the order of the table.
pub const QUANTITIES: [&Quantity; 17] = [
    &structure::STRUCTURAL_LOSS,
    &forward::FORWARD,
    &forward::TRANSITION,
    &coupling::ASSIGNMENT,
    &denoise::DENOISING_LOSS,
    &edm::EDM_PRECONDITION,
    &edm::EDM_SIGMAS,
    &joint::FINITE_POSTERIOR,
    &joint::JENSEN,
    &joint::RELATION_SCORE,
    &metrics::FRECHET,
    &metrics::KID,
    &metrics::PRECISION_RECALL,
    &metrics::INCEPTION_SCORE,
    &diffusion_gan::SCHEDULE,
    &diffusion_gan::TIMES,
    &diffusion_gan::CONTROLLER,
];

/// The quantity called `name`.
///
/// # Errors
/// An unknown name, with the nearest known one.
pub fn find(name: &str) -> Result<&'static Quantity> {
    QUANTITIES
        .into_iter()
        .find(|quantity| quantity.name == name)
        .ok_or_else(|| {
            let known = QUANTITIES.map(|quantity| quantity.name);
            anyhow!(unknown("quantity", name, &known))
        })
}
