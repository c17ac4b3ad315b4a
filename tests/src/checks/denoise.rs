//! The denoising objective and the samplers.

use candle_core::Tensor;
use ndarray::ArrayD;
use proptest::prelude::*;
use sadm_gpu::{
    gaussian::{self as gpu_gaussian, Betas, GaussianDiffusion},
    objective::denoising as gpu_denoise,
    sampler as gpu_sampler,
};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    denoise::{self, Weight},
    gaussian::{self, Diffusion, Variance, linear_betas},
    sampler,
    schedule::{Edm, ScheduleKind},
};

use super::{differentiated, exact, forward, list};
use crate::{
    case::Case,
    check::{Check, Computed, Quantity, bounds, scalar, values},
    engine::Place,
    error::{Error, Result},
    generators::{moderate, positive, tensor, tensor_of},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let weights = Weight::all().map(weight);
    weights
        .chain([
            denoising_loss(),
            variance_loss(),
            edm_sigmas(),
            euler(),
            heun(),
            ddim(),
            ancestral(),
            dpmpp_2m(),
            churn(),
            guide(),
        ])
        .collect()
}

fn weight(kind: Weight) -> Box<dyn Check> {
    Quantity::new(
        format!("weight.{kind}"),
        "w(λ_t): 1, −½ dSNR/dt, SNR, 1 + SNR, min(SNR, γ), SNR + σ_d⁻²",
        "mathematics.md §2; Kingma et al. 2021; Karras et al. 2022, Eq. 7; Hang et al. 2023",
    )
    .draws(|| {
        (
            prop::sample::select(ScheduleKind::all().collect::<Vec<_>>()),
            positive(),
            positive(),
        )
            .prop_flat_map(|(kind, gamma, data)| (forward::times(kind), Just((kind, gamma, data))))
            .prop_map(|(t, (kind, gamma, data))| {
                Case::new()
                    .text("schedule", &kind.to_string())
                    .numbers("t", t)
                    .number("gamma", gamma)
                    .number("sigma_data", data)
            })
            .boxed()
    })
    .reference(move |case| {
        let schedule = forward::schedule_of(case)?.0.schedule();
        let kind = kind.with(case.get_number("gamma")?);
        let data = case.get_number("sigma_data")?;
        let w = |&t| denoise::weight(kind, schedule.as_ref(), t, data).map_err(Error::reference);
        Ok(values([(
            "w",
            list(
                case.get_numbers("t")?
                    .iter()
                    .map(w)
                    .collect::<Result<Vec<f64>>>()?,
            ),
        )]))
    })
    .bound(move |case, rule| {
        let (schedule, t) = (forward::schedule_of(case)?.0, case.get_numbers("t")?);
        let kind = kind.with(case.get_number("gamma")?);
        let data = case.get_number("sigma_data")?;
        let w = bound::denoise::weight(kind, schedule, t, data, rule.compute);
        Ok(bounds([("w", w.map_err(Error::reference)?)]))
    })
    .candle(move |case, _| {
        let kind = kind.with(case.get_number("gamma")?);
        let weight: gpu_denoise::Weight = kind.to_string().parse()?;
        let (schedule, t) = (forward::schedule_of(case)?.1, case.get_numbers("t")?);
        Ok(values([(
            "w",
            list(weight.weights(schedule, t, case.get_number("sigma_data")?)),
        )]))
    })
    .boxed()
}

