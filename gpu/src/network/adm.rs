//! The network of guided diffusion: ADM with its own names.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::architecture::{Domain, Published, depths, given, of_all, setting, within};
use super::blocks::{check_heads, like};
use super::edm::layers::{Convolution, ConvolutionConfig, Law, Map, Norm, Order, Start, attended};
use super::edm::{check_noise, class_rows, positive, rate, sides};
use super::recompute::{self, Given};
use super::{Architecture, Condition, Inputs, Mode, Network, Recompute, is_zero};
use crate::memory::layers::Images;
use crate::memory::sketch::{Id, NETWORK, Sketch};
use crate::nn::{avg_pool2x, conv2d, silu, step_features, upsample_nearest2x};
use crate::params::{Builder, Init};
use crate::{Error, Result};

/// Groups of every normalisation.
const GROUPS: usize = 32;
/// Added to the variance in every normalisation.
const EPS: f64 = 1e-5;

/// Shape of an [`Adm`], by the published names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmConfig {
    /// Side of the square images; 0 stands for "as the data" in a configuration, and so do the next three.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_size: usize,
    /// Channels of the input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_channels: usize,
    /// Channels of the output: twice as many where the variance is learned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out_channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default, skip_serializing_if = "is_zero")]
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
    /// Rate of dropout in the blocks.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the embedding scales and shifts after the normalisation: networks without are not built.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub use_scale_shift_norm: bool,
    /// Whether blocks change the resolution: networks without are not built.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub resblock_updown: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_true(flag: &bool) -> bool {
    *flag
}

impl AdmConfig {
    fn check(&self) -> Result<()> {
        positive([
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ])?;
        self.check_dimensions()
    }

    /// Channels of a level; fractions are cut off.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a multiplier is positive, and what is too large is refused by its size"
    )]
    fn width(&self, mult: f64) -> usize {
        (mult * self.model_channels as f64) as usize
    }

    /// Width of the embedding.
    fn emb(&self) -> usize {
        4 * self.model_channels
    }

    fn order(&self) -> Order {
        if self.use_new_attention_order {
            Order::Part
        } else {
            Order::Head
        }
    }

    /// What runs below `middle_block`, in order, and what runs after it; sizes need no more than this.
    fn plan(&self, sides: &[usize]) -> [Vec<Stage>; 2] {
        let levels: Vec<_> = sides.iter().zip(&self.channel_mult).enumerate().collect();
        let (mut down, mut up) = (vec![], vec![]);
        for &(level, (side, &mult)) in &levels {
            let attention = self.attention_resolutions.contains(side);
            let stage = Stage {
                outputs: Some(self.width(mult)),
                attention,
                change: Change::None,
            };
            down.extend(std::iter::repeat_n(stage, self.num_res_blocks));
            if level + 1 < levels.len() {
                down.push(Stage {
                    outputs: None,
                    attention: false,
                    change: Change::Half,
                });
            }
            let last = Stage {
                change: if level > 0 {
                    Change::Double
                } else {
                    Change::None
                },
                ..stage
            };
            let of_level = std::iter::repeat_n(stage, self.num_res_blocks).chain([last]);
            // Levels run the other way.
            up.splice(0..0, of_level);
        }
        [down, up]
    }
}

/// One entry of `input_blocks` or `output_blocks`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stage {
    /// Channels of its block; `None` where the change of resolution is its only block.
    outputs: Option<usize>,
    attention: bool,
    /// What its last block does to the resolution.
    change: Change,
}

/// What a block does to the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Half,
    Double,
}

/// PyTorch's law for weights and biases: a variance of 1/(3 inputs).
const ALL: Start = Start {
    law: Law::KaimingUniform,
    weight: 0.577_350_269_189_625_8,
    bias: 0.577_350_269_189_625_8,
};
const ZERO: Start = Start::weights(Law::KaimingUniform, 0.0);

/// The keys that the published configurations differ in.
macro_rules! published {
    ($side:literal, $channels:literal, $mult:literal, $blocks:literal, $classes:literal, $new:literal) => {
        concat!(
            "image_size = ",
            $side,
            "\nin_channels = 3\nout_channels = 6\nnum_classes = ",
            $classes,
            "\nmodel_channels = ",
            $channels,
            "\nchannel_mult = ",
            $mult,
            "\nnum_res_blocks = ",
            $blocks,
            "\nattention_resolutions = [32, 16, 8]\nnum_head_channels = 64\n",
            "use_new_attention_order = ",
            $new,
            "\n"
        )
    };
}

