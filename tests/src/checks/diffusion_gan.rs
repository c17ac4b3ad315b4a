//! Diffusion-GAN: the chain's levels, the law of t, the controller of T, and what the plug-in lays before a discriminator.

use candle_core::{DType, Tensor};
use ndarray::ArrayD;
use proptest::prelude::*;
use sadm_gpu::diffusion_gan as gpu;
use sadm_gpu::random::Streams;
use sadm_reference::{
    bound::{Precision, Tracked, diffusion_gan as bound},
    diffusion_gan::{
        Betas, Controller, Priority, State, Update, alpha_bars, diffuse, diffuse_vjp, pool, time,
    },
};

use super::{differentiated, exact, list};
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::tensor,
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let levels = Betas::ALL.into_iter().zip(gpu::Betas::ALL);
    let times = Priority::ALL.into_iter().zip(gpu::Priority::ALL);
    let levels = levels.map(|(ours, theirs)| levels_of(ours, theirs));
    levels
        .chain(times.map(|(ours, theirs)| times_of(ours, theirs)))
        .chain([true, false].map(controller))
        .chain([plug_in()])
        .collect()
}

fn levels_of(kind: Betas, of_gpu: gpu::Betas) -> Box<dyn Check> {
    let arguments = |case: &Case| {
        let end = |name: &str| case.get_number(name);
        Ok::<_, Error>((
            end("beta_start")?,
            end("beta_end")?,
            case.get_count("steps")?,
        ))
    };
    Quantity::new(
        format!("diffusion-gan-levels.{kind}"),
        "β_1, …, β_T and ᾱ_t = Π (1 − β_i)",
        "Diffusion-GAN (arXiv:2206.02262), Eq. 1 [eq:gan-betas] [eq:gan-alpha-bar]",
    )
    .draws(|| {
        (0..=128_u32, 0..=128_u32, 1..=24_usize)
            .prop_map(|(start, end, steps)| {
                Case::new()
                    .number("beta_start", f64::from(start) / 300.0)
                    .number("beta_end", f64::from(end) / 300.0)
                    .count("steps", steps)
            })
            .boxed()
    })
    .reference(move |case| {
        let (start, end, steps) = arguments(case)?;
        let betas = kind.betas(start, end, steps).map_err(Error::reference)?;
        let bars = alpha_bars(&betas).map_err(Error::reference)?;
        Ok(values([("beta", list(betas)), ("alpha_bar", list(bars))]))
    })
    .bound(move |case, rule| {
        let (start, end, steps) = arguments(case)?;
        let betas = bound::betas(kind, start, end, steps, rule.compute);
        let betas = betas.map_err(Error::reference)?;
        let bars = bound::alpha_bars(&betas, rule.compute).map_err(Error::reference)?;
        Ok(bounds([("beta", betas), ("alpha_bar", bars)]))
    })
    .candle(move |case, _| {
        let (start, end, steps) = arguments(case)?;
        let betas = of_gpu.betas(start, end, steps)?;
        let bars = gpu::alpha_bars(&betas);
        Ok(values([("beta", list(betas)), ("alpha_bar", list(bars))]))
    })
    .boxed()
}

