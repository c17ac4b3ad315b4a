//! `sadm oracle assignment`: which noise meets which image.

use ndarray::{ArrayD, array};
use safetensors::tensor::Dtype;

use crate::support::{Folder, sadm, write, write_f64};

/// Erratum E13: two images and two noises that the two costs assign differently.
fn pairs() -> [(&'static str, ArrayD<f64>); 2] {
    [
        ("images", array![[[0.0], [0.0]], [[1.0], [0.25]]].into_dyn()),
        ("noise", array![[[1.0], [0.25]], [[2.0], [0.0]]].into_dyn()),
    ]
}

fn list(values: &ArrayD<f64>) -> Vec<f64> {
    values.iter().copied().collect()
}

#[test]
fn the_oracle_assigns_by_the_cost_that_is_asked_for_and_proves_it() {
    let folder = Folder::new();
    for (cost, permutation, total) in [
        ("euclidean", [1.0, 0.0], 2.0),
        ("squared-euclidean", [0.0, 1.0], 2.125),
    ] {
        let answer = folder.oracle("assignment", &pairs(), &[&format!("cost={cost}")]);
        assert_eq!(list(&answer.tensors["permutation"]), permutation, "{cost}");
        assert_eq!(answer.json["scalars"]["total"], total, "{cost}");
        let (u, v) = (
            list(&answer.tensors["dual_images"]),
            list(&answer.tensors["dual_noise"]),
        );
        let promised: f64 = u.iter().chain(&v).sum();
        assert!((promised - total).abs() < 1e-14, "{cost}: {promised}");
        let square = [[17.0 / 16.0, 4.0], [0.0, 17.0 / 16.0_f64]];
        for (i, row) in square.iter().enumerate() {
            for (j, square) in row.iter().enumerate() {
                let c = if cost == "euclidean" {
                    square.sqrt()
                } else {
                    *square
                };
                assert!(u[i] + v[j] <= c + 1e-14, "{cost}: {i}, {j}");
            }
        }
    }
    let default = folder.oracle("assignment", &pairs(), &[]);
    assert_eq!(default.json["parameters"]["cost"], "euclidean");
}

#[test]
fn labels_keep_noise_in_its_class_and_may_be_whole_numbers() {
    let folder = Folder::new();
    let mut inputs = pairs().to_vec();
    inputs.push(("labels", array![3.0, 4.0].into_dyn()));
    let answer = folder.oracle("assignment", &inputs, &[]);
    assert_eq!(list(&answer.tensors["permutation"]), [0.0, 1.0]);
    let path = folder.path("labels.safetensors");
    #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
    write(
        &path,
        &[("labels", array![3.0, 3.0].into_dyn())],
        Dtype::I64,
        |x| (x as i64).to_le_bytes().to_vec(),
    );
    // One file: the labels of the one above beside the pairs, as PyTorch would save them.
    let merged = folder.path("merged.safetensors");
    let (labels, doubles) = (
        std::fs::read(&path).expect("a file"),
        folder.path("pairs.safetensors"),
    );
    write_f64(&doubles, &pairs());
    let doubles = std::fs::read(doubles).expect("a file");
    let read = |bytes| safetensors::SafeTensors::deserialize(bytes).expect("a safetensors file");
    let (labels, doubles) = (read(&labels), read(&doubles));
    let both = labels.iter().chain(doubles.iter());
    let bytes = safetensors::serialize(both, None).expect("a valid file");
    std::fs::write(&merged, bytes).expect("the folder can be written to");
    let printed = sadm()
        .args(["oracle", "assignment", "--input"])
        .arg(&merged)
        .assert()
        .success();
    let answer: serde_json::Value =
        serde_json::from_slice(&printed.get_output().stdout).expect("JSON");
    assert_eq!(
        answer["values"]["permutation"],
        serde_json::json!([1.0, 0.0])
    );
}

#[test]
fn the_oracle_refuses_what_cannot_be_assigned() {
    let [images, noise] = pairs();
    let with = |name: &'static str, x: ArrayD<f64>| {
        let mut inputs = vec![images.clone(), noise.clone()];
        inputs.retain(|(n, _)| *n != name);
        inputs.push((name, x));
        Folder::new().oracle_error("assignment", &inputs, &[])
    };
    let nan = array![[[f64::NAN], [0.0]], [[1.0], [0.25]]].into_dyn();
    for (message, parts) in [
        (
            with("images", nan.clone()),
            ["`images`", "finite", "NaN at [0, 0, 0]"],
        ),
        (
            with(
                "noise",
                nan.mapv(|x| if x.is_nan() { f64::INFINITY } else { x }),
            ),
            ["`noise`", "finite", "inf at [0, 0, 0]"],
        ),
        (
            with("noise", array![[[1.0], [0.25]]].into_dyn()),
            ["`noise`", "N = 2", "[1, 2, 1]"],
        ),
        (
            with("noise", array![[1.0, 0.25], [2.0, 0.0]].into_dyn()),
            ["`noise`", "… = [2, 1]", "[2, 2]"],
        ),
        (
            with("labels", array![1.0].into_dyn()),
            ["`labels`", "N = 2", "[1]"],
        ),
        (
            with("labels", array![1.0, 0.5].into_dyn()),
            ["`labels`", "whole numbers", "0.5"],
        ),
        (
            with("labels", array![1.0, -1.0].into_dyn()),
            ["`labels`", "whole numbers", "-1"],
        ),
        (
            with(
                "images",
                array![[[1e200], [0.0]], [[1.0], [0.25]]].into_dyn(),
            ),
            ["cost [0, 0]", "finite", "inf"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
    let unknown = Folder::new().oracle_error("assignment", &pairs(), &["cost=euclid"]);
    assert!(unknown.contains("did you mean `euclidean`?"), "{unknown}");
}
