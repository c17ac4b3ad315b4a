//! EDM's first network: DDPM++ and NCSN++.

use std::f64::consts::FRAC_1_SQRT_2;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::super::architecture::{Domain, Published, depths, given, of_all, setting, within};
use super::super::recompute::Given;
use super::super::{Architecture, Condition, Inputs, Mode, Network, Recompute, is_zero};
use super::block::{BlockConfig, Starts, UNetBlock};
use super::layers::{Convolution, ConvolutionConfig, Law, Map, Norm, Resampling, Start};
use super::{Maker, Runner, augment_rows, check_noise, class_rows, positive, rate, sides};
use crate::nn::{fourier_features, positional_features, silu};
use crate::params::{Builder, Init};
use crate::{Error, Result};

/// Added to the variance in every normalisation.
const EPS: f64 = 1e-6;
/// Standard deviation of the random frequencies.
const FOURIER_SCALE: f64 = 16.0;

/// Features of the noise level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Embedding {
    /// Waves of fixed lengths: DDPM++.
    Positional,
    /// Waves of random lengths: NCSN++.
    Fourier,
}

/// What the encoder does besides its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// Nothing: DDPM++.
    Standard,
    /// Adds the image, reduced and mapped to the level's channels, at every level.
    Skip,
    /// Adds what the level before got, reduced and mapped, at every level: NCSN++.
    Residual,
}

/// What the decoder does besides its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// Makes the image of the finest level.
    Standard,
    /// Adds an image of every level, enlarged.
    Skip,
}

/// Shape of a [`SongUNet`], by the published names with the published defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SongUNetConfig {
    /// Side of the square images; 0 stands for "as the data" in a configuration, and so do the next three.
    #[serde(skip_serializing_if = "is_zero")]
    pub img_resolution: usize,
    /// Channels of the input.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_channels: usize,
    /// Channels of the output.
    #[serde(skip_serializing_if = "is_zero")]
    pub out_channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_dim: usize,
    /// Augmentation labels; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub augment_dim: usize,
    /// Channels of the first convolution.
    pub model_channels: usize,
    /// Channels of each level, the finest first, in units of `model_channels`.
    pub channel_mult: Vec<usize>,
    /// Width of the embedding, in units of `model_channels`.
    pub channel_mult_emb: usize,
    /// Blocks of each level of the encoder; the decoder has one more.
    pub num_blocks: usize,
    /// Sides of images at which there is attention.
    pub attn_resolutions: Vec<usize>,
    /// Rate of dropout in the blocks.
    pub dropout: f64,
    /// Rate at which class labels are dropped in training, for guidance without a classifier.
    pub label_dropout: f64,
    /// Features of the noise level.
    pub embedding_type: Embedding,
    /// Number of these features, in units of `model_channels`.
    pub channel_mult_noise: usize,
    /// The encoder's further branch.
    pub encoder_type: Encoder,
    /// The decoder's further branch.
    pub decoder_type: Decoder,
    /// Taps of the resampling filter.
    pub resample_filter: Vec<f64>,
}

impl Default for SongUNetConfig {
    fn default() -> Self {
        Self {
            img_resolution: 0,
            in_channels: 0,
            out_channels: 0,
            label_dim: 0,
            augment_dim: 0,
            model_channels: 128,
            channel_mult: vec![1, 2, 2, 2],
            channel_mult_emb: 4,
            num_blocks: 4,
            attn_resolutions: vec![16],
            dropout: 0.1,
            label_dropout: 0.0,
            embedding_type: Embedding::Positional,
            channel_mult_noise: 1,
            encoder_type: Encoder::Standard,
            decoder_type: Decoder::Standard,
            resample_filter: vec![1.0, 1.0],
        }
    }
}

impl SongUNetConfig {
    fn check(&self) -> Result<()> {
        positive([
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ])?;
        self.check_dimensions()
    }

    /// Width of the embedding.
    fn emb(&self) -> usize {
        self.model_channels * self.channel_mult_emb
    }

    /// Number of features of the noise level.
    fn features(&self) -> usize {
        self.model_channels * self.channel_mult_noise
    }

    pub(super) fn block(
        &self,
        [inputs, outputs]: [usize; 2],
        resampling: Resampling,
        attention: bool,
    ) -> BlockConfig {
        BlockConfig {
            inputs,
            outputs,
            emb: self.emb(),
            resampling,
            taps: self.resample_filter.clone(),
            resample_proj: true,
            heads: usize::from(attention),
            skip_scale: FRAC_1_SQRT_2,
            eps: EPS,
            adaptive_scale: false,
            dropout: self.dropout,
        }
    }

