//! Networks: gradients of everything against central differences, what zero initialisation means, and refusals.

use crate::draw::{check_derivative, inner};
use ndarray::{ArrayD, Axis, IxDyn};
use proptest::prelude::*;
use sadm_reference::network::autoencoder::{Half, autoencoder, gaussian_latent, scaled_latent};
use sadm_reference::network::graph::Graph;
use sadm_reference::network::{
    Condition, Denoiser, DitSmall, Domain, Encoder, Head, NetworkError, Parameters, Pass, UNet,
    build, check_parameters,
};
use std::cell::Cell;
use std::collections::BTreeMap;

const FITS: &str = "the network fits its input";

fn unet() -> UNet {
    UNet {
        in_channels: 1,
        channels: vec![2, 4],
        blocks: 1,
        attention: vec![1],
        heads: 2,
        groups: 2,
        emb_dim: 3,
        time_dim: 4,
        classes: Some(2),
    }
}

fn dit() -> DitSmall {
    DitSmall {
        in_channels: 1,
        size: 4,
        patch: 2,
        dim: 4,
        depth: 2,
        heads: 2,
        mlp_ratio: 2,
        time_dim: 4,
        classes: Some(2),
    }
}

fn encoder() -> Encoder {
    Encoder {
        in_channels: 1,
        widths: vec![2, 4],
        groups: 2,
        dim: 3,
        classes: 2,
    }
}

/// A stream of numbers in [−1, 1) from a seed (splitmix64).
struct Stream(Cell<u64>);

impl Stream {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    fn next(&self) -> f64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    fn array(&self, shape: &[usize]) -> ArrayD<f64> {
        ArrayD::from_shape_fn(IxDyn(shape), |_| self.next())
    }

    fn parameters(&self, shapes: &BTreeMap<String, Vec<usize>>) -> Parameters {
        shapes
            .iter()
            .map(|(name, shape)| (name.clone(), self.array(shape)))
            .collect()
    }
}

/// One network with one condition: parameters and image in, output out.
type Forward<'a> = &'a dyn Fn(&Parameters, &ArrayD<f64>) -> ArrayD<f64>;

/// One evaluation's rounding, if any.
type Rounded<'a> = Option<&'a dyn Fn(f64) -> f64>;

