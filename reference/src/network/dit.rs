//! The diffusion transformer as it was published, with its names.

use super::blocks::{gated, self_attention};
use super::graph::{Graph, Value};
use super::{
    Architecture, Condition, Denoiser, NetworkError, given, refuse_unasked, require_config,
    require_counts, require_image,
};
use crate::nn;
use ndarray::{Array3, ArrayD};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Sinusoidal features of the number of the step.
const STEP_FEATURES: usize = 256;

/// The published diffusion transformer.
///
/// Its noise condition is the number of a step, t ∈ [0, 1000), which need not be whole; `pos_embed` is stored with the parameters
/// and not trained.
///
/// # Parameters
/// `x_embedder.proj`, `t_embedder.mlp.{0,2}`, `y_embedder.embedding_table`,
/// `blocks.{i}.{attn.qkv, attn.proj, mlp.fc1, mlp.fc2, adaLN_modulation.1}`, `final_layer.{linear, adaLN_modulation.1}`.
///
/// # Source
/// Peebles and Xie 2023 (arXiv:2212.09748); names and sizes as in facebookresearch/DiT.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dit {
    /// Side of the square image.
    pub input_size: usize,
    /// Side of a patch; divides `input_size`.
    pub patch_size: usize,
    /// Channels of the image.
    pub in_channels: usize,
    /// Width of a token, a multiple of 4; also of the condition.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of every attention; divides `hidden_size`.
    pub num_heads: usize,
    /// Hidden width of the perceptron over `hidden_size`; the product is rounded down.
    pub mlp_ratio: f64,
    /// Probability with which training replaces a label by "no class"; at 0 the table has no such row.
    pub class_dropout_prob: f64,
    /// Number of classes; `None` for a network that is told none.
    pub num_classes: Option<usize>,
    /// Whether the output has a second half, of variances.
    pub learn_sigma: bool,
    /// Whether that half is left out of the output.
    #[serde(skip)]
    pub first_half: bool,
}

impl Default for Dit {
    fn default() -> Self {
        Self {
            input_size: 32,
            patch_size: 2,
            in_channels: 4,
            hidden_size: 1152,
            depth: 28,
            num_heads: 16,
            mlp_ratio: 4.0,
            class_dropout_prob: 0.1,
            num_classes: Some(1000),
            learn_sigma: true,
            first_half: false,
        }
    }
}

/// The published transformer in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "dit",
    build: |dimensions, domain| Ok(Box::new(given::<Dit>(dimensions)?.of(domain))),
    published: |config| Ok(Box::new(given::<Dit>(config)?)),
};

impl Dit {
    /// The same network for these images and classes.
    #[must_use]
    pub(super) fn of(self, domain: super::Domain) -> Self {
        Self {
            in_channels: domain.channels,
            input_size: domain.size,
            num_classes: domain.classes,
            ..self
        }
    }

    fn check(&self) -> Result<(), NetworkError> {
        let width = self.hidden_size;
        let quarters = width > 0 && width.is_multiple_of(4);
        require_config(quarters, "hidden_size", "a positive multiple of 4", width)?;
        let (size, patch) = (self.input_size, self.patch_size);
        let must = format!("a divisor of the image side {size}");
        let divides = patch > 0 && size > 0 && size.is_multiple_of(patch);
        require_config(divides, "patch_size", &must, patch)
    }

    /// Tokens along a side.
    fn grid(&self) -> usize {
        self.input_size / self.patch_size
    }

    /// Channels before any half is left out.
    fn predicted(&self) -> usize {
        self.in_channels * if self.learn_sigma { 2 } else { 1 }
    }

