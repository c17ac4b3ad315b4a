//! A run that goes on from another's checkpoint ends where a run from the beginning ends, to the last bit.

use candle_core::Device;
use sadm_gpu::Result;
use sadm_gpu::config::Config;
use sadm_gpu::run::phases::{Phase, span};
use sadm_gpu::run::{Features, Run, SampleRequest, branch, checkpoint, common_steps};
use sadm_gpu::train::{Hooks, Silent, StepReport, Trainer};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// 16 steps: 4 of the encoder, 4 of denoising, 4 guided, 4 adversarial.
fn tiny() -> Config {
    with(
        &Config::preset("digits").expect("a preset"),
        &[
            "data.limit=64",
            "model.unet.channels=[8, 8]",
            "model.unet.heads=1",
            "model.unet.groups=4",
            "model.unet.emb_dim=16",
            "model.unet.time_dim=8",
            "encoder.widths=[8, 8]",
            "encoder.groups=4",
            "encoder.dim=8",
            "encoder.batch=8",
            "train.steps=16",
            "train.batch=6",
            "phases.encoder=0.25",
            "phases.denoise=0.25",
            "phases.guided=0.25",
            "phases.adversarial=0.25",
            "checkpoint.every=0",
            "checkpoint.keep=9",
            "sample.count=4",
            "sample.steps=3",
            "sample.every=0",
        ],
    )
}

fn with(config: &Config, settings: &[&str]) -> Config {
    let set = |config: Config, setting: &&str| config.with_set(setting);
    settings
        .iter()
        .try_fold(config.clone(), set)
        .expect("known keys")
}

struct StopAt<'a>(usize, &'a AtomicBool);
impl Hooks for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

/// Trains, with a checkpoint at each of `pauses`.
fn train(config: &Config, folder: &Path, pauses: &[usize]) {
    let mut trainer =
        Trainer::new(config.clone(), folder, &Device::Cpu, None, true).expect("a run");
    for &pause in pauses {
        let stop = AtomicBool::new(false);
        trainer
            .run(&mut StopAt(pause, &stop), &stop)
            .expect("no fault");
    }
    trainer
        .run(&mut Silent, &AtomicBool::new(false))
        .expect("no fault");
}

fn tensors(folder: &Path) -> Vec<Vec<u8>> {
    let last = folder.join("checkpoints/00000016");
    [
        "theta",
        "theta.average",
        "phi",
        "theta.optimizer",
        "phi.optimizer",
    ]
    .map(|name| std::fs::read(last.join(format!("{name}.safetensors"))).expect("a file"))
    .to_vec()
}

#[test]
fn a_branch_ends_where_a_whole_run_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let whole = tiny();
    let base = with(
        &whole,
        &[
            "phases.denoise=0.75",
            "phases.guided=0.0",
            "phases.adversarial=0.0",
        ],
    );
    let guided = with(&whole, &["phases.guided=0.5", "phases.adversarial=0.0"]);
    assert_eq!(common_steps(&base, &guided), 8);
    assert_eq!(common_steps(&guided, &whole), 12);

    train(&base, &at("base"), &[8]);
    branch(&at("base"), 8, &guided, &at("guided")).expect("a branch");
    train(&guided, &at("guided"), &[12]);
    branch(&at("guided"), 12, &whole, &at("branched")).expect("a branch");
    train(&whole, &at("branched"), &[]);

    train(&whole, &at("whole"), &[]);
    assert!(
        tensors(&at("branched")) == tensors(&at("whole")),
        "the branch went elsewhere"
    );
    assert!(
        tensors(&at("guided")) != tensors(&at("whole")),
        "the phases do nothing"
    );
}

