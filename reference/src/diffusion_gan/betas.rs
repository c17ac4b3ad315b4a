//! How fast the chain adds noise: β_1, …, β_T, and what is left of the image after each step.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use super::{DiffusionGanError, within};
use crate::choice::{UnknownName, parse};

/// A schedule of β. The paper uses [`Betas::Linear`]; the others are switches of the published code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Betas {
    /// From `start` to `end` in a straight line.
    Linear,
    /// √β in a straight line.
    Quad,
    /// `end` everywhere.
    Const,
    /// ᾱ_t along cos² (improved DDPM), whatever `start` and `end` are.
    Cosine,
    /// The variance preserving process with β(t) from 0.1 to 5 on [0, 1], whatever `start` and `end` are.
    ContinuousT,
    /// 1/(T − t + 1), whatever `start` and `end` are: all that is left of the image goes in equal parts.
    Jsd,
    /// From `start` to `end` along a logistic curve from −6 to 6.
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

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Quad => "quad",
            Self::Const => "const",
            Self::Cosine => "cosine",
            Self::ContinuousT => "continuous-t",
            Self::Jsd => "jsd",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// β_1, …, β_T. `[eq:gan-betas]` `[eq:gan-betas-all]` `[eq:gan-betas-fixed]`
    ///
    /// # Formula
    /// ```text
    /// s = (t − 1)/(T − 1)
    /// linear        β_t = β_start + s (β_end − β_start)
    /// quad          β_t = (√β_start + s (√β_end − √β_start))²
    /// const         β_t = β_end
    /// cosine        β_t = min(1 − c(t/T)/c((t−1)/T), 0.999),   c(u) = cos²((u + 0.008)/1.008 · π/2)
    /// continuous-t  β_t = 1 − exp(−0.1/T − ½ (5 − 0.1) (2t − 1)/T²)
    /// jsd           β_t = 1/(T − t + 1)
    /// sigmoid       β_t = β_start + (β_end − β_start)/(1 + e^{6 − 12 s})
    /// ```
    /// s = 0 where T = 1.
    /// # Range
    /// `start`, `end` in [0, 1], T ≥ 1 → each β in [0, 1]; of `jsd` the last is 1.
    /// # Errors
    /// An end outside [0, 1], no step.
    /// # Source
    /// Diffusion-GAN (arXiv:2206.02262), §4 and the switches of its published code; Nichol and Dhariwal 2021, Eq. 17, for the cosine.
    pub fn betas(self, start: f64, end: f64, steps: usize) -> Result<Vec<f64>, DiffusionGanError> {
        check(start, end, steps)?;
        let total = steps as f64;
        let line = |a: f64, b: f64| straight(a, b, steps);
        let count = || (1..=steps).map(|t| t as f64);
        Ok(match self {
            Self::Linear => line(start, end),
            Self::Quad => {
                let roots = line(start.sqrt(), end.sqrt());
                roots.into_iter().map(|root| root * root).collect()
            }
            Self::Const => vec![end; steps],
            Self::Cosine => {
                let left = |u: f64| ((u + 0.008) / 1.008 * PI / 2.0).cos().powi(2);
                let beta = |t: f64| 1.0 - left(t / total) / left((t - 1.0) / total);
                count().map(|t| beta(t).min(0.999)).collect()
            }
            Self::ContinuousT => {
                let area =
                    |t: f64| 0.1 / total + 0.5 * (5.0 - 0.1) * (2.0 * t - 1.0) / (total * total);
                count().map(|t| 1.0 - (-area(t)).exp()).collect()
            }
            Self::Jsd => count().map(|t| 1.0 / (total - t + 1.0)).collect(),
            Self::Sigmoid => {
                let logistic = |x: f64| 1.0 / ((-x).exp() + 1.0);
                let curve = line(-6.0, 6.0).into_iter().map(logistic);
                curve.map(|share| share * (end - start) + start).collect()
            }
        })
    }
}

/// Requires ends that are shares, and a step.
fn check(start: f64, end: f64, steps: usize) -> Result<(), DiffusionGanError> {
    for (name, value) in [("beta_start", start), ("beta_end", end)] {
        within(name, value, "from 0 to 1", (0.0..=1.0).contains(&value))?;
    }
    if steps == 0 {
        return Err(DiffusionGanError::Steps {
            what: "for a chain",
            must: 1,
            got: steps,
        });
    }
    Ok(())
}

/// `count` numbers from `a` to `b` in equal steps; `a` where there is one.
fn straight(a: f64, b: f64, count: usize) -> Vec<f64> {
    let step = (b - a) / (count.max(2) - 1) as f64;
    let at = |i: usize| match i {
        0 => a,
        i if i == count - 1 => b,
        i => i as f64 * step + a,
    };
    (0..count).map(at).collect()
}

/// ᾱ_0 = 1, ᾱ_1, …, ᾱ_T: what is left of the image's variance after each step. `[eq:gan-alpha-bar]`
///
/// # Formula
/// ```text
/// ᾱ_t = Π_{i ≤ t} (1 − β_i)
/// ```
/// # Shapes and range
/// T numbers in [0, 1] → T + 1 in [0, 1], none larger than the one before.
/// # Errors
/// A β outside [0, 1].
/// # Source
/// Diffusion-GAN (arXiv:2206.02262), Eq. 1.
pub fn alpha_bars(betas: &[f64]) -> Result<Vec<f64>, DiffusionGanError> {
    let mut left = 1.0;
    let mut bars = vec![left];
    for &beta in betas {
        left *= 1.0 - within("beta", beta, "from 0 to 1", (0.0..=1.0).contains(&beta))?;
        bars.push(left);
    }
    Ok(bars)
}

impl fmt::Display for Betas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Betas {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("schedule of β", &Self::ALL, name)
    }
}
