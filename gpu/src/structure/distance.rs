//! Distances D between two entries of the affinity matrices, as functions of their difference e.

use crate::choice::{Choice, Named, Parameter, Registry};
use crate::error::Result;
use candle_core::Tensor;

/// The distance D(e), by name; as text `huber`, or with its threshold `huber(0.5)`.
pub type Distance = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[&Squared, &Absolute, &Huber];

/// A distance.
pub trait Kind: Named {
    /// D(e), element by element, with gradient 0 at e = 0; `number` is its parameter's value.
    fn value(&self, e: &Tensor, number: f64) -> Result<Tensor>;
}

impl Registry for dyn Kind {
    const SLOT: &'static str = "distance";

    fn all() -> &'static [&'static Self] {
        ALL
    }
}

impl Distance {
    /// e².
    pub const SQUARED: Self = Self::new(&Squared);
    /// |e|; zero subgradient at 0.
    pub const ABSOLUTE: Self = Self::new(&Absolute);
    /// e²/2 where |e| ≤ δ, δ(|e| − δ/2) beyond; δ = 1 if not given.
    pub const HUBER: Self = Self::new(&Huber);
}

/// D(e), element by element.
///
/// # Formula
/// With the clipped error c = D'(e) held constant: e·e, sign(e)·e, and c·(e − c/2) with
/// c = clamp(e, −δ, δ). The value is D(e) and the gradient is c, also at e = 0.
pub fn distance(e: &Tensor, distance: Distance) -> Result<Tensor> {
    distance.value(e, distance.number())
}

struct Squared;

impl Named for Squared {
    fn name(&self) -> &'static str {
        "squared"
    }
}

impl Kind for Squared {
    fn value(&self, e: &Tensor, _: f64) -> Result<Tensor> {
        Ok(e.sqr()?)
    }
}

struct Absolute;

impl Named for Absolute {
    fn name(&self) -> &'static str {
        "absolute"
    }
}

impl Kind for Absolute {
    fn value(&self, e: &Tensor, _: f64) -> Result<Tensor> {
        Ok((e.detach().sign()? * e)?)
    }
}

struct Huber;

impl Named for Huber {
    fn name(&self) -> &'static str {
        "huber"
    }

    fn parameter(&self) -> Option<Parameter> {
        Some(Parameter {
            name: "delta",
            default: 1.0,
        })
    }
}

impl Kind for Huber {
    fn value(&self, e: &Tensor, delta: f64) -> Result<Tensor> {
        let clipped = e.detach().clamp(-delta, delta)?;
        Ok((&clipped * (e - (&clipped * 0.5)?)?)?)
    }
}
