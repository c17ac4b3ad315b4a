//! `sadm verify`: the training system held against the f64 reference, quantity by quantity or in whole runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use sadm_crosscheck::{
    Outcome, Report, VerifyOptions, registry, replay,
    trainer::{Held, RunReport, run as run_twice, runs},
    verify,
};

use crate::{files, names, place};

const EXAMPLE: &str = "\
Examples:
  sadm verify
  sadm verify --device cuda:0 --dtype bf16 --cases 10000 --report report.json
  sadm verify --only structural-loss.cosine
  sadm verify --replay counterexample-forward.json
  sadm verify --runs 1000 --seed 2
  sadm verify --replay counterexample-run.toml

A number passes when it lies within the error bound that the reference derives for the precision
in use; the table gives the largest error/bound. The exit code is 1 if any quantity fails; its
smallest failing case is written beside the report (or here) for --replay.

With --runs, N small configurations are drawn, and each is trained twice in f64: by the training system, and by
a second program made of the reference. What is drawn must be equal to the bit (images, their order, flips, noise, t,
labels, assignments), what is computed must lie within the spread that rounding makes (losses, gradients,
parameters, moments and averages after every step, what is logged and saved). Of a run that fails the
configuration is printed and written as TOML.";

/// The arguments of `sadm verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Where the training system computes: cpu or cuda:N [default: cpu, or the replayed case's]
    #[arg(long)]
    device: Option<String>,
    /// Its element type [default: f32, or the replayed case's]
    #[arg(long, value_parser = ["f32", "tf32", "bf16", "f16", "f64"])]
    dtype: Option<String>,
    /// Random cases for each quantity; expensive ones run a fraction
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Only the quantities with this name, beginning or part
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Seed of the random cases
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the full report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run a counter-example again instead: a case, or a configuration (`.toml`) of --runs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "only", "seed", "report", "list"])]
    replay: Option<PathBuf>,
    /// Make N small runs twice instead, with the training system and with the reference
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["device", "dtype", "cases", "only", "report", "list", "replay"])]
    runs: Option<u32>,
    /// List the quantities and stop
    #[arg(long)]
    list: bool,
}

/// Runs the checks; failure is an error.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        files::print(&list())?;
    } else if let Some(count) = args.runs {
        make_twice(count, args.seed)?;
    } else if let Some(file) = &args.replay {
        run_again(file, args.device.as_deref(), args.dtype.as_deref())?;
    } else {
        run_all(args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One quantity a line, with its formula.
fn list() -> String {
    registry()
        .iter()
        .map(|check| format!("{:44} {}\n", check.name(), check.about()))
        .collect::<Vec<_>>()
        .concat()
}

/// Draws configurations and trains each twice.
fn make_twice(count: u32, seed: u64) -> Result<()> {
    let report = runs(count, seed, &mut |done| {
        // A line from time to time: each run takes a tenth of a second.
        if done.is_multiple_of(100) {
            let _ = files::print(&format!("{done} of {count} runs\n"));
        }
    })?;
    files::print(&format!("{report}\n"))?;
    let RunReport {
        failure: Some((text, what)),
        ..
    } = report
    else {
        return Ok(());
    };
    let path = Path::new("counterexample-run.toml");
    files::write_atomically(path, |out| Ok(write!(out, "{text}")?))?;
    files::print(&format!("{what}\n\n{text}\n"))?;
    bail!(
        "a run fails; its configuration is in {path}; again: sadm verify --replay {path}",
        path = path.display()
    )
}

/// Trains a configuration twice.
fn run_of(file: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let held: Held = run_twice(&text)?;
    files::print(&format!("{}\n", held.report()))?;
    match held.failure {
        Some(what) => bail!("{what}"),
        None => Ok(()),
    }
}

fn run_again(file: &Path, device: Option<&str>, dtype: Option<&str>) -> Result<()> {
    if file
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        return run_of(file);
    }
    let check = replay(file, device, dtype)?;
    files::print(&format!("{}\n{check}\n", Report::head()))?;
    if check.failed() {
        bail!("`{}` fails: {}", check.name, check.place);
    }
    Ok(())
}

fn run_all(args: &Args) -> Result<()> {
    if let Some(path) = &args.report {
        files::refuse_unwritable(path)?;
    }
    let options = VerifyOptions {
        place: place::open(
            args.device.as_deref().unwrap_or("cpu"),
            args.dtype.as_deref().unwrap_or("f32"),
        )?,
        cases: args.cases,
        only: args.only.clone(),
        seed: args.seed,
        shrinks: true,
    };
    let mut head = Some(Report::head() + "\n");
    let mut printed = Ok(());
    let report = verify(&options, &mut |check| {
        if printed.is_ok() {
            let head = head.take().unwrap_or_default();
            printed = files::print(&format!("{head}{check}\n"));
        }
    })?;
    printed?;
    files::print(&format!("{}\n", report.totals()))?;
    if let Some(path) = &args.report {
        let json = report.to_json()?;
        files::write_atomically(path, |out| Ok(writeln!(out, "{json}")?))?;
    }
    let folder = args
        .report
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""));
    refuse_failures(&report, folder)
}

/// Writes the counter-example of every failure, and fails if there is one.
fn refuse_failures(report: &Report, folder: &Path) -> Result<()> {
    let mut written = Vec::new();
    for check in report.failures() {
        if let Outcome::Failed { counterexample } = &check.outcome {
            let path = folder.join(format!("counterexample-{}.json", check.name));
            counterexample.write(&path)?;
            files::print(&format!(
                "{}: {}\n  smallest failing case: {}\n",
                check.name,
                check.place,
                path.display()
            ))?;
            written.push(names::typed(&path));
        }
    }
    match written.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} of {} quantities failed; run a case again with: sadm verify --replay {first}",
            written.len(),
            report.checks.len()
        ),
    }
}
