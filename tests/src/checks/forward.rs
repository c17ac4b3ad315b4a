//! Schedules, the forward process and the parametrisations.

use std::sync::Mutex;

use candle_core::Tensor;
use ndarray::{Array1, ArrayD};
use proptest::prelude::*;
use sadm_gpu::{
    forward::schedule::Schedule as GpuSchedule,
    network::{Condition, Mode, Network},
    objective::parametrisation::Parametrisation as GpuParametrisation,
    objective::preconditioner::{NoiseCondition as GpuNoiseCondition, Preconditioner},
    structure::Eta as GpuEta,
};
use sadm_reference::{
    bound::{self, Precision, Tracked, parametrisation::CoefficientsBound},
    forward, parametrisation,
    parametrisation::{NoiseCondition, Parametrisation},
    precondition::Sigma,
    schedule::ScheduleKind,
    structure::{self, Eta},
};

use super::{exact, list, per_sample};
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::{positive, tensor, time},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let schedules = ScheduleKind::all().map(schedule);
    let etas = ScheduleKind::all().map(eta);
    let kinds = Parametrisation::ALL.into_iter();
    schedules
        .chain(etas)
        .chain([diffusion()])
        .chain(kinds.clone().map(coefficients))
        .chain(NoiseCondition::ALL.map(noise_condition))
        .chain(kinds.map(denoised))
        .collect()
}

/// The schedule of a case in both systems.
pub(super) fn schedule_of(case: &Case) -> Result<(ScheduleKind, GpuSchedule)> {
    let name = case.get_text("schedule")?;
    Ok((name.parse().map_err(Error::reference)?, name.parse()?))
}

/// One to five times inside the domain: k/1024, for EDM up to 80.
pub(super) fn times(kind: ScheduleKind) -> BoxedStrategy<Vec<f64>> {
    let scale = if kind == ScheduleKind::EDM { 80.0 } else { 1.0 };
    prop::collection::vec(time().prop_map(move |t| t * scale), 1..=5).boxed()
}

fn schedule(kind: ScheduleKind) -> Box<dyn Check> {
    Quantity::new(
        format!("schedule.{kind}"),
        "α_t, σ_t, λ_t = ln(α_t²/σ_t²), dλ_t/dt",
        "SADM Eq. 1-2; mathematics.md §1",
    )
    .draws(move || {
        times(kind)
            .prop_map(move |t| {
                Case::new()
                    .text("schedule", &kind.to_string())
                    .numbers("t", t)
            })
            .boxed()
    })
    .reference(|case| {
        let schedule = schedule_of(case)?.0.schedule();
        let at = |f: &dyn Fn(f64) -> f64| {
            Ok::<_, Error>(list(case.get_numbers("t")?.iter().map(|&t| f(t))))
        };
        Ok(values([
            ("alpha", at(&|t| schedule.alpha(t))?),
            ("sigma", at(&|t| schedule.sigma(t))?),
            ("lambda", at(&|t| schedule.lambda(t))?),
            ("lambda_grad", at(&|t| schedule.lambda_grad(t))?),
        ]))
    })
    .bound(|case, rule| {
        let levels =
            bound::schedule::levels(schedule_of(case)?.0, case.get_numbers("t")?, rule.compute);
        let levels = levels.map_err(Error::reference)?;
        Ok(bounds([
            ("alpha", levels.alpha),
            ("sigma", levels.sigma),
            ("lambda", levels.lambda),
            ("lambda_grad", levels.lambda_grad),
        ]))
    })
    .candle(|case, _| {
        let schedule = schedule_of(case)?.1;
        let at = |f: &dyn Fn(f64) -> f64| {
            Ok::<_, Error>(list(case.get_numbers("t")?.iter().map(|&t| f(t))))
        };
        Ok(values([
            ("alpha", at(&|t| schedule.alpha(t))?),
            ("sigma", at(&|t| schedule.sigma(t))?),
            ("lambda", at(&|t| schedule.lambda(t))?),
            ("lambda_grad", at(&|t| schedule.lambda_grad(t))?),
        ]))
    })
    .boxed()
}

