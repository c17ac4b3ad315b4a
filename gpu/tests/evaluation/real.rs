//! Networks with real weights, where `SADM_DATA_DIR` has them, against PyTorch on the same.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use sadm_gpu::evaluation::{Lpips, Resnet, Weights};
use serde_json::Value;

use crate::hashed::uniform;

const LPIPS: &str = include_str!("../../../fixtures/lpips.json");
const RESNET: &str = include_str!("../../../fixtures/cifar-resnet.json");

/// A file of `SADM_DATA_DIR`, or the word that the test is skipped.
fn data(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SADM_DATA_DIR");
    let path = folder.map(|folder| PathBuf::from(folder).join(file));
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: SADM_DATA_DIR has no {file}");
    }
    found
}

/// Noise on a ramp, multiples of 1/64, as in `fixtures/make_features.py`.
fn images(name: &str, [n, c, h, w]: [usize; 4]) -> Tensor {
    let values: Vec<f64> = uniform(name, n * c * h * w)
        .enumerate()
        .map(|(at, noise)| {
            let ramp = -1.0 + 2.0 * (at % w) as f64 / (w - 1) as f64;
            (32.0 * (noise + ramp)).round_ties_even() / 64.0
        })
        .collect();
    Tensor::from_vec(values, (n, c, h, w), &Device::Cpu).expect("as many as asked for")
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).and_then(|x| x.flatten_all());
    x.and_then(|x| x.to_vec1()).expect("numbers")
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().expect("a number")],
    }
}

/// Each number within 1e-5 of the largest, against f64 and f32.
fn agree(what: &str, ours: &Tensor, test: &Value, name: &str) {
    for side in ["output", "tools"] {
        let theirs = flat(&test[side][name]);
        let ours = numbers(ours);
        assert_eq!(ours.len(), theirs.len(), "{what} {name}");
        let largest = theirs.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let apart = (ours - theirs).abs() / largest;
            assert!(
                apart <= 1e-5,
                "{what} {name}[{i}] against {side}: {ours} for {theirs}"
            );
        }
    }
}

fn tests(text: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(text).expect("JSON");
    suite["tests"].as_array().expect("tests").clone()
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("small")
}

#[test]
fn lpips_agrees_with_its_own_package() {
    let Some(path) = data("weights/lpips-squeeze-v0.1.safetensors") else {
        return;
    };
    let weights = Weights::open(&path).expect("a whole file");
    let lpips = Lpips::load(&weights, &Device::Cpu).expect("all tensors");
    for test in tests(LPIPS) {
        let input = &test["input"];
        let (i, h, w) = (
            count(&input["case"]),
            count(&input["height"]),
            count(&input["width"]),
        );
        let (x, y) = (
            images(&format!("x{i}"), [4, 3, h, w]),
            images(&format!("y{i}"), [4, 3, h, w]),
        );
        let y = if i == 0 {
            y
        } else {
            ((&x + y).expect("a sum") * 0.5).expect("a half")
        };
        let d = lpips.distances(&x, &y).expect("distances");
        agree(&format!("{h}×{w}"), &d, &test, "distances");
        let none = lpips.distances(&x, &x).expect("distances");
        assert!(
            numbers(&none).iter().all(|d| *d == 0.0),
            "an image is at 0 from itself"
        );
        let back = lpips.distances(&y, &x).expect("distances");
        assert_eq!(numbers(&back), numbers(&d), "a distance is symmetric");
    }
    let small = images("small", [1, 3, 24, 30]);
    let refused = lpips.embedding(&small).expect_err("too small").to_string();
    assert!(refused.contains("H ≥ 25"), "{refused}");
    assert!(lpips.embedding(&images("least", [1, 3, 25, 25])).is_ok());
}

#[test]
fn residual_networks_agree_with_pytorch() {
    for test in tests(RESNET) {
        let file = test["input"]["file"].as_str().expect("a name");
        let Some(path) = data(&format!("weights/{file}")) else {
            continue;
        };
        let net = Resnet::load(&Weights::open(&path).expect("a whole file"), &Device::Cpu);
        let net = net.expect("all tensors");
        assert!(file.contains(&net.name()), "{} from {file}", net.name());
        let features = net
            .features(&images("cifar", [4, 3, 32, 32]))
            .expect("features");
        agree(file, &features, &test, "features");
        agree(
            file,
            &net.logits(&features).expect("logits"),
            &test,
            "logits",
        );
    }
}

/// The weights mean something: they classify. `cifar10/unpack.py` of the data folder makes the file.
#[test]
fn residual_networks_classify_cifar_as_they_should() {
    const IMAGES: usize = 1000;
    const PIXELS: usize = 3 * 32 * 32;
    let Some(path) = data("cifar10/test_first1000.bin") else {
        return;
    };
    let bytes = std::fs::read(path).expect("the images");
    let records: Vec<&[u8]> = bytes.chunks_exact(1 + PIXELS).collect();
    assert_eq!(records.len(), IMAGES);
    for (file, right) in [
        ("cifar-resnet20-12fca82f.safetensors", 915),
        ("cifar-resnet56-4bfd9763.safetensors", 926),
    ] {
        let Some(path) = data(&format!("weights/{file}")) else {
            continue;
        };
        let net = Resnet::load(&Weights::open(&path).expect("a whole file"), &Device::Cpu);
        let net = net.expect("all tensors");
        let mut counted = 0_usize;
        for batch in records.chunks(100) {
            let pixels = batch.iter().flat_map(|record| &record[1..]);
            let pixels: Vec<f32> = pixels.map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
            let x = Tensor::from_vec(pixels, (batch.len(), 3, 32, 32), &Device::Cpu);
            let logits = x
                .map_err(Into::into)
                .and_then(|x| net.logits(&net.features(&x)?));
            let said = logits
                .expect("logits")
                .argmax(1)
                .and_then(|x| x.to_vec1::<u32>());
            let said = said.expect("classes");
            let agreed = said.iter().zip(batch);
            counted += agreed
                .filter(|(said, record)| **said == u32::from(record[0]))
                .count();
        }
        println!("{file}: {counted} of {IMAGES}");
        // One image for another order of summation.
        assert!(
            counted.abs_diff(right) <= 1,
            "{file}: {counted} right, published {right}"
        );
    }
}
