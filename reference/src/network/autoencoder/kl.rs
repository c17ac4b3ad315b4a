//! The autoencoder of Stable Diffusion.

use super::{Autoencoder, Latent, gaussian_latent};
use crate::network::graph::{Graph, Value};
use crate::network::{NetworkError, require_config, require_image};
use crate::nn::Conv2dOptions;
use ndarray::ArrayD;
use serde::Deserialize;

/// Added to the variance in every normalisation.
const EPS: f64 = 1e-6;

/// The autoencoder of Stable Diffusion, with diffusers' names.
///
/// # Parameters
/// `encoder.conv_in`, `encoder.down_blocks.{i}.{resnets.{j},downsamplers.0.conv}`, `{encoder,decoder}.mid_block.{resnets.{0,1},attentions.0}`,
/// `{encoder,decoder}.{conv_norm_out,conv_out}`, `decoder.conv_in`, `decoder.up_blocks.{i}.{resnets.{j},upsamplers.0.conv}`, `quant_conv`,
/// `post_quant_conv`.
///
/// # Source
/// Rombach et al. 2022 (arXiv:2112.10752), App. G, after Esser et al. 2021 (arXiv:2012.09841).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the published keys")]
pub struct AutoencoderKl {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of those that are decoded.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each level, the finest first.
    pub block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of every normalisation.
    pub norm_num_groups: usize,
    /// Whether there is attention between the two blocks of the coarsest level.
    pub mid_block_add_attention: bool,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// What a latent is multiplied by for a diffusion model.
    pub scaling_factor: f64,
    /// What is taken from it before.
    pub shift_factor: f64,
    /// Said of a published file; of no account here.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// As above.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// As above: the one that is built.
    pub act_fn: String,
    /// As above: the ones that are built.
    pub down_block_types: Vec<String>,
    /// As above: the ones that are built.
    pub up_block_types: Vec<String>,
    /// As above.
    pub sample_size: usize,
    /// As above.
    pub force_upcast: bool,
}

impl Default for AutoencoderKl {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            mid_block_add_attention: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            scaling_factor: 0.18215,
            shift_factor: 0.0,
            class_name: String::new(),
            diffusers_version: String::new(),
            act_fn: "silu".to_owned(),
            down_block_types: Vec::new(),
            up_block_types: Vec::new(),
            sample_size: 0,
            force_upcast: true,
        }
    }
}

impl Autoencoder for AutoencoderKl {
    fn encode(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let (coarsest, _) = self.check()?;
        require_image(graph, x, self.in_channels)?;
        let h = graph.scope("encoder", |g| {
            let mut h = g.conv2d(x, "conv_in", self.block_out_channels[0], 3)?;
            for (i, &width) in self.block_out_channels.iter().enumerate() {
                h = g.scope(&format!("down_blocks.{i}"), |g| {
                    for j in 0..self.layers_per_block {
                        h = g.scope(&format!("resnets.{j}"), |g| self.block(g, h, width))?;
                    }
                    Ok(h)
                })?;
                if i < coarsest {
                    let name = format!("down_blocks.{i}.downsamplers.0.conv");
                    h = halved(g, h, &name, width)?;
                }
            }
            h = g.scope("mid_block", |g| self.middle(g, h))?;
            h = g.group_norm_eps(h, "conv_norm_out", self.norm_num_groups, EPS)?;
            h = g.silu(h);
            g.conv2d(h, "conv_out", 2 * self.latent_channels, 3)
        })?;
        if self.use_quant_conv {
            return graph.conv2d(h, "quant_conv", 2 * self.latent_channels, 1);
        }
        Ok(h)
    }

    fn decode(&self, graph: &mut Graph<'_>, z: Value) -> Result<Value, NetworkError> {
        let (coarsest, widest) = self.check()?;
        require_image(graph, z, self.latent_channels)?;
        let z = if self.use_post_quant_conv {
            graph.conv2d(z, "post_quant_conv", self.latent_channels, 1)?
        } else {
            z
        };
        graph.scope("decoder", |g| {
            let mut h = g.conv2d(z, "conv_in", widest, 3)?;
            h = g.scope("mid_block", |g| self.middle(g, h))?;
            for (i, &width) in self.block_out_channels.iter().rev().enumerate() {
                h = g.scope(&format!("up_blocks.{i}"), |g| {
                    for j in 0..=self.layers_per_block {
                        h = g.scope(&format!("resnets.{j}"), |g| self.block(g, h, width))?;
                    }
                    if i < coarsest {
                        h = g.upsample_nearest2x(h)?;
                        h = g.conv2d(h, "upsamplers.0.conv", width, 3)?;
                    }
                    Ok(h)
                })?;
            }
            h = g.group_norm_eps(h, "conv_norm_out", self.norm_num_groups, EPS)?;
            h = g.silu(h);
            g.conv2d(h, "conv_out", self.out_channels, 3)
        })
    }

