//! What augmentation draws for the images of a run, read from the labels that its network is told.

use crate::chance::{Chance, uniform};
use crate::support::{CPU, all_differ, apart, config, rows};
use sadm_gpu::train::{Data, HoldOut};
use std::f64::consts::PI;

const SIZE: usize = 64;
const BATCHES: usize = 60;

/// The nine labels of every image of a player's batches.
fn labels(seed: u64, p: f64, who: &'static str) -> Vec<Vec<f64>> {
    let p = format!("data.augment={p}");
    let own = config(seed, &["model.kind=song-unet", &p]);
    let mut data = Data::open(&own, HoldOut::ByClass, &CPU).expect("the digits");
    let batch = |number| match who {
        "encoder" => data.clean_batch(&own, who, number, SIZE),
        _ => data.batch(&own, who, number, SIZE),
    };
    let batches = (0..BATCHES).map(batch);
    let all = batches.flat_map(|batch| {
        let told = batch.expect("a batch").augment;
        rows(&told.expect("labels"))
    });
    all.collect()
}

fn column(labels: &[Vec<f64>], at: usize) -> Vec<f64> {
    labels.iter().map(|row| row[at]).collect()
}

/// The labels say, up to their rounding to f32, what was drawn: where every coin falls the same way, all of it.
#[test]
fn every_number_has_its_law_and_is_unrelated_to_the_others() {
    let mut chance = Chance::of("augmentation");
    let [theta, phi, encoder] =
        ["theta", "phi", "encoder"].map(|who| labels(chance.seed(), 1.0, who));
    all_differ("labels", theta.iter().chain(&phi).chain(&encoder));
    let of = |at| column(&theta, at);
    chance.rate("flips", of(0).into_iter().map(|x| x > 0.0), 0.5);
    chance.rate("flips of rows", of(1).into_iter().map(|y| y > 0.0), 0.5);
    chance.normal("scales", of(2));
    let angles = |labels: &[Vec<f64>]| -> Vec<f64> {
        let angle = |row: &Vec<f64>| row[4].atan2(row[3] + 1.0);
        labels.iter().map(angle).collect()
    };
    chance.follows("angles", angles(&theta), uniform(-PI, PI));
    let straight = theta.iter().map(|row| row[6].abs() <= 0.0);
    chance.rate("stretches along x", straight.clone(), 0.5);
    let of_straight = theta.iter().zip(straight).filter(|(_, straight)| *straight);
    chance.normal("these stretches", of_straight.map(|(row, _)| row[5]));
    let turned = || theta.iter().filter(|row| row[6].abs() > 0.0);
    // A sign of the stretch and a half turn of its axis look alike.
    let axes = turned().map(|row| (row[6] / row[5]).atan());
    chance.follows("axes of the others", axes, uniform(-PI / 2.0, PI / 2.0));
    let squares = turned().map(|row| row[5].hypot(row[6]));
    let half_normal = |x: f64| statrs::function::erf::erf(x / 2f64.sqrt());
    chance.follows("stretches of the others", squares, half_normal);
    chance.normal("shifts along x", of(7));
    chance.normal("shifts along y", of(8));

    let pairs = |one: Vec<f64>, other: Vec<f64>| one.into_iter().zip(other);
    chance.unrelated("shifts along x and y", pairs(of(7), of(8)));
    chance.unrelated("scales and shifts", pairs(of(2), of(7)));
    chance.unrelated("scales and angles", pairs(of(2), angles(&theta)));
    chance.unrelated("images of a batch", apart(&of(2)));
    let (scales, next) = (of(2), of(2).split_off(SIZE));
    chance.unrelated("batches", scales.into_iter().zip(next).step_by(2));
    for (who, other) in [("phi", &phi), ("encoder", &encoder)] {
        chance.unrelated(who, pairs(of(2), column(other, 2)));
        chance.unrelated(
            &format!("angles of {who}"),
            pairs(angles(&theta), angles(other)),
        );
    }
    let another = labels(chance.seed() + 1, 1.0, "theta");
    chance.unrelated("seeds", pairs(of(2), column(&another, 2)));

    // With probability p each, the flip from left to right at even odds as before.
    let few = labels(chance.seed(), 0.3, "theta");
    let made = |at: usize| few.iter().map(move |row| row[at].abs() > 0.0);
    chance.rate("rare flips of rows", made(1), 0.15);
    let several = [2, 4, 7].map(made);
    let [scaled, rotated, shifted] = several;
    chance.rate("flips beside rare ones", made(0), 0.5);
    let all = scaled.zip(rotated).zip(shifted);
    let count = |((a, b), c)| [a, b, c].into_iter().filter(|made| *made).count();
    let mut counts = [0; 4];
    all.map(count).for_each(|made| counts[made] += 1);
    chance.counts(
        "how many of scale, rotation and shift",
        &counts,
        &[0.343, 0.441, 0.189, 0.027],
    );
}
