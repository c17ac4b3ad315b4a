//! Blocks that the networks share.

use super::graph::{Graph, Value};
use super::{NetworkError, require_config};

/// Multi-head self-attention of a token sequence: `qkv`, attention per head, `proj`.
///
/// The 3C outputs of `qkv` are all queries, then all keys, then all values; a head is a block of C/heads neighbours.
///
/// # Shapes
/// `tokens: [B, T, C]` → `[B, T, C]`, `heads` divides C.
pub(super) fn self_attention(
    graph: &mut Graph<'_>,
    tokens: Value,
    heads: usize,
) -> Result<Value, NetworkError> {
    let shape = graph.shape(tokens);
    let [b, t, c] = [shape[0], shape[1], shape[2]];
    let must = format!("a divisor of the {c} channels");
    require_config(
        heads > 0 && c.is_multiple_of(heads),
        "number of attention heads",
        &must,
        heads,
    )?;
    let qkv = graph.linear(tokens, "qkv", 3 * c)?;
    let mut parts = Vec::with_capacity(3);
    for part in graph.chunk(qkv, 2, 3)? {
        let split = graph.reshape(part, &[b, t, heads, c / heads])?;
        let by_head = graph.permute(split, &[0, 2, 1, 3])?;
        parts.push(graph.reshape(by_head, &[b * heads, t, c / heads])?);
    }
    let y = graph.attention(parts[0], parts[1], parts[2])?;
    let y = graph.reshape(y, &[b, heads, t, c / heads])?;
    let y = graph.permute(y, &[0, 2, 1, 3])?;
    let y = graph.reshape(y, &[b, t, c])?;
    graph.linear(y, "proj", c)
}

/// Residual block of the U-Net with its noise-level modulation.
///
/// ```text
/// a = conv1(silu(norm1(x)));   a = norm2(a)·(1 + scale) + shift;   a = conv2(silu(a));   y = skip(x) + a
/// ```
/// with `(scale, shift) = emb(e)` halves, and `skip` a 1×1 convolution where the number of channels changes.
pub(super) fn res_block(
    graph: &mut Graph<'_>,
    x: Value,
    emb: Value,
    out: usize,
    groups: usize,
) -> Result<Value, NetworkError> {
    let channels = graph.shape(x)[1];
    let a = graph.group_norm(x, "norm1", groups)?;
    let a = graph.silu(a);
    let a = graph.conv2d(a, "conv1", out, 3)?;
    let modulation = graph.linear(emb, "emb", 2 * out)?;
    let halves = graph.chunk(modulation, 1, 2)?;
    let a = graph.group_norm(a, "norm2", groups)?;
    let a = graph.modulate(a, halves[0], halves[1], 1)?;
    let a = graph.silu(a);
    let a = graph.conv2d(a, "conv2", out, 3)?;
    let skip = if channels == out {
        x
    } else {
        graph.conv2d(x, "skip", out, 1)?
    };
    graph.add(skip, a)
}

/// Self-attention over the pixels of an image, added to it: `x + proj(attention(qkv(norm(x))))`.
pub(super) fn attention_block(
    graph: &mut Graph<'_>,
    x: Value,
    heads: usize,
    groups: usize,
) -> Result<Value, NetworkError> {
    let shape = graph.shape(x);
    let [b, c, h, w] = [shape[0], shape[1], shape[2], shape[3]];
    let n = graph.group_norm(x, "norm", groups)?;
    let n = graph.reshape(n, &[b, c, h * w])?;
    let tokens = graph.permute(n, &[0, 2, 1])?;
    let y = self_attention(graph, tokens, heads)?;
    let y = graph.permute(y, &[0, 2, 1])?;
    let y = graph.reshape(y, &shape)?;
    graph.add(x, y)
}

