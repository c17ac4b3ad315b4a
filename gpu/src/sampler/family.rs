//! EDM's sampler family: straight steps in another time and at another scale, on another grid of levels.
//!
//! A step of the scaled sample x = s(t) z along `dx/dt = (σ̇/σ + ṡ/s) x − (σ̇ s/σ) x̂` is a linear combination of z and the denoised
//! samples; its factors are numbers of the host.

use super::{Walk, edm_sigmas};
use crate::error::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// A choice by name: the type, its variants and their names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$of:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let found = Self::ALL.iter().find(|one| one.name() == text);
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.name()).collect();
                found.copied().ok_or_else(|| Error::unknown_name($what, text, &names))
            }
        }
    };
}

named!(
    /// Grid of noise levels.
    Discretization, "discretization", {
        /// Uniform times of the variance-preserving process.
        Vp = "vp",
        /// Geometric levels.
        Ve = "ve",
        /// Every so many of the 1000 levels of improved DDPM.
        Iddpm = "iddpm",
        /// Uniform in σ^{1/ρ}.
        Edm = "edm",
    }
);

named!(
    /// Time in which the steps are straight.
    TimeSchedule, "time schedule", {
        /// σ(t) = √(e^{½β_d t² + β_min t} − 1).
        Vp = "vp",
        /// σ(t) = √t.
        Ve = "ve",
        /// σ(t) = t.
        Linear = "linear",
    }
);

named!(
    /// Scale of what is stepped.
    Scaling, "scaling", {
        /// s = 1/√(1 + σ²).
        Vp = "vp",
        /// s = 1.
        None = "none",
    }
);

/// Last time of the variance-preserving grid.
const EPSILON_S: f64 = 1e-3;
/// β_d and β_min that give the variance-preserving grid its ends where none are asked for.
const VP: Beta = Beta { d: 19.9, min: 0.1 };
/// Levels of improved DDPM.
const IDDPM_STEPS: usize = 1000;
/// C₁ and C₂ of improved DDPM.
const IDDPM: [f64; 2] = [0.001, 0.008];

/// A member of the family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Grid of levels.
    pub discretization: Discretization,
    /// Time in which the steps are straight.
    pub schedule: TimeSchedule,
    /// Scale of what is stepped.
    pub scaling: Scaling,
    /// Where in a step the second evaluation is: 1 is Heun's method, ½ the midpoint method.
    pub alpha: f64,
}

impl Default for Family {
    /// EDM's own: its grid, σ(t) = t, s = 1, Heun.
    fn default() -> Self {
        Self {
            discretization: Discretization::Edm,
            schedule: TimeSchedule::Linear,
            scaling: Scaling::None,
            alpha: 1.0,
        }
    }
}

/// Noise rate of the variance-preserving process, β_d t + β_min.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Beta {
    d: f64,
    min: f64,
}

impl Beta {
    /// The one with σ(ε_s) and σ(1) at these levels.
    fn between([low, high]: [f64; 2]) -> Self {
        let log = |sigma: f64| (sigma * sigma).ln_1p();
        let d = 2.0 * (log(high) - log(low) / EPSILON_S) / (1.0 - EPSILON_S);
        Self {
            d,
            min: log(high) - d / 2.0,
        }
    }

    fn sigma(self, t: f64) -> f64 {
        (t * (self.min + self.d * t / 2.0)).exp_m1().sqrt()
    }

    fn time(self, sigma: f64) -> f64 {
        let log = (sigma * sigma).ln_1p();
        if log <= 0.0 {
            // The last step ends at time 0, also where min < 0 and σ(t) has another zero.
            return 0.0;
        }
        // The root of ½ d t² + min t = log that does not cancel at small σ.
        2.0 * log / (self.min + (self.min.powi(2) + 2.0 * self.d * log).sqrt())
    }
}

/// Time and scale as functions of the level.
#[derive(Debug, Clone, Copy)]
struct Path {
    schedule: TimeSchedule,
    scaling: Scaling,
    beta: Beta,
}

impl Path {
    fn time(&self, sigma: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => self.beta.time(sigma),
            TimeSchedule::Ve => sigma.powi(2),
            TimeSchedule::Linear => sigma,
        }
    }

    fn sigma(&self, t: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => self.beta.sigma(t),
            TimeSchedule::Ve => t.sqrt(),
            TimeSchedule::Linear => t,
        }
    }

    /// d ln σ/dt.
    fn rate(&self, t: f64, sigma: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => (self.beta.d * t + self.beta.min) * (1.0 + sigma.powi(-2)) / 2.0,
            TimeSchedule::Ve => 0.5 / t,
            TimeSchedule::Linear => 1.0 / t,
        }
    }

    fn scale(&self, sigma: f64) -> f64 {
        match self.scaling {
            Scaling::Vp => sigma.hypot(1.0).recip(),
            Scaling::None => 1.0,
        }
    }

    /// Factors of s z and of x̂ in dx/dt: σ̇/σ + ṡ/s, which is s² σ̇/σ under the variance-preserving scale, and −σ̇ s/σ.
    fn slope(&self, t: f64, sigma: f64) -> [f64; 2] {
        let (rate, s) = (self.rate(t, sigma), self.scale(sigma));
        let of_sample = match self.scaling {
            Scaling::Vp => rate * s * s,
            Scaling::None => rate,
        };
        [of_sample, -rate * s]
    }
}

/// Σ of factor · tensor.
fn combined(parts: &[(f64, &Tensor)]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (factor, tensor) in parts {
        let part = (*tensor * *factor)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| Error::invalid("a combination", "have a part", "none"))
}

