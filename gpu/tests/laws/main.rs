//! Laws of what is drawn: every random draw that a user relies on is independent of the others and has its stated law.
//!
//! Each test asks for p-values of a right program ([`chance`]), at most so many as its line of [`chance::SHARES`] says, and
//! fails where one is below its share of [`chance::FALSE_ALARM`], the probability that a run of all of them, with seeds of its
//! own, raises a false alarm. `PROPTEST_RNG_SEED` repeats a run; without it every run has other seeds.

mod augmentation;
mod chance;
mod coupling;
mod data;
mod diffusion_gan;
mod evaluation;
mod networks;
mod sampler;
mod streams;
mod support;
mod times;
mod training;
