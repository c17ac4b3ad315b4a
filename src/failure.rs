//! Errors as one sentence, and the end of the program.

use std::io::{self, Write};
use std::process::ExitCode;

/// Prints what went wrong as `error: …` and gives the exit code.
///
/// A reader that closed the pipe has seen what it wanted: no message, success.
pub fn exit_code(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed too; there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// The causes from the outermost to the root, joined by colons in one line.
///
/// A cause that the message before it already quotes is not said again.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn causes_are_joined_and_not_repeated() {
        let error = anyhow!("no such\n  key")
            .context("in `a.toml`: no such\n  key")
            .context("cannot start");
        assert_eq!(sentence(&error), "cannot start: in `a.toml`: no such key");
    }
}
