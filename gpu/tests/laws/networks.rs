//! The parameters that networks begin with: a law for each kind of layer.

use crate::chance::{Chance, uniform};
use crate::support::{CPU, apart, config};
use candle_core::DType;
use sadm_gpu::data::ImageKind;
use sadm_gpu::params::Params;
use sadm_gpu::train::networks::Networks;
use statrs::distribution::{ContinuousCDF, Normal};

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Zeros,
    Ones,
    /// Uniform with variance 1/fan-in: linear maps and convolutions.
    Map,
    /// N(0, ½²): the embedding of a class.
    Class,
}

/// Maps that answer 0 until they are trained, so that every branch begins as the identity, and a network with the answer 0.
const SILENT: [(&str, &[&str]); 3] = [
    ("unet", &["conv2", "proj", "conv_out"]),
    ("dit-small", &["ada", "final.ada", "final.linear"]),
    ("encoder", &[]),
];

fn start(network: &str, name: &str, dims: &[usize]) -> Start {
    let (_, silent) = SILENT
        .into_iter()
        .find(|(of, _)| *of == network)
        .expect("a network");
    let is = |layer: &str| {
        name.strip_suffix(".weight")
            .is_some_and(|at| at == layer || at.ends_with(&format!(".{layer}")))
    };
    match dims {
        _ if name.ends_with("bias") => Start::Zeros,
        // Scales of a normalisation.
        [_] => Start::Ones,
        _ if is("class") => Start::Class,
        _ if silent.iter().any(|layer| is(layer)) => Start::Zeros,
        _ => Start::Map,
    }
}

/// Every parameter by name with its shape.
fn parameters(params: &Params) -> Vec<(String, Vec<usize>, Vec<f64>)> {
    let each = params.tensors().into_iter();
    each.map(|(name, tensor)| {
        let values = tensor
            .flatten_all()
            .and_then(|x| x.to_dtype(DType::F64)?.to_vec1());
        (name, tensor.dims().to_vec(), values.expect("numbers"))
    })
    .collect()
}

#[test]
fn initial_parameters() {
    let mut chance = Chance::of("initial parameters");
    let images = ImageKind {
        channels: 3,
        size: 8,
        classes: 10,
    };
    let drawn = |kind: &str, seed| {
        let own = config(seed, &[&format!("model.kind={kind}")]);
        let networks = Networks::new(&own, images, &CPU).expect("networks");
        [networks.theta_params, networks.phi_params].map(|params| parameters(&params))
    };
    let law = uniform(-1.0, 1.0);
    for (network, kind, player) in [
        ("unet", "unet", 0),
        ("dit-small", "dit-small", 0),
        ("encoder", "unet", 1),
    ] {
        let [own, other] = [0, 1].map(|next| drawn(kind, chance.seed() + next)[player].clone());
        let (mut scaled, mut classes, mut begins, mut next) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((name, dims, values), (_, _, elsewhere)) in own.iter().zip(&other) {
            let all = |value: f64| values.iter().all(|x| x.to_bits() == value.to_bits());
            match start(network, name, dims) {
                Start::Zeros => assert!(all(0.0), "{network}: {name} is not 0"),
                Start::Ones => assert!(all(1.0), "{network}: {name} is not 1"),
                Start::Class => classes.extend(values.iter().map(|x| x / 0.5)),
                Start::Map => {
                    let fan_in: usize = dims[1..].iter().product();
                    let bound = (3.0 / fan_in as f64).sqrt();
                    let largest = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                    // Of n values all lie below 0.9 of the bound with probability 0.9ⁿ: below 10⁻¹¹ for 240.
                    assert!(
                        values.len() >= 240,
                        "{network}: {name} is too small to tell"
                    );
                    assert!(
                        (0.9 * bound..=bound * (1.0 + 1e-6)).contains(&largest),
                        "{network}: the largest value of {name} is {largest}, of a bound of {bound}"
                    );
                    scaled.extend(values.iter().map(|x| x / bound));
                    begins.push(values[..240].to_vec());
                    next.extend(values.iter().copied().zip(elsewhere.iter().copied()));
                }
            }
        }
        chance.follows(&format!("{network}: maps"), scaled.iter().copied(), &law);
        chance.unrelated(&format!("{network}: neighbours"), apart(&scaled));
        chance.unrelated(&format!("{network}: seeds"), next);
        // Each parameter and the next one: two of one shape would be equal if a draw were used twice.
        let pairs = begins
            .windows(2)
            .step_by(2)
            .flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied()));
        chance.unrelated(&format!("{network}: parameters"), pairs);
        if network != "encoder" {
            let normal = Normal::standard();
            chance.follows(&format!("{network}: classes"), classes, |z| normal.cdf(z));
        }
    }
    let [theta, phi] = drawn("unet", chance.seed());
    let first = |of: &[(String, Vec<usize>, Vec<f64>)]| {
        let found = of.iter().find(|(name, _, _)| name == "conv_in.weight");
        found.expect("a first layer").2.clone()
    };
    chance.unrelated("θ and φ", first(&theta).into_iter().zip(first(&phi)));
}
