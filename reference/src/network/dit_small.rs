//! The small transformer denoiser.

use super::blocks::{gated, self_attention};
use super::graph::{Graph, Value};
use super::{
    Architecture, Condition, Denoiser, NetworkError, condition_embedding, given, require_config,
    require_image,
};
use ndarray::{Array3, ArrayD};
use serde::Deserialize;

/// Diffusion transformer with adaptive layer norm (adaLN-zero).
///
/// # Parameters
/// `time.{0,1}`, `class`, `patch`, `block.{i}.{ada, attn.qkv, attn.proj, mlp.0, mlp.1}`, `final.{ada, linear}`.
///
/// # Source
/// Peebles and Xie 2023 (arXiv:2212.09748), §3.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitSmall {
    /// Channels of the image.
    #[serde(default)]
    pub in_channels: usize,
    /// Side of the square image.
    #[serde(default)]
    pub size: usize,
    /// Side of a patch; divides `size`.
    pub patch: usize,
    /// Width of a token, a multiple of 4; also of the condition embedding.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of every attention; divides `dim`.
    pub heads: usize,
    /// Hidden width of the perceptron over `dim`.
    pub mlp_ratio: usize,
    /// Number of time features, even.
    pub time_dim: usize,
    /// Number of classes, if conditional.
    pub classes: Option<usize>,
}

/// The small diffusion transformer in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "dit-small",
    build: |dimensions, domain| {
        Ok(Box::new(DitSmall {
            in_channels: domain.channels,
            size: domain.size,
            classes: domain.classes,
            ..given(dimensions)?
        }))
    },
    published: |config| Ok(Box::new(given::<DitSmall>(config)?)),
};

impl Denoiser for DitSmall {
    fn smallest_image(&self) -> [usize; 3] {
        [self.in_channels, self.size, self.size]
    }

    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError> {
        require_config(
            self.dim > 0 && self.dim.is_multiple_of(4),
            "dim",
            "a positive multiple of 4",
            self.dim,
        )?;
        require_config(
            self.patch > 0 && self.size.is_multiple_of(self.patch),
            "patch",
            &format!("a divisor of the image side {}", self.size),
            self.patch,
        )?;
        let [batch, _, h, w] = require_image(graph, x, self.in_channels)?;
        for side in [h, w] {
            require_config(
                side == self.size,
                "image side",
                &format!("the configured {}", self.size),
                side,
            )?;
        }
        let dims = [self.time_dim, self.dim];
        let emb = condition_embedding(graph, condition, batch, dims, self.classes)?;

        let patches = self.patchify(graph, x)?;
        let tokens = graph.linear(patches, "patch", self.dim)?;
        let positions = graph.input(self.positions(batch));
        let mut h = graph.add(tokens, positions)?;
        for i in 0..self.depth {
            h = graph.scope(&format!("block.{i}"), |g| self.block(g, h, emb))?;
        }
        let h = graph.scope("final", |g| self.head(g, h, emb))?;
        self.unpatchify(graph, h, batch)
    }
}

impl DitSmall {
    fn grid(&self) -> usize {
        self.size / self.patch
    }

    /// `[B, C, H, W]` → `[B, T, C·p·p]`, tokens row by row, inside a token channel, then row, then column.
    fn patchify(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let (b, c, n, p) = (graph.shape(x)[0], self.in_channels, self.grid(), self.patch);
        let x = graph.reshape(x, &[b, c, n, p, n, p])?;
        let x = graph.permute(x, &[0, 2, 4, 1, 3, 5])?;
        graph.reshape(x, &[b, n * n, c * p * p])
    }

    /// The inverse of `patchify`.
    fn unpatchify(
        &self,
        graph: &mut Graph<'_>,
        tokens: Value,
        b: usize,
    ) -> Result<Value, NetworkError> {
        let (c, n, p) = (self.in_channels, self.grid(), self.patch);
        let x = graph.reshape(tokens, &[b, n, n, c, p, p])?;
        let x = graph.permute(x, &[0, 3, 1, 4, 2, 5])?;
        graph.reshape(x, &[b, c, self.size, self.size])
    }

    /// Fixed positions `[B, T, dim]`: the first half of a token's vector from its row r, the second from its column,
    /// each `[sin(r ω_k) …, cos(r ω_k) …]` with `ω_k = 10000^{−k/(dim/4)}`. `[eq:position-features]`
    fn positions(&self, batch: usize) -> ArrayD<f64> {
        let (n, quarter) = (self.grid(), self.dim / 4);
        Array3::from_shape_fn((batch, n * n, self.dim), |(_, token, i)| {
            let position = if i < 2 * quarter {
                token / n
            } else {
                token % n
            };
            let k = i % quarter;
            let phase = position as f64 * 10_000_f64.powf(-(k as f64) / quarter as f64);
            if i / quarter % 2 == 0 {
                phase.sin()
            } else {
                phase.cos()
            }
        })
        .into_dyn()
    }

    /// `x += gate₁ · attn(mod₁(LN x));  x += gate₂ · mlp(mod₂(LN x))`.
    fn block(&self, graph: &mut Graph<'_>, x: Value, emb: Value) -> Result<Value, NetworkError> {
        let ada = graph.linear(emb, "ada", 6 * self.dim)?;
        let m = graph.chunk(ada, 1, 6)?;
        let n = graph.layer_norm(x)?;
        let n = graph.modulate(n, m[1], m[0], 2)?;
        let n = graph.scope("attn", |g| self_attention(g, n, self.heads))?;
        let x = gated(graph, x, m[2], n)?;
        let n = graph.layer_norm(x)?;
        let n = graph.modulate(n, m[4], m[3], 2)?;
        let n = graph.linear(n, "mlp.0", self.dim * self.mlp_ratio)?;
        let n = graph.gelu(n);
        let n = graph.linear(n, "mlp.1", self.dim)?;
        gated(graph, x, m[5], n)
    }

