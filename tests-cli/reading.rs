//! One reader for every command: what it does to files is said, and samples have the same numbers however they come.

use std::io::Write;
use std::path::Path;

use ndarray::{Array1, Array4, ArrayD};
use npyz::WriterBuilder;
use serde_json::Value;

use crate::runs::{self, tiny};
use crate::support::{Folder, answered, error_of, metric, sadm, says, write, write_f32};

/// A `.npz` file of arrays, each written by its function.
fn npz(path: &Path, arrays: &[(&str, &dyn Fn(&mut dyn Write))]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("a file"));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    for (name, write) in arrays {
        let name = format!("{name}.npy");
        zip.start_file(name, options).expect("an entry");
        write(&mut zip);
    }
    zip.finish().expect("an archive");
}

fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T]) -> impl Fn(&mut dyn Write) {
    move |out| {
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(out).begin_nd().expect("a header");
        writer.extend(values.iter().copied()).expect("elements");
        writer.finish().expect("an array");
    }
}

/// 24 grey pictures of 8×8: bytes, without a generator.
fn bytes(salt: u8) -> Vec<u8> {
    let each = |i: u32| {
        (i.wrapping_mul(2_654_435_761)
            .wrapping_add(u32::from(salt) * 77)
            >> 13)
            & 0xff
    };
    (0..24 * 64)
        .map(|i| u8::try_from(each(i)).expect("a byte"))
        .collect()
}

/// The numbers of `sadm evaluate`, without intervals.
fn numbers(folder: &Folder, args: &[&str]) -> (Value, String) {
    let mut command = sadm();
    command
        .args(["evaluate", "--threads=1", "--resamples=0"])
        .args(args);
    answered(folder, &mut command)
}

fn refuses(command: &mut assert_cmd::Command, parts: &[&str]) {
    says(&error_of(command), parts);
}

#[test]
fn reals_and_bytes_of_the_same_samples_have_the_same_numbers() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let run = path("run");
    runs::train(&folder.path("run"), 8, &[]);
    let samples = bytes(1);
    npz(
        &folder.path("bytes.npz"),
        &[("images", &npy(&[24, 8, 8, 1], &samples))],
    );
    // What a model gives: between the bytes, and a little beyond black and white.
    let real = |(i, v): (usize, &u8)| {
        f64::from(*v) / 127.5 - 1.0 + if i % 2 == 0 { 0.003 } else { -0.003 }
    };
    let reals: Vec<f64> = samples.iter().enumerate().map(real).collect();
    let reals = ArrayD::from_shape_vec(vec![24, 1, 8, 8], reals).expect("24 images");
    write_f32(&folder.path("reals.safetensors"), &[("images", reals)]);
    let judged = |file: &str, features: &str, more: &[&str]| {
        let (file, features) = (path(file), format!("--features={features}"));
        let args = [
            "--reference=digits",
            "--metrics=fd,kid",
            "--run",
            &run,
            "--generated",
            &file,
            &features,
        ];
        let (answer, table) = numbers(&folder, &[&args[..], more].concat());
        (answer["metrics"].clone(), answer, table)
    };
    for features in ["pixels", "encoder"] {
        let (as_bytes, _, _) = judged("bytes.npz", features, &[]);
        let (as_reals, answer, table) = judged("reals.safetensors", features, &["--range=cut"]);
        assert_eq!(as_bytes, as_reals, "{features}");
        let name = format!("fd-{features}");
        let said = metric(&answer, &name)["convention"].as_str().expect("text");
        says(said, &["; pixels as bytes"]);
        says(&table, &["values beyond −1..1"]);
        let (kept, answer, _) = judged(
            "reals.safetensors",
            features,
            &["--range=cut", "--as=reals"],
        );
        assert_ne!(kept[0]["value"], as_bytes[0]["value"], "{features}");
        let said = metric(&answer, &name)["convention"].as_str().expect("text");
        says(said, &["; pixels as reals"]);
    }
    let mut idle = sadm();
    idle.args([
        "evaluate",
        "--generated=digits",
        "--reference=digits",
        "--features=inception",
    ]);
    refuses(
        idle.args(["--metrics=fid", "--as=reals"]),
        &["--as reals serves"],
    );
}

#[test]
fn what_a_run_draws_can_be_judged_in_every_file_and_is_one_number() {
    let folder = Folder::new();
    let run = folder.path("run");
    runs::train(&run, 8, &[]);
    let drawn = |name: &str| {
        let mut sample = sadm();
        sample.args([
            "sample",
            "--threads=1",
            "--count=24",
            "--class=none",
            "--run",
        ]);
        sample
            .arg(&run)
            .arg("--out")
            .arg(folder.path(name))
            .assert()
            .success();
        let source = folder.path(name).display().to_string();
        numbers(
            &folder,
            &[
                "--generated",
                &source,
                "--reference=digits",
                "--metrics=fd,kid",
            ],
        )
        .0
    };
    let (reals, bytes) = (drawn("a.safetensors"), drawn("a.npz"));
    assert_eq!(reals["metrics"], bytes["metrics"]);
    let said = reals["generated"]["reading"]
        .as_str()
        .expect("what was done");
    says(said, &["beyond −1..1", "no labels"]);
    assert_eq!(bytes["generated"]["reading"], "no labels (all −1)");
}

