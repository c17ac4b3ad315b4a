//! Runs that go on otherwise than they began: elsewhere, longer, from another's weights.

use std::path::Path;

use crate::runs::{assert_same, contents, newest, tiny, train};
use crate::support::{Folder, error_of, sadm, says};

/// Six pictures of 8×8 pixels in each of two classes.
fn pictures(folder: &Path) {
    for class in ["left", "right"] {
        let inside = folder.join(class);
        std::fs::create_dir_all(&inside).expect("a folder");
        for i in 0..6_u8 {
            let dark = |at: u8| (at % 8 < 4) == (class == "left");
            let bytes: Vec<u8> = (0..64)
                .map(|at| if dark(at) { 9 * i } else { 250 - i })
                .collect();
            let path = inside.join(format!("{i}.png"));
            image::save_buffer(path, &bytes, 8, 8, image::ColorType::L8).expect("a picture");
        }
    }
}

#[test]
fn a_run_goes_on_and_is_evaluated_from_any_folder() {
    let folder = Folder::new();
    let (home, elsewhere) = (folder.path("home"), folder.path("elsewhere"));
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    pictures(&home.join("pictures"));
    let run = folder.path("run");
    for (name, dir) in [("typed", "pictures"), ("at home", "~/pictures")] {
        let _ = std::fs::remove_dir_all(&run);
        sadm()
            .args(tiny(&run, 8))
            .args([
                "--set=data.dataset=images",
                &format!("--set=data.dir={dir}"),
            ])
            .current_dir(&home)
            .env("HOME", &home)
            .assert()
            .success();
        let config = std::fs::read_to_string(run.join("config.toml")).expect("a text");
        let kept = format!("dir = \"{}\"", home.join("pictures").display());
        assert!(config.contains(&kept), "{name}: {config}");
        let before = contents(&run);
        sadm()
            .args(["train", "--resume", "--threads=1", "--out"])
            .arg(&run)
            .current_dir(&elsewhere)
            .assert()
            .success();
        assert!(contents(&run) == before, "{name}: resuming changed the run");
        for part in ["run:train", "run:holdout"] {
            sadm()
                .args([
                    "evaluate",
                    "--threads=1",
                    "--count=4",
                    "--metrics=nn",
                    "--run",
                ])
                .arg(&run)
                .args(["--reference", part])
                .current_dir(&elsewhere)
                .assert()
                .success();
        }
    }
    // The images moved: their new place is named, and nothing else is asked for.
    let moved = elsewhere.join("moved");
    std::fs::rename(home.join("pictures"), &moved).expect("the same disk");
    let resume = |dir: &Path| {
        let mut command = sadm();
        command
            .args(["train", "--resume", "--threads=1", "--out"])
            .arg(&run)
            .arg(format!("--set=data.dir={}", dir.display()))
            .arg("--set=checkpoint.keep=7");
        command
    };
    resume(&moved).assert().success();
    let history = std::fs::read_to_string(run.join("history.jsonl")).expect("a history");
    assert_eq!(history.lines().count(), 1, "{history}");
    says(
        &history,
        &[
            "data.dir",
            "checkpoint.keep",
            "elsewhere/moved",
            "\"step\":8",
        ],
    );
    sadm()
        .args([
            "evaluate",
            "--threads=1",
            "--count=4",
            "--metrics=nn",
            "--reference=run:train",
            "--run",
        ])
        .arg(&run)
        .assert()
        .success();
    let page = folder.path("report.html");
    sadm()
        .arg("report")
        .arg(&run)
        .arg("--out")
        .arg(&page)
        .assert()
        .success();
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(
        page.contains("checkpoint.keep = 2 until step 8"),
        "the report does not say it"
    );
    // Other images are others.
    let image = moved.join("left/0.png");
    std::fs::copy(moved.join("right/5.png"), image).expect("writable");
    let message = error_of(&mut resume(&moved));
    says(&message, &["be those that the run was trained on"]);
}

#[test]
fn more_steps_are_trained_where_the_schedule_allows_it() {
    let folder = Folder::new();
    let [whole, part, falling, next] =
        ["whole", "part", "falling", "next"].map(|name| folder.path(name));
    let steady = "--set=train.decay=none";
    train(&whole, 24, &[steady, "--set=train.planned=16"]);
    train(&part, 16, &[steady]);
    let longer = |run: &Path| {
        let mut command = sadm();
        command
            .args([
                "train",
                "--resume",
                "--threads=1",
                "--set=train.steps=24",
                "--out",
            ])
            .arg(run);
        command
    };
    let output = longer(&part).assert().success().get_output().clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    says(&said, &["from step 16 on: train.steps = 24, was 16"]);
    assert_same(&whole, &part);
    // Where the rate falls, another run begins from these weights instead.
    train(&falling, 16, &[]);
    let message = error_of(&mut longer(&falling));
    says(&message, &["sadm train --from RUN --out NEW"]);
    let from = |more: &[&str]| {
        let mut command = sadm();
        command
            .args(["train", "--threads=1", "--from"])
            .arg(&falling)
            .args(more);
        command
    };
    let out = format!("--out={}", next.display());
    from(&[&out, "--set=train.steps=6", "--set=phases.encoder=0"])
        .assert()
        .success();
    assert!(newest(&next).ends_with("00000006"));
    let history = std::fs::read_to_string(next.join("history.jsonl")).expect("a history");
    says(
        &history,
        &[&format!("\"run\":\"{}\",\"step\":16", falling.display())],
    );
    let message = error_of(&mut from(&[&out]));
    says(&message, &["already holds a run"]);
    from(&[]).assert().code(2);
    from(&[&out, "--resume"]).assert().code(2);
}
