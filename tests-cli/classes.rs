//! Classes are names: what a run remembers of them, and what it refuses to be asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use npyz::NpyFile;
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use zip::ZipArchive;

use crate::runs::{tiny, train};
use crate::support::{Folder, answered, error_of, metric, sadm, says};

/// Pictures of 8×8 pixels, a folder for each class, whose brightness tells the classes apart.
fn pictures(folder: &Path, classes: &[(&str, u8)]) {
    for (number, (name, count)) in (0_u8..).zip(classes) {
        let inside = folder.join(name);
        std::fs::create_dir_all(&inside).expect("a folder");
        for i in 0..*count {
            let pixel = |at: u8| {
                40 * number
                    + at / 2
                    + u8::try_from((u32::from(i) * 37 + u32::from(at) * 11) % 29).expect("below 29")
            };
            let bytes: Vec<u8> = (0..64).map(pixel).collect();
            let path = inside.join(format!("{i:02}.png"));
            image::save_buffer(path, &bytes, 8, 8, image::ColorType::L8).expect("a picture");
        }
    }
}

/// Trains a tiny run on the pictures of a folder; what it said on standard error.
fn trained(data: &Path, run: &Path, more: &[&str]) -> String {
    let mut command = sadm();
    command.args(tiny(run, 6)).arg("--set=data.dataset=images");
    command.arg(format!("--set=data.dir={}", data.display()));
    let output = command.args(more).assert().success();
    String::from_utf8_lossy(&output.get_output().stderr).into_owned()
}

fn sample(run: &Path, out: &Path) -> assert_cmd::Command {
    let mut command = sadm();
    command.args(["sample", "--steps=2", "--run"]).arg(run);
    command.arg("--out").arg(out);
    command
}

fn said(command: &mut assert_cmd::Command) -> String {
    let output = command.assert().success();
    String::from_utf8_lossy(&output.get_output().stdout).into_owned()
}

/// The newest state of a run.
fn state(run: &Path, step: usize) -> (std::path::PathBuf, Value) {
    let path = run.join(format!("checkpoints/{step:08}/state.json"));
    let text = std::fs::read_to_string(&path).expect("a state");
    (path, serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn names_go_into_the_checkpoint_the_first_line_and_the_samples() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("cat", 20), ("cow", 6), ("dog", 10)]);
    let line = trained(
        &data,
        &run,
        &["--set=data.holdout=0.1", "--set=data.limit=0"],
    );
    let classes =
        "36 images of 1×8×8 in 3 classes (0 cat: 20, 1 cow: 6, 2 dog: 10), 4 of them held out";
    assert!(line.contains(classes), "{line}");
    let (_, state) = state(&run, 6);
    assert_eq!(
        state["classes"]["names"],
        serde_json::json!(["cat", "cow", "dog"])
    );
    assert_eq!(state["classes"]["training"], serde_json::json!([18, 5, 9]));
    assert_eq!(state["classes"]["held_out"], serde_json::json!([2, 1, 1]));

    let out = folder.path("dogs.safetensors");
    let by_name = said(sample(&run, &out).args(["--class=dog", "--count=6"]));
    says(&by_name, &["6 of class 2 `dog`"]);
    let bytes = std::fs::read(&out).expect("samples");
    let by_number = said(sample(&run, &out).args(["--class=2", "--count=6"]));
    says(&by_number, &["6 of class 2 `dog`"]);
    assert_eq!(
        std::fs::read(&out).expect("samples"),
        bytes,
        "the same class, the same images"
    );
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let names = metadata.metadata().as_ref().expect("metadata")["classes"].clone();
    assert_eq!(names, r#"["cat","cow","dog"]"#);

    let all = said(sample(&run, &folder.path("all.png")).arg("--count=6"));
    says(
        &all,
        &["2 of class 0 `cat`, 2 of class 1 `cow`, 2 of class 2 `dog`"],
    );
    let unknown = error_of(sample(&run, &out).arg("--class=cats"));
    says(&unknown, &["did you mean `cat`"]);
}

