//! EDM's sampler family: its grids of levels, and its steps in every time and at every scale.

use proptest::prelude::*;
use sadm_gpu::sampler as gpu;
use sadm_reference::{
    bound,
    sampler::{
        Family,
        family::{Discretization, Scaling, TimeSchedule},
    },
};

use super::{exact, list};
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::{positive, tensor},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![grids(), step()]
}

/// A grid's range.
fn range(case: &Case) -> Result<[f64; 2]> {
    Ok([case.get_number("sigma_min")?, case.get_number("sigma_max")?])
}

fn chosen<T: std::str::FromStr>(case: &Case, name: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    case.get_text(name)?.parse().map_err(Error::reference)
}

fn family(case: &Case) -> Result<Family> {
    let [low, high] = range(case)?;
    Ok(Family {
        discretization: chosen(case, "discretization")?,
        schedule: chosen(case, "schedule")?,
        scaling: chosen(case, "scaling")?,
        steps: case.get_count("steps")?,
        second_order: case.get_count("evaluations")? == 2,
        sigma_min: Some(low),
        sigma_max: Some(high),
        alpha: case.get_number("alpha")?,
        ..Family::default()
    })
}

fn gpu_family(case: &Case) -> Result<gpu::Family> {
    Ok(gpu::Family {
        discretization: case.get_text("discretization")?.parse()?,
        schedule: case.get_text("schedule")?.parse()?,
        scaling: case.get_text("scaling")?.parse()?,
        alpha: case.get_number("alpha")?,
    })
}

fn choices() -> BoxedStrategy<Case> {
    let of = |names: Vec<String>| prop::sample::select(names);
    (
        of(Discretization::ALL
            .iter()
            .map(ToString::to_string)
            .collect()),
        of(TimeSchedule::ALL.iter().map(ToString::to_string).collect()),
        of(Scaling::ALL.iter().map(ToString::to_string).collect()),
        (2..=12_usize, 1..=2_usize),
        prop::sample::select(vec![0.5, 0.6, 1.0]),
        (positive(), positive()),
    )
        .prop_map(
            |(grid, time, scaling, (steps, evaluations), alpha, (low, more))| {
                Case::new()
                    .text("discretization", &grid)
                    .text("schedule", &time)
                    .text("scaling", &scaling)
                    .count("steps", steps)
                    .count("evaluations", evaluations)
                    .number("alpha", alpha)
                    .number("sigma_min", low / 64.0)
                    .number("sigma_max", low / 64.0 + 20.0 * more)
            },
        )
        .boxed()
}

fn grids() -> Box<dyn Check> {
    Quantity::new(
        "edm-sigmas.family",
        "noise levels of the grids vp, ve, iddpm and edm",
        "Karras et al. 2022, Table 1",
    )
    .draws(choices)
    .reference(|case| {
        let levels = family(case)?.levels(range(case)?);
        Ok(values([(
            "sigmas",
            list(levels.map_err(Error::reference)?),
        )]))
    })
    .bound(|case, rule| {
        let levels = bound::sampler::family_levels(&family(case)?, range(case)?, rule.compute);
        Ok(bounds([("sigmas", levels.map_err(Error::reference)?)]))
    })
    .candle(|case, _| {
        let levels = gpu_family(case)?.levels(case.get_count("steps")?, 7.0, range(case)?)?;
        Ok(values([("sigmas", list(levels))]))
    })
    .boxed()
}

/// A step between two levels of the range; the last one goes down to 0.
fn step() -> Box<dyn Check> {
    Quantity::new(
        "sampler.family",
        "x' = x + h ((1 − 1/(2α)) d + d'/(2α)), d = (σ̇/σ + ṡ/s) x − (σ̇ s/σ) x̂",
        "Karras et al. 2022, Alg. 1 and 3",
    )
    .draws(|| {
        let shape = (1..=3_usize, 1..=4_usize);
        (
            choices(),
            shape,
            0.0..0.9_f64,
            0.0..1.0_f64,
            prop::bool::weighted(0.2),
        )
            .prop_flat_map(|(case, (b, n), first, way, last)| {
                let t = || tensor(&[b, n]);
                (Just((case, first, way, last)), t(), t(), t())
            })
            .prop_map(|((case, first, way, last), z, denoised, next)| {
                let between = |low: f64, high: f64, share: f64| low + share * (high - low);
                let [low, high] = range(&case).unwrap_or([0.1, 1.0]);
                let from = between(high, low, first);
                let to = if last { 0.0 } else { between(from, low, way) };
                case.number("from", from)
                    .number("to", to)
                    .tensor("z", z)
                    .tensor("denoised", denoised)
                    .tensor("denoised_next", next)
            })
            .boxed()
    })
    .reference(|case| {
        let (family, levels) = (family(case)?, levels(case)?);
        let path = family.path(range(case)?);
        let scale = |sigma: f64| path.scale(path.time(sigma));
        let mut answers = [case.get("denoised_next")?, case.get("denoised")?].to_vec();
        let mut denoise = |_: &ndarray::ArrayD<f64>, _: f64| {
            // Asked at most twice.
            answers.pop().cloned().unwrap_or_default()
        };
        let x = case.get("z")? * scale(levels[0]);
        let x = family.step(&path, &x, levels, &mut denoise);
        Ok(values([(
            "z",
            x.map_err(Error::reference)? / scale(levels[1]),
        )]))
    })
    .bound(|case, rule| {
        let of = |name: &str| exact(case, name);
        let (z, denoised) = (of("z")?, [&of("denoised")?, &of("denoised_next")?]);
        let (family, range) = (family(case)?, range(case)?);
        let z =
            bound::sampler::family_step(&family, range, &z, denoised, levels(case)?, rule.compute);
        Ok(bounds([("z", z)]))
    })
    .candle(|case, place| {
        let of = |name: &str| place.tensor(case.get(name)?);
        let [z, denoised, next] = [of("z")?, of("denoised")?, of("denoised_next")?];
        let [from, to] = levels(case)?;
        // The first answer belongs to the step's beginning.
        let asked = std::cell::Cell::new(false);
        let denoise = |_: &candle_core::Tensor, _: f64| {
            let again = asked.replace(true);
            Ok(if again { &next } else { &denoised }.clone())
        };
        let second = case.get_count("evaluations")? == 2;
        let z = gpu_family(case)?.step(range(case)?, &z, [from, to], second, &denoise)?;
        Ok(values([("z", Place::array(&z)?)]))
    })
    .boxed()
}

fn levels(case: &Case) -> Result<[f64; 2]> {
    Ok([case.get_number("from")?, case.get_number("to")?])
}