/// The same with a gradient of the output in, output and gradients out, perhaps with roundings.
type Run<'a> = &'a dyn Fn(&Parameters, &ArrayD<f64>, &ArrayD<f64>, Rounded<'_>) -> Pass;

/// Size of the artificial roundings, against which the roundings of f64 (2⁻⁵³) vanish.
const COARSE: f64 = 1.0 / (1_u64 << 40) as f64;

/// How far `⟨g, output⟩` can move under the roundings of f64: the largest of ten draws with one coarse rounding per
/// node, scaled down to 2⁻⁵², times 8, since a layer is itself dozens of roundings.
fn measured_spread(
    run: Run<'_>,
    parameters: &Parameters,
    x: &ArrayD<f64>,
    g: &ArrayD<f64>,
    stream: &Stream,
) -> f64 {
    let exact = run(parameters, x, g, None).output;
    let worst = (0..10)
        .map(|_| {
            let rounding = |v: f64| v * (1.0 + COARSE * stream.next());
            let moved = run(parameters, x, g, Some(&rounding)).output;
            inner(&g.mapv(f64::abs), &(moved - &exact).mapv(f64::abs))
        })
        .fold(0.0, |m: f64, v| if v > m || v.is_nan() { v } else { m });
    8.0 * worst / COARSE * f64::EPSILON
}

/// Gradients of the input and of every parameter, each in one direction, against differences.
fn check_gradients(
    forward: Forward<'_>,
    run: Run<'_>,
    parameters: &Parameters,
    x: &ArrayD<f64>,
    g: &ArrayD<f64>,
    stream: &Stream,
) -> Result<(), TestCaseError> {
    let pass = run(parameters, x, g, None);
    prop_assert!(
        pass.grad_parameters.keys().eq(parameters.keys()),
        "a gradient for every parameter"
    );
    let spread = measured_spread(run, parameters, x, g, stream);
    let value = |parameters: &Parameters, x: &ArrayD<f64>| inner(g, &forward(parameters, x));
    let v = stream.array(x.shape());
    let own = |d: &ArrayD<f64>| 1e-12 * d.mapv(f64::abs).sum();
    let along = |s: f64| value(parameters, &(x + &(&v * s)));
    check_derivative(
        along,
        inner(&pass.grad_input, &v),
        spread,
        own(&pass.grad_input),
    )?;
    for (name, d) in &pass.grad_parameters {
        let v = stream.array(d.shape());
        let along = |s: f64| {
            let mut moved = parameters.clone();
            moved
                .get_mut(name)
                .expect("the same names")
                .scaled_add(s, &v);
            value(&moved, x)
        };
        check_derivative(along, inner(d, &v), spread, own(d))
            .map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
    }
    Ok(())
}

fn denoiser_run<'a>(
    network: &'a dyn Denoiser,
    condition: Condition<'a>,
) -> impl Fn(&Parameters, &ArrayD<f64>, &ArrayD<f64>, Rounded<'_>) -> Pass + 'a {
    move |parameters, x, g, rounding| {
        match rounding {
            None => network.forward_backward(parameters, x, condition, g),
            Some(rounding) => {
                network.forward_backward_rounded(parameters, x, condition, g, rounding)
            }
        }
        .expect(FITS)
    }
}

/// Two samples of different noise level and class.
const CONDITION: Condition<'_> = Condition::new(&[-0.75, 0.5], Some(&[2, 0]));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn unet_gradients_match_differences(seed: u64) {
        let stream = Stream::new(seed);
        let parameters = stream.parameters(&unet().parameter_shapes().expect("a valid configuration"));
        let (x, g) = (stream.array(&[2, 1, 4, 4]), stream.array(&[2, 1, 4, 4]));
        let forward = |p: &Parameters, x: &ArrayD<f64>| unet().forward(p, x, CONDITION).expect(FITS);
        check_gradients(&forward, &denoiser_run(&unet(), CONDITION), &parameters, &x, &g, &stream)?;
    }

    #[test]
    fn dit_gradients_match_differences(seed: u64) {
        let stream = Stream::new(seed);
        let parameters = stream.parameters(&dit().parameter_shapes().expect("a valid configuration"));
        let (x, g) = (stream.array(&[2, 1, 4, 4]), stream.array(&[2, 1, 4, 4]));
        let forward = |p: &Parameters, x: &ArrayD<f64>| dit().forward(p, x, CONDITION).expect(FITS);
        check_gradients(&forward, &denoiser_run(&dit(), CONDITION), &parameters, &x, &g, &stream)?;
    }

    #[test]
    fn encoder_gradients_match_differences(seed: u64) {
        let stream = Stream::new(seed);
        let parameters = stream.parameters(&encoder().parameter_shapes().expect("a valid configuration"));
        let (x, g) = (stream.array(&[2, 1, 4, 4]), stream.array(&[2, 2]));
        let run = |p: &Parameters, x: &ArrayD<f64>, g: &ArrayD<f64>, rounding: Rounded<'_>| match rounding {
            None => encoder().forward_backward(p, x, Head::Logits, g),
            Some(rounding) => encoder().forward_backward_rounded(p, x, Head::Logits, g, rounding),
        }.expect(FITS);
        let forward = |p: &Parameters, x: &ArrayD<f64>| encoder().forward(p, x, Head::Logits).expect(FITS);
        check_gradients(&forward, &run, &parameters, &x, &g, &stream)?;
    }

    /// A batch is its samples, one by one: no sample sees another.
    #[test]
    fn samples_do_not_see_each_other(seed: u64) {
        let stream = Stream::new(seed);
        let networks: [&dyn Denoiser; 2] = [&unet(), &dit()];
        for network in networks {
            let parameters = stream.parameters(&network.parameter_shapes().expect("a valid configuration"));
            let x = stream.array(&[2, 1, 4, 4]);
            let together = network.forward(&parameters, &x, CONDITION).expect(FITS);
            for n in 0..2 {
                let alone = Condition::new(&CONDITION.noise[n..=n], CONDITION.labels.map(|l| &l[n..=n]));
                let one = x.select(Axis(0), &[n]);
                let y = network.forward(&parameters, &one, alone).expect(FITS);
                let difference = &y.index_axis(Axis(0), 0) - &together.index_axis(Axis(0), n);
                prop_assert!(difference.iter().all(|d| d.abs() <= 1e-12));
            }
        }
    }

    /// The noise level and the class both reach the output, and no label means the last row of the table.
    #[test]
    fn the_condition_is_used(seed: u64) {
        let stream = Stream::new(seed);
        let networks: [&dyn Denoiser; 2] = [&unet(), &dit()];
        for network in networks {
            let parameters = stream.parameters(&network.parameter_shapes().expect("a valid configuration"));
            let x = stream.array(&[1, 1, 4, 4]);
            let y = |n: f64, labels: Option<&[u32]>| {
                network.forward(&parameters, &x, Condition::new(&[n], labels)).expect(FITS)
            };
            prop_assert_eq!(y(0.5, None), y(0.5, Some(&[2])));
            prop_assert_ne!(y(0.5, None), y(0.5, Some(&[1])));
            prop_assert_ne!(y(0.5, None), y(0.25, None));
        }
    }
}

