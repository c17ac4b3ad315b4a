//! EDM's sampler family: a first- or second-order solver along any noise level σ(t), scale s(t) and grid of levels.

use std::fmt;
use std::str::FromStr;

use ndarray::{ArrayD, Zip};

use super::{Churn, SamplerError, check_shape, churn_step, edm_sigmas};
use crate::choice::{UnknownName, parse};

/// A choice by name: the type, its variants and their names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$of:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(name: &str) -> Result<Self, UnknownName> {
                parse($what, Self::ALL, name)
            }
        }
    };
}

named!(
    /// Grid of noise levels from σ_max down to σ_min.
    Discretization, "discretization", {
        /// Uniform times of the variance-preserving process, from 1 to ε_s.
        Vp = "vp",
        /// Geometric levels.
        Ve = "ve",
        /// Every so many of the 1000 levels of improved DDPM (cosine, with C₁ and C₂).
        Iddpm = "iddpm",
        /// Uniform in σ^{1/ρ}.
        Edm = "edm",
    }
);

named!(
    /// Noise level as a function of time.
    TimeSchedule, "time schedule", {
        /// `σ(t) = √(e^{½β_d t² + β_min t} − 1)`.
        Vp = "vp",
        /// `σ(t) = √t`.
        Ve = "ve",
        /// `σ(t) = t`.
        Linear = "linear",
    }
);

named!(
    /// Scale of the sample as a function of time.
    Scaling, "scaling", {
        /// `s(t) = 1/√(1 + σ(t)²)`: variance preserving.
        Vp = "vp",
        /// `s(t) = 1`.
        None = "none",
    }
);

/// β_d and β_min of the variance-preserving process of Song et al. 2021.
const VP: [f64; 2] = [19.9, 0.1];
/// Levels of improved DDPM.
const IDDPM_STEPS: usize = 1000;
/// C₁ and C₂ of improved DDPM.
pub const IDDPM_C: [f64; 2] = [0.001, 0.008];

/// Noise levels `u_0 > … > u_M = 0` of improved DDPM. `[eq:iddpm-levels]`
/// ```text
/// u_M = 0,   u_{j−1} = √((u_j² + 1)/max(ᾱ_{j−1}/ᾱ_j, C₁) − 1),   ᾱ_j = sin²(½π j/(M (C₂ + 1)))
/// ```
/// with M = 1000. ᾱ_0 = 0, so the first ratio is C₁.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Table 1 and App. C.3; C₁ = 0.001 and C₂ = 0.008 there.
pub fn iddpm_levels(c1: f64, c2: f64) -> Vec<f64> {
    let m = IDDPM_STEPS as f64;
    let alpha_bar = |j: usize| {
        (std::f64::consts::FRAC_PI_2 * j as f64 / (m * (c2 + 1.0)))
            .sin()
            .powi(2)
    };
    let mut levels = vec![0.0; IDDPM_STEPS + 1];
    for j in (1..=IDDPM_STEPS).rev() {
        let ratio = (alpha_bar(j - 1) / alpha_bar(j)).max(c1);
        let above: f64 = levels[j];
        levels[j - 1] = ((above * above + 1.0) / ratio - 1.0).sqrt();
    }
    levels
}

/// A member of the family, and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Whether each step but the last has a second evaluation.
    pub second_order: bool,
    /// Grid of levels.
    pub discretization: Discretization,
    /// Time in which the steps are straight lines.
    pub schedule: TimeSchedule,
    /// Scale of what is stepped.
    pub scaling: Scaling,
    /// Steps N.
    pub steps: usize,
    /// Lowest level; that of the discretization if there is none.
    pub sigma_min: Option<f64>,
    /// Highest level; that of the discretization if there is none.
    pub sigma_max: Option<f64>,
    /// Exponent of EDM's grid.
    pub rho: f64,
    /// Last time ε_s of the variance-preserving grid.
    pub epsilon_s: f64,
    /// C₁ of improved DDPM.
    pub c1: f64,
    /// C₂ of improved DDPM.
    pub c2: f64,
    /// Where in a step the second evaluation is: 1 is Heun's method, ½ the midpoint method.
    pub alpha: f64,
    /// Noise added before a step.
    pub churn: Churn,
}

