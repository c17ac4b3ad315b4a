//! Bounds for single sampling steps. Sample, prediction and noise may carry errors of their own.

use super::{Precision, Tracked};
use crate::forward::{ForwardError, Posterior, posterior};
use crate::sampler::family::{Discretization, Family, Scaling, TimeSchedule};
use crate::sampler::{SamplerError, edm_sigmas};
use crate::schedule::Schedule;
use ndarray::Array1;

/// Bound for [`edm_sigmas`] by the printed formula, shape `[steps + 1]`.
///
/// A power `x^y` is `exp(y ln x)` here: its result is worth as many digits as `y ln x` has.
///
/// # Errors
/// As the quantity itself.
pub fn sigmas(
    steps: usize,
    rho: f64,
    sigma_min: f64,
    sigma_max: f64,
    p: Precision,
) -> Result<Tracked, SamplerError> {
    let reference = Array1::from(edm_sigmas(steps, rho, sigma_min, sigma_max)?).into_dyn();
    let root = |x: f64| {
        Tracked::exact(ndarray::arr1(&[x]).into_dyn())
            .ln(p)
            .scale(1.0 / rho, p)
            .exp(p)
    };
    let (from, to) = (root(sigma_max), root(sigma_min));
    let ramp: Array1<f64> = (0..steps)
        .map(|i| i as f64 / steps.saturating_sub(1).max(1) as f64)
        .collect();
    let ramp = Tracked::rounded(ramp.into_dyn(), p);
    let mixed = from.add(&to.sub(&from, p).mul(&ramp, p), p);
    let levels = mixed.ln(p).scale(rho, p).exp(p);
    let zero = Tracked::exact(ndarray::arr1(&[0.0]).into_dyn());
    Ok(Tracked::concat(&[&levels, &zero], 0).recentred(reference))
}

/// Bound for the Euler step in either form, `D + (σ'/σ)(z − D)` or `z + (σ' − σ)(z − D)/σ`.
pub fn euler_step(
    z: &Tracked,
    denoised: &Tracked,
    sigma: f64,
    sigma_next: f64,
    p: Precision,
) -> Tracked {
    let (from, to) = (Tracked::scalar(sigma, p), Tracked::scalar(sigma_next, p));
    let residual = z.sub(denoised, p);
    let interpolated = denoised.add(&residual.mul(&to.div(&from, p), p), p);
    let stepped = z.add(&residual.div(&from, p).mul(&to.sub(&from, p), p), p);
    interpolated.either(&stepped)
}

/// Bound for [`heun_correction`](crate::sampler::heun_correction).
pub fn heun_correction(
    z: &Tracked,
    denoised: &Tracked,
    z_euler: &Tracked,
    denoised_euler: &Tracked,
    [sigma, sigma_next]: [f64; 2],
    p: Precision,
) -> Tracked {
    let (from, to) = (Tracked::scalar(sigma, p), Tracked::scalar(sigma_next, p));
    let slope = z.sub(denoised, p).div(&from, p);
    let slope_euler = z_euler.sub(denoised_euler, p).div(&to, p);
    let mean = slope.add(&slope_euler, p).scale(0.5, p);
    z.add(&mean.mul(&to.sub(&from, p), p), p)
}

/// Bound for [`dpmpp_2m_step`](crate::sampler::dpmpp_2m_step) with the step before as (D₋, σ₋), in either form.
///
/// The three numbers that depend on the levels alone, σ'/σ, 1 − σ'/σ and h/(2 h₋), are computed in f64, as every
/// sampler does on the host, and rounded to `p` where they meet the tensors.
pub fn dpmpp_2m_step(
    z: &Tracked,
    denoised: &Tracked,
    previous: Option<(&Tracked, f64)>,
    [sigma, sigma_next]: [f64; 2],
    p: Precision,
) -> Tracked {
    let host = if p.unit < Precision::F64.unit {
        p
    } else {
        Precision::F64
    };
    let level = |x: f64| Tracked::exact(ndarray::arr0(x).into_dyn());
    let ratio = level(sigma_next).div(&level(sigma), host);
    let rest = ratio.neg().add_scalar(1.0, host).stored_as(p);
    let middle = match previous {
        Some((before, sigma_before)) if sigma_next > 0.0 => {
            let log_ratio = |from: f64, to: f64| level(from).div(&level(to), host).ln(host);
            let c = log_ratio(sigma, sigma_next)
                .div(&log_ratio(sigma_before, sigma), host)
                .scale(0.5, host);
            let by_difference = denoised.sub(before, p).mul(&c.stored_as(p), p);
            let weight = c.add_scalar(1.0, host).stored_as(p);
            let by_weights = denoised.mul(&weight, p);
            by_weights
                .sub(&before.mul(&c.stored_as(p), p), p)
                .either(&denoised.add(&by_difference, p))
        }
        _ => denoised.clone(),
    };
    let ratio = ratio.stored_as(p);
    let interpolated = middle.add(&z.sub(&middle, p).mul(&ratio, p), p);
    let weighted = z.mul(&ratio, p).add(&middle.mul(&rest, p), p);
    weighted.either(&interpolated)
}

