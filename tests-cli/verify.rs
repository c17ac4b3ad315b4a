//! `sadm verify`: the table, the report, the exit code, the counter-example.

use predicates::str::contains;

use crate::support::{Folder, error_of, sadm};

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
    assert!(
        message.contains("structual-loss.cosin") && message.contains("`structural-loss."),
        "{message}"
    );
    let message = error_of(sadm().args(["verify", "--device=gpu"]));
    assert!(
        message.contains("device must be `cpu` or `cuda:N`, got `gpu`"),
        "{message}"
    );
    sadm().args(["verify", "--dtype=f8"]).assert().code(2);
    sadm().args(["verify", "--cases=0"]).assert().code(2);
}

#[test]
fn a_replay_file_that_is_none_is_named() {
    let folder = Folder::new();
    let path = folder.path("case.json");
    let replay = || error_of(sadm().args(["verify", "--replay"]).arg(&path));
    assert!(replay().contains("case.json"));
    std::fs::write(&path, "{}").expect("writable");
    let message = replay();
    assert!(
        message.contains("case.json") && message.contains("counter-example"),
        "{message}"
    );
}
