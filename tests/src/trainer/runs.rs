//! Whole small runs, drawn at random, each made by the real trainer and by the second program: `sadm verify --runs N`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Instant,
};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::{
    configurations::configurations,
    held::{Held, hold, refused},
};
use crate::{
    engine::stream,
    error::{Error, Result},
};

/// What [`runs`] found.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// Runs that were compared.
    pub runs: u32,
    /// Runs about which nothing can be said, since a decision in them hangs on rounding.
    pub undecided: u32,
    /// Runs that cannot be made: both sides refuse them, or the real trainer's audit finds a gradient of 0, which the second program
    /// would follow.
    pub refused: u32,
    /// Steps of all runs.
    pub steps: usize,
    /// Numbers and decisions that were equal, to the bit.
    pub drawn: u64,
    /// Numbers that were computed on both sides.
    pub computed: u64,
    /// Largest error/allowance of each kind of quantity.
    pub worst: BTreeMap<String, f64>,
    /// The smallest configuration found that fails, and what is wrong in it.
    pub failure: Option<(String, String)>,
    /// Seconds spent.
    pub seconds: f64,
}

impl Held {
    /// As a report of one run.
    pub fn report(&self) -> RunReport {
        let mut report = RunReport::default();
        report.add(self);
        report
    }
}

impl RunReport {
    fn add(&mut self, held: &Held) {
        self.runs += 1;
        self.undecided += u32::from(held.undecided.is_some());
        self.refused += u32::from(held.refused.is_some());
        self.steps += held.steps;
        self.drawn += held.drawn;
        self.computed += held.computed;
        for (kind, ratio) in &held.worst {
            let worst = self.worst.entry(kind.clone()).or_insert(0.0);
            if *ratio > *worst || ratio.is_nan() {
                *worst = *ratio;
            }
        }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:36} error/allowance, at most", "quantity")?;
        for (kind, worst) in &self.worst {
            writeln!(f, "{kind:36} {worst:.3}")?;
        }
        write!(
            f,
            "{} runs of {} steps in {:.1} s: {} numbers and decisions equal to the bit, {} computed ones within their allowance",
            self.runs, self.steps, self.seconds, self.drawn, self.computed
        )?;
        if self.undecided > 0 {
            write!(
                f,
                "; {} runs hang on rounding and say nothing",
                self.undecided
            )?;
        }
        if self.refused > 0 {
            write!(
                f,
                "; {} runs cannot be made (a gradient or features of 0)",
                self.refused
            )?;
        }
        Ok(())
    }
}

/// Draws `count` configurations and holds the real trainer's runs of them against the second program's. `progress` is told how many
/// were compared.
///
/// # Errors
/// A folder for the runs that cannot be made. A wrong number is no error but part of the report.
pub fn runs(count: u32, seed: u64, progress: &mut dyn FnMut(u32)) -> Result<RunReport> {
    let began = Instant::now();
    let state = RefCell::new((RunReport::default(), progress, false));
    let config = Config {
        cases: count,
        max_shrink_iters: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let found =
        TestRunner::new_with_rng(config, stream(seed, "runs")).run(&configurations(), |text| {
            let held = run(&text);
            let mut state = state.borrow_mut();
            let (report, progress, shrinking) = &mut *state;
            match held {
                Ok(Held { failure: None, .. }) if *shrinking => Ok(()),
                Ok(held) => {
                    if let Some(failure) = held.failure {
                        *shrinking = true;
                        return Err(TestCaseError::fail(failure));
                    }
                    report.add(&held);
                    progress(report.runs);
                    Ok(())
                }
                Err(error) => {
                    *shrinking = true;
                    Err(TestCaseError::fail(refused(&error)))
                }
            }
        });
    let (mut report, ..) = state.into_inner();
    match found {
        Ok(()) => {}
        Err(TestError::Fail(reason, text)) => {
            report.failure = Some((text, reason.message().to_owned()));
        }
        Err(TestError::Abort(reason)) => return Err(Error::Reference(reason.to_string())),
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Runs one configuration on both sides.
///
/// # Errors
/// A configuration that one side refuses, a folder that cannot be made.
pub fn run(text: &str) -> Result<Held> {
    let folder = Scratch::new()?;
    hold(text, &folder.0)
}

/// A folder for one run, in memory where the system has such a place: a checkpoint waits for its disk.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let made = tempfile::Builder::new()
            .prefix("sadm-run-")
            .tempdir_in(memory);
        let made = made.or_else(|_| tempfile::tempdir());
        Ok(Self(made.map_err(Error::reference)?.keep()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody reads it any more; what cannot be removed now is left to the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