fn denoising_loss() -> Box<dyn Check> {
    Quantity::new(
        "denoising-loss",
        "L = Σ_i w_i ‖x̂_i − x_0,i‖² / B and ∂L/∂x̂ = 2 w_i (x̂_i − x_0,i)/B",
        "SADM Eq. 3-4",
    )
    .draws(|| {
        (1..=4_usize, 1..=2_usize, 1..=3_usize, 1..=3_usize)
            .prop_flat_map(|(b, c, h, w)| {
                let shape = [b, c, h, w];
                (
                    tensor(&shape),
                    tensor(&shape),
                    prop::collection::vec(positive(), b),
                )
            })
            .prop_map(|(x_hat, x0, w)| {
                Case::new()
                    .tensor("x_hat", x_hat)
                    .tensor("x0", x0)
                    .numbers("w", w)
            })
            .boxed()
    })
    .reference(|case| {
        let l =
            denoise::denoising_loss(case.get("x_hat")?, case.get("x0")?, case.get_numbers("w")?);
        let l = l.map_err(Error::reference)?;
        Ok(values([
            ("y", scalar(l.loss)),
            ("grad_x_hat", l.grad_prediction),
        ]))
    })
    .bound(|case, rule| {
        let (x_hat, x0, w) = (case.get("x_hat")?, case.get("x0")?, case.get_numbers("w")?);
        let l =
            bound::denoise::denoising_loss(x_hat, x0, w, rule.compute).map_err(Error::reference)?;
        Ok(bounds([("y", l.loss), ("grad_x_hat", l.grad_prediction)]))
    })
    .candle(|case, place| {
        let x0 = place.tensor(case.get("x0")?)?;
        differentiated(case, place, &["x_hat"], |inputs| {
            Ok(gpu_denoise::denoising_loss(
                &inputs[0],
                &x0,
                case.get_numbers("w")?,
            )?)
        })
    })
    .boxed()
}

/// The nearest number of f32.
#[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
fn in_f32(x: f64) -> f64 {
    f64::from(x as f32)
}

/// Steps of the process whose variances are learnt.
const STEPS: usize = 1000;

/// The process on the reference's side.
fn process() -> Result<Diffusion> {
    let all: Vec<usize> = (0..STEPS).collect();
    let process = Diffusion::new(&linear_betas(STEPS), &all, Variance::LearnedRange);
    process.map_err(Error::reference)
}

/// The process on candle's side.
pub(crate) fn gpu_process() -> Result<GaussianDiffusion> {
    let learnt = gpu_gaussian::Variance::LearnedRange;
    Ok(GaussianDiffusion::new(Betas::Linear, STEPS, "", learnt)?)
}

/// The steps of a case.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers below 1000"
)]
pub(crate) fn steps_of(case: &Case) -> Result<Vec<usize>> {
    let steps = case.get_numbers("step")?.iter();
    Ok(steps.map(|step| *step as usize).collect())
}

/// What a case of [`variance_loss`] holds, in its order: ε̂, v, x_0, x_t.
pub(crate) const OF_VARIANCES: [&str; 4] = ["eps", "v", "x0", "x_t"];

fn variance_loss() -> Box<dyn Check> {
    Quantity::new(
        "variance-loss",
        "mean over the batch of Σ KL(q(x_{t−1} | x_t, x_0) ‖ N(μ, σ²))/ln 2, at t = 0 −log₂ of the probability of an 8-bit image; in v, and not in ε̂, \
         of which μ is made",
        "[eq:learned-variance-loss]; Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 15-16",
    )
    .draws(|| {
        (1..=4_usize, 1..=2_usize, 1..=3_usize, 1..=3_usize)
            .prop_flat_map(|(b, c, h, w)| {
                let shape = [b, c, h, w];
                let step = prop_oneof![Just(0), 1..STEPS];
                let part = || tensor_of(&shape, moderate());
                (
                    (part(), part(), part(), part()),
                    prop::collection::vec(step, b),
                )
            })
            .prop_map(|((x0, noise, off, v), step)| {
                // Pixels in [−1, 1], many at its ends; ε̂ beside the noise; v a little beyond its range.
                let x0 = x0.mapv(|x| x.clamp(-1.0, 1.0));
                let eps = (&noise + &off.mapv(|x| x / 4.0)).mapv(in_f32);
                let v = v.mapv(|v| v.clamp(-1.25, 1.25));
                let x_t = process().ok().and_then(|d| d.noised(&x0, &step, &noise).ok());
                let x_t = x_t.unwrap_or(noise).mapv(in_f32);
                Case::new()
                    .tensor("eps", eps)
                    .tensor("v", v)
                    .tensor("x0", x0)
                    .tensor("x_t", x_t)
                    .numbers("step", step.into_iter().map(|k| k as f64).collect())
            })
            .boxed()
    })
    .reference(|case| {
        let [eps, v, x0, x_t] = OF_VARIANCES.map(|name| case.get(name));
        let (eps, v, x0, x_t) = (eps?, v?, x0?, x_t?);
        let loss = gaussian::variance_loss(&process()?, (eps, v), (x0, x_t), &steps_of(case)?);
        let loss = loss.map_err(Error::reference)?;
        Ok(values([
            ("y", scalar(loss.loss)),
            ("grad_v", loss.grad),
            ("grad_eps", ArrayD::zeros(eps.raw_dim())),
        ]))
    })
    .bound(|case, rule| {
        let [eps, v, x0, x_t] = OF_VARIANCES.map(|name| case.get(name));
        let (eps, v, x0, x_t) = (eps?, v?, x0?, x_t?);
        let (d, t, p) = (process()?, steps_of(case)?, rule.compute);
        let bound = bound::gaussian::variance_loss(&d, (eps, v), (x0, x_t), &t, p);
        let bound = bound.map_err(Error::reference)?;
        Ok(bounds([
            ("y", bound.loss),
            ("grad_v", bound.grad),
            ("grad_eps", Tracked::exact(ArrayD::zeros(eps.raw_dim()))),
        ]))
    })
    .candle(|case, place| {
        variances_by(case, place, |eps, v, images, t| {
            Ok(gpu_gaussian::variance_loss(&gpu_process()?, (eps, v), images, t)?)
        })
    })
    .boxed()
}

