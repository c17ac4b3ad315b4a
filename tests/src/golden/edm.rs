//! The published networks of EDM, and ADM with its other names.

use ndarray::ArrayD;
use sadm_gpu::network as gpu;
use sadm_gpu::params::Params;
use sadm_reference::network::graph::{Graph, Value};
use sadm_reference::network::{self as exact, NetworkError, Parameters};
use serde_json::Value as Json;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    Arrays, Network, OUTPUT, array, candle, close, folders, gradients, json, load, networks,
    numbers, of_candle, of_reference, reference, tensor, tensors,
};

/// A pass of a network of these dimensions, weights and inputs.
type Engine = fn(&str, &toml::Table, &Arrays, &ArrayD<f64>, &Told) -> ArrayD<f64>;

/// The registered name of a published class.
fn name_of(class: &str) -> &'static str {
    match class {
        "SongUNet" => "song-unet",
        "DhariwalUNet" => "dhariwal-unet",
        other => panic!("no network is called {other}"),
    }
}

/// What a network is told beside the image.
#[derive(Clone)]
struct Told {
    noise: Vec<f64>,
    classes: Option<ArrayD<f64>>,
    augment: Option<ArrayD<f64>>,
}

impl Told {
    fn of(io: &Arrays) -> Self {
        Self {
            noise: numbers(&io["noise_labels"]),
            classes: io.get("class_labels").cloned(),
            augment: io.get("augment_labels").cloned(),
        }
    }

    fn exact(&self) -> exact::Condition<'_> {
        exact::Condition {
            soft_labels: self.classes.as_ref(),
            augment: self.augment.as_ref(),
            ..exact::Condition::new(&self.noise, None)
        }
    }
}

/// Calls `f` with the condition on the training system.
fn on_candle<T>(told: &Told, f: impl FnOnce(&gpu::Condition<'_>) -> T) -> T {
    let [classes, augment] = [&told.classes, &told.augment].map(|x| x.as_ref().map(tensor));
    f(&gpu::Condition {
        soft_labels: classes.as_ref(),
        augment: augment.as_ref(),
        ..gpu::Condition::new(&told.noise, None)
    })
}

#[test]
fn outputs_and_gradients_are_the_published_ones() {
    for network in networks("edm") {
        let Network { what, io, .. } = &network;
        let (name, told) = (name_of(&network.class), Told::of(io));
        let exact = reference(name, &network);
        let pass = exact.forward_backward(&network.weights, &io["x"], told.exact(), &io["probe"]);
        let (output, grads) = of_reference(pass.expect("it fits"));
        close(
            &format!("{what}: reference"),
            &output,
            &io["output"],
            OUTPUT,
        );
        gradients(&format!("{what}: reference"), &grads, io);

        let (params, built) = candle(name, &network);
        let run = |x: &Tensor, told: &Told| {
            on_candle(told, |at| built.forward(x, at, gpu::Mode::Evaluate)).expect("it fits")
        };
        let (output, grads) = of_candle(&params, &io["x"], &io["probe"], |x| run(x, &told));
        close(&format!("{what}: candle"), &output, &io["output"], OUTPUT);
        gradients(&format!("{what}: candle"), &grads, io);

        let mut others = Vec::new();
        if let Some(want) = io.get("output.no_augment") {
            others.push((
                want,
                Told {
                    augment: None,
                    ..told.clone()
                },
            ));
        }
        if let Some(want) = io.get("output.zero_labels") {
            let zeros = told.classes.as_ref().map(|rows| rows * 0.0);
            // No labels at all say the same.
            for classes in [zeros, None] {
                others.push((
                    want,
                    Told {
                        classes,
                        ..told.clone()
                    },
                ));
            }
        }
        for (want, told) in others {
            let got = exact.forward(&network.weights, &io["x"], told.exact());
            close(
                &format!("{what}: reference, less told"),
                &got.expect("it fits"),
                want,
                OUTPUT,
            );
            let got = run(&tensor(&io["x"]), &told);
            close(
                &format!("{what}: candle, less told"),
                &array(&got),
                want,
                OUTPUT,
            );
        }
    }
}

/// Labels by number are rows with a single 1, and the number of classes itself is "no class".
#[test]
fn numbers_of_classes_are_rows_of_weights() {
    for network in networks("edm") {
        let Network { what, io, .. } = &network;
        let Some(rows) = io.get("class_labels") else {
            continue;
        };
        let classes = rows.shape()[1];
        let labels = [1, u32::try_from(classes).expect("few")];
        let mut hard = rows * 0.0;
        hard[[0, 1]] = 1.0;
        let told = Told {
            classes: Some(hard),
            augment: None,
            ..Told::of(io)
        };
        let exact = reference(name_of(&network.class), &network);
        let want = exact
            .forward(&network.weights, &io["x"], told.exact())
            .expect("it fits");
        let by_number = exact::Condition::new(&told.noise, Some(&labels));
        let got = exact
            .forward(&network.weights, &io["x"], by_number)
            .expect("it fits");
        close(&format!("{what}: reference"), &got, &want, 1e-15);
        let (_, built) = candle(name_of(&network.class), &network);
        let by_number = gpu::Condition::new(&told.noise, Some(&labels));
        let got = built.forward(&tensor(&io["x"]), &by_number, gpu::Mode::Evaluate);
        close(
            &format!("{what}: candle"),
            &array(&got.expect("it fits")),
            &want,
            OUTPUT,
        );
    }
}

/// A filter other than that of the configuration is refused by both.
#[test]
fn another_resampling_filter_is_refused() {
    let network = networks("edm").swap_remove(0);
    let name = name_of(&network.class);
    let mut weights = network.weights.clone();
    let filter = weights
        .keys()
        .find(|key| key.ends_with("resample_filter"))
        .cloned();
    let filter = filter.expect("it changes the resolution");
    weights.insert(filter.clone(), &weights[&filter] * 1.5);
    let told = Told::of(&network.io);
    let built = reference(name, &network);
    let refused = built
        .forward(&weights, &network.io["x"], told.exact())
        .expect_err("a refusal");
    assert!(refused.to_string().contains(&filter), "{refused}");
    let params = Params::new(&Device::Cpu, DType::F64, 0);
    let _built = gpu::published(name, &network.config, params.builder()).expect("known");
    let given = weights
        .iter()
        .map(|(key, value)| (key.clone(), tensor(value)));
    let refused = params
        .load(&given.collect())
        .expect_err("a refusal")
        .to_string();
    assert!(
        refused.contains(&filter) && refused.contains("follows from the configuration"),
        "{refused}"
    );
}

/// What the metadata of a block says, with the published defaults.
struct Block<'a>(&'a Json);