impl Published for AdmConfig {
    fn check_dimensions(&self) -> Result<()> {
        positive([("model_channels", self.model_channels)])?;
        for (flag, on) in [
            ("use_scale_shift_norm", self.use_scale_shift_norm),
            ("resblock_updown", self.resblock_updown),
        ] {
            if !on {
                let must = "be true: networks without it are not built";
                return Err(Error::invalid(format!("network.{flag}"), must, on));
            }
        }
        if let Some(mult) = self
            .channel_mult
            .iter()
            .find(|&&m| !(m.is_finite() && m > 0.0))
        {
            return Err(Error::invalid(
                "network.channel_mult",
                "be finite and positive",
                mult,
            ));
        }
        rate("dropout", self.dropout)
    }

    fn depths(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("model.adm.num_res_blocks", self.num_res_blocks),
            ("number of model.adm.channel_mult", self.channel_mult.len()),
        ]
    }

    fn within(self, domain: Domain) -> Self {
        Self {
            image_size: domain.size,
            in_channels: domain.channels,
            out_channels: domain.channels,
            num_classes: domain.classes.unwrap_or(0),
            ..self
        }
    }

    fn network(&self, at: &Builder) -> Result<Box<dyn Network>> {
        Ok(Box::new(Adm::new(self, at)?))
    }
}

/// In the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "adm",
    defaults: "model_channels = 192
channel_mult = [1.0, 2.0, 3.0, 4.0]
num_res_blocks = 3
attention_resolutions = [32, 16, 8]
num_head_channels = 64
use_new_attention_order = true
dropout = 0.1",
    small: &[
        "model_channels = 32
channel_mult = [1.0]
num_res_blocks = 1
attention_resolutions = [4]
num_head_channels = 16
use_new_attention_order = false
dropout = 0.0",
        "model_channels = 32
channel_mult = [1.0, 2.0]
num_res_blocks = 1
attention_resolutions = []
num_head_channels = 32
use_new_attention_order = true
dropout = 0.0",
    ],
    depths: depths::<AdmConfig>,
    build: within::<AdmConfig>,
    published: of_all::<AdmConfig>,
    sizes: &[
        (
            "adm-64",
            published!(64, 192, "[1.0, 2.0, 3.0, 4.0]", 3, 1000, true),
        ),
        (
            "adm-128",
            published!(128, 256, "[1.0, 1.0, 2.0, 3.0, 4.0]", 2, 1000, false),
        ),
        (
            "adm-256",
            published!(256, 256, "[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]", 2, 1000, false),
        ),
        (
            "adm-256-uncond",
            published!(256, 256, "[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]", 2, 0, false),
        ),
        (
            "adm-512",
            published!(
                512,
                256,
                "[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]",
                2,
                1000,
                false
            ),
        ),
    ],
    inputs: Inputs {
        noise: "timesteps",
        labels: "y",
        augment: None,
    },
    sketch: |dimensions, s, x, classes| {
        let config = given::<AdmConfig>(dimensions);
        config.map_or(x, |config| sketch(s, &config, x, classes))
    },
    smaller: |dimensions, layer| {
        let setting = |key| setting("adm", dimensions, key);
        let attention = layer.contains("qkv").then(|| {
            let sides = setting("attention_resolutions");
            format!("sides of images in {sides}")
        });
        let widths = ["model_channels", "channel_mult", "num_res_blocks"].map(setting);
        [attention.into_iter().collect(), widths.into()]
    },
};

/// ADM as published with guided diffusion, with the names of its parameters.
///
/// # Source
/// Dhariwal and Nichol 2021 (arXiv:2105.05233), §3 and App. I.
#[derive(Debug, Clone)]
pub struct Adm {
    config: AdmConfig,
    time_embed: [Map; 2],
    label_emb: Option<Tensor>,
    conv: Convolution,
    input_blocks: Vec<Stretches>,
    middle_block: Stretches,
    output_blocks: Vec<Stretches>,
    norm: Norm,
    out: Convolution,
    recompute: Recompute,
}

