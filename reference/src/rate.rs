//! The learning rate over a run: a linear warm-up, then a decay.

use crate::choice::{UnknownName, parse};
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// Fall of the learning rate after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// None: it stays at its peak.
    None,
    /// In a straight line to 0.
    Linear,
    /// Along half a cosine to 0.
    Cosine,
}

impl Decay {
    /// Every decay.
    pub const ALL: [Self; 3] = [Self::None, Self::Linear, Self::Cosine];
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        })
    }
}

impl FromStr for Decay {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("decay", &Self::ALL, name)
    }
}

/// Where an update stands in its learning rate's course.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Course {
    /// In the warm-up: the so-manieth of so many, from 1.
    Rising {
        /// Which.
        number: f64,
        /// Of how many.
        of: f64,
    },
    /// After it: so many done of so many.
    Falling {
        /// How many.
        done: f64,
        /// Of how many, at least 1.
        of: f64,
    },
}

/// Update `number` of `total`, from 0, of which the first ⌈warmup · total⌉ are the warm-up.
pub fn course(number: usize, total: usize, warmup: f64) -> Course {
    let (number, total) = (number as f64, total as f64);
    let rise = (warmup * total).ceil();
    if number < rise {
        Course::Rising {
            number: number + 1.0,
            of: rise,
        }
    } else {
        Course::Falling {
            done: number - rise,
            of: (total - rise).max(1.0),
        }
    }
}

/// Factor of the learning rate at update `number` of `total`. `[eq:learning-rate]`
///
/// # Formula
/// ```text
/// r = ⌈warmup · total⌉
/// (number + 1)/r                                     number < r
/// 1,  1 − s,  (1 + cos πs)/2,  s = (number − r)/(total − r)    after it, by the decay
/// ```
/// # Range
/// `number` from 0, `warmup` in [0, 1) → (0, 1] for `number < total`.
///
/// # Example
/// ```
/// use sadm_reference::rate::{Decay, factor};
/// // Ten updates, of which the first three rise.
/// assert_eq!(factor(1, 10, 0.25, Decay::None), 2.0 / 3.0);
/// assert_eq!(factor(5, 10, 0.25, Decay::Linear), 1.0 - 2.0 / 7.0);
/// ```
pub fn factor(number: usize, total: usize, warmup: f64, decay: Decay) -> f64 {
    match (course(number, total, warmup), decay) {
        (Course::Rising { number, of }, _) => number / of,
        (Course::Falling { .. }, Decay::None) => 1.0,
        (Course::Falling { done, of }, Decay::Linear) => (of - done) / of,
        (Course::Falling { done, of }, Decay::Cosine) => 0.5 * (1.0 + (PI * (done / of)).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decays_have_names() {
        for decay in Decay::ALL {
            assert_eq!(decay.to_string().parse(), Ok(decay));
        }
        assert!("sine".parse::<Decay>().is_err());
    }

    #[test]
    fn the_rate_rises_to_one_and_falls_towards_zero() {
        for decay in Decay::ALL {
            let all: Vec<f64> = (0..40).map(|n| factor(n, 40, 0.24, decay)).collect();
            // ⌈0.24 · 40⌉ = 10: a tenth in each.
            for (n, rate) in all.iter().take(10).enumerate() {
                assert!((rate - (n + 1) as f64 / 10.0).abs() < 1e-15);
            }
            assert!((all[10] - 1.0).abs() < 1e-15, "the first after the warm-up");
            let half = all[25];
            let end = factor(40, 40, 0.24, decay);
            let (want, last) = match decay {
                Decay::None => (1.0, 1.0),
                Decay::Linear | Decay::Cosine => (0.5, 0.0),
            };
            assert!((half - want).abs() < 1e-15 && (end - last).abs() < 1e-15);
        }
        // A third of the way down: 2/3 in a line, 3/4 along the cosine.
        assert!((factor(20, 40, 0.24, Decay::Linear) - 2.0 / 3.0).abs() < 1e-15);
        assert!((factor(20, 40, 0.24, Decay::Cosine) - 0.75).abs() < 1e-15);
    }
}
