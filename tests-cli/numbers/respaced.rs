//! The published steps of DDPM and DDIM, respaced: images of `sadm sample` and of `sadm evaluate` by the reference's steps.

use std::path::Path;

use ndarray::{Array2, ArrayD, Axis, IxDyn, concatenate};
use sadm_reference::gaussian::{
    Diffusion, Variance, ddim_step, ddpm_step, linear_betas, predict, respaced_steps,
};

use crate::draws::{classes, normal, seed_of};
use crate::evaluate_run::{evaluated, within};
use crate::formulas::frechet;
use crate::runs::train;
use crate::sample::{images, in_order, near, sample};
use crate::support::{Folder, error_of, sadm, says};
use crate::walk::spread;
use crate::written::{Rounding, Written, chosen, digits, flat};

/// Images that are drawn together.
const BATCH: usize = 128;

/// A transformer with variances, trained as published.
const PUBLISHED: [&str; 12] = [
    "--set=model.kind=dit",
    "--set=model.dit.hidden_size=16",
    "--set=model.dit.depth=1",
    "--set=model.dit.num_heads=2",
    "--set=structure.method=none",
    "--set=objective.schedule=ddpm",
    "--set=objective.parametrisation=eps",
    "--set=objective.noise_condition=ddpm-step",
    "--set=objective.weight=snr",
    "--set=objective.time=uniform",
    "--set=objective.time_min=1e-9",
    "--set=train.learning_rate=0.01",
];
const LEARNT: [&str; 2] = [
    "--set=model.dit.learn_sigma=true",
    "--set=objective.variance=learned-range",
];

/// What is asked for.
#[derive(Debug, Clone)]
struct Asked {
    sampler: &'static str,
    respacing: &'static str,
    eta: f64,
    clip: bool,
    guidance: f64,
    labels: Vec<Option<u32>>,
    seed: u64,
}

impl Asked {
    fn of(sampler: &'static str, respacing: &'static str) -> Self {
        Self {
            sampler,
            respacing,
            eta: 0.0,
            clip: false,
            guidance: 1.0,
            labels: in_order(3),
            seed: 4,
        }
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--sampler={}", self.sampler),
            format!("--respacing={}", self.respacing),
            format!("--guidance={}", self.guidance),
            format!("--count={}", self.labels.len()),
            format!("--seed={}", self.seed),
        ];
        if self.eta > 0.0 {
            args.push(format!("--eta={}", self.eta));
        }
        if self.clip {
            args.push("--clip".to_owned());
        }
        args
    }
}

/// Rows of numbers of a stream, one after the other.
fn drawn(shape: &[usize], values: Vec<f64>) -> ArrayD<f64> {
    ArrayD::from_shape_vec(IxDyn(shape), values).expect("as many")
}

