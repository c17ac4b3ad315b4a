//! The forward process: its steps compose, its posterior is Bayes', and its score is the denoiser.

use sadm_reference::forward::posterior;
use sadm_reference::parametrisation::{Level, score_from_x0};
use sadm_reference::schedule::ScheduleKind;

use super::rate_integral::log_scale;
use super::setting::{ATOMS, Clock, DIMENSION, SCHEDULE, TIME, known, noised_law};
use super::{About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError};
use crate::laws::finite::two_pi;
use crate::rounding::Rounded;

const PART: Parameter = Parameter::linear(
    "s/t",
    "where the earlier time lies, as a part of t",
    0.05..=0.95,
    0.6,
);

/// Times r < s < t of the instance. `ddpm` knows times to the nearest step only: there they are moved to three different ones,
/// for within a step nothing happens and q(x_t|x_s) has no density.
fn times(instance: &Instance) -> Result<(Clock, [f64; 3]), StatementError> {
    let clock = Clock::of(instance)?;
    let (t, part) = (instance.get(TIME.name)?, instance.get(PART.name)?);
    let parts = [t * part * part, t * part, t];
    let parts = if clock.kind() == ScheduleKind::DDPM {
        on_steps(parts)
    } else {
        parts
    };
    let times = parts.map(|t| clock.time(t));
    Ok((clock, times))
}

/// Three different steps k/999 of `ddpm`, the nearest ones where those differ.
fn on_steps([r, s, t]: [f64; 3]) -> [f64; 3] {
    let last = 999.0;
    let t = (last * t).round().max(2.0);
    let s = (last * s).round().clamp(1.0, t - 1.0);
    let r = (last * r).round().clamp(0.0, s - 1.0);
    [r / last, s / last, t / last]
}

/// `[thm:chapman-kolmogorov]` Two steps of the forward process are one.
///
/// # Formula `[eq:chapman-kolmogorov]`
/// ```text
/// α_{t|r} = α_{t|s} α_{s|r}        σ²_{t|r} = α²_{t|s} σ²_{s|r} + σ²_{t|s}
/// α_t = α_{t|s} α_s                σ_t² = α²_{t|s} σ_s² + σ²_{t|s}
/// ```
/// The reference has α_{t|s} = α_t/α_s, with which the first column would be true by definition: so there α_{t|s} is
/// exp(−½ ∫_s^t β) from the rates (`[eq:rate-integral]`), and only the left sides are the reference's.
pub struct ChapmanKolmogorov;

