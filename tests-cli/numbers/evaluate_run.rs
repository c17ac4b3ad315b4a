//! `sadm evaluate` on a run: its samples, its encoder's features, its likelihoods, computed again from its checkpoints.

use std::path::Path;

use ndarray::{Array2, ArrayD};
use serde_json::Value;

use crate::draws::{classes, order, rounded, seed_of, uniform};
use crate::evaluate::{Want, holds};
use crate::formulas::{deviation, frechet, inception, kid, mean, normal, rows, splits};
use crate::runs::train;
use crate::support::{Folder, answered, metric, sadm};
use crate::walk::{Asked, spread, walk};
use crate::written::{Rounding, SMALLER, Written, chosen, digits, flat, json, lines, number};

pub fn evaluated(folder: &Folder, run: &Path, more: &[&str]) -> (Value, String) {
    let mut command = sadm();
    command
        .args(["evaluate", "--threads=1", "--reference=digits", "--run"])
        .arg(run);
    answered(folder, command.args(more))
}

/// Values within what rounding in f32 may do, which must be a small part of them.
#[track_caller]
pub fn within(answer: &Value, names: &[&str], (want, allowed): &(Vec<f64>, f64)) {
    for (name, want) in names.iter().zip(want) {
        let (name, part) = name.split_once('/').unwrap_or((name, "value"));
        let line = metric(answer, name);
        let got = number(if part == "value" {
            &line["value"]
        } else {
            &line["parts"][part]
        });
        assert!(
            (got - want).abs() <= *allowed && *allowed < 1e-2 * want.abs().max(0.05),
            "{name}, {part}: {got}, not {want} ± {allowed:e}"
        );
    }
}

/// Images of the digits' rows.
fn reference(seed: u64, count: usize) -> (ArrayD<f64>, Vec<u32>) {
    let (images, labels) = digits();
    let mut part = order(seed, "reference", 0, labels.len())[..count].to_vec();
    part.sort_unstable();
    let labels = part.iter().map(|row| labels[*row]).collect();
    (chosen(&images, &part), labels)
}

/// Samples by the run's own sampler, in the shares of its data; features of Ψ as its own phase left it.
#[test]
fn samples_and_features_are_the_run_s() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 16, &[]);
    let written = Written::newest(&run);
    let more = [
        "--seed=3",
        "--count=24",
        "--as=reals",
        "--reference-count=40",
        "--features=encoder",
        "--metrics=fd,kid,is",
        "--splits=2",
        "--split-order=consecutive",
        "--resamples=0",
    ];
    let (answer, _) = evaluated(&folder, &run, &more);
    let labels = classes(3, &written.shares(), 24);
    let asked = Asked::of(
        &written,
        labels.into_iter().map(Some).collect(),
        seed_of(3, "evaluate", 0),
    );
    let psi = written.encoder();
    let real = reference(3, 40).0;
    let of = |round: Rounding<'_>| {
        let images = walk(&written, &asked, round).images;
        let features = psi.features(&images, round);
        let theirs = psi.features(&real, round);
        let [mean_term, trace_term] = frechet(&features, &theirs, 1.0);
        let scores = inception(&psi.probabilities(&images, round), &splits(24, 2));
        vec![
            mean_term,
            trace_term,
            kid(&features, &theirs),
            mean(&scores),
        ]
    };
    let names = [
        "fd-encoder/mean_term",
        "fd-encoder/trace_term",
        "kid-encoder",
        "is-encoder",
    ];
    within(&answer, &names, &spread(of));
    let digest = hex(&std::fs::read(&psi.file).expect("a file"));
    let said = format!("Ψ {} of {}, step {}", &digest[..8], run.display(), psi.step);
    assert_eq!(answer["encoder"], said);
    assert_eq!(
        answer["generated"]["source"],
        format!("{}, step 16", run.display())
    );
    let saved = lines(&run.join("evaluation.jsonl"));
    for name in ["fd-encoder", "kid-encoder", "is-encoder"] {
        let line = metric(&answer, name);
        assert_eq!(saved[0][name], line["value"]);
        assert_eq!(saved[0]["how"][name], line["convention"]);
    }
    assert_eq!(saved[0]["step"], 16);
    assert_eq!(
        saved[0]["reference"],
        "digits, drawn at random from 1797, seed 3"
    );
    assert_eq!(saved[0]["of"], "24 samples, classes in the data's shares");
}

/// SHA-256 in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    })
}

