//! Branching of runs: how far two configurations train the same, and a run continued from there.

use super::changes::with_free_keys_of;
use super::checkpoint;
use super::configuration;
use super::phases::{Phase, Span, phases};
use crate::config::Config;
use crate::{Error, Result};
use std::fs;
use std::path::Path;

/// Steps after which two runs still agree bit for bit; 0 if they differ from the start.
///
/// Every batch, noise and learning rate of θ is a function of the seed, the update's number and the number of all
/// updates. So two runs agree as long as their phases do, if everything that acts in these phases is equal:
/// `[structure]` acts from the guided phase on, `[adversarial]` in its own; `[sample]`, `[shadow]`, `[checkpoint]` and what is
/// logged change no parameter.
pub fn common_steps(a: &Config, b: &Config) -> usize {
    let b = &with_free_keys_of(a, b);
    let neutral = Config {
        structure: a.structure.clone(),
        adversarial: a.adversarial.clone(),
        phases: a.phases.clone(),
        sample: a.sample.clone(),
        ..b.clone()
    };
    let (spans, others) = (phases(a), phases(b));
    if neutral != *a || updates(&spans) != updates(&others) {
        return 0;
    }
    let structure_agrees = {
        let mut structure = b.structure.clone();
        structure.method = a.structure.method;
        structure == a.structure
    };
    let mut common = 0;
    for (span, other) in spans.iter().zip(&others) {
        let same_settings = match span.phase {
            // The encoder's learning rate is a function of the length of its phase.
            Phase::Encoder => span == other,
            Phase::Denoise => true,
            Phase::Guided => structure_agrees,
            Phase::Adversarial => structure_agrees && a.adversarial == b.adversarial,
        };
        if span.phase != other.phase || !same_settings {
            break;
        }
        common = span.end.min(other.end);
        if span.end != other.end {
            break;
        }
    }
    common
}

/// θ-updates of a run.
fn updates(spans: &[Span]) -> usize {
    let of_theta = spans.iter().filter(|s| s.phase != Phase::Encoder);
    of_theta.map(|s| s.end - s.start).sum()
}

/// Starts a run with `config` in `folder` as a continuation of the run in `parent` after `step` steps.
///
/// The new folder holds a configuration and one checkpoint; [`Trainer::new`](crate::train::Trainer::new) with `resume` goes
/// on from it, to the very parameters that a run from the beginning would reach.
///
/// # Errors
/// A folder that holds a run already; a parent without that checkpoint, or one that trains otherwise in its first
/// `step` steps ([`common_steps`]).
pub fn branch(parent: &Path, step: usize, config: &Config, folder: &Path) -> Result<()> {
    let config_path = folder.join("config.toml");
    if config_path.exists() {
        return Err(Error::file(folder, "already holds a run"));
    }
    let other = configuration(parent)?;
    let common = common_steps(&other, config);
    if common < step {
        return Err(Error::file(
            parent,
            format!("trains as the new run would for {common} steps, not for {step}"),
        ));
    }
    let from = parent
        .join("checkpoints")
        .join(checkpoint::folder_name(step));
    let (contents, mut state) = checkpoint::read(&from, &candle_core::Device::Cpu)?;
    let text = config.to_toml();
    state.config_sha256 = checkpoint::sha256(text.as_bytes());
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    checkpoint::write(
        &folder.join("checkpoints"),
        &contents,
        state,
        config.checkpoint.keep,
        &[],
    )?;
    // Last: a folder with a configuration is a run, and by now there is what it continues from.
    checkpoint::write_atomically(&config_path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[&str]) -> Config {
        let config = Config::default();
        settings
            .iter()
            .try_fold(config, |c, s| c.with_set(s))
            .expect("known keys")
    }

    #[test]
    fn phases_and_settings_decide_where_runs_part() {
        // 2000 steps: encoder 200, denoise 800, guided 600, adversarial 400.
        let whole = with(&[]);
        let part = |settings: &[&str]| {
            let other = with(settings);
            assert_eq!(
                common_steps(&whole, &other),
                common_steps(&other, &whole),
                "{settings:?}"
            );
            common_steps(&whole, &other)
        };
        assert_eq!(part(&[]), 2000);
        assert_eq!(
            part(&["sample.count=8", "shadow.every=0", "checkpoint.keep=9"]),
            2000
        );
        assert_eq!(part(&["structure.method=guided"]), 1600);
        assert_eq!(part(&["adversarial.update_order=phi-first"]), 1600);
        assert_eq!(part(&["structure.relation=euclidean"]), 1000);
        assert_eq!(
            part(&["structure.method=guided", "structure.weight=3.0"]),
            1000
        );
        let long = [
            "phases.denoise=0.9",
            "phases.guided=0.0",
            "phases.adversarial=0.0",
        ];
        assert_eq!(part(&long), 1000);
        for other in [
            "seed=1",
            "train.steps=2001",
            "train.batch=32",
            "encoder.dim=8",
            "model.unet.channels=[8, 8]",
            "objective.label_dropout=0.2",
            "data.limit=500",
            // As many steps, but another number of θ's updates, hence another learning rate.
            "phases.encoder=0.2",
        ] {
            assert_eq!(part(&[other]), 0, "{other}");
        }
    }
}
