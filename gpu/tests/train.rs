//! The training loop: determinism, resume, audit, phases and errors, on a model of a few thousand parameters.

use candle_core::{DType, Device, Tensor};
use sadm_gpu::config::Config;
use sadm_gpu::run::phases::Phase::{self, Adversarial, Denoise, Encoder, Guided};
use sadm_gpu::run::phases::phases;
use sadm_gpu::run::{Run, checkpoint, history};
use sadm_gpu::structure::{Eta, Relation};
use sadm_gpu::train::observer::{Observation, Observer, Verdict};
use sadm_gpu::train::terms::{Structure, bad_features};
use sadm_gpu::train::{Hooks, Opening, Outcome, Silent, StepReport, Trainer};
use sadm_gpu::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A run of 16 steps through all phases, a second or two long.
fn tiny() -> Config {
    let mut config = Config::preset("digits").expect("an embedded preset");
    for set in [
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
        "train.log_every=1",
        "phases.encoder=0.25",
        "phases.denoise=0.25",
        "phases.guided=0.25",
        "phases.adversarial=0.25",
        "checkpoint.every=3",
        "sample.count=4",
        "sample.steps=3",
        "sample.every=0",
    ] {
        config = config.with_set(set).expect(set);
    }
    config
}

fn trainer(config: &Config, folder: &Path, resume: bool) -> Result<Trainer> {
    Trainer::new(config.clone(), folder, &Device::Cpu, None, resume)
}

fn run(config: &Config, folder: &Path, resume: bool) -> Outcome {
    trainer(config, folder, resume)
        .expect("a valid run")
        .run(&mut Silent, &AtomicBool::new(false))
        .expect("a run without a fault")
}

/// The bytes of the newest checkpoint's files.
fn newest(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let root = folder.join("checkpoints");
    let step = *checkpoint::steps(&root)
        .expect("a readable folder")
        .last()
        .expect("a checkpoint");
    let folder = root.join(format!("{step:08}"));
    let files = std::fs::read_dir(&folder).expect("a readable folder");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), std::fs::read(&path).expect("a file"))
        })
        .collect()
}

/// Stops the run after a number of steps.
struct StopAt<'a>(usize, &'a AtomicBool);
impl Hooks for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn the_same_configuration_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let outcome = run(&tiny(), &a, false);
    assert!(outcome.finished && outcome.step == 16, "{outcome:?}");
    run(&tiny(), &b, false);
    assert_eq!(
        newest(&a),
        newest(&b),
        "two runs of one configuration differ"
    );
    let other = tiny().with_set("seed=1").expect("a seed");
    run(&other, &folder.path().join("c"), false);
    assert_ne!(
        newest(&a),
        newest(&folder.path().join("c")),
        "the seed has no effect"
    );
}

#[test]
fn an_interrupted_run_ends_like_an_uninterrupted_one_at_every_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = folder.path().join("whole");
    run(&tiny(), &whole, false);
    // Inside every phase and at every border.
    for stop in [1, 4, 5, 8, 10, 12, 13, 15] {
        let part = folder.path().join(format!("part-{stop}"));
        let flag = AtomicBool::new(false);
        let outcome = trainer(&tiny(), &part, false)
            .expect("a valid run")
            .run(&mut StopAt(stop, &flag), &flag)
            .expect("a run");
        assert_eq!((outcome.step, outcome.finished), (stop, false));
        assert!(run(&tiny(), &part, true).finished);
        assert_eq!(newest(&whole), newest(&part), "stopped at step {stop}");
        let log = std::fs::read_to_string(part.join("metrics.jsonl")).expect("a log");
        let steps: Vec<u64> = log
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"))
            .filter(|l| l.get("accuracy").is_none())
            .map(|l| l["step"].as_u64().expect("a step"))
            .collect();
        assert_eq!(steps, (1..=16).collect::<Vec<_>>(), "stopped at {stop}");
    }
}

#[test]
fn a_run_killed_between_checkpoints_resumes_bit_exactly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    run(&tiny(), &whole, false);
    run(&tiny(), &part, false);
    // As a kill at the very end leaves it: the checkpoint of step 15 and a half-written one.
    let root = part.join("checkpoints");
    for step in checkpoint::steps(&root).expect("steps") {
        if step > 15 {
            std::fs::remove_dir_all(root.join(format!("{step:08}"))).expect("removed");
        }
    }
    std::fs::create_dir(root.join(".tmp-00000016")).expect("created");
    std::fs::write(root.join(".tmp-00000016/theta.safetensors"), b"half").expect("written");
    assert_eq!(trainer(&tiny(), &part, true).expect("a run").step(), 15);
    run(&tiny(), &part, true);
    assert_eq!(newest(&whole), newest(&part));
    assert!(!root.join(".tmp-00000016").exists(), "rubbish is left");
}

