//! Which images a run has: the part that is held out, and the part that `data.limit` leaves.

use crate::chance::Chance;
use crate::support::{apart, config};
use sadm_gpu::data::{Classes, Dataset};
use sadm_gpu::random::Streams;
use sadm_gpu::train::{Conditions, HoldOut, dataset, split};

/// Images of one pixel, which is their number over 64.
fn numbered(classes: &[usize]) -> Dataset {
    let labels: Vec<u32> = (0..)
        .zip(classes)
        .flat_map(|(class, n)| vec![class; *n])
        .collect();
    let pixels = (0..labels.len()).map(|i| i as f32 / 64.0).collect();
    Dataset::new("numbered", [1, 1, 1], pixels, labels, classes.len()).expect("a data set")
}

fn numbers(data: &Dataset) -> Vec<usize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pixels are small whole numbers"
    )]
    data.images
        .iter()
        .map(|pixel| (*pixel * 64.0) as usize)
        .collect()
}

#[test]
fn every_image_is_as_likely_held_out_as_another_of_its_class() {
    let mut chance = Chance::of("splits");
    let seeds = 4000;
    let classes = [30, 20, 10];
    let all = numbered(&classes);
    for (law, name, quotas) in [
        (
            HoldOut::ByClass,
            "by class",
            vec![(0..30, 6), (30..50, 4), (50..60, 2)],
        ),
        (HoldOut::ByImage, "by image", vec![(0..60, 12)]),
    ] {
        let mut counts = vec![0; 60];
        let mut first = Vec::new();
        for seed in 0..seeds {
            let (train, held) =
                split(&all, 0.2, Streams::new(chance.seed() + seed), law).expect("enough images");
            let held = numbers(&held);
            for (class, quota) in &quotas {
                let of_class = held.iter().filter(|image| class.contains(*image)).count();
                assert_eq!(of_class, *quota, "{name}: held out of {class:?}");
            }
            let mut both = [numbers(&train), held.clone()].concat();
            both.sort_unstable();
            assert_eq!(
                both,
                (0..60).collect::<Vec<_>>(),
                "{name}: each image in one of the two parts"
            );
            for image in &held {
                counts[*image] += 1;
            }
            first.push(held.contains(&0));
        }
        let kinds: Vec<_> = quotas
            .iter()
            .map(|(class, quota)| {
                (
                    counts[class.clone()].to_vec(),
                    *quota,
                    usize::try_from(seeds).expect("few seeds"),
                )
            })
            .collect();
        chance.subsets(name, &kinds);
        chance.unrelated_events(
            &format!("{name}: one seed and the next"),
            apart(&first),
            0.2,
        );
    }
    // What is kept is in random order too: of a class of 24 the first kept one is any.
    let firsts: Vec<usize> = (0..3000)
        .map(|seed| {
            let (train, _) = split(
                &numbered(&[40]),
                0.0,
                Streams::new(chance.seed() + seed),
                HoldOut::ByClass,
            )
            .expect("enough images");
            numbers(&train)[0]
        })
        .collect();
    let mut counts = vec![0; 40];
    for image in &firsts {
        counts[*image] += 1;
    }
    chance.counts("the first training image", &counts, &[1.0 / 40.0; 40]);
}

/// Images of a limited data set keep the order of the file, so that a place in it says nothing: each is there as often.
#[test]
fn a_random_limit_takes_every_image_equally_often() {
    let mut chance = Chance::of("limit");
    let seeds = 160;
    let key = |image: &[f32]| {
        image
            .iter()
            .map(|pixel| pixel.to_bits())
            .collect::<Vec<_>>()
    };
    let all = dataset(&config(0, &[])).expect("the digits");
    let place: std::collections::BTreeMap<_, _> =
        all.images.chunks_exact(64).map(key).zip(0..).collect();
    assert_eq!(place.len(), all.len(), "no two digits are equal");
    let mut counts = vec![0; all.len()];
    let mut first = Vec::new();
    for seed in 0..seeds {
        let some = dataset(&config(chance.seed() + seed, &["data.limit=599"])).expect("the digits");
        let chosen: Vec<usize> = some
            .images
            .chunks_exact(64)
            .map(|image| place[&key(image)])
            .collect();
        assert!(
            chosen.len() == 599 && chosen.is_sorted_by(|a, b| a < b),
            "each image once, in the order of the file"
        );
        for image in &chosen {
            counts[*image] += 1;
        }
        first.push(chosen);
    }
    chance.subsets(
        "images",
        &[(counts, 599, usize::try_from(seeds).expect("few seeds"))],
    );
    let (share, mut again) = (599.0 / 1797.0, Vec::new());
    for (one, other) in apart(&first) {
        let other: std::collections::BTreeSet<usize> = other.into_iter().collect();
        // Of few images of each pair: within a subset images exclude each other, by a share of 1/1797 each.
        again.extend(one.iter().take(5).map(|image| other.contains(image)));
    }
    chance.rate("images of one seed under the next", again, share);
}

#[test]
fn classes_of_samples_are_drawn_with_their_shares() {
    let mut chance = Chance::of("classes of samples");
    let training = [60, 0, 4, 16];
    let classes = Classes {
        names: Vec::new(),
        training: training.to_vec(),
        held_out: vec![0; 4],
    };
    let conditions = Conditions::new(classes, 0.1);
    let count = 20_000;
    for (what, shares) in [
        ("equally", [1.0 / 3.0; 3]),
        ("in shares", [0.75, 0.05, 0.2]),
    ] {
        let draw = |seed| -> Vec<u32> {
            let labels = if what == "equally" {
                conditions.at_random(count, seed)
            } else {
                conditions.in_shares(count, seed)
            };
            labels
                .into_iter()
                .map(|label| label.expect("a class"))
                .collect()
        };
        let labels = draw(chance.seed());
        let counts = [0, 2, 3].map(|class| labels.iter().filter(|label| **label == class).count());
        assert_eq!(
            counts.iter().sum::<usize>(),
            count,
            "a class without images"
        );
        chance.counts(what, &counts, &shares);
        let same: f64 = shares.iter().map(|share| share * share).sum();
        chance.rate(
            &format!("{what}: equal neighbours"),
            apart(&labels).map(|(one, other)| one == other),
            same,
        );
        if what == "equally" {
            let next = draw(chance.seed() + 1);
            chance.rate(
                "the same class under the next seed",
                labels.iter().zip(&next).map(|(one, other)| one == other),
                same,
            );
        }
    }
}
