//! Tiny training runs, whole and interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::sadm;

/// The digits preset cut down until a step takes milliseconds; every phase, shadow checks, checkpoints.
pub const TINY: [&str; 20] = [
    "data.limit=64",
    "model.unet.channels=[8,8]",
    "model.unet.blocks=1",
    "model.unet.attention=[1]",
    "model.unet.heads=2",
    "model.unet.groups=4",
    "model.unet.emb_dim=16",
    "model.unet.time_dim=8",
    "encoder.widths=[8,8]",
    "encoder.groups=4",
    "encoder.dim=8",
    "encoder.batch=8",
    "train.batch=8",
    "train.log_every=1",
    "sample.every=0",
    "sample.count=4",
    "sample.steps=2",
    "shadow.every=4",
    "checkpoint.every=3",
    "checkpoint.keep=2",
];

/// The arguments of a tiny run of `steps` steps in `folder`.
pub fn tiny(folder: &Path, steps: usize) -> Vec<String> {
    let mut args = vec![
        "train".to_owned(),
        "--preset=digits".to_owned(),
        "--threads=1".to_owned(),
    ];
    args.push(format!("--out={}", folder.display()));
    args.push(format!("--set=train.steps={steps}"));
    args.extend(TINY.iter().map(|setting| format!("--set={setting}")));
    args
}

/// Trains to the end; what was printed on standard output.
pub fn train(folder: &Path, steps: usize, more: &[&str]) -> String {
    let output = sadm()
        .args(tiny(folder, steps))
        .args(more)
        .assert()
        .success()
        .get_output()
        .clone();
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A run in the background that has logged at least `lines` steps and is still going.
pub fn started(folder: &Path, steps: usize, lines: usize, more: &[&str]) -> Child {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("sadm"))
        .args(tiny(folder, steps))
        .args(more)
        .arg("--resume")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let patience = Instant::now() + Duration::from_secs(120);
    while logged_steps(folder).len() < lines {
        assert!(Instant::now() < patience, "the run logs no steps");
        assert!(
            child.try_wait().expect("a child").is_none(),
            "the run ended too early to be stopped"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Sends a signal by name, such as `INT`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(
        status.expect("kill runs").success(),
        "the signal was not sent"
    );
}

/// The steps that `metrics.jsonl` has complete training lines of.
pub fn logged_steps(folder: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"))
        .filter(|line| line.get("loss").is_some())
        .map(|line| line["step"].as_u64().expect("a step"))
        .collect()
}

/// The newest checkpoint's folder.
pub fn newest(folder: &Path) -> PathBuf {
    let checkpoints = folder.join("checkpoints");
    let entries = std::fs::read_dir(checkpoints).expect("there are checkpoints");
    entries
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("there is a checkpoint")
}

/// Every file of the newest checkpoint, byte for byte.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(newest(folder))
        .expect("a folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(path).expect("a readable file"))
        })
        .collect()
}

/// Whether two runs ended in the same bytes; names the first file that differs.
pub fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (contents(a), contents(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name} differs");
    }
}