    /// Hidden width of the perceptrons.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as published: the product, rounded down; a negative ratio gives 0"
    )]
    fn hidden(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio) as usize
    }

    /// Rows of the class table.
    fn rows(&self, classes: usize) -> usize {
        classes + usize::from(self.class_dropout_prob > 0.0)
    }

    /// Positions at the start, `[1, T, D]`: the first half of a token's vector from its *column* c, the second from its row,
    /// each `[sin(c ω_k) …, cos(c ω_k) …]` with `ω_k = 10000^{−k/(D/4)}`. `[eq:column-positions]`
    ///
    /// # Errors
    /// A width or a patch that does not fit.
    pub fn positions(&self) -> Result<ArrayD<f64>, NetworkError> {
        self.check()?;
        let (n, quarter) = (self.grid(), self.hidden_size / 4);
        let shape = (1, n * n, self.hidden_size);
        let position = |(_, token, i): (usize, usize, usize)| {
            let at = if i < 2 * quarter {
                token % n
            } else {
                token / n
            };
            let phase = at as f64 / 10_000_f64.powf((i % quarter) as f64 / quarter as f64);
            if (i / quarter).is_multiple_of(2) {
                phase.sin()
            } else {
                phase.cos()
            }
        };
        Ok(Array3::from_shape_fn(shape, position).into_dyn())
    }

    /// The condition of every block, t's embedding and the class's: `[B, D]`.
    fn condition(
        &self,
        graph: &mut Graph<'_>,
        condition: Condition<'_>,
        batch: usize,
    ) -> Result<Value, NetworkError> {
        refuse_unasked(condition)?;
        require_counts(condition, batch)?;
        let width = self.hidden_size;
        let features = graph.input(nn::step_features(condition.noise, STEP_FEATURES)?);
        let hidden = graph.linear(features, "t_embedder.mlp.0", width)?;
        let hidden = graph.silu(hidden);
        let time = graph.linear(hidden, "t_embedder.mlp.2", width)?;
        graph.note("t_embedder", time);
        let Some(classes) = self.num_classes else {
            return match condition.labels {
                Some(_) => Err(NetworkError::NoClasses),
                None => Ok(time),
            };
        };
        // Without the row of "no class" the table refuses its index.
        let none = u32::try_from(classes).unwrap_or(u32::MAX);
        let labels = condition
            .labels
            .map_or_else(|| vec![none; batch], <[u32]>::to_vec);
        let rows = self.rows(classes);
        let table = graph.parameter("y_embedder.embedding_table.weight", &[rows, width])?;
        let class = graph.rows(table, labels)?;
        graph.note("y_embedder", class);
        graph.add(time, class)
    }

    /// The convolution with stride p of the patches, `[B, C, S, S]` → `[B, T, D]`, as a linear map of their numbers.
    fn embed(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let (n, p, c, width) = (
            self.grid(),
            self.patch_size,
            self.in_channels,
            self.hidden_size,
        );
        let batch = graph.shape(x)[0];
        let x = graph.reshape(x, &[batch, c, n, p, n, p])?;
        let x = graph.permute(x, &[0, 2, 4, 1, 3, 5])?;
        let patches = graph.reshape(x, &[batch, n * n, c * p * p])?;
        let kernel = graph.parameter("x_embedder.proj.weight", &[width, c, p, p])?;
        let weight = graph.reshape(kernel, &[width, c * p * p])?;
        let bias = graph.parameter("x_embedder.proj.bias", &[width])?;
        graph.affine(patches, weight, bias)
    }

    /// `x += gate₁ · attn(mod₁(LN x));  x += gate₂ · mlp(mod₂(LN x))`, modulated by `emb` = silu(condition).
    fn block(&self, graph: &mut Graph<'_>, x: Value, emb: Value) -> Result<Value, NetworkError> {
        let width = self.hidden_size;
        let ada = graph.linear(emb, "adaLN_modulation.1", 6 * width)?;
        let m = graph.chunk(ada, 1, 6)?;
        let n = graph.layer_norm(x)?;
        let n = graph.modulate(n, m[1], m[0], 2)?;
        let n = graph.scope("attn", |g| self_attention(g, n, self.num_heads))?;
        graph.note("attn", n);
        let x = gated(graph, x, m[2], n)?;
        let n = graph.layer_norm(x)?;
        let n = graph.modulate(n, m[4], m[3], 2)?;
        let n = graph.linear(n, "mlp.fc1", self.hidden())?;
        let n = graph.gelu(n);
        let n = graph.linear(n, "mlp.fc2", width)?;
        gated(graph, x, m[5], n)
    }

    /// `[B, T, p·p·O]` → `[B, O, S, S]`; inside a token row, column, channel.
    fn unpatchify(&self, graph: &mut Graph<'_>, tokens: Value) -> Result<Value, NetworkError> {
        let (n, p, out) = (self.grid(), self.patch_size, self.predicted());
        let batch = graph.shape(tokens)[0];
        let x = graph.reshape(tokens, &[batch, n, n, p, p, out])?;
        let x = graph.permute(x, &[0, 5, 1, 3, 2, 4])?;
        graph.reshape(x, &[batch, out, self.input_size, self.input_size])
    }
}

impl Denoiser for Dit {
    fn smallest_image(&self) -> [usize; 3] {
        [self.in_channels, self.input_size, self.input_size]
    }

    fn out_channels(&self) -> usize {
        if self.first_half {
            self.in_channels
        } else {
            self.predicted()
        }
    }