#[test]
fn damaged_checkpoints_and_wrong_configurations_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let part = folder.path().join("run");
    run(&tiny(), &part, false);
    let refused = |resume, config: &Config| {
        trainer(config, &part, resume)
            .expect_err("must be refused")
            .to_string()
    };
    assert!(refused(false, &tiny()).contains("--resume"));
    let other = tiny().with_set("train.batch=8").expect("valid");
    let message = refused(true, &other);
    assert!(
        message.contains("(train.batch: `6` there, `8` here)"),
        "{message}"
    );

    let file = part.join("checkpoints/00000016/theta.average.safetensors");
    let bytes = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    let message = refused(true, &tiny());
    assert!(
        message.contains("theta.average.safetensors") && message.contains("truncated"),
        "{message}"
    );
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    std::fs::write(&file, flipped).expect("written");
    assert!(refused(true, &tiny()).contains("theta.average.safetensors"));
    std::fs::remove_file(&file).expect("removed");
    assert!(refused(true, &tiny()).contains("theta.average.safetensors"));
    std::fs::write(&file, &bytes).expect("written");
    assert!(
        trainer(&tiny(), &part, true).is_ok(),
        "an intact checkpoint is refused"
    );
    std::fs::write(
        part.join("checkpoints/00000016/state.json"),
        "{\"format\":1",
    )
    .expect("written");
    assert!(refused(true, &tiny()).contains("state.json"));
}

/// The largest magnitude; NaN where there is one, over which candle's maximum passes.
fn largest(x: &Tensor) -> Result<f64> {
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let sizes = values.into_iter().map(f64::abs);
    Ok(sizes.fold(0.0, |m, v| if v > m || v.is_nan() { v } else { m }))
}

/// Records what it is shown.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<String>>>);
impl Observer for Witness {
    fn observe(&mut self, o: &Observation<'_>) -> Result<Verdict> {
        let mut line = format!("{} {} {}", o.step, o.phase, o.player);
        for term in o.terms {
            line += " ";
            line += term.term;
            let (tensors, gradients) = (&term.tensors, &term.gradients);
            if term.term == "denoising" {
                // ∂L/∂x̂_i = 2 w_i (x̂_i − x_i)/B, by hand.
                let b = term.samples["t"].len();
                let difference = (&tensors["x_hat"] - &tensors["x0"])?.to_dtype(DType::F64)?;
                let w = Tensor::from_slice(&term.samples["w"], (b, 1, 1, 1), &Device::Cpu)?;
                let want = (difference.broadcast_mul(&w)? * (2.0 / b as f64))?;
                let error = largest(&(gradients["x_hat"].to_dtype(DType::F64)? - &want)?)?;
                let size = largest(&want)?;
                // Four roundings of f32 between x̂ and its gradient.
                assert!(
                    error <= 4.0 * 2f64.powi(-24) * size,
                    "{line}: {error} of {size}"
                );
            } else if term.term == "classification" {
                assert!(largest(&gradients["logits"])? > 0.0, "{line}");
            } else if term.term == "time" {
                assert_eq!(term.samples["t"], o.terms[0].samples["t"], "{line}");
            } else {
                let reach = |name| Ok::<_, Error>(largest(&gradients[name])? > 0.0);
                assert!(reach("psi")? && reach("psi_hat")?, "{line}");
            }
        }
        self.0.lock().expect("one thread").push(line);
        Ok(Verdict {
            ratio: 0.5,
            quantity: "none".to_owned(),
            ratios: Vec::new(),
            failure: None,
        })
    }
}

#[test]
fn the_observer_sees_the_live_tensors_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = tiny().with_set("shadow.every=3").expect("valid");
    let (seen, unseen) = (folder.path().join("seen"), folder.path().join("unseen"));
    let witness = Witness::default();
    let observer: Option<Box<dyn Observer>> = Some(Box::new(witness.clone()));
    Trainer::new(config.clone(), &seen, &Device::Cpu, observer, false)
        .expect("a run")
        .run(&mut Silent, &AtomicBool::new(false))
        .expect("a run");
    run(&config, &unseen, false);
    assert_eq!(newest(&seen), newest(&unseen), "looking changed the run");
    assert_eq!(
        *witness.0.lock().expect("one thread"),
        [
            "0 encoder phi classification",
            "3 encoder phi classification",
            "4 denoise theta denoising time",
            "6 denoise theta denoising time",
            "9 guided theta denoising structure time",
            "12 adversarial theta denoising structure time",
            "12 adversarial phi structure time",
            "15 adversarial theta denoising structure time",
            "15 adversarial phi structure time",
        ]
    );
}

/// Finds every step wrong.
struct Judge;
impl Observer for Judge {
    fn observe(&mut self, o: &Observation<'_>) -> Result<Verdict> {
        let quantity = match (o.player, o.phase) {
            (_, "encoder") => "grad logits",
            ("theta", _) => "grad_x_hat",
            _ => "grad_psi",
        };
        Ok(Verdict {
            ratio: f64::NAN,
            quantity: quantity.to_owned(),
            ratios: Vec::new(),
            failure: None,
        })
    }
}