/// Small autoencoders: a name and a configuration.
const AUTOENCODERS: [(&str, &str); 4] = [
    (
        "autoencoder-kl",
        "in_channels = 1\nout_channels = 2\nlatent_channels = 1\nblock_out_channels = [2, 4]\nlayers_per_block = 1\nnorm_num_groups = 1",
    ),
    (
        "autoencoder-kl",
        "in_channels = 1\nout_channels = 1\nlatent_channels = 2\nblock_out_channels = [2]\nlayers_per_block = 1\nnorm_num_groups = 2\n\
         mid_block_add_attention = false\nuse_quant_conv = false\nuse_post_quant_conv = false",
    ),
    (
        "autoencoder-tiny",
        "in_channels = 1\nout_channels = 2\nlatent_channels = 1\nencoder_block_out_channels = [2, 2]\ndecoder_block_out_channels = [2, 2]\n\
         num_encoder_blocks = [0, 1]\nnum_decoder_blocks = [1, 0]",
    ),
    (
        "autoencoder-tiny",
        "in_channels = 1\nout_channels = 1\nlatent_channels = 1\nencoder_block_out_channels = [2]\ndecoder_block_out_channels = [2]\n\
         num_encoder_blocks = [1]\nnum_decoder_blocks = [1]\nuse_midblock_gn = true",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Both halves of each, where no rectifier is so near its kink that a difference steps over it.
    #[test]
    fn autoencoder_gradients_match_differences(seed: u64) {
        for (name, config) in AUTOENCODERS {
            let built = autoencoder(name, &config.parse().expect("TOML")).expect("known");
            for half in [Half::Encode, Half::Decode] {
                let shapes = built.shapes_of(half).expect("a valid configuration");
                let [[image, ..], [latent, ..]] = built.smallest();
                let shape = match half {
                    Half::Encode => [1, image, 4, 4],
                    Half::Decode => [1, latent, 2, 2],
                };
                let stream = Stream::new(seed);
                let (parameters, x) = loop {
                    let (parameters, x) = (stream.parameters(&shapes), stream.array(&shape));
                    let mut graph = Graph::new(&parameters);
                    let input = graph.input(x.clone());
                    built.build(&mut graph, half, input).expect(FITS);
                    if graph.nearest_kink() > 1.0 / 64.0 {
                        break (parameters, x);
                    }
                };
                let forward = |p: &Parameters, x: &ArrayD<f64>| built.forward(p, half, x).expect(FITS);
                let run = |p: &Parameters, x: &ArrayD<f64>, g: &ArrayD<f64>, rounding: Rounded<'_>| {
                    built.forward_backward(p, half, x, g, rounding).expect(FITS)
                };
                let g = stream.array(forward(&parameters, &x).shape());
                check_gradients(&forward, &run, &parameters, &x, &g, &stream)?;
            }
        }
    }

    /// Means are halves, deviations are positive and bounded, and a draw without noise is the scaled mean.
    #[test]
    fn moments_say_a_law(seed: u64) {
        let stream = Stream::new(seed);
        let moments = stream.array(&[2, 4, 1, 3]) * 100.0;
        let latent = gaussian_latent(&moments).expect(FITS);
        prop_assert_eq!(&latent.mean, &moments.slice_axis(Axis(1), (0..2).into()));
        let [least, most] = [-15.0_f64, 10.0].map(f64::exp);
        prop_assert!(latent.std.iter().all(|std| (least..=most).contains(std)));
        let none = ArrayD::zeros(latent.mean.raw_dim());
        let drawn = scaled_latent(&latent, &none, [0.5, 3.0]).expect(FITS);
        prop_assert_eq!(drawn, (&latent.mean - 3.0) * 0.5);
        let unit = ArrayD::ones(latent.mean.raw_dim());
        let moved = scaled_latent(&latent, &unit, [1.0, 0.0]).expect(FITS) - &latent.mean;
        for (moved, std) in moved.iter().zip(&latent.std) {
            prop_assert!((moved - std).abs() <= 1e-12 * std.max(100.0));
        }
    }
}