/// η_t of the structural loss, every kind at once.
fn eta(kind: ScheduleKind) -> Box<dyn Check> {
    Quantity::new(
        format!("eta.{kind}"),
        "η_t: 1/max(t, t_min), 1, SNR/(1 + SNR) = α²/(α² + σ²)",
        "SADM Eq. 8; mathematics.md §3",
    )
    .draws(move || {
        (times(kind), positive())
            .prop_map(move |(t, t_min)| {
                Case::new()
                    .text("schedule", &kind.to_string())
                    .numbers("t", t)
                    .number("t_min", t_min / 8.0)
            })
            .boxed()
    })
    .reference(|case| {
        let (schedule, t_min) = (schedule_of(case)?.0.schedule(), case.get_number("t_min")?);
        let at = |kind: Eta| {
            let eta =
                |&t| structure::eta(kind, t, t_min, schedule.as_ref()).map_err(Error::reference);
            let eta = case.get_numbers("t")?.iter().map(eta);
            Ok((kind.to_string(), list(eta.collect::<Result<Vec<f64>>>()?)))
        };
        Eta::all().map(at).collect()
    })
    .bound(|case, rule| {
        let (schedule, t, t_min) = (
            schedule_of(case)?.0,
            case.get_numbers("t")?,
            case.get_number("t_min")?,
        );
        let at = |kind: Eta| {
            let bound = bound::structure::eta(kind, schedule, t, t_min, rule.compute);
            Ok((kind.to_string(), bound.map_err(Error::reference)?))
        };
        Eta::all().map(at).collect()
    })
    .candle(|case, _| {
        let (schedule, t_min) = (schedule_of(case)?.1, case.get_number("t_min")?);
        let at = |kind: Eta| {
            let same: GpuEta = kind.to_string().parse()?;
            let eta = same.values(schedule, case.get_numbers("t")?, t_min);
            Ok((kind.to_string(), list(eta)))
        };
        Eta::all().map(at).collect()
    })
    .boxed()
}

/// A batch `[B, C, H, W]` with sides up to 2, with its noise and levels.
fn noised_batch() -> BoxedStrategy<Case> {
    (1..=4_usize, 1..=2_usize, 1..=2_usize, 1..=2_usize)
        .prop_flat_map(|(b, c, h, w)| {
            let shape = [b, c, h, w];
            let levels = || prop::collection::vec(time(), b);
            (tensor(&shape), tensor(&shape), levels(), levels())
        })
        .prop_map(|(x0, eps, alpha, sigma)| {
            Case::new()
                .tensor("x0", x0)
                .tensor("eps", eps)
                .numbers("alpha", alpha)
                .numbers("sigma", sigma)
        })
        .boxed()
}