impl Block<'_> {
    fn count(&self, key: &str) -> usize {
        let count = self.0["kwargs"][key].as_u64().expect("a number");
        usize::try_from(count).expect("a size")
    }
    fn flag(&self, key: &str, default: bool) -> bool {
        self.0["kwargs"][key].as_bool().unwrap_or(default)
    }
    fn number(&self, key: &str, default: f64) -> f64 {
        self.0["kwargs"][key].as_f64().unwrap_or(default)
    }
    fn taps(&self) -> Vec<f64> {
        let taps = self.0["kwargs"]["resample_filter"].as_array();
        taps.map_or_else(
            || vec![1.0, 1.0],
            |taps| taps.iter().filter_map(Json::as_f64).collect(),
        )
    }
    fn heads(&self) -> usize {
        usize::try_from(self.0["num_heads"].as_u64().expect("a number")).expect("a size")
    }
}

#[test]
fn blocks_and_convolutions_have_the_published_outputs_and_gradients() {
    for folder in folders("edm") {
        let cases = json(&folder.join("blocks.json"));
        let weights = tensors(&folder.join("blocks.weights.safetensors"));
        let io = tensors(&folder.join("blocks.io.safetensors"));
        for (case, about) in cases.as_object().expect("cases") {
            let part = |all: &Arrays| -> Arrays {
                let own = |(key, value): (&String, &ArrayD<f64>)| {
                    let key = key.strip_prefix(&format!("{case}."))?;
                    Some((key.to_owned(), value.clone()))
                };
                all.iter().filter_map(own).collect()
            };
            let (weights, io) = (part(&weights), part(&io));
            let block = Block(about);
            let passes = if about["cls"] == "UNetBlock" {
                [
                    reference_block(&block, &weights, &io),
                    candle_block(&block, &weights, &io),
                ]
            } else {
                [
                    reference_conv(&block, &weights, &io),
                    candle_conv(&block, &weights, &io),
                ]
            };
            for (engine, (output, grads)) in ["reference", "candle"].into_iter().zip(passes) {
                let what = format!("{case}: {engine}");
                close(&what, &output, &io["output"], OUTPUT);
                gradients(&what, &grads, &io);
            }
        }
    }
}

