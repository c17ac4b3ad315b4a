//! What a run's course decides: the law of t, and the learning rate's.

use ndarray::{Array1, ArrayD};
use proptest::prelude::*;
use sadm_gpu::{
    config::{Decay as GpuDecay, ObjectiveConfig, TimeLaw as GpuTimeLaw},
    optim, train,
};
use sadm_reference::{
    bound,
    rate::{self, Decay},
    schedule::ScheduleKind,
    time::TimeLaw,
};

use super::{forward::schedule_of, list};
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, scalar, values},
    error::{Error, Result},
};

/// The laws of t by name.
const LAWS: [&str; 5] = [
    "uniform",
    "soft-truncation",
    "log-normal",
    "log-uniform",
    "iddpm-step",
];

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let laws = LAWS.map(times);
    let rates = Decay::ALL.map(learning_rate);
    laws.into_iter().chain(rates).collect()
}

/// The law of t of a case: its name, and the two numbers that it has (none of `iddpm-step`).
pub(crate) fn law_of(name: &str, [first, second]: [f64; 2]) -> Result<TimeLaw> {
    Ok(match name {
        "uniform" => TimeLaw::Uniform {
            low: first,
            high: second,
        },
        "soft-truncation" => TimeLaw::SoftTruncation {
            low: first,
            high: second,
        },
        "log-normal" => TimeLaw::LogNormal {
            mean: first,
            std: second,
        },
        "log-uniform" => TimeLaw::LogUniform {
            low: first,
            high: second,
        },
        "iddpm-step" => TimeLaw::IddpmStep,
        other => {
            let known = LAWS.join(", ");
            return Err(Error::Reference(format!(
                "the law of t must be one of {known}, got `{other}`"
            )));
        }
    })
}

fn numbers_of(case: &Case) -> Result<[f64; 2]> {
    Ok([case.get_number("first")?, case.get_number("second")?])
}

fn times(law: &'static str) -> Box<dyn Check> {
    let draw = move || match law {
        "log-normal" => (-256..=256_i32).prop_map(|k| f64::from(k) / 64.0).boxed(),
        // As the training system draws them: multiples of 2⁻⁵³.
        _ => (0..1_u64 << 53)
            .prop_map(|k| k as f64 * 2f64.powi(-53))
            .boxed(),
    };
    Quantity::new(
        format!("time.{law}"),
        "t of random draws: (1 − u) low + u high, after a τ of the batch; where ln(σ/α) is mean + std·z or (1 − u) ln low + u ln high; or at a level of improved DDPM",
        "Karras et al. 2022, Table 1; Kim et al. 2022 (arXiv:2106.05527)",
    )
    .draws(move || {
        let kinds: Vec<ScheduleKind> = ScheduleKind::all().collect();
        (
            prop::collection::vec(draw(), 2..=5),
            prop::sample::select(kinds),
            -100..=100_i32,
            1..=100_i32,
        )
            .prop_map(move |(draws, schedule, first, second)| {
                let [first, second] = match law {
                    "log-normal" => [f64::from(first) / 64.0, f64::from(second) / 64.0],
                    "log-uniform" => {
                        [f64::from(1 + first.abs()) / 256.0, 0.5 + f64::from(second)]
                    }
                    _ => [
                        f64::from(first.abs()) / 300.0,
                        0.5 + f64::from(second) / 300.0,
                    ],
                };
                Case::new()
                    .text("schedule", &schedule.to_string())
                    .number("first", first)
                    .number("second", second)
                    .numbers("draws", draws)
            })
            .boxed()
    })
    .reference(move |case| {
        let (schedule, law) = (schedule_of(case)?.0.schedule(), law_of(law, numbers_of(case)?)?);
        let t = law.times(case.get_numbers("draws")?, schedule.as_ref());
        Ok(values([("t", list(t))]))
    })
    .bound(move |case, rule| {
        let (schedule, law) = (schedule_of(case)?.0.schedule(), law_of(law, numbers_of(case)?)?);
        let draws = case.get_numbers("draws")?;
        let t = bound::time::times(&law, draws, schedule.as_ref(), rule.compute);
        Ok(bounds([("t", t)]))
    })
    .candle(move |case, _| {
        let [first, second] = numbers_of(case)?;
        let draws = case.get_numbers("draws")?;
        let (time, count) = match law {
            "log-normal" => (GpuTimeLaw::LogNormal, draws.len()),
            "log-uniform" => (GpuTimeLaw::LogUniform, draws.len()),
            "iddpm-step" => (GpuTimeLaw::IddpmStep, draws.len()),
            "soft-truncation" => (GpuTimeLaw::SoftTruncation, draws.len() - 1),
            _ => (GpuTimeLaw::Uniform, draws.len()),
        };
        let objective = ObjectiveConfig {
            schedule: schedule_of(case)?.1,
            time,
            time_min: first,
            time_max: second,
            p_mean: first,
            p_std: second,
            sigma_min: first,
            sigma_max: second,
            ..ObjectiveConfig::default()
        };
        Ok(values([("t", list(train::times(&objective, draws, count)))]))
    })
    .boxed()
}

fn learning_rate(decay: Decay) -> Box<dyn Check> {
    let of = |case: &Case| {
        let count = |name: &str| case.get_count(name);
        Ok::<_, Error>((
            count("number")?,
            count("total")?,
            case.get_number("warmup")?,
        ))
    };
    Quantity::new(
        format!("learning-rate.{decay}"),
        "factor of the learning rate: (n + 1)/r in the warm-up of r = ⌈warmup · N⌉ updates, then the decay",
        "[eq:learning-rate]",
    )
    .draws(|| {
        (1..=5000_usize, 0..=16_u32)
            .prop_flat_map(|(total, warmup)| (0..total, Just(total), Just(f64::from(warmup) / 32.0)))
            .prop_map(|(number, total, warmup)| {
                Case::new()
                    .count("number", number)
                    .count("total", total)
                    .number("warmup", warmup)
            })
            .boxed()
    })
    .reference(move |case| {
        let (number, total, warmup) = of(case)?;
        let factor = rate::factor(number, total, warmup, decay);
        Ok(values([("factor", scalar(factor))]))
    })
    .bound(move |case, rule| {
        let (number, total, warmup) = of(case)?;
        let factor = bound::rate::factor(number, total, warmup, decay, rule.compute);
        Ok(bounds([("factor", factor)]))
    })
    .candle(move |case, _| {
        let (number, total, warmup) = of(case)?;
        let decay = match decay {
            Decay::None => GpuDecay::None,
            Decay::Linear => GpuDecay::Linear,
            Decay::Cosine => GpuDecay::Cosine,
        };
        let factor = optim::rate(number, total, warmup, decay);
        Ok(values([("factor", scalar(factor))]))
    })
    .boxed()
}

/// Numbers `[N]`.
pub(crate) fn numbers(x: &[f64]) -> ArrayD<f64> {
    Array1::from(x.to_vec()).into_dyn()
}
