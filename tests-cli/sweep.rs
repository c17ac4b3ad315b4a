//! `sadm sweep`: curves of quality and orders of convergence.

use serde_json::Value;

use crate::runs::train;
use crate::support::{Folder, error_of, sadm, says};

fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn a_sampler_sweep_leaves_table_numbers_and_picture() {
    let folder = Folder::new();
    train(&folder.path("run"), 12, &[]);
    let out = folder.path("sweep");
    let printed = sadm()
        .args([
            "sweep",
            "sampler",
            "--threads=1",
            "--samplers=heun,dpmpp-2m,ddpm",
        ])
        .args([
            "--nfe=4,7",
            "--count=12",
            "--reference-count=40",
            "--fine=4",
            "--run",
        ])
        .arg(folder.path("run"))
        .arg("--out")
        .arg(&out)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let table = std::fs::read_to_string(out.join("sweep.md")).expect("a table");
    assert_eq!(String::from_utf8(printed).expect("UTF-8"), table);
    says(&table, &["fd-encoder in Ψ of"]);
    let picture = std::fs::read_to_string(out.join("sweep.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("dpmpp-2m"));

    let report = json(&out.join("sweep.json"));
    assert_eq!(
        (&report["images"], &report["real_images"]),
        (&12.into(), &40.into())
    );
    let cells = report["cells"].as_array().expect("cells");
    let of = |sampler: &str| -> Vec<&Value> {
        cells.iter().filter(|c| c["sampler"] == sampler).collect()
    };
    assert_eq!(cells.len(), 6);
    let nfe: Vec<&Value> = of("heun").iter().map(|c| &c["nfe"]).collect();
    assert_eq!(
        nfe,
        [&Value::from(3), &Value::from(7)],
        "heun takes odd numbers"
    );
    // heun with 7 evaluations is heun with 4 steps: the fine solution itself.
    assert_eq!(of("heun")[1]["distance"], Value::from(0.0));
    assert_eq!(of("heun")[1]["fd_encoder"], report["fine"]["fd_encoder"]);
    assert!(number(&of("heun")[0]["distance"]) > 0.0);
    assert!(of("ddpm").iter().all(|c| c["distance"].is_null()));
    for cell in cells {
        assert!(number(&cell["fd_pixels"]) > 0.0 && number(&cell["fd_encoder"]) > 0.0);
        let curvature = number(&cell["curvature"]);
        assert!((0.0..1.0).contains(&curvature), "{cell}");
        assert!(number(&cell["deviation"]) >= 0.0);
    }
}

#[test]
fn orders_are_measured_on_the_oracle_and_on_a_run() {
    let folder = Folder::new();
    let out = folder.path("order.json");
    sadm()
        .args([
            "sweep",
            "order",
            "--threads=1",
            "--steps=64,128,256",
            "--fine=4096",
            "--out",
        ])
        .arg(&out)
        .assert()
        .success();
    let samplers = json(&out)["samplers"].as_array().expect("samplers").clone();
    assert_eq!(samplers.len(), 4);
    for sampler in &samplers {
        let (order, claimed) = (number(&sampler["order"]), number(&sampler["claimed"]));
        // See `convergence`: the next term is O(ρ/N).
        assert!((order - claimed).abs() < 0.2, "{sampler}");
    }
}

/// In f64 and from 64 steps on, a trained network is smooth enough for the orders 1, 2 and 2: the next term of the error is
/// O(1/N), and makes 0.04 and 0.05 of it here (0.07 and 0.10 from 32 steps on).
#[test]
fn orders_are_measured_on_a_trained_network() {
    let folder = Folder::new();
    let out = folder.path("order.json");
    train(&folder.path("run"), 40, &[]);
    sadm()
        .args(["sweep", "order", "--threads=1", "--count=2"])
        .args(["--samplers=euler,ddim,heun,dpmpp-2m"])
        .args(["--steps=64,128,256", "--fine=2048", "--run"])
        .arg(folder.path("run"))
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let report = json(&out);
    let on = report["on"].as_str().expect("text");
    assert!(
        on.contains("40 steps of training") && on.ends_with("f64"),
        "{on}"
    );
    let samplers = report["samplers"].as_array().expect("samplers");
    assert_eq!(samplers.len(), 4);
    for (sampler, claimed) in samplers.iter().zip([1.0, 1.0, 2.0, 2.0]) {
        let points = sampler["points"].as_array().expect("points");
        assert!(
            points.iter().all(|point| point["in_fit"] == true),
            "{sampler}"
        );
        let order = number(&sampler["order"]);
        assert!((order - claimed).abs() < 0.1, "{sampler}");
    }
    // One formula under two names.
    let (euler, ddim) = (number(&samplers[0]["order"]), number(&samplers[1]["order"]));
    assert!((euler - ddim).abs() < 1e-6, "{euler}, {ddim}");
}

#[test]
fn what_cannot_be_swept_says_why() {
    let folder = Folder::new();
    let sweep = |what: &str, more: &[&str]| {
        let mut command = sadm();
        command.args(["sweep", what, "--threads=1"]).args(more);
        error_of(&mut command)
    };
    let none = folder.path("none");
    let none = none.to_str().expect("UTF-8");
    let missing = sweep("sampler", &["--run", none, "--out", none]);
    says(&missing, &["config.toml"]);
    assert!(
        !folder.path("none").exists(),
        "a failed sweep left a folder"
    );
    let ending = sweep("order", &["--out=order.png"]);
    says(&ending, &["a folder or end in .json"]);
    let steps = sweep("order", &["--steps=8,64", "--fine=128"]);
    says(&steps, &["below half"]);
    let random = sweep("order", &["--samplers=heun,ddpm"]);
    says(&random, &["ddpm draws noise"]);
    sadm()
        .args(["sweep", "order", "--samplers=henu"])
        .assert()
        .code(2);

    train(&folder.path("run"), 4, &["--set=structure.method=none"]);
    let (run, out) = (folder.path("run"), folder.path("out"));
    let (run, out) = (run.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let few = ["--count=4", "--nfe=2", "--fine=2", "--reference-count=9"];
    let untrained = sweep(
        "sampler",
        &[&["--run", run, "--out", out, "--encoder", run], &few[..]].concat(),
    );
    says(&untrained, &["never trained"]);
    // Without an encoder asked for, the pixels remain.
    sadm()
        .args([
            "sweep",
            "sampler",
            "--threads=1",
            "--run",
            run,
            "--out",
            out,
        ])
        .args(few)
        .assert()
        .success();
    let report = json(&folder.path("out/sweep.json"));
    assert!(report["cells"][0]["fd_encoder"].is_null(), "{report}");
}
