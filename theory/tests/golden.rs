//! The finite-support law against `fixtures/finite-posterior.json`, evaluated by mpmath at 60 digits.

use ndarray::Array2;
use sadm_reference::bound::Precision;
use sadm_reference::bound::schedule::levels;
use sadm_reference::relation::Relation;
use sadm_reference::schedule::ScheduleKind;
use sadm_theory::laws::relation_oracle::{Finite, Pairs};
use sadm_theory::laws::{FiniteLaw, Observation};
use sadm_theory::rounding::Rounded;
use serde_json::Value;

fn numbers(tensor: &Value) -> Vec<f64> {
    tensor["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|v| v.as_f64().expect("a number"))
        .collect()
}

fn check(what: &str, got: &[Rounded], want: &[f64], extra: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        // The golden value is itself rounded once.
        let allowed = g.error + f64::EPSILON / 2.0 * w.abs() + extra;
        let error = (g.value - w).abs();
        assert!(
            error <= allowed,
            "{what}[{i}]: {} is {error:e} from {w}, allowed {allowed:e}",
            g.value
        );
    }
}

#[test]
fn finite_posteriors_match() {
    let suite: Value =
        serde_json::from_str(include_str!("../../fixtures/finite-posterior.json")).expect("JSON");
    let tests = suite["tests"].as_array().expect("tests");
    assert_eq!(suite["numberOfTests"].as_u64(), Some(tests.len() as u64));
    for test in tests {
        let (input, output) = (&test["input"], &test["output"]);
        let shape: Vec<u64> = input["atoms"]["shape"]
            .as_array()
            .expect("shape")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let (k, n) = (
            usize::try_from(shape[0]).expect("size"),
            usize::try_from(shape[1]).expect("size"),
        );
        let atoms = Array2::from_shape_vec((k, n), numbers(&input["atoms"])).expect("K × n atoms");
        let kind: ScheduleKind = input["schedule"]
            .as_str()
            .expect("a name")
            .parse()
            .expect("a schedule");
        let t = input["t"].as_f64().expect("a time");
        let level = levels(kind, &[t], Precision::F64).expect("a time of the schedule");
        let (alpha, sigma) = (level.alpha.value.sum(), level.sigma.value.sum());
        let law = FiniteLaw::new(atoms, numbers(&input["prior"])).expect("a law");
        let posterior = law
            .posterior(&numbers(&input["xt"]), alpha, sigma)
            .expect("a posterior");

        // The fixture starts from t, the law from the rounded α and σ. Every output is a smooth function of them;
        // a relative change ε of both changes the exponents ‖x − αa‖²/2σ² by at most 4ε times their size, and the
        // score and the density by as much again. 64 bounds the exponents of all cases but the far one, whose
        // posterior is one atom and whose score is (αa − x)/σ² itself.
        let relative = level.alpha.error.sum() / alpha + level.sigma.error.sum() / sigma;
        let far = test["flags"]
            .as_array()
            .is_some_and(|f| f.iter().any(|f| f == "LargeInput"));
        let size = |values: &[f64]| values.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let moved = |values: &[f64]| relative * size(values) * if far { 4.0 } else { 4.0 * 64.0 };
        let outputs = [
            ("weights", posterior.weights.clone()),
            ("mean", posterior.mean.clone()),
            ("covariance", posterior.covariance.iter().copied().collect()),
            ("score", posterior.score.clone()),
        ];
        for (name, got) in outputs {
            let want = numbers(&output[name]);
            check(
                &format!("{} {name}", test["comment"]),
                &got,
                &want,
                moved(&want),
            );
        }
        let want = [output["log_density"].as_f64().expect("a number")];
        check(
            &format!("{} log density", test["comment"]),
            &[posterior.log_density],
            &want,
            moved(&want),
        );
    }
}

