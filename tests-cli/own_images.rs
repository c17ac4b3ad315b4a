//! Training on images of one's own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::runs::{contents, tiny, train};
use crate::support::{Folder, error_of, sadm, says};

/// 16 pictures of 8×8 pixels in each of two classes: bright above, bright on the left.
pub fn pictures(folder: &Path) {
    for (class, name) in ["above", "left"].into_iter().enumerate() {
        let inside = folder.join(name);
        std::fs::create_dir_all(&inside).expect("a folder");
        for i in 0..16_u8 {
            let bright = |row: u32, column: u32| [row, column][class] < 3;
            let pixel = |row, column| if bright(row, column) { 200 + i } else { 10 * i };
            let bytes: Vec<u8> = (0..64).map(|at| pixel(at / 8, at % 8)).collect();
            let path = inside.join(format!("{i:02}.png"));
            image::save_buffer(path, &bytes, 8, 8, image::ColorType::L8).expect("a picture");
        }
    }
}

fn settings(dir: &Path) -> [String; 2] {
    let dir = format!("--set=data.dir={}", dir.display());
    ["--set=data.dataset=images".to_owned(), dir]
}

#[test]
fn a_folder_of_pictures_is_trained_on_and_held_against() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data);
    let mut command = sadm();
    command.args(tiny(&run, 12)).args(settings(&data));
    let output = command.assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    let line = "32 images of 1×8×8 in 2 classes (0 above: 16, 1 left: 16), 3 of them held out";
    assert!(said.contains(line), "{said}");

    let evaluate = || {
        let mut command = sadm();
        command.args([
            "evaluate",
            "--threads=1",
            "--count=16",
            "--metrics=nn",
            "--run",
        ]);
        command.arg(&run).args(["--reference=run:train"]);
        command
    };
    evaluate().assert().success();

    // The folder alone goes on, as long as its images are the same.
    let resume = || {
        let mut command = sadm();
        command
            .args(["train", "--resume", "--threads=1", "--out"])
            .arg(&run);
        command
    };
    resume().assert().success();
    std::fs::remove_file(data.join("left/03.png")).expect("removable");
    for mut command in [resume(), evaluate()] {
        let message = error_of(&mut command);
        says(&message, &["be those that the run was trained on"]);
    }
    // Images are drawn without the data.
    let out = folder.path("samples.png");
    sadm()
        .args(["sample", "--run"])
        .arg(&run)
        .arg("--out")
        .arg(out)
        .assert()
        .success();
}

#[test]
fn what_one_run_drew_trains_another() {
    let folder = Folder::new();
    let (run, file) = (folder.path("run"), folder.path("drawn.npz"));
    train(&run, 8, &[]);
    let mut sample = sadm();
    sample.args([
        "sample",
        "--threads=1",
        "--count=40",
        "--class=random",
        "--run",
    ]);
    sample.arg(&run).arg("--out").arg(&file).assert().success();
    let settings = settings(&file);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    train(&folder.path("second"), 8, &settings);
}

/// The loss of each phase's first step, of a run whose every step is logged.
fn first_losses(run: &Path) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let mut first = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if let (Some(phase), Some(loss)) = (line["phase"].as_str(), line["loss"].as_f64()) {
            first.entry(phase.to_owned()).or_insert(loss);
        }
    }
    first
}

#[test]
fn both_players_see_mirrored_images_and_the_seed_says_which() {
    let folder = Folder::new();
    let data = folder.path("data");
    pictures(&data);
    let trained = |name: &str, more: &str| {
        let settings = settings(&data);
        let run = folder.path(name);
        train(
            &run,
            12,
            &[settings[0].as_str(), settings[1].as_str(), more],
        );
        (first_losses(&run), contents(&run))
    };
    let (plain, _) = trained("plain", "--set=data.flip=false");
    let (flipped, parameters) = trained("flipped", "--set=data.flip=true");
    // The first step of each phase: later ones differ as soon as one player has seen something else.
    for phase in ["encoder", "denoise"] {
        let differ = (plain[phase] - flipped[phase]).abs() > 0.0;
        assert!(differ, "{phase}: no image was mirrored");
    }
    let (_, again) = trained("again", "--set=data.flip=true");
    assert!(
        parameters["theta.safetensors"] == again["theta.safetensors"],
        "another draw"
    );
}

#[test]
fn images_that_cannot_be_trained_on_are_refused_before_anything_is_written() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data);
    let refused = |dir: &Path, more: &[&str]| {
        let mut command = sadm();
        let message = error_of(command.args(tiny(&run, 12)).args(settings(dir)).args(more));
        assert!(!run.exists(), "a refused run left a folder");
        message
    };
    let one = refused(&data.join("left"), &[]);
    says(&one, &["at least 2", "phases.encoder = 0"]);
    let nowhere = refused(&folder.path("nowhere"), &[]);
    says(&nowhere, &["no such folder or file"]);
    let mut unnamed = sadm();
    let unnamed = error_of(
        unnamed
            .args(tiny(&run, 12))
            .arg("--set=data.dataset=images"),
    );
    says(&unnamed, &["data.dir must name a folder"]);
    let wide = folder.path("wide");
    std::fs::create_dir(&wide).expect("a folder");
    image::save_buffer(wide.join("a.png"), &[0; 32], 8, 4, image::ColorType::L8)
        .expect("a picture");
    let wide = refused(&wide, &[]);
    says(&wide, &["be square: crop or pad them, got 1×4×8"]);
    // One class is enough where no Ψ is trained.
    let left = data.join("left");
    let settings = settings(&left);
    train(
        &run,
        6,
        &[
            settings[0].as_str(),
            settings[1].as_str(),
            "--set=phases.encoder=0",
        ],
    );
}
