//! The data set of a run and the batches drawn from it: functions of (seed, player, number) alone.

use super::Trainer;
use super::step::Batch;
use crate::config::{Config, DatasetKind, TimeLaw, TimeSharing};
use crate::data::{Dataset, Found};
use crate::random::{Streams, standard_normals};
use crate::{Error, Result};
use candle_core::DType;
use std::path::{Path, PathBuf};

/// The data set a configuration names.
pub fn dataset(config: &Config) -> Result<Dataset> {
    let data = &config.data;
    let folder = |name: &str| -> Result<PathBuf> {
        if !data.dir.is_empty() {
            return Ok(PathBuf::from(&data.dir));
        }
        std::env::var_os("SADM_DATA_DIR")
            .map(|root| Path::new(&root).join(name))
            .ok_or_else(|| {
                Error::invalid(
                    "data.dir",
                    format!(
                        "name the folder with the {name} files (or set SADM_DATA_DIR to its parent)"
                    ),
                    "an empty string",
                )
            })
    };
    let dataset = match data.dataset {
        DatasetKind::Digits => Dataset::digits()?,
        DatasetKind::Mnist => Dataset::mnist(&folder("mnist")?)?,
        DatasetKind::Cifar10 => Dataset::cifar10(&folder("cifar10")?)?,
        DatasetKind::Images => Dataset::images(Path::new(&data.dir), &data.rules())?,
    };
    Ok(if data.limit > 0 && data.limit < dataset.len() {
        dataset.subset(&(0..data.limit).collect::<Vec<_>>())
    } else {
        dataset
    })
}

/// Names of classes that a line has room for.
const NAMED: usize = 10;

impl Trainer {
    /// How many images there are, of which classes, how many of them are kept out of training, and how far the others' pixels
    /// scatter (`objective.sigma_data` supposes to know).
    pub fn images_line(&self) -> String {
        let [c, h, w] = self.train.shape;
        let (classes, names) = (self.train.classes, &self.train.class_names);
        let mut named: Vec<String> = (names.iter().enumerate().take(NAMED))
            .map(|(number, name)| format!("{number} {name}"))
            .collect();
        if names.len() > NAMED {
            named.push("…".to_owned());
        }
        let named = if named.is_empty() {
            String::new()
        } else {
            format!(" ({})", named.join(", "))
        };
        format!(
            "{} images of {c}×{h}×{w} in {classes} {}{named}, {} of them held out; standard deviation {:.2}",
            self.train.len() + self.holdout.len(),
            if classes == 1 { "class" } else { "classes" },
            self.holdout.len(),
            self.train.standard_deviation()
        )
    }

    /// What reading the images did to their files.
    pub fn found(&self) -> &Found {
        &self.train.found
    }

    pub(super) fn theta_batch(&mut self) -> Result<Batch> {
        let indices = self
            .theta_order
            .batch(self.state.theta_updates, self.config.train.batch);
        self.draw(&indices, "theta", self.state.theta_updates as u64, true)
    }

    pub(super) fn phi_batch(&mut self, inner: usize) -> Result<Batch> {
        let number = self.state.theta_updates * self.config.adversarial.phi_steps + inner;
        let indices = self.phi_order.batch(number, self.config.train.batch);
        self.draw(&indices, "phi", number as u64, true)
    }

    pub(super) fn audit_batch(&self) -> Result<Batch> {
        let size = self.config.train.batch.clamp(2, 8);
        let indices: Vec<usize> = (0..size).map(|i| i % self.train.len()).collect();
        self.draw(&indices, "audit", 0, false)
    }

    /// Which of a batch's images are mirrored.
    pub(super) fn flips(&self, who: &str, number: u64, n: usize) -> Vec<bool> {
        if !self.config.data.flip {
            return vec![false; n];
        }
        let coins = self.streams.uniform(&format!("{who}-flips"), number, n);
        coins.into_iter().map(|coin| coin < 0.5).collect()
    }

    /// A batch with its t, noise and labels, from the streams of `who`.
    pub(super) fn draw(
        &self,
        indices: &[usize],
        who: &str,
        number: u64,
        drop_labels: bool,
    ) -> Result<Batch> {
        let flips = self.flips(who, number, indices.len());
        let (x0, mut labels) = self.train.mirrored_batch(indices, &flips, &self.device)?;
        let eps = self.streams.normal_tensor(
            &format!("{who}-noise"),
            number,
            x0.shape(),
            &self.device,
            DType::F32,
        )?;
        if drop_labels {
            let coins = self
                .streams
                .uniform(&format!("{who}-labels"), number, labels.len());
            for (label, coin) in labels.iter_mut().zip(coins) {
                if coin < self.config.objective.label_dropout {
                    *label = self.images.no_class();
                }
            }
        }
        Ok(Batch {
            t: draw_times(&self.config, self.streams, who, number, indices.len()),
            x0,
            eps,
            labels: Some(labels),
        })
    }
}

/// t of every sample of a batch, under the configured law.
pub fn draw_times(config: &Config, streams: Streams, who: &str, number: u64, n: usize) -> Vec<f64> {
    let o = &config.objective;
    let distinct = match o.time_sharing {
        TimeSharing::Shared => 1,
        TimeSharing::PerSample => n,
    };
    let purpose = format!("{who}-time");
    let (low, high) = (o.time_min, o.time_max);
    let mut t: Vec<f64> = match o.time {
        TimeLaw::Uniform => streams
            .uniform(&purpose, number, distinct)
            .into_iter()
            .map(|u| low + u * (high - low))
            .collect(),
        TimeLaw::SoftTruncation => {
            let draws = streams.uniform(&purpose, number, distinct + 1);
            let tau = low + draws[0] * (high - low);
            draws[1..].iter().map(|u| tau + u * (high - tau)).collect()
        }
        TimeLaw::LogNormal => standard_normals(&mut streams.rng(&purpose, number), distinct)
            .into_iter()
            .map(|z| o.schedule.t_of_sigma_ratio((o.p_mean + o.p_std * z).exp()))
            .collect(),
    };
    if t.len() < n {
        t = vec![t[0]; n];
    }
    t
}

/// Training and held-out images, by a random permutation of the seed.
pub fn split(all: &Dataset, holdout: f64, streams: Streams) -> Result<(Dataset, Dataset)> {
    let order = streams.permutation("holdout", 0, all.len());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ holdout < 1"
    )]
    let held = (holdout * all.len() as f64).floor() as usize;
    let (held, kept) = order.split_at(held);
    if kept.len() < 2 {
        return Err(Error::invalid(
            "the training data",
            "hold at least 2 images",
            kept.len(),
        ));
    }
    Ok((all.subset(kept), all.subset(held)))
}
