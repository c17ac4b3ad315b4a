//! EDM's augmentation: what the published program makes of the same draws.
//!
//! It was run in f64 with the taps of sym6 in single precision, as it has them. So both sides must agree with it within the bound of an
//! f64 computation: of image and labels alike, nothing more is allowed.

use ndarray::ArrayD;
use sadm_gpu::data::augment as gpu;
use sadm_reference::{
    augment::{Pipe, Transform},
    bound::{self, Precision, Tracked},
};
use serde_json::Value as Json;

use super::{folders, json, numbers, tensors};

/// A case: its transformations, the random numbers of each law, and what came out.
struct Golden {
    what: String,
    kinds: Vec<(usize, f64)>,
    uniform: Vec<f64>,
    normal: Vec<f64>,
    images: ArrayD<f64>,
    output: ArrayD<f64>,
    labels: ArrayD<f64>,
}

fn goldens() -> Vec<Golden> {
    let mut found = Vec::new();
    for folder in folders("augment") {
        let listed = json(&folder.join("augment.json"));
        let held = tensors(&folder.join("augment.safetensors"));
        for (name, case) in listed.as_object().expect("cases by name") {
            let Some(strengths) = case["kwargs"].as_object() else {
                continue;
            };
            let mut kinds: Vec<(usize, f64)> = (strengths.iter())
                .map(|(name, strength)| {
                    let kind = Transform::ALL.iter().position(|t| t.name() == name);
                    // The program's own probability was 1.
                    let p = strength.as_f64().expect("a number").min(1.0);
                    (kind.unwrap_or_else(|| panic!("no `{name}`")), p)
                })
                .collect();
            kinds.sort_by_key(|(kind, _)| *kind);
            let (mut uniform, mut normal) = (Vec::new(), Vec::new());
            for draw in case["draws"].as_array().expect("draws") {
                let numbers = draw[1].as_array().expect("numbers").iter();
                let numbers = numbers.filter_map(Json::as_f64);
                match draw[0].as_str() {
                    Some("randn") => normal.extend(numbers),
                    Some("rand") => uniform.extend(numbers),
                    // The middle of the interval from which a whole number below 2 or 4 is made.
                    Some("randint") => {
                        let below = if name == "rotate_int" { 4.0 } else { 2.0 };
                        uniform.extend(numbers.map(|k| (k + 0.5) / below));
                    }
                    other => panic!("{name}: a draw of {other:?}"),
                }
            }
            let of = |part: &str| held[&format!("{name}.{part}")].clone();
            found.push(Golden {
                what: format!("{}: {name}", folder.display()),
                kinds,
                uniform,
                normal,
                images: held["images"].clone(),
                output: of("output"),
                labels: of("labels"),
            });
        }
    }
    assert!(found.len() >= 11, "{} golden augmentations", found.len());
    found
}

/// Both sides: the published numbers within the reference's bound, and the training system's within twice that of them, since both may
/// use up all of it.
#[test]
fn both_sides_compute_what_the_published_program_does() {
    for golden in goldens() {
        let what = &golden.what;
        let transforms = golden.kinds.iter();
        let pipe = Pipe::new(transforms.map(|&(kind, p)| (Transform::ALL[kind], p)));
        let pipe = pipe.expect("probabilities");
        let &[b, c, height, width] = golden.images.shape() else {
            panic!("{what}: images have four axes");
        };
        let all = pipe.drawn(b, &golden.uniform, &golden.normal);
        let all = all.expect("as many draws as are asked for");
        let labels = bound::augment::labels(&pipe, &all, [height, width], Precision::F64);
        let images = bound::augment::augment(&pipe, &golden.images, &all, Precision::F64);

        let kinds = golden.kinds.iter().map(|&(kind, p)| (gpu::KINDS[kind], p));
        let pipe = gpu::Pipe::new(&kinds.collect::<Vec<_>>()).expect("probabilities");
        let draws = gpu::Draws {
            uniform: golden.uniform.clone(),
            normal: golden.normal.clone(),
        };
        let got = pipe.apply(&numbers(&golden.images), [b, c, height, width], &draws);
        let got = got.expect("as many draws as are asked for");
        for (part, bound, want, got) in [
            ("labels", labels, &golden.labels, got.labels),
            (
                "images",
                images.expect("images"),
                &golden.output,
                got.images,
            ),
        ] {
            let ratio = bound.worst_ratio(want);
            assert!(ratio <= 1.0, "{what}, {part}: {ratio} times the bound");
            let got = ArrayD::from_shape_vec(want.raw_dim(), got).expect("as many");
            let around = Tracked {
                value: want.clone(),
                error: bound.error * 2.0,
            };
            let ratio = around.worst_ratio(&got);
            assert!(ratio <= 1.0, "{what}, {part} by candle's side: {ratio}");
        }
    }
}

/// Taps in double precision are another filter: the images differ by more than the bound, and so does a round trip.
#[test]
fn the_rounding_of_the_taps_is_part_of_the_numbers() {
    let goldens = goldens();
    let off = goldens.iter().find(|g| g.what.ends_with("edm-9-off"));
    let off = off.expect("a case in which nothing but flips is drawn");
    let mut flipped = off.images.clone();
    for (mut image, label) in flipped.outer_iter_mut().zip(off.labels.outer_iter()) {
        if label[0] > 0.0 {
            let mut turned = image.to_owned();
            turned.invert_axis(ndarray::Axis(2));
            image.assign(&turned);
        }
    }
    let apart = (&flipped - &off.output).mapv(f64::abs);
    let largest = apart.iter().fold(0.0_f64, |m, x| m.max(*x));
    assert!((5e-8..1e-7).contains(&largest), "{largest}");
}
