//! Distances D between two entries of the affinity matrices, as functions of their difference e.

use crate::choice::{Choice, Entry, Slot};
use crate::error::Result;
use candle_core::Tensor;

/// The distance D(e), by name; as text `huber`, or with its threshold `huber(0.5)`.
pub type Distance = Choice<Kind>;

/// A distance: D(e) element by element, with gradient 0 at e = 0, from e and the parameter's value.
pub struct Kind(pub fn(&Tensor, f64) -> Result<Tensor>);

impl Slot for Kind {
    const NAME: &'static str = "distance";
    const ALL: &'static [Choice<Self>] = &[Distance::SQUARED, Distance::ABSOLUTE, Distance::HUBER];
}

impl Distance {
    /// e².
    pub const SQUARED: Self = Self::new(&Entry::new("squared", Kind(|e, _| Ok(e.sqr()?))));
    /// |e|; zero subgradient at 0.
    pub const ABSOLUTE: Self = Self::new(&Entry::new("absolute", Kind(absolute)));
    /// e²/2 where |e| ≤ δ, δ(|e| − δ/2) beyond; δ = 1 if not given.
    pub const HUBER: Self = Self::new(&Entry::with("huber", "delta", 1.0, Kind(huber)));
}

fn absolute(e: &Tensor, _: f64) -> Result<Tensor> {
    Ok((e.detach().sign()? * e)?)
}

fn huber(e: &Tensor, delta: f64) -> Result<Tensor> {
    let clipped = e.detach().clamp(-delta, delta)?;
    Ok((&clipped * (e - (&clipped * 0.5)?)?)?)
}

/// D(e), element by element.
///
/// # Formula
/// With the clipped error c = D'(e) held constant: e·e, sign(e)·e, and c·(e − c/2) with
/// c = clamp(e, −δ, δ). The value is D(e) and the gradient is c, also at e = 0.
pub fn distance(e: &Tensor, distance: Distance) -> Result<Tensor> {
    distance.0(e, distance.number())
}
