//! The published diffusion transformer.

use ndarray::{ArrayD, Axis};
use sadm_gpu::network::{self as gpu, Dit, DitConfig, Mode};
use sadm_gpu::params::Params;
use sadm_reference::network::graph::Graph;
use sadm_reference::network::{self as exact, Condition};

use super::{
    Network, OUTPUT, array, candle, close, gradients, labels, load, networks, numbers, of_candle,
    of_reference, reference, tensor,
};

/// Whether the network also predicts variances.
fn learns_sigma(network: &Network) -> bool {
    network.config["learn_sigma"].as_bool().expect("a flag")
}

#[test]
fn outputs_and_gradients_are_the_published_ones() {
    for network in networks("dit") {
        let Network { what, io, .. } = &network;
        let (t, y) = (numbers(&io["t"]), labels(&io["y"]));
        let at = Condition::new(&t, Some(&y));
        let built = reference("dit", &network);
        let pass = built.forward_backward(&network.weights, &io["x"], at, &io["probe"]);
        let (output, grads) = of_reference(pass.expect("it fits"));
        close(
            &format!("{what}: reference, output"),
            &output,
            &io["output"],
            OUTPUT,
        );
        gradients(&format!("{what}: reference"), &grads, io);

        let (params, built) = candle("dit", &network);
        let at = gpu::Condition::new(&t, Some(&y));
        let (output, grads) = of_candle(&params, &io["x"], &io["probe"], |x| {
            built.forward(x, &at, Mode::Evaluate).expect("it fits")
        });
        close(
            &format!("{what}: candle, output"),
            &output,
            &io["output"],
            OUTPUT,
        );
        gradients(&format!("{what}: candle"), &grads, io);

        let t = numbers(&io["t_fractional"]);
        let want = &io["output.t_fractional"];
        let at = Condition::new(&t, Some(&y));
        let got = reference("dit", &network).forward(&network.weights, &io["x"], at);
        close(
            &format!("{what}: reference, between steps"),
            &got.expect("fits"),
            want,
            OUTPUT,
        );
        let at = gpu::Condition::new(&t, Some(&y));
        let got = built.forward(&tensor(&io["x"]), &at, Mode::Evaluate);
        close(
            &format!("{what}: candle, between steps"),
            &array(&got.expect("fits")),
            want,
            OUTPUT,
        );
    }
}

#[test]
fn what_the_layers_make_is_the_published() {
    for network in networks("dit") {
        let Network { what, io, .. } = &network;
        let (t, y) = (numbers(&io["t"]), labels(&io["y"]));
        let mut graph = Graph::new(&network.weights);
        let x = graph.input(io["x"].clone());
        let built = reference("dit", &network);
        built
            .build(&mut graph, x, Condition::new(&t, Some(&y)))
            .expect("it fits");

        let params = Params::new(&candle_core::Device::Cpu, candle_core::DType::F64, 0);
        let config: DitConfig = network.config.clone().try_into().expect("its keys");
        let dit = Dit::new(&config, &params.builder()).expect("possible");
        load(&params, &network.weights);
        let mut seen = 0;
        let at = gpu::Condition::new(&t, Some(&y));
        dit.watched(&tensor(&io["x"]), &at, &mut |name, value| {
            if let Some(want) = io.get(&format!("act.{name}")) {
                seen += 1;
                close(
                    &format!("{what}: candle, {name}"),
                    &array(value),
                    want,
                    OUTPUT,
                );
                let got = graph.value(graph.noted()[name]);
                close(&format!("{what}: reference, {name}"), got, want, OUTPUT);
            }
            Ok(())
        })
        .expect("it fits");
        assert_eq!(
            seen,
            io.keys().filter(|name| name.starts_with("act.")).count(),
            "{what}"
        );
    }
}

/// SiT is the same network without the half of variances.
#[test]
fn velocities_are_the_first_half() {
    for network in networks("dit")
        .iter()
        .filter(|network| learns_sigma(network))
    {
        let Network { what, io, .. } = network;
        let (t, y) = (numbers(&io["t"]), labels(&io["y"]));
        let channels = io["x"].shape()[1];
        let want = io["output"]
            .slice_axis(Axis(1), (0..channels).into())
            .to_owned();
        let built = reference("sit", network);
        assert_eq!(built.out_channels(), channels);
        let got = built.forward(&network.weights, &io["x"], Condition::new(&t, Some(&y)));
        close(
            &format!("{what}: reference"),
            &got.expect("fits"),
            &want,
            OUTPUT,
        );
        let (_, built) = candle("sit", network);
        let at = gpu::Condition::new(&t, Some(&y));
        let got = built.forward(&tensor(&io["x"]), &at, Mode::Evaluate);
        close(
            &format!("{what}: candle"),
            &array(&got.expect("fits")),
            &want,
            OUTPUT,
        );
    }
}