/// `x + gate · y`, one gate per sample and channel.
pub(super) fn gated(
    graph: &mut Graph<'_>,
    x: Value,
    gate: Value,
    y: Value,
) -> Result<Value, NetworkError> {
    let gate = graph.spread(gate, y, 2)?;
    let y = graph.mul(y, gate)?;
    graph.add(x, y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Parameters;
    use crate::nn;
    use ndarray::{Array3, ArrayD, Axis, IxDyn};

    /// A smooth array without symmetries.
    fn wave(shape: &[usize], step: f64) -> ArrayD<f64> {
        let mut k = 0.0;
        ArrayD::from_shape_simple_fn(IxDyn(shape), || {
            k += step;
            f64::sin(k)
        })
    }

    fn assert_close(got: &ArrayD<f64>, want: &ArrayD<f64>) {
        assert_eq!(got.shape(), want.shape());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-13, "{got} vs {want}");
        }
    }

    /// Parameters for whatever `build` asks for.
    fn waves(
        input: &ArrayD<f64>,
        build: impl FnOnce(&mut Graph<'_>, Value) -> Result<Value, NetworkError>,
    ) -> Parameters {
        let mut graph = Graph::recording();
        let x = graph.input(input.clone());
        build(&mut graph, x).expect("fits");
        let named = graph.parameters().iter().enumerate();
        named
            .map(|(i, (name, &value))| {
                (
                    name.clone(),
                    wave(&graph.shape(value), 0.37 + 0.11 * i as f64),
                )
            })
            .collect()
    }

    /// The block, written out on single layers.
    #[test]
    fn res_block_is_its_formula() {
        let (x, e) = (wave(&[2, 2, 3, 3], 1.3), wave(&[2, 5], 0.9));
        for out in [2, 4] {
            let build = |graph: &mut Graph<'_>, x| {
                let e = graph.input(e.clone());
                res_block(graph, x, e, out, 2)
            };
            let p = waves(&x, build);
            let mut graph = Graph::new(&p);
            let input = graph.input(x.clone());
            let y = build(&mut graph, input).expect("fits");

            let part = |name: &str, kind: &str| &p[&format!("{name}.{kind}")];
            let conv = |x: &ArrayD<f64>, name: &str, kernel| {
                let options = nn::Conv2dOptions::same(kernel);
                nn::conv2d(x, part(name, "weight"), part(name, "bias"), options).expect("fits")
            };
            let norm = |x: &ArrayD<f64>, name: &str| {
                nn::group_norm(x, 2, part(name, "weight"), part(name, "bias"), 1e-5).expect("fits")
            };
            let a = conv(&nn::silu(&norm(&x, "norm1")), "conv1", 3);
            let m = nn::linear(&e, part("emb", "weight"), part("emb", "bias")).expect("fits");
            let n = norm(&a, "norm2");
            let modulated = ArrayD::from_shape_fn(n.raw_dim(), |i| {
                n[&i] * (1.0 + m[[i[0], i[1]]]) + m[[i[0], out + i[1]]]
            });
            let a = conv(&nn::silu(&modulated), "conv2", 3);
            let skip = if out == 2 {
                x.clone()
            } else {
                conv(&x, "skip", 1)
            };
            assert_close(graph.value(y), &(skip + a));
        }
    }

    /// Pixels are tokens, row by row, and the result is added to the image.
    #[test]
    fn attention_block_is_its_formula() {
        let x = wave(&[1, 4, 2, 3], 1.7);
        let build = |graph: &mut Graph<'_>, x| attention_block(graph, x, 2, 2);
        let p = waves(&x, build);
        let mut graph = Graph::new(&p);
        let input = graph.input(x.clone());
        let y = build(&mut graph, input).expect("fits");

        let n = nn::group_norm(&x, 2, &p["norm.weight"], &p["norm.bias"], 1e-5).expect("fits");
        let tokens = ArrayD::from_shape_fn(IxDyn(&[1, 6, 4]), |i| n[[0, i[2], i[1] / 3, i[1] % 3]]);
        let mut alone = Graph::new(&p);
        let t = alone.input(tokens);
        let t = self_attention(&mut alone, t, 2).expect("fits");
        let added = ArrayD::from_shape_fn(x.raw_dim(), |i| {
            x[&i] + alone.value(t)[[0, 3 * i[2] + i[3], i[1]]]
        });
        assert_close(graph.value(y), &added);
    }

    /// Heads are blocks of neighbouring channels; queries, keys and values are thirds in this order.
    #[test]
    fn self_attention_splits_channels_into_heads() {
        let parameters: Parameters = [
            ("qkv.weight", wave(&[12, 4], 0.7)),
            ("qkv.bias", wave(&[12], 0.3)),
            (
                "proj.weight",
                ArrayD::from_shape_fn(IxDyn(&[4, 4]), |i| f64::from(u8::from(i[0] == i[1]))),
            ),
            ("proj.bias", ArrayD::zeros(IxDyn(&[4]))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let x = wave(&[1, 3, 4], 1.1);
        let mut graph = Graph::new(&parameters);
        let input = graph.input(x.clone());
        let y = self_attention(&mut graph, input, 2).expect("2 divides 4");

        let qkv = nn::linear(&x, &parameters["qkv.weight"], &parameters["qkv.bias"]).expect("fits");
        let part = |first: usize| {
            qkv.slice_axis(Axis(2), (first..first + 2).into())
                .to_owned()
        };
        let mut want = Array3::zeros((1, 3, 4));
        for head in 0..2 {
            let [q, k, v] = [0, 4, 8].map(|third| part(third + 2 * head));
            let z = nn::attention(&q, &k, &v).expect("fits");
            want.slice_axis_mut(Axis(2), (2 * head..2 * head + 2).into())
                .assign(&z.into_dimensionality::<ndarray::Ix3>().expect("three axes"));
        }
        assert_close(graph.value(y), &want.into_dyn());
    }
}
