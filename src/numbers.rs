//! Numbers on the command line.

use std::num::NonZeroUsize;

/// A whole number from 1.
///
/// # Errors
/// What is right, for any other text.
pub fn from_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "must be a whole number from 1".to_owned())
}

/// Of images and steps of one call, far beyond any use: no machine runs out of memory for the number alone.
const LARGEST: usize = 10_000_000;

/// A number of images or steps.
///
/// # Errors
/// What is right, for any other text.
pub fn drawn(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|number: &NonZeroUsize| number.get() <= LARGEST)
        .ok_or_else(|| format!("must be a whole number from 1 to {LARGEST}"))
}

/// Of repetitions that a number is made of, such as resamples: far beyond what any interval or estimate gains from.
const MOST_OFTEN: usize = 1_000_000;

/// How often something is repeated, 0 for not at all.
///
/// # Errors
/// What is right, for any other text.
pub fn repeated(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number <= MOST_OFTEN)
        .ok_or_else(|| format!("must be a whole number from 0 to {MOST_OFTEN}"))
}

/// A number that is neither infinite nor NaN.
///
/// # Errors
/// What is right, for any other text.
pub fn finite(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| "must be a finite number".to_owned())
}

/// A finite number above 0.
///
/// # Errors
/// What is right, for any other text.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "must be a finite number above 0".to_owned())
}
