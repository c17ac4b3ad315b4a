//! EDM's second network: that of ADM.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::super::architecture::{Domain, Published, depths, given, of_all, within};
use super::super::recompute::Given;
use super::super::{Architecture, Condition, Mode, Network, Recompute, is_zero};
use super::block::{BlockConfig, Starts, UNetBlock};
use super::layers::{Convolution, ConvolutionConfig, Law, Map, Norm, Resampling, Start};
use super::song_unet::{INPUTS, smaller};
use super::{Maker, Runner, augment_rows, check_noise, class_rows, positive, rate, sides};
use crate::nn::{silu, step_features};
use crate::params::Builder;
use crate::{Error, Result};

/// Added to the variance in every normalisation.
const EPS: f64 = 1e-5;
/// Channels of a head of attention. Fewer channels have no head: attention is then absent without a word.
const HEAD: usize = 64;

/// Shape of a [`DhariwalUNet`], by the published names with the published defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DhariwalUNetConfig {
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
    /// Unit of the channels.
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
}

impl Default for DhariwalUNetConfig {
    fn default() -> Self {
        Self {
            img_resolution: 0,
            in_channels: 0,
            out_channels: 0,
            label_dim: 0,
            augment_dim: 0,
            model_channels: 192,
            channel_mult: vec![1, 2, 3, 4],
            channel_mult_emb: 4,
            num_blocks: 3,
            attn_resolutions: vec![32, 16, 8],
            dropout: 0.1,
            label_dropout: 0.0,
        }
    }
}

impl DhariwalUNetConfig {
    fn check(&self) -> Result<()> {
        positive([
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ])?;
        self.check_dimensions()
    }

    /// Width of the embedding.
    pub(super) fn emb(&self) -> usize {
        self.model_channels * self.channel_mult_emb
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
            taps: vec![1.0, 1.0],
            resample_proj: false,
            heads: if attention { outputs / HEAD } else { 0 },
            skip_scale: 1.0,
            eps: EPS,
            adaptive_scale: true,
            dropout: self.dropout,
        }
    }
}

/// 1/√3: a variance of 1/(3 inputs), for weights and biases, as PyTorch's layers start.
const THIRD: f64 = 0.577_350_269_189_625_8;
const ALL: Start = Start {
    law: Law::KaimingUniform,
    weight: THIRD,
    bias: THIRD,
};
const ZERO: Start = Start::weights(Law::KaimingUniform, 0.0);

impl Published for DhariwalUNetConfig {
    fn check_dimensions(&self) -> Result<()> {
        positive([
            ("model_channels", self.model_channels),
            ("channel_mult_emb", self.channel_mult_emb),
        ])?;
        positive(self.channel_mult.iter().map(|&m| ("channel_mult", m)))?;
        rate("dropout", self.dropout)?;
        rate("label_dropout", self.label_dropout)
    }

    fn depths(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("model.dhariwal-unet.num_blocks", self.num_blocks),
            (
                "number of model.dhariwal-unet.channel_mult",
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
        Ok(Box::new(DhariwalUNet::new(self, at)?))
    }
}

/// In the registry.
pub(in super::super) const ARCHITECTURE: Architecture = Architecture {
    name: "dhariwal-unet",
    defaults: "model_channels = 192
channel_mult = [1, 2, 3, 4]
channel_mult_emb = 4
num_blocks = 3
attn_resolutions = [32, 16, 8]
dropout = 0.1
label_dropout = 0.0",
    small: &[
        "model_channels = 8
channel_mult = [1, 2]
channel_mult_emb = 1
num_blocks = 1
attn_resolutions = []
dropout = 0.0
label_dropout = 0.0",
        "model_channels = 64
channel_mult = [1]
channel_mult_emb = 1
num_blocks = 1
attn_resolutions = [4]
dropout = 0.0
label_dropout = 0.0",
    ],
    depths: depths::<DhariwalUNetConfig>,
    build: within::<DhariwalUNetConfig>,
    published: of_all::<DhariwalUNetConfig>,
    sizes: &[
        (
            "imagenet-64-cond-adm",
            "img_resolution = 64\nin_channels = 3\nout_channels = 3\nlabel_dim = 1000\n",
        ),
        (
            "baseline-iddpm-imagenet-64",
            "img_resolution = 64\nin_channels = 3\nout_channels = 6\nlabel_dim = 1000\n",
        ),
    ],
    inputs: INPUTS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<DhariwalUNetConfig>(dimensions);
        config.map_or(x, |config| {
            super::sketch::dhariwal_unet(s, &config, x, classes)
        })
    },
    smaller: |dimensions, layer| smaller("dhariwal-unet", dimensions, layer),
};

/// ADM as EDM implements it, with the published names of dimensions and parameters.
///
/// # Source
/// Dhariwal and Nichol 2021 (arXiv:2105.05233), §3; Karras et al. 2022 (arXiv:2206.00364), App. F.2.
#[derive(Debug, Clone)]
pub struct DhariwalUNet {
    config: DhariwalUNetConfig,
    map_label: Option<Map>,
    map_augment: Option<Map>,
    map_layer: [Map; 2],
    conv: Convolution,
    enc: Vec<Level>,
    /// The coarsest first, as they run.
    dec: Vec<Level>,
    out_norm: Norm,
    out_conv: Convolution,
    recompute: Recompute,
}