impl Family {
    /// Whether it is EDM's own choice of time, scale and second evaluation, in which the steps have a shorter form.
    pub(super) fn is_plain(&self) -> bool {
        let plain = Self::default();
        let grid = self.discretization;
        *self
            == Self {
                discretization: grid,
                ..plain
            }
    }

    /// The levels that it has where none are asked for.
    pub fn range(&self) -> [f64; 2] {
        match self.discretization {
            Discretization::Vp => [VP.sigma(EPSILON_S), VP.sigma(1.0)],
            Discretization::Ve => [0.02, 100.0],
            Discretization::Iddpm => [0.002, 81.0],
            Discretization::Edm => [0.002, 80.0],
        }
    }

    /// `steps` levels within `[low, high]`, from the highest down. `[eq:edm-family]`
    ///
    /// # Errors
    /// No step, levels out of order, an α that is no number > 0.
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Table 1.
    pub fn levels(&self, steps: usize, rho: f64, [low, high]: [f64; 2]) -> Result<Vec<f64>> {
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::invalid(
                "alpha of a sampler",
                "be finite and > 0",
                self.alpha,
            ));
        }
        // The checks are those of EDM's grid.
        let mut own = edm_sigmas(steps, rho, low, high)?;
        own.pop();
        let share = |i: usize| i as f64 / steps.saturating_sub(1).max(1) as f64;
        let levels = match self.discretization {
            Discretization::Edm => own,
            Discretization::Ve => (0..steps)
                .map(|i| high * (low / high).powf(share(i)))
                .collect(),
            Discretization::Vp => {
                let beta = Beta::between([low, high]);
                let time = |i| 1.0 - share(i) * (1.0 - EPSILON_S);
                (0..steps).map(|i| beta.sigma(time(i))).collect()
            }
            Discretization::Iddpm => {
                let within: Vec<f64> = (iddpm_levels().into_iter())
                    .filter(|level| *level >= low && *level <= high)
                    .collect();
                if within.is_empty() {
                    let must = format!("hold a level of improved DDPM between {low} and {high}");
                    return Err(Error::invalid("the range of noise levels", must, "none"));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of the last index"
                )]
                let at = |i| (share(i) * (within.len() - 1) as f64).round_ties_even() as usize;
                (0..steps).map(|i| within[at(i)]).collect()
            }
        };
        Ok(levels)
    }

    fn path(&self, range: [f64; 2]) -> Path {
        Path {
            schedule: self.schedule,
            scaling: self.scaling,
            beta: Beta::between(range),
        }
    }

    /// One step of z from a level down to another, with a second evaluation if `second`. `[eq:edm-family]`
    ///
    /// `range` is that of the grid.
    ///
    /// # Errors
    /// What the denoiser refuses.
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Algorithms 1 and 3.
    pub fn step(
        &self,
        range: [f64; 2],
        z: &Tensor,
        [from, to]: [f64; 2],
        second: bool,
        denoised: &dyn Fn(&Tensor, f64) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let path = self.path(range);
        let (t, end) = (path.time(from), path.time(to));
        let h = end - t;
        let (s, s_end) = (path.scale(from), path.scale(to));
        let x_hat = denoised(z, from)?;
        // x = s z, so that x + h d is s (1 + h a) z + h b x̂.
        let [a, b] = path.slope(t, from);
        if !second || to == 0.0 {
            let of_z = s * (1.0 + h * a) / s_end;
            return combined(&[(of_z, z), (h * b / s_end, &x_hat)]);
        }
        let there = t + self.alpha * h;
        let level = path.sigma(there);
        let (s_there, way) = (path.scale(level), self.alpha * h);
        let of_z = s * (1.0 + way * a) / s_there;
        let z_there = combined(&[(of_z, z), (way * b / s_there, &x_hat)])?;
        let x_hat_there = denoised(&z_there, level)?;
        let [a_there, b_there] = path.slope(there, level);
        let share = 0.5 / self.alpha;
        let (first, last) = (h * (1.0 - share), h * share);
        combined(&[
            (s * (1.0 + first * a) / s_end, z),
            (first * b / s_end, &x_hat),
            (last * a_there * s_there / s_end, &z_there),
            (last * b_there / s_end, &x_hat_there),
        ])
    }
}

impl Walk<'_> {
    /// A churned step of the family.
    pub(super) fn family_step(
        &self,
        z: &Tensor,
        index: u64,
        [from, to]: [f64; 2],
        second: bool,
    ) -> Result<Tensor> {
        let (z, from) = self.churned(z, index, from)?;
        let denoised = |z: &Tensor, sigma: f64| self.denoised(z, sigma);
        (self.options.family).step(self.range, &z, [from, to], second, &denoised)
    }
}

/// The positive levels of improved DDPM, from the highest down: one for each of its steps.
pub fn iddpm_steps() -> &'static [f64] {
    static LEVELS: LazyLock<Vec<f64>> = LazyLock::new(iddpm_levels);
    &LEVELS[..IDDPM_STEPS]
}

/// The levels of improved DDPM, from the highest to 0.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Table 1, with C₁ = 0.001 and C₂ = 0.008.
pub fn iddpm_levels() -> Vec<f64> {
    let [c1, c2] = IDDPM;
    let kept = |j: usize| {
        let angle = j as f64 / IDDPM_STEPS as f64 / (1.0 + c2) * std::f64::consts::FRAC_PI_2;
        angle.sin().powi(2)
    };
    let mut levels = vec![0.0];
    for j in (1..=IDDPM_STEPS).rev() {
        let below: f64 = levels[IDDPM_STEPS - j];
        let ratio = (kept(j - 1) / kept(j)).max(c1);
        levels.push(((below.powi(2) + 1.0) / ratio - 1.0).sqrt());
    }
    levels.reverse();
    levels
}
