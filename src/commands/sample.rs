//! `sadm sample`: images from a run, as a picture or as tensors.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, ArrayD};
use sadm_gpu::data::Classes;
use sadm_gpu::random::Streams;
use sadm_gpu::run::{Run, SampleRequest};
use sadm_gpu::sampler::{
    Discretization, GuidedChannels, Respacing, SamplerKind, SamplerOptions, Scaling, TimeSchedule,
};
use serde_json::Value;

use super::evaluate::SAMPLES_MARK;
use crate::npz::{self, Array};
use crate::recorder::not_finite;
use crate::{files, fresh_noise, image_grid, numbers, place, progress, room, threads};

const EXAMPLE: &str = "\
Examples:
  sadm sample --run runs/digits --out samples.png
  sadm sample --run runs/digits --count 16 --class 7 --guidance 2 --seed 3 --out sevens.png
  sadm sample --run runs/digits --count 1000 --sampler heun --churn 20 --out samples.safetensors
  sadm sample --run runs/digits --count 50000 --class random --out samples.npz
  sadm sample --run runs/variances --sampler ddim --respacing ddim50 --eta 0.5 --out fifty.png

Options that are not given are those of the run's configuration. Images come from the averaged
parameters of the newest checkpoint; the same seed gives the same images.";

/// The arguments of `sadm sample`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The run's folder
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Number of images
    #[arg(long, value_name = "N", value_parser = numbers::drawn)]
    count: Option<NonZeroUsize>,
    /// Steps of the sampler
    #[arg(long, value_name = "N", value_parser = numbers::drawn)]
    steps: Option<NonZeroUsize>,
    /// The sampler: heun, euler, ddim, ddpm or dpmpp-2m
    #[arg(long)]
    sampler: Option<SamplerKind>,
    /// Churn of heun and euler: S_churn, 0 for none
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = numbers::finite)]
    churn: Option<f64>,
    /// Smallest noise level that is churned: S_min
    #[arg(long, value_name = "SIGMA", requires = "churn", allow_negative_numbers = true, value_parser = numbers::finite)]
    churn_min: Option<f64>,
    /// Largest noise level that is churned: S_max
    #[arg(
        long,
        value_name = "SIGMA",
        requires = "churn",
        allow_negative_numbers = true
    )]
    churn_max: Option<f64>,
    /// Standard deviation of the churn's noise: S_noise
    #[arg(long, value_name = "STD", requires = "churn", allow_negative_numbers = true, value_parser = numbers::finite)]
    churn_noise: Option<f64>,
    /// Smallest positive noise level [default: the run's, or that of --discretization]
    #[arg(long, value_name = "SIGMA", value_parser = numbers::positive)]
    sigma_min: Option<f64>,
    /// Largest noise level [default: the run's, or that of --discretization]
    #[arg(long, value_name = "SIGMA", value_parser = numbers::positive)]
    sigma_max: Option<f64>,
    /// Grid of noise levels: edm, vp, ve or iddpm
    #[arg(long, value_name = "GRID")]
    discretization: Option<Discretization>,
    /// Time in which the steps of heun and euler are straight: linear, vp or ve
    #[arg(long, value_name = "TIME")]
    time_schedule: Option<TimeSchedule>,
    /// Scale of what heun and euler step: none or vp
    #[arg(long, value_name = "SCALE")]
    scaling: Option<Scaling>,
    /// Where in a step heun evaluates again: 1 at its end, 0.5 in its middle
    #[arg(long, value_name = "SHARE", value_parser = numbers::positive)]
    alpha: Option<f64>,
    /// Classifier-free guidance: 1 conditional, 0 unconditional
    #[arg(long, value_name = "G", allow_negative_numbers = true, value_parser = numbers::finite)]
    guidance: Option<f64>,
    /// Channels that guidance moves: all, or first-three as published for latents of four
    #[arg(long, value_name = "CHANNELS")]
    guided_channels: Option<GuidedChannels>,
    /// The published steps of ddpm and ddim in place of a walk through noise levels: so many of the 1000 (250), so many of each of equal
    /// parts (10,15,20), every k-th so that N are left (ddim50), or '' for the walk
    #[arg(long, value_name = "STEPS")]
    respacing: Option<String>,
    /// η of the published ddim: 0 draws no noise, 1 as much as ddpm [default: the run's]
    #[arg(long, value_name = "ETA", allow_negative_numbers = true, value_parser = numbers::finite)]
    eta: Option<f64>,
    /// Whether the published steps keep the predicted image in [−1, 1] [default: the run's]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    clip: Option<bool>,
    /// A class by its name or number; `all` for equal shares of all (in order; mixed in a .npz file), `random` for each
    /// equally likely, `data` for the shares of the run's images, or `none`
    #[arg(
        long,
        default_value = "all",
        value_name = "K",
        allow_negative_numbers = true
    )]
    class: Class,
    /// Seed of the noise
    #[arg(long)]
    seed: Option<u64>,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
    /// The picture (.png), the tensors `images` and `labels` (.safetensors), or bytes [N, H, W, C] and labels as `arr_0` and `arr_1`, as
    /// ADM's evaluator reads them (.npz)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Which class the images have.
