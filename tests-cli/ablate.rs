//! `sadm ablate`: arms of equal length, shared beginnings, results that survive being killed.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::runs::{TINY, signal};
use crate::support::{Folder, error_of, sadm, says};

/// 20 steps: 2 of the encoder, 8 of denoising, 6 guided, 4 adversarial; two seeds.
fn arguments(out: &Path) -> Vec<String> {
    let mut args = without_seeds(out);
    args.push("--seeds=2".to_owned());
    args
}

fn without_seeds(out: &Path) -> Vec<String> {
    let fixed = [
        "ablate",
        "--preset=digits",
        "--threads=1",
        "--sweep-seeds=1",
        "--samples=16",
        "--reference-count=48",
        "--evaluator-steps=5",
        "--set=train.steps=20",
    ];
    let mut args: Vec<String> = fixed.map(str::to_owned).to_vec();
    args.extend(TINY.iter().map(|setting| format!("--set={setting}")));
    args.push(format!("--out={}", out.display()));
    args
}

fn results(out: &Path) -> Value {
    let bytes = std::fs::read(out.join("results.json")).expect("results");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn arm<'a>(results: &'a Value, name: &str) -> &'a Value {
    let arms = results["arms"].as_array().expect("arms");
    let found = arms.iter().find(|arm| arm["name"] == name);
    found.unwrap_or_else(|| panic!("no arm {name}"))
}

#[test]
fn arms_and_variants_are_trained_evaluated_and_compared() {
    let folder = Folder::new();
    let out = folder.path("ablation");
    let sweeps = [
        "--sweep=relation=cosine,euclidean",
        "--sweep=psi=random",
        "--sweep=update_order=phi-first",
    ];
    let output = sadm()
        .args(arguments(&out))
        .args(sweeps)
        .assert()
        .success()
        .get_output()
        .clone();
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    // guided goes on from base after the denoising phase, adversarial from guided after its own.
    for part in [
        "the first 10 steps are those of",
        "the first 16 steps are those of",
        "[10/10]",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    says(&table, &["every arm makes 18 θ-steps"]);
    says(&table, &["| guided, relation=euclidean | 1 |"]);
    says(&table, &["one seed: none"]);

    let all = results(&out);
    for name in ["base", "guided", "adversarial"] {
        let runs = arm(&all, name)["runs"].as_object().expect("runs");
        assert_eq!(runs.len(), 2, "{name}");
        assert!(runs.values().all(|run| run["steps"] == 20), "{name}");
    }
    assert_eq!(arm(&all, "guided, psi=random")["runs"]["0"]["steps"], 18);
    let paired = &arm(&all, "guided")["difference_to_base"]["fd-encoder"];
    let value = |name: &str, seed: &str| {
        arm(&all, name)["runs"][seed]["fd_encoder"]
            .as_f64()
            .expect("a number")
    };
    for (seed, place) in [("0", 0), ("1", 1)] {
        let want = value("guided", seed) - value("base", seed);
        assert_eq!(paired["each"][place].as_f64(), Some(want));
        assert!(want.abs() > 0.0, "structure does nothing");
    }
    // And to the arm that a variant varies.
    let child = &arm(&all, "guided, relation=euclidean")["difference_to_parent"];
    assert_eq!(child["parent"], "guided");
    let want = value("guided, relation=euclidean", "0") - value("guided", "0");
    assert_eq!(child["of"]["fd-encoder"]["each"][0].as_f64(), Some(want));
    assert!(arm(&all, "guided")["difference_to_parent"].is_null());
    says(&table, &["| adversarial − guided | fd-encoder | 2 |"]);
    says(&table, &["precision and recall with k = 3"]);
    // relation=cosine is what guided does anyway; the others differ.
    let bits = |name: &str| value(name, "0").to_bits();
    assert_eq!(bits("guided, relation=cosine"), bits("guided"));
    assert_ne!(bits("guided, relation=euclidean"), bits("guided"));

    // Again: nothing is trained, nothing changes.
    let before = std::fs::read(out.join("results.json")).expect("results");
    let again = sadm().args(arguments(&out)).args(sweeps).assert().success();
    let said = String::from_utf8(again.get_output().stderr.clone()).expect("UTF-8");
    assert!(!said.contains("phase"), "trained again: {said}");
    assert!(std::fs::read(out.join("results.json")).expect("results") == before);
}

/// A variant of an arm that is not trained itself has nothing to be compared with but the base.
#[test]
fn a_variant_without_its_arm_is_compared_with_the_base_alone() {
    let folder = Folder::new();
    let out = folder.path("alone");
    let chosen = ["--arms=base", "--seeds=1", "--sweep=relation=euclidean"];
    let mut command = sadm();
    let output = command.args(without_seeds(&out)).args(chosen).assert();
    let table = String::from_utf8(output.success().get_output().stdout.clone()).expect("UTF-8");
    let all = results(&out);
    let alone = arm(&all, "guided, relation=euclidean");
    assert!(alone["difference_to_parent"].is_null(), "{alone}");
    let each = &alone["difference_to_base"]["fd-encoder"]["each"];
    assert_eq!(each.as_array().map(Vec::len), Some(1), "{alone}");
    assert!(!table.contains("− guided |"), "{table}");
}

/// Every combination of two keys is a row, with the number of rows said before anything is trained.
#[test]
fn a_grid_is_trained_in_all_combinations() {
    let folder = Folder::new();
    let out = folder.path("grid");
    let grid = [
        "--arms=guided",
        "--seeds=1",
        "--sweep=relation=cosine,euclidean",
        "--sweep=distance=squared,absolute",
        "--grid",
    ];
    let mut command = sadm();
    let output = command.args(without_seeds(&out)).args(grid).assert();
    let output = output.success().get_output().clone();
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let counted = said
        .find("5 arms and variants, 5 runs")
        .expect("they are counted");
    assert!(counted < said.find("phase").expect("a phase"), "{said}");
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    let all = results(&out);
    let mut seen = vec![value(&all, "guided")];
    for (relation, distance) in [
        ("cosine", "squared"),
        ("cosine", "absolute"),
        ("euclidean", "squared"),
        ("euclidean", "absolute"),
    ] {
        let name = format!("guided, relation={relation}, distance={distance}");
        assert!(
            table.contains(&format!("| {name} | 1 |")),
            "{name}: {table}"
        );
        assert_eq!(arm(&all, &name)["difference_to_parent"]["parent"], "guided");
        seen.push(value(&all, &name));
    }
    // Cosine and squared are what guided does anyway; the other three differ from it and from each other.
    assert_eq!(seen[0], seen[1]);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);

    let wide = [
        "--sweep=weight=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        "--sweep=eta=constant,inverse",
        "--sweep=psi=random,classifier",
        "--grid",
    ];
    let mut command = sadm();
    let message = error_of(command.args(without_seeds(&folder.path("wide"))).args(wide));
    says(
        &message,
        &[
            "68 variants (17 of weight × 2 of eta × 2 of psi)",
            "at most 64",
        ],
    );
    assert!(
        !folder.path("wide").exists(),
        "a refused grid left a folder"
    );
    let mut command = sadm();
    command
        .args(without_seeds(&out))
        .arg("--grid")
        .assert()
        .code(2);
}

