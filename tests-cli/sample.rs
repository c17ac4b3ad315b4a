//! `sadm sample`: pictures and tensors from a run.

use std::io::Cursor;

use npyz::NpyFile;
use predicates::str::contains;
use safetensors::tensor::{Dtype, SafeTensors};
use zip::ZipArchive;

use crate::runs::train;
use crate::support::{Folder, error_of, sadm, says};

/// A folder with a finished tiny run in `run`.
fn trained() -> Folder {
    let folder = Folder::new();
    train(&folder.path("run"), 4, &[]);
    folder
}

/// Draws to `name` in the folder; the file's bytes.
fn sample(folder: &Folder, name: &str, more: &[&str]) -> Vec<u8> {
    let out = folder.path(name);
    sadm()
        .args(["sample", "--steps=3", "--run"])
        .arg(folder.path("run"))
        .arg("--out")
        .arg(&out)
        .args(more)
        .assert()
        .success();
    std::fs::read(out).expect("the output file")
}

#[test]
fn tensors_hold_images_and_labels() {
    let folder = trained();
    let bytes = sample(&folder, "a.safetensors", &["--count=20"]);
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let images = file.tensor("images").expect("images");
    assert_eq!(
        (images.dtype(), images.shape()),
        (Dtype::F32, &[20, 1, 8, 8][..])
    );
    let values = images
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    assert!(
        values.into_iter().all(f32::is_finite),
        "an image is not finite"
    );
    let labels = file.tensor("labels").expect("labels");
    let labels: Vec<i64> = labels
        .data()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b))
        .collect();
    assert_eq!(labels, (0..20).map(|i| i / 2).collect::<Vec<i64>>());
}

/// What is drawn for an evaluator of bytes is what is drawn for others, rounded; `evaluate` reads it.
#[test]
fn bytes_and_labels_are_adms() {
    let folder = trained();
    let draw = ["--count=20", "--class=random", "--seed=5"];
    let bytes = sample(&folder, "a.npz", &draw);
    let tensors = sample(&folder, "a.safetensors", &draw);
    let mut npz = ZipArchive::new(Cursor::new(bytes)).expect("an archive");
    let images = NpyFile::new(npz.by_name("arr_0.npy").expect("images")).expect("an array");
    assert_eq!(images.shape(), [20, 8, 8, 1]);
    let images: Vec<u8> = images.into_vec().expect("bytes");
    let labels = NpyFile::new(npz.by_name("arr_1.npy").expect("labels")).expect("an array");
    let labels: Vec<i64> = labels.into_vec().expect("integers");
    let file = SafeTensors::deserialize(&tensors).expect("a safetensors file");
    let floats = file.tensor("images").expect("images");
    let floats = floats
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    for (byte, x) in images.iter().zip(floats) {
        let want = ((x + 1.0) * 127.5).clamp(0.0, 255.0);
        assert!((f32::from(*byte) - want).abs() <= 0.5, "{byte} for {x}");
    }
    let of_tensors = file.tensor("labels").expect("labels");
    let of_tensors = of_tensors.data().as_chunks::<8>().0.iter();
    assert_eq!(
        labels,
        of_tensors
            .map(|b| i64::from_le_bytes(*b))
            .collect::<Vec<_>>()
    );
    assert!(
        labels.iter().all(|l| (0..10).contains(l)) && !labels.is_sorted(),
        "{labels:?}"
    );
    sadm()
        .args([
            "evaluate",
            "--reference=digits",
            "--metrics=fd",
            "--resamples=0",
            "--generated",
        ])
        .arg(folder.path("a.npz"))
        .assert()
        .success();
}

