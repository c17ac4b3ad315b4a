//! `sadm sample`: every image of every sampler, and every kind of file.

use std::io::Cursor;
use std::path::Path;

use ndarray::ArrayD;
use npyz::NpyFile;
use sadm_reference::sampler::family::{Discretization, Scaling, TimeSchedule};
use sadm_reference::sampler::{Family, SamplerKind};
use safetensors::tensor::SafeTensors;
use zip::ZipArchive;

use crate::draws::{classes, order};
use crate::runs::train;
use crate::support::{Folder, sadm};
use crate::walk::{Asked, exactly, spread, walk};
use crate::written::{SMALLER, Written};

/// Draws to a file; what was printed.
pub fn sample(run: &Path, out: &Path, args: &[String]) -> String {
    let mut command = sadm();
    command.args(["sample", "--threads=1", "--run"]).arg(run);
    let output = command.arg("--out").arg(out).args(args).assert().success();
    String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8")
}

/// The images of a file of tensors.
pub fn images(path: &Path) -> ArrayD<f64> {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let view = file.tensor("images").expect("images");
    let values = view.data().as_chunks::<4>().0.iter();
    let values = values.map(|b| f64::from(f32::from_le_bytes(*b))).collect();
    ArrayD::from_shape_vec(view.shape().to_vec(), values).expect("whole")
}

fn labels(path: &Path) -> Vec<i64> {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let view = file.tensor("labels").expect("labels");
    let values = view.data().as_chunks::<8>().0.iter();
    values.map(|b| i64::from_le_bytes(*b)).collect()
}

/// As many images, each pixel within what rounding may do.
#[track_caller]
pub fn near(what: &str, got: &ArrayD<f64>, want: &[f64], allowed: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    // An allowance that hides nothing: pixels differ by much more.
    assert!(allowed < 1e-2, "{what}: allowed {allowed:e}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let apart = (got - want).abs();
        assert!(
            apart <= allowed,
            "{what}[{at}]: {got}, not {want} ± {allowed:e}"
        );
    }
}

/// Holds the images of a request against its walk; evaluations made on the way.
fn holds(folder: &Folder, run: &Path, asked: &Asked, more: &[&str]) -> usize {
    let out = folder.path("samples.safetensors");
    let mut args: Vec<String> = more.iter().map(|&text| text.to_owned()).collect();
    args.extend([
        format!("--sampler={}", asked.sampler),
        format!("--steps={}", asked.steps),
        format!("--guidance={}", asked.guidance),
        format!("--count={}", asked.labels.len()),
        format!("--seed={}", asked.seed),
    ]);
    if asked.churn.s_churn > 0.0 {
        args.push(format!("--churn={}", asked.churn.s_churn));
        args.push(format!("--churn-min={}", asked.churn.s_min));
        args.push(format!("--churn-max={}", asked.churn.s_max));
        args.push(format!("--churn-noise={}", asked.churn.s_noise));
    }
    sample(run, &out, &args);
    let written = Written::newest(run);
    let evaluations = walk(&written, asked, &exactly).evaluations;
    let (want, allowed) = spread(|round| {
        walk(&written, asked, round)
            .images
            .into_raw_vec_and_offset()
            .0
    });
    near(&args.join(" "), &images(&out), &want, allowed);
    let numbers: Vec<i64> = (asked.labels.iter())
        .map(|label| label.map_or(-1, i64::from))
        .collect();
    assert_eq!(labels(&out), numbers, "{args:?}");
    evaluations
}

/// Classes of equal shares in order.
pub fn in_order(count: usize) -> Vec<Option<u32>> {
    let class = |i: usize| u32::try_from(10 * i / count).expect("below 10");
    (0..count).map(|i| Some(class(i))).collect()
}

