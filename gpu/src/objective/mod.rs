//! What the denoiser is asked (the slot `Objective`): what it predicts, and its loss.

pub mod denoising;
pub mod parametrisation;
pub mod weight;