#[test]
fn a_configuration_that_was_changed_after_training_is_refused() {
    let folder = trained();
    let path = folder.path("run").join("config.toml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let out = folder.path("changed.png");
    let draw = |text: &str| {
        std::fs::write(&path, text).expect("a file");
        let mut command = sadm();
        command.args(["sample", "--count=2", "--run"]);
        command.arg(folder.path("run")).arg("--out").arg(&out);
        command
    };
    let changed = text.replace("sigma_data = ", "sigma_data = 1");
    assert_ne!(changed, text);
    let message = error_of(&mut draw(&changed));
    says(&message, &["config.toml", "trained with"]);
    assert!(!out.exists());
    // A remark changes nothing.
    draw(&format!("# mine\n{text}")).assert().success();
    std::fs::write(&path, text).expect("a file");
}

#[test]
fn a_picture_shows_every_image_enlarged() {
    let folder = trained();
    let bytes = sample(&folder, "a.png", &["--count=6", "--class=3"]);
    let picture = image::load_from_memory(&bytes).expect("a PNG");
    // Six images, two to a row, 8 pixels enlarged to 48, with gaps of 2.
    assert_eq!(
        (picture.width(), picture.height()),
        (2 + 2 * 50, 2 + 3 * 50)
    );
}

#[test]
fn seed_class_guidance_sampler_and_churn_matter_and_repeat() {
    let folder = trained();
    let base = sample(&folder, "a.safetensors", &["--count=4", "--class=3"]);
    assert!(
        sample(&folder, "b.safetensors", &["--count=4", "--class=3"]) == base,
        "not repeatable"
    );
    for more in [
        &["--count=4", "--class=3", "--seed=9"][..],
        &["--count=4", "--class=4"],
        &["--count=4", "--class=none"],
        &["--count=4", "--class=3", "--guidance=3"],
        &["--count=4", "--class=3", "--steps=5"],
        &["--count=4", "--class=3", "--sampler=euler"],
        &["--count=4", "--class=3", "--sampler=ddim"],
        &["--count=4", "--class=3", "--sampler=ddpm"],
        &["--count=4", "--class=3", "--sampler=dpmpp-2m"],
        &["--count=4", "--class=3", "--churn=2"],
    ] {
        // The last of two equal options wins in none of these, so --steps comes once.
        let steps: Vec<&str> = more.to_vec();
        let out = folder.path("c.safetensors");
        let mut command = sadm();
        command
            .args(["sample", "--run"])
            .arg(folder.path("run"))
            .arg("--out")
            .arg(&out)
            .args(&steps);
        if !steps.iter().any(|option| option.starts_with("--steps")) {
            command.arg("--steps=3");
        }
        command.assert().success();
        let got = std::fs::read(&out).expect("the output file");
        assert!(got != base, "{more:?} has no effect");
    }
}

#[test]
fn more_images_than_memory_holds_are_no_number() {
    sadm()
        .args(["sample", "--run=run", "--out=a.png", "--count=100000000000"])
        .assert()
        .code(2)
        .stderr(contains("must be a whole number from 1 to 10000000"));
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let folder = trained();
    let refused = |run: &str, more: &[&str]| {
        error_of(
            sadm()
                .args(["sample", "--run"])
                .arg(folder.path(run))
                .args(more),
        )
    };
    for (run, more, parts) in [
        (
            "run",
            &["--out=a.jpg"][..],
            &["must end in .png, .safetensors or .npz", "a.jpg"][..],
        ),
        ("run", &["--out=a.png", "--class=10"], &["class", "10"]),
        (
            "run",
            &["--out=/nowhere/a.png"],
            &["cannot write `/nowhere/a.png`"],
        ),
        (
            "none",
            &["--out=a.png"],
            &["none: is no run's folder", "config.toml"],
        ),
        (
            "run",
            &["--out=a.png", "--steps=2", "--churn", "-1"],
            &["churn", "-1"],
        ),
        (
            "run",
            &["--out=a.png", "--sampler=ddim", "--churn=5"],
            &["--sampler heun or euler", "ddim"],
        ),
        (
            "run",
            &["--out=a.png", "--churn=5", "--churn-min=9", "--churn-max=1"],
            &["--churn-min must be at most --churn-max", "9 and 1"],
        ),
        (
            "run",
            &["--out=a.png", "--steps=2", "--guidance=1e300"],
            &["are not finite", "lower --guidance (now 1e300)"],
        ),
        (
            "run",
            &["--out=a.png", "--class=none", "--guidance=3"],
            &["--guidance 3 changes nothing", "without class"],
        ),
    ] {
        let message = refused(run, more);
        for part in parts {
            assert!(
                message.contains(part),
                "{more:?}: `{part}` is not in: {message}"
            );
        }
    }
    assert!(
        !std::path::Path::new("a.png").exists(),
        "a refused command wrote a picture"
    );
    for (more, part) in [
        (&["--sampler=hein"][..], "hein"),
        (&["--guidance=nan"], "must be a finite number"),
        (&["--guidance=inf"], "must be a finite number"),
        (&["--churn=inf"], "must be a finite number"),
        (&["--count=0"], "must be a whole number from 1"),
        (&["--steps", "0"], "must be a whole number from 1"),
        (&["--threads=0"], "must be a whole number from 1"),
    ] {
        sadm()
            .args(["sample", "--out=a.png", "--run"])
            .arg(folder.path("run"))
            .args(more)
            .assert()
            .code(2)
            .stderr(contains(part));
    }
}

#[test]
fn no_command_speaks_of_non_zero_types() {
    for args in [
        &["train", "--out=x", "--threads=0"][..],
        &["report", "x", "--threads=0"],
        &["evaluate", "--count=0"],
        &["evaluate", "--batch=0"],
        &["sweep", "sampler", "--nfe=4,0"],
        &["sweep", "order", "--steps=0"],
        &["ablate", "--seeds=0"],
    ] {
        sadm()
            .args(args)
            .assert()
            .code(2)
            .stderr(contains("must be a whole number from 1"));
    }
}