#[derive(Default)]
struct Notes(Vec<String>);
impl Hooks for Notes {
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

#[test]
fn a_failed_shadow_check_stops_the_run_or_warns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with = |set: &str, name: &str| {
        let config = tiny()
            .with_set("shadow.every=5")
            .and_then(|c| c.with_set(set))
            .expect("valid");
        let mut notes = Notes::default();
        let result = Trainer::new(
            config,
            &folder.path().join(name),
            &Device::Cpu,
            Some(Box::new(Judge)),
            false,
        )
        .expect("a run")
        .run(&mut notes, &AtomicBool::new(false));
        (result, notes.0)
    };
    let (result, _) = with("shadow.on_failure=stop", "stop");
    let message = result.expect_err("must stop").to_string();
    assert!(
        message.contains("grad logits") && message.contains("step 0"),
        "{message}"
    );
    let (result, notes) = with("shadow.on_failure=warn", "warn");
    assert!(result.expect("a warning only").finished);
    assert!(notes.iter().any(|n| n.contains("shadow")), "{notes:?}");
}

/// φ moves at odd steps here, none of which is a multiple of 4.
#[test]
fn phi_is_observed_in_every_round_that_has_an_observed_step() {
    for order in ["theta-first", "phi-first"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let order = format!("adversarial.update_order={order}");
        let sets = [&order, "adversarial.theta_steps=2", "shadow.every=4"];
        let config = tiny().with_sets(sets).expect("valid");
        let witness = Witness::default();
        let observer: Option<Box<dyn Observer>> = Some(Box::new(witness.clone()));
        Trainer::new(config, folder.path(), &Device::Cpu, observer, false)
            .expect("a run")
            .run(&mut Silent, &AtomicBool::new(false))
            .expect("a run");
        let seen = witness.0.lock().expect("one thread");
        let of_phi = seen
            .iter()
            .filter(|line| line.contains("adversarial phi"))
            .count();
        assert_eq!(of_phi, 1, "{order}: {seen:?}");
    }
}

/// SADM's Eq. 6 without η_t and its Eq. 8 with it, in one run (erratum E7).
#[test]
fn the_guided_phase_may_have_its_own_eta() {
    let config = tiny().with_set("structure.guided_eta=constant");
    let config = config.expect("valid");
    let eta = |phase| Structure::of(&config, phase).eta;
    assert_eq!(eta(Guided), Eta::CONSTANT);
    assert_eq!(eta(Adversarial), Eta::INVERSE_TIME);
    let same = Structure::of(&tiny(), Guided);
    assert_eq!(same.eta, Eta::INVERSE_TIME);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (own, plain) = (folder.path().join("own"), folder.path().join("plain"));
    assert!(run(&config, &own, false).finished);
    run(&tiny(), &plain, false);
    assert_ne!(newest(&own)["theta"], newest(&plain)["theta"]);
}

#[test]
fn features_without_a_direction_are_named() {
    let psi = Tensor::new(&[[1f32, 0.0], [0.0, 0.0]], &Device::Cpu).expect("a tensor");
    let good = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], &Device::Cpu).expect("a tensor");
    let with = |psi: &Tensor, psi_hat: &Tensor, relation| {
        let found = bad_features([psi, psi_hat], relation).expect("two matrices");
        found.map(|error| error.to_string())
    };
    let said = with(&good, &psi, Relation::COSINE).expect("a zero row");
    assert!(
        said.contains("Ψ(x̂) of sample 1") && said.contains("cosine"),
        "{said}"
    );
    assert_eq!(with(&good, &psi, Relation::EUCLIDEAN), None);
    let nan = (&good * f64::NAN).expect("a product");
    let said = with(&nan, &good, Relation::EUCLIDEAN).expect("NaN");
    assert!(
        said.contains("Ψ(x_0) of sample 0") && said.contains("finite"),
        "{said}"
    );
}

#[test]
fn a_state_that_was_altered_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(&tiny(), folder.path(), false);
    let root = folder.path().join("checkpoints");
    let state = root.join("00000016").join("state.json");
    let text = std::fs::read_to_string(&state).expect("a file");
    let refused = |text: &str| {
        std::fs::write(&state, text).expect("a file");
        trainer(&tiny(), folder.path(), true)
            .expect_err("must be refused")
            .to_string()
    };
    let altered = text.replace("\"theta\": 12", "\"theta\": 5000");
    assert_ne!(altered, text);
    let message = refused(&altered);
    assert!(
        message.contains("state.json") && message.contains("is altered"),
        "{message}"
    );
    std::fs::write(&state, &text).expect("a file");
    std::fs::rename(root.join("00000016"), root.join("00000017")).expect("a folder");
    let message = trainer(&tiny(), folder.path(), true)
        .expect_err("another step")
        .to_string();
    assert!(message.contains("of step 16"), "{message}");
}

#[test]
fn networks_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    for (set, words) in [
        (
            "model.unet.channels=[8,8,8,8,8]",
            "model.unet.channels must have at most 4 entries",
        ),
        (
            "encoder.widths=[8,8,8,8,8,8]",
            "encoder.widths must have at most 4 entries",
        ),
        ("encoder.groups=3", "encoder.groups"),
        ("model.unet.groups=3", "model.unet.groups"),
        ("model.unet.heads=3", "model.unet.heads"),
    ] {
        let config = tiny().with_set(set).expect(set);
        let message = trainer(&config, &path, false).expect_err(set).to_string();
        assert!(message.contains(words), "{set}: {message}");
        assert!(!path.exists(), "{set} left a folder behind");
    }
}

