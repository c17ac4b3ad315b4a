//! Published autoencoders: moments, images and gradients, with the names of diffusers, of CompVis and of TAESD's program.

use std::path::Path;

use candle_core::{DType, Device, Var};
use sadm_gpu::network::autoencoder as gpu;
use sadm_gpu::params::Params;
use sadm_gpu::weights::Weights;
use sadm_reference::network::autoencoder::{self as exact, Half};

use super::{
    Arrays, GRADIENT, OUTPUT, array, close, folders, largest, load, tensor, tensors, within,
};
use crate::Place;

/// One set of weights with its questions and answers.
struct Published {
    what: String,
    name: &'static str,
    config: toml::Table,
    weights: Arrays,
    io: Arrays,
    /// What each half is asked, and the names of its answers.
    asked: [Asked; 2],
}

/// A half with the names of its input, output, probe, and gradient of the input.
#[derive(Clone, Copy)]
struct Asked {
    half: Half,
    input: &'static str,
    output: &'static str,
    probe: &'static str,
    grad: &'static str,
}

const fn asked(
    half: Half,
    input: &'static str,
    output: &'static str,
    probe: &'static str,
    grad: &'static str,
) -> Asked {
    Asked {
        half,
        input,
        output,
        probe,
        grad,
    }
}

fn table(text: &str) -> toml::Table {
    sadm_gpu::network::config_of_json(text).expect("a configuration")
}

/// The weights of files by the names of the network.
fn weights(name: &str, config: &toml::Table, files: &[&Path]) -> Arrays {
    let files: Vec<Weights> = (files.iter())
        .map(|file| Weights::open(file).expect("a file"))
        .collect();
    let read = gpu::weights(name, config, &files).expect("the network's");
    let read = read.tensors.into_iter();
    read.map(|(name, value)| (name, Place::array(&value).expect("an array")))
        .collect()
}