/// Parts that run one after another, cut so that no stretch has more than one block: the embedding is then used once in each.
type Stretches = Vec<Stretch>;

/// Parts with the names by which their dropout is drawn.
#[derive(Debug, Clone)]
struct Stretch(Vec<(String, Part)>);

/// The stretches of the parts of `name`.
fn stretches(name: &str, parts: Vec<Part>) -> Stretches {
    let mut stretches: Stretches = Vec::new();
    for (j, part) in parts.into_iter().enumerate() {
        let begins = matches!(part, Part::Block(_));
        let part = (format!("{name}.{j}"), part);
        match stretches.last_mut() {
            Some(Stretch(parts)) if !begins => parts.push(part),
            _ => stretches.push(Stretch(vec![part])),
        }
    }
    stretches
}

#[expect(
    clippy::large_enum_variant,
    reason = "a network has few of them, made once"
)]
#[derive(Debug, Clone)]
enum Part {
    Block(Block),
    Attention(Attention),
}

impl Adm {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built: zero sizes, more levels than the images can be halved,
    /// channels that do not divide into 32 groups or into heads.
    pub fn new(config: &AdmConfig, at: &Builder) -> Result<Self> {
        config.check()?;
        let sides = sides(config.image_size, &config.channel_mult)?;
        let (first, emb) = (config.width(config.channel_mult[0]), config.emb());
        let label_emb = (config.num_classes > 0).then(|| {
            let init = Init::Normal { std: 1.0 };
            at.pp("label_emb")
                .get((config.num_classes, emb), "weight", init)
        });
        let conv = |channels, start, name: &str| {
            Convolution::with(ConvolutionConfig::plain(channels, 3), start, &at.pp(name))
        };
        let [down, up] = config.plan(&sides);
        let mut width = first;
        let mut skips = vec![first];
        let mut input_blocks = Vec::new();
        for (i, stage) in down.into_iter().enumerate() {
            let name = format!("input_blocks.{}", i + 1);
            let parts = parts(config, stage, 0, &mut width, &at.pp(&name))?;
            input_blocks.push(stretches(&name, parts));
            skips.push(width);
        }
        let middle = at.pp("middle_block");
        let middle_parts = vec![
            Part::Block(Block::new(
                config,
                [width, width],
                Change::None,
                &middle.pp("0"),
            )?),
            Part::Attention(Attention::new(config, width, &middle.pp("1"))?),
            Part::Block(Block::new(
                config,
                [width, width],
                Change::None,
                &middle.pp("2"),
            )?),
        ];
        let mut output_blocks = Vec::new();
        for (i, stage) in up.into_iter().enumerate() {
            let name = format!("output_blocks.{i}");
            let more = skips.pop().unwrap_or(0);
            let parts = parts(config, stage, more, &mut width, &at.pp(&name))?;
            output_blocks.push(stretches(&name, parts));
        }
        Ok(Self {
            time_embed: [
                Map::new([config.model_channels, emb], ALL, &at.pp("time_embed.0"))?,
                Map::new([emb, emb], ALL, &at.pp("time_embed.2"))?,
            ],
            label_emb: label_emb.transpose()?,
            conv: conv([config.in_channels, first], ALL, "input_blocks.0.0")?,
            input_blocks,
            middle_block: stretches("middle_block", middle_parts),
            output_blocks,
            recompute: at.recompute(),
            norm: Norm::new(GROUPS, width, EPS, &at.pp("out.0"))?,
            out: conv([width, config.out_channels], ZERO, "out.2")?,
            config: config.clone(),
        })
    }

    /// `silu(time_embed.2(silu(time_embed.0([cos, sin]))) + classes · label_emb)`.
    fn embedding(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        check_noise(x, at)?;
        if let Some(augment) = at.augment {
            let must = "be absent for a network that knows none";
            let got = format!("shape {:?}", augment.dims());
            return Err(Error::invalid("augmentation labels", must, got));
        }
        let features = self.config.model_channels;
        let e = step_features(at.noise, features, x.device(), x.dtype())?;
        let mut e = self.time_embed[1].forward(&silu(&self.time_embed[0].forward(&e)?)?)?;
        let rows = class_rows(x, at, (self.config.num_classes, 1.0, 0.0), mode)?;
        if let (Some(rows), Some(table)) = (rows, &self.label_emb) {
            e = (e + rows.matmul(&like(table, x)?)?)?;
        }
        Ok(silu(&e)?)
    }
}