#[test]
fn a_folder_belongs_to_one_process_and_holds_one_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = trainer(&tiny(), folder.path(), false).expect("a run");
    let message = trainer(&tiny(), folder.path(), true)
        .expect_err("two at once")
        .to_string();
    assert!(message.contains("another process"), "{message}");
    drop(first);
    run(&tiny(), folder.path(), true);
    std::fs::remove_file(folder.path().join("config.toml")).expect("a file");
    let message = trainer(&tiny(), folder.path(), false)
        .expect_err("checkpoints")
        .to_string();
    assert!(message.contains("already holds a run"), "{message}");
}

#[test]
fn both_update_orders_run_and_differ() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ends = Vec::new();
    for order in ["theta-first", "phi-first"] {
        let config = tiny()
            .with_set(&format!("adversarial.update_order={order}"))
            .and_then(|c| c.with_set("adversarial.phi_steps=2"))
            .and_then(|c| c.with_set("adversarial.theta_steps=2"))
            .expect("valid");
        let path = folder.path().join(order);
        assert!(run(&config, &path, false).finished);
        ends.push(newest(&path));
    }
    assert_ne!(ends[0]["theta"], ends[1]["theta"]);
    assert_ne!(ends[0]["phi"], ends[1]["phi"]);
}

#[test]
fn the_adversarial_phase_ends_at_a_measured_balance() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A tolerance of 1 accepts any two gains: the phase ends when the window is full.
    let config = tiny()
        .with_set("adversarial.until=balance")
        .and_then(|c| c.with_set("adversarial.balance_window=2"))
        .and_then(|c| c.with_set("adversarial.balance_tolerance=1.0"))
        .expect("valid");
    let path = folder.path().join("balance");
    let outcome = run(&config, &path, false);
    assert_eq!((outcome.balanced_at, outcome.step), (Some(14), 14));
    assert!(outcome.finished && run(&config, &path, true).finished);
}

#[test]
fn every_method_schedule_and_model_trains() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let variants: [&[&str]; 10] = [
        &["structure.method=none"],
        &["structure.method=guided", "objective.time_sharing=shared"],
        &[
            "structure.relation=euclidean",
            "structure.distance=huber(0.5)",
        ],
        &[
            "structure.relation=rbf(2)",
            "structure.distance=absolute",
            "structure.diagonal=exclude",
        ],
        &[
            "objective.schedule=vp-linear",
            "objective.time=uniform",
            "objective.parametrisation=eps",
            "objective.weight=snr",
        ],
        &[
            "objective.schedule=cosine",
            "objective.time=uniform",
            "objective.time_max=0.99",
            "objective.parametrisation=v",
            "objective.weight=one-plus-snr",
            "structure.eta=snr",
        ],
        &[
            "objective.schedule=rectified-flow",
            "objective.time=soft-truncation",
            "objective.time_max=0.95",
            "objective.weight=soft-truncation",
            "objective.parametrisation=x0",
        ],
        &[
            "objective.schedule=ddpm",
            "objective.time=uniform",
            "objective.weight=min-snr",
            "structure.eta=constant",
        ],
        &[
            "model.kind=dit-small",
            "model.dit-small.patch=4",
            "model.dit-small.dim=16",
            "model.dit-small.depth=1",
            "model.dit-small.heads=2",
            "model.dit-small.time_dim=8",
        ],
        &["train.compute=bf16"],
    ];
    for (index, sets) in variants.iter().enumerate() {
        let config = sets.iter().fold(tiny(), |c, s| c.with_set(s).expect(s));
        let outcome = run(&config, &folder.path().join(index.to_string()), false);
        assert!(outcome.finished, "{sets:?}");
    }
}

#[test]
fn the_checkpoint_at_the_end_of_each_phase_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run_folder = folder.path().join("run");
    run(&tiny(), &run_folder, false);
    // Phases end at 4, 8, 12 and 16; of the others (every 3 steps) the newest two are kept.
    let steps = || checkpoint::steps(&run_folder.join("checkpoints")).expect("steps");
    assert_eq!(steps(), [4, 8, 12, 15, 16]);
    let (at, newest) = (
        Run::open_at(&run_folder, 8, &Device::Cpu).expect("it was kept"),
        Run::open(&run_folder, &Device::Cpu).expect("the newest"),
    );
    assert_eq!((at.step(), newest.step()), (8, 16));
    let x = Tensor::ones((2, 1, 8, 8), DType::F32, &Device::Cpu).expect("images");
    let x_hat = |run: &Run| -> Vec<f32> {
        let x_hat = run.denoised(&x, &[0.7, 0.7], &[1, 2]).expect("an answer");
        assert_eq!(x_hat.dims(), [2, 1, 8, 8]);
        x_hat
            .flatten_all()
            .and_then(|x| x.to_vec1())
            .expect("values")
    };
    assert_ne!(x_hat(&at), x_hat(&newest), "both are one checkpoint");
    let features = |run: &Run| -> Vec<f32> {
        let psi = run.encoder().features(&x).expect("features");
        psi.flatten_all().and_then(|x| x.to_vec1()).expect("values")
    };
    assert_ne!(features(&at), features(&newest), "φ did not move");
    let error = Run::open_at(&run_folder, 9, &Device::Cpu).expect_err("it is gone");
    assert!(
        error
            .to_string()
            .contains("no checkpoint of step 9; those of steps: 4, 8, 12, 15, 16"),
        "{error}"
    );
}