/// Each sampler with classes, without, guided and over-guided; with churn in a part of the levels. The parameters are the averaged ones of
/// the newest checkpoint, which differ from the live ones and from those of the checkpoint before.
#[test]
fn every_sampler_walks_as_its_formulas_say() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(
        &run,
        12,
        &["--set=checkpoint.keep=9", "--set=train.learning_rate=0.01"],
    );
    let written = Written::newest(&run);
    let plain = Asked {
        steps: 4,
        ..Asked::of(&written, in_order(4), 5)
    };
    let each = [
        ("heun", 7),
        ("euler", 4),
        ("ddim", 4),
        ("ddpm", 4),
        ("dpmpp-2m", 4),
    ];
    assert_eq!(each.map(|(sampler, _)| sampler), *SamplerKind::names());
    for (sampler, evaluations) in each {
        let asked = Asked {
            sampler,
            ..plain.clone()
        };
        assert_eq!(holds(&folder, &run, &asked, &[]), evaluations, "{sampler}");
        let guided = Asked {
            guidance: 2.5,
            ..asked.clone()
        };
        if ["heun", "ddpm"].contains(&sampler) {
            holds(&folder, &run, &guided, &[]);
        }
    }
    for (guidance, labels, class) in [
        (0.0, vec![Some(3); 3], "--class=3"),
        (1.0, vec![None; 3], "--class=none"),
    ] {
        let asked = Asked {
            labels,
            guidance,
            ..plain.clone()
        };
        holds(&folder, &run, &asked, &[class]);
    }
    for (sampler, amount) in [("heun", 1.0), ("euler", 40.0)] {
        let mut asked = Asked {
            sampler,
            ..plain.clone()
        };
        asked.churn.s_churn = amount;
        asked.churn.s_min = 0.1;
        asked.churn.s_max = 10.0;
        asked.churn.s_noise = 1.25;
        holds(&folder, &run, &asked, &[]);
    }
    // Of the live parameters and of another checkpoint the images are others, beyond what is allowed.
    let of = |written: &Written| {
        let walked = walk(written, &plain, &exactly);
        walked.images.into_raw_vec_and_offset().0
    };
    let (want, allowed) = spread(|round| {
        walk(&written, &plain, round)
            .images
            .into_raw_vec_and_offset()
            .0
    });
    let live = run.join("checkpoints/00000012/theta.safetensors");
    for other in [
        Written::at(&run, 9),
        Written::newest(&run).with_parameters(&live),
    ] {
        let apart = of(&other)
            .into_iter()
            .zip(&want)
            .map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f64::max);
        // What is within `allowed` of the one is not within it of the other.
        assert!(apart > 2.0 * allowed, "{apart:e} is hidden by {allowed:e}");
    }
}

/// Beyond 128 images another batch has noise of its own, and image k its own noise.
#[test]
fn batches_have_noise_of_their_own() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &SMALLER);
    let written = Written::newest(&run);
    let mut asked = Asked {
        sampler: "ddpm",
        steps: 2,
        ..Asked::of(&written, in_order(131), 9)
    };
    holds(&folder, &run, &asked, &[]);
    asked.sampler = "euler";
    asked.churn.s_churn = 0.5;
    holds(&folder, &run, &asked, &[]);
}

/// Levels within the schedule, times and α of a schedule that is not EDM's, and what the network predicts.
#[test]
fn every_schedule_is_walked_at_its_levels() {
    let folder = Folder::new();
    for (schedule, parametrisation) in [
        ("vp-linear", "v"),
        ("ddpm", "eps"),
        ("cosine", "edm"),
        ("rectified-flow", "x0"),
    ] {
        let run = folder.path(schedule);
        let (schedule, parametrisation) = (
            format!("--set=objective.schedule={schedule}"),
            format!("--set=objective.parametrisation={parametrisation}"),
        );
        let settings = [
            &schedule[..],
            &parametrisation,
            "--set=objective.time=uniform",
            "--set=sample.sigma_max=8",
            "--set=sample.sigma_min=0.05",
            "--set=sample.rho=3",
        ];
        train(&run, 4, &settings);
        let written = Written::newest(&run);
        for sampler in ["heun", "ddim", "ddpm", "dpmpp-2m"] {
            let asked = Asked {
                sampler,
                steps: 3,
                guidance: 1.5,
                ..Asked::of(&written, in_order(3), 2)
            };
            holds(&folder, &run, &asked, &[]);
        }
    }
}

/// EDM's family: each grid with ends of its own, times, scales, the midpoint, churn; and the levels' ends that are asked for.
#[test]
fn the_family_is_walked_as_it_is_asked_for() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(
        &run,
        12,
        &["--set=sample.sigma_max=10", "--set=sample.rho=5"],
    );
    let written = Written::newest(&run);
    let own = Family {
        sigma_min: Some(0.002),
        sigma_max: Some(10.0),
        ..Family::default()
    };
    let cases: [(&str, &[&str], Family); 5] = [
        (
            "heun",
            &["--discretization=vp", "--time-schedule=vp", "--scaling=vp"],
            Family {
                discretization: Discretization::Vp,
                schedule: TimeSchedule::Vp,
                scaling: Scaling::Vp,
                ..Family::default()
            },
        ),
        (
            "euler",
            &["--discretization=ve", "--time-schedule=ve"],
            Family {
                discretization: Discretization::Ve,
                schedule: TimeSchedule::Ve,
                ..Family::default()
            },
        ),
        (
            "heun",
            &["--discretization=iddpm", "--alpha=0.5"],
            Family {
                discretization: Discretization::Iddpm,
                alpha: 0.5,
                ..Family::default()
            },
        ),
        (
            "heun",
            &["--time-schedule=vp"],
            Family {
                schedule: TimeSchedule::Vp,
                ..own
            },
        ),
        (
            "heun",
            &["--sigma-min=0.05", "--sigma-max=7"],
            Family {
                sigma_min: Some(0.05),
                sigma_max: Some(7.0),
                ..own
            },
        ),
    ];
    for (sampler, args, family) in cases {
        let mut asked = Asked {
            sampler,
            steps: 4,
            family: Some(family),
            ..Asked::of(&written, in_order(3), 8)
        };
        let evaluations = if sampler == "heun" { 7 } else { 4 };
        assert_eq!(holds(&folder, &run, &asked, args), evaluations, "{args:?}");
        asked.churn.s_churn = 1.0;
        asked.churn.s_noise = 1.5;
        holds(&folder, &run, &asked, args);
    }
}