#[derive(Debug, Clone)]
enum Class {
    All,
    Random,
    Data,
    None,
    /// By name or number.
    One(String),
}

impl FromStr for Class {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "all" => Self::All,
            "random" => Self::Random,
            "data" => Self::Data,
            "none" => Self::None,
            other => Self::One(other.to_owned()),
        })
    }
}

impl Class {
    /// The class of each of `count` images; `all` gives equal shares, in order.
    fn labels(&self, count: usize, run: &Run, seed: u64) -> Result<Vec<Option<u32>>> {
        let conditions = run.conditions();
        Ok(match self {
            Self::All => conditions.in_order(count),
            Self::Random => conditions.at_random(count, seed),
            Self::Data => run.counted_conditions()?.in_shares(count, seed),
            Self::None => vec![None; count],
            Self::One(class) => vec![Some(conditions.classes().find(class)?); count],
        })
    }
}

/// Contents of the output file.
#[derive(Debug, Clone, Copy)]
enum Format {
    Png,
    Safetensors,
    Npz,
}

impl Format {
    /// By the file's ending.
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("png") => Ok(Self::Png),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npz") => Ok(Self::Npz),
            _ => bail!(
                "--out must end in .png, .safetensors or .npz, got `{}`",
                path.display()
            ),
        }
    }
}

