//! The data set of a run and the batches drawn from it: functions of (seed, player, number) alone.

use super::batch::Batch;
use super::conditions::Conditions;
use super::order::Order;
use super::term::Record;
use super::terms::{augmented, coupled, timed};
use crate::config::{Config, DatasetKind, LimitBy, ObjectiveConfig, TimeLaw, TimeSharing};
use crate::coupling::Pool;
use crate::data::{Classes, Dataset, ImageKind};
use crate::nn::from_f64;
use crate::random::{Streams, standard_normals};
use crate::run::checkpoint::State;
use crate::sampler::family;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
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
        DatasetKind::Images => Dataset::images(Path::new(&data.dir), data.rules())?,
    };
    if data.limit == 0 || data.limit >= dataset.len() {
        return Ok(dataset);
    }
    let mut chosen = match data.limit_by {
        LimitBy::Random => Streams::new(config.seed).permutation("limit", 0, dataset.len()),
        LimitBy::First => (0..dataset.len()).collect(),
    };
    chosen.truncate(data.limit);
    // In the order of the file, whatever was drawn.
    chosen.sort_unstable();
    Ok(dataset.subset(&chosen))
}

/// How many images there are, of which classes, how many of them are kept out of training, and the standard deviation of
/// the others' pixels (`objective.sigma_data` should be near it).
pub(crate) fn images_line(train: &Dataset, holdout: &Dataset, classes: &Classes) -> String {
    let [c, h, w] = train.shape;
    format!(
        "{} images of {c}×{h}×{w} in {} {} ({classes}), {} of them held out; standard deviation {:.2}",
        train.len() + holdout.len(),
        classes.count(),
        if classes.count() == 1 {
            "class"
        } else {
            "classes"
        },
        holdout.len(),
        train.standard_deviation()
    )
}

/// The images of a run and everything random that is drawn with them.
pub struct Data {
    /// Images to train on.
    pub(super) train: Dataset,
    /// Images that are kept out.
    pub(super) holdout: Dataset,
    /// Their shape.
    pub(super) images: ImageKind,
    /// Their classes, and what of them is learnt.
    pub(super) conditions: Conditions,
    /// Digest of all of them.
    pub(super) sha256: String,
    /// How held-out images were chosen.
    pub(super) law: HoldOut,
    streams: Streams,
    device: Device,
    orders: BTreeMap<&'static str, Order>,
    /// The pool of each player, with the batch that was taken from it last.
    pools: BTreeMap<&'static str, Taken>,
}

/// A pool, with the number of the batch that was taken last, and how its images were augmented.
struct Taken {
    number: usize,
    pool: Pool,
    augment: Option<Tensor>,
}

/// Images with their noise, their classes, and how they were augmented.
struct Pairs {
    x0: Tensor,
    eps: Tensor,
    labels: Vec<u32>,
    augment: Option<Tensor>,
}

impl Data {
    /// The configured images, of which some are kept out by `law`.
    ///
    /// # Errors
    /// Images that cannot be read, are not square or too few.
    pub fn open(config: &Config, law: HoldOut, device: &Device) -> Result<Self> {
        let all = dataset(config)?;
        let images = ImageKind::of(&all)?;
        let streams = Streams::new(config.seed);
        let (train, holdout) = split(&all, config.data.holdout, streams, law)?;
        let classes = Classes::of(&train, &holdout);
        Ok(Self {
            images,
            conditions: Conditions::new(classes, config.objective.label_dropout),
            sha256: all.sha256(),
            train,
            holdout,
            law,
            streams,
            device: device.clone(),
            orders: BTreeMap::new(),
            pools: BTreeMap::new(),
        })
    }

    /// The line on the images that a run begins with.
    pub(super) fn line(&self) -> String {
        images_line(&self.train, &self.holdout, self.conditions.classes())
    }

    /// Batch number `number` of the player `who`, of `size` images, with its t, noise and labels.
    ///
    /// # Errors
    /// A pool that its coupling refuses; the device's.
    pub fn batch(
        &mut self,
        config: &Config,
        who: &'static str,
        number: usize,
        size: usize,
    ) -> Result<Batch> {
        if config.coupling.is_independent() {
            let indices = self.order(who).batch(number, size);
            return self.draw(config, &indices, who, number as u64, true);
        }
        let batches = config.coupling.batches(size);
        let last = self.pools.remove(who);
        let same = last.filter(|last| last.number / batches == number / batches);
        let taken = match same {
            Some(last) => Taken { number, ..last },
            None => self.pool(config, who, (number, number / batches * batches), size)?,
        };
        let pool = &taken.pool;
        let (x0, eps, labels) = pool.batch(number % batches, size)?;
        let rows = |all: &Tensor| all.narrow(0, number % batches * size, size);
        let pairs = Pairs {
            x0,
            eps,
            labels,
            augment: taken.augment.as_ref().map(rows).transpose()?,
        };
        self.pools.insert(who, taken);
        Ok(self.finished(config, who, number as u64, pairs, true))
    }

