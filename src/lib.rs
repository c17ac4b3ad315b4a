//! Structure-guided adversarial training of diffusion models, with its arithmetic checked.
//!
//! This package is the command-line program `sadm` and a thin facade over the crates that carry
//! the substance, so that one dependency gives a program all of them:
//!
//! - [`reference`](mod@reference): the exact f64 mathematics, with hand-derived gradients and error bounds;
//! - [`theory`]: laws with closed-form posteriors, theorems and errata as executable statements;
//! - [`gpu`]: the training system on candle;
//! - [`crosscheck`]: what holds the training system against the reference.
//!
//! ```
//! use sadm::reference::schedule::{RectifiedFlow, Schedule};
//!
//! // Rectified flow at t = 1/4: α = 3/4 and σ = 1/4, so the signal-to-noise ratio is 9.
//! let snr = RectifiedFlow.snr(0.25);
//! assert!((snr - 9.0).abs() < 1e-12);
//! ```

pub mod environment;

pub use sadm_crosscheck as crosscheck;
pub use sadm_gpu as gpu;
pub use sadm_reference as reference;
pub use sadm_theory as theory;