#[test]
fn every_command_refuses_the_same_reals() {
    let folder = Folder::new();
    let (file, out) = (folder.path("a.npz"), folder.path("run"));
    let source = file.display().to_string();
    let save = |scale: f32, offset: f32| {
        let values: Vec<f32> = bytes(2)
            .iter()
            .map(|v| f32::from(*v) * scale + offset)
            .collect();
        npz(&file, &[("images", &npy(&[24, 1, 8, 8], &values))]);
    };
    let train = |more: &[&str]| {
        let mut command = sadm();
        command
            .args(tiny(&out, 6))
            .args(["--set=data.dataset=images", "--set=phases.encoder=0"]);
        command.arg(format!("--set=data.dir={source}")).args(more);
        command
    };
    let evaluate = |more: &[&str]| {
        let mut command = sadm();
        command.args([
            "evaluate",
            "--reference=digits",
            "--metrics=fd",
            "--generated",
            &source,
        ]);
        command.args(more);
        command
    };
    let both = |parts: &[&str]| {
        refuses(&mut train(&[]), parts);
        refuses(&mut evaluate(&[]), parts);
    };
    save(1.0, 0.0);
    both(&[
        "a.npz",
        "`images`",
        "from 0 to 255",
        "data.range",
        "--range",
        "0..255",
    ]);
    save(1.0 / 255.0, 0.0);
    both(&["a.npz", "below 0", "0..1", "uint8"]);
    let unit = numbers(
        &folder,
        &[
            "--generated",
            &source,
            "--reference=digits",
            "--metrics=fd",
            "--range=0..1",
        ],
    );
    assert!(
        unit.1.contains("24 samples of") && unit.1.contains("(reals of 0..1)"),
        "{}",
        unit.1
    );
    save(2.0 / 255.0, -1.0);
    let signed = numbers(
        &folder,
        &["--generated", &source, "--reference=digits", "--metrics=fd"],
    );
    assert_eq!(unit.0["metrics"], signed.0["metrics"]);
    save(1.0 / 255.0, 0.0);
    let output = train(&["--set=data.range=0..1"]).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    says(&said, &["24 images of 1×8×8", "; reals of 0..1"]);
    refuses(
        &mut train(&["--set=data.range=1..2"]),
        &["data.range", "0..255", "1..2"],
    );
    refuses(&mut train(&["--set=data.depth=12"]), &["data.depth"]);
    // A run's own images are read by its own rules.
    let run = out.display().to_string();
    numbers(
        &folder,
        &[
            "--run",
            &run,
            "--count=4",
            "--reference=run:train",
            "--metrics=nn",
        ],
    );
    let mut real = sadm();
    real.args([
        "evaluate",
        "--metrics=nll",
        "--reference=run:train",
        "--run",
        &run,
    ]);
    refuses(&mut real, &["nll needs discrete values"]);
}

#[test]
fn sixteen_bits_are_read_by_one_rule_in_training_and_evaluation() {
    let folder = Folder::new();
    let data = folder.path("data");
    let save = |low: u16| {
        for class in ["a", "b"] {
            std::fs::create_dir_all(data.join(class)).expect("a folder");
            for i in 0..8_u16 {
                let value = |at: u16| 256 * ((at * 7 + i * 31) % 16) + (low + at) % 256;
                let values: Vec<u16> = (0..64).map(value).collect();
                let picture = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(8, 8, values);
                let path = data.join(class).join(format!("{i}.png"));
                picture.expect("64 pixels").save(path).expect("a picture");
            }
        }
    };
    save(0);
    let source = data.display().to_string();
    let (source, dir) = (source.as_str(), format!("--set=data.dir={source}"));
    let train = |more: &[&str]| {
        let mut command = sadm();
        command
            .args(tiny(&folder.path("run"), 6))
            .args(["--set=data.dataset=images", &dir]);
        command.args(more);
        command
    };
    let mut evaluate = sadm();
    evaluate.args(["evaluate", "--generated=digits", "--reference", source]);
    for command in [&mut train(&[]), &mut evaluate] {
        refuses(command, &["a/0.png", "16", "data.depth", "--depth"]);
    }
    let output = train(&["--set=data.depth=0..4095"]).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    says(&said, &["; 16 bits of 0..4095"]);
    // 4096 values, of which a likelihood is told.
    let run = folder.path("run").display().to_string();
    let few = ["--nll-samples=2", "--nll-steps=2"];
    let args = ["--run", &run, "--reference=run:train", "--metrics=nll"];
    let (answer, _) = numbers(&folder, &[&args[..], &few].concat());
    let said = metric(&answer, "nll")["convention"].as_str().expect("text");
    says(said, &["1 in 4096", "given the class"]);
    // Sets that differ in their low bytes alone are apart where these are kept.
    let kept = folder.path("kept.npz");
    let copy = |depth: &str| {
        let args = [
            "--generated",
            source,
            "--reference",
            &kept.display().to_string(),
            "--metrics=fd",
        ];
        numbers(&folder, &[&args[..], &["--as=reals", depth]].concat()).0
    };
    let values: Vec<u16> = (0..16_u16)
        .flat_map(|i| (0..64).map(move |at| 256 * ((at * 7 + i / 2 * 31) % 16) + at % 256))
        .map(|v| v ^ 0x55)
        .collect();
    npz(&kept, &[("images", &npy(&[16, 8, 8], &values))]);
    let distance = |answer: &Value| {
        metric(answer, "fd-pixels")["value"]
            .as_f64()
            .expect("a number")
    };
    let (high, whole) = (
        distance(&copy("--depth=high-byte")),
        distance(&copy("--depth=0..4095")),
    );
    assert!(high < 1e-20 && whole > 1e-6, "{high} {whole}");
}