#[test]
fn a_run_from_before_a_key_existed_is_resumed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, old) = (folder.path().join("whole"), folder.path().join("old"));
    run(&tiny(), &whole, false);
    run(&tiny(), &old, false);
    let root = old.join("checkpoints");
    std::fs::remove_dir_all(root.join("00000016")).expect("removed");
    let config = old.join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let older = text.replace("tensorboard = true\n", "");
    assert_ne!(text, older);
    std::fs::write(&config, &older).expect("written");
    let state = root.join("00000015/state.json");
    let json = std::fs::read_to_string(&state).expect("a state");
    let mut json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    json["config_sha256"] = checkpoint::sha256(older.as_bytes()).into();
    json.as_object_mut().expect("an object").remove("version");
    json["own_sha256"] = "".into();
    json["own_sha256"] = checkpoint::sha256(json.to_string().as_bytes()).into();
    std::fs::write(&state, json.to_string()).expect("written");

    assert!(run(&tiny(), &old, true).finished);
    assert_eq!(std::fs::read_to_string(&config).expect("text"), older);
    let (whole, old) = (newest(&whole), newest(&old));
    assert_eq!(whole["theta"], old["theta"]);
}

#[test]
fn hooks_hear_every_line_of_the_metrics() {
    #[derive(Default)]
    struct Lines(String);
    impl Hooks for Lines {
        fn metrics(&mut self, line: &serde_json::Value) -> Result<()> {
            self.0 += &line.to_string();
            self.0.push('\n');
            Ok(())
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut lines = Lines::default();
    trainer(&tiny(), folder.path(), false)
        .expect("a run")
        .run(&mut lines, &AtomicBool::new(false))
        .expect("a run");
    let log = std::fs::read_to_string(folder.path().join("metrics.jsonl")).expect("a log");
    assert_eq!(lines.0, log);
    assert!(
        log.contains("accuracy") && log.lines().count() == 17,
        "{log}"
    );
}

#[test]
fn phases_are_announced_in_order() {
    #[derive(Default)]
    struct Seen(Vec<(Phase, usize, usize)>);
    impl Hooks for Seen {
        fn phase(&mut self, phase: Phase, start: usize, end: usize) {
            self.0.push((phase, start, end));
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut seen = Seen::default();
    trainer(&tiny(), &folder.path().join("run"), false)
        .expect("a run")
        .run(&mut seen, &AtomicBool::new(false))
        .expect("a run");
    assert_eq!(
        seen.0,
        [
            (Encoder, 0, 4),
            (Denoise, 4, 8),
            (Guided, 8, 12),
            (Adversarial, 12, 16)
        ]
    );
}

#[test]
fn a_diverging_run_stops_with_the_loss_and_the_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = tiny()
        .with_set("train.learning_rate=1e30")
        .and_then(|c| c.with_set("train.clip_norm=0"))
        .expect("valid");
    let error = trainer(&config, &folder.path().join("run"), false)
        .expect("a run")
        .run(&mut Silent, &AtomicBool::new(false))
        .expect_err("must stop");
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("step"), "{error}");
}

/// Notes of the opening and of the run.
fn open(
    config: &Config,
    folder: &Path,
    resume: bool,
    from: Option<&Path>,
) -> (Result<Trainer>, Vec<String>) {
    let mut notes = Notes::default();
    let opening = Opening {
        config: config.clone(),
        folder,
        device: &Device::Cpu,
        observer: None,
        resume,
        from,
        init: None,
    };
    (Trainer::open(opening, &mut notes), notes.0)
}

#[test]
fn the_images_come_before_the_memory_and_both_before_the_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (trainer, notes) = open(&tiny(), folder.path(), false, None);
    trainer.expect("a run");
    assert!(notes[0].starts_with("64 images of 1×8×8"), "{notes:?}");
    assert!(notes[1].starts_with("memory: about "), "{notes:?}");
}

#[test]
fn what_needs_more_memory_than_there_is_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("run");
    let huge = tiny()
        .with_set("model.unet.channels=[1000000000, 8]")
        .expect("a width");
    let (refused, notes) = open(&huge, &run, false, None);
    let message = refused.expect_err("too large").to_string();
    for part in [
        "model.unet.channels = [1000000000, 8]",
        "train.check_memory = false",
        "`model.",
    ] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(notes[0].contains("64 images"), "{notes:?}");
    assert!(!run.exists(), "something was written");
    // Who knows better is not asked; parameters have a limit of their own.
    let message = trainer(
        &huge.with_set("train.check_memory=false").expect("a key"),
        &run,
        false,
    )
    .expect_err("too large")
    .to_string();
    assert!(message.contains("parameter `"), "{message}");
}

/// A run of 16 steps at a constant rate after its warm-up.
fn steady() -> Config {
    tiny()
        .with_sets(["train.decay=none", "train.warmup=0.3"])
        .expect("known keys")
}