#[test]
fn a_file_of_samples_holds_names_and_mixed_classes() {
    let folder = Folder::new();
    let (data, run, out) = (
        folder.path("data"),
        folder.path("run"),
        folder.path("a.npz"),
    );
    pictures(&data, &[("cat", 12), ("cow", 12)]);
    trained(&data, &run, &[]);
    sample(&run, &out).arg("--count=40").assert().success();
    let mut archive = ZipArchive::new(File::open(&out).expect("a file")).expect("an archive");
    let labels = NpyFile::new(archive.by_name("arr_1.npy").expect("labels")).expect("an array");
    let labels: Vec<i64> = labels.into_vec().expect("integers");
    assert_eq!(
        labels.iter().filter(|l| **l == 0).count(),
        20,
        "equal shares"
    );
    let changes = labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Of 39 neighbours of a random order 20 differ on average, with a standard deviation of about 3.
    assert!((8..=32).contains(&changes), "{labels:?}");
    let names = NpyFile::new(archive.by_name("classes.npy").expect("names")).expect("an array");
    let names: Vec<String> = names.into_vec().expect("texts");
    assert_eq!(names, ["cat", "cow"]);
    // What it wrote trains another run, which knows the names.
    let line = trained(&out, &folder.path("second"), &[]);
    says(&line, &["in 2 classes (0 cat: 20, 1 cow: 20)"]);
    // And it can be evaluated.
    let mut evaluate = sadm();
    evaluate
        .args(["evaluate", "--metrics=kid", "--generated"])
        .arg(&out);
    evaluate.arg("--reference").arg(&data).assert().success();
}

fn nll(folder: &Folder, run: &Path, reference: &Path) -> assert_cmd::Command {
    let _ = folder;
    let mut command = sadm();
    command.args([
        "evaluate",
        "--metrics=nll",
        "--nll-steps=4",
        "--nll-samples=6",
        "--run",
    ]);
    command.arg(run).arg("--reference").arg(reference);
    command
}

#[test]
fn a_references_folders_are_matched_by_name() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 12), ("light", 12)]);
    trained(&data, &run, &[]);
    let whole = answered(&folder, nll(&folder, &run, &data).arg("--class=light")).0;
    assert!(
        whole["reference"]["chosen"]
            .as_str()
            .is_some_and(|c| c.contains("of class 1 `light`"))
    );
    // The same pictures alone in a folder: the class fewer moves no label.
    let light = folder.path("test");
    std::fs::create_dir_all(&light).expect("a folder");
    std::fs::rename(data.join("light"), light.join("light")).expect("movable");
    let alone = answered(&folder, &mut nll(&folder, &run, &light)).0;
    let values =
        [&whole, &alone].map(|answer| metric(answer, "nll")["value"].as_f64().expect("a number"));
    assert_eq!(values[0].to_bits(), values[1].to_bits(), "{values:?}");
    std::fs::rename(light.join("light"), light.join("lights")).expect("movable");
    let renamed = error_of(&mut nll(&folder, &run, &light));
    says(&renamed, &["`lights`", "0 dark: 12, 1 light: 12"]);
}

#[test]
fn what_never_learnt_is_refused_with_the_reason() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 10), ("grey", 10), ("light", 1)]);
    // Classes come in turn: the first two pictures are of dark and grey, light is cut off.
    let cut = ["--set=data.limit=2", "--set=data.limit_by=first"];
    let line = trained(
        &data,
        &run,
        &[&cut[..], &["--set=objective.label_dropout=0"]].concat(),
    );
    let counts = "(0 dark: 1, 1 grey: 1, 2 light: none; nothing to learn from for 2 `light`)";
    assert!(line.contains(counts), "{line}");
    let out = folder.path("a.png");
    let class = error_of(sample(&run, &out).arg("--class=light"));
    says(&class, &["2 `light`, of which no image was left"]);
    let free = error_of(sample(&run, &out).arg("--class=none"));
    says(&free, &["objective.label_dropout = 0"]);
    let guided = error_of(sample(&run, &out).arg("--guidance=2"));
    says(&guided, &["guidance must be 1, got 2"]);
    let mut order = sadm();
    order
        .args([
            "sweep",
            "order",
            "--class=light",
            "--steps=2,4",
            "--fine=8",
            "--run",
        ])
        .arg(&run);
    assert!(error_of(&mut order).contains("no image was left"));
    let mut sweep = sadm();
    sweep
        .args(["sweep", "sampler", "--class=light", "--run"])
        .arg(&run);
    sweep.arg("--out").arg(folder.path("sweep"));
    assert!(error_of(&mut sweep).contains("no image was left"));
    let likelihood = error_of(nll(&folder, &run, &data).arg("--class=light"));
    says(&likelihood, &["no image was left"]);
    assert!(!out.exists());
    let all = said(sample(&run, &out).arg("--count=4"));
    says(&all, &["2 of class 0 `dark`, 2 of class 1 `grey`:"]);
}