fn times_of(law: Priority, of_gpu: gpu::Priority) -> Box<dyn Check> {
    let reference = move |case: &Case| {
        let steps = case.get_count("steps")?;
        let of = |&u: &f64| time(law, steps, u).map_err(Error::reference);
        (case.get_numbers("u")?.iter().map(of)).collect::<Result<Vec<usize>>>()
    };
    Quantity::new(
        format!("diffusion-gan-times.{law}"),
        "t of u uniform on [0, 1): the least whose probabilities add up to more",
        "Diffusion-GAN (arXiv:2206.02262), Eq. 6 [eq:gan-times]",
    )
    .draws(|| {
        // Whole multiples of 1/W fall between two levels.
        let u = prop_oneof![
            (0..1_u64 << 53).prop_map(|k| k as f64 * 2f64.powi(-53)),
            (0..1000_u32).prop_map(|k| f64::from(k) / 1000.0),
        ];
        (prop::collection::vec(u, 1..=6), 2..=1200_usize)
            .prop_map(|(u, steps)| Case::new().numbers("u", u).count("steps", steps))
            .boxed()
    })
    .reference(move |case| Ok(values([("t", whole(reference(case)?))])))
    .bound(move |case, _| Ok(bounds([("t", Tracked::exact(whole(reference(case)?)))])))
    .candle(move |case, _| {
        let steps = case.get_count("steps")?;
        let of = |&u: &f64| Ok(of_gpu.time(steps, u)?);
        let t = case.get_numbers("u")?.iter().map(of);
        Ok(values([("t", whole(t.collect::<Result<Vec<_>>>()?))]))
    })
    .boxed()
}

/// The controller of a case on both sides.
fn rules(case: &Case, published: bool) -> Result<(Controller, gpu::ControllerOptions)> {
    let (kimg, step) = (case.get_number("kimg")?, case.get_count("step")?);
    let (t_min, t_max) = (case.get_count("t_min")?, case.get_count("t_max")?);
    let target = case.get_number("target")?;
    let update = if published {
        Update::Published { kimg }
    } else {
        Update::Constant { step }
    };
    let of_gpu = gpu::ControllerOptions {
        update: if published {
            gpu::Update::Published
        } else {
            gpu::Update::Constant
        },
        kimg,
        step,
        target,
        t_min,
        t_max,
        interval: 1,
    };
    let ours = Controller::new(update, target, t_min, t_max).map_err(Error::reference)?;
    Ok((ours, of_gpu))
}

/// What a controller is made of, drawn.
fn rule() -> impl Strategy<Value = Case> {
    (
        1..=40_usize,
        1..=400_u32,
        1..=12_usize,
        0..=60_usize,
        0..=8_u32,
    )
        .prop_map(|(step, kimg, t_min, more, target)| {
            Case::new()
                .count("step", step)
                .number("kimg", f64::from(kimg) / 100.0)
                .number("target", f64::from(target) / 8.0)
                .count("t_min", t_min)
                .count("t_max", t_min + more)
        })
}

/// Every state after r_d, from the beginning.
fn trace(controller: &Controller, signs: &[f64], images: usize) -> Result<Vec<State>> {
    let mut now = controller.begin();
    let next = |r_d: &f64| {
        now = controller
            .next(now, *r_d, images)
            .map_err(Error::reference)?;
        Ok(now)
    };
    signs.iter().map(next).collect()
}

fn controller(published: bool) -> Box<dyn Check> {
    let name = if published { "published" } else { "constant" };
    let reference = move |case: &Case| {
        let (rule, _) = rules(case, published)?;
        let states = trace(&rule, case.get_numbers("signs")?, case.get_count("images")?)?;
        Ok::<_, Error>([
            ("p", list(states.iter().map(|s| s.p))),
            ("t", whole(states.iter().map(|s| s.steps))),
        ])
    };
    Quantity::new(
        format!("diffusion-gan-controller.{name}"),
        "p and T after each update by sign(r_d − target)",
        "Diffusion-GAN (arXiv:2206.02262), Eq. 5 [eq:chain-controller] [eq:chain-controller-published]",
    )
    .draws(|| {
        let signs = prop::collection::vec((-8..=8_i32).prop_map(|k| f64::from(k) / 8.0), 1..=12);
        (rule(), signs, 1..=600_usize)
            .prop_map(|(rule, signs, images)| {
                rule.numbers("signs", signs).count("images", images)
            })
            .boxed()
    })
    .reference(move |case| Ok(values(reference(case)?)))
    .bound(move |case, _| {
        Ok(bounds(reference(case)?.map(|(name, x)| (name, Tracked::exact(x)))))
    })
    .candle(move |case, _| {
        let (_, rule) = rules(case, published)?;
        let images = case.get_count("images")?;
        let mut now = (0.0, rule.t_min);
        let (mut p, mut t) = (Vec::new(), Vec::new());
        for &r_d in case.get_numbers("signs")? {
            now = rule.next(now, r_d, images);
            p.push(now.0);
            t.push(now.1);
        }
        Ok(values([("p", list(p)), ("t", whole(t))]))
    })
    .boxed()
}

