//! Choices that are listed in more than one place (`docs/src/extending.md`): each place knows all of them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{error_of, sadm};

fn printed(args: &[&str]) -> String {
    let output = sadm().args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The words in back ticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn source(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).expect("a text file")
}

#[test]
fn every_command_answers_help_with_an_example() {
    let help = printed(&["--help"]);
    assert!(help.contains("sadm train --preset digits"), "{help}");
    let block = help
        .split("Commands:\n")
        .nth(1)
        .expect("a list of commands");
    let names = block
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    let mut count = 0;
    for name in names {
        let help = printed(&[name, "--help"]);
        let example = format!("  sadm {name} ");
        assert!(
            help.contains("Example") && help.contains(&example),
            "{name}: {help}"
        );
        count += 1;
    }
    assert!(count >= 9, "only {count} commands in {help}");
}

#[test]
fn every_metric_is_in_the_table_of_the_book() {
    let help = printed(&["evaluate", "--help"]);
    let option = help.split("--metrics <").nth(1).expect("the option");
    let values = option.split("[default:").next().unwrap_or_default();
    let names: Vec<&str> = values
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(names.len() >= 11, "{names:?}");
    let book = source("docs/src/metrics.md");
    for name in names {
        let row = format!("| `{name}` | ");
        assert!(book.contains(&row), "docs/src/metrics.md has no row {row}");
    }
}

#[test]
fn every_data_set_can_be_trained_on_and_compared_with() {
    let trained = error_of(sadm().args([
        "train",
        "--preset=digits",
        "--out=none",
        "--set=data.dataset=nothing",
    ]));
    let of_reference = [
        "evaluate",
        "--generated=nothing",
        "--reference=nothing",
        "--features=pixels",
    ];
    let compared = error_of(sadm().args(of_reference));
    let listed = compared.split("data sets ").nth(1).expect("a list");
    let known: Vec<&str> = listed.trim().split(", ").collect();
    // `images` is a folder or a file, which a reference names by its path.
    let named: Vec<&str> = quoted(&trained)
        .into_iter()
        .filter(|word| !["nothing", "images", "data.dataset"].contains(word))
        .collect();
    assert!(named.len() >= 3, "{trained}");
    assert_eq!(named, known);
}

/// The names that a key of the configuration takes, as its refusal lists them.
fn names_of(key: &str) -> Vec<String> {
    let set = format!("--set={key}=nothing");
    let refusal = error_of(sadm().args(["train", "--preset=digits", "--out=none", &set]));
    let list = refusal.split("expected one of ").nth(1).expect("a list");
    let list = list.split(", in `").next().unwrap_or(list);
    list.split(", ")
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_choice_of_a_formula_has_golden_vectors() {
    for (key, file, field, least) in [
        ("structure.relation", "structural-loss", "relation", 5),
        ("structure.distance", "structural-loss", "distance", 3),
        ("objective.schedule", "schedules", "schedule", 5),
    ] {
        let text = source(&format!("fixtures/{file}.json"));
        let suite: Value = serde_json::from_str(&text).expect("JSON");
        let tests = suite["tests"].as_array().expect("tests");
        let names = names_of(key);
        assert!(names.len() >= least, "{key}: {names:?}");
        for name in names {
            let golden = tests.iter().any(|test| test["input"][field] == *name);
            assert!(golden, "fixtures/{file}.json has no test of {field} {name}");
        }
    }
}

#[test]
fn every_quantity_of_the_oracle_has_a_test_of_its_values() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-cli");
    let mut tests = String::new();
    for entry in fs::read_dir(folder).expect("the tests") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("oracle_") && name != "oracle_errors.rs" {
            tests.push_str(&fs::read_to_string(&path).expect("UTF-8"));
        }
    }
    let list = printed(&["oracle", "list"]);
    let names = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '));
    let mut count = 0;
    for name in names {
        assert!(
            tests.contains(&format!("\"{name}\"")),
            "no file tests-cli/oracle_*.rs asks for {name}"
        );
        count += 1;
    }
    assert!(count >= 13, "{list}");
}