#[test]
fn a_branch_beyond_what_is_common_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let whole = tiny();
    train(&whole, &at("whole"), &[4, 8, 12]);
    let other = with(&whole, &["structure.relation=euclidean"]);
    let refused = branch(&at("whole"), 12, &other, &at("other")).expect_err("other structure");
    assert!(
        refused.to_string().contains("for 8 steps, not for 12"),
        "{refused}"
    );
    assert!(!at("other").exists(), "a refused branch left a folder");
    let missing = branch(&at("whole"), 7, &other, &at("other")).expect_err("no such checkpoint");
    assert!(missing.to_string().contains("00000007"), "{missing}");
    branch(&at("whole"), 8, &other, &at("other")).expect("a branch");
    let twice = branch(&at("whole"), 8, &other, &at("other")).expect_err("a run is there");
    assert!(twice.to_string().contains("already holds a run"), "{twice}");
    let state = checkpoint::read(&at("other/checkpoints/00000008"), &Device::Cpu);
    assert_eq!(state.expect("a checkpoint").1.step, 8);
}

#[test]
fn features_and_trajectories_come_from_a_run() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = tiny();
    train(&config, folder.path(), &[]);
    let run = Run::open(folder.path(), &Device::Cpu)?;
    let request = SampleRequest {
        labels: vec![Some(3); 130],
        ..SampleRequest::from_config(&config)
    };
    let mut seen = Vec::new();
    let images = run.sample_along(&request, &mut |point| {
        seen.push((point.first, point.level, point.z.dims()[0]));
        Ok(())
    })?;
    // Two batches, each from the noise over three levels to the images.
    assert_eq!(seen.len(), 8);
    assert_eq!(
        (seen[0].0, seen[0].2, seen[4].0, seen[4].2),
        (0, 128, 128, 2)
    );
    assert!(seen[3].1 == 0.0 && seen[0].1 > seen[1].1, "{seen:?}");
    let again = run.sample(&request)?;
    assert_eq!(
        images.flatten_all()?.to_vec1::<f32>()?,
        again.flatten_all()?.to_vec1::<f32>()?
    );

    let double = Run::open_as(folder.path(), &Device::Cpu, candle_core::DType::F64)?;
    let exact = double.sample(&request)?;
    let apart = (exact - images.to_dtype(candle_core::DType::F64)?)?.abs()?;
    let apart = apart.flatten_all()?.to_vec1::<f64>()?;
    // Each by itself: candle's maximum would pass over NaN.
    assert!(
        apart.iter().all(|d| *d < 1e-2) && apart.iter().any(|d| *d > 0.0),
        "f32 and f64 differ by {apart:?}"
    );

    let features = Features::open(folder.path(), &Device::Cpu)?;
    assert_eq!(features.of(&images)?.dims(), [130, 8]);
    // Ψ before adversarial rounds moved it, which the newest checkpoint, of step 16, no longer has.
    let moved = span(run.config(), Phase::Adversarial);
    assert_eq!(Some(features.step()), moved.map(|s| s.start));
    assert!(features.step() < run.step());
    assert_eq!(features.digest().len(), 8);
    let wrong = features
        .of(&images.narrow(2, 0, 4)?)
        .expect_err("cut images");
    assert!(wrong.to_string().contains("[N, 1, 8, 8]"), "{wrong}");
    Ok(())
}

/// Ψ as adversarial rounds left it says so; one whose own phase has not ended is refused.
#[test]
fn psi_is_frozen_moved_or_not_yet_there() {
    let folder = tempfile::tempdir().expect("a folder");
    train(&tiny(), folder.path(), &[2]);
    let open = || Features::open(folder.path(), &Device::Cpu);
    let at = |step: usize| {
        let root = folder.path().join("checkpoints");
        root.join(checkpoint::folder_name(step))
    };
    let frozen = open().expect("a checkpoint from before the adversarial rounds");
    assert!(!frozen.is_moved());
    for step in [4, 8, 12] {
        if at(step).exists() {
            std::fs::remove_dir_all(at(step)).expect("removed");
        }
    }
    let moved = open().expect("the last checkpoint");
    assert!(moved.is_moved() && moved.step() == 16);
    assert_ne!(moved.digest(), frozen.digest());
    std::fs::remove_dir_all(at(16)).expect("removed");
    let refused = open().expect_err("only step 2 of the encoder's 4 is left");
    assert!(
        refused.to_string().contains("phase ends at step 4"),
        "{refused}"
    );
}
