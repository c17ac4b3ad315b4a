//! Wall time and CPU time, and the environment that fixes the number of threads.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::Outcome;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The time that passes.
    Wall,
    /// The time that this process's threads run.
    Cpu,
}

impl Clock {
    /// Seconds since some moment.
    pub fn now(self) -> f64 {
        static START: OnceLock<Instant> = OnceLock::new();
        match self {
            Self::Wall => START.get_or_init(Instant::now).elapsed().as_secs_f64(),
            Self::Cpu => {
                let time = clock_gettime(ClockId::ProcessCPUTime);
                time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
            }
        }
    }
}

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wall" => Ok(Self::Wall),
            "cpu" => Ok(Self::Cpu),
            other => Err(format!("unknown clock {other}; known: wall, cpu")),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wall => "wall",
            Self::Cpu => "CPU",
        })
    }
}

/// Starts this bench again in the environment in which `sadm` runs (`src/threads.rs`), unless it is in it already.
#[cfg(unix)]
pub fn with_threads(threads: usize) -> Outcome<()> {
    use std::os::unix::process::CommandExt;
    let environment = sadm::environment::variables(threads);
    if environment
        .iter()
        .all(|(name, value)| std::env::var(name).is_ok_and(|v| v == *value))
    {
        return Ok(());
    }
    let error = std::process::Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .envs(environment)
        .exec();
    Err(error.into())
}

/// Elsewhere the environment is the caller's.
#[cfg(not(unix))]
pub fn with_threads(_: usize) -> Outcome<()> {
    Ok(())
}