#[test]
fn autoencoders_refuse_what_is_not_theirs() {
    let built = |name: &str, config: &str| autoencoder(name, &config.parse().expect("TOML"));
    let refused = |name: &str, config: &str| {
        let shapes = built(name, config).and_then(|built| built.parameter_shapes());
        shapes.expect_err("impossible").to_string()
    };
    assert!(refused("autoencoder-large", "").contains("autoencoder-tiny"));
    assert!(refused("autoencoder-kl", "channels = 1").contains("channels"));
    assert!(refused("autoencoder-kl", "act_fn = \"relu\"").contains("act_fn"));
    assert!(refused("autoencoder-kl", "norm_num_groups = 3").contains("norm_num_groups"));
    let uneven = "encoder_block_out_channels = [2, 2, 2, 3]";
    assert!(refused("autoencoder-tiny", uneven).contains("encoder_block_out_channels"));
    gaussian_latent(&ArrayD::zeros(IxDyn(&[1, 3, 1, 1]))).expect_err("odd");
    let latent = gaussian_latent(&ArrayD::zeros(IxDyn(&[1, 2, 1, 1]))).expect(FITS);
    scaled_latent(&latent, &ArrayD::zeros(IxDyn(&[1, 2, 1, 1])), [1.0, 0.0]).expect_err("noise");
}

fn zeroed(mut parameters: Parameters, is_zero: impl Fn(&str) -> bool) -> Parameters {
    for (name, value) in &mut parameters {
        if is_zero(name) {
            value.fill(0.0);
        }
    }
    parameters
}

#[test]
fn a_zero_output_layer_gives_zero_output() {
    let stream = Stream::new(7);
    let x = stream.array(&[2, 1, 4, 4]);
    for (network, last) in [
        (&unet() as &dyn Denoiser, "conv_out"),
        (&dit(), "final.linear"),
    ] {
        let shapes = network.parameter_shapes().expect("a valid configuration");
        let parameters = zeroed(stream.parameters(&shapes), |name| name.starts_with(last));
        let y = network.forward(&parameters, &x, CONDITION).expect(FITS);
        assert_eq!(y, ArrayD::<f64>::zeros(x.raw_dim()));
    }
}

/// adaLN-zero: with `ada` zero every gate is closed, so only `ada` itself learns inside a block.
#[test]
fn closed_gates_silence_the_block() {
    let stream = Stream::new(8);
    let x = stream.array(&[2, 1, 4, 4]);
    let shapes = dit().parameter_shapes().expect("a valid configuration");
    let parameters = zeroed(stream.parameters(&shapes), |name| {
        name.starts_with("block.0.ada")
    });
    let pass = dit()
        .forward_backward(&parameters, &x, CONDITION, &x)
        .expect(FITS);
    for (name, d) in pass
        .grad_parameters
        .iter()
        .filter(|(name, _)| name.starts_with("block.0."))
    {
        let silent = d.iter().all(|d| d.abs() <= 0.0);
        assert_eq!(silent, !name.contains("ada"), "{name}");
    }
}

