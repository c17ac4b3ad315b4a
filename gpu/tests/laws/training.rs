//! What a training run draws: noise, labels, flips, the order of the images, dropout; and that a live run takes these draws,
//! each once, also in micro-batches and after an interruption.

use crate::chance::Chance;
use crate::streams::from_to;
use crate::support::{CPU, all_differ, apart, bits, config, rows, together};
use candle_core::{DType, Tensor};
use sadm_gpu::config::Config;
use sadm_gpu::random::Streams;
use sadm_gpu::train::batch::Batch;
use sadm_gpu::train::observer::{Observation, Observer, Verdict};
use sadm_gpu::train::{Data, HoldOut, Hooks, StepReport, Trainer, dataset, split};
use sadm_gpu::{Error, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SIZE: usize = 64;
const BATCHES: usize = 200;
const PLAYERS: [&str; 2] = ["theta", "phi"];

fn batches(config: &Config, who: &'static str, count: usize, size: usize) -> Vec<Batch> {
    let mut data = Data::open(config, HoldOut::ByClass, &CPU).expect("the digits");
    (0..count)
        .map(|number| data.batch(config, who, number, size).expect("a batch"))
        .collect()
}

/// Every second batch and the one after it, sample by sample.
fn one_after_another<T: Clone>(samples: &[Vec<T>]) -> impl Iterator<Item = (T, T)> + '_ {
    samples
        .chunks_exact(2)
        .flat_map(|pair| pair[0].iter().cloned().zip(pair[1].iter().cloned()))
}

#[test]
fn noise_of_batches() {
    let mut chance = Chance::of("noise of batches");
    let own = config(chance.seed(), &[]);
    let [theta, phi] = PLAYERS.map(|who| batches(&own, who, BATCHES, SIZE));
    let noise = |batches: &[Batch]| -> Vec<Vec<Vec<f64>>> {
        batches.iter().map(|batch| rows(&batch.eps)).collect()
    };
    let [of_theta, of_phi] = [&theta, &phi].map(|batches| noise(batches));
    all_differ("noise", of_theta.iter().chain(&of_phi).flatten());
    for (who, noise) in PLAYERS.iter().zip([&of_theta, &of_phi]) {
        chance.normal(who, noise.iter().flatten().flatten().copied());
    }
    let images: Vec<&Vec<f64>> = of_theta.iter().flatten().collect();
    chance.unrelated("pixels", images.iter().flat_map(|image| apart(image)));
    chance.unrelated("images of a batch", together(apart(&images)));
    chance.unrelated(
        "batches",
        together(
            of_theta
                .chunks_exact(2)
                .flat_map(|pair| pair[0].iter().zip(&pair[1])),
        ),
    );
    chance.unrelated(
        "players",
        together(images.iter().copied().zip(of_phi.iter().flatten())),
    );
    let next = noise(&batches(&config(chance.seed() + 1, &[]), "theta", 20, SIZE));
    chance.unrelated(
        "seeds",
        together(images.iter().copied().zip(next.iter().flatten())),
    );
    // Pixels have no median of 0, but noise has: signs of products are fair coins all the same.
    let pictures: Vec<Vec<f64>> = theta.iter().flat_map(|batch| rows(&batch.x0)).collect();
    chance.unrelated(
        "noise and images",
        together(images.into_iter().zip(&pictures)),
    );
}

