//! What is drawn for a batch: its images, mirrored and augmented or not, its noise, labels and times, each from its own stream.

use std::collections::BTreeMap;

use ndarray::{ArrayD, Axis, concatenate};
use sadm_reference::{
    augment::Pipe,
    bound::{self, Precision, Tracked},
    coupling,
    sampler::family::{IDDPM_C, iddpm_levels},
    schedule::Schedule,
};

use super::{
    arithmetic::Arithmetic,
    images::{Images, NO_CLASS},
    settings::{Objective, Settings, TimeLaw},
    streams::Streams,
};
use crate::error::{Error, Result};

/// How the images of a batch were augmented.
#[derive(Debug, Clone)]
pub(super) struct Augmented {
    /// The images before.
    pub(super) before: ArrayD<f64>,
    /// The random numbers that decided.
    pub(super) uniform: Vec<f64>,
    pub(super) normal: Vec<f64>,
    /// The images after.
    pub(super) x0: ArrayD<f64>,
    /// What the network is told.
    pub(super) labels: ArrayD<f64>,
    /// Whether rounding decides how far they are continued beyond their borders, and pixels hang on that.
    pub(super) hangs: bool,
}

/// Images without noise.
#[derive(Debug, Clone)]
pub(super) struct Clean {
    pub(super) x0: ArrayD<f64>,
    pub(super) labels: Vec<u32>,
    pub(super) augmented: Option<Augmented>,
}

/// A batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Images `[B, C, H, W]`.
    pub(super) x0: ArrayD<f64>,
    /// How they were augmented.
    pub(super) augmented: Option<Augmented>,
    /// Their noise.
    pub(super) eps: ArrayD<f64>,
    /// Their classes, the number of classes where the label is dropped.
    pub(super) labels: Vec<u32>,
    /// Their times.
    pub(super) t: Vec<f64>,
    /// The random numbers that these were made from.
    pub(super) draws: Vec<f64>,
    /// Whether the times are formed from draws by f64 operations that both sides do in the same order.
    pub(super) exact_t: bool,
    /// How its noise was dealt out.
    pub(super) pool: Option<Dealt>,
}

/// A pool of pairs whose noise was dealt out, and where the batch begins in it.
#[derive(Debug, Clone)]
pub(super) struct Dealt {
    pub(super) permutation: Vec<usize>,
    pub(super) labels: Vec<u32>,
    pub(super) at: usize,
    /// Mean cost as drawn and as dealt out.
    pub(super) costs: [f64; 2],
    /// Whether an image is in it twice, as at the end of an epoch: which of the two gets which noise makes no difference to the cost.
    pub(super) has_twins: bool,
}

/// Everything random.
#[derive(Debug)]
pub(super) struct Draws {
    streams: Streams,
    images: Images,
    /// Orders of epochs, by stream and epoch, that were needed before.
    orders: BTreeMap<(String, usize), Vec<usize>>,
}