/// The parts of a stage, whose block is given `more` channels than it follows.
fn parts(
    config: &AdmConfig,
    stage: Stage,
    more: usize,
    width: &mut usize,
    at: &Builder,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    if let Some(outputs) = stage.outputs {
        let channels = [*width + more, outputs];
        parts.push(Part::Block(Block::new(
            config,
            channels,
            Change::None,
            &at.pp("0"),
        )?));
        *width = outputs;
    }
    if stage.attention {
        parts.push(Part::Attention(Attention::new(
            config,
            *width,
            &at.pp("1"),
        )?));
    }
    if stage.change != Change::None {
        let at = at.pp(parts.len().to_string());
        parts.push(Part::Block(Block::new(
            config,
            [*width, *width],
            stage.change,
            &at,
        )?));
    }
    Ok(parts)
}

impl recompute::Block for Stretch {
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let mut h: Option<Tensor> = None;
        for (name, part) in &self.0 {
            let x = h.as_ref().map_or(x, |h| [h, h]);
            h = Some(match part {
                Part::Block(block) => block.forward(x, emb, mode, name)?,
                Part::Attention(attention) => attention.forward(x)?,
            });
        }
        Ok(h.unwrap_or_else(|| x[0].clone()))
    }
}

impl Network for Adm {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        let side = self.config.image_size;
        let must = [self.config.in_channels, side, side];
        if x.rank() != 4 || x.dims()[1..] != must {
            return Err(Error::shape(
                "network input",
                format!("[B, {must:?}]"),
                x.dims(),
            ));
        }
        let emb = self.embedding(x, at, mode)?;
        let run = |stretches: &Stretches, given: Given<'_>| {
            let (first, rest) = (stretches.split_first())
                .ok_or_else(|| Error::invalid("a stage of the network", "have a part", "none"))?;
            let h = self.recompute.run(first, given, &emb, mode)?;
            rest.iter().try_fold(h, |h, stretch| {
                self.recompute.run(stretch, Given::One(&h), &emb, mode)
            })
        };
        let mut h = self.conv.forward(x)?;
        let mut skips = vec![h.clone()];
        for stretches in &self.input_blocks {
            h = run(stretches, Given::One(&h))?;
            skips.push(h.clone());
        }
        h = run(&self.middle_block, Given::One(&h))?;
        for stretches in &self.output_blocks {
            h = match skips.pop() {
                Some(skip) => run(stretches, Given::Joined(h, skip))?,
                None => run(stretches, Given::One(&h))?,
            };
        }
        self.out.forward(&self.norm.forward_silu(&h)?)
    }
}

/// A residual block.
///
/// # Formula
/// ```text
/// h = in_layers.2(resampled(silu(in_layers.0(x))));   (s, t) = halves of emb_layers.1(e)
/// y = skip_connection(resampled(x)) + out_layers.3(dropout(silu(out_layers.0(h) (1 + s) + t)))
/// ```
#[derive(Debug, Clone)]
struct Block {
    norm0: Norm,
    conv0: Convolution,
    affine: Map,
    norm1: Norm,
    conv1: Convolution,
    skip: Option<Convolution>,
    change: Change,
    dropout: f64,
}

impl Block {
    fn new(
        config: &AdmConfig,
        [inputs, outputs]: [usize; 2],
        change: Change,
        at: &Builder,
    ) -> Result<Self> {
        let conv = |channels, kernel, start, name: &str| {
            let shape = ConvolutionConfig::plain(channels, kernel);
            Convolution::with(shape, start, &at.pp(name))
        };
        let skip = (inputs != outputs).then(|| conv([inputs, outputs], 1, ALL, "skip_connection"));
        Ok(Self {
            norm0: Norm::new(GROUPS, inputs, EPS, &at.pp("in_layers.0"))?,
            conv0: conv([inputs, outputs], 3, ALL, "in_layers.2")?,
            affine: Map::new([config.emb(), 2 * outputs], ALL, &at.pp("emb_layers.1"))?,
            norm1: Norm::new(GROUPS, outputs, EPS, &at.pp("out_layers.0"))?,
            conv1: conv([outputs, outputs], 3, ZERO, "out_layers.3")?,
            skip: skip.transpose()?,
            change,
            dropout: config.dropout,
        })
    }

