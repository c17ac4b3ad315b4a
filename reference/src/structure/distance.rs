//! Distances D between two affinities, as functions of their difference e = M_ij − M̂_ij.

use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Entry, Slot};

/// A penalty for the difference of two affinities, by name. `[eq:distance]`
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.1 names L2; the others are ours. Huber 1964 for the third.
pub type Distance = Choice<Kind>;

/// A distance, its derivative, and rounding bounds of both, as functions of e and of the parameter's value.
pub struct Kind {
    /// D(e) ≥ 0.
    pub value: fn(f64, f64) -> f64,
    /// D'(e), 0 at e = 0.
    pub grad: fn(f64, f64) -> f64,
    /// Bound for D(e) in any computation with this precision.
    pub value_bound: fn(&Tracked, f64, Precision) -> Tracked,
    /// Bound for D'(e).
    pub grad_bound: fn(&Tracked, f64, Precision) -> Tracked,
}

impl Slot for Kind {
    const NAME: &'static str = "distance";
    const ALL: &'static [Choice<Self>] = &[Distance::SQUARED, Distance::ABSOLUTE, Distance::HUBER];
}

const SQUARED: Kind = Kind {
    value: |e, _| e * e,
    grad: |e, _| 2.0 * e,
    value_bound: |e, _, p| e.square(p),
    grad_bound: |e, _, p| e.scale(2.0, p),
};

const ABSOLUTE: Kind = Kind {
    value: |e, _| e.abs(),
    grad: |e, _| if e == 0.0 { 0.0 } else { e.signum() },
    value_bound: |e, _, _| e.abs(),
    grad_bound: |e, _, _| e.sign(),
};

const HUBER: Kind = Kind {
    value: huber,
    grad: |e, delta| e.clamp(-delta, delta),
    // The slope is at most min(|e|, δ), and either branch has at most five roundings, δ's included.
    value_bound: |e, delta, p| {
        let spread = |e: f64, error: f64| (e.abs() + error).min(delta) * error;
        e.function(p, 5.0, |e| huber(e, delta), spread)
    },
    // δ itself is rounded.
    grad_bound: |e, delta, p| e.clamp(-delta, delta).stored_as(p),
};

fn huber(e: f64, delta: f64) -> f64 {
    if e.abs() <= delta {
        0.5 * e * e
    } else {
        delta * (e.abs() - 0.5 * delta)
    }
}

impl Distance {
    /// `squared`: e².
    pub const SQUARED: Self = Self::new(&Entry::new("squared", SQUARED));
    /// `absolute`: |e|.
    pub const ABSOLUTE: Self = Self::new(&Entry::new("absolute", ABSOLUTE));
    /// `huber`: e²/2 for |e| ≤ δ, δ (|e| − δ/2) beyond, where the parabola meets the line; δ > 0, 1 if not given.
    pub const HUBER: Self = Self::new(&Entry::with("huber", "delta", 1.0, HUBER));

    /// D(e) ≥ 0.
    pub fn value(self, e: f64) -> f64 {
        (self.value)(e, self.number())
    }

    /// D'(e): 2e, sign e with sign 0 = 0, or e clamped to [−δ, δ]. `[eq:distance-grad]`
    pub fn grad(self, e: f64) -> f64 {
        (self.grad)(e, self.number())
    }

    /// Bound for D(e) in any computation with precision `p`.
    pub fn value_bound(self, e: &Tracked, p: Precision) -> Tracked {
        (self.value_bound)(e, self.number(), p)
    }

    /// Bound for D'(e).
    pub fn grad_bound(self, e: &Tracked, p: Precision) -> Tracked {
        (self.grad_bound)(e, self.number(), p)
    }
}
