//! How fast the chain adds noise.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A schedule of β. The published program's switches; it uses `linear`, as the paper does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Betas {
    /// In a straight line from `beta_start` to `beta_end`.
    Linear,
    /// Its root in a straight line.
    Quad,
    /// `beta_end` at every t.
    Const,
    /// Improved DDPM's: ᾱ along cos².
    Cosine,
    /// The process whose rate grows from 0.1 to 5.
    ContinuousT,
    /// 1/T, 1/(T − 1), …, 1: nothing is left at the end.
    Jsd,
    /// From `beta_start` to `beta_end` along a logistic curve.
    Sigmoid,
}

impl Betas {
    /// Every schedule.
    pub const ALL: [Self; 7] = [
        Self::Linear,
        Self::Quad,
        Self::Const,
        Self::Cosine,
        Self::ContinuousT,
        Self::Jsd,
        Self::Sigmoid,
    ];

    /// β_1, …, β_T. `[eq:gan-betas]`
    ///
    /// # Errors
    /// `start` or `end` outside [0, 1], no step.
    pub fn betas(self, start: f64, end: f64, steps: usize) -> Result<Vec<f64>> {
        for (name, share) in [("beta_start", start), ("beta_end", end)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::invalid(name, "be from 0 to 1", share));
            }
        }
        if steps == 0 {
            return Err(Error::invalid(
                "length of the chain",
                "be at least 1",
                steps,
            ));
        }
        let total = steps as f64;
        let mixed = |a: f64, b: f64, s: f64| (1.0 - s) * a + s * b;
        let at = |t: usize| {
            let s = if steps > 1 {
                (t - 1) as f64 / (total - 1.0)
            } else {
                0.0
            };
            let t = t as f64;
            match self {
                Self::Linear => mixed(start, end, s),
                Self::Quad => mixed(start.sqrt(), end.sqrt(), s).powi(2),
                Self::Const => end,
                Self::Cosine => {
                    let angle = |t: f64| (t / total + 0.008) * (PI / 2.016);
                    let ratio = angle(t).cos() / angle(t - 1.0).cos();
                    (1.0 - ratio * ratio).min(0.999)
                }
                Self::ContinuousT => {
                    let area = 0.1 / total + 2.45 * (2.0 * t - 1.0) / total.powi(2);
                    -(-area).exp_m1()
                }
                Self::Jsd => (total - t + 1.0).recip(),
                Self::Sigmoid => {
                    let share = 0.5 * (1.0 + mixed(-3.0, 3.0, s).tanh());
                    mixed(start, end, share)
                }
            }
        };
        Ok((1..=steps).map(at).collect())
    }
}

/// ᾱ_0 = 1, …, ᾱ_T: the share of the image's variance that is left. `[eq:gan-alpha-bar]`
pub fn alpha_bars(betas: &[f64]) -> Vec<f64> {
    let left = betas.iter().scan(1.0, |left, beta| {
        *left *= 1.0 - beta;
        Some(*left)
    });
    std::iter::once(1.0).chain(left).collect()
}
