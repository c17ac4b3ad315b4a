//! A small U-Net denoiser.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::architecture::{checked, configured, given, setting};
use super::blocks::{
    ConditionEmbedding, Conv, GroupNorm, Linear, PixelAttention, halves, sketch_condition,
};
use super::recompute::{Block, Given};
use super::{Architecture, Condition, Inputs, Mode, Network, Recompute, is_zero};
use crate::memory::layers::Images;
use crate::memory::sketch::{Id, NETWORK, Sketch};
use crate::nn::{avg_pool2x, upsample_nearest2x};
use crate::params::Builder;
use crate::{Error, Result};

/// Shape of a [`UNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the images; 0 stands for "as the data" in a configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_channels: usize,
    /// Channels of each level, the finest first; each next level has half the side.
    pub channels: Vec<usize>,
    /// Residual blocks of each level, on the way down and on the way up.
    pub blocks: usize,
    /// Levels (0 is the finest) whose blocks are followed by attention.
    pub attention: Vec<usize>,
    /// Attention heads.
    pub heads: usize,
    /// Groups of the normalisations; fewer where there are fewer channels.
    pub groups: usize,
    /// Width of the embedding of noise level and class.
    pub emb_dim: usize,
    /// Sinusoidal features of the noise level.
    pub time_dim: usize,
    /// Number of classes; `None` for an unconditional network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

impl UNetConfig {
    fn check(&self) -> Result<()> {
        let levels = self.channels.len();
        let positive = [
            ("network.in_channels", self.in_channels),
            ("network.blocks", self.blocks),
            ("network.emb_dim", self.emb_dim),
            ("number of network.channels", levels),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(Error::invalid(name, "be positive", value));
            }
        }
        match self.attention.iter().find(|&&level| level >= levels) {
            Some(level) => {
                let must = format!("name levels below {levels}");
                Err(Error::invalid("network.attention", must, level))
            }
            None => Ok(()),
        }
    }
}

/// The U-Net in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "unet",
    defaults: "channels = [32, 64]
blocks = 1
attention = [1]
heads = 2
groups = 8
emb_dim = 128
time_dim = 64",
    small: &[
        "channels = [4, 6]
blocks = 1
attention = [1]
heads = 2
groups = 2
emb_dim = 6
time_dim = 4",
        "channels = [4, 6]
blocks = 1
attention = []
heads = 2
groups = 2
emb_dim = 6
time_dim = 4",
    ],
    depths: |dimensions| {
        let config: UNetConfig = given(dimensions)?;
        Ok(vec![
            ("model.unet.blocks", config.blocks),
            ("number of model.unet.channels", config.channels.len()),
        ])
    },
    build: |dimensions, domain, at| {
        let config = UNetConfig {
            in_channels: domain.channels,
            classes: domain.classes,
            ..checked(dimensions)?
        };
        halves("network.channels", config.channels.len(), domain.size)?;
        Ok(Box::new(UNet::new(&config, at)?))
    },
    published: |config, at| Ok(Box::new(UNet::new(&configured(config)?, at)?)),
    sizes: &[],
    inputs: Inputs::OURS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<UNetConfig>(dimensions);
        config.map_or(x, |config| sketch(s, &config, x, classes))
    },
    smaller: |dimensions, layer| {
        let setting = |key| setting("unet", dimensions, key);
        let attention = layer.contains("attn").then(|| {
            let levels = setting("attention");
            format!("number of levels in {levels}, of which level 0 has the most pixels")
        });
        let widths = ["channels", "blocks", "emb_dim", "time_dim"].map(setting);
        [attention.into_iter().collect(), widths.into()]
    },
};