/// The names and shapes that the two implementations share.
#[test]
fn parameter_names_are_the_agreed_ones() {
    let names = |shapes: BTreeMap<String, Vec<usize>>| {
        let text: Vec<String> = shapes
            .iter()
            .map(|(name, shape)| format!("{name} {shape:?}"))
            .collect();
        text
    };
    let affine = |name: &str, weight: &str, out: usize| {
        [
            format!("{name}.bias [{out}]"),
            format!("{name}.weight {weight}"),
        ]
    };
    let block = |name: &str, cin: usize, cout: usize| {
        let mut all = vec![
            affine(
                &format!("{name}.conv1"),
                &format!("[{cout}, {cin}, 3, 3]"),
                cout,
            ),
            affine(
                &format!("{name}.conv2"),
                &format!("[{cout}, {cout}, 3, 3]"),
                cout,
            ),
            affine(
                &format!("{name}.emb"),
                &format!("[{}, 3]", 2 * cout),
                2 * cout,
            ),
            affine(&format!("{name}.norm1"), &format!("[{cin}]"), cin),
            affine(&format!("{name}.norm2"), &format!("[{cout}]"), cout),
        ];
        if cin != cout {
            all.push(affine(
                &format!("{name}.skip"),
                &format!("[{cout}, {cin}, 1, 1]"),
                cout,
            ));
        }
        all.concat()
    };
    let attention = |name: &str, c: usize| {
        [
            affine(&format!("{name}.norm"), &format!("[{c}]"), c),
            affine(&format!("{name}.proj"), &format!("[{c}, {c}]"), c),
            affine(&format!("{name}.qkv"), &format!("[{}, {c}]", 3 * c), 3 * c),
        ]
        .concat()
    };
    let mut want = [
        vec!["class.weight [3, 3]".to_owned()],
        affine("conv_in", "[2, 1, 3, 3]", 2).to_vec(),
        affine("conv_out", "[1, 2, 3, 3]", 1).to_vec(),
        block("down.0.block.0", 2, 2),
        attention("down.1.attn.0", 4),
        block("down.1.block.0", 2, 4),
        attention("mid.attn", 4),
        block("mid.block.0", 4, 4),
        block("mid.block.1", 4, 4),
        affine("norm_out", "[2]", 2).to_vec(),
        affine("time.0", "[3, 4]", 3).to_vec(),
        affine("time.1", "[3, 3]", 3).to_vec(),
        block("up.0.block.0", 6, 2),
        attention("up.1.attn.0", 4),
        block("up.1.block.0", 8, 4),
        affine("up.1.conv", "[4, 4, 3, 3]", 4).to_vec(),
    ]
    .concat();
    want.sort();
    assert_eq!(names(unet().parameter_shapes().expect("valid")), want);

    let mut want = vec!["class.weight [3, 4]".to_owned()];
    for i in 0..2 {
        want.extend(affine(&format!("block.{i}.ada"), "[24, 4]", 24));
        want.extend(affine(&format!("block.{i}.attn.proj"), "[4, 4]", 4));
        want.extend(affine(&format!("block.{i}.attn.qkv"), "[12, 4]", 12));
        want.extend(affine(&format!("block.{i}.mlp.0"), "[8, 4]", 8));
        want.extend(affine(&format!("block.{i}.mlp.1"), "[4, 8]", 4));
    }
    want.extend(affine("final.ada", "[8, 4]", 8));
    want.extend(affine("final.linear", "[4, 4]", 4));
    want.extend(affine("patch", "[4, 4]", 4));
    want.extend(affine("time.0", "[4, 4]", 4));
    want.extend(affine("time.1", "[4, 4]", 4));
    want.sort();
    assert_eq!(names(dit().parameter_shapes().expect("valid")), want);

    let mut want = [
        affine("classifier", "[2, 3]", 2),
        affine("conv.0", "[2, 2, 3, 3]", 2),
        affine("conv.1", "[4, 2, 3, 3]", 4),
        affine("conv_in", "[2, 1, 3, 3]", 2),
        affine("features", "[3, 4]", 3),
        affine("norm.0", "[2]", 2),
        affine("norm.1", "[2]", 2),
        affine("norm_out", "[4]", 4),
    ]
    .concat();
    want.sort();
    assert_eq!(names(encoder().parameter_shapes().expect("valid")), want);
}