#[test]
fn a_run_that_is_trained_on_is_as_one_that_was_longer_from_the_beginning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let longer = steady().with_set("train.steps=24").expect("more steps");
    let planned = longer.with_set("train.planned=16").expect("a plan");
    run(&planned, &at("whole"), false);
    // Finished, in the encoder's phase, and in the last.
    for stop in [16, 3, 14] {
        let part = at(&format!("part-{stop}"));
        let flag = AtomicBool::new(false);
        let first = trainer(&steady(), &part, false)
            .expect("a run")
            .run(&mut StopAt(stop, &flag), &flag)
            .expect("a run");
        assert_eq!(first.step, stop);
        let (trainer, notes) = open(&longer, &part, true, None);
        let note = format!("from step {stop} on: train.steps = 24, was 16");
        assert!(notes.contains(&note), "{notes:?}");
        let outcome = trainer
            .expect("a longer run")
            .run(&mut Silent, &AtomicBool::new(false))
            .expect("a run");
        assert_eq!((outcome.step, outcome.finished), (24, true));
        assert!(
            newest(&at("whole")) == newest(&part),
            "trained on after step {stop}"
        );
        let config = std::fs::read_to_string(part.join("config.toml")).expect("a text");
        assert_eq!(config, planned.to_toml());
        // A checkpoint from before the change is still this run's.
        let phase = Run::open_at(&part, 4, &Device::Cpu).expect("the end of a phase");
        assert_eq!(phase.step(), 4);
        let events = history::read(&part).expect("a history");
        assert_eq!(events.len(), 1);
        let change = events[0]
            .changes
            .iter()
            .find(|change| change.key == "train.steps");
        let change = change.map(|change| (change.from.as_str(), change.to.as_str()));
        assert_eq!((events[0].step, change), (stop, Some(("16", "24"))));
        // The same again is no change.
        assert!(run(&planned, &part, true).finished);
        assert_eq!(history::read(&part).expect("a history").len(), 1);
    }
    // A configuration that no history tells of is still refused.
    let part = at("part-3");
    let other = planned.with_set("seed=5").expect("a seed").to_toml();
    std::fs::write(part.join("config.toml"), other).expect("writable");
    let message = Run::open(&part, &Device::Cpu)
        .expect_err("another run")
        .to_string();
    assert!(message.contains("trained with"), "{message}");
}

#[test]
fn a_rate_that_falls_is_not_stretched_over_what_was_done() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(&tiny(), folder.path(), false);
    let before = newest(folder.path());
    let longer = tiny().with_set("train.steps=24").expect("more steps");
    let message = trainer(&longer, folder.path(), true)
        .expect_err("cosine")
        .to_string();
    for part in ["at most the 16", "train.decay = \"cosine\"", "--from RUN"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(newest(folder.path()) == before, "something was written");
    assert!(
        !folder.path().join("history.jsonl").exists(),
        "a history of nothing"
    );
}

#[test]
fn what_changes_no_number_may_change_and_images_may_lie_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let data = |name: &str, grey: u8| {
        for class in 0..2_u8 {
            let within = at(name).join(class.to_string());
            std::fs::create_dir_all(&within).expect("a folder");
            for i in 0..6_u8 {
                image::GrayImage::from_fn(8, 8, |x, y| {
                    image::Luma([grey + 20 * class + i + u8::try_from(x * y).unwrap_or(0)])
                })
                .save(within.join(format!("{i}.png")))
                .expect("a picture");
            }
        }
        format!("data.dir={}", at(name).display())
    };
    let [here, moved, other] = [data("here", 3), data("moved", 3), data("other", 90)];
    let config = tiny()
        .with_sets(["data.dataset=images", &here, "data.limit=0"])
        .expect("known keys");
    run(&config, &at("whole"), false);
    let flag = AtomicBool::new(false);
    trainer(&config, &at("part"), false)
        .expect("a run")
        .run(&mut StopAt(7, &flag), &flag)
        .expect("a run");
    let with = |dir: &str| {
        let sets = [
            dir,
            "checkpoint.every=5",
            "train.log_every=4",
            "train.tensorboard=false",
            "shadow.every=3",
        ];
        config.with_sets(sets).expect("known keys")
    };
    let message = trainer(&with(&other), &at("part"), true)
        .expect_err("other images")
        .to_string();
    assert!(
        message.contains("those that the run was trained on"),
        "{message}"
    );
    std::fs::remove_dir_all(at("here")).expect("a folder");
    assert!(run(&with(&moved), &at("part"), true).finished);
    let parameters = |run: &str| {
        let mut files = newest(&at(run));
        files.remove("state");
        files
    };
    assert!(
        parameters("whole") == parameters("part"),
        "what changes no number did"
    );
    let (train, holdout) = Run::open(&at("part"), &Device::Cpu)
        .expect("a run")
        .parts()
        .expect("its images");
    assert_eq!(train.len() + holdout.len(), 12);
    let events = history::read(&at("part")).expect("a history");
    let keys: Vec<_> = events[0]
        .changes
        .iter()
        .map(|change| change.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "checkpoint.every",
            "data.dir",
            "shadow.every",
            "train.log_every",
            "train.tensorboard"
        ]
    );
}