/// Entries of the buffer, and how many of them are drawn.
const BUFFER: (usize, usize) = (8, 6);
/// Logits of a batch of real images.
const LOGITS: usize = 64;

/// Options of the plug-in of a case; its T has grown for as many updates as the case says.
fn options(case: &Case) -> Result<gpu::DiffusionOptions> {
    Ok(gpu::DiffusionOptions {
        beta_start: 0.01,
        beta_end: 0.25,
        chain: if case.get_count("truncated")? == 1 {
            gpu::Chain::Truncated
        } else {
            gpu::Chain::Remade
        },
        scale: case.get_number("scale")?,
        buffer: BUFFER.0,
        clean: (BUFFER.0 - BUFFER.1) as f64 / BUFFER.0 as f64,
        per_channel: case.get_count("per_channel")? == 1,
        controller: rules(case, true)?.1,
        ..gpu::DiffusionOptions::default()
    })
}

/// What the reference noises: samples with a level each, as rows; ε; t; ᾱ_0, …, ᾱ_T.
pub(super) struct Laid {
    pub(super) rows: Vec<usize>,
    pub(super) eps: ArrayD<f64>,
    pub(super) t: Vec<usize>,
    pub(super) bars: Vec<f64>,
}

/// The plug-in's draws for the batch of this number and shape, and their meaning, by the reference.
pub(super) fn laid(case: &Case, shape: &[usize], index: u64) -> Result<Laid> {
    let options = options(case)?;
    let (rule, _) = rules(case, true)?;
    let updates = case.get_count("updates")?;
    let steps = trace(&rule, &vec![1.0; updates], LOGITS)?;
    let steps = steps.last().copied().unwrap_or(rule.begin()).steps;
    let length = match options.chain {
        gpu::Chain::Truncated => case.get_count("t_max")?,
        gpu::Chain::Remade => steps,
    };
    let betas = Betas::Linear.betas(options.beta_start, options.beta_end, length);
    let bars = alpha_bars(&betas.map_err(Error::reference)?).map_err(Error::reference)?;
    let streams = Streams::new(case.get_count("seed")? as u64);
    let draws = streams.uniform("diffusion-buffer", updates as u64, BUFFER.1);
    let buffer = pool(Priority::Priority, steps, &draws, BUFFER.0).map_err(Error::reference)?;
    let axes = if options.per_channel { 2 } else { 1 };
    let count: usize = shape[..axes].iter().product();
    let places = streams.uniform("diffusion-times", index, count);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below 8"
    )]
    let t = places
        .iter()
        .map(|u| buffer[(u * BUFFER.0 as f64).floor() as usize]);
    let eps = streams.normal("diffusion-noise", index, shape.iter().product());
    let rows = vec![count, shape[axes..].iter().product()];
    let eps = eps.into_iter().map(f64::from).collect();
    let eps = ArrayD::from_shape_vec(rows.clone(), eps).map_err(Error::reference)?;
    Ok(Laid {
        t: t.collect(),
        rows,
        eps,
        bars,
    })
}

/// The plug-in after so many updates at each of which every real image was taken to be real.
pub(super) fn grown(case: &Case, place: &Place) -> Result<gpu::Diffusion> {
    let mut diffusion = gpu::Diffusion::new(options(case)?, case.get_count("seed")? as u64)?;
    let sure = Tensor::ones(LOGITS, DType::F32, &place.device)?;
    for _ in 0..case.get_count("updates")? {
        diffusion.observe(&sure)?;
    }
    Ok(diffusion)
}