    /// A convolution outside the blocks that changes the resolution.
    fn resampled(
        &self,
        channels: [usize; 2],
        kernel: usize,
        resampling: Resampling,
    ) -> ConvolutionConfig {
        ConvolutionConfig {
            resampling,
            taps: self.resample_filter.clone(),
            fused: true,
            ..ConvolutionConfig::plain(channels, kernel)
        }
    }

    /// Whether a level makes an image.
    fn makes_image(&self, level: usize) -> bool {
        self.decoder_type == Decoder::Skip || level == 0
    }
}

/// The keys that two of the published configurations differ in.
macro_rules! published {
    ($side:literal, $mult:literal, $dropout:literal, $classes:literal, vp) => {
        concat!(
            "img_resolution = ",
            $side,
            "\nin_channels = 3\nout_channels = 3\nlabel_dim = ",
            $classes,
            "\naugment_dim = 9\nmodel_channels = 128\nchannel_mult = ",
            $mult,
            "\ndropout = ",
            $dropout,
            "\n"
        )
    };
    ($side:literal, $mult:literal, $dropout:literal, $classes:literal, ve) => {
        concat!(
            "img_resolution = ",
            $side,
            "\nin_channels = 3\nout_channels = 3\nlabel_dim = ",
            $classes,
            "\naugment_dim = 9\nmodel_channels = 128\nchannel_mult = ",
            $mult,
            "\ndropout = ",
            $dropout,
            "\nembedding_type = \"fourier\"\nencoder_type = \"residual\"\nchannel_mult_noise = 2\n",
            "resample_filter = [1, 3, 3, 1]\n"
        )
    };
}

const CIFAR10: &str = published!(32, "[2, 2, 2]", 0.13, 0, vp);
const CIFAR10_COND: &str = published!(32, "[2, 2, 2]", 0.13, 10, vp);
const CIFAR10_VE: &str = published!(32, "[2, 2, 2]", 0.13, 0, ve);
const CIFAR10_COND_VE: &str = published!(32, "[2, 2, 2]", 0.13, 10, ve);
const FFHQ: &str = published!(64, "[1, 2, 2, 2]", 0.05, 0, vp);
const FFHQ_VE: &str = published!(64, "[1, 2, 2, 2]", 0.05, 0, ve);
const AFHQV2: &str = published!(64, "[1, 2, 2, 2]", 0.25, 0, vp);
const AFHQV2_VE: &str = published!(64, "[1, 2, 2, 2]", 0.25, 0, ve);

/// What EDM calls what its networks are asked.
pub(super) const INPUTS: Inputs = Inputs {
    noise: "noise_labels",
    labels: "class_labels",
    augment: Some("augment_labels"),
};

const ALL: Start = Start::weights(Law::XavierUniform, 1.0);
const ZERO: Start = Start::weights(Law::XavierUniform, 1e-5);
/// √0.2.
const ATTENTION: Start = Start::weights(Law::XavierUniform, 0.447_213_595_499_957_9);

impl Published for SongUNetConfig {
    fn check_dimensions(&self) -> Result<()> {
        positive([
            ("model_channels", self.model_channels),
            ("channel_mult_emb", self.channel_mult_emb),
            ("channel_mult_noise", self.channel_mult_noise),
        ])?;
        positive(self.channel_mult.iter().map(|&m| ("channel_mult", m)))?;
        let taps = &self.resample_filter;
        if !(taps.iter().all(|r| r.is_finite() && *r >= 0.0) && taps.iter().sum::<f64>() > 0.0) {
            let must = "hold finite numbers from 0, one at least above it";
            return Err(Error::invalid(
                "network.resample_filter",
                must,
                format!("{taps:?}"),
            ));
        }
        rate("dropout", self.dropout)?;
        rate("label_dropout", self.label_dropout)
    }

    fn depths(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("model.song-unet.num_blocks", self.num_blocks),
            (
                "number of model.song-unet.channel_mult",
                self.channel_mult.len(),
            ),
        ]
    }

    fn within(self, domain: Domain) -> Self {
        Self {
            img_resolution: domain.size,
            in_channels: domain.channels,
            out_channels: domain.channels,
            label_dim: domain.classes.unwrap_or(0),
            augment_dim: domain.augment,
            ..self
        }
    }

    fn network(&self, at: &Builder) -> Result<Box<dyn Network>> {
        Ok(Box::new(SongUNet::new(self, at)?))
    }
}

