//! Likelihood of images under a run: bits per dimension by the probability flow.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use sadm_gpu::data::Images;
use sadm_gpu::likelihood::{Trace, dequantised, signs};
use sadm_gpu::random::Streams;
use sadm_gpu::run::Run;
use sadm_reference::likelihood::bits_per_dimension;

use super::classes;
use super::input::{Whose, must_be};
use super::report::Line;
use crate::{numbers, progress};

/// Images whose flow is followed together.
const BATCH: usize = 64;

/// What the flow is followed with.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Reference images that nll is measured on, drawn at random
    #[arg(long = "nll-samples", value_name = "N", default_value_t = 256)]
    samples: usize,
    /// Runge–Kutta steps of nll, four evaluations and as many backward passes each
    #[arg(long = "nll-steps", value_name = "N", default_value = "32", value_parser = numbers::repeated)]
    steps: usize,
    /// Random signs per image that estimate the trace; 0 for the exact one (a backward pass per pixel)
    #[arg(long = "nll-probes", value_name = "N", default_value = "1", value_parser = numbers::repeated)]
    probes: usize,
}

/// Reference images as the flow takes them.
struct Drawn<'a> {
    images: &'a Images,
    spacing: f64,
    labels: Vec<u32>,
    /// Whether they name classes.
    given: bool,
    chosen: Vec<usize>,
    streams: Streams,
}

/// Bits per dimension of reference images, uniformly dequantised.
///
/// # Errors
/// Images of another kind than the run's, or with values that are not discrete; a run that cannot do without labels where there
/// are none.
pub fn bits(
    run: &Run,
    images: &Images,
    options: &Options,
    seed: u64,
    device: &Device,
) -> Result<Line> {
    let drawn = Drawn::of(run, images, options, seed)?;
    let bar = progress::count_bar(drawn.chosen.len(), "likelihoods");
    let mut each = Vec::new();
    let mut coarser = None;
    let streams = Streams::new(seed);
    for (part, places) in drawn.chosen.chunks(BATCH).enumerate() {
        let x = drawn.dequantised(places, device)?;
        let labels: Vec<u32> = places.iter().map(|i| drawn.labels[*i]).collect();
        let trace = match options.probes {
            0 => Trace::Exact,
            probes => Trace::Along(signs(
                Streams::new(streams.rng("nll-probes", part as u64).next_u64()),
                probes,
                &x,
            )?),
        };
        let of = |steps| -> Result<Vec<f64>> {
            let densities = run.log_likelihood(&x, &labels, steps, &trace)?;
            let bits = |density| bits_per_dimension(density, images.size(), drawn.spacing);
            Ok(densities.into_iter().map(bits).collect::<Result<_, _>>()?)
        };
        let bits = of(options.steps)?;
        if part == 0 && options.steps > 1 {
            coarser = Some(mean(&of(options.steps / 2)?) - mean(&bits));
        }
        bar.inc(bits.len() as u64);
        each.extend(bits);
    }
    bar.finish_and_clear();
    let value = mean(&each);
    let variance =
        each.iter().map(|b| (b - value).powi(2)).sum::<f64>() / (each.len() as f64 - 1.0);
    let error = (variance / each.len() as f64).sqrt();
    let given = if drawn.given {
        "given the class"
    } else {
        "without class"
    };
    let trace = match options.probes {
        0 => "exact trace".to_owned(),
        n => format!("{n} probes"),
    };
    let line = Line::new("nll".to_owned(), value)
        .with_error((each.len() > 1).then_some(error))
        .with_convention(format!(
            "bits/dim {given}, uniform dequantisation of 1 in {:.0}, {} images, {} steps, {trace}",
            2.0 / drawn.spacing + 1.0,
            each.len(),
            options.steps
        ));
    Ok(match coarser {
        Some(change) => line.with_part("change_at_half_the_steps", change),
        None => line,
    })
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

impl<'a> Drawn<'a> {
    fn of(run: &Run, images: &'a Images, options: &Options, seed: u64) -> Result<Self> {
        let kind = run.images();
        must_be(images, kind.shape(), Whose::Reference, "run")?;
        let spacing = images.spacing.context(
            "nll needs discrete values (a data set, PNG pictures or uint8 arrays), the reference holds real numbers",
        )?;
        if options.samples == 0 || options.steps == 0 {
            bail!("--nll-samples and --nll-steps must be at least 1");
        }
        let conditions = run.conditions();
        let labels = classes::of_run(conditions, images).context("the reference")?;
        conditions.check(&labels, 1.0).context("the reference")?;
        let given = labels.iter().any(Option::is_some);
        let no_class = kind.no_class();
        let labels = labels.into_iter().map(|l| l.unwrap_or(no_class)).collect();
        let streams = Streams::new(seed);
        let mut chosen = streams.permutation("nll", 0, images.count());
        chosen.truncate(options.samples);
        Ok(Self {
            images,
            spacing,
            labels,
            given,
            chosen,
            streams,
        })
    }

    /// Images with noise uniform on a value's cell; the noise of image i depends on the seed and i alone.
    fn dequantised(&self, places: &[usize], device: &Device) -> Result<Tensor> {
        let n = self.images.size();
        let mut values = Vec::with_capacity(places.len() * n);
        for &place in places {
            let pixels = self.images.pixels.at(place * n..(place + 1) * n);
            values.extend(dequantised(
                &pixels,
                self.spacing,
                self.streams,
                place as u64,
            ));
        }
        let [c, h, w] = self.images.shape;
        let x = Tensor::from_vec(values, (places.len(), c, h, w), &Device::Cpu)?;
        Ok(x.to_dtype(DType::F32)?.to_device(device)?)
    }
}