/// A plug-in with its switches, its updates and its seed; a level for each row.
pub(super) fn plug_in_case() -> impl Strategy<Value = Case> {
    let switches = (0..=1_usize, 0..=4_usize, 0..=128_u32, any::<u16>());
    (rule(), switches).prop_map(|(rule, (truncated, updates, scale, seed))| {
        rule.count("truncated", truncated)
            .count("per_channel", 0)
            .count("updates", updates)
            .number("scale", f64::from(scale) / 64.0)
            .count("seed", usize::from(seed))
    })
}

fn plug_in() -> Box<dyn Check> {
    Quantity::new(
        "diffusion-gan.diffuse",
        "y = √ᾱ_t x + √(1 − ᾱ_t) s ε at drawn t, after updates of T, and its gradient in x",
        "Diffusion-GAN (arXiv:2206.02262), Eq. 2 [eq:gan-diffuse]",
    )
    .draws(|| {
        let shape = (1..=3_usize, 1..=3_usize, 1..=3_usize);
        (shape, plug_in_case(), 0..=1_usize)
            .prop_flat_map(|((b, c, n), rule, per_channel)| {
                let rule = rule.count("per_channel", per_channel);
                (tensor(&[b, c, n]), tensor(&[b, c, n]), Just(rule))
            })
            .prop_map(|(x, g, rule)| rule.tensor("x", x).tensor("g", g))
            .boxed()
    })
    .reference(|case| {
        let Laid { rows, eps, t, bars } = laid(case, case.get("x")?.shape(), 0)?;
        let (x, g, scale) = (case.get("x")?, case.get("g")?, case.get_number("scale")?);
        let of = |x: &ArrayD<f64>| x.to_shape(rows.clone()).map(|x| x.to_owned());
        let flat = of(x).map_err(Error::reference)?;
        let y = diffuse(&flat, &eps, &t, &bars, scale).map_err(Error::reference)?;
        let g = of(g).map_err(Error::reference)?;
        let grad = diffuse_vjp(&g, &t, &bars).map_err(Error::reference)?;
        let back = |y: ArrayD<f64>| y.to_shape(x.shape()).map(|y| y.to_owned());
        Ok(values([
            ("y", back(y).map_err(Error::reference)?),
            ("grad_x", back(grad).map_err(Error::reference)?),
            ("t", whole(t)),
        ]))
    })
    .bound(|case, rule| {
        let Laid { rows, eps, t, bars } = laid(case, case.get("x")?.shape(), 0)?;
        let (shape, p) = (case.get("x")?.shape(), rule.compute);
        let left = t.iter().map(|t| bars.get(*t).copied().unwrap_or(f64::NAN));
        // The chain's own error, of some T roundings on the host.
        let left = list(left);
        let chain = left.mapv(|left| 4.0 * bars.len() as f64 * Precision::F64.unit * left);
        let left = Tracked::exact(left).widened(&chain);
        let laid = bound::DiffuseBound::new(&left, case.get_number("scale")?, 2, p);
        let flat = |name: &str| Ok::<_, Error>(exact(case, name)?.reshape(&rows));
        let eps = Tracked::exact(eps).stored_as(p);
        Ok(bounds([
            ("y", laid.y(&flat("x")?, &eps, p).reshape(shape)),
            ("grad_x", laid.grad(&flat("g")?, p).reshape(shape)),
            ("t", Tracked::exact(whole(t))),
        ]))
    })
    .candle(|case, place| {
        let diffusion = grown(case, place)?;
        let mut got = differentiated(case, place, &["x"], |inputs| {
            Ok(diffusion.clone().diffuse(&inputs[0])?.0)
        })?;
        let (_, t) = diffusion.clone().diffuse(&place.tensor(case.get("x")?)?)?;
        got.insert("t".to_owned(), whole(t));
        Ok(got)
    })
    .boxed()
}

fn whole(values: impl IntoIterator<Item = usize>) -> ArrayD<f64> {
    list(values.into_iter().map(|t| t as f64))
}