#[test]
fn a_run_without_classes_draws_without() {
    let folder = Folder::new();
    let (data, run, out) = (
        folder.path("data"),
        folder.path("run"),
        folder.path("a.png"),
    );
    pictures(&data, &[("dark", 10), ("light", 10)]);
    trained(&data, &run, &["--set=objective.label_dropout=1"]);
    assert!(said(sample(&run, &out).arg("--count=6")).contains("6 without class"));
    let class = error_of(sample(&run, &out).arg("--class=dark"));
    says(&class, &["objective.label_dropout = 1"]);
    let mut evaluate = sadm();
    evaluate.args([
        "evaluate",
        "--metrics=kid",
        "--count=8",
        "--reference=run:train",
        "--run",
    ]);
    evaluate.arg(&run).assert().success();
    let guided = ["--set=objective.label_dropout=0", "--set=sample.guidance=2"];
    let mut command = sadm();
    command.args(tiny(&folder.path("other"), 6)).args(guided);
    let message = error_of(&mut command);
    says(&message, &["guidance must be 1"]);
}

#[test]
fn samples_are_drawn_in_the_datas_shares() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 60), ("light", 4)]);
    trained(&data, &run, &["--set=data.limit=0", "--set=data.holdout=0"]);
    let out = folder.path("a.safetensors");
    let shares = said(sample(&run, &out).args(["--count=200", "--class=data"]));
    let light = shares
        .split(" of class 1 `light`")
        .next()
        .and_then(|s| s.rsplit(' ').next());
    let light: f64 = light.and_then(|n| n.parse().ok()).unwrap_or(0.0);
    // 12.5 of 200 are expected, with a standard deviation of 3.4; equal shares would be 100.
    assert!((1.0..27.0).contains(&light), "{shares}");
    let evaluate = |more: &[&str]| {
        let mut command = sadm();
        command.args([
            "evaluate",
            "--metrics=kid",
            "--count=16",
            "--reference=run:train",
        ]);
        command.arg("--run").arg(&run).args(more);
        answered(&folder, &mut command)
    };
    let (answer, table) = evaluate(&[]);
    says(&table, &["16 samples of ", "classes in the data's shares"]);
    assert_eq!(
        answer["generated"]["chosen"],
        "classes in the data's shares"
    );
    // Of the same uniform numbers equal likelihood makes other classes.
    let (other, _) = evaluate(&["--classes=random"]);
    let kid = |answer: &Value| {
        metric(answer, "kid-pixels")["value"]
            .as_f64()
            .expect("a number")
    };
    assert!((kid(&answer) - kid(&other)).abs() > 0.0, "{answer}");
}

#[test]
fn the_same_seed_gives_the_same_images_in_every_kind_of_file() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 10), ("light", 10)]);
    trained(&data, &run, &[]);
    let [npz, tensors] = ["a.npz", "a.safetensors"].map(|name| folder.path(name));
    for out in [&npz, &tensors] {
        sample(&run, out)
            .args(["--count=16", "--seed=4"])
            .assert()
            .success();
    }
    let mut compare = sadm();
    compare
        .args(["evaluate", "--metrics=fd", "--resamples=0", "--generated"])
        .arg(&npz);
    let (answer, _) = answered(&folder, compare.arg("--reference").arg(&tensors));
    let fd = metric(&answer, "fd-pixels")["value"]
        .as_f64()
        .expect("a number");
    assert!(fd < 1e-9, "{fd}");
}

#[test]
fn weights_and_runs_that_go_on_know_their_classes_by_name() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 10), ("light", 10)]);
    trained(&data, &run, &["--set=train.decay=none"]);
    std::fs::rename(data.join("light"), data.join("lux")).expect("movable");
    let mut resume = sadm();
    resume
        .args([
            "train",
            "--resume",
            "--threads=1",
            "--set=train.steps=8",
            "--out",
        ])
        .arg(&run);
    let message = error_of_last(&mut resume);
    says(&message, &["have the names that it began with", "light"]);
    let mut from = sadm();
    from.args(tiny(&folder.path("new"), 6))
        .args(["--set=data.dataset=images", "--from"])
        .arg(&run);
    from.arg(format!("--set=data.dir={}", data.display()));
    let message = error_of_last(&mut from);
    says(&message, &["the weights know them by number"]);
    assert!(!folder.path("new").exists());
}