/// Bound for [`ddim_step`](crate::sampler::ddim_step), the levels rounded to `p`; through ε̂ or with σ_s/σ_t first.
pub fn ddim_step(
    x_t: &Tracked,
    x0_hat: &Tracked,
    schedule: &dyn Schedule,
    s: f64,
    t: f64,
    p: Precision,
) -> Tracked {
    let level = |x| Tracked::scalar(x, p);
    let (sigma_s, sigma_t) = (level(schedule.sigma(s)), level(schedule.sigma(t)));
    let noise = x_t.sub(&x0_hat.mul(&level(schedule.alpha(t)), p), p);
    let signal = x0_hat.mul(&level(schedule.alpha(s)), p);
    let ratio_first = signal.add(&noise.mul(&sigma_s.div(&sigma_t, p), p), p);
    let eps_first = signal.add(&noise.div(&sigma_t, p).mul(&sigma_s, p), p);
    ratio_first.either(&eps_first)
}

/// Bound for [`ddpm_step`](crate::sampler::ddpm_step), the posterior's coefficients rounded to `p`.
///
/// # Errors
/// As the quantity itself.
pub fn ddpm_step(
    x_t: &Tracked,
    x0_hat: &Tracked,
    noise: &Tracked,
    schedule: &dyn Schedule,
    [s, t]: [f64; 2],
    p: Precision,
) -> Result<Tracked, ForwardError> {
    let Posterior {
        coef_xt,
        coef_x0,
        var,
    } = posterior(schedule, s, t)?;
    let level = |x| Tracked::scalar(x, p);
    let mean = x_t
        .mul(&level(coef_xt), p)
        .add(&x0_hat.mul(&level(coef_x0), p), p);
    Ok(mean.add(&noise.mul(&level(var).sqrt_of_nonnegative(p), p), p))
}

/// Bound for [`churn_step`](crate::sampler::churn_step)'s sample; `√(σ̂² − σ²)` may be formed by subtraction.
pub fn churn_step(
    z: &Tracked,
    noise: &Tracked,
    sigma: f64,
    gamma: f64,
    s_noise: f64,
    p: Precision,
) -> Tracked {
    let level = |x| Tracked::scalar(x, p);
    let raised = level(sigma).mul(&level(gamma).add_scalar(1.0, p), p);
    let subtracted = raised
        .square(p)
        .sub(&level(sigma).square(p), p)
        .sqrt_of_nonnegative(p);
    let factored = level(gamma)
        .mul(&level(gamma).add_scalar(2.0, p), p)
        .sqrt_of_nonnegative(p)
        .mul(&level(sigma), p);
    let scale = factored.either(&subtracted).mul(&level(s_noise), p);
    z.add(&noise.mul(&scale, p), p)
}

/// Bound for [`guide`](crate::sampler::guide).
pub fn guide(
    unconditional: &Tracked,
    conditional: &Tracked,
    guidance: f64,
    p: Precision,
) -> Tracked {
    let g = Tracked::scalar(guidance, p);
    unconditional.add(&conditional.sub(unconditional, p).mul(&g, p), p)
}

/// Time, level and scale of EDM's family with their errors, on the host.
struct FamilyPath {
    schedule: TimeSchedule,
    scaling: Scaling,
    beta_d: Tracked,
    beta_min: Tracked,
    host: Precision,
}

fn number(x: f64) -> Tracked {
    Tracked::exact(ndarray::arr0(x).into_dyn())
}

impl FamilyPath {
    fn new(family: &Family, [low, high]: [f64; 2], host: Precision) -> Self {
        let log = |sigma: f64| number(sigma).square(host).ln1p(host);
        let (low, high, eps) = (log(low), log(high), number(family.epsilon_s));
        let first = low.div(&eps, host).sub(&high, host).scale(2.0, host);
        let beta_d = first.div(&eps.add_scalar(-1.0, host), host);
        let beta_min = high.sub(&beta_d.scale(0.5, host), host);
        Self {
            schedule: family.schedule,
            scaling: family.scaling,
            beta_d,
            beta_min,
            host,
        }
    }