/// More samples than are drawn at a time, of chosen classes; one class is held against the real images of it; an earlier checkpoint.
#[test]
fn parts_classes_and_checkpoints_are_those_that_are_asked_for() {
    let folder = Folder::new();
    let run = folder.path("run");
    let settings = [
        &SMALLER[..],
        &["--set=sample.steps=1", "--set=checkpoint.keep=9"],
    ];
    train(&run, 6, &settings.concat());
    let base = ["--metrics=fd", "--as=reals", "--resamples=0", "--seed=1"];
    let of = |written: &Written, parts: &[&[u32]], real: &ArrayD<f64>| {
        spread(|round| {
            let images = parts.iter().enumerate().map(|(part, labels)| {
                let labels = labels.iter().map(|class| Some(*class)).collect();
                let asked = Asked::of(written, labels, seed_of(1, "evaluate", part as u64));
                flat(&walk(written, &asked, round).images)
            });
            let images: Vec<_> = images.collect();
            let views: Vec<_> = images.iter().map(|x| x.view()).collect();
            let all = ndarray::concatenate(ndarray::Axis(0), &views).expect("rows");
            frechet(&all, &flat(real), 1.0).to_vec()
        })
    };
    let names = ["fd-pixels/mean_term", "fd-pixels/trace_term"];
    let written = Written::newest(&run);
    let (images, labels) = digits();
    for (way, drawn) in [
        ("--classes=random", classes(1, &[1; 10], 300)),
        ("--classes=equal", (0..300).map(|i| i % 10).collect()),
    ] {
        let more = [
            "--count=300",
            "--reference-count=300",
            "--reference-by=first",
            way,
        ];
        let (answer, _) = evaluated(&folder, &run, &[&base[..], &more].concat());
        let real = chosen(&images, &(0..300).collect::<Vec<_>>());
        within(
            &answer,
            &names,
            &of(&written, &[&drawn[..256], &drawn[256..]], &real),
        );
    }
    let (answer, table) = evaluated(
        &folder,
        &run,
        &[&base[..], &["--count=90", "--class=4", "--step=3"]].concat(),
    );
    let fours: Vec<usize> = (0..labels.len()).filter(|row| labels[*row] == 4).collect();
    let real = chosen(&images, &fours);
    within(
        &answer,
        &names,
        &of(&Written::at(&run, 3), &[&[4; 90]], &real),
    );
    assert_eq!(answer["reference"]["samples"], fours.len());
    assert_eq!(answer["model"]["step"], 3);
    assert!(
        table.contains("all of class 4") && table.contains("of class 4"),
        "{table}"
    );
}

/// Images as rows with their classes, and probes of all of them; the exact trace where there are none.
struct Flow<'a> {
    written: &'a Written,
    x: Array2<f64>,
    labels: Vec<u32>,
    probes: Vec<Array2<f64>>,
}

impl Flow<'_> {
    /// z − x̂ and d − tr ∂x̂/∂z of each image.
    fn slope(&self, z: &Array2<f64>, level: f64) -> (Array2<f64>, Vec<f64>) {
        let n = z.nrows();
        let pulled = |z: &Array2<f64>, labels: &[u32], v: &Array2<f64>| {
            let shape = |x: &Array2<f64>| {
                let x = x.clone().into_shape_with_order((x.nrows(), 1, 8, 8));
                x.expect("64 pixels").into_dyn()
            };
            let (x_hat, products) = self.written.pulled(&shape(z), level, labels, &shape(v));
            (flat(&x_hat), products)
        };
        let (x_hat, traces) = if self.probes.is_empty() {
            // Every image 64 times, each time along another pixel.
            let all: Vec<usize> = (0..64 * n).map(|row| row / 64).collect();
            let labels: Vec<u32> = all.iter().map(|image| self.labels[*image]).collect();
            let units = Array2::from_shape_fn((64 * n, 64), |(row, pixel)| {
                f64::from(u8::from(row % 64 == pixel))
            });
            let (x_hat, products) = pulled(&rows(z, &all), &labels, &units);
            let first: Vec<usize> = (0..n).map(|image| 64 * image).collect();
            let traces = products.chunks(64).map(|own| own.iter().sum()).collect();
            (rows(&x_hat, &first), traces)
        } else {
            let answers: Vec<_> = (self.probes.iter())
                .map(|probe| pulled(z, &self.labels, probe))
                .collect();
            let trace = |image: usize| {
                mean(
                    &answers
                        .iter()
                        .map(|(_, own)| own[image])
                        .collect::<Vec<_>>(),
                )
            };
            (
                answers[0].0.clone(),
                (0..n).map(trace).collect::<Vec<f64>>(),
            )
        };
        (
            z - x_hat,
            traces.into_iter().map(|trace| 64.0 - trace).collect(),
        )
    }

    /// By the classical method of Runge and Kutta in equal steps of ln σ.
    fn bits(&self, steps: usize) -> Vec<f64> {
        let of = |key| self.written.number("sample", key).ln();
        let (low, high) = (of("sigma_min"), of("sigma_max"));
        let h = (high - low) / steps as f64;
        let mut z = self.x.clone();
        let mut change = vec![0.0; z.nrows()];
        for k in 0..steps {
            let u = low + h * k as f64;
            let mut sum = Array2::zeros(z.raw_dim());
            let mut slope = Array2::zeros(z.raw_dim());
            for (share, weight) in [(0.0, 1.0), (0.5, 2.0), (0.5, 2.0), (1.0, 1.0)] {
                let (next, lost) = self.slope(&(&z + &slope * (share * h)), (u + share * h).exp());
                sum = sum + &next * (weight * h / 6.0);
                for (change, lost) in change.iter_mut().zip(lost) {
                    *change += weight * h / 6.0 * lost;
                }
                slope = next;
            }
            z += &sum;
        }
        // ln N(z; 0, σ² I) at the end, and 17 levels of a pixel, 1/8 apart: log₂ 8 more.
        let sigma = high.exp();
        let terminal = z.rows().into_iter().map(|z| {
            -0.5 * z.dot(&z) / (sigma * sigma)
                - 32.0 * (2.0 * std::f64::consts::PI * sigma * sigma).ln()
        });
        let bits =
            |(change, end): (f64, f64)| -(change + end) / (64.0 * std::f64::consts::LN_2) + 3.0;
        change.into_iter().zip(terminal).map(bits).collect()
    }
}

