//! The law of the level t that an image is noised to.

use std::fmt;
use std::str::FromStr;

use super::DiffusionGanError;
use crate::choice::{UnknownName, parse};

/// Which t of a chain are drawn more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// None.
    Uniform,
    /// The late ones, p(t) ∝ t, as the paper prints it.
    Priority,
    /// The late ones, p(t) ∝ t − 1, as the published code draws them: t = 1 never occurs.
    PriorityCode,
}

impl Priority {
    /// Every law.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Priority, Self::PriorityCode];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Priority => "priority",
            Self::PriorityCode => "priority-code",
        }
    }

    /// The weight of t, a whole number; those of 1, …, T add up to [`Priority::total`].
    fn weight(self, t: usize) -> usize {
        match self {
            Self::Uniform => 1,
            Self::Priority => t,
            Self::PriorityCode => t - 1,
        }
    }

    /// Σ_{t ≤ T} of the weights.
    ///
    /// # Errors
    /// A chain all of whose weights are 0.
    fn total(self, steps: usize) -> Result<usize, DiffusionGanError> {
        let must = if self == Self::PriorityCode { 2 } else { 1 };
        if steps < must {
            return Err(DiffusionGanError::Steps {
                what: "for this law of t",
                must,
                got: steps,
            });
        }
        Ok(match self {
            Self::Uniform => steps,
            Self::Priority => steps * (steps + 1) / 2,
            Self::PriorityCode => steps * (steps - 1) / 2,
        })
    }
}

/// p(1), …, p(T). `[eq:gan-times]`
///
/// # Formula
/// ```text
/// uniform: 1/T        priority: 2t/(T(T + 1))        priority-code: 2(t − 1)/(T(T − 1))
/// ```
/// # Errors
/// T < 1; T < 2 for `priority-code`, whose only weight would be 0.
/// # Source
/// Diffusion-GAN (arXiv:2206.02262), Eq. 6; its published code.
pub fn probabilities(law: Priority, steps: usize) -> Result<Vec<f64>, DiffusionGanError> {
    let total = law.total(steps)? as f64;
    Ok((1..=steps).map(|t| law.weight(t) as f64 / total).collect())
}

/// The t of a number u uniform on [0, 1): the least t with p(1) + … + p(t) > u.
///
/// # Formula
/// ```text
/// t = min { t : w(1) + … + w(t) > ⌊u W⌋ },   W = w(1) + … + w(T)
/// ```
/// in whole numbers, w the weights of `[eq:gan-times]`.
/// # Errors
/// As [`probabilities`]; a u outside [0, 1).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 ≤ u W < W"
)]
pub fn time(law: Priority, steps: usize, u: f64) -> Result<usize, DiffusionGanError> {
    let total = law.total(steps)?;
    super::within("u", u, "in [0, 1)", (0.0..1.0).contains(&u))?;
    let place = ((u * total as f64).floor() as usize).min(total - 1);
    let mut below = 0;
    let reached = |t: &usize| {
        below += law.weight(*t);
        below > place
    };
    Ok((1..=steps).find(reached).unwrap_or(steps))
}

/// The buffer that the t of every image are drawn from until T changes: as many drawn t as there are numbers u, then zeros up to `size`.
///
/// # Formula
/// ```text
/// (t(u_1), …, t(u_n), 0, …, 0)
/// ```
/// An image whose t is 0 stays clean. The published code's size is 64, of which 32 are drawn (its ProjectedGAN variant draws min(round(64 p), 48)).
/// # Errors
/// As [`time`]; more numbers than entries.
/// # Source
/// Diffusion-GAN's published code, `t_epl`; not in the paper.
pub fn pool(
    law: Priority,
    steps: usize,
    draws: &[f64],
    size: usize,
) -> Result<Vec<usize>, DiffusionGanError> {
    if draws.len() > size {
        return Err(DiffusionGanError::Steps {
            what: "for the buffer: its entries",
            must: draws.len(),
            got: size,
        });
    }
    let drawn = draws.iter().map(|&u| time(law, steps, u));
    let mut pool = drawn.collect::<Result<Vec<_>, _>>()?;
    pool.resize(size, 0);
    Ok(pool)
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("law of t", &Self::ALL, name)
    }
}