    fn resampled(&self, x: Tensor) -> Result<Tensor> {
        Ok(match self.change {
            Change::None => x,
            Change::Half => avg_pool2x(&x)?,
            Change::Double => upsample_nearest2x(&x)?,
        })
    }

    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>, name: &str) -> Result<Tensor> {
        // Layers of the residual give their gradient after the branch has; the residual itself, before.
        let mapped = self.skip.is_some() || self.change != Change::None;
        let [branch, residual] = if mapped { x } else { [x[1], x[0]] };
        let h = self.resampled(self.norm0.forward_silu(branch)?)?;
        let h = self.conv0.forward(&h)?;
        let h = self
            .norm1
            .forward_modulated_silu(&h, &self.affine.forward(emb)?)?;
        let h = self.conv1.forward(&mode.dropout(&h, self.dropout, name)?)?;
        let x = self.resampled(residual.clone())?;
        let skip = match &self.skip {
            Some(skip) => skip.forward(&x)?,
            None => x,
        };
        Ok((skip + h)?)
    }
}

/// `x + proj_out(attention(qkv(norm(x))))` over the pixels; `qkv` and `proj_out` are one-dimensional convolutions.
#[derive(Debug, Clone)]
struct Attention {
    norm: Norm,
    qkv: (Tensor, Tensor),
    proj_out: (Tensor, Tensor),
    heads: usize,
    order: Order,
}

impl Attention {
    fn new(config: &AdmConfig, channels: usize, at: &Builder) -> Result<Self> {
        let of_head = config.num_head_channels;
        if of_head == 0 || !channels.is_multiple_of(of_head) {
            let must = format!("be positive and divide {channels} channels");
            return Err(Error::invalid("network.num_head_channels", must, of_head));
        }
        let heads = channels / of_head;
        check_heads(channels, heads)?;
        let map = |outputs, start: Start, name: &str| {
            start.kernel_of([channels, outputs], &[1], &at.pp(name))
        };
        Ok(Self {
            norm: Norm::new(GROUPS, channels, EPS, &at.pp("norm"))?,
            qkv: map(3 * channels, ALL, "qkv")?,
            proj_out: map(channels, ZERO, "proj_out")?,
            heads,
            order: config.order(),
        })
    }

    fn forward(&self, [x, branch]: [&Tensor; 2]) -> Result<Tensor> {
        let n = self.norm.forward(branch)?;
        let y = attended(&n, (&self.qkv.0, &self.qkv.1), self.heads, self.order)?;
        let (weight, bias) = (like(&self.proj_out.0, x)?, like(&self.proj_out.1, x)?);
        Ok((x + conv2d(&y, &weight.unsqueeze(3)?, Some(&bias), 0)?)?)
    }
}

