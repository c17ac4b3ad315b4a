//! Quantities of the oracle against the golden vectors of `fixtures/`.
//!
//! `reference/tests/golden.rs` holds the functions to their rounding bounds on the same vectors; these tests say that the
//! program hands them what it was given, and that it takes the form of the structural loss that does not cancel.

use ndarray::{Array1, Array2, ArrayD, Axis, array};
use serde_json::Value;

use crate::support::{Answer, Folder, cases, close, tensor};

/// Far more than any of these computations rounds, relative to the sizes that meet in it.
const RELATIVE: f64 = 1e-12;

/// λ′ of the discrete schedule is a difference of sums of up to 1000 logarithms.
fn relative(schedule: &str) -> f64 {
    if schedule == "ddpm" { 1e-9 } else { RELATIVE }
}

macro_rules! cases {
    ($op:literal) => {
        cases(include_str!(concat!("../fixtures/", $op, ".json")))
    };
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// A golden output: a tensor, or a number as a tensor [1].
fn wanted(value: &Value) -> ArrayD<f64> {
    value
        .as_f64()
        .map_or_else(|| tensor(value), |x| array![x].into_dyn())
}

fn has_flag(case: &Value, flag: &str) -> bool {
    case["flags"]
        .as_array()
        .is_some_and(|flags| flags.iter().any(|f| f == flag))
}

fn largest(x: &ArrayD<f64>) -> f64 {
    x.iter().fold(0.0, |most: f64, x| most.max(x.abs()))
}

/// `key=value` for each key, from the inputs of a case.
fn settings(input: &Value, keys: &[&str]) -> Vec<String> {
    let of = |key: &&str| match &input[*key] {
        Value::String(word) => format!("{key}={word}"),
        number => format!("{key}={number}"),
    };
    keys.iter().map(of).collect()
}

fn ask(
    folder: &Folder,
    quantity: &str,
    given: &[(&str, ArrayD<f64>)],
    settings: &[String],
) -> Answer {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    folder.oracle(quantity, given, &settings)
}

/// Requires |got − want| ≤ relative·scale in every element.
fn near(what: &str, answer: &Answer, name: &str, want: &ArrayD<f64>, relative: f64, scale: f64) {
    let got = &answer.tensors[name];
    assert_eq!(got.shape(), want.shape(), "{what} {name}");
    let want: Vec<f64> = want.iter().copied().collect();
    close(
        &format!("{what} {name}"),
        got,
        &want,
        relative / f64::EPSILON * 2.0,
        scale,
    );
}

/// Every schedule of a file with its cases, asked together, one row for each.
fn by_schedule(cases: Vec<Value>) -> Vec<(String, Vec<Value>)> {
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for case in cases {
        let schedule = case["input"]["schedule"].as_str().expect("a name");
        match groups.iter_mut().find(|(name, _)| name == schedule) {
            Some((_, group)) => group.push(case),
            None => groups.push((schedule.to_owned(), vec![case])),
        }
    }
    assert_eq!(groups.len(), 5);
    groups
}

fn column(cases: &[Value], part: &str, name: &str) -> ArrayD<f64> {
    let values = cases.iter().map(|case| number(&case[part][name]));
    values.collect::<Array1<f64>>().into_dyn()
}

#[test]
fn structural_losses() {
    let folder = Folder::new();
    let mut near_equal = 0;
    for case in cases!("structural-loss") {
        let input = &case["input"];
        let (what, eta) = (case["comment"].to_string(), tensor(&input["eta"]));
        if eta.len() > 1 {
            continue;
        }
        let (relation, distance) = (&input["relation"], &input["distance"]);
        let mut set = settings(input, &["relation", "distance", "diagonal"]);
        set.push(format!("eta={}", eta[[0]]));
        if relation == "rbf" || relation == "laplacian" {
            set.extend(settings(input, &["bandwidth"]));
        }
        if distance == "huber" {
            set.extend(settings(input, &["delta"]));
        }
        let given = ["real", "generated"].map(|name| (name, tensor(&input[name])));
        let answer = ask(&folder, "structural-loss", &given, &set);
        assert_eq!(
            answer.json["scalars"]["loss"].as_f64(),
            answer.tensors["loss"].first().copied()
        );
        let want = |name: &str| wanted(&case["output"][name]);
        let affinity = largest(&want("affinity_real")).max(largest(&want("affinity_generated")));
        for name in ["affinity_real", "affinity_generated"] {
            near(&what, &answer, name, &want(name), RELATIVE, affinity);
        }
        let bilinear =
            distance == "squared" && (relation == "cosine" || relation == "inner-product");
        let all = ["loss", "grad_real", "grad_generated"];
        if has_flag(&case, "NearEqual") {
            near_equal += 1;
            let loss = number(&case["output"]["loss"]);
            let bound = answer.json["bounds"]["loss"].as_f64().expect("a bound");
            let off = (answer.tensors["loss"][[0]] - loss).abs();
            assert!(off <= bound && bound < 1e-3 * loss, "{what}: {off} {bound}");
            // No digit is lost where there is a form that does not cancel.
            for name in all.iter().filter(|_| bilinear) {
                let want = want(name);
                near(
                    &what,
                    &answer,
                    name,
                    &want,
                    256.0 * f64::EPSILON,
                    largest(&want),
                );
            }
        } else {
            for name in all {
                let scale = (1.0 + affinity).powi(2) * (1.0 + largest(&want(name)));
                near(&what, &answer, name, &want(name), RELATIVE, scale);
            }
        }
    }
    assert_eq!(near_equal, 12);
}

/// x_t of two features, each row at its own time.
#[test]
fn forward() {
    let folder = Folder::new();
    for (schedule, cases) in by_schedule(cases!("schedules")) {
        let rows = cases.len();
        let x0 = Array2::from_shape_fn((rows, 2), |(i, j)| [1.0, -2.0][j] + i as f64);
        let noise = Array2::from_shape_fn((rows, 2), |(i, j)| [-0.5, 1.5][j] - i as f64);
        let t = column(&cases, "input", "t");
        let given = [
            ("x0", x0.clone().into_dyn()),
            ("noise", noise.clone().into_dyn()),
            ("t", t),
        ];
        let answer = ask(
            &folder,
            "forward",
            &given,
            &[format!("schedule={schedule}")],
        );
        let levels = ["alpha", "sigma", "lambda"].map(|name| column(&cases, "output", name));
        for (name, want) in ["alpha", "sigma", "lambda"].into_iter().zip(&levels) {
            near(&schedule, &answer, name, want, RELATIVE, largest(want));
        }
        let [alpha, sigma, _] = levels.map(|level| level.insert_axis(Axis(1)));
        let want = &x0.into_dyn() * &alpha + &noise.into_dyn() * &sigma;
        near(&schedule, &answer, "xt", &want, RELATIVE, largest(&want));
    }
}

#[test]
fn transitions() {
    let folder = Folder::new();
    for (schedule, cases) in by_schedule(cases!("transition")) {
        let given = ["s", "t"].map(|name| (name, column(&cases, "input", name)));
        let answer = ask(
            &folder,
            "transition",
            &given,
            &[format!("schedule={schedule}")],
        );
        assert_eq!(answer.tensors.len(), 5);
        for name in answer.tensors.keys() {
            let want = column(&cases, "output", name);
            near(&schedule, &answer, name, &want, RELATIVE, largest(&want));
        }
    }
}

/// The loss of two features a row under every weight, each row at its own time.
#[test]
fn denoising_losses() {
    let folder = Folder::new();
    for (schedule, cases) in by_schedule(cases!("denoising-weights")) {
        let named = ["constant", "snr", "one-plus-snr", "min-snr", "edm", "elbo"].map(|w| (w, w));
        // The likelihood weight of the drawn time is the ELBO's.
        for (weight, golden) in named.into_iter().chain([("soft-truncation", "elbo")]) {
            let mut set = vec![format!("schedule={schedule}"), format!("weight={weight}")];
            match weight {
                "min-snr" => set.extend(settings(&cases[0]["input"], &["gamma"])),
                "edm" => set.extend(settings(&cases[0]["input"], &["sigma_data"])),
                _ => {}
            }
            for case in &cases {
                let x0 = array![[1.0, -2.0], [0.5, 0.25]].into_dyn();
                let error = array![[-0.5, 1.0], [0.0, 0.0]].into_dyn();
                // A second row without error: the loss divides by the batch.
                let t = array![number(&case["input"]["t"]), number(&cases[0]["input"]["t"])];
                let given = [
                    ("x0", x0.clone()),
                    ("prediction", x0 + &error),
                    ("t", t.into_dyn()),
                ];
                let answer = ask(&folder, "denoising-loss", &given, &set);
                let what = format!("{weight}, {}", case["comment"]);
                let want = [case, &cases[0]].map(|case| number(&case["output"][golden]));
                for (got, want) in answer.tensors["weight"].iter().zip(want) {
                    assert!(
                        (got - want).abs() <= relative(&schedule) * want,
                        "{what}: {got} {want}"
                    );
                }
                let loss = array![want[0] * 1.25 / 2.0].into_dyn();
                near(&what, &answer, "loss", &loss, relative(&schedule), want[0]);
                let grad = error * want[0];
                near(
                    &what,
                    &answer,
                    "grad_prediction",
                    &grad,
                    relative(&schedule),
                    want[0],
                );
            }
        }
    }
}

#[test]
fn edm_preconditioning_and_noise_levels() {
    let folder = Folder::new();
    for case in cases!("edm-precondition") {
        if has_flag(&case, "LargeInput") {
            continue;
        }
        let given = [("sigma", wanted(&case["input"]["sigma"]))];
        let set = settings(&case["input"], &["sigma_data"]);
        let answer = ask(&folder, "edm-precondition", &given, &set);
        assert_eq!(answer.json["scalars"], serde_json::json!({}));
        assert_eq!(answer.tensors.len(), 5);
        for name in answer.tensors.keys() {
            let want = wanted(&case["output"][name]);
            near(
                "edm-precondition",
                &answer,
                name,
                &want,
                RELATIVE,
                largest(&want),
            );
        }
    }
    for case in cases!("edm-sigmas") {
        let set = settings(&case["input"], &["steps", "rho", "sigma_min", "sigma_max"]);
        let answer = ask(&folder, "edm-sigmas", &[], &set);
        let want = wanted(&case["output"]["sigmas"]);
        near(
            "edm-sigmas",
            &answer,
            "sigmas",
            &want,
            RELATIVE,
            largest(&want),
        );
    }
}

#[test]
fn finite_posteriors() {
    let folder = Folder::new();
    for case in cases!("finite-posterior") {
        let input = &case["input"];
        let given = [
            ("atoms", tensor(&input["atoms"])),
            ("prior", tensor(&input["prior"])),
            ("xt", tensor(&input["xt"]).insert_axis(Axis(0))),
            ("t", wanted(&input["t"])),
        ];
        let answer = ask(
            &folder,
            "finite-posterior",
            &given,
            &settings(input, &["schedule"]),
        );
        assert_eq!(answer.tensors.len(), 5);
        for name in answer.tensors.keys() {
            let value = &case["output"][name];
            let want = wanted(value);
            let want = if value.is_number() {
                want
            } else {
                want.insert_axis(Axis(0))
            };
            let scale = 1.0 + largest(&want);
            near(
                &case["comment"].to_string(),
                &answer,
                name,
                &want,
                RELATIVE,
                scale,
            );
        }
    }
}