impl Default for Family {
    /// Heun's method on EDM's grid with σ(t) = t and s(t) = 1.
    fn default() -> Self {
        Self {
            second_order: true,
            discretization: Discretization::Edm,
            schedule: TimeSchedule::Linear,
            scaling: Scaling::None,
            steps: 18,
            sigma_min: None,
            sigma_max: None,
            rho: 7.0,
            epsilon_s: 1e-3,
            c1: IDDPM_C[0],
            c2: IDDPM_C[1],
            alpha: 1.0,
            churn: Churn::default(),
        }
    }
}

/// Noise level and scale as functions of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    schedule: TimeSchedule,
    scaling: Scaling,
    beta_d: f64,
    beta_min: f64,
}

impl Path {
    /// The path on which the variance-preserving process has σ(ε_s) = `sigma_min` and σ(1) = `sigma_max`.
    /// ```text
    /// β_d = 2 (ln(1 + σ_min²)/ε_s − ln(1 + σ_max²))/(ε_s − 1),   β_min = ln(1 + σ_max²) − ½ β_d
    /// ```
    pub fn new(
        schedule: TimeSchedule,
        scaling: Scaling,
        [sigma_min, sigma_max]: [f64; 2],
        epsilon_s: f64,
    ) -> Self {
        let log = |sigma: f64| (sigma * sigma).ln_1p();
        let beta_d = 2.0 * (log(sigma_min) / epsilon_s - log(sigma_max)) / (epsilon_s - 1.0);
        Self {
            schedule,
            scaling,
            beta_d,
            beta_min: log(sigma_max) - 0.5 * beta_d,
        }
    }

    /// σ(t).
    pub fn sigma(&self, t: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => vp_sigma(self.beta_d, self.beta_min, t),
            TimeSchedule::Ve => t.sqrt(),
            TimeSchedule::Linear => t,
        }
    }

    /// dσ/dt at t > 0.
    pub fn sigma_grad(&self, t: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => {
                let sigma = self.sigma(t);
                0.5 * (self.beta_d * t + self.beta_min) * (sigma + 1.0 / sigma)
            }
            TimeSchedule::Ve => 0.5 / t.sqrt(),
            TimeSchedule::Linear => 1.0,
        }
    }

    /// t(σ), the inverse of [`Self::sigma`].
    pub fn time(&self, sigma: f64) -> f64 {
        match self.schedule {
            TimeSchedule::Vp => {
                // (√(β_min² + 2 β_d L) − β_min)/β_d, without cancellation at small L = ln(1 + σ²).
                let log = (sigma * sigma).ln_1p();
                // No noise is at t = 0, where β_min < 0 as well, whose parabola has a second zero.
                if log <= 0.0 {
                    return 0.0;
                }
                let root = (self.beta_min * self.beta_min + 2.0 * self.beta_d * log).sqrt();
                2.0 * log / (root + self.beta_min)
            }
            TimeSchedule::Ve => sigma * sigma,
            TimeSchedule::Linear => sigma,
        }
    }

    /// s(t).
    pub fn scale(&self, t: f64) -> f64 {
        match self.scaling {
            Scaling::Vp => 1.0 / self.sigma(t).hypot(1.0),
            Scaling::None => 1.0,
        }
    }

    /// ds/dt at t > 0.
    pub fn scale_grad(&self, t: f64) -> f64 {
        match self.scaling {
            Scaling::Vp => -self.sigma(t) * self.sigma_grad(t) * self.scale(t).powi(3),
            Scaling::None => 0.0,
        }
    }

    /// The slope of a sample under the probability flow. `[eq:scaled-flow]`
    /// ```text
    /// dx/dt = (σ̇/σ + ṡ/s) x − (σ̇ s/σ) D(x/s; σ)
    /// ```
    ///
    /// # Errors
    /// [`SamplerError::Shape`].
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Eq. 81 and Algorithm 1, line 4.
    pub fn slope(
        &self,
        x: &ArrayD<f64>,
        denoised: &ArrayD<f64>,
        t: f64,
    ) -> Result<ArrayD<f64>, SamplerError> {
        check_shape("the denoised sample", x, denoised)?;
        let (sigma, grad, s) = (self.sigma(t), self.sigma_grad(t), self.scale(t));
        let (of_x, of_d) = (grad / sigma + self.scale_grad(t) / s, grad * s / sigma);
        Ok(Zip::from(x)
            .and(denoised)
            .map_collect(|&x, &d| of_x * x - of_d * d))
    }
}

