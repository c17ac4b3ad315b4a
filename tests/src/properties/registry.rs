//! Every check of the registry, on the CPU, in every element type.

use candle_core::DType;

use crate::{VerifyOptions, verify};

/// Runs everything, `PROPTEST_CASES` or else `cases` of each, and prints the table; a failure shows its
/// shrunk case.
fn all_pass(dtype: DType, cases: u32) {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let options = VerifyOptions {
        cases: asked.unwrap_or(cases),
        ..VerifyOptions::cpu(dtype)
    };
    let report = verify(&options, &mut |_| {}).expect("every check has a ledger entry");
    println!("{report}");
    for check in report.checks.iter().filter(|check| check.worst > 0.5) {
        println!("{} {:.3}: {}", check.name, check.worst, check.place);
    }
    assert!(report.passed(), "{}", failures(&report));
    if dtype != DType::BF16 {
        assert!(
            report.checks.iter().all(|c| c.verdict() == "pass"),
            "something is unsupported in {dtype:?}:\n{report}"
        );
    }
}

fn failures(report: &crate::Report) -> String {
    let failures = report.failures().map(|check| match &check.outcome {
        crate::Outcome::Failed { counterexample } => {
            let case = format!("{:?}", counterexample.case);
            let case: String = case.chars().take(2000).collect();
            format!("{} ({}): {case}", check.name, check.place)
        }
        _ => String::new(),
    });
    failures.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_quantity_agrees_in_f32() {
    all_pass(DType::F32, 64);
}

#[test]
fn every_quantity_agrees_in_f64() {
    all_pass(DType::F64, 64);
}

#[test]
fn every_quantity_agrees_in_bf16_or_is_unsupported() {
    all_pass(DType::BF16, 16);
}

/// A bound that never holds anything proves nothing: in f64, where bounds are tightest against the numbers,
/// few cases may be vacuous.
#[test]
fn bounds_say_something() {
    let options = VerifyOptions {
        cases: 32,
        ..VerifyOptions::cpu(DType::F64)
    };
    let report = verify(&options, &mut |_| {}).expect("every check has a ledger entry");
    for check in &report.checks {
        assert!(
            2 * check.vacuous <= check.cases,
            "`{}`: {} of {} cases are vacuous",
            check.name,
            check.vacuous,
            check.cases
        );
    }
}

/// Nothing depends on the order or the choice of checks.
#[test]
fn a_check_alone_finds_what_it_finds_among_all() {
    let options = VerifyOptions {
        cases: 8,
        only: Some("affinity".into()),
        ..VerifyOptions::cpu(DType::F32)
    };
    let some = verify(&options, &mut |_| {}).expect("there are such checks");
    let one = VerifyOptions {
        only: Some("affinity.rbf".into()),
        ..options
    };
    let one = verify(&one, &mut |_| {}).expect("there is such a check");
    let among = some
        .checks
        .iter()
        .find(|c| c.name == "affinity.rbf")
        .expect("it is among them");
    assert_eq!(one.checks.len(), 1);
    assert!(
        (one.checks[0].worst - among.worst).abs() == 0.0,
        "{} and {}",
        one.checks[0].worst,
        among.worst
    );
}
