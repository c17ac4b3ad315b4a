//! `sadm evaluate`: how far samples are from the data, in the metrics of the field.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use ndarray::{Array1, Array2, ArrayView2};
use sadm_gpu::statistics::FeatureStatistics;
use sadm_gpu::train::{Run, SampleRequest};

use crate::progress::{self, say};
use crate::{files, npz, place, threads};
use compute::{LEVEL, Reference, Sets, announce};
use features::{Extracted, Extractor};
use input::{Content, Images, Stored};
use report::{Compared, Line, Model, Report, Side};

mod compute;
mod draws;
mod features;
mod input;
mod log;
mod nll;
mod report;

const EXAMPLE: &str = "\
Examples:
  sadm evaluate --run runs/digits --count 1797 --reference digits --features encoder
  sadm evaluate --run runs/digits --reference digits --metrics nll
  sadm evaluate --generated samples/ --reference real.npz --metrics fd --features pixels
  sadm evaluate --generated features.npz --reference features-of-real.npy --features given \\
      --name inception --metrics fd,kid,pr,dc --json scores.json

A source is a folder of PNG pictures; a .npy or .npz file with images (uint8, [N, H, W, C]) or features
([N, d]); a .safetensors file with `images` (as `sadm sample` writes) or `features`; as a reference also a
data set (digits, mnist, cifar10) or a .npz file with `mu` and `sigma`, as pytorch-fid and ADM write.
A Fréchet distance is named by its features: it is FID in those of the Inception network alone. nll is a number of the
model, not of its samples: the bits it needs for the reference's images. What is computed of a run's own samples is also
written to evaluation.jsonl in its folder, from which `sadm report` draws it.";

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Fréchet distance
    Fd,
    /// The same, of Inception features only (--features given --name inception)
    Fid,
    /// Its limit for infinitely many samples
    FdInf,
    /// Kernel distance, cubic polynomial
    Kid,
    /// Inception score, of the encoder's classifier or given probabilities
    Is,
    /// Precision and recall
    Pr,
    /// Density and coverage
    Dc,
    /// Nearest neighbours: copies
    Nn,
    /// Bits per dimension of the reference under the run's model
    Nll,
}

impl Metric {
    /// The name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Fid => "fid",
            Self::FdInf => "fd-inf",
            Self::Kid => "kid",
            Self::Is => "is",
            Self::Pr => "pr",
            Self::Dc => "dc",
            Self::Nn => "nn",
            Self::Nll => "nll",
        }
    }
}

/// What features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Pixels in [−1, 1]
    Pixels,
    /// What the encoder Ψ of a run says
    Encoder,
    /// The files hold features already
    Given,
}

/// Divisor of a covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Divisor {
    /// N − 1, as pytorch-fid, torch-fidelity, ADM and EDM
    #[value(name = "n-1")]
    NMinusOne,
    /// N
    N,
}

impl Divisor {
    fn name(self) -> &'static str {
        match self {
            Self::NMinusOne => "N−1",
            Self::N => "N",
        }
    }
}

