//! `sadm evaluate` in the features of published networks, with weights made from a hash.

use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayD};
use serde_json::Value;

use crate::hashed;
use crate::support::{Folder, answered, error_of, metric, sadm, says, write_f64};

/// Weights of the right layout and no meaning.
fn weights(folder: &Folder) -> PathBuf {
    let path = folder.path("weights.safetensors");
    let tensors = hashed::inception().into_iter().collect();
    candle_core::safetensors::save(&tensors, &path).expect("a file");
    path
}

/// `count` images of 1×8×8 in [−1, 1].
fn images(folder: &Folder, name: &str, count: usize) -> PathBuf {
    let path = folder.path(name);
    let values = hashed::uniform(name, count * 64).collect();
    let images = Array4::from_shape_vec((count, 1, 8, 8), values).expect("as many as asked for");
    write_f64(&path, &[("images", images.into_dyn())]);
    path
}

fn evaluate(weights: &Path, generated: &Path) -> assert_cmd::Command {
    let mut command = sadm();
    command
        .args(["evaluate", "--features", "inception", "--resamples", "0"])
        .arg("--weights")
        .arg(weights)
        .arg("--generated")
        .arg(generated);
    command
}

fn value(answer: &Value, name: &str) -> f64 {
    metric(answer, name)["value"].as_f64().expect("a number")
}

#[test]
fn fid_is_computed_in_the_features_of_the_users_file_and_says_which() {
    let folder = Folder::new();
    let weights = weights(&folder);
    let (a, b) = (
        images(&folder, "a.safetensors", 5),
        images(&folder, "b.safetensors", 4),
    );
    let (answer, table) = answered(
        &folder,
        evaluate(&weights, &a)
            .arg("--reference")
            .arg(&b)
            .args([
                "--metrics",
                "fid,sfid,is,kid,pr",
                "--splits",
                "1",
                "-k",
                "1",
            ])
            .args(["--resize", "torch-fidelity", "--batch", "3"]),
    );
    assert!(
        value(&answer, "fid") > 0.0 && value(&answer, "sfid") > 0.0,
        "{table}"
    );
    assert!(
        (1.0..1008.0).contains(&value(&answer, "is-inception")),
        "{table}"
    );
    for name in ["kid-inception", "precision-inception", "recall-inception"] {
        assert!(value(&answer, name).is_finite(), "{name}");
    }
    assert_eq!(answer["dimension"], 2048);
    assert_eq!(answer["network"]["resize"], "torch-fidelity");
    assert_eq!(answer["network"]["published"], false);
    let digest = answer["network"]["sha256"].as_str().expect("a digest");
    assert_eq!(digest.len(), 64);
    says(&table, &[&format!("sha256 {}…", &digest[..8])]);
    says(&table, &["not comparable with published ones"]);
    for line in answer["metrics"].as_array().expect("metrics") {
        let said = line["convention"].as_str().expect("text");
        assert!(said.ends_with("resize torch-fidelity"), "{said}");
    }
    let statistics = folder.path("b.npz");
    evaluate(&weights, &b)
        .arg("--save-statistics")
        .arg(&statistics)
        .assert()
        .success();
    let fid = |resize: &str| {
        let mut command = evaluate(&weights, &a);
        command.arg("--reference").arg(&b);
        let command = command.args(["--metrics", "fid", "--batch", "5", "--resize", resize]);
        value(&answered(&folder, command).0, "fid")
    };
    let same = fid("torch-fidelity") / value(&answer, "fid");
    assert!((same - 1.0).abs() < 1e-9, "another size of batches: {same}");
    let other = fid("clean") / value(&answer, "fid");
    assert!((other - 1.0).abs() > 1e-4, "another resizing: {other}");
    let refused = error_of(
        evaluate(&weights, &a)
            .arg("--reference")
            .arg(&statistics)
            .args(["--metrics", "sfid"]),
    );
    says(&refused, &["mu_s"]);
    let four = folder.path("four.npz");
    let sfid = ["--metrics", "sfid", "--resize", "torch-fidelity"];
    let mut save = evaluate(&weights, &b);
    let saved = save.args(sfid).arg("--save-statistics").arg(&four);
    let said = saved.assert().success().get_output().stderr.clone();
    let said = String::from_utf8(said).expect("UTF-8");
    says(&said, &["mu, sigma, mu_s, sigma_s"]);
    let mut command = evaluate(&weights, &a);
    let command = command.args(sfid).arg("--reference").arg(&four);
    let stored = value(&answered(&folder, command).0, "sfid");
    assert!(
        (stored / value(&answer, "sfid") - 1.0).abs() < 1e-9,
        "{stored}"
    );
}

#[test]
fn weights_that_are_missing_or_broken_are_refused() {
    let folder = Folder::new();
    let a = images(&folder, "a.safetensors", 2);
    let run = |weights: &Path| error_of(evaluate(weights, &a).arg("--reference").arg(&a));
    let message = run(&folder.path("none.pth"));
    says(&message, &["cannot read", "none.pth"]);
    let cut = folder.path("cut.pth");
    std::fs::write(&cut, [0x80, 0x02, 0x8a]).expect("a file");
    let message = run(&cut);
    says(&message, &["cut.pth: it is not a whole PyTorch file"]);
    let message = run(&a);
    says(&message, &["`fc.weight` of shape [1008, 2048]"]);
    says(&message, &["the file holds 1 tensors: `images`"]);
    let mut command = sadm();
    let command = command.args(["evaluate", "--features", "inception"]);
    let message = error_of(
        command
            .arg("--generated")
            .arg(&a)
            .arg("--reference")
            .arg(&a),
    );
    says(&message, &["--weights FILE"]);
    let given = folder.path("given.safetensors");
    write_f64(&given, &[("features", ArrayD::ones(vec![3, 2]))]);
    let mut command = sadm();
    let command = command.args(["evaluate", "--features", "given", "--metrics", "sfid"]);
    let message = error_of(
        command
            .arg("--generated")
            .arg(&given)
            .arg("--reference")
            .arg(&given),
    );
    says(&message, &["--name inception-spatial"]);
}
