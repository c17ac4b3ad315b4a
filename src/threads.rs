//! The `--threads` option.

use std::env;
use std::num::NonZeroUsize;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sadm::environment;

/// Most threads for each CPU: as many as that already wait for each other more than they work, and thousands bring a machine to a halt.
const FOR_EACH_CPU: usize = 16;

/// Starts this program again with `threads` threads, in the environment of [`environment::variables`], unless it
/// runs in it already. Without a number it is all of the machine's.
///
/// The libraries count their threads from the environment, glibc and OpenBLAS read theirs before `main`: only a new
/// process sees another value. Nothing may have been done before this call.
///
/// # Errors
/// More than [`FOR_EACH_CPU`] threads for each CPU; if the program cannot be started again.
pub fn limit(threads: Option<NonZeroUsize>) -> Result<()> {
    let said = || env::var(environment::THREADS).ok()?.parse().ok();
    let all = || std::thread::available_parallelism().ok();
    if let (Some(threads), Some(cpus)) = (threads, all()) {
        let most = cpus.get().saturating_mul(FOR_EACH_CPU);
        ensure!(
            threads.get() <= most,
            "--threads must be at most {most} here, {FOR_EACH_CPU} for each of {cpus} CPUs, got {threads}"
        );
    }
    let Some(threads) = threads.or_else(said).or_else(all) else {
        return Ok(());
    };
    let variables = environment::variables(threads.get());
    if variables
        .iter()
        .all(|(name, value)| env::var(name).is_ok_and(|v| v == *value))
    {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program's file")?;
    let mut again = Command::new(program);
    again.args(env::args_os().skip(1)).envs(variables);
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
