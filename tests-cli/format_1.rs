//! Resuming a run that an older version wrote: `fixtures/run-format-1`, stopped at step 8 of 10 in its adversarial phase.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use sadm_gpu::run::checkpoint;
use serde_json::Value;

use crate::runs::newest;
use crate::shown::copied;
use crate::support::{Folder, error_of, sadm};

const STEP: usize = 8;
const STEPS: usize = 10;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run-format-1")
}

/// A copy of the run, which can be written to.
fn copy(folder: &Folder) -> PathBuf {
    let run = folder.path("run");
    copied(&fixture(), &run);
    run
}

fn resume(run: &Path) -> assert_cmd::Command {
    let mut command = sadm();
    command.args(["train", "--threads=1", "--resume", "--out"]);
    command.arg(run);
    command
}

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let parsed = text.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().expect("JSON lines")
}

#[test]
fn a_run_of_format_1_goes_on_to_its_end() {
    let folder = Folder::new();
    let run = copy(&folder);
    resume(&run).assert().success();

    let (was, now) = (lines(&fixture()), lines(&run));
    assert_eq!(was.len(), now.len());
    for (was, now) in was.iter().zip(&now) {
        for key in ["step", "phase", "learning_rate"] {
            assert_eq!(was[key], now[key], "{key} of {now}");
        }
        if was["step"].as_u64() <= Some(STEP as u64) {
            assert_eq!(was, now, "what was logged stays");
        }
    }
    // Both steps are of the same weights, images, noise and times, and f32 sums in another order, as another kind of CPU takes them, differ from
    // the seventh digit on; AdamW's first update may amplify that. The average in place of the parameters would be off by 4e-5 in the
    // first step's loss, moments of zero by 3e-4 in the second's.
    let logged = |lines: &[Value], step: usize, key: &str| {
        let at = lines.iter().position(|line| line["step"] == step);
        let line = &lines[at.expect("a line of each step")];
        line[key].as_f64().expect("a number")
    };
    for (step, allowed) in [(STEP + 1, 1e-5), (STEPS, 1e-4)] {
        for key in ["loss", "grad_norm", "structure"] {
            let (was, now) = (logged(&was, step, key), logged(&now, step, key));
            let near = (was - now).abs() <= allowed * was.abs();
            assert!(near, "{key} of step {step}: {was} and {now}");
        }
    }

    // Differences of nearly equal S, of which few digits are left.
    for key in ["gain_phi", "gain_theta"] {
        let (was, now) = (logged(&was, STEP + 1, key), logged(&now, STEP + 1, key));
        let near = (was - now).abs() <= 0.05 * was.abs();
        assert!(near, "{key}: {was} and {now}");
    }

    let text = fs::read_to_string(newest(&run).join("state.json")).expect("a state");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(state["step"], STEPS);
    assert_eq!(state["gains"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_tensors_of_format_1_are_those_of_its_files() {
    let at = fixture().join(format!("checkpoints/{STEP:08}"));
    let (read, state) = checkpoint::read(&at, &Device::Cpu).expect("a checkpoint");
    let updates = ["theta", "phi"].map(|player| state.updates[player]);
    assert_eq!((state.step, updates), (STEP, [6, 2]));
    let moments = ["theta", "phi"].iter().flat_map(|player| {
        let own = read.of(&format!("{player}.optimizer")).iter();
        own.map(move |(name, moment)| (format!("{player}.{name}"), moment.clone()))
    });
    for (name, found) in [
        ("model", read.of("theta")),
        ("ema", read.of("theta.average")),
        ("encoder", read.of("phi")),
        ("optimizer", &moments.collect()),
    ] {
        let bytes = fs::read(at.join(format!("{name}.safetensors"))).expect("a file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(found.len(), file.len(), "{name}");
        for (tensor, view) in file.iter() {
            let numbers = view.data().as_chunks::<4>().0.iter();
            let numbers: Vec<u32> = numbers.map(|b| u32::from_le_bytes(*b)).collect();
            let found = &found[tensor];
            assert_eq!(found.dims(), view.shape(), "{name}: {tensor}");
            let found = found.flatten_all().and_then(|t| t.to_vec1::<f32>());
            let found = found.expect("numbers in f32");
            let found: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
            assert_eq!(found, numbers, "{name}: {tensor}");
        }
    }
}

#[test]
fn an_altered_file_of_format_1_is_refused() {
    let folder = Folder::new();
    let run = copy(&folder);
    for name in ["model", "ema", "encoder", "optimizer"] {
        let path = newest(&run).join(format!("{name}.safetensors"));
        let good = fs::read(&path).expect("a file");
        let mut altered = good.clone();
        *altered.last_mut().expect("bytes") ^= 1;
        fs::write(&path, altered).expect("writable");
        let message = error_of(&mut resume(&run));
        let said = message.contains(name) && message.contains("truncated or altered");
        assert!(said, "{message}");
        fs::write(&path, good).expect("writable");
    }
    let path = newest(&run).join("state.json");
    let good = fs::read_to_string(&path).expect("a state");
    let altered = good.replace("\"theta_updates\": 6", "\"theta_updates\": 7");
    assert_ne!(good, altered);
    fs::write(&path, altered).expect("writable");
    let message = error_of(&mut resume(&run));
    assert!(message.contains("state.json: is altered"), "{message}");
}
