//! Files of weights: both formats of PyTorch, safetensors, and what is wrong with a file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sadm_gpu::evaluation::Weights;

const NEW: &[u8] = include_bytes!("../../../fixtures/weights-new.pth");
const OLD: &[u8] = include_bytes!("../../../fixtures/weights-old.pth");

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

fn values(weights: &Weights, name: &str, shape: &[usize]) -> Vec<f64> {
    let tensor = weights.get(name, shape).expect("the tensor");
    tensor
        .flatten_all()
        .and_then(|x| x.to_vec1())
        .expect("numbers")
}

fn refusal(path: &Path) -> String {
    let message = Weights::open(path).expect_err("a bad file").to_string();
    assert!(
        message.contains(&path.display().to_string()),
        "no path in {message}"
    );
    message
}

#[test]
fn both_formats_of_pytorch_and_safetensors_hold_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let tensors: HashMap<String, Tensor> = [("first", 0, 6), ("second", 6, 8)]
        .into_iter()
        .map(|(name, from, to)| {
            let values: Vec<f32> = (from..to).map(|i: u16| f32::from(i) / 4.0).collect();
            let shape = if name == "first" { vec![2, 3] } else { vec![2] };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
            (name.to_owned(), tensor)
        })
        .collect();
    let safe = folder.path().join("weights.safetensors");
    candle_core::safetensors::save(&tensors, &safe).expect("written");
    let files = [
        written(&folder, "new.pth", NEW),
        written(&folder, "old.pt", OLD),
        safe,
    ];
    for file in &files {
        let weights = Weights::open(file).expect("a whole file");
        assert_eq!(
            values(&weights, "first", &[2, 3]),
            [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
        );
        assert_eq!(
            values(&weights, "second", &[2]),
            [1.5, 1.75],
            "second half of a storage"
        );
        if !file.ends_with("weights.safetensors") {
            assert_eq!(values(&weights, "wide", &[1, 2]), [0.1, -2.5]);
            assert_eq!(values(&weights, "bn.num_batches_tracked", &[]), [7.0]);
        }
    }
}

/// Digests by `sha256sum`.
#[test]
fn a_file_is_known_by_its_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    for (bytes, digest) in [
        (
            NEW,
            "426ecd197540d771234efa2c81cb2c20ec2b272ac3ba27f9bdb57609e5775244",
        ),
        (
            OLD,
            "8304fc80a95267c9d876e84f6ae2c04de74ab2d9ffb4bedabb1d7b1f6eeac0b7",
        ),
    ] {
        let weights = Weights::open(&written(&folder, "weights.pth", bytes)).expect("a whole file");
        assert_eq!(weights.digest(), digest);
    }
}

#[test]
fn bad_files_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = refusal(&folder.path().join("none.pth"));
    assert!(missing.contains("cannot read"), "{missing}");
    let kind = refusal(&written(&folder, "weights.onnx", b"?"));
    assert!(kind.contains(".safetensors, .pth"), "{kind}");
    let text = refusal(&written(&folder, "text.pth", b"not a model"));
    assert!(text.contains("not a whole PyTorch file"), "{text}");
    let empty = refusal(&written(&folder, "empty.safetensors", b""));
    assert!(empty.contains("not a whole safetensors file"), "{empty}");
    for (name, whole) in [("new.pth", NEW), ("old.pth", OLD)] {
        // Wherever a download stopped.
        for end in (0..whole.len()).step_by(37) {
            let message = refusal(&written(&folder, name, &whole[..end]));
            assert!(
                message.contains("not a whole PyTorch file"),
                "{end}: {message}"
            );
        }
    }
    let cut = refusal(&written(&folder, "cut.pth", &OLD[..OLD.len() - 3]));
    assert!(cut.contains("cut short"), "{cut}");
}

#[test]
fn what_is_asked_for_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = Weights::open(&written(&folder, "old.pth", OLD)).expect("a whole file");
    let missing = weights
        .get("third", &[4])
        .expect_err("no such tensor")
        .to_string();
    assert!(
        missing.contains("`third` of shape [4]") && missing.contains("4 tensors"),
        "{missing}"
    );
    let shape = weights
        .get("first", &[3, 2])
        .expect_err("another shape")
        .to_string();
    assert!(
        shape.contains("must have shape [3, 2], got [2, 3]"),
        "{shape}"
    );
    let nan = Tensor::new(&[1.0_f32, f32::NAN], &Device::Cpu).expect("a tensor");
    let weights = Weights::from_tensors("made", [("x".to_owned(), nan)].into());
    let nan = weights.get("x", &[2]).expect_err("NaN").to_string();
    assert!(
        nan.contains("must be finite, got NaN as element 1"),
        "{nan}"
    );
}
