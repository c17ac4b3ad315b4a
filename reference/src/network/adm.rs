//! The network of guided diffusion: ADM with its own names.

use super::edm::{class_rows, require_noise, sides};
use super::graph::{Graph, Value};
use super::{
    Architecture, Condition, Denoiser, Domain, NetworkError, Published, require_config,
    require_image, whole, within,
};
use crate::nn;
use serde::Deserialize;

/// Groups of every normalisation.
const GROUPS: usize = 32;

/// ADM as published with guided diffusion, with the names of its parameters.
///
/// # Parameters
/// `time_embed.{0,2}`, `label_emb`, `input_blocks.{i}.{j}`, `middle_block.{j}`, `output_blocks.{i}.{j}`, `out.{0,2}`; a block holds
/// `in_layers.{0,2}`, `emb_layers.1`, `out_layers.{0,3}` and, where the channels change, `skip_connection`; an attention `norm`, `qkv`,
/// `proj_out`, the last two as one-dimensional convolutions.
///
/// # Source
/// Dhariwal and Nichol 2021 (arXiv:2105.05233), §3 and App. I.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adm {
    /// Side of the square images.
    #[serde(default)]
    pub image_size: usize,
    /// Channels of the input.
    #[serde(default)]
    pub in_channels: usize,
    /// Channels of the output: twice as many where the variance is learned.
    #[serde(default)]
    pub out_channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub num_classes: usize,
    /// Unit of the channels.
    #[serde(alias = "num_channels")]
    pub model_channels: usize,
    /// Channels of each level, the finest first, in units of `model_channels`.
    pub channel_mult: Vec<f64>,
    /// Blocks of each level on the way down; one more on the way up.
    pub num_res_blocks: usize,
    /// Sides of images at which there is attention.
    pub attention_resolutions: Vec<usize>,
    /// Channels of a head of attention.
    pub num_head_channels: usize,
    /// Whether the rows of `qkv` are ordered (q, k, v), head, channel, and not head, (q, k, v), channel.
    pub use_new_attention_order: bool,
    /// Dropout of training, which a reference does not do.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the embedding scales and shifts after the normalisation: networks without are not built.
    #[serde(default = "yes")]
    pub use_scale_shift_norm: bool,
    /// Whether blocks change the resolution: networks without are not built.
    #[serde(default = "yes")]
    pub resblock_updown: bool,
}

fn yes() -> bool {
    true
}

/// In the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "adm",
    build: within::<Adm>,
    published: whole::<Adm>,
};

impl Published for Adm {
    fn within(self, domain: Domain) -> Self {
        Self {
            image_size: domain.size,
            in_channels: domain.channels,
            out_channels: domain.channels,
            num_classes: domain.classes.unwrap_or(0),
            ..self
        }
    }
}

/// What a block does to the resolution.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Half,
    Double,
}

