//! Runs every Rust block of the book against this workspace (`cargo test -p sadm-docs --doc`).
//!
//! The chapters lie in `docs/src`; `docs/tests/book.rs` checks that their labels and the code's agree, that every
//! formula parses, and that no chapter with Rust blocks is missing here. [`tables`] generates the tables of statements, [`figures`] the pictures,
//! [`listings`] what is shown of the sources, [`links`] the links between formulas and code.

pub mod figures;
pub mod links;
pub mod listings;
pub mod tables;

#[cfg(doctest)]
#[doc = include_str!("src/ablation.md")]
mod ablation {}

#[cfg(doctest)]
#[doc = include_str!("src/bounds.md")]
mod bounds {}

#[cfg(doctest)]
#[doc = include_str!("src/cross-check.md")]
mod cross_check {}

#[cfg(doctest)]
#[doc = include_str!("src/diffusion-gan.md")]
mod diffusion_gan {}

#[cfg(doctest)]
#[doc = include_str!("src/floating-point.md")]
mod floating_point {}

#[cfg(doctest)]
#[doc = include_str!("src/forward.md")]
mod forward {}

#[cfg(doctest)]
#[doc = include_str!("src/game.md")]
mod game {}

#[cfg(doctest)]
#[doc = include_str!("src/gpus.md")]
mod gpus {}

#[cfg(doctest)]
#[doc = include_str!("src/idea.md")]
mod idea {}

#[cfg(doctest)]
#[doc = include_str!("src/joint.md")]
mod joint {}

#[cfg(doctest)]
#[doc = include_str!("src/laws.md")]
mod laws {}

#[cfg(doctest)]
#[doc = include_str!("src/loop.md")]
mod objective_and_loop {}

#[cfg(doctest)]
#[doc = include_str!("src/extending.md")]
mod extending {}

#[cfg(doctest)]
#[doc = include_str!("src/metrics.md")]
mod metrics {}

#[cfg(doctest)]
#[doc = include_str!("src/own-images.md")]
mod own_images {}

#[cfg(doctest)]
#[doc = include_str!("src/reading-the-bound.md")]
mod reading_the_bound {}

#[cfg(doctest)]
#[doc = include_str!("src/samplers.md")]
mod samplers {}

#[cfg(doctest)]
#[doc = include_str!("src/statements.md")]
mod statements {}

#[cfg(doctest)]
#[doc = include_str!("src/structure.md")]
mod structure {}

#[cfg(doctest)]
#[doc = include_str!("src/symmetry.md")]
mod symmetry {}

#[cfg(doctest)]
#[doc = include_str!("src/targets.md")]
mod targets {}

#[cfg(doctest)]
#[doc = include_str!("src/transport.md")]
mod transport {}
