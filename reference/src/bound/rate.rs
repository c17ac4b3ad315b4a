//! Bound for the learning rate's factor.

use std::f64::consts::PI;

use ndarray::arr0;

use super::{Precision, Tracked};
use crate::rate::{self, Course, Decay};

/// [`rate::factor`] in precision `p`; a decay by what is done or by what is left. Shape `[]`.
pub fn factor(number: usize, total: usize, warmup: f64, decay: Decay, p: Precision) -> Tracked {
    let number_of = |x: f64| Tracked::exact(arr0(x).into_dyn());
    let share = |a: f64, b: f64| number_of(a).div(&number_of(b), p);
    let one = number_of(1.0);
    let bound = match (rate::course(number, total, warmup), decay) {
        (Course::Rising { number, of }, _) => share(number, of),
        (Course::Falling { .. }, Decay::None) => one,
        (Course::Falling { done, of }, Decay::Linear) => {
            share(of - done, of).either(&one.sub(&share(done, of), p))
        }
        (Course::Falling { done, of }, Decay::Cosine) => {
            let cosine = |x: &Tracked| x.scale(PI, p).cos(p);
            let done = share(done, of);
            let left = one.sub(&done, p);
            let by_done = one.add(&cosine(&done), p).scale(0.5, p);
            by_done.either(&one.sub(&cosine(&left), p).scale(0.5, p))
        }
    };
    bound.recentred(arr0(rate::factor(number, total, warmup, decay)).into_dyn())
}