/// Draws the images and writes them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let format = Format::of(&args.out)?;
    threads::limit(args.threads)?;
    files::refuse_unwritable(&args.out)?;
    let device = place::open(&args.device, "f32")?.device;
    let run = Run::open(&args.run, &device)?;
    let mut request = request(args, &run)?;
    refuse_contradictions(&request.options)?;
    refuse_idle(args, &request)?;
    if let Some(respacing) = &request.respacing {
        // Before the first image.
        respacing.of(&run.config().objective(), request.options.kind)?;
    }
    room::for_images(&run, request.labels.len(), &device)?;
    let classes = run.conditions().classes();
    let images = drawn(&run, &request)?;
    refuse_non_finite(&images, args, &request)?;
    match format {
        Format::Png => image_grid::write(&args.out, &images)?,
        Format::Safetensors => write_tensors(&args.out, &images, &request.labels, classes)?,
        Format::Npz => {
            let images = mixed(&args.class, images, &mut request)?;
            write_npz(&args.out, &images, &request.labels, classes)?;
        }
    }
    files::print(&format!(
        "{} images after {} steps of training, {}: {}\n",
        request.labels.len(),
        run.step(),
        shares(&request.labels, classes),
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Images of classes in order, mixed with their labels, as published samples are: a part of such a file has samples of all classes.
/// They are mixed when they are drawn, so that the same seed gives the same images in every kind of file.
fn mixed(class: &Class, images: Tensor, request: &mut SampleRequest) -> Result<Tensor> {
    if !matches!(class, Class::All) {
        return Ok(images);
    }
    let count = request.labels.len();
    let order = Streams::new(request.seed).permutation("sample-order", 0, count);
    request.labels = order.iter().map(|place| request.labels[*place]).collect();
    let rows = order
        .into_iter()
        .map(u32::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(images.index_select(&Tensor::from_vec(rows, count, images.device())?, 0)?)
}

/// The images of a request, with a bar that moves on with every batch.
fn drawn(run: &Run, request: &SampleRequest) -> Result<Tensor> {
    let bar = progress::count_bar(request.labels.len(), "images");
    let images = run.sample_along(request, &mut |along| {
        bar.set_position(along.first as u64);
        Ok(())
    });
    bar.finish_and_clear();
    Ok(images?)
}

/// The run's own sampler with what the command line says otherwise.
fn request(args: &Args, run: &Run) -> Result<SampleRequest> {
    let mut request = SampleRequest::from_config(run.config());
    let count = args
        .count
        .map_or(run.config().sample.count, NonZeroUsize::get);
    let options = &mut request.options;
    set(&mut options.kind, args.sampler);
    set(&mut options.steps, args.steps.map(NonZeroUsize::get));
    let family = &mut options.family;
    set(&mut family.discretization, args.discretization);
    set(&mut family.schedule, args.time_schedule);
    set(&mut family.scaling, args.scaling);
    set(&mut family.alpha, args.alpha);
    if args.discretization.is_some() {
        [options.sigma_min, options.sigma_max] = family.range();
    }
    set(&mut options.sigma_min, args.sigma_min);
    set(&mut options.sigma_max, args.sigma_max);
    set(&mut options.churn.amount, args.churn);
    set(&mut options.churn.sigma_min, args.churn_min);
    set(&mut options.churn.sigma_max, args.churn_max);
    set(&mut options.churn.noise, args.churn_noise);
    set(&mut request.guidance, args.guidance);
    set(&mut request.guided_channels, args.guided_channels);
    if let Some(steps) = &args.respacing {
        let own = &run.config().sample;
        request.respacing = (!steps.is_empty()).then(|| Respacing {
            steps: steps.clone(),
            eta: own.eta,
            clip: own.clip,
        });
    }
    if let Some(respacing) = &mut request.respacing {
        set(&mut respacing.eta, args.eta);
        set(&mut respacing.clip, args.clip);
    }
    set(&mut request.seed, args.seed);
    request.labels = args.class.labels(count, run, request.seed)?;
    if let (Some(guidance), true) = (args.guidance, request.labels.iter().all(Option::is_none))
        && ![0.0, 1.0].map(f64::to_bits).contains(&guidance.to_bits())
    {
        bail!(
            "--guidance {guidance} changes nothing for images without class, whose two predictions are one; leave it out, or \
             name a class to guide to with --class"
        );
    }
    // Before the sampler starts: what was never learnt gives pictures that mean nothing.
    run.conditions().check(&request.labels, request.guidance)?;
    fresh_noise::note_for(run.config(), &request);
    Ok(request)
}

/// Refuses churn that the sampler does not have, or that no noise level gets.
fn refuse_contradictions(options: &SamplerOptions) -> Result<()> {
    let churn = &options.churn;
    if churn.amount != 0.0 && !options.kind.churns() {
        bail!(
            "--churn works with --sampler {}, but the sampler is {}; leave --churn out or choose another",
            SamplerKind::all()
                .filter(|kind| kind.churns())
                .map(sadm_gpu::choice::Choice::name)
                .collect::<Vec<_>>()
                .join(" or "),
            options.kind
        );
    }
    if churn.sigma_min > churn.sigma_max {
        bail!(
            "--churn-min must be at most --churn-max, got {} and {}",
            churn.sigma_min,
            churn.sigma_max
        );
    }
    Ok(())
}

/// Refuses options that say nothing of the published steps, or of nothing else.
fn refuse_idle(args: &Args, request: &SampleRequest) -> Result<()> {
    let first = |options: &[(&'static str, bool)]| {
        let given = options.iter().find(|(_, given)| *given);
        given.map(|(option, _)| *option)
    };
    let sampler = request.options.kind;
    match &request.respacing {
        None => {
            let own = [
                ("--eta", args.eta.is_some()),
                ("--clip", args.clip.is_some()),
            ];
            if let Some(option) = first(&own) {
                bail!(
                    "{option} is of the published steps of ddpm and ddim: give --respacing too, as in --respacing 250 or --respacing ddim50"
                );
            }
        }
        Some(respacing) => {
            let of_levels = [
                ("--steps", args.steps.is_some()),
                ("--churn", args.churn.is_some()),
                ("--sigma-min", args.sigma_min.is_some()),
                ("--sigma-max", args.sigma_max.is_some()),
                ("--discretization", args.discretization.is_some()),
                ("--time-schedule", args.time_schedule.is_some()),
                ("--scaling", args.scaling.is_some()),
                ("--alpha", args.alpha.is_some()),
            ];
            if let Some(option) = first(&of_levels) {
                bail!(
                    "{option} is of a walk through noise levels, but the respacing `{}` says which steps are made; leave one of them out \
                     (--respacing '' is the walk)",
                    respacing.steps
                );
            }
            if args.eta.is_some() && sampler == SamplerKind::DDPM {
                bail!("--eta is that of --sampler ddim, but the sampler is {sampler}");
            }
        }
    }
    Ok(())
}

/// Refuses images with NaN or infinite pixels; names what to change.
fn refuse_non_finite(images: &Tensor, args: &Args, request: &SampleRequest) -> Result<()> {
    let broken = not_finite(images)?;
    if broken == 0 {
        return Ok(());
    }
    let given: Vec<String> = [
        ("--guidance", args.guidance),
        ("--churn", args.churn),
        ("--churn-noise", args.churn_noise),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name} (now {:e})", value?)))
    .collect();
    let advice = if given.is_empty() {
        format!(
            "the run's parameters may have diverged (`sadm report` shows), or its sample.guidance = {:e} is too large",
            request.guidance
        )
    } else {
        format!("lower {}", given.join(" or "))
    };
    bail!(
        "{broken} of {} images are not finite, nothing is written: {advice}",
        images.dims()[0]
    )
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// How many images there are of each class: ``8 of class 0 `dark`, 8 of class 1 `light` ``.
fn shares(labels: &[Option<u32>], classes: &Classes) -> String {
    let mut counts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for label in labels {
        *counts.entry(*label).or_default() += 1;
    }
    let share = |(label, count): (&Option<u32>, &usize)| match label {
        Some(class) => format!("{count} of class {}", classes.label(*class)),
        None => format!("{count} without class"),
    };
    counts.iter().map(share).collect::<Vec<_>>().join(", ")
}

/// The labels, −1 where there is no class.
fn numbered(labels: &[Option<u32>]) -> Vec<i64> {
    let number = |label: &Option<u32>| label.map_or(-1, i64::from);
    labels.iter().map(number).collect()
}

/// `arr_0` [N, H, W, C] u8, rounded as in a picture, `arr_1` [N] i64, and `classes`, their names, where they have any.
fn write_npz(
    path: &Path,
    images: &Tensor,
    labels: &[Option<u32>],
    classes: &Classes,
) -> Result<()> {
    let images = images.to_device(&Device::Cpu)?.permute((0, 2, 3, 1))?;
    let values = images
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let bytes = values.into_iter().map(image_grid::grey).collect();
    let images = ArrayD::from_shape_vec(images.dims(), bytes)?;
    let labels = Array1::from(numbered(labels)).into_dyn();
    let mut arrays = vec![
        ("arr_0", Array::Bytes(&images)),
        ("arr_1", Array::Integers(&labels)),
    ];
    if !classes.names.is_empty() {
        arrays.push(("classes", Array::Texts(&classes.names)));
    }
    npz::write_npz(path, &arrays).context("samples")
}

/// `images` [N, C, H, W] f32 and `labels` [N] i64; the metadata's `classes` is the list of their names as JSON.
fn write_tensors(
    path: &Path,
    images: &Tensor,
    labels: &[Option<u32>],
    classes: &Classes,
) -> Result<()> {
    let labels = numbered(labels);
    let count = labels.len();
    let labels = Tensor::from_vec(labels, count, &Device::Cpu)?;
    let images = images.to_device(&Device::Cpu)?.contiguous()?;
    let (key, mark) = SAMPLES_MARK;
    let mut said = HashMap::from([(key.to_owned(), mark.to_owned())]);
    if !classes.names.is_empty() {
        said.insert("classes".to_owned(), serde_json::to_string(&classes.names)?);
    }
    let bytes = safetensors::serialize([("images", &images), ("labels", &labels)], Some(said))
        .map_err(|reason| anyhow!("cannot lay out the samples: {reason}"))?;
    let bytes = with_sorted_header(bytes)?;
    files::write_atomically(path, |out| Ok(out.write_all(&bytes)?)).context("samples")
}

/// A safetensors file with the keys of its header in order: the library writes metadata in the order of a hash map, another one in
/// each process, and the same images would have another digest each time.
fn with_sorted_header(mut file: Vec<u8>) -> Result<Vec<u8>> {
    /// Bytes of the header's length.
    const LENGTH: usize = 8;
    let (length, _) = file
        .split_first_chunk::<LENGTH>()
        .context("a safetensors file")?;
    let end = LENGTH + usize::try_from(u64::from_le_bytes(*length))?;
    let header = file.get_mut(LENGTH..end).context("a safetensors header")?;
    // An object's keys are kept sorted.
    let sorted = serde_json::from_slice::<Value>(header)?.to_string();
    let room = header.len();
    let sorted = format!("{sorted:<room$}");
    if sorted.len() != room {
        bail!("a safetensors header has another length with its keys in order");
    }
    header.copy_from_slice(sorted.as_bytes());
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    #[test]
    fn the_same_content_gives_the_same_bytes() -> Result<()> {
        let file = || {
            let metadata = (0..8).map(|i| (format!("key{i}"), "a \"value\"".to_owned()));
            let view = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3])?;
            with_sorted_header(safetensors::serialize(
                [("x", view)],
                Some(metadata.collect()),
            )?)
        };
        let first = file()?;
        for _ in 0..20 {
            assert_eq!(file()?, first);
        }
        assert_eq!(
            SafeTensors::deserialize(&first)?.tensor("x")?.data(),
            [1, 2, 3]
        );
        Ok(())
    }
}
