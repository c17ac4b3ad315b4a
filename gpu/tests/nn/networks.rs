//! The networks: gradients for every parameter, conditioning, names, refusals.

use candle_core::{DType, Device, Tensor};
use sadm_gpu::features::{Encoder, EncoderConfig};
use sadm_gpu::network::{
    Compute, Condition, DitSmall, DitSmallConfig, MixedPrecision, Mode, Network, UNet, UNetConfig,
};
use sadm_gpu::params::Params;

use crate::support::{Draw, flat};

fn unet_config() -> UNetConfig {
    UNetConfig {
        in_channels: 2,
        channels: vec![4, 6],
        blocks: 2,
        attention: vec![1],
        heads: 2,
        groups: 2,
        emb_dim: 8,
        time_dim: 6,
        classes: Some(3),
    }
}

fn dit_config() -> DitSmallConfig {
    DitSmallConfig {
        in_channels: 2,
        size: 4,
        patch: 2,
        dim: 8,
        depth: 2,
        heads: 2,
        mlp_ratio: 2,
        time_dim: 6,
        classes: Some(3),
    }
}

fn encoder_config() -> EncoderConfig {
    EncoderConfig {
        in_channels: 2,
        widths: vec![4, 6],
        groups: 2,
        dim: 5,
        classes: 3,
    }
}

fn params() -> Params {
    Params::new(&Device::Cpu, DType::F64, 1)
}

fn unet(params: &Params) -> UNet {
    UNet::new(&unet_config(), params.builder()).expect("a U-Net")
}

fn dit(params: &Params) -> DitSmall {
    DitSmall::new(&dit_config(), params.builder()).expect("a DiT")
}

/// Moves every parameter, so that those that start at 0 pass gradients on.
fn perturb(params: &Params) {
    let mut draw = Draw::new(17);
    for (_, var) in params.vars() {
        let noise = (draw.tensor(var.shape().clone()) * 0.25)
            .and_then(|noise| noise.to_dtype(var.dtype()))
            .expect("noise");
        var.set(&(var.as_detached_tensor() + noise).expect("a sum"))
            .expect("an update");
    }
}

fn image(seed: u64) -> Tensor {
    Draw::new(seed).tensor((3, 2, 4, 4))
}

const NOISE: [f64; 3] = [-0.75, 0.25, 1.0];

