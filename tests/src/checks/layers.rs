//! The layers, forward and backward, on the fused and on the composed path.

use candle_core::{Result as CandleResult, Tensor};
use ndarray::{ArrayD, Axis};
use proptest::prelude::*;
use sadm_gpu::nn::{self as gpu, composed};
use sadm_reference::{
    bound::{Precision, Tracked, nn as bound},
    nn::{self, Conv2dOptions, GROUP_NORM_EPS, LAYER_NORM_EPS},
};

use super::{differentiated, exact};
use crate::{
    case::Case,
    check::{Bounds, Check, Cost, Quantity, Values, bounds, scalar, values},
    engine::Place,
    error::{Error, Result},
    generators::{moderate, tensor_of},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let layers = [
        linear(),
        conv2d(),
        conv2d_by_tiles(),
        group_norm(),
        layer_norm(),
        layer_norm_affine(),
        gated_sum(),
        silu(),
        gelu(),
        softmax(),
        attention(),
        upsample(),
        avg_pool(),
        global_avg_pool(),
        embedding(),
        cross_entropy(),
    ];
    layers
        .into_iter()
        .flat_map(Layer::checks)
        .chain([time_features()])
        .collect()
}

/// A layer in the reference, its bound, and its one or two implementations in the training system.
struct Layer {
    name: &'static str,
    about: &'static str,
    inputs: &'static [&'static str],
    draws: fn() -> BoxedStrategy<Case>,
    reference: fn(&Case) -> Result<Values>,
    bound: fn(&Case, Precision) -> Result<Bounds>,
    cost: Cost,
    fused: fn(&Case, &[Tensor]) -> CandleResult<Tensor>,
    composed: Option<fn(&Case, &[Tensor]) -> CandleResult<Tensor>>,
}

impl Layer {
    /// `nn.NAME`, the path the device takes by itself, and `composed.NAME`, the one of other devices.
    fn checks(self) -> Vec<Box<dyn Check>> {
        let paths = [("nn", Some(self.fused)), ("composed", self.composed)];
        let check = |(family, f): (&str, Option<fn(&Case, &[Tensor]) -> CandleResult<Tensor>>)| {
            let f = f?;
            let quantity = Quantity::new(
                format!("{family}.{}", self.name),
                format!("{} and the gradients of Σ g·y", self.about),
                "sadm_reference::nn, with hand-derived backward",
            )
            .cost(self.cost)
            .draws(self.draws)
            .reference(self.reference)
            .bound(move |case, rule| (self.bound)(case, rule.compute))
            .candle(move |case, place| {
                differentiated(case, place, self.inputs, |inputs| Ok(f(case, inputs)?))
            });
            Some(quantity.boxed())
        };
        paths.into_iter().filter_map(check).collect()
    }
}

/// Tensors by name and shape, elements of ordinary size.
fn drawn(tensors: Vec<(&'static str, Vec<usize>)>) -> BoxedStrategy<Case> {
    let (names, shapes): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
    let all: Vec<BoxedStrategy<ArrayD<f64>>> = shapes
        .iter()
        .map(|shape| tensor_of(shape, moderate()))
        .collect();
    all.prop_map(move |drawn| {
        names
            .iter()
            .zip(drawn)
            .fold(Case::new(), |case, (name, x)| case.tensor(name, x))
    })
    .boxed()
}

/// One tensor x and its g, of a shape `[a, b]`.
fn matrix_and_g() -> BoxedStrategy<Case> {
    (1..=4_usize, 1..=6_usize)
        .prop_flat_map(|(a, b)| drawn(vec![("x", vec![a, b]), ("g", vec![a, b])]))
        .boxed()
}

fn get<'a, const N: usize>(case: &'a Case, names: [&str; N]) -> Result<[&'a ArrayD<f64>; N]> {
    let found = names
        .iter()
        .map(|name| case.get(name))
        .collect::<Result<Vec<_>>>()?;
    found
        .try_into()
        .map_err(|_| Error::Reference("as many tensors as names".to_owned()))
}

