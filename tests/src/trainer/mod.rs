//! A second training program: from a configuration and the images alone it computes again, in f64 and with the reference's own
//! functions, what a small run of `sadm train` draws, computes, logs and saves.
//!
//! It shares no line with the training system's loop. [`runs()`] holds it against the real trainer, step by step: what is drawn
//! must be equal to the bit, what is computed must lie within the spread that rounding makes.

mod arithmetic;
mod configurations;
mod draws;
mod held;
mod images;
mod pass;
mod phases;
mod player;
mod program;
mod rate;
mod real;
pub mod runs;
mod settings;
mod spread;
mod streams;

use std::collections::BTreeMap;

use ndarray::ArrayD;

pub use held::Held;
pub use runs::{RunReport, run, runs};

/// Numbers by name.
type Values = BTreeMap<String, ArrayD<f64>>;
