//! The terms of the players' losses, one a file.

mod augmentation;
mod classification;
mod coupling;
mod denoising;
mod structure;
mod time;

pub use augmentation::augmented;
pub use classification::Classification;
pub use coupling::coupled;
pub use denoising::Denoising;
pub use structure::{Structure, bad_features};
pub use time::timed;