#[test]
fn a_new_run_begins_with_the_weights_of_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    run(&tiny(), &at("first"), false);
    let config = tiny()
        .with_sets(["phases.encoder=0.0", "train.steps=6", "seed=9"])
        .expect("known keys");
    let (trainer_, _) = open(&config, &at("second"), false, Some(&at("first")));
    let mut trainer_ = trainer_.expect("a run");
    let (first, second) = (newest(&at("first")), newest(&at("second")));
    for name in ["theta", "theta.average", "phi"] {
        assert!(first[name] == second[name], "{name} is another");
    }
    assert!(
        first["theta.optimizer"] != second["theta.optimizer"],
        "the optimiser is no new one"
    );
    let state: serde_json::Value = serde_json::from_slice(&second["state"]).expect("JSON");
    assert_eq!(state["step"], 0);
    assert_eq!(state["updates"]["theta"], 0);
    let events = history::read(&at("second")).expect("a history");
    let origin = events[0].from.clone().expect("where it is from");
    assert_eq!((origin.step, origin.run), (16, at("first")));
    let outcome = trainer_
        .run(&mut Silent, &AtomicBool::new(false))
        .expect("a run");
    assert_eq!((outcome.step, outcome.finished), (6, true));
    drop(trainer_);
    // A run that was killed before its first checkpoint goes on from the same weights.
    let (killed, _) = open(&config, &at("third"), false, Some(&at("first")));
    drop(killed.expect("a run"));
    assert!(run(&config, &at("third"), true).finished);
    assert!(
        newest(&at("second")) == newest(&at("third")),
        "resumed otherwise"
    );
    // It does not begin as a run without those weights does.
    run(&config, &at("without"), false);
    assert!(newest(&at("second"))["theta"] != newest(&at("without"))["theta"]);
    for (set, part) in [
        ("model.unet.channels=[8, 16]", "its networks are others"),
        ("encoder.dim=4", "its networks are others"),
    ] {
        let other = config.with_set(set).expect("a key");
        let message = open(&other, &at("no"), false, Some(&at("first")))
            .0
            .expect_err(set)
            .to_string();
        assert!(message.contains(part), "{set}: {message}");
        assert!(!at("no").exists(), "{set}: something was written");
    }
    let message = open(&config, &at("second"), false, Some(&at("first")))
        .0
        .expect_err("a run is there");
    assert!(
        message.to_string().contains("already holds a run"),
        "{message}"
    );
    let message = open(&config, &at("no"), false, Some(&at("nowhere")))
        .0
        .expect_err("no run");
    assert!(message.to_string().contains("no run's folder"), "{message}");
}

/// Sets the flag at the first metrics line of a φ that moves many times, from another thread's point of view in mid-step.
struct StopIn<'a> {
    flag: &'a AtomicBool,
    at: usize,
    seen: usize,
}

impl Observer for StopIn<'static> {
    fn observe(&mut self, observation: &Observation<'_>) -> Result<Verdict> {
        if observation.player == "phi" && observation.step == self.at {
            self.seen += 1;
            self.flag.store(true, Ordering::SeqCst);
        }
        Ok(Verdict {
            ratio: 0.0,
            quantity: "nothing".to_owned(),
            ratios: Vec::new(),
            failure: None,
        })
    }
}

#[test]
fn a_step_of_many_ascents_is_given_up_between_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for order in ["theta-first", "phi-first"] {
        let config = tiny()
            .with_sets([
                "adversarial.phi_steps=5",
                "shadow.every=1",
                &format!("adversarial.update_order={order}"),
            ])
            .expect("known keys");
        let (whole, part) = (at(&format!("whole-{order}")), at(&format!("part-{order}")));
        run(&config, &whole, false);
        // The first round, and a later one.
        for step in [12, 14] {
            let _ = std::fs::remove_dir_all(&part);
            let flag: &'static AtomicBool = Box::leak(Box::default());
            let observer = StopIn {
                flag,
                at: step,
                seen: 0,
            };
            let outcome = Trainer::new(
                config.clone(),
                &part,
                &Device::Cpu,
                Some(Box::new(observer)),
                false,
            )
            .expect("a run")
            .run(&mut Silent, flag)
            .expect("a run");
            assert_eq!((outcome.step, outcome.finished), (step, false), "{order}");
            assert!(run(&config, &part, true).finished);
            assert!(
                newest(&whole) == newest(&part),
                "{order}: given up in step {step}"
            );
        }
    }
}

/// Counts what is said of the disk.
#[derive(Default)]
struct Saved(Vec<Option<usize>>);
impl Hooks for Saved {
    fn all_is_saved(&mut self, step: Option<usize>) {
        self.0.push(step);
    }
}

#[test]
fn an_audit_in_the_midst_of_a_run_has_everything_before_it_on_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut saved = Saved::default();
    trainer(&tiny(), folder.path(), false)
        .expect("a run")
        .run(&mut saved, &AtomicBool::new(false))
        .expect("a run");
    // The first phase was audited when the run was opened; the three others at the checkpoint before them.
    assert_eq!(saved.0, [Some(4), None, Some(8), None, Some(12), None]);
    let saved = checkpoint::steps(&folder.path().join("checkpoints")).expect("checkpoints");
    assert!(
        [4, 8, 12].iter().all(|step| saved.contains(step)),
        "{saved:?}"
    );
}