/// The images by the reference.
fn published(run: &Written, asked: &Asked, variance: Variance, round: Rounding<'_>) -> ArrayD<f64> {
    let kept = respaced_steps(1000, asked.respacing).expect("steps");
    let process = Diffusion::new(&linear_betas(1000), &kept, variance).expect("a process");
    let [c, h, w] = run.shape();
    let mut parts = Vec::new();
    for (number, labels) in asked.labels.chunks(BATCH).enumerate() {
        let n = labels.len();
        let shape = [n, c, h, w];
        let first = number * BATCH;
        let start = (first..first + n)
            .flat_map(|k| normal(asked.seed, "sample", k as u64, c * h * w))
            .collect();
        let fresh = seed_of(asked.seed, "sampler", number as u64);
        let with: Vec<u32> = (labels.iter())
            .map(|label| label.unwrap_or(run.no_class()))
            .collect();
        let none = vec![run.no_class(); n];
        let mut x = drawn(&shape, start);
        for (call, step) in (0..kept.len()).rev().enumerate() {
            let answer = |labels: &[u32]| run.output(&x, kept[step] as f64, labels, round);
            let g = asked.guidance.to_bits();
            let output = if g == 0_f64.to_bits() {
                answer(&none)
            } else if g == 1_f64.to_bits() {
                answer(&with)
            } else {
                // Channels of the image are guided; variances stay those of the class.
                let [with, none] = [&with, &none].map(|labels| answer(labels));
                let (own, rest) = with.view().split_at(Axis(1), c);
                let (free, _) = none.view().split_at(Axis(1), c);
                let guided = &free + &((&own - &free) * asked.guidance);
                concatenate![Axis(1), guided, rest].mapv(round)
            };
            let t = vec![step; n];
            let said = predict(&process, &output, &x, &t, asked.clip).expect("a step");
            let noise = normal(fresh, "sampler-noise", call as u64, x.len());
            let noise = drawn(&shape, noise);
            let next = match asked.sampler {
                "ddpm" => ddpm_step(&said, &t, &noise),
                _ => ddim_step(&process, &said, &x, &t, asked.eta, &noise),
            };
            // Factors are rounded once for all elements, and parts may be larger than their sum.
            let factor = round(1.0);
            let moved = (next.expect("a step") - &x).mapv(|d| round(factor * d));
            x = (x + moved).mapv(round);
        }
        parts.push(x);
    }
    let views: Vec<_> = parts.iter().map(|x| x.view()).collect();
    concatenate(Axis(0), &views).expect("one shape")
}

/// Holds what was drawn against the reference; the images.
#[track_caller]
fn holds(folder: &Folder, run: &Path, asked: &Asked, more: &[&str]) -> Vec<f64> {
    let out = folder.path("samples.safetensors");
    let mut args = asked.args();
    args.extend(more.iter().map(|&text| text.to_owned()));
    sample(run, &out, &args);
    let written = Written::newest(run);
    let learnt = written.word("objective", "variance") == "learned-range";
    let variance = if learnt {
        Variance::LearnedRange
    } else {
        Variance::FixedLarge
    };
    let of = |round: Rounding<'_>| {
        let images = published(&written, asked, variance, round);
        images.into_raw_vec_and_offset().0
    };
    let (want, allowed) = spread(of);
    near(&args.join(" "), &images(&out), &want, allowed);
    want
}

/// DDPM with learnt variances and DDIM with η, steps of every kind of respacing, guided, clipped, of more images than are drawn together.
#[test]
fn respaced_steps_are_the_published_ones() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 12, &[&PUBLISHED[..], &LEARNT].concat());
    let mut all = Vec::new();
    let three = |asked: Asked| {
        [
            asked.clone(),
            Asked {
                guidance: 2.5,
                ..asked.clone()
            },
            Asked {
                clip: true,
                ..asked
            },
        ]
    };
    for asked in [
        Asked::of("ddpm", "10,15,20"),
        Asked::of("ddpm", "ddim25"),
        Asked::of("ddim", "ddim50"),
        Asked {
            eta: 0.7,
            ..Asked::of("ddim", "12")
        },
    ]
    .into_iter()
    .flat_map(three)
    {
        all.push(holds(&folder, &run, &asked, &[]));
    }
    // None of the choices is without effect.
    for (i, one) in all.iter().enumerate() {
        for other in &all[i + 1..] {
            let apart = one.iter().zip(other).map(|(a, b)| (a - b).abs());
            assert!(
                apart.fold(0.0, f64::max) > 1e-3,
                "two choices drew the same"
            );
        }
    }
    for (guidance, labels, class) in [
        (0.0, vec![Some(3); 2], "--class=3"),
        (1.0, vec![None; 2], "--class=none"),
    ] {
        let asked = Asked {
            guidance,
            labels,
            ..Asked::of("ddpm", "5")
        };
        holds(&folder, &run, &asked, &[class]);
    }
    let many = Asked {
        labels: in_order(130),
        ..Asked::of("ddpm", "2")
    };
    holds(&folder, &run, &many, &[]);
    what_cannot_be(&folder, &run);
}

