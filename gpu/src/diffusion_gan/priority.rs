//! The law of t.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which levels of the chain are drawn more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// None: p(t) = 1/T.
    Uniform,
    /// Late ones: p(t) ∝ t, Eq. 6 of the paper.
    Priority,
    /// Late ones: p(t) ∝ t − 1, as the published program draws them.
    PriorityCode,
}

impl Priority {
    /// Every law.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Priority, Self::PriorityCode];

    /// The t of a u uniform on [0, 1), by the inverse of the law. `[eq:gan-times]`
    ///
    /// # Formula
    /// ```text
    /// uniform: 1 + ⌊uT⌋        priority: the t with t(t − 1)/2 ≤ ⌊u T(T + 1)/2⌋ < t(t + 1)/2
    /// ```
    /// and of `priority-code` one more than `priority` gives for T − 1.
    ///
    /// # Errors
    /// A chain without a t of positive weight.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers below the squares of T"
    )]
    pub fn time(self, steps: usize, u: f64) -> Result<usize> {
        let place = |count: usize| ((u * count as f64) as usize).min(count - 1);
        match (self, steps) {
            (_, 0) => Err(Error::invalid("length of the chain", "be at least 1", 0)),
            (Self::PriorityCode, 1) => Err(Error::invalid(
                "length of the chain",
                "be at least 2 for law = \"priority-code\", which never draws t = 1",
                1,
            )),
            (Self::Uniform, _) => Ok(1 + place(steps)),
            (Self::PriorityCode, _) => Ok(1 + Self::Priority.time(steps - 1, u)?),
            (Self::Priority, _) => {
                let place = place(steps * (steps + 1) / 2);
                let below = |t: usize| t * (t - 1) / 2;
                let mut t = f64::midpoint((8.0 * place as f64 + 1.0).sqrt(), 1.0) as usize;
                // The root may be off by its rounding.
                while below(t) > place {
                    t -= 1;
                }
                while below(t + 1) <= place {
                    t += 1;
                }
                Ok(t)
            }
        }
    }
}
