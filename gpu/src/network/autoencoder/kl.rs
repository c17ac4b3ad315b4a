//! The autoencoder of Stable Diffusion.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::layers::Kernels;
use super::{Autoencoder, Half, Latent, Sides, check_image, check_scaling, gaussian, published};
use crate::network::edm::layers::{Law, Map, Norm, Start};
use crate::nn::{Packing, self_attention, upsample_nearest2x};
use crate::params::Builder;
use crate::{Error, Result};

/// Added to the variance in every normalisation.
const EPS: f64 = 1e-6;

/// Shape of an autoencoder of Stable Diffusion, with diffusers' keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the published keys")]
pub struct KlConfig {
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
    /// Said of a published file, of no account here; so are the other keys below that are not checked.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// See above.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// The activation, which must be `silu`.
    pub act_fn: String,
    /// The kinds of levels, which must be `DownEncoderBlock2D`.
    pub down_block_types: Vec<String>,
    /// The kinds of levels, which must be `UpDecoderBlock2D`.
    pub up_block_types: Vec<String>,
    /// See above.
    pub sample_size: usize,
    /// See above.
    pub force_upcast: bool,
}

impl Default for KlConfig {
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

impl KlConfig {
    pub(super) fn checked(self) -> Result<Self> {
        let down = self
            .down_block_types
            .iter()
            .all(|kind| kind == "DownEncoderBlock2D");
        let up = self
            .up_block_types
            .iter()
            .all(|kind| kind == "UpDecoderBlock2D");
        published([
            ("act_fn", self.act_fn == "silu", self.act_fn.clone()),
            ("down_block_types", down, self.down_block_types.join(", ")),
            ("up_block_types", up, self.up_block_types.join(", ")),
        ])?;
        check_scaling(self.scaling())?;
        for (key, count) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("norm_num_groups", self.norm_num_groups),
            (
                "number of block_out_channels",
                self.block_out_channels.len(),
            ),
        ] {
            if count == 0 {
                return Err(Error::invalid(key, "be positive", count));
            }
        }
        if self.block_out_channels.len() > 16 {
            let got = self.block_out_channels.len();
            return Err(Error::invalid(
                "number of block_out_channels",
                "be at most 16",
                got,
            ));
        }
        Ok(self)
    }

    fn widest(&self) -> usize {
        self.block_out_channels.last().copied().unwrap_or(0)
    }

    fn norm(&self, channels: usize, at: &Builder) -> Result<Norm> {
        Norm::new(self.norm_num_groups, channels, EPS, at)
    }

    /// Blocks of a level, which change the channels from `width`.
    fn blocks(
        &self,
        count: usize,
        width: &mut usize,
        to: usize,
        at: &Builder,
    ) -> Result<Vec<Block>> {
        let block = |j| {
            let from = std::mem::replace(width, to);
            Block::new(self, [from, to], &at.pp(format!("resnets.{j}")))
        };
        (0..count).map(block).collect()
    }
}

impl Autoencoder for KlConfig {
    fn sides(&self) -> Sides {
        let factor = 1 << (self.block_out_channels.len() - 1);
        Sides {
            image: self.in_channels,
            decoded: self.out_channels,
            latent: self.latent_channels,
            moments: 2 * self.latent_channels,
            down: factor,
            up: factor,
        }
    }

    fn scaling(&self) -> [f64; 2] {
        [self.scaling_factor, self.shift_factor]
    }

    fn encoder(&self, at: &Builder) -> Result<Box<dyn Half>> {
        let inner = at.pp("encoder");
        let (first, moments) = (self.block_out_channels[0], 2 * self.latent_channels);
        let mut width = first;
        let coarsest = self.block_out_channels.len() - 1;
        let mut levels = Vec::new();
        for (i, &to) in self.block_out_channels.iter().enumerate() {
            let at = inner.pp(format!("down_blocks.{i}"));
            let blocks = self.blocks(self.layers_per_block, &mut width, to, &at)?;
            let down =
                (i < coarsest).then(|| Kernels::new([to, to], 3, &at.pp("downsamplers.0.conv")));
            levels.push((blocks, down.transpose()?));
        }
        let quant = self
            .use_quant_conv
            .then(|| Kernels::new([moments; 2], 1, &at.pp("quant_conv")));
        Ok(Box::new(Encoder {
            conv_in: Kernels::new([self.in_channels, first], 3, &inner.pp("conv_in"))?,
            levels,
            middle: Middle::new(self, &inner.pp("mid_block"))?,
            norm_out: self.norm(width, &inner.pp("conv_norm_out"))?,
            conv_out: Kernels::new([width, moments], 3, &inner.pp("conv_out"))?,
            quant: quant.transpose()?,
            sides: self.sides(),
        }))
    }

    fn decoder(&self, at: &Builder) -> Result<Box<dyn Half>> {
        let (inner, latent) = (at.pp("decoder"), self.latent_channels);
        let mut width = self.widest();
        let coarsest = self.block_out_channels.len() - 1;
        let mut levels = Vec::new();
        for (i, &to) in self.block_out_channels.iter().rev().enumerate() {
            let at = inner.pp(format!("up_blocks.{i}"));
            let blocks = self.blocks(self.layers_per_block + 1, &mut width, to, &at)?;
            let up = (i < coarsest).then(|| Kernels::new([to, to], 3, &at.pp("upsamplers.0.conv")));
            levels.push((blocks, up.transpose()?));
        }
        let post = (self.use_post_quant_conv)
            .then(|| Kernels::new([latent; 2], 1, &at.pp("post_quant_conv")));
        Ok(Box::new(Decoder {
            post: post.transpose()?,
            conv_in: Kernels::new([latent, self.widest()], 3, &inner.pp("conv_in"))?,
            middle: Middle::new(self, &inner.pp("mid_block"))?,
            levels,
            norm_out: self.norm(width, &inner.pp("conv_norm_out"))?,
            conv_out: Kernels::new([width, self.out_channels], 3, &inner.pp("conv_out"))?,
            latent,
        }))
    }

