//! The configuration: presets, overrides, and what is refused with which words.

use sadm_gpu::config::{Config, PRESETS};

#[test]
fn presets_are_valid_and_survive_being_written_and_read() {
    for preset in PRESETS {
        let config = Config::preset(preset.name).expect(preset.name);
        let again = Config::from_toml(&config.to_toml(), "written").expect("valid");
        assert_eq!(config, again, "{}", preset.name);
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/presets");
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(PRESETS.len(), files, "a file of {folder} is no preset");
}

#[test]
fn any_key_can_be_set() {
    let config = Config::default()
        .with_set("structure.relation=euclidean")
        .and_then(|c| c.with_set("train.steps = 60"))
        .and_then(|c| c.with_set("train.learning_rate=1"))
        .and_then(|c| c.with_set("structure.distance=\"huber(0.5)\""))
        .and_then(|c| c.with_set("model.unet.channels=[8, 16]"))
        .expect("all valid");
    let text = config.to_toml();
    for line in [
        "relation = \"euclidean\"",
        "steps = 60",
        "learning_rate = 1.0",
        "distance = \"huber(0.5)\"",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

/// Every dotted key below `table` with its value.
fn leaves(table: &toml::Table, before: &str, found: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        let path = format!("{before}{key}");
        match value {
            toml::Value::Table(inner) => leaves(inner, &format!("{path}."), found),
            value => found.push((path, value.clone())),
        }
    }
}

#[test]
fn every_key_refuses_what_is_outside_its_domain() {
    let table = Config::default().to_toml().parse().expect("TOML");
    let mut keys = Vec::new();
    leaves(&table, "", &mut keys);
    for (key, value) in &keys {
        let outside = match value {
            // Any text may be a path.
            _ if key == "data.dir" => continue,
            toml::Value::Float(_) => "nan",
            toml::Value::Integer(_) => "-1",
            toml::Value::String(_) => "no-such-choice",
            toml::Value::Boolean(_) => "3",
            _ => "[-1]",
        };
        let set = format!("{key}={outside}");
        let refusal = Config::default().with_set(&set);
        let message = refusal.expect_err(&set).to_string();
        let last = key.rsplit('.').next().unwrap_or(key);
        assert!(message.contains(last), "`{set}`: {message}");
    }
    assert!(keys.len() > 80, "{} keys", keys.len());
}

#[test]
fn several_overrides_are_judged_together() {
    let sets = ["train.batch=1", "structure.method=none"];
    let config = Config::default().with_sets(sets).expect("valid together");
    assert_eq!(config.train.batch, 1);
    let refused = |sets: &[&str]| {
        let error = Config::default().with_sets(sets.iter().copied());
        error.expect_err("must be refused").to_string()
    };
    let message = refused(&["train.batch=1", "seed=3"]);
    assert!(
        message.contains("--set train.batch=1 --set seed=3"),
        "{message}"
    );
    let twice = Config::default().with_sets(["seed=1", "seed=2"]);
    assert_eq!(twice.expect("valid").seed, 2);
}

#[test]
fn refusals_name_the_key_and_the_nearest_known_one() {
    let refused = |set: &str| Config::default().with_set(set).expect_err(set).to_string();
    for (set, words) in [
        (
            "train.step=60",
            vec!["train.step", "did you mean `train.steps`"],
        ),
        ("train.steps=many", vec!["train.steps", "integer", "many"]),
        (
            "seed=18446744073709551615",
            vec!["an integer of at most 9223372036854775807"],
        ),
        ("train.steps=0", vec!["train.steps", "at least 1", "0"]),
        ("train.steps=-3", vec!["-3", "a whole number of at least 0"]),
        ("train.learning_rate=0", vec!["train.learning_rate", "> 0"]),
        (
            "train.learning_rate=nan",
            vec!["train.learning_rate", "NaN"],
        ),
        ("structure.relation=cosin", vec!["cosin", "cosine"]),
        ("structure.distance=huber(-1)", vec!["-1"]),
        ("data.holdout=1.5", vec!["data.holdout", "1.5"]),
        (
            "data.augment=1.5",
            vec!["data.augment", "be in [0, 1]", "1.5"],
        ),
        (
            "data.augment=0.12",
            vec![
                "data.augment must be 0 for model.kind = unet",
                "song-unet and dhariwal-unet can",
                "0.12",
            ],
        ),
        ("phases.denoise=-1", vec!["phases.denoise", "-1"]),
        (
            "sample.sigma_max=0.001",
            vec!["sample.sigma_max", "sample.sigma_min"],
        ),
        ("nonsense", vec!["key=value"]),
        ("a..b=1", vec!["key=value"]),
        ("seed=", vec!["key=value"]),
    ] {
        let message = refused(set);
        for word in words {
            assert!(message.contains(word), "`{set}`: no `{word}` in: {message}");
        }
        assert_eq!(message.lines().count(), 1, "more than a line: {message}");
    }
    let message = Config::from_toml("[train]\nsteps = \n", "file.toml")
        .expect_err("not TOML")
        .to_string();
    assert!(
        message.contains("file.toml") && message.lines().count() == 1,
        "{message}"
    );
    let message = Config::preset("digit").expect_err("unknown").to_string();
    assert!(message.contains("did you mean `digits`"), "{message}");
}