#[test]
fn labels_are_dropped_at_their_rate_independently() {
    let mut chance = Chance::of("dropped labels");
    let rate = 0.3;
    let own = config(
        chance.seed(),
        &["objective.label_dropout=0.3", "data.flip=true"],
    );
    let dropped = |config: &Config, who| -> Vec<Vec<bool>> {
        let labels = batches(config, who, BATCHES, SIZE)
            .into_iter()
            .map(|batch| batch.labels.expect("classes"));
        labels
            .map(|labels| labels.into_iter().map(|label| label == 10).collect())
            .collect()
    };
    let [theta, phi] = PLAYERS.map(|who| dropped(&own, who));
    for (who, dropped) in PLAYERS.iter().zip([&theta, &phi]) {
        chance.rate(who, dropped.iter().flatten().copied(), rate);
        chance.unrelated_events(
            &format!("images of a batch of {who}"),
            dropped.iter().flat_map(|batch| apart(batch)),
            rate,
        );
        chance.unrelated_events(
            &format!("batches of {who}"),
            one_after_another(dropped),
            rate,
        );
    }
    let both = |one: &[Vec<bool>], other: &[Vec<bool>]| -> Vec<(bool, bool)> {
        one.iter()
            .flatten()
            .copied()
            .zip(other.iter().flatten().copied())
            .collect()
    };
    chance.unrelated_events("players", both(&theta, &phi), rate);
    let next = dropped(
        &config(chance.seed() + 1, &["objective.label_dropout=0.3"]),
        "theta",
    );
    chance.unrelated_events("seeds", both(&theta, &next), rate);
    let flipped = flips(&own, "theta");
    // Dropped and flipped: with probability 0.3 · ½.
    let dropped_and_flipped = both(&theta, &flipped)
        .into_iter()
        .map(|(dropped, flipped)| dropped && flipped);
    chance.rate(
        "dropped labels of flipped images",
        dropped_and_flipped,
        rate / 2.0,
    );
}

/// The training images by their pixels, as they are and mirrored.
struct Known(BTreeMap<Vec<u64>, (usize, bool)>);

impl Known {
    fn of(config: &Config) -> Self {
        let all = dataset(config).expect("the digits");
        let law = Streams::new(config.seed);
        let (train, _) =
            split(&all, config.data.holdout, law, HoldOut::ByClass).expect("enough images");
        let mut known = BTreeMap::new();
        for index in 0..train.len() {
            for flip in [false, true] {
                let (image, _) = train
                    .mirrored_batch(&[index], &[flip], &CPU)
                    .expect("an image");
                let before = known.insert(bits(&rows(&image)[0]), (index, flip));
                assert!(
                    before.is_none(),
                    "image {index} is another's, or its own mirror image"
                );
            }
        }
        Self(known)
    }

    /// Number of each image, and whether it is mirrored.
    fn read(&self, images: &Tensor) -> Vec<(usize, bool)> {
        rows(images)
            .iter()
            .map(|image| self.0[&bits(image)])
            .collect()
    }
}

/// Which images of the players' batches, or of the encoder's, are mirrored.
fn flips(config: &Config, who: &'static str) -> Vec<Vec<bool>> {
    let known = Known::of(config);
    let mut data = Data::open(config, HoldOut::ByClass, &CPU).expect("the digits");
    let images = |number| match who {
        "encoder" => data.clean_batch(config, who, number, SIZE),
        _ => data.batch(config, who, number, SIZE),
    };
    let images = (0..BATCHES)
        .map(images)
        .map(|batch| batch.expect("a batch").x0);
    images
        .map(|x0| known.read(&x0).into_iter().map(|(_, flip)| flip).collect())
        .collect()
}

#[test]
fn half_of_the_images_are_mirrored() {
    let mut chance = Chance::of("flips");
    let own = config(chance.seed(), &["data.flip=true"]);
    let who = ["theta", "phi", "encoder"];
    let all = who.map(|who| flips(&own, who));
    for (who, flips) in who.iter().zip(&all) {
        chance.rate(who, flips.iter().flatten().copied(), 0.5);
        chance.unrelated_events(&format!("batches of {who}"), one_after_another(flips), 0.5);
    }
    let [theta, phi, _] = &all;
    chance.unrelated_events(
        "images of a batch",
        theta.iter().flat_map(|batch| apart(batch)),
        0.5,
    );
    let both = theta
        .iter()
        .flatten()
        .copied()
        .zip(phi.iter().flatten().copied());
    chance.unrelated_events("players", both, 0.5);
    let plain = config(chance.seed(), &["data.flip=false"]);
    assert!(
        flips(&plain, "theta").iter().flatten().all(|flip| !flip),
        "mirrored although data.flip = false"
    );
}

