//! `sadm train`: a run from a preset or a file, in a folder, to be continued at any time.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sadm_crosscheck::{Shadow, ShadowOptions};
use sadm_gpu::config::{Config, PRESETS};
use sadm_gpu::train::observer::Observer;
use sadm_gpu::train::{Outcome, Trainer};

use crate::progress::{Progress, duration, say};
use crate::recorder::Recorder;
use crate::tensorboard::Events;
use crate::{files, names, numbers, place, threads};

const EXAMPLE: &str = "\
Examples:
  sadm train --preset digits --out runs/digits
  sadm train --preset digits --set train.steps=60 --set structure.relation=euclidean --out runs/short
  sadm train --preset cifar10 --set data.dataset=images --set data.dir=pictures --out runs/own
  sadm train --resume --out runs/digits

Images of your own: data.dir is a folder of PNG pictures, one subfolder for each class, or a .npz file with `images` and
`labels`; square, all of one size.

The folder receives config.toml, metrics.jsonl, samples/STEP.png, checkpoints/STEP and, unless
train.tensorboard=false, event files for TensorBoard. Ctrl-C saves and stops, with exit status 130;
--resume continues as if the run had never stopped.";

/// The arguments of `sadm train`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Start from an embedded configuration (see --list-presets)
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    preset: Option<String>,
    /// Start from a configuration file; keys it leaves out have their defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key, as in train.steps=60; may be given again for others
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The run's folder [default: runs/PRESET, or runs/ and the file's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in the folder if there is one
    #[arg(long)]
    resume: bool,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
    /// Print the presets and stop
    #[arg(long)]
    list_presets: bool,
}

/// Trains until the run is finished or Ctrl-C.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list_presets {
        files::print(&presets())?;
        return Ok(ExitCode::SUCCESS);
    }
    threads::limit(args.threads)?;
    let folder = folder(args)?;
    files::refuse_file(&folder)?;
    let config = configuration(args, &folder)?;
    let device = place::open(&args.device, "f32")?.device;
    let stop = stop_on_interrupt()?;
    let shadow = (config.shadow.every > 0).then(|| shadow(&folder));
    let steps = config.train.steps;
    let mut trainer = Trainer::new(config, &folder, &device, shadow, args.resume)?;
    say(&first_line(&trainer));
    let mut recorder = Recorder {
        progress: Progress::new(steps, trainer.step()),
        events: (trainer.config().train.tensorboard)
            .then(|| Events::new(&folder, trainer.step(), trainer.config().to_toml())),
    };
    let outcome = trainer.run(&mut recorder, &stop);
    recorder.progress.close();
    let outcome = outcome?;
    files::print(&summary(&outcome, steps, &folder))?;
    Ok(if outcome.finished {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INTERRUPTED)
    })
}

/// What is trained on, and what reading it did.
fn first_line(trainer: &Trainer) -> String {
    let (line, found) = (trainer.images_line(), trainer.found());
    if found.is_nothing() {
        line
    } else {
        format!("{line}; {found}")
    }
}

/// The reference beside the run; a step that fails leaves its case in the run's folder.
fn shadow(folder: &Path) -> Box<dyn Observer> {
    Box::new(Shadow::new(ShadowOptions {
        folder: Some(folder.to_owned()),
    }))
}

/// One line for each preset.
fn presets() -> String {
    PRESETS
        .iter()
        .map(|preset| format!("{:12} {}\n", preset.name, preset.about))
        .collect::<Vec<_>>()
        .concat()
}

/// `--out`, or a name under `runs/`.
fn folder(args: &Args) -> Result<PathBuf> {
    let name = match (&args.out, &args.preset, &args.config) {
        (Some(out), _, _) => return Ok(out.clone()),
        (None, Some(preset), _) => preset.as_ref(),
        (None, None, Some(file)) => file
            .file_stem()
            .with_context(|| format!("`{}` names no file", file.display()))?,
        (None, None, None) => {
            bail!("name what to train: --preset NAME, --config FILE, or --resume --out DIR")
        }
    };
    Ok(Path::new("runs").join(name))
}

/// The preset or file, or the resumed run's own configuration, with the overrides applied.
fn configuration(args: &Args, folder: &Path) -> Result<Config> {
    let own = folder.join("config.toml");
    let base = match (&args.preset, &args.config) {
        (Some(name), _) => Config::preset(name)?,
        (None, Some(file)) => from_file(file)?,
        (None, None) if args.resume => Config::of_run(&text_of(&own)?, &own.display().to_string())?,
        (None, None) => {
            bail!("name what to train: --preset NAME, --config FILE, or --resume --out DIR")
        }
    };
    Ok(base.with_sets(args.settings.iter().map(String::as_str))?)
}

pub(super) fn from_file(path: &Path) -> Result<Config> {
    Ok(Config::from_toml(
        &text_of(path)?,
        &path.display().to_string(),
    )?)
}

fn text_of(path: &Path) -> Result<String> {
    String::from_utf8(files::read(path)?)
        .ok()
        .with_context(|| format!("`{}` is not a text file", path.display()))
}

/// The exit status of work that was stopped, 128 + SIGINT as a shell reports it: what follows in a script does not take it for done.
pub(super) const INTERRUPTED: u8 = 130;

/// Signals closer than this are one request: `timeout` and job managers signal the process and then its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// A flag that the first Ctrl-C (or SIGTERM) sets; a second one ends the program at once.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut first = None;
    ctrlc::set_handler(move || {
        let first = *first.get_or_insert_with(|| {
            say("stopping after this step, to save; Ctrl-C again, a second later, leaves at once");
            Instant::now()
        });
        flag.store(true, Ordering::SeqCst);
        if first.elapsed() > SAME_SIGNAL {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// What was done, and how to go on where something is left.
fn summary(outcome: &Outcome, steps: usize, folder: &Path) -> String {
    let mut lines = Vec::new();
    if let Some((ratio, quantity)) = &outcome.worst_shadow {
        let share = 100.0 * outcome.shadow_seconds / outcome.seconds.max(f64::MIN_POSITIVE);
        lines.push(format!(
            "shadow check: worst error/bound {ratio:.3} ({quantity}), {share:.1} % of the time"
        ));
    }
    let folder = names::typed(folder);
    lines.push(if outcome.finished {
        format!(
            "finished after {} steps, {} in this call; images: sadm sample --run {folder} --out samples.png",
            outcome.step,
            duration(outcome.seconds)
        )
    } else {
        format!(
            "stopped and saved at step {} of {steps}; continue with: sadm train --resume --out {folder}",
            outcome.step
        )
    });
    lines.join("\n") + "\n"
}