/// The last line of standard error of a command that fails; the line on the images comes before.
fn error_of_last(command: &mut assert_cmd::Command) -> String {
    let output = command.assert().code(1).get_output().clone();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn sets_that_cannot_be_compared_or_learnt_are_named() {
    let folder = Folder::new();
    for (name, [width, height]) in [("wide", [16, 4]), ("square", [8, 8])] {
        std::fs::create_dir_all(folder.path(name)).expect("a folder");
        for i in 0..4 {
            let path = folder.path(name).join(format!("{i}.png"));
            image::save_buffer(path, &[50 * i; 64], width, height, image::ColorType::L8)
                .expect("a picture");
        }
    }
    let mut shapes = sadm();
    shapes
        .args(["evaluate", "--metrics=fd", "--generated"])
        .arg(folder.path("wide"));
    let message = error_of(shapes.arg("--reference").arg(folder.path("square")));
    says(&message, &["[1, 8, 8]", "[1, 4, 16]"]);
    // Two classes of which one has all images: there is nothing to tell apart.
    let data = folder.path("data");
    pictures(&data, &[("dark", 10), ("light", 10)]);
    let mut command = sadm();
    command
        .args(tiny(&folder.path("run"), 6))
        .arg("--set=data.dataset=images");
    command.arg(format!("--set=data.dir={}", data.display()));
    command.args([
        "--set=data.limit=1",
        "--set=data.limit_by=first",
        "--set=data.holdout=0",
    ]);
    let message = error_of_last(&mut command);
    says(&message, &["at least 2"]);
    for more in [
        &["--count=10000000001"][..],
        &["--kid-subset-size=2", "--kid-subsets=10000000001"],
    ] {
        let mut many = sadm();
        many.args(["evaluate", "--reference=digits", "--generated=digits"])
            .args(more);
        many.assert().code(2);
    }
}

#[test]
fn a_sweep_of_one_class_is_held_against_its_images() {
    let folder = Folder::new();
    let (data, run, out) = (
        folder.path("data"),
        folder.path("run"),
        folder.path("sweep.json"),
    );
    pictures(&data, &[("dark", 10), ("light", 14)]);
    trained(&data, &run, &["--set=data.limit=0"]);
    let mut sweep = sadm();
    sweep.args([
        "sweep",
        "sampler",
        "--class=light",
        "--samplers=euler",
        "--nfe=2",
        "--fine=2",
        "--count=10",
    ]);
    sweep
        .arg("--run")
        .arg(&run)
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let report = std::fs::read_to_string(&out).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["real_images"], 14);
    assert_eq!(report["class"], "1 `light`");
}

/// A checkpoint of a version that did not know its classes: it goes on with the hold-out of that time.
#[test]
fn a_checkpoint_that_does_not_name_its_classes_is_still_read() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 6, &[]);
    for step in [3, 6] {
        let (path, mut state) = state(&run, step);
        let fields = state.as_object_mut().expect("an object");
        assert!(fields.remove("classes").is_some());
        fields.insert("own_sha256".to_owned(), Value::String(String::new()));
        let digest = sadm_gpu::run::checkpoint::sha256(state.to_string().as_bytes());
        state["own_sha256"] = Value::String(digest);
        std::fs::write(path, state.to_string()).expect("writable");
    }
    let drawn = said(sample(&run, &folder.path("a.png")).args(["--class=7", "--count=6"]));
    says(&drawn, &["6 of class 7:"]);
    let mut evaluate = sadm();
    evaluate.args([
        "evaluate",
        "--metrics=kid",
        "--count=8",
        "--reference=run:train",
        "--run",
    ]);
    let (answer, _) = answered(&folder, evaluate.arg(&run));
    let samples = answer["reference"]["samples"].as_u64();
    assert_eq!(
        samples,
        Some(58),
        "⌊0.1 · 64⌋ of 64 were held out without regard to classes"
    );
    sadm()
        .args(tiny(&run, 6))
        .arg("--resume")
        .assert()
        .success();
}

