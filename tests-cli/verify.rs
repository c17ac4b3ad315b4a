//! `sadm verify`: the table, the report, the exit code, the counter-example.

use predicates::str::contains;

use crate::support::{Folder, error_of, sadm, says};

#[test]
fn a_quantity_is_verified_and_reported() {
    let folder = Folder::new();
    let report = folder.path("report.json");
    sadm()
        .args([
            "verify",
            "--only=forward",
            "--cases=8",
            "--seed=3",
            "--report",
        ])
        .arg(&report)
        .assert()
        .success()
        .stdout(contains("error/bound"))
        .stdout(contains("forward"))
        .stdout(contains("pass"));
    let text = std::fs::read_to_string(report).expect("the report");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&json["dtype"], &json["seed"], &json["cases"]),
        (&"f32".into(), &3.into(), &8.into())
    );
    let checks = json["checks"].as_array().expect("a list");
    assert!(!checks.is_empty());
    for check in checks {
        let worst = check["worst"].as_f64().expect("a ratio");
        assert!(worst <= 1.0 && check["verdict"] == "passed", "{check}");
    }
}

#[test]
fn f64_is_verified_too() {
    sadm()
        .args(["verify", "--only=forward", "--cases=4", "--dtype=f64"])
        .assert()
        .success();
}

#[test]
fn quantities_are_listed_with_their_formulas() {
    sadm()
        .args(["verify", "--list"])
        .assert()
        .success()
        .stdout(contains("structural-loss.cosine.squared"));
}

#[test]
fn unknown_names_and_devices_are_named() {
    let message = error_of(sadm().args(["verify", "--only=structual-loss.cosin"]));
    says(&message, &["structual-loss.cosin", "`structural-loss."]);
    let message = error_of(sadm().args(["verify", "--device=gpu"]));
    says(&message, &["device must be `cpu` or `cuda:N`, got `gpu`"]);
    sadm().args(["verify", "--dtype=f8"]).assert().code(2);
    sadm().args(["verify", "--cases=0"]).assert().code(2);
}

#[test]
fn a_replayed_case_runs_in_its_own_type_or_in_another() {
    let folder = Folder::new();
    let path = folder.path("case.json");
    // x = 0.1, which no binary type holds: its rounding differs by element type.
    let case = serde_json::json!({
        "check": "denoising-loss", "device": "cpu", "dtype": "f32", "message": "by hand",
        "case": {
            "params": {"w": {"numbers": [0.5]}},
            "tensors": {
                "x_hat": {"shape": [1, 2], "data": [0.75, 0.1]},
                "x0": {"shape": [1, 2], "data": [0.25, -0.3]},
            },
        },
    });
    std::fs::write(&path, case.to_string()).expect("writable");
    let replay = |more: &[&str]| {
        let output = sadm()
            .args(["verify", "--replay"])
            .arg(&path)
            .args(more)
            .assert()
            .success();
        String::from_utf8_lossy(&output.get_output().stdout).into_owned()
    };
    assert_eq!(replay(&[]), replay(&["--dtype=f32"]));
    assert_ne!(
        replay(&[]),
        replay(&["--dtype=f64"]),
        "--dtype has no effect"
    );
}

#[test]
fn a_replay_file_that_is_none_is_named() {
    let folder = Folder::new();
    let path = folder.path("case.json");
    let replay = || error_of(sadm().args(["verify", "--replay"]).arg(&path));
    assert!(replay().contains("case.json"));
    std::fs::write(&path, "{}").expect("writable");
    let message = replay();
    says(&message, &["case.json", "counter-example"]);
}
