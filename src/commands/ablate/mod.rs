//! `sadm ablate`: the same runs with and without structure, over several seeds (SADM Table 5).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sadm_gpu::config::Config;

use crate::interrupt::{self, Interrupt};
use crate::progress::{duration, say};
use crate::{files, numbers, place, threads};

mod arm;
mod compare;
mod evaluate;
mod plan;
mod sweep;
mod table;
mod trial;

use arm::Arm;
use evaluate::{Evaluation, Evaluator};
use plan::Plan;
use sweep::{Sweep, Sweeps};
use table::Results;
use trial::Trials;

const EXAMPLE: &str = "\
Examples:
  sadm ablate --preset digits --seeds 5 --out ablation
  sadm ablate --preset digits --seeds 5 --sweep relation=cosine,euclidean --sweep eta=constant --out ablation
  sadm ablate --preset digits --sweep relation=cosine,euclidean --sweep distance=squared,absolute --grid --out grid

Every arm makes the same number of θ-steps from the same start: base goes on denoising while the others
have structure. Steps that two arms share exactly are trained once. The same command continues what was
stopped (Ctrl-C, exit status 130), and adds the arms, seeds or sweeps that are new.";

/// The arguments of `sadm ablate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
#[command(group(clap::ArgGroup::new("base").args(["preset", "config"]).required(true)))]
pub struct Args {
    /// The embedded configuration that the arms are made of
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// The same from a file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key, as in train.steps=60; may be given again for others
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Seeds of each arm: the configuration's and those after it
    #[arg(long, default_value = "5", value_name = "N", value_parser = numbers::from_one)]
    seeds: NonZeroUsize,
    /// The arms; base is what the others are compared with
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "base,guided,adversarial",
        value_name = "LIST"
    )]
    arms: Vec<Arm>,
    /// Variants of guided (of adversarial for update_order): relation, distance, eta, psi, update_order, or a key
    #[arg(long = "sweep", value_name = "KEY=A,B")]
    sweeps: Vec<Sweep>,
    /// Variants of all combinations of the sweeps' values, 64 at most, not of one sweep at a time
    #[arg(long, requires = "sweeps")]
    grid: bool,
    /// Seeds of each variant
    #[arg(long, default_value = "2", value_name = "N", value_parser = numbers::from_one)]
    sweep_seeds: NonZeroUsize,
    /// Images drawn from each run
    #[arg(long, default_value = "1000", value_name = "N", value_parser = numbers::from_one)]
    samples: NonZeroUsize,
    /// Real images to compare with, at most
    #[arg(long, default_value = "5000", value_name = "N", value_parser = numbers::from_one)]
    reference_count: NonZeroUsize,
    /// Training steps of the encoder that evaluates, which no arm trains against
    #[arg(long, default_value = "300", value_name = "N", value_parser = numbers::from_one)]
    evaluator_steps: NonZeroUsize,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
    /// The folder of the ablation
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Trains what is missing, evaluates, compares.
pub fn run(args: &Args) -> Result<ExitCode> {
    threads::limit(args.threads)?;
    let sweeps = Sweeps {
        all: args.sweeps.clone(),
        grid: args.grid,
    };
    let plan = Plan::new(
        &configuration(args)?,
        &args.arms,
        &sweeps,
        [args.seeds.get(), args.sweep_seeds.get()],
    )?;
    files::refuse_file(&args.out)?;
    if args.out.join("config.toml").exists() {
        bail!(
            "--out must be a folder of its own, `{}` holds a training run",
            args.out.display()
        );
    }
    say(&format!(
        "{} arms and variants, {} runs with their seeds",
        plan.arms(),
        plan.trials().len()
    ));
    let device = place::open(&args.device, "f32")?.device;
    let interrupt = Interrupt::listen()?;
    let trials = Trials::new(&args.out, &plan, &device, interrupt);
    let Some(evaluator) = Evaluator::new(args, plan.base_config(), &trials, &device)? else {
        return stopped(&args.out);
    };
    let mut results = Results::new(&plan, evaluator.settings());
    // What an earlier call left counts from the beginning, whatever is trained first now.
    for trial in plan.trials() {
        if let Some(done) = Evaluation::read(&trials.folder(trial), evaluator.settings())? {
            results.add(trial, done);
        }
    }
    let total = plan.trials().len();
    let begun = Instant::now();
    for (number, trial) in plan.trials().iter().enumerate() {
        say(&format!(
            "[{}/{total}] {} with seed {}, after {}",
            number + 1,
            trial.name,
            trial.config.seed,
            duration(begun.elapsed().as_secs_f64())
        ));
        let folder = trials.folder(trial);
        let done = Evaluation::read(&folder, evaluator.settings())?;
        let evaluation = if let Some(done) = done {
            done
        } else if trials.train(trial)? {
            evaluator.evaluate(&folder, trial)?
        } else {
            return stopped(&args.out);
        };
        results.add(trial, evaluation);
        // After every run: what is there can be read while the rest is on its way.
        results.write(&args.out)?;
    }
    files::print(&results.markdown()?)?;
    Ok(ExitCode::SUCCESS)
}

fn way_on(out: &Path) -> String {
    format!("the same command continues in {}", out.display())
}

fn stopped(out: &Path) -> Result<ExitCode> {
    files::print(&format!("stopped and saved; {}\n", way_on(out)))?;
    Ok(ExitCode::from(interrupt::STATUS))
}

/// The preset or file with the overrides applied.
fn configuration(args: &Args) -> Result<Config> {
    let base = match (&args.preset, &args.config) {
        (Some(name), _) => Config::preset(name)?,
        (None, Some(file)) => super::train::from_file(file)?,
        (None, None) => bail!("name what to train: --preset NAME or --config FILE"),
    };
    base.with_sets(args.settings.iter().map(String::as_str))
        .and_then(Config::with_absolute_paths)
        .context("the configuration of the ablation")
}