#[test]
fn a_limit_takes_a_random_subset_of_the_seed() {
    let folder = Folder::new();
    let digest = |name: &str, more: &[&str]| {
        let run = folder.path(name);
        train(&run, 2, more);
        let (_, state) = state(&run, 2);
        state["data_sha256"].as_str().expect("a digest").to_owned()
    };
    let cases = [
        ("one", &["--set=seed=1"][..]),
        ("again", &["--set=seed=1"]),
        ("other", &["--set=seed=2"]),
        ("first", &["--set=seed=1", "--set=data.limit_by=first"]),
        (
            "first-other",
            &["--set=seed=2", "--set=data.limit_by=first"],
        ),
    ];
    let found: BTreeMap<&str, String> = cases.map(|(name, more)| (name, digest(name, more))).into();
    assert_eq!(found["one"], found["again"]);
    assert_ne!(found["one"], found["other"]);
    assert_ne!(found["one"], found["first"]);
    assert_eq!(found["first"], found["first-other"]);
}

#[test]
fn what_needs_no_reference_takes_none_and_small_sets_are_named() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 10), ("light", 2)]);
    trained(&data, &run, &["--set=data.limit=0"]);
    let evaluate = |more: &[&str]| {
        let mut command = sadm();
        command.args(["evaluate", "--resamples=0"]).args(more);
        command
    };
    let place = run.display().to_string();
    let alone = [
        "--metrics=is",
        "--features=encoder",
        "--count=20",
        "--run",
        &place,
    ];
    let (answer, table) = answered(&folder, &mut evaluate(&alone));
    assert!(
        metric(&answer, "is-encoder")["value"]
            .as_f64()
            .is_some_and(|is| is >= 1.0)
    );
    assert!(
        answer.get("reference").is_none() && !table.contains("reference"),
        "{table}"
    );
    let fd = error_of(&mut evaluate(&[
        "--metrics=is,fd",
        "--features=encoder",
        "--run",
        &place,
    ]));
    says(&fd, &["fd compares with real samples: give --reference"]);
    let (few, many) = (
        data.join("light").display().to_string(),
        data.display().to_string(),
    );
    let kid = error_of(&mut evaluate(&[
        "--metrics=kid",
        "--generated",
        &many,
        "--reference",
        &few,
    ]));
    let named = kid.contains(&format!("reference `{few}`"));
    assert!(named && kid.contains("the reference one holds 2"), "{kid}");
    // Equal pictures: each lies on the edge of the others' balls.
    let equal = folder.path("equal");
    std::fs::create_dir_all(&equal).expect("a folder");
    for i in 0..8 {
        let path = equal.join(format!("{i}.png"));
        image::save_buffer(path, &[9; 64], 8, 8, image::ColorType::L8).expect("a picture");
    }
    let equal = equal.display().to_string();
    let collapsed = [
        "--metrics=pr,dc",
        "--generated",
        &equal,
        "--reference",
        &equal,
    ];
    let (_, table) = answered(&folder, &mut evaluate(&collapsed));
    says(&table, &["open balls count ties as outside"]);
    let apart = [
        "--metrics=pr,dc",
        "--generated",
        &many,
        "--reference",
        &many,
    ];
    let (_, table) = answered(&folder, &mut evaluate(&apart));
    assert!(!table.contains("ties"), "{table}");
}

#[test]
fn a_folder_may_be_called_2024() {
    let folder = Folder::new();
    for name in ["2024", "true"] {
        pictures(&folder.path(name), &[("dark", 10), ("light", 10)]);
        let run = folder.path("runs").join(name);
        let mut command = sadm();
        command.current_dir(folder.path("")).args(tiny(&run, 6));
        command.args([
            "--set=data.dataset=images",
            &format!("--set=data.dir={name}"),
        ]);
        command.assert().success();
    }
}

#[test]
fn splits_of_samples_in_order_of_class_are_said() {
    let folder = Folder::new();
    let (data, run) = (folder.path("data"), folder.path("run"));
    pictures(&data, &[("dark", 10), ("light", 10)]);
    trained(&data, &run, &[]);
    let drawn = folder.path("a.safetensors");
    sample(&run, &drawn).arg("--count=40").assert().success();
    let score = |more: &[&str]| {
        let mut command = sadm();
        command.args([
            "evaluate",
            "--metrics=is",
            "--features=encoder",
            "--splits=2",
            "--resamples=0",
        ]);
        command
            .arg("--run")
            .arg(&run)
            .arg("--generated")
            .arg(&drawn)
            .args(more);
        answered(&folder, &mut command).1
    };
    let note = "the samples come class by class";
    assert!(score(&["--split-order=consecutive"]).contains(note));
    let mixed = score(&[]);
    assert!(
        !mixed.contains(note) && mixed.contains("2 splits, shuffled as torch-fidelity"),
        "{mixed}"
    );
}