/// With 12 images and batches of 12 each batch is an epoch.
#[test]
fn each_epoch_is_another_permutation() {
    let mut chance = Chance::of("order");
    let own = config(chance.seed(), &["data.limit=12", "data.holdout=0"]);
    let known = Known::of(&own);
    for who in ["theta", "phi", "encoder"] {
        let mut data = Data::open(&own, HoldOut::ByClass, &CPU).expect("the digits");
        let epochs: Vec<Vec<usize>> = (0..2000)
            .map(|number| match who {
                "encoder" => data.clean_batch(&own, who, number, 12),
                _ => data.batch(&own, who, number, 12),
            })
            .map(|batch| {
                known
                    .read(&batch.expect("a batch").x0)
                    .into_iter()
                    .map(|(index, _)| index)
                    .collect()
            })
            .collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..12).collect::<Vec<_>>(), "an epoch of {who}");
        }
        chance.permutations(&format!("epochs of {who}"), &epochs);
        let between: Vec<_> = apart(&epochs)
            .map(|(one, other)| from_to(&one, &other))
            .collect();
        chance.permutations(&format!("from epoch to epoch of {who}"), &between);
    }
    // Epochs do not begin with a batch: 5 batches of 8 are 3 epochs and 4 images.
    let seen: Vec<usize> = batches(&own, "theta", 5, 8)
        .iter()
        .flat_map(|batch| known.read(&batch.x0))
        .map(|(index, _)| index)
        .collect();
    for epoch in seen.chunks_exact(12) {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            (0..12).collect::<Vec<_>>(),
            "an epoch that batches cut"
        );
    }
}

#[test]
fn dropout_of_every_batch_is_another() {
    let mut chance = Chance::of("dropout");
    let own = config(chance.seed(), &[]);
    let rate = 0.3;
    let ones = Tensor::ones(10_000, DType::F32, &CPU).expect("ones");
    let dropped = |batch: &Batch, layer: &str| -> Vec<bool> {
        let left = batch
            .mode()
            .dropout(&ones, rate, layer)
            .and_then(|x| Ok(x.to_vec1::<f32>()?));
        left.expect("a mask")
            .into_iter()
            .map(|x| x <= 0.0)
            .collect()
    };
    let theta = batches(&own, "theta", 2, 4);
    let parts = theta[0].split(2).expect("two parts");
    let first = dropped(&theta[0], "layer");
    let others = [
        ("layers", dropped(&theta[0], "another")),
        ("batches", dropped(&theta[1], "layer")),
        ("players", dropped(&batches(&own, "phi", 1, 4)[0], "layer")),
    ];
    chance.rate("the rate", first.iter().copied(), rate);
    chance.unrelated_events("elements", apart(&first), rate);
    for (what, other) in others {
        chance.unrelated_events(what, first.iter().copied().zip(other), rate);
    }
    let [one, other] = [0, 1].map(|part: usize| dropped(&parts[part], "layer"));
    chance.unrelated_events("micro-batches", one.into_iter().zip(other), rate);
}

/// Keeps what it is shown: of θ images, noise, times and labels, of φ, whose terms know features alone, the times.
#[derive(Clone, Default)]
struct Witness {
    /// θ's, by the step.
    theta: Arc<Mutex<BTreeMap<usize, Seen>>>,
    /// The times of φ's, one after the other.
    phi: Arc<Mutex<Vec<Vec<f64>>>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    x0: Vec<Vec<f64>>,
    eps: Vec<Vec<f64>>,
    t: Vec<f64>,
    labels: Vec<f64>,
}