fn all() -> Vec<Published> {
    let mut found = Vec::new();
    for folder in folders("autoencoder") {
        let json = |file: &str| std::fs::read_to_string(folder.join(file)).expect("JSON");
        let io = |file: &str| tensors(&folder.join(file));
        let kl = [
            asked(
                Half::Encode,
                "x",
                "moments",
                "probe.moments",
                "grad.moments.x",
            ),
            asked(
                Half::Decode,
                "z",
                "decoded",
                "probe.decoded",
                "grad.decoded.z",
            ),
        ];
        // The repository has the smallest of each kind only.
        let has = |file: &str| folder.join(file).is_file();
        for of in ["kl", "kl-old-keys"] {
            if !has("kl.io.safetensors") {
                continue;
            }
            let config = table(&json(&format!("{of}/config.json")));
            let file = folder.join(of).join("diffusion_pytorch_model.safetensors");
            found.push(Published {
                what: of.to_owned(),
                name: "autoencoder-kl",
                weights: weights("autoencoder-kl", &config, &[&file]),
                config,
                io: io("kl.io.safetensors"),
                asked: kl,
            });
        }
        let compvis = table(
            r#"{"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}"#,
        );
        let file = folder.join("kl-compvis-layout.weights.safetensors");
        found.push(Published {
            what: "kl-compvis-layout".to_owned(),
            name: "autoencoder-kl",
            weights: weights("autoencoder-kl", &compvis, &[&file]),
            config: compvis,
            io: io("kl-compvis-layout.io.safetensors"),
            asked: kl,
        });
        let tiny = |grad_x, grad_z, probe| {
            [
                asked(Half::Encode, "x", "latents", "probe.latents", grad_x),
                asked(Half::Decode, "z", "decoded", probe, grad_z),
            ]
        };
        let config = table(&json("tiny/config.json"));
        let file = folder.join("tiny/diffusion_pytorch_model.safetensors");
        found.push(Published {
            what: "tiny".to_owned(),
            name: "autoencoder-tiny",
            weights: weights("autoencoder-tiny", &config, &[&file]),
            config,
            io: io("tiny.io.safetensors"),
            asked: tiny("grad.x", "grad.z", "probe"),
        });
        if !has("taef2.io.safetensors") {
            continue;
        }
        let Some(data) = std::env::var_os("SADM_DATA_DIR") else {
            eprintln!("skipped: the published weights of TAEF2 are in $SADM_DATA_DIR");
            continue;
        };
        let config = table(r#"{"latent_channels": 32, "use_midblock_gn": true}"#);
        let [down, up] = ["encoder", "decoder"]
            .map(|half| Path::new(&data).join(format!("weights/taef2_{half}.safetensors")));
        found.push(Published {
            what: "taef2".to_owned(),
            name: "autoencoder-tiny",
            weights: weights("autoencoder-tiny", &config, &[&up, &down]),
            config,
            io: io("taef2.io.safetensors"),
            asked: tiny("grad.x", "grad.z", "probe.decoded"),
        });
    }
    assert!(found.len() >= 2, "{} autoencoders", found.len());
    found
}

#[test]
fn halves_and_their_gradients_are_the_published_ones() {
    for Published {
        what,
        name,
        config,
        weights,
        io,
        asked,
    } in all()
    {
        let reference = exact::autoencoder(name, &config).expect("known");
        let shapes = reference.parameter_shapes().expect("possible");
        sadm_reference::network::check_parameters(&weights, &shapes).expect("all of them");
        let candle = gpu::autoencoder(name, &config).expect("known");
        let params = Params::new(&Device::Cpu, DType::F64, 0);
        let at = params.builder();
        let halves = [candle.encoder(&at), candle.decoder(&at)].map(|half| half.expect("possible"));
        load(&params, &weights);
        for (asked, fast) in asked.into_iter().zip(halves) {
            let x = &io[asked.input];
            let ones = || ndarray::ArrayD::ones(io[asked.output].raw_dim());
            let probe = io.get(asked.probe).cloned().unwrap_or_else(ones);
            let pass = reference.forward_backward(&weights, asked.half, x, &probe, None);
            let pass = pass.expect("it fits");
            let var = Var::from_tensor(&tensor(x)).expect("a variable");
            let output = fast.forward(var.as_tensor()).expect("it fits");
            let sum = (&output * tensor(&probe)).and_then(|y| y.sum_all());
            let grads = sum.and_then(|sum| sum.backward()).expect("a gradient");
            let of = |var: &Var| array(grads.get(var).expect("a gradient"));
            let sides = [
                ("reference", pass.output.clone(), pass.grad_input.clone()),
                ("candle", array(&output), of(&var)),
            ];
            for (side, output, grad) in sides {
                let what = format!("{what}: {side}, {}", asked.output);
                close(&what, &output, &io[asked.output], OUTPUT);
                if let Some(want) = io.get(asked.grad) {
                    close(&format!("{what}, {}", asked.grad), &grad, want, GRADIENT);
                }
            }
            let vars = params.vars();
            for (name, want) in &io {
                let Some(name) = name
                    .strip_prefix("grad.decoded.")
                    .filter(|_| asked.half == Half::Decode)
                else {
                    continue;
                };
                let Some((_, var)) = vars.iter().find(|(own, _)| own == name) else {
                    assert_eq!(name, "z", "a gradient of what is no parameter");
                    continue;
                };
                let exact = &pass.grad_parameters[name];
                // A bias of all keys changes no softmax: its gradient is 0, and its error that of what cancels.
                let scale = match name.strip_suffix("to_k.bias") {
                    Some(stem) => &io[&format!("grad.decoded.{stem}to_k.weight")],
                    None => want,
                };
                let error = GRADIENT * largest(scale);
                within(&format!("{what}: reference, {name}"), exact, want, error);
                within(&format!("{what}: candle, {name}"), &of(var), want, error);
            }
        }
        if let Some(moments) = io.get("moments").filter(|_| io.contains_key("std")) {
            let latent = reference.latent(moments).expect("moments");
            let fast = candle.latent(&tensor(moments)).expect("moments");
            for (side, mean, std) in [
                ("reference", latent.mean, latent.std),
                ("candle", array(&fast.mean), array(&fast.std)),
            ] {
                close(&format!("{what}: {side}, mean"), &mean, &io["mean"], OUTPUT);
                close(&format!("{what}: {side}, std"), &std, &io["std"], OUTPUT);
            }
        }
    }
}