/// U-Net with residual blocks modulated by noise level and class, attention at chosen levels and in
/// the middle, and skip connections.
///
/// # Source
/// Ho et al. 2020 (arXiv:2006.11239) for the shape, Dhariwal and Nichol 2021 (arXiv:2105.05233) for
/// the modulated normalisation. The last convolutions of each branch and of the network start at 0.
#[derive(Debug, Clone)]
pub struct UNet {
    condition: ConditionEmbedding,
    conv_in: Conv,
    down: Vec<Vec<Stage>>,
    middle: [Stage; 2],
    /// Coarsest level first, as they run.
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv,
    recompute: Recompute,
}

/// A residual block and the attention that may follow it.
#[derive(Debug, Clone)]
struct Stage {
    block: ResBlock,
    attention: Option<PixelAttention>,
}

/// The stages of one level on the way up, and the convolution after upsampling (not at level 0).
#[derive(Debug, Clone)]
struct UpLevel {
    stages: Vec<Stage>,
    conv: Option<Conv>,
}

impl UNet {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built: zero sizes, groups or heads that
    /// do not divide the channels, an attention level that does not exist.
    pub fn new(config: &UNetConfig, at: Builder) -> Result<Self> {
        config.check()?;
        let mut maker = Maker {
            config,
            at: &at,
            skips: Vec::new(),
            width: config.channels[0],
        };
        let conv_in = Conv::new(config.in_channels, maker.width, &at.pp("conv_in"))?;
        let down = (0..config.channels.len())
            .map(|i| maker.down(i))
            .collect::<Result<_>>()?;
        let middle = maker.middle()?;
        let up = (0..config.channels.len())
            .rev()
            .map(|i| maker.up(i))
            .collect::<Result<_>>()?;
        let width = maker.width;
        Ok(Self {
            condition: ConditionEmbedding::new(
                config.time_dim,
                config.emb_dim,
                config.classes,
                &at,
            )?,
            conv_in,
            down,
            middle,
            up,
            norm_out: GroupNorm::new(config.groups, width, &at.pp("norm_out"))?,
            conv_out: Conv::zero(width, config.in_channels, &at.pp("conv_out"))?,
            recompute: at.recompute(),
        })
    }
}

impl Network for UNet {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        let run = |stage: &Stage, given: Given<'_>, emb: &Tensor| {
            self.recompute.run(stage, given, emb, mode)
        };
        let emb = self.condition.forward(x, at)?;
        let mut h = self.conv_in.forward(x)?;
        let mut skips = Vec::new();
        for (i, stages) in self.down.iter().enumerate() {
            if i > 0 {
                h = avg_pool2x(&h)?;
            }
            for stage in stages {
                h = run(stage, Given::One(&h), &emb)?;
                skips.push(h.clone());
            }
        }
        for stage in &self.middle {
            h = run(stage, Given::One(&h), &emb)?;
        }
        for level in &self.up {
            for stage in &level.stages {
                h = match skips.pop() {
                    Some(skip) => run(stage, Given::Joined(h, skip), &emb)?,
                    None => run(stage, Given::One(&h), &emb)?,
                };
            }
            if let Some(conv) = &level.conv {
                h = conv.forward(&upsample_nearest2x(&h)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&h)?)
    }
}

/// Makes the levels in the order in which they run, following the width of the image.
struct Maker<'a> {
    config: &'a UNetConfig,
    at: &'a Builder,
    /// Channels of the skip connections made so far.
    skips: Vec<usize>,
    /// Channels of the image at this point.
    width: usize,
}

