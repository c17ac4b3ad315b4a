//! Every check of the registry, on the CPU, in every element type.

use candle_core::DType;

use crate::{VerifyOptions, verify};

/// A number from the environment.
fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `PROPTEST_CASES` or else `cases` of each check, drawn by `PROPTEST_RNG_SEED` if there is one.
fn options(dtype: DType, cases: u32) -> VerifyOptions {
    let usual = VerifyOptions::cpu(dtype);
    VerifyOptions {
        cases: asked("PROPTEST_CASES").unwrap_or(cases),
        seed: asked("PROPTEST_RNG_SEED").unwrap_or(usual.seed),
        ..usual
    }
}

/// Runs everything and prints the table; a failure shows its shrunk case.
fn all_pass(dtype: DType, cases: u32) {
    let options = options(dtype, cases);
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
        says_something(&report);
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

/// A bound that never holds anything proves nothing: in f64 too few cases may be vacuous.
#[test]
fn bounds_say_something() {
    let options = options(DType::F64, 32);
    let report = verify(&options, &mut |_| {}).expect("every check has a ledger entry");
    says_something(&report);
}

/// Whole steps of players are few among the cases above: of theirs more are drawn here.
#[test]
fn bounds_of_whole_steps_say_something_in_f32() {
    let options = VerifyOptions {
        only: Some("step".into()),
        ..options(DType::F32, 8 * 32)
    };
    let report = verify(&options, &mut |_| {}).expect("there are such checks");
    println!("{report}");
    assert!(report.checks.iter().all(|check| check.cases >= 8));
    says_something(&report);
}

fn says_something(report: &crate::Report) {
    let little = report.checks.iter().find(|check| check.says_little());
    assert!(
        little.is_none(),
        "{} of {} cases are vacuous: {little:?}",
        little.map_or(0, |c| c.vacuous),
        little.map_or(0, |c| c.cases)
    );
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
