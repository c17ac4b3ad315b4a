//! `sadm train`: what a run leaves, that it is repeatable, and that nothing can stop it for good.

use predicates::str::contains;

use crate::runs::{assert_same, contents, logged_steps, newest, signal, started, tiny, train};
use crate::support::{Folder, error_of, sadm, says};

/// Long enough to be stopped on the way.
const LONG: usize = 150;

#[test]
fn a_run_leaves_configuration_metrics_samples_and_checkpoints() {
    let folder = Folder::new();
    let run = folder.path("run");
    let said = train(&run, 12, &[]);
    says(&said, &["finished after 12 steps"]);
    says(&said, &["shadow check: worst error/bound"]);

    assert_eq!(logged_steps(&run), (1..=12).collect::<Vec<u64>>());
    let files: Vec<String> = contents(&run).into_keys().collect();
    let want = [
        "phi.optimizer.safetensors",
        "phi.safetensors",
        "state.json",
        "theta.average.safetensors",
        "theta.optimizer.safetensors",
        "theta.safetensors",
    ];
    assert_eq!(files, want);
    assert!(newest(&run).ends_with("00000012"));
    let picture = std::fs::read(run.join("samples/00000012.png")).expect("a sample grid");
    assert_eq!(&picture[1..4], b"PNG");
    let config = std::fs::read_to_string(run.join("config.toml")).expect("the configuration");
    says(&config, &["steps = 12", "[structure]"]);
}

#[test]
fn metrics_have_every_phase_with_its_losses_and_passing_shadow_checks() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 40, &[]);
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for (phase, has_structure) in [
        ("encoder", false),
        ("denoise", false),
        ("guided", true),
        ("adversarial", true),
    ] {
        let mut steps = lines
            .iter()
            .filter(|l| l["phase"] == phase && l.get("loss").is_some())
            .peekable();
        assert!(steps.peek().is_some(), "no step of phase {phase}");
        assert!(
            steps.all(|l| l.get("structure").is_some() == has_structure),
            "{phase}"
        );
    }
    let ratios: Vec<f64> = lines
        .iter()
        .filter_map(|l| l.get("shadow")?.as_f64())
        .collect();
    assert!(!ratios.is_empty(), "no shadow check was logged");
    assert!(ratios.iter().all(|r| *r <= 1.0), "{ratios:?}");
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a"), folder.path("b"));
    train(&a, 12, &[]);
    train(&b, 12, &[]);
    assert_same(&a, &b);
    let c = folder.path("c");
    train(&c, 12, &["--set=seed=1"]);
    assert!(
        contents(&a)["theta.safetensors"] != contents(&c)["theta.safetensors"],
        "the seed has no effect"
    );
}

#[test]
fn ctrl_c_saves_says_how_to_go_on_and_loses_nothing() {
    let folder = Folder::new();
    let (whole, stopped) = (folder.path("whole"), folder.path("stopped"));
    train(&whole, LONG, &[]);

    let child = started(&stopped, LONG, 30, &[]);
    // Twice, as `timeout` and job managers do: the process, then its group.
    signal(&child, "INT");
    signal(&child, "INT");
    let output = child.wait_with_output().expect("the program ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let way_on = format!(
        "continue with: sadm train --resume --out {}",
        stopped.display()
    );
    assert!(
        said.contains("stopped and saved at step") && said.contains(&way_on),
        "{said}"
    );
    let done = logged_steps(&stopped);
    assert!(done.len() < LONG, "the run was not stopped");

    // As the sentence says: the folder alone is enough.
    sadm()
        .args(["train", "--resume", "--threads=1", "--out"])
        .arg(&stopped)
        .assert()
        .success();
    assert_same(&whole, &stopped);
    assert_eq!(
        logged_steps(&stopped),
        (1..=LONG as u64).collect::<Vec<_>>()
    );
}

#[test]
fn a_run_killed_again_and_again_ends_in_the_same_bytes() {
    let folder = Folder::new();
    let (whole, killed) = (folder.path("whole"), folder.path("killed"));
    train(&whole, LONG, &[]);
    for lines in [1, 20, 50, 90] {
        let mut child = started(&killed, LONG, lines, &[]);
        child.kill().expect("SIGKILL is sent");
        child.wait().expect("the program is gone");
    }
    train(&killed, LONG, &["--resume"]);
    assert_same(&whole, &killed);
    assert_eq!(logged_steps(&killed), (1..=LONG as u64).collect::<Vec<_>>());
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 12, &[]);
    let before = contents(&run);
    let said = train(&run, 12, &["--resume"]);
    says(&said, &["finished after 12 steps"]);
    assert!(contents(&run) == before, "the checkpoint changed");
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    let message = error_of(sadm().args(tiny(&run, 4)));
    says(&message, &["already holds a run", "--resume"]);
    let message = error_of(
        sadm()
            .args(tiny(&run, 4))
            .args(["--resume", "--set=seed=7"]),
    );
    says(
        &message,
        &["another configuration", "(seed: `0` there, `7` here)"],
    );
}

