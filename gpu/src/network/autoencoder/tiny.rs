//! The tiny autoencoder.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::layers::Kernels;
use super::{Autoencoder, Half, Latent, Sides, check_image, check_scaling, published};
use crate::network::edm::layers::Norm;
use crate::nn::{relu, soft_clamp, upsample_nearest2x};
use crate::params::Builder;
use crate::{Error, Result};

/// Where the decoder clamps its latents.
const CLAMP: f64 = 3.0;
/// Groups of the normalisation beside the blocks of the coarsest level, and how many channels it has for each of the block's.
const POOL_GROUPS: usize = 4;
const POOL_EPS: f64 = 1e-5;

/// Shape of a tiny autoencoder, with diffusers' keys and two more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TinyConfig {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of those that are decoded.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each level of the encoder, all the same.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder, all the same.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder, the finest first.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder, the coarsest first.
    pub num_decoder_blocks: Vec<usize>,
    /// Whether the blocks of the coarsest level have a branch beside them that sees the whole image, as TAEF2's.
    pub use_midblock_gn: bool,
    /// Least and greatest value of an image; without it [0, 1] of networks with that branch, [−1, 1] of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_range: Option<[f64; 2]>,
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
    /// The activation, which must be `relu`.
    pub act_fn: String,
    /// How images are doubled, which must be `nearest`.
    pub upsample_fn: String,
    /// How much wider a level is than the one before, which must be 2.
    pub upsampling_scaling_factor: usize,
    /// See above.
    pub block_out_channels: Vec<usize>,
    /// See above.
    pub latent_magnitude: f64,
    /// See above.
    pub latent_shift: f64,
    /// See above.
    pub force_upcast: bool,
}

impl Default for TinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            use_midblock_gn: false,
            image_range: None,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            class_name: String::new(),
            diffusers_version: String::new(),
            act_fn: "relu".to_owned(),
            upsample_fn: "nearest".to_owned(),
            upsampling_scaling_factor: 2,
            block_out_channels: Vec::new(),
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
        }
    }
}

impl TinyConfig {
    pub(super) fn checked(self) -> Result<Self> {
        let doubles = self.upsampling_scaling_factor;
        let [least, most] = self.range();
        let range = least.is_finite() && most.is_finite() && least < most;
        published([
            ("act_fn", self.act_fn == "relu", self.act_fn.clone()),
            (
                "upsample_fn",
                self.upsample_fn == "nearest",
                self.upsample_fn.clone(),
            ),
            (
                "upsampling_scaling_factor",
                doubles == 2,
                doubles.to_string(),
            ),
            ("image_range", range, format!("[{least}, {most}]")),
        ])?;
        check_scaling(self.scaling())?;
        for (key, count) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
        ] {
            if count == 0 {
                return Err(Error::invalid(key, "be positive", count));
            }
        }
        for (key, widths, blocks) in [
            (
                "encoder_block_out_channels",
                &self.encoder_block_out_channels,
                &self.num_encoder_blocks,
            ),
            (
                "decoder_block_out_channels",
                &self.decoder_block_out_channels,
                &self.num_decoder_blocks,
            ),
        ] {
            let levels = blocks.len();
            let same = widths.iter().all(|&w| w > 0 && w == widths[0]);
            if !(1..=16).contains(&levels) || widths.len() != levels || !same {
                let must =
                    format!("be the same positive number for each of {levels} levels, of 1 to 16");
                return Err(Error::invalid(key, must, format!("{widths:?}")));
            }
        }
        Ok(self)
    }

    fn range(&self) -> [f64; 2] {
        let own = if self.use_midblock_gn {
            [0.0, 1.0]
        } else {
            [-1.0, 1.0]
        };
        self.image_range.unwrap_or(own)
    }
}

impl Autoencoder for TinyConfig {
    fn sides(&self) -> Sides {
        Sides {
            image: self.in_channels,
            decoded: self.out_channels,
            latent: self.latent_channels,
            moments: self.latent_channels,
            down: 1 << (self.num_encoder_blocks.len() - 1),
            up: 1 << (self.num_decoder_blocks.len() - 1),
        }
    }

    fn scaling(&self) -> [f64; 2] {
        [self.scaling_factor, self.shift_factor]
    }

    fn encoder(&self, at: &Builder) -> Result<Box<dyn Half>> {
        let width = self.encoder_block_out_channels[0];
        let mut names = Names::below(at, "encoder");
        let first = Kernels::new([self.in_channels, width], 3, &names.next(0))?;
        let coarsest = self.num_encoder_blocks.len() - 1;
        let mut layers = Vec::new();
        for (level, &blocks) in self.num_encoder_blocks.iter().enumerate() {
            if level > 0 {
                let halving = Kernels::without_bias([width; 2], 3, &names.next(0))?;
                layers.push(Layer::Halving(halving));
            }
            for _ in 0..blocks {
                let pooled = self.use_midblock_gn && level == coarsest;
                layers.push(Layer::Block(Block::new(width, pooled, &names.next(0))?));
            }
        }
        Ok(Box::new(Encoder {
            first,
            layers,
            last: Kernels::new([width, self.latent_channels], 3, &names.next(0))?,
            range: self.range(),
            sides: self.sides(),
        }))
    }