fn byte(x: f64) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let byte = ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    byte
}

/// Numbers of images of each class, as a sentence.
fn said(labels: &[i64]) -> String {
    let mut each = labels.to_vec();
    each.sort_unstable();
    let groups = each.chunk_by(|a, b| a == b);
    let part = |group: &[i64]| match group[0] {
        -1 => format!("{} without class", group.len()),
        class => format!("{} of class {class}", group.len()),
    };
    groups.map(part).collect::<Vec<_>>().join(", ")
}

/// Every way to choose classes draws what it says; the three kinds of file hold the same images under the same labels.
#[test]
fn classes_and_files_are_what_they_say() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    let written = Written::newest(&run);
    let draws = |class: &str, ending: &str, count: usize| {
        let out = folder.path(&format!("a.{ending}"));
        let args = ["--steps=2".to_owned(), "--seed=6".to_owned()];
        let more = [format!("--class={class}"), format!("--count={count}")];
        let printed = sample(&run, &out, &[&args[..], &more].concat());
        (out, printed)
    };
    let ways: [(&str, Vec<u32>); 4] = [
        ("all", (0..23).map(|i| 10 * i / 23).collect()),
        ("random", classes(6, &[1; 10], 23)),
        ("data", classes(6, &written.shares(), 23)),
        ("7", vec![7; 23]),
    ];
    for (class, want) in ways {
        let (tensors, printed) = draws(class, "safetensors", 23);
        let want: Vec<i64> = want.into_iter().map(i64::from).collect();
        assert_eq!(labels(&tensors), want, "{class}");
        let sentence = format!(
            "23 images after 4 steps of training, {}: {}\n",
            said(&want),
            tensors.display()
        );
        assert_eq!(printed, sentence);
        let all = images(&tensors);
        let rows: Vec<Vec<u8>> = (all.outer_iter())
            .map(|image| image.iter().map(|x| byte(*x)).collect())
            .collect();

        let (archive, _) = draws(class, "npz", 23);
        let bytes = std::fs::read(archive).expect("a file");
        let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("an archive");
        let mut read = |name: &str| {
            let mut entry = archive.by_name(name).expect("an array");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("readable");
            bytes
        };
        let (pixels, numbers) = (read("arr_0.npy"), read("arr_1.npy"));
        let pixels: Vec<u8> = NpyFile::new(&pixels[..])
            .and_then(NpyFile::into_vec)
            .expect("bytes");
        let numbers: Vec<i64> = NpyFile::new(&numbers[..])
            .and_then(NpyFile::into_vec)
            .expect("integers");
        let places = match class {
            "all" => order(6, "sample-order", 0, 23),
            _ => (0..23).collect(),
        };
        let mixed: Vec<i64> = places.iter().map(|place| want[*place]).collect();
        assert_eq!(numbers, mixed, "{class}");
        let mixed: Vec<u8> = places
            .iter()
            .flat_map(|place| rows[*place].clone())
            .collect();
        assert_eq!(pixels, mixed, "{class}");
    }
    // As many as the configuration says, where nothing else is said.
    let out = folder.path("default.safetensors");
    sample(&run, &out, &["--steps=1".to_owned()]);
    assert_eq!(labels(&out).len(), written.count("sample", "count"));
    // A picture of two rows of three, each pixel a square of six, between gaps of two.
    let (tensors, _) = draws("all", "safetensors", 6);
    let all = images(&tensors);
    let (picture, _) = draws("all", "png", 6);
    let picture = image::open(picture).expect("a picture").into_rgb8();
    assert_eq!(picture.dimensions(), (2 * 50 + 2, 3 * 50 + 2));
    for (x, y, pixel) in picture.enumerate_pixels() {
        let [(column, across), (row, down)] = [x, y].map(|at| {
            let at = at as usize;
            (at / 50, (at % 50).checked_sub(2).map(|inside| inside / 6))
        });
        let want = match (across, down) {
            (Some(across), Some(down)) => byte(all[[2 * row + column, 0, down, across]]),
            _ => 64,
        };
        assert_eq!(pixel.0, [want; 3], "at {x}, {y}");
    }
}
