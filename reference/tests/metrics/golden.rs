//! The metrics against 60-digit evaluations of their definitions, and against what the field's own tools return on the
//! same arrays (`fixtures/make_metrics.py`).

use ndarray::{Array1, Array2};
use sadm_reference::metrics::{
    Ball, Moments, extrapolate, frechet, frechet_of_moments, inception_score, kid, kid_of_subsets,
    mann_whitney, prdc, quantile, wilson_interval,
};
use serde_json::Value;

use crate::support::{U, assert_within, size};

/// What the issue asks of the agreement with other tools, relative.
const TOOLS: f64 = 1e-9;

macro_rules! suite {
    ($op:literal) => {{
        let text = include_str!(concat!("../../../fixtures/", $op, ".json"));
        let suite: Value = serde_json::from_str(text).expect("a JSON file");
        assert_eq!(suite["op"], $op);
        let tests = suite["tests"].as_array().expect("tests").clone();
        assert_eq!(suite["numberOfTests"].as_u64(), Some(tests.len() as u64));
        assert!(!tests.is_empty(), "{} has no cases", $op);
        tests
    }};
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a whole number")).expect("a size")
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().or_else(|| value["data"].as_array());
    list.expect("a list").iter().map(number).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let shape = &value["shape"];
    Array2::from_shape_vec((count(&shape[0]), count(&shape[1])), numbers(value)).expect("a matrix")
}

fn has_flag(test: &Value, flag: &str) -> bool {
    let flags = test["flags"].as_array().expect("flags");
    flags.iter().any(|f| f == flag)
}

/// The tool's number to 1e-9 relative.
#[track_caller]
fn agrees(what: &str, got: f64, tool: &Value) {
    let want = number(tool);
    assert_within(what, got, want, TOOLS * want.abs());
}

/// Each sum of at most 100·12 terms, decompositions of 12 rows: 4096 units of the traces are an ample bound.
const FRECHET_UNITS: f64 = 4096.0;

#[test]
fn frechet_distances_are_the_golden_ones() {
    for test in suite!("frechet") {
        let what = test["comment"].as_str().expect("a comment");
        let (a, b) = (matrix(&test["input"]["a"]), matrix(&test["input"]["b"]));
        let got = frechet(a.view(), b.view()).expect("two sets");
        let allowed = FRECHET_UNITS * U * (size(a.view()) + size(b.view()));
        let want = &test["output"];
        assert_within(what, got.mean_term, number(&want["mean_term"]), allowed);
        assert_within(what, got.trace_term, number(&want["trace_term"]), allowed);
        assert_within(what, got.distance(), number(&want["frechet"]), allowed);
        assert_eq!(
            got.rank_deficient,
            has_flag(&test, "RankDeficient"),
            "{what}"
        );
        for (tool, said) in test["tools"].as_object().expect("tools") {
            if got.rank_deficient {
                // The tools take square roots of eigenvalues that are 0 but for rounding: √(d·u) of the traces each.
                let d = a.ncols() as f64;
                let roots = 2.0 * d * (d * U).sqrt() * (size(a.view()) + size(b.view()));
                assert_within(tool, got.distance(), number(said), roots);
            } else {
                agrees(tool, got.distance(), said);
            }
        }
    }
}

#[test]
fn frechet_distances_of_moments_are_the_golden_ones() {
    for test in suite!("frechet-moments") {
        let what = test["comment"].as_str().expect("a comment");
        let input = &test["input"];
        let given = |mean: &str, covariance: &str| Moments {
            mean: Array1::from(numbers(&input[mean])),
            covariance: matrix(&input[covariance]),
        };
        let (a, b) = (given("mu_a", "sigma_a"), given("mu_b", "sigma_b"));
        let got = frechet_of_moments(&a, &b).expect("moments");
        // Singular covariances of small integers: their null eigenvalue is recognised as rounding.
        let traces = a.covariance.diag().sum() + b.covariance.diag().sum();
        let allowed = FRECHET_UNITS * U * traces;
        assert_within(
            what,
            got.distance(),
            number(&test["output"]["frechet"]),
            allowed,
        );
        assert_within(
            what,
            got.mean_term,
            number(&test["output"]["mean_term"]),
            allowed,
        );
        for (tool, said) in test["tools"].as_object().expect("tools") {
            agrees(tool, got.distance(), said);
        }
    }
}