/// An [`Adm`] as sizes.
fn sketch(s: &mut Sketch, config: &AdmConfig, x: Images, classes: f64) -> Images {
    let (batch, unit, width) = (x.batch, config.model_channels as f64, config.emb() as f64);
    s.at(format!("{NETWORK}.time_embed.0"));
    let features = s.input(batch * unit);
    let e = s.linear(features, batch, unit, width);
    let e = s.function(e);
    s.at(format!("{NETWORK}.time_embed.2"));
    let mut e = s.linear(e, batch, width, width);
    if classes > 0.0 {
        s.at(format!("{NETWORK}.label_emb"));
        let (rows, table) = (
            s.input(batch * classes),
            s.parameter("weight", classes * width),
        );
        let label = s.operation(batch * width, &[rows, table], [0.0; 2]);
        e = s.sum(e, label);
    }
    let embedded = s.function(e);
    let sides: Vec<usize> = (0..config.channel_mult.len())
        .map(|level| {
            if level < 60 {
                whole(x.side) >> level
            } else {
                0
            }
        })
        .collect();
    let Some(&mult) = config.channel_mult.first() else {
        return x;
    };
    let mut net = Sizes {
        s,
        config,
        embedded,
    };
    let mut h = net.conv(x, config.width(mult) as f64, 3.0, "input_blocks.0.0");
    let mut skips = vec![h];
    let [down, up] = config.plan(&sides);
    for (i, stage) in down.into_iter().enumerate() {
        h = net.stage(h, stage, &format!("input_blocks.{}", i + 1));
        skips.push(h);
    }
    net.s.block_begins();
    h = net.block(h, h.channels, Change::None, "middle_block.0");
    h = net.attention(h, "middle_block.1");
    net.s.block_ends();
    net.s.block_begins();
    h = net.block(h, h.channels, Change::None, "middle_block.2");
    net.s.block_ends();
    for (i, stage) in up.into_iter().enumerate() {
        if let Some(skip) = skips.pop() {
            net.s.at(format!("{NETWORK}.output_blocks.{i}"));
            net.s.block_begins();
            h = net.s.concatenated(h, skip);
        }
        h = net.stage(h, stage, &format!("output_blocks.{i}"));
    }
    net.s.at(format!("{NETWORK}.out.0"));
    let n = net.s.group_norm(h);
    net.conv(n, x.channels, 3.0, "out.2")
}

/// A side that was a whole number before it was a size.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the side of the data's images"
)]
fn whole(side: f64) -> usize {
    side as usize
}

/// A network being sketched.
struct Sizes<'a> {
    s: &'a mut Sketch,
    config: &'a AdmConfig,
    embedded: Id,
}

impl Sizes<'_> {
    fn conv(&mut self, x: Images, outputs: f64, kernel: f64, name: &str) -> Images {
        self.s.at(format!("{NETWORK}.{name}"));
        self.s.conv(x, outputs, kernel)
    }

    fn stage(&mut self, mut h: Images, stage: Stage, name: &str) -> Images {
        self.s.block_begins();
        let mut parts = 0;
        if let Some(outputs) = stage.outputs {
            h = self.block(h, outputs as f64, Change::None, &format!("{name}.0"));
            parts += 1;
        }
        if stage.attention {
            h = self.attention(h, &format!("{name}.1"));
            parts += 1;
        }
        if stage.change != Change::None {
            if parts > 0 {
                self.s.block_ends();
                self.s.block_begins();
            }
            h = self.block(h, h.channels, stage.change, &format!("{name}.{parts}"));
        }
        self.s.block_ends();
        h
    }

    fn resampled(&mut self, x: Images, change: Change) -> Images {
        match change {
            Change::None => x,
            Change::Half => self.s.resampled(x, 0.5),
            Change::Double => self.s.resampled(x, 2.0),
        }
    }

    fn block(&mut self, x: Images, outputs: f64, change: Change, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("in_layers.0"));
        let h = self.s.group_norm(x);
        self.s.at(at("in_layers.2"));
        let h = self.resampled(h, change);
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("emb_layers.1"));
        let emb = self.config.emb() as f64;
        let affine = self.s.linear(self.embedded, x.batch, emb, 2.0 * outputs);
        let [scale, shift] = [(); 2].map(|()| self.s.part(affine, x.batch * outputs));
        self.s.at(at("out_layers.0"));
        let h = self.s.modulated_norm(h, scale, shift);
        self.s.at(at("out_layers.3"));
        let h = self.s.dropped(h, self.config.dropout);
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("skip_connection"));
        let skip = self.resampled(x, change);
        let skip = if x.channels.to_bits() == outputs.to_bits() {
            skip
        } else {
            self.s.conv(skip, outputs, 1.0)
        };
        let id = self.s.sum(skip.id, h.id);
        Images { id, ..h }
    }

    fn attention(&mut self, x: Images, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("norm"));
        let n = self.s.group_norm(x);
        self.s.at(at("qkv"));
        let heads = x.channels / self.config.num_head_channels as f64;
        let ordered = self.config.order() != Order::Part;
        let y = self.s.attended(n, heads, ordered);
        self.s.at(at("proj_out"));
        let y = self.s.conv(y, x.channels, 1.0);
        let id = self.s.sum(x.id, y.id);
        Images { id, ..x }
    }
}