/// Relative roundings of an answer of the oracle: every term is a product of at most 64 factors times exponentials, whose
/// relative error is u times their exponent; K² terms are summed. A digit lost to a difference of nearly equal numbers is beyond it.
fn allowed(input: &Value, law: &FiniteLaw) -> f64 {
    let [alpha, sigma, r, gamma] =
        ["alpha", "sigma", "r", "gamma"].map(|name| input[name].as_f64().expect("a number"));
    let mut exponent = 1.0_f64;
    for point in ["yi", "yj"] {
        for atom in law.atoms().rows() {
            let coordinates = numbers(&input[point]);
            let off = atom.iter().zip(&coordinates).map(|(a, y)| y - alpha * a);
            exponent = exponent.max(off.map(|o| o * o).sum::<f64>() / (2.0 * sigma * sigma));
        }
    }
    let reach = law.atoms().iter().fold(1.0_f64, |m, a| m.max(a.abs()));
    let misfit = r.abs() + 4.0 * reach * reach;
    let count = law.atoms().nrows() as f64;
    64.0 * count * count * f64::EPSILON * (exponent + (misfit / gamma).powi(2))
}

#[test]
fn relation_oracles_match() {
    let suite: Value =
        serde_json::from_str(include_str!("../../fixtures/relation-oracle.json")).expect("JSON");
    let tests = suite["tests"].as_array().expect("tests");
    assert_eq!(suite["numberOfTests"].as_u64(), Some(tests.len() as u64));
    for test in tests {
        let (input, output) = (&test["input"], &test["output"]);
        let number = |name: &str| input[name].as_f64().expect("a number");
        let dimension = numbers(&input["yi"]).len();
        let atoms = numbers(&input["atoms"]);
        let shape = (atoms.len() / dimension, dimension);
        let atoms = Array2::from_shape_vec(shape, atoms).expect("K × n atoms");
        let law = FiniteLaw::uniform(atoms).expect("a law");
        let relation: Relation = input["relation"]
            .as_str()
            .and_then(|name| name.parse().ok())
            .expect("a relation");
        let relation = relation.with(number("bandwidth"));
        let observation = Observation {
            relation,
            r: number("r"),
            gamma: number("gamma"),
        };
        let [yi, yj] = ["yi", "yj"].map(|name| {
            Array2::from_shape_vec((1, dimension), numbers(&input[name])).expect("a row")
        });
        let (alpha, sigma) = ([number("alpha")], [number("sigma")]);
        let rows = Finite {
            law: &law,
            alpha: &alpha,
            sigma: &sigma,
        };
        let pairs = Pairs {
            yi: &yi,
            yj: &yj,
            r: &[observation.r],
            observation,
        };
        let score = rows.relation_score(&pairs).expect("scores");
        let terms = rows.jensen(&pairs, None).expect("terms");
        let answers = [
            ("grad_yi", &score.grad_yi),
            ("grad_yj", &score.grad_yj),
            ("plug_in_grad_yi", &score.plug_in_grad_yi),
            ("plug_in_grad_yj", &score.plug_in_grad_yj),
        ]
        .map(|(name, got)| (name, got.iter().copied().collect(), numbers(&output[name])));
        let terms = [
            ("q_r", &terms.q_r),
            ("plug_in", &terms.plug_in),
            ("error2", &terms.error2),
            ("gap", &terms.gap),
            ("jensen", &terms.jensen),
            ("bound", &terms.bound),
        ]
        .map(|(name, got)| {
            let want = output[name].as_f64().expect("a number");
            (name, vec![got[0]], vec![want])
        });
        let relative = allowed(input, &law);
        assert!(relative < 1e-4, "{}", test["comment"]);
        for (name, got, want) in answers.into_iter().chain(terms) {
            let size = want.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
            for (g, w) in got.iter().zip(&want) {
                let error = (g - w).abs();
                assert!(
                    error <= relative * size + f64::MIN_POSITIVE,
                    "{} {name}: {g:e} is {:e} of {w:e} off, allowed {relative:e}",
                    test["comment"],
                    error / size
                );
            }
        }
    }
}