impl Maker<'_> {
    fn block(&mut self, inputs: usize, outputs: usize, name: &str) -> Result<ResBlock> {
        self.width = outputs;
        ResBlock::new(inputs, outputs, self.config, &self.at.pp(name))
    }

    fn attention(&self, name: &str) -> Result<PixelAttention> {
        let UNetConfig { heads, groups, .. } = *self.config;
        PixelAttention::new(self.width, heads, groups, &self.at.pp(name))
    }

    fn stage(&mut self, inputs: usize, side: &str, i: usize, j: usize) -> Result<Stage> {
        let outputs = self.config.channels[i];
        let block = self.block(inputs, outputs, &format!("{side}.{i}.block.{j}"))?;
        let attention = if self.config.attention.contains(&i) {
            Some(self.attention(&format!("{side}.{i}.attn.{j}"))?)
        } else {
            None
        };
        Ok(Stage { block, attention })
    }

    fn down(&mut self, i: usize) -> Result<Vec<Stage>> {
        let mut stages = Vec::new();
        for j in 0..self.config.blocks {
            stages.push(self.stage(self.width, "down", i, j)?);
            self.skips.push(self.width);
        }
        Ok(stages)
    }

    fn middle(&mut self) -> Result<[Stage; 2]> {
        let width = self.width;
        let first = Stage {
            block: self.block(width, width, "mid.block.0")?,
            attention: Some(self.attention("mid.attn")?),
        };
        let second = Stage {
            block: self.block(width, width, "mid.block.1")?,
            attention: None,
        };
        Ok([first, second])
    }

    fn up(&mut self, i: usize) -> Result<UpLevel> {
        let mut stages = Vec::new();
        for j in 0..self.config.blocks {
            let inputs = self.width + self.skips.pop().unwrap_or(0);
            stages.push(self.stage(inputs, "up", i, j)?);
        }
        let conv = if i > 0 {
            Some(Conv::new(
                self.width,
                self.width,
                &self.at.pp(format!("up.{i}.conv")),
            )?)
        } else {
            None
        };
        Ok(UpLevel { stages, conv })
    }
}

impl Block for Stage {
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, _: Mode<'_>) -> Result<Tensor> {
        let h = self.block.forward(x, emb)?;
        match &self.attention {
            Some(attention) => attention.forward(&h),
            None => Ok(h),
        }
    }
}

/// `skip(x) + conv2(silu(norm2(conv1(silu(norm1(x)))) · (1 + scale) + shift))`, scale and shift from
/// the embedding.
#[derive(Debug, Clone)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    emb: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    skip: Option<Conv>,
    outputs: usize,
}

impl ResBlock {
    fn new(inputs: usize, outputs: usize, config: &UNetConfig, at: &Builder) -> Result<Self> {
        let skip = if inputs == outputs {
            None
        } else {
            Some(Conv::pointwise(inputs, outputs, &at.pp("skip"))?)
        };
        Ok(Self {
            norm1: GroupNorm::new(config.groups, inputs, &at.pp("norm1"))?,
            conv1: Conv::new(inputs, outputs, &at.pp("conv1"))?,
            emb: Linear::new(config.emb_dim, 2 * outputs, &at.pp("emb"))?,
            norm2: GroupNorm::new(config.groups, outputs, &at.pp("norm2"))?,
            conv2: Conv::zero(outputs, outputs, &at.pp("conv2"))?,
            skip,
            outputs,
        })
    }

    fn forward(&self, [residual, branch]: [&Tensor; 2], emb: &Tensor) -> Result<Tensor> {
        let modulation = self.emb.forward(emb)?;
        let scale = modulation.narrow(1, 0, self.outputs)?;
        let shift = modulation.narrow(1, self.outputs, self.outputs)?;
        let h = self.conv1.forward(&self.norm1.forward_silu(branch)?)?;
        let h = self
            .conv2
            .forward(&self.norm2.forward_modulated_silu(&h, &scale, &shift)?)?;
        let skip = match &self.skip {
            Some(conv) => conv.forward(residual)?,
            None => residual.clone(),
        };
        Ok((skip + h)?)
    }
}