    /// The pairs of the batches from `first` on, assigned together, of which `number` is taken.
    fn pool(
        &mut self,
        config: &Config,
        who: &'static str,
        (number, first): (usize, usize),
        size: usize,
    ) -> Result<Taken> {
        let (mut images, mut noise, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let mut classes = Vec::new();
        for number in first..first + config.coupling.batches(size) {
            let indices = self.order(who).batch(number, size);
            let pairs = self.pairs(config, &indices, who, number as u64)?;
            images.push(pairs.x0);
            noise.push(pairs.eps);
            told.extend(pairs.augment);
            classes.extend(pairs.labels);
        }
        let [x0, eps] = [images, noise].map(|parts| Tensor::cat(&parts, 0));
        let augmented = !told.is_empty();
        Ok(Taken {
            number,
            pool: Pool::new(config.coupling.build().as_ref(), x0?, eps?, classes)?,
            augment: augmented.then(|| Tensor::cat(&told, 0)).transpose()?,
        })
    }

    /// How batch number `number`, which `who` took last, was drawn, for an observer: its times, its images if they were augmented, and
    /// its noise if that was dealt out.
    pub(crate) fn drawn(
        &self,
        config: &Config,
        who: &str,
        number: usize,
        batch: &Batch,
    ) -> Result<Vec<Record>> {
        let (o, size) = (&config.objective, batch.len());
        let draws = time_draws(o, self.streams, who, number as u64, size);
        let mut records = vec![timed(o, draws, batch)];
        records.extend(self.images_drawn(config, who, number, batch)?);
        if let Some(Taken { number, pool, .. }) = self.pools.get(who) {
            let at = number % config.coupling.batches(size) * size;
            records.extend(coupled(pool, &config.coupling, at, batch));
        }
        Ok(records)
    }

    /// How the images of batch number `number` of `who` were augmented, if they were, for an observer.
    pub(crate) fn images_drawn(
        &self,
        config: &Config,
        who: &str,
        number: usize,
        batch: &Batch,
    ) -> Result<Option<Record>> {
        let Some(pipe) = config.data.augmentation()? else {
            return Ok(None);
        };
        let size = batch.len();
        let mut order = Order::new(self.streams, format!("{who}-order"), self.train.len());
        let indices = order.batch(number, size);
        let flips = self.flips(config, who, number as u64, size);
        let (before, _) = (self.train).mirrored_batch(&indices, &flips, &self.device)?;
        let draws = pipe.draws(self.streams, who, number as u64, size);
        Ok(Some(augmented(config.data.augment, before, draws, batch)))
    }

    /// The mean transport costs of the pool that `who` takes batches from, as drawn and as assigned.
    pub(crate) fn transport(&self, who: &str) -> impl Iterator<Item = (&'static str, f64)> {
        let costs = self.pools.get(who).and_then(|taken| taken.pool.transport);
        costs.into_iter().flat_map(|(_, [before, after])| {
            [("transport_before", before), ("transport_after", after)]
        })
    }

    /// Batch number `number` of Ψ as a classifier: clean images with their labels.
    ///
    /// # Errors
    /// The device's.
    pub fn clean_batch(
        &mut self,
        config: &Config,
        who: &'static str,
        number: usize,
        size: usize,
    ) -> Result<Batch> {
        let indices = self.order(who).batch(number, size);
        let (x0, labels, augment) = self.images(config, &indices, who, number as u64)?;
        Batch::clean(x0, labels, augment)
    }

    /// A small batch on which gradients are audited.
    pub(crate) fn audit_batch(&self, config: &Config) -> Result<Batch> {
        let size = config.train.batch.clamp(2, 8);
        let indices: Vec<usize> = (0..size).map(|i| i % self.train.len()).collect();
        let mut config = config.clone();
        if config.data.augment > 0.0 {
            // So that no label is zero in all images.
            config.data.augment = 1.0;
        }
        self.draw(&config, &indices, "audit", 0, false)
    }

    fn order(&mut self, who: &'static str) -> &mut Order {
        let (streams, n) = (self.streams, self.train.len());
        (self.orders.entry(who)).or_insert_with(|| Order::new(streams, format!("{who}-order"), n))
    }

    /// Which of a batch's images are mirrored.
    fn flips(&self, config: &Config, who: &str, number: u64, n: usize) -> Vec<bool> {
        if !config.data.flip {
            return vec![false; n];
        }
        let coins = self.streams.uniform(&format!("{who}-flips"), number, n);
        coins.into_iter().map(|coin| coin < 0.5).collect()
    }

    /// A batch with its t, noise and labels, from the streams of `who`.
    fn draw(
        &self,
        config: &Config,
        indices: &[usize],
        who: &str,
        number: u64,
        drop_labels: bool,
    ) -> Result<Batch> {
        let pairs = self.pairs(config, indices, who, number)?;
        Ok(self.finished(config, who, number, pairs, drop_labels))
    }

    /// Images with their classes, mirrored and augmented from the streams of `who`, and what the network is told of that.
    fn images(
        &self,
        config: &Config,
        indices: &[usize],
        who: &str,
        number: u64,
    ) -> Result<(Tensor, Vec<u32>, Option<Tensor>)> {
        let kept = config.train.compute.kept();
        let flips = self.flips(config, who, number, indices.len());
        let Some(pipe) = config.data.augmentation()? else {
            let (x0, labels) = self.train.mirrored_batch(indices, &flips, &self.device)?;
            return Ok((x0.to_dtype(kept)?, labels, None));
        };
        let (pixels, labels) = self.train.mirrored(indices, &flips)?;
        let pixels: Vec<f64> = pixels.into_iter().map(f64::from).collect();
        let ([c, h, w], n) = (self.train.shape, indices.len());
        let draws = pipe.draws(self.streams, who, number, n);
        let out = pipe.apply(&pixels, [n, c, h, w], &draws)?;
        let tensor = |values, shape: &[usize]| from_f64(values, shape, &self.device, kept);
        Ok((
            tensor(out.images, &[n, c, h, w])?,
            labels,
            Some(tensor(out.labels, &[n, pipe.label_dim()])?),
        ))
    }

    /// Images, their classes and noise, from the streams of `who`.
    fn pairs(&self, config: &Config, indices: &[usize], who: &str, number: u64) -> Result<Pairs> {
        let (x0, labels, augment) = self.images(config, indices, who, number)?;
        let eps = self.streams.normal_tensor(
            &format!("{who}-noise"),
            number,
            x0.shape(),
            &self.device,
            x0.dtype(),
        )?;
        Ok(Pairs {
            x0,
            eps,
            labels,
            augment,
        })
    }

    /// A batch of these pairs with its t, of which some labels are dropped.
    fn finished(
        &self,
        config: &Config,
        who: &str,
        number: u64,
        pairs: Pairs,
        drop_labels: bool,
    ) -> Batch {
        let mut labels = pairs.labels;
        if drop_labels {
            let coins = self
                .streams
                .uniform(&format!("{who}-labels"), number, labels.len());
            for (label, coin) in labels.iter_mut().zip(coins) {
                if coin < config.objective.label_dropout {
                    *label = self.images.no_class();
                }
            }
        }
        Batch {
            t: draw_times(config, self.streams, who, number, labels.len()),
            x0: pairs.x0,
            eps: pairs.eps,
            labels: Some(labels),
            augment: pairs.augment,
            dropout: Some((self.streams.branch(&format!("{who}-dropout")), number)),
        }
    }
}

/// t of every sample of a batch, under the configured law.
pub fn draw_times(config: &Config, streams: Streams, who: &str, number: u64, n: usize) -> Vec<f64> {
    let o = &config.objective;
    times(o, &time_draws(o, streams, who, number, n), n)
}

/// The random numbers behind the t of a batch of `n`: uniform ones, of which soft truncation takes one more, the first; or normal ones.
pub fn time_draws(
    objective: &ObjectiveConfig,
    streams: Streams,
    who: &str,
    number: u64,
    n: usize,
) -> Vec<f64> {
    let distinct = match objective.time_sharing {
        TimeSharing::Shared => 1,
        TimeSharing::PerSample => n,
    };
    let purpose = format!("{who}-time");
    match objective.time {
        TimeLaw::Uniform | TimeLaw::LogUniform | TimeLaw::IddpmStep => {
            streams.uniform(&purpose, number, distinct)
        }
        TimeLaw::SoftTruncation => streams.uniform(&purpose, number, distinct + 1),
        TimeLaw::LogNormal => standard_normals(&mut streams.rng(&purpose, number), distinct),
    }
}

/// What the configured law makes of these draws: t of each of `n` samples.
pub fn times(objective: &ObjectiveConfig, draws: &[f64], n: usize) -> Vec<f64> {
    let o = objective;
    let (low, high) = (o.time_min, o.time_max);
    let mut t: Vec<f64> = match o.time {
        TimeLaw::Uniform => draws.iter().map(|u| low + u * (high - low)).collect(),
        TimeLaw::SoftTruncation => match draws {
            [first, rest @ ..] => {
                let tau = low + first * (high - low);
                rest.iter().map(|u| tau + u * (high - tau)).collect()
            }
            [] => Vec::new(),
        },
        TimeLaw::LogNormal => draws
            .iter()
            .map(|z| o.schedule.t_of_sigma_ratio((o.p_mean + o.p_std * z).exp()))
            .collect(),
        TimeLaw::LogUniform => {
            let ratio = |u: &f64| o.sigma_min * (o.sigma_max / o.sigma_min).powf(*u);
            let at = |u| o.schedule.t_of_sigma_ratio(ratio(u));
            draws.iter().map(at).collect()
        }
        TimeLaw::IddpmStep => {
            let levels = family::iddpm_steps();
            let at = |u: &f64| o.schedule.t_of_sigma_ratio(levels[place(*u, levels.len())]);
            draws.iter().map(at).collect()
        }
    };
    if t.len() < n
        && let [shared, ..] = t[..]
    {
        t = vec![shared; n];
    }
    t
}

/// The part of `parts` equal ones that holds u of [0, 1).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 ≤ u < 1"
)]
fn place(u: f64, parts: usize) -> usize {
    ((u * parts as f64) as usize).min(parts - 1)
}

