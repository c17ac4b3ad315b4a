//! `sadm theory`: statements listed, checked, shown and drawn.

use predicates::str::contains;

use crate::support::{Folder, error_of, sadm};

#[test]
fn the_list_names_every_statement_with_its_kind_and_source() {
    let output = sadm().args(["theory", "list"]).assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for statement in sadm::theory::statements::registry() {
        assert!(text.contains(statement.id()), "{}", statement.id());
        assert!(text.contains(statement.summary()), "{}", statement.id());
        assert!(text.contains(statement.source()), "{}", statement.id());
    }
}

#[test]
fn a_check_prints_ratios_and_a_verdict() {
    let args = ["theory", "check", "eq-13", "eq-14a", "--cases", "16"];
    let output = sadm().args(args).assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for id in ["eq-13", "eq-14a"] {
        let line = text.lines().find(|l| l.starts_with(id)).expect("a row");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[1], words[4]), ("16", "holds"), "{line}");
        let rounding: f64 = words[3].parse().expect("a number");
        assert!(rounding <= 1.0, "{line}");
    }
    sadm()
        .args(["theory", "check", "e1", "--cases", "4"])
        .assert()
        .success();
}

#[test]
fn the_same_seed_draws_the_same_instances() {
    let run = |seed: &str| {
        let args = ["theory", "check", "eq-14a", "--cases", "8", "--seed", seed];
        sadm()
            .args(args)
            .assert()
            .success()
            .get_output()
            .stdout
            .clone()
    };
    assert_eq!(run("3"), run("3"));
    assert_ne!(run("3"), run("4"));
}

#[test]
fn show_sets_parameters_by_latin_and_greek_names() {
    for key in ["gamma", "γ"] {
        sadm()
            .args([
                "theory",
                "show",
                "eq-14a",
                "--set",
                &format!("{key}=0.3"),
                "--over",
                "t",
            ])
            .assert()
            .success()
            .stdout(contains("0.3 "))
            .stdout(contains("holds"))
            .stdout(contains("refuted"))
            .stdout(contains("left (dots) and right (line) over t"));
    }
}

#[test]
fn plot_writes_a_picture_with_both_sides() {
    let folder = Folder::new();
    let out = folder.path("jensen.svg");
    sadm()
        .args(["theory", "plot", "eq-14a", "--out"])
        .arg(&out)
        .assert()
        .success();
    let picture = std::fs::read_to_string(&out).expect("a file");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    assert!(
        picture.matches("<polyline").count() >= 4,
        "two sides of two claims"
    );
    assert!(picture.contains("left") && picture.contains("right"));
}

#[test]
fn what_is_unknown_or_out_of_range_is_named() {
    let says = |args: &[&str], part: &str| {
        let message = error_of(sadm().arg("theory").args(args));
        assert!(message.contains(part), "{message}");
    };
    says(
        &["show", "eq-14aa"],
        "unknown statement `eq-14aa`; did you mean `eq-14a`?",
    );
    says(
        &["show", "eq-14a", "--set", "gama=1"],
        "did you mean `gamma`?",
    );
    says(
        &["show", "eq-14a", "--set", "gamma=-1"],
        "gamma must lie in",
    );
    says(
        &["show", "eq-14a", "--set", "gamma=x"],
        "gamma must be a number",
    );
    says(&["show", "eq-14a", "--over", "z"], "unknown parameter `z`");
}
