//! `sadm oracle`: what it prints is what it writes, place by place.

use ndarray::{ArrayD, Dimension, array};
use serde_json::Value;

use crate::formulas::close;
use crate::support::{Folder, sadm};
use crate::written::number;

/// Holds nested lists against a tensor.
fn same(name: &str, printed: &Value, want: &ArrayD<f64>) {
    for (index, want) in want.indexed_iter() {
        let index = index.slice();
        let at = index.iter().fold(printed, |at, place| &at[place]);
        assert_eq!(number(at).to_bits(), want.to_bits(), "{name}{index:?}");
    }
}

/// Matrices that are no squares keep their rows, and a file has the numbers that are printed without one.
#[test]
fn printed_values_are_those_of_the_file() {
    let folder = Folder::new();
    let real = array![[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]].into_dyn();
    let generated = array![[0.5, 1.5], [2.0, -2.0], [-1.0, 0.75]].into_dyn();
    let settings = ["relation=rbf", "bandwidth=2", "eta=1.5"];
    let inputs = [("real", real), ("generated", generated)];
    let written = folder.oracle("structural-loss", &inputs, &settings);
    let mut command = sadm();
    command.args(["oracle", "structural-loss"]);
    command.args(["--tensor", "real=[[1,2],[3,-1],[0.5,0.25]]"]);
    command.args(["--tensor", "generated=[[0.5,1.5],[2,-2],[-1,0.75]]"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let printed = command.assert().success().get_output().stdout.clone();
    let printed: Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(printed["scalars"], written.json["scalars"]);
    assert_eq!(printed["bounds"], written.json["bounds"]);
    let mut matrices = 0;
    for (name, tensor) in &written.tensors {
        if name == "loss" {
            let loss = number(&written.json["scalars"][name]);
            assert_eq!(loss.to_bits(), tensor[[0]].to_bits());
            continue;
        }
        same(name, &printed["values"][name], tensor);
        matrices += usize::from(tensor.shape()[0] != tensor.shape()[1]);
    }
    assert_eq!((written.tensors.len(), matrices), (5, 2));
}

/// EDM's weight of another σ_d than the default: (σ² + σ_d²)/(σ σ_d)² of each sample.
#[test]
fn the_weight_takes_the_deviation_that_is_given() {
    let folder = Folder::new();
    let t = [2.0, 0.5];
    let inputs = [
        ("x0", array![[1.0, 0.0], [0.5, -1.0]].into_dyn()),
        ("prediction", array![[3.0, 1.0], [0.0, 0.5]].into_dyn()),
        ("t", array![t[0], t[1]].into_dyn()),
    ];
    let settings = ["schedule=edm", "weight=edm", "sigma_data=0.75"];
    let answer = folder.oracle("denoising-loss", &inputs, &settings);
    let w = t.map(|s| (s * s + 0.5625) / (s * 0.75 * s * 0.75));
    for (got, want) in answer.tensors["weight"].iter().zip(w) {
        close("weight", *got, want, 1e-14);
    }
    let want = f64::midpoint(w[0] * 5.0, w[1] * 2.5);
    close("loss", answer.tensors["loss"][[0]], want, 1e-14);
}