    fn decoder(&self, at: &Builder) -> Result<Box<dyn Half>> {
        let width = self.decoder_block_out_channels[0];
        let mut names = Names::below(at, "decoder");
        let first = Kernels::new([self.latent_channels, width], 3, &names.next(0))?;
        let mut layers = Vec::new();
        // An activation has the second number, and each doubling one.
        let mut unnamed = 1;
        for (level, &blocks) in self.num_decoder_blocks.iter().enumerate() {
            if level > 0 {
                let doubling = Kernels::without_bias([width; 2], 3, &names.next(unnamed + 1))?;
                unnamed = 0;
                layers.push(Layer::Doubling(doubling));
            }
            for _ in 0..blocks {
                let pooled = self.use_midblock_gn && level == 0;
                let at = names.next(std::mem::take(&mut unnamed));
                layers.push(Layer::Block(Block::new(width, pooled, &at)?));
            }
        }
        Ok(Box::new(Decoder {
            first,
            layers,
            last: Kernels::new([width, self.out_channels], 3, &names.next(unnamed))?,
            range: self.range(),
            latent: self.latent_channels,
        }))
    }

    fn latent(&self, moments: &Tensor) -> Result<Latent> {
        Ok(Latent {
            mean: moments.clone(),
            std: moments.zeros_like()?,
        })
    }
}

/// Numbers of layers.
struct Names {
    at: Builder,
    next: usize,
}

impl Names {
    fn below(at: &Builder, half: &str) -> Self {
        let at = at.pp(half).pp("layers");
        Self { at, next: 0 }
    }

    /// The layer after so many that have no parameters.
    fn next(&mut self, unnamed: usize) -> Builder {
        let place = self.next + unnamed;
        self.next = place + 1;
        self.at.pp(place.to_string())
    }
}

enum Layer {
    Block(Block),
    Halving(Kernels),
    /// What follows a doubling.
    Doubling(Kernels),
}

fn through(layers: &[Layer], x: Tensor) -> Result<Tensor> {
    layers.iter().try_fold(x, |h, layer| match layer {
        Layer::Block(block) => block.forward(&h),
        Layer::Halving(kernels) => kernels.forward_halved(&h, true),
        Layer::Doubling(kernels) => kernels.forward(&upsample_nearest2x(&h)?),
    })
}

/// From images to latents.
///
/// # Source
/// madebyollin/taesd, and diffusers' `AutoencoderTiny`; there is no paper.
struct Encoder {
    first: Kernels,
    layers: Vec<Layer>,
    last: Kernels,
    range: [f64; 2],
    sides: Sides,
}

impl Half for Encoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check_image("images to encode", x, self.sides.image, self.sides.down)?;
        let [least, most] = self.range;
        let x = x.affine((most - least).recip(), -least / (most - least))?;
        self.last
            .forward(&through(&self.layers, self.first.forward(&x)?)?)
    }
}

/// From latents to images.
struct Decoder {
    first: Kernels,
    layers: Vec<Layer>,
    last: Kernels,
    range: [f64; 2],
    latent: usize,
}

impl Half for Decoder {
    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        check_image("latents to decode", z, self.latent, 1)?;
        let h = relu(&self.first.forward(&soft_clamp(z, CLAMP)?)?)?;
        let y = self.last.forward(&through(&self.layers, h)?)?;
        let [least, most] = self.range;
        Ok(y.affine(most - least, least)?)
    }
}

/// A residual block, perhaps with a branch that sees the whole image.
///
/// # Formula
/// ```text
/// y = x + pool.3(relu(pool.1(pool.0(x))))          y = x without the branch
/// z = relu(conv.4(relu(conv.2(relu(conv.0(y))))) + y)
/// ```
struct Block {
    conv: [Kernels; 3],
    pool: Option<(Kernels, Norm, Kernels)>,
}

impl Block {
    fn new(width: usize, pooled: bool, at: &Builder) -> Result<Self> {
        let conv = |i| Kernels::new([width; 2], 3, &at.pp(format!("conv.{i}")));
        let hidden = POOL_GROUPS * width;
        let pool = || {
            Ok::<_, Error>((
                Kernels::without_bias([width, hidden], 1, &at.pp("pool.0"))?,
                Norm::new(POOL_GROUPS, hidden, POOL_EPS, &at.pp("pool.1"))?,
                Kernels::without_bias([hidden, width], 1, &at.pp("pool.3"))?,
            ))
        };
        Ok(Self {
            conv: [conv(0)?, conv(2)?, conv(4)?],
            pool: pooled.then(pool).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.pool {
            None => x.clone(),
            Some((wide, norm, narrow)) => {
                let p = relu(&norm.forward(&wide.forward(x)?)?)?;
                (x + narrow.forward(&p)?)?
            }
        };
        let [first, second, third] = &self.conv;
        let h = relu(&first.forward(&y)?)?;
        let h = relu(&second.forward(&h)?)?;
        Ok(relu(&(third.forward(&h)? + y)?)?)
    }
}