/// A loss of variances and its gradients, by candle; ε̂, through which none may go, has a part in nothing else, and zeros where there is none.
pub(crate) fn variances_by(
    case: &Case,
    place: &Place,
    loss: impl Fn(&Tensor, &Tensor, (&Tensor, &Tensor), &[usize]) -> Result<Tensor>,
) -> Result<Computed> {
    let [x0, x_t] = ["x0", "x_t"].map(|name| place.tensor(case.get(name)?));
    let (x0, x_t) = (x0?, x_t?);
    let t = steps_of(case)?;
    differentiated(case, place, &["v", "eps"], |inputs| {
        let [v, eps] = [&inputs[0], &inputs[1]];
        // So that a gradient of 0 arrives where none is made.
        let nothing = (eps.zeros_like()? * eps)?.sum_all()?;
        let loss = loss(eps, v, (&x0, &x_t), &t)?;
        Ok((&loss + nothing.to_dtype(loss.dtype())?)?)
    })
}

fn edm_sigmas() -> Box<dyn Check> {
    let arguments = |case: &Case| {
        let n = |name: &str| case.get_number(name);
        Ok::<_, Error>((
            case.get_count("steps")?,
            n("rho")?,
            n("sigma_min")?,
            n("sigma_max")?,
        ))
    };
    Quantity::new(
        "edm-sigmas",
        "σ_i = (σ_max^{1/ρ} + i/(n−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ, σ_n = 0",
        "Karras et al. 2022, Eq. 5",
    )
    .draws(|| {
        (1..=20_usize, 1..=10_i32, positive(), positive())
            .prop_map(|(steps, rho, low, more)| {
                Case::new()
                    .count("steps", steps)
                    .number("rho", f64::from(rho))
                    .number("sigma_min", low / 64.0)
                    .number("sigma_max", low / 64.0 + 20.0 * more)
            })
            .boxed()
    })
    .reference(move |case| {
        let (steps, rho, low, high) = arguments(case)?;
        Ok(values([(
            "sigmas",
            list(sampler::edm_sigmas(steps, rho, low, high).map_err(Error::reference)?),
        )]))
    })
    .bound(move |case, rule| {
        let (steps, rho, low, high) = arguments(case)?;
        let sigmas = bound::sampler::sigmas(steps, rho, low, high, rule.compute);
        Ok(bounds([("sigmas", sigmas.map_err(Error::reference)?)]))
    })
    .candle(move |case, _| {
        let (steps, rho, low, high) = arguments(case)?;
        Ok(values([(
            "sigmas",
            list(gpu_sampler::edm_sigmas(steps, rho, low, high)?),
        )]))
    })
    .boxed()
}

