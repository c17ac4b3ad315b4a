//! The layers, forward and backward, on the fused and on the composed path.

use candle_core::{Result as CandleResult, Tensor};
use ndarray::ArrayD;
use proptest::prelude::*;
use sadm_gpu::nn::{self as gpu, Path, composed};
use sadm_reference::{
    bound::{Tracked, nn as bound},
    nn,
    operation::{Inputs, Operation},
};

use super::differentiated;
use crate::{
    case::Case,
    check::{Check, Cost, Quantity, bounds, values},
    engine::Place,
    error::Error,
    generators::{moderate, tensor_of},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let layers = LAYERS.iter().flat_map(Layer::checks);
    let host = [
        time_features(),
        step_features(),
        positional_features(),
        fourier_features(),
    ];
    layers.chain(host).collect()
}

/// The one or two implementations of an operation of the reference in the training system.
struct Layer {
    /// The operation's name.
    name: &'static str,
    draws: fn() -> BoxedStrategy<Case>,
    cost: Cost,
    fused: Computed,
    composed: Option<Computed>,
}

type Computed = fn(&Case, &[Tensor]) -> CandleResult<Tensor>;

impl Layer {
    /// `nn.NAME`, the path the device takes by itself, and `composed.NAME`, the one of other devices.
    fn checks(&self) -> Vec<Box<dyn Check>> {
        let Some(operation) = Operation::find(self.name) else {
            return Vec::new();
        };
        // A layer with one implementation only is not asked which.
        let two = self.composed.is_some();
        let paths = [
            ("nn", Some(self.fused), Path::Fused),
            ("composed", self.composed, Path::Composed),
        ];
        let check = |(family, f, path): (&str, Option<Computed>, Path)| {
            let f = f?;
            let quantity = Quantity::new(
                format!("{family}.{}", self.name),
                format!("{} and the gradients of Σ g·y", operation.formula),
                "sadm_reference::operation, with hand-derived backward",
            )
            .cost(self.cost)
            .on(two.then_some(path))
            .draws(self.draws)
            .reference(|case| {
                Ok(operation
                    .value(case)
                    .map_err(Error::reference)?
                    .into_iter()
                    .collect())
            })
            .bound(|case, rule| {
                let bounds = operation
                    .bound(case, rule.compute)
                    .map_err(Error::reference)?;
                Ok(bounds.into_iter().collect())
            })
            .candle(move |case, place| {
                differentiated(case, place, operation.inputs, |inputs| Ok(f(case, inputs)?))
            });
            Some(quantity.boxed())
        };
        paths.into_iter().filter_map(check).collect()
    }
}

/// As many channels as the fused convolution needs to go by tiles.
const CHANNELS: usize = 32;