    /// As listed in the publication, without running anything.
    fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        self.check()?;
        let (d, p, n) = (self.hidden_size, self.patch_size, self.grid());
        let mut shapes = BTreeMap::from([
            ("pos_embed".to_owned(), vec![1, n * n, d]),
            (
                "x_embedder.proj.weight".to_owned(),
                vec![d, self.in_channels, p, p],
            ),
            ("x_embedder.proj.bias".to_owned(), vec![d]),
        ]);
        if let Some(classes) = self.num_classes {
            let table = "y_embedder.embedding_table.weight".to_owned();
            shapes.insert(table, vec![self.rows(classes), d]);
        }
        let mut affine = |name: String, inputs: usize, outputs: usize| {
            shapes.insert(format!("{name}.weight"), vec![outputs, inputs]);
            shapes.insert(format!("{name}.bias"), vec![outputs]);
        };
        affine("t_embedder.mlp.0".to_owned(), STEP_FEATURES, d);
        affine("t_embedder.mlp.2".to_owned(), d, d);
        for i in 0..self.depth {
            affine(format!("blocks.{i}.attn.qkv"), d, 3 * d);
            affine(format!("blocks.{i}.attn.proj"), d, d);
            affine(format!("blocks.{i}.mlp.fc1"), d, self.hidden());
            affine(format!("blocks.{i}.mlp.fc2"), self.hidden(), d);
            affine(format!("blocks.{i}.adaLN_modulation.1"), d, 6 * d);
        }
        affine("final_layer.linear".to_owned(), d, p * p * self.predicted());
        affine("final_layer.adaLN_modulation.1".to_owned(), d, 2 * d);
        Ok(shapes)
    }

    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError> {
        self.check()?;
        let [batch, _, h, w] = require_image(graph, x, self.in_channels)?;
        for side in [h, w] {
            let must = format!("the configured {}", self.input_size);
            require_config(side == self.input_size, "image side", &must, side)?;
        }
        let (tokens, width) = (self.grid() * self.grid(), self.hidden_size);
        let embedded = self.embed(graph, x)?;
        graph.note("x_embedder", embedded);
        let positions = graph.fixed("pos_embed", &[1, tokens, width])?;
        let positions = graph.repeat(positions, batch)?;
        let mut h = graph.add(embedded, positions)?;
        let c = self.condition(graph, condition, batch)?;
        let emb = graph.silu(c);
        for i in 0..self.depth {
            let name = format!("blocks.{i}");
            h = graph.scope(&name, |g| self.block(g, h, emb))?;
            graph.note(&name, h);
        }
        let h = graph.scope("final_layer", |g| {
            let ada = g.linear(emb, "adaLN_modulation.1", 2 * width)?;
            let m = g.chunk(ada, 1, 2)?;
            let n = g.layer_norm(h)?;
            let n = g.modulate(n, m[1], m[0], 2)?;
            let numbers = self.patch_size * self.patch_size * self.predicted();
            g.linear(n, "linear", numbers)
        })?;
        graph.note("final_layer", h);
        let y = self.unpatchify(graph, h)?;
        graph.narrow(y, 1, 0, self.out_channels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::recorded_shapes;

    /// The listed shapes are those that a pass asks for, with and without classes, variances and a row of "no class".
    #[test]
    fn listed_shapes_are_those_of_a_pass() {
        for (classes, learn_sigma, class_dropout_prob, patch_size) in [
            (None, true, 0.1, 2),
            (Some(3), false, 0.1, 4),
            (Some(3), true, 0.0, 1),
        ] {
            let dit = Dit {
                input_size: 4,
                patch_size,
                in_channels: 3,
                hidden_size: 12,
                depth: 2,
                num_heads: 3,
                mlp_ratio: 1.3,
                class_dropout_prob,
                num_classes: classes,
                learn_sigma,
                first_half: false,
            };
            let condition = Condition::new(&[0.5], classes.map(|_| &[0_u32][..]));
            let asked = recorded_shapes(&[1, 3, 4, 4], |g, x| dit.build(g, x, condition));
            assert_eq!(asked, dit.parameter_shapes());
        }
    }

    /// Token 1 is row 0, column 1: its first half tells the column; ω = (1, 1/100).
    #[test]
    fn positions_tell_the_column_first() {
        let dit = Dit {
            input_size: 4,
            hidden_size: 8,
            ..Dit::default()
        };
        let positions = dit.positions().expect("fits");
        let got: Vec<f64> = positions.iter().skip(8).take(8).copied().collect();
        let (sin, cos) = (f64::sin, f64::cos);
        let want = [sin(1.0), sin(0.01), cos(1.0), cos(0.01), 0.0, 0.0, 1.0, 1.0];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got} vs {want}");
        }
    }
}
