//! The `--threads` option.

use std::env;
use std::num::NonZeroUsize;
use std::process::Command;

use anyhow::{Context, Result};

/// Read by rayon, candle and OpenBLAS when they first count their threads.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"];

/// Starts this program again with `threads` threads, unless it runs with that many already.
///
/// Without a number it is all of the machine's, but still said in the environment: candle 0.11 counts the
/// processors anew in every matrix product, by reading /proc/cpuinfo, unless it finds the number there. That
/// was a sixth of a training step.
///
/// The libraries count their threads from the environment, and OpenBLAS does so before `main`: only a new
/// process sees another number. Nothing may have been done before this call.
///
/// # Errors
/// If the program cannot be started again.
pub fn limit(threads: Option<NonZeroUsize>) -> Result<()> {
    if threads.is_none() && env::var_os(VARIABLES[0]).is_some() {
        return Ok(());
    }
    let Some(threads) = threads.or_else(|| std::thread::available_parallelism().ok()) else {
        return Ok(());
    };
    let threads = threads.to_string();
    if VARIABLES
        .iter()
        .all(|name| env::var(name).is_ok_and(|n| n == threads))
    {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program's file")?;
    let mut again = Command::new(program);
    again
        .args(env::args_os().skip(1))
        .envs(VARIABLES.map(|name| (name, &threads)));
    replace_process(again)
}

#[cfg(unix)]
fn replace_process(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cannot start again with --threads")
}

#[cfg(not(unix))]
fn replace_process(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .context("cannot start again with --threads")?;
    std::process::exit(status.code().unwrap_or(1));
}