/// In the registry.
pub(in super::super) const ARCHITECTURE: Architecture = Architecture {
    name: "song-unet",
    defaults: "model_channels = 128
channel_mult = [1, 2, 2, 2]
channel_mult_emb = 4
num_blocks = 4
attn_resolutions = [16]
dropout = 0.1
label_dropout = 0.0
embedding_type = \"positional\"
channel_mult_noise = 1
encoder_type = \"standard\"
decoder_type = \"standard\"
resample_filter = [1.0, 1.0]",
    small: &[
        "model_channels = 8
channel_mult = [1, 2]
channel_mult_emb = 1
num_blocks = 1
attn_resolutions = [4]
dropout = 0.0
label_dropout = 0.0
embedding_type = \"positional\"
channel_mult_noise = 1
encoder_type = \"standard\"
decoder_type = \"standard\"
resample_filter = [1.0, 1.0]",
        "model_channels = 4
channel_mult = [2, 1]
channel_mult_emb = 2
num_blocks = 1
attn_resolutions = []
dropout = 0.0
label_dropout = 0.0
embedding_type = \"fourier\"
channel_mult_noise = 2
encoder_type = \"residual\"
decoder_type = \"standard\"
resample_filter = [1.0, 3.0, 3.0, 1.0]",
        "model_channels = 4
channel_mult = [1, 1]
channel_mult_emb = 2
num_blocks = 1
attn_resolutions = [2]
dropout = 0.0
label_dropout = 0.0
embedding_type = \"fourier\"
channel_mult_noise = 1
encoder_type = \"skip\"
decoder_type = \"skip\"
resample_filter = [1.0, 3.0, 3.0, 1.0]",
    ],
    depths: depths::<SongUNetConfig>,
    build: within::<SongUNetConfig>,
    published: of_all::<SongUNetConfig>,
    sizes: &[
        ("cifar10-uncond-vp", CIFAR10),
        ("cifar10-cond-vp", CIFAR10_COND),
        ("cifar10-uncond-ve", CIFAR10_VE),
        ("cifar10-cond-ve", CIFAR10_COND_VE),
        ("ffhq-64-uncond-vp", FFHQ),
        ("ffhq-64-uncond-ve", FFHQ_VE),
        ("afhqv2-64-uncond-vp", AFHQV2),
        ("afhqv2-64-uncond-ve", AFHQV2_VE),
    ],
    inputs: INPUTS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<SongUNetConfig>(dimensions);
        config.map_or(x, |config| super::sketch::song_unet(s, &config, x, classes))
    },
    smaller: |dimensions, layer| smaller("song-unet", dimensions, layer),
};

/// Settings that make a layer, and the network, smaller.
pub(super) fn smaller(name: &str, dimensions: &Table, layer: &str) -> [Vec<String>; 2] {
    let setting = |key| setting(name, dimensions, key);
    let attention = layer.contains("qkv").then(|| {
        let sides = setting("attn_resolutions");
        format!("sides of images in {sides}")
    });
    let widths = [
        "model_channels",
        "channel_mult",
        "num_blocks",
        "channel_mult_emb",
    ]
    .map(setting);
    [attention.into_iter().collect(), widths.into()]
}

/// DDPM++ and NCSN++ as EDM implements them, with the published names of dimensions and parameters.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), App. H; Karras et al. 2022 (arXiv:2206.00364), App. F.1 and Table 7.
#[derive(Debug, Clone)]
pub struct SongUNet {
    config: SongUNetConfig,
    frequencies: Option<Tensor>,
    map_label: Option<Map>,
    map_augment: Option<Map>,
    map_layer: [Map; 2],
    enc: Vec<EncoderLevel>,
    /// The coarsest first, as they run.
    dec: Vec<DecoderLevel>,
    recompute: Recompute,
}

#[derive(Debug, Clone)]
struct EncoderLevel {
    enter: Enter,
    blocks: Vec<UNetBlock>,
}

/// What a level of the encoder begins with.
#[expect(
    clippy::large_enum_variant,
    reason = "a network has few of them, made once"
)]
#[derive(Debug, Clone)]
enum Enter {
    Conv(Convolution),
    Down(UNetBlock, Branch),
}

/// The further branch of a level of the encoder.
#[derive(Debug, Clone)]
enum Branch {
    None,
    /// The reduction, and the map to the channels.
    Skip(Convolution, Convolution),
    Residual(Convolution),
}