/// Names of the parameters whose gradient of `loss` is missing or zero.
fn without_gradient(params: &Params, y: &Tensor) -> Vec<String> {
    let weights = Draw::new(23).tensor(y.shape().clone());
    let loss = (y * weights).and_then(|y| y.sum_all()).expect("a loss");
    let store = loss.backward().expect("a backward pass");
    let silent = |var: &Tensor| {
        store
            .get(var)
            .is_none_or(|grad| flat(grad).iter().all(|g| g.abs() <= 0.0))
    };
    params
        .vars()
        .into_iter()
        .filter(|(_, var)| silent(var))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_parameter_of_a_perturbed_denoiser_receives_a_gradient() {
    for build in [
        (|p| Box::new(unet(p)) as Box<dyn Network>) as fn(&Params) -> Box<dyn Network>,
        |p| Box::new(dit(p)),
    ] {
        let params = params();
        let network = build(&params);
        perturb(&params);
        let y = network
            .forward(
                &image(1),
                &Condition::new(&NOISE, Some(&[0, 2, 3])),
                Mode::Evaluate,
            )
            .expect("a prediction");
        assert_eq!(y.dims(), [3, 2, 4, 4]);
        assert_eq!(without_gradient(&params, &y), Vec::<String>::new());
    }
}

#[test]
fn every_parameter_of_the_encoder_receives_a_gradient() {
    let params = params();
    let encoder = Encoder::new(&encoder_config(), params.builder()).expect("an encoder");
    let x = image(1);
    let psi = encoder.features(&x).expect("features");
    assert_eq!(psi.dims(), [3, 5]);
    let logits = encoder.logits(&x).expect("logits");
    assert_eq!(logits.dims(), [3, 3]);
    assert_eq!(without_gradient(&params, &logits), Vec::<String>::new());
    let silent = without_gradient(&params, &psi);
    assert_eq!(silent, ["classifier.bias", "classifier.weight"]);
}

#[test]
fn denoisers_start_at_zero() {
    let (p, q) = (params(), params());
    for network in [Box::new(unet(&p)) as Box<dyn Network>, Box::new(dit(&q))] {
        let y = network
            .forward(&image(1), &Condition::new(&NOISE, None), Mode::Evaluate)
            .expect("a prediction");
        assert!(flat(&y).iter().all(|y| y.abs() <= 0.0));
    }
}

/// The gradient of `Σ w y` in one random direction of the parameters and the image, against a
/// central difference of five points: truncation h⁴ and rounding u/h, both far below 1e-6.
#[test]
fn a_directional_derivative_of_each_denoiser_is_right() {
    for build in [
        (|p| Box::new(unet(p)) as Box<dyn Network>) as fn(&Params) -> Box<dyn Network>,
        |p| Box::new(dit(p)),
    ] {
        let params = params();
        let network = build(&params);
        perturb(&params);
        let weights = Draw::new(29).tensor((3, 2, 4, 4));
        let loss = || {
            let y = network
                .forward(
                    &image(1),
                    &Condition::new(&NOISE, Some(&[0, 2, 3])),
                    Mode::Evaluate,
                )
                .expect("a prediction");
            (y * &weights).and_then(|y| y.sum_all()).expect("a loss")
        };
        let store = loss().backward().expect("a backward pass");
        let mut draw = Draw::new(31);
        let start: Vec<_> = params
            .vars()
            .into_iter()
            .map(|(_, var)| {
                let direction = draw.tensor(var.shape().clone());
                let value = var.as_tensor().copy().expect("a copy").detach();
                (var, value, direction)
            })
            .collect();
        let slope: f64 = start
            .iter()
            .map(|(var, _, direction)| {
                let grad = store.get(var).expect("a gradient");
                flat(grad)
                    .iter()
                    .zip(flat(direction))
                    .map(|(g, d)| g * d)
                    .sum::<f64>()
            })
            .sum();
        let step = 1.0 / 16384.0;
        let at = |by: f64| {
            for (var, value, direction) in &start {
                let moved = (value + (direction * (by * step)).expect("a product")).expect("a sum");
                var.set(&moved).expect("an update");
            }
            flat(&loss())[0]
        };
        let want = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step);
        assert!(
            (slope - want).abs() <= 1e-6 * want.abs().max(1.0),
            "{slope} {want}"
        );
    }
}

#[test]
fn no_labels_are_the_last_row_of_the_table() {
    let (p, q) = (params(), params());
    let networks = [Box::new(unet(&p)) as Box<dyn Network>, Box::new(dit(&q))];
    perturb(&p);
    perturb(&q);
    for network in networks {
        let run = |labels: Option<&[u32]>| {
            flat(
                &network
                    .forward(&image(1), &Condition::new(&NOISE, labels), Mode::Evaluate)
                    .expect("a prediction"),
            )
        };
        assert_eq!(run(None), run(Some(&[3, 3, 3])));
        let (labelled, other) = (run(Some(&[1, 3, 3])), run(Some(&[3, 3, 3])));
        let sample = labelled.len() / 3;
        assert_ne!(labelled[..sample], other[..sample]);
        assert_eq!(labelled[sample..], other[sample..]);
    }
}

#[test]
fn samples_do_not_see_each_other() {
    let (p, q) = (params(), params());
    let networks = [Box::new(unet(&p)) as Box<dyn Network>, Box::new(dit(&q))];
    perturb(&p);
    perturb(&q);
    for network in networks {
        let all = network
            .forward(
                &image(1),
                &Condition::new(&NOISE, Some(&[0, 1, 2])),
                Mode::Evaluate,
            )
            .expect("a prediction");
        let one = image(1).narrow(0, 1, 1).expect("a sample");
        let one = network
            .forward(
                &one,
                &Condition::new(&NOISE[1..2], Some(&[1])),
                Mode::Evaluate,
            )
            .expect("a prediction");
        let want = flat(&all.narrow(0, 1, 1).expect("a sample"));
        for (got, want) in flat(&one).iter().zip(want) {
            // Same arithmetic but for the order inside matrix products: f64, values below 1e3.
            assert!((got - want).abs() <= 1e-9, "{got} {want}");
        }
    }
}