/// Respacings without a meaning, samplers without such steps, and options of the one way beside the other.
fn what_cannot_be(folder: &Folder, run: &Path) {
    let refused = |args: &[&str]| {
        let mut command = sadm();
        let command = command.args(["sample", "--threads=1", "--run"]).arg(run);
        let out = folder.path("none.png");
        let refused = error_of(command.arg("--out").arg(&out).args(args));
        assert!(!out.exists(), "{args:?}");
        refused
    };
    for (args, words) in [
        (
            &["--sampler=ddpm", "--respacing=1"][..],
            &["at least two steps", "got 1"][..],
        ),
        (
            &["--sampler=ddim", "--respacing=ddim300"],
            &["a stride leaves of 1000", "`ddim300`"],
        ),
        (
            &["--sampler=ddpm", "--respacing=600,1"],
            &["at most 500", "part 0"],
        ),
        (
            &["--sampler=ddpm", "--respacing=fast"],
            &["ddimN, or whole numbers", "`fast`"],
        ),
        (
            &["--sampler=heun", "--respacing=9"],
            &[
                "the sampler of the respacing `9` must be ddim or ddpm",
                "heun",
            ],
        ),
        (
            &["--sampler=ddpm", "--respacing=9", "--steps=4"],
            &["--steps", "respacing `9`"],
        ),
        (
            &["--sampler=ddpm", "--respacing=9", "--eta=0.5"],
            &["--eta", "ddim"],
        ),
        (
            &["--sampler=ddim", "--respacing=9", "--eta=1.5"],
            &["eta of ddim must be in [0, 1], got 1.5"],
        ),
        (&["--sampler=ddim", "--eta=0.5"], &["--eta", "--respacing"]),
        (&["--sampler=ddim", "--clip"], &["--clip", "--respacing"]),
    ] {
        says(&refused(args), words);
    }
}

/// Without learnt variances β_t is the variance; a run whose own sampler has such steps is evaluated by them, and another one has none.
#[test]
fn a_run_s_own_sampler_may_be_respaced() {
    let folder = Folder::new();
    let run = folder.path("run");
    let own = [
        "--set=model.dit.learn_sigma=false",
        "--set=sample.sampler=ddpm",
        "--set=sample.respacing=6,3",
        "--set=sample.clip=true",
    ];
    train(&run, 8, &[&PUBLISHED[..], &own].concat());
    let asked = Asked {
        clip: true,
        ..Asked::of("ddpm", "6,3")
    };
    holds(&folder, &run, &asked, &[]);
    let other = Asked {
        eta: 0.25,
        ..Asked::of("ddim", "4")
    };
    holds(&folder, &run, &other, &["--clip=false"]);
    let written = Written::newest(&run);
    let more = [
        "--seed=3",
        "--count=24",
        "--as=reals",
        "--reference-count=40",
        "--reference-by=first",
        "--metrics=fd",
        "--resamples=0",
    ];
    let (answer, _) = evaluated(&folder, &run, &more);
    let labels = classes(3, &written.shares(), 24);
    let asked = Asked {
        labels: labels.into_iter().map(Some).collect(),
        seed: seed_of(3, "evaluate", 0),
        ..asked
    };
    let real: Array2<f64> = flat(&chosen(&digits().0, &(0..40).collect::<Vec<_>>()));
    let of = |round: Rounding<'_>| {
        let images = published(&written, &asked, Variance::FixedLarge, round);
        frechet(&flat(&images), &real, 1.0).to_vec()
    };
    let names = ["fd-pixels/mean_term", "fd-pixels/trace_term"];
    within(&answer, &names, &spread(of));
    let mut command = sadm();
    let command = command.args(["train", "--preset=digits", "--out"]);
    let command = command.arg(folder.path("none"));
    let refused = error_of(command.args(["--set=sample.sampler=ddpm", "--set=sample.respacing=9"]));
    says(
        &refused,
        &[
            "sample.respacing",
            "objective.schedule = ddpm",
            "edm and edm",
        ],
    );
}