/// How held-out images are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOut {
    /// From each class in its share, at least one and never the only one.
    ByClass,
    /// Without regard to classes: runs of versions whose checkpoints do not name their classes.
    ByImage,
}

impl HoldOut {
    /// The law of the run whose newest checkpoint has this state; a run without one begins by classes.
    pub(crate) fn of(state: Option<&State>) -> Self {
        match state {
            Some(state) if state.classes.is_none() => Self::ByImage,
            _ => Self::ByClass,
        }
    }
}

/// Training and held-out images, by a random permutation of the seed.
///
/// # Errors
/// Fewer than 2 images left to train on.
pub fn split(
    all: &Dataset,
    holdout: f64,
    streams: Streams,
    law: HoldOut,
) -> Result<(Dataset, Dataset)> {
    let order = streams.permutation("holdout", 0, all.len());
    let mut quota = match law {
        HoldOut::ByClass => quotas(&all.class_counts(), holdout),
        HoldOut::ByImage => vec![share(holdout, all.len())],
    };
    let (mut held, mut kept) = (Vec::new(), Vec::new());
    for index in order {
        let class = match law {
            HoldOut::ByClass => all.labels[index] as usize,
            HoldOut::ByImage => 0,
        };
        if quota[class] > 0 {
            quota[class] -= 1;
            held.push(index);
        } else {
            kept.push(index);
        }
    }
    if kept.len() < 2 {
        return Err(Error::invalid(
            "the training data",
            "hold at least 2 images",
            kept.len(),
        ));
    }
    Ok((all.subset(&kept), all.subset(&held)))
}

