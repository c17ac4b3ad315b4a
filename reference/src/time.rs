//! The law of t: what it makes of random draws.

use crate::sampler::family::{IDDPM_C, iddpm_levels};
use crate::schedule::Schedule;

/// The law of t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeLaw {
    /// t ~ U[low, high].
    Uniform {
        /// The smallest t.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// τ ~ U[low, high] for the batch, then t ~ U[τ, high].
    SoftTruncation {
        /// The smallest τ.
        low: f64,
        /// The largest t.
        high: f64,
    },
    /// ln(σ_t/α_t) ~ N(mean, std²).
    LogNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// ln(σ_t/α_t) ~ U[ln low, ln high].
    LogUniform {
        /// The smallest σ_t/α_t.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// σ_t/α_t ~ U{u_0, …, u_999}, the positive levels of improved DDPM.
    IddpmStep,
}

impl TimeLaw {
    /// The t of these draws: uniform ones in [0, 1), of which soft truncation takes the first for τ, or standard normal ones.
    /// `[eq:law-of-t]`
    ///
    /// # Formula
    /// ```text
    /// t_i = (1 − u_i) low + u_i high
    /// τ = (1 − u_0) low + u_0 high,   t_i = (1 − u_i) τ + u_i high
    /// λ(t_i) = −2 (mean + std z_i), or the nearest end of the schedule's domain
    /// λ(t_i) = −2 ((1 − u_i) ln low + u_i ln high), likewise
    /// λ(t_i) = −2 ln u_j with j = ⌊1000 u_i⌋, likewise, u_j of `[eq:iddpm-levels]`
    /// ```
    /// # Source
    /// Kim et al. 2022 (arXiv:2106.05527), soft truncation; Karras et al. 2022 (arXiv:2206.00364), Table 1, the others.
    pub fn times(&self, draws: &[f64], schedule: &dyn Schedule) -> Vec<f64> {
        let between = |low: f64, high: f64, u: f64| (1.0 - u) * low + u * high;
        match *self {
            Self::Uniform { low, high } => draws.iter().map(|&u| between(low, high, u)).collect(),
            Self::SoftTruncation { low, high } => match draws {
                [first, rest @ ..] => {
                    let tau = between(low, high, *first);
                    rest.iter().map(|&u| between(tau, high, u)).collect()
                }
                [] => Vec::new(),
            },
            Self::LogNormal { mean, std } => draws
                .iter()
                .map(|z| at_lambda(schedule, -2.0 * (mean + std * z)))
                .collect(),
            Self::LogUniform { low, high } => draws
                .iter()
                .map(|&u| at_lambda(schedule, -2.0 * between(low.ln(), high.ln(), u)))
                .collect(),
            Self::IddpmStep => {
                let levels = iddpm_levels(IDDPM_C[0], IDDPM_C[1]);
                let at = |&u: &f64| at_lambda(schedule, -2.0 * levels[iddpm_place(u)].ln());
                draws.iter().map(at).collect()
            }
        }
    }
}

/// j = ⌊1000 u⌋ of u in [0, 1).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in the table"
)]
pub(crate) fn iddpm_place(u: f64) -> usize {
    (u * 1000.0).floor().clamp(0.0, 999.0) as usize
}

/// The t whose λ this is, or the nearest end of the domain.
pub(crate) fn at_lambda(schedule: &dyn Schedule, lambda: f64) -> f64 {
    let (first, last) = schedule.domain();
    schedule.t_of_lambda(lambda).clamp(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleKind;

    #[test]
    fn each_law_makes_of_its_draws_what_it_says() {
        let edm = ScheduleKind::EDM.schedule();
        let near = |got: Vec<f64>, want: &[f64]| {
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-15, "{got}, not {want}");
            }
        };
        let (low, high) = (0.1, 0.9);
        let draws = [0.25, 0.5, 0.75];
        near(
            TimeLaw::Uniform { low, high }.times(&draws, edm.as_ref()),
            &[0.3, 0.5, 0.7],
        );
        // τ = 0.3, then half and three quarters of the way from it to 0.9.
        near(
            TimeLaw::SoftTruncation { low, high }.times(&draws, edm.as_ref()),
            &[0.6, 0.75],
        );
        let law = TimeLaw::LogNormal {
            mean: -1.2,
            std: 0.5,
        };
        near(
            law.times(&[0.4, -1.0], edm.as_ref()),
            &[(-1.0_f64).exp(), (-1.7_f64).exp()],
        );
        // Three quarters of the way from 1/8 to 32 in logarithms is 8.
        let law_of_logs = TimeLaw::LogUniform {
            low: 0.125,
            high: 32.0,
        };
        let t = law_of_logs.times(&[0.25, 0.75], edm.as_ref());
        for (t, want) in t.iter().zip([0.5, 8.0]) {
            assert!((t / want - 1.0).abs() < 1e-15, "{t}, not {want}");
        }
        let levels = iddpm_levels(IDDPM_C[0], IDDPM_C[1]);
        let t = TimeLaw::IddpmStep.times(&[0.0, 0.499_999, 0.5, 0.999_999], edm.as_ref());
        for (t, j) in t.iter().zip([0, 499, 500, 999]) {
            assert!((t / levels[j] - 1.0).abs() < 1e-15, "{t}, not u_{j}");
        }
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            for t in law.times(&[-30.0, -0.3, 0.0, 0.7, 30.0], schedule.as_ref()) {
                assert!(schedule.check(t).is_ok(), "{kind}: {t}");
            }
        }
    }
}
