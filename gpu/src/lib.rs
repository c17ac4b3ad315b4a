//! The training system of SADM on candle: networks, losses, samplers, data and the training loop.
//!
//! Runs on the CPU by default and on CUDA with the feature `cuda`. Nothing here depends on
//! `sadm-reference`: the two crates implement the same formulas independently, with the same names,
//! and `sadm-crosscheck` holds them against each other.

pub mod choice;
pub mod config;
pub mod coupling;
pub mod data;
pub mod device;
pub mod diffusion_gan;
pub mod digest;
pub mod ema;
pub mod error;
pub mod evaluation;
pub mod features;
pub mod forward;
pub mod gaussian;
pub mod likelihood;
pub mod memory;
mod method;
pub mod network;
pub mod nn;
pub mod objective;
pub mod optim;
pub mod params;
pub mod random;
pub mod run;
pub mod sampler;
pub mod structure;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
