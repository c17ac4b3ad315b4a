//! Distances D between two affinities, as functions of their difference e = M_ij − M̂_ij.

use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Named, Parameter, Registry};

/// A penalty for the difference of two affinities, by name. `[eq:distance]`
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.1 names L2; the others are ours. Huber 1964 for the third.
pub type Distance = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[&Squared, &Absolute, &Huber];

/// A distance, its derivative, and rounding bounds of both; `number` is the value of [`Named::parameter`].
pub trait Kind: Named {
    /// D(e) ≥ 0.
    fn value(&self, e: f64, number: f64) -> f64;

    /// D'(e), 0 at e = 0.
    fn grad(&self, e: f64, number: f64) -> f64;

    /// Bound for D(e) in any computation with precision `p`.
    fn value_bound(&self, e: &Tracked, number: f64, p: Precision) -> Tracked;

    /// Bound for D'(e).
    fn grad_bound(&self, e: &Tracked, number: f64, p: Precision) -> Tracked;
}

impl Registry for dyn Kind {
    const WHAT: &'static str = "distance";
    fn entries() -> &'static [&'static Self] {
        ALL
    }
}

impl Distance {
    /// `squared`: e².
    pub const SQUARED: Self = Self::new(&Squared);
    /// `absolute`: |e|.
    pub const ABSOLUTE: Self = Self::new(&Absolute);
    /// `huber`: e²/2 for |e| ≤ δ, δ (|e| − δ/2) beyond, where the parabola meets the line; δ > 0, 1 if not given.
    pub const HUBER: Self = Self::new(&Huber);

    /// D(e) ≥ 0.
    pub fn value(self, e: f64) -> f64 {
        (*self).value(e, self.number())
    }

    /// D'(e): 2e, sign e with sign 0 = 0, or e clamped to [−δ, δ]. `[eq:distance-grad]`
    pub fn grad(self, e: f64) -> f64 {
        (*self).grad(e, self.number())
    }

    /// Bound for D(e) in any computation with precision `p`.
    pub fn value_bound(self, e: &Tracked, p: Precision) -> Tracked {
        (*self).value_bound(e, self.number(), p)
    }

    /// Bound for D'(e).
    pub fn grad_bound(self, e: &Tracked, p: Precision) -> Tracked {
        (*self).grad_bound(e, self.number(), p)
    }
}

struct Squared;

impl Named for Squared {
    fn name(&self) -> &'static str {
        "squared"
    }
}

impl Kind for Squared {
    fn value(&self, e: f64, _: f64) -> f64 {
        e * e
    }
    fn grad(&self, e: f64, _: f64) -> f64 {
        2.0 * e
    }
    fn value_bound(&self, e: &Tracked, _: f64, p: Precision) -> Tracked {
        e.square(p)
    }
    fn grad_bound(&self, e: &Tracked, _: f64, p: Precision) -> Tracked {
        e.scale(2.0, p)
    }
}

struct Absolute;

impl Named for Absolute {
    fn name(&self) -> &'static str {
        "absolute"
    }
}

impl Kind for Absolute {
    fn value(&self, e: f64, _: f64) -> f64 {
        e.abs()
    }
    fn grad(&self, e: f64, _: f64) -> f64 {
        if e == 0.0 { 0.0 } else { e.signum() }
    }
    fn value_bound(&self, e: &Tracked, _: f64, _: Precision) -> Tracked {
        e.abs()
    }
    fn grad_bound(&self, e: &Tracked, _: f64, _: Precision) -> Tracked {
        e.sign()
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
    fn value(&self, e: f64, delta: f64) -> f64 {
        if e.abs() <= delta {
            0.5 * e * e
        } else {
            delta * (e.abs() - 0.5 * delta)
        }
    }
    fn grad(&self, e: f64, delta: f64) -> f64 {
        e.clamp(-delta, delta)
    }
    /// The slope is at most min(|e|, δ), and either branch has at most five roundings, δ's included.
    fn value_bound(&self, e: &Tracked, delta: f64, p: Precision) -> Tracked {
        let spread = |e: f64, error: f64| (e.abs() + error).min(delta) * error;
        e.function(p, 5.0, |e| self.value(e, delta), spread)
    }
    fn grad_bound(&self, e: &Tracked, delta: f64, p: Precision) -> Tracked {
        // δ itself is rounded.
        e.clamp(-delta, delta).stored_as(p)
    }
}
