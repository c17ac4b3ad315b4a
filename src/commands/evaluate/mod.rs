//! `sadm evaluate`: how far samples are from the data, in the metrics of the field.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use sadm_gpu::data::Images;
use sadm_gpu::run::{Features, Run};
use sadm_reference::metrics::Moments;

use crate::progress::say;
use crate::{feature_space, files, place, room, threads};
pub use args::{Args, Divisor};
use compute::LEVEL;
use features::Extracted;
pub use input::SAMPLES_MARK;
use input::{Content, Whose};
use metric::Kind;
use metric::Metric;
use networks::NetworkFeatures;
use report::{Compared, Line, Model, Report, Side};

mod args;
mod classes;
mod compare;
mod compute;
mod diversity;
mod draws;
mod features;
mod input;
mod log;
mod matrix;
mod metric;
mod networks;
mod nll;
mod reading;
mod report;
mod request;
mod sampled;
mod statistics;
mod subset;

/// Computes the metrics and prints them.
pub fn run(args: &Args) -> Result<ExitCode> {
    threads::limit(args.threads)?;
    request::check(args)?;
    let source = Source::open(args)?;
    let of_model = args.metrics.iter().all(|metric| *metric == Metric::Nll);
    if of_model && args.save_statistics.is_none() {
        if let Some(reference) = &args.reference {
            let (content, side) = source.reference(reference)?;
            let line = source.nll(&content)?;
            source.answer(&source.report(None, Some(side), vec![line]))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let judged = source.judged()?;
    if let Some(path) = &args.save_statistics {
        statistics::save(path, &judged.set, args.covariance)?;
    }
    let alone = args.save_statistics.is_none();
    if args.reference.is_some() || alone {
        source.answer(&source.compare(judged, args.reference.as_deref())?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where sets come from.
struct Source<'a> {
    args: &'a Args,
    device: Device,
    network: Option<NetworkFeatures>,
    encoder: Option<Features>,
    model: Option<(Run, Model)>,
    /// The one class that is judged.
    class: Option<u32>,
}

/// What is judged.
struct Judged {
    /// Its features.
    set: Extracted,
    /// Where it comes from.
    side: Side,
    /// How different its images look, where that was asked for.
    diversity: Vec<Line>,
    /// Whether its samples come one class after the other.
    class_by_class: bool,
    /// Shape of its images, where it is of images.
    shape: Option<[usize; 3]>,
}

/// What a source holds: at least one of the two.
#[derive(Default)]
struct Set {
    /// Features of its samples.
    samples: Option<Extracted>,
    /// A stored mean and covariance.
    moments: Option<Moments>,
}

/// Whether labels of several classes come one class after the other.
fn come_class_by_class(labels: &[u32]) -> bool {
    let changes = labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let classes: BTreeSet<_> = labels.iter().collect();
    changes > 0 && changes + 1 == classes.len()
}

impl<'a> Source<'a> {
    fn open(args: &'a Args) -> Result<Self> {
        let device = place::open(&args.device, "f32")?.device;
        let (weights, metrics) = (&args.network, &args.metrics);
        let network = match args.features {
            Kind::Inception => Some(NetworkFeatures::inception(weights, metrics, &device)?),
            Kind::Resnet => Some(NetworkFeatures::resnet(weights, metrics, &device)?),
            Kind::Pixels | Kind::Encoder | Kind::Given => None,
        };
        let encoder = match (args.features, args.encoder.as_ref().or(args.run.as_ref())) {
            (Kind::Encoder, Some(folder)) => Some(feature_space::encoder(folder, &device)?),
            (Kind::Encoder, None) => bail!("--features encoder needs --run DIR or --encoder DIR"),
            _ => None,
        };
        let model = match &args.run {
            Some(folder) => {
                let run = match args.step {
                    Some(step) => Run::open_at(folder, step, &device)?,
                    None => Run::open(folder, &device)?,
                };
                let model = Model {
                    run: folder.display().to_string(),
                    step: run.step(),
                };
                Some((run, model))
            }
            None => None,
        };
        let class = match (&args.class, &model) {
            (Some(class), Some((run, _))) => Some(run.conditions().classes().find(class)?),
            _ => None,
        };
        Ok(Self {
            args,
            device,
            network,
            encoder,
            model,
            class,
        })
    }

    /// What a path or a name stands for.
    fn read(&self, source: &str) -> Result<Content> {
        if input::is_part(source) {
            return input::part_of_run(source, &self.model()?.0);
        }
        let content = input::read(source, self.args.moments, self.args.reading.rules())?;
        if let Content::Images(images) = &content
            && images.count() == 0
        {
            bail!("`{source}` holds no images");
        }
        Ok(content)
    }

    /// The reference, as far as it is used, and what is said of it.
    fn reference(&self, source: &str) -> Result<(Content, Side)> {
        let mut content = self.read(source)?;
        let reading = content.found();
        let mut chosen = Vec::new();
        if let (Some(class), Some((run, _))) = (self.class, &self.model) {
            content = classes::only(content, run.conditions(), class)?;
            chosen.push(format!(
                "of class {}",
                run.conditions().classes().label(class)
            ));
        }
        if let Some(most) = self.args.reference_count {
            let (by, seed) = (self.args.reference_by, self.args.seed);
            let (part, how) = subset::of(content, most.get(), by, seed)?;
            content = part;
            chosen.extend(how);
        }
        let side = Side {
            source: source.to_owned(),
            samples: None,
            chosen: (!chosen.is_empty()).then(|| chosen.join(", ")),
            reading,
        };
        Ok((content, side))
    }

    /// Whose encoder gives the features.
    fn encoder_line(&self) -> Option<String> {
        let psi = self.encoder.as_ref()?;
        let folder = self.args.encoder.as_ref().or(self.args.run.as_ref())?;
        Some(format!(
            "Ψ {} of {}, step {}",
            psi.digest(),
            folder.display(),
            psi.step()
        ))
    }

    /// How the classes of drawn samples were chosen.
    fn drawn_classes(&self) -> String {
        match (self.class, &self.model) {
            (Some(class), Some((run, _))) => {
                format!("all of class {}", run.conditions().classes().label(class))
            }
            (None, Some((run, _))) if !run.conditions().has_classes() => "without class".to_owned(),
            _ => self.args.classes.name().to_owned(),
        }
    }

    fn model(&self) -> Result<&(Run, Model)> {
        let model = self.model.as_ref();
        model.context("--run DIR is needed: for its model (--metrics nll) or its data (run:train, run:holdout)")
    }

    /// Bits per dimension of the reference under the run's model.
    fn nll(&self, reference: &Content) -> Result<Line> {
        let Content::Images(images) = reference else {
            bail!("nll needs images as the reference, not features or stored statistics");
        };
        let (run, _) = self.model()?;
        nll::bits(run, images, &self.args.nll, self.args.seed, &self.device)
    }

    /// Features of what is judged, and how different its images look.
    fn judged(&self) -> Result<Judged> {
        let drawn = self.args.generated.is_none();
        let (content, source) = if let Some(source) = &self.args.generated {
            (self.read(source)?, source.clone())
        } else {
            let (run, model) = self.model()?;
            let Args {
                count,
                classes,
                seed,
                ..
            } = *self.args;
            let classes = match self.class {
                Some(class) => sampled::Wanted::One(class),
                None => sampled::Wanted::Of(classes),
            };
            room::for_images(run, count.get(), &self.device)?;
            let images = sampled::images(run, count.get(), classes, seed)?;
            let source = format!("{}, step {}", model.run, model.step);
            (Content::Images(images), source)
        };
        let reading = &self.args.reading;
        let found = content.found();
        let content = match content {
            Content::Images(images) => Content::Images(reading.taken(images)),
            other => other,
        };
        let diversity = match &content {
            Content::Images(images) if self.args.metrics.contains(&Metric::Lpips) => {
                let said = reading.said(Kind::Pixels);
                diversity::lines(&self.args.network, images, said, &self.device)?
            }
            _ => Vec::new(),
        };
        let shape = content.shape();
        let class_by_class = match &content {
            Content::Images(images) => images.labels.as_deref().is_some_and(come_class_by_class),
            _ => false,
        };
        let Some(set) = self.set(Whose::Generated, content)?.samples else {
            bail!(
                "--generated `{source}` holds a mean and a covariance alone; they can be the --reference"
            );
        };
        let side = Side {
            source,
            samples: Some(set.features.view().nrows()),
            chosen: drawn.then(|| self.drawn_classes()),
            reading: found,
        };
        Ok(Judged {
            set,
            side,
            diversity,
            class_by_class,
            shape,
        })
    }

    /// The features of what a source holds.
    fn set(&self, whose: Whose, content: Content) -> Result<Set> {
        let given = self.args.features == Kind::Given;
        let samples = |set: Extracted| Set {
            samples: Some(set),
            moments: None,
        };
        match content {
            Content::Statistics {
                moments,
                samples: beside,
            } => {
                let beside = beside
                    .map(|samples| self.set(whose, *samples))
                    .transpose()?;
                Ok(Set {
                    moments: Some(moments),
                    ..beside.unwrap_or_default()
                })
            }
            Content::Features {
                features,
                probabilities,
            } if given => Ok(samples(Extracted {
                features,
                probabilities,
                spatial: None,
            })),
            Content::Features { .. } => bail!(
                "{whose} holds features, not images: say --features given, and what they are with --name"
            ),
            Content::Images(_) if given => {
                bail!(
                    "{whose} holds images, not features: say --features pixels, encoder or inception"
                )
            }
            Content::Images(images) => Ok(samples(self.features_of(whose, images)?)),
        }
    }

    fn features_of(&self, whose: Whose, images: Images) -> Result<Extracted> {
        let images = self.args.reading.taken(images);
        match (&self.network, &self.encoder) {
            (Some(network), _) => network.of(whose, &images),
            (None, Some(encoder)) => features::encoded(encoder, whose, &images, &self.device),
            (None, None) => features::pixels(images),
        }
    }

    fn report(
        &self,
        compared: Option<Compared>,
        reference: Option<Side>,
        metrics: Vec<Line>,
    ) -> Report {
        Report {
            compared,
            model: self.model.as_ref().map(|(_, model)| model.clone()),
            reference,
            level: LEVEL,
            metrics,
        }
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

#[cfg(test)]
mod tests {
    use super::come_class_by_class;

    #[test]
    fn samples_that_come_class_by_class_are_noticed() {
        assert!(come_class_by_class(&[2, 2, 0, 0, 0, 1]));
        assert!(!come_class_by_class(&[0, 1, 0, 1]));
        assert!(!come_class_by_class(&[3, 3, 3]), "one class has no order");
    }
}