/// What a level begins with, and its blocks.
#[derive(Debug, Clone)]
struct Level {
    enter: Vec<UNetBlock>,
    blocks: Vec<UNetBlock>,
}

impl DhariwalUNet {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built: zero sizes, more levels than the images can be halved,
    /// channels that do not divide into groups or heads.
    pub fn new(config: &DhariwalUNetConfig, at: &Builder) -> Result<Self> {
        config.check()?;
        let sides = sides(config.img_resolution, &config.channel_mult)?;
        let (features, emb) = (config.model_channels, config.emb());
        let first = features * config.channel_mult[0];
        let map = |channels, name: &str| Map::new(channels, ALL, &at.pp(name));
        let map_augment = (config.augment_dim > 0)
            .then(|| Map::linear([config.augment_dim, features], ZERO, &at.pp("map_augment")));
        let map_label = (config.label_dim > 0).then(|| {
            let start = Start::weights(Law::KaimingNormal, (config.label_dim as f64).sqrt());
            Map::linear([config.label_dim, emb], start, &at.pp("map_label"))
        });
        let name = format!("enc.{0}x{0}_conv", sides[0]);
        let shape = ConvolutionConfig::plain([config.in_channels, first], 3);
        let conv = Convolution::with(shape, ALL, &at.pp(name))?;
        let mut maker = Maker {
            at,
            starts: Starts {
                all: ALL,
                zero: ZERO,
                attention: ALL,
            },
            shape: &|channels, resampling, attention| config.block(channels, resampling, attention),
            width: first,
            skips: vec![first],
        };
        let enc = encoder(&mut maker, config, &sides)?;
        let dec = decoder(&mut maker, config, &sides)?;
        let width = maker.width;
        let shape = ConvolutionConfig::plain([width, config.out_channels], 3);
        Ok(Self {
            map_label: map_label.transpose()?,
            map_augment: map_augment.transpose()?,
            map_layer: [
                map([features, emb], "map_layer0")?,
                map([emb, emb], "map_layer1")?,
            ],
            conv,
            enc,
            dec,
            out_norm: Norm::of_four(width, EPS, &at.pp("out_norm"))?,
            out_conv: Convolution::with(shape, ZERO, &at.pp("out_conv"))?,
            recompute: at.recompute(),
            config: config.clone(),
        })
    }

    /// `silu(map_layer1(silu(map_layer0([cos, sin] + map_augment(augmentation)))) + map_label(classes))`.
    fn embedding(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        check_noise(x, at)?;
        let features = self.config.model_channels;
        let mut e = step_features(at.noise, features, x.device(), x.dtype())?;
        let rows = augment_rows(x, at, self.config.augment_dim)?;
        if let (Some(rows), Some(map)) = (rows, &self.map_augment) {
            e = (e + map.forward(&rows)?)?;
        }
        let e = silu(&self.map_layer[0].forward(&e)?)?;
        let mut e = self.map_layer[1].forward(&e)?;
        let of_labels = (self.config.label_dim, 1.0, self.config.label_dropout);
        if let (Some(rows), Some(map)) = (class_rows(x, at, of_labels, mode)?, &self.map_label) {
            e = (e + map.forward(&rows)?)?;
        }
        Ok(silu(&e)?)
    }
}

fn encoder(
    maker: &mut Maker<'_>,
    config: &DhariwalUNetConfig,
    sides: &[usize],
) -> Result<Vec<Level>> {
    let mut levels = Vec::new();
    for (level, (&side, &mult)) in sides.iter().zip(&config.channel_mult).enumerate() {
        let mut enter = Vec::new();
        if level > 0 {
            let name = format!("enc.{side}x{side}_down");
            enter.push(maker.resampling(&name, Resampling::Down)?);
            maker.skips.push(maker.width);
        }
        let attention = config.attn_resolutions.contains(&side);
        let shape = [config.num_blocks, config.model_channels * mult];
        let blocks = maker.down(side, shape, attention)?;
        levels.push(Level { enter, blocks });
    }
    Ok(levels)
}

fn decoder(
    maker: &mut Maker<'_>,
    config: &DhariwalUNetConfig,
    sides: &[usize],
) -> Result<Vec<Level>> {
    let mut levels = Vec::new();
    for (level, (&side, &mult)) in sides.iter().zip(&config.channel_mult).enumerate().rev() {
        let enter = maker.enter(side, level + 1 == sides.len())?;
        let attention = config.attn_resolutions.contains(&side);
        let shape = [config.num_blocks + 1, config.model_channels * mult];
        let blocks = maker.up(side, shape, |_| attention)?;
        levels.push(Level { enter, blocks });
    }
    Ok(levels)
}

impl Network for DhariwalUNet {
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
        let mut h = self.conv.forward(x)?;
        let mut skips = vec![h.clone()];
        for level in &self.enc {
            for block in level.enter.iter().chain(&level.blocks) {
                h = runner.run(block, Given::One(&h))?;
                skips.push(h.clone());
            }
        }
        for level in &self.dec {
            for block in &level.enter {
                h = runner.run(block, Given::One(&h))?;
            }
            h = runner.with_skips(&level.blocks, h, &mut skips)?;
        }
        self.out_conv.forward(&self.out_norm.forward_silu(&h)?)
    }
}
