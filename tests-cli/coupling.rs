//! Which noise meets which image: runs with `coupling.method=optimal`.

use crate::runs::{assert_same, contents, signal, started, tiny, train};
use crate::support::{Folder, error_of, sadm};

/// Three batches of 8 are assigned together.
const OPTIMAL: [&str; 2] = ["--set=coupling.method=optimal", "--set=coupling.pool=24"];

/// The lines of `metrics.jsonl` with a transport cost: step, before, after.
fn transport(run: &std::path::Path) -> Vec<[f64; 3]> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines = lines.map(|line| line.expect("JSON"));
    let number = |line: &serde_json::Value, key: &str| line[key].as_f64();
    lines
        .filter_map(|l| {
            let found = ["step", "transport_before", "transport_after"].map(|key| number(&l, key));
            let [Some(step), Some(before), Some(after)] = found else {
                return None;
            };
            Some([step, before, after])
        })
        .collect()
}

#[test]
fn a_run_with_optimal_coupling_says_what_it_saves_and_passes_its_checks() {
    let folder = Folder::new();
    let run = folder.path("run");
    let said = train(&run, 40, &OPTIMAL);
    assert!(said.contains("shadow check: worst error/bound"), "{said}");
    let lines = transport(&run);
    // Every step of θ; the first four steps train Ψ.
    assert_eq!(lines.len(), 36);
    for [step, before, after] in &lines {
        assert!(
            after < before && *after > 0.5 * before,
            "{step}: {before} to {after}"
        );
    }
    // Three steps share a pool and its means.
    let pools: Vec<f64> = lines.iter().map(|[_, before, _]| *before).collect();
    assert!(
        pools
            .chunks(3)
            .all(|pool| pool.iter().all(|c| c.to_bits() == pool[0].to_bits()))
    );
    assert_ne!(pools[0].to_bits(), pools[3].to_bits());
    // Under a coupling the denoiser gives no score: what adds noise is biased, and said to be.
    for (more, noted) in [
        (&["--sampler=heun"][..], false),
        (&["--sampler=heun", "--churn=5"], true),
        (&["--sampler=ddpm"], true),
    ] {
        let (out, run) = (folder.path("grid.png"), run.display());
        let mut sample = sadm();
        sample.args([
            "sample",
            "--threads=1",
            "--count=2",
            "--steps=3",
            &format!("--run={run}"),
        ]);
        let drawn = sample.arg("--out").arg(&out).args(more).assert().success();
        let said = String::from_utf8_lossy(&drawn.get_output().stderr).into_owned();
        assert_eq!(
            said.contains("samplers that add noise"),
            noted,
            "{more:?}: {said}"
        );
    }
    for (samplers, noted) in [("heun", false), ("heun,ddpm", true)] {
        let mut sweep = sadm();
        sweep.args([
            "sweep",
            "sampler",
            "--threads=1",
            "--nfe=3",
            "--fine=4",
            "--count=8",
        ]);
        sweep
            .arg(format!("--samplers={samplers}"))
            .arg("--run")
            .arg(&run);
        let swept = sweep
            .arg("--out")
            .arg(folder.path(samplers))
            .assert()
            .success();
        let said = String::from_utf8_lossy(&swept.get_output().stderr).into_owned();
        let found = said.contains("samplers that add noise");
        assert_eq!(found, noted, "{samplers}: {said}");
    }
}

#[test]
fn a_run_stopped_inside_a_pool_goes_on_bit_for_bit() {
    const STEPS: usize = 150;
    let folder = Folder::new();
    let (whole, stopped) = (folder.path("whole"), folder.path("stopped"));
    let within = [OPTIMAL[0], OPTIMAL[1], "--set=coupling.classes=within"];
    train(&whole, STEPS, &within);
    for lines in [20, 80] {
        let child = started(&stopped, STEPS, lines, &within);
        signal(&child, "INT");
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(130));
    }
    let resume = [within[0], within[1], within[2], "--resume"];
    train(&stopped, STEPS, &resume);
    assert_same(&whole, &stopped);
}

#[test]
fn the_coupling_decides_the_numbers_and_independent_is_the_default() {
    let folder = Folder::new();
    let [plain, named, optimal, squared] =
        ["plain", "named", "optimal", "squared"].map(|n| folder.path(n));
    train(&plain, 8, &[]);
    train(
        &named,
        8,
        &[
            "--set=coupling.method=independent",
            "--set=coupling.pool=24",
        ],
    );
    assert_eq!(
        contents(&plain)["theta.safetensors"],
        contents(&named)["theta.safetensors"]
    );
    assert!(transport(&plain).is_empty() && transport(&named).is_empty());
    train(&optimal, 8, &OPTIMAL);
    train(
        &squared,
        8,
        &[
            OPTIMAL[0],
            OPTIMAL[1],
            "--set=coupling.cost=squared-euclidean",
        ],
    );
    assert_ne!(
        contents(&plain)["theta.safetensors"],
        contents(&optimal)["theta.safetensors"]
    );
    let means = [&optimal, &squared].map(|run| transport(run)[0][1]);
    assert!(
        means[1] > 2.0 * means[0],
        "a mean square and a mean distance: {means:?}"
    );
    let other = error_of(
        sadm()
            .args(tiny(&optimal, 12))
            .args(["--resume", OPTIMAL[0]]),
    );
    assert!(other.contains("coupling.pool"), "{other}");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let folder = Folder::new();
    for (setting, parts) in [
        (
            "coupling.pool=12",
            [
                "coupling.pool must be a multiple of train.batch = 8",
                "got 12",
            ],
        ),
        ("coupling.pool=32768", ["up to 16384", "got 32768"]),
        (
            "coupling.method=optimum",
            ["unknown coupling `optimum`", "did you mean `optimal`?"],
        ),
        ("coupling.cost=cosine", ["cosine", "squared-euclidean"]),
        ("coupling.classes=apart", ["apart", "within"]),
        (
            "coupling.pol=8",
            ["coupling.pol", "did you mean `coupling.pool`?"],
        ),
    ] {
        let run = folder.path("run");
        let message = error_of(sadm().args(tiny(&run, 8)).args(["--set", setting]));
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert!(!run.exists(), "{setting} left a folder");
    }
}
