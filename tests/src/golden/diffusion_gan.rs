//! Diffusion-GAN: the published chains, controllers, noising and law of t, by both sides.

use ndarray::{ArrayD, Axis};
use sadm_gpu::diffusion_gan as gpu;
use sadm_reference::{
    bound::{Precision, diffusion_gan as bound},
    diffusion_gan::{Betas, Controller, Priority, Update, alpha_bars, diffuse, probabilities},
};
use serde_json::Value as Json;

use super::{Arrays, folders, json, largest, numbers, tensors, within};

/// The lists and the tensors of each folder.
fn goldens() -> Vec<(Json, Arrays)> {
    let read = |folder: std::path::PathBuf| {
        (
            json(&folder.join("diffusion-gan.json")),
            tensors(&folder.join("diffusion-gan.safetensors")),
        )
    };
    folders("diffusion-gan").into_iter().map(read).collect()
}

fn entries<'a>(listed: &'a Json, what: &str) -> Vec<(&'a String, &'a Json)> {
    listed[what].as_object().expect("by name").iter().collect()
}

fn number(value: &Json) -> f64 {
    value.as_f64().expect("a number")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small count"
)]
fn count(value: &Json) -> usize {
    number(value) as usize
}

fn places(index: &ArrayD<f64>) -> Vec<usize> {
    let place = |i: &f64| count(&Json::from(*i));
    index.iter().map(place).collect()
}

/// `quad-0.0001-0.02-T20`.
fn chain(name: &str) -> (usize, f64, f64, usize) {
    let parts: Vec<&str> = name.split('-').collect();
    let [kind, start, end, steps] = parts[..] else {
        panic!("{name} names no chain")
    };
    let kind = kind.replace('_', "-");
    let place = Betas::ALL.iter().position(|betas| betas.name() == kind);
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let steps = steps.trim_start_matches('T').parse().expect("a count");
    let place = place.unwrap_or_else(|| panic!("no schedule {kind}"));
    (place, number(start), number(end), steps)
}

/// The printed numbers of a long chain are some of its t only. Those of the published program are within the reference's own bound; so are
/// those of the training system within twice that.
#[test]
fn chains_are_the_published_ones() {
    let mut seen = 0;
    for (listed, held) in goldens() {
        for (name, _) in entries(&listed, "betas") {
            let (kind, start, end, steps) = chain(name);
            let (ours, theirs) = (Betas::ALL[kind], gpu::Betas::ALL[kind]);
            let betas = ours.betas(start, end, steps).expect("a chain");
            let bars = alpha_bars(&betas).expect("shares");
            let of_gpu = theirs.betas(start, end, steps).expect("a chain");
            let bars_of_gpu = gpu::alpha_bars(&of_gpu);
            let error = bound::betas(ours, start, end, steps, Precision::F64).expect("a chain");
            let error_of_bars = bound::alpha_bars(&error, Precision::F64).expect("shares");
            let at = places(&held[&format!("{name}.index")]);
            let roots = numbers(&held[&format!("{name}.sqrt_alpha_bar_f64")]);
            for (k, &t) in at.iter().enumerate() {
                let allowed = error_of_bars.error[t];
                for (side, factor, bars) in [("ours", 1.0, &bars), ("candle", 2.0, &bars_of_gpu)] {
                    let off = (bars[t] - roots[k] * roots[k]).abs();
                    let allowed = factor * allowed + 4.0 * f64::EPSILON * bars[t];
                    assert!(
                        off <= allowed,
                        "{name}, ᾱ_{t} of {side}: off by {off:e}, not {allowed:e}"
                    );
                }
                seen += 1;
            }
            let want = numbers(&held[&format!("{name}.betas_f64")]);
            assert_eq!(want.len() + 1, at.len(), "{name}: a β for each t but 0");
            for (want, t) in want.iter().zip(&at[1..]) {
                for (side, factor, betas) in [("ours", 1.0, &betas), ("candle", 2.0, &of_gpu)] {
                    let off = (betas[t - 1] - want).abs();
                    let allowed = factor * error.error[t - 1];
                    assert!(
                        off <= allowed,
                        "{name}, β_{t} of {side}: off by {off:e}, not {allowed:e}"
                    );
                }
            }
        }
    }
    assert!(seen > 300, "{seen} levels");
}