#[test]
fn parameter_names_are_those_of_the_contract() {
    let params = params();
    unet(&params);
    let names = params.names();
    for name in [
        "class.weight",
        "conv_in.weight",
        "conv_out.bias",
        "down.0.block.1.conv1.weight",
        "down.1.attn.0.qkv.weight",
        "down.1.block.0.skip.weight",
        "mid.attn.norm.weight",
        "mid.block.1.emb.weight",
        "norm_out.weight",
        "time.1.bias",
        "up.0.block.0.skip.weight",
        "up.1.conv.weight",
        "up.1.attn.1.proj.bias",
    ] {
        assert!(
            names.iter().any(|have| have == name),
            "{name} is missing of {names:?}"
        );
    }
    assert!(
        !names
            .iter()
            .any(|name| name.starts_with("up.0.conv") || name.starts_with("down.0.attn"))
    );
    let shape = |name: &str| params.get(name).expect("the parameter").dims().to_vec();
    assert_eq!(shape("class.weight"), [4, 8]);
    assert_eq!(shape("down.1.attn.0.qkv.weight"), [18, 6]);
    assert_eq!(shape("up.1.block.0.conv1.weight"), [6, 12, 3, 3]);
    assert_eq!(shape("up.0.block.0.conv1.weight"), [4, 10, 3, 3]);
    assert_eq!(shape("up.0.block.1.emb.weight"), [8, 8]);

    let params = self::params();
    dit(&params);
    let mut want = vec![
        "class.weight".to_owned(),
        "patch.bias".to_owned(),
        "patch.weight".to_owned(),
    ];
    for layer in ["final.ada", "final.linear", "time.0", "time.1"] {
        want.extend(["bias", "weight"].map(|part| format!("{layer}.{part}")));
    }
    for i in 0..2 {
        for layer in ["ada", "attn.proj", "attn.qkv", "mlp.0", "mlp.1"] {
            want.extend(["bias", "weight"].map(|part| format!("block.{i}.{layer}.{part}")));
        }
    }
    want.sort();
    assert_eq!(params.names(), want);

    let params = self::params();
    Encoder::new(&encoder_config(), params.builder()).expect("an encoder");
    let mut want = Vec::new();
    for layer in [
        "conv_in",
        "conv.0",
        "conv.1",
        "norm.0",
        "norm.1",
        "norm_out",
        "features",
        "classifier",
    ] {
        want.extend(["bias", "weight"].map(|part| format!("{layer}.{part}")));
    }
    want.sort();
    assert_eq!(params.names(), want);
}

#[test]
fn a_frozen_network_passes_the_gradient_of_its_input_only() {
    let params = params();
    unet(&params);
    perturb(&params);
    let network = UNet::new(&unet_config(), params.frozen()).expect("a frozen U-Net");
    let x = candle_core::Var::from_tensor(&image(1)).expect("a variable");
    let y = network
        .forward(&x, &Condition::new(&NOISE, None), Mode::Evaluate)
        .expect("a prediction");
    let store = y
        .sum_all()
        .and_then(|y| y.backward())
        .expect("a backward pass");
    assert!(
        flat(store.get(&x).expect("a gradient"))
            .iter()
            .any(|g| g.abs() > 0.0)
    );
    assert!(
        params
            .vars()
            .iter()
            .all(|(_, var)| store.get(var).is_none())
    );
}

