//! t under each law of the configuration, for each schedule where it matters.

use crate::chance::{Chance, uniform};
use crate::support::{apart, config};
use sadm_gpu::config::Config;
use sadm_gpu::forward::schedule::Schedule;
use sadm_gpu::random::Streams;
use sadm_gpu::sampler::family::iddpm_levels;
use sadm_gpu::train::draw_times;
use statrs::distribution::{ContinuousCDF, Normal};

/// Batches drawn, and samples of each.
const BATCHES: u64 = 20_000;
const SIZE: usize = 3;

/// The times of many batches of a player.
fn drawn(config: &Config, who: &str) -> Vec<Vec<f64>> {
    let streams = Streams::new(config.seed);
    (0..BATCHES)
        .map(|number| draw_times(config, streams, who, number, SIZE))
        .collect()
}

/// The times of the samples at one place of their batch.
fn at(place: usize, batches: &[Vec<f64>]) -> Vec<f64> {
    batches.iter().map(|batch| batch[place]).collect()
}

/// Times as numbers of median 0.
fn centred(times: &[f64], median: f64) -> Vec<f64> {
    times.iter().map(|t| t - median).collect()
}

fn share_one_time(batches: &[Vec<f64>]) {
    assert!(
        batches
            .iter()
            .all(|batch| batch.iter().all(|t| t.to_bits() == batch[0].to_bits())),
        "t is not shared"
    );
}

#[test]
fn uniform_times() {
    let mut chance = Chance::of("uniform times");
    let keys = [
        "objective.time=uniform",
        "objective.time_min=0.125",
        "objective.time_max=0.875",
    ];
    let own = config(chance.seed(), &keys);
    are_uniform(&mut chance, &own, [0.125, 0.875], |t| t);
}

/// The logarithms of levels.
#[test]
fn log_uniform_times() {
    let mut chance = Chance::of("log-uniform times");
    let keys = [
        "objective.time=log-uniform",
        "objective.sigma_min=0.05",
        "objective.sigma_max=40",
    ];
    let (range, own) = ([0.05_f64.ln(), 40_f64.ln()], config(chance.seed(), &keys));
    are_uniform(&mut chance, &own, range, f64::ln);
    // Within the levels of a schedule that has other times.
    let vp = own.with_set("objective.schedule=vp-linear").expect("a key");
    let logs = at(0, &drawn(&vp, "theta"))
        .into_iter()
        .map(|t| Schedule::VP_LINEAR.sigma_ratio(t).ln());
    chance.follows("vp-linear", logs, uniform(range[0], range[1]));
}

/// Each level of improved DDPM as often as any other.
#[test]
fn steps_of_improved_ddpm() {
    let mut chance = Chance::of("steps of improved DDPM");
    let keys = [
        "objective.time=iddpm-step",
        "objective.time_sharing=per-sample",
    ];
    let own = config(chance.seed(), &keys);
    let levels = iddpm_levels();
    let steps = |batches: &[Vec<f64>], place: usize| -> Vec<usize> {
        let step = |t: f64| {
            levels
                .iter()
                .position(|level| level.to_bits() == t.to_bits())
        };
        let times = at(place, batches).into_iter();
        times.map(|t| step(t).expect("t is a level")).collect()
    };
    let batches = drawn(&own, "theta");
    let each: Vec<Vec<usize>> = (0..SIZE).map(|place| steps(&batches, place)).collect();
    let mut counts = vec![0; 1000];
    for step in each.iter().flatten() {
        counts[*step] += 1;
    }
    chance.counts("levels", &counts, &[0.001; 1000]);
    let centred = |steps: &[usize]| steps.iter().map(|j| *j as f64 - 499.5).collect::<Vec<_>>();
    let first = centred(&each[0]);
    chance.unrelated(
        "samples of a batch",
        first.iter().copied().zip(centred(&each[2])),
    );
    chance.unrelated("batches", apart(&first));
    let phi = centred(&steps(&drawn(&own, "phi"), 0));
    chance.unrelated("players", first.into_iter().zip(phi));
    let shared = own
        .with_set("objective.time_sharing=shared")
        .expect("a key");
    share_one_time(&drawn(&shared, "theta"));
}

/// Whether `of` makes of the times of a configuration uniform numbers, of each sample or shared.
fn are_uniform(chance: &mut Chance, own: &Config, [low, high]: [f64; 2], of: impl Fn(f64) -> f64) {
    let law = || uniform(low, high);
    let own = own
        .with_set("objective.time_sharing=per-sample")
        .expect("a key");
    let place = |place: usize, batches: &[Vec<f64>]| -> Vec<f64> {
        at(place, batches).into_iter().map(&of).collect()
    };
    let middle = f64::midpoint(low, high);
    let batches = drawn(&own, "theta");
    let [first, last] = [0, SIZE - 1].map(|sample| place(sample, &batches));
    chance.follows("the first sample", first.iter().copied(), law());
    chance.follows("the last sample", last.iter().copied(), law());
    let [first, last] = [first, last].map(|t| centred(&t, middle));
    chance.unrelated("samples of a batch", first.iter().copied().zip(last));
    chance.unrelated("batches", apart(&first));
    let phi = centred(&place(0, &drawn(&own, "phi")), middle);
    chance.unrelated("players", first.into_iter().zip(phi));

    let shared = own
        .with_set("objective.time_sharing=shared")
        .expect("a key");
    let batches = drawn(&shared, "theta");
    share_one_time(&batches);
    let first = place(0, &batches);
    chance.follows("a shared time", first.iter().copied(), law());
    chance.unrelated("shared times of batches", apart(&centred(&first, middle)));
}