/// Traces of p and T, equal to the bit.
#[test]
fn controllers_move_as_the_published_one() {
    let mut seen = 0;
    for (listed, held) in goldens() {
        for case in listed["controller"].as_array().expect("a list") {
            let name = case["name"].as_str().expect("a name");
            let of = |part: &str| numbers(&held[&format!("controller.{name}.{part}")]);
            let (kimg, target) = (number(&case["kimg"]), number(&case["target"]));
            let (t_min, t_max) = (count(&case["t_min"]), count(&case["t_max"]));
            let images = count(&case["batch"]) * count(&case["interval"]);
            let ours = Controller::new(Update::Published { kimg }, target, t_min, t_max);
            let ours = ours.expect("a range");
            let theirs = gpu::ControllerOptions {
                update: gpu::Update::Published,
                kimg,
                target,
                t_min,
                t_max,
                ..gpu::ControllerOptions::default()
            };
            let mut now = ours.begin();
            let mut of_gpu = (0.0, t_min);
            assert_eq!(now.steps, count(&case["T_before_first_update"]));
            for ((r_d, p), steps) in of("stats").iter().zip(of("p")).zip(of("T")) {
                now = ours.next(now, *r_d, images).expect("a mean of signs");
                of_gpu = theirs.next(of_gpu, *r_d, images);
                assert_eq!(now.p.to_bits(), p.to_bits(), "{name}");
                assert_eq!(of_gpu.0.to_bits(), p.to_bits(), "{name}");
                assert_eq!(
                    [now.steps, of_gpu.1],
                    [count(&Json::from(steps)); 2],
                    "{name}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 148, "{seen} updates");
}

/// Images with the published noise. Its ᾱ are products in single precision, off by a rounding for each factor, and √(1 − ᾱ) by that over twice
/// itself.
#[test]
fn noised_images_are_the_published_ones() {
    for (listed, held) in goldens() {
        let steps = count(&listed["q_sample"]["num_timesteps"]);
        let betas = Betas::Linear.betas(1e-4, 2e-2, steps).expect("a chain");
        let bars = alpha_bars(&betas).expect("shares");
        let t = places(&held["q_sample.t"]);
        let (x, noise) = (&held["q_sample.x"], &held["q_sample.noise"]);
        let names = held.iter().filter_map(|(name, want)| {
            let scale = name.strip_prefix("q_sample.noise_std")?;
            Some((scale.parse::<f64>().expect("a number"), want))
        });
        let mut seen = 0;
        for (scale, want) in names {
            let y = diffuse(x, noise, &t, &bars, scale).expect("levels of the chain");
            for (i, &t) in t.iter().enumerate() {
                let unit = f64::from(f32::EPSILON) / 2.0;
                let product = (t as f64 + 1.0) * unit;
                let of_noise = if t == 0 {
                    0.0
                } else {
                    0.5 * product / (1.0 - bars[t]).sqrt() + unit
                };
                let row = |x: &ArrayD<f64>| x.index_axis(Axis(0), i).to_owned();
                let error = (0.5 * product + unit) * largest(&row(x))
                    + of_noise * scale * largest(&row(noise));
                within("q_sample", &row(&y), &row(want), error);
            }
            seen += 1;
        }
        assert!(seen > 0, "no noised image");
    }
}

/// How often each t was seen in so many buffers of the published program: half of them 0, the others by the law that is named for it, within
/// six standard deviations.
#[test]
fn levels_are_drawn_as_often_as_the_published_program_draws_them() {
    for (listed, held) in goldens() {
        for (name, case) in entries(&listed, "t_epl") {
            let law = if name.starts_with("priority") {
                Priority::PriorityCode
            } else {
                Priority::Uniform
            };
            let (steps, counted) = (count(&case["T"]), numbers(&held[&format!("t_epl.{name}")]));
            let drawn = number(&case["updates"]) * number(&case["entries"]) / 2.0;
            assert!(
                (counted[0] - drawn).abs() < 0.5,
                "{name}: {} clean",
                counted[0]
            );
            let p = probabilities(law, steps).expect("a law");
            for (t, p) in (1..=steps).zip(p) {
                let spread = (drawn * p * (1.0 - p)).sqrt();
                let off = (counted[t] - drawn * p).abs();
                assert!(
                    off <= 6.0 * spread,
                    "{name}: t = {t} {} times, not {}",
                    counted[t],
                    drawn * p
                );
            }
        }
    }
}