    /// Modulated layer norm and the map back to patches.
    fn head(&self, graph: &mut Graph<'_>, x: Value, emb: Value) -> Result<Value, NetworkError> {
        let ada = graph.linear(emb, "ada", 2 * self.dim)?;
        let m = graph.chunk(ada, 1, 2)?;
        let n = graph.layer_norm(x)?;
        let n = graph.modulate(n, m[1], m[0], 2)?;
        graph.linear(n, "linear", self.in_channels * self.patch * self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Parameters;
    use crate::nn;
    use ndarray::{ArrayD, IxDyn};

    fn small() -> DitSmall {
        DitSmall {
            in_channels: 2,
            size: 4,
            patch: 2,
            dim: 8,
            depth: 1,
            heads: 1,
            mlp_ratio: 1,
            time_dim: 2,
            classes: None,
        }
    }

    /// Tokens row by row; inside a token channel, row, column; and back again.
    #[test]
    fn patches_are_read_row_by_row() {
        let mut graph = Graph::recording();
        let x = ArrayD::from_shape_fn(IxDyn(&[1, 2, 4, 4]), |i| {
            (100 * i[1] + 10 * i[2] + i[3]) as f64
        });
        let input = graph.input(x.clone());
        let tokens = small().patchify(&mut graph, input).expect("fits");
        let second: Vec<f64> = graph
            .value(tokens)
            .index_axis(ndarray::Axis(1), 1)
            .iter()
            .copied()
            .collect();
        assert_eq!(second, [2.0, 3.0, 12.0, 13.0, 102.0, 103.0, 112.0, 113.0]);
        let back = small().unpatchify(&mut graph, tokens, 1).expect("fits");
        assert_eq!(graph.value(back), &x);
    }

    /// Token 1 is row 0, column 1; ω = (1, 1/100).
    #[test]
    fn positions_encode_row_then_column() {
        let positions = small().positions(1);
        let second: Vec<f64> = positions
            .index_axis(ndarray::Axis(1), 1)
            .iter()
            .copied()
            .collect();
        let want = [
            0.0,
            0.0,
            1.0,
            1.0,
            1_f64.sin(),
            0.01_f64.sin(),
            1_f64.cos(),
            0.01_f64.cos(),
        ];
        for (got, want) in second.iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got} vs {want}");
        }
    }

    /// With one gate open at a time, the block is `x + attn(…)` or `x + mlp(…)`, on its own shift and scale.
    #[test]
    fn each_gate_opens_its_own_branch() {
        let dit = small();
        let value = |shape: &[usize], step: f64| {
            let mut k = 0.0;
            ArrayD::from_shape_simple_fn(IxDyn(shape), || {
                k += step;
                f64::sin(k)
            })
        };
        let affine = |name: &str, out: usize, inputs: usize, step: f64| {
            [
                (format!("{name}.weight"), value(&[out, inputs], step)),
                (format!("{name}.bias"), value(&[out], step + 0.1)),
            ]
        };
        let x = value(&[1, 4, 8], 0.83);
        for open in [2, 5] {
            let mut p: Parameters = affine("attn.qkv", 24, 8, 0.3)
                .into_iter()
                .chain(affine("attn.proj", 8, 8, 0.5))
                .chain(affine("mlp.0", 8, 8, 0.7))
                .chain(affine("mlp.1", 8, 8, 0.9))
                .chain(affine("ada", 48, 8, 1.1))
                .collect();
            p.insert("ada.weight".to_owned(), ArrayD::zeros(IxDyn(&[48, 8])));
            // shift₁ scale₁ gate₁ shift₂ scale₂ gate₂
            let mut modulation = [0.5, 0.25, 0.0, -0.5, 2.0, 0.0];
            modulation[open] = 3.0;
            let bias = ArrayD::from_shape_fn(IxDyn(&[48]), |i| modulation[i[0] / 8]);
            p.insert("ada.bias".to_owned(), bias);

            let mut graph = Graph::new(&p);
            let input = graph.input(x.clone());
            let emb = graph.input(ArrayD::zeros(IxDyn(&[1, 8])));
            let y = dit.block(&mut graph, input, emb).expect("fits");

            let n = nn::layer_norm(&x, None, 1e-6).expect("fits");
            let n = n * (1.0 + modulation[open - 1]) + modulation[open - 2];
            let mut alone = Graph::new(&p);
            let n = alone.input(n);
            let branch = if open == 2 {
                alone
                    .scope("attn", |g| self_attention(g, n, 1))
                    .expect("fits")
            } else {
                let hidden = alone.linear(n, "mlp.0", 8).expect("fits");
                let hidden = alone.gelu(hidden);
                alone.linear(hidden, "mlp.1", 8).expect("fits")
            };
            let want = &x + &(alone.value(branch) * 3.0);
            for (got, want) in graph.value(y).iter().zip(&want) {
                assert!((got - want).abs() < 1e-13, "{got} vs {want}");
            }
        }
    }
}
