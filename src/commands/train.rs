//! `sadm train`: a run from a preset or a file, in a folder, to be continued at any time.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sadm_crosscheck::{Shadow, ShadowOptions};
use sadm_gpu::config::{Config, PRESETS};
use sadm_gpu::memory::{gibibytes, peak_of_process};
use sadm_gpu::train::begin_with::{ClassPolicy, Init};
use sadm_gpu::train::observer::Observer;
use sadm_gpu::train::{Hooks, Opening, Outcome, Trainer};

use crate::interrupt::{self, Interrupt};
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
  sadm train --resume --set train.steps=2000 --out runs/steady
  sadm train --from runs/digits --set train.steps=300 --out runs/further
  sadm train --preset digits --init-from runs/digits/checkpoints/00000900/theta.average.safetensors --out runs/tuned

Images of your own: data.dir is a folder of PNG pictures, one subfolder for each class, or a .npz file with `images` and
`labels`; square, all of one size. 16 bits a channel, reals in a doubtful range and files that are not read are refused;
data.depth, data.range and data.unread say what to do with them.

The folder receives config.toml, metrics.jsonl, samples/STEP.png, checkpoints/STEP and, unless
train.tensorboard=false, event files for TensorBoard. Ctrl-C saves and stops, with exit status 130;
--resume continues as if the run had never stopped. With it may be set what changes no number (checkpoint.*, shadow.*,
sample.every, train.log_every, train.tensorboard, train.check_memory, train.recompute), where the same images lie
(data.dir), and, with train.decay=none, more steps; history.jsonl keeps what was changed.";

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
    /// Begin a new run with the parameters, averages and encoder of this run's newest checkpoint, and with its configuration
    /// unless another is named
    #[arg(long, value_name = "RUN", conflicts_with = "resume", requires = "out")]
    from: Option<PathBuf>,
    /// Begin a new run with the weights of this file in the denoiser and its average: a file of our own or of a published network,
    /// recognised by its layout (see `sadm weights inspect`). Not the way to go on with a run: that is --resume
    #[arg(long, value_name = "FILE")]
    init_from: Option<PathBuf>,
    /// The dictionary of that file, such as ema or model [default: averaged weights where there are some]
    #[arg(long, value_name = "KEY", requires = "init_from")]
    init_key: Option<String>,
    /// The layout of that file, where names and shapes allow several
    #[arg(long, value_name = "LAYOUT", requires = "init_from")]
    init_layout: Option<String>,
    /// What becomes of that file's table of classes: fresh, mean, which of its classes each class here begins as, such as 3,17,4, or all
    /// where each of its rows is a class and none is "no class"
    #[arg(long, value_name = "POLICY", requires = "init_from")]
    class_table: Option<String>,
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
    refuse_two_beginnings(args)?;
    let classes = args.class_table.as_deref().map(str::parse::<ClassPolicy>);
    let classes = classes.transpose()?;
    threads::limit(args.threads)?;
    let folder = folder(args)?;
    files::refuse_file(&folder)?;
    let config = configuration(args, &folder)?;
    let device = place::open(&args.device, "f32")?.device;
    let interrupt = Interrupt::listen()?;
    let shadow = (config.shadow.every > 0).then(|| shadow(&folder));
    let opening = Opening {
        config,
        folder: &folder,
        device: &device,
        observer: shadow,
        resume: args.resume,
        from: args.from.as_deref(),
        init: args.init_from.as_deref().map(|file| Init {
            file,
            key: args.init_key.as_deref(),
            layout: args.init_layout.as_deref(),
            classes: classes.as_ref(),
        }),
    };
    let begun = folder.join("config.toml").exists();
    let mut trainer = interrupt.leaving_during(at_opening(begun, &folder), || {
        Trainer::open(opening, &mut Say)
    })?;
    let steps = trainer.config().train.steps;
    let stop = Arc::clone(&interrupt.requested);
    let mut recorder = Recorder {
        progress: Progress::new(steps, trainer.step()),
        events: (trainer.config().train.tensorboard)
            .then(|| Events::new(&folder, trainer.step(), trainer.config().to_toml())),
        interrupt,
        parting: parting(steps, &folder),
    };
    let outcome = trainer.run(&mut recorder, &stop);
    recorder.progress.close();
    let outcome = outcome?;
    if let Some([most, _]) = peak_of_process() {
        say(&format!("memory: {} at the most", gibibytes(most)));
    }
    files::print(&summary(&outcome, steps, &folder))?;
    Ok(if outcome.finished {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(interrupt::STATUS)
    })
}

/// Refuses `--init-from` beside another beginning.
fn refuse_two_beginnings(args: &Args) -> Result<()> {
    if args.init_from.is_none() {
        return Ok(());
    }
    if args.resume {
        bail!(
            "--init-from begins a new run with the weights of a file, at step 0 with fresh optimisers; --resume goes on with the run that is in the folder, \
             with its own weights, averages and optimisers: give one of them"
        );
    }
    if args.from.is_some() {
        bail!(
            "--init-from takes the denoiser's weights from a file, --from takes denoiser, averages and encoder from a run: give one of them"
        );
    }
    Ok(())
}

/// Callbacks while a run is opened.
struct Say;

impl Hooks for Say {
    fn note(&mut self, line: &str) {
        say(line);
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
    let base = match (&args.preset, &args.config, &args.from) {
        (Some(name), ..) => Config::preset(name)?,
        (None, Some(file), _) => from_file(file)?,
        (None, None, Some(run)) => planned_anew(of_run(&run.join("config.toml"))?),
        (None, None, None) if args.resume => of_run(&own)?,
        (None, None, None) => {
            bail!("name what to train: --preset NAME, --config FILE, or --resume --out DIR")
        }
    };
    let config = base.with_sets(args.settings.iter().map(String::as_str))?;
    Ok(config.with_absolute_paths()?)
}

/// A new run is laid out for its own steps.
fn planned_anew(mut config: Config) -> Config {
    config.train.planned = 0;
    config
}

pub(super) fn from_file(path: &Path) -> Result<Config> {
    Ok(Config::from_toml(
        &text_of(path)?,
        &path.display().to_string(),
    )?)
}

/// The configuration that a run's folder holds.
fn of_run(path: &Path) -> Result<Config> {
    Ok(Config::of_run(
        &text_of(path)?,
        &path.display().to_string(),
    )?)
}

fn text_of(path: &Path) -> Result<String> {
    String::from_utf8(files::read(path)?)
        .ok()
        .with_context(|| format!("`{}` is not a text file", path.display()))
}

/// What is said of a run that was stopped, before and after the number of its steps.
fn parting(steps: usize, folder: &Path) -> [String; 2] {
    [
        "stopped and saved at step ".to_owned(),
        format!(" of {steps}; {}", way_on(folder)),
    ]
}

/// What is said of a run that was stopped while it was opened.
fn at_opening(begun: bool, folder: &Path) -> String {
    if begun {
        format!("stopped before the next step; {}", way_on(folder))
    } else {
        "stopped before the first step; nothing was written".to_owned()
    }
}

fn way_on(folder: &Path) -> String {
    format!(
        "continue with: sadm train --resume --out {}",
        names::typed(folder)
    )
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
    lines.push(if outcome.finished {
        format!(
            "finished after {} steps, {} in this call; images: sadm sample --run {} --out samples.png",
            outcome.step,
            duration(outcome.seconds),
            names::typed(folder)
        )
    } else {
        let [before, after] = parting(steps, folder);
        format!("{before}{}{after}", outcome.step)
    });
    lines.join("\n") + "\n"
}
