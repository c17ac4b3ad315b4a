//! Usage errors, and pipes that close early.

use std::process::Stdio;

use predicates::str::contains;

use crate::support::sadm;

#[test]
fn a_usage_error_exits_with_2_and_names_the_argument() {
    sadm()
        .args(["oracle", "list", "--nonsense"])
        .assert()
        .code(2)
        .stderr(contains("--nonsense"));
    sadm().assert().code(2);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("sadm"))
        .args(["oracle", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{:?}: {errors}",
        output.status
    );
}
