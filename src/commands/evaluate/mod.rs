//! `sadm evaluate`: how far samples are from the data, in the metrics of the field.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use sadm_gpu::train::{Run, SampleRequest};

use crate::progress::{self, say};
use crate::{files, place, threads};
use args::Kind;
pub use args::{Args, Divisor, Metric};
use compute::{LEVEL, Reference, Sets, announce};
use diversity::Diversity;
use features::{Extracted, Extractor};
use input::{Content, Images, Stored};
use networks::{INCEPTION_SPATIAL, NetworkFeatures};
use report::{Compared, Line, Model, Report, Side};

mod args;
mod compute;
mod diversity;
mod draws;
mod features;
mod input;
mod log;
mod networks;
mod nll;
mod report;
mod statistics;

/// Computes the metrics and prints them.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.reference.is_none() && args.save_statistics.is_none() {
        bail!("there is nothing to do: give --reference SOURCE, or --save-statistics FILE.npz");
    }
    threads::limit(args.threads)?;
    let device = place::open(&args.device, "f32")?.device;
    let network = match args.features {
        Kind::Inception => Some(NetworkFeatures::inception(
            &args.network,
            &args.metrics,
            &device,
        )?),
        Kind::Resnet => Some(NetworkFeatures::resnet(
            &args.network,
            &args.metrics,
            &device,
        )?),
        Kind::Pixels | Kind::Encoder | Kind::Given => None,
    };
    let source = Source {
        args,
        device,
        network,
    };
    let of_model = args.metrics.iter().all(|metric| *metric == Metric::Nll);
    if of_model && args.save_statistics.is_none() {
        if let Some(reference) = &args.reference {
            let line = source.nll(&input::read(reference, args.moments)?)?;
            source.answer(&source.report(None, reference, None, vec![line])?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (generated, side, diversity) = source.generated()?;
    if let Some(path) = &args.save_statistics {
        statistics::save(path, &generated)?;
    }
    if let Some(reference) = &args.reference {
        source.compare(&generated, side, reference, &diversity)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where sets come from.
struct Source<'a> {
    args: &'a Args,
    device: Device,
    network: Option<NetworkFeatures>,
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

    fn extractor(&self) -> Result<Extractor<'_>> {
        if let Some(network) = &self.network {
            return Ok(Extractor::Network(network));
        }
        Ok(match self.args.features {
            Kind::Encoder => {
                let run = self.open_run()?;
                if run.encoder_accuracy().is_none() {
                    bail!("the run's encoder was never trained: its features mean nothing");
                }
                Extractor::Encoder(Box::new(run))
            }
            Kind::Pixels | Kind::Given | Kind::Inception | Kind::Resnet => Extractor::Pixels,
        })
    }

    /// Features of what is judged, and how different its images look.
    fn generated(&self) -> Result<(Extracted, Side, Vec<Line>)> {
        let (content, source, labels) = match &self.args.generated {
            Some(source) => (
                input::read(source, self.args.moments)?,
                source.clone(),
                None,
            ),
            None => self.sampled()?,
        };
        let diversity = match &content {
            Content::Images(images) if self.args.metrics.contains(&Metric::Lpips) => {
                let network = &self.args.network;
                let lpips = Diversity {
                    weights: network.lpips_weights.as_ref(),
                    batch: network.batch.get(),
                    device: &self.device,
                };
                lpips.lines(images, labels.as_deref())?
            }
            _ => Vec::new(),
        };
        match self.set("generated", content)? {
            Set::Samples(set) => {
                let samples = Some(set.features.nrows());
                Ok((set, Side { source, samples }, diversity))
            }
            Set::Moments(_) => bail!(
                "--generated `{source}` holds a mean and a covariance alone; they can be the --reference"
            ),
        }
    }

    /// Samples of the run, of every class in equal shares, with the run's own sampler.
    fn sampled(&self) -> Result<(Content, String, Option<Vec<u32>>)> {
        let run = self.open_run()?;
        let count = self.args.count.get();
        let kind = run.images();
        let mut request = SampleRequest::from_config(run.config());
        request.seed = self.args.seed;
        let labels = (0..count).map(|i| Ok(Some(u32::try_from(i * kind.classes / count)?)));
        let labels: Vec<Option<u32>> = labels.collect::<Result<_>>()?;
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
        let labels = labels.into_iter().collect();
        Ok((Content::Images(images), source, labels))
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
                spatial: None,
            })),
            Content::Features { .. } => bail!(
                "{what} holds features, not images: say --features given, and what they are with --name"
            ),
            Content::Images(_) if given => {
                bail!(
                    "{what} holds images, not features: say --features pixels, encoder or inception"
                )
            }
            Content::Images(images) => Ok(Set::Samples(self.extractor()?.of(
                what,
                &images,
                &self.device,
            )?)),
        }
    }

    /// The spatial moments of a file of statistics, where sfid is asked for in the Inception features.
    fn spatial_moments(&self, reference: &str) -> Result<Option<Reference>> {
        if self.args.features != Kind::Inception || !self.args.metrics.contains(&Metric::Sfid) {
            return Ok(None);
        }
        match input::read(reference, Stored::Spatial)? {
            Content::Statistics(moments) => Ok(Some(Reference::Moments(moments))),
            _ => bail!(
                "sfid needs `mu_s` and `sigma_s` beside the reference's `mu` and `sigma`, or its images"
            ),
        }
    }

    /// Computes, prints and writes the metrics.
    fn compare(
        &self,
        generated: &Extracted,
        side: Side,
        reference: &str,
        diversity: &[Line],
    ) -> Result<()> {
        let args = self.args;
        let content = input::read(reference, args.moments)?;
        let nll = if args.metrics.contains(&Metric::Nll) {
            Some(self.nll(&content)?)
        } else {
            None
        };
        let (real, real_spatial) = match self.set("reference", content)? {
            Set::Samples(set) => (
                Reference::Samples(set.features),
                set.spatial.map(Reference::Samples),
            ),
            Set::Moments(moments) => (
                Reference::Moments(moments),
                self.spatial_moments(reference)?,
            ),
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
        let name = match (args.features, &self.network) {
            (_, Some(network)) => network.name(),
            (Kind::Given, _) => &args.name,
            (Kind::Encoder, _) => "encoder",
            _ => "pixels",
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
        let spatial = generated.spatial.as_ref().zip(real_spatial.as_ref());
        let spatial = spatial.map(|(x, reference)| Sets {
            generated: x.view(),
            probabilities: None,
            reference,
            held_out: None,
            features: INCEPTION_SPATIAL,
        });
        let provenance = self.network.as_ref().map(NetworkFeatures::provenance);
        let resize = provenance.as_ref().and_then(|network| network.resize);
        let resize = resize.map_or(String::new(), |resize| format!("; resize {resize}"));
        let mut lines = Vec::new();
        for metric in &args.metrics {
            if let (Metric::Nll, Some(line)) = (metric, &nll) {
                lines.push(line.clone());
                continue;
            }
            if *metric == Metric::Lpips && !diversity.is_empty() {
                lines.extend_from_slice(diversity);
                continue;
            }
            let sets = match &spatial {
                Some(spatial) if *metric == Metric::Sfid => spatial,
                _ => &sets,
            };
            announce(*metric, sets);
            let mut found = sets.compute(*metric, args)?;
            for line in &mut found {
                line.convention += &resize;
            }
            lines.extend(found);
        }
        let compared = Compared {
            features: name.to_owned(),
            dimension: generated.features.ncols(),
            generated: side,
            network: provenance,
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