impl Denoiser for Adm {
    fn smallest_image(&self) -> [usize; 3] {
        [self.in_channels, self.image_size, self.image_size]
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError> {
        for (flag, on) in [
            ("use_scale_shift_norm", self.use_scale_shift_norm),
            ("resblock_updown", self.resblock_updown),
        ] {
            require_config(on, flag, "true: networks without it are not built", 0)?;
        }
        let sides = sides(self.image_size, self.channel_mult.len())?;
        let [batch, ..] = require_image(graph, x, self.in_channels)?;
        if let Some(augment) = condition.augment {
            return Err(NetworkError::Unasked {
                what: "augmentation labels",
                got: augment.shape().get(1).copied().unwrap_or(0),
            });
        }
        let emb = self.embedding(graph, condition, batch)?;
        let (mut h, mut skips) = self.down(graph, x, emb, &sides)?;
        let width = graph.shape(h)[1];
        h = graph.scope("middle_block.0", |g| block(g, h, emb, width, Change::None))?;
        h = graph.scope("middle_block.1", |g| self.attention(g, h))?;
        h = graph.scope("middle_block.2", |g| block(g, h, emb, width, Change::None))?;
        h = self.up(graph, h, emb, &mut skips, &sides)?;
        h = graph.group_norm(h, "out.0", GROUPS)?;
        h = graph.silu(h);
        graph.conv2d(h, "out.2", self.out_channels, 3)
    }
}

impl Adm {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "multipliers are positive and small, and fractions are cut off as published"
    )]
    fn width(&self, level: usize) -> usize {
        (self.channel_mult[level] * self.model_channels as f64) as usize
    }

    /// `silu(time_embed.2(silu(time_embed.0([cos, sin]))) + classes · label_emb)`.
    fn embedding(
        &self,
        graph: &mut Graph<'_>,
        condition: Condition<'_>,
        batch: usize,
    ) -> Result<Value, NetworkError> {
        require_noise(condition, batch)?;
        let width = 4 * self.model_channels;
        let features = nn::step_features(condition.noise, self.model_channels)?;
        let e = graph.input(features);
        let e = graph.linear(e, "time_embed.0", width)?;
        let e = graph.silu(e);
        let mut e = graph.linear(e, "time_embed.2", width)?;
        if let Some(rows) = class_rows(condition, batch, self.num_classes)? {
            let table = graph.parameter("label_emb.weight", &[self.num_classes, width])?;
            let table = graph.permute(table, &[1, 0])?;
            let rows = graph.input(rows);
            let none = graph.input(ndarray::ArrayD::zeros(vec![width]));
            let label = graph.affine(rows, table, none)?;
            e = graph.add(e, label)?;
        }
        Ok(graph.silu(e))
    }

    fn down(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        emb: Value,
        sides: &[usize],
    ) -> Result<(Value, Vec<Value>), NetworkError> {
        let mut h = graph.conv2d(x, "input_blocks.0.0", self.width(0), 3)?;
        let mut skips = vec![h];
        for (level, side) in sides.iter().enumerate() {
            for _ in 0..self.num_res_blocks {
                let name = format!("input_blocks.{}", skips.len());
                h = self.stage(graph, h, emb, level, *side, &name)?;
                skips.push(h);
            }
            if level + 1 < sides.len() {
                let (name, width) = (format!("input_blocks.{}.0", skips.len()), graph.shape(h)[1]);
                h = graph.scope(&name, |g| block(g, h, emb, width, Change::Half))?;
                skips.push(h);
            }
        }
        Ok((h, skips))
    }

    fn up(
        &self,
        graph: &mut Graph<'_>,
        mut h: Value,
        emb: Value,
        skips: &mut Vec<Value>,
        sides: &[usize],
    ) -> Result<Value, NetworkError> {
        let mut i = 0;
        for (level, &side) in sides.iter().enumerate().rev() {
            for of_level in 0..=self.num_res_blocks {
                if let Some(skip) = skips.pop() {
                    h = graph.concat(h, skip, 1)?;
                }
                let name = format!("output_blocks.{i}");
                h = self.stage(graph, h, emb, level, side, &name)?;
                if level > 0 && of_level == self.num_res_blocks {
                    let place = 1 + usize::from(self.attention_resolutions.contains(&side));
                    let width = graph.shape(h)[1];
                    h = graph.scope(&format!("{name}.{place}"), |g| {
                        block(g, h, emb, width, Change::Double)
                    })?;
                }
                i += 1;
            }
        }
        Ok(h)
    }

    /// A block of a level, and its attention if there is one at the side.
    fn stage(
        &self,
        graph: &mut Graph<'_>,
        h: Value,
        emb: Value,
        level: usize,
        side: usize,
        name: &str,
    ) -> Result<Value, NetworkError> {
        let width = self.width(level);
        let h = graph.scope(&format!("{name}.0"), |g| {
            block(g, h, emb, width, Change::None)
        })?;
        if !self.attention_resolutions.contains(&side) {
            return Ok(h);
        }
        graph.scope(&format!("{name}.1"), |g| self.attention(g, h))
    }

    /// `x + proj_out(attention(qkv(norm(x))))` over the pixels.
    fn attention(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let shape = graph.shape(x);
        let [b, c, t] = [shape[0], shape[1], shape[2] * shape[3]];
        let d = self.num_head_channels;
        let must = format!("a divisor of the {c} channels");
        require_config(d > 0 && c.is_multiple_of(d), "num_head_channels", &must, d)?;
        let heads = c / d;
        let n = graph.group_norm(x, "norm", GROUPS)?;
        let n = graph.reshape(n, &[b, c, t])?;
        let tokens = graph.permute(n, &[0, 2, 1])?;
        let qkv = pointwise(graph, tokens, "qkv", 3 * c)?;
        let mut parts = Vec::with_capacity(3);
        let (split, axis) = if self.use_new_attention_order {
            ([b, t, 3, heads, d], 2)
        } else {
            ([b, t, heads, 3, d], 3)
        };
        let qkv = graph.reshape(qkv, &split)?;
        for part in graph.chunk(qkv, axis, 3)? {
            let part = graph.reshape(part, &[b, t, heads, d])?;
            let part = graph.permute(part, &[0, 2, 1, 3])?;
            parts.push(graph.reshape(part, &[b * heads, t, d])?);
        }
        let y = graph.attention(parts[0], parts[1], parts[2])?;
        let y = graph.reshape(y, &[b, heads, t, d])?;
        let y = graph.permute(y, &[0, 2, 1, 3])?;
        let y = graph.reshape(y, &[b, t, c])?;
        let y = pointwise(graph, y, "proj_out", c)?;
        let y = graph.permute(y, &[0, 2, 1])?;
        let y = graph.reshape(y, &shape)?;
        graph.add(x, y)
    }
}