#[derive(Debug, Clone)]
struct DecoderLevel {
    enter: Vec<UNetBlock>,
    blocks: Vec<UNetBlock>,
    image: Option<ToImage>,
}

/// From a level of the decoder to an image.
#[derive(Debug, Clone)]
struct ToImage {
    /// Enlarges the image of the coarser levels.
    up: Option<Convolution>,
    norm: Norm,
    conv: Convolution,
}

impl SongUNet {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built: zero sizes, more levels than the images can be halved,
    /// channels that do not divide into groups.
    pub fn new(config: &SongUNetConfig, at: &Builder) -> Result<Self> {
        config.check()?;
        let sides = sides(config.img_resolution, &config.channel_mult)?;
        let (features, emb) = (config.features(), config.emb());
        let frequencies = (config.embedding_type == Embedding::Fourier).then(|| {
            let init = Init::Normal { std: FOURIER_SCALE };
            at.drawn(features / 2, "map_noise.freqs", init)
        });
        let map = |channels, name: &str| Map::new(channels, ALL, &at.pp(name));
        let map_label =
            (config.label_dim > 0).then(|| map([config.label_dim, features], "map_label"));
        let map_augment = (config.augment_dim > 0)
            .then(|| Map::linear([config.augment_dim, features], ALL, &at.pp("map_augment")));
        let mut maker = Maker {
            at,
            starts: Starts {
                all: ALL,
                zero: ZERO,
                attention: ATTENTION,
            },
            shape: &|channels, resampling, attention| config.block(channels, resampling, attention),
            width: config.model_channels,
            skips: Vec::new(),
        };
        let enc = encoder(&mut maker, config, &sides)?;
        let dec = decoder(&mut maker, config, &sides)?;
        Ok(Self {
            frequencies: frequencies.transpose()?,
            map_label: map_label.transpose()?,
            map_augment: map_augment.transpose()?,
            map_layer: [
                map([features, emb], "map_layer0")?,
                map([emb, emb], "map_layer1")?,
            ],
            enc,
            dec,
            recompute: at.recompute(),
            config: config.clone(),
        })
    }

    /// `silu(map_layer1(silu(map_layer0([sin, cos] + map_label(√K classes) + map_augment(augmentation)))))`.
    fn embedding(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        check_noise(x, at)?;
        let (device, dtype) = (x.device(), x.dtype());
        let features = match &self.frequencies {
            None => positional_features(at.noise, self.config.features(), device, dtype)?,
            Some(frequencies) => fourier_features(at.noise, frequencies, device, dtype)?,
        };
        let half = features.dim(1)? / 2;
        let swapped = [
            features.narrow(1, half, half)?,
            features.narrow(1, 0, half)?,
        ];
        let mut e = Tensor::cat(&swapped, 1)?;
        let classes = self.config.label_dim;
        let of_labels = (classes, (classes as f64).sqrt(), self.config.label_dropout);
        if let (Some(rows), Some(map)) = (class_rows(x, at, of_labels, mode)?, &self.map_label) {
            e = (e + map.forward(&rows)?)?;
        }
        let rows = augment_rows(x, at, self.config.augment_dim)?;
        if let (Some(rows), Some(map)) = (rows, &self.map_augment) {
            e = (e + map.forward(&rows)?)?;
        }
        let e = silu(&self.map_layer[0].forward(&e)?)?;
        Ok(silu(&self.map_layer[1].forward(&e)?)?)
    }
}

fn encoder(
    maker: &mut Maker<'_>,
    config: &SongUNetConfig,
    sides: &[usize],
) -> Result<Vec<EncoderLevel>> {
    let mut levels = Vec::new();
    // Channels of the further branch.
    let mut aux = config.in_channels;
    for (level, (&side, &mult)) in sides.iter().zip(&config.channel_mult).enumerate() {
        let name = |part: &str| format!("enc.{side}x{side}_{part}");
        let at = |part: &str| maker.at.pp(name(part));
        let conv = |shape, part: &str| Convolution::with(shape, ALL, &at(part));
        let width = maker.width;
        let enter = if level == 0 {
            let plain = ConvolutionConfig::plain([config.in_channels, width], 3);
            Enter::Conv(conv(plain, "conv")?)
        } else {
            let branch = match config.encoder_type {
                Encoder::Standard => Branch::None,
                Encoder::Skip => Branch::Skip(
                    conv(
                        config.resampled([aux, aux], 0, Resampling::Down),
                        "aux_down",
                    )?,
                    conv(ConvolutionConfig::plain([aux, width], 1), "aux_skip")?,
                ),
                Encoder::Residual => {
                    let shape = config.resampled([aux, width], 3, Resampling::Down);
                    aux = width;
                    Branch::Residual(conv(shape, "aux_residual")?)
                }
            };
            Enter::Down(maker.resampling(&name("down"), Resampling::Down)?, branch)
        };
        maker.skips.push(width);
        let attention = config.attn_resolutions.contains(&side);
        let shape = [config.num_blocks, config.model_channels * mult];
        let blocks = maker.down(side, shape, attention)?;
        levels.push(EncoderLevel { enter, blocks });
    }
    Ok(levels)
}