fn diffusion() -> Box<dyn Check> {
    Quantity::new(
        "forward",
        "x_t = α_t x_0 + σ_t ε, each sample at its own time",
        "SADM Eq. 1",
    )
    .draws(noised_batch)
    .reference(|case| {
        let x_t = forward::diffuse_batch(
            case.get("x0")?,
            case.get("eps")?,
            case.get_numbers("alpha")?,
            case.get_numbers("sigma")?,
        );
        Ok(values([("x_t", x_t.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let x_t = bound::forward::diffuse(
            case.get("x0")?,
            case.get("eps")?,
            case.get_numbers("alpha")?,
            case.get_numbers("sigma")?,
            rule.compute,
        );
        Ok(bounds([("x_t", x_t.map_err(Error::reference)?)]))
    })
    .candle(|case, place| {
        let x_t = sadm_gpu::forward::diffuse(
            &place.tensor(case.get("x0")?)?,
            &place.tensor(case.get("eps")?)?,
            case.get_numbers("alpha")?,
            case.get_numbers("sigma")?,
        )?;
        Ok(values([("x_t", Place::array(&x_t)?)]))
    })
    .boxed()
}

fn coefficients(kind: Parametrisation) -> Box<dyn Check> {
    Quantity::new(
        format!("coefficients.{kind}"),
        "skip, out, input, noise of x̂ = skip·x_t + out·F(input·x_t, noise)",
        "Karras et al. 2022, Table 1; mathematics.md §2",
    )
    .draws(move || {
        (1..=5_usize)
            .prop_flat_map(|n| {
                (
                    prop::collection::vec(positive(), n),
                    prop::collection::vec(positive(), n),
                    positive(),
                )
            })
            .prop_map(|(alpha, sigma, sigma_data)| {
                Case::new()
                    .numbers("alpha", alpha)
                    .numbers("sigma", sigma)
                    .number("sigma_data", sigma_data)
            })
            .boxed()
    })
    .reference(move |case| {
        let rows = coefficient_rows(case, |alpha, sigma, sigma_data| {
            let c = parametrisation::coefficients(kind, alpha, sigma, sigma_data)
                .map_err(Error::reference)?;
            Ok([c.skip, c.out, c.input, c.noise])
        })?;
        Ok(values(rows))
    })
    .bound(move |case, rule| {
        let (alpha, sigma) = (case.get_numbers("alpha")?, case.get_numbers("sigma")?);
        let sigma_data = case.get_number("sigma_data")?;
        let c = bound::parametrisation::coefficients(kind, alpha, sigma, sigma_data, rule.compute);
        let c = c.map_err(Error::reference)?;
        Ok(bounds([
            ("skip", c.skip),
            ("out", c.out),
            ("input", c.input),
            ("noise", c.noise),
        ]))
    })
    .candle(move |case, _| {
        let parametrisation = kind.to_string().parse()?;
        let noise = GpuNoiseCondition::LogSigma;
        let rows = coefficient_rows(case, |alpha, sigma, sigma_data| {
            let around = Preconditioner {
                parametrisation,
                noise,
                sigma_data,
            };
            let c = around.coefficients(alpha, sigma);
            Ok([c.skip, c.out, c.input, c.noise])
        })?;
        Ok(values(rows))
    })
    .boxed()
}

fn coefficient_rows(
    case: &Case,
    f: impl Fn(f64, f64, f64) -> Result<[f64; 4]>,
) -> Result<[(&'static str, ArrayD<f64>); 4]> {
    let sigma_data = case.get_number("sigma_data")?;
    let pairs = case
        .get_numbers("alpha")?
        .iter()
        .zip(case.get_numbers("sigma")?);
    let rows = pairs
        .map(|(&alpha, &sigma)| f(alpha, sigma, sigma_data))
        .collect::<Result<Vec<[f64; 4]>>>()?;
    let column = |i: usize| {
        rows.iter()
            .map(|row| row[i])
            .collect::<Array1<f64>>()
            .into_dyn()
    };
    Ok([
        ("skip", column(0)),
        ("out", column(1)),
        ("input", column(2)),
        ("noise", column(3)),
    ])
}

/// c_noise at levels of all sizes, some of them exactly those of DDPM's steps.
fn noise_condition(kind: NoiseCondition) -> Box<dyn Check> {
    let levels = || {
        let ddpm = |k| {
            let lambda = ScheduleKind::DDPM.schedule().lambda(f64::from(k) / 999.0);
            (-0.5 * lambda).exp()
        };
        prop_oneof![
            2 => (-96..=96_i32).prop_map(|k| (f64::from(k) / 12.0).exp2()),
            1 => (0..1000_i32).prop_map(ddpm),
            1 => positive(),
        ]
    };
    Quantity::new(
        format!("noise-condition.{kind}"),
        "c_noise of σ': ln(σ')/4; 999 t with σ'_t = σ' under vp-linear; the nearest step of DDPM; ln(σ'/2); the nearest level of improved DDPM",
        "Karras et al. 2022, Table 1; Ho et al. 2020",
    )
    .draws(move || {
        prop::collection::vec(levels(), 1..=5)
            .prop_map(|ratio| Case::new().numbers("ratio", ratio))
            .boxed()
    })
    .reference(move |case| {
        let told = case.get_numbers("ratio")?.iter();
        let told = told.map(|&ratio| Ok(kind.at(Sigma::new(ratio).map_err(Error::reference)?)));
        Ok(values([("noise", list(told.collect::<Result<Vec<_>>>()?))]))
    })
    .bound(move |case, rule| {
        let ratio = Tracked::exact(list(case.get_numbers("ratio")?.iter().copied()));
        let noise = bound::precondition::noise_condition(kind, &ratio, rule.compute);
        Ok(bounds([("noise", noise.map_err(Error::reference)?)]))
    })
    .candle(move |case, _| {
        let kind: GpuNoiseCondition = kind.to_string().parse()?;
        let told = case
            .get_numbers("ratio")?
            .iter()
            .map(|&ratio| kind.at(ratio));
        Ok(values([("noise", list(told))]))
    })
    .boxed()
}

/// A network whose answer is given, and which remembers what it was asked.
struct Given {
    answer: Tensor,
    asked: Mutex<Option<(Tensor, Vec<f64>)>>,
}

impl Network for Given {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, _: Mode<'_>) -> sadm_gpu::Result<Tensor> {
        if let Ok(mut asked) = self.asked.lock() {
            *asked = Some((x.clone(), at.noise.to_vec()));
        }
        Ok(self.answer.clone())
    }
}

fn denoised(kind: Parametrisation) -> Box<dyn Check> {
    Quantity::new(
        format!("denoise.{kind}"),
        "x̂ = skip·x_t + out·F(input·x_t, noise) around a given F; the input F sees",
        "Karras et al. 2022, Eq. 7; mathematics.md §2",
    )
    .draws(|| {
        (
            1..=3_usize,
            prop::sample::select(ScheduleKind::all().collect::<Vec<_>>()),
            prop::sample::select(NoiseCondition::ALL.to_vec()),
        )
            .prop_flat_map(|(b, kind, noise)| {
                let shape = [b, 1, 2, 2];
                (
                    tensor(&shape),
                    tensor(&shape),
                    prop::collection::vec(time(), b),
                    Just((kind, noise)),
                )
            })
            .prop_map(|(x_t, network, t, (schedule, noise))| {
                Case::new()
                    .tensor("x_t", x_t)
                    .tensor("network", network)
                    .numbers("t", t)
                    .text("schedule", &schedule.to_string())
                    .text("noise", &noise.to_string())
                    .number("sigma_data", 0.5)
            })
            .boxed()
    })
    .reference(move |case| {
        let c = coefficients_of(kind, case, false)?;
        let (x_t, network) = (case.get("x_t")?, case.get("network")?);
        let spread = |c: &Tracked| per_sample_exact(c, x_t.ndim());
        Ok(values([
            ("x_hat", x_t * &spread(&c.skip) + network * &spread(&c.out)),
            ("input", x_t * &spread(&c.input)),
            ("noise", c.noise.value.clone()),
        ]))
    })
    .bound(move |case, rule| {
        let c = coefficients_of(kind, case, true)?;
        let (x_t, network) = (exact(case, "x_t")?, exact(case, "network")?);
        let (rank, p) = (x_t.shape().len(), rule.compute);
        let spread = |c: &Tracked| per_sample(c.clone(), rank, p);
        Ok(bounds([
            (
                "x_hat",
                bound::parametrisation::denoised(
                    &x_t,
                    &network,
                    &spread(&c.skip),
                    &spread(&c.out),
                    p,
                ),
            ),
            ("input", x_t.mul(&spread(&c.input), p)),
            ("noise", c.noise.clone()),
        ]))
    })
    .candle(move |case, place| {
        let network = Given {
            answer: place.tensor(case.get("network")?)?,
            asked: Mutex::new(None),
        };
        let around = Preconditioner {
            parametrisation: kind.to_string().parse::<GpuParametrisation>()?,
            noise: noise_of(case)?.to_string().parse()?,
            sigma_data: case.get_number("sigma_data")?,
        };
        let prediction = around.denoise(
            &network,
            &place.tensor(case.get("x_t")?)?,
            (schedule_of(case)?.1, case.get_numbers("t")?),
            None,
            Mode::Evaluate,
        )?;
        let asked = network.asked.into_inner().ok().flatten();
        let (input, noise) =
            asked.ok_or_else(|| Error::Gpu("the network was never asked".to_owned()))?;
        Ok(values([
            ("x_hat", Place::array(&prediction.x_hat)?),
            ("input", Place::array(&input)?),
            ("noise", list(noise)),
        ]))
    })
    .boxed()
}

/// What the network of a case is told; cases of older versions do not say it.
fn noise_of(case: &Case) -> Result<NoiseCondition> {
    match case.get_text("noise") {
        Ok(name) => name.parse().map_err(Error::reference),
        Err(_) => Ok(NoiseCondition::LogSigma),
    }
}

fn coefficients_of(kind: Parametrisation, case: &Case, erring: bool) -> Result<CoefficientsBound> {
    let around = parametrisation::Preconditioner {
        parametrisation: kind,
        noise: noise_of(case)?,
        sigma_data: case.get_number("sigma_data")?,
    };
    denoiser_coefficients(
        &around,
        schedule_of(case)?.0,
        case.get_numbers("t")?,
        erring,
    )
}

/// The coefficients at several times and, if `erring`, the errors of computing them on the host: those of
/// the levels and of the formulas in f64.
pub(crate) fn denoiser_coefficients(
    around: &parametrisation::Preconditioner,
    schedule: ScheduleKind,
    t: &[f64],
    erring: bool,
) -> Result<CoefficientsBound> {
    let (kind, host) = (around.parametrisation, Precision::F64);
    let levels = bound::schedule::levels(schedule, t, host).map_err(Error::reference)?;
    let (alpha, sigma) = (levels.alpha.value.iter(), levels.sigma.value.iter());
    let (alpha, sigma): (Vec<f64>, Vec<f64>) = alpha.copied().zip(sigma.copied()).unzip();
    let c = bound::parametrisation::coefficients(kind, &alpha, &sigma, around.sigma_data, host);
    let mut c = c.map_err(Error::reference)?;
    if erring {
        // Every coefficient is a smooth function of (α, σ) whose relative condition is at most 2 in each.
        let relative = |x: &Tracked| &x.error / &x.value.mapv(f64::abs);
        let drift = relative(&levels.alpha) + relative(&levels.sigma);
        for part in [&mut c.skip, &mut c.out, &mut c.input] {
            *part = part.widened(&(&part.value.mapv(f64::abs) * &drift * 2.0));
        }
    }
    let ratio = levels.sigma.div(&levels.alpha, host);
    c.noise = bound::precondition::noise_condition(around.noise, &ratio, host)
        .map_err(Error::reference)?;
    Ok(c)
}

fn per_sample_exact(c: &Tracked, rank: usize) -> ArrayD<f64> {
    let mut shape = vec![1; rank];
    shape[0] = c.value.len();
    c.reshape(&shape).value
}