/// A one-dimensional convolution with kernels of one place: an affine map of each token.
fn pointwise(
    graph: &mut Graph<'_>,
    tokens: Value,
    name: &str,
    out: usize,
) -> Result<Value, NetworkError> {
    let inputs = graph.shape(tokens)[2];
    let weight = graph.parameter(&format!("{name}.weight"), &[out, inputs, 1])?;
    let weight = graph.reshape(weight, &[out, inputs])?;
    let bias = graph.parameter(&format!("{name}.bias"), &[out])?;
    graph.affine(tokens, weight, bias)
}

/// A residual block.
///
/// ```text
/// h = in_layers.2(resampled(silu(in_layers.0(x))));   (s, t) = halves of emb_layers.1(e)
/// y = skip(resampled(x)) + out_layers.3(silu(out_layers.0(h) (1 + s) + t))
/// ```
fn block(
    graph: &mut Graph<'_>,
    x: Value,
    emb: Value,
    out: usize,
    change: Change,
) -> Result<Value, NetworkError> {
    let resampled = |graph: &mut Graph<'_>, x: Value| match change {
        Change::None => Ok(x),
        Change::Half => graph.avg_pool2x(x),
        Change::Double => graph.upsample_nearest2x(x),
    };
    let inputs = graph.shape(x)[1];
    let h = graph.group_norm(x, "in_layers.0", GROUPS)?;
    let h = graph.silu(h);
    let h = resampled(graph, h)?;
    let h = graph.conv2d(h, "in_layers.2", out, 3)?;
    let affine = graph.linear(emb, "emb_layers.1", 2 * out)?;
    let halves = graph.chunk(affine, 1, 2)?;
    let h = graph.group_norm(h, "out_layers.0", GROUPS)?;
    let h = graph.modulate(h, halves[0], halves[1], 1)?;
    let h = graph.silu(h);
    let h = graph.conv2d(h, "out_layers.3", out, 3)?;
    let x = resampled(graph, x)?;
    let skip = if inputs == out {
        x
    } else {
        graph.conv2d(x, "skip_connection", out, 1)?
    };
    graph.add(skip, h)
}