#[test]
fn labels_of_a_file_are_read_by_evaluation_as_by_training() {
    let folder = Folder::new();
    let run = folder.path("run");
    runs::train(&run, 8, &[]);
    let run = run.display().to_string();
    let file = folder.path("a.npz");
    let pixels = bytes(3);
    let labels: Vec<u64> = (0..24).map(|i| i % 3).collect();
    let said = |arrays: &[(&str, &dyn Fn(&mut dyn Write))]| {
        npz(&file, arrays);
        let file = file.display().to_string();
        let few = ["--metrics=nll", "--nll-samples=4", "--nll-steps=2"];
        let (answer, _) = numbers(
            &folder,
            &[&["--run", &run, "--reference", &file][..], &few].concat(),
        );
        metric(&answer, "nll")["convention"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let images = npy(&[24, 8, 8], &pixels);
    let with = said(&[("arr_0", &images), ("arr_1", &npy(&[24], &labels))]);
    says(&with, &["given the class"]);
    let without = said(&[("arr_0", &images), ("arr_1", &npy(&[24], &[-1_i64; 24]))]);
    says(&without, &["without class"]);
    npz(
        &file,
        &[("images", &images), ("classes", &npy(&[24], &labels))],
    );
    let mut unread = sadm();
    unread
        .args(["evaluate", "--generated=digits", "--reference"])
        .arg(&file);
    refuses(&mut unread, &["array `classes`", "--unread"]);
    // Labels of safetensors, whatever their width.
    let tensors = folder.path("a.safetensors");
    let reals = Array4::from_shape_vec(
        (24, 1, 8, 8),
        pixels.iter().map(|v| f64::from(*v)).collect(),
    );
    let reals = reals.expect("24 images").into_dyn();
    let numbers = Array1::from_iter(labels.iter().map(|l| *l as f64)).into_dyn();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes"
    )]
    write(
        &tensors,
        &[("images", reals), ("labels", numbers)],
        safetensors::Dtype::U8,
        |x| vec![x as u8],
    );
    let source = tensors.display().to_string();
    let mut grey = sadm();
    grey.args(["evaluate", "--reference=digits", "--generated", &source]);
    refuses(&mut grey, &["[N, H, W, 1 or 3]"]);
}

#[test]
fn what_reading_did_is_in_the_first_line_and_in_the_table() {
    let folder = Folder::new();
    let data = folder.path("data");
    for class in 2..11_u8 {
        let inside = data.join(class.to_string());
        std::fs::create_dir_all(&inside).expect("a folder");
        for i in 0..2_u8 {
            let values: Vec<u8> = (0..64).map(|at| at * 3 + class + i).collect();
            let path = inside.join(format!("{i}.png"));
            image::save_buffer(path, &values, 8, 8, image::ColorType::L8).expect("a picture");
        }
    }
    std::fs::write(data.join("3/photo.jfif"), "x").expect("a file");
    let source = data.display().to_string();
    let train = |more: &[&str]| {
        let mut command = sadm();
        command
            .args(tiny(&folder.path("run"), 6))
            .arg("--set=data.dataset=images");
        command.arg(format!("--set=data.dir={source}")).args(more);
        command
    };
    refuses(&mut train(&[]), &["1 .jfif", "3/photo.jfif", "data.unread"]);
    assert!(!folder.path("run").exists(), "a refused run left a folder");
    let output = train(&["--set=data.unread=skip"]).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    let first = said.lines().next().expect("a line");
    says(
        first,
        &[
            "18 images of 1×8×8 in 9 classes",
            "0 2",
            "7 9",
            "8 10",
            "; left out: 1 .jfif",
        ],
    );
    let mut evaluate = sadm();
    evaluate.args([
        "evaluate",
        "--generated",
        &source,
        "--reference=digits",
        "--metrics=fd",
    ]);
    refuses(&mut evaluate, &["1 .jfif", "--unread"]);
    let sets = [
        "--generated",
        &source,
        "--reference",
        &source,
        "--metrics=nn",
    ];
    let (answer, table) = numbers(&folder, &[&sets[..], &["--unread=skip"]].concat());
    assert_eq!(table.matches("(left out: 1 .jfif)").count(), 2, "{table}");
    assert_eq!(answer["reference"]["reading"], "left out: 1 .jfif");
}