const LAYERS: &[Layer] = &[
    Layer {
        name: "linear",
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
        cost: Cost::Cheap,
        fused: |_, t| gpu::linear(&t[0], &t[1], Some(&t[2])),
        composed: Some(|_, t| composed::linear(&t[0], &t[1], Some(&t[2]))),
    },
    Layer {
        name: "conv2d",
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
        cost: Cost::Cheap,
        fused: |case, t| gpu::conv2d(&t[0], &t[1], Some(&t[2]), candle_padding(case)?),
        composed: Some(|case, t| {
            composed::conv2d(&t[0], &t[1], Some(&t[2]), candle_padding(case)?)
        }),
    },
    // As many channels as the fused convolution needs to go by tiles.
    Layer {
        name: "conv2d.tiles",
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
        cost: Cost::Heavy,
        fused: |_, t| gpu::conv2d(&t[0], &t[1], Some(&t[2]), 1),
        composed: None,
    },
    Layer {
        name: "group-norm",
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
        cost: Cost::Cheap,
        fused: |case, t| gpu::group_norm(&t[0], candle_groups(case)?, &t[1], &t[2]),
        composed: Some(|case, t| composed::group_norm(&t[0], candle_groups(case)?, &t[1], &t[2])),
    },
    Layer {
        name: "layer-norm",
        draws: || {
            (1..=4_usize, 2..=6_usize)
                .prop_flat_map(|(n, d)| drawn(vec![("x", vec![n, d]), ("g", vec![n, d])]))
                .boxed()
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::layer_norm(&t[0], None),
        composed: Some(|_, t| composed::layer_norm(&t[0], None)),
    },
    Layer {
        name: "layer-norm-affine",
        draws: || {
            (1..=4_usize, 2..=6_usize)
                .prop_flat_map(|(n, d)| normalised(vec![n, d], d))
                .boxed()
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::layer_norm(&t[0], Some((&t[1], &t[2]))),
        composed: Some(|_, t| composed::layer_norm(&t[0], Some((&t[1], &t[2])))),
    },
    Layer {
        name: "gated-sum",
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
        cost: Cost::Cheap,
        fused: |_, t| gpu::gated_sum(&t[0], &t[1], &t[2]),
        composed: Some(|_, t| composed::gated_sum(&t[0], &t[1], &t[2])),
    },
    Layer {
        name: "silu",
        draws: matrix_and_g,
        cost: Cost::Cheap,
        fused: |_, t| gpu::silu(&t[0]),
        composed: Some(|_, t| composed::silu(&t[0])),
    },
    Layer {
        name: "gelu",
        draws: matrix_and_g,
        cost: Cost::Cheap,
        fused: |_, t| gpu::gelu(&t[0]),
        composed: Some(|_, t| composed::gelu(&t[0])),
    },
    Layer {
        name: "leaky-relu",
        draws: matrix_and_g,
        cost: Cost::Cheap,
        fused: |_, t| gpu::leaky_relu(&t[0]),
        composed: None,
    },
    Layer {
        name: "second-moment-norm",
        draws: matrix_and_g,
        cost: Cost::Cheap,
        fused: |_, t| gpu::second_moment_norm(&t[0]),
        composed: None,
    },
    Layer {
        name: "softmax",
        draws: matrix_and_g,
        cost: Cost::Cheap,
        fused: |_, t| gpu::softmax_last(&t[0]),
        composed: Some(|_, t| composed::softmax_last(&t[0])),
    },
    Layer {
        name: "attention",
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
        cost: Cost::Cheap,
        fused: |_, t| gpu::attention(&t[0], &t[1], &t[2]),
        composed: Some(|_, t| composed::attention(&t[0], &t[1], &t[2])),
    },
    Layer {
        name: "upsample",
        draws: || even_image(true),
        cost: Cost::Cheap,
        fused: |_, t| gpu::upsample_nearest2x(&t[0]),
        composed: Some(|_, t| composed::upsample_nearest2x(&t[0])),
    },
    Layer {
        name: "avg-pool",
        draws: || even_image(false),
        cost: Cost::Cheap,
        fused: |_, t| gpu::avg_pool2x(&t[0]),
        composed: Some(|_, t| composed::avg_pool2x(&t[0])),
    },
    Layer {
        name: "fir-down",
        draws: || filtered(false),
        cost: Cost::Cheap,
        fused: |case, t| gpu::fir_down(&t[0], &candle_taps(case)?, candle_padding(case)?),
        composed: Some(|case, t| {
            composed::fir_down(&t[0], &candle_taps(case)?, candle_padding(case)?)
        }),
    },
    Layer {
        name: "fir-up",
        draws: || filtered(true),
        cost: Cost::Cheap,
        fused: |case, t| gpu::fir_up(&t[0], &candle_taps(case)?, candle_padding(case)?),
        composed: Some(|case, t| {
            composed::fir_up(&t[0], &candle_taps(case)?, candle_padding(case)?)
        }),
    },
    Layer {
        name: "global-avg-pool",
        draws: || {
            (1..=2_usize, 1..=2_usize, 1..=4_usize, 1..=4_usize)
                .prop_flat_map(|(b, c, h, w)| {
                    drawn(vec![("x", vec![b, c, h, w]), ("g", vec![b, c])])
                })
                .boxed()
        },
        cost: Cost::Cheap,
        fused: |_, t| gpu::global_avg_pool(&t[0]),
        composed: None,
    },
    Layer {
        name: "embedding",
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
        cost: Cost::Cheap,
        fused: |case, t| gpu::embedding(&t[0], &candle_indices(case, "index")?),
        composed: None,
    },
    // A loss has no g: its gradient is that of y itself.
    Layer {
        name: "cross-entropy",
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
        cost: Cost::Cheap,
        fused: |case, t| gpu::cross_entropy(&t[0], &candle_indices(case, "labels")?),
        composed: None,
    },
];

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

fn candle_indices(case: &Case, name: &str) -> CandleResult<Vec<u32>> {
    let indices = case.indices(name);
    indices.ok_or_else(|| candle_core::Error::Msg(format!("no indices `{name}`")))
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

fn candle_groups(case: &Case) -> CandleResult<usize> {
    case.get_count("groups").map_err(candle_core::Error::wrap)
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

fn candle_taps(case: &Case) -> CandleResult<Vec<f64>> {
    Ok(candle_indices(case, "taps")?
        .into_iter()
        .map(f64::from)
        .collect())
}

/// An image whose resolution is changed by up to four taps that tell one end from the other, and its g.
fn filtered(up: bool) -> BoxedStrategy<Case> {
    let taps = prop_oneof![
        Just(vec![1, 1]),
        Just(vec![1, 3, 3, 1]),
        Just(vec![2, 1, 4]),
    ];
    (
        1..=2_usize,
        1..=2_usize,
        2..=5_usize,
        2..=5_usize,
        taps,
        0..=1_usize,
    )
        .prop_flat_map(move |(b, c, h, w, taps, padding)| {
            let padding = padding.max(usize::from(!up && taps.len() > 2));
            let to = |side: usize| {
                if up {
                    2 * (side - 1) + taps.len() - 2 * padding
                } else {
                    (side + 2 * padding - taps.len()) / 2 + 1
                }
            };
            drawn(vec![
                ("x", vec![b, c, h, w]),
                ("g", vec![b, c, to(h), to(w)]),
            ])
            .prop_map(move |case| {
                let taps = taps.clone();
                case.counts("taps", taps).count("padding", padding)
            })
        })
        .boxed()
}

fn positional_features() -> Box<dyn Check> {
    Quantity::new(
        "nn.positional-features",
        "cos(n ω_k), sin(n ω_k), ω_k = 10000^{−k/(half − 1)}, on the host in f64, rounded once",
        "sadm_reference::nn::positional_features",
    )
    .draws(|| {
        (1..=4_usize, 2..=6_usize)
            .prop_flat_map(|(n, half)| (prop::collection::vec(moderate(), n), Just(2 * half)))
            .prop_map(|(noise, dim)| Case::new().numbers("noise", noise).count("dim", dim))
            .boxed()
    })
    .reference(|case| {
        let y = nn::positional_features(case.get_numbers("noise")?, case.get_count("dim")?);
        Ok(values([("y", y.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let (noise, dim) = (case.get_numbers("noise")?, case.get_count("dim")?);
        let y = bound::positional_features(noise, dim, rule.compute);
        Ok(bounds([("y", y.map_err(Error::reference)?)]))
    })
    .candle(|case, place| {
        let (noise, dim) = (case.get_numbers("noise")?, case.get_count("dim")?);
        let y = gpu::positional_features(noise, dim, &place.device, place.dtype)?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
}

fn fourier_features() -> Box<dyn Check> {
    Quantity::new(
        "nn.fourier-features",
        "cos(2π n f_k), sin(2π n f_k), on the host in f64, rounded once",
        "sadm_reference::nn::fourier_features",
    )
    .draws(|| {
        (1..=4_usize, 1..=6_usize)
            .prop_flat_map(|(n, half)| {
                let noise = prop::collection::vec(moderate(), n);
                (noise, tensor_of(&[half], moderate()))
            })
            .prop_map(|(noise, f)| Case::new().numbers("noise", noise).tensor("frequencies", f))
            .boxed()
    })
    .reference(|case| {
        let y = nn::fourier_features(case.get_numbers("noise")?, case.get("frequencies")?);
        Ok(values([("y", y)]))
    })
    .bound(|case, rule| {
        // The frequencies reach the network in the element type.
        let f = Tracked::rounded(
            case.get("frequencies")?.clone(),
            rule.store.unwrap_or(rule.compute),
        );
        let y = bound::fourier_features(case.get_numbers("noise")?, &f, rule.compute);
        Ok(bounds([("y", y)]))
    })
    .candle(|case, place| {
        let f = place.tensor(case.get("frequencies")?)?;
        let noise = case.get_numbers("noise")?;
        let y = gpu::fourier_features(noise, &f, &place.device, place.dtype)?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
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

/// Numbers of steps, whole or between two.
fn step_features() -> Box<dyn Check> {
    Quantity::new(
        "nn.step-features",
        "cos(t ω_k), sin(t ω_k), ω_k = 10000^{−k/half}, on the host in f64, rounded once",
        "sadm_reference::nn::step_features",
    )
    .draws(|| {
        let steps = prop::collection::vec(0..64_000_u32, 1..=4);
        (steps, 1..=6_usize)
            .prop_map(|(steps, half)| {
                let steps = steps.into_iter().map(|t| f64::from(t) / 64.0);
                Case::new()
                    .numbers("t", steps.collect())
                    .count("dim", 2 * half)
            })
            .boxed()
    })
    .reference(|case| {
        let y = nn::step_features(case.get_numbers("t")?, case.get_count("dim")?);
        Ok(values([("y", y.map_err(Error::reference)?)]))
    })
    .bound(|case, rule| {
        let (t, dim) = (case.get_numbers("t")?, case.get_count("dim")?);
        let y = bound::step_features(t, dim, rule.compute);
        Ok(bounds([("y", y.map_err(Error::reference)?)]))
    })
    .candle(|case, place| {
        let (t, dim) = (case.get_numbers("t")?, case.get_count("dim")?);
        let y = gpu::step_features(t, dim, &place.device, place.dtype)?;
        Ok(values([("y", Place::array(&y)?)]))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::LAYERS;
    use sadm_reference::operation::OPERATIONS;

    #[test]
    fn every_operation_has_a_layer_and_every_layer_an_operation() {
        let ours: Vec<&str> = LAYERS.iter().map(|layer| layer.name).collect();
        let reference: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        assert_eq!(ours, reference);
    }
}