/// ⌊share · n⌋ for a share in [0, 1).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 ≤ holdout < 1"
)]
fn share(holdout: f64, n: usize) -> usize {
    (holdout * n as f64).floor() as usize
}

/// How many images of each class are held out: ⌊holdout · N⌋ in all by largest remainders, but at least one of a class that
/// has two or more, and never all of a class.
fn quotas(counts: &[usize], holdout: f64) -> Vec<usize> {
    if holdout <= 0.0 {
        return vec![0; counts.len()];
    }
    let most = |n: usize| n.saturating_sub(1);
    let mut quota: Vec<usize> = (counts.iter())
        .map(|&n| share(holdout, n).max(1).min(most(n)))
        .collect();
    let remainder = |class: usize| holdout * counts[class] as f64 - quota[class] as f64;
    let mut by_remainder: Vec<(f64, usize)> = (0..counts.len())
        .filter(|&class| remainder(class) > 0.0 && quota[class] < most(counts[class]))
        .map(|class| (remainder(class), class))
        .collect();
    by_remainder.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let wanted = share(holdout, counts.iter().sum());
    let missing = wanted.saturating_sub(quota.iter().sum());
    for (_, class) in by_remainder.into_iter().take(missing) {
        quota[class] += 1;
    }
    quota
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(counts: &[usize]) -> Dataset {
        let labels: Vec<u32> = (0..)
            .zip(counts)
            .flat_map(|(class, n)| vec![class; *n])
            .collect();
        let pixels = (0..labels.len()).map(|i| i as f32 / 1e4).collect();
        Dataset::new("test", [1, 1, 1], pixels, labels, counts.len()).expect("a data set")
    }

    #[test]
    fn each_class_gives_its_share_and_never_its_only_image() -> Result<()> {
        let all = dataset(&[60, 4, 1, 2, 0]);
        let (kept, held) = split(&all, 0.1, Streams::new(3), HoldOut::ByClass)?;
        assert_eq!(held.class_counts(), [6, 1, 0, 1, 0]);
        assert_eq!(kept.class_counts(), [54, 3, 1, 1, 0]);
        let mut pixels: Vec<f32> = kept.images.iter().chain(&held.images).copied().collect();
        pixels.sort_by(f32::total_cmp);
        assert_eq!(pixels, all.images, "each image is in one of the two parts");
        let (_, other) = split(&all, 0.1, Streams::new(4), HoldOut::ByClass)?;
        assert_ne!(other.images, held.images, "another seed holds out others");
        Ok(())
    }

    #[test]
    fn shares_add_up_as_without_classes() {
        for (counts, holdout) in [
            (vec![178, 182, 177, 183, 181, 182, 181, 179, 174, 180], 0.1),
            (vec![7; 9], 0.3),
        ] {
            let total: usize = quotas(&counts, holdout).iter().sum();
            assert_eq!(total, share(holdout, counts.iter().sum()));
        }
        assert_eq!(quotas(&[5, 5], 0.0), [0, 0]);
        assert_eq!(quotas(&[3, 3], 0.99), [2, 2]);
    }

    #[test]
    fn the_old_law_is_a_permutation_cut_in_two() -> Result<()> {
        let all = dataset(&[10, 10]);
        let (kept, held) = split(&all, 0.25, Streams::new(5), HoldOut::ByImage)?;
        let order = Streams::new(5).permutation("holdout", 0, 20);
        assert_eq!(held.images, all.subset(&order[..5]).images);
        assert_eq!(kept.images, all.subset(&order[5..]).images);
        Ok(())
    }

    /// Of a coupled run the batches are those of the run without coupling, but for who got which noise of the pool.
    #[test]
    fn a_coupling_moves_noise_and_nothing_else() -> Result<()> {
        let keys = [
            "data.limit=60",
            "data.flip=true",
            "train.batch=4",
            "objective.label_dropout=0.5",
        ];
        let mut plain = Config::default().with_sets(keys).expect("known keys");
        let more = ["coupling.method=optimal", "coupling.pool=12"];
        let mut coupled = plain.clone().with_sets(more).expect("known keys");
        // No network is built here that could not be told of it.
        (plain.data.augment, coupled.data.augment) = (0.5, 0.5);
        let open = |config: &Config| Data::open(config, HoldOut::ByClass, &Device::Cpu);
        let (mut one, mut other) = (open(&plain)?, open(&coupled)?);
        let rows = |x: &Tensor| -> Result<Vec<Vec<u32>>> {
            let rows = x.flatten_from(1)?.to_vec2::<f32>()?;
            Ok(rows
                .into_iter()
                .map(|row| row.into_iter().map(f32::to_bits).collect())
                .collect())
        };
        for who in ["theta", "phi"] {
            let (mut drawn, mut dealt, mut moved) = (Vec::new(), Vec::new(), false);
            for number in 0..6 {
                let want = one.batch(&plain, who, number, 4)?;
                let got = other.batch(&coupled, who, number, 4)?;
                assert_eq!(rows(&want.x0)?, rows(&got.x0)?, "images of {who} {number}");
                assert_eq!(
                    (&want.t, &want.labels),
                    (&got.t, &got.labels),
                    "{who} {number}"
                );
                let [told, same] = [&want, &got].map(|batch| batch.augment.as_ref().map(rows));
                let told = told.transpose()?;
                assert!(told.is_some(), "labels of augmentation");
                assert_eq!(told, same.transpose()?, "augmentation of {who} {number}");
                moved |= rows(&want.eps)? != rows(&got.eps)?;
                drawn.extend(rows(&want.eps)?);
                dealt.extend(rows(&got.eps)?);
                if number % 3 == 2 {
                    drawn.sort();
                    dealt.sort();
                    assert_eq!(drawn, dealt, "the noise of {who}'s pool up to {number}");
                    drawn.dedup();
                    assert_eq!(drawn.len(), dealt.len(), "each noise once");
                    (drawn, dealt) = (Vec::new(), Vec::new());
                }
            }
            assert!(moved, "{who}'s noise was not dealt out");
        }
        Ok(())
    }
}