#[test]
fn truncated_and_altered_checkpoints_are_named() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    let resume = || error_of(sadm().args(tiny(&run, 4)).arg("--resume"));
    let sample = || {
        let out = folder.path("none.png");
        error_of(
            sadm()
                .args(["sample", "--run"])
                .arg(&run)
                .arg("--out")
                .arg(out),
        )
    };
    for name in [
        "theta",
        "theta.average",
        "theta.optimizer",
        "phi",
        "phi.optimizer",
    ] {
        let path = newest(&run).join(format!("{name}.safetensors"));
        let good = std::fs::read(&path).expect("a tensor file");
        let mut altered = good.clone();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        for bad in [&good[..last], &altered, b""] {
            std::fs::write(&path, bad).expect("writable");
            for message in [resume(), sample()] {
                says(&message, &[&format!("{name}.safetensors")]);
                says(&message, &["truncated or altered"]);
            }
        }
        std::fs::remove_file(&path).expect("removable");
        let message = resume();
        let missing = format!("{name}.safetensors: is missing; delete this checkpoint's folder");
        assert!(message.contains(&missing), "{message}");
        std::fs::write(&path, good).expect("writable");
    }
    let path = newest(&run).join("state.json");
    let good = std::fs::read(&path).expect("the state");
    std::fs::write(&path, &good[..good.len() / 2]).expect("writable");
    let message = resume();
    says(&message, &["state.json", "not a checkpoint's state"]);
    std::fs::write(&path, b"\xff\xfe").expect("writable");
    let message = resume();
    says(&message, &["not a checkpoint's state", "delete this"]);
    std::fs::write(&path, good).expect("writable");
    train(&run, 4, &["--resume"]);
}

/// The event files of a run, oldest first.
fn event_files(run: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(run).expect("a folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().contains("events.out.tfevents."));
    files.sort();
    files
}

/// Number of whole records of an event file.
fn records(path: &std::path::Path) -> usize {
    let bytes = std::fs::read(path).expect("an event file");
    let (mut at, mut count) = (0, 0);
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u64::from_le_bytes(head.try_into().expect("eight bytes"));
        at += usize::try_from(length).expect("a length") + 16;
        count += usize::from(at <= bytes.len());
    }
    count
}

#[test]
fn tensorboard_gets_a_file_for_each_call_that_does_something() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 12, &[]);
    // Version, start, configuration, 12 steps, the encoder's accuracy, the samples of the end.
    let files = event_files(&run);
    assert_eq!(files.iter().map(|f| records(f)).collect::<Vec<_>>(), [17]);
    train(&run, 12, &["--resume"]);
    assert_eq!(event_files(&run), files, "a finished run got another file");

    let killed = folder.path("killed");
    let mut child = started(&killed, LONG, 20, &[]);
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the program is gone");
    train(&killed, LONG, &["--resume"]);
    assert_eq!(event_files(&killed).len(), 2);

    let none = folder.path("none");
    train(&none, 4, &["--set=train.tensorboard=false"]);
    assert!(event_files(&none).is_empty());
}

