//! `ddpm`: The 1000 discrete steps of DDPM.

use super::{Kind, Schedule};
use crate::choice::Entry;
use std::sync::LazyLock;

/// Number of steps.
const STEPS: usize = 1000;
/// β of the first step.
const BETA_FIRST: f64 = 1e-4;
/// β of the last step.
const BETA_LAST: f64 = 0.02;

/// ln ᾱ_k = Σ_{i ≤ k} ln(1 − β_i) of the discrete DDPM schedule.
static LN_ALPHA_BAR: LazyLock<[f64; STEPS]> = LazyLock::new(|| {
    let mut sum = 0.0;
    std::array::from_fn(|i| {
        let fraction = i as f64 / (STEPS - 1) as f64;
        sum += (-(BETA_FIRST + fraction * (BETA_LAST - BETA_FIRST))).ln_1p();
        sum
    })
});

impl Schedule {
    /// The 1000 discrete steps of DDPM.
    pub const DDPM: Self = Self::new(&Entry::new("ddpm", Ddpm));
}

struct Ddpm;

impl Kind for Ddpm {
    fn alpha(&self, t: f64) -> f64 {
        (0.5 * ln_alpha_bar(t)).exp()
    }

    fn sigma(&self, t: f64) -> f64 {
        (-ln_alpha_bar(t).exp_m1()).sqrt()
    }

    fn sigma_ratio(&self, t: f64) -> f64 {
        (-ln_alpha_bar(t)).exp_m1().sqrt()
    }

    fn t_of_sigma_ratio(&self, ratio: f64) -> f64 {
        step_of_lambda(-2.0 * ratio.ln()) as f64 / (STEPS - 1) as f64
    }

    fn lambda(&self, t: f64) -> f64 {
        -(-ln_alpha_bar(t)).exp_m1().ln()
    }

    fn lambda_grad(&self, t: f64) -> f64 {
        lambda_grad(t)
    }

    fn is_discrete(&self) -> bool {
        true
    }
}

/// k = round(999 t), kept inside 0..=999.
fn step(t: f64) -> usize {
    let last = (STEPS - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=999 first"
    )]
    let step = (t * last).round().clamp(0.0, last) as usize;
    step
}

fn ln_alpha_bar(t: f64) -> f64 {
    LN_ALPHA_BAR[step(t)]
}

fn lambda_of(step: usize) -> f64 {
    -(-LN_ALPHA_BAR[step]).exp_m1().ln()
}

fn lambda_grad(t: f64) -> f64 {
    let step = step(t);
    let (before, after) = (step.saturating_sub(1), (step + 1).min(STEPS - 1));
    let dt = (after - before) as f64 / (STEPS - 1) as f64;
    (lambda_of(after) - lambda_of(before)) / dt
}

/// The step whose λ is nearest; λ decreases with the step.
fn step_of_lambda(lambda: f64) -> usize {
    let after = LN_ALPHA_BAR.partition_point(|ln| -(-ln).exp_m1().ln() > lambda);
    let Some(before) = after.checked_sub(1) else {
        return 0;
    };
    if after == STEPS || lambda_of(before) - lambda <= lambda - lambda_of(after) {
        before
    } else {
        after
    }
}