/// A [`UNet`] as sizes.
fn sketch(s: &mut Sketch, config: &UNetConfig, x: Images, classes: f64) -> Images {
    let widths: Vec<f64> = config.channels.iter().map(|&n| n as f64).collect();
    let (Some(&first), Some(&last)) = (widths.first(), widths.last()) else {
        return x;
    };
    let sizes = [config.time_dim, config.emb_dim].map(|n| n as f64);
    let embedded = sketch_condition(s, x.batch, sizes, classes);
    let mut net = Sizes {
        s,
        config,
        embedded,
    };
    let mut h = net.conv(x, first, 3.0, "conv_in");
    let mut skips = Vec::new();
    for (i, &width) in widths.iter().enumerate() {
        if i > 0 {
            net.s.at(format!("{NETWORK}.down.{i}"));
            h = net.s.resampled(h, 0.5);
        }
        for j in 0..config.blocks {
            h = net.stage(h, width, "down", i, j);
            skips.push(h);
        }
    }
    net.s.block_begins();
    h = net.block(h, last, "mid.block.0");
    h = net.attention(h, "mid.attn");
    net.s.block_ends();
    net.s.block_begins();
    h = net.block(h, last, "mid.block.1");
    net.s.block_ends();
    for (i, &width) in widths.iter().enumerate().rev() {
        for j in 0..config.blocks {
            if let Some(skip) = skips.pop() {
                net.s.at(format!("{NETWORK}.up.{i}.block.{j}"));
                net.s.block_begins();
                h = net.s.concatenated(h, skip);
            }
            h = net.stage(h, width, "up", i, j);
        }
        if i > 0 {
            net.s.at(format!("{NETWORK}.up.{i}.conv"));
            h = net.s.resampled(h, 2.0);
            h = net.conv(h, h.channels, 3.0, &format!("up.{i}.conv"));
        }
    }
    net.s.at(format!("{NETWORK}.norm_out"));
    h = net.s.group_norm(h);
    net.conv(h, x.channels, 3.0, "conv_out")
}

/// A U-Net being sketched.
struct Sizes<'a> {
    s: &'a mut Sketch,
    config: &'a UNetConfig,
    embedded: Id,
}

impl Sizes<'_> {
    fn conv(&mut self, x: Images, outputs: f64, kernel: f64, name: &str) -> Images {
        self.s.at(format!("{NETWORK}.{name}"));
        self.s.conv(x, outputs, kernel)
    }

    fn stage(&mut self, x: Images, width: f64, way: &str, i: usize, j: usize) -> Images {
        self.s.block_begins();
        let mut h = self.block(x, width, &format!("{way}.{i}.block.{j}"));
        if self.config.attention.contains(&i) {
            h = self.attention(h, &format!("{way}.{i}.attn.{j}"));
        }
        self.s.block_ends();
        h
    }

    fn block(&mut self, x: Images, outputs: f64, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("emb"));
        let emb_dim = self.config.emb_dim as f64;
        let modulation = self
            .s
            .linear(self.embedded, x.batch, emb_dim, 2.0 * outputs);
        let [scale, shift] = [(); 2].map(|()| self.s.part(modulation, x.batch * outputs));
        self.s.at(at("norm1"));
        let h = self.s.group_norm(x);
        self.s.at(at("conv1"));
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("norm2"));
        let h = self.s.modulated_norm(h, scale, shift);
        self.s.at(at("conv2"));
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("skip"));
        let skip = if x.channels.to_bits() == outputs.to_bits() {
            x
        } else {
            self.s.conv(x, outputs, 1.0)
        };
        let id = self.s.sum(skip.id, h.id);
        Images { id, ..h }
    }

    fn attention(&mut self, x: Images, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("norm"));
        let h = self.s.group_norm(x);
        self.s.at(at("qkv"));
        let qkv = self.s.conv(h, 3.0 * x.channels, 1.0);
        self.s.at(format!("{NETWORK}.{name}"));
        let packed = self.s.view(qkv.id);
        let tokens = x.side * x.side;
        let sizes = [x.batch, tokens, x.channels];
        let y = self.s.attention(packed, sizes, self.config.heads as f64);
        let y = Images {
            id: self.s.view(y),
            ..x
        };
        self.s.at(at("proj"));
        let y = self.s.conv(y, x.channels, 1.0);
        let id = self.s.sum(x.id, y.id);
        Images { id, ..x }
    }
}