    fn latent(&self, moments: &Tensor) -> Result<Latent> {
        gaussian(moments)
    }
}

/// From images to moments.
///
/// # Source
/// Rombach et al. 2022 (arXiv:2112.10752), App. G, after Esser et al. 2021 (arXiv:2012.09841).
struct Encoder {
    conv_in: Kernels,
    levels: Vec<(Vec<Block>, Option<Kernels>)>,
    middle: Middle,
    norm_out: Norm,
    conv_out: Kernels,
    quant: Option<Kernels>,
    sides: Sides,
}

impl Half for Encoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check_image("images to encode", x, self.sides.image, self.sides.down)?;
        let mut h = self.conv_in.forward(x)?;
        for (blocks, down) in &self.levels {
            h = through(blocks, h)?;
            if let Some(down) = down {
                // Zeros stand beyond the last row and column only.
                h = down.forward_halved(&h, false)?;
            }
        }
        h = self.middle.forward(&h)?;
        let moments = self.conv_out.forward(&self.norm_out.forward_silu(&h)?)?;
        match &self.quant {
            Some(quant) => quant.forward(&moments),
            None => Ok(moments),
        }
    }
}

/// From latents to images.
struct Decoder {
    post: Option<Kernels>,
    conv_in: Kernels,
    middle: Middle,
    levels: Vec<(Vec<Block>, Option<Kernels>)>,
    norm_out: Norm,
    conv_out: Kernels,
    latent: usize,
}

impl Half for Decoder {
    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        check_image("latents to decode", z, self.latent, 1)?;
        let z = match &self.post {
            Some(post) => post.forward(z)?,
            None => z.clone(),
        };
        let mut h = self.middle.forward(&self.conv_in.forward(&z)?)?;
        for (blocks, up) in &self.levels {
            h = through(blocks, h)?;
            if let Some(up) = up {
                h = up.forward(&upsample_nearest2x(&h)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&h)?)
    }
}

fn through(blocks: &[Block], x: Tensor) -> Result<Tensor> {
    blocks.iter().try_fold(x, |h, block| block.forward(&h))
}

/// `resnets.0`, attention, `resnets.1`.
struct Middle {
    blocks: Vec<Block>,
    attention: Option<Attention>,
}

impl Middle {
    fn new(config: &KlConfig, at: &Builder) -> Result<Self> {
        let mut width = config.widest();
        let attention = (config.mid_block_add_attention)
            .then(|| Attention::new(config, width, &at.pp("attentions.0")));
        Ok(Self {
            attention: attention.transpose()?,
            blocks: config.blocks(2, &mut width, config.widest(), at)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.blocks[0].forward(x)?;
        if let Some(attention) = &self.attention {
            h = attention.forward(&h)?;
        }
        self.blocks[1].forward(&h)
    }
}

/// `skip(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`.
struct Block {
    layers: [(Norm, Kernels); 2],
    skip: Option<Kernels>,
}

impl Block {
    fn new(config: &KlConfig, [inputs, outputs]: [usize; 2], at: &Builder) -> Result<Self> {
        let layer = |i: usize, from: usize| {
            let norm = config.norm(from, &at.pp(format!("norm{i}")))?;
            let conv = Kernels::new([from, outputs], 3, &at.pp(format!("conv{i}")))?;
            Ok::<_, Error>((norm, conv))
        };
        let skip = (inputs != outputs)
            .then(|| Kernels::new([inputs, outputs], 1, &at.pp("conv_shortcut")));
        Ok(Self {
            layers: [layer(1, inputs)?, layer(2, outputs)?],
            skip: skip.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (norm, conv) in &self.layers {
            h = conv.forward(&norm.forward_silu(&h)?)?;
        }
        match &self.skip {
            Some(skip) => Ok((skip.forward(x)? + h)?),
            None => Ok((x + h)?),
        }
    }
}

/// `x + to_out(attention(q, k, v))` of one head over the pixels.
struct Attention {
    norm: Norm,
    /// To queries, keys and values.
    to: [Map; 3],
    out: Map,
}

impl Attention {
    fn new(config: &KlConfig, channels: usize, at: &Builder) -> Result<Self> {
        let start = Start {
            law: Law::KaimingUniform,
            weight: 3.0_f64.sqrt().recip(),
            bias: 3.0_f64.sqrt().recip(),
        };
        let map = |name| Map::new([channels; 2], start, &at.pp(name));
        Ok(Self {
            norm: config.norm(channels, &at.pp("group_norm"))?,
            to: [map("to_q")?, map("to_k")?, map("to_v")?],
            out: map("to_out.0")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = self.norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?;
        let [q, k, v] = [0, 1, 2].map(|i| self.to[i].forward(&tokens));
        let qkv = Tensor::cat(&[q?, k?, v?], 2)?;
        let y = self
            .out
            .forward(&self_attention(&qkv, 1, Packing::Tokens)?)?;
        Ok((x + y.transpose(1, 2)?.reshape(x.shape())?)?)
    }
}