#[test]
fn impossible_networks_are_refused_in_words() {
    let unet = |change: fn(&mut UNetConfig)| {
        let mut config = unet_config();
        change(&mut config);
        UNet::new(&config, params().builder())
            .map(|_| ())
            .expect_err("a refusal")
            .to_string()
    };
    assert!(unet(|c| c.groups = 3).contains("groups must be positive and divide 4"));
    assert!(unet(|c| c.heads = 4).contains("heads must be positive and divide 6"));
    assert!(unet(|c| c.attention = vec![2]).contains("attention must name levels below 2"));
    assert!(unet(|c| c.channels.clear()).contains("channels must be positive"));
    assert!(unet(|c| c.time_dim = 5).contains("time_dim must be even and positive, got 5"));
    assert!(unet(|c| c.blocks = 0).contains("blocks must be positive"));
    let dit = |change: fn(&mut DitSmallConfig)| {
        let mut config = dit_config();
        change(&mut config);
        DitSmall::new(&config, params().builder())
            .map(|_| ())
            .expect_err("a refusal")
            .to_string()
    };
    assert!(dit(|c| c.patch = 3).contains("patch must divide the image side 4"));
    assert!(dit(|c| c.dim = 6).contains("dim must be a multiple of 4"));
    let encoder = EncoderConfig {
        widths: vec![],
        ..encoder_config()
    };
    assert!(Encoder::new(&encoder, params().builder()).is_err());
}

#[test]
fn impossible_inputs_are_refused_in_words() {
    let params = params();
    let network = unet(&params);
    let refuse = |network: &dyn Network, x: &Tensor, noise: &[f64], labels: Option<&[u32]>| {
        network
            .forward(x, &Condition::new(noise, labels), Mode::Evaluate)
            .expect_err("a refusal")
            .to_string()
    };
    assert!(refuse(&network, &image(1), &[0.0], None).contains("noise levels"));
    assert!(refuse(&network, &image(1), &NOISE, Some(&[0])).contains("number of labels"));
    assert!(
        refuse(&network, &image(1), &NOISE, Some(&[0, 4, 0])).contains("below the table's 4 rows")
    );
    let odd = Draw::new(1).tensor((3, 2, 5, 4));
    assert!(refuse(&network, &odd, &NOISE, None).contains("be even"));
    let plain = UNetConfig {
        classes: None,
        ..unet_config()
    };
    let plain = UNet::new(&plain, self::params().builder()).expect("a U-Net");
    assert!(refuse(&plain, &image(1), &NOISE, Some(&[0, 0, 0])).contains("without classes"));
    let augment = Tensor::zeros((3, 9), DType::F64, &Device::Cpu).expect("labels");
    let augmented = Condition {
        augment: Some(&augment),
        ..Condition::new(&NOISE, None)
    };
    let params = self::params();
    let (small, x) = (dit(&params), image(1));
    for network in [&network as &dyn Network, &small] {
        let refused = network.forward(&x, &augmented, Mode::Evaluate);
        let refused = refused.expect_err("a refusal").to_string();
        assert!(refused.contains(
            "augmentation labels must be absent for a network that knows none, got shape [3, 9]"
        ));
        let soft = Condition {
            soft_labels: Some(&augment),
            ..Condition::new(&NOISE, None)
        };
        let refused = network.forward(&x, &soft, Mode::Evaluate);
        let refused = refused.expect_err("a refusal").to_string();
        assert!(refused.contains(
            "weights of classes must be absent for a network that knows none, got shape [3, 9]"
        ));
    }
    let params = self::params();
    assert!(refuse(&dit(&params), &odd, &NOISE, None).contains("[B, 2, 4, 4]"));
}

#[test]
fn configurations_round_trip_and_refuse_unknown_keys() {
    let text = toml::to_string(&unet_config()).expect("TOML");
    assert_eq!(
        toml::from_str::<UNetConfig>(&text).expect("the same"),
        unet_config()
    );
    assert!(toml::from_str::<UNetConfig>(&format!("{text}\nheds = 2")).is_err());
    let text = toml::to_string(&DitSmallConfig {
        classes: None,
        ..dit_config()
    })
    .expect("TOML");
    assert!(
        toml::from_str::<DitSmallConfig>(&text)
            .expect("the same")
            .classes
            .is_none()
    );
    let text = toml::to_string(&encoder_config()).expect("TOML");
    assert_eq!(
        toml::from_str::<EncoderConfig>(&text).expect("the same"),
        encoder_config()
    );
}

