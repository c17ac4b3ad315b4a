//! Runs every Rust block of the book against this workspace (`cargo test -p sadm-docs --doc`).
//!
//! The chapters lie in `docs/src`; `docs/tests/book.rs` checks that their labels and the code's agree, that every
//! formula parses, and that no chapter with Rust blocks is missing here. [`tables`] generates the tables of statements, [`figures`] the pictures,
//! [`links`] the links between formulas and code.

pub mod figures;
pub mod links;
pub mod tables;

#[cfg(doctest)]
#[doc = include_str!("src/01-structure.md")]
mod structure {}

#[cfg(doctest)]
#[doc = include_str!("src/03-statements.md")]
mod statements {}

#[cfg(doctest)]
#[doc = include_str!("src/06-bounds.md")]
mod bounds {}

#[cfg(doctest)]
#[doc = include_str!("src/07-diffusion-gan.md")]
mod diffusion_gan {}

#[cfg(doctest)]
#[doc = include_str!("src/07-symmetry.md")]
mod symmetry {}

#[cfg(doctest)]
#[doc = include_str!("src/07-transport.md")]
mod transport {}

#[cfg(doctest)]
#[doc = include_str!("src/10-idea.md")]
mod idea {}

#[cfg(doctest)]
#[doc = include_str!("src/11-denoiser.md")]
mod denoiser {}

#[cfg(doctest)]
#[doc = include_str!("src/12-gradients.md")]
mod gradients {}

#[cfg(doctest)]
#[doc = include_str!("src/13-game.md")]
mod game {}

#[cfg(doctest)]
#[doc = include_str!("src/14-floating-point.md")]
mod floating_point {}

#[cfg(doctest)]
#[doc = include_str!("src/15-joint.md")]
mod joint {}

#[cfg(doctest)]
#[doc = include_str!("src/16-reading-the-bound.md")]
mod reading_the_bound {}

#[cfg(doctest)]
#[doc = include_str!("src/17-errata.md")]
mod errata {}

#[cfg(doctest)]
#[doc = include_str!("src/18-cross-check.md")]
mod cross_check {}

#[cfg(doctest)]
#[doc = include_str!("src/19-exercises.md")]
mod exercises {}

#[cfg(doctest)]
#[doc = include_str!("src/20-metrics.md")]
mod metrics {}

#[cfg(doctest)]
#[doc = include_str!("src/21-trajectories.md")]
mod trajectories {}

#[cfg(doctest)]
#[doc = include_str!("src/25-own-images.md")]
mod own_images {}