/// The exact trace of a few images, and probes of more than are followed together; each with the change at half the steps.
#[test]
fn bits_per_dimension_are_of_the_flow() {
    let folder = Folder::new();
    let run = folder.path("run");
    // A network that has moved: one near zero has the same trace along all signs.
    train(
        &run,
        12,
        &[&SMALLER[..], &["--set=train.learning_rate=0.03"]].concat(),
    );
    let written = Written::newest(&run);
    let (images, labels) = digits();
    let rows_of = flat(&images);
    let seed = 5;
    let order = order(seed, "nll", 0, labels.len());
    for (samples, steps, probes) in [(2, 2, 0), (96, 2, 1)] {
        let more = [
            "--metrics=nll".to_owned(),
            format!("--nll-samples={samples}"),
            format!("--nll-steps={steps}"),
            format!("--nll-probes={probes}"),
            format!("--seed={seed}"),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let (answer, table) = evaluated(&folder, &run, &more);
        // The flow of some images, along the signs of a part.
        let flow = |part: usize, places: &[usize]| {
            let signs: Vec<Vec<f64>> = (0..probes)
                .map(|k| {
                    let of_part = seed_of(seed, "nll-probes", part as u64);
                    let u = uniform(of_part, "likelihood-probe", k, 64 * places.len());
                    u.into_iter()
                        .map(|u| if u < 0.5 { -1.0 } else { 1.0 })
                        .collect()
                })
                .collect();
            let n = places.len();
            let x: Vec<f64> = places
                .iter()
                .flat_map(|place| {
                    let u = uniform(seed, "dequantise", *place as u64, 64);
                    let pixels = rows_of.row(*place).to_vec().into_iter().zip(u);
                    pixels.map(|(x, u)| rounded(x + (u - 0.5) / 8.0))
                })
                .collect();
            let shaped =
                |values: Vec<f64>| Array2::from_shape_vec((n, 64), values).expect("64 pixels each");
            Flow {
                written: &written,
                x: shaped(x),
                labels: places.iter().map(|place| labels[*place]).collect(),
                probes: signs.into_iter().map(shaped).collect(),
            }
        };
        let chunks: Vec<&[usize]> = order[..samples].chunks(64).collect();
        let parts: Vec<Vec<f64>> = (chunks.iter().enumerate())
            .map(|(part, places)| flow(part, places).bits(steps))
            .collect();
        // Half the steps are tried on the first part.
        let half = mean(&flow(0, chunks[0]).bits(steps / 2));
        let each = parts.concat();
        let (value, error) = (mean(&each), deviation(&each, 1.0) / (samples as f64).sqrt());
        // The flow in f32: seen are 1e-7 at the most, of the change at half the steps.
        let relative = 2e-6;
        if let [first, second] = &parts[..] {
            // The second part along the signs of the first is another number.
            let reused = [first.clone(), flow(0, chunks[1]).bits(steps)].concat();
            let apart = (mean(&reused) - value).abs() / value.abs();
            assert!(apart > 10.0 * relative, "{second:?} says little: {apart:e}");
        }
        let trace = if probes == 0 {
            "exact trace".to_owned()
        } else {
            format!("{probes} probes")
        };
        let said = format!(
            "bits/dim given the class, uniform dequantisation of 1 in 17, {samples} images, {steps} steps, {trace}"
        );
        let want = Want::new(value, Some(normal(value, error)), &said)
            .with("change_at_half_the_steps", half - mean(&parts[0]));
        holds(&answer, &table, "nll", &want, relative);
        let saved = lines(&run.join("evaluation.jsonl"));
        assert_eq!(
            saved.last().expect("a line")["nll"],
            metric(&answer, "nll")["value"]
        );
    }
    // Its own digest and those of its files, as the state has them.
    let checkpoint = run.join("checkpoints/00000012");
    let state = json(&checkpoint.join("state.json"));
    for (name, digest) in state["sha256"].as_object().expect("digests") {
        let file = checkpoint.join(format!("{name}.safetensors"));
        assert_eq!(
            *digest,
            hex(&std::fs::read(file).expect("a file")),
            "{name}"
        );
    }
    let config = std::fs::read(run.join("config.toml")).expect("a configuration");
    assert_eq!(state["config_sha256"], hex(&config));
}