#[test]
fn networks_run_in_f32_and_bf16() {
    for dtype in [DType::F32, DType::BF16] {
        let params = Params::new(&Device::Cpu, dtype, 1);
        let (unet, dit) = (unet(&params), dit(&Params::new(&Device::Cpu, dtype, 1)));
        let x = image(1).to_dtype(dtype).expect("a conversion");
        for network in [&unet as &dyn Network, &dit] {
            let y = network
                .forward(
                    &x,
                    &Condition::new(&NOISE, Some(&[0, 1, 3])),
                    Mode::Evaluate,
                )
                .expect("a prediction");
            assert_eq!((y.dtype(), y.dims()), (dtype, x.dims()));
            y.sum_all()
                .and_then(|y| y.backward())
                .expect("a backward pass");
        }
    }
}

/// `f(x)` and the gradients of `Σ w f(x)`, by name.
fn values_and_gradients(
    params: &Params,
    f: &dyn Fn(&Tensor) -> sadm_gpu::Result<Tensor>,
    x: &Tensor,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let y = f(x).and_then(|y| Ok(y.to_dtype(DType::F32)?));
    let y = y.expect("an output");
    let weights = Draw::new(23).tensor(y.shape().clone());
    let weights = weights.to_dtype(DType::F32).expect("exact in f32");
    let loss = (&y * weights).and_then(|y| y.sum_all()).expect("a loss");
    let store = loss.backward().expect("a backward pass");
    let gradient = |var: &Tensor| store.get(var).map(flat).unwrap_or_default();
    let gradients = params.vars().into_iter();
    let gradients = gradients.map(|(name, var)| (name, gradient(&var)));
    (flat(&y), gradients.collect())
}

/// To the last bit, output and gradients: so the cross-checks of networks in bf16 hold for mixed precision.
#[test]
fn mixed_precision_is_the_network_on_rounded_parameters_and_input() {
    type Build = fn(&Params, Compute) -> Box<dyn Fn(&Tensor) -> sadm_gpu::Result<Tensor>>;
    let builds: [Build; 3] = [
        |params, compute| {
            let inner = UNet::new(&unet_config(), params.builder()).expect("a U-Net");
            let network = MixedPrecision { inner, compute };
            Box::new(move |x| {
                network.forward(x, &Condition::new(&NOISE, Some(&[0, 2, 3])), Mode::Evaluate)
            })
        },
        |params, compute| {
            let inner = DitSmall::new(&dit_config(), params.builder()).expect("a DiT");
            let network = MixedPrecision { inner, compute };
            Box::new(move |x| {
                network.forward(x, &Condition::new(&NOISE, Some(&[0, 2, 3])), Mode::Evaluate)
            })
        },
        |params, compute| {
            let encoder = Encoder::new(&encoder_config(), params.builder()).expect("an encoder");
            let encoder = encoder.computing_in(compute);
            Box::new(move |x| encoder.features(x))
        },
    ];
    for build in builds {
        let master = Params::new(&Device::Cpu, DType::F32, 1);
        let mixed = build(&master, Compute::Bf16);
        let wide = build(&master, Compute::F32);
        perturb(&master);
        let rounded = Params::new(&Device::Cpu, DType::BF16, 1);
        let narrow = build(&rounded, Compute::F32);
        rounded
            .load(&master.tensors())
            .expect("the same parameters");

        let x = image(1).to_dtype(DType::F32).expect("exact in f32");
        let x_narrow = x.to_dtype(DType::BF16).expect("exact in bf16");
        let y = mixed(&x).expect("an output");
        assert_eq!(y.dtype(), DType::F32, "the output is widened");
        let found = values_and_gradients(&master, &*mixed, &x);
        assert_eq!(
            found,
            values_and_gradients(&rounded, &*narrow, &x_narrow),
            "mixed precision is not the network on rounded numbers"
        );
        assert_ne!(
            found.0,
            values_and_gradients(&master, &*wide, &x).0,
            "nothing was rounded"
        );
    }
}
