//! Properties, golden numbers and refusals of the mathematics: everything of the crate but layers and networks.

#![expect(clippy::float_cmp, reason = "where a value is exact, a test says so")]

mod bounds;
mod denoise;
mod forward;
#[expect(clippy::unreadable_literal, reason = "printed by golden.py")]
mod golden;
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