/// m = 0 against 1 with Σ = I: the squared distance is the dimension. 2048 as in Inception features.
#[test]
fn unit_covariances_a_unit_apart_are_the_dimension_apart() {
    let at = |mean: f64| Moments {
        mean: Array1::from_elem(2048, mean),
        covariance: Array2::eye(2048),
    };
    let got = frechet_of_moments(&at(0.0), &at(1.0)).expect("moments");
    assert_eq!(got.mean_term, 2048.0);
    assert_within("trace term", got.trace_term, 0.0, 2048.0 * U);
}

#[test]
fn kernel_distances_are_the_golden_ones() {
    for test in suite!("kid") {
        let what = test["comment"].as_str().expect("a comment");
        let (a, b) = (matrix(&test["input"]["a"]), matrix(&test["input"]["b"]));
        let got = kid(a.view(), b.view()).expect("two sets");
        // The kernel's largest value bounds each mean.
        let norm = size(a.view()).max(size(b.view())) * a.nrows().max(b.nrows()) as f64;
        let kernel = (norm / a.ncols() as f64 + 1.0).powi(3);
        let want = number(&test["output"]["kid"]);
        assert_within(what, got, want, 64.0 * U * kernel);
        let tools = &test["tools"];
        for tool in ["torch-fidelity", "clean-fid"] {
            if tools[tool].is_number() {
                agrees(&format!("{what}, {tool}"), got, &tools[tool]);
            }
        }
        if tools["torch-fidelity-subsets"].is_array() {
            let subsets = |name: &str| -> Vec<Vec<usize>> {
                let size = count(&test["input"][name]["shape"][1]);
                let all = test["input"][name]["data"].as_array().expect("indices");
                let all: Vec<usize> = all.iter().map(count).collect();
                all.chunks(size).map(<[usize]>::to_vec).collect()
            };
            let (of_a, of_b) = (subsets("subsets_a"), subsets("subsets_b"));
            let got = kid_of_subsets(a.view(), b.view(), &of_a, &of_b).expect("subsets");
            agrees("mean", got.mean, &tools["torch-fidelity-subsets"][0]);
            agrees("std", got.std, &tools["torch-fidelity-subsets"][1]);
        }
    }
}

#[test]
fn inception_scores_are_the_golden_ones() {
    for test in suite!("inception-score") {
        let what = test["comment"].as_str().expect("a comment");
        let p = matrix(&test["input"]["probabilities"]);
        let splits = count(&test["input"]["splits"]);
        let got = inception_score(p.view(), splits).expect("probabilities");
        let allowed = 64.0 * p.ncols() as f64 * U * got.mean;
        assert_within(what, got.mean, number(&test["output"]["mean"]), allowed);
        assert_within(what, got.std, number(&test["output"]["std"]), 4.0 * allowed);
        let Some(tools) = test["tools"].as_object() else {
            continue;
        };
        let said = &tools["torch-fidelity"];
        agrees(what, got.mean, &said[0]);
        assert_within(what, got.std, number(&said[1]), TOOLS * got.mean);
        // torch-fidelity shuffles by default, seed 2020: another set of splits, so another number.
        let order: Vec<usize> = test["input"]["shuffle"]
            .as_array()
            .expect("a permutation")
            .iter()
            .map(count)
            .collect();
        let shuffled = p.select(ndarray::Axis(0), &order);
        let got = inception_score(shuffled.view(), splits).expect("probabilities");
        let said = &tools["torch-fidelity-shuffled"];
        agrees(what, got.mean, &said[0]);
        assert_within(what, got.std, number(&said[1]), TOOLS * got.mean);
    }
}

