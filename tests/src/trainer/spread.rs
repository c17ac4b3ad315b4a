//! Allowances: how far rounding moves each number of a run, measured on programs whose every result is moved at random.

use std::collections::BTreeMap;

use ndarray::ArrayD;
use sadm_reference::bound::Precision;

use super::{Values, arithmetic::MOVE};

/// Programs that are moved.
pub(super) const SAMPLES: u64 = 4;

/// Factor on the largest deviation of [`SAMPLES`] moved programs. What is one operation there is up to 256 roundings here (the sum over 4
/// images of 8 × 8 pixels in a kernel's gradient), which add up like their root, 16; the largest of a few samples is held against another draw
/// of the same law, 2.
pub(super) const FACTOR: f64 = 32.0;

/// Allowances, and what they remember of a run.
#[derive(Default)]
pub(super) struct Spread {
    /// Of each quantity the largest deviation so far, in units of its largest element: the deviations of one step are too few to
    /// measure that of a single number.
    relative: BTreeMap<String, f64>,
}

impl Spread {
    /// The allowance for each quantity: the same for all its elements.
    pub(super) fn allowed(&mut self, exact: &Values, moved: &[&Values]) -> BTreeMap<String, f64> {
        let scale = FACTOR * Precision::F64.unit / MOVE;
        let each = exact.iter().map(|(name, value)| {
            let size = largest(value.iter().copied());
            let mut deviation = 0.0_f64;
            for other in moved {
                let apart = match other.get(name) {
                    Some(other) if other.shape() == value.shape() => {
                        largest(value.iter().zip(other).map(|(a, b)| a - b))
                    }
                    _ => f64::INFINITY,
                };
                deviation = worse(deviation, apart);
            }
            if size > 0.0 {
                let relative = self.relative.entry(name.clone()).or_insert(0.0);
                *relative = worse(*relative, deviation / size);
                deviation = worse(deviation, *relative * size);
            }
            (name.clone(), scale * deviation)
        });
        each.collect()
    }
}

/// The largest size; NaN stays.
pub(super) fn largest(x: impl Iterator<Item = f64>) -> f64 {
    x.fold(0.0, |m, x| worse(m, x.abs()))
}

fn worse(m: f64, x: f64) -> f64 {
    if x > m || x.is_nan() { x } else { m }
}

/// The same allowance for every element.
pub(super) fn everywhere(allowed: f64, like: &ArrayD<f64>) -> ArrayD<f64> {
    ArrayD::from_elem(like.raw_dim(), allowed)
}
