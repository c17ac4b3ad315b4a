//! Validation of a request before anything is drawn or read.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::args::SplitOrder;
use super::metric::Kind;
use super::networks::{INCEPTION, INCEPTION_SPATIAL};
use super::{Args, Metric};
use crate::files;

/// Why there is no inception score.
pub const NO_PROBABILITIES: &str = "is needs class probabilities: --features encoder, inception or resnet, or given \
    ones with an array `probabilities`; pixels have none";

/// Refuses metrics that the features cannot give, and places that cannot be written to.
///
/// # Errors
/// The first of them, with what would be right.
pub fn check(args: &Args) -> Result<()> {
    if args.features == Kind::Given && args.generated.is_none() {
        bail!(
            "--features given takes them from a file: give --generated FILE, or take features of the run's images \
             (--features pixels, encoder or inception)"
        );
    }
    let needs_reference = args.metrics.iter().find(|m| !m.needs_no_reference());
    if let (None, None, Some(metric)) = (&args.reference, &args.save_statistics, needs_reference) {
        bail!(
            "{} compares with real samples: give --reference SOURCE (is and lpips need none, and --save-statistics FILE.npz \
             compares nothing)",
            metric.name()
        );
    }
    for metric in &args.metrics {
        metric_fits(*metric, args)?;
    }
    refuse_idle_options(args)?;
    if let Some(path) = &args.json {
        folder_exists("--json", path)?;
        files::refuse_unwritable(path).context("--json")?;
    }
    if let Some(path) = &args.save_statistics {
        folder_exists("--save-statistics", path)?;
        files::refuse_unwritable(path).context("--save-statistics")?;
    }
    Ok(())
}

/// Refuses options that nothing asked for would use: their author believes something of the numbers that does not hold.
fn refuse_idle_options(args: &Args) -> Result<()> {
    use Metric::{Dc, Is, Kid, Lpips, Nn, Pr};
    let options: [(&str, bool, &[Metric]); 7] = [
        ("--held-out", args.held_out.is_some(), &[Nn]),
        ("--open-balls", args.open_balls, &[Pr]),
        ("--half", args.half, &[Pr, Dc]),
        ("--shuffle", args.shuffle.is_some(), &[Is]),
        (
            "--torch-fidelity-draws",
            args.torch_fidelity_draws,
            &[Is, Kid],
        ),
        ("--kid-subset-size", args.kid_subset_size.is_some(), &[Kid]),
        (
            "--lpips-weights",
            args.network.lpips_weights.is_some(),
            &[Lpips],
        ),
    ];
    for (option, given, users) in options {
        if given && !args.metrics.iter().any(|metric| users.contains(metric)) {
            let users: Vec<_> = users.iter().map(|metric| metric.name()).collect();
            bail!(
                "{option} changes {} alone, which --metrics does not ask for",
                users.join(" and ")
            );
        }
    }
    if args.split_order == SplitOrder::Consecutive {
        if args.shuffle.is_some() {
            bail!("--shuffle and --split-order consecutive exclude each other");
        }
        if !args.metrics.contains(&Is) {
            bail!("--split-order changes is alone, which --metrics does not ask for");
        }
    }
    if args.reading.idle(args.features, &args.metrics) {
        bail!(
            "--as reals serves --features pixels, encoder and resnet, and lpips: the Inception network is given bytes, as in every \
             published tool"
        );
    }
    if args.encoder.is_some() && args.features != Kind::Encoder {
        bail!("--encoder serves --features encoder alone");
    }
    let networks = [Kind::Inception, Kind::Resnet];
    if args.network.weights.is_some() && !networks.contains(&args.features) {
        bail!("--weights are those of --features inception or resnet");
    }
    Ok(())
}

fn metric_fits(metric: Metric, args: &Args) -> Result<()> {
    let (features, name) = (args.features, args.name.as_str());
    let fits = match metric {
        Metric::Fid => {
            features == Kind::Inception || (features == Kind::Given && name == INCEPTION)
        }
        Metric::Sfid => {
            features == Kind::Inception || (features == Kind::Given && name == INCEPTION_SPATIAL)
        }
        Metric::Is => features != Kind::Pixels,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    match metric {
        Metric::Is => bail!(NO_PROBABILITIES),
        _ => bail!(
            "{} is the Fréchet distance in the Inception network's features (--features inception, or given ones with \
             --name {}); in others ask for fd",
            metric.name(),
            if metric == Metric::Fid {
                INCEPTION
            } else {
                INCEPTION_SPATIAL
            }
        ),
    }
}

fn folder_exists(option: &str, path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => bail!(
            "{option}: there is no folder `{}` to write `{}` into",
            folder.display(),
            path.display()
        ),
        _ => Ok(()),
    }
}