fn tracked<const N: usize>(case: &Case, names: [&str; N]) -> Result<[Tracked; N]> {
    let found = names
        .iter()
        .map(|name| exact(case, name))
        .collect::<Result<Vec<_>>>()?;
    found
        .try_into()
        .map_err(|_| Error::Reference("as many tensors as names".to_owned()))
}

fn indices(case: &Case, name: &str) -> Result<Vec<u32>> {
    let to_u32 = |&i: &u64| {
        u32::try_from(i).map_err(|_| Error::Parameter {
            name: name.to_owned(),
            must: "indices below 2³²",
            got: i.to_string(),
        })
    };
    case.get_counts(name)?.iter().map(to_u32).collect()
}

fn candle_indices(case: &Case, name: &str) -> CandleResult<Vec<u32>> {
    indices(case, name).map_err(candle_core::Error::wrap)
}

fn linear() -> Layer {
    Layer {
        name: "linear",
        about: "y = x Wᵀ + b",
        inputs: &["x", "weight", "bias"],
        draws: || {
            (1..=4_usize, 1..=6_usize, 1..=6_usize)
                .prop_flat_map(|(n, i, o)| {
                    drawn(vec![
                        ("x", vec![n, i]),
                        ("weight", vec![o, i]),
                        ("bias", vec![o]),
                        ("g", vec![n, o]),
                    ])
                })
                .boxed()
        },
        reference: |case| {
            let [x, weight, bias, g] = get(case, ["x", "weight", "bias", "g"])?;
            let grad = nn::linear_vjp(x, weight, g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::linear(x, weight, bias).map_err(Error::reference)?),
                ("grad_x", grad.x),
                ("grad_weight", grad.weight),
                ("grad_bias", grad.bias),
            ]))
        },
        bound: |case, p| {
            let [x, weight, bias, g] = tracked(case, ["x", "weight", "bias", "g"])?;
            let grad = bound::linear_vjp(&x, &weight, &g, p).map_err(Error::reference)?;
            Ok(bounds([
                (
                    "y",
                    bound::linear(&x, &weight, &bias, p).map_err(Error::reference)?,
                ),
                ("grad_x", grad.x),
                ("grad_weight", grad.weight),
                ("grad_bias", grad.bias),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::linear(&t[0], &t[1], Some(&t[2])),
        composed: Some(|_, t| composed::linear(&t[0], &t[1], Some(&t[2]))),
    }
}

fn padding(case: &Case) -> Result<Conv2dOptions> {
    Ok(Conv2dOptions {
        stride: 1,
        padding: case.get_count("padding")?,
    })
}

fn conv2d() -> Layer {
    Layer {
        name: "conv2d",
        about: "y = w ∗ x + b, 3×3 padded by 1 or 1×1",
        inputs: &["x", "weight", "bias"],
        draws: || {
            (
                1..=2_usize,
                1..=3_usize,
                1..=3_usize,
                1..=4_usize,
                1..=4_usize,
                any::<bool>(),
            )
                .prop_flat_map(|(b, c, o, h, w, wide)| {
                    let (k, padding) = if wide { (3, 1) } else { (1, 0) };
                    drawn(vec![
                        ("x", vec![b, c, h, w]),
                        ("weight", vec![o, c, k, k]),
                        ("bias", vec![o]),
                        ("g", vec![b, o, h, w]),
                    ])
                    .prop_map(move |case| case.count("padding", padding))
                })
                .boxed()
        },
        reference: conv2d_values,
        bound: |case, p| {
            let [x, weight, bias, g] = tracked(case, ["x", "weight", "bias", "g"])?;
            let options = padding(case)?;
            let grad = bound::conv2d_vjp(&x, &weight, &g, options, p).map_err(Error::reference)?;
            Ok(bounds([
                (
                    "y",
                    bound::conv2d(&x, &weight, &bias, options, p).map_err(Error::reference)?,
                ),
                ("grad_x", grad.x),
                ("grad_weight", grad.weight),
                ("grad_bias", grad.bias),
            ]))
        },
        cost: Cost::Cheap,
        fused: |case, t| gpu::conv2d(&t[0], &t[1], Some(&t[2]), candle_padding(case)?),
        composed: Some(|case, t| {
            composed::conv2d(&t[0], &t[1], Some(&t[2]), candle_padding(case)?)
        }),
    }
}

fn conv2d_values(case: &Case) -> Result<Values> {
    let [x, weight, bias, g] = get(case, ["x", "weight", "bias", "g"])?;
    let options = padding(case)?;
    let grad = nn::conv2d_vjp(x, weight, g, options).map_err(Error::reference)?;
    let y = nn::conv2d(x, weight, bias, options).map_err(Error::reference)?;
    Ok(values([
        ("y", y),
        ("grad_x", grad.x),
        ("grad_weight", grad.weight),
        ("grad_bias", grad.bias),
    ]))
}

/// As many channels as the fused convolution needs to go by tiles.
fn conv2d_by_tiles() -> Layer {
    const CHANNELS: usize = 32;
    Layer {
        name: "conv2d.tiles",
        about: "y = w ∗ x + b, 3×3 padded by 1, 32 channels: by tiles of 2×2 outputs",
        inputs: &["x", "weight", "bias"],
        draws: || {
            (1..=2_usize, 2..=4_usize, 2..=5_usize)
                .prop_flat_map(|(b, h, w)| {
                    drawn(vec![
                        ("x", vec![b, CHANNELS, h, w]),
                        ("weight", vec![CHANNELS, CHANNELS, 3, 3]),
                        ("bias", vec![CHANNELS]),
                        ("g", vec![b, CHANNELS, h, w]),
                    ])
                    .prop_map(|case| case.count("padding", 1))
                })
                .boxed()
        },
        reference: conv2d_values,
        bound: |case, p| {
            let [x, weight, bias, g] = tracked(case, ["x", "weight", "bias", "g"])?;
            let grad = bound::conv2d_winograd_vjp(&x, &weight, &g, p).map_err(Error::reference)?;
            let y = bound::conv2d_winograd(&x, &weight, &bias, p).map_err(Error::reference)?;
            Ok(bounds([
                ("y", y),
                ("grad_x", grad.x),
                ("grad_weight", grad.weight),
                ("grad_bias", grad.bias),
            ]))
        },
        cost: Cost::Heavy,
        fused: |_, t| gpu::conv2d(&t[0], &t[1], Some(&t[2]), 1),
        composed: None,
    }
}

fn candle_padding(case: &Case) -> CandleResult<usize> {
    case.get_count("padding").map_err(candle_core::Error::wrap)
}

/// Inputs of a normalisation: x with its γ, β and g.
fn normalised(shape: Vec<usize>, width: usize) -> BoxedStrategy<Case> {
    drawn(vec![
        ("x", shape.clone()),
        ("gamma", vec![width]),
        ("beta", vec![width]),
        ("g", shape),
    ])
}

fn missing(what: &str) -> Error {
    Error::Reference(format!("no gradient of {what}"))
}

fn group_norm() -> Layer {
    Layer {
        name: "group-norm",
        about: "y = γ (x − μ)/√(v + ε) + β over groups of channels and all pixels",
        inputs: &["x", "gamma", "beta"],
        draws: || {
            (
                1..=2_usize,
                1..=2_usize,
                1..=2_usize,
                1..=3_usize,
                2..=3_usize,
            )
                .prop_flat_map(|(b, groups, per_group, h, w)| {
                    let c = groups * per_group;
                    normalised(vec![b, c, h, w], c)
                        .prop_map(move |case| case.count("groups", groups))
                })
                .boxed()
        },
        reference: |case| {
            let [x, gamma, beta, g] = get(case, ["x", "gamma", "beta", "g"])?;
            let groups = case.get_count("groups")?;
            let grad = nn::group_norm_vjp(x, groups, gamma, g, GROUP_NORM_EPS)
                .map_err(Error::reference)?;
            let y =
                nn::group_norm(x, groups, gamma, beta, GROUP_NORM_EPS).map_err(Error::reference)?;
            Ok(values([
                ("y", y),
                ("grad_x", grad.x),
                ("grad_gamma", grad.gamma),
                ("grad_beta", grad.beta),
            ]))
        },
        bound: |case, p| {
            let [x, gamma, beta, g] = tracked(case, ["x", "gamma", "beta", "g"])?;
            let groups = case.get_count("groups")?;
            let grad = bound::group_norm_vjp(&x, groups, &gamma, &g, GROUP_NORM_EPS, p)
                .map_err(Error::reference)?;
            let y = bound::group_norm(&x, groups, &gamma, &beta, GROUP_NORM_EPS, p)
                .map_err(Error::reference)?;
            Ok(bounds([
                ("y", y),
                ("grad_x", grad.x),
                ("grad_gamma", grad.gamma.ok_or_else(|| missing("γ"))?),
                ("grad_beta", grad.beta.ok_or_else(|| missing("β"))?),
            ]))
        },
        cost: Cost::Cheap,
        fused: |case, t| gpu::group_norm(&t[0], candle_groups(case)?, &t[1], &t[2]),
        composed: Some(|case, t| composed::group_norm(&t[0], candle_groups(case)?, &t[1], &t[2])),
    }
}

fn candle_groups(case: &Case) -> CandleResult<usize> {
    case.get_count("groups").map_err(candle_core::Error::wrap)
}

fn layer_norm() -> Layer {
    Layer {
        name: "layer-norm",
        about: "y = (x − μ)/√(v + ε) over the last axis",
        inputs: &["x"],
        draws: || {
            (1..=4_usize, 2..=6_usize)
                .prop_flat_map(|(n, d)| drawn(vec![("x", vec![n, d]), ("g", vec![n, d])]))
                .boxed()
        },
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            let grad = nn::layer_norm_vjp(x, None, g, LAYER_NORM_EPS).map_err(Error::reference)?;
            Ok(values([
                (
                    "y",
                    nn::layer_norm(x, None, LAYER_NORM_EPS).map_err(Error::reference)?,
                ),
                ("grad_x", grad.x),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad =
                bound::layer_norm_vjp(&x, None, &g, LAYER_NORM_EPS, p).map_err(Error::reference)?;
            let y = bound::layer_norm(&x, None, LAYER_NORM_EPS, p).map_err(Error::reference)?;
            Ok(bounds([("y", y), ("grad_x", grad.x)]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::layer_norm(&t[0], None),
        composed: Some(|_, t| composed::layer_norm(&t[0], None)),
    }
}

fn layer_norm_affine() -> Layer {
    Layer {
        name: "layer-norm-affine",
        about: "y = γ (x − μ)/√(v + ε) + β over the last axis",
        inputs: &["x", "gamma", "beta"],
        draws: || {
            (1..=4_usize, 2..=6_usize)
                .prop_flat_map(|(n, d)| normalised(vec![n, d], d))
                .boxed()
        },
        reference: |case| {
            let [x, gamma, beta, g] = get(case, ["x", "gamma", "beta", "g"])?;
            let grad =
                nn::layer_norm_vjp(x, Some(gamma), g, LAYER_NORM_EPS).map_err(Error::reference)?;
            let y =
                nn::layer_norm(x, Some((gamma, beta)), LAYER_NORM_EPS).map_err(Error::reference)?;
            let (grad_gamma, grad_beta) = grad.affine.ok_or_else(|| missing("γ and β"))?;
            Ok(values([
                ("y", y),
                ("grad_x", grad.x),
                ("grad_gamma", grad_gamma),
                ("grad_beta", grad_beta),
            ]))
        },
        bound: |case, p| {
            let [x, gamma, beta, g] = tracked(case, ["x", "gamma", "beta", "g"])?;
            let grad = bound::layer_norm_vjp(&x, Some(&gamma), &g, LAYER_NORM_EPS, p)
                .map_err(Error::reference)?;
            let y = bound::layer_norm(&x, Some((&gamma, &beta)), LAYER_NORM_EPS, p)
                .map_err(Error::reference)?;
            Ok(bounds([
                ("y", y),
                ("grad_x", grad.x),
                ("grad_gamma", grad.gamma.ok_or_else(|| missing("γ"))?),
                ("grad_beta", grad.beta.ok_or_else(|| missing("β"))?),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::layer_norm(&t[0], Some((&t[1], &t[2]))),
        composed: Some(|_, t| composed::layer_norm(&t[0], Some((&t[1], &t[2])))),
    }
}

fn gated_sum() -> Layer {
    Layer {
        name: "gated-sum",
        about: "y = x + γ h with one γ for each sample",
        inputs: &["x", "gate", "h"],
        draws: || {
            (1..=3_usize, 1..=4_usize, 1..=5_usize)
                .prop_flat_map(|(n, t, d)| {
                    drawn(vec![
                        ("x", vec![n, t, d]),
                        ("gate", vec![n, d]),
                        ("h", vec![n, t, d]),
                        ("g", vec![n, t, d]),
                    ])
                })
                .boxed()
        },
        reference: |case| {
            let [x, gate, h, g] = get(case, ["x", "gate", "h", "g"])?;
            let gate = gate.clone().insert_axis(Axis(1));
            Ok(values([
                ("y", x + &(&gate * h)),
                ("grad_x", g.clone()),
                ("grad_gate", (g * h).sum_axis(Axis(1))),
                ("grad_h", &gate * g),
            ]))
        },
        bound: |case, p| {
            let [x, gate, h, g] = tracked(case, ["x", "gate", "h", "g"])?;
            let gate = gate.insert_axis(1);
            Ok(bounds([
                ("y", x.add(&gate.mul(&h, p), p)),
                ("grad_x", g.clone()),
                ("grad_gate", g.mul(&h, p).sum_axis(1, false, p)),
                ("grad_h", gate.mul(&g, p)),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::gated_sum(&t[0], &t[1], &t[2]),
        composed: Some(|_, t| composed::gated_sum(&t[0], &t[1], &t[2])),
    }
}

fn silu() -> Layer {
    Layer {
        name: "silu",
        about: "y = x/(1 + e^{−x})",
        inputs: &["x"],
        draws: matrix_and_g,
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            Ok(values([
                ("y", nn::silu(x)),
                ("grad_x", nn::silu_vjp(x, g).map_err(Error::reference)?),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::silu_vjp(&x, &g, p).map_err(Error::reference)?;
            Ok(bounds([("y", bound::silu(&x, p)), ("grad_x", grad)]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::silu(&t[0]),
        composed: Some(|_, t| composed::silu(&t[0])),
    }
}

fn gelu() -> Layer {
    Layer {
        name: "gelu",
        about: "y = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))",
        inputs: &["x"],
        draws: matrix_and_g,
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            Ok(values([
                ("y", nn::gelu(x)),
                ("grad_x", nn::gelu_vjp(x, g).map_err(Error::reference)?),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::gelu_vjp(&x, &g, p).map_err(Error::reference)?;
            Ok(bounds([("y", bound::gelu(&x, p)), ("grad_x", grad)]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::gelu(&t[0]),
        composed: Some(|_, t| composed::gelu(&t[0])),
    }
}

fn softmax() -> Layer {
    Layer {
        name: "softmax",
        about: "y = e^x/Σ e^x over the last axis",
        inputs: &["x"],
        draws: matrix_and_g,
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            let grad = nn::softmax_vjp(x, g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::softmax(x).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::softmax_vjp(&x, &g, p).map_err(Error::reference)?;
            Ok(bounds([
                ("y", bound::softmax(&x, p).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::softmax_last(&t[0]),
        composed: Some(|_, t| composed::softmax_last(&t[0])),
    }
}

fn attention() -> Layer {
    Layer {
        name: "attention",
        about: "y = softmax(Q Kᵀ/√d) V, one head for each leading index",
        inputs: &["q", "k", "v"],
        draws: || {
            (1..=2_usize, 1..=4_usize, 1..=4_usize)
                .prop_flat_map(|(n, t, d)| {
                    drawn(
                        ["q", "k", "v", "g"]
                            .into_iter()
                            .map(|name| (name, vec![n, t, d]))
                            .collect(),
                    )
                })
                .boxed()
        },
        reference: |case| {
            let [q, k, v, g] = get(case, ["q", "k", "v", "g"])?;
            let grad = nn::attention_vjp(q, k, v, g).map_err(Error::reference)?;
            let y = nn::attention(q, k, v).map_err(Error::reference)?;
            Ok(values([
                ("y", y),
                ("grad_q", grad.q),
                ("grad_k", grad.k),
                ("grad_v", grad.v),
            ]))
        },
        bound: |case, p| {
            let [q, k, v, g] = tracked(case, ["q", "k", "v", "g"])?;
            let grad = bound::attention_vjp(&q, &k, &v, &g, p).map_err(Error::reference)?;
            let y = bound::attention(&q, &k, &v, p).map_err(Error::reference)?;
            Ok(bounds([
                ("y", y),
                ("grad_q", grad.q),
                ("grad_k", grad.k),
                ("grad_v", grad.v),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::attention(&t[0], &t[1], &t[2]),
        composed: Some(|_, t| composed::attention(&t[0], &t[1], &t[2])),
    }
}

/// An image of even sides `2h × 2w` with a g of `scale` times its sides.
fn even_image(doubled: bool) -> BoxedStrategy<Case> {
    (1..=2_usize, 1..=2_usize, 1..=2_usize, 1..=2_usize)
        .prop_flat_map(move |(b, c, h, w)| {
            let (small, large) = (vec![b, c, h, w], vec![b, c, 2 * h, 2 * w]);
            let (x, g) = if doubled {
                (small, large)
            } else {
                (large, small)
            };
            drawn(vec![("x", x), ("g", g)])
        })
        .boxed()
}

fn upsample() -> Layer {
    Layer {
        name: "upsample",
        about: "each pixel repeated 2×2",
        inputs: &["x"],
        draws: || even_image(true),
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            let grad = nn::upsample_nearest2x_vjp(g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::upsample_nearest2x(x).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::upsample_nearest2x_vjp(&g, p).map_err(Error::reference)?;
            Ok(bounds([
                (
                    "y",
                    bound::upsample_nearest2x(&x).map_err(Error::reference)?,
                ),
                ("grad_x", grad),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::upsample_nearest2x(&t[0]),
        composed: Some(|_, t| composed::upsample_nearest2x(&t[0])),
    }
}

fn avg_pool() -> Layer {
    Layer {
        name: "avg-pool",
        about: "mean of each 2×2 block",
        inputs: &["x"],
        draws: || even_image(false),
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            let grad = nn::avg_pool2x_vjp(g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::avg_pool2x(x).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::avg_pool2x_vjp(&g, p).map_err(Error::reference)?;
            Ok(bounds([
                ("y", bound::avg_pool2x(&x, p).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::avg_pool2x(&t[0]),
        composed: Some(|_, t| composed::avg_pool2x(&t[0])),
    }
}

fn global_avg_pool() -> Layer {
    Layer {
        name: "global-avg-pool",
        about: "mean over all pixels",
        inputs: &["x"],
        draws: || {
            (1..=2_usize, 1..=2_usize, 1..=4_usize, 1..=4_usize)
                .prop_flat_map(|(b, c, h, w)| {
                    drawn(vec![("x", vec![b, c, h, w]), ("g", vec![b, c])])
                })
                .boxed()
        },
        reference: |case| {
            let [x, g] = get(case, ["x", "g"])?;
            let grad = nn::global_avg_pool_vjp(x, g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::global_avg_pool(x).map_err(Error::reference)?),
                ("grad_x", grad),
            ]))
        },
        bound: |case, p| {
            let [x, g] = tracked(case, ["x", "g"])?;
            let grad = bound::global_avg_pool_vjp(&x, &g, p).map_err(Error::reference)?;
            Ok(bounds([
                (
                    "y",
                    bound::global_avg_pool(&x, p).map_err(Error::reference)?,
                ),
                ("grad_x", grad),
            ]))
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::global_avg_pool(&t[0]),
        composed: None,
    }
}

fn embedding() -> Layer {
    Layer {
        name: "embedding",
        about: "rows of a table",
        inputs: &["table"],
        draws: || {
            (1..=4_usize, 1..=4_usize, 1..=5_usize)
                .prop_flat_map(|(rows, d, n)| {
                    let index = prop::collection::vec(0..rows as u64, n);
                    (
                        drawn(vec![("table", vec![rows, d]), ("g", vec![n, d])]),
                        index,
                    )
                })
                .prop_map(|(case, index)| case.counts("index", index))
                .boxed()
        },
        reference: |case| {
            let ([table, g], index) = (get(case, ["table", "g"])?, indices(case, "index")?);
            let grad = nn::embedding_vjp(table, &index, g).map_err(Error::reference)?;
            Ok(values([
                ("y", nn::embedding(table, &index).map_err(Error::reference)?),
                ("grad_table", grad),
            ]))
        },
        bound: |case, p| {
            let ([table, g], index) = (tracked(case, ["table", "g"])?, indices(case, "index")?);
            let grad = bound::embedding_vjp(&table, &index, &g, p).map_err(Error::reference)?;
            Ok(bounds([
                (
                    "y",
                    bound::embedding(&table, &index).map_err(Error::reference)?,
                ),
                ("grad_table", grad),
            ]))
        },
        cost: Cost::Cheap,
        fused: |case, t| gpu::embedding(&t[0], &candle_indices(case, "index")?),
        composed: None,
    }
}

/// A loss has no g: its gradient is that of y itself.
fn cross_entropy() -> Layer {
    Layer {
        name: "cross-entropy",
        about: "L = mean of ln Σ e^z − z_label",
        inputs: &["logits"],
        draws: || {
            (1..=4_usize, 2..=5_usize)
                .prop_flat_map(|(n, k)| {
                    (
                        drawn(vec![("logits", vec![n, k])]),
                        prop::collection::vec(0..k as u64, n),
                    )
                })
                .prop_map(|(case, labels)| case.counts("labels", labels))
                .boxed()
        },
        reference: |case| {
            let l = nn::cross_entropy(case.get("logits")?, &indices(case, "labels")?)
                .map_err(Error::reference)?;
            Ok(values([
                ("y", scalar(l.loss)),
                ("grad_logits", l.grad_logits),
            ]))
        },
        bound: |case, p| {
            let logits = exact(case, "logits")?;
            let l = bound::cross_entropy(&logits, &indices(case, "labels")?, p)
                .map_err(Error::reference)?;
            Ok(bounds([("y", l.loss), ("grad_logits", l.grad_logits)]))
        },
        cost: Cost::Cheap,
        fused: |case, t| gpu::cross_entropy(&t[0], &candle_indices(case, "labels")?),
        composed: None,
    }
}

fn time_features() -> Box<dyn Check> {
    Quantity::new(
        "nn.time-features",
        "cos(n f_k), sin(n f_k), f_k = ½·64^{k/(half − 1)}, on the host in f64, rounded once",
        "sadm_reference::nn::time_features",
    )
    .draws(|| {
        (1..=4_usize, 1..=6_usize)
            .prop_flat_map(|(n, half)| (prop::collection::vec(moderate(), n), Just(2 * half)))
            .prop_map(|(noise, dim)| Case::new().numbers("noise", noise).count("dim", dim))
            .boxed()
    })
    .reference(|case| {
        let y = nn::time_features(case.get_numbers("noise")?, case.get_count("dim")?);
        Ok(values([("y", y.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let y = bound::time_features(
            case.get_numbers("noise")?,
            case.get_count("dim")?,
            rule.compute,
        );
        Ok(bounds([("y", y.map_err(Error::reference)?)]))
    })
    .candle(|case, place| {
        let (noise, dim) = (case.get_numbers("noise")?, case.get_count("dim")?);
        Ok(values([(
            "y",
            Place::array(&gpu::time_features(noise, dim, &place.device, place.dtype)?)?,
        )]))
    })
    .boxed()
}