    fn latent(&self, moments: &ArrayD<f64>) -> Result<Latent, NetworkError> {
        gaussian_latent(moments)
    }

    fn smallest(&self) -> [[usize; 3]; 2] {
        let side = 1 << self.block_out_channels.len().saturating_sub(1).min(16);
        [[self.in_channels, side, side], [self.latent_channels, 1, 1]]
    }
}

impl AutoencoderKl {
    /// The index of the coarsest level and its channels.
    fn check(&self) -> Result<(usize, usize), NetworkError> {
        let others = self.down_block_types.iter().chain(&self.up_block_types);
        let is_built =
            |kind: &String| ["DownEncoderBlock2D", "UpDecoderBlock2D"].contains(&&**kind);
        for (what, as_built) in [
            ("act_fn", self.act_fn == "silu"),
            (
                "down_block_types, up_block_types",
                others.clone().all(is_built),
            ),
        ] {
            require_config(as_built, what, "the published one: others are not built", 0)?;
        }
        let Some(&widest) = self.block_out_channels.last() else {
            let must = "of at least one level";
            require_config(false, "block_out_channels", must, 0)?;
            return Ok((0, 0));
        };
        for &width in &self.block_out_channels {
            let groups = self.norm_num_groups;
            let fits = groups > 0 && width > 0 && width.is_multiple_of(groups);
            let must = format!("a divisor of the {width} channels of a level");
            require_config(fits, "norm_num_groups", &must, groups)?;
        }
        Ok((self.block_out_channels.len() - 1, widest))
    }

    /// `resnets.0`, attention, `resnets.1`.
    fn middle(&self, graph: &mut Graph<'_>, h: Value) -> Result<Value, NetworkError> {
        let width = graph.shape(h)[1];
        let mut h = graph.scope("resnets.0", |g| self.block(g, h, width))?;
        if self.mid_block_add_attention {
            h = graph.scope("attentions.0", |g| self.attention(g, h))?;
        }
        graph.scope("resnets.1", |g| self.block(g, h, width))
    }

    /// `skip(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`.
    fn block(&self, graph: &mut Graph<'_>, x: Value, out: usize) -> Result<Value, NetworkError> {
        let mut h = x;
        for layer in 1..=2 {
            h = graph.group_norm_eps(h, &format!("norm{layer}"), self.norm_num_groups, EPS)?;
            h = graph.silu(h);
            h = graph.conv2d(h, &format!("conv{layer}"), out, 3)?;
        }
        let skip = if graph.shape(x)[1] == out {
            x
        } else {
            graph.conv2d(x, "conv_shortcut", out, 1)?
        };
        graph.add(skip, h)
    }

    /// `x + to_out(attention(q, k, v))` of one head over the pixels.
    fn attention(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let shape = graph.shape(x);
        let [b, c, t] = [shape[0], shape[1], shape[2] * shape[3]];
        let n = graph.group_norm_eps(x, "group_norm", self.norm_num_groups, EPS)?;
        let n = graph.reshape(n, &[b, c, t])?;
        let tokens = graph.permute(n, &[0, 2, 1])?;
        let [q, k, v] = ["to_q", "to_k", "to_v"].map(|name| graph.linear(tokens, name, c));
        let y = graph.attention(q?, k?, v?)?;
        let y = graph.linear(y, "to_out.0", c)?;
        let y = graph.permute(y, &[0, 2, 1])?;
        let y = graph.reshape(y, &shape)?;
        graph.add(x, y)
    }
}

/// A 3×3 convolution of every second pixel; zeros stand beyond the last row and column only.
fn halved(graph: &mut Graph<'_>, x: Value, name: &str, out: usize) -> Result<Value, NetworkError> {
    let mut x = x;
    for axis in [2, 3] {
        let mut shape = graph.shape(x);
        shape[axis] = 1;
        let zeros = graph.input(ArrayD::zeros(shape));
        x = graph.concat(x, zeros, axis)?;
    }
    let channels = graph.shape(x)[1];
    let weight = graph.parameter(&format!("{name}.weight"), &[out, channels, 3, 3])?;
    let bias = graph.parameter(&format!("{name}.bias"), &[out])?;
    let options = Conv2dOptions {
        stride: 2,
        padding: 0,
    };
    graph.convolve(x, weight, bias, options)
}
