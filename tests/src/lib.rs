//! Cross-checks between the f64 reference and the training system.
//!
//! A [`Check`] is a quantity with two independent implementations, `sadm-reference` and `sadm-gpu`, and a
//! bound, from running error analysis, for how far they may lie apart. [`verify`] draws inputs, holds
//! every number against its bound, shrinks the first failure and reports; [`replay()`] runs a failure again
//! from its file; [`Shadow`] holds the steps of a live training run to the same bounds.
//!
//! ```
//! use candle_core::DType;
//! use sadm_crosscheck::{VerifyOptions, verify};
//!
//! let options = VerifyOptions { cases: 4, only: Some("forward".into()), ..VerifyOptions::cpu(DType::F32) };
//! let report = verify(&options, &mut |line| println!("{line}"))?;
//! assert!(report.passed(), "{report}");
//! # Ok::<(), sadm_crosscheck::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`case`], [`generators`] | inputs, exact in f32 and exact as text |
//! | [`check`], [`checks`], [`mod@registry`] | the quantities |
//! | [`compare`], [`ledger`] | the comparison, and the precision each quantity is judged in |
//! | [`mod@pair`] | the registries of both systems beside each other |
//! | [`engine`], [`report`], [`mod@replay`] | running, reporting, running again |
//! | [`shadow`] | the observer of a training run |
//! | [`foreign`] | numbers that another program computed |
//! | [`trainer`] | whole small runs, made a second time |
//! | [`mod@convergence`] | orders of the samplers, measured |
//! | `planted`, `sharpness`, `properties`, `candle_traps`, `regressions` | tests: that wrong code is caught, how small an error is, that laws hold |

pub mod case;
pub mod check;
pub mod checks;
pub mod compare;
pub mod convergence;
pub mod engine;
pub mod error;
pub mod foreign;
pub mod generators;
pub mod ledger;
pub mod pair;
pub mod registry;
pub mod replay;
pub mod report;
pub mod shadow;
pub mod trainer;

#[cfg(test)]
mod candle_traps;
#[cfg(test)]
mod family;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod regressions;
#[cfg(test)]
mod sharpness;

pub use case::{Case, Param};
pub use check::{Bounds, Check, Computed, Cost, Exact, Quantity};
pub use engine::{Kind, Place, VerifyOptions, run, verify};
pub use error::{Error, Result};
pub use registry::registry;
pub use replay::{Counterexample, replay};
pub use report::{CheckReport, Outcome, Report};
pub use shadow::{Shadow, ShadowOptions};