fn reference_resampling(block: &Block<'_>) -> exact::edm::Resampling {
    match (block.flag("down", false), block.flag("up", false)) {
        (true, _) => exact::edm::Resampling::Down,
        (_, true) => exact::edm::Resampling::Up,
        _ => exact::edm::Resampling::None,
    }
}

fn gpu_resampling(block: &Block<'_>) -> gpu::edm::Resampling {
    match (block.flag("down", false), block.flag("up", false)) {
        (true, _) => gpu::edm::Resampling::Down,
        (_, true) => gpu::edm::Resampling::Up,
        _ => gpu::edm::Resampling::None,
    }
}

/// Output and gradients by name.
type Pass = (ArrayD<f64>, Arrays);

/// One pass of what `build` appends, below the name `b`.
fn on_tape(
    weights: &Arrays,
    io: &Arrays,
    inputs: &[&str],
    build: impl FnOnce(&mut Graph<'_>, &[Value]) -> Result<Value, NetworkError>,
) -> Pass {
    let named = weights
        .iter()
        .map(|(key, value)| (format!("b.{key}"), value.clone()));
    let named: Parameters = named.collect();
    let mut graph = Graph::new(&named);
    let values: Vec<Value> = inputs
        .iter()
        .map(|name| graph.input(io[*name].clone()))
        .collect();
    let y = build(&mut graph, &values).expect("it fits");
    let grads = graph.backward(y, &io["probe"]).expect("a way back");
    let parameters = graph.parameters().iter();
    let parameters = parameters.map(|(name, &value)| (name.trim_start_matches("b."), value));
    let all = parameters.chain(inputs.iter().copied().zip(values));
    let gradients = all.map(|(name, value)| (name.to_owned(), grads.of(&graph, value)));
    (graph.value(y).clone(), gradients.collect())
}

fn reference_block(block: &Block<'_>, weights: &Arrays, io: &Arrays) -> Pass {
    let shape = exact::edm::UNetBlock {
        outputs: block.count("out_channels"),
        resampling: reference_resampling(block),
        taps: block.taps(),
        resample_proj: block.flag("resample_proj", false),
        heads: block.heads(),
        skip_scale: block.number("skip_scale", 1.0),
        eps: block.number("eps", 1e-5),
        adaptive_scale: block.flag("adaptive_scale", true),
    };
    on_tape(weights, io, &["x", "emb"], |graph, inputs| {
        graph.scope("b", |g| shape.build(g, inputs[0], inputs[1]))
    })
}

fn reference_conv(block: &Block<'_>, weights: &Arrays, io: &Arrays) -> Pass {
    let shape = exact::edm::Convolution {
        outputs: block.count("out_channels"),
        kernel: block.count("kernel"),
        resampling: reference_resampling(block),
        taps: block.taps(),
        fused: block.flag("fused_resample", false),
    };
    on_tape(weights, io, &["x"], |graph, inputs| {
        shape.build(graph, inputs[0], "b")
    })
}

/// What runs on inputs once its parameters have their values.
type Run = Box<dyn Fn(&[Tensor]) -> sadm_gpu::Result<Tensor>>;

/// One pass of what `build` makes on parameters.
fn on_device(
    weights: &Arrays,
    io: &Arrays,
    inputs: &[&str],
    build: impl FnOnce(&Params) -> sadm_gpu::Result<Run>,
) -> Pass {
    let params = Params::new(&Device::Cpu, DType::F64, 0);
    let run = build(&params).expect("it can be built");
    load(&params, weights);
    let variable = |name: &&str| Var::from_tensor(&tensor(&io[*name])).expect("a variable");
    let vars: Vec<Var> = inputs.iter().map(variable).collect();
    let given: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let output = run(&given).expect("it fits");
    let sum = (&output * tensor(&io["probe"])).and_then(|y| y.sum_all());
    let grads = sum.and_then(|sum| sum.backward()).expect("a gradient");
    let inputs = inputs.iter().map(|name| (*name).to_owned()).zip(vars);
    let gradient = |(name, var): (String, Var)| {
        let grad = grads
            .get(&var)
            .unwrap_or_else(|| panic!("no gradient of {name}"));
        (name, array(grad))
    };
    let gradients = params.vars().into_iter().chain(inputs).map(gradient);
    (array(&output), gradients.collect())
}

fn candle_block(block: &Block<'_>, weights: &Arrays, io: &Arrays) -> Pass {
    let shape = gpu::edm::BlockConfig {
        inputs: block.count("in_channels"),
        outputs: block.count("out_channels"),
        emb: block.count("emb_channels"),
        resampling: gpu_resampling(block),
        taps: block.taps(),
        resample_proj: block.flag("resample_proj", false),
        heads: block.heads(),
        skip_scale: block.number("skip_scale", 1.0),
        eps: block.number("eps", 1e-5),
        adaptive_scale: block.flag("adaptive_scale", true),
        dropout: 0.0,
    };
    on_device(weights, io, &["x", "emb"], |params| {
        let block = gpu::edm::UNetBlock::new(shape, "", &params.builder())?;
        Ok(Box::new(move |inputs| {
            block.forward(&inputs[0], &inputs[1], gpu::Mode::Evaluate)
        }))
    })
}

fn candle_conv(block: &Block<'_>, weights: &Arrays, io: &Arrays) -> Pass {
    let shape = gpu::edm::ConvolutionConfig {
        inputs: block.count("in_channels"),
        outputs: block.count("out_channels"),
        kernel: block.count("kernel"),
        resampling: gpu_resampling(block),
        taps: block.taps(),
        fused: block.flag("fused_resample", false),
    };
    on_device(weights, io, &["x"], |params| {
        let conv = gpu::edm::Convolution::new(shape, &params.builder())?;
        Ok(Box::new(move |inputs| conv.forward(&inputs[0])))
    })
}

/// Where EDM's name of a parameter of its ADM lies in guided diffusion, for two levels of sides 4 and 2,
/// one block each and attention at 4.
fn guided_name(key: &str) -> String {
    let blocks = [
        ("enc.4x4_block0", "input_blocks.1"),
        ("enc.2x2_down", "input_blocks.2"),
        ("enc.2x2_block0", "input_blocks.3"),
        ("dec.2x2_in0", "middle_block"),
        ("dec.2x2_in1", "middle_block.2"),
        ("dec.2x2_block0", "output_blocks.0"),
        ("dec.2x2_block1", "output_blocks.1"),
        ("dec.4x4_up", "output_blocks.1.1"),
        ("dec.4x4_block0", "output_blocks.2"),
        ("dec.4x4_block1", "output_blocks.3"),
    ];
    let parts = [
        ("norm0", "in_layers.0"),
        ("conv0", "in_layers.2"),
        ("affine", "emb_layers.1"),
        ("norm1", "out_layers.0"),
        ("conv1", "out_layers.3"),
        ("skip", "skip_connection"),
    ];
    let attention = [("norm2", "norm"), ("qkv", "qkv"), ("proj", "proj_out")];
    let whole = [
        ("map_layer0", "time_embed.0"),
        ("map_layer1", "time_embed.2"),
        ("map_label", "label_emb"),
        ("enc.4x4_conv", "input_blocks.0.0"),
        ("out_norm", "out.0"),
        ("out_conv", "out.2"),
    ];
    let (layer, kind) = key.rsplit_once('.').expect("a layer and what it is of it");
    if let Some((_, name)) = whole.iter().find(|(edm, _)| *edm == layer) {
        return format!("{name}.{kind}");
    }
    let (block, part) = layer.rsplit_once('.').expect("a block and its layer");
    let (_, name) = blocks
        .iter()
        .find(|(edm, _)| *edm == block)
        .expect("a known block");
    // A block that is one of several in its entry has its place in its name already.
    let alone = name.matches('.').count() + usize::from(*name == "middle_block") == 1;
    if let Some((_, part)) = attention.iter().find(|(edm, _)| *edm == part) {
        return format!("{name}.1.{part}.{kind}");
    }
    let (_, part) = parts
        .iter()
        .find(|(edm, _)| *edm == part)
        .expect("a known layer");
    if alone && *name != "middle_block.2" {
        return format!("{name}.0.{part}.{kind}");
    }
    format!("{name}.{part}.{kind}")
}

/// Rows ordered head, channel, (q, k, v) in an order of guided diffusion.
fn guided_rows(x: &ArrayD<f64>, heads: usize, new_order: bool) -> ArrayD<f64> {
    let (rows, columns) = (x.shape()[0], x.len() / x.shape()[0]);
    let width = rows / (3 * heads);
    let split = x
        .to_shape(vec![heads, width, 3, columns])
        .expect("rows of heads");
    let axes: &[usize] = if new_order {
        &[2, 0, 1, 3]
    } else {
        &[0, 2, 1, 3]
    };
    let ordered = split.permuted_axes(axes).as_standard_layout().into_owned();
    ordered
        .into_shape_with_order(vec![rows, columns])
        .expect("as many rows")
}

/// EDM's ADM and guided diffusion's are one network: on both engines its weights under the other names, with the rows of q, k, v
/// in either order, give the same image; renamed without this they do not.
#[test]
fn adm_is_the_network_of_edm_with_other_names_and_orders() {
    const HEADS: usize = 2;
    let edm: toml::Table = "img_resolution = 4\nin_channels = 1\nout_channels = 2\nlabel_dim = 3\nmodel_channels = 128\n\
        channel_mult = [1, 1]\nnum_blocks = 1\nattn_resolutions = [4]\n"
        .parse()
        .expect("TOML");
    let network = exact::published("dhariwal-unet", &edm).expect("known");
    let constants = network.constants().expect("possible");
    let mut shapes = network.parameter_shapes().expect("possible");
    shapes.retain(|key, _| !constants.contains_key(key));
    let mut weights = crate::checks::networks::parameters(5, &shapes);
    let x = crate::generators::seeded_normal(1, &[1, 1, 4, 4]);
    let told = Told {
        noise: vec![0.7],
        classes: Some(ndarray::arr2(&[[0.25, 0.0, 0.75]]).into_dyn()),
        augment: None,
    };
    let guided = |new_order: Option<bool>| -> Arrays {
        let renamed = |(key, value): (&String, &ArrayD<f64>)| {
            let mut value = value.clone();
            if key == "map_label.weight" {
                value = value.t().to_owned();
            }
            if let (true, Some(new)) = (key.contains(".qkv."), new_order) {
                value = guided_rows(&value, HEADS, new);
            }
            if key.contains(".qkv.") || key.contains(".proj.") {
                let shape = if key.ends_with("bias") {
                    vec![value.len()]
                } else {
                    vec![value.shape()[0], 128, 1]
                };
                value = value
                    .into_shape_with_order(shape)
                    .expect("kernels of one place");
            }
            (guided_name(key), value)
        };
        weights.iter().map(renamed).collect()
    };
    let dimensions = |new_order: bool| -> toml::Table {
        format!(
            "image_size = 4\nin_channels = 1\nout_channels = 2\nnum_classes = 3\nmodel_channels = 128\nchannel_mult = [1.0, 1.0]\n\
             num_res_blocks = 1\nattention_resolutions = [4]\nnum_head_channels = 64\nuse_new_attention_order = {new_order}\n"
        )
        .parse()
        .expect("TOML")
    };
    let [new, legacy, renamed] = [Some(true), Some(false), None].map(guided);
    weights.extend(constants);
    let engines: [(&str, Engine); 2] = [
        ("reference", |name, dimensions, weights, x, told| {
            let network = exact::published(name, dimensions).expect("known");
            network.forward(weights, x, told.exact()).expect("it fits")
        }),
        ("candle", |name, dimensions, weights, x, told| {
            let params = Params::new(&Device::Cpu, DType::F64, 0);
            let network = gpu::published(name, dimensions, params.builder()).expect("known");
            load(&params, weights);
            let run =
                |at: &gpu::Condition<'_>| network.forward(&tensor(x), at, gpu::Mode::Evaluate);
            array(&on_candle(told, run).expect("it fits"))
        }),
    ];
    for (engine, run) in engines {
        let want = run("dhariwal-unet", &edm, &weights, &x, &told);
        for (order, weights) in [(true, &new), (false, &legacy)] {
            let got = run("adm", &dimensions(order), weights, &x, &told);
            close(engine, &got, &want, 1e-12);
        }
        let other = run("adm", &dimensions(true), &renamed, &x, &told) - &want;
        let differs = other.iter().any(|d| d.abs() > 1e-3);
        assert!(differs, "{engine}: the order does not matter");
    }
}