/// The bits of a distance of the first seed.
fn value(results: &Value, name: &str) -> u64 {
    let value = arm(results, name)["runs"]["0"]["fd_encoder"].as_f64();
    value.expect("a number").to_bits()
}

/// What an ablation answers to Ctrl-C while it trains `name`.
fn stopped_in(name: &str, out: &Path, patience: Instant) -> Output {
    let child = Command::new(assert_cmd::cargo::cargo_bin!("sadm"))
        .args(arguments(out))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let log = out.join("runs").join(name).join("metrics.jsonl");
    while !log.exists() {
        assert!(Instant::now() < patience, "nothing is trained");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "INT");
    child.wait_with_output().expect("the program ends")
}

#[test]
fn a_killed_ablation_ends_as_if_it_had_not_been() {
    let folder = Folder::new();
    let (whole, killed) = (folder.path("whole"), folder.path("killed"));
    sadm().args(arguments(&whole)).assert().success();

    let patience = Instant::now() + Duration::from_secs(300);
    let mut kills = 0;
    // Killed once in each of the first runs, a little later every time.
    for name in ["base/seed-0", "base/seed-1", "guided/seed-0"] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("sadm"))
            .args(arguments(&killed))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let log = killed.join("runs").join(name).join("metrics.jsonl");
        while !log.exists() && child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < patience, "nothing is trained");
            std::thread::sleep(Duration::from_millis(2));
        }
        kills += u32::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        let _ = child.wait();
    }
    let stopped = stopped_in("adversarial/seed-0", &killed, patience);
    assert_eq!(stopped.status.code(), Some(130), "Ctrl-C is no success");
    let said = String::from_utf8_lossy(&stopped.stdout);
    says(&said, &["the same command continues"]);
    assert!(kills > 0, "every run ended before it could be killed");
    sadm().args(arguments(&killed)).assert().success();
    let read = |out: &Path| std::fs::read(out.join("results.json")).expect("results");
    assert!(read(&killed) == read(&whole), "the results differ");
}

#[test]
fn an_ablation_that_makes_no_sense_is_refused() {
    let folder = Folder::new();
    let out = folder.path("ablation");
    let refused = |more: &[&str]| {
        let mut command = sadm();
        let message = error_of(command.args(arguments(&out)).args(more));
        assert!(!out.exists(), "{more:?} left a folder");
        message
    };
    for (more, part) in [
        ("--sweep=relatoin=cosine", "did you mean `relation`?"),
        ("--sweep=relation=cosin", "relation=cosin"),
        ("--sweep=train.steps=40,60", "cannot be swept"),
        ("--set=train.steps=3", "every phase needs a step"),
        ("--set=adversarial.until=balance", "must be \"rounds\""),
    ] {
        let message = refused(&[more]);
        assert!(message.contains(part), "{more}: {message}");
    }
    let mut neither = sadm();
    let failed = neither.args(["ablate", "--out"]).arg(&out).assert().code(2);
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    says(&said, &["--preset", "--config"]);
    for (usage, part) in [
        ("--arms=bsae", "did you mean `base`?"),
        ("--sweep=relation", "must be KEY=A,B"),
        ("--seeds=0", "must be a whole number from 1"),
    ] {
        let mut command = sadm();
        let failed = command
            .args(without_seeds(&out))
            .arg(usage)
            .assert()
            .code(2);
        let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(said.contains(part), "{usage}: {said}");
    }
    std::fs::write(&out, "not a folder").expect("a file");
    let message = error_of(sadm().args(arguments(&out)));
    says(&message, &["is a file"]);
}

#[test]
fn a_folder_with_other_runs_is_refused() {
    let folder = Folder::new();
    let out = folder.path("ablation");
    sadm()
        .args(without_seeds(&out))
        .args(["--arms=base", "--seeds=1"])
        .assert()
        .success();
    let mut command = sadm();
    let output = command
        .args(without_seeds(&out))
        .args(["--arms=base", "--seeds=1", "--set=train.learning_rate=0.01"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    says(&said, &["keeps the configurations", "learning_rate"]);
}
