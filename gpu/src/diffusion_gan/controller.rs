//! The chain's length follows the discriminator.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How T moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// With a share p of its range, by so much that p goes from 0 to 1 in `kimg` thousand images: the published program's.
    Published,
    /// By `step` each time: the constant C of the paper's Eq. 5.
    Constant,
}

/// What the controller is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerOptions {
    /// How T moves.
    pub update: Update,
    /// Thousands of images until p has gone from 0 to 1.
    pub kimg: f64,
    /// C.
    pub step: usize,
    /// d_target: how sure of real images the discriminator should be, in [−1, 1].
    pub target: f64,
    /// The least T, and the first.
    pub t_min: usize,
    /// The largest T.
    pub t_max: usize,
    /// Batches of real images between two updates.
    pub interval: usize,
}

/// The published program's for StyleGAN2; the paper's Table 5 has `t_min` = 5. The paper does not give C.
impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            update: Update::Published,
            kimg: 100.0,
            step: 4,
            target: 0.6,
            t_min: 10,
            t_max: 1000,
            interval: 4,
        }
    }
}

impl ControllerOptions {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |name: &str, must: &str, got: &dyn std::fmt::Display| {
            Err(Error::invalid(name, must, got))
        };
        if self.t_min == 0 || self.t_min > self.t_max {
            let must = format!("be from 1 to t_max, {}", self.t_max);
            return refuse("t_min", &must, &self.t_min);
        }
        if self.interval == 0 {
            return refuse("interval", "be at least 1", &self.interval);
        }
        if self.target.is_nan() || self.target.abs() > 1.0 {
            return refuse("target", "be from -1 to 1", &self.target);
        }
        match self.update {
            Update::Published if !(self.kimg.is_finite() && self.kimg > 0.0) => {
                refuse("kimg", "be finite and > 0", &self.kimg)
            }
            Update::Constant if self.step == 0 => refuse("step", "be at least 1", &self.step),
            _ => Ok(()),
        }
    }

    /// p and T after an update. `[eq:chain-controller]` `[eq:chain-controller-published]`
    ///
    /// `images`: how many the discriminator judged since the last one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from t_min to t_max"
    )]
    pub fn next(&self, (p, steps): (f64, usize), r_d: f64, images: usize) -> (f64, usize) {
        let (least, most) = (self.t_min as f64, self.t_max as f64);
        let sign = match r_d.partial_cmp(&self.target) {
            Some(Ordering::Greater) => 1.0,
            Some(Ordering::Less) => -1.0,
            _ => 0.0,
        };
        match self.update {
            Update::Published => {
                let p = (p + sign * (images as f64 / (1000.0 * self.kimg))).clamp(0.0, 1.0);
                let steps = least + ((most - least) * p).round_ties_even();
                (p, steps as usize)
            }
            Update::Constant => {
                let moved = (steps as f64 + sign * self.step as f64).clamp(least, most);
                let range = (most - least).max(1.0);
                ((moved - least) / range, moved as usize)
            }
        }
    }
}
