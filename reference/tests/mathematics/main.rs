//! Properties and refusals of the mathematics: everything of the crate but layers and networks.
//! Numbers from outside are held by `tests/golden.rs`.

#![expect(clippy::float_cmp, reason = "where a value is exact, a test says so")]

mod augment;
mod bounds;
mod coupling;
mod denoise;
mod diffusion_gan;
mod family;
mod forward;
mod linalg;
mod names;
mod parametrisation;
mod polarised;
mod sampler;
mod schedule;
mod statistics;
mod structure;
mod support;
mod tracked;
mod trajectory;