/// Shares are ratios of counts below 2⁵³: ours are the exact ones, rounded once.
#[test]
fn precision_and_recall_are_the_golden_ones() {
    for test in suite!("prdc") {
        let what = test["comment"].as_str().expect("a comment");
        let real = matrix(&test["input"]["real"]);
        let generated = matrix(&test["input"]["generated"]);
        let k = count(&test["input"]["k"]);
        let with = |ball| prdc(real.view(), generated.view(), k, ball).expect("two sets");
        let (closed, open) = (with(Ball::Closed), with(Ball::Open));
        let want = &test["output"];
        for (name, got) in [
            ("precision", closed.precision),
            ("recall", closed.recall),
            ("precision_open", open.precision),
            ("recall_open", open.recall),
            ("density", closed.density),
            ("density", open.density),
            ("coverage", closed.coverage),
            ("coverage", open.coverage),
        ] {
            assert_eq!(got, number(&want[name]), "{what}: {name}");
        }
        let package = &test["tools"]["prdc"];
        agrees(what, open.precision, &package["precision"]);
        agrees(what, open.recall, &package["recall"]);
        agrees(what, open.density, &package["density"]);
        agrees(what, open.coverage, &package["coverage"]);
        // torch-fidelity takes its means in f32.
        let fidelity = &test["tools"]["torch-fidelity"];
        let f32_mean = f64::from(f32::EPSILON);
        assert_within(
            what,
            closed.precision,
            number(&fidelity["precision"]),
            f32_mean,
        );
        assert_within(what, closed.recall, number(&fidelity["recall"]), f32_mean);
    }
}

#[test]
fn statistics_are_scipys() {
    let tests = suite!("metric-statistics");
    let of = |start: &str| {
        let starts = |t: &&Value| t["comment"].as_str().is_some_and(|c| c.starts_with(start));
        tests.iter().filter(starts).collect::<Vec<_>>()
    };
    for test in of("quantiles") {
        let values = numbers(&test["input"]["values"]);
        let orders = numbers(&test["input"]["orders"]);
        for (q, want) in orders.iter().zip(numbers(&test["output"]["quantiles"])) {
            let got = quantile(&values, *q).expect("values");
            assert_within("quantile", got, want, 8.0 * U * 4.0);
        }
    }
    for test in of("line") {
        let sizes = test["input"]["sizes"]["data"].as_array().expect("sizes");
        let distances = numbers(&test["input"]["distances"]);
        let points: Vec<_> = sizes.iter().map(count).zip(distances).collect();
        let got = extrapolate(&points).expect("points");
        agrees("intercept", got.intercept, &test["output"]["intercept"]);
        agrees("slope", got.slope, &test["output"]["slope"]);
        let error = got.standard_error.expect("five points");
        agrees("standard error", error, &test["output"]["standard_error"]);
    }
    assert_eq!(of("Wilson").len(), 4);
    for test in of("Wilson") {
        let input = &test["input"];
        let z = number(&input["z"]);
        let got =
            wilson_interval(count(&input["counted"]), count(&input["n"]), z).expect("a share");
        // Ends of order 1 from some ten operations; scipy has exactly 0 and 1 at the ends, and so have we to rounding.
        assert_within("low", got.low, number(&test["output"]["low"]), 64.0 * U);
        assert_within("high", got.high, number(&test["output"]["high"]), 64.0 * U);
    }
    assert_eq!(of("Mann").len(), 2);
    for test in of("Mann") {
        let first = numbers(&test["input"]["first"]);
        let second = numbers(&test["input"]["second"]);
        let got = mann_whitney(&first, &second).expect("values");
        agrees("below", got.below, &test["output"]["below"]);
        agrees("z", got.z, &test["output"]["z"]);
    }
}