impl Draws {
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let streams = Streams(settings.seed);
        Ok(Self {
            streams,
            images: Images::of(&settings.data, streams)?,
            orders: BTreeMap::new(),
        })
    }

    pub(super) fn images(&self) -> &Images {
        &self.images
    }

    /// The images of batch `number` of a player: epochs follow each other without a gap.
    fn numbers(&mut self, player: &str, number: usize, size: usize) -> Vec<usize> {
        let n = self.images.len();
        let purpose = format!("{player}-order");
        let places = number * size..(number + 1) * size;
        places
            .map(|place| {
                let (epoch, streams) = (place / n, self.streams);
                let order = self.orders.entry((purpose.clone(), epoch));
                order.or_insert_with(|| streams.order(&purpose, epoch as u64, n))[place % n]
            })
            .collect()
    }

    /// Clean images of batch `number`, with their classes.
    pub(super) fn clean(
        &mut self,
        settings: &Settings,
        player: &str,
        number: usize,
        size: usize,
        a: &Arithmetic,
    ) -> Result<Clean> {
        let numbers = self.numbers(player, number, size);
        let mirrored = if settings.data.flip {
            let coins = self
                .streams
                .uniform(&format!("{player}-flips"), number as u64, size);
            coins.into_iter().map(|coin| coin < 0.5).collect()
        } else {
            vec![false; size]
        };
        let (before, labels) = self.images.batch(&numbers, &mirrored);
        if settings.data.augment <= 0.0 {
            return Ok(Clean {
                x0: before,
                labels,
                augmented: None,
            });
        }
        let augmented = self.augmented(settings.data.augment, player, number as u64, before, a)?;
        Ok(Clean {
            x0: augmented.x0.clone(),
            labels,
            augmented: Some(augmented),
        })
    }

    /// Images as EDM augments them, with each number as far from the exact one as its own rounding may move it.
    fn augmented(
        &self,
        p: f64,
        player: &str,
        number: u64,
        before: ArrayD<f64>,
        a: &Arithmetic,
    ) -> Result<Augmented> {
        let pipe = Pipe::edm(p).map_err(Error::reference)?;
        let (count, size) = (before.shape()[0], [before.shape()[2], before.shape()[3]]);
        let [of_u, of_z] = pipe.draws().map(|each| each * count);
        let purpose = format!("{player}-augment");
        let uniform = self.streams.uniform(&purpose, number, of_u);
        let normal = (self.streams).normal(&format!("{purpose}-normal"), number, of_z);
        let drawn = pipe.drawn(count, &uniform, &normal);
        let drawn = drawn.map_err(Error::reference)?;
        let precision = a.precision().unwrap_or(Precision::F64);
        let images = bound::augment::augment_within_margins(&pipe, &before, &drawn, precision);
        let images = images.map_err(Error::reference)?;
        let labels = bound::augment::labels(&pipe, &drawn, size, precision);
        let hangs = a.precision().is_none() && {
            let all = bound::augment::augment(&pipe, &before, &drawn, precision);
            let all = all.map_err(Error::reference)?.error;
            let mut both = all.iter().zip(&images.error);
            both.any(|(all, own)| *all > 4.0 * own)
        };
        let (x0, labels) = (moved(images, a), moved(labels, a));
        Ok(Augmented {
            before,
            uniform,
            normal,
            x0,
            labels,
            hangs,
        })
    }

    /// Images with the noise that is drawn beside them: f64 numbers rounded to f32.
    fn pairs(
        &mut self,
        settings: &Settings,
        player: &str,
        number: usize,
        a: &Arithmetic,
    ) -> Result<(Clean, ArrayD<f64>)> {
        let clean = self.clean(settings, player, number, settings.train.batch, a)?;
        let x0 = &clean.x0;
        let noise = self
            .streams
            .normal(&format!("{player}-noise"), number as u64, x0.len());
        let mut noise = noise.into_iter();
        let eps = ArrayD::from_shape_simple_fn(x0.raw_dim(), || {
            crate::generators::round_f32(noise.next().unwrap_or(f64::NAN))
        });
        Ok((clean, eps))
    }

    /// Batch `number` of a player.
    pub(super) fn batch(
        &mut self,
        settings: &Settings,
        player: &str,
        number: usize,
        a: &Arithmetic,
    ) -> Result<Batch> {
        let size = settings.train.batch;
        let (clean, eps, pool) = if settings.coupling.method == "independent" {
            let (clean, eps) = self.pairs(settings, player, number, a)?;
            (clean, eps, None)
        } else {
            let (clean, eps, pool) = self.dealt(settings, player, number, a)?;
            (clean, eps, Some(pool))
        };
        let mut labels = clean.labels;
        let coins = self
            .streams
            .uniform(&format!("{player}-labels"), number as u64, size);
        for (label, coin) in labels.iter_mut().zip(coins) {
            if coin < settings.objective.label_dropout {
                *label = NO_CLASS;
            }
        }
        let Times { t, draws, exact } = self.times(settings, player, number as u64, a);
        Ok(Batch {
            x0: clean.x0,
            augmented: clean.augmented,
            eps,
            labels,
            t,
            draws,
            exact_t: exact,
            pool,
        })
    }

    /// The pairs of batch `number` after the noise of its pool was dealt out at the least total cost.
    fn dealt(
        &mut self,
        settings: &Settings,
        player: &str,
        number: usize,
        a: &Arithmetic,
    ) -> Result<(Clean, ArrayD<f64>, Dealt)> {
        let (c, size) = (&settings.coupling, settings.train.batch);
        let batches = if c.pool == 0 { 1 } else { c.pool / size };
        let first = number / batches * batches;
        let (mut images, mut noise, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let mut augmented = None;
        for other in first..first + batches {
            let (clean, eps) = self.pairs(settings, player, other, a)?;
            images.push(clean.x0);
            noise.push(eps);
            labels.extend(clean.labels);
            if other == number {
                augmented = clean.augmented;
            }
        }
        let [images, noise] = [images, noise].map(|parts| {
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            concatenate(Axis(0), &views).map_err(Error::reference)
        });
        let (images, noise) = (images?, noise?);
        let rows = |x: &ArrayD<f64>| {
            let shape = (labels.len(), x.len() / labels.len());
            x.clone()
                .into_shape_with_order(shape)
                .map_err(Error::reference)
        };
        let costs = coupling::costs(rows(&images)?.view(), rows(&noise)?.view(), c.cost);
        let costs = costs.map_err(Error::reference)?;
        let classes = (c.classes == "within").then_some(&labels[..]);
        let best = coupling::assign(&costs, classes).map_err(Error::reference)?;
        let count = labels.len() as f64;
        let mean = |total: f64| a.one(a.one(total) / count);
        let drawn = costs.diag().sum();
        let at = number % batches * size;
        let of_batch = |rows: &[usize], x: &ArrayD<f64>| x.select(Axis(0), rows);
        let places: Vec<usize> = (at..at + size).collect();
        let partners: Vec<usize> = places.iter().map(|&i| best.permutation[i]).collect();
        let clean = Clean {
            x0: of_batch(&places, &images),
            labels: labels[at..at + size].to_vec(),
            augmented,
        };
        Ok((
            clean,
            of_batch(&partners, &noise),
            Dealt {
                costs: [mean(drawn), mean(best.total)],
                has_twins: has_twins(&images),
                permutation: best.permutation,
                labels,
                at,
            },
        ))
    }

    /// The times of a batch.
    fn times(&self, settings: &Settings, player: &str, number: u64, a: &Arithmetic) -> Times {
        let (o, size) = (&settings.objective, settings.train.batch);
        let count = if settings.shares_time() { 1 } else { size };
        let purpose = format!("{player}-time");
        let (low, high) = (o.time_min, o.time_max);
        let uniform = |count| self.streams.uniform(&purpose, number, count);
        let (draws, t, exact): (Vec<f64>, Vec<f64>, bool) = match o.time {
            TimeLaw::Uniform => {
                let draws = uniform(count);
                let t = draws.iter().map(|u| low + u * (high - low)).collect();
                (draws, t, true)
            }
            TimeLaw::SoftTruncation => {
                // The first number is the batch's τ.
                let draws = uniform(count + 1);
                let tau = low + draws[0] * (high - low);
                let t = draws[1..].iter().map(|u| tau + u * (high - tau));
                let t = t.collect();
                (draws, t, true)
            }
            TimeLaw::LogNormal => {
                let draws = self.streams.normal(&purpose, number, count);
                let ratios = draws.iter().map(|z| (o.p_mean + o.p_std * z).exp());
                let t = times_of(o, ratios, a);
                (draws, t, o.schedule.name() == "edm")
            }
            TimeLaw::LogUniform => {
                let draws = uniform(count);
                let all = o.sigma_max / o.sigma_min;
                let ratios = draws.iter().map(|u| o.sigma_min * all.powf(*u));
                let t = times_of(o, ratios, a);
                (draws, t, o.schedule.name() == "edm")
            }
            TimeLaw::IddpmStep => {
                let draws = uniform(count);
                let levels = iddpm_levels(IDDPM_C[0], IDDPM_C[1]);
                let ratios = draws.iter().map(|u| {
                    // The step whose part of the unit interval holds u.
                    let ends = (1..1000_u16).map(|j| f64::from(j) / 1000.0);
                    a.one(levels[ends.take_while(|end| end <= u).count()])
                });
                let mut t = times_of(o, ratios, a);
                // A level is what a thousand steps lead to: it errs by more than its own rounding.
                if let Some(precision) = a.precision() {
                    let schedule = o.schedule.schedule();
                    let law = sadm_reference::time::TimeLaw::IddpmStep;
                    let bound = bound::time::times(&law, &draws, schedule.as_ref(), precision);
                    for (t, error) in t.iter_mut().zip(&bound.error) {
                        *t = a.within(*t, *error);
                    }
                }
                (draws, t, false)
            }
        };
        Times {
            t: if count < size { vec![t[0]; size] } else { t },
            draws,
            exact,
        }
    }
}

