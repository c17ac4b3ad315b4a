//! Quantities of the exact f64 reference and of the theory by name, for programs in any language.
//!
//! A [`Quantity`] says its formula, the tensors that go in and come out with their shapes, and its options; [`find`] gives it by
//! name, and [`Quantity::answer`] computes it. `sadm oracle` asks it from a shell.
//!
//! # Example
//! ```
//! use ndarray::array;
//! use sadm_oracle::{Options, Tensors, find};
//!
//! let forward = find("edm-precondition")?;
//! let sigma = Tensors::from([("sigma".to_owned(), array![0.5].into_dyn().into())]);
//! let options = Options::resolve(forward.options, &["sigma_data=0.5".to_owned()])?;
//! let answer = forward.answer(&sigma, options)?;
//! assert_eq!(answer.output("c_skip"), Some(&array![0.5].into_dyn()));
//! # Ok::<(), anyhow::Error>(())
//! ```

mod coupling;
mod denoise;
mod diffusion_gan;
mod edm;
mod forward;
mod joint;
mod metrics;
pub mod naming;
mod options;
mod quantity;
mod registry;
mod schedule;
mod structure;
pub mod tensors;

pub use options::{Kind, OptionSpec, Options, Value};
pub use quantity::{Answer, Bounds, Outputs, Port, Quantity, names, symbols};
pub use registry::{QUANTITIES, find};
pub use tensors::Tensors;
