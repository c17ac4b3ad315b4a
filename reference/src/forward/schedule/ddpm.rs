//! `ddpm`.

use ndarray::Array1;

use super::{Kind, Schedule, ScheduleError, ScheduleKind, check_rates};
use crate::bound::schedule::LevelsBound;
use crate::bound::{FUNCTION_ULPS, Precision, Tracked};
use crate::choice::Entry;

const KIND: Kind = Kind {
    schedule: || Box::new(Ddpm::default()),
    levels,
};

impl ScheduleKind {
    /// `ddpm`: [`Ddpm`], β from 1e-4 to 0.02 in 1000 steps.
    pub const DDPM: Self = Self::new(&Entry::new("ddpm", KIND));
}

/// The discrete schedule of DDPM: `ᾱ_k = Π_{i≤k} (1 − β_i)`, β linear in i = 0 … T−1. `[eq:ddpm]`
/// ```text
/// k = round(t (T − 1))    α_t = √ᾱ_k    σ_t² = 1 − ᾱ_k    λ_t = −ln expm1(−ln ᾱ_k)
/// ```
/// so t ∈ [0, 1] runs through the T steps, t = k/(T−1) being step k; there is no step without noise
/// (ᾱ_0 = 0.9999). λ' is the central difference of λ over the neighbouring steps, one-sided at the ends;
/// [`t_of_lambda`](Schedule::t_of_lambda) returns the nearest step.
///
/// # Source
/// Ho et al. 2020 (arXiv:2006.11239), §4: β from 1e-4 to 0.02, T = 1000.
#[derive(Debug, Clone, PartialEq)]
pub struct Ddpm {
    /// `ln(1 − β_k)`.
    log_keep: Vec<f64>,
    /// `ln ᾱ_k`.
    log_alpha_bar: Vec<f64>,
}

impl Ddpm {
    /// `steps ≥ 2` rates from `beta_min` to `beta_max`, with 0 < `beta_min` ≤ `beta_max` < 1.
    ///
    /// # Errors
    /// [`ScheduleError::Rates`] or [`ScheduleError::Steps`].
    pub fn new(beta_min: f64, beta_max: f64, steps: usize) -> Result<Self, ScheduleError> {
        check_rates(beta_min, beta_max, 1.0)?;
        if steps < 2 {
            return Err(ScheduleError::Steps { got: steps });
        }
        Ok(Self::from_rates(beta_min, beta_max, steps))
    }

    fn from_rates(beta_min: f64, beta_max: f64, steps: usize) -> Self {
        let last = (steps - 1) as f64;
        let log_keep: Vec<f64> = (0..steps)
            .map(|k| (-(beta_min + (beta_max - beta_min) * (k as f64 / last))).ln_1p())
            .collect();
        let log_alpha_bar = log_keep
            .iter()
            .scan(0.0, |sum, &x| {
                *sum += x;
                Some(*sum)
            })
            .collect();
        Self {
            log_keep,
            log_alpha_bar,
        }
    }

    /// Step `k = round(t (T − 1))`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "t in [0, 1] gives an index; beyond it the nearest end"
    )]
    pub fn step(&self, t: f64) -> usize {
        let last = self.log_keep.len() - 1;
        ((t * last as f64).round() as usize).min(last)
    }

    /// Number of steps T.
    pub fn steps(&self) -> usize {
        self.log_keep.len()
    }

    /// `ln ᾱ_k` of step k < T.
    ///
    /// # Panics
    /// If k ≥ T, like indexing.
    pub fn log_alpha_bar(&self, k: usize) -> f64 {
        self.log_alpha_bar[k]
    }

    fn lambda_of_step(&self, k: usize) -> f64 {
        -(-self.log_alpha_bar[k]).exp_m1().ln()
    }
}

impl Default for Ddpm {
    fn default() -> Self {
        Self::from_rates(1e-4, 0.02, 1000)
    }
}

impl Schedule for Ddpm {
    fn alpha(&self, t: f64) -> f64 {
        (0.5 * self.log_alpha_bar[self.step(t)]).exp()
    }
    fn sigma(&self, t: f64) -> f64 {
        (-self.log_alpha_bar[self.step(t)].exp_m1()).sqrt()
    }
    fn lambda(&self, t: f64) -> f64 {
        self.lambda_of_step(self.step(t))
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        let last = self.log_keep.len() - 1;
        let k = self.step(t);
        let (before, after) = (k.saturating_sub(1), (k + 1).min(last));
        let change = self.lambda_of_step(after) - self.lambda_of_step(before);
        change / (after - before) as f64 * last as f64
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        let between = self.step(s) + 1..=self.step(t);
        let log_keep: f64 = between.map(|k| self.log_keep[k]).sum();
        0.0 - log_keep.exp_m1()
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        let last = self.log_keep.len() - 1;
        let distance = |&k: &usize| (self.lambda_of_step(k) - lambda).abs();
        let nearest = (0..=last).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(last) as f64 / last as f64
    }
}

/// Bound for the levels: `ln ᾱ_k` may be a sum of logarithms or the logarithm of a product of k + 1 rounded factors, whose relative error is
/// that of 2(k + 1) roundings.
fn levels(_: &Tracked, t: &[f64], p: Precision) -> LevelsBound {
    let schedule = Ddpm::default();
    let steps = schedule.steps();
    let all: Array1<f64> = (0..steps).map(|k| schedule.log_alpha_bar(k)).collect();
    let error: Array1<f64> = all
        .iter()
        .enumerate()
        .map(|(k, log)| {
            let factors = (k + 1) as f64;
            let summed = (factors + FUNCTION_ULPS + 4.0) * log.abs();
            (p.unit + Precision::F64.unit) * summed.max(2.0 * factors)
        })
        .collect();
    let log = Tracked {
        value: all.into_dyn(),
        error: error.into_dyn(),
    };
    let lambda = log.neg().expm1(p).ln(p).neg();
    let last = steps - 1;
    let at = |x: &Tracked, pick: &dyn Fn(usize) -> usize| {
        let parts: Vec<Tracked> = t
            .iter()
            .map(|&t| x.narrow(0, pick(schedule.step(t)), 1))
            .collect();
        match parts.as_slice() {
            [] => x.narrow(0, 0, 0),
            parts => Tracked::concat(&parts.iter().collect::<Vec<_>>(), 0),
        }
    };
    let after = at(&lambda, &|k| (k + 1).min(last));
    let before = at(&lambda, &|k| k.saturating_sub(1));
    let spread: Array1<f64> = t
        .iter()
        .map(|&t| {
            let k = schedule.step(t);
            last as f64 / ((k + 1).min(last) - k.saturating_sub(1)) as f64
        })
        .collect();
    let here = at(&log, &|k| k);
    LevelsBound {
        alpha: here.scale(0.5, p).exp(p),
        sigma: here.expm1(p).neg().sqrt(p),
        lambda: at(&lambda, &|k| k),
        lambda_grad: after
            .sub(&before, p)
            .mul(&Tracked::rounded(spread.into_dyn(), p), p),
        snr_slope: None,
    }
}