impl Statement for ChapmanKolmogorov {
    fn about(&self) -> About {
        About {
            id: "chapman-kolmogorov",
            source: "SADM (arXiv:2402.17563), Eq. 2; VDM (arXiv:2107.00630), Appendix A",
            kind: Kind::Identity,
            summary: "the forward process from r to t is the one from r to s, then from s to t",
            terms: &[],
            parameters: &[SCHEDULE, TIME, PART],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (clock, [r, s, t]) = times(instance)?;
        let ((alpha_s, sigma_s), (alpha_t, sigma_t)) = (clock.levels(s)?, clock.levels(t)?);
        let (_, var_rs) = clock.step(r, s)?;
        let (scale_st, var_st) = clock.step(s, t)?;
        let (scale_rt, var_rt) = clock.step(r, t)?;
        let log_rs = log_scale(clock.kind(), r, s);
        let log_st = log_scale(clock.kind(), s, t);
        Ok(vec![
            Evidence::equal(
                "α_{t|r} = exp(-½ ∫_s^t β) exp(-½ ∫_r^s β)",
                scale_rt,
                log_st.exp() * log_rs.exp(),
            ),
            Evidence::equal(
                "σ²_{t|r} = α²_{t|s} σ²_{s|r} + σ²_{t|s}",
                var_rt,
                scale_st.square() * var_rs + var_st,
            ),
            Evidence::equal("α_t = exp(-½ ∫_s^t β) α_s", alpha_t, log_st.exp() * alpha_s),
            Evidence::equal(
                "σ_t² = α²_{t|s} σ_s² + σ²_{t|s}",
                sigma_t.square(),
                scale_st.square() * sigma_s.square() + var_st,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (clock, [r, s, t]) = times(&self.default_instance())?;
        let ((_, var_rs), (scale_st, var_st), (scale_rt, var_rt)) =
            (clock.step(r, s)?, clock.step(s, t)?, clock.step(r, t)?);
        Ok(vec![
            Evidence::equal(
                "control: the first half step is left out of the integral",
                scale_rt,
                log_scale(clock.kind(), s, t).exp(),
            ),
            Evidence::equal("control: variances of steps add", var_rt, var_rs + var_st),
            Evidence::equal(
                "control: the first variance scales with α, not α²",
                var_rt,
                scale_st * var_rs + var_st,
            ),
        ])
    }
}

/// `[thm:bayes-posterior]` q(x_s|x_0) q(x_t|x_s) = q(x_t|x_0) q(x_s|x_t, x_0).
///
/// Both sides are logarithms of Gaussian densities at three numbers (x_0, x_s, x_t); the posterior's mean and
/// variance enter on the right only.
pub struct BayesPosterior;

/// log N(x; m, v).
fn log_normal(x: Rounded, mean: Rounded, variance: Rounded) -> Rounded {
    -((x - mean).square() / variance + (variance * two_pi()).ln()) * 0.5
}

/// x_s and x_t at a distance of a few standard deviations from (α, σ) of x_0, so that no side is hopelessly unlikely.
fn noised([alpha_s, sigma_s]: [f64; 2], [alpha_t, sigma_t]: [f64; 2], x: [f64; 3]) -> [f64; 2] {
    [
        alpha_s * x[0] + sigma_s * x[1],
        alpha_t * x[0] + sigma_t * (0.5 * x[1] + 0.5 * x[2]),
    ]
}

/// What the identity is tried on.
struct Path {
    clock: Clock,
    /// s and t.
    times: [f64; 2],
    /// x_0, x_s and x_t.
    points: [f64; 3],
}

impl Path {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let (clock, [_, s, t]) = times(instance)?;
        let noise = instance.values().take(3)?;
        let level = |time: f64| -> Result<[f64; 2], StatementError> {
            let (alpha, sigma) = clock.levels(time)?;
            Ok([alpha.value, sigma.value])
        };
        let [xs, xt] = noised(level(s)?, level(t)?, [noise[0], noise[1], noise[2]]);
        Ok(Self {
            clock,
            times: [s, t],
            points: [noise[0], xs, xt],
        })
    }
}

/// The two sides, with the posterior as the reference gives it times `spread` in its variance.
fn bayes_sides(instance: &Instance, spread: f64) -> Result<(Rounded, Rounded), StatementError> {
    let Path {
        clock,
        times: [s, t],
        points,
    } = Path::of(instance)?;
    let ((alpha_s, sigma_s), (alpha_t, sigma_t)) = (clock.levels(s)?, clock.levels(t)?);
    let [x0, xs, xt] = points.map(Rounded::exact);
    let (scale, var) = clock.step(s, t)?;
    let forward = log_normal(xs, alpha_s * x0, sigma_s.square()) + log_normal(xt, scale * xs, var);
    let back = posterior(clock.schedule(), s, t)?;
    let ratio = (sigma_s / sigma_t).square();
    let coef_xt = known(back.coef_xt, scale * ratio);
    let coef_x0 = known(back.coef_x0, alpha_s * (var / sigma_t.square()));
    let variance = known(back.var * spread, var * ratio * spread);
    let mean = coef_xt * xt + coef_x0 * x0;
    let backward = log_normal(xt, alpha_t * x0, sigma_t.square()) + log_normal(xs, mean, variance);
    Ok((forward, backward))
}

impl Statement for BayesPosterior {
    fn about(&self) -> About {
        About {
            id: "bayes-posterior",
            source: "VDM (arXiv:2107.00630), Appendix A",
            kind: Kind::Identity,
            summary: "the posterior of x_s between x_0 and x_t obeys Bayes' rule",
            terms: &[],
            parameters: &[SCHEDULE, TIME, PART],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let path = Path::of(instance)?;
        Ok(vec![
            Built::row("s, t", &path.times),
            Built::row("x_0, x_s, x_t", &path.points),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (forward, backward) = bayes_sides(instance, 1.0)?;
        Ok(vec![Evidence::equal(
            "ln q(x_s|x_0) q(x_t|x_s) = ln q(x_t|x_0) q(x_s|x_t,x_0)",
            forward,
            backward,
        )])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (forward, backward) = bayes_sides(&self.default_instance(), 1.25)?;
        Ok(vec![Evidence::equal(
            "control: a posterior with 5/4 of the variance",
            forward,
            backward,
        )])
    }
}

/// `[thm:tweedie]` ∇ log q_t(x_t) = (α_t E[x_0|x_t] − x_t)/σ_t².
///
/// # Formula `[eq:tweedie]`
/// ```text
/// left:   (log q_t(x + h e_i) − log q_t(x − h e_i)) / 2h        from the density alone
/// right:  (α E[x_0|x_t] − x_t)_i / σ²                          from the ideal denoiser
/// ```
/// The difference quotient errs by at most h²/6 · sup|∂³ log q|, and ∂_i³ log q_t is the third cumulant of
/// α a_i/σ² under a posterior: at most L³/4 in size, where L is the range of α a_i/σ² over the atoms
/// (|E(X − μ)³| ≤ L·Var X ≤ L·L²/4). So the allowance is a theorem too.
pub struct Tweedie;

/// L = α (max a − min a)/σ² over the atoms' coordinates, which bounds the derivatives of log q_t.
fn range(alpha: f64, sigma: f64, atoms: impl Iterator<Item = f64>) -> f64 {
    let ends = |(l, h): (f64, f64), a: f64| (l.min(a), h.max(a));
    let (low, high) = atoms.fold((f64::MAX, f64::MIN), ends);
    alpha * (high - low) / (sigma * sigma)
}

/// 1/σ² + L²/4 ≥ |∂² log q_t|.
fn curvature(range: f64, sigma: f64) -> f64 {
    1.0 / (sigma * sigma) + range * range / 4.0
}

/// A step small beside σ and beside 1/L.
fn step(range: f64, sigma: f64) -> f64 {
    sigma / 4096.0 / (1.0 + range * sigma)
}

/// The score by differences of log q and from the denoiser; the latter with α, σ² scaled by `wrong`.
fn scores(instance: &Instance, wrong: f64) -> Result<Vec<(Rounded, Rounded)>, StatementError> {
    let setting = noised_law(instance, 1)?;
    let (alpha, sigma) = (setting.alpha, setting.sigma);
    let x = &setting.points[0];
    let posterior = setting.law.posterior(x, alpha, sigma)?;
    let mut sides = Vec::new();
    for (i, &x_i) in x.iter().enumerate() {
        let column = setting.law.atoms().column(i);
        let range = range(alpha, sigma, column.iter().copied());
        let step = step(range, sigma);
        let at = |value: f64| -> Result<Rounded, StatementError> {
            let mut point = x.clone();
            point[i] = value;
            Ok(setting.law.posterior(&point, alpha, sigma)?.log_density)
        };
        let (up, down) = (x_i + step, x_i - step);
        let width = Rounded::exact(up) - Rounded::exact(down);
        let quotient = (at(up)? - at(down)?) / width;
        let truncation = (0.51 * (up - down)).powi(2) / 6.0 * range.powi(3) / 4.0;
        // x ± h are rounded, so the quotient belongs to a point within u(|x| + h) of x; |∂² log q| ≤ 1/σ² + L²/4.
        let shift = f64::EPSILON * (x_i.abs() + step) * curvature(range, sigma);
        let left = quotient + Rounded::within(0.0, truncation + shift);
        // The reference's conversion, known as well as the same formula on tracked numbers; twice, as it may
        // divide in another order.
        let tracked = (Rounded::exact(alpha) * posterior.mean[i] - Rounded::exact(x_i))
            / Rounded::exact(sigma).square();
        let level = Level::new(alpha * wrong, sigma)?;
        let right = Rounded::within(
            score_from_x0(x_i, posterior.mean[i].value, level),
            2.0 * tracked.error,
        );
        sides.push((left, right));
    }
    Ok(sides)
}

impl Statement for Tweedie {
    fn about(&self) -> About {
        About {
            id: "tweedie",
            source: "Efron 2011, doi:10.1198/jasa.2011.tm11181; SADM (arXiv:2402.17563), Sec. 3",
            kind: Kind::Identity,
            summary: "the score is the ideal denoiser's displacement over the variance",
            terms: &[],
            parameters: &[SCHEDULE, TIME, ATOMS, DIMENSION],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(noised_law(instance, 1)?.built())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = noised_law(instance, 1)?;
        let direct = setting
            .law
            .posterior(&setting.points[0], setting.alpha, setting.sigma)?
            .score;
        let mut claims = Vec::new();
        for (i, ((by_difference, by_denoiser), direct)) in
            scores(instance, 1.0)?.into_iter().zip(direct).enumerate()
        {
            claims.push(Evidence::equal(
                format!("∂_{i} log q_t = (α E[x_0|x_t] - x_t)_{i}/σ²"),
                by_difference,
                by_denoiser,
            ));
            claims.push(Evidence::equal(
                format!("the law's own score, coordinate {i}"),
                direct,
                by_denoiser,
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let sides = scores(&self.default_instance(), 1.0 + 1.0 / 1024.0)?;
        Ok(sides
            .into_iter()
            .map(|(left, right)| Evidence::equal("control: α off by a thousandth", left, right))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discrete_times_are_three_different_steps() {
        for (parts, want) in [
            ([0.1, 0.2, 0.4], [100.0, 200.0, 400.0]),
            ([3e-4, 6e-4, 1e-3], [0.0, 1.0, 2.0]),
            ([0.9, 0.95, 0.999], [899.0, 949.0, 998.0]),
            ([0.499, 0.4991, 0.4992], [497.0, 498.0, 499.0]),
        ] {
            let got = on_steps(parts).map(|t| t * 999.0);
            assert!(
                got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-9),
                "{got:?}"
            );
        }
    }

    #[test]
    fn points_are_as_by_hand() {
        let got = noised([0.5, 2.0], [0.25, 3.0], [4.0, 1.0, -2.0]);
        assert_eq!(got.map(f64::to_bits), [4.0_f64, -0.5].map(f64::to_bits));
    }

    #[test]
    fn ranges_and_steps_are_as_by_hand() {
        let got = range(0.75, 0.5, [1.0, -0.5, 2.5].into_iter());
        assert_eq!(got.to_bits(), 9.0_f64.to_bits()); // ¾·3/¼
        assert_eq!(curvature(3.0, 0.5).to_bits(), 6.25_f64.to_bits());
        assert_eq!(step(3.0, 0.5).to_bits(), (0.2 / 4096.0_f64).to_bits()); // ½/(1 + 3/2)
    }
}