/// t = τ + u (1 − τ) with τ and u uniform on the unit interval: y = 1 − t is a product of two uniform numbers, below y with
/// probability y (1 − ln y). Of one batch, (1 − t₁)/(1 − t₂) = (1 − u₁)/(1 − u₂) whatever τ is.
#[test]
fn soft_truncation() {
    let mut chance = Chance::of("soft truncation");
    let keys = [
        "objective.time=soft-truncation",
        "objective.time_min=0.125",
        "objective.time_max=0.875",
    ];
    let own = config(chance.seed(), &keys)
        .with_set("objective.time_sharing=per-sample")
        .expect("a key");
    let left = |t: f64| (0.875 - t) / 0.75;
    let law = |t: f64| match left(t) {
        y if y <= 0.0 => 1.0,
        y => 1.0 - y * (1.0 - y.ln()),
    };
    // P(U₁/U₂ ≤ r) = r/2 up to 1, then 1 − 1/2r.
    let of_ratio = |r: f64| if r <= 1.0 { r / 2.0 } else { 1.0 - 0.5 / r };
    // y (1 − ln y) = ½.
    let median = 0.875 - 0.75 * 0.186_682_308_505_601_7;
    let batches = drawn(&own, "theta");
    assert!(
        batches
            .iter()
            .flatten()
            .all(|t| (0.125..=0.875).contains(t))
    );
    for place in 0..SIZE {
        chance.follows(&format!("sample {place}"), at(place, &batches), law);
    }
    for [one, other] in [[0, 1], [1, 2]] {
        let ratios = batches
            .iter()
            .map(|batch| left(batch[one]) / left(batch[other]));
        chance.follows(
            &format!("samples {one} and {other} of a batch"),
            ratios,
            of_ratio,
        );
    }
    let first = centred(&at(0, &batches), median);
    chance.unrelated("batches", apart(&first));
    chance.unrelated(
        "players",
        first
            .into_iter()
            .zip(centred(&at(0, &drawn(&own, "phi")), median)),
    );

    let shared = own
        .with_set("objective.time_sharing=shared")
        .expect("a key");
    let batches = drawn(&shared, "theta");
    share_one_time(&batches);
    chance.follows("a shared time", at(0, &batches), law);
    chance.unrelated(
        "shared times of batches",
        apart(&centred(&at(0, &batches), median)),
    );
}

/// ln σ'(t) is normal; of a schedule in steps, t lies between the two whose levels enclose it.
#[test]
fn log_normal_times() {
    let mut chance = Chance::of("log-normal times");
    let (mean, std) = (-0.7, 0.9);
    let keys = [
        "objective.time=log-normal",
        "objective.p_mean=-0.7",
        "objective.p_std=0.9",
    ];
    let standard = Normal::standard();
    let cdf = |sigma: f64| standard.cdf((sigma.ln() - mean) / std);
    for schedule in Schedule::all() {
        let own = config(chance.seed(), &keys)
            .with_set(&format!("objective.schedule={schedule}"))
            .expect("a key");
        for sharing in ["per-sample", "shared"] {
            let own = own
                .clone()
                .with_set(&format!("objective.time_sharing={sharing}"))
                .expect("a key");
            let batches = drawn(&own, "theta");
            let times = at(0, &batches);
            let what = format!("{schedule}, {sharing}");
            if schedule.is_discrete() {
                // A step stands for the levels nearest to it in ln σ'. A uniform number picks one of its interval.
                let steps = 999.0;
                let level = |k: f64| schedule.sigma_ratio(k / steps);
                let border = |k: f64| cdf((level(k) * level(k + 1.0)).sqrt());
                let spread = Streams::new(chance.seed()).uniform(sharing, 9, times.len());
                let places = times.iter().zip(spread).map(|(t, u)| {
                    let k = (t * steps).round();
                    assert!((t * steps - k).abs() < 1e-9, "t = {t} is between two steps");
                    let low = if k < 1.0 { 0.0 } else { border(k - 1.0) };
                    let high = if k < steps { border(k) } else { 1.0 };
                    low + u * (high - low)
                });
                chance.follows(&what, places, uniform(0.0, 1.0));
            } else {
                chance.follows(&what, times.iter().map(|t| schedule.sigma_ratio(*t)), cdf);
            }
            if sharing == "shared" {
                share_one_time(&batches);
            } else if schedule == Schedule::EDM {
                let logs: Vec<f64> = at(1, &batches).iter().map(|t| t.ln() - mean).collect();
                chance.unrelated(
                    "samples of a batch",
                    logs.into_iter().zip(times.iter().map(|t| t.ln() - mean)),
                );
            }
        }
    }
}
