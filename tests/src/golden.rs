//! Both sides against numbers that published implementations computed in f64.
//!
//! A few are in `fixtures/golden`; `$SADM_GOLDEN_DIR` names a folder with more, laid out alike: `NAME.weights.safetensors`, `NAME.io.safetensors` and
//! `networks.json` in a folder for each family.

mod augmentation;
mod autoencoder;
mod diffusion;
mod diffusion_gan;
mod dit;
mod edm;
mod preconditioned;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use ndarray::{ArrayD, Axis};
use sadm_gpu::network as gpu;
use sadm_gpu::params::Params;
use sadm_gpu::weights::Weights;
use sadm_reference::network::{Denoiser, Pass};
use serde_json::Value;

use crate::Place;

/// Largest error of an output, of its largest entry.
const OUTPUT: f64 = 1e-9;
/// Largest error of a gradient, of its largest entry.
const GRADIENT: f64 = 1e-8;

type Arrays = BTreeMap<String, ArrayD<f64>>;

/// The folders of a family: that of the repository, and the user's.
fn folders(family: &str) -> Vec<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let more = std::env::var_os("SADM_GOLDEN_DIR").map(PathBuf::from);
    let folders = [ours].into_iter().chain(more);
    let folders = folders.map(|folder| folder.join(family));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Every tensor of a file, as f64.
fn tensors(path: &Path) -> Arrays {
    let weights = Weights::open(path).expect("a file of tensors");
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let read = |name: String| {
        let shape = weights.shape(&name).expect("its name").to_vec();
        let tensor = weights.get(&name, &shape).expect("finite numbers");
        (name, Place::array(&tensor).expect("an array"))
    };
    names.into_iter().map(read).collect()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// A network with weights, as one entry of `networks.json` has it.
struct Network {
    what: String,
    /// The name of the published class, where the list says it.
    class: String,
    config: toml::Table,
    weights: Arrays,
    io: Arrays,
}

/// The networks of a family.
fn networks(family: &str) -> Vec<Network> {
    let mut found = Vec::new();
    for folder in folders(family) {
        let listed = json(&folder.join("networks.json"));
        for entry in listed.as_array().expect("a list") {
            let file = |key: &str| tensors(&folder.join(entry[key].as_str().expect("a name")));
            let config = gpu::config_of_json(&entry["config"].to_string());
            found.push(Network {
                what: format!("{}: {}", folder.display(), entry["name"]),
                class: entry["cls"].as_str().unwrap_or_default().to_owned(),
                config: config.expect("a configuration"),
                weights: file("weights"),
                io: file("io"),
            });
        }
    }
    assert!(!found.is_empty(), "no network of {family}");
    found
}

/// Requires `got` to be `want` up to `allowed` of its largest entry.
fn close(what: &str, got: &ArrayD<f64>, want: &ArrayD<f64>, allowed: f64) {
    within(what, got, want, allowed * largest(want));
}

/// Requires `got` to be `want` up to `error`.
fn within(what: &str, got: &ArrayD<f64>, want: &ArrayD<f64>, error: f64) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    for (index, got) in got.indexed_iter() {
        let want = want[&index];
        assert!(
            (got - want).abs() <= error,
            "{what}: {got}, not {want}, at {index:?}"
        );
    }
}

fn largest(x: &ArrayD<f64>) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// What stands for a gradient in a file.
type Part = fn(&ArrayD<f64>) -> ArrayD<f64>;

/// Ways of telling a gradient: whole, or of larger tensors some rows, sums, and the sum of squares.
const PARTS: [(&str, Part); 5] = [
    ("", |g| g.clone()),
    ("rows.", |g| {
        let n = g.len_of(Axis(0));
        g.select(Axis(0), &[0, n / 2, n - 1])
    }),
    ("rowsum.", |g| {
        let axes = (1..g.ndim()).rev();
        axes.fold(g.clone(), |sum, axis| sum.sum_axis(Axis(axis)))
    }),
    ("colsum.", |g| g.sum_axis(Axis(0))),
    ("sumsq.", |g| {
        ndarray::arr0(g.iter().map(|g| g * g).sum()).into_dyn()
    }),
];

/// Requires gradients to be those of `io`; sums may cancel, and their error is that of what was added.
fn gradients(what: &str, got: &Arrays, io: &Arrays) {
    let mut seen = 0;
    for (name, got) in got {
        let before = seen;
        for (way, part) in PARTS {
            if let Some(want) = io.get(&format!("grad.{way}{name}")) {
                seen += 1;
                let error = GRADIENT * largest(&part(&got.mapv(f64::abs)));
                within(&format!("{what}, {way}{name}"), &part(got), want, error);
            }
        }
        assert!(seen > before, "{what}: no gradient of {name}");
    }
    let all = io.keys().filter(|name| name.starts_with("grad.")).count();
    assert_eq!(seen, all, "{what}: gradients that were not compared");
}

/// Output and gradients of a pass of the reference, by the names of `io`.
fn of_reference(pass: Pass) -> (ArrayD<f64>, Arrays) {
    let mut grads = pass.grad_parameters;
    grads.insert("input.x".to_owned(), pass.grad_input);
    (pass.output, grads)
}

/// The reference's network `name`, which asks for exactly these weights.
fn reference(name: &str, network: &Network) -> Box<dyn Denoiser> {
    let built = sadm_reference::network::published(name, &network.config).expect("known");
    let shapes = built.parameter_shapes().expect("possible");
    sadm_reference::network::check_parameters(&network.weights, &shapes).expect("all of them");
    built
}

/// The training system's network in f64 with these weights, which are all of its own.
fn candle(name: &str, network: &Network) -> (Params, Box<dyn gpu::Network>) {
    let params = Params::new(&Device::Cpu, DType::F64, 0);
    let built = gpu::published(name, &network.config, params.builder()).expect("known");
    load(&params, &network.weights);
    (params, built)
}

fn load(params: &Params, weights: &Arrays) {
    let tensors = weights.iter();
    let tensors = tensors.map(|(name, value)| (name.clone(), tensor(value)));
    params.load(&tensors.collect()).expect("all of them");
}

fn tensor(x: &ArrayD<f64>) -> Tensor {
    let values: Vec<f64> = x.iter().copied().collect();
    Tensor::from_vec(values, x.shape(), &Device::Cpu).expect("a tensor")
}

fn array(x: &Tensor) -> ArrayD<f64> {
    Place::array(x).expect("an array")
}

/// Output and gradients of Σ output·probe on the training system, by the names of `io`.
fn of_candle(
    params: &Params,
    x: &ArrayD<f64>,
    probe: &ArrayD<f64>,
    run: impl FnOnce(&Tensor) -> Tensor,
) -> (ArrayD<f64>, Arrays) {
    let x = Var::from_tensor(&tensor(x)).expect("a variable");
    let output = run(x.as_tensor());
    let sum = (&output * tensor(probe)).and_then(|y| y.sum_all());
    let grads = sum.and_then(|sum| sum.backward()).expect("a gradient");
    let named = params.vars().into_iter().chain([("input.x".to_owned(), x)]);
    let grads = named.map(|(name, var)| {
        let grad = grads
            .get(&var)
            .unwrap_or_else(|| panic!("no gradient of {name}"));
        (name, array(grad))
    });
    (array(&output), grads.collect())
}

/// Whole numbers of a tensor, as labels.
fn labels(x: &ArrayD<f64>) -> Vec<u32> {
    let whole = |x: &f64| format!("{x}").parse().expect("a class");
    x.iter().map(whole).collect()
}

fn numbers(x: &ArrayD<f64>) -> Vec<f64> {
    x.iter().copied().collect()
}
