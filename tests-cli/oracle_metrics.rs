//! `frechet`, `kid`, `precision-recall` and `inception-score` against the golden vectors of `fixtures/make_metrics.py`, and
//! what they say to sets they must refuse.

use crate::support::{Folder, cases, close, tensor};
use ndarray::{ArrayD, array};

/// Runs `quantity` on the inputs of every case; each named output to `units` of `scale`.
fn golden(quantity: &str, text: &str, inputs: &[&str], outputs: &[&str], units: f64, scale: f64) {
    let folder = Folder::new();
    for case in cases(text) {
        let given: Vec<_> = inputs
            .iter()
            .map(|n| (*n, tensor(&case["input"][*n])))
            .collect();
        let settings: Vec<String> = ["k", "splits"]
            .iter()
            .filter_map(|key| Some(format!("{key}={}", case["input"][*key].as_u64()?)))
            .collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let answer = folder.oracle(quantity, &given, &settings);
        assert_eq!(answer.tensors.len(), outputs.len());
        for name in outputs {
            let want = case["output"][*name].as_f64().expect("a number");
            assert_eq!(answer.tensors[*name].shape(), [1], "{name}");
            close(name, &answer.tensors[*name], &[want], units, scale);
            assert_eq!(
                answer.json["scalars"][*name],
                answer.tensors[*name][[0]],
                "{name}"
            );
        }
    }
}

/// Features of squares below 16 in 12 columns: traces below 192, some thousand operations.
#[test]
fn frechet_has_its_values() {
    golden(
        "frechet",
        include_str!("../fixtures/frechet.json"),
        &["a", "b"],
        &["frechet", "mean_term", "trace_term"],
        4096.0,
        192.0,
    );
}

/// Kernel values below (16 + 1)³.
#[test]
fn kid_has_its_values() {
    let text = include_str!("../fixtures/kid.json");
    golden("kid", text, &["a", "b"], &["kid"], 64.0, 4913.0);
}

#[test]
fn precision_and_recall_have_their_values() {
    golden(
        "precision-recall",
        include_str!("../fixtures/prdc.json"),
        &["real", "generated"],
        &["precision", "recall", "density", "coverage"],
        0.0,
        1.0,
    );
}

#[test]
fn inception_scores_have_their_values() {
    let text = include_str!("../fixtures/inception-score.json");
    golden(
        "inception-score",
        text,
        &["probabilities"],
        &["mean", "std"],
        512.0,
        2.0,
    );
}

#[test]
fn the_defaults_are_three_neighbours_and_ten_splits() {
    let folder = Folder::new();
    let line = ArrayD::from_shape_fn(vec![5, 1], |i| (i[0] * i[0]) as f64);
    let answer = folder.oracle(
        "precision-recall",
        &[("real", line.clone()), ("generated", line)],
        &[],
    );
    assert_eq!(answer.json["parameters"]["k"], 3);
    let p = ArrayD::from_elem(vec![10, 2], 0.5);
    let answer = folder.oracle("inception-score", &[("probabilities", p)], &[]);
    assert_eq!(answer.json["parameters"]["splits"], 10);
    close("mean", &answer.tensors["mean"], &[1.0], 0.0, 1.0);
}

#[test]
fn what_cannot_be_answered_is_named() {
    let folder = Folder::new();
    let says =
        |quantity: &str, given: &[(&str, ArrayD<f64>)], settings: &[&str], parts: &[&str]| {
            crate::support::says(&folder.oracle_error(quantity, given, settings), parts);
        };
    let three = array![[0.0, 1.0], [2.0, 3.5], [1.0, -1.0]].into_dyn();
    let one = array![[0.0, 1.0]].into_dyn();
    let wide = array![[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]].into_dyn();
    let pair = |b: &ArrayD<f64>| vec![("a", three.clone()), ("b", b.clone())];
    says(
        "frechet",
        &pair(&one),
        &[],
        &["`b`", "at least 2 samples", "got 1"],
    );
    says(
        "kid",
        &pair(&one),
        &[],
        &["`b`", "at least 2 samples", "got 1"],
    );
    says(
        "frechet",
        &pair(&wide),
        &[],
        &["`b` must have shape [M, d]", "d = 2", "got [2, 3]"],
    );
    says("frechet", &pair(&(&three * 1e200)), &[], &["overflows"]);
    let sets = [("real", three.clone()), ("generated", three.clone())];
    says(
        "precision-recall",
        &sets,
        &[],
        &["k must be from 1 to 2", "`real`", "got 3"],
    );
    says(
        "precision-recall",
        &sets,
        &["k=0"],
        &["`k` must be a whole number from 1"],
    );
    let p = |rows: ArrayD<f64>| vec![("probabilities", rows)];
    let good = array![[0.5, 0.5], [0.25, 0.75]].into_dyn();
    says(
        "inception-score",
        &p(good),
        &["splits=3"],
        &["splits must be from 1 to 2", "got 3"],
    );
    let short = array![[0.5, 0.5], [0.5, 0.25]].into_dyn();
    says(
        "inception-score",
        &p(short),
        &["splits=1"],
        &["row 1 of `probabilities` must sum to 1", "got 0.75"],
    );
    let negative = array![[1.5, -0.5]].into_dyn();
    says(
        "inception-score",
        &p(negative),
        &["splits=1"],
        &["not be negative", "-0.5", "column 1"],
    );
}
