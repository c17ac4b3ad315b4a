//! A generated set held against a reference.

use std::cell::OnceCell;

use anyhow::{Context, Result, bail};

use super::compute::{Reference, Sets, announce};
use super::input::Whose;
use super::input::{self, Content, Stored};
use super::matrix::Matrix;
use super::metric::Kind;
use super::networks::{INCEPTION_SPATIAL, NetworkFeatures};
use super::report::{Compared, Line, Report, Side};
use super::{Judged, Metric, Set, Source};
use crate::progress::say;

/// The reference in every kind of feature that is asked for.
#[derive(Default)]
struct Real {
    features: Reference,
    spatial: Option<Reference>,
    nll: Option<Line>,
    side: Option<Side>,
    /// Shape of its images, where it holds any.
    shape: Option<[usize; 3]>,
}

/// Which two sets an error speaks of.
fn between(generated: &Side, reference: Option<&str>) -> String {
    match reference {
        Some(reference) => format!("generated `{}`, reference `{reference}`", generated.source),
        None => format!("generated `{}`", generated.source),
    }
}

impl Source<'_> {
    /// Computes the metrics.
    pub(super) fn compare(&self, judged: Judged, reference: Option<&str>) -> Result<Report> {
        let args = self.args;
        let real = match reference {
            Some(reference) => self.real(reference)?,
            // What is asked for needs none: `request::check`.
            None => Real::default(),
        };
        let generated = &judged.set;
        let dimension = generated.features.view().ncols();
        let same_kind =
            judged.shape.is_none() || real.shape.is_none() || judged.shape == real.shape;
        if reference.is_some() && same_kind && real.features.columns() != dimension {
            bail!(
                "the reference must have the generated set's {dimension} features, got {}: they are not the same features",
                real.features.columns()
            );
        }
        if let (Kind::Pixels, Some(ours), Some(theirs)) = (args.features, judged.shape, real.shape)
            && ours != theirs
        {
            bail!(
                "the reference's images are {theirs:?} (channels, height, width), the generated ones {ours:?}: pixels are compared \
                 place by place"
            );
        }
        let held_out = self.held_out()?;
        let sets = Sets {
            generated: generated.features.view(),
            probabilities: generated.probabilities.as_ref().map(|x| x.view()),
            reference: &real.features,
            held_out: held_out.as_ref().map(Matrix::view),
            features: self.features_name(),
            shares: OnceCell::new(),
            class_by_class: judged.class_by_class,
        };
        let spatial = generated.spatial.as_ref().zip(real.spatial.as_ref());
        let spatial = spatial.map(|(x, reference)| Sets {
            generated: x.view(),
            probabilities: None,
            reference,
            held_out: None,
            features: INCEPTION_SPATIAL,
            shares: OnceCell::new(),
            class_by_class: judged.class_by_class,
        });
        let provenance = self.network.as_ref().map(NetworkFeatures::provenance);
        let resize = provenance.as_ref().and_then(|network| network.resize);
        let resize = resize.map(|resize| format!("; resize {resize}"));
        let psi = self
            .encoder
            .as_ref()
            .map(|psi| format!("; Ψ {}", psi.digest()));
        let reading = args.reading.said(args.features);
        let beside = reading.to_owned() + &resize.or(psi).unwrap_or_default();
        let mut lines = Vec::new();
        for metric in &args.metrics {
            let sets = match (metric, &spatial) {
                (Metric::Nll, _) => {
                    lines.extend(real.nll.clone());
                    continue;
                }
                (Metric::Lpips, _) if !judged.diversity.is_empty() => {
                    lines.extend_from_slice(&judged.diversity);
                    continue;
                }
                (Metric::Sfid, Some(spatial)) => spatial,
                _ => &sets,
            };
            announce(*metric, sets, args);
            let mut found = sets
                .compute(*metric, args)
                .with_context(|| between(&judged.side, reference))?;
            for line in &mut found {
                line.convention += &beside;
            }
            lines.extend(found);
        }
        let compared = Compared {
            features: sets.features.to_owned(),
            dimension,
            generated: judged.side,
            network: provenance,
            encoder: self.encoder_line(),
        };
        let side = real.side.map(|side| Side {
            samples: real.features.count(),
            ..side
        });
        Ok(self.report(Some(compared), side, lines))
    }

    fn features_name(&self) -> &str {
        match (self.args.features, &self.network) {
            (_, Some(network)) => network.name(),
            (Kind::Given, _) => &self.args.name,
            (Kind::Encoder, _) => "encoder",
            _ => "pixels",
        }
    }

    fn real(&self, reference: &str) -> Result<Real> {
        let (mut content, side) = self.reference(reference)?;
        let shape = content.shape();
        let asked = self.args.metrics.contains(&Metric::Nll);
        let nll = asked.then(|| self.nll(&content)).transpose()?;
        if let Content::Statistics { samples, .. } = &mut content
            && !self
                .args
                .metrics
                .iter()
                .any(|metric| metric.needs_real_samples())
        {
            *samples = None;
        }
        let Set { samples, moments } = self.set(Whose::Reference, content)?;
        let (features, spatial) = match samples {
            Some(set) => (Some(set.features), set.spatial),
            None => (None, None),
        };
        let spatial = match &moments {
            Some(_) => self.spatial_moments(reference)?,
            None => spatial.map(|x| Reference {
                samples: Some(x),
                moments: None,
            }),
        };
        let features = Reference {
            samples: features,
            moments,
        };
        Ok(Real {
            features,
            spatial,
            nll,
            side: Some(side),
            shape,
        })
    }

    /// The spatial moments of a file of statistics, where sfid is asked for in the Inception features.
    fn spatial_moments(&self, reference: &str) -> Result<Option<Reference>> {
        if self.args.features != Kind::Inception || !self.args.metrics.contains(&Metric::Sfid) {
            return Ok(None);
        }
        match input::read(reference, Stored::Spatial, self.args.reading.rules())? {
            Content::Statistics { moments, .. } => Ok(Some(Reference {
                samples: None,
                moments: Some(moments),
            })),
            _ => bail!(
                "sfid needs `mu_s` and `sigma_s` beside the reference's `mu` and `sigma`, or its images"
            ),
        }
    }

    fn held_out(&self) -> Result<Option<Matrix>> {
        let Some(source) = &self.args.held_out else {
            return Ok(None);
        };
        let content = self.read(source)?;
        if let Some(found) = content.found() {
            say(&format!("held-out {source}: {found}"));
        }
        match self.set(Whose::HeldOut, content)?.samples {
            Some(set) => Ok(Some(set.features)),
            None => bail!("--held-out must hold samples, not a mean and a covariance"),
        }
    }
}
