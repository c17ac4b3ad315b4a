//! Shapes, defaults, limits and names of the oracle; its numbers are in `oracle_golden.rs`.

use std::collections::BTreeMap;

use ndarray::{ArrayD, array};
use predicates::str::contains;

use crate::support::{Answer, Folder, close, sadm, write_f32};

/// Rounding units allowed where at most a few dozen operations and a few elementary functions were done on
/// numbers of about the result's size: 64 units, 7e-15 relative, against 2e-16 of one operation.
const UNITS: f64 = 64.0;

/// Three rows of two features each, real and generated.
fn features() -> [(&'static str, ArrayD<f64>); 2] {
    let real = array![[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]].into_dyn();
    let generated = array![[0.5, 1.5], [2.0, -2.0], [-1.0, 0.75]].into_dyn();
    [("real", real), ("generated", generated)]
}

fn loss_of(answer: &Answer) -> f64 {
    answer.json["scalars"]["loss"].as_f64().expect("a number")
}

#[test]
fn the_answer_names_quantity_parameters_with_defaults_and_shapes() {
    let folder = Folder::new();
    let answer = folder.oracle(
        "structural-loss",
        &features(),
        &["relation=rbf", "bandwidth=2"],
    );
    assert_eq!(answer.json["quantity"], "structural-loss");
    let want = serde_json::json!({
        "relation": "rbf", "bandwidth": 2.0, "distance": "squared", "eta": 1.0, "diagonal": "include",
    });
    assert_eq!(answer.json["parameters"], want);
    let want = serde_json::json!({
        "loss": [1], "grad_real": [3, 2], "grad_generated": [3, 2],
        "affinity_real": [3, 3], "affinity_generated": [3, 3],
    });
    assert_eq!(answer.json["shapes"], want);
    let shapes: BTreeMap<&str, Vec<usize>> = answer
        .tensors
        .iter()
        .map(|(name, x)| (name.as_str(), x.shape().to_vec()))
        .collect();
    assert_eq!(serde_json::json!(shapes), want);
}

#[test]
fn f32_inputs_are_widened_and_not_rounded_again() {
    let folder = Folder::new();
    let third = 1.0_f64 / 3.0;
    let inputs = features().map(|(name, x)| (name, x * third));
    #[expect(clippy::cast_possible_truncation, reason = "what an f32 file holds")]
    let rounded = inputs
        .clone()
        .map(|(name, x)| (name, x.mapv(|x| f64::from(x as f32))));
    let want = folder.oracle("structural-loss", &rounded, &[]);
    write_f32(&folder.path("f32.safetensors"), &inputs);
    sadm()
        .args(["oracle", "structural-loss", "--input"])
        .arg(folder.path("f32.safetensors"))
        .assert()
        .success()
        .stdout(contains(format!("\"loss\":{}", loss_of(&want))));
}

/// Rows of other lengths: under cosine the difference of unit rows is formed in another way, and must be the same.
#[test]
fn cosine_keeps_its_value_for_rows_of_any_length() {
    let folder = Folder::new();
    let [real, (_, generated)] = features();
    let plain = loss_of(&folder.oracle("structural-loss", &features(), &[]));
    for scale in [1e-200, 1e-3, 1e3, 1e200, 4e307] {
        let scaled = [real.clone(), ("generated", &generated * (scale / 4.0))];
        let got = loss_of(&folder.oracle("structural-loss", &scaled, &["eta=1"]));
        let off = (got - plain).abs();
        assert!(off <= 64.0 * f64::EPSILON, "{scale:e}: {got} {plain}");
    }
}

#[test]
fn forward_at_the_ends_of_time_gives_the_limit() {
    let folder = Folder::new();
    let (x0, noise) = (
        array![[3.0], [3.0]].into_dyn(),
        array![[-2.0], [-2.0]].into_dyn(),
    );
    for schedule in ["rectified-flow", "cosine"] {
        let inputs = [
            ("x0", x0.clone()),
            ("noise", noise.clone()),
            ("t", array![0.0, 1.0].into_dyn()),
        ];
        let answer = folder.oracle("forward", &inputs, &[&format!("schedule={schedule}")]);
        assert_eq!(
            answer.tensors["xt"],
            array![[3.0], [-2.0]].into_dyn(),
            "{schedule}"
        );
        let lambda = &answer.tensors["lambda"];
        assert_eq!(
            lambda,
            &array![f64::INFINITY, f64::NEG_INFINITY].into_dyn(),
            "{schedule}"
        );
    }
}

#[test]
fn transition_to_the_same_time_changes_nothing() {
    let folder = Folder::new();
    let times = array![0.0, 0.5, 1.0].into_dyn();
    for schedule in ["vp-linear", "cosine", "ddpm", "rectified-flow"] {
        let inputs = [("s", times.clone()), ("t", times.clone())];
        let answer = folder.oracle("transition", &inputs, &[&format!("schedule={schedule}")]);
        for (name, want) in [
            ("alpha_ts", 1.0),
            ("sigma2_ts", 0.0),
            ("posterior_coef_xt", 1.0),
            ("posterior_coef_x0", 0.0),
            ("posterior_var", 0.0),
        ] {
            close(
                &format!("{schedule} {name}"),
                &answer.tensors[name],
                &[want; 3],
                0.0,
                1.0,
            );
        }
    }
}

#[test]
fn weights_at_the_ends_of_time_are_limits_where_these_are_finite() {
    let folder = Folder::new();
    let ends = [
        ("schedule=rectified-flow", "weight=elbo", 1.0, 0.0),
        ("schedule=rectified-flow", "weight=snr", 1.0, 0.0),
        ("schedule=rectified-flow", "weight=min-snr", 0.0, 5.0),
        ("schedule=rectified-flow", "weight=edm", 1.0, 4.0),
        ("schedule=cosine", "weight=elbo", 1.0, 0.0),
        ("schedule=cosine", "weight=one-plus-snr", 1.0, 1.0),
        ("schedule=vp-linear", "weight=min-snr", 0.0, 5.0),
    ];
    for (schedule, weight, t, want) in ends {
        let inputs = [
            ("x0", array![[1.0]].into_dyn()),
            ("prediction", array![[3.0]].into_dyn()),
            ("t", array![t].into_dyn()),
        ];
        let answer = folder.oracle("denoising-loss", &inputs, &[schedule, weight]);
        // cos(π/2) is 6e-17 in f64, so the cosine schedule's end may keep that much of the signal.
        close(
            &format!("{schedule} {weight}"),
            &answer.tensors["weight"],
            &[want],
            UNITS,
            5.0,
        );
    }
}

/// A chain of the jsd schedule in four steps, its law of t, and a controller whose T is 10 + round(90 p).
#[test]
fn diffusion_gans_chain_and_its_length() {
    let folder = Folder::new();
    let told = ["beta_schedule=jsd", "steps=4"];
    let chain = folder.oracle("diffusion-gan-schedule", &[], &told);
    let want = serde_json::json!({
        "beta_schedule": "jsd", "beta_start": 1e-4, "beta_end": 0.02, "steps": 4,
    });
    assert_eq!(chain.json["parameters"], want);
    close(
        "beta",
        &chain.tensors["beta"],
        &[0.25, 1.0 / 3.0, 0.5, 1.0],
        UNITS,
        1.0,
    );
    let bars = [1.0, 0.75, 0.5, 0.25, 0.0];
    close("alpha_bar", &chain.tensors["alpha_bar"], &bars, UNITS, 1.0);
    for (law, want) in [
        ("uniform", [0.25, 0.25, 0.25, 0.25]),
        ("priority", [0.1, 0.2, 0.3, 0.4]),
        ("priority-code", [0.0, 1.0 / 6.0, 1.0 / 3.0, 0.5]),
    ] {
        let set = format!("law={law}");
        let times = folder.oracle("diffusion-gan-times", &[], &[&set, "steps=4"]);
        close(law, &times.tensors["probability"], &want, UNITS, 1.0);
    }
    let signs = [("signs", array![0.75, 0.5, 0.25, 1.0].into_dyn())];
    let told = [
        "batch=50",
        "interval=2",
        "kimg=0.4",
        "target=0.5",
        "t_max=100",
    ];
    let trace = folder.oracle("diffusion-gan-controller", &signs, &told);
    close(
        "p",
        &trace.tensors["p"],
        &[0.25, 0.25, 0.0, 0.25],
        UNITS,
        1.0,
    );
    // 22.5 beyond 10, and halves go to the even number.
    close(
        "t",
        &trace.tensors["t"],
        &[32.0, 32.0, 10.0, 32.0],
        UNITS,
        1.0,
    );
    let told = ["update=constant", "step=30", "target=0.5", "t_max=100"];
    let trace = folder.oracle("diffusion-gan-controller", &signs, &told);
    close(
        "t",
        &trace.tensors["t"],
        &[40.0, 40.0, 10.0, 40.0],
        UNITS,
        1.0,
    );
    close(
        "p",
        &trace.tensors["p"],
        &[1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0],
        UNITS,
        1.0,
    );
}

#[test]
fn edm_sigmas_by_default() {
    let answer = Folder::new().oracle("edm-sigmas", &[], &[]);
    let sigmas = &answer.tensors["sigmas"];
    assert_eq!(sigmas.shape(), [19]);
    // The published ninth level, for eighteen steps and ρ = 7 from 80 to 0.002.
    let some = array![sigmas[0], sigmas[9], sigmas[17], sigmas[18]].into_dyn();
    let want = [80.0, 1.923_339_837_040_05, 0.002, 0.0];
    close("default", &some, &want, UNITS, 80.0);
    assert_eq!(answer.json["parameters"]["steps"], 18);
}

#[test]
fn list_prints_every_name_of_the_table() {
    let names = [
        "structural-loss",
        "forward",
        "transition",
        "denoising-loss",
        "edm-precondition",
        "edm-sigmas",
        "grad_generated",
        "affinity_real",
        "posterior_coef_x0",
        "grad_prediction",
        "c_noise",
        "relation=cosine|inner-product|squared-euclidean|euclidean|rbf|laplacian",
        "schedule=vp-linear|cosine|ddpm|edm|rectified-flow",
        "weight=constant|elbo|snr|one-plus-snr|min-snr|edm|soft-truncation",
    ];
    let mut listed = sadm().args(["oracle", "list"]).assert().success();
    for name in names {
        listed = listed.stdout(contains(name));
    }
}
