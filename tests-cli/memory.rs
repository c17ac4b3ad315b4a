//! Sizes are judged before the work, and the work before the first step can be stopped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::runs::{signal, tiny, train};
use crate::support::{Folder, error_of, sadm};

#[test]
fn large_pictures_are_refused_at_once_with_the_layer_and_the_keys() {
    let folder = Folder::new();
    let data = folder.path("pictures");
    std::fs::create_dir_all(&data).expect("a folder");
    for i in 0..4_u8 {
        let bytes = vec![60 * i; 256 * 256];
        let path = data.join(format!("{i}.png"));
        image::save_buffer(path, &bytes, 256, 256, image::ColorType::L8).expect("a picture");
    }
    let run = folder.path("run");
    let begun = Instant::now();
    // As on a machine with 8 GiB.
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 8388608; exec \"$0\" \"$@\""])
        .arg(assert_cmd::cargo::cargo_bin!("sadm"))
        .args([
            "train",
            "--preset=digits",
            "--set=data.dataset=images",
            "--set=structure.method=none",
        ])
        .arg(format!("--set=data.dir={}", data.display()))
        .arg("--out")
        .arg(&run)
        .output()
        .expect("the program ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("4 images of 1×256×256"), "{said}");
    for part in [
        "`ulimit -v` of 8.0 GiB leaves",
        "`model.",
        "train.batch = 64",
        "side of the images = 256",
        "model.unet.channels = [32, 64]",
        "train.check_memory = false",
    ] {
        assert!(lines[1].contains(part), "`{part}` is not in: {said}");
    }
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert!(!run.exists(), "something was written");
}

/// More images than there is memory for are refused before the first is drawn.
#[test]
fn more_images_than_memory_holds_are_refused_at_once() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    let out = folder.path("a.npz");
    let [run, to] = [&run, &out].map(|path| path.display().to_string());
    for args in [
        vec!["sample", "--class=random", "--run", &run, "--out", &to],
        vec![
            "evaluate",
            "--reference=digits",
            "--metrics=kid",
            "--run",
            &run,
        ],
    ] {
        // As on a machine with 4 GiB; ten million images of 64 numbers take more.
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 4194304; exec \"$0\" \"$@\""])
            .arg(assert_cmd::cargo::cargo_bin!("sadm"))
            .args(&args)
            .args(["--threads=1", "--count=10000000"])
            .output()
            .expect("the program ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [
            "the memory of drawing samples",
            "`ulimit -v` of 4.0 GiB",
            "--count = 10000000",
        ] {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert!(!out.exists(), "something was written");
    }
}

#[test]
fn absurd_widths_are_refused() {
    let folder = Folder::new();
    for (set, part) in [
        (
            "model.unet.channels=[1000000000]",
            "more than any machine has",
        ),
        (
            "encoder.widths=[1000000000,8]",
            "encoder.widths = [1000000000, 8]",
        ),
        (
            "model.unet.blocks=1000000000",
            "model.unet.blocks must be at most 1024",
        ),
        ("train.batch=1000000", "train.batch = 1000000"),
    ] {
        let run = folder.path("run");
        let message = error_of(sadm().args(tiny(&run, 4)).arg(format!("--set={set}")));
        assert!(message.contains(part), "{set}: {message}");
        assert!(!run.exists(), "{set}: something was written");
    }
}

#[test]
fn a_run_says_what_it_will_need_and_what_it_had() {
    let folder = Folder::new();
    let mut command = sadm();
    command.args(tiny(&folder.path("run"), 4));
    let output = command.assert().success().get_output().clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let of = |end: &str| {
        let line = said
            .lines()
            .find(|line| line.starts_with("memory: ") && line.contains(end));
        line.map(str::to_owned)
    };
    assert!(of("at the most, in ").is_some(), "{said}");
    if cfg!(target_os = "linux") {
        assert!(
            said.lines()
                .any(|line| line.starts_with("memory: ") && line.ends_with("at the most")),
            "{said}"
        );
    }
    // It is a key like others, and changes no number.
    train(
        &folder.path("run"),
        4,
        &["--resume", "--set=train.check_memory=false"],
    );
}

#[test]
fn ctrl_c_ends_the_audit_before_the_first_step_at_once() {
    let folder = Folder::new();
    let run = folder.path("run");
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("sadm"))
        .args(tiny(&run, 4))
        // An audit of minutes.
        .args([
            "--set=model.unet.channels=[512,1024]",
            "--set=model.unet.groups=8",
            "--set=model.unet.blocks=8",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let memory = said.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("memory: ")));
    assert!(memory.is_some(), "the run does not begin");
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        child.try_wait().expect("a child").is_none(),
        "the audit is over too early to be stopped"
    );
    let asked = Instant::now();
    signal(&child, "INT");
    let status = child.wait().expect("the program ends");
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let mut printed = String::new();
    let mut output = child.stdout.take().expect("a pipe");
    output.read_to_string(&mut printed).expect("UTF-8");
    assert_eq!(
        printed,
        "stopped before the first step; nothing was written
"
    );
    assert!(!run.exists(), "something was written");
}
