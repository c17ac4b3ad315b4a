//! `sadm theory`: statements listed, checked, shown and drawn.

use predicates::str::contains;

use crate::support::{Folder, error_of, sadm, says};

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
        assert_eq!((words[1], words[6]), ("16", "holds"), "{line}");
        let vacuous: u32 = words[4].parse().expect("a number");
        assert!(vacuous <= 16, "{line}");
        let idle: u32 = words[5].parse().expect("a number");
        assert!(idle <= 40, "{line}");
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

/// Each claim of Eq. 15 is made of terms that the output explains; a statement without free values prints none.
#[test]
fn show_explains_the_terms_of_eq_15() {
    let show = |id: &str| {
        let output = sadm().args(["theory", "show", id]).assert().success();
        String::from_utf8_lossy(&output.get_output().stdout).into_owned()
    };
    let printed = show("eq-15");
    for term in ["H(y_0): ", "slack of the structure: ", "KL(q‖p): "] {
        assert!(
            printed.contains(&format!("\n  {term}")),
            "{term}: {printed}"
        );
    }
    let e8 = show("e8");
    assert!(
        e8.starts_with("e8 (erratum, contradictions in print): "),
        "{e8}"
    );
    assert!(!e8.contains("values"), "{e8}");
}

#[test]
fn show_prints_the_free_values_and_takes_them_back() {
    let show = |values: Option<&str>| {
        let mut command = sadm();
        command.args(["theory", "show", "eq-14a"]);
        if let Some(values) = values {
            command.args(["--set", &format!("values={values}")]);
        }
        let output = command.assert().success();
        String::from_utf8_lossy(&output.get_output().stdout).into_owned()
    };
    let printed = show(None);
    let line = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("values"))
        .expect("the values")
        .trim();
    let values: Vec<f64> = line
        .split(',')
        .map(|x| x.parse().expect("a number"))
        .collect();
    assert!(values.len() >= 64, "{line}");
    let place = |text: &str| printed.find(text).expect(text);
    assert!(place("holds:") < place("refuted") && place("refuted") < place("instance:"));
    assert!(
        place("atoms:") < place("values     "),
        "the free values are last"
    );
    assert!(printed.trim_end().ends_with(line));
    for name in ["atoms:", "prior, up to a factor:", "points x_t:"] {
        assert!(
            printed.contains(&format!("  {name}\n")),
            "{name}: {printed}"
        );
    }
    assert_eq!(show(Some(line)), printed, "not the same instance");
    let moved: Vec<String> = values.iter().map(|x| (x / 2.0).to_string()).collect();
    assert_ne!(
        show(Some(&moved.join(","))),
        printed,
        "values have no effect"
    );
    let refused = |values: &str| {
        error_of(sadm().args([
            "theory",
            "show",
            "eq-13",
            "--set",
            &format!("values={values}"),
        ]))
    };
    assert!(refused("1,x").contains("values must be finite numbers between commas, got `x`"));
    assert!(refused("1,inf").contains("got `inf`"));
    assert!(refused("1,2").contains("more free values"));
}

#[test]
fn a_choice_is_set_by_code_or_name() {
    let show = |relation: &str| {
        let relation = format!("relation={relation}");
        let output = sadm()
            .args(["theory", "show", "eq-13", "--set", &relation])
            .assert()
            .success();
        output.get_output().stdout.clone()
    };
    assert_eq!(show("inner-product"), show("1"));
    assert_eq!(show("rbf"), show("4"));
    assert_ne!(show("cosine"), show("rbf"));
    let message = error_of(sadm().args(["theory", "show", "eq-13", "--set", "relation=cosin"]));
    says(&message, &["0 cosine, 1 inner product", "got `cosin`"]);
    let message = error_of(sadm().args(["theory", "show", "eq-13", "--set", "atoms=1.5"]));
    says(
        &message,
        &["atoms must be a whole number from 1 to 4, got `1.5`"],
    );
    let message = error_of(sadm().args(["theory", "show", "eq-14a", "--set", "gamma=-1"]));
    assert!(!message.contains("whole"), "{message}");
}

/// Whatever parameter has a Greek letter's name can be typed as that letter.
#[test]
fn every_greek_parameter_is_mapped() {
    let letters = [
        ("γ", "gamma"),
        ("δ", "delta"),
        ("η", "eta"),
        ("θ", "theta"),
        ("ρ", "rho"),
        ("σ", "sigma"),
        ("τ", "tau"),
        ("φ", "phi"),
        ("ω", "omega"),
        ("ᾱ", "alpha_bar"),
    ];
    for (letter, name) in letters {
        let registry = sadm::theory::statements::registry();
        let statement = registry
            .iter()
            .find(|s| s.parameters().iter().any(|p| p.name == name))
            .unwrap_or_else(|| panic!("no parameter {name}"));
        sadm()
            .args(["theory", "show", statement.id(), "--over", letter])
            .assert()
            .success();
    }
}

#[test]
fn plot_draws_every_claim_and_says_so() {
    let folder = Folder::new();
    let out = folder.path("a.svg");
    sadm()
        .args(["theory", "plot", "coupling-entropy", "--over", "ρ", "--out"])
        .arg(&out)
        .assert()
        .success()
        .stdout(contains("claims over rho"));
    let picture = std::fs::read_to_string(&out).expect("a file");
    for claim in ["below independent noise", "not below independent noise"] {
        assert!(picture.contains(claim), "no panel of `{claim}`");
    }
    assert!(picture.matches("two dimensions").count() >= 2, "claims cut");
    let png = folder.path("a.png");
    let message = error_of(sadm().args(["theory", "plot", "eq-14a", "--out"]).arg(&png));
    says(&message, &["--out must end in .svg"]);
    assert!(!png.exists());
}
