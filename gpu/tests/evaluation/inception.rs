//! The Inception network against pytorch-fid's and torch-fidelity's on the same weights.

use candle_core::{D, DType, Device, Tensor};
use sadm_gpu::evaluation::Weights;
use sadm_gpu::features::{Features, Inception, POOLED, Resize, SPATIAL};
use serde_json::Value;

use crate::hashed::{images, inception, inception_weights};

const GOLDEN: &str = include_str!("../../../fixtures/inception.json");
/// What is asked of a feature: relative to the largest of its image.
const AGREEMENT: f64 = 1e-5;

fn rows(x: &Tensor) -> Vec<Vec<f64>> {
    let x = x.to_dtype(DType::F64).and_then(|x| x.to_vec2());
    x.expect("a matrix")
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list").iter();
    values.map(|x| x.as_f64().expect("a number")).collect()
}

/// The largest distance of a stored number, relative to the largest of its image, and of the sums.
fn distance(ours: &Tensor, theirs: &Value) -> f64 {
    let every = usize::try_from(theirs["every"].as_u64().expect("a step")).expect("small");
    let (sums, squares) = (numbers(&theirs["sum"]), numbers(&theirs["squares"]));
    let mut furthest = 0.0_f64;
    let ours = rows(ours);
    assert_eq!(theirs["shape"][0], ours.len() as u64);
    for (i, row) in ours.iter().enumerate() {
        assert_eq!(theirs["shape"][1], row.len() as u64);
        let stored = numbers(&theirs["data"][i]);
        assert_eq!(stored.len(), row.len().div_ceil(every));
        let largest = stored.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        let mut holds = |distance: f64| {
            assert!(distance.is_finite(), "NaN in image {i}");
            furthest = furthest.max(distance);
        };
        for (ours, theirs) in row.iter().step_by(every).zip(&stored) {
            holds((ours - theirs).abs() / largest);
        }
        let size: f64 = row.iter().map(|x| x.abs()).sum();
        holds((row.iter().sum::<f64>() - sums[i]).abs() / size);
        holds((row.iter().map(|x| x * x).sum::<f64>() / squares[i] - 1.0).abs());
    }
    furthest
}

#[test]
fn features_agree_with_the_published_tools_to_1e_5() {
    let net = Inception::load(&inception_weights(), &Device::Cpu).expect("all tensors are there");
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    let tests = golden["tests"].as_array().expect("tests");
    assert_eq!(tests.len(), Resize::ALL.len());
    for (test, (name, resize)) in tests.iter().zip(Resize::ALL) {
        assert_eq!(test["input"]["resize"], name);
        let Features { pooled, spatial } = net.features(&images(), resize).expect("features");
        let logits = net.logits(&pooled).expect("logits");
        for (what, ours) in [
            ("pooled", &pooled),
            ("spatial", &spatial),
            ("logits", &logits),
        ] {
            // pytorch-fid has no logits.
            for side in ["output", "tools"] {
                let Some(theirs) = test[side].get(what) else {
                    continue;
                };
                let far = distance(ours, theirs);
                println!("{name} {what} {side}: {far:.1e}");
                assert!(far <= AGREEMENT, "{name}, {what} against {side}: {far:e}");
            }
        }
        assert_eq!(
            (pooled.dim(1).ok(), spatial.dim(1).ok()),
            (Some(POOLED), Some(SPATIAL))
        );
        let p = net
            .probabilities(&pooled)
            .and_then(|p| Ok(p.sum(D::Minus1)?));
        for sum in p.and_then(|p| Ok(p.to_vec1::<f64>()?)).expect("sums") {
            assert!((sum - 1.0).abs() < 1e-12, "probabilities sum to {sum}");
        }
    }
    assert!(!net.is_published(), "a hash is not the published file");
    let small = Tensor::zeros((1, 3, 64, 64), DType::F32, &Device::Cpu).expect("zeros");
    let refused = net
        .features_of_input(&small)
        .expect_err("another size")
        .to_string();
    assert!(refused.contains("[N, 3, 299, 299]"), "{refused}");
    let four = Tensor::zeros((1, 4, 8, 8), DType::F32, &Device::Cpu).expect("zeros");
    let refused = net
        .features(&four, Resize::Clean)
        .expect_err("four channels")
        .to_string();
    assert!(refused.contains("1 or 3"), "{refused}");
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
    let refused = |change: &dyn Fn(&mut std::collections::BTreeMap<String, Tensor>)| {
        let mut tensors = inception();
        change(&mut tensors);
        let weights = Weights::from_tensors("my.pth", tensors);
        Inception::load(&weights, &Device::Cpu)
            .expect_err("wrong weights")
            .to_string()
    };
    let missing = refused(&|t| {
        t.remove("Mixed_6d.branch7x7_2.bn.running_mean");
    });
    assert!(
        missing.starts_with(
            "my.pth: there must be a tensor `Mixed_6d.branch7x7_2.bn.running_mean` of shape [160]"
        ),
        "{missing}"
    );
    let other = Tensor::zeros((192, 160, 7, 1), DType::F32, &Device::Cpu).expect("zeros");
    let turned = refused(&|t| {
        t.insert(
            "Mixed_6d.branch7x7dbl_5.conv.weight".to_owned(),
            other.clone(),
        );
    });
    assert!(
        turned.contains("must have shape [192, 160, 1, 7], got [192, 160, 7, 1]"),
        "{turned}"
    );
    let negative =
        (Tensor::ones(320, DType::F32, &Device::Cpu).expect("ones") * -1.0).expect("minus");
    let variance = refused(&|t| {
        t.insert(
            "Mixed_7c.branch1x1.bn.running_var".to_owned(),
            negative.clone(),
        );
    });
    assert!(
        variance.contains("`Mixed_7c.branch1x1.bn`") && variance.contains("running variance"),
        "{variance}"
    );
    let classes = Tensor::zeros((1000, 2048), DType::F32, &Device::Cpu).expect("zeros");
    let torchvision = refused(&|t| {
        t.insert("fc.weight".to_owned(), classes.clone());
    });
    assert!(torchvision.contains("torchvision"), "{torchvision}");
}