fn vp_sigma(beta_d: f64, beta_min: f64, t: f64) -> f64 {
    (t * (0.5 * beta_d * t + beta_min)).exp_m1().sqrt()
}

/// A denoiser D(z; σ) of unscaled samples.
pub type DenoiseFn<'a> = dyn FnMut(&ArrayD<f64>, f64) -> ArrayD<f64> + 'a;

impl Family {
    /// Lowest and highest level, within what the denoiser knows.
    ///
    /// # Errors
    /// [`SamplerError::Range`] if nothing is left.
    pub fn range(&self, known: [f64; 2]) -> Result<[f64; 2], SamplerError> {
        let vp = |t| vp_sigma(VP[0], VP[1], t);
        let (low, high) = match self.discretization {
            Discretization::Vp => (vp(self.epsilon_s), vp(1.0)),
            Discretization::Ve => (0.02, 100.0),
            Discretization::Iddpm => (0.002, 81.0),
            Discretization::Edm => (0.002, 80.0),
        };
        let sigma_min = self.sigma_min.unwrap_or(low).max(known[0]);
        let sigma_max = self.sigma_max.unwrap_or(high).min(known[1]);
        if sigma_min > 0.0 && sigma_min <= sigma_max && sigma_max.is_finite() {
            return Ok([sigma_min, sigma_max]);
        }
        Err(SamplerError::Range {
            sigma_min,
            sigma_max,
        })
    }

    /// Refuses numbers that describe no trajectory.
    fn check(&self) -> Result<(), SamplerError> {
        if self.steps == 0 {
            return Err(SamplerError::NoSteps);
        }
        let numbers = [
            ("alpha", "be finite and > 0", self.alpha, f64::MAX),
            ("epsilon_s", "be in (0, 1)", self.epsilon_s, 1.0),
            ("C_1", "be in (0, 1)", self.c1, 1.0),
            ("C_2", "be finite and > 0", self.c2, f64::MAX),
        ];
        let bad = |(_, _, got, below): &(_, _, f64, f64)| !(*got > 0.0 && got < below);
        match numbers.into_iter().find(bad) {
            None => Ok(()),
            Some((what, must, got, _)) => Err(SamplerError::Number { what, must, got }),
        }
    }