/// The arguments of `sadm evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// What is judged: a folder or a file
    #[arg(long, value_name = "SOURCE", required_unless_present = "run")]
    generated: Option<String>,
    /// A run, whose samples are judged if --generated is not given, and whose encoder gives features
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Samples drawn from the run, of all classes in equal shares
    #[arg(long, value_name = "N", default_value = "1000")]
    count: NonZeroUsize,
    /// What it is held against: a folder, a file or a data set
    #[arg(long, value_name = "SOURCE")]
    reference: Option<String>,
    /// Real samples the model never saw, for nn: do generated ones lie nearer to the reference?
    #[arg(long, value_name = "SOURCE")]
    held_out: Option<String>,
    /// The metrics, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "fd,kid,pr,dc"
    )]
    metrics: Vec<Metric>,
    /// The features they compare
    #[arg(long, value_enum, default_value = "pixels")]
    features: Kind,
    /// Name of given features in the answer
    #[arg(long, default_value = "given")]
    name: String,
    /// Which arrays of a statistics file are read
    #[arg(long, value_enum, default_value = "pooled")]
    moments: Stored,
    /// Divisor of the covariances of samples
    #[arg(long, value_enum, default_value = "n-1")]
    covariance: Divisor,
    /// Neighbours of pr and dc
    #[arg(short, default_value_t = 3)]
    k: usize,
    /// Open balls in pr, as the package prdc; closed ones otherwise
    #[arg(long)]
    open_balls: bool,
    /// Round features to f16 for pr and dc, as ADM's evaluator (whose sums are in f16 too)
    #[arg(long)]
    half: bool,
    /// Splits of is
    #[arg(long, default_value_t = 10)]
    splits: usize,
    /// Shuffle the samples with this seed before is splits them
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Shuffle for is, and draw the subsets of kid, exactly as torch-fidelity does with its seed 2020
    #[arg(long, conflicts_with = "shuffle")]
    torch_fidelity_draws: bool,
    /// Also average kid over subsets of this many samples, as torch-fidelity (1000)
    #[arg(long, value_name = "N")]
    kid_subset_size: Option<usize>,
    /// Number of those subsets
    #[arg(long, value_name = "N", default_value_t = 100)]
    kid_subsets: usize,
    /// Resamples of the confidence intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 100)]
    resamples: usize,
    /// Seed of samples, subsets and resamples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    nll: nll::Options,
    /// The run's checkpoint after this many steps [default: the newest]
    #[arg(long, value_name = "STEPS", requires = "run")]
    step: Option<usize>,
    /// Where the run computes: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write mean and covariance of the generated set's features as `mu` and `sigma`
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,
    /// Write the answer as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Computes the metrics and prints them.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.reference.is_none() && args.save_statistics.is_none() {
        bail!("there is nothing to do: give --reference SOURCE, or --save-statistics FILE.npz");
    }
    threads::limit(args.threads)?;
    let device = place::open(&args.device, "f32")?.device;
    let source = Source { args, device };
    let of_model = args.metrics.iter().all(|metric| *metric == Metric::Nll);
    if of_model && args.save_statistics.is_none() {
        if let Some(reference) = &args.reference {
            let line = source.nll(&input::read(reference, args.moments)?)?;
            source.answer(&source.report(None, reference, None, vec![line])?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (generated, side) = source.generated()?;
    if let Some(path) = &args.save_statistics {
        save_statistics(path, generated.features.view())?;
    }
    if let Some(reference) = &args.reference {
        source.compare(&generated, side, reference)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where sets come from.
struct Source<'a> {
    args: &'a Args,
    device: Device,
}

impl Source<'_> {
    fn open_run(&self) -> Result<Run> {
        let folder = self.args.run.as_ref();
        let folder = folder
            .context("--run DIR is needed: for its encoder (--features encoder) or its model (--metrics nll)")?;
        Ok(match self.args.step {
            Some(step) => Run::open_at(folder, step, &self.device)?,
            None => Run::open(folder, &self.device)?,
        })
    }

    /// Bits per dimension of the reference under the run's model.
    fn nll(&self, reference: &Content) -> Result<Line> {
        let Content::Images(images) = reference else {
            bail!("nll needs images as the reference, not features or stored statistics");
        };
        nll::bits(
            &self.open_run()?,
            images,
            &self.args.nll,
            self.args.seed,
            &self.device,
        )
    }

    fn extractor(&self) -> Result<Extractor> {
        Ok(match self.args.features {
            Kind::Encoder => {
                let run = self.open_run()?;
                if run.encoder_accuracy().is_none() {
                    bail!("the run's encoder was never trained: its features mean nothing");
                }
                Extractor::Encoder(Box::new(run))
            }
            Kind::Pixels | Kind::Given => Extractor::Pixels,
        })
    }

    /// Features of what is judged.
    fn generated(&self) -> Result<(Extracted, Side)> {
        let (content, source) = match &self.args.generated {
            Some(source) => (input::read(source, self.args.moments)?, source.clone()),
            None => self.sampled()?,
        };
        match self.set("generated", content)? {
            Set::Samples(set) => {
                let samples = Some(set.features.nrows());
                Ok((set, Side { source, samples }))
            }
            Set::Moments(_) => bail!(
                "--generated `{source}` holds a mean and a covariance alone; they can be the --reference"
            ),
        }
    }

    /// Samples of the run, of every class in equal shares, with the run's own sampler.
    fn sampled(&self) -> Result<(Content, String)> {
        let run = self.open_run()?;
        let count = self.args.count.get();
        let kind = run.images();
        let mut request = SampleRequest::from_config(run.config());
        request.seed = self.args.seed;
        let labels = (0..count).map(|i| Ok(Some(u32::try_from(i * kind.classes / count)?)));
        let labels = labels.collect::<Result<Vec<_>>>()?;
        let bar = progress::count_bar(count, "samples");
        let mut pixels = Vec::new();
        // Parts share the seed's stream by their number, so that they differ.
        for (part, labels) in labels.chunks(PART).enumerate() {
            request.labels = labels.to_vec();
            request.seed = self.args.seed.wrapping_add(part as u64 * SEEDS_APART);
            let images = run.sample(&request)?.to_device(&Device::Cpu)?;
            pixels.extend(images.flatten_all()?.to_vec1::<f32>()?);
            bar.inc(labels.len() as u64);
        }
        bar.finish_and_clear();
        let source = format!("{}, step {}", run_name(self.args), run.step());
        let shape = [kind.channels, kind.size, kind.size];
        let images = Images {
            shape,
            pixels,
            spacing: None,
            labels: None,
        };
        Ok((Content::Images(images), source))
    }

    /// The features of what a source holds.
    fn set(&self, what: &str, content: Content) -> Result<Set> {
        let given = self.args.features == Kind::Given;
        match content {
            Content::Statistics(moments) => Ok(Set::Moments(moments)),
            Content::Features {
                features,
                probabilities,
            } if given => Ok(Set::Samples(Extracted {
                features,
                probabilities,
            })),
            Content::Features { .. } => bail!(
                "{what} holds features, not images: say --features given, and what they are with --name"
            ),
            Content::Images(_) if given => {
                bail!("{what} holds images, not features: say --features pixels or encoder")
            }
            Content::Images(images) => Ok(Set::Samples(self.extractor()?.of(
                what,
                &images,
                &self.device,
            )?)),
        }
    }

    /// Computes, prints and writes the metrics.
    fn compare(&self, generated: &Extracted, side: Side, reference: &str) -> Result<()> {
        let args = self.args;
        let content = input::read(reference, args.moments)?;
        let nll = if args.metrics.contains(&Metric::Nll) {
            Some(self.nll(&content)?)
        } else {
            None
        };
        let real = match self.set("reference", content)? {
            Set::Samples(set) => Reference::Samples(set.features),
            Set::Moments(moments) => Reference::Moments(moments),
        };
        let held_out = match &args.held_out {
            Some(source) => match self.set("held-out", input::read(source, args.moments)?)? {
                Set::Samples(set) => Some(set.features),
                Set::Moments(_) => {
                    bail!("--held-out must hold samples, not a mean and a covariance")
                }
            },
            None => None,
        };
        let name = match args.features {
            Kind::Pixels => "pixels",
            Kind::Encoder => "encoder",
            Kind::Given => &args.name,
        };
        let samples = match &real {
            Reference::Samples(x) => Some(x.nrows()),
            Reference::Moments(_) => None,
        };
        let columns = match &real {
            Reference::Samples(x) => x.ncols(),
            Reference::Moments(moments) => moments.mean.len(),
        };
        if columns != generated.features.ncols() {
            bail!(
                "the reference must have the generated set's {} features, got {columns}: they are not the same features",
                generated.features.ncols()
            );
        }
        let sets = Sets {
            generated: generated.features.view(),
            probabilities: generated.probabilities.as_ref().map(|x| x.view()),
            reference: &real,
            held_out: held_out.as_ref().map(|x| x.view()),
            features: name,
        };
        let mut lines = Vec::new();
        for metric in &args.metrics {
            announce(*metric, &sets);
            lines.extend(match (metric, &nll) {
                (Metric::Nll, Some(line)) => vec![line.clone()],
                _ => sets.compute(*metric, args)?,
            });
        }
        let compared = Compared {
            features: name.to_owned(),
            dimension: generated.features.ncols(),
            generated: side,
        };
        self.answer(&self.report(Some(compared), reference, samples, lines)?)
    }

    fn report(
        &self,
        compared: Option<Compared>,
        reference: &str,
        samples: Option<usize>,
        metrics: Vec<Line>,
    ) -> Result<Report> {
        let model = match &self.args.run {
            Some(_) => Some(self.model()?),
            None => None,
        };
        Ok(Report {
            compared,
            model,
            reference: Side {
                source: reference.to_owned(),
                samples,
            },
            level: LEVEL,
            metrics,
        })
    }

    /// The run and its step.
    fn model(&self) -> Result<Model> {
        let run = self.open_run()?;
        Ok(Model {
            run: run_name(self.args),
            step: run.step(),
        })
    }

    /// Prints the report, and writes it where it belongs.
    fn answer(&self, report: &Report) -> Result<()> {
        files::print(&report.table())?;
        if let Some(path) = &self.args.json {
            let json = serde_json::to_string_pretty(report)?;
            files::write_atomically(path, |out| Ok(writeln!(out, "{json}")?))?;
        }
        // Numbers of somebody else's samples are none of the run's.
        if let (Some(folder), None) = (&self.args.run, &self.args.generated)
            && let Err(reason) = log::append(folder, report)
        {
            say(&format!(
                "not added to the run's evaluation.jsonl: {reason:#}"
            ));
        }
        Ok(())
    }
}

/// Samples drawn at a time, so that there is progress to show.
const PART: usize = 256;
/// Distance of the seeds of two parts: a request uses one seed for each 128 samples.
const SEEDS_APART: u64 = 1 << 32;

enum Set {
    Samples(Extracted),
    Moments(sadm_reference::metrics::Moments),
}

fn run_name(args: &Args) -> String {
    let folder = args.run.as_ref().map(|run| run.display().to_string());
    folder.unwrap_or_default()
}

/// Mean and covariance of features, streamed, as pytorch-fid reads them.
fn save_statistics(path: &std::path::Path, features: ArrayView2<f64>) -> Result<()> {
    if path.extension().is_none_or(|ending| ending != "npz") {
        bail!(
            "--save-statistics must end in .npz, got `{}`",
            path.display()
        );
    }
    let d = features.ncols();
    let mut statistics = FeatureStatistics::new(d);
    for rows in features.axis_chunks_iter(ndarray::Axis(0), 1024) {
        let values: Vec<f64> = rows.iter().copied().collect();
        statistics.push(&Tensor::from_vec(values, rows.dim(), &Device::Cpu)?)?;
    }
    let (mean, covariance) = statistics.moments()?;
    let mean = Array1::from(mean).into_dyn();
    let covariance = Array2::from_shape_vec((d, d), covariance)?.into_dyn();
    npz::write_npz(path, &[("mu", &mean), ("sigma", &covariance)])?;
    say(&format!(
        "mean and covariance of {} samples, {d} features: {}",
        features.nrows(),
        path.display()
    ));
    Ok(())
}