/// Blocks of both players' passes are made again, with the same coins of dropout, in a run that begins so and goes on otherwise.
#[test]
fn a_run_whose_blocks_are_made_again_is_the_same_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let config = |recompute: &str, parts: usize| {
        let keys = [
            format!("train.recompute={recompute}"),
            format!("train.micro_batches={parts}"),
            "model.kind=song-unet".to_owned(),
            "model.song-unet.model_channels=8".to_owned(),
            "model.song-unet.channel_mult=[1, 2]".to_owned(),
            "model.song-unet.num_blocks=1".to_owned(),
            "model.song-unet.attn_resolutions=[4]".to_owned(),
            "model.song-unet.dropout=0.3".to_owned(),
        ];
        let keys = keys.iter().map(String::as_str);
        tiny().with_sets(keys).expect("known keys")
    };
    for parts in [1, 2] {
        let names = ["plain", "again", "other"].map(|name| format!("{name}-{parts}"));
        let [plain, again, other] = names.map(|name| at(&name));
        let tensors = |run: &Path| {
            let mut files = newest(run);
            // Where the digest of the configuration is.
            files.remove("state");
            files
        };
        run(&config("none", parts), &plain, false);
        run(&config("blocks", parts), &again, false);
        assert!(tensors(&plain) == tensors(&again), "{parts} parts");
        let stop = AtomicBool::new(false);
        let mut part = trainer(&config("blocks", parts), &other, false).expect("a run");
        part.run(&mut StopAt(7, &stop), &stop).expect("no fault");
        drop(part);
        run(&config("none", parts), &other, true);
        assert!(tensors(&plain) == tensors(&other), "{parts} parts");
    }
}

/// A run in micro-batches is checked at every step, stops and goes on, and trains as the one in one piece, but for rounding.
#[test]
fn a_run_in_micro_batches_trains_as_one_in_one_piece() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let config = |k: usize| {
        let keys = [
            "shadow.every=1".to_owned(),
            format!("train.micro_batches={k}"),
        ];
        let more = [
            "train.clip_norm=0",
            "train.ema_half_life=20",
            "train.ema_ramp=10",
        ];
        let keys = keys.iter().map(String::as_str).chain(more);
        tiny().with_sets(keys).expect("known keys")
    };
    let watched = |k: usize, name: &str| {
        let witness = Witness::default();
        let observer: Option<Box<dyn Observer>> = Some(Box::new(witness.clone()));
        let mut trainer = Trainer::new(config(k), &at(name), &Device::Cpu, observer, false);
        let run = trainer.as_mut().expect("a run");
        let outcome = run.run(&mut Silent, &AtomicBool::new(false));
        assert!(outcome.expect("no fault").finished);
        witness.0.lock().expect("one thread").clone()
    };
    assert_eq!(watched(1, "one"), watched(3, "three"));
    let (one, three) = (newest(&at("one")), newest(&at("three")));
    assert!(one["theta"] != three["theta"], "nothing was cut");
    let numbers = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(at(name).join("metrics.jsonl")).expect("metrics");
        text.lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect()
    };
    for (one, three) in numbers("one").iter().zip(&numbers("three")) {
        for key in ["loss", "structure", "grad_norm"] {
            if let (Some(a), Some(b)) = (one[key].as_f64(), three[key].as_f64()) {
                assert!((a - b).abs() <= 1e-3 * a.abs(), "{key}: {one} and {three}");
            }
        }
    }
    let average = |files: &BTreeMap<String, Vec<u8>>| -> Vec<f32> {
        let file = safetensors::SafeTensors::deserialize(&files["theta.average"]).expect("a file");
        let mut tensors = file.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let bytes = tensors
            .iter()
            .flat_map(|(_, t)| t.data().as_chunks::<4>().0);
        bytes.map(|b| f32::from_le_bytes(*b)).collect()
    };
    let (one, three_) = (average(&one), average(&three));
    let apart = one.iter().zip(&three_).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f32::max);
    assert!(apart < 3e-4, "the averages part: {apart}");

    let refused = Trainer::new(config(2), &at("three"), &Device::Cpu, None, true);
    let message = refused.expect_err("another run").to_string();
    assert!(message.contains("train.micro_batches"), "{message}");
    let stop = AtomicBool::new(false);
    let mut part = Trainer::new(config(3), &at("part"), &Device::Cpu, None, false).expect("a run");
    part.run(&mut StopAt(7, &stop), &stop).expect("no fault");
    drop(part);
    let mut part = Trainer::new(config(3), &at("part"), &Device::Cpu, None, true).expect("a run");
    part.run(&mut Silent, &AtomicBool::new(false))
        .expect("no fault");
    assert_eq!(
        newest(&at("part")),
        three,
        "it does not go on as it would have"
    );
}

/// Besides the newest, the last checkpoint of each phase stays.
#[test]
fn the_ends_of_phases_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = ["checkpoint.every=1", "checkpoint.keep=1"];
    let config = tiny().with_sets(keys).expect("known keys");
    run(&config, folder.path(), false);
    let ends: Vec<usize> = phases(&config).iter().map(|span| span.end).collect();
    let kept = checkpoint::steps(&folder.path().join("checkpoints")).expect("checkpoints");
    assert_eq!(kept, ends);
}