    fn time(&self, sigma: &Tracked) -> Tracked {
        let host = self.host;
        match self.schedule {
            TimeSchedule::Vp if sigma.value.iter().all(|sigma| *sigma <= 0.0) => sigma.clone(),
            TimeSchedule::Vp => {
                let log = sigma.square(host).ln1p(host).scale(2.0, host);
                let under = self
                    .beta_min
                    .square(host)
                    .add(&self.beta_d.mul(&log, host), host);
                log.div(&under.sqrt(host).add(&self.beta_min, host), host)
            }
            TimeSchedule::Ve => sigma.square(host),
            TimeSchedule::Linear => sigma.clone(),
        }
    }

    fn sigma(&self, t: &Tracked) -> Tracked {
        let host = self.host;
        match self.schedule {
            TimeSchedule::Vp => {
                let mean = self.beta_d.mul(t, host).scale(0.5, host);
                let exponent = mean.add(&self.beta_min, host).mul(t, host);
                exponent.expm1(host).sqrt(host)
            }
            TimeSchedule::Ve => t.sqrt(host),
            TimeSchedule::Linear => t.clone(),
        }
    }

    /// d ln σ/dt.
    fn rate(&self, t: &Tracked, sigma: &Tracked) -> Tracked {
        let host = self.host;
        match self.schedule {
            TimeSchedule::Vp => {
                let beta = self.beta_d.mul(t, host).add(&self.beta_min, host);
                let level = sigma.square(host).recip(host).add_scalar(1.0, host);
                beta.mul(&level, host).scale(0.5, host)
            }
            TimeSchedule::Ve => t.recip(host).scale(0.5, host),
            TimeSchedule::Linear => t.recip(host),
        }
    }

    fn scale(&self, sigma: &Tracked) -> Tracked {
        let host = self.host;
        match self.scaling {
            Scaling::Vp => {
                let square = sigma.square(host).add_scalar(1.0, host);
                square.sqrt(host).recip(host)
            }
            Scaling::None => number(1.0),
        }
    }

    /// Factors of the scaled sample and of the denoised one in dx/dt.
    fn slope(&self, t: &Tracked, sigma: &Tracked) -> [Tracked; 2] {
        let (host, rate, s) = (self.host, self.rate(t, sigma), self.scale(sigma));
        let of_x = match self.scaling {
            Scaling::Vp => rate.mul(&s.square(host), host),
            Scaling::None => rate.clone(),
        };
        [of_x, rate.mul(&s, host)]
    }
}

/// Bound for a step of [`Family::step`] on an unscaled sample, z to z, as a linear combination of the samples or in the paper's form.
///
/// `denoised` are the denoiser's answers at the beginning and at the second evaluation, which may carry errors; the levels' numbers
/// are computed in f64, and rounded to `p` where they meet the tensors.
pub fn family_step(
    family: &Family,
    range: [f64; 2],
    z: &Tracked,
    denoised: [&Tracked; 2],
    [from, to]: [f64; 2],
    p: Precision,
) -> Tracked {
    let host = if p.unit < Precision::F64.unit {
        p
    } else {
        Precision::F64
    };
    let path = FamilyPath::new(family, range, host);
    let (given, end) = (number(from), number(to));
    let t = path.time(&given);
    // The paper's form knows the time alone.
    let from = given.either(&path.sigma(&t));
    let end = end.either(&path.sigma(&path.time(&end)));
    let h = path.time(&end).sub(&t, host);
    let (s, s_end) = (path.scale(&from), path.scale(&end));
    let [a, b] = path.slope(&t, &from);
    let times = |x: &Tracked, factor: &Tracked| x.mul(&factor.stored_as(p), p);
    // x + way·d at another scale: s (1 + way·a)/s' z − way·b/s' x̂.
    let straight = |way: &Tracked, s_there: &Tracked| {
        let kept = way.mul(&a, host).add_scalar(1.0, host).mul(&s, host);
        let of_z = times(z, &kept.div(s_there, host));
        let of_d = times(denoised[0], &way.mul(&b, host).div(s_there, host));
        let x = times(z, &s);
        let d = times(&x, &a).sub(&times(denoised[0], &b), p);
        let paper = times(&x.add(&times(&d, way), p), &s_there.recip(host));
        of_z.sub(&of_d, p).either(&paper)
    };
    if !family.second_order || to == 0.0 {
        return straight(&h, &s_end);
    }
    let way = h.scale(family.alpha, host);
    let t_there = t.add(&way, host);
    let level = path.sigma(&t_there);
    let s_there = path.scale(&level);
    let z_there = straight(&way, &s_there);
    let [a_there, b_there] = path.slope(&t_there, &level);
    let share = number(0.5).div(&number(family.alpha), host);
    let (last, first) = (h.mul(&share, host), h.sub(&h.mul(&share, host), host));
    let kept = first.mul(&a, host).add_scalar(1.0, host).mul(&s, host);
    let scaled = a_there.mul(&s_there, host).mul(&last, host);
    let parts = [
        times(z, &kept.div(&s_end, host)),
        times(denoised[0], &first.mul(&b, host).div(&s_end, host)).neg(),
        times(&z_there, &scaled.div(&s_end, host)),
        times(denoised[1], &last.mul(&b_there, host).div(&s_end, host)).neg(),
    ];
    let combined = parts[0]
        .add(&parts[1], p)
        .add(&parts[2], p)
        .add(&parts[3], p);
    let x = times(z, &s);
    let d = times(&x, &a).sub(&times(denoised[0], &b), p);
    let x_there = times(&z_there, &s_there);
    let d_there = times(&x_there, &a_there).sub(&times(denoised[1], &b_there), p);
    let sum = x.add(&times(&d, &first), p).add(&times(&d_there, &last), p);
    combined.either(&times(&sum, &s_end.recip(host)))
}