/// The table of positions at the start, on both sides, is that of the files whose positions were not changed, rounded to f32.
#[test]
fn positions_start_as_published() {
    let mut compared = 0;
    for network in networks("dit") {
        let dit: exact::Dit = network.config.clone().try_into().expect("its keys");
        let want = &network.weights["pos_embed"];
        let exact: ArrayD<f64> = dit.positions().expect("possible");
        let params = Params::new(&candle_core::Device::Cpu, candle_core::DType::F64, 0);
        let _network = gpu::published("dit", &network.config, params.builder()).expect("known");
        let ours = array(&params.tensors()["pos_embed"]);
        close("both sides", &ours, &exact, 1e-15);
        let apart = (want - &exact).iter().all(|d| d.abs() < 1e-7);
        compared += usize::from(apart);
    }
    assert!(compared > 0, "no file keeps the positions of the start");
}

/// The reference lists the tensors of every named size as the training system makes them, without either making one.
#[test]
fn both_sides_have_the_tensors_of_the_named_sizes() {
    let mut compared = 0;
    for network in gpu::ARCHITECTURES
        .iter()
        .filter(|known| ["dit", "sit"].contains(&known.name))
    {
        for (size, text) in network.sizes {
            let config = text.parse().expect("TOML");
            let params = Params::outline();
            gpu::published(network.name, &config, params.builder()).expect("possible");
            let ours = params
                .shapes()
                .into_iter()
                .map(|(name, outlined)| (name, outlined.shape));
            let built = exact::published(network.name, &config).expect("possible");
            let listed = built.parameter_shapes().expect("possible");
            assert_eq!(
                ours.collect::<std::collections::BTreeMap<_, _>>(),
                listed,
                "{size}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 13);
}

/// Guidance of the first three channels, of four or of all three, on both sides; the state is the first half of what goes in.
#[test]
fn guided_outputs_are_the_published_ones() {
    let mut compared = 0;
    for network in networks("dit") {
        let Network { what, io, .. } = &network;
        let (t, y) = (numbers(&io["cfg.t"]), labels(&io["cfg.y"]));
        let x = &io["cfg.x"];
        let half = x.slice_axis(Axis(0), (0..x.len_of(Axis(0)) / 2).into());
        let x = ndarray::concatenate![Axis(0), half, half];
        let built = reference("dit", &network);
        let exact = built.forward(&network.weights, &x, Condition::new(&t, Some(&y)));
        let exact = exact.expect("it fits");
        let (_params, built) = candle("dit", &network);
        let at = gpu::Condition::new(&t, Some(&y));
        let fast = built
            .forward(&tensor(&x), &at, Mode::Evaluate)
            .expect("it fits");
        for (name, want) in io {
            let Some(scale) = name.strip_prefix("cfg.output.scale") else {
                continue;
            };
            compared += 1;
            let scale: f64 = scale.parse().expect("a number");
            let got = sadm_reference::gaussian::guided_pair(&exact, scale, 3).expect("pairs");
            close(&format!("{what}: reference, {name}"), &got, want, OUTPUT);
            let got = sadm_gpu::gaussian::guided_pair(&fast, scale, 3).expect("pairs");
            close(
                &format!("{what}: candle, {name}"),
                &array(&got),
                want,
                OUTPUT,
            );
            let all = sadm_gpu::gaussian::guided_pair(&fast, scale, exact.shape()[1]);
            let all = array(&all.expect("pairs"));
            let others = |x: &ArrayD<f64>| x.slice_axis(Axis(1), (3..).into()).to_owned();
            let moved = others(&all)
                .iter()
                .zip(&others(want))
                .any(|(a, b)| (a - b).abs() > 1e-3);
            let three = exact.shape()[1] == 3;
            assert!(
                three || moved || (scale - 1.0).abs() < 1e-9,
                "{what}: {name}, all channels"
            );
        }
    }
    assert!(compared > 0);
}