#[test]
fn unknown_keys_presets_and_bad_values_are_named() {
    let refused = |args: &[&str]| {
        let folder = Folder::new();
        let run = folder.path("run");
        let message = error_of(sadm().arg("train").args(args).arg("--out").arg(&run));
        assert!(!run.exists(), "a refused run left a folder");
        message
    };
    for (args, parts) in [
        (
            &["--preset=digit"][..],
            &["unknown preset `digit`", "did you mean `digits`?"][..],
        ),
        (
            &["--preset=digits", "--set=train.step=60"],
            &["train.step", "did you mean `train.steps`?"],
        ),
        (
            &["--preset=digits", "--set=train.tensorbord=false"],
            &["train.tensorbord", "did you mean `train.tensorboard`?"],
        ),
        (
            &["--preset=digits", "--set=train.tensorboard=maybe"],
            &["train.tensorboard must be a boolean"],
        ),
        (
            &["--preset=digits", "--set=train.steps=0"],
            &["train.steps must be at least 1, got 0"],
        ),
        (
            &["--preset=digits", "--set=train.batch=1000000000000"],
            &["train.batch must be from 1 to 1048576, got 1000000000000"],
        ),
        (
            &[
                "--preset=digits",
                "--set=model.unet.channels=[1000000000]",
                "--set=model.unet.attention=[]",
            ],
            &[
                "more than any machine has",
                "`model.",
                "model.unet.channels = [1000000000]",
            ],
        ),
        (
            &["--preset=digits", "--set=sample.sigma_max=1e300"],
            &["sample.sigma_max must be above sample.sigma_min and at most 1e6"],
        ),
        (
            &["--preset=digits", "--set=train.steps=many"],
            &["train.steps", "many"],
        ),
        (
            &["--preset=digits", "--set=train.steps"],
            &["train.steps", "key=value"],
        ),
        (
            &["--preset=digits", "--set=structure.relation=cosin"],
            &["structure.relation", "cosin"],
        ),
        (
            &["--preset=digits", "--device=gpu"],
            &["device must be `cpu` or `cuda:N`, got `gpu`"],
        ),
        (
            &["--config=nowhere.toml"],
            &["cannot read `nowhere.toml`", "No such file"],
        ),
        (&[], &["--preset NAME", "--config FILE"]),
        (&["--resume"], &["cannot read", "config.toml"]),
    ] {
        let message = refused(args);
        for part in parts {
            assert!(
                message.contains(part),
                "{args:?}: `{part}` is not in: {message}"
            );
        }
    }
}

#[test]
fn a_configuration_file_is_read_and_its_errors_name_it() {
    let folder = Folder::new();
    let config = folder.path("tiny.toml");
    let run = folder.path("run");
    let refused = |text: &[u8]| {
        std::fs::write(&config, text).expect("writable");
        error_of(
            sadm()
                .args(["train", "--config"])
                .arg(&config)
                .arg("--out")
                .arg(&run),
        )
    };
    let message = refused(b"[train]\nstep = 3\n");
    says(&message, &["tiny.toml", "did you mean `train.steps`?"]);
    assert!(refused(b"[train\n").contains("not valid TOML"));
    assert!(refused(b"\xff\xfe").contains("is not a text file"));

    // The file that a run leaves is itself a configuration.
    train(&run, 4, &[]);
    let again = folder.path("again");
    sadm()
        .args(["train", "--threads=1", "--config"])
        .arg(run.join("config.toml"))
        .arg("--out")
        .arg(&again)
        .assert()
        .success();
    assert_same(&run, &again);
}

#[test]
fn data_that_is_not_there_is_named_with_what_to_do() {
    let folder = Folder::new();
    let run = folder.path("run");
    let mut command = sadm();
    command
        .args(["train", "--preset=mnist", "--out"])
        .arg(&run)
        .env_remove("SADM_DATA_DIR");
    let message = error_of(&mut command);
    says(&message, &["data.dir", "SADM_DATA_DIR"]);
    let mut command = sadm();
    command
        .args(["train", "--preset=mnist", "--out"])
        .arg(&run)
        .env("SADM_DATA_DIR", "/nowhere");
    assert!(error_of(&mut command).contains("/nowhere/mnist"));
}

#[test]
fn presets_are_listed() {
    let listed = sadm().args(["train", "--list-presets"]).assert().success();
    listed
        .stdout(contains("digits "))
        .stdout(contains("digits-dit "))
        .stdout(contains("cifar10 "));
}

#[test]
fn a_file_is_refused_where_a_folder_is_to_be() {
    let folder = Folder::new();
    let file = folder.path("taken");
    std::fs::write(&file, "not a folder").expect("writable");
    for args in [
        &["train", "--preset=digits"][..],
        &["train", "--resume"],
        &["sweep", "order"],
        &["sweep", "sampler", "--run=nowhere"],
    ] {
        let message = error_of(sadm().args(args).arg("--out").arg(&file));
        assert!(
            message.contains("--out must be a folder") && message.contains("taken` is a file"),
            "{args:?}: {message}"
        );
    }
    let text = std::fs::read_to_string(&file).expect("still there");
    assert_eq!(text, "not a folder");
}

#[test]
fn more_threads_than_a_machine_bears_are_refused() {
    let folder = Folder::new();
    let run = folder.path("run");
    let others = tiny(&run, 4)
        .into_iter()
        .filter(|argument| !argument.starts_with("--threads"));
    let message = error_of(sadm().args(others).arg("--threads=1000000"));
    says(&message, &["--threads must be at most", "got 1000000"]);
    assert!(!run.exists(), "a refused run left its folder");
}
