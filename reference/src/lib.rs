//! The mathematics of SADM in `f64`, exactly: what every other implementation is held against.
//!
//! Each quantity is a pure function of its inputs. Noise and randomness are arguments; there is no I/O
//! and no global state. Gradients are derived by hand, and a bad input is an error that names it.
//!
//! | part | modules |
//! |---|---|
//! | forward process | [`schedule`], [`forward`], [`parametrisation`], [`precondition`], [`sampler`], [`trajectory`] |
//! | which noise meets which image | [`coupling`] |
//! | what images are made of those of a data set | [`augment`] |
//! | denoising objective | [`denoise`] |
//! | noise in front of a discriminator | [`diffusion_gan`] |
//! | structure | [`relation`], [`distance`], [`structure`], [`polarised`] |
//! | the law of t, and the learning rate's | [`time`], [`rate`] |
//! | layers and networks | [`nn`], [`network`], [`optim`], [`ema`] |
//! | how good samples are | [`metrics`], [`likelihood`] |
//! | intervals and fits for what was measured | [`statistics`] |
//! | rounding-error bounds for all of them | [`bound`] |
//! | layers by name, with gradients and bounds | [`operation`] |
//!
//! Only [`linalg`] sees LAPACK, to which it gives one thread.

pub mod augment;
pub mod bound;
mod check;
pub mod choice;
pub mod coupling;
pub mod denoise;
pub mod diffusion_gan;
pub mod ema;
pub mod forward;
pub mod gaussian;
pub mod likelihood;
pub mod linalg;
pub mod metrics;
pub mod network;
pub mod nn;
pub mod operation;
pub mod optim;
pub mod parametrisation;
pub mod precondition;
pub mod rate;
pub mod sampler;
pub mod statistics;
pub mod structure;
pub mod time;
pub mod trajectory;

pub use choice::UnknownName;
pub use forward::schedule;
pub use structure::{distance, polarised, relation};