/// The classifier is a linear map of the features.
#[test]
fn logits_are_linear_in_the_features() {
    let stream = Stream::new(9);
    let parameters = stream.parameters(&encoder().parameter_shapes().expect("valid"));
    let x = stream.array(&[3, 1, 8, 8]);
    let psi = encoder()
        .forward(&parameters, &x, Head::Features)
        .expect(FITS);
    let logits = encoder()
        .forward(&parameters, &x, Head::Logits)
        .expect(FITS);
    let (weight, bias) = (
        &parameters["classifier.weight"],
        &parameters["classifier.bias"],
    );
    assert_eq!(psi.shape(), &[3, 3]);
    assert_eq!(
        logits,
        sadm_reference::nn::linear(&psi, weight, bias).expect("the shapes fit")
    );
}

/// A value used twice collects both gradients: d(x·x + x)/dx = 2x + 1.
#[test]
fn shared_nodes_accumulate() {
    let none = Parameters::new();
    let mut graph = Graph::new(&none);
    let x = graph.input(ArrayD::from_elem(IxDyn(&[1]), 3.0));
    let square = graph.mul(x, x).expect("one shape");
    let y = graph.add(square, x).expect("one shape");
    let grads = graph
        .backward(y, &ArrayD::ones(IxDyn(&[1])))
        .expect("one shape");
    assert!((grads.of(&graph, x)[[0]] - 7.0).abs() < 1e-15);
}