fn decoder(
    maker: &mut Maker<'_>,
    config: &SongUNetConfig,
    sides: &[usize],
) -> Result<Vec<DecoderLevel>> {
    let (last, images) = (sides.len() - 1, config.out_channels);
    let mut levels = Vec::new();
    for (level, (&side, &mult)) in sides.iter().zip(&config.channel_mult).enumerate().rev() {
        let enter = maker.enter(side, level == last)?;
        let has_attention = config.attn_resolutions.contains(&side);
        let shape = [config.num_blocks + 1, config.model_channels * mult];
        let blocks = maker.up(side, shape, |i| has_attention && i == config.num_blocks)?;
        let at = |part: &str| maker.at.pp(format!("dec.{side}x{side}_{part}"));
        let to_image = || {
            let up = (config.decoder_type == Decoder::Skip && level < last).then(|| {
                let shape = config.resampled([images, images], 0, Resampling::Up);
                Convolution::with(shape, ALL, &at("aux_up"))
            });
            let shape = ConvolutionConfig::plain([maker.width, images], 3);
            Ok::<_, Error>(ToImage {
                up: up.transpose()?,
                norm: Norm::of_four(maker.width, EPS, &at("aux_norm"))?,
                conv: Convolution::with(shape, ZERO, &at("aux_conv"))?,
            })
        };
        let image = config.makes_image(level).then(to_image).transpose()?;
        levels.push(DecoderLevel {
            enter,
            blocks,
            image,
        });
    }
    Ok(levels)
}

impl Network for SongUNet {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        let side = self.config.img_resolution;
        let must = [self.config.in_channels, side, side];
        if x.rank() != 4 || x.dims()[1..] != must {
            return Err(Error::shape(
                "network input",
                format!("[B, {must:?}]"),
                x.dims(),
            ));
        }
        let emb = self.embedding(x, at, mode)?;
        let runner = Runner {
            recompute: self.recompute,
            emb: &emb,
            mode,
        };
        let (mut h, mut aux) = (x.clone(), x.clone());
        let mut skips = Vec::new();
        for level in &self.enc {
            h = level.enter.forward(&h, &mut aux, runner)?;
            skips.push(h.clone());
            for block in &level.blocks {
                h = runner.run(block, Given::One(&h))?;
                skips.push(h.clone());
            }
        }
        let mut image = None;
        for level in &self.dec {
            for block in &level.enter {
                h = runner.run(block, Given::One(&h))?;
            }
            h = runner.with_skips(&level.blocks, h, &mut skips)?;
            if let Some(to_image) = &level.image {
                image = Some(to_image.forward(&h, image)?);
            }
        }
        // There is a finest level, which makes one.
        Ok(image.unwrap_or(h))
    }
}

impl Enter {
    /// The level's first features from the last ones of the level before; `aux` is what the further branch carries.
    fn forward(&self, h: &Tensor, aux: &mut Tensor, runner: Runner<'_>) -> Result<Tensor> {
        let (block, branch) = match self {
            Self::Conv(conv) => return conv.forward(h),
            Self::Down(block, branch) => (block, branch),
        };
        let h = runner.run(block, Given::One(h))?;
        match branch {
            Branch::None => Ok(h),
            Branch::Skip(down, map) => {
                *aux = down.forward(aux)?;
                Ok((h + map.forward(aux)?)?)
            }
            Branch::Residual(down) => {
                *aux = ((h + down.forward(aux)?)? * FRAC_1_SQRT_2)?;
                Ok(aux.clone())
            }
        }
    }
}

impl ToImage {
    fn forward(&self, h: &Tensor, coarse: Option<Tensor>) -> Result<Tensor> {
        let own = self.conv.forward(&self.norm.forward_silu(h)?)?;
        match (coarse, &self.up) {
            (Some(coarse), Some(up)) => Ok((up.forward(&coarse)? + own)?),
            _ => Ok(own),
        }
    }
}
