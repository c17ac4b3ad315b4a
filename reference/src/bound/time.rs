//! Bounds for the law of t.

use ndarray::{Array1, ArrayD, arr0};

use super::{FUNCTION_ULPS, Precision, Tracked, sampler};
use crate::sampler::Family;
use crate::schedule::Schedule;
use crate::time::{TimeLaw, at_lambda, iddpm_place};

/// Roundings of an inverse schedule, each worth u of t: a logarithm or arctangent of a power or exponential, a root, a quotient and at
/// most seven plain operations, none of which is worse conditioned in its argument than t itself.
const INVERSE: f64 = 2.0 * FUNCTION_ULPS + 8.0;

/// [`TimeLaw::times`] in precision `p`, formed as it is there or as `low + u (high − low)`.
///
/// Under a law of ln(σ/α) the error of mean + std·z, or of the way from ln low to ln high, and of its exponential moves λ, and t follows λ as the inverse schedule says,
/// which is monotone: the bound is where t goes when λ moves by its error. Of a schedule with steps that is another step only where
/// two are equally near.
pub fn times(law: &TimeLaw, draws: &[f64], schedule: &dyn Schedule, p: Precision) -> Tracked {
    let list = |x: &[f64]| Tracked::exact(Array1::from(x.to_vec()).into_dyn());
    let number = |x: f64| Tracked::exact(arr0(x).into_dyn());
    let between = |low: &Tracked, high: &Tracked, u: &Tracked| {
        let one = number(1.0);
        let mixed = one.sub(u, p).mul(low, p).add(&u.mul(high, p), p);
        mixed.either(&low.add(&u.mul(&high.sub(low, p), p), p))
    };
    let values = Array1::from(law.times(draws, schedule)).into_dyn();
    match (*law, draws) {
        (TimeLaw::Uniform { low, high }, _) => {
            between(&number(low), &number(high), &list(draws)).recentred(values)
        }
        (TimeLaw::SoftTruncation { low, high }, [first, rest @ ..]) => {
            let (low, high) = (number(low), number(high));
            let tau = between(&low, &high, &number(*first));
            between(&tau, &high, &list(rest)).recentred(values)
        }
        (TimeLaw::SoftTruncation { .. }, []) => Tracked::exact(values),
        (TimeLaw::LogNormal { mean, std }, _) => {
            let logs = list(draws).mul(&number(std), p).add(&number(mean), p);
            let logs = logs.value.iter().zip(&logs.error);
            Tracked {
                value: values,
                error: of_logs(logs.map(|(log, error)| (*log, *error)), schedule, p),
            }
        }
        (TimeLaw::LogUniform { low, high }, _) => {
            let [low, high] = [low, high].map(|level| number(level).ln(p));
            let logs = between(&low, &high, &list(draws));
            // Or as low (high/low)^u: a quotient, whose error the power makes no larger, the power, a product.
            let power = (2.0 + FUNCTION_ULPS) * p.unit;
            let logs = logs.value.iter().zip(&logs.error);
            Tracked {
                value: values,
                error: of_logs(logs.map(|(log, error)| (*log, error + power)), schedule, p),
            }
        }
        (TimeLaw::IddpmStep, _) => {
            let levels = sampler::iddpm(&Family::default(), p);
            let level = |u: f64| {
                let level = &levels[iddpm_place(u)];
                (level.value.sum(), level.error.sum())
            };
            let logs = draws.iter().map(|&u| {
                let (ratio, error) = level(u);
                // Rounding of 1000 u may lead to the next level.
                let next = [-1.0, 1.0].map(|side| level(u * (1.0 + side * p.unit)).0 / ratio);
                let next = next.map(|next| next.ln().abs());
                (ratio.ln(), error / (ratio - error) + next[0].max(next[1]))
            });
            Tracked {
                value: values,
                error: of_logs(logs, schedule, p),
            }
        }
    }
}

/// Errors of the t of ln(σ/α) with their errors.
fn of_logs(
    logs: impl Iterator<Item = (f64, f64)>,
    schedule: &dyn Schedule,
    p: Precision,
) -> ArrayD<f64> {
    let errors = logs.map(|(log, error)| {
        // −2 ln of a ratio that is an exponential.
        let lambda = -2.0 * log;
        let moved = 2.0 * (error + FUNCTION_ULPS * p.unit);
        let t = at_lambda(schedule, lambda);
        let away = |by: f64| (at_lambda(schedule, lambda + by) - t).abs();
        away(moved).max(away(-moved)) + INVERSE * p.unit * t + p.tiny
    });
    errors.collect::<Array1<f64>>().into_dyn()
}
