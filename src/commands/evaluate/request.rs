//! What can be seen to be impossible before anything is drawn or read.

use std::path::Path;

use anyhow::{Result, bail};

use super::args::Kind;
use super::networks::{INCEPTION, INCEPTION_SPATIAL};
use super::{Args, Metric};

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
    for metric in &args.metrics {
        metric_fits(*metric, args)?;
    }
    if let Some(path) = &args.json {
        folder_exists("--json", path)?;
    }
    if let Some(path) = &args.save_statistics {
        folder_exists("--save-statistics", path)?;
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