impl Observer for Witness {
    fn observe(&mut self, seen: &Observation<'_>) -> Result<Verdict> {
        let of = |name| seen.terms.iter().find(|term| term.term == name);
        if let Some(term) = of("denoising") {
            let now = Seen {
                x0: rows(&term.tensors["x0"]),
                eps: rows(&term.tensors["eps"]),
                t: term.samples["t"].clone(),
                labels: term.samples["labels"].clone(),
            };
            if self
                .theta
                .lock()
                .expect("one thread")
                .insert(seen.step, now)
                .is_some()
            {
                return Err(Error::invalid("a step", "be done once", seen.step));
            }
        } else if let Some(term) = of("structure") {
            self.phi
                .lock()
                .expect("one thread")
                .push(term.samples["t"].clone());
        }
        Ok(Verdict {
            ratio: 0.0,
            quantity: String::new(),
            ratios: Vec::new(),
            failure: None,
        })
    }
}

/// Stops a run after so many steps.
struct StopAt<'a>(usize, &'a AtomicBool);
impl Hooks for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// Step by step a run takes the batches of [`Data`], the first, the second, …, whose laws the tests above hold: over its phases,
/// over an interruption, in micro-batches.
#[test]
fn a_live_run_takes_each_batch_once() {
    let seed = Chance::of("a live run").seed();
    let small = [
        "data.limit=64",
        "data.flip=true",
        "objective.label_dropout=0.5",
        "model.unet.channels=[8, 8]",
        "model.unet.heads=1",
        "model.unet.groups=4",
        "model.unet.emb_dim=16",
        "model.unet.time_dim=8",
        "encoder.widths=[8, 8]",
        "encoder.groups=4",
        "encoder.dim=8",
        "encoder.batch=8",
        "train.steps=24",
        "train.batch=6",
        "phases.encoder=0.25",
        "phases.denoise=0.25",
        "phases.guided=0.25",
        "phases.adversarial=0.25",
        "sample.count=1",
        "sample.steps=1",
        "sample.every=0",
        "shadow.every=1",
    ];
    let augmented = [
        "train.micro_batches=3",
        "data.augment=0.5",
        "model.kind=song-unet",
        "model.song-unet.model_channels=4",
        "model.song-unet.channel_mult=[1]",
        "model.song-unet.channel_mult_emb=1",
        "model.song-unet.num_blocks=1",
        "model.song-unet.attn_resolutions=[]",
    ];
    for more in [
        &["train.micro_batches=1"][..],
        &["train.micro_batches=3"],
        &augmented,
    ] {
        let own = config(seed, &small).with_sets(more.iter().copied());
        let own = own.expect("known keys");
        let more = more.join(" ");
        let witness = Witness::default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        for stop in [10, 17, 100] {
            let flag = AtomicBool::new(false);
            let observer: Option<Box<dyn Observer>> = Some(Box::new(witness.clone()));
            let trainer = Trainer::new(
                own.clone(),
                &folder.path().join("run"),
                &CPU,
                observer,
                true,
            );
            let outcome = trainer
                .expect("a run")
                .run(&mut StopAt(stop, &flag), &flag)
                .expect("a run");
            assert_eq!(outcome.step, stop.min(24));
        }
        let seen = witness.theta.lock().expect("one thread").clone();
        assert_eq!(
            seen.keys().copied().collect::<Vec<_>>(),
            (6..24).collect::<Vec<_>>(),
            "{more}"
        );
        for ((step, seen), batch) in seen.into_iter().zip(batches(&own, "theta", 18, 6)) {
            let labels = batch
                .labels
                .expect("classes")
                .into_iter()
                .map(f64::from)
                .collect();
            let drawn = Seen {
                x0: rows(&batch.x0),
                eps: rows(&batch.eps),
                t: batch.t,
                labels,
            };
            assert_eq!(seen, drawn, "{more}: step {step}");
        }
        // φ's batches have the numbers of the rounds, which begin at the first update of θ in the phase.
        let numbers: Vec<usize> = {
            let of_phi = batches(&own, "phi", 30, 6);
            let times = witness.phi.lock().expect("one thread");
            let number = |t: &Vec<f64>| {
                of_phi
                    .iter()
                    .position(|batch| batch.t == *t)
                    .expect("one of its batches")
            };
            times.iter().map(number).collect()
        };
        assert_eq!(numbers, (13..19).collect::<Vec<_>>(), "{more}: φ");
    }
}