/// z, two denoiser outputs, noise, and two noise levels `from` > `to` > 0.
fn step() -> BoxedStrategy<Case> {
    (1..=3_usize, 1..=4_usize)
        .prop_flat_map(|(b, n)| {
            let t = || tensor(&[b, n]);
            (t(), t(), t(), t(), positive(), positive())
        })
        .prop_map(|(z, denoised, next, noise, to, more)| {
            Case::new()
                .tensor("z", z)
                .tensor("denoised", denoised)
                .tensor("denoised_next", next)
                .tensor("noise", noise)
                .number("from", to + more)
                .number("to", to)
        })
        .boxed()
}

fn levels(case: &Case) -> Result<[f64; 2]> {
    Ok([case.get_number("from")?, case.get_number("to")?])
}

/// z' as both systems call it: at α = 1 the reference's x_t is the training system's z.
fn euler() -> Box<dyn Check> {
    Quantity::new(
        "sampler.euler",
        "z' = z + (σ' − σ)(z − x̂)/σ",
        "Karras et al. 2022, Alg. 1",
    )
    .draws(step)
    .reference(|case| {
        let [from, to] = levels(case)?;
        let z = sampler::euler_step(case.get("z")?, case.get("denoised")?, from, to);
        Ok(values([("z", z.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let ([from, to], p) = (levels(case)?, rule.compute);
        Ok(bounds([(
            "z",
            bound::sampler::euler_step(&exact(case, "z")?, &exact(case, "denoised")?, from, to, p),
        )]))
    })
    .candle(|case, place| {
        let [from, to] = levels(case)?;
        let z = place.tensor(case.get("z")?)?;
        let slope = gpu_sampler::slope(&z, &place.tensor(case.get("denoised")?)?, from)?;
        Ok(values([(
            "z",
            Place::array(&gpu_sampler::euler_step(&z, &slope, from, to)?)?,
        )]))
    })
    .boxed()
}

fn heun() -> Box<dyn Check> {
    Quantity::new(
        "sampler.heun",
        "z' = z + (σ' − σ)(d + d')/2, d' the slope at Euler's point",
        "Karras et al. 2022, Alg. 1",
    )
    .draws(step)
    .reference(|case| {
        let [from, to] = levels(case)?;
        let (z, denoised) = (case.get("z")?, case.get("denoised")?);
        let euler = sampler::euler_step(z, denoised, from, to).map_err(Error::reference)?;
        let z = sampler::heun_correction(z, denoised, &euler, case.get("denoised_next")?, from, to);
        Ok(values([("z", z.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let ([from, to], p) = (levels(case)?, rule.compute);
        let (z, denoised, next) = (
            exact(case, "z")?,
            exact(case, "denoised")?,
            exact(case, "denoised_next")?,
        );
        let euler = bound::sampler::euler_step(&z, &denoised, from, to, p);
        Ok(bounds([(
            "z",
            bound::sampler::heun_correction(&z, &denoised, &euler, &next, [from, to], p),
        )]))
    })
    .candle(|case, place| {
        let [from, to] = levels(case)?;
        let t = |name: &str| place.tensor(case.get(name)?);
        let z = t("z")?;
        let d = gpu_sampler::slope(&z, &t("denoised")?, from)?;
        let euler = gpu_sampler::euler_step(&z, &d, from, to)?;
        let d_next = gpu_sampler::slope(&euler, &t("denoised_next")?, to)?;
        Ok(values([(
            "z",
            Place::array(&gpu_sampler::heun_step(&z, &d, &d_next, from, to)?)?,
        )]))
    })
    .boxed()
}

fn ddim() -> Box<dyn Check> {
    Quantity::new(
        "sampler.ddim",
        "x_s = α_s x̂ + σ_s (x_t − α_t x̂)/σ_t at α = 1",
        "Song et al. 2021 (arXiv:2010.02502), Eq. 12 with η = 0",
    )
    .draws(step)
    .reference(|case| {
        let [from, to] = levels(case)?;
        let z = sampler::ddim_step(case.get("z")?, case.get("denoised")?, &Edm, to, from);
        Ok(values([("z", z.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let ([from, to], p) = (levels(case)?, rule.compute);
        let z = bound::sampler::ddim_step(
            &exact(case, "z")?,
            &exact(case, "denoised")?,
            &Edm,
            to,
            from,
            p,
        );
        Ok(bounds([("z", z)]))
    })
    .candle(|case, place| {
        let [from, to] = levels(case)?;
        let (z, denoised) = (
            place.tensor(case.get("z")?)?,
            place.tensor(case.get("denoised")?)?,
        );
        Ok(values([(
            "z",
            Place::array(&gpu_sampler::ddim_step(&z, &denoised, None, from, to, 0.0)?)?,
        )]))
    })
    .boxed()
}

/// Two levels with their samples, and a step before them.
fn two_steps() -> BoxedStrategy<Case> {
    (step(), positive())
        .prop_map(|(case, more)| {
            let before = case.get_number("from").map_or(more, |from| from + more);
            case.number("before", before)
        })
        .boxed()
}

/// With a step before it, as the first step, and as the last one, down to σ' = 0.
fn dpmpp_2m() -> Box<dyn Check> {
    const NAMES: [&str; 3] = ["z", "z_first", "z_last"];
    Quantity::new(
        "sampler.dpmpp-2m",
        "z' = (σ'/σ) z + (1 − σ'/σ)(x̂ + h/(2 h₋) (x̂ − x̂₋)), h = ln(σ/σ')",
        "Lu et al. 2022 (arXiv:2211.01095), Alg. 2",
    )
    .draws(two_steps)
    .reference(|case| {
        let ([from, to], before) = (levels(case)?, case.get_number("before")?);
        let (z, denoised) = (case.get("z")?, case.get("denoised")?);
        let previous = Some(sampler::Previous {
            denoised: case.get("denoised_next")?,
            sigma: before,
        });
        let all = [(previous, to), (None, to), (previous, 0.0)]
            .map(|(previous, to)| sampler::dpmpp_2m_step(z, denoised, previous, from, to));
        let named = NAMES.into_iter().zip(all);
        let all = named.map(|(name, z)| Ok((name.to_owned(), z.map_err(Error::reference)?)));
        all.collect()
    })
    .bound(|case, rule| {
        let ([from, to], before) = (levels(case)?, case.get_number("before")?);
        let (z, denoised) = (exact(case, "z")?, exact(case, "denoised")?);
        let before = (&exact(case, "denoised_next")?, before);
        let all = [(Some(before), to), (None, to), (Some(before), 0.0)].map(|(previous, to)| {
            bound::sampler::dpmpp_2m_step(&z, &denoised, previous, [from, to], rule.compute)
        });
        Ok(NAMES.map(str::to_owned).into_iter().zip(all).collect())
    })
    .candle(|case, place| {
        let ([from, to], before) = (levels(case)?, case.get_number("before")?);
        let t = |name: &str| place.tensor(case.get(name)?);
        let (z, denoised) = (t("z")?, t("denoised")?);
        let previous = gpu_sampler::Previous {
            denoised: t("denoised_next")?,
            sigma: before,
        };
        let previous = Some(&previous);
        let all = [(previous, to), (None, to), (previous, 0.0)]
            .map(|(previous, to)| gpu_sampler::dpmpp_2m_step(&z, &denoised, previous, from, to));
        let named = NAMES.into_iter().zip(all);
        let all = named.map(|(name, z)| Ok((name.to_owned(), Place::array(&z?)?)));
        all.collect()
    })
    .boxed()
}

fn ancestral() -> Box<dyn Check> {
    Quantity::new(
        "sampler.ddpm",
        "x_s ~ q(x_s | x_t, x_0 = x̂) with its noise given, at α = 1",
        "mathematics.md §1, third line; Ho et al. 2020, Alg. 2",
    )
    .draws(step)
    .reference(|case| {
        let [from, to] = levels(case)?;
        let z = sampler::ddpm_step(
            case.get("z")?,
            case.get("denoised")?,
            case.get("noise")?,
            &Edm,
            to,
            from,
        );
        Ok(values([("z", z.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let ([from, to], p) = (levels(case)?, rule.compute);
        let (z, denoised, noise) = (
            exact(case, "z")?,
            exact(case, "denoised")?,
            exact(case, "noise")?,
        );
        let bound = bound::sampler::ddpm_step(&z, &denoised, &noise, &Edm, [to, from], p);
        let host = host_posterior(&z, &denoised, &noise, [from, to]);
        let bound = bound.map_err(Error::reference)?.widened(&host);
        Ok(bounds([("z", bound)]))
    })
    .candle(|case, place| {
        let [from, to] = levels(case)?;
        let t = |name: &str| place.tensor(case.get(name)?);
        let z = gpu_sampler::ancestral_step(&t("z")?, &t("denoised")?, &t("noise")?, from, to)?;
        Ok(values([("z", Place::array(&z)?)]))
    })
    .boxed()
}

/// The posterior's coefficients are formed on the host in f64. With r = σ_s/σ_t, rounded: 1 − r² is off by at
/// most 4 units on either side, and the deviation σ_s √((1 − r)(1 + r)) relatively by half of r/(1 − r) + 3 units
/// from 1 − r, 2 from root and product, and at most 6 in the reference.
fn host_posterior(
    z: &Tracked,
    denoised: &Tracked,
    noise: &Tracked,
    [from, to]: [f64; 2],
) -> ArrayD<f64> {
    let (u, r) = (Precision::F64.unit, to / from);
    let deviation = to * ((1.0 - r) * (1.0 + r)).sqrt();
    let mean = (z.value.mapv(f64::abs) + denoised.value.mapv(f64::abs)) * (8.0 * u);
    mean + noise.value.mapv(f64::abs) * (deviation * u * (10.0 + r / (1.0 - r)))
}

fn churn() -> Box<dyn Check> {
    // γ = from/to − 1 is positive; the raised level is σ̂ = (1 + γ) to.
    let gamma = |case: &Case| {
        let [from, to] = levels(case)?;
        Ok::<_, Error>((to, from / to - 1.0))
    };
    Quantity::new(
        "sampler.churn",
        "z' = z + √(σ̂² − σ²) S_noise ε, σ̂ = (1 + γ)σ",
        "Karras et al. 2022, Alg. 2",
    )
    .draws(step)
    .reference(move |case| {
        let (sigma, gamma) = gamma(case)?;
        let z = sampler::churn_step(case.get("z")?, case.get("noise")?, sigma, gamma, 1.003);
        Ok(values([("z", z.map_err(Error::reference)?.0)]))
    })
    .bound(move |case, rule| {
        let (sigma, gamma) = gamma(case)?;
        let (z, noise) = (exact(case, "z")?, exact(case, "noise")?);
        Ok(bounds([(
            "z",
            bound::sampler::churn_step(&z, &noise, sigma, gamma, 1.003, rule.compute),
        )]))
    })
    .candle(move |case, place| {
        let (sigma, gamma) = gamma(case)?;
        let (z, noise) = (
            place.tensor(case.get("z")?)?,
            place.tensor(case.get("noise")?)?,
        );
        let z = gpu_sampler::churn_step(&z, &noise, 1.003, sigma, (1.0 + gamma) * sigma)?;
        Ok(values([("z", Place::array(&z)?)]))
    })
    .boxed()
}

fn guide() -> Box<dyn Check> {
    Quantity::new(
        "sampler.guidance",
        "x̂ = x̂_u + g (x̂_c − x̂_u)",
        "Ho and Salimans 2022 (arXiv:2207.12598)",
    )
    .draws(step)
    .reference(|case| {
        let g = case.get_number("to")?;
        let x = sampler::guide(case.get("z")?, case.get("denoised")?, g);
        Ok(values([("x_hat", x.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let (u, c, g) = (
            exact(case, "z")?,
            exact(case, "denoised")?,
            case.get_number("to")?,
        );
        Ok(bounds([(
            "x_hat",
            bound::sampler::guide(&u, &c, g, rule.compute),
        )]))
    })
    .candle(|case, place| {
        let (u, c) = (
            place.tensor(case.get("z")?)?,
            place.tensor(case.get("denoised")?)?,
        );
        Ok(values([(
            "x_hat",
            Place::array(&gpu_sampler::guided(&u, &c, case.get_number("to")?)?)?,
        )]))
    })
    .boxed()
}