/// Times, and what they were made from.
struct Times {
    t: Vec<f64>,
    draws: Vec<f64>,
    exact: bool,
}

/// Numbers, each moved within its own bound.
fn moved(bound: Tracked, a: &Arithmetic) -> ArrayD<f64> {
    let mut value = bound.value;
    value.zip_mut_with(&bound.error, |x, error| *x = a.within(*x, *error));
    value
}

/// Whether an image is there twice.
pub(super) fn has_twins(images: &ArrayD<f64>) -> bool {
    let images: Vec<_> = images.outer_iter().collect();
    (1..images.len()).any(|i| images[..i].contains(&images[i]))
}

/// The times of these σ/α, which under `edm` are σ themselves.
fn times_of(o: &Objective, ratios: impl Iterator<Item = f64>, a: &Arithmetic) -> Vec<f64> {
    let schedule = o.schedule.schedule();
    if o.schedule.name() == "edm" {
        return ratios.collect();
    }
    let time = |ratio| time_of(schedule.as_ref(), ratio, a);
    ratios.map(time).collect()
}

/// The time at which σ/α is `ratio`, or the nearest end of the domain.
fn time_of(schedule: &dyn Schedule, ratio: f64, a: &Arithmetic) -> f64 {
    let (first, last) = schedule.domain();
    let t = schedule.t_of_lambda(a.one(-2.0 * a.one(ratio).ln()));
    a.one(t).clamp(first, last)
}