    /// The grid σ_0 > … > σ_{N−1}, without the final 0.
    /// ```text
    /// vp:     σ_i = σ_vp(1 + i/(N−1) (ε_s − 1))
    /// ve:     σ_i = σ_max (σ_min/σ_max)^{i/(N−1)}
    /// iddpm:  σ_i = u_k of those in [σ_min, σ_max], k = round(i (n − 1)/(N − 1)), a half to the even side
    /// edm:    `[eq:edm-sigmas]`
    /// ```
    ///
    /// # Errors
    /// [`SamplerError::NoSteps`], [`SamplerError::Number`]; [`SamplerError::Range`], also where no level of improved DDPM lies in it.
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Table 1.
    pub fn levels(&self, known: [f64; 2]) -> Result<Vec<f64>, SamplerError> {
        let [sigma_min, sigma_max] = self.range(known)?;
        self.check()?;
        // A single step starts at σ_max.
        let share = |i: usize| i as f64 / (self.steps - 1).max(1) as f64;
        match self.discretization {
            Discretization::Vp => {
                let path = self.path([sigma_min, sigma_max]);
                let time = |i| 1.0 + share(i) * (self.epsilon_s - 1.0);
                let vp = |i| vp_sigma(path.beta_d, path.beta_min, time(i));
                Ok((0..self.steps).map(vp).collect())
            }
            Discretization::Ve => {
                let ratio = (sigma_min / sigma_max).ln();
                let level = |i| sigma_max * (share(i) * ratio).exp();
                Ok((0..self.steps).map(level).collect())
            }
            Discretization::Iddpm => {
                let all = iddpm_levels(self.c1, self.c2).into_iter();
                let within: Vec<f64> = all
                    .filter(|u| (sigma_min..=sigma_max).contains(u))
                    .collect();
                let last = within.len().checked_sub(1).ok_or(SamplerError::Range {
                    sigma_min,
                    sigma_max,
                })?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "from 0 to the last index"
                )]
                let index = |i| (share(i) * last as f64).round_ties_even() as usize;
                Ok((0..self.steps).map(|i| within[index(i)]).collect())
            }
            Discretization::Edm => {
                let mut levels = edm_sigmas(self.steps, self.rho, sigma_min, sigma_max)?;
                levels.pop();
                Ok(levels)
            }
        }
    }

    /// The path that goes with these levels.
    pub fn path(&self, range: [f64; 2]) -> Path {
        Path::new(self.schedule, self.scaling, range, self.epsilon_s)
    }

    /// One step from σ(t_cur) = `from` to `to`, on scaled samples. `[eq:edm-family]`
    /// ```text
    /// d = f(x, t),   x' = x + h d                               first order, and down to σ = 0
    /// d' = f(x + α h d, t + α h),   x' = x + h ((1 − 1/(2α)) d + 1/(2α) d')
    /// ```
    /// with f of `[eq:scaled-flow]` and h = t(to) − t(from).
    ///
    /// # Errors
    /// [`SamplerError::Step`], [`SamplerError::Shape`].
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Algorithms 1 and 3.
    pub fn step(
        &self,
        path: &Path,
        x: &ArrayD<f64>,
        [from, to]: [f64; 2],
        denoise: &mut DenoiseFn<'_>,
    ) -> Result<ArrayD<f64>, SamplerError> {
        super::check_step(from, to)?;
        let (t, next) = (path.time(from), path.time(to));
        let h = next - t;
        let mut flow = |x: &ArrayD<f64>, t: f64| {
            let denoised = denoise(&(x / path.scale(t)), path.sigma(t));
            path.slope(x, &denoised, t)
        };
        let d = flow(x, t)?;
        if !self.second_order || to == 0.0 {
            return Ok(x + &(&d * h));
        }
        let share = 0.5 / self.alpha;
        let there = flow(&(x + &(&d * (self.alpha * h))), t + self.alpha * h)?;
        Ok(x + &((d * (1.0 - share) + there * share) * h))
    }

    /// A whole trajectory from unit noise to data.
    ///
    /// `attained(σ)` is the level nearest to σ that the denoiser knows, σ itself where it knows all from `known[0]` to `known[1]`;
    /// `noise(i)` is the unit noise that churn adds before step i.
    ///
    /// # Errors
    /// As [`Self::levels`], [`Self::step`], and [`churn_step`].
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Algorithms 1 to 3.
    pub fn sample(
        &self,
        unit_noise: &ArrayD<f64>,
        (known, attained): ([f64; 2], &dyn Fn(f64) -> f64),
        noise: &mut dyn FnMut(usize) -> ArrayD<f64>,
        denoise: &mut DenoiseFn<'_>,
    ) -> Result<ArrayD<f64>, SamplerError> {
        let path = self.path(self.range(known)?);
        let mut levels = self.levels(known)?;
        for level in &mut levels {
            *level = attained(*level);
        }
        levels.push(0.0);
        let scale = |sigma: f64| path.scale(path.time(sigma));
        let mut x = unit_noise * (levels[0] * scale(levels[0]));
        for (i, pair) in levels.windows(2).enumerate() {
            let gamma = self.churn.gamma(pair[0], self.steps);
            let raised = attained(pair[0] * (1.0 + gamma));
            if raised > pair[0] {
                let z = &x / scale(pair[0]);
                let gamma = raised / pair[0] - 1.0;
                let (z, _) = churn_step(&z, &noise(i), pair[0], gamma, self.churn.s_noise)?;
                x = z * scale(raised);
            }
            x = self.step(&path, &x, [raised.max(pair[0]), pair[1]], denoise)?;
        }
        Ok(x)
    }
}
