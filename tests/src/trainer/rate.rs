//! The factor of a learning rate at an update.

use std::f64::consts::PI;

use super::{
    arithmetic::Arithmetic,
    settings::{Decay, Train},
};

/// The factor at update `number` of `total`, both counted from 0: it rises in equal steps to 1 over ⌈warmup · total⌉ updates, then
/// falls over the rest, towards 0 at `total`.
pub(super) fn factor(train: &Train, number: usize, total: usize, a: &Arithmetic) -> f64 {
    let rise = (train.warmup * total as f64).ceil();
    let number = number as f64;
    if number < rise {
        return a.one((number + 1.0) / rise);
    }
    let done = a.one((number - rise) / (total as f64 - rise).max(1.0));
    match train.decay {
        Decay::None => 1.0,
        Decay::Linear => a.one(1.0 - done),
        Decay::Cosine => a.one(0.5 * (1.0 + a.one(a.one(PI * done).cos()))),
    }
}