/// Bound for the grid [`Family::levels`] within `range`, without the final 0; the levels of improved DDPM carry the errors of those
/// below them.
///
/// # Errors
/// As the quantity itself.
pub fn family_levels(
    family: &Family,
    [low, high]: [f64; 2],
    p: Precision,
) -> Result<Tracked, SamplerError> {
    let family = Family {
        sigma_min: Some(low),
        sigma_max: Some(high),
        ..*family
    };
    let reference = family.levels([low, high])?;
    let steps = reference.len();
    let share = |i: usize| number(i as f64).div(&number(steps.saturating_sub(1).max(1) as f64), p);
    let of = |level: &dyn Fn(usize) -> Tracked| -> Vec<Tracked> { (0..steps).map(level).collect() };
    let levels = match family.discretization {
        Discretization::Edm => {
            let all = sigmas(steps, family.rho, low, high, p)?;
            return Ok(all.narrow(0, 0, steps));
        }
        Discretization::Ve => {
            let ratio = number(low).div(&number(high), p).ln(p);
            of(&|i| number(high).mul(&share(i).mul(&ratio, p).exp(p), p))
        }
        Discretization::Vp => {
            let vp = Family {
                schedule: TimeSchedule::Vp,
                ..family
            };
            let path = FamilyPath::new(&vp, [low, high], p);
            let way = number(family.epsilon_s).add_scalar(-1.0, p);
            of(&|i| path.sigma(&share(i).mul(&way, p).add_scalar(1.0, p)))
        }
        Discretization::Iddpm => {
            let all = iddpm(&family, p).into_iter();
            let within: Vec<Tracked> = all
                .filter(|u| u.value.iter().all(|u| (low..=high).contains(u)))
                .collect();
            let nearest = |level: f64| {
                let apart = |u: &Tracked| u.value.iter().map(|u| (u - level).abs()).sum::<f64>();
                within
                    .iter()
                    .min_by(|a, b| apart(a).total_cmp(&apart(b)))
                    .cloned()
            };
            reference
                .iter()
                .filter_map(|level| nearest(*level))
                .collect()
        }
    };
    let levels: Vec<Tracked> = levels.iter().map(|level| level.reshape(&[1])).collect();
    let parts: Vec<&Tracked> = levels.iter().collect();
    Ok(Tracked::concat(&parts, 0).recentred(Array1::from(reference).into_dyn()))
}

/// [`iddpm_levels`](crate::sampler::family::iddpm_levels) with their errors.
pub(super) fn iddpm(family: &Family, p: Precision) -> Vec<Tracked> {
    const M: usize = 1000;
    let reach = number(family.c2).add_scalar(1.0, p).scale(M as f64, p);
    let kept = |j: usize| {
        let angle = number(std::f64::consts::FRAC_PI_2 * j as f64)
            .widened(&ndarray::arr0(p.unit * std::f64::consts::FRAC_PI_2 * j as f64).into_dyn());
        angle.div(&reach, p).sin(p).square(p)
    };
    let mut levels = vec![number(0.0)];
    for j in (1..=M).rev() {
        let ratio = kept(j - 1).div(&kept(j), p).maximum(&number(family.c1));
        let below = levels[M - j].square(p).add_scalar(1.0, p);
        levels.push(below.div(&ratio, p).add_scalar(-1.0, p).sqrt(p));
    }
    levels.reverse();
    levels
}
