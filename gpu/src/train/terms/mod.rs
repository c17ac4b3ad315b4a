//! The terms of the players' losses, one a file.

mod classification;
mod denoising;
mod structure;

pub use classification::Classification;
pub use denoising::Denoising;
pub use structure::{Structure, bad_features};
