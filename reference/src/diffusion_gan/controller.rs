//! The controller of the chain's length T.

use super::{DiffusionGanError, within};

/// How T moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Update {
    /// By a constant C, as the paper prints it.
    Constant {
        /// C ≥ 1.
        step: usize,
    },
    /// With a share p of the range, as the published code does it.
    Published {
        /// Images that the discriminator sees before p has gone from 0 to 1, in thousands.
        kimg: f64,
    },
}

/// Lengthens the chain while the discriminator is too sure of the real images, and shortens it otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controller {
    update: Update,
    target: f64,
    t_min: usize,
    t_max: usize,
}

/// Where a controller stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Share of the range from T_min to T_max, in [0, 1].
    pub p: f64,
    /// T.
    pub steps: usize,
}

impl Controller {
    /// A controller of T from `t_min` to `t_max`.
    ///
    /// # Errors
    /// A range without T, a `target` outside [−1, 1], a constant or kimg that moves nothing or everything.
    pub fn new(
        update: Update,
        target: f64,
        t_min: usize,
        t_max: usize,
    ) -> Result<Self, DiffusionGanError> {
        if t_min == 0 || t_min > t_max {
            return Err(DiffusionGanError::Range { t_min, t_max });
        }
        within("target", target, "from -1 to 1", target.abs() <= 1.0)?;
        match update {
            Update::Constant { step } => within("step", step as f64, "at least 1", step >= 1)?,
            Update::Published { kimg } => within("kimg", kimg, "above 0", kimg > 0.0)?,
        };
        Ok(Self {
            update,
            target,
            t_min,
            t_max,
        })
    }

    /// Before the first update: T = T_min.
    pub fn begin(&self) -> State {
        State {
            p: 0.0,
            steps: self.t_min,
        }
    }

    /// After an update, `images` images after the one before. `[eq:chain-controller]` `[eq:chain-controller-published]`
    ///
    /// # Formula
    /// ```text
    /// paper:      T ← clip(T + sign(r_d − target) C, T_min, T_max)
    /// published:  p ← clip(p + sign(r_d − target) images/(1000 kimg), 0, 1),   T = clip(round(T_min + p (T_max − T_min)), T_min, T_max)
    /// ```
    /// with sign(0) = 0 and halves rounded to the even number. Of the paper's, p is (T − T_min)/(T_max − T_min), 0 where both are equal.
    /// # Errors
    /// An r_d outside [−1, 1].
    /// # Source
    /// Diffusion-GAN (arXiv:2206.02262), Eq. 5, Algorithm 1; its published code.
    pub fn next(&self, now: State, r_d: f64, images: usize) -> Result<State, DiffusionGanError> {
        within("r_d", r_d, "from -1 to 1", r_d.abs() <= 1.0)?;
        let sign = sign(r_d - self.target);
        let range = (self.t_max - self.t_min) as f64;
        Ok(match self.update {
            Update::Constant { step } => {
                let moved = if sign > 0.0 {
                    now.steps.saturating_add(step)
                } else if sign < 0.0 {
                    now.steps.saturating_sub(step)
                } else {
                    now.steps
                };
                let steps = moved.clamp(self.t_min, self.t_max);
                State {
                    p: if range > 0.0 {
                        (steps - self.t_min) as f64 / range
                    } else {
                        0.0
                    },
                    steps,
                }
            }
            Update::Published { kimg } => {
                let adjust = sign * (images as f64 / (kimg * 1000.0));
                let p = (now.p + adjust).clamp(0.0, 1.0);
                State {
                    p,
                    steps: self.length(p),
                }
            }
        })
    }

    /// T of a share p of the range.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from T_min to T_max"
    )]
    fn length(&self, p: f64) -> usize {
        let (least, most) = (self.t_min as f64, self.t_max as f64);
        let length = least + (p * (most - least)).round_ties_even();
        length.clamp(least, most) as usize
    }
}

/// r_d: how sure a discriminator is that real images are real, from its logits. `[eq:confidence]`
///
/// # Formula
/// ```text
/// r_d = (1/N) Σ sign(l_i)
/// ```
/// The paper's mean of sign(D − ½), D = 1/(1 + e^{−l}), sign(0) = 0. Of least squares with the real label 1 and the generated one 0 the logits
/// are D − ½; of the hinge they are D itself.
/// # Shapes and range
/// N ≥ 1 logits → [−1, 1].
/// # Errors
/// No logit, one that is not a number.
pub fn confidence(logits: &[f64]) -> Result<f64, DiffusionGanError> {
    if logits.is_empty() {
        return Err(DiffusionGanError::NoLogits);
    }
    let mut sum = 0.0;
    for &logit in logits {
        sum += sign(if logit.is_nan() {
            return Err(DiffusionGanError::Number {
                name: "logit",
                must: "a number",
                got: logit,
            });
        } else {
            logit
        });
    }
    Ok(sum / logits.len() as f64)
}

/// 1, 0 or −1.
fn sign(x: f64) -> f64 {
    f64::from(u8::from(x > 0.0)) - f64::from(u8::from(x < 0.0))
}