/// The message of an error, which must be one.
fn message<T>(result: Result<T, NetworkError>) -> String {
    result
        .err()
        .map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

#[track_caller]
fn assert_says(message: &str, what: &str) {
    assert!(message.contains(what), "`{message}` does not say `{what}`");
}

#[test]
fn parameters_that_do_not_fit_are_named() {
    let stream = Stream::new(10);
    let shapes = unet().parameter_shapes().expect("valid");
    let good = stream.parameters(&shapes);
    let x = stream.array(&[2, 1, 4, 4]);
    let said = |parameters: &Parameters| message(unet().forward(parameters, &x, CONDITION));
    let mut bad = good.clone();
    bad.remove("mid.attn.qkv.bias");
    assert_says(&said(&bad), "parameter `mid.attn.qkv.bias` is missing");
    assert_says(
        &message(check_parameters(&bad, &shapes)),
        "parameter `mid.attn.qkv.bias` is missing",
    );
    bad.insert("mid.attn.qkv.bias".to_owned(), ArrayD::zeros(IxDyn(&[5])));
    assert_says(
        &said(&bad),
        "`mid.attn.qkv.bias` must have shape [12], got [5]",
    );
    assert_says(
        &message(check_parameters(&bad, &shapes)),
        "must have shape [12], got [5]",
    );

    assert_eq!(check_parameters(&good, &shapes), Ok(()));
    let mut extra = good.clone();
    extra.insert("mid.extra".to_owned(), ArrayD::zeros(IxDyn(&[1])));
    assert_says(
        &message(check_parameters(&extra, &shapes)),
        "`mid.extra` is not part of the network",
    );
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let stream = Stream::new(11);
    let parameters = stream.parameters(&unet().parameter_shapes().expect("valid"));
    let x = stream.array(&[2, 1, 4, 4]);
    let image =
        |shape: &[usize]| message(unet().forward(&parameters, &stream.array(shape), CONDITION));
    assert_says(
        &image(&[2, 3, 4, 4]),
        "must have shape [B, 1, H, W], got [2, 3, 4, 4]",
    );
    assert_says(
        &image(&[2, 1, 4]),
        "must have shape [B, 1, H, W], got [2, 1, 4]",
    );
    assert_says(&image(&[2, 1, 5, 4]), "image side must be even, got 5");

    let told = |noise: &[f64], labels: Option<&[u32]>| {
        message(unet().forward(&parameters, &x, Condition::new(noise, labels)))
    };
    assert_says(
        &told(&[0.0], None),
        "number of noise levels must be the batch size 2, got 1",
    );
    assert_says(
        &told(&[0.0, 1.0], Some(&[0])),
        "number of labels must be the batch size 2, got 1",
    );
    assert_says(
        &told(&[0.0, 1.0], Some(&[0, 3])),
        "index must be below the 3 rows",
    );
    let augment = stream.array(&[2, 9]);
    let augmented = Condition {
        augment: Some(&augment),
        ..CONDITION
    };
    assert_says(
        &message(unet().forward(&parameters, &x, augmented)),
        "knows no augmentation labels, but 9 a sample were given",
    );
    let soft = Condition {
        soft_labels: Some(&augment),
        ..CONDITION
    };
    assert_says(
        &message(unet().forward(&parameters, &x, soft)),
        "knows no weights of classes, but 9 a sample were given",
    );
    let without = UNet {
        classes: None,
        ..unet()
    };
    assert_says(
        &message(without.forward(&parameters, &x, CONDITION)),
        "the network has no classes",
    );

    let grad = unet().forward_backward(&parameters, &x, CONDITION, &stream.array(&[2, 1, 4, 2]));
    assert_says(
        &message(grad),
        "gradient of the output must have shape [2, 1, 4, 4], got [2, 1, 4, 2]",
    );
    let side = dit().forward(&parameters, &stream.array(&[2, 1, 8, 8]), CONDITION);
    assert_says(&message(side), "image side must be the configured 4, got 8");
}

/// What a name and a table give is the network of the same dimensions; other names, keys and types are refused.
#[test]
fn networks_are_built_by_name() {
    let domain = Domain {
        channels: 1,
        size: 4,
        classes: Some(2),
        augment: 0,
    };
    let dimensions: toml::Table = "channels = [2, 4]\nblocks = 1\nattention = [1]\nheads = 2\n\
         groups = 2\nemb_dim = 3\ntime_dim = 4"
        .parse()
        .expect("TOML");
    let by_name = build("unet", &dimensions, domain).expect("it exists");
    assert_eq!(by_name.parameter_shapes(), unet().parameter_shapes());
    let unconditional = Domain {
        classes: None,
        ..domain
    };
    let shapes = build("unet", &dimensions, unconditional).and_then(|n| n.parameter_shapes());
    assert!(!shapes.expect("valid").contains_key("class.weight"));
    let said = |name, dimensions| message(build(name, dimensions, domain).map(|_| ()));
    assert_says(
        &said("vit", &dimensions),
        "network must be one of unet, dit-small, dit, sit, song-unet, dhariwal-unet, adm, got `vit`",
    );
    assert_says(&said("dit-small", &dimensions), "unknown field `attention`");
    let mut wrong = dimensions.clone();
    wrong.insert("heads".to_owned(), toml::Value::from(-2));
    assert_says(&said("unet", &wrong), "heads");
}

#[test]
fn impossible_configurations_are_refused() {
    let said = |network: &dyn Denoiser| message(network.parameter_shapes());
    assert_says(
        &said(&UNet {
            attention: vec![2],
            ..unet()
        }),
        "attention level must be one of the levels, got 2",
    );
    assert_says(
        &said(&UNet {
            channels: vec![],
            ..unet()
        }),
        "number of levels must be at least 1",
    );
    assert_says(
        &said(&UNet { heads: 3, ..unet() }),
        "heads must be a divisor of the 4 channels, got 3",
    );
    let groups = UNet {
        channels: vec![3],
        attention: vec![],
        ..unet()
    };
    assert_says(
        &said(&groups),
        "groups must be a divisor of the 3 channels, got 2",
    );
    assert_says(
        &said(&DitSmall { patch: 3, ..dit() }),
        "patch must be a divisor of the image side 4, got 3",
    );
    assert_says(
        &said(&DitSmall { dim: 6, ..dit() }),
        "dim must be a positive multiple of 4, got 6",
    );
    assert_says(
        &said(&DitSmall {
            time_dim: 3,
            ..dit()
        }),
        "dim must be even and at least 2, got 3",
    );
    let encoder = Encoder {
        widths: vec![],
        ..encoder()
    };
    assert_says(
        &message(encoder.parameter_shapes()),
        "number of widths must be at least 1",
    );
}
